//! Answers for people and metrics.

use std::collections::BTreeMap;

use model::{Family, PeerId, Prefix};
use wire::Attributes;

use super::Speaker;
use crate::adj_rib_in::PathKey;
use crate::counters::{Counters, Way};
use crate::decide::Reason;
use crate::export::Export;
use crate::loc_rib::Candidate;
use crate::peer::Peer;
use crate::policy::Refusal;
use crate::session::State;
use crate::status::{Direction, FamilyCounts, PathStatus, PeerStatus, RoutesQuery, Step, Stranger, Verdict};
use crate::timers::Timer;

impl Speaker {
    /// All peers, by address.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.peers.values().filter(|peer| !peer.gone).map(|peer| self.peer_status(peer)).collect()
    }

    /// Established sessions, and all peers.
    pub fn sessions(&self) -> (usize, usize) {
        // Asked after every event: what is counted anew is counted in tests only.
        debug_assert_eq!(self.live.len(), self.peers.values().filter(|p| p.is_live() && !p.gone).count());
        debug_assert_eq!(self.going.len(), self.peers.values().filter(|peer| peer.gone).count());
        (self.live.len(), self.peers.len() - self.going.len())
    }

    /// Peers without an Established session; `true` with those of the mesh.
    pub fn absent(&self) -> impl Iterator<Item = (&PeerId, bool)> {
        let absent = self.peers.iter().filter(|(_, peer)| !peer.gone && peer.state().0 != State::Established);
        absent.map(|(id, peer)| (id, peer.config.mesh))
    }

    /// The first peer that has met with an error, and its last one.
    pub fn first_error(&self) -> Option<(&PeerId, &str)> {
        let there = self.peers.iter().filter(|(_, peer)| !peer.gone);
        there.filter_map(|(id, peer)| Some((id, peer.last_error.as_ref()?.1.as_str()))).next()
    }

    /// Is a session with the peer Established?
    pub fn is_established(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(Peer::is_live)
    }

    /// `Ok` when every peer with an Established session has sent End-of-RIB for all negotiated families, or has not
    /// within 30 s. A peer that has not promised End-of-RIB has told everything after 5 s without an UPDATE. The error
    /// says who is waited for.
    pub fn end_of_rib_complete(&self) -> Result<(), String> {
        debug_assert!(self.peers.iter().all(|(id, p)| (p.is_live() && !p.has_told_all()) == self.telling.contains(id)));
        let Some(peer) = self.telling.first().and_then(|id| self.peers.get(id)) else { return Ok(()) };
        let families = peer.furthest().map(|link| link.codec.families.clone()).unwrap_or_default();
        let missing: Vec<String> = families.difference(&peer.end_of_rib).map(Family::to_string).collect();
        Err(format!("peer {} ({})", peer.config.id, missing.join(", ")))
    }

    /// Number of accepted paths, of all peers.
    pub fn holds_paths(&self) -> usize {
        self.shared.rib.paths()
    }

    /// Addresses that connected and are no peers: the last 64, oldest first.
    pub fn last_strangers(&self) -> Vec<Stranger> {
        self.strangers.iter().cloned().collect()
    }

    /// Counters of all peers there are.
    pub fn counters(&self) -> Counters {
        let mut all = Counters { strangers: self.strangers_total, ..Counters::default() };
        for (id, peer) in &self.peers {
            peer.counters.report(id, &mut all);
        }
        all
    }

    /// Paths, by prefix inside a peer (or inside Loc-RIB); at most `query.limit`.
    pub fn routes(&self, query: RoutesQuery) -> Vec<PathStatus> {
        let mut found = match query.direction {
            Direction::Loc => self.loc(&query),
            Direction::In => {
                self.chosen(&query).flat_map(|peer| self.received(peer, &query)).take(query.limit).collect()
            }
            Direction::Out => self.chosen(&query).flat_map(|peer| sent(peer, &query)).take(query.limit).collect(),
        };
        found.truncate(query.limit);
        found
    }

    fn chosen<'a>(&'a self, query: &'a RoutesQuery) -> impl Iterator<Item = &'a Peer> {
        self.peers.values().filter(|peer| query.peer.as_ref().is_none_or(|id| *id == peer.config.id))
    }

    fn loc(&self, query: &RoutesQuery) -> Vec<PathStatus> {
        let mut found = Vec::new();
        let own = self.shared.view.own.announced().iter().filter(|_| query.peer.is_none());
        let own = own.filter(|(own, _)| query.prefix.is_none_or(|wanted| wanted == **own));
        for (prefix, attributes) in own.take(query.limit) {
            found.push(own_path(*prefix, attributes));
        }
        for (prefix, candidates, set) in self.shared.rib.entries(query.prefix) {
            if found.len() >= query.limit || query.prefix.is_some_and(|wanted| wanted != prefix) {
                break;
            }
            for (at, candidate) in candidates.iter().enumerate() {
                let peer = &self.shared.rib.origins(candidate.peer).id;
                if query.peer.as_ref().is_none_or(|wanted| wanted == peer) {
                    found.push(of_candidate(prefix, peer, candidate, at == 0 && set > 0, at < set));
                }
            }
        }
        found
    }

    fn received(&self, peer: &Peer, query: &RoutesQuery) -> Vec<PathStatus> {
        let peer_id = &peer.config.id;
        let of_accepted = |(prefix, id): PathKey| {
            let (candidate, multipath) = self.shared.rib.of_peer(&prefix, peer.index, id)?;
            let best = candidate.reason == crate::Reason::Best;
            Some(of_candidate(prefix, peer_id, candidate, best, multipath))
        };
        let of_refused = |(path, refusal): (&PathKey, &Refusal)| self.refused_path(path, peer_id, *refusal);
        if let Some(prefix) = query.prefix {
            let accepted = peer.rib_in.accepted(&prefix).filter_map(|(path, _)| of_accepted(path));
            return accepted.chain(peer.rib_in.refused(&prefix).map(of_refused)).collect();
        }
        let accepted = peer.rib_in.accepted_after(None).filter_map(|(path, _)| of_accepted(path));
        let refused = peer.rib_in.all_refused().map(of_refused);
        accepted.take(query.limit).chain(refused.take(query.limit)).collect()
    }

    /// A path that was refused: a word is all that is kept of it.
    pub(super) fn refused_path(&self, (prefix, id): &PathKey, peer: &PeerId, refusal: Refusal) -> PathStatus {
        let rules = &self.shared.rules;
        let mut status = bare(*prefix, Some(peer.clone()), Verdict::Refused, rules.words(refusal));
        status.step = Some(Step::Refused(refusal));
        status.rule = rules.label(refusal).map(str::to_owned);
        status.path_id = *id;
        status
    }

    /// What the operator should know of a peer that works.
    fn warnings(&self, peer: &Peer) -> Vec<String> {
        let mut warnings = Vec::new();
        let (most, received) = (peer.config.max_prefixes, peer.rib_in.received());
        if peer.is_live() && peer.is_near_bound() {
            warnings
                .push(format!("{received} prefixes of the {most} that maxPrefixes allows: more closes the session"));
        }
        if let Some((path, refusal)) = peer.rib_in.all_refused().next() {
            let refused: usize = Family::BOTH.into_iter().map(|family| peer.rib_in.counts(family).1).sum();
            warnings.push(format!(
                "{refused} of its paths {}, for example {}: {}; `biplane bgp routes --in {}` lists them",
                if refused == 1 { "is not used" } else { "are not used" },
                path.0,
                self.shared.rules.words(*refusal),
                peer.config.id
            ));
        }
        if let Some(link) = peer.furthest().filter(|link| link.rib_out.has_held()) {
            warnings.push(format!(
                "{} of our prefixes wait for minAdvertisementInterval, {:.1} s more",
                link.rib_out.held(),
                link.quiet_until.since(self.now).as_secs_f64()
            ));
        }
        warnings
    }

    fn peer_status(&self, peer: &Peer) -> PeerStatus {
        let (state, since) = peer.state();
        let link = peer.furthest();
        let agreed = link.and_then(|link| link.session.agreed());
        let counts = Family::BOTH.map(|family| {
            let (accepted, rejected) = peer.rib_in.counts(family);
            let advertised = link.map_or(0, |link| link.rib_out.advertised(family));
            (family, FamilyCounts { received: accepted + rejected, accepted, rejected, advertised })
        });
        let accepted: usize = counts.iter().map(|(_, counts)| counts.accepted).sum();
        let local = link.and_then(|link| link.session.local).map(|local| local.ip().to_canonical());
        PeerStatus {
            id: peer.config.id.clone(),
            port: peer.config.port,
            asn: peer.asn,
            local_asn: peer.config.local_asn.unwrap_or(self.shared.view.local_asn),
            mesh: peer.config.mesh,
            range: peer.config.range,
            passive: peer.config.passive,
            down: peer.down,
            role: peer.config.role,
            description: peer.config.description.clone(),
            state,
            since,
            local: local.or(peer.local().filter(|_| state == State::Established)),
            router_id: agreed.map(|agreed| agreed.router_id),
            host_name: agreed.and_then(|agreed| agreed.host_name.clone()),
            hold_time: agreed.map(|agreed| agreed.hold_time),
            families: agreed.map(|agreed| agreed.wire.families.clone()).unwrap_or_default(),
            counts: BTreeMap::from(counts),
            max_prefixes: peer.config.max_prefixes,
            stale: if peer.is_live() { peer.rib_in.old() } else { accepted },
            stale_until: peer.stale_until(),
            end_of_rib: peer.end_of_rib.clone(),
            last_error: peer.last_error.clone(),
            warnings: self.warnings(peer),
            messages_in: peer.counters.messages(Way::In),
            messages_out: peer.counters.messages(Way::Out),
            established: peer.established,
            next_dial: match peer.timers.at(Timer::ConnectRetry) {
                Some(at) if !peer.config.passive => Some(at),
                _ => peer.timers.at(Timer::IdleHold).filter(|_| !peer.config.passive),
            },
        }
    }
}

