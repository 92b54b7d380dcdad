//! Nexthop objects and routes in a real kernel: made, found again, replaced in one step, altered, spared.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod netns;

use std::io::BufRead as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::kernel::{Hop, Key, Value, Via, Write};
use netns::*;

#[test]
fn a_restarted_daemon_goes_on_with_the_numbers_it_finds() {
    fresh(|| {
        underlay();
        let hops = [hop("10.0.0.2", "eth0"), hop("10.0.0.3", "eth0")];
        let group = (Key::NexthopGroup(Arc::from(hops.clone())), Value::There);
        let objects = vec![nexthop(hops[0].clone()), nexthop(hops[1].clone()), group.clone()];
        done(&mut open(), create(objects.clone()));
        assert_found(objects.clone());

        let mut again = open();
        let ecmp = route("10.244.2.0/24", &hops);
        let single = route("10.244.3.0/24", &hops[1..]);
        done(&mut again, create([ecmp.clone(), single.clone()]));
        assert_found([ecmp, single]);
        assert!(run("ip route show 10.244.2.0/24").contains("nexthop via 10.0.0.3"));
        assert_eq!(refused(&mut again, create([group.clone()])).errno, libc::EEXIST);
        assert_eq!(refused(&mut again, create([nexthop(hops[0].clone())])).errno, libc::EEXIST);

        // Somebody holds the next numbers.
        let ids: Vec<u32> =
            run("ip nexthop show").lines().filter_map(|l| l.split_whitespace().nth(1)?.parse().ok()).collect();
        let last = ids.iter().max().unwrap();
        for taken in [last + 1, last + 2] {
            run(&format!("ip nexthop add id {taken} via 10.0.0.66 dev eth0"));
        }
        let third = hop("10.0.0.4", "eth0");
        done(&mut again, create([nexthop(third.clone()), route_via("10.244.4.0/24", &third)]));
        assert_found([nexthop(third.clone()), route("10.244.4.0/24", &[third])]);
        assert!(run("ip route show 10.244.4.0/24").contains("via 10.0.0.4"));
    });
}

#[test]
fn a_route_without_its_object_is_refused_and_disturbs_nobody() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        let good = hop("10.0.0.2", "eth0");
        let results = kernel.apply(create([
            route("10.244.8.0/24", &[hop("10.0.0.99", "eth0")]),
            nexthop(good.clone()),
            nexthop(hop("192.168.99.1", "eth0")),
            route("10.244.9.0/24", &[hop("192.168.99.1", "eth0")]),
            route_via("10.244.7.0/24", &good),
            (Key::NexthopGroup(Arc::from([good.clone(), hop("10.0.0.98", "eth0")])), Value::There),
            route("10.244.6.0/24", &[hop("10.0.0.97", "nowhere")]),
            nexthop(hop("10.0.0.97", "nowhere")),
        ]));
        let errno: Vec<i32> =
            results.iter().map(|(_, r)| r.as_ref().err().map_or(0, |refusal| refusal.errno)).collect();
        assert_eq!(errno[0], libc::ENOENT);
        assert!(results[0].1.as_ref().unwrap_err().message.contains("10.0.0.99"));
        assert_eq!((errno[1], errno[4]), (0, 0));
        assert_ne!(errno[2], 0, "a gateway on no connected network");
        let refusal = results[2].1.as_ref().unwrap_err();
        assert!(refusal.message.contains("gateway"), "the kernel's own words: {refusal}");
        assert_eq!((errno[3], errno[5], errno[6]), (libc::ENOENT, libc::ENOENT, libc::ENOENT));
        assert_eq!(errno[7], libc::ENODEV);
        assert_found([route_via("10.244.7.0/24", &good)]);

        // An object that somebody took away without our hearing of it: the kernel's refusal is told as what it is.
        run("ip nexthop flush");
        let refusal = refused(&mut kernel, create([route_via("10.244.5.0/24", &good)]));
        assert_eq!(refusal.errno, libc::ENOENT);
        done(&mut kernel, create([nexthop(good.clone()), route("10.244.5.0/24", &[good])]));
    });
}

