//! Rows: attributes and more than one path. Slots 50 to 59.

use super::super::bed::Bed;
use super::super::routers::{Router, brief};
use super::{Found, Theme, both_know, missing, row};

pub const THEME: Theme = Theme {
    slots: &[],
    rows: &[
        row("communities seen: plain, large", communities),
        missing("add-path, received (RFC 7911)"),
        missing("add-path, sent (RFC 7911)"),
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
