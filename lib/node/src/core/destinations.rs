//! Destinations: every pod CIDR of another node, and every prefix that a peer announces. Which plane carries each, and
//! what that means for the kernel.
//!
//! Whatever may change the answer for a destination only marks it; [`Core::refresh_destinations`] looks at marked ones.
//! The cost of a change is the number of destinations that it touches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::kernel::{Hop, Key, Value, Via};
use model::{Moment, NodeName, Plane, PodCidr, Prefix, PrefixMap};
use plan::NativePath;
use switch::{Carry, Counts, Usable};

use super::{Core, SLICE};
use crate::event::Effect;
use crate::reconcile::Changed;

/// Nodes whose VTEP objects are looked at before other events are served: a few milliseconds.
const NODES: usize = 512;
/// A next hop that did not answer is asked again after this.
const RESOLVE_EVERY: Duration = Duration::from_millis(200);
/// Sets of paths that are remembered with their way.
const WAYS: usize = 4096;

/// All of them, and what is to be looked at.
#[derive(Default)]
pub(super) struct Destinations {
    all: PrefixMap<Destination>,
    dirty: BTreeSet<Prefix>,
    /// Everything is to be looked at: taken in slices from here on.
    sweep_from: Option<Option<Prefix>>,
    dirty_nodes: BTreeSet<NodeName>,
    every_node: bool,
    /// VTEP objects wanted for each node.
    vteps: BTreeMap<NodeName, Vec<(Key, Value)>>,
    /// Which node a VTEP's inner gateway belongs to.
    gateways: BTreeMap<std::net::IpAddr, NodeName>,
    gateway_of: BTreeMap<NodeName, std::net::IpAddr>,
    /// How many destinations want a nexthop object.
    held: BTreeMap<Key, usize>,
    /// Destinations that wait for a nexthop object to be in the kernel, or for its gateway to answer.
    waiters: BTreeMap<Key, BTreeSet<Prefix>>,
    resolved: BTreeMap<Hop, Resolved>,
    /// What sets of paths come to with the links as they are.
    ways: BTreeMap<Vec<NativePath>, Result<Via, String>>,
    counts: Counts,
    /// Claimed destinations that are not carried by the preferred plane.
    astray: BTreeSet<Prefix>,
    /// Since when a destination's route waits to be in the kernel.
    pub(super) pending_since: BTreeMap<Prefix, Moment>,
}

/// One destination. A million may come from a router: what only claimed ones and those in trouble have is kept apart.
#[derive(Default)]
pub(super) struct Destination {
    /// Where its paths lead, once resolved to links.
    native: Option<Via>,
    /// What the counts know of it.
    counted: Option<Counted>,
    seldom: Option<Box<Seldom>>,
}

/// What most destinations of a large table do not have.
#[derive(Default)]
struct Seldom {
    node: Option<NodeName>,
    why_not: Option<String>,
}

impl Destination {
    /// The node that claims it.
    pub(super) fn node(&self) -> Option<&NodeName> {
        self.seldom.as_ref()?.node.as_ref()
    }

    /// Why the preferred plane does not carry it.
    pub(super) fn why_not(&self) -> Option<&str> {
        self.seldom.as_ref()?.why_not.as_deref()
    }

    fn describe(&mut self, node: Option<NodeName>, why_not: Option<String>) {
        if node.is_none() && why_not.is_none() {
            self.seldom = None;
        } else {
            **self.seldom.get_or_insert_default() = Seldom { node, why_not };
        }
    }

    /// Keeps the counts in step with one destination. `counts` says whether a live node claims it.
    fn count(&mut self, totals: &mut Counts, carried: Option<Plane>, counts: bool) {
        let ever = carried.is_some() || self.counted.is_some_and(|counted| counted.ever);
        let next = Some(Counted { carried, ever, counts });
        if self.counted == next {
            return;
        }
        for (state, add) in [(self.counted, false), (next, true)] {
            let Some(state) = state.filter(|state| state.counts) else { continue };
            let step = |n: &mut usize| if add { *n += 1 } else { *n -= 1 };
            step(&mut totals.total);
            match state.carried {
                Some(plane) => step(&mut totals.carried[plane as usize]),
                None if !state.ever => step(&mut totals.unreachable),
                None => {}
            }
        }
        self.counted = next;
    }
}

