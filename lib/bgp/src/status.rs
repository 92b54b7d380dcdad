//! What people ask the speaker.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use model::{Asn, Family, Moment, PeerId, Prefix};
use serde::{Deserialize, Serialize};

use crate::session::State;

/// Prefixes of one family at one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyCounts {
    /// Announced by the peer and not withdrawn: accepted and rejected.
    pub received: usize,
    /// Passed the import policy.
    pub accepted: usize,
    /// Refused by the import policy.
    pub rejected: usize,
    /// Announced by us to the peer.
    pub advertised: usize,
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The peer.
    pub id: PeerId,
    /// TCP port that we dial.
    pub port: u16,
    /// AS number that it must have.
    pub asn: Asn,
    /// Made from a claim.
    pub mesh: bool,
    /// Never dialed.
    pub passive: bool,
    /// Taken down by the operator.
    pub down: bool,
    /// What we are to the peer (RFC 9234).
    pub role: Option<wire::Role>,
    /// Words for people.
    pub description: Option<String>,
    /// State of the furthest session; with none, Active (waiting) or Idle (held off).
    pub state: State,
    /// When the peer came to that state.
    pub since: Moment,
    /// Our end of the session, once there is one.
    pub local: Option<IpAddr>,
    /// The peer's BGP Identifier, once it has told it.
    pub router_id: Option<Ipv4Addr>,
    /// Name of the peer's host, if it tells one: words of the peer, made safe to show.
    pub host_name: Option<String>,
    /// Negotiated hold time; zero means none. Known from OpenConfirm on.
    pub hold_time: Option<Duration>,
    /// Negotiated families.
    pub families: BTreeSet<Family>,
    /// Counts of prefixes.
    pub counts: BTreeMap<Family, FamilyCounts>,
    /// Bound on received prefixes.
    pub max_prefixes: u32,
    /// Paths kept from a session that broke.
    pub stale: usize,
    /// When the stale paths go, if they are not refreshed.
    pub stale_until: Option<Moment>,
    /// Families whose End-of-RIB the peer has sent in this session.
    pub end_of_rib: BTreeSet<Family>,
    /// What last went wrong, in words, and when.
    pub last_error: Option<(Moment, String)>,
    /// Messages received since the peer was configured.
    pub messages_in: u64,
    /// Messages sent since the peer was configured.
    pub messages_out: u64,
    /// Times that it was Established.
    pub established: u64,
    /// Next dial, if one is planned.
    pub next_dial: Option<Moment>,
}

/// Which table to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// What peers announced, refused ones too.
    In,
    /// What we announced to peers.
    Out,
    /// All candidates of the decision, own prefixes too.
    #[default]
    Loc,
}

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutesQuery {
    /// Which table.
    pub direction: Direction,
    /// One peer only.
    pub peer: Option<PeerId>,
    /// This prefix only.
    pub prefix: Option<Prefix>,
    /// At most so many lines.
    pub limit: usize,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathStatus {
    /// Prefix.
    pub prefix: Prefix,
    /// From or to whom; `None` for a prefix of our own.
    pub peer: Option<PeerId>,
    /// Next hop as received or sent; `None` where none is kept (refused paths) or there is none (own prefixes).
    pub next_hop: Option<IpAddr>,
    /// AS_PATH in the usual notation; empty for a path from inside our AS.
    pub as_path: String,
    /// `igp`, `egp`, `incomplete`; empty where not kept.
    pub origin: String,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// Communities as `high:low`, large ones as `a:b:c`.
    pub communities: Vec<String>,
    /// Is it the best path?
    pub best: bool,
    /// Is it in the set that forwards?
    pub multipath: bool,
    /// Is it kept from a session that broke?
    pub stale: bool,
    /// Why it was chosen, lost or refused.
    pub why: String,
}

/// An address that connected and is no peer of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stranger {
    /// Who.
    pub id: PeerId,
    /// How often.
    pub attempts: u64,
    /// When last.
    pub last: Moment,
}