/// The same for both families: the key stays, what it leads to changes in one step.
fn flips(pool: &str, native: &Hop) {
    let mut kernel = open();
    done(&mut kernel, create([link(vxlan(1))]));
    done(&mut kernel, create(remote(2)));
    done(&mut kernel, create([nexthop(native.clone())]));
    let family = if pool.contains(':') { "-6" } else { "-4" };
    let states = [route(pool, &[over(2)]), unreachable(pool), route_via(pool, native), unreachable(pool)];
    done(&mut kernel, create([unreachable(pool)]));
    for state in states.iter().chain(states.iter().rev()).chain([&states[0], &states[2], &states[0]]) {
        done(&mut kernel, replace(state.clone()));
        assert_found([state.clone()]);
        let lines = run(&format!("ip {family} route show table main {pool}"));
        assert_eq!(lines.lines().count(), 1, "{lines}");
    }
    // Create does not go over a route of our own either.
    assert_eq!(refused(&mut kernel, create([states[2].clone()])).errno, libc::EEXIST);
    assert_found([states[0].clone()]);
    done(&mut kernel, delete(states[0].0.clone()));
    done(&mut kernel, delete(states[0].0.clone()));
    assert_eq!(found(&states[0].0), None);
    // Replace never makes.
    let refusal = refused(&mut kernel, replace(states[2].clone()));
    assert!(matches!(refusal.errno, libc::ENOENT | libc::ESRCH), "{refusal}");
    assert_eq!(found(&states[0].0), None);
}

/// Checklist: 18
#[test]
fn an_ipv4_route_is_replaced_in_one_step() {
    fresh(|| {
        underlay();
        flips("10.244.2.0/24", &hop("10.0.0.2", "eth0"));
    });
}

/// Checklist: 18
#[test]
fn an_ipv6_route_is_replaced_in_one_step() {
    fresh(|| {
        underlay();
        flips("fd44:0:0:2::/64", &hop("fd00::2", "eth0"));
    });
}

#[test]
fn an_ipv4_route_goes_over_an_ipv6_gateway() {
    fresh(|| {
        underlay();
        flips("10.244.2.0/24", &hop("fd00::2", "eth0"));
    });
}

/// Checklist: 18
#[test]
fn no_flip_ever_deletes() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        let natives = [hop("10.0.0.2", "eth0"), hop("fd00::2", "eth0")];
        done(&mut kernel, create([link(vxlan(1))]));
        done(&mut kernel, create(remote(2)));
        done(&mut kernel, create(natives.iter().cloned().map(nexthop)));
        let pools = ["10.244.2.0/24", "fd44:0:0:2::/64"];
        done(&mut kernel, create(pools.map(unreachable)));

        let mut monitor = std::process::Command::new("ip")
            .args(["monitor", "route"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(monitor.stdout.take().unwrap()).lines();
        let (sender, heard) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || lines.map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        let end = Instant::now() + Duration::from_secs(10);
        // It overhears what comes while it starts; and the kernel does not tell of a replace by the same.
        let mark = "10.244.99.0/24";
        done(&mut kernel, create([unreachable(mark)]));
        while !heard.try_iter().any(|line| line.contains(mark)) {
            assert!(Instant::now() < end, "ip monitor does not listen");
            done(&mut kernel, replace(route_via(mark, &over(2))));
            done(&mut kernel, replace(unreachable(mark)));
            std::thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..20 {
            for (pool, native) in pools.iter().zip(&natives) {
                done(&mut kernel, replace(route_via(pool, &over(2))));
                done(&mut kernel, replace(route_via(pool, native)));
                done(&mut kernel, replace(unreachable(pool)));
            }
        }
        done(&mut kernel, create([unreachable("10.244.98.0/24")]));
        let mut flips = 0;
        loop {
            let line = heard.recv_timeout(end.saturating_duration_since(Instant::now())).expect("the last route");
            assert!(!line.contains("Deleted"), "{line}");
            flips += usize::from(pools.iter().any(|pool| line.contains(pool)));
            if line.contains("10.244.98.0/24") {
                break;
            }
        }
        assert_eq!(flips, 120);
        monitor.kill().unwrap();
        monitor.wait().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn routes_of_one_device_without_gateway_serve_both_families() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        let bare = Hop { gateway: None, device: device("eth0") };
        let objects = [nexthop(bare.clone()), route_via("10.244.2.0/24", &bare), route("fd44:0:0:2::/64", &[bare])];
        done(&mut kernel, create(objects.clone()));
        assert_found(objects);
    });
}

