//! Everything that moves the daemon, and everything it does.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use model::config::Config;
use model::kernel::{Foreign, Key, LinkInfo, Refusal, SysctlPath, Value, Write};
use model::{PodCidr, Prefix, Wish};
use serde::{Deserialize, Serialize};

/// What the core is told. Serialisable, so that a run can be recorded and replayed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Event {
    /// The store said something.
    Store(cluster::Event),
    /// The kernel thread said something.
    Kernel(KernelEvent),
    /// A TCP connection of BGP moved.
    Peering(PeeringEvent),
    /// The configuration was read anew and is valid.
    Config {
        /// The whole configuration.
        config: Box<Config>,
        /// For each remote address with an MD5 key: a number that changes with the key. Never the key.
        keys: BTreeMap<IpAddr, u64>,
    },
    /// The configuration was read anew and is not valid; the running one stays.
    ConfigRefused(String),
    /// The operator asks through the socket; answered by [`Effect::Answer`] with the same number.
    Operator(u64, Operation),
    /// A deadline of [`crate::Core::poll_timeout`] has come.
    Timeout,
}

/// From the kernel thread, in the order of the commands it was given.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KernelEvent {
    /// A full read-back.
    ReadBack {
        /// Everything under our mark.
        ours: Vec<(Key, Value)>,
        /// What of others stands in our way or beside us.
        foreign: Vec<Foreign>,
        /// All links.
        links: Vec<LinkInfo>,
    },
    /// The read-back failed; it will be asked for again.
    ReadBackFailed(String),
    /// A batch was written, each write with its own result.
    Wrote(Vec<(Write, Result<(), Refusal>)>),
    /// Somebody else changed an object of ours, or one with a key of ours.
    Changed(Key, Option<Value>),
    /// Somebody else's object with a key of ours was seen.
    Foreign(Foreign),
    /// Links or addresses changed; here they are.
    Links(Vec<LinkInfo>),
    /// Notices were lost, or a link of ours changed: everything must be read back.
    ReadBackNeeded(String),
    /// The conflist for the container runtime was written, or could not be.
    PodsInstalled(Result<bool, String>),
}

/// From the TCP edge.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PeeringEvent {
    /// Both families are listened on.
    Listening,
    /// The port cannot be had.
    ListenFailed(String),
    /// A dial of ours is through.
    Dialed {
        /// Number that [`Effect::Dial`] gave.
        conn: u64,
        /// Our end.
        local: SocketAddr,
    },
    /// A dial of ours failed.
    DialFailed {
        /// Number that [`Effect::Dial`] gave.
        conn: u64,
        /// Why, in words.
        error: String,
    },
    /// Somebody dialled us.
    Accepted {
        /// Number of the connection, top bit set.
        conn: u64,
        /// Our end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
    /// Bytes came in.
    Bytes {
        /// The connection.
        conn: u64,
        /// At most 64 KiB.
        #[serde(with = "bytes_as_list")]
        bytes: Bytes,
    },
    /// The connection is gone.
    Closed {
        /// The connection.
        conn: u64,
        /// Why, unless it was closed in order.
        error: Option<String>,
    },
    /// Everything queued was handed to TCP.
    Drained(u64),
}

/// What an operator can ask that changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// The whole cluster is to move to a plane; `None` takes the wish back: every node follows its own file.
    Switch(Option<model::Plane>),
    /// Close a BGP session and open it again.
    BgpReset {
        /// The peer; all if `None`.
        peer: Option<IpAddr>,
        /// Only ask for the routes again (RFC 2918), without closing.
        soft: bool,
    },
}

/// What the core wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell the store.
    Store(StoreEffect),
    /// Read everything of ours back from the kernel.
    ReadBack(Interest),
    /// Write to the kernel, in this order, in one go.
    Write(Vec<Write>),
    /// Listen for BGP on this TCP port.
    Listen(u16),
    /// Listen no more.
    StopListening,
    /// Open a TCP connection to a peer.
    Dial {
        /// Number of the connection.
        conn: u64,
        /// Where to.
        remote: SocketAddr,
        /// Source address; the kernel's choice if absent.
        local: Option<IpAddr>,
    },
    /// Send on a connection.
    Send {
        /// The connection.
        conn: u64,
        /// What.
        bytes: Bytes,
    },
    /// Close a connection.
    Close {
        /// The connection.
        conn: u64,
        /// Let what is queued (a NOTIFICATION) go out first.
        flush: bool,
    },
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
}

/// What goes to the store.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreEffect {
    /// Claim a pod CIDR.
    Create(alloc::Claim),
    /// Own addresses changed.
    Update(alloc::Claim),
    /// Give a claim of ours back.
    Release(PodCidr),
    /// Own phase.
    Phase(model::NodePhase),
    /// The coordinator's digest.
    Digest(model::Digest),
    /// The cluster's wish.
    Wish(Option<Wish>),
}

/// What a read-back must look at besides everything under our mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Routes of others inside these are told.
    pub pools: Vec<Prefix>,
    /// Sysctls to read.
    pub sysctls: Vec<SysctlPath>,
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something the operator should look at.
    Warn,
    /// A transition.
    Info,
    /// Detail.
    Debug,
}

/// One line: kind, words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub level: Level,
    /// `bgp`, `route`, `link`, `ipam`, `mode`, `config`, `store`.
    pub kind: &'static str,
    /// The line.
    pub text: String,
}

mod bytes_as_list {
    use super::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(bytes.iter())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Bytes, D::Error> {
        Vec::<u8>::deserialize(d).map(Bytes::from)
    }
}
