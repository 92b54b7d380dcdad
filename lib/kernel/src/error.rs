//! What can go wrong before a write is even tried. A refused write is a [`model::kernel::Refusal`].

use std::io;

/// The kernel's doors could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No CAP_NET_ADMIN in the user namespace that owns this network namespace.
    #[error(
        "no permission to change routes: biplaned needs CAP_NET_ADMIN; start it as root, or give the capability \
         (systemd: AmbientCapabilities=CAP_NET_ADMIN, Kubernetes: securityContext.capabilities.add: [NET_ADMIN])"
    )]
    Permission,
    /// A socket could not be made or set up.
    #[error("netlink socket: {doing}: {error}")]
    Socket {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel is too old or built without what routes of ours name.
    #[error("this kernel has no nexthop objects: Linux 5.3 or newer is needed")]
    NoNexthopObjects,
    /// The first look at the kernel failed.
    #[error("cannot read the kernel: {0}")]
    Read(String),
    /// The thread could not be started.
    #[error("thread of the kernel edge: {0}")]
    Thread(io::Error),
}

/// A read-back failed; the next one may not.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel or the socket failed.
    #[error("{doing}: {error}")]
    Io {
        /// What was being read.
        doing: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// Tables changed under every try, so no dump was whole (`NLM_F_DUMP_INTR`).
    #[error("{0}: the table changed during each of {1} dumps")]
    Interrupted(&'static str, u32),
    /// Reading one of the things that are not rtnetlink failed.
    #[error("{0}")]
    Other(String),
}
