//! One lab of real daemons, routers and pods under probes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::Plane;
use probe::flow::Rates;
use probe::tally::Tally;
use testbed::cluster::{Cluster, Stand, Tables};
use testbed::lab::deploy::Options;
use testbed::lab::{Interrupt, Lab, Settings, poll};
use testbed::probes::Probes;
use testbed::turn::{self, Turn};
use testbed::{places, pods};

use crate::recordings;

/// Whatever has not come about by then never will.
const PATIENCE: Duration = Duration::from_secs(90);
/// Modest, so that two processors carry all daemons, routers and probers of a lab besides other work.
const RATES: Rates = Rates { small: 250, full: 20, stream: 10_000 };

/// Other node, its pod CIDR, and the next hops to it with their devices.
pub type Way = (String, String, Vec<(String, String)>);

/// A deployed lab with its pods, probed from the first moment.
pub struct Fabric {
    pub lab: Lab,
    interrupt: Interrupt,
    _labs: tempfile::TempDir,
    _turn: Turn,
}

impl Fabric {
    /// Deploys a topology of this repository and waits until `ready` holds for every daemon.
    pub fn deploy(name: &str, ready: impl Fn(&Stand) -> bool) -> Fabric {
        let turn = turn::take().unwrap();
        let labs = tempfile::tempdir().unwrap();
        let settings = Settings {
            labs: labs.path().join("labs"),
            program: vec![env!("CARGO_BIN_EXE_biplane-lab").into()],
            path: recordings::path(labs.path(), binaries()),
        };
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("topologies/{name}.clab.yml"));
        let lab = Lab::of(&settings, &file).unwrap();
        let fabric = Fabric { lab, interrupt: Interrupt::default(), _labs: labs, _turn: turn };
        let deployed = fabric.lab.deploy(Options { strict: true }, &fabric.interrupt, &|line| println!("{line}"));
        deployed.unwrap_or_else(|e| panic!("{e:#}"));
        fabric.until("the daemons are up", |stands| stands.iter().all(&ready));
        fabric
    }

    pub fn cluster(&self) -> Cluster<'_> {
        Cluster::of(&self.lab)
    }

    /// Starts the pods and the probes; from then on every pair is reachable, in both families and sizes.
    pub fn probe(&self) -> Probes {
        pods::start(&self.lab, PATIENCE, &self.interrupt).unwrap_or_else(|e| panic!("{e:#}"));
        let all = places::all(&self.lab).unwrap();
        assert!(all.iter().all(|place| place.addresses.len() == 2), "both families: {all:?}");
        let mut probes = Probes::start(&self.lab, &all, RATES).unwrap();
        probes.warm(PATIENCE, &self.interrupt).unwrap_or_else(|e| panic!("{e:#}"));
        probes.begin().unwrap();
        probes
    }

    /// Switches the cluster live and waits until every daemon is steady.
    pub fn switch(&self, to: Plane) -> Duration {
        let began = Instant::now();
        let cluster = self.cluster();
        let mut switching = cluster.switch(to).unwrap();
        poll(PATIENCE, &self.interrupt, || switching.poll().unwrap_or_else(|e| panic!("{e:#}")))
            .unwrap_or_else(|| panic!("no end of the switch to {}: {}", to.mode(), words(&cluster.stands())));
        self.until("all are steady", |stands| stands.iter().all(|stand| stand.is_steady(to)));
        let took = began.elapsed();
        println!("{}: switched to {} in {:.1} s", self.lab.name(), to.mode(), took.as_secs_f64());
        took
    }

    /// Every pair goes on to receive, in both families and sizes: looks twice, a second apart.
    pub fn all_reach_each_other(&self, probes: &mut Probes, when: &str) {
        let before = probes.snapshot().unwrap();
        std::thread::sleep(Duration::from_secs(1));
        let after = probes.snapshot().unwrap();
        for (old, new) in before.paths.iter().zip(&after.paths) {
            let arrived = new.received - old.received;
            assert!(
                arrived > 0,
                "{when}: nothing arrives from {} at {}, {} {:?}",
                new.from,
                new.to,
                new.family,
                new.size
            );
        }
        for (old, new) in before.streams.iter().zip(&after.streams) {
            assert!(
                new.read > old.read,
                "{when}: TCP between {} and {}, {} stands still",
                new.from,
                new.to,
                new.family
            );
        }
        pods::check(&self.lab).unwrap_or_else(|e| panic!("{when}: {e:#}"));
    }

    /// Nothing in any kernel belongs to `plane`.
    pub fn nothing_left(&self, plane: Plane) {
        let left = self.cluster().leftovers(plane).unwrap();
        assert!(left.is_empty(), "left of {}:\n{}", plane.mode(), left.join("\n"));
    }

    /// What a node's kernel holds for every pod CIDR of every other node.
    pub fn ways(&self, node: &str) -> Vec<Way> {
        let tables = Tables::read(&self.lab, node).unwrap();
        let others = self.pod_cidrs();
        let others = others.iter().filter(|(other, _)| *other != node);
        let ways = others.flat_map(|(other, cidrs)| {
            cidrs.iter().map(|cidr| (other.clone(), cidr.clone(), tables.hops(cidr))).collect::<Vec<_>>()
        });
        ways.collect()
    }

    /// Every way from `node` comes to have the one device that `device` says for the other node.
    pub fn leaves_by(&self, node: &str, device: impl Fn(&str) -> &'static str) {
        let mut ways = Vec::new();
        let settled = poll(Duration::from_secs(15), &self.interrupt, || {
            ways = self.ways(node);
            let is_right = |(other, _, hops): &Way| hops.len() == 1 && hops[0].1 == device(other);
            (!ways.is_empty() && ways.iter().all(is_right)).then_some(())
        });
        assert!(settled.is_some(), "from {node} by {:?}: {ways:#?}", ways.first().map(|(other, ..)| device(other)));
    }

    /// Pod CIDRs by node, one of each family.
    pub fn pod_cidrs(&self) -> BTreeMap<String, Vec<String>> {
        let of = |stand: Stand| (stand.node, stand.pod_cidrs.split(',').map(String::from).collect::<Vec<_>>());
        let cidrs: BTreeMap<String, Vec<String>> = self.cluster().stands().into_iter().map(of).collect();
        assert!(cidrs.values().all(|of_node| of_node.len() == 2), "{cidrs:?}");
        cidrs
    }

    /// What `script` prints on a router names every pod CIDR of the cluster, or after a switch back none.
    pub fn router_knows(&self, router: &str, script: &str, all: bool) {
        let cidrs: Vec<String> = self.pod_cidrs().into_values().flatten().collect();
        let mut text = String::new();
        let settled = poll(Duration::from_secs(15), &self.interrupt, || {
            text = self.lab.shell(router, script).unwrap();
            cidrs.iter().all(|cidr| text.contains(cidr.as_str()) == all).then_some(())
        });
        assert!(settled.is_some(), "{router} should know {} of {cidrs:?}: {text}", if all { "each" } else { "none" });
    }

    /// Stops the probes: nothing was lost, doubled or broken. Prints the figures.
    pub fn prove(&self, probes: Probes) {
        let tally = probes.finish().unwrap();
        let totals = tally.totals();
        let line = format!(
            "{}: {} probes sent, {} lost, {} duplicated, {} reordered; {} TCP streams, {} faults",
            self.lab.name(),
            totals.sent,
            totals.lost,
            totals.duplicated,
            totals.reordered,
            tally.streams.len(),
            totals.stream_faults
        );
        println!("{line}");
        let unread: u64 = tally.streams.iter().map(|stream| stream.written.saturating_sub(stream.read)).sum();
        let cluster = self.cluster();
        let nodes = cluster.nodes();
        recordings::keep(&self.lab, &[&nodes[0], &nodes[nodes.len() - 1]]);
        let is_well = totals.lost + totals.duplicated + totals.stream_faults + unread == 0 && totals.sent > 0;
        assert!(is_well, "{line}, {unread} octets of streams missing\n{}", faults(&tally));
    }

    /// Waits until it holds.
    pub fn comes(&self, what: &str, holds: impl Fn() -> bool) {
        let done = poll(PATIENCE, &self.interrupt, || holds().then_some(()));
        let stands = words(&self.cluster().stands());
        assert!(done.is_some(), "not within {} s: {what}: {stands}", PATIENCE.as_secs());
    }

    /// Waits until the daemons' own words satisfy `holds`.
    pub fn until(&self, what: &str, holds: impl Fn(&[Stand]) -> bool) {
        let cluster = self.cluster();
        let mut last = Vec::new();
        let done = poll(PATIENCE, &self.interrupt, || {
            last = cluster.stands();
            holds(&last).then_some(())
        });
        assert!(done.is_some(), "not within {} s: {what}: {}", PATIENCE.as_secs(), words(&last));
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in self.cluster().nodes() {
                if let Ok(log) = self.lab.shell(node, "tail -n 20 /var/log/biplaned.log") {
                    println!("{node}, end of its daemon's log:\n{}", log.trim_end());
                }
            }
        }
        pods::stop(&self.lab).iter().for_each(|complaint| println!("{complaint}"));
        if let Err(error) = self.lab.destroy() {
            println!("{error:#}");
        }
    }
}

