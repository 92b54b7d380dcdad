//! Stores on one directory: what they tell, in which order, and who gets what.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use cluster::{Command, Event, Outcome};
use model::{Digest, NodeSet, PodCidr};
use support::{Told, claim, file_of, phase, pool, wish};

fn digest(by: &str, sequence: u64) -> Digest {
    Digest {
        sequence,
        coordinator: by.parse().unwrap(),
        nodes: 1,
        overlay_stands: NodeSet::NONE,
        native_stands: NodeSet::NONE,
        overlay_senders: NodeSet::NONE,
        native_senders: NodeSet::NONE,
        reflects: BTreeMap::new(),
        topology: None,
        at_home: NodeSet::NONE,
        gone: BTreeSet::new(),
    }
}

#[test]
fn everybody_is_told_everything_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let one = Told::start(dir.path(), "n1");
    one.wait("coordination", |event| *event == Event::Coordinator(true));
    let two = Told::start(dir.path(), "n2");
    let mut held = one.claim("10.1.0.0/24");
    assert_eq!(one.ask(Command::Create(held.clone())), Ok(Outcome::Done));
    assert_eq!(one.ask(Command::Create(held.clone())), Ok(Outcome::Done), "it is ours already");
    let six = two.claim("fd00:10:244:1::/64");
    assert_eq!(two.ask(Command::Create(six.clone())), Ok(Outcome::Done));
    held.reach.underlay = vec!["192.0.2.77".parse().unwrap()];
    assert_eq!(one.ask(Command::Update(held.clone())), Ok(Outcome::Done));
    assert_eq!(one.ask(Command::Phase(phase("n1", 7))), Ok(Outcome::Done));
    assert_eq!(one.ask(Command::Digest(digest("n1", 3))), Ok(Outcome::Done));
    assert_eq!(two.ask(Command::Wish(Some(wish(1, "n2")))), Ok(Outcome::Done));
    for store in [&one, &two] {
        store.wait_state("all of it", |state| {
            state.claims.get(&held.pod_cidr) == Some(&held)
                && state.claims.get(&six.pod_cidr) == Some(&six)
                && state.phases.get(&held.node) == Some(&phase("n1", 7))
                && state.digest == Some(digest("n1", 3))
                && state.wish == Some(wish(1, "n2"))
        });
    }
    // The change comes before the answer.
    let events = one.ear.all();
    let told = events.iter().position(|e| matches!(e, Event::Claim(_, Some(_)))).unwrap();
    let done = events.iter().position(|e| matches!(e, Event::Done(Command::Create(_), _))).unwrap();
    assert!(told < done);
    // A third sees the same in its list alone.
    let three = Told::start(dir.path(), "n3");
    let (mut listed, mut followed) = (three.state(), one.state());
    (listed.revision, followed.revision) = (0, 0);
    assert_eq!(listed, followed);
}

#[test]
fn what_is_not_ours_to_do_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let one = Told::start(dir.path(), "n1");
    one.wait("coordination", |event| *event == Event::Coordinator(true));
    let two = Told::start(dir.path(), "n2");
    let held = one.claim("10.1.0.0/24");
    assert_eq!(one.ask(Command::Create(held.clone())), Ok(Outcome::Done));
    assert_eq!(two.ask(Command::Create(two.claim("10.1.0.0/24"))), Ok(Outcome::Taken));
    assert_eq!(two.ask(Command::Create(two.claim("10.1.0.0/16"))), Ok(Outcome::Taken), "it overlaps");
    assert_eq!(two.ask(Command::Create(two.claim("10.1.0.128/25"))), Ok(Outcome::Taken), "it overlaps");
    assert_eq!(two.ask(Command::Update(two.claim("10.1.0.0/24"))), Ok(Outcome::Taken));
    assert_eq!(two.ask(Command::Update(two.claim("10.9.0.0/24"))), Ok(Outcome::Taken), "nobody holds it");
    assert_eq!(two.ask(Command::Release(held.pod_cidr)), Ok(Outcome::Taken));
    assert!(two.ask(Command::Create(held.clone())).is_err(), "in another node's name");
    assert!(two.ask(Command::Phase(phase("n1", 1))).is_err(), "in another node's name");
    assert!(two.ask(Command::Digest(digest("n2", 1))).unwrap_err().contains("coordinator"));
    assert_eq!(two.state().claims.values().collect::<Vec<_>>(), vec![&held]);
    assert_eq!(two.state().digest, None);
}

