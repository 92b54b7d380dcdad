//! `biplane route explain`: the way of a packet, step by step.

use status::doc::{BgpRoutes, ExplainDoc, LinkState, ObjectState};

use super::bgp;
use super::forwarding::state;
use crate::output::{Body, Cell, Sheet, Table, Tone, cell, joined, maybe};

pub(super) fn sheet(found: &ExplainDoc) -> Body {
    let mut sheet = Sheet::default();
    sheet.line("Address", cell(found.address));
    sheet.line("Seen from", cell(&found.node));
    sheet.line("Verdict", Cell::judged(&found.summary, found.verdict.is_well()));
    sheet.line("Pool", maybe(found.pool));
    sheet.line(
        "Claim",
        maybe(found.claim.as_ref().map(|claim| {
            let own = if claim.own { " (this)" } else { "" };
            let gone = if claim.gone { ", its daemon is gone" } else { "" };
            let stands = match &claim.stands {
                Some(stands) if !claim.own => format!(", receives by {}", or_none(stands.to_string())),
                _ => String::new(),
            };
            format!(
                "{} of node {}{own}, underlay {}{stands}{gone}",
                claim.pod_cidr,
                claim.node,
                joined(&claim.underlay)
            )
        })),
    );
    if let Some(carry) = &found.carry {
        let plane = match carry.plane {
            Some(plane) if carry.fallback => format!("{plane}, the fallback"),
            Some(plane) => plane.to_string(),
            None => "none".to_owned(),
        };
        let plane = format!("{plane} (preferred is {}, {})", carry.preferred, carry.state);
        sheet.line("Plane", Cell::toned(plane, if carry.plane.is_some() { Tone::Good } else { Tone::Bad }));
        sheet.line("Why", maybe(carry.why.as_ref()));
    }
    sheet.lines("Problems", found.problems.iter().map(|it| Cell::toned(it, Tone::Bad)).collect());

    let mut planes = Table::new(&["PLANE", "STANDS", "SENDS", "USABLE", "WHY"], &[]);
    for it in found.carry.iter().flat_map(|carry| &carry.planes) {
        let row = [cell(it.plane), cell(it.stands), cell(it.sends), cell(it.usable), maybe(it.why.as_ref())];
        planes.rows.push(row.to_vec());
    }
    let mut hops = Table::new(&["GATEWAY", "DEVICE", "STATE", "ANSWERS"], &[]);
    for it in &found.hops {
        hops.rows.push(vec![maybe(it.gateway), cell(&it.device), state(it.state), maybe(it.answers)]);
    }
    let mut routes = Table::new(&["PREFIX", "OURS", "STATE", "ACTUAL", "DESIRED"], &[]);
    for it in &found.routes {
        routes.rows.push(vec![
            cell(it.prefix),
            cell(it.ours),
            state(it.state),
            maybe(it.actual.as_ref()),
            maybe(it.desired.as_ref()),
        ]);
    }
    let mut overlay = Table::new(&["OBJECT", "VALUE", "STATE", "ERROR"], &[]);
    if let Some(it) = &found.overlay {
        let link = Cell::judged(it.link, it.link == LinkState::Up);
        overlay.rows.push(vec![cell(format!("link {}", it.device)), cell(""), link, cell("")]);
        let missing = || state(ObjectState::Missing);
        overlay.rows.push(match &it.neighbour {
            Some(at) => {
                vec![cell(format!("neighbour {}", at.ip)), cell(at.mac), state(at.state), maybe(at.error.as_ref())]
            }
            None => vec![cell("neighbour"), cell(it.mac), missing(), cell("")],
        });
        overlay.rows.push(match &it.fdb {
            Some(at) => vec![cell(format!("fdb {}", at.mac)), cell(at.dst), state(at.state), maybe(at.error.as_ref())],
            None => vec![cell(format!("fdb {}", it.mac)), cell(""), missing(), cell("")],
        });
    }
    let paths = bgp::routes(&BgpRoutes { items: found.paths.clone(), ..BgpRoutes::default() });
    let tables = vec![
        ("Planes", planes),
        ("Kernel routes, the most specific first", routes),
        ("Next hops", hops),
        ("Overlay", overlay),
        ("BGP paths, the best first", paths),
    ];
    Body::Parts(sheet, tables)
}

fn or_none(words: String) -> String {
    if words.is_empty() { "none".to_owned() } else { words }
}
