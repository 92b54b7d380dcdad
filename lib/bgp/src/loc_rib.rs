//! Loc-RIB: all candidates for each prefix, the multipath set in front, and which sets are new.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Bound;
use std::sync::Arc;

use model::table::Entry as Slot;
use model::{PeerId, Prefix, PrefixMap};
use serde::{Deserialize, Serialize};

use crate::decide::{Contender, Ineligible, Origins, Reason, decide};
use crate::route::Route;

/// One path of a multipath set: where packets for the prefix go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BestPath {
    /// Next hop as received.
    pub next_hop: IpAddr,
    /// Link-local next hop beside a global one.
    pub link_local: Option<Ipv6Addr>,
    /// Who announced it.
    pub peer: PeerId,
    /// From another AS.
    pub ebgp: bool,
    /// Kept from a session that broke.
    pub stale: bool,
}

/// Short name of a peer inside the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerIndex(u32);

/// One path for a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) route: Arc<Route>,
    pub(crate) peer: PeerIndex,
    pub(crate) stale: bool,
    pub(crate) ineligible: Option<Ineligible>,
    pub(crate) reason: Reason,
}

impl Contender for Candidate {
    fn route(&self) -> &Route {
        &self.route
    }

    fn stale(&self) -> bool {
        self.stale
    }

    fn ineligible(&self) -> Option<Ineligible> {
        self.ineligible
    }

    fn reason(&self) -> Reason {
        self.reason
    }

    fn set_reason(&mut self, reason: Reason) {
        self.reason = reason;
    }
}

/// Mostly one path: a million of them must not cost a million lists.
#[derive(Debug)]
enum Entry {
    One(Candidate),
    Many(Box<Many>),
}

#[derive(Debug)]
struct Many {
    /// The multipath set, best first, then the others.
    candidates: Vec<Candidate>,
    /// Size of the set.
    set: usize,
}

impl Entry {
    fn candidates(&self) -> &[Candidate] {
        match self {
            Entry::One(candidate) => std::slice::from_ref(candidate),
            Entry::Many(many) => &many.candidates,
        }
    }

    fn set(&self) -> &[Candidate] {
        match self {
            Entry::One(candidate) if candidate.ineligible.is_some() => &[],
            Entry::One(candidate) => std::slice::from_ref(candidate),
            Entry::Many(many) => &many.candidates[..many.set],
        }
    }
}

/// Loc-RIB.
#[derive(Debug)]
pub(crate) struct LocRib {
    table: PrefixMap<Entry>,
    changed: BTreeSet<Prefix>,
    peers: Vec<Origins>,
    free: Vec<PeerIndex>,
    paths: usize,
    max_paths: usize,
}

impl LocRib {
    pub(crate) fn new(max_paths: u8) -> LocRib {
        LocRib {
            table: PrefixMap::new(),
            changed: BTreeSet::new(),
            peers: Vec::new(),
            free: Vec::new(),
            paths: 0,
            max_paths: usize::from(max_paths),
        }
    }

    /// Takes effect on an entry when it is next decided about; the caller walks all paths.
    pub(crate) fn set_max_paths(&mut self, max_paths: u8) {
        self.max_paths = usize::from(max_paths);
    }

    /// A name for a peer, until [`LocRib::leave`].
    pub(crate) fn enter(&mut self, id: PeerId) -> PeerIndex {
        let origins = Origins { id, router_id: Ipv4Addr::UNSPECIFIED, external: false };
        if let Some(index) = self.free.pop() {
            self.peers[index.0 as usize] = origins;
            return index;
        }
        self.peers.push(origins);
        // Peers are configured one by one: 2^32 of them do not fit any memory.
        PeerIndex(self.peers.len() as u32 - 1)
    }

    /// The peer has no path here any more and is gone.
    pub(crate) fn leave(&mut self, index: PeerIndex) {
        self.free.push(index);
    }

    /// What the decision is to know of the peer from now on.
    pub(crate) fn introduce(&mut self, index: PeerIndex, router_id: Ipv4Addr, external: bool) {
        let origins = &mut self.peers[index.0 as usize];
        origins.router_id = router_id;
        origins.external = external;
    }

    /// Number of paths of all peers.
    pub(crate) fn paths(&self) -> usize {
        self.paths
    }

    /// The multipath set; empty if there is none.
    pub(crate) fn best(&self, prefix: &Prefix) -> Vec<BestPath> {
        self.table.get(prefix).map(|entry| forwarding(entry, &self.peers)).unwrap_or_default()
    }

    /// Takes up to `at_most` prefixes whose set is new.
    pub(crate) fn take_changed(&mut self, at_most: usize) -> Vec<Prefix> {
        if self.changed.len() <= at_most {
            return std::mem::take(&mut self.changed).into_iter().collect();
        }
        std::iter::from_fn(|| self.changed.pop_first()).take(at_most).collect()
    }

