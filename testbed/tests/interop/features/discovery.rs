//! Rows: peers that are found, and next hops of the other family. Slots 30 to 39.

use super::super::bed::{Bed, PLAIN, Part, RANGED, Slot};
use super::super::routers::{Router, brief};
use super::{Feature, Found, Theme, both_know, row};

const NO_ADVERTISEMENTS: &str = "GoBGP 3 looks for neighbours in the kernel's table and sends no router advertisements";

pub const THEME: Theme = Theme {
    slots: &[
        Slot {
            name: "extended",
            number: 30,
            node: "e",
            v6: true,
            keys: "",
            parts: [
                Part::Told(&["capability extended-nexthop"], &[]),
                Part::Told(&[], &["extended next hop on;"]),
                // It sends IPv6 next hops without having offered to take some.
                PLAIN,
            ],
        },
        Slot { name: "dynamic", number: 38, node: "e", v6: false, keys: RANGED, parts: [PLAIN; 3] },
    ],
    rows: &[
        row("IPv4 over IPv6 next hops (RFC 8950)", extended_next_hops),
        Feature { name: "unnumbered", lacks: [None, None, Some(NO_ADVERTISEMENTS)], check: Some(unnumbered) },
        row("dynamic neighbours", dynamic),
    ],
};

/// The router's IPv4 prefix comes with its IPv6 address as next hop, and it has seen that we offer to take it.
fn extended_next_hops(bed: &Bed, router: Router) -> Found {
    both_know(bed, router, "extended")?;
    let slot = bed.slot("extended");
    let [theirs, ..] = router.prefixes();
    let path = bed.heard(slot, router, &theirs)?;
    let hop = path["nextHop"].as_str().unwrap_or_default();
    if !hop.contains(':') {
        return Err(format!("{theirs} comes with next hop {hop}"));
    }
    let text = router.session(bed, slot);
    let seen = |words: &[&str]| text.lines().any(|line| words.iter().all(|word| line.to_lowercase().contains(word)));
    let offered = match router {
        Router::Frr => seen(&["extended nexthop", "advertised and received"]),
        Router::Bird => seen(&["extended next hop"]),
        Router::Gobgp => seen(&["extended-nexthop", "received"]),
    };
    match offered {
        true => Ok(format!("{theirs} by next hop {hop}; {} has seen our capability 5", router.title())),
        false => Err(format!("{} does not name capability 5 of ours: {}", router.title(), brief(&text))),
    }
}

/// A link without addresses: both find each other, and both have each other's prefixes of both families by link-local next
/// hops.
fn unnumbered(bed: &Bed, router: Router) -> Found {
    let interface = format!("un{}", router.node());
    let peers = bed.stage.ask("e", "bgp peers");
    let mut items = peers["items"].as_array().into_iter().flatten();
    let Some(peer) = items.find(|peer| peer["interface"] == interface.as_str()) else {
        return Err(format!("nobody is found on {interface}: {}", peers["undiscovered"]));
    };
    let address = peer["address"].as_str().unwrap_or_default();
    if peer["state"] != "Established" {
        return Err(format!("biplane calls {address} {}: {}", peer["state"], peer["lastError"]));
    }
    let hop = address.split('%').next().unwrap_or_default();
    let links = bed.stage.good(router.node(), "ip -6 address show dev une scope link");
    if !links.contains(hop) {
        return Err(format!("{hop} is not the address of {}: {links}", router.title()));
    }
    let heard = bed.routes("e", &format!("--in {address}"));
    let [v4, ..] = router.prefixes();
    for prefix in [v4.clone(), router.prefix6()] {
        if !heard.iter().any(|route| route["prefix"] == prefix.as_str() && route["nextHop"] == hop) {
            return Err(format!("{prefix} by {hop} is not among {} paths of {address}", heard.len()));
        }
    }
    let ours = bed.stage.good("e", &format!("ip -6 address show dev {interface} scope link"));
    let ours = ours.split_whitespace().find(|word| word.starts_with("fe80:")).and_then(|word| word.split('/').next());
    let ours = ours.ok_or_else(|| format!("{interface} has no link-local address"))?;
    for v6 in [false, true] {
        let own = bed.own("e", v6)?;
        let family = if v6 { "ipv6" } else { "ipv4" };
        let script = match router {
            Router::Bird => format!("birdc show route {own} all"),
            _ => format!("vtysh -c 'show bgp {family} unicast {own}'"),
        };
        let text = bed.stage.run(router.node(), &script).stdout;
        if !text.contains(ours) {
            return Err(format!("{} has {own} not by {ours}: {}", router.title(), brief(&text)));
        }
    }
    Ok(format!("{address}: {v4} and {} by {hop}, ours there by {ours}", router.prefix6()))
}

/// The router dials; the daemon knows its network alone.
fn dynamic(bed: &Bed, router: Router) -> Found {
    let said = both_know(bed, router, "dynamic")?;
    let peer = bed.peer(bed.slot("dynamic"), router)?;
    match peer["range"].as_str() {
        Some(range) => Ok(format!("from {range}: {said}")),
        None => Err(format!("it is no dynamic peer: {peer}")),
    }
}
