//! Nodes and what they tell each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::reflection::Reflection;
use crate::{Asn, Family, MacAddr, Plane, PlaneSet};

/// Name of a node: a DNS subdomain (RFC 1123), at most 253 characters, as Kubernetes names nodes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = String;

    fn from_str(text: &str) -> Result<NodeName, String> {
        let label_ok = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() > 253 || !text.split('.').all(label_ok) {
            return Err(format!(
                "`{text}` is not a node name: expected lower-case letters, digits, `-` and `.`, as in a DNS name"
            ));
        }
        Ok(NodeName(text.into()))
    }
}

impl TryFrom<String> for NodeName {
    type Error = String;

    fn try_from(text: String) -> Result<NodeName, String> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> String {
        name.as_str().to_owned()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identity of a machine behind a node name: two machines that claim one name differ in it.
///
/// On hosts it is the machine id; in Kubernetes the Node object's UID.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(pub Arc<str>);

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node's tunnel end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vtep {
    /// Outer destination: the node's primary underlay address.
    pub underlay: IpAddr,
    /// MAC of the node's VXLAN link: inner destination MAC, and the key of its FDB entry.
    pub mac: MacAddr,
    /// Inner next hop of every route to the node, in both pod families: the link-local address derived from `mac`.
    pub gateway: IpAddr,
}

/// Where a node's BGP speaker is met by the automatic mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpReach {
    /// AS number of the node.
    pub asn: Asn,
    /// TCP port it listens on.
    pub port: u16,
    /// Whether the node takes part in the automatic mesh.
    pub mesh: bool,
    /// Its part in reflection; absent for a node that meets every other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reflection: Option<Reflection>,
}

/// All that a sender needs to know of a destination; carried by its claims, unchanged during a switch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reach {
    /// Underlay addresses, primary first; at most one per family, never empty.
    pub underlay: Vec<IpAddr>,
    /// Tunnel end; derived from the node's identity and published whether or not the overlay stands.
    pub vtep: Vtep,
    /// BGP speaker.
    pub bgp: BgpReach,
    /// Planes the node can ever receive on.
    pub planes: PlaneSet,
}

impl Reach {
    /// The underlay address of `family`, if the node has one.
    pub fn underlay_of(&self, family: Family) -> Option<IpAddr> {
        self.underlay.iter().copied().find(|address| Family::of(address) == family)
    }
}

/// The plane the operator wishes for the whole cluster (`biplane mode switch`), kept in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// The wished plane.
    pub plane: Plane,
    /// Counts up with every wish; a later wish beats an earlier one.
    pub generation: u64,
    /// Node on which the wish was spoken.
    pub by: NodeName,
}

/// The switch's state as a word (names of design.md section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StateName {
    /// One plane stands (two with fallback), nothing under way.
    Steady,
    /// The wished plane is being stood up; the old one carries.
    Raising,
    /// Both stand; destinations move to the wished plane one by one.
    Flipping,
    /// Everything carries on the wished plane; the old one still receives.
    Lingering,
    /// The old plane is being taken down.
    Lowering,
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateName::Steady => "steady",
            StateName::Raising => "raising",
            StateName::Flipping => "flipping",
            StateName::Lingering => "lingering",
            StateName::Lowering => "lowering",
        })
    }
}

/// What a node tells the coordinator, written on transitions only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePhase {
    /// The node.
    pub node: NodeName,
    /// The machine behind the name.
    pub uid: Uid,
    /// The plane it wishes for itself: the cluster's wish, or its configuration file.
    pub wish: Plane,
    /// State of its switch.
    pub state: StateName,
    /// Planes that it receives on now, and will until it has published otherwise and seen the digest say so.
    pub stands: PlaneSet,
    /// Planes that it may send on; it waits for a digest that names it before it uses a new one.
    pub sends: PlaneSet,
    /// What it waits for, if it does, in words.
    pub waiting: Option<String>,
    /// Counts up with every change of `stands` or `sends`, over restarts too.
    pub serial: u64,
    /// Steady, and a digest has shown this serial: the digest need not repeat it.
    #[serde(default)]
    pub settled: bool,
    /// Generation of the cluster's wish up to which its configuration file was changed later and so wins.
    #[serde(default)]
    pub config_beats: u64,
    /// Fingerprint of the topology of sessions that it is at home in: all that it needs of them are up, and it could do
    /// without every other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<u64>,
    /// Version of its daemon.
    pub version: String,
}

