//! Whole daemons against each other on a simulated clock: every kernel is looked at after every event, and a packet sent
//! at that moment must arrive.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod explain;
mod paths;
mod replay;
mod sim;

use std::time::Duration;

use model::config::{AcceptFrom, BgpPeerConfig, BgpSessionConfig};
use model::kernel::{Device, Key, Value, Via};
use model::{Asn, PeerAs, Plane, StateName};
use sim::World;

const MINUTE: Duration = Duration::from_secs(60);

/// Peers that are named by interface: found by their advertisements, both families over their link-local addresses, and
/// gone with the interface.
///
/// Checklist: 32, 33
#[test]
fn peers_behind_interfaces_come_and_go_with_them() {
    for seed in 1..6 {
        let mut world = World::new(seed, 2, |config| {
            config.bgp.mesh = false;
            for (interface, asn) in [("eth1", PeerAs::Internal), ("eth2", Asn(64512).into())] {
                config.bgp.peers.push(behind(interface, asn));
            }
        });
        for index in 0..2 {
            world.uplink(index, "eth1", Some(true));
            world.uplink(index, "eth2", Some(true));
        }
        settled(&mut world, Plane::Overlay);
        assert!(world.nodes[0].discovering.is_empty(), "nobody is asked for while BGP does not stand");
        world.switch(0, Plane::Native);
        world.run_until(MINUTE, |world| world.nodes.iter().all(|node| node.discovering.len() == 2));
        world.run_for(Duration::from_secs(5));
        assert!(world.all_on(Plane::Overlay), "a node that has found nobody has nobody to learn from");
        world.meet_on("eth1");
        world.meet_on("eth2");
        settled(&mut world, Plane::Native);
        let all = |world: &World, devices: &[&str]| {
            let ways: Vec<_> = world.nodes.iter().flat_map(|node| node.ways()).collect();
            ways.len() == 4 && ways.iter().all(|way| way == devices)
        };
        world.run_until(MINUTE, |world| all(world, &["eth1", "eth2"]));

        // Advertisements go on, and those of others on the link change nothing.
        for _ in 0..5 {
            world.advertise(0, "eth1", "fe80::bad".parse().unwrap());
            world.meet_on("eth1");
            world.run_for(Duration::from_secs(20));
        }
        assert!(all(&world, &["eth1", "eth2"]));

        // The interface goes down on one side: its session goes on both.
        world.uplink(0, "eth1", Some(false));
        world.run_until(MINUTE, |world| all(world, &["eth2"]));
        assert_eq!(world.nodes[0].discovering.len(), 1);
        // It is back, as another one: nobody is behind it before somebody says so.
        world.uplink(0, "eth1", Some(true));
        world.run_for(Duration::from_secs(5));
        assert!(all(&world, &["eth2"]));
        world.meet_on("eth1");
        world.run_until(MINUTE, |world| all(world, &["eth1", "eth2"]));
        // It is taken away altogether.
        world.uplink(1, "eth2", None);
        world.run_until(MINUTE, |world| all(world, &["eth1"]));

        world.switch(1, Plane::Overlay);
        settled(&mut world, Plane::Overlay);
        assert!(world.nodes.iter().all(|node| node.discovering.is_empty()));
    }
}

fn behind(interface: &str, asn: PeerAs) -> BgpPeerConfig {
    BgpPeerConfig {
        address: None,
        interface: Device::new(interface),
        port: 179,
        asn,
        local_address: None,
        passive: false,
        session: BgpSessionConfig::default(),
    }
}

fn settled(world: &mut World, plane: Plane) {
    world.run_until(5 * MINUTE, |world| world.settled_on(plane));
}

#[test]
fn a_cluster_comes_up_switches_there_and_back_and_leaves_nothing() {
    for seed in 1..12 {
        let mut world = World::new(seed, 2 + (seed as usize % 4), |_| {});
        settled(&mut world, Plane::Overlay);
        world.switch(0, Plane::Native);
        settled(&mut world, Plane::Native);
        world.switch(1, Plane::Overlay);
        settled(&mut world, Plane::Overlay);
    }
}

