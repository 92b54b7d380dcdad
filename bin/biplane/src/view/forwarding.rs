//! `biplane vxlan show|fdb|neigh` and `biplane route list`.

use status::doc::{LinkState, ObjectState, Routes, VxlanDoc};

use crate::output::{Body, Cell, Table, Tone, cell, maybe};

pub(super) fn state(state: ObjectState) -> Cell {
    let tone = match state {
        ObjectState::Ok => Tone::Good,
        ObjectState::Stray | ObjectState::Foreign => Tone::Warn,
        ObjectState::Missing | ObjectState::Differs => Tone::Bad,
    };
    Cell::toned(state, tone)
}

pub(super) fn link(vxlan: &VxlanDoc) -> Body {
    let columns = ["DEVICE", "STATE", "VNI", "PORT", "LOCAL", "UNDERLAY", "MAC", "MTU", "FDB", "NEIGHBOURS", "ERROR"];
    let mut table = Table::new(&columns, &[]);
    let Some(link) = &vxlan.link else {
        return Body::Text("The overlay does not stand on this node, and nothing of it is left.\n".to_owned());
    };
    table.rows.push(vec![
        cell(&link.device),
        Cell::judged(link.state, link.state == LinkState::Up),
        cell(link.vni),
        cell(link.port),
        cell(link.local),
        cell(&link.underlay),
        cell(link.mac),
        cell(link.mtu),
        cell(vxlan.fdb.len()),
        cell(vxlan.neighbours.len()),
        maybe(link.error.as_ref()),
    ]);
    Body::Table(table)
}

pub(super) fn fdb(vxlan: &VxlanDoc) -> Table {
    let mut table = Table::new(&["MAC", "DST", "NODE", "STATE", "ERROR"], &[]);
    for it in &vxlan.fdb {
        let row = [cell(it.mac), cell(it.dst), maybe(it.node.as_ref()), state(it.state), maybe(it.error.as_ref())];
        table.rows.push(row.to_vec());
    }
    table
}

pub(super) fn neighbours(vxlan: &VxlanDoc) -> Table {
    let mut table = Table::new(&["IP", "MAC", "NODE", "STATE", "ERROR"], &[]);
    for it in &vxlan.neighbours {
        let row = [cell(it.ip), cell(it.mac), maybe(it.node.as_ref()), state(it.state), maybe(it.error.as_ref())];
        table.rows.push(row.to_vec());
    }
    table
}

pub(super) fn routes(routes: &Routes) -> Table {
    let mut table = Table::new(&["PREFIX", "NODE", "PLANE", "STATE", "ACTUAL", "WHY"], &["TYPE", "DESIRED"]);
    for it in &routes.items {
        table.rows.push(vec![
            cell(it.prefix),
            maybe(it.node.as_ref()),
            maybe(it.plane),
            state(it.state),
            maybe(it.actual.as_ref()),
            maybe(it.error.as_ref().or(it.why.as_ref())),
            cell(it.kind),
            maybe(it.desired.as_ref()),
        ]);
    }
    table
}
