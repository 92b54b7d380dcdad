//! The store's thread.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use alloc::{ClaimStore, Created, Released, Updated};
use model::NodeName;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::claims::json;
use super::disk::{Disk, Lock};
use super::mirror::{Due, Mirror};
use super::queue::Queue;
use super::record::{DIGEST, Place, WISH, phase_name, slot_name};
use super::trouble::Trouble;
use super::watch::Watch;
use super::{Bell, Events, Identity};
use crate::{Command, Event, Outcome};

/// Waits between tries while something cannot be done.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Everything is listed anew, should a notice have been lost.
const RELIST: Duration = Duration::from_secs(30);
/// The directory is looked at: is it there, is it full, who lives.
const LOOK: Duration = Duration::from_secs(1);
/// How often at most a file system that calls itself full, and is not, is tried.
const PROBE: Duration = Duration::from_secs(5);
/// How often a daemon tries to become coordinator.
const CANDIDACY: Duration = Duration::from_millis(250);
/// How often a daemon tries for its own lock, and for how long: the one before it may be on its way out, and the
/// coordinator's look at the lock takes it for an instant.
const LIVE_TRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Longest node name whose files have names of at most 255 bytes.
const MAX_NODE_NAME: usize = 250;

pub(crate) struct Worker {
    path: PathBuf,
    quarantine: Duration,
    identity: Identity,
    events: Events,
    commands: mpsc::Receiver<Command>,
    bell: Arc<Bell>,
    queue: Queue,
    mirror: Mirror,
    /// Identity of the store, from the first opening on.
    store: Option<String>,
    open: Option<Open>,
    live: Live,
    coordinator: Option<Lock>,
    live_told: Option<BTreeSet<NodeName>>,
    /// A `Listed` is owed: at the start, and after the store was away.
    owes_list: bool,
    read_trouble: Option<Trouble>,
    write_trouble: Option<Trouble>,
    down_told: Option<String>,
    warned_of_watch: bool,
    reopen: Retry,
    rewrite: Retry,
    timers: Timers,
}

/// The store while it can be read.
struct Open {
    disk: Disk,
    /// `None` if the kernel has no watch left: then every look is a list.
    watch: Option<Watch>,
}

/// This node's own lock.
enum Live {
    Wanted { since: Option<Instant> },
    Held(Lock),
}

/// When to try again.
struct Retry {
    wait: Duration,
    at: Instant,
}

struct Timers {
    look: Instant,
    probe: Instant,
    relist: Instant,
    candidacy: Instant,
    live: Instant,
}

/// Why the thread ends.
enum End {
    Stopped,
    Fatal(String),
}

impl Worker {
    pub(crate) fn new(
        path: PathBuf,
        quarantine: Duration,
        identity: Identity,
        events: Events,
        commands: mpsc::Receiver<Command>,
        bell: Arc<Bell>,
    ) -> Worker {
        let now = Instant::now();
        Worker {
            path,
            quarantine,
            identity,
            events,
            commands,
            bell,
            queue: Queue::default(),
            mirror: Mirror::default(),
            store: None,
            open: None,
            live: Live::Wanted { since: None },
            coordinator: None,
            live_told: None,
            owes_list: true,
            read_trouble: None,
            write_trouble: None,
            down_told: None,
            warned_of_watch: false,
            reopen: Retry::now(now),
            rewrite: Retry::now(now),
            timers: Timers { look: now + LOOK, probe: now, relist: now + RELIST, candidacy: now, live: now },
        }
    }

    pub(crate) fn run(mut self) {
        if let End::Fatal(words) = self.work() {
            // Locks go before the words: who restarts on them finds nothing in its way.
            let events = std::mem::replace(&mut self.events, Box::new(|_| {}));
            drop(self);
            events(Event::Fatal(words));
        }
    }