/// Who is let in is looked at after every event by [`World::check`]; here, that strangers are shut out at all.
#[test]
fn strangers_are_shut_out_while_the_overlay_stands_and_where_the_operator_wants_it() {
    for (accept_from, shut) in [(AcceptFrom::Nodes, true), (AcceptFrom::Any, false)] {
        let mut world = World::new(13, 4, |config| config.vxlan.accept_from = accept_from);
        settled(&mut world, Plane::Overlay);
        let vteps = |world: &World, index: usize| {
            let kernel = &world.nodes[index].kernel;
            let count = kernel.keys().filter(|key| matches!(key, Key::Vtep(_))).count();
            (kernel.contains_key(&Key::VtepFilter), count)
        };
        let all_are = |world: &World, state: (bool, usize)| (0..4).all(|index| vteps(world, index) == state);
        world.run_until(MINUTE, |world| all_are(world, if shut { (true, 3) } else { (false, 0) }));

        // The wish of the operator, both ways.
        for index in 0..4 {
            world.configure(index, |config| {
                config.vxlan.accept_from = if shut { AcceptFrom::Any } else { AcceptFrom::Nodes };
            });
        }
        world.run_until(MINUTE, |world| all_are(world, if shut { (false, 0) } else { (true, 3) }));
        // A node that goes is shut out as well.
        for index in 0..4 {
            world.configure(index, |config| config.vxlan.accept_from = AcceptFrom::Nodes);
        }
        world.run_until(MINUTE, |world| all_are(world, (true, 3)));
        // A killed daemon finds all as it was, and takes none of it away on the way.
        world.kill(2);
        world.start(2);
        for _ in 0..400 {
            world.run_for(Duration::from_millis(50));
            assert!(all_are(&world, (true, 3)), "{}", world.tail());
        }
        world.switch(0, Plane::Native);
        settled(&mut world, Plane::Native);
    }
}

#[test]
fn a_cluster_that_starts_natively_does_so() {
    let mut world = World::new(3, 4, |config| config.mode = Plane::Native);
    settled(&mut world, Plane::Native);
    world.switch(3, Plane::Overlay);
    settled(&mut world, Plane::Overlay);
}

#[test]
fn a_changed_file_on_every_node_switches_the_cluster() {
    let mut world = World::new(5, 3, |_| {});
    settled(&mut world, Plane::Overlay);
    for index in 0..3 {
        world.configure(index, |config| config.mode = Plane::Native);
        world.run_for(Duration::from_millis(700));
    }
    settled(&mut world, Plane::Native);
}

#[test]
fn a_wish_that_turns_back_anywhere_loses_nothing() {
    for seed in 1..30 {
        let mut world = World::new(seed, 3, |_| {});
        settled(&mut world, Plane::Overlay);
        let mut plane = Plane::Overlay;
        for _ in 0..6 {
            plane = plane.other();
            let on = world.dice.roll(3) as usize;
            world.switch(on, plane);
            let wait = Duration::from_millis(world.dice.roll(4_000));
            world.run_for(wait);
        }
        settled(&mut world, plane);
    }
}

#[test]
fn daemons_killed_at_any_moment_of_a_switch_lose_nothing_and_end_alike() {
    for seed in 1..60 {
        let mut world = World::new(seed, 3, |_| {});
        settled(&mut world, Plane::Overlay);
        let routes = world.routes();
        let mut plane = Plane::Overlay;
        for _ in 0..2 {
            plane = plane.other();
            world.switch(0, plane);
            for _ in 0..3 {
                let wait = Duration::from_micros(world.dice.roll(3_000_000));
                world.run_for(wait);
                let victim = world.dice.roll(3) as usize;
                world.kill(victim);
                let down = Duration::from_micros(world.dice.roll(2_000_000));
                world.run_for(down);
                world.start(victim);
                let left: Vec<_> = routes.iter().filter(|route| !world.routes().contains(route)).collect();
                assert!(left.is_empty(), "seed {seed}: routes went: {left:?}\n{}", world.tail());
            }
            settled(&mut world, plane);
            assert_eq!(world.routes(), routes, "seed {seed}");
        }
    }
}

