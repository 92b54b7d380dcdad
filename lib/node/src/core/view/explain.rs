//! The way of a packet to one address: claim, plane, next hop, kernel, BGP.
//!
//! Everything here is read off what the daemon decides by; of the kernel it is what its notices and read-backs have said.

use std::net::IpAddr;

use alloc::Claim;
use model::kernel::{Hop, Key, Value, Via};
use model::{Family, Owner, Plane, PodCidr, Prefix};
use status::doc::{self, ExplainVerdict as Verdict, ObjectState};

use super::bgp_docs::route_doc;
use super::kernel_docs::route_words;
use crate::core::Core;

impl Core {
    pub(super) fn explain_doc(&self, address: IpAddr) -> doc::ExplainDoc {
        let address = address.to_canonical();
        let speaker = &self.native.speaker;
        let holders = || self.claims.all.iter().filter(|(cidr, _)| cidr.0.holds(&address));
        let claim = holders().max_by_key(|(cidr, _)| cidr.0.len());
        let routes = self.routes_around(&address);
        let target = self.target(&address, &routes, claim.map(|(cidr, _)| cidr));
        let carry = target.filter(|target| !self.claims.is_own(&PodCidr(*target))).map(|target| self.carry_doc(target));
        let way = target.and_then(|target| {
            let (desired, actual) = self.reconcile.tracker().both(&Key::Route(target));
            actual.or(desired)
        });
        let hops: Vec<&Hop> = match way {
            Some(Value::Route { via: Via::Hops(hops), .. }) => hops.iter().collect(),
            _ => Vec::new(),
        };
        let bgp_prefix = speaker.around(&Prefix::host(address));
        let paths = bgp_prefix.map(|prefix| speaker.explain(&prefix, None)).unwrap_or_default();
        let mut found = doc::ExplainDoc {
            address,
            node: self.identity.node.clone(),
            verdict: Verdict::Outside,
            summary: String::new(),
            pool: self.config.pools.iter().find(|pool| pool.cidr.holds(&address)).map(|pool| pool.cidr),
            claim: claim.map(|(cidr, claim)| self.claim_doc(*cidr, claim)),
            carry,
            hops: hops.iter().map(|hop| self.hop_doc(hop)).collect(),
            overlay: hops.iter().find_map(|hop| self.overlay_doc(hop)),
            bgp_prefix,
            paths: paths.into_iter().map(route_doc).collect(),
            routes,
            problems: Vec::new(),
        };
        found.problems = problems(&found);
        (found.verdict, found.summary) = self.judge(&found, target);
        found
    }

    /// Routes that hold the address, ours and those of others that we know of, the most specific first.
    fn routes_around(&self, address: &IpAddr) -> Vec<doc::ExplainRoute> {
        let tracker = self.reconcile.tracker();
        let mut found = Vec::new();
        for len in (0..=Family::of(address).bits()).rev() {
            let Some(prefix) = Prefix::new(*address, len) else { continue };
            let key = Key::Route(prefix);
            let (desired, actual) = tracker.both(&key);
            if desired.is_some() || actual.is_some() {
                found.push(doc::ExplainRoute {
                    prefix,
                    ours: true,
                    desired: desired.map(route_words),
                    actual: actual.map(route_words),
                    state: match (desired, actual) {
                        (Some(desired), Some(actual)) if desired == actual => ObjectState::Ok,
                        (Some(_), Some(_)) => ObjectState::Differs,
                        (Some(_), None) => ObjectState::Missing,
                        (None, _) => ObjectState::Stray,
                    },
                    error: self.reconcile.failures().get(&key).map(|failure| failure.refusal.to_string()),
                });
            }
            if let Some(what) = self.reconcile.foreign().get(&key) {
                let actual = Some(what.clone());
                let state = ObjectState::Foreign;
                found.push(doc::ExplainRoute { prefix, ours: false, desired: None, actual, state, error: None });
            }
        }
        found
    }

    /// The destination that the address belongs to: what the kernel sends it by if that is ours, else what is claimed,
    /// else what is announced.
    fn target(&self, address: &IpAddr, routes: &[doc::ExplainRoute], claimed: Option<&PodCidr>) -> Option<Prefix> {
        let routed = routes.iter().find(|route| route.ours && route.actual.is_some()).map(|route| route.prefix);
        let bits = Family::of(address).bits();
        let known = || {
            let around = (0..=bits).rev().filter_map(|len| Prefix::new(*address, len));
            around.into_iter().find(|prefix| self.destinations.of(prefix).is_some())
        };
        routed.or(claimed.map(|cidr| cidr.0)).or_else(known)
    }

