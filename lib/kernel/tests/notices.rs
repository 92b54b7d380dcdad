//! What the worker thread tells of changes that others make, in a real kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod netns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::{Command, Event, Interest};
use model::kernel::{Hop, Key, Value, Via, Write};
use netns::*;

const QUIET: Duration = Duration::from_millis(200);

/// A worker with a link, a remote node and a route to it.
fn standing() -> Ear {
    underlay();
    let ear = worker();
    assert_eq!(ear.write(create([link(vxlan(1))])), []);
    assert_eq!(ear.write(create(remote(2).into_iter().chain([route("10.244.2.0/24", &[over(2)])]))), []);
    ear.until_quiet(QUIET);
    ear
}

fn read_back(ear: &Ear) -> (Vec<(Key, Value)>, Vec<model::kernel::Foreign>) {
    ear.worker.send(Command::ReadBack(interest()));
    ear.wait("read-back", |event| match event {
        Event::ReadBack { ours, foreign, .. } => Some((ours, foreign)),
        _ => None,
    })
}

#[test]
fn own_writes_make_no_news() {
    fresh(|| {
        underlay();
        let ear = worker();
        ear.write(create([link(vxlan(1))]));
        ear.until_quiet(QUIET);
        let native = hop("10.0.0.2", "eth0");
        let (key, _) = route("10.244.2.0/24", &[over(2)]);
        ear.write(create(remote(2).into_iter().chain([nexthop(native.clone()), route("10.244.2.0/24", &[over(2)])])));
        ear.write(replace(route_via("10.244.2.0/24", &native)));
        ear.write(delete(key));
        ear.write(delete(Key::Nexthop(native)));
        assert_eq!(ear.until_quiet(QUIET), []);
    });
}

#[test]
fn what_is_taken_away_or_altered_by_hand_is_told_at_once() {
    fresh(|| {
        let ear = standing();
        let [fdb, neighbour, _] = <[_; 3]>::try_from(remote(2)).unwrap();
        let to = route("10.244.2.0/24", &[over(2)]);
        let lo = Key::Address(device("lo"), prefix("10.244.1.2/32"));
        ear.write(create([(lo.clone(), Value::There), unreachable("fd44:0:0:1::/64")]));

        run("ip route del 10.244.2.0/24");
        ear.wait_changed(&to.0, None);
        ear.write(create([to.clone()]));
        run("ip route replace 10.244.2.0/24 via 10.0.0.9 proto 178 metric 1178");
        ear.wait("an altered route", |event| {
            matches!(event, Event::Changed(key, Some(value)) if key == to.0 && value != to.1).then_some(())
        });
        ear.write(replace(to.clone()));
        run("ip -6 route del fd44:0:0:1::/64");
        ear.wait_changed(&unreachable("fd44:0:0:1::/64").0, None);

        run("bridge fdb del 02:00:00:00:00:02 dev biplane.vxlan");
        ear.wait_changed(&fdb.0, None);
        ear.write(create([fdb.clone()]));
        run("bridge fdb replace 02:00:00:00:00:02 dev biplane.vxlan dst 10.0.0.77 extern_learn");
        ear.wait_changed(&fdb.0, Some(&Value::Fdb("10.0.0.77".parse().unwrap())));
        ear.write(replace(fdb.clone()));

        run("ip neigh del fe80::ff:fe00:2 dev biplane.vxlan");
        ear.wait_changed(&neighbour.0, None);
        assert_eq!(ear.write(create([neighbour.clone()])), []);
        run("ip neigh replace fe80::ff:fe00:2 lladdr 02:00:00:00:00:99 dev biplane.vxlan nud permanent");
        ear.wait_changed(&neighbour.0, Some(&Value::Neighbour(mac(0x99))));
        ear.write(replace(neighbour.clone()));
        run("ip neigh replace fe80::ff:fe00:2 lladdr 02:00:00:00:00:02 dev biplane.vxlan nud reachable");
        ear.wait_changed(&neighbour.0, None);
        assert_eq!(ear.write(create([neighbour.clone()])), []);

        run("ip addr del 10.244.1.2/32 dev lo");
        ear.wait_changed(&lo, None);

        run("ip link set biplane.vxlan mtu 1300");
        ear.wait("the link's MTU", |event| {
            matches!(event, Event::Changed(Key::Link(_), Some(Value::Link(link))) if link.mtu == 1300).then_some(())
        });
        ear.until_quiet(QUIET);
        assert_found([fdb, neighbour, to]);
    });
}