/// What the counts know of a destination.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Counted {
    carried: Option<Plane>,
    /// Was it ever carried? One that was and is not holds a switch up; one that never was does not.
    ever: bool,
    /// Does a live node claim it?
    counts: bool,
}

/// Does a gateway answer?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolved {
    Asked(Moment),
    Yes,
    No(Moment),
}

impl Resolved {
    /// When the gateway is to be asked for again.
    fn again_at(self) -> Option<Moment> {
        match self {
            Resolved::Asked(at) => Some(at + RESOLVE_EVERY * 5),
            Resolved::No(at) => Some(at + RESOLVE_EVERY),
            Resolved::Yes => None,
        }
    }
}

impl Destinations {
    pub(super) fn dirty(&mut self, prefix: Prefix) {
        self.dirty.insert(prefix);
    }

    pub(super) fn all_dirty(&mut self) {
        self.sweep_from = Some(None);
    }

    /// Links changed: paths may resolve otherwise.
    pub(super) fn forget_ways(&mut self) {
        self.ways.clear();
    }

    pub(super) fn node_dirty(&mut self, node: NodeName) {
        self.dirty_nodes.insert(node);
    }

    pub(super) fn all_nodes_dirty(&mut self) {
        self.every_node = true;
    }

    pub(super) fn has_work(&self) -> bool {
        !self.dirty.is_empty() || self.sweep_from.is_some() || self.every_node || !self.dirty_nodes.is_empty()
    }

    /// Are there nodes whose VTEP objects have not been looked at yet?
    pub(super) fn has_nodes_to_look_at(&self) -> bool {
        self.every_node || !self.dirty_nodes.is_empty()
    }

    /// How destinations are carried.
    pub(super) fn counts(&self) -> Counts {
        let stuck = self.astray.iter().find_map(|prefix| {
            let destination = self.all.get(prefix)?;
            let (node, why) = (destination.node()?, destination.why_not()?);
            Some(format!("{prefix} on {node}: {why}"))
        });
        Counts { stuck, ..self.counts.clone() }
    }

    /// The node that a VTEP's inner gateway belongs to.
    pub(super) fn node_of(&self, gateway: &std::net::IpAddr) -> Option<&NodeName> {
        self.gateways.get(gateway)
    }

    /// Did a gateway answer when it was last asked? `None`: nobody had to ask, or it has not answered yet.
    pub(super) fn answers(&self, hop: &Hop) -> Option<bool> {
        match self.resolved.get(hop)? {
            Resolved::Yes => Some(true),
            Resolved::No(_) => Some(false),
            Resolved::Asked(_) => None,
        }
    }

    pub(super) fn of(&self, prefix: &Prefix) -> Option<&Destination> {
        self.all.get(prefix)
    }

    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        self.awaited().filter_map(|(_, resolved)| resolved.again_at()).min()
    }

    /// Gateways that somebody waits for.
    fn awaited(&self) -> impl Iterator<Item = (&Hop, Resolved)> {
        self.waiters.keys().filter_map(|key| match key {
            Key::Nexthop(hop) => Some((hop, *self.resolved.get(hop)?)),
            _ => None,
        })
    }

    pub(super) fn handle_resolved(&mut self, now: Moment, hops: Vec<(Hop, bool)>) {
        for (hop, answers) in hops {
            let state = if answers { Resolved::Yes } else { Resolved::No(now) };
            self.resolved.insert(hop.clone(), state);
            self.wake(&Key::Nexthop(hop));
        }
    }

    pub(super) fn wake(&mut self, key: &Key) {
        if let Some(waiting) = self.waiters.remove(key) {
            self.dirty.extend(waiting);
        }
    }

    fn note_astray(&mut self, prefix: Prefix, astray: bool) {
        if astray {
            self.astray.insert(prefix);
        } else if !self.astray.is_empty() {
            self.astray.remove(&prefix);
        }
    }
}