#[test]
fn a_later_wish_beats_an_earlier_one_in_whatever_order_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (Told::start(dir.path(), "n1"), Told::start(dir.path(), "n2"));
    assert_eq!(one.ask(Command::Wish(Some(wish(2, "n1")))), Ok(Outcome::Done));
    assert_eq!(two.ask(Command::Wish(Some(wish(2, "n2")))), Ok(Outcome::Taken));
    assert_eq!(two.ask(Command::Wish(Some(wish(1, "n2")))), Ok(Outcome::Taken));
    assert_eq!(two.state().wish, Some(wish(2, "n1")), "told before the answer");
    assert_eq!(two.ask(Command::Wish(Some(wish(3, "n2")))), Ok(Outcome::Done));
    one.wait_state("the later wish", |state| state.wish == Some(wish(3, "n2")));
    assert_eq!(one.ask(Command::Wish(None)), Ok(Outcome::Done));
    two.wait_state("no wish", |state| state.wish.is_none());
}

#[test]
fn of_many_who_create_at_once_exactly_one_gets_it() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let stores: Vec<Arc<Told>> = (0..24).map(|n| Arc::new(Told::start(dir.path(), &format!("n{n}")))).collect();
    for round in 0..8 {
        let gun = Arc::new(Barrier::new(stores.len()));
        let racers: Vec<_> = stores
            .iter()
            .map(|store| {
                let (store, gun) = (store.clone(), gun.clone());
                std::thread::spawn(move || {
                    gun.wait();
                    let claim = store.claim(&format!("10.1.{round}.0/24"));
                    let outcome = store.ask(Command::Create(claim.clone())).unwrap();
                    // Whoever lost knows to whom by now.
                    let holder = store.state().claims.get(&claim.pod_cidr).map(|claim| claim.node.clone());
                    (outcome, holder.unwrap())
                })
            })
            .collect();
        let ends: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
        assert_eq!(ends.iter().filter(|(outcome, _)| *outcome == Outcome::Done).count(), 1);
        assert_eq!(ends.iter().map(|(_, holder)| holder).collect::<BTreeSet<_>>().len(), 1);
    }
}

#[test]
fn sixty_nodes_start_at_once_in_sixty_four_slots() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let pool = pool("10.244.0.0/18", 24);
    let began = Instant::now();
    let nodes: Vec<_> = (0..60)
        .map(|n| {
            let path = dir.path().to_owned();
            std::thread::spawn(move || {
                let store = Told::start(&path, &format!("node-{n}"));
                let slot = store.acquire(&pool);
                (store, slot)
            })
        })
        .collect();
    let held: Vec<(Told, PodCidr)> = nodes.into_iter().map(|node| node.join().unwrap()).collect();
    println!("60 nodes hold their slots after {:?}", began.elapsed());
    let slots: BTreeSet<PodCidr> = held.iter().map(|(_, slot)| *slot).collect();
    assert_eq!(slots.len(), 60, "somebody shares");
    for (store, _) in &held {
        store.wait_state("all claims", |state| state.claims.keys().copied().collect::<BTreeSet<_>>() == slots);
    }
    let coordinators = held.iter().filter(|(store, _)| store.ear.all().contains(&Event::Coordinator(true))).count();
    assert_eq!(coordinators, 1);
}

#[test]
fn a_freed_pod_cidr_is_out_of_use_for_the_quarantine() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = Duration::from_millis(1500);
    let (one, two) = (Told::start_with(dir.path(), "n1", quarantine), Told::start_with(dir.path(), "n2", quarantine));
    let held = one.claim("10.1.0.0/24");
    assert_eq!(one.ask(Command::Create(held.clone())), Ok(Outcome::Done));
    let mark = one.mark();
    let released = Instant::now();
    assert_eq!(one.ask(Command::Release(held.pod_cidr)), Ok(Outcome::Done));
    let told = one.ear.all().split_off(mark);
    let expected = [Event::Claim(held.pod_cidr, None), Event::Quarantined(held.pod_cidr, true)];
    assert_eq!(told[..2], expected);
    assert_eq!(two.ask(Command::Create(two.claim("10.1.0.0/24"))), Ok(Outcome::Taken));
    assert_eq!(two.ask(Command::Create(two.claim("10.1.0.0/23"))), Ok(Outcome::Taken), "it overlaps a quarantine");
    assert_eq!(one.ask(Command::Create(held.clone())), Ok(Outcome::Taken), "for its last holder too");
    assert_eq!(two.state().quarantined, BTreeSet::from([held.pod_cidr]));
    assert!(dir.path().join("quarantine").join(file_of("10.1.0.0/24")).exists());
    two.wait_state("the end of the quarantine", |state| state.quarantined.is_empty());
    assert!(released.elapsed() >= quarantine, "ended after {:?}", released.elapsed());
    assert_eq!(two.ask(Command::Create(two.claim("10.1.0.0/24"))), Ok(Outcome::Done));
    one.wait_state("the new holder", |state| {
        state.claims.get(&held.pod_cidr).is_some_and(|claim| claim.node.as_str() == "n2")
    });
}

