//! Rows: sessions, families, hold times, AS numbers. Slots 1 to 9.

use super::super::bed::{Bed, DISGUISE, FABRIC, OUTSIDE, PLAIN, Part, Slot};
use super::super::routers::{Router, brief};
use super::{Feature, Found, Theme, both_know, row, up};

const NO_TWO_OCTET: &str = "GoBGP 3 always offers four-octet AS numbers";

pub const THEME: Theme = Theme {
    slots: &[
        Slot { name: "external", number: 1, node: "e", v6: false, keys: "", parts: [PLAIN; 3] },
        Slot { name: "over_ipv6", number: 2, node: "e", v6: true, keys: "", parts: [PLAIN; 3] },
        Slot { name: "our_hold", number: 4, node: "e", v6: false, keys: "holdTime: 9", parts: [PLAIN; 3] },
        Slot {
            name: "their_hold",
            number: 5,
            node: "e",
            v6: false,
            keys: "",
            parts: [
                Part::Told(&["timers 4 12"], &[]),
                Part::Told(&["hold time 12;"], &[]),
                Part::Told(&["[neighbors.timers.config]\nhold-time = 12\nkeepalive-interval = 4"], &[]),
            ],
        },
        Slot {
            name: "two_octet",
            number: 6,
            node: "e",
            v6: false,
            keys: "",
            parts: [
                Part::Told(&["dont-capability-negotiate"], &[]),
                Part::Told(&["capabilities off;"], &[]),
                Part::Lacks,
            ],
        },
        Slot { name: "local_as", number: 7, node: "e", v6: false, keys: "localAsn: 64999", parts: [PLAIN; 3] },
        Slot { name: "internal", number: 1, node: "i", v6: false, keys: "import: routers", parts: [PLAIN; 3] },
    ],
    rows: &[
        row("eBGP session", |bed, router| both_know(bed, router, "external")),
        row("iBGP session", |bed, router| both_know(bed, router, "internal")),
        row("IPv4 and IPv6 unicast on one session", two_families),
        row("IPv6 transport", |bed, router| both_know(bed, router, "over_ipv6")),
        row("dual stack: a session of each family", |bed, router| {
            up(bed, router, "external")?;
            up(bed, router, "over_ipv6")
        }),
        row("hold time: the smaller one", hold_times),
        row("four-octet AS (RFC 6793)", four_octets),
        Feature {
            name: "peer of two octets: AS_TRANS, AS4_PATH",
            lacks: [None, None, Some(NO_TWO_OCTET)],
            check: Some(two_octets),
        },
        row("local AS", local_as),
    ],
};

fn two_families(bed: &Bed, router: Router) -> Found {
    both_know(bed, router, "external")?;
    let slot = bed.slot("external");
    let theirs = router.prefix6();
    bed.heard(slot, router, &theirs)?;
    router.knows(bed, slot, &bed.own("e", true)?)?;
    let [v4, ..] = router.prefixes();
    let routes = [bed.kernel("e", &v4), bed.kernel("e", &theirs)];
    match routes.iter().find(|route| !route.contains(router.node())) {
        None => Ok(brief(&routes[1])),
        Some(_) => Err(format!("the kernel has {v4}: {} {theirs}: {}", brief(&routes[0]), brief(&routes[1]))),
    }
}

fn hold_times(bed: &Bed, router: Router) -> Found {
    for (name, seconds) in [("our_hold", 9), ("their_hold", 12)] {
        let slot = bed.slot(name);
        let peer = bed.is_up(slot, router)?;
        if peer["holdTimeSeconds"].as_f64() != Some(f64::from(seconds)) {
            return Err(format!("{name}: {} s agreed, expected {seconds}", peer["holdTimeSeconds"]));
        }
        let text = router.session(bed, slot);
        let words = match router {
            Router::Frr => format!("Hold time is {seconds}"),
            Router::Bird => format!("/{seconds}"),
            Router::Gobgp => format!("Hold time is {seconds}"),
        };
        if !text.contains(&words) {
            return Err(format!("{name}: {} does not say {words:?}: {}", router.title(), brief(&text)));
        }
    }
    Ok("9 s and 12 s agreed".into())
}

fn four_octets(bed: &Bed, router: Router) -> Found {
    up(bed, router, "external")?;
    let slot = bed.slot("external");
    let text = router.knows(bed, slot, &bed.own("e", false)?)?;
    if text.contains(&OUTSIDE.to_string()) {
        Ok(format!("{} has the path {OUTSIDE}", router.title()))
    } else {
        Err(format!("{} has no path {OUTSIDE}: {}", router.title(), brief(&text)))
    }
}

fn two_octets(bed: &Bed, router: Router) -> Found {
    both_know(bed, router, "two_octet")?;
    let slot = bed.slot("two_octet");
    let text = router.knows(bed, slot, &bed.own("e", false)?)?;
    let [theirs, ..] = router.prefixes();
    let path = bed.heard(slot, router, &theirs)?;
    // Both behave as a speaker that knows two octets alone: the first AS is AS_TRANS, the real one is in AS4_PATH.
    if !(text.contains("23456") || text.contains(&OUTSIDE.to_string())) {
        return Err(format!("{} has neither 23456 nor {OUTSIDE}: {}", router.title(), brief(&text)));
    }
    if path["asPath"].as_str() != Some(FABRIC.to_string().as_str()) {
        return Err(format!("our path of {theirs} is {}", path["asPath"]));
    }
    Ok(format!("{} has {}", router.title(), if text.contains("23456") { "23456" } else { "AS4_PATH merged" }))
}

/// The router knows us by another AS, and finds it first in our paths.
fn local_as(bed: &Bed, router: Router) -> Found {
    both_know(bed, router, "local_as")?;
    let slot = bed.slot("local_as");
    let peer = bed.peer(slot, router)?;
    if peer["localAsn"].as_u64() != Some(u64::from(DISGUISE)) {
        return Err(format!("our AS there is {}", peer["localAsn"]));
    }
    let text = router.knows(bed, slot, &bed.own("e", false)?)?;
    match text.contains(&DISGUISE.to_string()) {
        true => Ok(format!("{} has the path {}", router.title(), brief(&text))),
        false => Err(format!("{} has no {DISGUISE}: {}", router.title(), brief(&text))),
    }
}
