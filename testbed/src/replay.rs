//! `biplane lab replay`: a full table into a real daemon over BGP, changed, and taken back; each time the kernel must hold
//! exactly what was said, and the daemon must say so too.

mod fib;
mod generate;
mod mrt;
mod table;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use model::{Asn, Family, Prefix};
use serde_json::json;

use self::table::{Expected, Gateway, Step, messages};
use crate::bench::feeder::{ASN, Feeder};
use crate::bench::metrics;
use crate::bench::router::{FEEDER, FEEDER_V6, Kind, OWN_ASN, Router, biplaned_value};
use crate::bench::routes::Folder;
use crate::bench::{mebibytes, program, seconds};
use crate::cli::{grouped, table as columns};
use crate::lab::{Interrupt, Settings};

/// What takes longer than this has failed.
const LIMIT: Duration = Duration::from_secs(300);
/// Octets of an order.
const ORDER: usize = 1 << 20;

/// What is replayed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// An MRT file instead of a generated table.
    pub file: Option<PathBuf>,
    /// How many prefixes are generated, one IPv6 among ten.
    pub prefixes: u32,
    /// How many changes follow; with a file that has messages, those follow first.
    pub churn: u32,
}

/// One part of a run.
#[derive(Clone, Debug)]
pub struct Part {
    /// `load`, `messages`, `churn`, `withdraw`.
    pub name: &'static str,
    /// Messages sent.
    pub updates: usize,
    /// Routes that the kernel holds afterwards: IPv4 and IPv6.
    pub routes: [usize; 2],
    /// Prefixes that the daemon refuses afterwards.
    pub refused: usize,
    /// From the first octet until the kernel holds them.
    pub wall: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// Peak of resident memory, octets.
    pub peak: u64,
}

/// Runs all of it.
///
/// # Errors
/// A file that is no MRT, a program that is missing, and whatever the kernel holds that was not said.
pub fn run(settings: &Settings, plan: &Plan, interrupt: &Interrupt) -> Result<Vec<Part>> {
    let daemon = program(settings, "biplaned")?;
    let (table, messages) = match &plan.file {
        None => (generate::table(plan.prefixes), Vec::new()),
        Some(file) => {
            let found = mrt::read(file, ASN)?;
            if found.table.is_empty() && found.messages.is_empty() {
                bail!("{}: neither an IPv4 or IPv6 table nor messages are in it", file.display());
            }
            eprintln!(
                "{}: {} sets of attributes in the table, {} changes in messages, {} records and routes passed over",
                file.display(),
                grouped(found.table.len() as u64),
                grouped(found.messages.len() as u64),
                grouped(found.passed_over as u64)
            );
            (found.table, found.messages)
        }
    };
    let churn = generate::churn(&table, plan.churn);
    let mut run = Run::start(&daemon)?;
    let mut parts = vec![run.part("load", &table, interrupt)?];
    if !messages.is_empty() {
        parts.push(run.part("messages", &messages, interrupt)?);
    }
    if !churn.is_empty() {
        parts.push(run.part("churn", &churn, interrupt)?);
    }
    let all = run.expected.routes.keys().chain(&run.expected.refused).copied();
    let (v4, v6): (Vec<Prefix>, Vec<Prefix>) = all.partition(|prefix| prefix.family() == Family::V4);
    parts.push(run.part("withdraw", &[Step::Withdraw(v4), Step::Withdraw(v6)], interrupt)?);
    Ok(parts)
}

