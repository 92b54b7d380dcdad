//! `biplane lab bench`: what the whole daemon costs, beside BIRD on the same machine in the same run.
//!
//! Everything runs in network namespaces that end with this program. Figures of one run are compared with each other
//! and with nothing else: the machine may be busy with other things, for both alike.

mod bfd;
mod claims;
pub(crate) mod feeder;
pub(crate) mod http;
pub(crate) mod metrics;
mod notices;
pub(crate) mod router;
pub(crate) mod routes;
pub(crate) mod space;
mod swarm;
mod update;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cli::table;
use crate::lab::{Interrupt, Settings};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Sizes of the tables that one BGP peer announces and withdraws.
    pub routes: Vec<u32>,
    /// How many nodes the store holds claims of.
    pub claims: u32,
    /// Runs of each measurement; the median is shown.
    pub rounds: usize,
    /// How many single UPDATEs are timed.
    pub updates: u32,
    /// How many iBGP peers are at once.
    pub peers: u16,
    /// How often a link is cut under BFD.
    pub bfd: u32,
}

/// What one thing cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    /// From the first message until the kernel holds what it should.
    pub(crate) wall: Duration,
    /// User and system time of the process.
    pub(crate) cpu: Duration,
    /// Peak of resident memory, octets.
    pub(crate) peak: u64,
    /// Longest that the daemon worked on one event; only where the program tells.
    pub(crate) longest: Option<Duration>,
}

impl Cost {
    /// The median of each column by itself.
    fn median(costs: &[Cost]) -> Option<Cost> {
        fn middle<T: Copy + Ord>(mut all: Vec<T>) -> Option<T> {
            all.sort();
            all.get(all.len() / 2).copied()
        }
        Some(Cost {
            wall: middle(costs.iter().map(|c| c.wall).collect())?,
            cpu: middle(costs.iter().map(|c| c.cpu).collect())?,
            peak: middle(costs.iter().map(|c| c.peak).collect())?,
            longest: middle(costs.iter().map(|c| c.longest).collect())?,
        })
    }
}

/// The programs that are measured.
pub(crate) struct Programs {
    daemon: PathBuf,
    bird: PathBuf,
    frr: PathBuf,
}

impl Programs {
    /// In the order of the tables.
    fn all(&self) -> [(router::Kind, &std::path::Path); 3] {
        [(router::Kind::Biplaned, &self.daemon), (router::Kind::Bird, &self.bird), (router::Kind::Frr, &self.frr)]
    }
}

/// Runs all of it and prints the tables.
///
/// # Errors
/// A program that is missing, or whose kernel does not hold what it should.
pub fn run(settings: &Settings, plan: &Plan, interrupt: &Interrupt) -> Result<()> {
    let daemon = program(settings, "biplaned")?;
    let bird = program(settings, "bird")?;
    let folder = ["/usr/lib/frr", "/usr/libexec/frr"].map(PathBuf::from);
    let frr = folder.into_iter().map(|folder| folder.join("bgpd")).find(|file| file.is_file());
    let frr = frr.context("there is no program bgpd: install the package frr")?;
    let programs = Programs { daemon: daemon.clone(), bird: bird.clone(), frr };
    if plan.updates > 0 {
        show(&update::compare(&programs, plan.updates, interrupt)?)?;
    }
    if plan.peers > 0 {
        show(&swarm::compare(&programs, plan.peers, interrupt)?)?;
    }
    if plan.bfd > 0 {
        show(&bfd::compare(&programs, plan.bfd, interrupt)?)?;
    }
    for count in &plan.routes {
        let rows = routes::compare(&daemon, &bird, *count, plan.rounds, interrupt)?;
        show(&rows)?;
    }
    if plan.claims > 0 {
        let rows = claims::measure(&daemon, plan.claims, plan.rounds, interrupt)?;
        show(&rows)?;
    }
    Ok(())
}

fn show(rows: &[Vec<String>]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(table(rows).as_bytes())?;
    out.write_all(b"\n")?;
    Ok(())
}

pub(crate) fn program(settings: &Settings, name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    // A folder that was named beats the one beside this program.
    let mut folders = settings.path.iter().rev().cloned().chain(usual);
    folders
        .find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
        .with_context(|| format!("there is no program {name}: build it, or install its package"))
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

pub(crate) fn mebibytes(octets: u64) -> String {
    format!("{} MiB", octets >> 20)
}

fn ratio(ours: f64, theirs: f64) -> String {
    if theirs > 0.0 { format!("{:.2}", ours / theirs) } else { "-".into() }
}
