//! `biplane bgp peers` and `biplane bgp routes`.

use std::fmt;
use std::net::IpAddr;

use model::kernel::Device;
use model::{Asn, Family, NodeName, PeerAs, PeerId, Prefix, RouterId};
use serde::{Deserialize, Serialize};

use super::Time;

/// The speaker and its peers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpPeers {
    /// Own AS number.
    pub local_asn: Asn,
    /// Own BGP Identifier.
    pub router_id: RouterId,
    /// TCP port that we listen on.
    pub port: u16,
    /// Do we listen? Nobody does while the native plane does not stand.
    pub listening: bool,
    /// Why we cannot listen though we should; `null` if we can.
    pub listen_error: Option<String>,
    /// Prefixes that we originate: own pod CIDRs.
    pub originated: Vec<Prefix>,
    /// Peers by address.
    pub items: Vec<BgpPeer>,
    /// Peers that are configured by interface and not found yet.
    pub undiscovered: Vec<Undiscovered>,
    /// Who connected without being configured, the newest first; bounded.
    pub strangers: Vec<Stranger>,
}

/// A peer that is configured by interface and not found: it has no address yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Undiscovered {
    /// The interface that it should be behind.
    pub interface: Device,
    /// Its AS number, `external` or `internal`, as configured.
    pub asn: PeerAs,
    /// Own AS or another.
    #[serde(rename = "type")]
    pub peer_type: PeerType,
    /// Words of the configuration.
    pub description: Option<String>,
    /// Why it is not found, in words.
    pub why: String,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpPeer {
    /// Its address; for a link-local one with the interface, `fe80::1%eth1`.
    pub address: PeerId,
    /// The interface that it was found behind; `null` if it is configured by address.
    pub interface: Option<Device>,
    /// TCP port that we dial.
    pub port: u16,
    /// Its AS number; 0 as long as an `external` peer has not told it.
    pub asn: Asn,
    /// Our AS number towards it.
    pub local_asn: Asn,
    /// Own AS or another.
    #[serde(rename = "type")]
    pub peer_type: PeerType,
    /// Did it come from the claims, and not from the configuration?
    pub mesh: bool,
    /// The range of `bgp.listen` that it connected from; `null` for peers of the configuration and of the mesh.
    #[serde(default)]
    pub range: Option<Prefix>,
    /// The node behind it, if it is one of the cluster.
    pub node: Option<NodeName>,
    /// Words of the configuration.
    pub description: Option<String>,
    /// Do we only listen, and never dial?
    pub passive: bool,
    /// Did the operator take it down (`biplane bgp peer down`)?
    pub admin_down: bool,
    /// What this node is to it (RFC 9234): `provider`, `customer`, `peer`, `routeServer`, `routeServerClient`; `null` if
    /// nothing is configured.
    pub role: Option<String>,
    /// Name of its host, as it tells it in its OPEN; `null` if it does not.
    pub host_name: Option<String>,
    /// State of the session (RFC 4271 section 8.2.2).
    pub state: BgpState,
    /// Since when it is in that state.
    pub since: Time,
    /// How long it has been Established; `null` if it is not.
    pub uptime_seconds: Option<f64>,
    /// Our own address of the session; `null` if there is none.
    pub local_address: Option<IpAddr>,
    /// Its BGP Identifier; `null` before its OPEN.
    pub router_id: Option<RouterId>,
    /// Hold time: the agreed one while Established, else the one we propose.
    pub hold_time_seconds: f64,
    /// Agreed families; empty unless Established.
    pub families: Vec<Family>,
    /// Prefixes that it announces: accepted and rejected.
    pub received: u64,
    /// Those that policy accepts.
    pub accepted: u64,
    /// Those that policy refuses.
    pub rejected: u64,
    /// Prefixes that we announce to it.
    pub advertised: u64,
    /// The same by family.
    pub by_family: Vec<FamilyCounts>,
    /// Most prefixes that it may announce.
    pub max_prefixes: u32,
    /// BGP messages received since the daemon started.
    pub messages_in: u64,
    /// BGP messages sent since the daemon started.
    pub messages_out: u64,
    /// Has it sent End-of-RIB for all agreed families?
    pub end_of_rib: bool,
    /// Its paths that outlive the session for a while.
    pub stale: u64,
    /// What the operator should know of it: near its bound of prefixes, refused paths, announcements that wait.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Why the session last failed, in words: `bad peer AS: want 65000, got 65003`; `null` if it never did.
    pub last_error: Option<String>,
    /// How long ago; `null` if it never did.
    pub last_error_seconds_ago: Option<f64>,
}