#[test]
fn a_release_that_its_node_did_not_live_to_end_is_ended_by_others() {
    let dir = tempfile::tempdir().unwrap();
    let one = Told::start_with(dir.path(), "n1", Duration::from_secs(1));
    // What a crash leaves: marked as released, not moved yet.
    let mut file = serde_json::to_value(claim("10.1.0.0/24", "n2")).unwrap();
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let uptime: f64 = std::fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
    file["released"] =
        serde_json::json!({"unixMillis": 0, "bootMillis": (uptime * 1000.0) as u64, "bootId": boot_id.trim()});
    std::fs::write(dir.path().join("half"), file.to_string()).unwrap();
    std::fs::rename(dir.path().join("half"), dir.path().join("claims/10.1.0.0_24")).unwrap();
    one.wait_state("quarantine", |state| state.quarantined.len() == 1 && state.claims.is_empty());
    one.wait_state("its end", |state| state.quarantined.is_empty());
    assert!(!dir.path().join("claims/10.1.0.0_24").exists());
    assert!(!dir.path().join("quarantine/10.1.0.0_24").exists());
}

#[test]
fn coordination_goes_over_and_the_living_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut one = Told::start(dir.path(), "n1");
    one.wait("coordination", |event| *event == Event::Coordinator(true));
    let two = Told::start(dir.path(), "n2");
    let nodes = |names: &[&str]| Event::Live(names.iter().map(|name| name.parse().unwrap()).collect());
    one.wait("both alive", |event| *event == nodes(&["n1", "n2"]));
    assert!(!two.ear.all().contains(&Event::Coordinator(true)));
    one.stop();
    let gone = Instant::now();
    two.wait("coordination", |event| *event == Event::Coordinator(true));
    println!("coordination went over after {:?}", gone.elapsed());
    two.wait("itself alone alive", |event| *event == nodes(&["n2"]));
    // Somebody removes the lock file: whoever locks the new one coordinates, and nobody else does.
    std::fs::remove_file(dir.path().join("coordinator.lock")).unwrap();
    let mark = two.mark();
    two.wait_since(mark, "the loss", |event| *event == Event::Coordinator(false));
    two.wait_since(mark, "coordination anew", |event| *event == Event::Coordinator(true));
}

#[test]
fn a_second_daemon_of_the_same_name_is_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Told::start(dir.path(), "n1");
    let second = Told::spawn(dir.path(), "n1", Duration::from_secs(1));
    let Event::Fatal(words) = second.wait("the refusal", |event| matches!(event, Event::Fatal(_))) else { panic!() };
    for part in ["n1", "live/n1.lock", &format!("pid {}", std::process::id()), "node.name"] {
        assert!(words.contains(part), "{words}");
    }
    assert_eq!(second.ear.all().len(), 1, "it was told something before it was turned away");
    second.send(Command::Phase(phase("n1", 66)));
    assert_eq!(first.ask(Command::Phase(phase("n1", 1))), Ok(Outcome::Done));
    // One that comes while the first goes gets its place.
    let third = Told::spawn(dir.path(), "n1", Duration::from_secs(1));
    first.stop();
    third.wait("the list", |event| matches!(event, Event::Listed(_)));
    assert_eq!(third.ask(Command::Phase(phase("n1", 2))), Ok(Outcome::Done));
}

#[test]
fn more_notices_than_the_kernel_keeps_lose_nothing() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let gate = Arc::new(std::sync::Mutex::new(()));
    let ear = Arc::new(support::Ear::default());
    let (to, wait) = (ear.clone(), gate.clone());
    let config = model::config::StoreConfig::Files { path: dir.path().to_owned(), quarantine: Duration::from_secs(60) };
    let uid = model::Uid("u".into());
    let _slow = cluster::spawn(&config, "slow".parse().unwrap(), uid, move |event| {
        drop(wait.lock().unwrap());
        to.hear(event);
    })
    .unwrap();
    ear.wait("the list", 0, |events| events.iter().any(|e| matches!(e, Event::Listed(_))).then_some(()));
    let limit: usize =
        std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let shut = gate.lock().unwrap();
    let put = |cidr: &str, node: &str| {
        let path = dir.path().join("aside");
        std::fs::write(&path, serde_json::to_vec(&claim(cidr, node)).unwrap()).unwrap();
        std::fs::rename(path, dir.path().join("claims").join(file_of(cidr))).unwrap();
    };
    put("10.0.0.0/24", "first");
    // The store's thread stands in the callback now, or soon; fill the kernel's queue behind it.
    for nth in 0..=(limit / 3).min(70_000) {
        put(&format!("10.{}.{}.0/24", 1 + nth / 200 % 5, nth % 200), "n");
    }
    put("10.250.0.0/24", "last");
    std::fs::remove_file(dir.path().join("claims/10.0.0.0_24")).unwrap();
    drop(shut);
    ear.wait("what was lost in the overflow", 0, |events| {
        let state = support::replay(events);
        (state.claims.len() == 1001 && !state.claims.contains_key(&"10.0.0.0/24".parse().unwrap())).then_some(())
    });
}
