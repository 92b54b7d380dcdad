//! The demo's lab with a store that can be hurt, its daemons as processes, and what is watched all the while.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::Plane;
use probe::flow::Rates;
use probe::tally::Totals;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};
use testbed::cluster::Cluster;
use testbed::lab::deploy::Options;
use testbed::lab::process::Process;
use testbed::lab::{Interrupt, Lab, Settings, poll};
use testbed::probes::Probes;
use testbed::turn::{self, Turn};
use testbed::{places, pods};

use crate::hearing::Hearing;
use crate::tables::Tables;

/// Daemons up, pods up, a switch done: what has not happened by then never will.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// A daemon's log inside its node, as the topology has it.
const LOG: &str = "/var/log/biplaned.log";
/// Exit status of the command line when the daemon does not answer.
const NO_ANSWER: i32 = 3;
/// What the topology binds into every node.
const STORE_BIND: &str = "__clabDir__/store:/var/lib/biplane/store";

/// Three nodes, one pod on each, all daemons steady on VXLAN.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) none: Interrupt,
    shared: Small,
    folder: tempfile::TempDir,
    _turn: Turn,
}

impl Bench {
    pub(crate) fn new(name: &str) -> Bench {
        let binaries = binaries();
        let turn = turn::take().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let topologies = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
        let text = fs::read_to_string(topologies.join("demo.clab.yml")).unwrap();
        assert!(text.contains(STORE_BIND), "the demo's topology binds its store otherwise by now");
        // The parent of the store is what the nodes share, so that the store can be moved away under them; it is a small
        // file system of its own, so that it can be full.
        let shared = Small::at(folder.path().join("shared"));
        let text = text
            .replace(STORE_BIND, &format!("{}:/var/lib/biplane", shared.0.display()))
            .replace("\"demo/", &format!("\"{}/demo/", topologies.display()))
            .replace("name: demo", &format!("name: {name}"));
        let file = folder.path().join("faults.clab.yml");
        fs::write(&file, text).unwrap();
        let settings = Settings {
            labs: folder.path().join("labs"),
            program: vec![env!("CARGO_BIN_EXE_biplane-lab").into()],
            path: vec![binaries],
        };
        let lab = Lab::of(&settings, &file).unwrap();
        let bench = Bench { lab, none: Interrupt::default(), shared, folder, _turn: turn };
        bench.lab.deploy(Options { strict: true }, &bench.none, &|_| {}).unwrap();
        bench.cluster().await_steady(Plane::Overlay, PATIENCE, &bench.none).unwrap();
        pods::start(&bench.lab, PATIENCE, &bench.none).unwrap();
        bench
    }