/// The table of a run, for people.
pub fn words(parts: &[Part]) -> String {
    let header = ["", "UPDATES", "IPV4", "IPV6", "REFUSED", "WALL", "CPU", "PEAK MEMORY", "KERNEL = LOC-RIB"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for part in parts {
        let [v4, v6] = part.routes.map(|count| grouped(count as u64));
        rows.push(vec![
            part.name.into(),
            grouped(part.updates as u64),
            v4,
            v6,
            grouped(part.refused as u64),
            seconds(part.wall),
            seconds(part.cpu),
            mebibytes(part.peak),
            "yes".into(),
        ]);
    }
    columns(&rows)
}

/// A daemon, the feeder, and what the daemon should have.
struct Run {
    router: Router,
    feeder: Feeder,
    expected: Expected,
    /// IPv4 routes that are there before.
    before: u64,
    _folder: Folder,
}

impl Run {
    fn start(daemon: &std::path::Path) -> Result<Run> {
        let folder = Folder::new()?;
        let mut config = biplaned_value("bgp", &folder.0, &json!([{"cidr": "10.244.0.0/16", "nodePrefix": 24}]));
        config["bgp"]["maxPrefixes"] = json!(10_000_000);
        config["bgp"]["policies"] = json!({"all": {"rules": [{
            "match": {"prefixes": [{"prefix": "0.0.0.0/0", "le": 32}, {"prefix": "::/0", "le": 128}]},
            "then": "accept"
        }]}});
        config["bgp"]["peers"][0]["import"] = json!("all");
        let mut router = Router::start(Kind::Biplaned, daemon, &folder.0, &config.to_string())?;
        let feeder = router.feed()?;
        let before = router.settled_size()?;
        Ok(Run { router, feeder, expected: Expected::default(), before, _folder: folder })
    }

    fn part(&mut self, name: &'static str, steps: &[Step], interrupt: &Interrupt) -> Result<Part> {
        let (mut orders, mut octets, mut updates) = (Vec::new(), Vec::new(), 0);
        for step in steps {
            self.expected.apply(step, Asn(OWN_ASN));
            updates += messages(step, &gateways(), &mut octets)?;
            if octets.len() > ORDER {
                orders.push(Arc::new(std::mem::take(&mut octets)));
            }
        }
        orders.push(Arc::new(octets));
        self.router.program.forget_peak()?;
        let cpu = self.router.program.cpu()?;
        let start = Instant::now();
        for order in orders {
            self.feeder.send(&order)?;
        }
        self.settle(start, interrupt).with_context(|| name.to_string())?;
        let wall = start.elapsed();
        let routes = [Family::V4, Family::V6].map(|family| self.expected.count(family));
        Ok(Part {
            name,
            updates,
            routes,
            refused: self.expected.refused.len(),
            wall,
            cpu: self.router.program.cpu()?.saturating_sub(cpu),
            peak: self.router.program.peak()?,
        })
    }

    /// Until the kernel holds what was said, and nothing else.
    fn settle(&mut self, start: Instant, interrupt: &Interrupt) -> Result<()> {
        let want = self.before + self.expected.count(Family::V4) as u64;
        let mut judged = String::from("nothing was compared");
        loop {
            let have = self.router.program.fib_size()?;
            let mut pause = Duration::from_millis(20);
            if have == want {
                // The number alone may be right on the way, in the middle of a churn, and says nothing of IPv6, where the
                // kernel counts its own routes that come and go.
                let at = Instant::now();
                match self.judge()? {
                    None => return Ok(()),
                    Some(words) => judged = words,
                }
                pause = pause.max(at.elapsed());
            }
            self.feeder.check().with_context(|| self.router.last_words())?;
            if start.elapsed() > LIMIT || interrupt.is_raised() || !self.router.program.is_alive() {
                bail!(
                    "given up after {:.0} s with {have} IPv4 routes in the kernel, {want} expected: {judged}: {}",
                    start.elapsed().as_secs_f64(),
                    self.router.last_words()
                );
            }
            std::thread::sleep(pause);
        }
    }

    /// What is wrong, if anything: prefix by prefix in the kernel, by number in the daemon.
    fn judge(&self) -> Result<Option<String>> {
        let kernel = fib::read(&self.router.program, &gateways())?;
        if kernel != self.expected.routes {
            let all = &self.expected.routes;
            let other = |prefix: &&Prefix, gateway: &Gateway| all.get(prefix) != Some(gateway);
            let wrong: Vec<&Prefix> =
                kernel.iter().filter(|(prefix, gateway)| other(prefix, gateway)).map(|(prefix, _)| prefix).collect();
            let missing: Vec<&Prefix> = all.keys().filter(|prefix| !kernel.contains_key(prefix)).collect();
            let some = |all: &[&Prefix]| all.iter().take(3).map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Ok(Some(format!(
                "the kernel has {} routes that were not said ({}) and lacks {} that were ({})",
                wrong.len(),
                some(&wrong),
                missing.len(),
                some(&missing)
            )));
        }
        let counted = |kind: &str| metrics::sum(&self.router.space, "biplane_bgp_routes", &format!("kind=\"{kind}\""));
        let accepted = counted("accepted")?;
        if accepted != self.expected.routes.len() as u64 {
            return Ok(Some(format!("the daemon has accepted {accepted} routes, {} were right", kernel.len())));
        }
        Ok(None)
    }
}

fn gateways() -> [(Ipv4Addr, Ipv6Addr); 2] {
    let next = |n: u32| Ipv4Addr::from(u32::from(FEEDER) + n);
    let next6 = |n: u128| Ipv6Addr::from(u128::from(FEEDER_V6) + n);
    [(next(0), next6(0)), (next(1), next6(1))]
}
