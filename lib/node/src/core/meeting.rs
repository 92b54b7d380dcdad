//! The nodes that this node meets in BGP sessions, and how it gets from one topology to the next; see [`super::mesh`].

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use bgp::PeerId;
use model::reflection::Reflection;
use model::{Moment, NodeName, Plane};

use super::Core;
use super::mesh::{Member, Members, Topology, part, topology};
use crate::event::{Level, Topic};

/// While a change of topology is under way it is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A topology has to stand for so long before an old session goes: a change that comes node by node passes through others,
/// and a session that the last of them has must not go with one between.
const STANDS_AFTER: Duration = Duration::from_secs(5);

/// Who is met.
pub(super) struct Meeting {
    /// Claims, configuration or digest changed.
    pub(super) dirty: bool,
    /// What this node's claims say.
    pub(super) reflection: Option<Reflection>,
    /// It passes paths on, wanted or still.
    pub(super) reflecting: bool,
    /// Nodes that it passes paths on for.
    pub(super) clients: BTreeSet<NodeName>,
    /// Nodes that it has sessions with: those of the topology, and those of an earlier one that are still needed.
    pub(super) met: BTreeSet<NodeName>,
    members: Members,
    topology: Topology,
    /// Since when that is the topology.
    since: Moment,
    /// All sessions of the topology with this fingerprint have told everything, and no other is needed.
    home: Option<u64>,
    /// Somebody has spoken of reflection: whether one is at home matters.
    matters: bool,
    waiting: Option<String>,
    next_look: Option<Moment>,
}

impl Default for Meeting {
    fn default() -> Meeting {
        Meeting {
            dirty: false,
            reflection: None,
            reflecting: false,
            clients: BTreeSet::new(),
            met: BTreeSet::new(),
            members: Members::new(),
            topology: Topology::default(),
            since: Moment::ZERO,
            home: None,
            matters: false,
            waiting: None,
            next_look: None,
        }
    }
}

impl Meeting {
    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        if self.dirty { Some(Moment::ZERO) } else { self.next_look }
    }

    /// What the phase is to say.
    pub(super) fn home(&self) -> Option<u64> {
        self.home.filter(|_| self.matters)
    }

    /// What a change of topology waits for.
    pub(super) fn waiting(&self) -> Option<&String> {
        self.waiting.as_ref()
    }

    /// It reflects for others' sake only, until they are at home with other reflectors. Its own view must not keep these
    /// from telling it what they have: of equal paths theirs are to be the better ones.
    pub(super) fn reflects_last(&self) -> bool {
        self.reflecting && !self.reflection.is_some_and(|part| part.reflects)
    }

    /// It is to reflect, and is at home where it is to.
    fn is_settled(&self) -> bool {
        self.home == Some(self.topology.fingerprint) && self.reflection.is_some_and(|part| part.reflects)
    }

    fn lingering(&self) -> BTreeSet<NodeName> {
        self.met.difference(&self.topology.wanted).cloned().collect()
    }
}

impl Core {
    /// CLUSTER_ID to reflect under, while this node does. Two reflectors with one CLUSTER_ID take nothing from each other
    /// (RFC 4456 section 8), and on the way from one topology to the next they have to: whoever is not at home yet, or
    /// goes on for others' sake only, uses its router ID.
    pub(super) fn cluster_id(&self, router_id: Ipv4Addr) -> Option<Ipv4Addr> {
        let meeting = &self.native.meeting;
        let configured = self.config.bgp.reflectors.as_ref().and_then(|reflectors| reflectors.cluster_id);
        let configured = configured.filter(|_| meeting.is_settled());
        meeting.reflecting.then_some(configured.unwrap_or(router_id))
    }

    /// Finds out who is to be met, opens what is new and closes what both ends can do without.
    pub(super) fn renew_meeting(&mut self, now: Moment) {
        let dirty = std::mem::take(&mut self.native.meeting.dirty);
        if !dirty && self.native.meeting.next_look.is_none_or(|at| now < at) {
            return;
        }
        let was_settled = self.native.meeting.is_settled();
        if dirty {
            self.renew_topology(now);
        }
        let lingering = self.native.meeting.lingering();
        let fingerprint = self.native.meeting.topology.fingerprint;
        if !self.native.on {
            // No session stands: there is nothing to keep.
            let meeting = &mut self.native.meeting;
            meeting.met.clone_from(&meeting.topology.wanted);
            meeting.reflecting = meeting.reflection.is_some_and(|part| part.reflects);
            (meeting.home, meeting.waiting, meeting.next_look) = (None, None, None);
            return;
        }
        let waiting = match self.native.meeting.home == Some(fingerprint) {
            true => None,
            false => self.away_from_home(&lingering),
        };
        if waiting.is_none() {
            self.native.meeting.home = Some(fingerprint);
        }
        // The CLUSTER_ID follows.
        self.native.dirty |= self.native.meeting.is_settled() != was_settled;
        let waiting = waiting.or_else(|| self.leave(now, &lingering));
        let meeting = &mut self.native.meeting;
        let under_way = meeting.home != Some(fingerprint) || waiting.is_some();
        meeting.waiting = waiting;
        meeting.next_look = under_way.then_some(now + LOOK_EVERY);
    }