impl Core {
    /// Takes in what changed in the kernel: wakes what waited for it, keeps the counts.
    pub(super) fn absorb(&mut self, now: Moment) {
        let preferred = self.stance().carry;
        for Changed { key, carried, settled, forgotten } in self.reconcile.take_changed() {
            match &key {
                Key::Route(prefix) => {
                    let destinations = &mut self.destinations;
                    if settled
                        && !destinations.pending_since.is_empty()
                        && let Some(since) = destinations.pending_since.remove(prefix)
                    {
                        self.stats.converged(now.since(since));
                    }
                    let known = destinations.all.get_mut(prefix);
                    if let Some((destination, Counted { counts, .. })) = known.and_then(|d| d.counted.map(|c| (d, c))) {
                        destination.count(&mut destinations.counts, carried, counts);
                        destinations.note_astray(*prefix, counts && carried != Some(preferred));
                    } else if !forgotten && !self.claims.is_own(&PodCidr(*prefix)) {
                        destinations.dirty(*prefix);
                    }
                }
                Key::Fdb(_, mac) => self.wake_node(std::net::IpAddr::V6(mac.link_local())),
                Key::Neighbour(_, gateway) => self.wake_node(*gateway),
                Key::Nexthop(hop) => {
                    self.destinations.wake(&key);
                    if let Some(gateway) = hop.gateway {
                        self.wake_node(gateway);
                    }
                }
                Key::NexthopGroup(_) => self.destinations.wake(&key),
                Key::Link(_) => self.destinations.all_dirty(),
                Key::Sysctl(_) | Key::Address(..) | Key::Masquerade => {}
                Key::VtepTable | Key::Vtep(_) | Key::VtepFilter => {}
            }
        }
    }

    fn wake_node(&mut self, gateway: std::net::IpAddr) {
        let Some(node) = self.destinations.gateways.get(&gateway) else { return };
        if let Some(cidrs) = self.claims.nodes.get(node) {
            self.destinations.dirty.extend(cidrs.iter().map(|cidr| cidr.0));
        }
    }

    /// Looks at what is marked, a slice at most.
    pub(super) fn refresh_destinations(&mut self, now: Moment) {
        if self.switch.is_none() {
            return;
        }
        self.refresh_vteps();
        self.refresh_resolving(now);
        let mut left = SLICE;
        while left > 0 {
            let Some(prefix) = self.next_dirty() else { break };
            self.refresh_destination(now, prefix);
            left -= 1;
        }
    }

    fn next_dirty(&mut self) -> Option<Prefix> {
        if let Some(prefix) = self.destinations.dirty.pop_first() {
            return Some(prefix);
        }
        let from = self.destinations.sweep_from?;
        use std::ops::Bound;
        let after = from.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.destinations.all.range(after).next().map(|(prefix, _)| prefix);
        self.destinations.sweep_from = next.map(Some);
        next
    }

    /// FDB entry, neighbour and nexthop object of nodes whose claims or whose overlay changed, a slice at most.
    fn refresh_vteps(&mut self) {
        let destinations = &mut self.destinations;
        if std::mem::take(&mut destinations.every_node) {
            let known = destinations.vteps.keys().chain(self.claims.nodes.keys()).cloned();
            destinations.dirty_nodes.extend(known);
        }
        for _ in 0..NODES {
            let Some(node) = self.destinations.dirty_nodes.pop_first() else { break };
            self.refresh_vtep(node);
        }
    }

    fn refresh_vtep(&mut self, node: NodeName) {
        let cidrs = self.claims.nodes.get(&node);
        let claim = cidrs.and_then(|cidrs| cidrs.first()).and_then(|cidr| self.claims.all.get(cidr));
        let reach = claim.map(|claim| claim.reach.clone());
        self.refresh_senders(&node, reach.as_ref());
        let (cidrs, reach) = (self.claims.nodes.get(&node), reach.as_ref());
        let wanted = reach.map_or_else(Vec::new, |reach| plan::vtep(&self.ground.spec, reach));
        let gateway = reach.map(|reach| reach.vtep.gateway);
        let destinations = &mut self.destinations;
        let before = match gateway {
            Some(gateway) => destinations.gateway_of.insert(node.clone(), gateway),
            None => destinations.gateway_of.remove(&node),
        };
        if before != gateway {
            // Another node may have the gateway by now, as one machine may come under another name.
            if let Some(old) = before.filter(|old| destinations.gateways.get(old) == Some(&node)) {
                destinations.gateways.remove(&old);
            }
            destinations.gateways.extend(gateway.map(|gateway| (gateway, node.clone())));
        }
        let before = destinations.vteps.remove(&node).unwrap_or_default();
        if before != wanted {
            for (key, _) in before.iter().filter(|(key, _)| !wanted.iter().any(|(k, _)| k == key)) {
                self.reconcile.want(key.clone(), None);
            }
            for (key, value) in &wanted {
                self.reconcile.want(key.clone(), Some(value.clone()));
            }
        }
        destinations.dirty.extend(cidrs.into_iter().flatten().map(|cidr| cidr.0));
        if !wanted.is_empty() {
            destinations.vteps.insert(node, wanted);
        }
    }