#[test]
fn an_object_that_goes_calls_for_a_read_back_as_its_routes_go_silently() {
    fresh(|| {
        let ear = standing();
        let to = route("10.244.2.0/24", &[over(2)]);
        run("ip nexthop flush");
        ear.wait_changed(&Key::Nexthop(over(2)), None);
        assert!(ear.wait_read_back().contains("routes"));
        let (ours, _) = read_back(&ear);
        assert!(!ours.iter().any(|(key, _)| *key == to.0));
        assert_eq!(ear.write(create([nexthop(over(2)), to.clone()])), []);
        assert_found([to.clone()]);

        // Altered in place, with or without our mark.
        for mark in ["", "proto 178"] {
            let line = run("ip nexthop show");
            let id =
                line.lines().find(|l| l.contains("proto 178")).unwrap().split_whitespace().nth(1).unwrap().to_owned();
            run(&format!("ip nexthop replace id {id} via 10.0.0.66 dev eth0 {mark}"));
            ear.wait_changed(&Key::Nexthop(over(2)), None);
            assert!(ear.wait_read_back().contains("altered"));
            let (ours, _) = read_back(&ear);
            assert!(ours.iter().any(|(key, value)| *key == to.0 && *value != to.1), "the route leads elsewhere now");
            assert_eq!(ear.write(create([nexthop(over(2))])), []);
            assert_eq!(ear.write(replace(to.clone())), []);
            assert_found([to.clone()]);
            // The stray, if it is ours by mark, can be taken away; the route stays.
            ear.write(delete(Key::Nexthop(hop("10.0.0.66", "eth0"))));
            assert_found([to.clone()]);
        }
    });
}

#[test]
fn links_that_go_down_or_away_call_for_a_read_back() {
    fresh(|| {
        let ear = standing();
        run("ip link set biplane.vxlan down");
        ear.wait("the link is down", |event| {
            matches!(event, Event::Changed(Key::Link(_), Some(Value::OtherLink(_)))).then_some(())
        });
        ear.wait("links", |event| {
            matches!(event, Event::Links(links) if links.iter().any(|l| l.device == overlay() && !l.up)).then_some(())
        });
        assert!(ear.wait_read_back().contains("went down"));
        let (ours, _) = read_back(&ear);
        assert_eq!(ours.iter().map(|(key, _)| key.kind()).collect::<Vec<_>>(), ["link", "fdb"]);
        assert_eq!(ear.write(replace(link(vxlan(1)))), []);
        assert_eq!(ear.write(create(remote(2).into_iter().skip(1).chain([route("10.244.2.0/24", &[over(2)])]))), []);
        assert_found([route("10.244.2.0/24", &[over(2)])]);
        ear.until_quiet(QUIET);

        run("ip link del biplane.vxlan");
        ear.wait_changed(&Key::Link(overlay()), None);
        assert!(ear.wait_read_back().contains("biplane.vxlan"));
        assert_eq!(read_back(&ear).0, []);
        assert_eq!(ear.write(create([link(vxlan(1))])), []);
        assert_eq!(ear.write(create(remote(2))), []);

        // The underlay loses its carrier: native objects go without a word of their own.
        let native = hop("10.0.0.2", "eth0");
        assert_eq!(ear.write(create([nexthop(native.clone()), route_via("10.244.3.0/24", &native)])), []);
        ear.until_quiet(QUIET);
        run("ip link set peer down");
        assert!(ear.wait_read_back().contains("eth0"));
        run("ip link set peer up");
        ear.wait("the carrier is back", |event| {
            matches!(event, Event::Links(links) if links.iter().any(|l| l.device == device("eth0") && l.up))
                .then_some(())
        });
        let (ours, _) = read_back(&ear);
        let lost: Vec<_> = [nexthop(native.clone()), route("10.244.3.0/24", &[native])]
            .into_iter()
            .filter(|object| !ours.contains(object))
            .collect();
        assert_eq!(ear.write(create(lost.clone())), []);
        assert_found(lost);
    });
}

