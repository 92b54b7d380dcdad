//! The JSON documents: what the daemon tells people and their programs.
//!
//! This is a contract, held by snapshots in `tests/documents.rs`. Its law:
//! - Every document has `apiVersion` and `kind` at its top ([`Document`]). Lists keep their rows in `items`.
//! - camelCase. Enums are strings. Addresses, prefixes and devices are text. Times are RFC 3339 in UTC with
//!   milliseconds ([`rfc3339`]). Durations are numbers whose names end in `Seconds`.
//! - What is not known is `null` or absent in meaning, never 0 or "".
//! - Field names are iproute2's where they mean the same (`dst`, `mac`, `mtu`).
//! - A field may be added within one version, with `#[serde(default)]`, so that a newer command line still reads an
//!   older daemon; renaming or removing one makes a new [`API_VERSION`].

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use model::{Asn, NodeName, Plane, PlaneSet, PodCidr, RouterId, StateName, Uid};
use serde::{Deserialize, Serialize};

mod bfd;
mod bgp;
mod explain;
mod forwarding;
mod ipam;
mod metrics;
mod mode;

pub use bfd::{BfdSession, BfdSessions, BfdState};
pub use bgp::{
    BgpPeer, BgpPeers, BgpRoute, BgpRoutes, BgpState, FamilyCounts, Origin, PeerType, RouteDirection, RouteVerdict,
    Stranger, Undiscovered,
};
pub use explain::{
    ExplainCarry, ExplainClaim, ExplainDoc, ExplainHop, ExplainOverlay, ExplainPlane, ExplainRoute, ExplainVerdict,
};
pub use forwarding::{
    FdbDoc, LinkDoc, LinkState, NeighbourDoc, ObjectState, RouteDoc, RouteKind, RouteState, Routes, VxlanDoc,
};
pub use ipam::{BlockDoc, BlockState, IpamDoc, IpamProblem, PoolDoc};
pub use metrics::{
    DoctorMetrics, ErrnoCount, Histogram, MessageCount, MetricsDoc, NotificationCount, PeerMetrics, PoolMetrics,
    ProbeMetrics, RouteCount, WaitingMetric,
};
pub use mode::{ClusterWish, DigestDoc, Gate, ModeDoc, ModeNode, PlaneDigest, TransitionDoc, WishFrom};

/// Version of these documents; changes when a field goes or changes its meaning.
pub const API_VERSION: &str = "biplane.dev/v1";

/// A point in time as the documents write it: RFC 3339, UTC, milliseconds: `2026-05-04T12:00:00.250Z`.
pub type Time = String;

/// Writes a time as the documents do.
pub fn rfc3339(time: Timestamp) -> Time {
    format!("{time:.3}")
}

/// What goes over the socket: a body with its version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// [`API_VERSION`].
    pub api_version: String,
    /// The document itself; its `kind` stands beside `apiVersion`.
    #[serde(flatten)]
    pub body: Doc,
}

impl From<Doc> for Document {
    fn from(body: Doc) -> Document {
        Document { api_version: API_VERSION.to_owned(), body }
    }
}

/// All documents. The variant's name is the document's `kind`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub enum Doc {
    /// `biplane status`.
    Status(Box<Status>),
    /// `biplane node list`.
    NodeList(Nodes),
    /// `biplane mode show`.
    Mode(Box<ModeDoc>),
    /// `biplane ipam show`.
    Ipam(IpamDoc),
    /// `biplane bgp peers`.
    BgpPeerList(BgpPeers),
    /// `biplane bgp bfd`.
    BfdSessionList(BfdSessions),
    /// `biplane bgp routes`.
    BgpRouteList(BgpRoutes),
    /// `biplane vxlan show`.
    Vxlan(Box<VxlanDoc>),
    /// `biplane route list`.
    RouteList(Routes),
    /// `biplane route explain`.
    RouteExplain(Box<ExplainDoc>),
    /// `biplane config show`.
    Config(Box<ConfigDoc>),
    /// What `/metrics` is made of.
    Metrics(Box<MetricsDoc>),
    /// What `/readyz` is made of.
    Ready(Ready),
}

impl Doc {
    /// The document's `kind`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Doc::Status(_) => "Status",
            Doc::NodeList(_) => "NodeList",
            Doc::Mode(_) => "Mode",
            Doc::Ipam(_) => "Ipam",
            Doc::BgpPeerList(_) => "BgpPeerList",
            Doc::BfdSessionList(_) => "BfdSessionList",
            Doc::BgpRouteList(_) => "BgpRouteList",
            Doc::Vxlan(_) => "Vxlan",
            Doc::RouteList(_) => "RouteList",
            Doc::RouteExplain(_) => "RouteExplain",
            Doc::Config(_) => "Config",
            Doc::Metrics(_) => "Metrics",
            Doc::Ready(_) => "Ready",
        }
    }
}

