//! `biplane status`.

use status::doc::{Status, WishFrom};

use crate::output::{Body, Cell, Sheet, Table, Tone, age, cell, joined, list};

pub(super) fn name(status: &Status) -> String {
    format!("node/{}", status.node)
}

pub(super) fn brief(status: &Status) -> Body {
    let columns = ["NODE", "READY", "MODE", "STATE", "CARRY", "POD-CIDRS", "PEERS", "ROUTES", "WAITING"];
    let mut table = Table::new(&columns, &["FOREIGN", "FAILURES", "VERSION"]);
    let routed = status.destinations.overlay + status.destinations.native;
    table.rows.push(vec![
        cell(&status.node),
        Cell::judged(status.ready, status.ready),
        cell(status.mode),
        cell(status.state),
        cell(status.carry),
        list(&status.pod_cidrs),
        cell(format!("{}/{}", status.peers_up, status.peers_total)),
        Cell::toned(format!("{routed}/{}", status.destinations.total), good(status.destinations.unreachable == 0)),
        list(status.waiting.first().map(|it| format!("{} ({})", it.what, age(it.for_seconds)))),
        cell(status.foreign.len()),
        cell(status.failures.len()),
        cell(&status.version),
    ]);
    Body::Table(table)
}

pub(super) fn full(status: &Status) -> Body {
    let mut sheet = Sheet::default();
    sheet.line("Node", cell(&status.node));
    sheet.line("Version", cell(format!("{}, since {}", status.version, status.started_at)));
    sheet.line("Ready", Cell::judged(if status.ready { "yes" } else { "no" }, status.ready));
    let from = match status.wish_from {
        WishFrom::Config => "the configuration",
        WishFrom::Cluster => "biplane mode switch",
    };
    let fallback = if status.fallback { ", with the other plane as fallback" } else { "" };
    sheet.line("Mode", cell(format!("{} (by {from}){fallback}", status.mode)));
    sheet.line("State", cell(format!("{} for {}", status.state, age(status.state_seconds))));
    sheet.line("Stands", list(status.stands.iter()));
    sheet.line("Carries by", cell(status.carry));
    let none = Cell::toned("none yet", Tone::Bad);
    sheet.line("Pod CIDRs", if status.pod_cidrs.is_empty() { none } else { list(&status.pod_cidrs) });
    sheet.line("Underlay", list(&status.underlay));
    let peers = format!("{} of {} peers up", status.peers_up, status.peers_total);
    sheet.line("BGP", cell(format!("AS {}, router ID {}, {peers}", status.local_asn, status.router_id)));
    let to = &status.destinations;
    let words = format!("{} by vxlan, {} by bgp, {} unreachable", to.overlay, to.native, to.unreachable);
    sheet.line("Destinations", Cell::toned(words, good(to.unreachable == 0)));
    sheet.line("Kernel", kernel(status));
    sheet.line("Store", store(status));
    let reload = match &status.config.error {
        None => Cell::toned(format!("loaded {}", status.config.loaded_at), good(status.config.successful)),
        Some(error) => {
            Cell::toned(format!("of {}; the last reload failed: {error}", status.config.loaded_at), Tone::Bad)
        }
    };
    sheet.line("Config", reload);
    let waiting = status.waiting.iter();
    let waiting = waiting.map(|it| Cell::toned(format!("{} (for {})", it.what, age(it.for_seconds)), Tone::Warn));
    sheet.lines("Waiting", waiting.collect());
    if let Some(event) = &status.last_event {
        sheet.line("Last event", cell(format!("{} {}: {}", event.time, event.kind, event.text)));
    }
    let mut conditions = Table::new(&["TYPE", "STATUS", "REASON", "MESSAGE"], &["SINCE"]);
    for it in &status.conditions {
        conditions.rows.push(vec![
            cell(&it.name),
            cell(if it.status { "True" } else { "False" }),
            cell(&it.reason),
            cell(&it.message),
            list(&it.last_transition_time),
        ]);
    }
    let mut failures = Table::new(&["OBJECT", "ERROR", "FOR", "ATTEMPTS"], &["ERRNO"]);
    for it in &status.failures {
        let row = [
            cell(&it.key),
            Cell::toned(&it.error, Tone::Bad),
            cell(age(it.for_seconds)),
            cell(it.attempts),
            cell(it.errno),
        ];
        failures.rows.push(row.to_vec());
    }
    let mut foreign = Table::new(&["OBJECT", "WHAT"], &[]);
    foreign.rows = status.foreign.iter().map(|it| vec![cell(&it.key), cell(&it.what)]).collect();
    Body::Parts(
        sheet,
        vec![("Conditions", conditions), ("Refused by the kernel", failures), ("Not ours, left alone", foreign)],
    )
}

fn kernel(status: &Status) -> Cell {
    let drift = &status.drift;
    let mut words = vec![format!("{} objects wanted, {} there", drift.desired, drift.actual)];
    let pending = drift.pending_replaces + drift.pending_deletes;
    if pending > 0 {
        words.push(format!("{} to make, {} to remove", drift.pending_replaces, drift.pending_deletes));
    }
    if drift.repairs > 0 {
        words.push(format!("{} repaired", drift.repairs));
    }
    if let Some(last) = &drift.last_repair {
        words.push(format!("last {} ({}) {}", last.key, last.cause, last.time));
    }
    Cell::toned(words.join(", "), if pending == 0 { Tone::Plain } else { Tone::Warn })
}

fn store(status: &Status) -> Cell {
    let store = &status.store;
    let role = if store.coordinator { ["coordinator"].as_slice() } else { &[] };
    match &store.error {
        Some(error) => Cell::toned(format!("{} {}: {error}", store.name, store.place), Tone::Bad),
        None if !store.up => Cell::toned(format!("{} {}: down", store.name, store.place), Tone::Bad),
        None => {
            let role = if role.is_empty() { String::new() } else { format!(", {} here", joined(role)) };
            cell(format!("{} {}, up{role}", store.name, store.place))
        }
    }
}

fn good(well: bool) -> Tone {
    if well { Tone::Plain } else { Tone::Bad }
}