/// Read-backs, keepalives, digests and a restart go by, and no kernel is told anything that it does not know.
///
/// Checklist: 107
#[test]
fn what_is_as_wanted_is_never_written_again() {
    for plane in Plane::BOTH {
        let mut world = World::new(17, 4, |config| config.mode = plane);
        settled(&mut world, plane);
        world.run_for(MINUTE);
        let before = (world.kernel_writes, world.read_backs);
        world.run_for(10 * MINUTE);
        world.kill(1);
        world.start(1);
        world.run_for(10 * MINUTE);
        settled(&mut world, plane);
        assert_eq!(world.kernel_writes, before.0, "{}", world.tail());
        assert!(world.read_backs > before.1 + 4 * 15, "{} read-backs", world.read_backs - before.1);
    }
}

/// Checklist: 109
#[test]
fn a_killed_daemon_adopts_without_a_single_route_going() {
    for plane in Plane::BOTH {
        let mut world = World::new(9, 3, |config| config.mode = plane);
        settled(&mut world, plane);
        let routes = world.routes();
        for victim in 0..3 {
            world.kill(victim);
            world.run_for(Duration::from_secs(3));
            world.start(victim);
            for _ in 0..400 {
                world.run_for(Duration::from_millis(50));
                assert_eq!(world.routes(), routes, "{}", world.tail());
            }
        }
        settled(&mut world, plane);
    }
}

#[test]
fn a_daemon_on_another_store_than_its_kernels_ends_and_takes_nothing() {
    for plane in Plane::BOTH {
        let mut world = World::new(11, 3, |config| config.mode = plane);
        settled(&mut world, plane);
        let routes = world.routes();
        for victim in 0..3 {
            world.kill(victim);
            for _ in 0..2 {
                world.start_on_an_empty_store(victim);
                world.run_for(Duration::from_secs(10));
                let words = world.nodes[victim].ended.take().expect("it goes on with an empty store");
                assert!(words.contains("mounted") && words.contains("ip nexthop flush proto 178"), "{words}");
                assert_eq!(world.routes(), routes, "{}", world.tail());
            }
            world.start(victim);
            settled(&mut world, plane);
            assert_eq!(world.routes(), routes, "{}", world.tail());
        }
    }
}

#[test]
fn a_daemon_that_waits_for_a_silent_peer_sleeps_meanwhile() {
    let mut world = World::new(12, 3, |config| config.mode = Plane::Native);
    settled(&mut world, Plane::Native);
    world.kill(2);
    world.kill(1);
    world.start(1);
    // Fails when more events pass than time could hold.
    world.run_for(Duration::from_secs(85));
}

#[test]
fn what_somebody_takes_away_comes_back() {
    for plane in Plane::BOTH {
        let mut world = World::new(4, 3, |config| config.mode = plane);
        settled(&mut world, plane);
        // The node's own prefix is left out: without its route others really lose packets.
        let remote = |key: &Key, value: &Value| match key {
            Key::Route(_) => matches!(value, Value::Route { via: Via::Hops(_), .. }),
            key => matches!(key, Key::Address(..)),
        };
        let kernel = world.nodes[0].kernel.clone();
        for (key, value) in kernel.into_iter().filter(|(key, value)| remote(key, value)) {
            world.tamper(0, key.clone(), None);
            let wanted = (key, value);
            world.run_until(MINUTE, |world| world.nodes[0].kernel.get(&wanted.0) == Some(&wanted.1));
        }
    }
}

#[test]
fn a_steady_mixed_cluster_carries_by_what_each_prefers() {
    let mut world = World::new(8, 4, |config| config.fallback = true);
    for index in 2..4 {
        world.configure(index, |config| config.mode = Plane::Native);
    }
    let on = |world: &World, index: usize, plane: Plane| {
        let routes = world.nodes[index].kernel.iter().filter_map(|(key, value)| match (key, value) {
            (Key::Route(_), Value::Route { via: Via::Hops(hops), .. }) => Some(hops[0].clone()),
            _ => None,
        });
        let planes: Vec<bool> = routes
            .map(|hop| (hop.device.as_str() == model::Owner::VXLAN_DEVICE) == (plane == Plane::Overlay))
            .collect();
        planes.len() == 6 && planes.iter().all(|right| *right)
    };
    world.run_until(5 * MINUTE, |world| {
        (0..2).all(|index| on(world, index, Plane::Overlay)) && (2..4).all(|index| on(world, index, Plane::Native))
    });
    world.run_for(MINUTE);
}

