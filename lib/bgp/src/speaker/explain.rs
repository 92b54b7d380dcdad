//! Why: what became of every path of a prefix, by which step or rule, and why a peer is told what it is told.
//!
//! Nothing here is kept for the asking: the steps are looked up in what the decision has left behind, and the export is
//! asked again, through the same door.

use model::{Moment, PeerId, Prefix};
use wire::community::GRACEFUL_SHUTDOWN;

use super::Speaker;
use super::query::{bare, describe, of_candidate, own_path, told_path};
use crate::decide::{LOCAL_PREF, Reason};
use crate::export::{Offered, Teller, Withheld, export};
use crate::graceful::is_long_lived;
use crate::loc_rib::Candidate;
use crate::peer::{Link, Peer};
use crate::session::State;
use crate::status::{PathStatus, Step, Untold, Verdict};

impl Speaker {
    /// All that is known of a prefix: our own first, then the candidates of the decision, the best first, then what was
    /// refused; each with the step or the rule that decided about it, and against whom. Of one peer only, if one is named.
    pub fn explain(&self, prefix: &Prefix, peer: Option<&PeerId>) -> Vec<PathStatus> {
        let wanted = |id: &PeerId| peer.is_none_or(|peer| peer == id);
        let mut found: Vec<PathStatus> = self.explain_own(prefix).into_iter().filter(|_| peer.is_none()).collect();
        let (candidates, set) = self.candidates(prefix);
        for (at, candidate) in candidates.iter().enumerate() {
            let id = &self.shared.rib.origins(candidate.peer).id;
            if wanted(id) {
                let mut status = of_candidate(*prefix, id, candidate, at == 0 && set > 0, at < set);
                status.why = self.words(candidates, set, at);
                status.rule = self.accepting(prefix, candidate);
                if let Some(rule) = &status.rule {
                    status.why += &format!("; accepted by {rule}");
                }
                found.push(status);
            }
        }
        for (id, peer) in self.peers.iter().filter(|(id, _)| wanted(id)) {
            found.extend(peer.rib_in.refused(prefix).map(|(path, refusal)| self.refused_path(path, id, *refusal)));
        }
        found
    }

    /// What a peer is told of a prefix, and of every path that it is not told, why; `None` if there is no such peer.
    pub fn explain_out(&self, prefix: &Prefix, peer: &PeerId) -> Option<Vec<PathStatus>> {
        let peer = self.peers.get(peer).filter(|peer| !peer.gone)?;
        let session = peer.furthest().filter(|link| link.session.state() == State::Established);
        let closed = match session {
            None => Some((Untold::NoSession, no_session(peer))),
            Some(link) if !link.codec.families.contains(&prefix.family()) => {
                let words = format!("not announced: the session does not carry {}", prefix.family());
                Some((Untold::FamilyNotAgreed, words))
            }
            Some(_) => None,
        };
        let mut telling = Telling { speaker: self, prefix: *prefix, peer, session, wanted: Vec::new() };
        let mut found = telling.all();
        if let Some((why, words)) = closed {
            for status in &mut found {
                *status = PathStatus { verdict: Verdict::Withheld, why: words.clone(), rule: None, ..status.clone() };
                status.step = Some(Step::Untold(why));
            }
        }
        Some(found)
    }

    /// The longest prefix around one, itself too, of which anything is known.
    pub fn around(&self, prefix: &Prefix) -> Option<Prefix> {
        let wider = (0..=prefix.len()).rev().filter_map(|len| Prefix::new(prefix.address(), len));
        wider.into_iter().find(|at| {
            let refused = || self.peers.values().any(|peer| peer.rib_in.refused(at).next().is_some());
            self.shared.view.own.of(at).is_some() || !self.candidates(at).0.is_empty() || refused()
        })
    }

    fn candidates(&self, prefix: &Prefix) -> (&[Candidate], usize) {
        let entry = self.shared.rib.entries(Some(*prefix)).next().filter(|(at, ..)| at == prefix);
        entry.map_or((&[], 0), |(_, candidates, set)| (candidates, set))
    }