#[test]
fn objects_of_others_are_told_when_they_come_and_go() {
    fresh(|| {
        let ear = standing();
        let to = route("10.244.2.0/24", &[over(2)]);
        let told = |key: &Key, words: &str| {
            ear.wait(words, |event| match event {
                Event::Foreign(foreign) if foreign.key == *key => {
                    assert!(foreign.what.contains(words), "{foreign:?}");
                    Some(())
                }
                _ => None,
            });
        };
        // Beside ours.
        run("ip route add 10.244.2.0/24 via 10.0.0.9 metric 5 proto static");
        told(&to.0, "static");
        run("ip route del 10.244.2.0/24 metric 5");
        assert!(ear.wait_read_back().contains("somebody else's"));
        // In place of ours.
        run("ip route replace 10.244.2.0/24 via 10.0.0.9 metric 1178 proto bird");
        ear.wait_changed(&to.0, None);
        let (ours, foreign) = read_back(&ear);
        assert!(!ours.iter().any(|(key, _)| *key == to.0));
        assert!(foreign.iter().any(|foreign| foreign.key == to.0 && foreign.what.contains("bird")));

        run("bridge fdb add 02:00:00:00:00:77 dev biplane.vxlan dst 10.0.0.7");
        told(&Key::Fdb(overlay(), mac(0x77)), "10.0.0.7");
        run("ip neigh add fe80::77 lladdr 02:00:00:00:00:77 dev biplane.vxlan nud permanent");
        told(&Key::Neighbour(overlay(), "fe80::77".parse().unwrap()), "02:00:00:00:00:77");
        run("ip link add cilium_vxlan type vxlan dstport 8472 external");
        told(&Key::Link(device("cilium_vxlan")), "8472");
        run("ip link del cilium_vxlan");
        assert!(ear.wait_read_back().contains("cilium_vxlan"));
        run("nft add table inet biplane");
        told(&Key::Masquerade, "postrouting");
        // Routes outside the pools, of the kernel, and in other tables are nobody's business.
        ear.until_quiet(QUIET);
        run("ip route add 192.168.0.0/16 via 10.0.0.9");
        run("ip route add 10.244.77.0/24 via 10.0.0.9 table 100");
        run("ip addr add 10.244.99.1/24 dev eth0");
        let heard = ear.until_quiet(QUIET);
        assert!(heard.iter().all(|event| matches!(event, Event::Links(_))), "{heard:?}");
    });
}

#[test]
fn sysctls_and_masquerade_are_watched() {
    fresh(|| {
        underlay();
        let ear = worker();
        let path: Arc<str> = Arc::from("net/ipv4/conf/eth0/rp_filter");
        let key = Key::Sysctl(Arc::clone(&path));
        ear.worker.send(Command::ReadBack(Interest { sysctls: vec![path], ..interest() }));
        ear.write(create([(key.clone(), Value::Sysctl("2".into()))]));
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/rp_filter", "1").unwrap();
        ear.wait_changed(&key, Some(&Value::Sysctl("1".into())));

        let masquerade = model::kernel::Masquerade { sources: vec![prefix("10.244.1.0/24")], exclude: vec![] };
        ear.write(create([(Key::Masquerade, Value::Masquerade(masquerade.into()))]));
        run("nft delete table inet biplane");
        ear.wait_changed(&Key::Masquerade, None);
    });
}

#[test]
fn a_source_that_goes_calls_for_a_read_back() {
    fresh(|| {
        underlay();
        let ear = worker();
        let way = hop("10.0.0.2", "eth0");
        let lo = Key::Address(device("lo"), prefix("10.244.1.2/32"));
        let value =
            Value::Route { via: Via::hops(vec![way.clone()]).unwrap(), src: Some("10.244.1.2".parse().unwrap()) };
        let to = (Key::Route(prefix("10.244.2.0/24")), value);
        assert_eq!(ear.write(create([(lo.clone(), Value::There), nexthop(way), to.clone()])), []);
        run("ip addr del 10.244.1.2/32 dev lo");
        ear.wait_changed(&lo, None);
        assert!(ear.wait_read_back().contains("10.244.1.2"));
        assert!(!read_back(&ear).0.contains(&to), "the kernel took the route along");
    });
}

#[test]
fn a_few_routes_are_written_by_whoever_sends_them_and_in_order() {
    fresh(|| {
        let ear = standing();
        // Now and then the thread is awake and does it.
        let at_once = (3..23u8).filter(|n| {
            let to = route(&format!("10.244.{n}.0/24"), &[over(2)]);
            ear.until_quiet(QUIET);
            ear.worker.send(Command::Write(create([to.clone()])));
            let told = ear.next().is_some_and(|event| matches!(event, Event::Wrote(_)));
            if told {
                assert_found([to]);
            }
            told
        });
        assert!(at_once.count() > 10, "the thread was woken for single routes");
        for n in 30..40u8 {
            ear.until_quiet(QUIET);
            ear.worker.send(Command::ReadBack(interest()));
            ear.worker.send(Command::Write(create([route(&format!("10.244.{n}.0/24"), &[over(2)])])));
            ear.wait("the read-back first", |event| match event {
                Event::ReadBack { .. } => Some(()),
                Event::Wrote(_) => panic!("a write overtook a read-back"),
                _ => None,
            });
            ear.wait("the write", |event| matches!(event, Event::Wrote(_)).then_some(()));
        }
    });
}

