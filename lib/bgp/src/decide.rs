//! The decision process: which of the candidates for a prefix forward (RFC 4271 section 9.1.2).
//!
//! 1. Paths whose next hop cannot be used are no candidates ([`Ineligible`]).
//! 2. A path that is long-lived stale loses against any other (RFC 9494 section 4.3), and one that is kept from a broken
//!    session against any fresh one (ours).
//! 3. The highest LOCAL_PREF stays; absent means 100 (9.1.1).
//! 4. The shortest AS_PATH stays; a set counts one (9.1.2.2 a).
//! 5. The lowest ORIGIN stays: igp, egp, incomplete (b).
//! 6. Of the paths through one neighbour AS the lowest MED stays; absent means 0 (c).
//! 7. External paths stay before internal ones (d).
//!    The RFC's step e, interior cost, is not there: every next hop of ours is on the link, so all cost the same.
//! 8. What is left forwards together: the multipath set. Equal length is enough, the ASes on the path may differ.
//! 9. Its order, and who is left out when it is too large: lowest BGP Identifier (ORIGINATOR_ID if there is one),
//!    then the shortest CLUSTER_LIST (both RFC 4456 section 9), then the lowest peer address (f, g), and of several
//!    paths of one peer (RFC 7911) the one with the lowest path identifier.
//!
//! Each step takes out of the set of all that are still in, never out of a pair: comparing pairs would make the
//! result depend on the order of arrival, as step 6 orders only some pairs.

use std::cmp::Reverse;
use std::fmt;
use std::net::Ipv4Addr;

use model::PeerId;
use serde::{Deserialize, Serialize};

use crate::graceful::is_long_lived;
use crate::route::Route;

/// LOCAL_PREF where none is given.
pub(crate) const LOCAL_PREF: u32 = 100;

/// Which step decided about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[repr(u8)]
pub enum Reason {
    /// First of the multipath set.
    Best,
    /// In the multipath set.
    Multipath,
    /// No candidate, see [`Ineligible`].
    NotEligible,
    /// Kept beyond the time of graceful restart, here or at another router, while there is any other (RFC 9494).
    LongLived,
    /// Kept from a broken session while there is a fresh one.
    Stale,
    /// Lower LOCAL_PREF.
    LocalPref,
    /// Longer AS_PATH.
    AsPath,
    /// Worse ORIGIN.
    Origin,
    /// Higher MED from the same neighbour AS.
    Med,
    /// Internal while there is an external one.
    Internal,
    /// Equal, but the multipath set is full and the BGP Identifier is higher.
    RouterId,
    /// Equal, but the multipath set is full and the path was reflected more often.
    ClusterList,
    /// Equal, but the multipath set is full and the peer's address is higher.
    PeerAddress,
    /// Equal, but the multipath set is full and the peer's path identifier is higher.
    PathId,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Best => "best",
            Reason::Multipath => "multipath: equal to the best",
            Reason::NotEligible => "ineligible",
            Reason::LongLived => "lost: long-lived stale, a last resort",
            Reason::Stale => "lost: kept from a session that broke",
            Reason::LocalPref => "lost: lower LOCAL_PREF",
            Reason::AsPath => "lost: longer AS path",
            Reason::Origin => "lost: worse ORIGIN",
            Reason::Med => "lost: higher MED",
            Reason::Internal => "lost: internal path",
            Reason::RouterId => "lost: as many equal paths as maxPaths allows, higher router ID",
            Reason::ClusterList => "lost: as many equal paths as maxPaths allows, longer CLUSTER_LIST",
            Reason::PeerAddress => "lost: as many equal paths as maxPaths allows, higher peer address",
            Reason::PathId => "lost: as many equal paths as maxPaths allows, higher path identifier",
        })
    }
}

/// Why a path that the policy accepted is no candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[repr(u8)]
pub enum Ineligible {
    /// Following it would send packets to ourselves.
    OwnNextHop,
    /// Unspecified, loopback, multicast or broadcast (RFC 4271 section 6.3).
    MartianNextHop,
    /// From an external peer, and not on a subnet that we share with it (RFC 4271 section 6.3).
    NotOnSubnet,
    /// It was for customers only, and comes from somebody who is no provider of ours (RFC 9234).
    Leak,
}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ineligible::OwnNextHop => "ineligible: next hop is our own address",
            Ineligible::MartianNextHop => "ineligible: next hop is no host's address",
            Ineligible::NotOnSubnet => "ineligible: next hop is not on a subnet that we share with the peer",
            Ineligible::Leak => "ineligible: a route leak: ONLY_TO_CUSTOMER says that the peer should not have told it",
        })
    }
}