/// Checklist: 108
#[test]
fn groups_take_members_of_both_families() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        for (pool, gateways) in
            [("10.244.2.0/24", ["10.0.0.2", "10.0.0.3"]), ("fd44:0:0:2::/64", ["fd00::2", "fd00::3"])]
        {
            let Some(Via::Hops(hops)) = Via::hops(gateways.map(|g| hop(g, "eth0")).to_vec()) else { panic!() };
            let mut objects: Vec<_> = hops.iter().cloned().map(nexthop).collect();
            objects.push((Key::NexthopGroup(Arc::clone(&hops)), Value::There));
            objects.push(route(pool, &hops));
            done(&mut kernel, create(objects.clone()));
            assert_found(objects.clone());
            // From a group to one hop and back.
            done(&mut kernel, replace(route(pool, &hops[..1])));
            assert_found([route(pool, &hops[..1])]);
            done(&mut kernel, replace(route(pool, &hops)));
            done(&mut kernel, objects.iter().rev().map(|(key, _)| Write::Delete(key.clone())).collect());
            for (key, _) in &objects {
                assert_eq!(found(key), None);
            }
        }
    });
}

#[test]
fn routes_keep_the_preferred_source() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        for (source, to, gateway) in
            [("10.244.1.2/32", "10.244.2.0/24", "10.0.0.2"), ("fd44:0:0:1::2/128", "fd44:0:0:2::/64", "fd00::2")]
        {
            let address = prefix(source);
            let way = hop(gateway, "eth0");
            let (key, _) = route_via(to, &way);
            let via = Via::hops(vec![way.clone()]).unwrap();
            let value = Value::Route { via, src: Some(address.address()) };
            let refusal = kernel.apply(create([nexthop(way), (key.clone(), value.clone())])).remove(1).1.unwrap_err();
            assert!(refusal.errno != 0, "a source that is not ours yet");
            done(
                &mut kernel,
                create([(Key::Address(device("lo"), address), Value::There), (key.clone(), value.clone())]),
            );
            assert_found([(key, value)]);
        }
    });
}

/// Checklist: 106
#[test]
fn a_foreign_twin_of_a_route_is_told_and_stays() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        for (family, to, gateway) in [("-4", "10.244.2.0/24", "10.0.0.2"), ("-6", "fd44:0:0:2::/64", "fd00::2")] {
            let way = hop(gateway, "eth0");
            done(&mut kernel, create([nexthop(way.clone())]));
            let ours = route_via(to, &way);
            run(&format!("ip {family} route add {to} via {gateway} metric 1178 proto static"));
            assert_eq!(refused(&mut kernel, create([ours.clone()])).errno, libc::EEXIST);
            assert!(foreign(&mut kernel, &ours.0).unwrap().contains("static"));
            done(&mut kernel, delete(ours.0.clone()));
            assert!(run(&format!("ip {family} route show {to}")).contains("static"));
            assert_eq!(found(&ours.0), None);

            // Beside ours, with another metric: both stand.
            run(&format!("ip {family} route del {to} metric 1178"));
            run(&format!("ip {family} route add {to} via {gateway} metric 5 proto static"));
            done(&mut kernel, create([ours.clone()]));
            assert_found([ours.clone()]);
            assert!(foreign(&mut kernel, &ours.0).unwrap().contains("metric 5"));
            done(&mut kernel, delete(ours.0.clone()));
            assert!(run(&format!("ip {family} route show {to}")).contains("metric 5"));
        }
    });
}

