//! The rows of the matrix: what each feature needs, and how both sides prove it.

use super::bed::{Bed, FABRIC, OUTSIDE, PLAIN, Part, Slot};
use super::routers::{Router, brief};

/// What a check found: evidence, or why not.
pub type Found = Result<String, String>;

/// A row.
pub struct Feature {
    pub name: &'static str,
    /// Why FRR, BIRD, GoBGP lack it; `None` where they have it.
    pub lacks: [Option<&'static str>; 3],
    /// `None`: this daemon has not got it.
    pub check: Option<fn(&Bed, Router) -> Found>,
}

const ALL_HAVE: [Option<&str>; 3] = [None; 3];

const fn row(name: &'static str, check: fn(&Bed, Router) -> Found) -> Feature {
    Feature { name, lacks: ALL_HAVE, check: Some(check) }
}

const fn missing(name: &'static str) -> Feature {
    Feature { name, lacks: ALL_HAVE, check: None }
}

const NO_TWO_OCTET: &str = "GoBGP 3 always offers four-octet AS numbers";

/// Sessions.
pub const SLOTS: &[Slot] = &[
    Slot { name: "external", number: 1, node: "e", v6: false, keys: "", parts: [PLAIN; 3] },
    Slot { name: "over_ipv6", number: 2, node: "e", v6: true, keys: "", parts: [PLAIN; 3] },
    Slot {
        name: "md5",
        number: 3,
        node: "e",
        v6: false,
        keys: "passwordFile: /etc/biplane/bgp.key",
        parts: [
            Part::Told(&["password of-this-lab-alone"], &[]),
            Part::Told(&["password \"of-this-lab-alone\";"], &[]),
            Part::Told(&["auth-password = \"of-this-lab-alone\""], &[]),
        ],
    },
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
        parts: [Part::Told(&["dont-capability-negotiate"], &[]), Part::Told(&["capabilities off;"], &[]), Part::Lacks],
    },
    Slot { name: "internal", number: 1, node: "i", v6: false, keys: "", parts: [PLAIN; 3] },
];

/// All rows, in the order of printing.
pub const FEATURES: &[Feature] = &[
    row("eBGP session", |bed, router| both_know(bed, router, "external")),
    row("iBGP session", |bed, router| both_know(bed, router, "internal")),
    row("IPv4 and IPv6 unicast on one session", two_families),
    row("IPv6 transport", |bed, router| both_know(bed, router, "over_ipv6")),
    row("dual stack: a session of each family", |bed, router| {
        up(bed, router, "external")?;
        up(bed, router, "over_ipv6")
    }),
    row("TCP MD5 (RFC 2385)", |bed, router| both_know(bed, router, "md5")),
    row("hold time: the smaller one", hold_times),
    row("four-octet AS (RFC 6793)", four_octets),
    Feature {
        name: "peer of two octets: AS_TRANS, AS4_PATH",
        lacks: [None, None, Some(NO_TWO_OCTET)],
        check: Some(two_octets),
    },
    Feature {
        name: "route refresh asked by the router",
        lacks: [None, None, Some("GoBGP keeps all that it was told and never asks again")],
        check: Some(they_ask),
    },
    row("route refresh asked by us", we_ask),
    missing("enhanced route refresh (RFC 7313)"),
    missing("extended messages (RFC 8654)"),
    missing("graceful restart helper (RFC 4724)"),
    missing("long-lived graceful restart (RFC 9494)"),
    missing("add-path, received (RFC 7911)"),
    missing("add-path, sent (RFC 7911)"),
    missing("IPv4 over IPv6 next hops (RFC 8950)"),
    missing("unnumbered"),
    row("communities seen: plain, large", communities),
    missing("roles and OTC (RFC 9234)"),
    missing("GTSM (RFC 5082)"),
    missing("BFD (RFC 5880)"),
    row("ECMP of two sessions", equal_paths),
    missing("max-prefix of ours: Cease 6/1"),
    missing("max-prefix of theirs: Cease 6/1"),
    missing("shutdown text (RFC 9003)"),
    missing("GRACEFUL_SHUTDOWN (RFC 8326)"),
    missing("client of a reflector (RFC 4456)"),
    missing("reflector (RFC 4456)"),
    missing("dynamic neighbours"),
    missing("local AS"),
    Feature {
        name: "TCP-AO (RFC 5925)",
        lacks: [Some("FRR 8 has no TCP-AO"), Some("BIRD 2.0 has no TCP-AO"), Some("GoBGP 3 has no TCP-AO")],
        check: None,
    },
];