/// What the decision needs to know of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origins {
    pub(crate) id: PeerId,
    pub(crate) router_id: Ipv4Addr,
    pub(crate) external: bool,
    /// Our client, if we reflect (RFC 4456).
    pub(crate) client: bool,
}

/// A path as the decision sees it.
pub(crate) trait Contender {
    fn route(&self) -> &Route;
    fn stale(&self) -> bool;
    fn ineligible(&self) -> Option<Ineligible>;
    fn reason(&self) -> Reason;
    fn path_id(&self) -> u32;
    fn set_reason(&mut self, reason: Reason);
}

/// Gives each path its reason, and puts the multipath set in front, best first. Returns the size of the set.
pub(crate) fn decide<C: Contender>(paths: &mut [C], max_paths: usize, from: impl Fn(&C) -> Origins) -> usize {
    for path in paths.iter_mut() {
        path.set_reason(if path.ineligible().is_some() { Reason::NotEligible } else { Reason::Best });
    }
    keep_lowest(paths, Reason::LongLived, |p| is_long_lived(&p.route().attributes));
    keep_lowest(paths, Reason::Stale, |p| p.stale());
    keep_lowest(paths, Reason::LocalPref, |p| Reverse(p.route().attributes.local_pref.unwrap_or(LOCAL_PREF)));
    keep_lowest(paths, Reason::AsPath, |p| p.route().attributes.as_path.length());
    keep_lowest(paths, Reason::Origin, |p| p.route().attributes.origin);
    compare_med(paths);
    keep_lowest(paths, Reason::Internal, |p| !from(p).external);
    let rank = |p: &C| {
        let origins = from(p);
        let attributes = &p.route().attributes;
        let id = attributes.originator_id.unwrap_or(origins.router_id);
        (id, attributes.cluster_list.len(), origins.id, p.path_id())
    };
    let preference = |p: &C| {
        let attributes = &p.route().attributes;
        let local_pref = Reverse(attributes.local_pref.unwrap_or(LOCAL_PREF));
        (local_pref, attributes.as_path.length(), attributes.origin, !from(p).external)
    };
    // Behind the set those follow that got furthest: they are next when several paths are told (RFC 7911).
    paths.sort_by_cached_key(|p| (p.reason() != Reason::Best, Reverse(p.reason()), preference(p), rank(p)));
    let equal = paths.iter().take_while(|p| p.reason() == Reason::Best).count();
    let set = equal.min(max_paths.max(1));
    for at in 1..equal {
        let (this, last) = (rank(&paths[at]), rank(&paths[set - 1]));
        let reason = match at < set {
            true => Reason::Multipath,
            false if this.0 > last.0 => Reason::RouterId,
            false if this.1 > last.1 => Reason::ClusterList,
            false if this.2 > last.2 => Reason::PeerAddress,
            false => Reason::PathId,
        };
        paths[at].set_reason(reason);
    }
    set
}

/// Takes out all that are in and above the lowest.
fn keep_lowest<C: Contender, K: Ord>(paths: &mut [C], reason: Reason, key: impl Fn(&C) -> K) {
    let Some(lowest) = paths.iter().filter(|p| p.reason() == Reason::Best).map(&key).min() else { return };
    for path in paths.iter_mut().filter(|p| p.reason() == Reason::Best) {
        if key(path) > lowest {
            path.set_reason(reason);
        }
    }
}

/// Step 6: a path goes out when another one through the same neighbour AS has a lower MED.
fn compare_med<C: Contender>(paths: &mut [C]) {
    let key = |p: &C| (p.route().attributes.as_path.first(), p.route().attributes.med.unwrap_or(0));
    let mut lowest: Vec<_> = paths.iter().filter(|p| p.reason() == Reason::Best).map(key).collect();
    lowest.sort();
    lowest.dedup_by_key(|(neighbour, _)| *neighbour);
    for path in paths.iter_mut().filter(|p| p.reason() == Reason::Best) {
        if !lowest.contains(&key(path)) {
            path.set_reason(Reason::Med);
        }
    }
}

#[cfg(test)]
mod tests;
