//! The whole daemon with a store full of other nodes' claims: from its start to the last route, and for one node more.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use model::node::{BgpReach, NodePhase, Reach, StateName, Uid, Vtep};
use model::{Asn, MacAddr, NodeName, Plane, PlaneSet};
use serde_json::json;

use super::router::{Kind, Router, biplaned_config};
use super::routes::Folder;
use super::{Cost, mebibytes, metrics, millis, ratio, seconds};
use crate::cli::grouped;
use crate::lab::Interrupt;

/// The small table that the large one is compared with.
const FEW: u32 = 100;
/// Nodes that come one at a time.
const MORE: u32 = 50;
const LIMIT: Duration = Duration::from_secs(120);

/// What one run showed.
struct Run {
    start: Cost,
    /// From the rename of the claim's file to the route in the kernel.
    one_wall: Duration,
    /// Of all threads of the daemon, for one node more.
    one_cpu: Duration,
}

/// Rows for the small table and the large one.
pub(super) fn measure(daemon: &Path, count: u32, rounds: usize, interrupt: &Interrupt) -> Result<Vec<Vec<String>>> {
    let header = ["CLAIMS", "WALL", "CPU", "PEAK MEMORY", "LONGEST EVENT", "ONE MORE: WALL", "CPU"];
    let mut rows = vec![header.map(String::from).to_vec()];
    let mut ones = Vec::new();
    for size in [FEW, count] {
        let mut runs = Vec::new();
        for _ in 0..rounds.max(1) {
            runs.push(once(daemon, size, interrupt)?);
        }
        let start = Cost::median(&runs.iter().map(|run| run.start).collect::<Vec<_>>()).context("no runs")?;
        let wall = median(runs.iter().map(|run| run.one_wall)).unwrap_or_default();
        let cpu = median(runs.iter().map(|run| run.one_cpu)).unwrap_or_default();
        ones.push((wall, cpu));
        rows.push(vec![
            grouped(u64::from(size)),
            seconds(start.wall),
            seconds(start.cpu),
            mebibytes(start.peak),
            start.longest.map_or("-".into(), millis),
            millis(wall),
            millis(cpu),
        ]);
    }
    if let [few, many] = ones[..] {
        let of = |one: Duration, other: Duration| ratio(one.as_secs_f64(), other.as_secs_f64());
        let dashes = std::iter::repeat_n("-".to_owned(), 4);
        rows.push(
            ["ratio".to_owned()].into_iter().chain(dashes).chain([of(many.0, few.0), of(many.1, few.1)]).collect(),
        );
    }
    Ok(rows)
}

fn once(daemon: &Path, count: u32, interrupt: &Interrupt) -> Result<Run> {
    let folder = Folder::new()?;
    let store = folder.0.join("store");
    for place in ["claims", "phases"] {
        fs::create_dir_all(store.join(place))?;
    }
    for number in 0..count {
        Node(number).write(&store)?;
    }
    let config = biplaned_config("vxlan", &folder.0, &json!([{"cidr": "16.0.0.0/8", "nodePrefix": 24}]));
    let mut router = Router::start(Kind::Biplaned, daemon, &folder.0, &config)?;
    let start = router.program.started();
    wait(&mut router, interrupt, |router| Ok(carried(router)? == count as usize))?;
    let start = Cost {
        wall: start.elapsed(),
        cpu: router.program.cpu()?,
        peak: router.program.peak()?,
        longest: Some(metrics::longest_event(&router.space)?),
    };
    let before = router.settled_size()?;
    let (mut walls, cpu) = (Vec::new(), router.program.cpu_exact()?);
    for number in 0..MORE {
        let written = Instant::now();
        Node(count + number).write(&store)?;
        let size = before + u64::from(number) + 1;
        wait(&mut router, interrupt, |router| Ok(router.program.fib_size()? == size))?;
        walls.push(written.elapsed());
    }
    let one_cpu = router.program.cpu_exact()?.saturating_sub(cpu) / MORE;
    Ok(Run { start, one_wall: median(walls.into_iter()).unwrap_or_default(), one_cpu })
}

/// Routes over the overlay's link.
fn carried(router: &Router) -> Result<usize> {
    Ok(router.program.routes()?.iter().filter(|route| route.network >> 24 == 16 && route.over_overlay).count())
}

fn wait(router: &mut Router, interrupt: &Interrupt, mut done: impl FnMut(&mut Router) -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !done(router)? {
        if begin.elapsed() > LIMIT || interrupt.is_raised() || !router.program.is_alive() {
            bail!("given up after {:.0} s: {}", begin.elapsed().as_secs_f64(), router.last_words());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Another node, by number: its claim and its phase, as its daemon would have written them.
struct Node(u32);

impl Node {
    fn write(&self, store: &Path) -> Result<()> {
        let name = format!("node-{}", self.0);
        let node: NodeName = name.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        let uid = Uid(name.as_str().into());
        let [_, a, b, c] = self.0.to_be_bytes();
        let mac = MacAddr([0x02, 0x42, 0, a, b, c]);
        let underlay = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 | self.0));
        let vtep = Vtep { underlay, mac, gateway: mac.link_local().into() };
        let bgp = BgpReach { asn: Asn(64512), port: 179, mesh: true, reflection: None };
        let planes: PlaneSet = Plane::BOTH.into_iter().collect();
        let reach = Reach { underlay: vec![underlay], vtep, bgp, planes };
        let overlay: PlaneSet = [Plane::Overlay].into_iter().collect();
        let phase = NodePhase {
            node: node.clone(),
            uid: uid.clone(),
            wish: Plane::Overlay,
            state: StateName::Steady,
            stands: overlay,
            sends: overlay,
            waiting: None,
            serial: 1,
            settled: true,
            config_beats: 0,
            topology: None,
            version: "0".to_owned(),
        };
        let cidr = format!("{}/24", Ipv4Addr::from(0x1000_0000 | self.0 << 8));
        let claim = json!({"podCidr": cidr, "node": node, "uid": uid, "reach": reach});
        put(store, &format!("phases/{name}.json"), &serde_json::to_vec(&phase)?)?;
        put(store, &format!("claims/{}", cidr.replace('/', "_")), &serde_json::to_vec(&claim)?)
    }
}

/// In one step, as the store's own writers do it.
fn put(store: &Path, name: &str, content: &[u8]) -> Result<()> {
    let draft = store.join("draft");
    fs::write(&draft, content)?;
    Ok(fs::rename(draft, store.join(name))?)
}

fn median(times: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times.get(times.len() / 2).copied()
}
