//! Who reflects BGP paths for whom (RFC 4456), labels of nodes, and what is announced besides pod CIDRs.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::policy::{CommunityPattern, LargeCommunityPattern};
use crate::{NodeName, Prefix};

/// Labels of a node, or what is asked of them.
pub type Labels = BTreeMap<String, String>;

/// Does a node with `labels` have everything that `selector` asks for? An empty selector chooses every node.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A node's part in reflection, as its claims say it. A node without one meets every other node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reflection {
    /// Cluster of reflectors that it belongs to; `None`: it is a client of all reflectors there are.
    pub cluster: Option<Ipv4Addr>,
    /// It reflects.
    pub reflects: bool,
}

/// Route reflectors instead of a full mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReflectorsConfig {
    /// These nodes reflect.
    #[serde(default)]
    pub nodes: Vec<NodeName>,
    /// Nodes with these labels reflect; none by label if empty.
    #[serde(default)]
    pub selector: Labels,
    /// CLUSTER_ID, and which reflectors this node is a client of: those with the same. Without one a node is a client of
    /// all, and reflects under its router ID.
    #[serde(default)]
    pub cluster_id: Option<Ipv4Addr>,
    /// Reflectors only while there are more nodes than this; always if absent.
    #[serde(default)]
    pub above: Option<u32>,
    /// How many nodes reflect when neither `nodes` nor `selector` says which; default 3.
    #[serde(default = "count")]
    pub count: u8,
}

fn count() -> u8 {
    3
}

impl Default for ReflectorsConfig {
    fn default() -> ReflectorsConfig {
        ReflectorsConfig { nodes: Vec::new(), selector: Labels::new(), cluster_id: None, above: None, count: count() }
    }
}

/// A prefix to announce besides own pod CIDRs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OriginateConfig {
    /// The prefix.
    pub prefix: Prefix,
    /// Communities, each exact.
    #[serde(default)]
    pub communities: Vec<CommunityPattern>,
    /// Large communities, each exact.
    #[serde(default)]
    pub large_communities: Vec<LargeCommunityPattern>,
    /// LOCAL_PREF towards peers of our AS; 100 if absent.
    #[serde(default)]
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC; none if absent.
    #[serde(default)]
    pub med: Option<u32>,
    /// Announced only while a pod CIDR of this node lies inside.
    #[serde(default)]
    pub aggregate: bool,
    /// Pod CIDRs inside are announced to nodes only.
    #[serde(default)]
    pub summary_only: bool,
    /// Held back from the start of the daemon until it is said that the prefix can be forwarded.
    #[serde(default)]
    pub suppressed: bool,
}

/// Which next hop a peer is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NextHopChoice {
    /// Our address to another AS; inside the AS the one that came with the path.
    #[default]
    Auto,
    /// Our address, also for paths of another AS that go to peers of our own. Not for reflected paths: a reflector is
    /// no router on their way (RFC 4456 section 10).
    #[serde(rename = "self")]
    Own,
    /// The one that came with the path, also to another AS (RFC 4271 section 5.1.3, third party).
    Keep,
}

/// What we would do with several paths for a prefix (RFC 7911); the peer has to want the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddPath {
    /// Most paths of a prefix that we tell; 0: only the best, without a path identifier.
    #[serde(default)]
    pub send: u8,
    /// We take several in.
    #[serde(default)]
    pub receive: bool,
}
