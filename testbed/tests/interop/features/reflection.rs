//! Rows: route reflectors. Slots 70 to 79.

use super::super::bed::{Bed, CLUSTER, PLAIN, Part, Slot};
use super::super::routers::{Router, brief};
use super::{Found, Theme, row, up};

/// The router reflects for it. No daemon can reach another but through the router, which therefore says that it is the next
/// hop.
const SERVED: [Part; 3] = [
    Part::Told(&[], &["route-reflector-client", "next-hop-self force"]),
    Part::Told(&["rr client;"], &["export where proto != \"long4\";", "next hop self;"]),
    Part::Told(&["[neighbors.route-reflector.config]\nroute-reflector-client = true"], &[]),
];

pub const THEME: Theme = Theme {
    slots: &[
        Slot { name: "client_j", number: 70, node: "j", v6: false, keys: "", parts: SERVED },
        Slot { name: "client_k", number: 70, node: "k", v6: false, keys: "", parts: SERVED },
        Slot {
            name: "reflected",
            number: 71,
            node: "i",
            v6: false,
            keys: "client: true, import: routers",
            parts: [PLAIN; 3],
        },
    ],
    rows: &[row("client of a reflector (RFC 4456)", client), row("reflector (RFC 4456)", reflector)],
};

/// Two daemons are clients of the router: each has a route to the other's pods through it, there and back.
fn client(bed: &Bed, router: Router) -> Found {
    let mut found = Vec::new();
    for (here, there) in [("client_j", "client_k"), ("client_k", "client_j")] {
        up(bed, router, here)?;
        let (here, there) = (bed.slot(here), bed.slot(there));
        let prefix = bed.own(there.node, false)?;
        router.knows(bed, there, &prefix)?;
        let path = bed.heard(here, router, &prefix)?;
        let kernel = bed.kernel(here.node, &prefix);
        if !kernel.contains(&format!("dev {}", router.node())) {
            return Err(format!("{} has {path}, its kernel: {}", here.node, brief(&kernel)));
        }
        found.push(brief(&kernel));
    }
    Ok(found.join("; "))
}

/// `i` reflects: the router has another one's prefix by us, with our cluster and the one that it comes from.
fn reflector(bed: &Bed, router: Router) -> Found {
    up(bed, router, "reflected")?;
    let slot = bed.slot("reflected");
    let other = router.other();
    let [prefix, ..] = other.prefixes();
    bed.heard(slot, other, &prefix)?;
    let text = router.knows(bed, slot, &prefix)?;
    let originator = format!("10.31.{}.1", other.number());
    match text.contains(CLUSTER) && text.contains(&originator) {
        true => Ok(format!("{} has {prefix} with ORIGINATOR_ID {originator}, CLUSTER_LIST {CLUSTER}", router.title())),
        false => Err(format!("{} has not {CLUSTER} and {originator}: {}", router.title(), brief(&text))),
    }
}