/// How far the drain of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DrainState {
    /// Peers are told to prefer any other path, and have time to do so.
    Announcing,
    /// The time is over, but packets have no other way: the sessions stay.
    Held,
    /// The sessions are closed.
    Drained,
}

/// The drain of a node (RFC 8326).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainDoc {
    /// How far it is.
    pub state: DrainState,
    /// When it was asked for.
    pub since: Time,
    /// Why the sessions stay, and the cure.
    pub why: Option<String>,
}

/// One node at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// This node.
    pub node: NodeName,
    /// The machine behind the name.
    pub uid: Uid,
    /// Version of the daemon.
    pub version: String,
    /// When the daemon started.
    pub started_at: Time,
    /// Can pods be scheduled here: claims held, kernel in order, and a plane that carries?
    pub ready: bool,
    /// The wished plane.
    pub mode: Plane,
    /// Who wished it.
    pub wish_from: WishFrom,
    /// Does the other plane carry a destination while the wished one is not usable to it?
    pub fallback: bool,
    /// State of the switch.
    pub state: StateName,
    /// Since when it is in that state.
    pub since: Time,
    /// How long it has been in that state.
    pub state_seconds: f64,
    /// Planes that stand on this node.
    pub stands: PlaneSet,
    /// Plane that this node prefers to send on now: the one that most destinations are, or are about to be, carried by.
    pub carry: Plane,
    /// Pod CIDRs of this node; empty while it has no claim.
    pub pod_cidrs: Vec<PodCidr>,
    /// Underlay addresses, primary first.
    pub underlay: Vec<IpAddr>,
    /// Own AS number.
    pub local_asn: Asn,
    /// Own BGP Identifier.
    pub router_id: RouterId,
    /// Peers in Established.
    pub peers_up: usize,
    /// Peers configured and of the mesh.
    pub peers_total: usize,
    /// How other nodes' pod CIDRs are carried, by the kernel's own word.
    pub destinations: Destinations,
    /// Every stalled thing, the longest first; empty if nothing is waited for.
    pub waiting: Vec<Waiting>,
    /// The drain of this node, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainDoc>,
    /// Conditions as Kubernetes writes them: positive polarity, one of a type.
    pub conditions: Vec<Condition>,
    /// The store.
    pub store: StoreState,
    /// Desired and actual state of the kernel.
    pub drift: Drift,
    /// Objects in our way or beside ours, which we leave alone.
    pub foreign: Vec<ForeignDoc>,
    /// Writes that the kernel refused and that are tried again.
    pub failures: Vec<FailureDoc>,
    /// The last reload of the configuration.
    pub config: ReloadState,
    /// What happened last, as in `biplane monitor`; `null` when nothing has yet.
    pub last_event: Option<crate::MonitorEvent>,
}

/// How the pod CIDRs of other nodes are carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destinations {
    /// Carried by the overlay.
    pub overlay: usize,
    /// Carried natively.
    pub native: usize,
    /// Carried by neither.
    pub unreachable: usize,
    /// Claimed by other nodes: the sum of the others.
    pub total: usize,
}

