//! `biplane ipam show` and `check`.

use model::{NodeName, PodCidr, Prefix, Uid};
use serde::{Deserialize, Serialize};

use super::Time;

/// Pools and who holds what of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpamDoc {
    /// Pools in the order of the configuration.
    pub pools: Vec<PoolDoc>,
    /// Claimed and quarantined pod CIDRs in address order.
    pub blocks: Vec<BlockDoc>,
    /// What `ipam check` found; empty if all is well.
    pub problems: Vec<IpamProblem>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolDoc {
    /// All pods of the pool live in here.
    pub cidr: Prefix,
    /// Prefix length of a node's slice.
    pub node_prefix: u8,
    /// Slices: 1 to 2^32.
    pub total: u64,
    /// Slices that nodes hold.
    pub claimed: u64,
    /// Freed slices that may not be claimed yet.
    pub quarantined: u64,
    /// Slices that may be claimed now.
    pub free: u64,
}

/// One slice of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockDoc {
    /// The slice.
    pub pod_cidr: PodCidr,
    /// Pool that it belongs to; `null` if no configured pool has such a slice.
    pub pool: Option<Prefix>,
    /// State.
    pub state: BlockState,
    /// Who holds it; `null` in quarantine.
    pub node: Option<NodeName>,
    /// The machine behind the name.
    pub uid: Option<Uid>,
    /// Is it this node's?
    pub own: bool,
    /// When it leaves quarantine, if known.
    pub free_at: Option<Time>,
}

/// State of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BlockState {
    /// A node holds it.
    Claimed,
    /// Freed, may not be claimed yet.
    Quarantined,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IpamProblem {
    /// One CamelCase word for programs: `PoolExhausted`, `OutsidePools`, `Overlap`, `NoClaim`, …
    pub reason: String,
    /// What it concerns: a pool or a pod CIDR.
    pub subject: String,
    /// What is wrong, in words.
    pub what: String,
    /// What to do; `null` if nothing is known.
    pub cure: Option<String>,
}
