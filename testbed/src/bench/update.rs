//! One UPDATE of one prefix until the kernel has the route: again and again, by each program in turn.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use model::{Family, Prefix};
use wire::{AsPath, Attributes, Negotiated};

use super::feeder::ASN;
use super::notices::Notices;
use super::router::{FEEDER, Kind, Router};
use super::routes::Folder;
use super::{Programs, ratio};
use crate::lab::Interrupt;

const LIMIT: Duration = Duration::from_secs(10);
/// Apart, so that no program is still busy with the one before.
const PAUSE: Duration = Duration::from_millis(15);

/// A row per program.
pub(crate) fn compare(programs: &Programs, samples: u32, interrupt: &Interrupt) -> Result<Vec<Vec<String>>> {
    let header = ["ONE UPDATE TO KERNEL ROUTE", "SAMPLES", "P50", "P99", "MOST", "P50 / BIRD'S", "P99 / BIRD'S"];
    let mut rows = vec![header.map(String::from).to_vec()];
    let mut all = Vec::new();
    for (kind, binary) in programs.all() {
        let mut times = measure(kind, binary, samples, interrupt)?;
        times.sort();
        let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1))).copied();
        all.push((
            kind,
            times.len(),
            at(50).unwrap_or_default(),
            at(99).unwrap_or_default(),
            at(100).unwrap_or_default(),
        ));
    }
    let bird = all.iter().find(|(kind, ..)| *kind == Kind::Bird).map(|(_, _, p50, p99, _)| (*p50, *p99));
    for (kind, count, p50, p99, most) in all {
        let micros = |time: Duration| format!("{} µs", time.as_micros());
        let against = |ours: Duration, theirs: Option<Duration>| {
            theirs.map_or("-".into(), |theirs| ratio(ours.as_secs_f64(), theirs.as_secs_f64()))
        };
        let ratios = [against(p50, bird.map(|bird| bird.0)), against(p99, bird.map(|bird| bird.1))];
        let row = [kind.title().into(), count.to_string(), micros(p50), micros(p99), micros(most)];
        rows.push(row.into_iter().chain(ratios).collect());
    }
    Ok(rows)
}

fn measure(kind: Kind, binary: &Path, samples: u32, interrupt: &Interrupt) -> Result<Vec<Duration>> {
    let folder = Folder::new()?;
    let mut router = Router::alone(kind, binary, &folder.0)?;
    let feeder = router.feed()?;
    router.settled_size()?;
    let notices = Notices::of(&router.space)?;
    let session = Negotiated { four_octet_as: true, families: [Family::V4].into(), ..Negotiated::default() };
    let attributes = Attributes { as_path: AsPath::sequence(vec![ASN]), ..Attributes::default() };
    let mut times = Vec::new();
    for number in 0..samples {
        if interrupt.is_raised() {
            break;
        }
        let network = Ipv4Addr::from(0x1000_0000 | number << 8);
        let Some(prefix) = Prefix::new(network.into(), 24) else { continue };
        let message = wire::encode_announce(&[(prefix, 0)], FEEDER.into(), None, &attributes, &session)?.concat();
        let message = Arc::new(message);
        let sent = Instant::now();
        feeder.send(&message)?;
        times.push(notices.wait(network, LIMIT)?.duration_since(sent));
        feeder.check()?;
        std::thread::sleep(PAUSE);
    }
    Ok(times)
}