/// What a peer was told.
fn sent(peer: &Peer, query: &RoutesQuery) -> Vec<PathStatus> {
    let Some(link) = peer.furthest() else { return Vec::new() };
    let told = link.rib_out.told_from(query.prefix);
    let told = told.take_while(|(prefix, ..)| query.prefix.is_none_or(|wanted| wanted == *prefix));
    told.take(query.limit).map(|(prefix, id, export)| told_path(prefix, peer, id, export)).collect()
}

/// A prefix of our own that is announced.
pub(super) fn own_path(prefix: Prefix, attributes: &Attributes) -> PathStatus {
    let mut status = bare(prefix, None, Verdict::Own, "originated here".to_owned());
    status.best = true;
    describe(&mut status, attributes);
    status
}

/// A path that a peer was told.
pub(super) fn told_path(prefix: Prefix, peer: &Peer, id: u32, export: &Export) -> PathStatus {
    let mut status = bare(prefix, Some(peer.config.id.clone()), Verdict::Announced, "announced".to_owned());
    status.next_hop = Some(export.next_hop);
    status.path_id = id;
    describe(&mut status, &export.attributes);
    status
}

pub(super) fn bare(prefix: Prefix, peer: Option<PeerId>, verdict: Verdict, why: String) -> PathStatus {
    PathStatus {
        prefix,
        peer,
        next_hop: None,
        as_path: String::new(),
        origin: String::new(),
        med: None,
        local_pref: None,
        communities: Vec::new(),
        best: false,
        multipath: false,
        stale: false,
        why,
        verdict,
        step: None,
        rule: None,
        path_id: 0,
    }
}