    pub(crate) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// A peer's path for a prefix, in place of the one it had.
    pub(crate) fn offer(&mut self, prefix: Prefix, peer: PeerIndex, route: Arc<Route>, ineligible: Option<Ineligible>) {
        let reason = if ineligible.is_some() { Reason::NotEligible } else { Reason::Best };
        let new = Candidate { route, peer, stale: false, ineligible, reason };
        let entry = match self.table.entry(prefix) {
            Slot::Vacant(slot) => {
                slot.insert(Entry::One(new));
                self.paths += 1;
                if ineligible.is_none() {
                    self.changed.insert(prefix);
                }
                return;
            }
            Slot::Occupied(slot) => slot.into_mut(),
        };
        let before = forwarding(entry, &self.peers);
        let mut candidates = take_candidates(entry);
        match candidates.iter_mut().find(|c| c.peer == peer) {
            Some(old) => *old = new,
            None => {
                candidates.push(new);
                self.paths += 1;
            }
        }
        if settle(entry, candidates, self.max_paths, &self.peers, &before) {
            self.changed.insert(prefix);
        }
    }

    /// A peer's path goes.
    pub(crate) fn withdraw(&mut self, prefix: Prefix, peer: PeerIndex) {
        let Slot::Occupied(mut slot) = self.table.entry(prefix) else { return };
        let entry = slot.get_mut();
        if !entry.candidates().iter().any(|c| c.peer == peer) {
            return;
        }
        self.paths -= 1;
        if let Entry::One(candidate) = entry {
            if candidate.ineligible.is_none() {
                self.changed.insert(prefix);
            }
            slot.remove();
            return;
        }
        let before = forwarding(entry, &self.peers);
        let mut candidates = take_candidates(entry);
        candidates.retain(|c| c.peer != peer);
        if settle(entry, candidates, self.max_paths, &self.peers, &before) {
            self.changed.insert(prefix);
        }
    }

    /// What is known about a peer's path may be new; the path itself is not. Decides again.
    pub(crate) fn amend(&mut self, prefix: Prefix, peer: PeerIndex, stale: bool, ineligible: Option<Ineligible>) {
        let Some(entry) = self.table.get_mut(&prefix) else { return };
        let before = forwarding(entry, &self.peers);
        let mut candidates = take_candidates(entry);
        for candidate in candidates.iter_mut().filter(|c| c.peer == peer) {
            candidate.stale = stale;
            candidate.ineligible = ineligible;
        }
        if settle(entry, candidates, self.max_paths, &self.peers, &before) {
            self.changed.insert(prefix);
        }
    }

    /// All candidates, from a prefix on; how many of them are the multipath set.
    pub(crate) fn entries(&self, from: Option<Prefix>) -> impl Iterator<Item = (Prefix, &[Candidate], usize)> {
        let all = self.table.range(from.map_or(Bound::Unbounded, Bound::Included));
        all.map(|(prefix, entry)| (prefix, entry.candidates(), entry.set().len()))
    }

    /// Who a candidate is from.
    pub(crate) fn origins(&self, index: PeerIndex) -> &Origins {
        &self.peers[index.0 as usize]
    }

    /// The candidate of one peer.
    pub(crate) fn of_peer(&self, prefix: &Prefix, peer: PeerIndex) -> Option<(&Candidate, bool)> {
        let entry = self.table.get(prefix)?;
        let at = entry.candidates().iter().position(|c| c.peer == peer)?;
        Some((&entry.candidates()[at], at < entry.set().len()))
    }
}

fn forwarding(entry: &Entry, peers: &[Origins]) -> Vec<BestPath> {
    let path = |c: &Candidate| {
        let from = &peers[c.peer.0 as usize];
        BestPath {
            next_hop: c.route.next_hop,
            link_local: c.route.link_local,
            peer: from.id.clone(),
            ebgp: from.external,
            stale: c.stale,
        }
    };
    entry.set().iter().map(path).collect()
}

/// The candidates out of their entry, which [`settle`] fills again.
fn take_candidates(entry: &mut Entry) -> Vec<Candidate> {
    match entry {
        Entry::One(candidate) => vec![candidate.clone()],
        Entry::Many(many) => std::mem::take(&mut many.candidates),
    }
}

/// Decides, and puts the candidates (at least one) back. Is the set another one than `before`?
fn settle(
    entry: &mut Entry,
    mut candidates: Vec<Candidate>,
    max_paths: usize,
    peers: &[Origins],
    before: &[BestPath],
) -> bool {
    let set = decide(&mut candidates, max_paths, |c| peers[c.peer.0 as usize].clone());
    match (candidates.len(), candidates.pop()) {
        (1, Some(only)) => *entry = Entry::One(only),
        (_, Some(last)) => {
            candidates.push(last);
            *entry = Entry::Many(Box::new(Many { candidates, set }));
        }
        (_, None) => {}
    }
    forwarding(entry, peers) != before
}

#[cfg(test)]
mod tests;
