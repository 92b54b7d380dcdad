//! `biplane mode show`: the wish, the switch, and what the cluster is known to do.

use model::{NodeName, NodeSet, Plane, PlaneSet, StateName};
use serde::{Deserialize, Serialize};

use super::{Destinations, Time, Waiting};

/// Who wished the plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WishFrom {
    /// `mode` of this node's configuration.
    Config,
    /// `biplane mode switch`, kept in the store for the whole cluster.
    Cluster,
}

/// The switch of this node, and of the cluster as far as it is known here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModeDoc {
    /// This node.
    pub node: NodeName,
    /// The wished plane.
    pub wish: Plane,
    /// Who wished it.
    pub wish_from: WishFrom,
    /// `mode` of this node's configuration.
    pub config_mode: Plane,
    /// The cluster's wish, though this node's configuration may have been changed later and so win; `null` if there is none.
    pub cluster_wish: Option<ClusterWish>,
    /// Does the other plane carry a destination while the wished one is not usable to it?
    pub fallback: bool,
    /// State of the switch.
    pub state: StateName,
    /// The plane that is left, while a switch is under way.
    pub from: Option<Plane>,
    /// Since when it is in that state.
    pub since: Time,
    /// How long it has been in that state.
    pub state_seconds: f64,
    /// Plane that this node prefers to send on now.
    pub carry: Plane,
    /// Planes that stand on this node.
    pub stands: PlaneSet,
    /// Planes that this node may send on.
    pub sends: PlaneSet,
    /// How other nodes' pod CIDRs are carried.
    pub destinations: Destinations,
    /// What the next state waits for; empty in `steady`.
    pub waiting: Vec<Waiting>,
    /// Gates of the way to the next state, in the order they are passed; empty in `steady`.
    pub gates: Vec<Gate>,
    /// Node that writes the digest; `null` if none is known.
    pub coordinator: Option<NodeName>,
    /// The newest digest; `null` if none was seen.
    pub digest: Option<DigestDoc>,
    /// Nodes by name: all on the coordinator, elsewhere those that are known.
    pub nodes: Vec<ModeNode>,
    /// Transitions since the daemon started, the newest last; bounded.
    pub history: Vec<TransitionDoc>,
}

/// What `biplane mode switch` put into the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterWish {
    /// The wished plane.
    pub mode: Plane,
    /// Counts up with every wish.
    pub generation: u64,
    /// Node on which it was spoken.
    pub by: NodeName,
}

/// One condition of leaving a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// `ground`, `sessions`, `digest`, `destinations`, `linger`, `senders`, `leftovers`.
    pub name: String,
    /// Passed?
    pub open: bool,
    /// What is waited for; `null` if it is open.
    pub reason: Option<String>,
}

/// The digest in short. Sets of nodes are `{"only": [...]}` or `{"allBut": [...]}`, whichever is shorter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DigestDoc {
    /// Counts up with every digest.
    pub sequence: u64,
    /// Live nodes that have told their phase.
    pub nodes: usize,
    /// The overlay.
    pub vxlan: PlaneDigest,
    /// Native routing.
    pub bgp: PlaneDigest,
    /// Nodes whose daemon has been gone too long to be waited for.
    pub gone: Vec<NodeName>,
}

/// Who stands and who sends on a plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaneDigest {
    /// Who receives on it.
    pub stands: NodeSet,
    /// Who may send on it.
    pub sends: NodeSet,
}

/// The switch of one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModeNode {
    /// The node.
    pub node: NodeName,
    /// State of its switch; `null` if its phase record is not known here.
    pub state: Option<StateName>,
    /// The plane it wishes; `null` as above.
    pub wish: Option<Plane>,
    /// Planes that it receives on.
    pub stands: PlaneSet,
    /// Planes that it may send on.
    pub sends: PlaneSet,
    /// What it waits for; `null` if nothing, or not known here.
    pub waiting: Option<String>,
    /// Is its daemon alive? `null` if this node is not told (only the coordinator is).
    pub live: Option<bool>,
}

/// One move of the switch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransitionDoc {
    /// When.
    pub time: Time,
    /// State before.
    pub from: StateName,
    /// State after.
    pub to: StateName,
    /// Plane that the state after leads to.
    pub target: Plane,
    /// What opened the gate.
    pub reason: String,
    /// How long the state before lasted.
    pub after_seconds: f64,
}
