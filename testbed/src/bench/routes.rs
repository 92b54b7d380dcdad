//! A large table from one BGP peer into the kernel and out of it, by biplaned and by BIRD.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};

use super::feeder::Table;
use super::router::{FEEDER, Kind, Router};
use super::space::Route;
use super::{Cost, mebibytes, millis, ratio, seconds};
use crate::cli::grouped;
use crate::lab::Interrupt;

/// Both programs, in turn, `rounds` times; a row per program and direction.
pub(crate) fn compare(
    daemon: &Path,
    bird: &Path,
    count: u32,
    rounds: usize,
    interrupt: &Interrupt,
) -> Result<Vec<Vec<String>>> {
    let table = Arc::new(Table::new(count, FEEDER)?);
    eprintln!(
        "{} routes in {} UPDATEs, {} sets of attributes",
        grouped(u64::from(count)),
        grouped(table.updates as u64),
        grouped(table.groups as u64)
    );
    let mut costs: [[Vec<Cost>; 2]; 2] = Default::default();
    for round in 0..rounds.max(1) {
        for (kind, binary) in [(Kind::Biplaned, daemon), (Kind::Bird, bird)] {
            let [came, went] = once(kind, binary, &table, interrupt)?;
            eprintln!(
                "round {}: {kind:?} {:.2} s in, {:.2} s out",
                round + 1,
                came.wall.as_secs_f64(),
                went.wall.as_secs_f64()
            );
            let [all_in, all_out] = &mut costs[kind as usize];
            all_in.push(came);
            all_out.push(went);
        }
    }
    let header = ["ROUTES", "", "", "WALL", "CPU", "PEAK MEMORY", "LONGEST EVENT"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for (way, word) in ["announced", "withdrawn"].into_iter().enumerate() {
        let [Some(ours), Some(theirs)] = [0, 1].map(|kind: usize| Cost::median(&costs[kind][way])) else { continue };
        let count = grouped(u64::from(count));
        for (name, cost) in [("biplaned", ours), ("BIRD 2", theirs)] {
            let longest = cost.longest.map_or("-".into(), millis);
            let figures = [seconds(cost.wall), seconds(cost.cpu), mebibytes(cost.peak), longest];
            rows.push([count.clone(), word.into(), name.into()].into_iter().chain(figures).collect());
        }
        let ratios = [
            ratio(ours.wall.as_secs_f64(), theirs.wall.as_secs_f64()),
            ratio(ours.cpu.as_secs_f64(), theirs.cpu.as_secs_f64()),
            ratio(ours.peak as f64, theirs.peak as f64),
            "-".into(),
        ];
        rows.push([count, word.into(), "ratio".into()].into_iter().chain(ratios).collect());
    }
    Ok(rows)
}

/// Announce, check, withdraw, check.
fn once(kind: Kind, binary: &Path, table: &Arc<Table>, interrupt: &Interrupt) -> Result<[Cost; 2]> {
    let folder = Folder::new()?;
    let mut router = Router::alone(kind, binary, &folder.0)?;
    let feeder = router.feed()?;
    let before = router.settled_size()?;
    let full = before + table.prefixes.len() as u64;
    let came = router.measure(full, interrupt, || feeder.announce(table), || feeder.check())?;
    check(&router, table)?;
    let went = router.measure(before, interrupt, || feeder.withdraw(table), || feeder.check())?;
    let left = in_kernel(&router)?;
    if !left.is_empty() {
        bail!("{kind:?} left {} routes in the kernel", left.len());
    }
    Ok([came, went])
}

/// The kernel's routes are those announced: each prefix once, through the feeder, and no other.
fn check(router: &Router, table: &Table) -> Result<()> {
    let gateway = u32::from(FEEDER);
    let wanted: BTreeSet<Route> = table
        .prefixes
        .iter()
        .filter_map(|prefix| match prefix.address() {
            std::net::IpAddr::V4(network) => {
                Some(Route { network: network.into(), mask: !0 << 8, gateway, over_overlay: false })
            }
            std::net::IpAddr::V6(_) => None,
        })
        .collect();
    let found = in_kernel(router)?;
    let all: BTreeSet<Route> = found.iter().copied().collect();
    if all != wanted || found.len() != wanted.len() {
        let (missing, other) = (wanted.difference(&all).count(), all.difference(&wanted).count());
        bail!("the kernel's routes are not those announced: {missing} missing, {other} others");
    }
    Ok(())
}

fn in_kernel(router: &Router) -> Result<Vec<Route>> {
    let announced = |route: &Route| route.network >> 28 == 1;
    Ok(router.program.routes()?.into_iter().filter(announced).collect())
}

/// A folder for one run.
pub(crate) struct Folder(pub(crate) std::path::PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Folder> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("biplane-bench-{}-{number}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