#[test]
fn a_route_that_somebody_else_writes_too_ends_as_told_or_in_doubt() {
    fresh(|| {
        let ear = standing();
        let (key, value) = route("10.244.9.0/24", &[over(2)]);
        let mut other = open();
        for round in 0..200 {
            ear.until_quiet(Duration::ZERO);
            let rival = std::thread::scope(|scope| {
                let (key, value) = (&key, &value);
                let other = &mut other;
                let rival = scope.spawn(move || {
                    let write = match round % 2 {
                        0 => Write::Create(key.clone(), value.clone()),
                        _ => Write::Delete(key.clone()),
                    };
                    other.apply(vec![write])
                });
                let write = match round % 3 {
                    0 => Write::Delete(key.clone()),
                    _ => Write::Replace(key.clone(), value.clone()),
                };
                ear.worker.send(Command::Write(vec![write]));
                rival.join().unwrap()
            });
            let (mut believed, mut doubt) = (None, false);
            let seen = ear.until_quiet(Duration::from_millis(20));
            for event in &seen {
                match event {
                    Event::Wrote(results) => {
                        for (write, _) in results.iter().filter(|(_, result)| result.is_ok()) {
                            believed = Some(match write {
                                Write::Create(_, value) | Write::Replace(_, value) => Some(value.clone()),
                                Write::Delete(_) => None,
                            });
                            doubt = false;
                        }
                    }
                    Event::Changed(changed, told) if *changed == key => believed = Some(told.clone()),
                    Event::ReadBackNeeded(_) => doubt = true,
                    _ => {}
                }
            }
            // Where nothing was told nothing changed: both were refused.
            if let (Some(believed), false) = (believed, doubt) {
                assert_eq!(found(&key), believed, "round {round}: {seen:#?}; the rival: {rival:?}");
            }
        }
    });
}

/// Checklist: 110
#[test]
fn lost_notices_call_for_a_read_back() {
    fresh(|| {
        underlay();
        // The events of the thread block it until the flood is over, so that its receive buffer must run over.
        let (sender, events) = std::sync::mpsc::channel();
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let mut gate = Some(gate);
        let worker = kernel::Worker::spawn(kernel::Options { overlay: overlay() }, move |event| {
            if matches!(event, Event::Resolved(_))
                && let Some(gate) = gate.take()
            {
                let _ = gate.recv();
            }
            let _ = sender.send(event);
        })
        .unwrap();
        worker.send(Command::ReadBack(interest()));
        worker.send(Command::Resolve(vec![Hop { gateway: None, device: device("eth0") }]));
        let way = hop("10.0.0.2", "eth0");
        let mut flood = open();
        done(&mut flood, create([nexthop(way.clone())]));
        let routes: Vec<_> = (0..30_000u32)
            .map(|n| {
                let to = model::Prefix::new(std::net::Ipv4Addr::from(0x0af4_0000 + n).into(), 32).unwrap();
                (Key::Route(to), Value::Route { via: Via::hops(vec![way.clone()]).unwrap(), src: None })
            })
            .collect();
        done(&mut flood, create(routes.clone()));
        done(&mut flood, routes.iter().map(|(key, _)| Write::Delete(key.clone())).collect());
        go.send(()).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            match events.recv_timeout(end.saturating_duration_since(Instant::now())).expect("a call for a read-back") {
                Event::ReadBackNeeded(why) if why.contains("lost") => break,
                _ => {}
            }
        }
        // It goes on as before.
        worker.send(Command::ReadBack(interest()));
        worker.send(Command::Write(create([route("10.244.2.0/24", &[way])])));
        loop {
            let event = events.recv_timeout(end.saturating_duration_since(Instant::now())).expect("an answer");
            if let Event::Wrote(results) = event {
                assert!(results.iter().all(|(_, result)| result.is_ok()), "{results:?}");
                break;
            }
        }
    });
}