    pub(crate) fn cluster(&self) -> Cluster<'_> {
        Cluster::of(&self.lab)
    }

    pub(crate) fn nodes(&self) -> Vec<String> {
        self.cluster().nodes().to_vec()
    }

    /// What all nodes share: the parent of the store's directory.
    pub(crate) fn shared(&self) -> &Path {
        &self.shared.0
    }

    /// Probes run and every node's routes are listened to from now on.
    pub(crate) fn watch(&self) -> Watch<'_> {
        let mut probes = Probes::start(&self.lab, &places::all(&self.lab).unwrap(), RATES).unwrap();
        probes.warm(PATIENCE, &self.none).unwrap();
        let hearings = self.nodes().iter().map(|node| Hearing::start(&self.lab, node)).collect();
        probes.begin().unwrap();
        Watch { bench: self, probes, hearings }
    }

    /// The node's daemon.
    pub(crate) fn daemon(&self, node: &str) -> Option<Process> {
        let keeper = self.lab.keeper(node).expect("the node runs").pid;
        let space = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = space(keeper);
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "biplaned\n"))
            .filter(|pid| space(*pid) == ours)
            .find_map(|pid| Process::of(pid).filter(Process::is_alive))
    }

    pub(crate) fn signal(&self, process: Process, signal: Signal) {
        assert!(process.is_alive(), "the daemon has ended by itself");
        let pid = Pid::from_raw(i32::try_from(process.pid).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends it and waits until it is gone.
    pub(crate) fn end(&self, process: Process, signal: Signal) {
        self.signal(process, signal);
        self.end_of(process);
    }

    /// Waits until it is gone as a supervisor sees it: a zombie's other threads may still hold its sockets and locks.
    pub(crate) fn end_of(&self, process: Process) {
        let gone =
            poll(Duration::from_secs(10), &self.none, || (Process::of(process.pid) != Some(process)).then_some(()));
        assert!(gone.is_some(), "the daemon does not end");
    }

    pub(crate) fn running(&self, node: &str) -> Process {
        self.daemon(node).unwrap_or_else(|| panic!("{node}: no daemon runs; its log ends with\n{}", self.log_end(node)))
    }

    /// Starts the node's daemon by the very command of the topology, as a supervisor would; its log so far is kept.
    pub(crate) fn start(&self, node: &str) {
        let old = fs::read_to_string(self.log(node)).unwrap_or_default();
        let kept = self.folder.path().join(format!("{node}.log"));
        let before = fs::read_to_string(&kept).unwrap_or_default();
        fs::write(&kept, format!("{before}{old}--- started again ---\n")).unwrap();
        let node = self.lab.node(node).unwrap();
        let words = node.exec.iter().find(|words| words.iter().any(|word| word.contains("biplaned"))).unwrap();
        let output = self.lab.exec(node, None, words).unwrap();
        assert!(output.is_success(), "{output:?}");
    }

    /// The log of the daemon's present life, as a path of this machine.
    pub(crate) fn log(&self, node: &str) -> PathBuf {
        self.lab.path_in(node, Path::new(LOG)).unwrap()
    }

    fn log_end(&self, node: &str) -> String {
        let kept = fs::read_to_string(self.folder.path().join(format!("{node}.log"))).unwrap_or_default();
        let text = kept + &fs::read_to_string(self.log(node)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// `biplane WORDS` on a node: exit status and everything printed.
    pub(crate) fn biplane(&self, node: &str, words: &[&str]) -> (i32, String) {
        let words: Vec<String> = std::iter::once("biplane").chain(words.iter().copied()).map(String::from).collect();
        let output = self.lab.exec(self.lab.node(node).unwrap(), None, &words).unwrap();
        (output.return_code, output.stdout + &output.stderr)
    }

    /// Asks for a switch as an operator would, again while the daemon does not answer; the switch runs on by itself.
    pub(crate) fn ask(&self, node: &str, plane: Plane) {
        let mut last = (0, String::new());
        let taken = poll(PATIENCE, &self.none, || {
            last = self.biplane(node, &["mode", "switch", plane.mode()]);
            (last.0 != NO_ANSWER).then_some(last.0)
        });
        assert_eq!(taken, Some(0), "mode switch on {node}: {}", last.1);
    }

    /// Every daemon steady on `plane`; natively with every session of the mesh up.
    pub(crate) fn await_steady(&self, plane: Plane) {
        self.cluster().await_steady(plane, PATIENCE, &self.none).unwrap();
        if plane == Plane::Native {
            let all = format!("{0}/{0}", self.nodes().len() - 1);
            let up = || self.cluster().stands().iter().all(|stand| stand.peers == all).then_some(());
            assert!(poll(PATIENCE, &self.none, up).is_some(), "sessions: {:?}", self.cluster().stands());
        }
    }

    /// There and back without a fault: what the kernels hold then is what they shall hold after every fault.
    pub(crate) fn references(&self) -> BTreeMap<Plane, Tables> {
        let mut references = BTreeMap::new();
        for plane in [Plane::Native, Plane::Overlay] {
            self.ask(&self.nodes()[0], plane);
            self.await_steady(plane);
            references.insert(plane, self.settled_tables());
        }
        references
    }

    /// The kernels' tables once they have stood still for a moment.
    fn settled_tables(&self) -> Tables {
        let mut before = Tables::read(self);
        let still = poll(PATIENCE, &self.none, || {
            std::thread::sleep(Duration::from_millis(300));
            let now = Tables::read(self);
            let still = now == before;
            before = now;
            still.then_some(())
        });
        assert!(still.is_some(), "the kernels' tables do not come to rest");
        before
    }

    /// Waits until the kernels hold what they hold without the fault.
    pub(crate) fn await_tables(&self, reference: &Tables, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let now = Tables::read(self);
            let differences = now.differences(reference);
            if differences.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: the kernels do not hold what they hold without the fault:\n{}",
                differences.join("\n")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in self.nodes() {
                eprintln!("--- {node}, end of its daemon's log:\n{}", self.log_end(&node));
            }
        }
        let gone = self.lab.destroy();
        if !std::thread::panicking() {
            gone.unwrap();
        }
    }
}

/// A file system that is full soon.
struct Small(PathBuf);

impl Small {
    fn at(path: PathBuf) -> Small {
        fs::create_dir(&path).unwrap();
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), Some(c"size=512k,mode=755")).expect("root may mount");
        Small(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Between two pods, per direction and family.
const RATES: Rates = Rates { small: 250, full: 20, stream: 50_000 };

/// Probes, and an ear at every node's routes.
pub(crate) struct Watch<'a> {
    bench: &'a Bench,
    probes: Probes,
    hearings: Vec<Hearing<'a>>,
}

impl Watch<'_> {
    /// Nothing was lost so far, and no pod route was deleted anywhere.
    pub(crate) fn check(&mut self, what: &str) {
        let mut last = None;
        let none_missing = poll(Duration::from_secs(1), &self.bench.none, || {
            let tally = self.probes.snapshot().unwrap();
            let none = tally.totals().missing == 0;
            last = Some(tally);
            none.then_some(())
        });
        if none_missing.is_none() {
            let tally = last.unwrap();
            let bad = tally.paths.iter().filter(|path| path.missing > 0);
            let bad: Vec<String> = bad
                .map(|p| {
                    format!(
                        "{} → {} {} {:?}: {} lost, silent for {:.0} ms",
                        p.from,
                        p.to,
                        p.family,
                        p.size,
                        p.missing,
                        p.longest_gap_seconds * 1000.0
                    )
                })
                .collect();
            panic!("{what}: packets were lost: {}\n{:?}\n{}", bad.join("; "), tally.host, self.heard());
        }
        self.no_deletes(what);
    }

    fn no_deletes(&self, what: &str) {
        let deletes: Vec<String> = self.hearings.iter().flat_map(Hearing::deletes).collect();
        assert!(deletes.is_empty(), "{what}: valid routes were deleted:\n{}\n{}", deletes.join("\n"), self.heard());
    }

    fn heard(&self) -> String {
        let ends = self.hearings.iter().map(|h| format!("{} heard at last:\n{}", h.node, h.end()));
        ends.collect::<Vec<_>>().join("\n")
    }

    /// The final count.
    pub(crate) fn finish(mut self, what: &str) -> Totals {
        self.check(what);
        for hearing in &mut self.hearings {
            hearing.mark();
        }
        self.no_deletes(what);
        let tally = self.probes.finish().unwrap();
        let totals = tally.totals();
        let unread: u64 = tally.streams.iter().map(|s| s.written.saturating_sub(s.read)).sum();
        let bad = (totals.lost, totals.duplicated, totals.stream_faults, unread);
        assert_eq!(bad, (0, 0, 0, 0), "{what}: lost, duplicated, broken streams, unread: {tally:?}");
        assert!(totals.sent > 0);
        println!("{what}: {} probes sent, 0 lost, 0 duplicated, {} reordered", totals.sent, totals.reordered);
        totals
    }
}

/// Where `make test` has built `biplaned` and `biplane`.
fn binaries() -> PathBuf {
    let folder = std::env::var_os("BIPLANE_BIN_DIR").map(PathBuf::from).expect(
        "BIPLANE_BIN_DIR is not set: build with `cargo build -p biplaned -p biplane` and set it to that folder, as `make test` does",
    );
    for name in ["biplaned", "biplane"] {
        let path = folder.join(name);
        assert!(path.exists(), "{} is missing: build it with `cargo build -p {name}`", path.display());
    }
    folder
}
