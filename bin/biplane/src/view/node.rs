//! `biplane node list` and `show`.

use model::NodeName;
use status::doc::{NodeDoc, Nodes};

use crate::failure::Failure;
use crate::output::{Body, Cell, Sheet, Table, Tone, cell, joined, list, maybe};

pub(super) fn name(node: &NodeDoc) -> String {
    format!("node/{}", node.name)
}

pub(super) fn missing(nodes: &Nodes, name: &NodeName) -> Failure {
    let known = nodes.items.iter().map(|node| &node.name).take(20);
    let more = if nodes.items.len() > 20 { ", …; see `biplane node list`" } else { "" };
    Failure::NotFound(format!(
        "no node {name} in this cluster, as this node knows it; there are {}{more}",
        joined(known)
    ))
}

pub(super) fn table(nodes: &Nodes) -> Table {
    let columns = ["NAME", "POD-CIDRS", "PLANE", "STANDS", "STATE", "UNDERLAY", "WHY"];
    let mut table = Table::new(&columns, &["SENDS", "VTEP-MAC", "ASN", "SESSION", "LIVE", "VERSION"]);
    for node in &nodes.items {
        table.rows.push(vec![
            cell(if node.own { format!("{} (this)", node.name) } else { node.name.to_string() }),
            list(node.pod_cidrs.iter().map(|it| it.pod_cidr)),
            plane(node),
            list(node.stands.iter().flat_map(|it| it.iter())),
            maybe(node.state),
            list(&node.underlay),
            Cell::toned(maybe(node.why.as_ref()).text, if node.why.is_some() { Tone::Warn } else { Tone::Plain }),
            list(node.sends.iter().flat_map(|it| it.iter())),
            maybe(node.vtep_mac),
            maybe(node.bgp.as_ref().map(|it| it.asn)),
            maybe(node.bgp.as_ref().and_then(|it| it.session)),
            maybe(node.live),
            maybe(node.version.as_ref()),
        ]);
    }
    table
}

/// One word if all pod CIDRs are carried alike.
fn plane(node: &NodeDoc) -> Cell {
    if node.own {
        return cell("local");
    }
    let words = node.pod_cidrs.iter().map(|it| it.plane.map_or("none", |plane| plane.mode()));
    let mut words: Vec<&str> = words.collect();
    words.dedup();
    let tone = if words.contains(&"none") { Tone::Bad } else { Tone::Plain };
    Cell::toned(cell(joined(words)).text, tone)
}

pub(super) fn sheet(node: &NodeDoc) -> Body {
    let mut sheet = Sheet::default();
    sheet.line("Node", cell(if node.own { format!("{} (this)", node.name) } else { node.name.to_string() }));
    sheet.line("UID", maybe(node.uid.as_ref()));
    sheet.line("Underlay", list(&node.underlay));
    sheet.line("Planes", list(node.planes.iter()));
    sheet.line("Stands", list(node.stands.iter().flat_map(|it| it.iter())));
    sheet.line("Sends", list(node.sends.iter().flat_map(|it| it.iter())));
    sheet.line(
        "VTEP",
        cell(joined(
            node.vtep_mac.map(|it| it.to_string()).into_iter().chain(node.vtep_gateway.map(|it| it.to_string())),
        )),
    );
    let bgp = node.bgp.as_ref().map(|it| {
        let session = it.session.map_or_else(|| "no session".to_owned(), |state| state.to_string());
        format!(
            "AS {}, port {}, {}, {session}",
            it.asn,
            it.port,
            if it.mesh { "in the mesh" } else { "not in the mesh" }
        )
    });
    sheet.line("BGP", maybe(bgp));
    sheet.line("State", maybe(node.state));
    sheet.line("Wish", maybe(node.wish));
    sheet.line("Version", maybe(node.version.as_ref()));
    sheet.line("Live", maybe(node.live));
    sheet.line("Why", maybe(node.why.as_ref()));
    let mut cidrs = Table::new(&["POD-CIDR", "PLANE", "VIA"], &[]);
    let rows = node.pod_cidrs.iter().map(|it| vec![cell(it.pod_cidr), maybe(it.plane), maybe(it.via.as_ref())]);
    cidrs.rows = rows.collect();
    Body::Parts(sheet, vec![("Pod CIDRs", cidrs)])
}