    fn claim_doc(&self, pod_cidr: PodCidr, claim: &Claim) -> doc::ExplainClaim {
        let digest = self.coordination.digest.as_ref();
        let stands = |digest: &model::Digest| {
            Plane::BOTH.into_iter().filter(|plane| digest.stands(*plane).has(&claim.node)).collect()
        };
        doc::ExplainClaim {
            pod_cidr,
            node: claim.node.clone(),
            own: claim.node == self.identity.node,
            underlay: claim.reach.underlay.clone(),
            stands: digest.map(stands),
            gone: digest.is_some_and(|digest| digest.gone.contains(&claim.node)),
        }
    }

    fn carry_doc(&self, prefix: Prefix) -> doc::ExplainCarry {
        let (state, _) = self.state();
        let stance = self.stance();
        let plane = self.reconcile.carried(&prefix);
        let ways = self.ways_to(prefix);
        let planes = Plane::BOTH.into_iter().map(|plane| (plane, ways[plane as usize].clone())).map(|(plane, way)| {
            doc::ExplainPlane {
                plane,
                stands: stance.stand.has(plane),
                sends: self.licences().has(plane),
                usable: way.is_ok(),
                why: way.err(),
            }
        });
        let planes: Vec<doc::ExplainPlane> = planes.collect();
        let why = self.destinations.of(&prefix).and_then(|it| it.why_not().map(str::to_owned));
        let preferred = planes.iter().find(|it| it.plane == stance.carry && plane != Some(stance.carry));
        doc::ExplainCarry {
            prefix,
            plane,
            preferred: stance.carry,
            state: state.name(),
            fallback: plane.is_some() && plane != Some(stance.carry) && plane == stance.fallback,
            why: why.or_else(|| preferred.and_then(|it| it.why.clone())),
            planes,
        }
    }

    fn hop_doc(&self, hop: &Hop) -> doc::ExplainHop {
        let state = self.object_state(&Key::Nexthop(hop.clone()));
        let (gateway, device) = (hop.gateway, hop.device.clone());
        doc::ExplainHop { gateway, device, state, answers: self.destinations.answers(hop) }
    }

    /// What a hop over the overlay's link leans on.
    fn overlay_doc(&self, hop: &Hop) -> Option<doc::ExplainOverlay> {
        let gateway = hop.gateway.filter(|_| hop.device.as_str() == Owner::VXLAN_DEVICE)?;
        let vxlan = self.vxlan_doc();
        let neighbour = vxlan.neighbours.into_iter().find(|it| it.ip == gateway);
        let fdb = vxlan.fdb.into_iter().find(|it| IpAddr::V6(it.mac.link_local()) == gateway);
        let mac = neighbour.as_ref().map(|it| it.mac).or(fdb.as_ref().map(|it| it.mac))?;
        let link = vxlan.link.map_or(doc::LinkState::Missing, |link| link.state);
        Some(doc::ExplainOverlay { device: hop.device.clone(), link, mac, neighbour, fdb })
    }

