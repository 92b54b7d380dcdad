//! Rows: refreshes and long messages. Slots 40 to 49.

use super::super::bed::{Bed, MANY, OUR_LONG, OUR_TAG, PLAIN, Part, Slot};
use super::super::routers::{Router, brief};
use super::super::within;
use super::{Feature, Found, Theme, row, up};

const NO_ENHANCED: &str = "GoBGP 3 names capability 70 when it comes and never offers it";
const NO_LONG: &str = "GoBGP 3 calls capability 6 unknown";
const NEVER_ASKS: &str = "GoBGP keeps all that it was told and never asks again";

pub const THEME: Theme = Theme {
    slots: &[Slot {
        name: "long",
        number: 40,
        node: "e",
        v6: false,
        keys: "",
        parts: [
            PLAIN,
            Part::Told(
                &["enable extended messages on;"],
                &["export where proto = \"own4\" || proto = \"long4\" || proto = \"own6\";"],
            ),
            Part::Lacks,
        ],
    }],
    rows: &[
        Feature {
            name: "route refresh asked by the router",
            lacks: [None, None, Some(NEVER_ASKS)],
            check: Some(they_ask),
        },
        row("route refresh asked by us", we_ask),
        Feature {
            name: "enhanced route refresh (RFC 7313), their routes",
            lacks: [None, None, Some(NO_ENHANCED)],
            check: Some(they_mark),
        },
        Feature {
            name: "enhanced route refresh (RFC 7313), our routes",
            lacks: [None, None, Some(NO_ENHANCED)],
            check: Some(we_mark),
        },
        Feature {
            name: "extended messages (RFC 8654), both ways",
            lacks: [None, None, Some(NO_LONG)],
            check: Some(long_updates),
        },
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
    let counted = within(|| (refreshes(bed, router, slot, "in") > before).then_some(()));
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
    let again = within(|| (bed.metric("e", "biplane_bgp_messages_total", &labels) > before).then_some(()));
    again.ok_or("no UPDATE came again")?;
    if refreshes(bed, router, slot, "out") <= sent {
        return Err("no ROUTE-REFRESH was counted as sent".into());
    }
    bed.heard(slot, router, &theirs)?;
    up(bed, router, "external")
}

/// Both offered capability 70, by the router's word.
fn offered(bed: &Bed, router: Router, slot: &Slot) -> Result<(), String> {
    let text = router.session(bed, slot);
    let said = match router {
        Router::Frr => text.contains("Enhanced Route Refresh: advertised and received"),
        Router::Bird => text.matches("Enhanced refresh").count() == 2,
        Router::Gobgp => false,
    };
    if said { Ok(()) } else { Err(format!("{} has not agreed on it: {}", router.title(), brief(&text))) }
}

/// We ask: the router answers with a begin and an end for each family.
fn they_mark(bed: &Bed, router: Router) -> Found {
    up(bed, router, "our_hold")?;
    let slot = bed.slot("our_hold");
    offered(bed, router, slot)?;
    let before = refreshes(bed, router, slot, "in");
    bed.stage.good("e", &format!("biplane bgp reset --soft {}", slot.theirs(router)));
    let marks = within(|| Some(refreshes(bed, router, slot, "in") - before).filter(|marks| *marks >= 4.0));
    marks.ok_or("begin and end of two families did not come")?;
    bed.heard(slot, router, &router.prefixes()[0])?;
    Ok("BoRR and EoRR of two families came".into())
}

/// The router asks for IPv4: we say begin and end.
fn we_mark(bed: &Bed, router: Router) -> Found {
    up(bed, router, "our_hold")?;
    let slot = bed.slot("our_hold");
    offered(bed, router, slot)?;
    let before = refreshes(bed, router, slot, "out");
    router.ask_again(bed, slot);
    let marks = within(|| Some(refreshes(bed, router, slot, "out") - before).filter(|marks| *marks >= 2.0));
    marks.ok_or("begin and end were not sent")?;
    up(bed, router, "our_hold")?;
    router.knows(bed, slot, &bed.own("e", false)?)
}

/// An UPDATE with so many communities that 4096 octets do not hold it, each way.
fn long_updates(bed: &Bed, router: Router) -> Found {
    up(bed, router, "long")?;
    let slot = bed.slot("long");
    let heard = bed.heard(slot, router, &router.long())?;
    let ours = heard["communities"].as_array().map_or(0, Vec::len);
    let text = router.knows(bed, slot, OUR_LONG)?;
    let theirs = match router {
        Router::Bird => {
            text.matches(&format!(" ({OUR_TAG},")).count() + text.matches(&format!("\t({OUR_TAG},")).count()
        }
        _ => text.matches(&format!(" {OUR_TAG}:")).count(),
    };
    match ours == MANY && theirs == MANY {
        true => Ok(format!("{ours} communities here, {theirs} at {}: {} octets of each", router.title(), 4 * MANY)),
        false => Err(format!("{ours} communities here, {theirs} at {}, expected {MANY}", router.title())),
    }
}
