//! Daemons that are killed, frozen and ended, a store that is taken away and filled: packets go on all the while, no valid
//! route is ever deleted, and afterwards everything is as it would be without.
//!
//! Needs root and BIPLANE_BIN_DIR; without them every test here fails. `BIPLANE_FAULT_ROUNDS` sets how many switches have
//! a kill in them, `BIPLANE_FAULT_SEED` repeats a run's choices.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "faults/bench.rs"]
mod bench;
#[path = "faults/hearing.rs"]
mod hearing;
#[path = "faults/round.rs"]
mod round;
#[path = "faults/tables.rs"]
mod tables;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant, SystemTime};

use bench::{Bench, PATIENCE};
use model::Plane;
use round::{Chance, PHASES, Round, When};
use rustix::process::Signal;
use serde_json::Value;
use testbed::lab::poll;

/// Switches with a kill if nothing else is said: every phase of both directions once, and some at any moment.
const ROUNDS: usize = 12;
/// More, for phases that were over before the kill came.
const MORE_ROUNDS: usize = 24;
/// As long as a virtual machine that is moved, or a debugger, holds a daemon up.
const FROZEN: Duration = Duration::from_secs(20);

/// Checklist: 109
#[test]
fn daemons_killed_ended_and_frozen_while_nothing_changes() {
    let bench = Bench::new("steadyfaults");
    let references = bench.references();
    let mut chance = Chance::of(seed());
    let mut watch = bench.watch();
    for (plane, reference) in
        [(Plane::Overlay, &references[&Plane::Overlay]), (Plane::Native, &references[&Plane::Native])]
    {
        bench.ask(&bench.nodes()[0], plane);
        bench.await_steady(plane);
        bench.await_tables(reference, "before any fault");
        for signal in [Signal::KILL, Signal::TERM] {
            for node in bench.nodes() {
                let what = format!("{signal:?} of {node} steady on {}", plane.mode());
                bench.end(bench.running(&node), signal);
                std::thread::sleep(chance.duration(Duration::from_millis(200)..Duration::from_millis(1500)));
                bench.start(&node);
                bench.await_steady(plane);
                bench.await_tables(reference, &what);
                watch.check(&what);
            }
        }
        let node = chance.pick(&bench.nodes()).clone();
        let what = format!("{node} frozen for {} s steady on {}", FROZEN.as_secs(), plane.mode());
        let frozen = bench.running(&node);
        bench.signal(frozen, Signal::STOP);
        std::thread::sleep(FROZEN);
        bench.signal(frozen, Signal::CONT);
        bench.await_steady(plane);
        bench.await_tables(reference, &what);
        watch.check(&what);
        assert!(frozen.is_alive(), "{what}: the daemon has ended");
    }
    watch.finish("kill -9, SIGTERM and SIGSTOP in steady state");
}

#[test]
fn daemons_killed_in_every_phase_of_a_switch() {
    let rounds = std::env::var("BIPLANE_FAULT_ROUNDS").ok().map_or(ROUNDS, |text| text.parse().unwrap());
    let bench = Bench::new("switchfaults");
    let references = bench.references();
    let mut chance = Chance::of(seed());
    let mut watch = bench.watch();
    let mut hits: BTreeMap<String, usize> = BTreeMap::new();
    let mut misses: BTreeMap<String, u32> = BTreeMap::new();
    let mut from = Plane::Overlay;
    let mut slowest = Duration::ZERO;
    let mut number = 0;
    loop {
        let open = |from: Plane| PHASES.into_iter().find(|phase| !hits.contains_key(&round::way(phase, from)));
        if number >= rounds && Plane::BOTH.into_iter().all(|plane| open(plane).is_none()) {
            break;
        }
        assert!(number < rounds + MORE_ROUNDS, "phases hit in {number} rounds: {hits:?}");
        // What has not been hit comes first; then anything at any moment.
        let wanted = open(from);
        let missed = wanted.map_or(0, |phase| misses.get(&round::way(phase, from)).copied().unwrap_or(0));
        let round = Round::choose(&bench, &mut chance, number, from, wanted.map_or(When::AnyTime, When::In), missed);
        let began = Instant::now();
        for phase in round.play(&bench, &mut chance) {
            *hits.entry(phase).or_default() += 1;
        }
        if let Some(way) = wanted.map(|phase| round::way(phase, from)) {
            *misses.entry(way).or_default() += 1;
        }
        from = round.target();
        let what = round.words();
        bench.await_steady(from);
        slowest = slowest.max(began.elapsed());
        bench.await_tables(&references[&from], &what);
        watch.check(&what);
        number += 1;
    }
    println!("{number} switches with a kill, the slowest took {:.1} s; killed in: {hits:?}", slowest.as_secs_f64());
    watch.finish("kill -9 in switches");
}