    fn work(&mut self) -> End {
        let node = &self.identity.node;
        if node.as_str().len() > MAX_NODE_NAME {
            return End::Fatal(format!(
                "node name `{node}` is too long for the files store: at most {MAX_NODE_NAME} characters; set node.name"
            ));
        }
        loop {
            self.bell.silence();
            let stopping = self.bell.stopping();
            while let Ok(command) = self.commands.try_recv() {
                self.queue.push(command);
                // News is worth a try soon, however long the last wait has become.
                self.rewrite.at = self.rewrite.at.min(Instant::now() + BACKOFF.0);
            }
            if let Err(end) = self.pass() {
                return end;
            }
            if stopping {
                return End::Stopped;
            }
            self.sleep();
        }
    }

    /// Everything that is due now.
    fn pass(&mut self) -> Result<(), End> {
        let now = Instant::now();
        self.poll_open(now);
        self.poll_live(now)?;
        self.poll_changes(now);
        // The list comes before anything that the commands change.
        self.announce();
        let answers = self.poll_commands(now);
        self.announce();
        for (command, answer) in answers {
            (self.events)(Event::Done(command, answer));
        }
        self.poll_coordinator(now);
        if now >= self.timers.look {
            self.timers.look = now + LOOK;
        }
        Ok(())
    }

    /// Opens the store if it is not, and looks whether it is still there if it is.
    fn poll_open(&mut self, now: Instant) {
        let trouble = match &self.open {
            Some(open) if now >= self.timers.look => open.disk.check().err(),
            Some(_) => return,
            None if now < self.reopen.at => return,
            None => match Disk::open(&self.path, &self.identity.node, self.store.as_deref()) {
                Err(trouble) => Some(trouble),
                Ok(disk) => {
                    self.store = Some(disk.id().to_owned());
                    // The watch before the list: what changes in between is seen twice rather than never.
                    let watch = Watch::new(&disk);
                    if let Err(trouble) = &watch
                        && !std::mem::replace(&mut self.warned_of_watch, true)
                    {
                        (self.events)(Event::Warn(trouble.to_string()));
                    }
                    self.open = Some(Open { disk, watch: watch.ok() });
                    self.timers.relist = now;
                    self.owes_list = true;
                    None
                }
            },
        };
        if let Some(trouble) = trouble {
            self.lose(trouble);
        }
    }

    /// The store cannot be read: what was told stands until it can.
    fn lose(&mut self, trouble: Trouble) {
        self.open = None;
        self.owes_list = true;
        self.read_trouble = Some(trouble);
        self.reopen.later(Instant::now());
    }

    /// Takes or keeps this node's lock. While it waits for another holder to go, nothing is listed and nothing written.
    fn poll_live(&mut self, now: Instant) -> Result<(), End> {
        let Some(open) = &self.open else { return Ok(()) };
        match &mut self.live {
            Live::Held(lock) if now < self.timers.look || open.disk.is_live_lock(lock) => {}
            Live::Wanted { .. } if now < self.timers.live => {}
            live => match open.disk.lock_live(&self.identity.uid) {
                Ok(Some(lock)) => {
                    // Of the daemon before this one, if it died while it wrote.
                    open.disk.discard_prepared();
                    *live = Live::Held(lock);
                }
                Ok(None) => {
                    self.timers.live = now + LIVE_TRY.0;
                    let since = match live {
                        Live::Wanted { since: Some(since) } => *since,
                        _ => now,
                    };
                    *live = Live::Wanted { since: Some(since) };
                    if now.duration_since(since) >= LIVE_TRY.1 {
                        let (path, holder) = open.disk.live_holder();
                        let node = &self.identity.node;
                        return Err(End::Fatal(format!(
                            "another daemon runs as node {node}: {} is held by it ({holder}); give one of the two machines another node.name, or stop the other daemon",
                            path.display()
                        )));
                    }
                }
                Err(trouble) => {
                    // Cannot be made: the disk is full or read-only. Reading goes on, nothing is written.
                    *live = Live::Wanted { since: None };
                    self.timers.live = now + BACKOFF.1;
                    self.write_trouble = Some(trouble);
                    self.rewrite.later(now);
                }
            },
        }
        Ok(())
    }

