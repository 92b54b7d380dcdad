//! Everything that moves the daemon, and everything it does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::config::Config;
use model::{NodeName, PodCidr, Prefix, Uid};
use serde::{Deserialize, Serialize};

/// Who this daemon is; fixed for its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the node.
    pub node: NodeName,
    /// The machine behind the name.
    pub uid: Uid,
    /// Version of the daemon.
    pub version: String,
    /// Spreads the timers of many nodes; fixed in a replay.
    pub seed: u64,
}

/// For each remote address, or range of them, with a key of its own: a number that changes with the key. Never the key.
pub type KeyGenerations = BTreeMap<Prefix, u64>;

/// What the core is told. Serialisable, so that a run can be recorded and replayed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::large_enum_variant, reason = "events are handled one by one and never kept")]
pub enum Event {
    /// The store said something.
    Store(cluster::Event),
    /// The kernel thread said something.
    Kernel(kernel::Event),
    /// A TCP connection of BGP moved.
    Peering(peering::Event),
    /// BFD said something of a path to a peer.
    Bfd(peering::BfdEvent),
    /// The configuration was read anew and is valid.
    Config {
        /// The whole configuration.
        config: Box<Config>,
        /// Which keys there are.
        keys: KeyGenerations,
    },
    /// The configuration was read anew and is not valid; the running one stays.
    ConfigRefused(String),
    /// Source addresses of the default routes, IPv4 first: the underlay of a node whose file names no address.
    Underlay(Vec<IpAddr>),
    /// The conflist for the container runtime was written (true), was right already, or could not be written.
    PodsInstalled(Result<bool, String>),
    /// A prefix of our own can be forwarded from now on (true), or cannot; whatever of it is configured is announced or
    /// held back accordingly. Can be said before the prefix is configured.
    Advertise {
        /// Which.
        prefix: Prefix,
        /// Can it be forwarded?
        on: bool,
    },
    /// The operator asks through the socket; answered by [`Effect::Answer`] with the same number.
    Operator(u64, status::Operation),
    /// A deadline of [`crate::Core::poll_timeout`] has come.
    Timeout,
    /// The process is about to end: the last event of a run.
    Terminate,
}

/// What the core wants done.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// Tell the store.
    Store(cluster::Command),
    /// Tell the kernel thread.
    Kernel(kernel::Command),
    /// Tell the TCP edge.
    Peering(peering::Command),
    /// Tell the BFD thread.
    Bfd(peering::BfdCommand),
    /// The node forwards: let the container runtime start pods on it.
    InstallPods {
        /// Ranges of the node's pods.
        pod_cidrs: Vec<PodCidr>,
        /// MTU of pods.
        mtu: u32,
    },
    /// Answer an operator.
    Answer(u64, Result<String, String>),
    /// One line for the log and for `biplane monitor`.
    Say(Notice),
    /// The daemon cannot go on: say why and end with an error.
    Exit(String),
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// Something the operator should look at.
    Warn,
    /// A transition.
    Info,
    /// Detail.
    Debug,
}

pub use status::EventKind as Topic;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// How much it matters.
    pub level: Level,
    /// What it is about.
    pub topic: Topic,
    /// The line.
    pub text: String,
}