/// Up on both sides.
fn up(bed: &Bed, router: Router, name: &str) -> Found {
    let slot = bed.slot(name);
    bed.is_up(slot, router)?;
    router.is_up(bed, slot)?;
    Ok(format!("{} and {} are Established", slot.ours(router), slot.theirs(router)))
}

/// Up, and each side has learned the other's prefix by this session.
fn both_know(bed: &Bed, router: Router, name: &str) -> Found {
    up(bed, router, name)?;
    let slot = bed.slot(name);
    let [theirs, ..] = router.prefixes();
    let path = bed.heard(slot, router, &theirs)?;
    let own = bed.own(slot.node, false)?;
    router.knows(bed, slot, &own)?;
    Ok(format!("{theirs} by AS path {}, {own} at {}", path["asPath"], router.title()))
}

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

fn refreshes(bed: &Bed, router: Router, slot: &Slot, direction: &str) -> f64 {
    let labels =
        [format!("peer=\"{}\"", slot.theirs(router)), format!("direction=\"{direction}\""), "efresh\"".to_string()];
    bed.metric(slot.node, "biplane_bgp_messages_total", &labels)
}

fn they_ask(bed: &Bed, router: Router) -> Found {
    up(bed, router, "over_ipv6")?;
    let slot = bed.slot("over_ipv6");
    let before = refreshes(bed, router, slot, "in");
    router.ask_again(bed, slot);
    let counted = super::within(|| (refreshes(bed, router, slot, "in") > before).then_some(()));
    counted.ok_or("no ROUTE-REFRESH came")?;
    router.knows(bed, slot, &bed.own("e", false)?)?;
    up(bed, router, "over_ipv6")
}

fn we_ask(bed: &Bed, router: Router) -> Found {
    up(bed, router, "external")?;
    let slot = bed.slot("external");
    let [theirs, ..] = router.prefixes();
    let labels = [format!("peer=\"{}\"", slot.theirs(router)), "direction=\"in\"".into(), "type=\"update\"".into()];
    let sent = refreshes(bed, router, slot, "out");
    let before = bed.metric("e", "biplane_bgp_messages_total", &labels);
    bed.stage.good("e", &format!("biplane bgp reset --soft {}", slot.theirs(router)));
    let again = super::within(|| (bed.metric("e", "biplane_bgp_messages_total", &labels) > before).then_some(()));
    again.ok_or("no UPDATE came again")?;
    if refreshes(bed, router, slot, "out") <= sent {
        return Err("no ROUTE-REFRESH was counted as sent".into());
    }
    bed.heard(slot, router, &theirs)?;
    up(bed, router, "external")
}

fn communities(bed: &Bed, router: Router) -> Found {
    let slot = bed.slot("external");
    let [_, tagged, ..] = router.prefixes();
    let path = bed.heard(slot, router, &tagged)?;
    let said = path["communities"].to_string();
    if said.contains("65010:100") && said.contains("65010:1:2") {
        Ok(said)
    } else {
        Err(format!("{tagged} has {said}"))
    }
}

/// Two sessions announce the same prefix with different next hops: one kernel route through both.
fn equal_paths(bed: &Bed, router: Router) -> Found {
    both_know(bed, router, "external")?;
    both_know(bed, router, "md5")?;
    let [theirs, ..] = router.prefixes();
    let kernel = bed.kernel("e", &theirs);
    let hops = ["external", "md5"].map(|name| bed.slot(name).theirs(router));
    let all = bed.routes("e", &format!("--why {theirs}"));
    let multipath = all.iter().filter(|route| route["multipath"] == true).count();
    let named = |hop: &String| kernel.contains(&format!("via {hop} ")) || group_holds(bed, &kernel, hop);
    if multipath >= 2 && hops.iter().all(named) {
        Ok(format!("{multipath} equal paths: {}", brief(&kernel)))
    } else {
        Err(format!("{multipath} equal paths of {}; kernel: {}", all.len(), brief(&kernel)))
    }
}

/// A nexthop group names its members by number.
fn group_holds(bed: &Bed, kernel: &str, hop: &str) -> bool {
    let Some(group) = kernel.split("group ").nth(1).and_then(|rest| rest.split_whitespace().next()) else {
        return false;
    };
    group.split('/').any(|id| {
        let id = id.split(',').next().unwrap_or_default();
        bed.stage.run("e", &format!("ip nexthop show id {id}")).stdout.contains(&format!("via {hop} "))
    })
}
