//! What people ask the speaker.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use model::{Asn, Family, Moment, PeerId, Prefix};
use serde::{Deserialize, Serialize};

use crate::decide::{Ineligible, Reason};
use crate::export::Withheld;
use crate::policy::Refusal;
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
    /// Ours in sessions with it.
    pub local_asn: Asn,
    /// Made from a claim.
    pub mesh: bool,
    /// Made because it connected from this range.
    pub range: Option<Prefix>,
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
    /// What the operator should know of it, in words: near its bound, refused paths, announcements that wait.
    pub warnings: Vec<String>,
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
    /// What became of it.
    pub verdict: Verdict,
    /// Which step of the decision, or which check, decided.
    pub step: Option<Step>,
    /// The rule that accepted or refused it: `policy from-tor, rule services`. Of an accepted path told by
    /// [`crate::Speaker::explain`] alone.
    pub rule: Option<String>,
    /// Path identifier (RFC 7911): the peer's for a path from it, ours for one that is told; 0 without.
    pub path_id: u32,
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It is the best one.
    Best,
    /// It forwards beside the best one.
    Multipath,
    /// Another one is better.
    Lost,
    /// Accepted, and no candidate.
    Ineligible,
    /// Not accepted.
    Refused,
    /// Of our own, and announced to whoever may hear of it.
    Own,
    /// The peer holds it.
    Announced,
    /// The peer is about to hear of it.
    Pending,
    /// The peer is not told.
    Withheld,
}

/// Which step of the decision, or which check, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// The decision process.
    Decision(Reason),
    /// The look at the next hop.
    Ineligible(Ineligible),
    /// The import.
    Refused(Refusal),
    /// The export.
    Withheld(Withheld),
    /// What comes before the export, and behind it.
    Untold(Untold),
}

/// Why a peer does not hear of a path that nobody asked the export about, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Untold {
    /// No session is Established.
    NoSession,
    /// The session does not carry the family.
    FamilyNotAgreed,
    /// Another path is the best one, and the peer takes one alone.
    NotBest,
    /// The peer takes so many paths (RFC 7911), and better ones are as many.
    BeyondAddPath,
    /// Our own prefix stands for it.
    OwnStands,
    /// Of our own, and held back: it cannot be forwarded now.
    HeldBack,
    /// An aggregate without anything inside.
    EmptyAggregate,
    /// It waits for the advertisement interval.
    Interval,
    /// The peer reads slowly: what it was sent waits.
    SlowReader,
    /// Its turn comes within the present work.
    Turn,
}

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Untold::NoSession => "not announced: no session is Established",
            Untold::FamilyNotAgreed => "not announced: the session does not carry this family",
            Untold::NotBest => "not announced: another path is best, and the session tells one path a prefix",
            Untold::BeyondAddPath => "not announced: as many better paths are told as addPath.send allows",
            Untold::OwnStands => "not announced: the prefix is our own, which stands for it",
            Untold::HeldBack => "not announced: held back, as it cannot be forwarded now",
            Untold::EmptyAggregate => "not announced: an aggregate, and no own pod CIDR lies inside",
            Untold::Interval => "not announced yet: it waits for minAdvertisementInterval",
            Untold::SlowReader => "not announced yet: the peer reads slowly, and what it was sent before waits",
            Untold::Turn => "not announced yet: its turn has not come",
        })
    }
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
