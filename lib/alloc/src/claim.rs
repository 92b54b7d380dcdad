//! A claim and what a slot may be taken by.

use model::{NodeName, PodCidr, Reach, Uid};
use serde::{Deserialize, Serialize};

/// A node's hold on a pod CIDR, and all that a sender needs to know of the node.
///
/// It has no expiry and never changes hands in place: to move a pod CIDR it is released, quarantined and claimed anew.
/// The JSON form is what the stores keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The pod CIDR; also the name of the object in the store.
    pub pod_cidr: PodCidr,
    /// The node that holds it.
    pub node: NodeName,
    /// The machine behind the name when the claim was last written.
    pub uid: Uid,
    /// How the node is reached.
    pub reach: Reach,
}

/// By what a pod CIDR is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Taken {
    /// By a node's claim.
    Claimed(NodeName),
    /// By nobody, but not to be used yet: freed a short while ago, or its record cannot be read.
    Quarantined,
}