#[test]
fn a_node_that_stays_away_is_passed_over_after_a_while() {
    let mut world = World::new(6, 4, |_| {});
    settled(&mut world, Plane::Overlay);
    world.kill(3);
    world.nodes[3].abandoned = true;
    world.run_for(Duration::from_secs(1));
    world.switch(0, Plane::Native);
    let is_native = |world: &World, index: usize| {
        let core = world.nodes[index].core.as_ref().unwrap();
        let answer = core.query(world.now, jiff::Timestamp::UNIX_EPOCH, &status::Query::Status, &Default::default());
        let status::Answer::Doc(doc) = answer else { panic!("a document") };
        let status::doc::Doc::Status(status) = *doc else { panic!("a status") };
        status.state == StateName::Steady && status.carry == Plane::Native
    };
    world.run_until(5 * MINUTE, |world| (0..3).all(|index| is_native(world, index)));
}

#[test]
fn a_switch_costs_the_store_what_grows_with_the_nodes() {
    let cost = |nodes: usize| {
        let mut world = World::new(2, nodes, |_| {});
        settled(&mut world, Plane::Overlay);
        let before = (world.phase_writes, world.digest_writes);
        world.switch(0, Plane::Native);
        settled(&mut world, Plane::Native);
        world.phase_writes - before.0 + world.digest_writes - before.1
    };
    let (four, eight) = (cost(4), cost(8));
    assert!(eight <= four * 3, "4 nodes cost {four} writes, 8 nodes {eight}");
}

/// Name, status and age in whole milliseconds of a node's conditions.
fn conditions(world: &World, index: usize) -> Vec<(String, bool, i64)> {
    let time: jiff::Timestamp = "2026-05-04T12:00:00Z".parse().unwrap();
    let core = world.nodes[index].core.as_ref().unwrap();
    let said = core.query(world.now, time, &status::Query::Status, &Default::default());
    let status::Answer::Doc(doc) = said else { panic!("{said:?}") };
    let status::doc::Doc::Status(doc) = *doc else { panic!("{doc:?}") };
    let age = |at: &str| time.duration_since(at.parse().unwrap()).as_millis() as i64;
    doc.conditions.iter().map(|c| (c.name.clone(), c.status, age(c.last_transition_time.as_ref().unwrap()))).collect()
}

#[test]
fn conditions_tell_when_they_last_changed() {
    let mut world = World::new(2, 3, |_| {});
    settled(&mut world, Plane::Overlay);
    let began = world.now;
    world.run_for(MINUTE);
    let before = conditions(&world, 0);
    assert!(before[0].1 && before[0].2 >= 60_000, "ready since before the quiet minute: {before:?}");
    assert_eq!((before[1].0.as_str(), before[1].1), ("Progressing", false));
    world.switch(0, Plane::Native);
    settled(&mut world, Plane::Native);
    let took = world.now.since(began).as_millis() as i64 - 60_000;
    let after = conditions(&world, 0);
    assert!(after[0].1, "ready all the time: {after:?}");
    assert!((after[0].2 - before[0].2 - took).abs() <= 1, "{before:?}, {after:?}, {took} ms");
    assert!(!after[1].1 && after[1].2 < took, "Progressing came and went within the switch: {after:?}, {took} ms");
}

