//! Rows: BFD. Slots 20 to 29.

use serde_json::Value;

use super::super::bed::{Bed, Part, Slot};
use super::super::routers::{Router, brief};
use super::{ALL_HAVE, Feature, Found, Theme, both_know};

const NO_BFD: &str = "GoBGP 3 has no BFD";

const ON: [Part; 3] = [Part::Told(&["bfd"], &[]), Part::Told(&["bfd on;"], &[]), Part::Lacks];

/// Multihop between neighbours: within an AS the routers differ in what they take for it, between two they are told.
const FAR: [Part; 3] =
    [Part::Told(&["ebgp-multihop 2", "bfd"], &[]), Part::Told(&["multihop 2;", "bfd on;"], &[]), Part::Lacks];

const fn near(name: &'static str, number: u8, v6: bool) -> Slot {
    Slot { name, number, node: "e", v6, keys: "bfd: true", parts: ON }
}

const fn far(name: &'static str, number: u8, v6: bool) -> Slot {
    Slot { name, number, node: "e", v6, keys: "bfd: true, multihop: 2", parts: FAR }
}

const fn bfd(name: &'static str, check: fn(&Bed, Router) -> Found) -> Feature {
    Feature { name, lacks: [ALL_HAVE[0], ALL_HAVE[1], Some(NO_BFD)], check: Some(check) }
}

pub const THEME: Theme = Theme {
    slots: &[near("bfd", 20, false), near("bfd_v6", 21, true), far("bfd_far", 22, false), far("bfd_far_v6", 23, true)],
    rows: &[
        bfd("BFD (RFC 5880), single hop (5881), IPv4", |bed, router| is_watched(bed, router, "bfd", false)),
        bfd("BFD, single hop, IPv6", |bed, router| is_watched(bed, router, "bfd_v6", false)),
        bfd("BFD, multihop (5883), IPv4", |bed, router| is_watched(bed, router, "bfd_far", true)),
        bfd("BFD, multihop, IPv6", |bed, router| is_watched(bed, router, "bfd_far_v6", true)),
    ],
};

/// BGP carries routes, and BFD of both sides says Up of the same session, with the same kind of it.
fn is_watched(bed: &Bed, router: Router, name: &str, multihop: bool) -> Found {
    let routes = both_know(bed, router, name)?;
    let slot = bed.slot(name);
    let theirs = slot.theirs(router);
    let all = bed.stage.ask(slot.node, "bgp bfd");
    let items = all["items"].as_array().cloned().unwrap_or_default();
    let ours = items.iter().find(|it| it["address"] == theirs.as_str());
    let ours = ours.ok_or_else(|| format!("no BFD session with {theirs} among {}", items.len()))?;
    if ours["state"] != "Up" || ours["remoteState"] != "Up" || ours["multihop"] != multihop {
        return Err(format!("biplane's BFD with {theirs}: {ours}"));
    }
    if ours["failures"] != 0 {
        return Err(format!("it has failed: {}", ours["lastFailure"]));
    }
    let said = theirs_up(bed, router, slot, multihop)?;
    let detection = ours["detectionTimeSeconds"].as_f64().unwrap_or_default();
    Ok(format!("Up on both sides, {:.0} ms to notice here; {said}; {routes}", detection * 1000.0))
}

/// The router says Up of its session with us.
fn theirs_up(bed: &Bed, router: Router, slot: &Slot, multihop: bool) -> Found {
    let us = slot.ours(router);
    match router {
        Router::Frr => {
            let text = bed.stage.run(router.node(), "vtysh -c 'show bfd peers json'").stdout;
            let peers: Vec<Value> = serde_json::from_str(&text).map_err(|e| format!("show bfd peers json: {e}"))?;
            let peer = peers.iter().find(|peer| peer["peer"] == us.as_str());
            let peer = peer.ok_or_else(|| format!("FRR's BFD has no peer {us} among {}", peers.len()))?;
            match (peer["status"] == "up", peer["multihop"] == multihop) {
                (true, true) => Ok(format!("FRR calls {us} {}", peer["status"])),
                _ => Err(format!("FRR's BFD with {us}: {peer}")),
            }
        }
        _ => {
            let text = bed.stage.run(router.node(), "birdc show bfd sessions").stdout;
            let line = text.lines().find(|line| line.split_whitespace().next() == Some(us.as_str()));
            match line {
                Some(line) if line.split_whitespace().any(|word| word == "Up") => Ok(format!("BIRD: {}", brief(line))),
                _ => Err(format!("BIRD's BFD with {us}: {}", brief(line.unwrap_or(&text)))),
            }
        }
    }
}