    /// What becomes of a packet, and the sentence about it.
    fn judge(&self, found: &doc::ExplainDoc, target: Option<Prefix>) -> (Verdict, String) {
        let address = found.address;
        if let Some(link) = self.links.iter().find(|link| link.addresses.iter().any(|(own, _)| *own == address)) {
            return (Verdict::Local, format!("{address} is an address of this host, on {}", link.device));
        }
        if address.is_multicast() || address.is_unspecified() || address.is_loopback() {
            return (Verdict::Outside, format!("{address} is no address of one host on the network"));
        }
        // The kernel takes the most specific route that is there.
        let first = found.routes.iter().find(|route| route.actual.is_some());
        let on = |found: &doc::ExplainDoc| match &found.claim {
            Some(claim) => format!("a pod of node {} ({})", claim.node, claim.pod_cidr),
            None => match target {
                Some(target) => format!("in {target}, which routers announce"),
                None => "no pod of any node".to_owned(),
            },
        };
        if let Some(foreign) = first.filter(|route| !route.ours) {
            let what = foreign.actual.clone().unwrap_or_default();
            let words = format!(
                "{address} is {}, but a route that is not ours takes it: {}, {what}",
                on(found),
                foreign.prefix
            );
            return (Verdict::Foreign, words);
        }
        if let Some(claim) = found.claim.as_ref().filter(|claim| claim.own) {
            let network = self.links.iter().find(|link| {
                link.addresses.iter().any(|(own, len)| {
                    Prefix::new(*own, *len).is_some_and(|net| net.len() < Family::of(own).bits() && net.holds(&address))
                })
            });
            let by = network.map_or("by the routes of the CNI plugin".to_owned(), |link| format!("on {}", link.device));
            let words = format!(
                "{address} is in a pod CIDR of this node ({}): its pods are reached {by}; `ip route get {address}` shows if one \
                 has it",
                claim.pod_cidr
            );
            return (Verdict::Own, words);
        }
        let Some(carry) = &found.carry else {
            return match found.pool {
                Some(pool) => {
                    let words = format!(
                        "no node claims a pod CIDR of pool {pool} that holds {address}; `biplane ipam show --blocks` lists the \
                         claims"
                    );
                    (Verdict::Unclaimed, words)
                }
                None => {
                    let words = format!(
                        "{address} is in no pool, and no route of ours leads there; `ip route get {address}` shows what the host \
                         does with it"
                    );
                    (Verdict::Outside, words)
                }
            };
        };
        match carry.plane {
            Some(plane) => {
                let to = match &found.claim {
                    Some(claim) if !claim.pod_cidr.0.covers(&carry.prefix) => {
                        format!(
                            "a router, by the wider route to {}, as there is none to {}",
                            carry.prefix, claim.pod_cidr
                        )
                    }
                    Some(claim) if claim.gone => format!("node {} (its daemon is gone)", claim.node),
                    Some(claim) => format!("node {}", claim.node),
                    None => format!("a router, for {}", carry.prefix),
                };
                let why = match (&carry.why, carry.fallback) {
                    (Some(why), true) => format!(", as the fallback: {why}"),
                    (Some(why), false) => format!(", though {why}"),
                    (None, _) => String::new(),
                };
                (Verdict::Carried, format!("{address} goes to {to} by {plane}{why}"))
            }
            None => {
                let why = carry.why.clone().or_else(|| found.problems.first().cloned());
                let words = format!(
                    "{address} is {}, and no plane carries it: {}",
                    on(found),
                    why.unwrap_or_else(|| "nothing is known to be missing; see `biplane status`".to_owned())
                );
                (Verdict::Unreachable, words)
            }
        }
    }
}

/// Where the kernel is not as wanted, or something is in the way.
fn problems(found: &doc::ExplainDoc) -> Vec<String> {
    let mut problems = Vec::new();
    // A wider route of somebody else's is in nobody's way.
    let ours =
        found.routes.iter().find(|route| route.ours && route.actual.is_some()).map_or(0, |route| route.prefix.len());
    for route in found.routes.iter().filter(|route| route.ours || route.prefix.len() >= ours) {
        let or_none = |way: &Option<String>| way.clone().unwrap_or_else(|| "none".to_owned());
        let error = route.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        match (route.ours, route.state) {
            (true, ObjectState::Ok) => {}
            (true, ObjectState::Stray) => {
                problems.push(format!(
                    "the kernel has a route {} ({}) that is not wanted",
                    route.prefix,
                    or_none(&route.actual)
                ));
            }
            (true, _) => problems.push(format!(
                "route {}: wanted is {}, the kernel has {}{error}",
                route.prefix,
                or_none(&route.desired),
                or_none(&route.actual)
            )),
            (false, _) => {
                let twin = found.routes.iter().any(|it| it.ours && it.prefix == route.prefix);
                let beside = match twin {
                    true => format!(" stands beside ours; the lower metric wins, ours is {}", Owner::METRIC),
                    false => " is not ours".to_owned(),
                };
                problems.push(format!("a route {} ({}){beside}", route.prefix, or_none(&route.actual)));
            }
        }
    }
    for hop in &found.hops {
        let words = match hop.gateway {
            Some(gateway) => format!("next hop {gateway} on {}", hop.device),
            None => format!("next hop on {}", hop.device),
        };
        if hop.state != ObjectState::Ok {
            problems.push(format!("{words}: its nexthop object is {}", hop.state));
        }
        if hop.answers == Some(false) {
            problems.push(format!("{words} does not answer"));
        }
    }
    if let Some(overlay) = &found.overlay {
        if overlay.link != doc::LinkState::Up {
            problems.push(format!("{} is {}", overlay.device, overlay.link));
        }
        let neighbour = overlay.neighbour.as_ref().map(|it| it.state);
        let fdb = overlay.fdb.as_ref().map(|it| it.state);
        for (what, state) in [("neighbour entry", neighbour), ("FDB entry", fdb)] {
            match state {
                Some(ObjectState::Ok) => {}
                Some(state) => problems.push(format!("the {what} on {} is {state}", overlay.device)),
                None => problems.push(format!("there is no {what} on {}", overlay.device)),
            }
        }
    }
    problems
}
