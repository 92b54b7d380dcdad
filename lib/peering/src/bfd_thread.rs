//! The BFD thread: it owns the sockets and the machine, and runs it by its own clock, so that a daemon which is busy for
//! a second does not flap.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bfd::SessionKey;
use bfd::{Dropped, Hops, Output, Sessions};
use model::{Family, Moment};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::bfd_event::{BfdCommand, BfdEvent};
use crate::bfd_priority;
use crate::bfd_socket::{Ear, Mouth, name_of};
use crate::words::words;

/// A port that cannot be listened on, and a session that cannot speak, are tried again after this.
const AGAIN: Duration = Duration::from_secs(2);
/// Packets taken in of one port before the others and the timers are looked at.
const BATCH: usize = 512;
/// After a full batch the thread pauses: a flood must not take the whole of a core at real-time priority.
const PAUSE: Duration = Duration::from_millis(1);
/// The same line about dropped packets of a sender comes again after this.
const QUIET: Duration = Duration::from_secs(60);
/// Senders whose dropped packets are remembered.
const SENDERS: usize = 256;

/// The UDP side of BFD. Dropping it tells every peer AdminDown once, and ends the thread.
#[derive(Debug)]
pub struct Bfd {
    commands: Option<Sender<BfdCommand>>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Bfd {
    /// Starts the thread in the network namespace of the caller. `events` is called from it, and must not block. `seed`
    /// makes jitter and discriminators, together with the time of the start.
    ///
    /// # Errors
    /// The system has no descriptor or thread left.
    pub fn spawn(seed: u64, events: impl FnMut(BfdEvent) + Send + 'static) -> io::Result<Bfd> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (commands, receiver) = mpsc::channel();
        let waker = wake.clone();
        // Another start has other discriminators: a peer must not take its sessions for those of before.
        let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let seed = seed ^ u64::try_from(start.as_nanos() & u128::from(u64::MAX)).unwrap_or(0);
        let thread = thread::Builder::new().name("bfd".to_owned()).spawn(move || {
            let worker = Worker {
                began: Instant::now(),
                sessions: Sessions::new(seed),
                changed: false,
                wanted: BTreeSet::new(),
                devices: false,
                ears: BTreeMap::new(),
                mouths: BTreeMap::new(),
                port: u16::try_from(seed & 0x3fff).unwrap_or(0),
                commands: receiver,
                wake: waker,
                events: Box::new(events),
                again: None,
                trouble: None,
                dumb: BTreeMap::new(),
                noticed: BTreeMap::new(),
            };
            worker.run();
        })?;
        Ok(Bfd { commands: Some(commands), wake, thread: Some(thread) })
    }

    /// Does what it is told, without waiting.
    pub fn handle(&self, command: BfdCommand) {
        if let Some(commands) = &self.commands {
            // A thread that is gone takes no commands; it goes only with us.
            let _ = commands.send(command);
        }
        self.wake();
    }

    fn wake(&self) {
        // It can fail only when it is full of wakes already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Bfd {
    fn drop(&mut self) {
        self.commands = None;
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    began: Instant,
    sessions: Sessions,
    /// The set of sessions has changed.
    changed: bool,
    /// What the sessions need.
    wanted: BTreeSet<(Hops, Family)>,
    /// Some of them are bound to a device.
    devices: bool,
    ears: BTreeMap<(Hops, Family), Ear>,
    mouths: BTreeMap<SessionKey, Mouth>,
    /// Where the search for the next source port begins.
    port: u16,
    commands: Receiver<BfdCommand>,
    wake: Arc<OwnedFd>,
    events: Box<dyn FnMut(BfdEvent) + Send>,
    /// When to try to listen again.
    again: Option<Moment>,
    trouble: Option<String>,
    /// Sessions that cannot speak: until when that is not tried again, and the words told.
    dumb: BTreeMap<SessionKey, (Moment, String)>,
    /// Last line about dropped packets, by sender.
    noticed: BTreeMap<IpAddr, Moment>,
}

impl Worker {
    fn run(mut self) {
        tracing::info!(topic = "bfd", "BFD runs with {}", bfd_priority::raise());
        loop {
            if !self.obey() {
                return self.farewell();
            }
            self.listen();
            let full = self.hear();
            self.sessions.handle_timeout(self.now());
            self.perform();
            self.listen();
            if full {
                thread::sleep(PAUSE);
            } else {
                self.wait();
            }
        }
    }

    fn now(&self) -> Moment {
        Moment::new(self.began.elapsed())
    }

    /// `false` when there is nobody left who commands.
    fn obey(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(BfdCommand::Set { session, config }) => {
                    self.sessions.set(self.now(), session, config);
                    self.changed = true;
                }
                Ok(BfdCommand::Remove(session)) => self.sessions.remove(self.now(), &session),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// AdminDown: that we end is no failure of the path.
    fn farewell(mut self) {
        self.events = Box::new(|_| {});
        let keys: Vec<SessionKey> = self.sessions.keys().cloned().collect();
        for key in keys {
            self.sessions.remove(self.now(), &key);
        }
        self.perform();
    }

    /// Ports are open while there are sessions that need them.
    fn listen(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.wanted = self.sessions.keys().map(|key| (key.hops, Family::of(&key.peer))).collect();
            self.devices = self.sessions.keys().any(|key| key.device.is_some());
            let wanted = &self.wanted;
            self.ears.retain(|ear, _| wanted.contains(ear));
        }
        if self.wanted.len() == self.ears.len() && self.trouble.is_none() {
            return;
        }
        if self.again.is_some_and(|at| at > self.now()) {
            return;
        }
        self.again = None;
        let mut trouble = None;
        for (hops, family) in self.wanted.iter().copied().filter(|ear| !self.ears.contains_key(ear)).collect::<Vec<_>>()
        {
            match Ear::open(hops, family) {
                Ok(ear) => drop(self.ears.insert((hops, family), ear)),
                Err(error) => trouble = Some(port_words(hops, family, &error)),
            }
        }
        if trouble.is_some() {
            self.again = Some(self.now() + AGAIN);
        }
        if trouble != self.trouble {
            self.trouble.clone_from(&trouble);
            (self.events)(BfdEvent::Trouble(trouble));
        }
    }

    /// Takes in what waits, up to a batch of each port; is there more?
    fn hear(&mut self) -> bool {
        let mut octets = Vec::new();
        let mut full = false;
        for ear in self.ears.values() {
            let mut left = BATCH;
            while left > 0 {
                let (mut arrival, index) = match ear.hear(&mut octets) {
                    Ok(Some(heard)) => heard,
                    // An error is one of a packet (ICMP), and gone with being told.
                    Ok(None) | Err(_) => break,
                };
                left -= 1;
                if self.devices {
                    arrival.device = name_of(ear.as_fd(), index);
                }
                let now = Moment::new(self.began.elapsed());
                if let Err(why) = self.sessions.handle_packet(now, &arrival, &octets) {
                    notice(&mut self.noticed, &mut self.events, now, arrival.source, why);
                }
            }
            full |= left == 0;
        }
        full
    }

    fn perform(&mut self) {
        while let Some(output) = self.sessions.poll_output() {
            match output {
                Output::Send { session, octets } => self.say(&session, &octets),
                Output::Changed { session, snapshot } => (self.events)(BfdEvent::Changed { session, snapshot }),
                Output::Gone(session) => {
                    self.changed = true;
                    self.mouths.remove(&session);
                    self.dumb.remove(&session);
                    (self.events)(BfdEvent::Gone(session));
                }
            }
        }
    }

    /// What cannot be sent is a packet lost: detection says what is to be said. Why is told once.
    fn say(&mut self, session: &SessionKey, octets: &[u8; bfd::Packet::LENGTH]) {
        let now = self.now();
        let said = match self.mouths.get(session) {
            Some(mouth) => mouth.say(octets),
            None if self.dumb.get(session).is_some_and(|(until, _)| *until > now) => return,
            None => Mouth::open(session, &mut self.port).and_then(|mouth| {
                let said = mouth.say(octets);
                self.mouths.insert(session.clone(), mouth);
                said
            }),
        };
        match said {
            Ok(()) => drop(self.dumb.remove(session)),
            Err(error) => {
                // Its device or address may have gone and come back as another one.
                self.mouths.remove(session);
                let words = words(&error);
                let known = self.dumb.insert(session.clone(), (now + AGAIN, words.clone()));
                if known.is_none_or(|(_, before)| before != words) {
                    (self.events)(BfdEvent::Notice(format!("BFD to {} cannot be sent: {words}", session.peer)));
                }
            }
        }
    }

    /// Until a packet, a command or a deadline.
    fn wait(&mut self) {
        let due = [self.sessions.poll_timeout(), self.again].into_iter().flatten().min();
        let wait = due.map(|at| at.since(self.now())).map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        });
        let mut watched: Vec<PollFd<'_>> = self.ears.values().map(|ear| PollFd::new(ear, PollFlags::IN)).collect();
        watched.push(PollFd::new(&self.wake, PollFlags::IN));
        if poll(&mut watched, wait.as_ref()).is_err() {
            // Interrupted; or out of memory, which must not become a busy loop.
            thread::sleep(PAUSE);
        }
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
    }
}

fn notice(
    noticed: &mut BTreeMap<IpAddr, Moment>,
    events: &mut dyn FnMut(BfdEvent),
    now: Moment,
    source: IpAddr,
    why: Dropped,
) {
    // A restarted end is spoken to by its old discriminator until its peer has understood.
    if why == Dropped::Discriminator || noticed.get(&source).is_some_and(|at| now.since(*at) < QUIET) {
        return;
    }
    if noticed.len() >= SENDERS {
        noticed.retain(|_, at| now.since(*at) < QUIET);
        if noticed.len() >= SENDERS {
            return;
        }
    }
    noticed.insert(source, now);
    events(BfdEvent::Notice(format!("BFD packets of {source} are dropped: {why}")));
}

fn port_words(hops: Hops, family: Family, error: &io::Error) -> String {
    let port = hops.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "BFD cannot hear: UDP port {port} ({family}) is taken, most likely by the BFD of another routing daemon: \
             stop that one, or turn BFD off here"
        ),
        _ => format!("BFD cannot hear on UDP port {port} ({family}): {}", words(error)),
    }
}
