//! The files store: a directory that all daemons of a machine, or of a lab, share.
//!
//! One thread does everything, in the order events come: it sleeps in poll(2) on inotify and on an eventfd for
//! commands, and wakes for its few timers. The directory's layout is told in [`record`], how files get there in
//! [`disk`], how claims change in [`claims`].

mod claims;
mod disk;
mod mirror;
mod queue;
mod record;
mod trouble;
mod watch;
mod worker;

#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use model::{NodeName, Uid};
use rustix::event::{EventfdFlags, eventfd};

use crate::{Command, Error, Event};

/// Whose store this is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) node: NodeName,
    pub(crate) uid: Uid,
}

pub(crate) type Events = Box<dyn Fn(Event) + Send + Sync>;

/// The running thread.
#[derive(Debug)]
pub(crate) struct Handle {
    commands: mpsc::Sender<Command>,
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

/// Wakes the thread.
#[derive(Debug)]
pub(crate) struct Bell {
    fd: OwnedFd,
    stop: AtomicBool,
}

pub(crate) fn spawn(path: PathBuf, quarantine: Duration, identity: Identity, events: Events) -> Result<Handle, Error> {
    let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| Error { what: "no descriptor", source: errno.into() })?;
    let bell = Arc::new(Bell { fd, stop: AtomicBool::new(false) });
    let (commands, received) = mpsc::channel();
    let worker = worker::Worker::new(path, quarantine, identity, events, received, bell.clone());
    let thread = std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || worker.run())
        .map_err(|source| Error { what: "no thread", source })?;
    Ok(Handle { commands, bell, thread: Some(thread) })
}

impl Handle {
    pub(crate) fn send(&self, command: Command) {
        // Nobody takes it after `Event::Fatal`, as promised.
        let _ = self.commands.send(command);
        self.bell.ring();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.bell.stop.store(true, Ordering::SeqCst);
        self.bell.ring();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Bell {
    fn ring(&self) {
        // Full means that it rings already.
        let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
    }

    fn silence(&self) {
        let _ = rustix::io::read(&self.fd, &mut [0_u8; 8]);
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}
