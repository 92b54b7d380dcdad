//! Rows: attributes, policies, and more than one path. Slots 50 to 59.

use super::super::bed::{Bed, OUR_LONG, OUTSIDE, PLAIN, Part, Slot};
use super::super::routers::{Router, brief};
use super::{Found, Theme, both_know, row, up};

pub const THEME: Theme = Theme {
    slots: &[
        Slot {
            name: "policy",
            number: 50,
            node: "e",
            v6: false,
            keys: "import: from-fabric, export: to-fabric",
            parts: [PLAIN; 3],
        },
        Slot {
            name: "add_path_in",
            number: 51,
            node: "e",
            v6: false,
            keys: "addPath: {receive: true}",
            parts: [
                Part::Told(&[], &["addpath-tx-all-paths"]),
                Part::Told(&[], &["add paths tx;", "export where proto != \"long4\";"]),
                Part::Told(&["[neighbors.add-paths.config]\nsend-max = 8"], &[]),
            ],
        },
        Slot {
            name: "add_path_out",
            number: 51,
            node: "i",
            v6: false,
            keys: "client: true, addPath: {send: 8}, import: routers",
            parts: [
                PLAIN,
                Part::Told(&[], &["add paths rx;"]),
                Part::Told(&["[neighbors.add-paths.config]\nreceive = true"], &[]),
            ],
        },
    ],
    rows: &[
        row("communities seen: plain, large", communities),
        row("policy: communities and AS path set for them, LOCAL_PREF for us", policy),
        row("add-path, received (RFC 7911)", add_path_in),
        row("add-path, sent (RFC 7911)", add_path_out),
        row("ECMP of two sessions", equal_paths),
    ],
};

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

fn policy(bed: &Bed, router: Router) -> Found {
    up(bed, router, "policy")?;
    let slot = bed.slot("policy");
    let text = router.knows(bed, slot, &bed.own("e", false)?)?;
    let tagged = text.contains("64512:100") || text.contains("(64512,100)");
    let own = OUTSIDE.to_string();
    let times = text.matches(&own).count();
    if !tagged || times < 3 {
        return Err(format!("{} has {own} {times} times: {}", router.title(), brief(&text)));
    }
    // Only pods are named by the policy: the rest is not announced.
    if router.knows(bed, slot, OUR_LONG).is_ok() {
        return Err(format!("{} was told what the policy does not name", router.title()));
    }
    let [plain, .., preferred] = router.prefixes();
    let used = bed.routes("e", &format!("--why {preferred}"));
    let from = slot.theirs(router);
    let best = used.iter().find(|path| path["best"] == true).ok_or("no best path")?;
    if best["peer"] != from.as_str() || best["localPref"] != 200 {
        return Err(format!("the best path of {preferred} is {best}"));
    }
    // No rule accepts it.
    let paths = bed.routes("e", &format!("--why {plain}"));
    if paths.iter().any(|path| path["peer"] == from.as_str() && (path["best"] == true || path["multipath"] == true)) {
        return Err(format!("{plain} is used from {from} though the policy rejects it"));
    }
    Ok(format!("{times} times {own} and 64512:100 at {}, LOCAL_PREF 200 here", router.title()))
}

/// The router knows the slice of `i` by several sessions, and tells `e` all of them.
fn add_path_in(bed: &Bed, router: Router) -> Found {
    up(bed, router, "add_path_in")?;
    let slot = bed.slot("add_path_in");
    let prefix = bed.own("i", false)?;
    let all = bed.routes("e", &format!("--in {}", slot.theirs(router)));
    let paths = all.iter().filter(|route| route["prefix"] == prefix.as_str()).count();
    let text = router.session(bed, slot);
    let agreed = match router {
        Router::Frr => text.contains("TX advertised"),
        _ => text.to_lowercase().contains("add-path"),
    };
    match paths >= 2 && agreed {
        true => Ok(format!("{paths} paths of {prefix}")),
        false => Err(format!("{paths} paths of {prefix} among {}: {text}", all.len())),
    }
}

/// `i` reflects what it has from several sessions with another router.
fn add_path_out(bed: &Bed, router: Router) -> Found {
    up(bed, router, "add_path_out")?;
    let slot = bed.slot("add_path_out");
    let [prefix, ..] = router.other().prefixes();
    let told = bed.routes("i", &format!("--out {}", slot.theirs(router)));
    let ours = told.iter().filter(|route| route["prefix"] == prefix.as_str()).count();
    let text = router.knows(bed, slot, &prefix)?;
    let theirs = match router {
        Router::Frr => text.matches(" from ").count(),
        Router::Bird => text.matches("BGP.next_hop").count(),
        Router::Gobgp => text.lines().count(),
    };
    match ours >= 2 && theirs == ours {
        true => Ok(format!("{ours} paths of {prefix} at {}", router.title())),
        false => Err(format!("{ours} paths of {prefix} told, {theirs} at {}: {}", router.title(), brief(&text))),
    }
}
