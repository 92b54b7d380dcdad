//! Rows: refreshes and long messages. Slots 40 to 49.

use super::super::bed::{Bed, Slot};
use super::super::routers::Router;
use super::{Feature, Found, Theme, missing, row, up};

pub const THEME: Theme = Theme {
    slots: &[],
    rows: &[
        Feature {
            name: "route refresh asked by the router",
            lacks: [None, None, Some("GoBGP keeps all that it was told and never asks again")],
            check: Some(they_ask),
        },
        row("route refresh asked by us", we_ask),
        missing("enhanced route refresh (RFC 7313)"),
        missing("extended messages (RFC 8654)"),
    ],
};

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
    let counted = super::super::within(|| (refreshes(bed, router, slot, "in") > before).then_some(()));
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
    let again =
        super::super::within(|| (bed.metric("e", "biplane_bgp_messages_total", &labels) > before).then_some(()));
    again.ok_or("no UPDATE came again")?;
    if refreshes(bed, router, slot, "out") <= sent {
        return Err("no ROUTE-REFRESH was counted as sent".into());
    }
    bed.heard(slot, router, &theirs)?;
    up(bed, router, "external")
}