/// Number of the first nexthop object with this gateway.
fn id_via(gateway: &str) -> String {
    let objects = run("ip nexthop show");
    let line = objects.lines().find(|line| line.contains(&format!("via {gateway} "))).unwrap();
    line.split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn altered_routes_and_objects_are_seen() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        let (one, two) = (hop("10.0.0.2", "eth0"), hop("10.0.0.3", "eth0"));
        let ours = route_via("10.244.2.0/24", &one);
        done(&mut kernel, create([nexthop(one.clone()), nexthop(two.clone()), ours.clone()]));
        run("ip route replace 10.244.2.0/24 via 10.0.0.9 proto 178 metric 1178");
        match found(&ours.0) {
            Some(Value::Route { via: Via::Other(words), .. }) => assert!(words.contains("10.0.0.9"), "{words}"),
            other => panic!("{other:?}"),
        }
        done(&mut kernel, replace(ours.clone()));
        assert_found([ours.clone()]);

        // An object altered in place takes its routes along: both are told.
        let id = id_via("10.0.0.2");
        run(&format!("ip nexthop replace id {id} via 10.0.0.3 dev eth0"));
        let mut again = open();
        let back = read(&mut again);
        assert!(!back.ours.contains(&nexthop(one.clone())));
        assert!(back.ours.iter().any(|(key, value)| *key == ours.0 && *value != ours.1));
        done(&mut again, create([nexthop(one.clone())]));
        done(&mut again, replace(ours.clone()));
        assert_found([nexthop(one), ours.clone()]);

        // A path MTU that somebody pinned on it is not what we wrote.
        let id = id_via("10.0.0.2");
        run(&format!("ip route replace 10.244.2.0/24 nhid {id} mtu 900 proto 178 metric 1178"));
        assert!(!matches!(found(&ours.0), Some(value) if value == ours.1));
    });
}

/// Outside the pools a host has routes of its own, and those are nobody's business; unless one of ours has the same prefix,
/// by a policy that accepts it.
#[test]
fn outside_the_pools_only_what_shares_a_prefix_with_ours_is_told() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        run("ip route add default via 10.0.0.9 metric 100 proto static");
        run("ip -6 route add default via fd00::9 metric 1024 proto static");
        run("ip route add 198.51.100.0/24 via 10.0.0.9");
        let told = |kernel: &mut kernel::Kernel| -> Vec<String> {
            read(kernel).foreign.into_iter().map(|foreign| format!("{}: {}", foreign.key, foreign.what)).collect()
        };
        assert_eq!(told(&mut kernel), [""; 0]);
        let (four, six) = (hop("10.0.0.2", "eth0"), hop("fd00::2", "eth0"));
        done(&mut kernel, create([nexthop(four.clone()), nexthop(six.clone())]));
        done(&mut kernel, create([route_via("0.0.0.0/0", &four), route_via("::/0", &six)]));
        assert_eq!(
            told(&mut kernel),
            [
                "route 0.0.0.0/0: protocol static, metric 100, via 10.0.0.9 dev eth0",
                "route ::/0: protocol static, metric 1024, via fd00::9 dev eth0",
            ]
        );
        // They stay when ours go, and nothing is told of them any more.
        done(&mut kernel, delete(Key::Route(prefix("0.0.0.0/0"))));
        done(&mut kernel, delete(Key::Route(prefix("::/0"))));
        assert_eq!(told(&mut kernel), [""; 0]);
        assert!(
            run("ip route show default").contains("10.0.0.9") && run("ip -6 route show default").contains("fd00::9")
        );

        // On our very key there is one route only: ours is refused, and who has it is told.
        run("ip route add default via 10.0.0.9 metric 1178 proto static");
        assert_eq!(refused(&mut kernel, create([route_via("0.0.0.0/0", &four)])).errno, libc::EEXIST);
        assert_eq!(told(&mut kernel), ["route 0.0.0.0/0: protocol static, metric 1178, via 10.0.0.9 dev eth0"]);
    });
}

#[test]
fn somebodys_route_beside_a_new_one_of_ours_is_told_at_once() {
    fresh(|| {
        underlay();
        run("ip route add default via 10.0.0.9 metric 100 proto static");
        let ear = worker();
        run("ip -6 route add default via fd00::9 metric 1024 proto static");
        let (four, six) = (hop("10.0.0.2", "eth0"), hop("fd00::2", "eth0"));
        for (next, to, what) in [
            (four, "0.0.0.0/0", "protocol static, metric 100, via 10.0.0.9 dev eth0"),
            (six, "::/0", "protocol static, metric 1024, via fd00::9 dev eth0"),
        ] {
            ear.worker.send(kernel::Command::Write(create([nexthop(next.clone()), route_via(to, &next)])));
            let told = ear.wait("the route beside", |event| match event {
                kernel::Event::Foreign(foreign) => Some(foreign),
                _ => None,
            });
            assert_eq!((told.key, &*told.what), (Key::Route(prefix(to)), what));
        }
        run("ip route del default metric 100");
        assert!(ear.wait_read_back().contains("0.0.0.0/0 went away"));
    });
}
