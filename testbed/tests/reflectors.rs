//! Full mesh and a router as reflector follow each other live, with every packet counted.
//!
//! Needs root, BIRD and BIPLANE_BIN_DIR; without them every test here fails.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, dead_code)]

#[path = "topologies/fabric.rs"]
mod fabric;
mod recordings;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fabric::Fabric;
use model::Plane;
use serde_json::Value;
use testbed::cluster::Stand;
use testbed::lab::{Interrupt, poll};
use testbed::probes::Probes;

/// Whatever has not come about by then never will.
const PATIENCE: Duration = Duration::from_secs(120);
const NODES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];
/// The router's sessions, one a family.
const ROUTER: [&str; 2] = ["10.28.0.100", "fd28::100"];

/// Sessions between nodes: pairs in order.
type Pairs = BTreeSet<(&'static str, &'static str)>;

/// How the new configuration comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    NodeByNode,
    AllAtOnce,
}

/// First the router beside the mesh, then without it, and back.
///
/// Checklist: 90
#[test]
fn sessions_go_from_mesh_to_a_router_as_reflector_and_back_without_losing_a_packet() {
    let fabric = Fabric::deploy("reflectors", |stand| stand.is_steady(Plane::Native) && stand.peers == "4/4");
    let bench = Bench { fabric: &fabric };
    let mut probes = fabric.probe();
    let router = ROUTER.map(|address| format!("{{address: \"{address}\", asn: 64512}}")).join(", ");
    bench
        .moves("a router beside the mesh", Way::NodeByNode, &mesh(), &mut probes, |_| format!("{{peers: [{router}]}}"));
    let has_router = || {
        let all = |node: &&str| ROUTER.iter().all(|address| bench.sessions(node).contains_key(*address));
        NODES.iter().all(all).then_some(())
    };
    bench.until("sessions with the router", has_router);
    let before = NODES.map(|node| bench.sessions(node));
    bench.configure(Way::NodeByNode, |_| format!("{{mesh: false, peers: [{router}]}}"));
    bench.until("only the router", || NODES.iter().all(|node| bench.sessions(node).len() == 2).then_some(()));
    for (node, before) in NODES.iter().zip(before) {
        let now = bench.sessions(node);
        assert!(ROUTER.iter().all(|address| now[*address] > before[*address]), "{node}: {before:?}, {now:?}");
        let ways = fabric.ways(node);
        assert!(ways.iter().all(|(_, _, hops)| hops.len() == 1 && !hops[0].0.ends_with("100")), "{ways:?}");
    }
    bench.still(&mut probes, "behind the router");
    fabric.switch(Plane::Overlay);
    fabric.nothing_left(Plane::Native);
    fabric.switch(Plane::Native);
    fabric.nothing_left(Plane::Overlay);
    bench.still(&mut probes, "switched behind the router");
    // The reflector dies; packets never went through it.
    fabric.lab.shell("rr", "kill -9 $(pidof bird)").unwrap();
    bench.until("no session", || NODES.iter().all(|node| bench.sessions(node).is_empty()).then_some(()));
    bench.still(&mut probes, "the router is dead");
    fabric.lab.shell("rr", "bird -R -c /etc/bird/bird.conf").unwrap();
    bench.until("sessions with the router again", has_router);
    bench.still(&mut probes, "the router is back");
    bench.moves("the mesh beside the router", Way::NodeByNode, &mesh(), &mut probes, |_| {
        format!("{{peers: [{router}]}}")
    });
    bench.moves("the mesh alone", Way::AllAtOnce, &mesh(), &mut probes, |_| "{}".to_owned());
    bench.until("no router", || {
        let without = |node: &&str| ROUTER.iter().all(|address| !bench.sessions(node).contains_key(*address));
        NODES.iter().all(without).then_some(())
    });
    fabric.prove(probes);
}

fn mesh() -> Pairs {
    NODES.iter().flat_map(|a| NODES.iter().filter(move |b| a < *b).map(move |b| (*a, *b))).collect()
}

struct Bench<'a> {
    fabric: &'a Fabric,
}

