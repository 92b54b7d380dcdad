//! What a restart of a daemon costs below FRR, BIRD and GoBGP: packets counted all the while, and valid routes deleted, in
//! the kernels of nodes and routers. Prints the restart table.
//!
//! Needs root, FRR, BIRD, GoBGP and BIPLANE_BIN_DIR; without them every test here fails.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

#[expect(dead_code, reason = "the fault tests use all of it")]
#[path = "faults/hearing.rs"]
mod hearing;
mod stage;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hearing::Hearing;
use model::Plane;
use probe::flow::Rates;
use rustix::process::{Pid, Signal, kill_process};
use stage::{LONG, Stage, recordings, until};
use testbed::cluster::Cluster;
use testbed::lab::process::Process;
use testbed::lab::{Interrupt, poll};
use testbed::probes::Probes;
use testbed::{places, pods, turn};

/// Between the two pods of a cluster, per direction and family.
const RATES: Rates = Rates { small: 200, full: 20, stream: 10_000 };
/// From the end of one process to the start of the next: a supervisor's pause, or an image that is pulled already.
const PAUSE: Duration = Duration::from_millis(700);
/// As long as a virtual machine that is moved, or a debugger, holds a daemon up.
const FROZEN: Duration = Duration::from_secs(20);
/// What routers do once a session is complete has been done by then.
const AFTER: Duration = Duration::from_secs(2);

/// A cluster of two nodes: its router, the node whose daemon is hurt, the other one.
struct Pair {
    router: &'static str,
    name: &'static str,
    victim: &'static str,
    other: &'static str,
    /// The router forwards, with the routes in its own kernel.
    forwards: bool,
}

const PAIRS: [Pair; 3] = [
    Pair { router: "frr", name: "FRR", victim: "f1", other: "f2", forwards: true },
    Pair { router: "bird", name: "BIRD", victim: "b1", other: "b2", forwards: true },
    Pair { router: "gobgp", name: "GoBGP", victim: "g1", other: "g2", forwards: false },
];

/// What happens to the three victims at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Terminated,
    Killed,
    Upgraded,
    Frozen,
    /// SIGTERM of a daemon that takes no part in graceful restart: what all this is for.
    WithoutGracefulRestart,
}

impl Fault {
    const fn words(self) -> &'static str {
        match self {
            Fault::Terminated => "SIGTERM",
            Fault::Killed => "kill -9",
            Fault::Upgraded => "new binary",
            Fault::Frozen => "SIGSTOP 20 s",
            Fault::WithoutGracefulRestart => "SIGTERM, no graceful restart",
        }
    }
}

/// Checklist: 24, 71
#[test]
fn a_restart_below_each_router_loses_no_packet() {
    let turn = turn::take().unwrap();
    let stage = Stage::of("restart");
    let next = tempfile::tempdir().unwrap();
    let upgraded = next.path().join("biplaned");
    fs::copy(PathBuf::from(std::env::var_os("BIPLANE_BIN_DIR").unwrap()).join("biplaned"), &upgraded).unwrap();
    let bench = Bench { stage: &stage, upgraded };
    stage.steady(Plane::Native);
    bench.await_sessions("at the start");
    pods::start(&stage.lab, LONG, &Interrupt::default()).unwrap();
    let all = places::all(&stage.lab).unwrap();
    let mut probes: Vec<Probes> = PAIRS
        .iter()
        .map(|pair| {
            let ends: Vec<_> =
                all.iter().filter(|place| [pair.victim, pair.other].contains(&&*place.node)).cloned().collect();
            assert_eq!(ends.len(), 2, "{all:?}");
            let mut probes = Probes::start(&stage.lab, &ends, RATES).unwrap();
            probes.warm(LONG, &Interrupt::default()).unwrap_or_else(|error| panic!("{}: {error:#}", pair.name));
            probes.begin().unwrap();
            probes
        })
        .collect();
    let mut hearings: Vec<Vec<Hearing<'_>>> = PAIRS
        .iter()
        .map(|pair| {
            let routers = pair.forwards.then_some(pair.router);
            let nodes = [pair.victim, pair.other].into_iter().chain(routers);
            nodes.map(|node| Hearing::start(&stage.lab, node)).collect()
        })
        .collect();

    let faults = [Fault::Terminated, Fault::Killed, Fault::Upgraded, Fault::Frozen, Fault::WithoutGracefulRestart];
    let mut before = vec![(0, 0, 0); PAIRS.len()];
    let mut rows = Vec::new();
    for fault in faults {
        bench.inflict(fault);
        for (at, pair) in PAIRS.iter().enumerate() {
            let mut tally = probes[at].snapshot().unwrap().totals();
            // Packets on the way look lost.
            let deadline = Instant::now() + Duration::from_secs(1);
            while tally.missing > before[at].1 && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(50));
                tally = probes[at].snapshot().unwrap().totals();
            }
            hearings[at].iter_mut().for_each(Hearing::mark);
            let deletes: Vec<String> = hearings[at].iter().flat_map(Hearing::deletes).collect();
            let now = (tally.sent, tally.missing, deletes.len());
            let row = (fault, pair.name, now.0 - before[at].0, now.1 - before[at].1, now.2 - before[at].2);
            println!("{row:?} {:?}", &deletes[before[at].2..]);
            rows.push(row);
            before[at] = now;
        }
    }
    recordings::keep(&stage.lab, &PAIRS.map(|pair| pair.victim));
    println!("{:<8}{:<30}{:>8}{:>8}{:>16}", "ROUTER", "FAULT", "SENT", "LOST", "ROUTES DELETED");
    for (fault, name, sent, lost, deleted) in &rows {
        println!("{name:<8}{:<30}{sent:>8}{lost:>8}{deleted:>16}", fault.words());
    }
    for (fault, name, sent, lost, deleted) in rows {
        if fault == Fault::WithoutGracefulRestart {
            // The counting counts: who promises nothing is dropped by the router at once.
            assert!(lost > 0 && deleted > 0, "{name}: {lost} lost, {deleted} deleted without graceful restart");
        } else {
            assert!(sent > 500, "{name}: {sent} sent");
            assert_eq!((lost, deleted), (0, 0), "{name}, {}: packets lost, valid routes deleted", fault.words());
        }
    }
    drop(hearings);
    drop(probes);
    pods::stop(&stage.lab);
    drop(turn);
}

