//! `biplane bgp peers`, `peer` and `routes`.

use model::PeerId;

use status::doc::{BgpPeer, BgpPeers, BgpRoute, BgpRoutes, BgpState};

use crate::failure::Failure;
use crate::output::{Body, Cell, Sheet, Table, Tone, age, cell, joined, list, maybe};

pub(super) fn name(peer: &BgpPeer) -> String {
    format!("peer/{}", peer.address)
}

pub(crate) fn missing(peers: &BgpPeers, address: &PeerId) -> Failure {
    let there = match peers.items.as_slice() {
        [] => "there is none; peers come from bgp.peers of the configuration and, with bgp.mesh, from the other nodes"
            .to_owned(),
        items => {
            let more = if items.len() > 20 { ", …; see `biplane bgp peers`" } else { "" };
            format!("there are {}{more}", joined(items.iter().map(|it| &it.address).take(20)))
        }
    };
    let stranger = peers.strangers.iter().find(|it| it.address == *address);
    let stranger =
        stranger.map(|it| format!("; it connected {} times and was refused, as it is not configured", it.count));
    Failure::NotFound(format!("no peer {address}; {there}{}", stranger.unwrap_or_default()))
}

/// What a list of peers does not show: why none of them comes up, and who else came.
pub(crate) fn notes(peers: &BgpPeers) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(error) = &peers.listen_error {
        notes.push(error.clone());
    } else if !peers.listening {
        notes.push(
            "bgp does not stand on this node, so no session is open; `biplane mode show` tells what is wished"
                .to_owned(),
        );
    }
    notes.extend(peers.strangers.iter().take(STRANGERS).map(|it| {
        let times = if it.count == 1 { "once".to_owned() } else { format!("{} times", it.count) };
        format!("{} connected {times} and was refused: it is no peer; add it to bgp.peers to take it in", it.address)
    }));
    let more = peers.strangers.len().saturating_sub(STRANGERS);
    if more > 0 {
        notes.push(format!("{more} other strangers connected too; -o json names them"));
    }
    notes
}

/// Strangers told of by name.
const STRANGERS: usize = 5;

fn state(peer: &BgpPeer) -> Cell {
    let tone = if peer.state == BgpState::Established { Tone::Good } else { Tone::Warn };
    match peer.admin_down {
        true => Cell::toned(format!("{} (down)", peer.state), tone),
        false => Cell::toned(peer.state, tone),
    }
}

fn last_error(peer: &BgpPeer) -> Option<String> {
    let words = peer.last_error.as_ref()?;
    Some(match peer.last_error_seconds_ago {
        Some(seconds) => format!("{words}, {} ago", age(seconds)),
        None => words.clone(),
    })
}

pub(super) fn peers(peers: &BgpPeers) -> Table {
    let columns = ["PEER", "ASN", "TYPE", "STATE", "UPTIME", "RECEIVED", "ACCEPTED", "ADVERTISED", "LAST-ERROR"];
    let wide = ["NODE", "LOCAL", "ROUTER-ID", "FAMILIES", "HOLD", "STALE", "MSG-IN", "MSG-OUT", "DESCRIPTION"];
    let mut table = Table::new(&columns, &wide);
    for peer in &peers.items {
        table.rows.push(vec![
            cell(&peer.address),
            cell(peer.asn),
            cell(match (peer.mesh, peer.range) {
                (true, _) => format!("{} mesh", peer.peer_type),
                (false, Some(_)) => format!("{} dynamic", peer.peer_type),
                (false, None) => peer.peer_type.to_string(),
            }),
            state(peer),
            maybe(peer.uptime_seconds.map(age)),
            cell(peer.received),
            cell(peer.accepted),
            cell(peer.advertised),
            maybe(last_error(peer)),
            maybe(peer.node.as_ref()),
            maybe(peer.local_address),
            maybe(peer.router_id),
            list(&peer.families),
            cell(age(peer.hold_time_seconds)),
            cell(peer.stale),
            cell(peer.messages_in),
            cell(peer.messages_out),
            maybe(peer.description.as_ref()),
        ]);
    }
    for peer in &peers.undiscovered {
        let mut row = vec![
            cell(&peer.interface),
            cell(peer.asn),
            cell(peer.peer_type),
            Cell::toned("Idle", Tone::Warn),
            maybe(None::<String>),
            cell(0),
            cell(0),
            cell(0),
            cell(&peer.why),
        ];
        row.resize_with(columns.len() + wide.len() - 1, || maybe(None::<String>));
        row.push(maybe(peer.description.as_ref()));
        table.rows.push(row);
    }
    table
}