/// A set of nodes, written as the smaller of itself and its complement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeSet {
    /// Just these.
    Only(BTreeSet<NodeName>),
    /// Every node that has a phase record but these.
    AllBut(BTreeSet<NodeName>),
}

impl NodeSet {
    /// No node.
    pub const NONE: NodeSet = NodeSet::Only(BTreeSet::new());

    /// Is `node` in it?
    pub fn has(&self, node: &NodeName) -> bool {
        match self {
            NodeSet::Only(these) => these.contains(node),
            NodeSet::AllBut(these) => !these.contains(node),
        }
    }

    /// The set of `members` among `everyone`, in its shorter form.
    pub fn among(members: BTreeSet<NodeName>, everyone: &BTreeSet<NodeName>) -> NodeSet {
        if members.len() * 2 <= everyone.len() {
            return NodeSet::Only(members);
        }
        NodeSet::AllBut(everyone.difference(&members).cloned().collect())
    }

    /// No node in it, out of a cluster of `nodes` nodes?
    pub fn is_empty(&self, nodes: usize) -> bool {
        match self {
            NodeSet::Only(these) => these.is_empty(),
            NodeSet::AllBut(these) => these.len() >= nodes,
        }
    }
}

/// The cluster's phases in short; the one small object that everybody watches. Written by the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Digest {
    /// Counts up with every digest.
    pub sequence: u64,
    /// The node that wrote it.
    pub coordinator: NodeName,
    /// Nodes that have a phase record, the gone ones too.
    pub nodes: usize,
    /// Nodes that receive on the overlay; one that is gone by its last word, as its kernel goes on.
    pub overlay_stands: NodeSet,
    /// Nodes that receive natively, likewise.
    pub native_stands: NodeSet,
    /// Live nodes that may send over the overlay.
    pub overlay_senders: NodeSet,
    /// Live nodes that may send natively.
    pub native_senders: NodeSet,
    /// Serial of the phase record that this digest reflects, for every live node that has not settled.
    ///
    /// A node acts on its own announcement only once a digest shows its serial: set membership alone would not
    /// tell an old announcement from a new one that says the same again.
    #[serde(default)]
    pub reflects: BTreeMap<NodeName, u64>,
    /// Nodes whose daemon has been gone longer than the grace time: no gate waits for them.
    #[serde(default)]
    pub gone: BTreeSet<NodeName>,
    /// The topology of sessions that most nodes which name one are at home in, see [`NodePhase::topology`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<u64>,
    /// Nodes that are at home in `topology`.
    #[serde(default = "nobody", skip_serializing_if = "is_nobody")]
    pub at_home: NodeSet,
}

fn nobody() -> NodeSet {
    NodeSet::NONE
}

fn is_nobody(set: &NodeSet) -> bool {
    *set == NodeSet::NONE
}

impl Digest {
    /// Who receives on `plane`.
    pub fn stands(&self, plane: Plane) -> &NodeSet {
        match plane {
            Plane::Overlay => &self.overlay_stands,
            Plane::Native => &self.native_stands,
        }
    }

    /// Who may send on `plane`.
    pub fn senders(&self, plane: Plane) -> &NodeSet {
        match plane {
            Plane::Overlay => &self.overlay_senders,
            Plane::Native => &self.native_senders,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_dns_names() {
        for good in ["n1", "node-1.example.com", "10"] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        for bad in ["", "N1", "a_b", "-a", "a-", "a..b", "../x", "a/b"] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn node_set_takes_the_shorter_form() {
        let all: BTreeSet<NodeName> = (0..5).map(|i| format!("n{i}").parse().unwrap()).collect();
        let four: BTreeSet<NodeName> = all.iter().take(4).cloned().collect();
        let set = NodeSet::among(four.clone(), &all);
        assert!(matches!(&set, NodeSet::AllBut(these) if these.len() == 1));
        assert!(four.iter().all(|n| set.has(n)));
        assert!(!set.has(&"n4".parse().unwrap()));
        assert!(NodeSet::among(BTreeSet::new(), &all).is_empty(5));
    }
}