struct Bench<'a> {
    stage: &'a Stage,
    upgraded: PathBuf,
}

impl Bench<'_> {
    /// Does it to all three at once, and waits until everything is as it was.
    fn inflict(&self, fault: Fault) {
        let victims = PAIRS.map(|pair| (pair.victim, self.daemon(pair.victim)));
        if fault == Fault::WithoutGracefulRestart {
            // Its peers learn that it takes no part from its next OPEN; then it is ended once more.
            self.restart(&victims, Signal::TERM, "BIPLANE_BGP__GRACEFUL_RESTART__ENABLED=false biplaned");
            self.await_sessions("graceful restart is off");
            let victims = PAIRS.map(|pair| (pair.victim, self.daemon(pair.victim)));
            self.restart(&victims, Signal::TERM, "biplaned");
        } else if fault == Fault::Frozen {
            self.signal(&victims, Signal::STOP);
            std::thread::sleep(FROZEN);
            self.signal(&victims, Signal::CONT);
            assert!(victims.iter().all(|(_, daemon)| daemon.is_alive()), "a daemon has ended");
        } else {
            let upgraded = self.upgraded.display().to_string();
            let program = if fault == Fault::Upgraded { &upgraded } else { "biplaned" };
            let signal = if fault == Fault::Killed { Signal::KILL } else { Signal::TERM };
            self.restart(&victims, signal, program);
        }
        self.await_sessions(fault.words());
        std::thread::sleep(AFTER);
    }

    fn restart(&self, victims: &[(&str, Process)], signal: Signal, program: &str) {
        self.signal(victims, signal);
        for (node, daemon) in victims {
            let gone = || (Process::of(daemon.pid) != Some(*daemon)).then_some(());
            let ended = poll(Duration::from_secs(5), &Interrupt::default(), gone);
            assert!(ended.is_some(), "{node}: the daemon does not end");
        }
        std::thread::sleep(PAUSE);
        for (node, _) in victims {
            let script =
                format!("{program} --config /etc/biplane/config.yaml </dev/null >>/var/log/biplaned.log 2>&1 &");
            self.stage.good(node, &script);
        }
    }

    fn signal(&self, victims: &[(&str, Process)], signal: Signal) {
        for (node, daemon) in victims {
            assert!(daemon.is_alive(), "{node}: the daemon has ended by itself");
            kill_process(Pid::from_raw(i32::try_from(daemon.pid).unwrap()).unwrap(), signal).unwrap();
        }
    }

    fn daemon(&self, node: &str) -> Process {
        let keeper = self.stage.lab.keeper(node).expect("the node runs").pid;
        let space = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = space(keeper);
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let found = pids
            .filter(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "biplaned\n"))
            .filter(|pid| space(*pid) == ours)
            .find_map(|pid| Process::of(pid).filter(Process::is_alive));
        found.unwrap_or_else(|| panic!("{node}: no daemon runs"))
    }

    /// Every session is up and complete, nothing is stale, and every node is steady.
    fn await_sessions(&self, what: &str) {
        let cluster = Cluster::of(&self.stage.lab);
        until(&format!("all sessions are up: {what}"), || {
            let stands = cluster.stands();
            stands
                .iter()
                .all(|stand| stand.is_steady(Plane::Native) && stand.peers == "2/2" && stand.routes >= 2)
                .then_some(())
        });
    }
}
