//! The files store.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use model::{NodeName, Uid};

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
}

pub(crate) fn spawn(_: PathBuf, _: Duration, identity: Identity, _: Events) -> Result<Handle, Error> {
    let _ = (identity.node, identity.uid);
    Err(Error { what: "the files store", source: std::io::ErrorKind::Unsupported.into() })
}

impl Handle {
    pub(crate) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}