impl Bench<'_> {
    /// A new configuration comes, the sessions settle, those that are in both topologies have stood all the while, and
    /// everybody reaches everybody.
    fn moves(&self, what: &str, way: Way, to: &Pairs, probes: &mut Probes, bgp: impl Fn(&str) -> String) {
        let began = Instant::now();
        let before = NODES.map(|node| self.sessions(node));
        self.configure(way, bgp);
        self.settles(what, to);
        let took = began.elapsed();
        for (node, before) in NODES.iter().zip(before) {
            let now = self.sessions(node);
            for (other, uptime) in now.iter().filter(|(other, _)| before.contains_key(*other)) {
                let least = before[other] + took.as_secs_f64() - 1.0;
                assert!(*uptime >= least, "{what}: {node}'s session with {other} is {uptime} s old, not {least}");
            }
        }
        println!("{what}, {way:?}: {:.1} s", took.as_secs_f64());
        self.still(probes, what);
    }

    /// Writes the `bgp` section of every node and has it read.
    fn configure(&self, way: Way, bgp: impl Fn(&str) -> String) {
        let write = |node: &str| {
            let script = format!(
                "{{ cat /etc/biplane/config.yaml; echo 'bgp: {}'; }} >/run/live/new.yaml && mv /run/live/new.yaml \
                 /run/live/config.yaml",
                bgp(node)
            );
            self.fabric.lab.shell(node, &script).unwrap();
        };
        let read = |node: &str| drop(self.fabric.lab.shell(node, "biplane config reload").unwrap());
        match way {
            Way::NodeByNode => NODES.iter().for_each(|node| {
                write(node);
                read(node);
                // As a rollout does it: each node is on the new file for a while before the next one.
                std::thread::sleep(Duration::from_millis(700));
            }),
            Way::AllAtOnce => {
                NODES.iter().for_each(|node| write(node));
                std::thread::scope(|scope| NODES.iter().for_each(|node| drop(scope.spawn(|| read(node)))));
            }
        }
    }

    /// Exactly these sessions between nodes stand, seen from both ends, and nobody waits for anything.
    fn settles(&self, what: &str, expected: &Pairs) {
        let nodes: Vec<&str> =
            NODES.into_iter().filter(|node| expected.iter().any(|(a, b)| a == node || b == node)).collect();
        self.until(what, || {
            let seen = |node: &&'static str| {
                let of =
                    self.sessions(node).into_keys().filter(|other| other.starts_with('n')).collect::<BTreeSet<_>>();
                let with = |(a, b): &(&'static str, &'static str)| match (a == node, b == node) {
                    (true, _) => Some((*b).to_owned()),
                    (_, true) => Some((*a).to_owned()),
                    _ => None,
                };
                of == expected.iter().filter_map(with).collect::<BTreeSet<_>>()
            };
            let stands: Vec<Stand> = self.fabric.cluster().stands();
            let settled = |stand: &Stand| stand.is_steady(Plane::Native) && stand.waiting.is_empty();
            let at_rest = stands.iter().filter(|stand| nodes.contains(&&*stand.node)).all(settled);
            (nodes.iter().all(seen) && at_rest).then_some(())
        });
    }

    fn still(&self, probes: &mut Probes, when: &str) {
        self.fabric.all_reach_each_other(probes, when);
        let totals = probes.snapshot().unwrap().totals();
        println!("{when}: {} sent, {} missing or on the way", totals.sent, totals.missing);
    }

    /// Established sessions of a node by the other node, or the router's address, and for how many seconds they have been.
    fn sessions(&self, node: &str) -> BTreeMap<String, f64> {
        let text = self.fabric.lab.shell(node, "biplane bgp peers -o json || true").unwrap();
        let document: Value = serde_json::from_str(&text).unwrap_or_default();
        let up = document["items"].as_array().into_iter().flatten().filter(|peer| peer["state"] == "Established");
        let name = |peer: &Value| peer["node"].as_str().or(peer["address"].as_str()).unwrap_or_default().to_owned();
        up.map(|peer| (name(peer), peer["uptimeSeconds"].as_f64().unwrap_or_default())).collect()
    }

    fn until(&self, what: &str, holds: impl FnMut() -> Option<()>) {
        if poll(PATIENCE, &Interrupt::default(), holds).is_some() {
            return;
        }
        let sessions: Vec<_> = NODES.iter().map(|node| (node, self.sessions(node))).collect();
        let stands: Vec<String> = self.fabric.cluster().stands().iter().map(Stand::words).collect();
        panic!("not within {} s: {what}: {sessions:#?} {}", PATIENCE.as_secs(), stands.join("; "));
    }
}
