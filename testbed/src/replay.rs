//! `biplane lab replay`: a full table into a real daemon over BGP, changed, and taken back; each time the kernel must hold
//! exactly what was said, and the daemon must say so too.

mod fib;
mod generate;
mod mrt;
mod table;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use model::{Asn, Family, Prefix};
use serde_json::{Value, json};

use self::table::{Expected, Gateway, Step, messages};
use crate::bench::feeder::{ASN, Feeder};
use crate::bench::router::{FEEDER, FEEDER_V6, Kind, OWN_ASN, Router, biplaned_value};
use crate::bench::routes::Folder;
use crate::bench::{http, metrics};
use crate::bench::{mebibytes, program, seconds};
use crate::cli::{grouped, table as columns};
use crate::lab::{Interrupt, Settings};

/// What takes longer than this has failed.
const LIMIT: Duration = Duration::from_secs(600);
/// Most routes that the daemon lists at once.
const LISTED: usize = 100_000;
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
    /// Routes that the daemon has in the kernel before.
    own: u64,
    /// The daemon's socket.
    socket: PathBuf,
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
        let own = metrics::sum(&router.space, "biplane_routes_installed", "kind=\"route\"")?;
        let socket = folder.0.join("socket");
        Ok(Run { router, feeder, expected: Expected::default(), before, own, socket, _folder: folder })
    }

    fn part(&mut self, name: &'static str, steps: &[Step], interrupt: &Interrupt) -> Result<Part> {
        let (mut orders, mut octets, mut updates) = (Vec::new(), Vec::new(), 0);
        for step in steps {
            let count = messages(step, &gateways(), &mut octets)?;
            self.expected.apply(step, count, Asn(OWN_ASN));
            updates += count;
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

    /// What is wrong, if anything: prefix by prefix in the kernel and, where the daemon shows them all, in its Loc-RIB; by
    /// number in a larger one.
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
        let right = self.expected.routes.len();
        let counted = |name: &str, labels: &str| metrics::sum(&self.router.space, name, labels);
        // Wanted of the kernel is what the Loc-RIB has; the rest of the two is the daemon's own.
        for (word, name, labels) in [
            ("accepted", "biplane_bgp_routes", "kind=\"accepted\""),
            ("told the kernel of", "biplane_routes_wanted", "kind=\"route\""),
            ("found in the kernel", "biplane_routes_installed", "kind=\"route\""),
        ] {
            let count = counted(name, labels)? - if word == "accepted" { 0 } else { self.own };
            if count != right as u64 {
                return Ok(Some(format!("the daemon has {word} {count} routes, {right} were right")));
            }
        }
        let errors = counted("biplane_bgp_update_errors_total", "attribute 2: treated as withdrawn")?;
        if errors < self.expected.as_zero as u64 {
            let said = self.expected.as_zero;
            return Ok(Some(format!("the daemon has counted {errors} wrong AS paths, {said} messages had AS 0")));
        }
        if right < LISTED
            && let Some((prefix, gateway)) = self.other_in_loc_rib()?
        {
            let words = gateway.map_or("no usable path".to_owned(), |gateway| format!("next hop {gateway}"));
            return Ok(Some(format!("the Loc-RIB has {words} for {prefix}, unlike the kernel")));
        }
        Ok(None)
    }
}

impl Run {
    /// A prefix for which the Loc-RIB does not say what was said, and what it says.
    fn other_in_loc_rib(&self) -> Result<Option<(Prefix, Option<IpAddr>)>> {
        let page = http::get(UnixStream::connect(&self.socket)?, &format!("/v1/bgp/routes?limit={LISTED}"))?;
        let page: Value = serde_json::from_str(&page).context("the daemon's list of routes")?;
        let items = page.get("items").and_then(Value::as_array).context("the daemon's list of routes has no items")?;
        let mut found: BTreeMap<Prefix, IpAddr> = BTreeMap::new();
        // Own ones have no peer.
        for item in items.iter().filter(|item| item["best"] == true && !item["peer"].is_null()) {
            let parse = || Some((item["prefix"].as_str()?.parse().ok()?, item["nextHop"].as_str()?.parse().ok()?));
            let (prefix, hop) = parse().with_context(|| format!("a route of the daemon: {item}"))?;
            found.insert(prefix, hop);
        }
        let gateways = gateways();
        for (prefix, gateway) in &self.expected.routes {
            let (v4, v6) = gateways[*gateway];
            let said = if prefix.family() == Family::V4 { IpAddr::V4(v4) } else { IpAddr::V6(v6) };
            let has = found.remove(prefix);
            if has != Some(said) {
                return Ok(Some((*prefix, has)));
            }
        }
        Ok(found.pop_first().map(|(prefix, hop)| (prefix, Some(hop))))
    }
}

fn gateways() -> [(Ipv4Addr, Ipv6Addr); 2] {
    let next = |n: u32| Ipv4Addr::from(u32::from(FEEDER) + n);
    let next6 = |n: u128| Ipv6Addr::from(u128::from(FEEDER_V6) + n);
    [(next(0), next6(0)), (next(1), next6(1))]
}
