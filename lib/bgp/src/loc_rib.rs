//! Loc-RIB: all candidates for each prefix, the multipath set in front, and which sets are new.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Bound;
use std::sync::Arc;

use model::table::Entry as Slot;
use model::{PeerId, Prefix, PrefixMap};
use serde::{Deserialize, Serialize};

use crate::decide::{Contender, Ineligible, Origins, Reason, decide};
use crate::graceful::is_leaving;
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
    /// A session on its way is about to go (RFC 8326): whoever has another way should take it.
    pub leaving: bool,
}

/// Short name of a peer inside the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerIndex(u32);

/// One path for a prefix.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) route: Arc<Route>,
    pub(crate) peer: PeerIndex,
    /// Path identifier that the peer gave it (RFC 7911); 0 without.
    pub(crate) path_id: u32,
    /// Path identifier that we give it: unlike that of every other path for the prefix, and the same for as long as the
    /// peer keeps the path, whatever it says of it.
    pub(crate) local_id: u32,
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

    fn path_id(&self) -> u32 {
        self.path_id
    }

    fn set_reason(&mut self, reason: Reason) {
        self.reason = reason;
    }
}

impl Candidate {
    /// Own prefixes have this path identifier; learnt paths have others.
    pub(crate) const OWN_ID: u32 = 1;

    fn is(&self, peer: PeerIndex, path_id: u32) -> bool {
        self.peer == peer && self.path_id == path_id
    }
}