pub(super) fn of_candidate(
    prefix: Prefix,
    peer: &PeerId,
    candidate: &Candidate,
    best: bool,
    multipath: bool,
) -> PathStatus {
    let (verdict, step, why) = match (candidate.ineligible, candidate.reason) {
        (Some(why), _) => (Verdict::Ineligible, Step::Ineligible(why), why.to_string()),
        (None, reason @ Reason::Best) => (Verdict::Best, Step::Decision(reason), reason.to_string()),
        (None, reason @ Reason::Multipath) => (Verdict::Multipath, Step::Decision(reason), reason.to_string()),
        (None, reason) => (Verdict::Lost, Step::Decision(reason), reason.to_string()),
    };
    let mut status = bare(prefix, Some(peer.clone()), verdict, why);
    status.step = Some(step);
    status.path_id = candidate.path_id;
    status.next_hop = Some(candidate.route.next_hop);
    status.best = best;
    status.multipath = multipath;
    status.stale = candidate.stale;
    describe(&mut status, &candidate.route.attributes);
    status
}

pub(super) fn describe(status: &mut PathStatus, attributes: &Attributes) {
    status.as_path = attributes.as_path.to_string();
    status.origin = attributes.origin.to_string();
    status.med = attributes.med;
    status.local_pref = attributes.local_pref;
    let plain = attributes.communities.iter().map(|c| format!("{}:{}", c >> 16, c & 0xffff));
    let large = attributes.large_communities.iter().map(|[a, b, c]| format!("{a}:{b}:{c}"));
    status.communities = plain.chain(large).collect();
}