    /// May what others wrote be told already? Not while another daemon of this name may be the real one.
    fn may_list(&self) -> bool {
        !matches!(self.live, Live::Wanted { since: Some(_) }) || !self.owes_list
    }

    /// Reads what changed, or everything.
    fn poll_changes(&mut self, now: Instant) {
        if !self.may_list() {
            return;
        }
        let Some(open) = &mut self.open else { return };
        let look = now >= self.timers.look;
        let changes = open.watch.as_mut().map(Watch::read).unwrap_or_default();
        let polled = open.watch.is_none() && look;
        let complaints = self.mirror.next_complaint().is_some_and(|due| due <= now);
        let events = &self.events;
        let quiet = self.owes_list;
        let mut tell = |event: Event| {
            // Before a list only warnings are news: the list says all the rest.
            if !quiet || matches!(event, Event::Warn(_)) {
                events(event);
            }
        };
        let read = if changes.moved
            && let Err(trouble) = open.disk.check()
        {
            Err(trouble)
        } else if changes.overflow || quiet {
            self.timers.relist = now + RELIST;
            self.mirror.read_all(&open.disk, false, &mut tell)
        } else if polled || now >= self.timers.relist {
            self.timers.relist = now + RELIST;
            self.mirror.read_all(&open.disk, true, &mut tell)
        } else if !changes.files.is_empty() || complaints {
            self.mirror.read(&open.disk, changes.files, false, &mut tell)
        } else {
            Ok(())
        };
        match read {
            Ok(()) => {
                self.read_trouble = None;
                self.reopen = Retry::now(now);
            }
            Err(trouble) => self.lose(trouble),
        }
        if look {
            self.look_for_space(now);
        }
    }

    /// A full disk should be known before somebody needs to write.
    fn look_for_space(&mut self, now: Instant) {
        if let Some(open) = &self.open
            && self.write_trouble.is_none()
            && matches!(self.live, Live::Held(_))
            && now >= self.timers.probe
            && open.disk.looks_unwritable()
        {
            self.timers.probe = now + PROBE;
            if let Err(trouble) = open.disk.probe() {
                self.write_trouble = Some(trouble);
                self.rewrite.later(now);
            }
        }
    }

    /// Carries out what waits, and tidies up freed pod CIDRs; the answers are to be given once the changes are told.
    fn poll_commands(&mut self, now: Instant) -> Vec<(Command, Result<Outcome, String>)> {
        let mut answers = Vec::new();
        let ready = self.read_trouble.is_none() && self.may_list() && matches!(self.live, Live::Held(_));
        if !ready || (self.write_trouble.is_some() && now < self.rewrite.at) {
            return answers;
        }
        let Some(open) = &mut self.open else { return answers };
        let is_coordinator = self.coordinator.as_ref().is_some_and(|lock| open.disk.is_coordinator_lock(lock));
        let mut touched = BTreeSet::new();
        let mut trouble = None;
        let mut collided = false;
        for command in self.queue.take() {
            match execute(&mut open.disk, &command, &self.identity.node, is_coordinator, &mut touched) {
                Ok(answer) => {
                    collided |= answer == Ok(Outcome::Taken);
                    answers.push((command, answer));
                }
                Err(failed) => {
                    trouble.get_or_insert(failed);
                    self.queue.push(command);
                }
            }
        }
        for (left, due) in self.mirror.freed(self.quarantine, open.disk.boot_id()) {
            if !left.is_zero() {
                continue;
            }
            let (cidr, done) = match due {
                Due::FinishRelease(cidr) => (cidr, open.disk.finish_release(&cidr)),
                Due::EndQuarantine(cidr, seen) => (cidr, open.disk.end_quarantine(&cidr, self.quarantine, seen)),
            };
            touched.extend([(Place::Claims, slot_name(&cidr)), (Place::Quarantine, slot_name(&cidr))]);
            if let Err(failed) = done {
                trouble.get_or_insert(failed);
            }
        }
        if trouble.is_none() && self.write_trouble.is_some() && answers.is_empty() {
            trouble = open.disk.probe().err();
        }
        match trouble {
            None => {
                self.write_trouble = None;
                self.rewrite = Retry::now(now);
            }
            Some(failed) => {
                self.write_trouble = Some(failed);
                self.rewrite.later(now);
            }
        }
        let events = &self.events;
        let mut tell = |event: Event| events(event);
        // What the answer rests on is told before the answer.
        let told = if collided {
            self.mirror.read_all(&open.disk, false, &mut tell)
        } else {
            self.mirror.read(&open.disk, touched, false, &mut tell)
        };
        if let Err(trouble) = told {
            self.lose(trouble);
        }
        answers
    }

