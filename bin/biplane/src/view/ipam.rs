//! `biplane ipam show` and `check`.

use status::doc::{BlockState, IpamDoc};

use crate::output::{Cell, Table, Tone, cell, maybe};

pub(super) fn pools(ipam: &IpamDoc) -> Table {
    let mut table = Table::new(&["POOL", "NODE-PREFIX", "TOTAL", "CLAIMED", "QUARANTINED", "FREE"], &[]);
    for pool in &ipam.pools {
        table.rows.push(vec![
            cell(pool.cidr),
            cell(format!("/{}", pool.node_prefix)),
            cell(pool.total),
            cell(pool.claimed),
            cell(pool.quarantined),
            Cell::toned(pool.free, if pool.free == 0 { Tone::Bad } else { Tone::Plain }),
        ]);
    }
    table
}

pub(super) fn blocks(ipam: &IpamDoc) -> Table {
    let mut table = Table::new(&["POD-CIDR", "NODE", "STATE", "POOL"], &["UID", "FREE-AT"]);
    for block in &ipam.blocks {
        let state = match block.state {
            BlockState::Claimed => "claimed",
            BlockState::Quarantined => "quarantined",
        };
        let node = block.node.as_ref().map(|node| if block.own { format!("{node} (this)") } else { node.to_string() });
        table.rows.push(vec![
            cell(block.pod_cidr),
            maybe(node),
            cell(state),
            maybe(block.pool),
            maybe(block.uid.as_ref()),
            maybe(block.free_at.as_ref()),
        ]);
    }
    table
}

pub(super) fn problems(ipam: &IpamDoc) -> Table {
    let mut table = Table::new(&["SUBJECT", "REASON", "WHAT", "CURE"], &[]);
    for it in &ipam.problems {
        table.rows.push(vec![
            cell(&it.subject),
            Cell::toned(&it.reason, Tone::Bad),
            cell(&it.what),
            maybe(it.cure.as_ref()),
        ]);
    }
    table
}