    /// Asks again for gateways that somebody waits for.
    fn refresh_resolving(&mut self, now: Moment) {
        let due = self.destinations.awaited().filter(|(_, state)| state.again_at().is_some_and(|at| at <= now));
        let due: Vec<Hop> = due.map(|(hop, _)| hop.clone()).collect();
        if due.is_empty() {
            return;
        }
        for hop in &due {
            self.destinations.resolved.insert(hop.clone(), Resolved::Asked(now));
        }
        self.out.push(Effect::Kernel(kernel::Command::Resolve(due)));
    }

    /// One destination, from all that is known of it, to what is wanted of the kernel.
    fn refresh_destination(&mut self, now: Moment, prefix: Prefix) {
        let cidr = PodCidr(prefix);
        if self.claims.is_own(&cidr) {
            self.forget(prefix);
            return;
        }
        let stance = self.stance();
        let claim = self.claims.all.get(&cidr).cloned();
        let paths = self.native_paths(&prefix);
        let key = Key::Route(prefix);
        let (desired, actual) = self.reconcile.tracker().both(&key);
        let (unwanted, actual) = (desired.is_none(), actual.cloned());
        let carried = actual.as_ref().and_then(|value| self.reconcile.plane_of_route(value));
        if claim.is_none() && paths.is_empty() && (self.complete || carried.is_none()) {
            if !unwanted {
                self.reconcile.want(key, None);
            }
            self.forget(prefix);
            return;
        }
        let native = if !stance.stand.has(Plane::Native) {
            Err("the native plane does not stand here".to_owned())
        } else {
            self.native_via(&paths).map(|via| self.without_kept_out(via))
        };
        self.hold(native.as_ref().ok());

        let node = claim.as_ref().map(|claim| &claim.node);
        let mut usable = Usable {
            overlay: self.overlay_usable(claim.as_ref()),
            native: match &native {
                Err(why) => Err(why.clone()),
                Ok(via) => self.native_usable(now, prefix, node, via, actual.as_ref()),
            },
            gone: Plane::BOTH.into_iter().filter(|plane| self.leads_nowhere(*plane, node, &paths)).collect(),
        };
        // What the kernel has is a way that the peer has replaced.
        if self.complete && native.as_ref().is_ok_and(|via| self.is_kept_out(via)) {
            usable.gone = usable.gone.with(Plane::Native);
        }
        // Away from a drain before its sessions close, where another way is sure.
        if stance.fallback == Some(Plane::Overlay)
            && claim.is_some()
            && usable.overlay.is_ok()
            && usable.native.is_ok()
            && self.licences().has(Plane::Overlay)
            && let Some(why) = self.is_leaving(&prefix)
        {
            usable.native = Err(why.to_owned());
        }
        let Carry { plane, why_not } = switch::carry(stance, self.licences(), &usable, carried);
        let held = native.as_ref().ok().cloned();
        let via = match plane {
            Some(Plane::Overlay) => claim.as_ref().and_then(|c| plan::overlay_via(&self.ground.spec, &c.reach)),
            Some(Plane::Native) => native.ok(),
            None => None,
        };
        let silent = node.is_some_and(|node| self.is_gone(node));
        let value = match (plane, via) {
            (_, Some(via)) if claim.is_none() && !self.config.pools.iter().any(|pool| pool.cidr.covers(&prefix)) => {
                Some(plan::route_outside(prefix, via).1)
            }
            (_, Some(via)) => Some(plan::route(&self.ground.spec, prefix, via).1),
            // It stays where it is although no way of today's knowledge leads there: before the inputs are complete
            // nothing is known for sure, and a node whose daemon has gone may still forward.
            (Some(_), None) => actual.clone(),
            (None, None) if (!self.complete || silent) && carried.is_none_or(|plane| stance.stand.has(plane)) => {
                actual.clone()
            }
            (None, None) => None,
        };
        let pending = value.is_some() && value != actual;
        if !(unwanted && value.is_none()) && self.reconcile.want(key, value) && pending {
            self.destinations.pending_since.entry(prefix).or_insert(now);
        }
        let counts = claim.is_some() && !silent;
        let destination = self.destinations.all.entry(prefix).or_default();
        destination.describe(node.cloned(), why_not);
        destination.count(&mut self.destinations.counts, carried, counts);
        let before = std::mem::replace(&mut destination.native, held);
        self.release(before.as_ref());
        self.destinations.note_astray(prefix, counts && carried != Some(stance.carry));
    }