    /// Tells how the store is, and the list that is owed.
    fn announce(&mut self) {
        let trouble = self.read_trouble.as_ref().or(self.write_trouble.as_ref()).map(ToString::to_string);
        if trouble.is_some() && trouble != self.down_told {
            self.down_told.clone_from(&trouble);
            (self.events)(Event::Down(trouble.clone().unwrap_or_default()));
        }
        let is_up_again = trouble.is_none() && self.down_told.is_some();
        if self.open.is_some() && self.read_trouble.is_none() && self.may_list() && (self.owes_list || is_up_again) {
            self.owes_list = false;
            (self.events)(Event::Listed(self.mirror.snapshot()));
            if is_up_again {
                self.down_told = None;
                (self.events)(Event::Up);
            }
        }
    }

    /// Becomes coordinator, stays it, or notices that it is no longer.
    fn poll_coordinator(&mut self, now: Instant) {
        if now < self.timers.candidacy {
            return;
        }
        let can = !self.owes_list && matches!(self.live, Live::Held(_));
        let held = match (&self.open, self.coordinator.take()) {
            (Some(open), Some(lock)) if can => Some(lock).filter(|lock| open.disk.is_coordinator_lock(lock)),
            // Nothing can be published now; another daemon that can should.
            (_, Some(_)) => None,
            (Some(open), None) if can => {
                self.timers.candidacy = now + CANDIDACY;
                let Ok(Some(lock)) = open.disk.lock_coordinator() else { return };
                // The coordinator before may have written a digest since our last look; the next one must follow it.
                self.timers.relist = now;
                self.poll_changes(now);
                self.announce();
                if self.owes_list || self.open.is_none() {
                    return;
                }
                self.coordinator = Some(lock);
                (self.events)(Event::Coordinator(true));
                self.tell_live(now);
                return;
            }
            (_, None) => {
                self.timers.candidacy = now + CANDIDACY;
                return;
            }
        };
        self.coordinator = held;
        if self.coordinator.is_some() {
            self.tell_live(now);
        } else {
            self.timers.candidacy = now + CANDIDACY;
            self.live_told = None;
            (self.events)(Event::Coordinator(false));
        }
    }

    fn tell_live(&mut self, now: Instant) {
        self.timers.candidacy = now + LOOK;
        let Some(open) = &self.open else { return };
        match open.disk.live_nodes() {
            Ok(nodes) => {
                let live = Some(nodes.into_iter().collect());
                if live != self.live_told {
                    self.live_told = live;
                    (self.events)(Event::Live(self.live_told.clone().unwrap_or_default()));
                }
            }
            Err(trouble) => self.lose(trouble),
        }
    }