    fn explain_own(&self, prefix: &Prefix) -> Option<PathStatus> {
        let own = &self.shared.view.own;
        if let Some(attributes) = own.of(prefix) {
            let mut status = own_path(*prefix, attributes);
            status.why = format!("originated here: {}", own.source(prefix));
            return Some(status);
        }
        let why = own.silent(prefix)?;
        let mut status = bare(*prefix, None, Verdict::Withheld, format!("originated here, {why}"));
        status.step = Some(Step::Untold(why));
        Some(status)
    }

    /// The rule of the import policy that accepted a candidate.
    fn accepting(&self, prefix: &Prefix, candidate: &Candidate) -> Option<String> {
        let peer = self.peers.get(&self.shared.rib.origins(candidate.peer).id)?;
        let (_, accepted) = peer.rib_in.accepted(prefix).find(|((_, id), _)| *id == candidate.path_id)?;
        peer.import.accepting(prefix, &accepted.route, (peer.config.id.address, peer.asn))
    }

    /// Which step decided about a candidate, by which values, and against whom.
    fn words(&self, candidates: &[Candidate], set: usize, at: usize) -> String {
        let this = &candidates[at];
        let reason = this.reason;
        let kept = match this.reason {
            Reason::LongLived | Reason::Stale | Reason::NotEligible => "",
            _ if is_long_lived(&this.route.attributes) => "; long-lived stale",
            _ if this.stale => "; kept from a session that broke",
            _ => "",
        };
        if let Some(why) = this.ineligible {
            return format!("{why} ({})", this.route.next_hop);
        }
        let usable: Vec<&Candidate> = candidates.iter().filter(|c| c.ineligible.is_none()).collect();
        let words = match (reason, usable.as_slice()) {
            (Reason::Best, [_]) if candidates.len() > 1 => "best: the only usable path".to_owned(),
            (Reason::Best, [_]) => "best: the only path".to_owned(),
            (Reason::Best, [best, next, ..]) => {
                let (step, equal) = match next.reason {
                    Reason::Multipath => (self.tie(best, next), format!("first of {set} equal paths, ")),
                    step => (step, String::new()),
                };
                format!("best: {equal}{}", self.against(won(step), step, best, next))
            }
            (Reason::Multipath, _) => format!("{reason}, {} of {set}", at + 1),
            (step, _) => match self.rival(candidates, set, this) {
                Some(rival) => self.against(&step.to_string(), step, this, rival),
                None => step.to_string(),
            },
        };
        words + kept
    }

    /// Who a candidate lost to.
    fn rival<'a>(&self, candidates: &'a [Candidate], set: usize, this: &Candidate) -> Option<&'a Candidate> {
        match this.reason {
            // Only paths through the same neighbour AS are compared; the winner may have lost in a later step.
            Reason::Med => {
                let first = this.route.attributes.as_path.first();
                let same = candidates.iter().filter(|c| c.ineligible.is_none() && !before_med(c.reason));
                let same = same.filter(|c| c.reason != Reason::Med && c.route.attributes.as_path.first() == first);
                same.min_by_key(|c| c.route.attributes.med.unwrap_or(0))
            }
            Reason::RouterId | Reason::ClusterList | Reason::PeerAddress | Reason::PathId => {
                candidates.get(set.checked_sub(1)?)
            }
            _ => candidates.first(),
        }
    }

    /// The step that orders two paths which are equal by all others.
    fn tie(&self, one: &Candidate, other: &Candidate) -> Reason {
        let steps = [Reason::RouterId, Reason::ClusterList, Reason::PeerAddress];
        let differs = |step: &Reason| self.value(*step, one) != self.value(*step, other);
        steps.into_iter().find(differs).unwrap_or(Reason::PathId)
    }

    fn against(&self, words: &str, step: Reason, this: &Candidate, other: &Candidate) -> String {
        match (self.value(step, this), self.value(step, other)) {
            (Some(mine), Some(theirs)) => {
                format!("{words}: {mine} against {theirs} of {}", self.shared.rib.origins(other.peer).id)
            }
            _ => words.to_owned(),
        }
    }

    /// What a step compares.
    fn value(&self, step: Reason, of: &Candidate) -> Option<String> {
        let attributes = &of.route.attributes;
        let origins = self.shared.rib.origins(of.peer);
        Some(match step {
            Reason::LocalPref => {
                let leaving = attributes.communities.contains(&GRACEFUL_SHUTDOWN);
                let mark = if leaving { " (GRACEFUL_SHUTDOWN)" } else { "" };
                format!("{}{mark}", attributes.local_pref.unwrap_or(LOCAL_PREF))
            }
            Reason::AsPath => attributes.as_path.length().to_string(),
            Reason::Origin => attributes.origin.to_string(),
            Reason::Med => attributes.med.unwrap_or(0).to_string(),
            Reason::RouterId => attributes.originator_id.unwrap_or(origins.router_id).to_string(),
            Reason::ClusterList => attributes.cluster_list.len().to_string(),
            Reason::PeerAddress => origins.id.to_string(),
            Reason::PathId => of.path_id.to_string(),
            Reason::Best
            | Reason::Multipath
            | Reason::NotEligible
            | Reason::LongLived
            | Reason::Stale
            | Reason::Internal => return None,
        })
    }
}

