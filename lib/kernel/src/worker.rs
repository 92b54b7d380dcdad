//! The thread that owns the kernel.

use crate::{Command, Event, OpenError, Options};

/// Handle of the thread; dropping it stops and joins it.
#[derive(Debug)]
pub struct Worker;

impl Worker {
    /// Starts the thread in the network namespace of the calling thread.
    pub fn spawn(_options: Options, _events: impl FnMut(Event) + Send + 'static) -> Result<Worker, OpenError> {
        Ok(Worker)
    }

    /// Queues a command.
    pub fn send(&self, _command: Command) {}
}