    /// [`plan::native_via`], remembered while the links stay as they are: a table has few sets of next hops.
    fn native_via(&mut self, paths: &[NativePath]) -> Result<Via, String> {
        let ways = &mut self.destinations.ways;
        if let Some(way) = ways.get(paths) {
            return way.clone();
        }
        if ways.len() >= WAYS {
            ways.clear();
        }
        let way = plan::native_via(&self.links, paths);
        ways.insert(paths.to_vec(), way.clone());
        way
    }

    /// Are packets that go to this destination over `plane` positively lost?
    fn leads_nowhere(&self, plane: Plane, node: Option<&NodeName>, paths: &[NativePath]) -> bool {
        let Some(node) = node else { return plane == Plane::Overlay || (self.complete && paths.is_empty()) };
        if self.is_gone(node) {
            return false;
        }
        let left = self.coordination.digest.as_ref().is_some_and(|digest| !digest.stands(plane).has(node));
        left || (plane == Plane::Native && self.complete && paths.is_empty())
    }

    fn forget(&mut self, prefix: Prefix) {
        let Some(mut destination) = self.destinations.all.remove(&prefix) else { return };
        destination.count(&mut self.destinations.counts, None, false);
        self.destinations.note_astray(prefix, false);
        if !self.destinations.pending_since.is_empty() {
            self.destinations.pending_since.remove(&prefix);
        }
        self.release(destination.native.as_ref());
    }

    /// The multipath set of the Loc-RIB, as far as forwarding needs it.
    fn native_paths(&self, prefix: &Prefix) -> Vec<NativePath> {
        let path = |path: &bgp::BestPath| NativePath {
            next_hop: path.next_hop,
            link_local: path.link_local,
            peer: path.peer.clone(),
        };
        self.native.speaker.best(prefix).iter().map(path).collect()
    }

    /// Can frames be sent to the node's VTEP? Needs its word, and our objects for it in the kernel.
    fn overlay_usable(&self, claim: Option<&alloc::Claim>) -> Result<(), String> {
        let Some(claim) = claim else { return Err("no node claims it".to_owned()) };
        if self.ground.spec.vxlan.is_none() {
            return Err("the VXLAN link does not stand here".to_owned());
        }
        let Some(wanted) = self.destinations.vteps.get(&claim.node) else {
            return Err(format!("node {} has no underlay address of the VXLAN link's family", claim.node));
        };
        if let Some(why) = self.ground_missing(Plane::Overlay) {
            return Err(why);
        }
        if let Some((key, _)) = wanted.iter().find(|(key, _)| !self.reconcile.settled(key)) {
            return Err(format!("{key} is not in the kernel yet"));
        }
        self.announced(&claim.node, Plane::Overlay)
    }