/// What the winner of a step says of it.
const fn won(step: Reason) -> &'static str {
    match step {
        Reason::Best | Reason::Multipath | Reason::NotEligible => "the only usable path",
        Reason::LongLived => "the others are long-lived stale",
        Reason::Stale => "the others are kept from sessions that broke",
        Reason::LocalPref => "higher LOCAL_PREF",
        Reason::AsPath => "shorter AS path",
        Reason::Origin => "better ORIGIN",
        Reason::Med => "lower MED",
        Reason::Internal => "external path, the others are internal",
        Reason::RouterId => "lower router ID",
        Reason::ClusterList => "shorter CLUSTER_LIST",
        Reason::PeerAddress => "lower peer address",
        Reason::PathId => "lower path identifier",
    }
}

const fn before_med(step: Reason) -> bool {
    matches!(step, Reason::LongLived | Reason::Stale | Reason::LocalPref | Reason::AsPath | Reason::Origin)
}

/// Why no session is there, in words.
fn no_session(peer: &Peer) -> String {
    let (state, _) = peer.state();
    let why = match &peer.last_error {
        _ if peer.down => ", taken down by the operator".to_owned(),
        Some((_, error)) => format!(", {error}"),
        None => String::new(),
    };
    format!("not announced: the session is {state}{why}")
}

/// What one peer is told of one prefix.
struct Telling<'a> {
    speaker: &'a Speaker,
    prefix: Prefix,
    peer: &'a Peer,
    session: Option<&'a Link>,
    /// Identifiers of the paths that the peer should hold.
    wanted: Vec<u32>,
}