/// The folder with the daemon and the command line under test.
fn binaries() -> PathBuf {
    let folder = std::env::var_os("BIPLANE_BIN_DIR").map(PathBuf::from);
    let folder =
        folder.expect("BIPLANE_BIN_DIR is not set: it names the folder that biplaned and biplane were built in");
    for program in ["biplaned", "biplane"] {
        let path = folder.join(program);
        assert!(path.is_file(), "{} is missing: run `cargo build -p biplaned -p biplane`", path.display());
    }
    folder
}

fn words(stands: &[Stand]) -> String {
    stands.iter().map(Stand::words).collect::<Vec<_>>().join("; ")
}

/// Where packets were lost, and whether the machine itself dropped some.
fn faults(tally: &Tally) -> String {
    let mut lines = Vec::new();
    if tally.host.socket_buffer + tally.host.backlog > 0 {
        lines.push(format!(
            "this machine itself dropped {} packets at full socket buffers and {} at full backlogs: it is too slow for \
             this rate",
            tally.host.socket_buffer, tally.host.backlog
        ));
    }
    lines.extend(tally.paths.iter().filter(|path| path.lost + path.duplicated > 0).take(20).map(|path| {
        format!(
            "{} → {} {} {:?}: {} lost, {} duplicated, longest silence {:.0} ms",
            path.from,
            path.to,
            path.family,
            path.size,
            path.lost,
            path.duplicated,
            path.longest_gap_seconds * 1000.0
        )
    }));
    lines.join("\n")
}
