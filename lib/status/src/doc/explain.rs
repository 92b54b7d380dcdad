//! `biplane route explain`: the way of a packet to one address, from the claim to the kernel.

use std::fmt;
use std::net::IpAddr;

use model::kernel::Device;
use model::{MacAddr, NodeName, Plane, PlaneSet, PodCidr, Prefix, StateName};
use serde::{Deserialize, Serialize};

use super::{BgpRoute, FdbDoc, LinkState, NeighbourDoc, ObjectState};

/// The way to one address, as this node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainDoc {
    /// The address.
    pub address: IpAddr,
    /// This node.
    pub node: NodeName,
    /// What becomes of a packet for it.
    pub verdict: ExplainVerdict,
    /// The same in a sentence for people, with the cure where there is one.
    pub summary: String,
    /// The pool that it lies in; `null` if it is in none.
    pub pool: Option<Prefix>,
    /// The claim that holds it; `null` if no node claims it.
    pub claim: Option<ExplainClaim>,
    /// Which plane carries it; `null` for what is local, and for what is no destination of ours.
    pub carry: Option<ExplainCarry>,
    /// Routes that hold it, the most specific first: the kernel takes the first that is there. Of other people's routes
    /// only those inside the pools are known.
    pub routes: Vec<ExplainRoute>,
    /// Next hops of our route, and whether they answer.
    pub hops: Vec<ExplainHop>,
    /// What an overlay route leans on; `null` if the overlay does not carry it.
    pub overlay: Option<ExplainOverlay>,
    /// Prefix of the paths in `paths`: the most specific that any peer or we announce; `null` if nobody does.
    pub bgp_prefix: Option<Prefix>,
    /// Its paths, the best first, refused ones too.
    pub paths: Vec<BgpRoute>,
    /// Where the kernel is not as wanted, or something is in the way; empty if all is well.
    pub problems: Vec<String>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExplainVerdict {
    /// An address of this host.
    Local,
    /// In a pod CIDR of this node: the CNI plugin's routes lead to its pods, and what no pod has is answered with ICMP
    /// unreachable.
    Own,
    /// Carried to another node or router.
    Carried,
    /// Somebody else's route takes it.
    Foreign,
    /// There is no way there now.
    Unreachable,
    /// In a pool, and claimed by no node.
    Unclaimed,
    /// In no pool, and no route of ours leads there.
    Outside,
}

impl ExplainVerdict {
    /// Does a packet arrive, as far as this node can tell?
    pub const fn is_well(self) -> bool {
        matches!(self, ExplainVerdict::Local | ExplainVerdict::Own | ExplainVerdict::Carried)
    }
}

impl fmt::Display for ExplainVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ExplainVerdict::Local => "local",
            ExplainVerdict::Own => "own",
            ExplainVerdict::Carried => "carried",
            ExplainVerdict::Foreign => "foreign",
            ExplainVerdict::Unreachable => "unreachable",
            ExplainVerdict::Unclaimed => "unclaimed",
            ExplainVerdict::Outside => "outside",
        })
    }
}

/// The claim that holds the address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainClaim {
    /// The pod CIDR.
    pub pod_cidr: PodCidr,
    /// The node that holds it.
    pub node: NodeName,
    /// Is it this node?
    pub own: bool,
    /// The node's underlay addresses, primary first.
    pub underlay: Vec<IpAddr>,
    /// Planes on which it receives now, by the digest; `null` if no digest says.
    pub stands: Option<PlaneSet>,
    /// Is its daemon gone, by the digest?
    pub gone: bool,
}

/// Which plane carries a destination, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainCarry {
    /// The destination.
    pub prefix: Prefix,
    /// The plane by the kernel's own word; `null`: none.
    pub plane: Option<Plane>,
    /// The plane that this node prefers now.
    pub preferred: Plane,
    /// State of the switch.
    pub state: StateName,
    /// Does the other plane carry it while the preferred one cannot?
    pub fallback: bool,
    /// Why it is not the preferred plane; `null` if it is.
    pub why: Option<String>,
    /// Both planes.
    pub planes: Vec<ExplainPlane>,
}

/// One plane's way to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainPlane {
    /// The plane.
    pub plane: Plane,
    /// Does it stand on this node?
    pub stands: bool,
    /// May this node send on it, by the digest?
    pub sends: bool,
    /// Is the way there whole?
    pub usable: bool,
    /// What is missing; `null` if nothing is.
    pub why: Option<String>,
}

/// A route that holds the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainRoute {
    /// Its prefix.
    pub prefix: Prefix,
    /// Is it ours? Else somebody else's.
    pub ours: bool,
    /// Where it should lead; `null` if it is not wanted.
    pub desired: Option<String>,
    /// Where the kernel's leads; `null` if it is not there.
    pub actual: Option<String>,
    /// State.
    pub state: ObjectState,
    /// Why the kernel refused it; `null` if it did not.
    pub error: Option<String>,
}

/// A next hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainHop {
    /// Gateway; `null`: on the link itself.
    pub gateway: Option<IpAddr>,
    /// Device.
    pub device: Device,
    /// The kernel's nexthop object.
    pub state: ObjectState,
    /// Did it answer when it was last asked? `null`: nobody had to ask.
    pub answers: Option<bool>,
}

/// What an overlay route leans on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainOverlay {
    /// The VXLAN link.
    pub device: Device,
    /// The kernel's link against the wanted one.
    pub link: LinkState,
    /// MAC that the inner frame carries.
    pub mac: MacAddr,
    /// Which MAC the gateway has; `null` if no entry is wanted or there.
    pub neighbour: Option<NeighbourDoc>,
    /// Which node gets the frame; `null` if no entry is wanted or there.
    pub fdb: Option<FdbDoc>,
}