impl Telling<'_> {
    fn all(&mut self) -> Vec<PathStatus> {
        let speaker = self.speaker;
        let own = &speaker.shared.view.own;
        let mut found = Vec::new();
        if let Some(attributes) = own.of(&self.prefix) {
            let mut status = own_path(self.prefix, attributes);
            self.offer(&mut status, Offered::Own { attributes }, Candidate::OWN_ID);
            found.push(status);
        } else {
            found.extend(speaker.explain_own(&self.prefix));
        }
        let (candidates, set) = speaker.candidates(&self.prefix);
        let add_path = self.add_path();
        let mut asked = 0;
        for (at, candidate) in candidates.iter().enumerate() {
            let origins = speaker.shared.rib.origins(candidate.peer);
            let (id, teller) = (&origins.id, teller(speaker, candidate));
            let mut status = of_candidate(self.prefix, id, candidate, at == 0 && set > 0, at < set);
            let untold = match add_path {
                _ if own.of(&self.prefix).is_some() => Some(Untold::OwnStands),
                _ if candidate.ineligible.is_some() => {
                    status.why = format!("not announced: {}", status.why);
                    found.push(status);
                    continue;
                }
                None if asked > 0 => Some(Untold::NotBest),
                Some(most) if self.wanted.len() >= most => Some(Untold::BeyondAddPath),
                _ => None,
            };
            match untold {
                Some(why) => withhold(&mut status, Step::Untold(why), why.to_string()),
                None => {
                    self.offer(&mut status, Offered::Learnt { route: &candidate.route, teller }, candidate.local_id)
                }
            }
            asked += 1;
            found.push(status);
        }
        for (id, peer) in &speaker.peers {
            found.extend(peer.rib_in.refused(&self.prefix).map(|(path, refusal)| {
                let status = speaker.refused_path(path, id, *refusal);
                PathStatus { why: format!("not announced: {}", status.why), ..status }
            }));
        }
        found.extend(self.leftovers());
        found
    }

    /// Most paths that the session tells; `None`: one.
    fn add_path(&self) -> Option<usize> {
        self.session?.target.as_ref()?.add_path[self.prefix.family() as usize]
    }

    /// Asks the export, and compares with what the peer holds.
    fn offer(&mut self, status: &mut PathStatus, path: Offered<'_>, local_id: u32) {
        let speaker = self.speaker;
        // Without a session there is nobody to ask about.
        let Some((link, target)) = self.session.and_then(|link| Some((link, link.target.as_ref()?))) else { return };
        let label = |rule: Option<usize>| target.policy.as_ref().map(|policy| policy.label(rule));
        let export = match export(&self.prefix, path, target, &speaker.shared.view) {
            Ok(export) => export,
            Err(why) => {
                let rule = match why {
                    Withheld::Policy(rule) => label(rule),
                    _ => None,
                };
                let words = match &rule {
                    Some(rule) => format!("not announced: rejected by {rule}"),
                    None => why.to_string(),
                };
                withhold(status, Step::Withheld(why), words);
                status.rule = rule;
                return;
            }
        };
        let id = if self.add_path().is_some() { local_id } else { 0 };
        self.wanted.push(id);
        let told = link.rib_out.told_of(&self.prefix).iter().find(|(told, _)| *told == id);
        status.next_hop = Some(export.next_hop);
        status.path_id = id;
        describe(status, &export.attributes);
        if told.is_some_and(|(_, told)| **told == export) {
            status.verdict = Verdict::Announced;
            status.step = None;
            status.why = "announced".to_owned();
            if let Some(rule) = crate::export::accepting(&self.prefix, path, target, &speaker.shared.view) {
                status.why += &format!("; accepted by {rule}");
                status.rule = Some(rule);
            }
            return;
        }
        let why = match link.rib_out.holds_back(&self.prefix) {
            true => Untold::Interval,
            false if !link.has_room() => Untold::SlowReader,
            false => Untold::Turn,
        };
        let mut words = why.to_string();
        if why == Untold::Interval {
            words += &format!(", {:.1} s more", seconds_until(speaker.now, link.quiet_until));
        }
        if told.is_some() {
            words = words.replacen("not announced yet", "announced with other attributes as yet", 1);
        }
        status.verdict = Verdict::Pending;
        status.step = Some(Step::Untold(why));
        status.why = words;
    }

    /// What the peer holds and is to hold no longer.
    fn leftovers(&self) -> Vec<PathStatus> {
        let told = self.session.map(|link| link.rib_out.told_of(&self.prefix)).unwrap_or_default();
        let old = told.iter().filter(|(id, _)| !self.wanted.contains(id));
        let status = old.map(|(id, export)| PathStatus {
            verdict: Verdict::Pending,
            step: Some(Step::Untold(Untold::Turn)),
            why: "announced as yet, about to be withdrawn".to_owned(),
            ..told_path(self.prefix, self.peer, *id, export)
        });
        status.collect()
    }
}

fn teller(speaker: &Speaker, candidate: &Candidate) -> Teller {
    let origins = speaker.shared.rib.origins(candidate.peer);
    Teller { peer: candidate.peer, router_id: origins.router_id, external: origins.external, client: origins.client }
}

fn withhold(status: &mut PathStatus, step: Step, words: String) {
    status.verdict = Verdict::Withheld;
    status.step = Some(step);
    status.why = words;
}

fn seconds_until(now: Moment, then: Moment) -> f64 {
    then.since(now).as_secs_f64()
}