pub(super) fn sheet(peer: &BgpPeer) -> Body {
    let mut sheet = Sheet::default();
    sheet.line("Peer", cell(format!("{} port {}", peer.address, peer.port)));
    sheet.line("AS", cell(format!("{} (own {}, {})", peer.asn, peer.local_asn, peer.peer_type)));
    sheet.line("Node", maybe(peer.node.as_ref()));
    sheet.line("Description", maybe(peer.description.as_ref()));
    sheet.line(
        "From",
        cell(match (peer.mesh, peer.range) {
            (true, _) => "the mesh".to_owned(),
            (false, Some(range)) => format!("the range {range}"),
            (false, None) => "the configuration".to_owned(),
        }),
    );
    sheet.line("Dials", cell(if peer.passive { "no, passive" } else { "yes" }));
    sheet.line("Role", maybe(peer.role.as_ref()));
    sheet.line("State", state(peer));
    sheet.line("Since", cell(&peer.since));
    sheet.line("Uptime", maybe(peer.uptime_seconds.map(age)));
    sheet.line("Last error", maybe(last_error(peer)));
    sheet.line("Local address", maybe(peer.local_address));
    sheet.line("Router ID", maybe(peer.router_id));
    sheet.line("Host name", maybe(peer.host_name.as_ref()));
    sheet.line("Hold time", cell(age(peer.hold_time_seconds)));
    sheet.line("Families", list(&peer.families));
    sheet.line("End-of-RIB", cell(if peer.end_of_rib { "received" } else { "awaited" }));
    sheet.line("Stale paths", cell(peer.stale));
    sheet.line("Max prefixes", cell(peer.max_prefixes));
    sheet.lines("Warnings", peer.warnings.iter().map(|it| Cell::toned(it, Tone::Warn)).collect());
    sheet.line("Messages", cell(format!("{} in, {} out", peer.messages_in, peer.messages_out)));
    let mut families = Table::new(&["FAMILY", "RECEIVED", "ACCEPTED", "REJECTED", "ADVERTISED"], &[]);
    for it in &peer.by_family {
        let row = [cell(it.family), cell(it.received), cell(it.accepted), cell(it.rejected), cell(it.advertised)];
        families.rows.push(row.to_vec());
    }
    Body::Parts(sheet, vec![("Prefixes", families)])
}

pub(super) fn routes(routes: &BgpRoutes) -> Table {
    let columns = ["PREFIX", "FLAGS", "PEER", "NEXT-HOP", "AS-PATH", "WHY"];
    let mut table = Table::new(&columns, &["ORIGIN", "LOCAL-PREF", "MED", "COMMUNITIES", "PATH-ID"]);
    for route in &routes.items {
        table.rows.push(vec![
            cell(route.prefix),
            Cell::toned(flags(route), if route.best { Tone::Good } else { Tone::Plain }),
            route.peer.as_ref().map_or_else(|| cell("own"), cell),
            maybe(route.next_hop),
            cell(&route.as_path),
            cell(&route.why),
            cell(route.origin),
            maybe(route.local_pref),
            maybe(route.med),
            list(&route.communities),
            maybe(route.path_id),
        ]);
    }
    table
}

/// Best, multipath, stale; a dash if none.
fn flags(route: &BgpRoute) -> String {
    let words = [(route.best, "best"), (route.multipath && !route.best, "multipath"), (route.stale, "stale")];
    cell(joined(words.into_iter().filter(|(on, _)| *on).map(|(_, word)| word))).text
}
