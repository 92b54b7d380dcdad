//! The thread that owns the kernel.
//!
//! It sleeps in poll(2) on the notices and on commands. Before a command it tells the notices that came first, and after
//! its answer those that came meanwhile, each key's last state once: so what is told of a key is in the kernel's order,
//! and the last thing told is what is there.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::kernel::Hop;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::kernel::Gateway;
use crate::notice::News;
use crate::uapi::NUD_VALID;
use crate::watch::{Watch, Written, tell};
use crate::{Command, Event, Kernel, OpenError, Options};

/// How long a gateway may take to answer before it is said not to.
const RESOLVE_WAIT: Duration = Duration::from_secs(1);

/// Handle of the thread; dropping it stops and joins it.
#[derive(Debug)]
pub struct Worker {
    commands: Option<Sender<Command>>,
    bell: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread in the network namespace of the calling thread. `events` is called on that thread; it must not
    /// block.
    pub fn spawn(options: Options, mut events: impl FnMut(Event) + Send + 'static) -> Result<Worker, OpenError> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| OpenError::Socket { doing: "make an eventfd", error: error.into() })?;
        let bell = Arc::new(bell);
        // Notices from before the first look on, so that none is missed. Both are opened here for their errors.
        let mut watch = Watch::open()?;
        let kernel = Kernel::open(&options)?;
        watch.pass_over(&kernel)?;
        let (sender, commands) = channel();
        let inbox = Inbox { commands, bell: Arc::clone(&bell) };
        let thread = std::thread::Builder::new()
            .name("kernel".to_owned())
            .spawn(move || Edge { kernel, watch, resolving: Vec::new() }.run(&inbox, &mut events))
            .map_err(OpenError::Thread)?;
        Ok(Worker { commands: Some(sender), bell, thread: Some(thread) })
    }

    /// Queues a command. Each is answered by its event, in order.
    pub fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // The thread ends only after the sender is gone.
            let _ = commands.send(command);
            self.ring();
        }
    }

    fn ring(&self) {
        let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.commands = None;
        self.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Inbox {
    commands: Receiver<Command>,
    bell: Arc<OwnedFd>,
}

/// Runs of notices that are looked through for the echo of a write; later ones are told like any other.
const ECHO_ROUNDS: u32 = 8;

/// What the thread owns.
struct Edge {
    kernel: Kernel,
    watch: Watch,
    resolving: Vec<Resolving>,
}

/// A gateway that has been asked for and has not answered yet.
struct Resolving {
    hop: Hop,
    gateway: Gateway,
    until: Instant,
}

impl Edge {
    fn run(&mut self, inbox: &Inbox, events: &mut impl FnMut(Event)) {
        // An error of poll(2) itself is told once a second: without notices a read-back is all that is left.
        loop {
            let more = self.hear(&mut Written::default(), events);
            match inbox.commands.try_recv() {
                Ok(command) => {
                    self.obey(command, inbox, events);
                    continue;
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            self.give_up_resolving(events);
            if !more && let Err(error) = self.sleep(inbox) {
                events(Event::ReadBackNeeded(format!("cannot wait for notices: {error}")));
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }

    fn obey(&mut self, command: Command, inbox: &Inbox, events: &mut impl FnMut(Event)) {
        match command {
            Command::ReadBack(interest) => match self.kernel.read_back(&interest) {
                Ok(found) => events(Event::ReadBack { ours: found.ours, foreign: found.foreign, links: found.links }),
                Err(error) => events(Event::ReadBackFailed(error.to_string())),
            },
            Command::Write(writes) => {
                let results = self.kernel.apply(writes);
                let mut written = Written::of(&results);
                events(Event::Wrote(results));
                for _ in 0..ECHO_ROUNDS {
                    if !self.hear(&mut written, events) {
                        break;
                    }
                }
            }
            Command::Resolve(mut hops) => {
                // Many come one by one, each for one destination.
                let mut next = None;
                while let Ok(command) = inbox.commands.try_recv() {
                    match command {
                        Command::Resolve(more) => hops.extend(more),
                        other => {
                            next = Some(other);
                            break;
                        }
                    }
                }
                self.resolve(hops, events);
                if let Some(command) = next {
                    self.hear(&mut Written::default(), events);
                    self.obey(command, inbox, events);
                }
            }
        }
    }

    /// Tells the notices that came; `true` if there may be more.
    fn hear(&mut self, written: &mut Written, events: &mut impl FnMut(Event)) -> bool {
        let (mut news, more) = self.watch.drain(&mut self.kernel, !self.resolving.is_empty());
        self.take_answers(&mut news, events);
        tell(&self.kernel, news, written, events);
        more
    }

    /// Asks for all, tells of those that are known already; the others are told by a notice or by their deadline.
    fn resolve(&mut self, hops: Vec<Hop>, events: &mut impl FnMut(Event)) {
        let gateways = self.kernel.gateways(&hops);
        self.kernel.use_gateways(&gateways);
        let until = Instant::now() + RESOLVE_WAIT;
        let mut known = Vec::new();
        for (hop, gateway) in hops.into_iter().zip(gateways) {
            if self.kernel.is_resolved(&gateway) {
                known.push((hop, true));
            } else if matches!(gateway, Gateway::At(..)) {
                self.resolving.push(Resolving { hop, gateway, until });
            } else {
                known.push((hop, false));
            }
        }
        if !known.is_empty() {
            events(Event::Resolved(known));
        }
    }

    fn take_answers(&mut self, news: &mut News, events: &mut impl FnMut(Event)) {
        if self.resolving.is_empty() || news.neighbours.is_empty() {
            return;
        }
        let valid: std::collections::BTreeSet<_> =
            news.neighbours.drain(..).filter(|(.., state)| state & NUD_VALID != 0).map(|(i, ip, _)| (i, ip)).collect();
        let answered = self
            .resolving
            .extract_if(.., |asked| matches!(asked.gateway, Gateway::At(index, ip) if valid.contains(&(index, ip))));
        let known: Vec<_> = answered.map(|asked| (asked.hop, true)).collect();
        if !known.is_empty() {
            events(Event::Resolved(known));
        }
    }

    fn give_up_resolving(&mut self, events: &mut impl FnMut(Event)) {
        let now = Instant::now();
        let late: Vec<Resolving> = self.resolving.extract_if(.., |asked| asked.until <= now).collect();
        // A notice may have been lost: one last look.
        let told: Vec<_> = late.into_iter().map(|a| (a.hop, self.kernel.is_resolved(&a.gateway))).collect();
        if !told.is_empty() {
            events(Event::Resolved(told));
        }
    }

    fn sleep(&self, inbox: &Inbox) -> io::Result<()> {
        let (routes, nft) = (self.watch.route_socket(), self.watch.nft_socket());
        let mut fds = [
            PollFd::new(&*inbox.bell, PollFlags::IN),
            PollFd::new(&routes, PollFlags::IN),
            PollFd::new(&nft, PollFlags::IN),
        ];
        let now = Instant::now();
        let deadline = self.resolving.iter().map(|asked| asked.until.saturating_duration_since(now)).min();
        let timeout = deadline.and_then(|wait| Timespec::try_from(wait + Duration::from_millis(1)).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Quiet until the next ring; every command queued so far is taken before the next sleep.
        let _ = rustix::io::read(&*inbox.bell, &mut [0; 8]);
        Ok(())
    }
}