/// One stalled thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// What is waited for, in words, with the cure if there is one.
    pub what: String,
    /// For how long.
    pub for_seconds: f64,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Progressing`, `Degraded`, …
    #[serde(rename = "type")]
    pub name: String,
    /// Does it hold?
    pub status: bool,
    /// One CamelCase word for programs.
    pub reason: String,
    /// A sentence for people; empty if the reason says all.
    pub message: String,
    /// When `status` last changed; `null` if it has been so from the start.
    #[serde(default)]
    pub last_transition_time: Option<Time>,
}

/// The store as this node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreState {
    /// `files`, …
    #[serde(rename = "type")]
    pub name: String,
    /// Directory or address.
    pub place: String,
    /// Can it be read and written?
    pub up: bool,
    /// Why not; `null` while it is up.
    pub error: Option<String>,
    /// Since when it is up or down.
    pub since: Option<Time>,
    /// Is this node the coordinator, which writes the digest?
    pub coordinator: bool,
}

/// Desired and actual state of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// Objects wanted.
    pub desired: usize,
    /// Objects of ours that are there.
    pub actual: usize,
    /// Objects to be made or rewritten.
    pub pending_replaces: usize,
    /// Objects of ours to be taken away.
    pub pending_deletes: usize,
    /// Objects set right after somebody else changed or removed them, since the daemon started.
    pub repairs: u64,
    /// The newest of these repairs; `null` if there was none.
    pub last_repair: Option<Repair>,
    /// When the kernel was last read back in full; `null` before the first.
    pub last_read_back: Option<Time>,
}

/// An object that was set right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    /// The object, as in [`ForeignDoc::key`].
    pub key: String,
    /// What was wrong: `missing`, `altered`.
    pub cause: String,
    /// When it was set right.
    pub time: Time,
}

/// An object that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignDoc {
    /// The key it shares with an object that we may want: `route 10.244.2.0/24`.
    pub key: String,
    /// What it is and whose, in words.
    pub what: String,
}

/// A write that the kernel refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureDoc {
    /// The object: `route 10.244.2.0/24`.
    pub key: String,
    /// The kernel's words.
    pub error: String,
    /// errno(3); 0 when no system call was made.
    pub errno: i32,
    /// Since its first failure.
    pub for_seconds: f64,
    /// How often it was tried.
    pub attempts: u32,
}

/// The last reload of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloadState {
    /// Did the last attempt succeed? The running settings are those of the last success.
    pub successful: bool,
    /// When the running settings were taken.
    pub loaded_at: Time,
    /// Why the last attempt failed, `file:line:column: message` a line; `null` if it did not.
    pub error: Option<String>,
}

/// What `/readyz` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// Ready for pods?
    pub ready: bool,
    /// Why not; empty when ready.
    pub reasons: Vec<String>,
}

/// Nodes of the cluster, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nodes {
    /// One for each node that holds a claim or has told its phase, this one too.
    pub items: Vec<NodeDoc>,
}

/// One node of the cluster, as this node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeDoc {
    /// Name.
    pub name: NodeName,
    /// Is it this node?
    pub own: bool,
    /// The machine behind the name.
    pub uid: Option<Uid>,
    /// Pod CIDRs, and how each is carried from here.
    pub pod_cidrs: Vec<CarriedCidr>,
    /// Underlay addresses, primary first.
    pub underlay: Vec<IpAddr>,
    /// Planes that it can ever receive on, by its claims.
    pub planes: PlaneSet,
    /// Planes that it receives on now, by the digest; `null` if no digest says.
    pub stands: Option<PlaneSet>,
    /// Planes that it may send on now, by the digest; `null` if no digest says.
    pub sends: Option<PlaneSet>,
    /// MAC of its VXLAN link.
    pub vtep_mac: Option<model::MacAddr>,
    /// Inner next hop of overlay routes to it.
    pub vtep_gateway: Option<IpAddr>,
    /// Its speaker, as the automatic mesh meets it; `null` if no claim tells.
    pub bgp: Option<NodeBgp>,
    /// State of its switch, if its phase record is known here (on the coordinator all are, elsewhere only one's own).
    pub state: Option<StateName>,
    /// The plane it wishes, if known.
    pub wish: Option<Plane>,
    /// Version of its daemon, if known.
    pub version: Option<String>,
    /// Is its daemon alive? `null` if this node is not told (only the coordinator is).
    pub live: Option<bool>,
    /// What it waits for, or why it is not carried by the preferred plane; `null` if all is well.
    pub why: Option<String>,
}

/// A pod CIDR of a node, and how it is carried from here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CarriedCidr {
    /// The pod CIDR.
    pub pod_cidr: PodCidr,
    /// Plane in use by the kernel's own word; `null` for own pod CIDRs and unreachable ones.
    pub plane: Option<Plane>,
    /// Where the kernel's route leads: `via fe80::1 dev biplane.vxlan`; `null` if there is none.
    pub via: Option<String>,
}

/// A node's speaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeBgp {
    /// AS number.
    pub asn: Asn,
    /// TCP port it listens on.
    pub port: u16,
    /// Does it take part in the automatic mesh?
    pub mesh: bool,
    /// State of our session with it; `null` if there is none.
    pub session: Option<BgpState>,
}

/// The running configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigDoc {
    /// Every setting, defaults too. Keys and passwords are files named in it, never their content.
    pub config: model::config::Config,
    /// Where each setting that is no default came from: dotted key to `file:line`, `environment`, `flag --x`.
    pub origins: std::collections::BTreeMap<String, String>,
    /// What the loader warned of.
    pub warnings: Vec<String>,
    /// Sources, lowest first.
    pub sources: Vec<String>,
    /// The last reload.
    pub reload: ReloadState,
    /// Values in use that the configuration leaves to be found.
    pub effective: Effective,
}

/// Values found at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// Name of this node.
    pub node: NodeName,
    /// Underlay addresses, primary first.
    pub underlay: Vec<IpAddr>,
    /// BGP Identifier.
    pub router_id: RouterId,
    /// MTU of the overlay's link; `null` while it does not stand.
    pub vxlan_mtu: Option<u32>,
    /// MTU of pods.
    pub pod_mtu: Option<u32>,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
}
