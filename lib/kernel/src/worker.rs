//! The thread that looks after the kernel.
//!
//! It sleeps in poll(2) on the notices and on commands. Before a command it tells the notices that came first, and after
//! its answer those that came meanwhile, each key's last state once: so what is told of a key is in the kernel's order,
//! and the last thing told is what is there.
//!
//! A few routes that are to be written while the thread sleeps are written by whoever sends them: waking a thread takes
//! longer than the kernel takes for them. The order stays the same, as that is done only where nothing waits, neither
//! commands nor notices.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::kernel::{Hop, Key, Write};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::kernel::Gateway;
use crate::notice::News;
use crate::uapi::NUD_VALID;
use crate::watch::{Watch, Written, tell};
use crate::{Command, Event, Kernel, OpenError, Options};

/// How long a gateway may take to answer before it is said not to.
const RESOLVE_WAIT: Duration = Duration::from_secs(1);
/// Most routes that the sender writes itself: some tens of microseconds of kernel work.
const FEW: usize = 16;

/// Handle of the thread; dropping it stops and joins it.
#[derive(Debug)]
pub struct Worker {
    commands: Option<Sender<Command>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread in the network namespace of the calling thread. `events` is called on that thread or inside of
    /// [`Worker::send`]; it must not block, nor call back into this `Worker`.
    pub fn spawn(options: Options, events: impl FnMut(Event) + Send + 'static) -> Result<Worker, OpenError> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| OpenError::Socket { doing: "make an eventfd", error: error.into() })?;
        // Notices from before the first look on, so that none is missed. Both are opened here for their errors.
        let mut watch = Watch::open()?;
        let kernel = Kernel::open(&options)?;
        watch.pass_over(&kernel)?;
        let (sender, commands) = channel();
        let edge = Edge { kernel, watch, resolving: Vec::new(), written: Written::default(), events: Box::new(events) };
        let shared = Arc::new(Shared { edge: Mutex::new(edge), bell, queued: AtomicUsize::new(0) });
        let inbox = Inbox { commands, shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new()
            .name("kernel".to_owned())
            .spawn(move || inbox.run())
            .map_err(OpenError::Thread)?;
        Ok(Worker { commands: Some(sender), shared, thread: Some(thread) })
    }

    /// Queues a command, or does at once what is quickly done. Each is answered by its event, in order.
    pub fn send(&self, command: Command) {
        let Some(command) = self.shared.do_at_once(command) else { return };
        if let Some(commands) = &self.commands {
            self.shared.queued.fetch_add(1, Ordering::AcqRel);
            // The thread ends only after the sender is gone.
            let _ = commands.send(command);
            self.shared.ring();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.commands = None;
        self.shared.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread and whoever sends share.
#[derive(Debug)]
struct Shared {
    edge: Mutex<Edge>,
    bell: OwnedFd,
    /// Commands that are not done yet.
    queued: AtomicUsize,
}

impl Shared {
    fn edge(&self) -> MutexGuard<'_, Edge> {
        self.edge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Writes a few routes if nothing comes before them; gives the command back if it is for the thread.
    fn do_at_once(&self, command: Command) -> Option<Command> {
        let Command::Write(writes) = command else { return Some(command) };
        let few = writes.len() <= FEW && writes.iter().all(|write| matches!(write.key(), Key::Route(_)));
        if !few || self.queued.load(Ordering::Acquire) > 0 {
            return Some(Command::Write(writes));
        }
        match self.edge.try_lock() {
            Ok(mut edge) if edge.kernel.knows_nexthops() && !edge.watch.has_come() => {
                edge.write(writes);
                // What did not come by now has nothing to do with these writes.
                if !edge.watch.has_come() {
                    edge.written = Written::default();
                }
                None
            }
            _ => Some(Command::Write(writes)),
        }
    }
}

/// The thread's side.
struct Inbox {
    commands: Receiver<Command>,
    shared: Arc<Shared>,
}

/// Runs of notices that are looked through for the echo of a write; later ones are told like any other.
const ECHO_ROUNDS: u32 = 8;

/// Both sides of the kernel.
struct Edge {
    kernel: Kernel,
    watch: Watch,
    resolving: Vec<Resolving>,
    /// What was just written, and whose echo may come.
    written: Written,
    events: Box<dyn FnMut(Event) + Send>,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("kernel", &self.kernel).finish_non_exhaustive()
    }
}

/// A gateway that has been asked for and has not answered yet.
struct Resolving {
    hop: Hop,
    gateway: Gateway,
    until: Instant,
}

impl Inbox {
    fn run(&self) {
        // An error of poll(2) itself is told once a second: without notices a read-back is all that is left.
        loop {
            let mut edge = self.shared.edge();
            let more = edge.hear();
            edge.written = Written::default();
            match self.commands.try_recv() {
                Ok(command) => {
                    self.obey(&mut edge, command);
                    continue;
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            edge.give_up_resolving();
            let (sockets, until) = (edge.watch.sockets(), edge.resolving.iter().map(|asked| asked.until).min());
            drop(edge);
            if !more && let Err(error) = self.sleep(&sockets, until) {
                (self.shared.edge().events)(Event::ReadBackNeeded(format!("cannot wait for notices: {error}")));
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }

    fn obey(&self, edge: &mut Edge, command: Command) {
        match command {
            Command::ReadBack(interest) => {
                let event = match edge.kernel.read_back(&interest) {
                    Ok(found) => Event::ReadBack { ours: found.ours, foreign: found.foreign, links: found.links },
                    Err(error) => Event::ReadBackFailed(error.to_string()),
                };
                (edge.events)(event);
            }
            Command::Write(writes) => {
                edge.write(writes);
                for _ in 0..ECHO_ROUNDS {
                    if !edge.hear() {
                        break;
                    }
                }
                edge.written = Written::default();
            }
            Command::Resolve(mut hops) => {
                // Many come one by one, each for one destination.
                let mut next = None;
                while let Ok(command) = self.commands.try_recv() {
                    match command {
                        Command::Resolve(more) => {
                            hops.extend(more);
                            self.shared.queued.fetch_sub(1, Ordering::AcqRel);
                        }
                        other => {
                            next = Some(other);
                            break;
                        }
                    }
                }
                edge.resolve(hops);
                if let Some(command) = next {
                    self.shared.queued.fetch_sub(1, Ordering::AcqRel);
                    edge.hear();
                    return self.obey(edge, command);
                }
            }
        }
        self.shared.queued.fetch_sub(1, Ordering::AcqRel);
    }

    fn sleep(&self, sockets: &[OwnedFd; 2], until: Option<Instant>) -> io::Result<()> {
        let [routes, nft] = sockets;
        let bell = &self.shared.bell;
        let mut fds = [bell, routes, nft].map(|fd| PollFd::new(fd, PollFlags::IN));
        let wait = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = wait.and_then(|wait| Timespec::try_from(wait + Duration::from_millis(1)).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // Quiet until the next ring; every command queued so far is taken before the next sleep.
        let _ = rustix::io::read(bell, &mut [0; 8]);
        Ok(())
    }
}

impl Edge {
    /// Writes and answers; what was written is remembered until it is forgotten by whoever calls.
    fn write(&mut self, writes: Vec<Write>) {
        let results = self.kernel.apply(writes);
        self.written = Written::of(&results);
        let beside = self.kernel.view.beside(&results);
        (self.events)(Event::Wrote(results));
        beside.into_iter().for_each(|foreign| (self.events)(Event::Foreign(foreign)));
    }

    /// Tells the notices that came; `true` if there may be more.
    fn hear(&mut self) -> bool {
        let (mut news, more) = self.watch.drain(&mut self.kernel, !self.resolving.is_empty());
        self.take_answers(&mut news);
        tell(&self.kernel, news, &mut self.written, &mut self.events);
        more
    }

    /// Asks for all, tells of those that are known already; the others are told by a notice or by their deadline.
    fn resolve(&mut self, hops: Vec<Hop>) {
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
            (self.events)(Event::Resolved(known));
        }
    }

    fn take_answers(&mut self, news: &mut News) {
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
            (self.events)(Event::Resolved(known));
        }
    }

    fn give_up_resolving(&mut self) {
        let now = Instant::now();
        let late: Vec<Resolving> = self.resolving.extract_if(.., |asked| asked.until <= now).collect();
        // A notice may have been lost: one last look.
        let told: Vec<_> = late.into_iter().map(|a| (a.hop, self.kernel.is_resolved(&a.gateway))).collect();
        if !told.is_empty() {
            (self.events)(Event::Resolved(told));
        }
    }
}