/// Mesh to reflectors, to other reflectors, and back to the mesh, by a file that changes node by node: after every event
/// a packet sent between any two pods would arrive, and sessions that stay in the topology are never reset.
///
/// Checklist: 90
#[test]
fn reflectors_come_change_and_go_and_no_packet_is_lost() {
    // Not the router ID of a node: who has that would take them for its own.
    let cluster = |n: u8| Some(std::net::Ipv4Addr::new(244, 0, 0, n));
    let (a, b) = (cluster(1), cluster(2));
    // CLUSTER_IDs of the nodes: none; one for all, so that old and new reflectors share it; two.
    let all = [
        ([None; 5], [4, 4, 2, 2, 2], [2, 2, 4, 4, 2]),
        ([a; 5], [4, 4, 2, 2, 2], [2, 2, 4, 4, 2]),
        ([a, b, a, b, a], [3, 2, 1, 1, 1], [1, 1, 3, 2, 1]),
    ];
    for seed in 1..10 {
        let (clusters, first, second) = all[seed as usize % 3];
        let mut world = World::new(seed, 5, |config| config.mode = Plane::Native);
        settled(&mut world, Plane::Native);
        assert_eq!(counts(&world), [4; 5], "a full mesh");
        let steps: [(Option<[usize; 2]>, [usize; 5]); 3] =
            [(Some([0, 1]), first), (Some([2, 3]), second), (None, [4; 5])];
        for (reflectors, expected) in steps {
            let before: Vec<_> = (0..5).map(|index| uptimes(&world, index)).collect();
            let nodes = |these: [usize; 2]| these.map(|n| format!("n{n}").parse().unwrap()).to_vec();
            for (index, cluster_id) in clusters.into_iter().enumerate() {
                world.configure(index, |config| {
                    config.bgp.reflectors = reflectors.map(|these| model::reflection::ReflectorsConfig {
                        nodes: nodes(these),
                        cluster_id,
                        ..Default::default()
                    });
                });
                let wait = Duration::from_millis(world.dice.roll(1_500));
                world.run_for(wait);
            }
            world.run_until(5 * MINUTE, |world| counts(world) == expected);
            world.run_for(Duration::from_secs(20));
            assert_eq!(counts(&world), expected, "and so it stays");
            for (index, before) in before.iter().enumerate() {
                for (peer, uptime) in uptimes(&world, index).iter().filter(|(peer, _)| before.contains_key(*peer)) {
                    assert!(*uptime >= before[peer] + 20.0, "n{index}: the session with {peer} was reset");
                }
            }
            settled(&mut world, Plane::Native);
        }
    }
}

/// Reflectors that are chosen by number die, and others take over.
#[test]
fn chosen_reflectors_that_die_are_replaced() {
    let mut world = World::new(3, 6, |config| {
        config.mode = Plane::Native;
        config.bgp.reflectors =
            Some(model::reflection::ReflectorsConfig { above: Some(4), count: 2, ..Default::default() });
    });
    settled(&mut world, Plane::Native);
    let two = |world: &World| {
        let mut counts = counts(world);
        counts.sort_unstable();
        counts == [2, 2, 2, 2, 5, 5]
    };
    world.run_until(5 * MINUTE, two);
    let reflector = counts(&world).iter().position(|count| *count == 5).unwrap();
    world.kill(reflector);
    let live = |world: &World| {
        let mut counts: Vec<usize> = (0..6).filter(|n| *n != reflector).map(|n| of(world, n)).collect();
        counts.sort_unstable();
        counts == [2, 2, 2, 4, 4]
    };
    world.run_until(10 * MINUTE, live);
}

fn counts(world: &World) -> Vec<usize> {
    (0..world.nodes.len()).map(|index| of(world, index)).collect()
}

fn of(world: &World, index: usize) -> usize {
    uptimes(world, index).len()
}

/// Established sessions of a node by peer, and for how many seconds they have been.
fn uptimes(world: &World, index: usize) -> std::collections::BTreeMap<String, f64> {
    let core = world.nodes[index].core.as_ref().unwrap();
    let answer = core.query(
        world.now,
        jiff::Timestamp::UNIX_EPOCH,
        &status::Query::BgpPeers,
        &std::collections::BTreeMap::new(),
    );
    let status::Answer::Doc(doc) = answer else { panic!("no document") };
    let status::doc::Doc::BgpPeerList(peers) = *doc else { panic!("not what was asked for") };
    let up = peers.items.iter().filter(|peer| peer.state == status::doc::BgpState::Established);
    up.map(|peer| (peer.address.to_string(), peer.uptime_seconds.unwrap_or_default())).collect()
}
