//! Rows: what keeps a peer's mistakes from others. Slots 60 to 69.

use super::super::bed::{Bed, OUTSIDE, PLAIN, Part, Slot};
use super::super::routers::{Router, brief};
use super::{Feature, Found, Theme, row, up};

const NO_ROLES: &str = "GoBGP 3 does not offer capability 9";

pub const THEME: Theme = Theme {
    slots: &[
        Slot {
            name: "role",
            number: 60,
            node: "e",
            v6: false,
            keys: "role: provider, roleStrict: true",
            parts: [Part::Told(&["local-role customer"], &[]), Part::Told(&["local role customer;"], &[]), Part::Lacks],
        },
        Slot {
            name: "role_clash",
            number: 61,
            node: "e",
            v6: false,
            keys: "role: customer",
            parts: [Part::Told(&["local-role customer"], &[]), Part::Told(&["local role customer;"], &[]), Part::Lacks],
        },
        Slot {
            name: "our_bound",
            number: 62,
            node: "e",
            v6: false,
            keys: "maxPrefixes: 3, maxPrefixesRestart: 3600, gracefulRestart: false",
            parts: [PLAIN; 3],
        },
        Slot {
            name: "their_bound",
            number: 63,
            node: "e",
            v6: false,
            keys: "gracefulRestart: false",
            parts: [
                Part::Told(&[], &["maximum-prefix 1"]),
                Part::Told(&[], &["receive limit 1 action disable;"]),
                Part::Told(&[], &["[neighbors.afi-safis.prefix-limit.config]\nmax-prefixes = 1"]),
            ],
        },
    ],
    rows: &[
        row("default deny (RFC 8212)", default_deny),
        Feature { name: "roles and OTC (RFC 9234)", lacks: [None, None, Some(NO_ROLES)], check: Some(roles) },
        Feature {
            name: "roles that do not match: OPEN error 2/11",
            lacks: [None, None, Some(NO_ROLES)],
            check: Some(role_clash),
        },
        row("max-prefix of ours: Cease 6/1", our_bound),
        row("max-prefix of theirs: Cease 6/1", their_bound),
    ],
};

/// Without a policy neither takes what is no slice of the pools, nor passes on what it has learned.
fn default_deny(bed: &Bed, router: Router) -> Found {
    up(bed, router, "external")?;
    let slot = bed.slot("external");
    let outside = router.outside();
    let path = bed.heard(slot, router, &outside)?;
    let why = path["why"].as_str().unwrap_or_default();
    if !why.contains("refused") {
        return Err(format!("{outside}: {why}"));
    }
    let kernel = bed.stage.run("e", &format!("ip route show {outside}")).stdout;
    if !kernel.trim().is_empty() {
        return Err(format!("the kernel has {}", brief(&kernel)));
    }
    let [other, ..] = router.other().prefixes();
    let passed = bed.routes("e", &format!("--out {}", slot.theirs(router)));
    if router.knows(bed, slot, &other).is_ok() || passed.iter().any(|route| route["prefix"] == other.as_str()) {
        return Err(format!("{other} was passed on to {}", router.title()));
    }
    if !bed.routes("e", &format!("--why {other}")).iter().any(|path| path["best"] == true) {
        return Err(format!("{other} is not known here, so that it could be passed on"));
    }
    Ok(format!("{outside}: {why}; {} has no {other}", router.title()))
}

/// We are the provider: the router is told so, and gets our paths marked.
fn roles(bed: &Bed, router: Router) -> Found {
    up(bed, router, "role")?;
    let slot = bed.slot("role");
    let said = router.session(bed, slot);
    let both = match router {
        Router::Frr => said.contains("Local Role: customer") && said.contains("Remote Role: provider"),
        _ => said.contains("provider") && said.contains("customer"),
    };
    if !both {
        return Err(format!("{} does not name both roles: {}", router.title(), brief(&said)));
    }
    let text = router.knows(bed, slot, &bed.own("e", false)?)?;
    let marked = text.to_lowercase().lines().any(|line| line.contains("otc") && line.contains(&OUTSIDE.to_string()));
    if !marked {
        return Err(format!("{} has no OTC {OUTSIDE}: {}", router.title(), brief(&text)));
    }
    bed.heard(slot, router, &router.prefixes()[0])?;
    let peer = bed.peer(slot, router)?;
    Ok(format!("we are {}, {} has OTC {OUTSIDE}", peer["role"], router.title()))
}

fn role_clash(bed: &Bed, router: Router) -> Found {
    let slot = bed.slot("role_clash");
    let peer = bed.peer(slot, router)?;
    let error = peer["lastError"].as_str().unwrap_or_default().to_string();
    if peer["state"] == "Established" || router.is_up(bed, slot).is_ok() {
        return Err("the session is up".into());
    }
    let labels = |way: &str| {
        let peer = format!("peer=\"{}\"", slot.theirs(router));
        [peer, format!("direction=\"{way}\""), "code=\"2\"".into(), "subcode=\"11\"".into()]
    };
    let counted =
        ["in", "out"].map(|way| bed.metric("e", "biplane_bgp_notifications_total", &labels(way))).iter().sum::<f64>();
    let log = router.log(bed, slot).to_lowercase();
    let there = log.lines().any(|line| line.contains("role") && (line.contains("mismatch") || line.contains("2/11")));
    match counted >= 1.0 && error.to_lowercase().contains("role") && there {
        true => Ok(error),
        false => {
            Err(format!("2/11 counted {counted} times, last error {error:?}, {} logged it: {there}", router.title()))
        }
    }
}

fn cease(bed: &Bed, router: Router, slot: &Slot, way: &str) -> f64 {
    let peer = format!("peer=\"{}\"", slot.theirs(router));
    let labels = [peer, format!("direction=\"{way}\""), "code=\"6\"".into(), "subcode=\"1\"".into()];
    bed.metric(slot.node, "biplane_bgp_notifications_total", &labels)
}

/// Says the router that a bound was exceeded? Its own words for it, when it is its own bound.
fn bound_is_told(bed: &Bed, router: Router, slot: &Slot) -> Result<(), String> {
    let text = router.log(bed, slot) + &router.session(bed, slot);
    let words = ["maximum number of prefixes", "route limit exceeded"];
    match words.iter().any(|words| text.to_lowercase().contains(words)) {
        true => Ok(()),
        false => Err(format!("{} does not say why: {}", router.title(), brief(&text))),
    }
}

fn our_bound(bed: &Bed, router: Router) -> Found {
    let slot = bed.slot("our_bound");
    let peer = bed.peer(slot, router)?;
    let error = peer["lastError"].as_str().unwrap_or_default().to_string();
    if peer["state"] == "Established" || !error.contains("more than 3 prefixes") {
        return Err(format!("{}: {error}", peer["state"]));
    }
    if cease(bed, router, slot, "out") < 1.0 {
        return Err("no 6/1 was counted as sent".into());
    }
    bound_is_told(bed, router, slot)?;
    Ok(error)
}

fn their_bound(bed: &Bed, router: Router) -> Found {
    let slot = bed.slot("their_bound");
    let peer = bed.peer(slot, router)?;
    let error = peer["lastError"].as_str().unwrap_or_default().to_string();
    if peer["state"] == "Established" || cease(bed, router, slot, "in") < 1.0 {
        return Err(format!("no 6/1 came: {}: {error}", peer["state"]));
    }
    bound_is_told(bed, router, slot)?;
    Ok(error)
}