    /// Can packets be sent natively? Needs the node's word if a node claims the prefix, the nexthop objects in the
    /// kernel, and gateways that answer: a packet for one that does not is lost.
    fn native_usable(
        &mut self,
        now: Moment,
        prefix: Prefix,
        node: Option<&NodeName>,
        via: &Via,
        actual: Option<&Value>,
    ) -> Result<(), String> {
        let Err((key, why)) = self.native_whole(node, via, actual) else { return Ok(()) };
        if let Some(key) = key {
            self.destinations.waiters.entry(key.clone()).or_default().insert(prefix);
            if let Key::Nexthop(hop) = key
                && self.reconcile.settled(&Key::Nexthop(hop.clone()))
                && !self.destinations.resolved.contains_key(&hop)
            {
                self.destinations.resolved.insert(hop.clone(), Resolved::Asked(now));
                self.out.push(Effect::Kernel(kernel::Command::Resolve(vec![hop])));
            }
        }
        Err(why)
    }

    /// Is the native way whole? Else what is missing in words, and the object that it waits for.
    fn native_whole(
        &self,
        node: Option<&NodeName>,
        via: &Via,
        actual: Option<&Value>,
    ) -> Result<(), (Option<Key>, String)> {
        if let Some(node) = node {
            self.announced(node, Plane::Native).map_err(|why| (None, why))?;
        }
        if let Some(key) = plan::objects(via).into_iter().find(|key| !self.reconcile.settled(key)) {
            let why = format!("{key} is not in the kernel yet");
            return Err((Some(key), why));
        }
        if matches!(actual, Some(Value::Route { via: actual, .. }) if actual == via) {
            return Ok(());
        }
        let Via::Hops(hops) = via else { return Ok(()) };
        match hops.iter().find(|hop| self.destinations.resolved.get(*hop) != Some(&Resolved::Yes)) {
            Some(hop) => Err((Some(Key::Nexthop(hop.clone())), format!("next hop {hop} does not answer yet"))),
            None => Ok(()),
        }
    }

    /// Overlay and native: is the way to a destination whole, else what is missing.
    pub(super) fn ways_to(&self, prefix: Prefix) -> [Result<(), String>; 2] {
        let claim = self.claims.all.get(&PodCidr(prefix));
        let actual = self.reconcile.tracker().actual(&Key::Route(prefix));
        let native = match self.stance().stand.has(Plane::Native) {
            false => Err("the native plane does not stand here".to_owned()),
            true => plan::native_via(&self.links, &self.native_paths(&prefix)).and_then(|via| {
                self.native_whole(claim.map(|claim| &claim.node), &via, actual).map_err(|(_, why)| why)
            }),
        };
        let mut ways = [Ok(()), Ok(())];
        ways[Plane::Overlay as usize] = self.overlay_usable(claim);
        ways[Plane::Native as usize] = native;
        ways
    }

    /// Does the digest say that `node` receives on `plane`?
    fn announced(&self, node: &NodeName, plane: Plane) -> Result<(), String> {
        match &self.coordination.digest {
            None => Err("no digest from a coordinator yet".to_owned()),
            Some(digest) if digest.stands(plane).has(node) => Ok(()),
            Some(digest) if digest.gone.contains(node) => Err(format!("the daemon of node {node} is gone")),
            Some(_) => Err(format!("node {node} has not announced that its {plane} plane stands")),
        }
    }

    fn is_gone(&self, node: &NodeName) -> bool {
        self.coordination.digest.as_ref().is_some_and(|digest| digest.gone.contains(node))
    }

    /// Wants the nexthop objects of a destination's native way, whichever plane carries it: a flip then only names
    /// another standing object.
    fn hold(&mut self, via: Option<&Via>) {
        for key in via.into_iter().flat_map(plan::objects) {
            match self.destinations.held.get_mut(&key) {
                Some(count) => *count += 1,
                None => {
                    self.destinations.held.insert(key.clone(), 1);
                    self.reconcile.want(key, Some(Value::There));
                }
            }
        }
    }

    /// Undoes [`hold`](Self::hold).
    fn release(&mut self, via: Option<&Via>) {
        for key in via.into_iter().flat_map(plan::objects) {
            let Some(count) = self.destinations.held.get_mut(&key) else { continue };
            *count -= 1;
            if *count == 0 {
                self.destinations.held.remove(&key);
                if let Key::Nexthop(hop) = &key {
                    self.destinations.resolved.remove(hop);
                }
                self.destinations.waiters.remove(&key);
                self.reconcile.want(key, None);
            }
        }
    }
}