    fn renew_topology(&mut self, now: Moment) {
        let members = self.members();
        let me = &self.identity.node;
        let config = self.config.bgp.reflectors.as_ref().filter(|_| self.config.bgp.mesh);
        let reflects = self.native.meeting.reflection.is_some_and(|part| part.reflects);
        let own = config.map(|config| part(me, &self.config.node.labels, config, reflects, &members));
        let topology = topology(me, own, &members);
        let meeting = &mut self.native.meeting;
        meeting.matters |= own.is_some() || members.values().any(|member| member.reflection.is_some());
        if meeting.reflection != own {
            meeting.reflection = own;
            self.claims.dirty = true;
        }
        meeting.reflecting |= own.is_some_and(|part| part.reflects);
        let clients: BTreeSet<NodeName> =
            members.iter().filter(|(_, member)| member.is_client()).map(|(name, _)| name.clone()).collect();
        let met: BTreeSet<NodeName> =
            meeting.met.iter().filter(|name| members.contains_key(*name)).chain(&topology.wanted).cloned().collect();
        let changed = meeting.met != met || meeting.clients != clients || meeting.topology != topology;
        let moved = meeting.topology.fingerprint != topology.fingerprint;
        (meeting.met, meeting.clients, meeting.members, meeting.topology) = (met, clients, members, topology);
        self.native.dirty |= changed;
        if moved {
            self.native.meeting.home = None;
            self.native.meeting.since = now;
            let meeting = &self.native.meeting;
            let words = match (meeting.topology.fingerprint, meeting.reflection.is_some_and(|part| part.reflects)) {
                (0, _) => "every node meets every other".to_owned(),
                (_, true) => format!("this node reflects for {} others", meeting.topology.wanted.len()),
                (_, false) => format!("{} nodes are met", meeting.topology.wanted.len()),
            };
            self.say(now, Level::Info, Topic::Bgp, format!("another topology of sessions: {words}"));
        }
    }

    /// What is missing before this node could do with the sessions of the topology alone, in words.
    fn away_from_home(&self, lingering: &BTreeSet<NodeName>) -> Option<String> {
        let meeting = &self.native.meeting;
        for (name, member) in meeting.members.iter().filter(|(name, _)| meeting.topology.wanted.contains(*name)) {
            let Some(peer) = self.peer_of(name) else { continue };
            let stands = self.peer_stands(peer.address);
            if member.live && stands && !self.native.speaker.is_told(&peer) {
                return Some(format!("the session with node {name} to have told everything"));
            }
        }
        let going: BTreeSet<PeerId> = lingering.iter().filter_map(|name| self.peer_of(name)).collect();
        let prefix = self.native.speaker.can_do_without(&going).err()?;
        Some(format!("a path for {prefix} by the new topology of BGP sessions"))
    }

    /// Lets go of sessions that neither end needs any more, and of a part that nobody needs. What is still waited for.
    fn leave(&mut self, now: Moment, lingering: &BTreeSet<NodeName>) -> Option<String> {
        let meeting = &self.native.meeting;
        let wanted = meeting.reflection.is_some_and(|part| part.reflects);
        if lingering.is_empty() && meeting.reflecting == wanted {
            return None;
        }
        let words = || Some("the other nodes to be at home in the new topology of BGP sessions".to_owned());
        if now < meeting.since + STANDS_AFTER {
            return Some("the new topology of BGP sessions to have stood for some seconds".to_owned());
        }
        let Some(digest) = &self.coordination.digest else { return words() };
        if digest.topology != Some(meeting.topology.fingerprint) || !digest.at_home.has(&self.identity.node) {
            return words();
        }
        let done = |name: &NodeName| digest.at_home.has(name) || digest.gone.contains(name);
        let left: BTreeSet<NodeName> = lingering.iter().filter(|name| done(name)).cloned().collect();
        let everybody = meeting.members.iter().all(|(name, member)| !member.live || done(name));
        let all = left.len() == lingering.len();
        let meeting = &mut self.native.meeting;
        let ends = meeting.reflecting && !wanted && everybody;
        meeting.reflecting &= !ends;
        meeting.met.retain(|name| !left.contains(name));
        self.native.dirty |= ends || !left.is_empty();
        if !left.is_empty() {
            let text = format!("{} sessions of the old topology go: no path needs them", left.len());
            self.say(now, Level::Info, Topic::Bgp, text);
        }
        let settled = all && self.native.meeting.reflecting == wanted;
        if settled { None } else { words() }
    }

    /// Other nodes that take part in sessions between nodes.
    fn members(&self) -> Members {
        let gone = |name: &NodeName| self.coordination.digest.as_ref().is_some_and(|it| it.gone.contains(name));
        let of = |(name, cidrs): (&NodeName, &BTreeSet<model::PodCidr>)| {
            let reach = &self.claims.all.get(cidrs.first()?)?.reach;
            let takes_part = reach.bgp.mesh && reach.planes.has(Plane::Native);
            // Reflection is for one AS.
            let reflection = reach.bgp.reflection.filter(|_| reach.bgp.asn == self.config.bgp.local_asn);
            takes_part.then(|| (name.clone(), Member { reflection, live: !gone(name) }))
        };
        self.claims.nodes.iter().filter_map(of).collect()
    }

    fn peer_of(&self, name: &NodeName) -> Option<PeerId> {
        let cidr = self.claims.nodes.get(name)?.first()?;
        Some(PeerId::from(self.claims.all.get(cidr)?.reach.vtep.underlay))
    }
}