    /// Until something is due, the watch tells something, or the bell rings.
    fn sleep(&self) {
        let now = Instant::now();
        let mut due = self.timers.candidacy;
        match &self.open {
            None => due = due.min(self.reopen.at),
            Some(_) if !self.may_list() => due = due.min(self.timers.live),
            Some(open) => {
                due = due.min(self.timers.look).min(self.timers.relist);
                due = self.mirror.next_complaint().map_or(due, |complaint| due.min(complaint));
                match (&self.live, &self.write_trouble) {
                    (Live::Wanted { .. }, _) => due = due.min(self.timers.live),
                    (Live::Held(_), Some(_)) => due = due.min(self.rewrite.at),
                    (Live::Held(_), None) => {
                        let freed = self.mirror.freed(self.quarantine, open.disk.boot_id());
                        due = freed.into_iter().map(|(left, _)| now + left).fold(due, Instant::min);
                    }
                }
            }
        }
        // Not less than a millisecond: what cannot be done right now must not turn into a busy loop.
        let wait = due.saturating_duration_since(now).max(Duration::from_millis(1));
        let Ok(timeout) = Timespec::try_from(wait) else { return };
        let mut fds = vec![PollFd::new(&self.bell.fd, PollFlags::IN)];
        let watch = self.open.as_ref().and_then(|open| open.watch.as_ref());
        let watch = watch.filter(|_| self.may_list()).map(Watch::fd);
        if let Some(fd) = &watch {
            fds.push(PollFd::new(fd, PollFlags::IN));
        }
        // An interrupted wait is a short one.
        let _ = poll(&mut fds, Some(&timeout));
    }
}

/// Carries out one command. `touched` gets the files that it may have changed.
fn execute(
    disk: &mut Disk,
    command: &Command,
    node: &NodeName,
    is_coordinator: bool,
    touched: &mut BTreeSet<(Place, String)>,
) -> Result<Result<Outcome, String>, Trouble> {
    let outcome = |done: bool| if done { Outcome::Done } else { Outcome::Taken };
    let not_ours = |of: &NodeName| (of != node).then(|| format!("this daemon is node {node}, not {of}"));
    let slot = |touched: &mut BTreeSet<(Place, String)>, cidr| {
        touched.extend([(Place::Claims, slot_name(cidr)), (Place::Quarantine, slot_name(cidr))]);
    };
    Ok(Ok(match command {
        Command::Create(claim) | Command::Update(claim) if claim.node != *node => {
            return Ok(Err(not_ours(&claim.node).unwrap_or_default()));
        }
        Command::Phase(phase) if phase.node != *node => return Ok(Err(not_ours(&phase.node).unwrap_or_default())),
        Command::Create(claim) => {
            slot(touched, &claim.pod_cidr);
            outcome(disk.create(claim)? == Created::Created)
        }
        Command::Update(claim) => {
            slot(touched, &claim.pod_cidr);
            outcome(disk.update(claim)? == Updated::Updated)
        }
        Command::Release(cidr) => {
            slot(touched, cidr);
            outcome(disk.release(cidr, node)? == Released::Released)
        }
        Command::Phase(phase) => {
            touched.insert((Place::Phases, phase_name(node)));
            disk.replace(Place::Phases, &phase_name(node), &json(phase)?)?;
            Outcome::Done
        }
        Command::Digest(_) if !is_coordinator => return Ok(Err("this daemon is not the coordinator".to_owned())),
        Command::Digest(digest) => {
            touched.insert((Place::Root, DIGEST.to_owned()));
            disk.replace(Place::Root, DIGEST, &json(digest)?)?;
            Outcome::Done
        }
        Command::Wish(wish) => {
            touched.insert((Place::Root, WISH.to_owned()));
            outcome(disk.wish(wish.as_ref())?)
        }
    }))
}

impl Retry {
    fn now(now: Instant) -> Retry {
        Retry { wait: Duration::ZERO, at: now }
    }

    /// Twice as late as the last time.
    fn later(&mut self, now: Instant) {
        self.wait = (self.wait * 2).clamp(BACKOFF.0, BACKOFF.1);
        self.at = now + self.wait;
    }
}
