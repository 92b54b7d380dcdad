//! `biplane mode show`.

use model::{NodeSet, Plane};
use status::doc::{ModeDoc, PlaneDigest, WishFrom};

use crate::output::{Body, Cell, Sheet, Table, Tone, age, cell, joined, list, maybe};

pub(super) fn sheet(mode: &ModeDoc) -> Body {
    let mut sheet = Sheet::default();
    let from = match (mode.wish_from, &mode.cluster_wish) {
        (WishFrom::Cluster, Some(wish)) => format!("biplane mode switch on {}, wish {}", wish.by, wish.generation),
        (WishFrom::Cluster, None) => "biplane mode switch".to_owned(),
        (WishFrom::Config, _) => "the configuration".to_owned(),
    };
    sheet.line("Wish", cell(format!("{} (by {from})", mode.wish)));
    if let Some(wish) = mode.cluster_wish.as_ref().filter(|_| mode.wish_from == WishFrom::Config) {
        sheet.line(
            "Cluster's wish",
            cell(format!("{}, but the configuration of this node was changed later", wish.mode)),
        );
    }
    let way = mode.from.map_or_else(|| mode.wish.to_string(), |from| format!("{from}→{}", mode.wish));
    sheet.line("State", cell(format!("{} ({way}) for {}", mode.state, age(mode.state_seconds))));
    sheet.line(
        "Fallback",
        cell(if mode.fallback { format!("{} stands by", mode.wish.other()) } else { "no".to_owned() }),
    );
    sheet.line("Stands", list(mode.stands.iter()));
    sheet.line("Sends", list(mode.sends.iter()));
    sheet.line("Carries by", cell(mode.carry));
    let to = &mode.destinations;
    sheet.line(
        "Destinations",
        cell(format!("{} by vxlan, {} by bgp, {} unreachable", to.overlay, to.native, to.unreachable)),
    );
    sheet.line("Coordinator", maybe(mode.coordinator.as_ref()));
    if let Some(digest) = &mode.digest {
        sheet.line("Digest", cell(format!("{} of {} nodes", digest.sequence, digest.nodes)));
        for (plane, it) in [(Plane::Overlay, &digest.vxlan), (Plane::Native, &digest.bgp)] {
            sheet.line(if plane == Plane::Overlay { "  vxlan" } else { "  bgp" }, cell(plane_words(it)));
        }
        if !digest.gone.is_empty() {
            sheet.line("  gone", list(&digest.gone));
        }
    }
    let waiting = mode.waiting.iter();
    sheet.lines(
        "Waiting",
        waiting.map(|it| Cell::toned(format!("{} (for {})", it.what, age(it.for_seconds)), Tone::Warn)).collect(),
    );
    let mut gates = Table::new(&["GATE", "OPEN", "REASON"], &[]);
    gates.rows = mode
        .gates
        .iter()
        .map(|it| vec![cell(&it.name), Cell::judged(it.open, it.open), maybe(it.reason.as_ref())])
        .collect();
    let mut nodes = Table::new(&["NODE", "WISH", "STATE", "STANDS", "SENDS", "WAITING"], &["LIVE"]);
    for it in &mode.nodes {
        nodes.rows.push(vec![
            cell(&it.node),
            maybe(it.wish),
            maybe(it.state),
            list(it.stands.iter()),
            list(it.sends.iter()),
            maybe(it.waiting.as_ref()),
            maybe(it.live),
        ]);
    }
    let mut history = Table::new(&["TIME", "FROM", "TO", "TARGET", "AFTER", "REASON"], &[]);
    for it in mode.history.iter().rev().take(10) {
        let row = [
            cell(&it.time),
            cell(it.from),
            cell(it.to),
            cell(it.target),
            cell(format!("{:.1}s", it.after_seconds)),
            cell(&it.reason),
        ];
        history.rows.push(row.to_vec());
    }
    Body::Parts(sheet, vec![("Gates", gates), ("Nodes", nodes), ("History", history)])
}

fn plane_words(digest: &PlaneDigest) -> String {
    format!("stands on {}, sent on by {}", nodes(&digest.stands), nodes(&digest.sends))
}

/// A set of nodes in words.
pub(crate) fn nodes(set: &NodeSet) -> String {
    match set {
        NodeSet::Only(these) if these.is_empty() => "none".to_owned(),
        NodeSet::Only(these) => joined(these),
        NodeSet::AllBut(these) if these.is_empty() => "all".to_owned(),
        NodeSet::AllBut(these) => format!("all but {}", joined(these)),
    }
}