#[test]
fn the_store_goes_away_and_comes_back() {
    let bench = Bench::new("storefaults");
    let reference = bench.references().remove(&Plane::Overlay).unwrap();
    let mut chance = Chance::of(seed());
    let mut watch = bench.watch();
    let (store, away) = (bench.shared().join("store"), bench.shared().join("away"));
    let on_all = |script: &str| {
        for node in bench.nodes() {
            bench.lab.shell(&node, script).unwrap();
        }
    };
    let faults = [
        Fault {
            name: "moved away",
            words: ["No such file", "bring the store's directory back"],
            hurt: &|| fs::rename(&store, &away).unwrap(),
            mend: &|| {
                // A daemon that was started meanwhile has made a new one there.
                let _ = fs::remove_dir_all(&store);
                fs::rename(&away, &store).unwrap();
            },
        },
        Fault {
            name: "moved away, a file in its place",
            words: ["no directory lies there", "move it away and bring the store back"],
            hurt: &|| {
                fs::rename(&store, &away).unwrap();
                fs::write(&store, "no store").unwrap();
            },
            mend: &|| {
                fs::remove_file(&store).unwrap();
                fs::rename(&away, &store).unwrap();
            },
        },
        Fault {
            name: "covered by an empty file system",
            words: ["/var/lib/biplane/store is", "bring the store back"],
            hurt: &|| on_all("mount -t tmpfs tmpfs /var/lib/biplane/store"),
            mend: &|| on_all("umount /var/lib/biplane/store"),
        },
        Fault {
            name: "full",
            words: ["No space left", "free space or inodes"],
            hurt: &|| {
                // Until not one more octet fits.
                let ballast = fs::File::create(bench.shared().join("ballast")).unwrap();
                let octets = [0; 512];
                while std::io::Write::write_all(&mut &ballast, &octets).is_ok() {}
            },
            mend: &|| fs::remove_file(bench.shared().join("ballast")).unwrap(),
        },
    ];
    for Fault { name, words, hurt, mend } in faults {
        let what = format!("store {name}");
        hurt();
        for node in bench.nodes() {
            await_store(&bench, &node, false, &what);
            let mut said = String::new();
            // It may have looked in the middle of it; the last word counts.
            let named = poll(PATIENCE, &bench.none, || {
                said = bench.biplane(&node, &["status"]).1;
                words.iter().chain(&["/var/lib/biplane/store"]).all(|part| said.contains(part)).then_some(())
            });
            assert!(named.is_some(), "{what}: biplane status on {node} does not say {words:?}:\n{said}");
        }
        let (code, said) = bench.biplane(&bench.nodes()[1], &["mode", "switch", "bgp"]);
        assert!(code != 0 && said.contains("store") && said.contains(words[0]), "{what}: switch asked: {code} {said}");
        // Whoever starts in such a moment, be it on an empty store, takes nothing away either.
        let victim = chance.pick::<String>(&bench.nodes()).clone();
        bench.end(bench.running(&victim), Signal::KILL);
        bench.start(&victim);
        std::thread::sleep(Duration::from_secs(2));
        bench.await_tables(&reference, &what);
        watch.check(&what);
        if bench.daemon(&victim).is_none() {
            let log = fs::read_to_string(bench.log(&victim)).unwrap();
            assert!(log.contains("/var/lib/biplane/store"), "{what}: {victim} ended without a reason: {log}");
        }
        mend();
        let up = poll(PATIENCE, &bench.none, || {
            // As a supervisor does with a daemon that has ended.
            let runs = bench.daemon(&victim).is_some();
            if !runs {
                bench.start(&victim);
            }
            (runs && bench.biplane(&victim, &["status"]).0 == 0).then_some(())
        });
        assert!(up.is_some(), "{what}: {victim} does not come up again");
        for node in bench.nodes() {
            await_store(&bench, &node, true, &what);
        }
        bench.await_steady(Plane::Overlay);
        bench.await_tables(&reference, &what);
        watch.check(&what);
        println!("{what}: named, {:?} refused, recovered", said.trim());
    }
    // It takes writes again: a switch there and back.
    for plane in [Plane::Native, Plane::Overlay] {
        bench.ask(&bench.nodes()[1], plane);
        bench.await_steady(plane);
    }
    bench.await_tables(&reference, "after all");
    watch.finish("the store away, covered and full");
}

/// Something that happens to the store while daemons run.
struct Fault<'a> {
    name: &'a str,
    /// What `biplane status` says of it: what is wrong, and the cure.
    words: [&'a str; 2],
    hurt: &'a dyn Fn(),
    mend: &'a dyn Fn(),
}

/// Waits until the node's daemon calls its store up, or down.
fn await_store(bench: &Bench, node: &str, up: bool, what: &str) {
    let mut said = String::new();
    let known = poll(PATIENCE, &bench.none, || {
        said = bench.biplane(node, &["status", "-o", "json"]).1;
        let json: Value = serde_json::from_str(&said).ok()?;
        (json["store"]["up"] == up).then_some(())
    });
    assert!(known.is_some(), "{what}: {node} does not call its store {}: {said}", if up { "up" } else { "down" });
}

/// Printed, and taken from the environment to repeat a run's choices.
fn seed() -> u64 {
    let given = std::env::var("BIPLANE_FAULT_SEED").ok().map(|text| text.parse().unwrap());
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = given.unwrap_or(clock);
    println!("BIPLANE_FAULT_SEED={seed}");
    seed
}