/// Which changes matter to those whom we tell paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Interest {
    /// None: nobody is told anything but own prefixes.
    #[default]
    Nothing,
    /// Those of the best path.
    Best,
    /// Those of any path (RFC 7911).
    All,
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
    /// Prefixes of which peers are to be told something new.
    news: BTreeSet<Prefix>,
    interest: Interest,
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
            news: BTreeSet::new(),
            interest: Interest::Nothing,
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
        let origins = Origins { id, router_id: Ipv4Addr::UNSPECIFIED, external: false, client: false };
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

    /// What the decision and the exports are to know of the peer from now on. Is that news?
    pub(crate) fn introduce(&mut self, index: PeerIndex, router_id: Ipv4Addr, external: bool, client: bool) -> bool {
        let origins = &mut self.peers[index.0 as usize];
        let before = (origins.router_id, origins.external, origins.client);
        (origins.router_id, origins.external, origins.client) = (router_id, external, client);
        before != (router_id, external, client)
    }

    /// Which changes [`LocRib::take_news`] tells from now on.
    pub(crate) fn set_interest(&mut self, interest: Interest) {
        self.interest = interest;
        if interest == Interest::Nothing {
            self.news.clear();
        }
    }

    /// Takes up to `at_most` prefixes of which peers are to be told something new.
    pub(crate) fn take_news(&mut self, at_most: usize) -> Vec<Prefix> {
        if self.news.len() <= at_most {
            return std::mem::take(&mut self.news).into_iter().collect();
        }
        std::iter::from_fn(|| self.news.pop_first()).take(at_most).collect()
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Usable paths for a prefix, best first.
    pub(crate) fn usable(&self, prefix: &Prefix) -> impl Iterator<Item = &Candidate> {
        let all = self.table.get(prefix).map(Entry::candidates).unwrap_or_default();
        all.iter().filter(|candidate| candidate.ineligible.is_none())
    }

    /// Up to `at_most` prefixes behind one that have paths.
    pub(crate) fn prefixes_after(&self, after: Option<Prefix>, at_most: usize) -> Vec<Prefix> {
        let behind = self.table.range(after.map_or(Bound::Unbounded, Bound::Excluded));
        behind.take(at_most).map(|(prefix, _)| prefix).collect()
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
    pub(crate) fn offer(
        &mut self,
        prefix: Prefix,
        (peer, path_id): (PeerIndex, u32),
        route: Arc<Route>,
        ineligible: Option<Ineligible>,
    ) {
        let reason = if ineligible.is_some() { Reason::NotEligible } else { Reason::Best };
        let local_id = Candidate::OWN_ID + 1;
        let mut new = Candidate { route, peer, path_id, local_id, stale: false, ineligible, reason };
        let entry = match self.table.entry(prefix) {
            Slot::Vacant(slot) => {
                slot.insert(Entry::One(new));
                self.paths += 1;
                if ineligible.is_none() {
                    self.changed.insert(prefix);
                    if self.interest > Interest::Nothing {
                        self.news.insert(prefix);
                    }
                }
                return;
            }
            Slot::Occupied(slot) => slot.into_mut(),
        };
        let before = Before::of(entry, &self.peers, self.interest);
        let mut candidates = take_candidates(entry);
        match candidates.iter_mut().find(|c| c.is(peer, path_id)) {
            Some(old) => {
                new.local_id = old.local_id;
                *old = new;
            }
            None => {
                new.local_id = unused_id(&candidates);
                candidates.push(new);
                self.paths += 1;
            }
        }
        let changed = settle(entry, candidates, before, self.max_paths, &self.peers, self.interest);
        self.note(prefix, changed);
    }

    /// A peer's path goes.
    pub(crate) fn withdraw(&mut self, prefix: Prefix, (peer, path_id): (PeerIndex, u32)) {
        let Slot::Occupied(mut slot) = self.table.entry(prefix) else { return };
        let entry = slot.get_mut();
        if !entry.candidates().iter().any(|c| c.is(peer, path_id)) {
            return;
        }
        self.paths -= 1;
        if let Entry::One(candidate) = entry {
            if candidate.ineligible.is_none() {
                self.changed.insert(prefix);
                if self.interest > Interest::Nothing {
                    self.news.insert(prefix);
                }
            }
            slot.remove();
            return;
        }
        let before = Before::of(entry, &self.peers, self.interest);
        let mut candidates = take_candidates(entry);
        candidates.retain(|c| !c.is(peer, path_id));
        let changed = settle(entry, candidates, before, self.max_paths, &self.peers, self.interest);
        self.note(prefix, changed);
    }

    /// What is known about a peer's path may be new; the path itself is not. Decides again.
    pub(crate) fn amend(
        &mut self,
        prefix: Prefix,
        (peer, path_id): (PeerIndex, u32),
        stale: bool,
        ineligible: Option<Ineligible>,
    ) {
        let Some(entry) = self.table.get_mut(&prefix) else { return };
        let before = Before::of(entry, &self.peers, self.interest);
        let mut candidates = take_candidates(entry);
        for candidate in candidates.iter_mut().filter(|c| c.is(peer, path_id)) {
            candidate.stale = stale;
            candidate.ineligible = ineligible;
        }
        let changed = settle(entry, candidates, before, self.max_paths, &self.peers, self.interest);
        self.note(prefix, changed);
    }

    fn note(&mut self, prefix: Prefix, changed: Changed) {
        if changed.forwarding {
            self.changed.insert(prefix);
        }
        if changed.news {
            self.news.insert(prefix);
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

    /// One candidate of a peer.
    pub(crate) fn of_peer(&self, prefix: &Prefix, peer: PeerIndex, path_id: u32) -> Option<(&Candidate, bool)> {
        let entry = self.table.get(prefix)?;
        let at = entry.candidates().iter().position(|c| c.is(peer, path_id))?;
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
            leaving: is_leaving(&c.route.attributes),
        }
    };
    entry.set().iter().map(path).collect()
}

/// What an entry said before it was decided about again.
struct Before {
    forwarding: Vec<BestPath>,
    best: Option<Told>,
}

impl Before {
    fn of(entry: &Entry, peers: &[Origins], interest: Interest) -> Before {
        let best = if interest == Interest::Best { best(entry) } else { None };
        Before { forwarding: forwarding(entry, peers), best }
    }
}

/// What is another than before.
struct Changed {
    forwarding: bool,
    news: bool,
}

/// The candidates out of their entry, which [`settle`] fills again.
fn take_candidates(entry: &mut Entry) -> Vec<Candidate> {
    match entry {
        Entry::One(candidate) => vec![candidate.clone()],
        Entry::Many(many) => std::mem::take(&mut many.candidates),
    }
}

/// Decides, and puts the candidates (at least one) back.
fn settle(
    entry: &mut Entry,
    mut candidates: Vec<Candidate>,
    before: Before,
    max_paths: usize,
    peers: &[Origins],
    interest: Interest,
) -> Changed {
    let set = decide(&mut candidates, max_paths, |c| peers[c.peer.0 as usize].clone());
    match (candidates.len(), candidates.pop()) {
        (1, Some(only)) => *entry = Entry::One(only),
        (_, Some(last)) => {
            candidates.push(last);
            *entry = Entry::Many(Box::new(Many { candidates, set }));
        }
        (_, None) => {}
    }
    let news = match interest {
        Interest::Nothing => false,
        Interest::Best => best(entry) != before.best,
        Interest::All => true,
    };
    Changed { forwarding: forwarding(entry, peers) != before.forwarding, news }
}

/// What peers are told of the best path depends on this.
type Told = (Arc<Route>, PeerIndex, u32, bool);

fn best(entry: &Entry) -> Option<Told> {
    entry.set().first().map(|c| (c.route.clone(), c.peer, c.path_id, c.stale))
}

/// The lowest identifier that no path for the prefix has.
fn unused_id(candidates: &[Candidate]) -> u32 {
    let free = |id: &u32| !candidates.iter().any(|c| c.local_id == *id);
    (Candidate::OWN_ID + 1..=u32::MAX).find(free).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