/// Counts of one family with one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FamilyCounts {
    /// Unicast of this family.
    pub family: Family,
    /// Prefixes announced to us.
    pub received: u64,
    /// Accepted ones.
    pub accepted: u64,
    /// Refused ones.
    pub rejected: u64,
    /// Prefixes that we announce.
    pub advertised: u64,
}

/// Own AS or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerType {
    /// Own AS.
    Ibgp,
    /// Another AS.
    Ebgp,
}

impl fmt::Display for PeerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PeerType::Ibgp => "ibgp",
            PeerType::Ebgp => "ebgp",
        })
    }
}

/// State of a session, spelled as RFC 4271 spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BgpState {
    /// Nothing is tried: administratively down, or waiting after an error.
    Idle,
    /// Dialing.
    Connect,
    /// Waiting to dial again, and for the peer to connect.
    Active,
    /// OPEN sent.
    OpenSent,
    /// OPEN received and answered.
    OpenConfirm,
    /// Up.
    Established,
}

impl BgpState {
    /// All, in order of progress.
    pub const ALL: [BgpState; 6] = [
        BgpState::Idle,
        BgpState::Connect,
        BgpState::Active,
        BgpState::OpenSent,
        BgpState::OpenConfirm,
        BgpState::Established,
    ];
}

impl fmt::Display for BgpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}

/// Somebody who connected and is no peer; the connection was closed at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stranger {
    /// Its address.
    pub address: PeerId,
    /// How often it connected.
    pub count: u64,
    /// When it last did.
    pub last: Time,
}

/// Which RIB (RFC 4271 section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteDirection {
    /// All paths that compete, with our own: what Loc-RIB is chosen from.
    #[default]
    Local,
    /// Adj-RIB-In: what a peer announces, refused paths too.
    In,
    /// Adj-RIB-Out: what we announce to a peer.
    Out,
}

/// Paths of one RIB.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpRoutes {
    /// Which RIB.
    pub direction: RouteDirection,
    /// Paths by prefix, the best first.
    pub items: Vec<BgpRoute>,
    /// Were there more than the asked-for limit?
    pub truncated: bool,
    /// Asked why, and nothing is known of the prefix: the longest one around it of which something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub around: Option<Prefix>,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpRoute {
    /// The prefix.
    pub prefix: Prefix,
    /// Who announces it (or is announced it, for `out`); `null` for our own.
    pub peer: Option<PeerId>,
    /// NEXT_HOP; `null` for our own.
    pub next_hop: Option<IpAddr>,
    /// AS_PATH as text, sets in braces: `65001 65002 {65003,65004}`; empty inside the AS.
    pub as_path: String,
    /// ORIGIN.
    pub origin: Origin,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// Communities as text: `65000:100`, `65000:1:2`, well-known ones by name.
    pub communities: Vec<String>,
    /// Is it the best path?
    pub best: bool,
    /// Is it one of the equal paths that become one kernel route?
    pub multipath: bool,
    /// Does it outlive its session for a while?
    pub stale: bool,
    /// Which step decided, or why it is no candidate: `lost: longer AS path`, `refused: default route`; for people.
    pub why: String,
    /// What became of it; `null` from a daemon that does not say.
    #[serde(default)]
    pub verdict: Option<RouteVerdict>,
    /// The step of the decision or the check that decided, as one word for programs: `localPref`, `asLoop`, `policy`,
    /// `notBest`, …; `null` if none had to.
    #[serde(default)]
    pub step: Option<String>,
    /// The rule of a policy that accepted (told with `--why` only), refused or withheld it: `policy from-tor, rule services`.
    #[serde(default)]
    pub rule: Option<String>,
    /// Path identifier (RFC 7911): the peer's, or for `out` ours; `null` without.
    #[serde(default)]
    pub path_id: Option<u32>,
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteVerdict {
    /// The best one.
    Best,
    /// Forwards beside the best one.
    Multipath,
    /// Another one is better.
    Lost,
    /// Accepted, and no candidate.
    Ineligible,
    /// Not accepted.
    Refused,
    /// Our own.
    Own,
    /// The peer holds it.
    Announced,
    /// The peer is about to hear of it.
    Pending,
    /// The peer is not told, or of our own and told to nobody.
    Withheld,
}

/// ORIGIN (RFC 4271 section 5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// 0.
    Igp,
    /// 1.
    Egp,
    /// 2.
    Incomplete,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Origin::Igp => "igp",
            Origin::Egp => "egp",
            Origin::Incomplete => "incomplete",
        })
    }
}
