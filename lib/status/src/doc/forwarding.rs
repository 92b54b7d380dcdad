//! `biplane vxlan show` and `biplane route list`: what is wanted of the kernel and what it holds.

use std::fmt;
use std::net::IpAddr;

use model::kernel::Device;
use model::{MacAddr, NodeName, Plane, Prefix, Vni};
use serde::{Deserialize, Serialize};

/// The overlay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VxlanDoc {
    /// Does it stand, or is it being stood up, on this node?
    pub stands: bool,
    /// The link as wanted, or as left behind while it is taken down; `null` if it neither is wanted nor there.
    pub link: Option<LinkDoc>,
    /// Which node gets the frame, by MAC.
    pub fdb: Vec<FdbDoc>,
    /// Which MAC the inner frame carries, by gateway.
    pub neighbours: Vec<NeighbourDoc>,
}

/// The VXLAN link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkDoc {
    /// Its name.
    pub device: Device,
    /// VXLAN network identifier.
    pub vni: Vni,
    /// UDP destination port.
    pub port: u16,
    /// Outer source address.
    pub local: IpAddr,
    /// Device that carries it.
    pub underlay: Device,
    /// Its MAC.
    pub mac: MacAddr,
    /// Its MTU.
    pub mtu: u32,
    /// Is the kernel's link so?
    pub state: LinkState,
    /// How the kernel's link is different, or what holds up its making, in words; `null` if nothing does.
    pub error: Option<String>,
}

/// The kernel's link against the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LinkState {
    /// As wanted, and up.
    Up,
    /// Not there.
    Missing,
    /// There, but not as wanted, or down.
    Differs,
    /// There and ours, but not wanted: on its way out.
    Stray,
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            LinkState::Up => "up",
            LinkState::Missing => "missing",
            LinkState::Differs => "differs",
            LinkState::Stray => "stray",
        })
    }
}

/// Wanted against actual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ObjectState {
    /// As wanted.
    Ok,
    /// Wanted and not there.
    Missing,
    /// There, but not as wanted.
    Differs,
    /// There and ours, but not wanted.
    Stray,
    /// Somebody else's.
    Foreign,
}

impl fmt::Display for ObjectState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ObjectState::Ok => "ok",
            ObjectState::Missing => "missing",
            ObjectState::Differs => "differs",
            ObjectState::Stray => "stray",
            ObjectState::Foreign => "foreign",
        })
    }
}

/// State of a route.
pub type RouteState = ObjectState;

/// One FDB entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FdbDoc {
    /// MAC of the node's VXLAN link.
    pub mac: MacAddr,
    /// Outer destination as wanted, or as found if it is not wanted.
    pub dst: IpAddr,
    /// The node; `null` if no claim names this MAC.
    pub node: Option<NodeName>,
    /// State.
    pub state: ObjectState,
    /// How it is different, or why the kernel refused it; `null` if neither.
    pub error: Option<String>,
}

/// One neighbour entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NeighbourDoc {
    /// The gateway of the node's overlay routes.
    pub ip: IpAddr,
    /// MAC as wanted, or as found if it is not wanted.
    pub mac: MacAddr,
    /// The node; `null` if no claim names this gateway.
    pub node: Option<NodeName>,
    /// State.
    pub state: ObjectState,
    /// How it is different, or why the kernel refused it; `null` if neither.
    pub error: Option<String>,
}

/// Routes of ours, wanted or found, and foreign ones on their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Routes {
    /// By prefix; with `diff` only those that are not `ok`.
    pub items: Vec<RouteDoc>,
    /// How many are `ok`, shown or not.
    pub ok: usize,
    /// How many there are in all, shown or not.
    pub total: usize,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteDoc {
    /// Its prefix.
    pub prefix: Prefix,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: RouteKind,
    /// The node whose pod CIDR it is; `null` if no claim names the prefix.
    pub node: Option<NodeName>,
    /// Plane that carries it; `null` for own pod CIDRs and when there is no route.
    pub plane: Option<Plane>,
    /// Where it should lead: `via fe80::1 dev biplane.vxlan src 10.244.0.2`; `null` if it is not wanted.
    pub desired: Option<String>,
    /// Where the kernel's leads; `null` if it is not there.
    pub actual: Option<String>,
    /// State.
    pub state: RouteState,
    /// Why the kernel refused it, or whose it is; `null` if neither.
    pub error: Option<String>,
    /// Why it is not carried by the preferred plane, or not at all; `null` if it is.
    pub why: Option<String>,
}

/// What a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteKind {
    /// A pod CIDR of another node.
    Remote,
    /// Our own pod CIDR, held by an unreachable route so that nothing loops.
    Own,
    /// Neither: stray or foreign.
    Other,
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RouteKind::Remote => "remote",
            RouteKind::Own => "own",
            RouteKind::Other => "other",
        })
    }
}
