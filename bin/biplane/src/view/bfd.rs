//! `biplane bgp bfd`.

use status::doc::{BfdSession, BfdSessions, BfdState};

use crate::output::{Cell, Table, Tone, age, cell, maybe};

pub(super) fn sessions(sessions: &BfdSessions) -> Table {
    let columns = ["PEER", "STATE", "REMOTE", "INTERVAL", "DETECTION", "UPS", "FAILURES", "LAST-FAILURE"];
    let wide = ["NODE", "PROFILE", "HOPS", "LOCAL", "SINCE", "DIAGNOSTIC", "C-BIT", "DISCRIMINATORS"];
    let mut table = Table::new(&columns, &wide);
    for it in &sessions.items {
        let tone = if it.state == BfdState::Up { Tone::Good } else { Tone::Warn };
        table.rows.push(vec![
            cell(&it.address),
            Cell::toned(it.state, tone),
            maybe(it.remote_state),
            maybe(it.transmit_interval_seconds.map(milliseconds)),
            maybe(it.detection_time_seconds.map(milliseconds)),
            cell(it.ups),
            cell(it.failures),
            maybe(last_failure(it)),
            maybe(it.node.as_ref()),
            cell(&it.profile),
            cell(if it.multihop { "multi" } else { "single" }),
            maybe(it.local_address),
            cell(&it.since),
            maybe(it.diagnostic.as_ref()),
            maybe(it.remote_independent.map(|independent| if independent { "yes" } else { "no" })),
            cell(format!("{}/{}", it.local_discriminator, it.remote_discriminator.unwrap_or_default())),
        ]);
    }
    table
}

fn milliseconds(seconds: f64) -> String {
    format!("{} ms", (seconds * 1000.0).round())
}

fn last_failure(session: &BfdSession) -> Option<String> {
    let words = session.last_failure.as_ref()?;
    Some(match session.last_failure_seconds_ago {
        Some(seconds) => format!("{words}, {} ago", age(seconds)),
        None => words.clone(),
    })
}
