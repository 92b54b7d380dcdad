//! Each kind of object in a real kernel: made, found again by a daemon without memory, altered, taken away.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod netns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::{Interest, Kernel, OpenError, Options};
use model::kernel::{Hop, Key, Value, Via, VxlanLink, Write};
use netns::*;

#[test]
fn a_link_is_made_found_and_changed_in_place() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        done(&mut kernel, create([link(vxlan(1))]));
        assert_found([link(vxlan(1))]);
        assert_eq!(run("cat /proc/sys/net/ipv6/conf/biplane.vxlan/accept_ra").trim(), "0");
        assert!(run("ip -6 addr show dev biplane.vxlan").contains("fe80::ff:fe00:1"), "link-local of the MAC");
        let index = |kernel: &mut Kernel| {
            read(kernel).links.iter().find(|link| link.device == overlay()).map(|link| link.index).unwrap()
        };
        let before = index(&mut kernel);

        // Objects on it outlive a change in place.
        done(&mut kernel, create(remote(2)));
        run("ip addr add 10.0.0.11/24 dev eth0");
        let other = VxlanLink { mtu: 1400, local: "10.0.0.11".parse().unwrap(), ..vxlan(1) };
        done(&mut kernel, replace(link(other.clone())));
        assert_found(remote(2).into_iter().chain([link(other.clone())]));
        assert_eq!(index(&mut kernel), before);
        // With another MAC the kernel forgets the neighbours, permanent ones too, but not the rest.
        let other = VxlanLink { mac: mac(9), ..other };
        done(&mut kernel, replace(link(other.clone())));
        let [fdb, neighbour, object] = <[_; 3]>::try_from(remote(2)).unwrap();
        assert_found([link(other.clone()), fdb, object]);
        assert_eq!(found(&neighbour.0), None);
        assert_eq!(index(&mut kernel), before);

        // Another VNI needs another link.
        let third = VxlanLink { vni: model::Vni::new(179).unwrap(), ..other };
        done(&mut kernel, replace(link(third.clone())));
        assert_found([link(third)]);
        assert_ne!(index(&mut kernel), before);

        done(&mut kernel, delete(Key::Link(overlay())));
        assert_eq!(found(&Key::Link(overlay())), None);
        done(&mut kernel, delete(Key::Link(overlay())));
    });
}

#[test]
fn a_link_over_ipv6_carries_the_same_objects() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        let six = VxlanLink { local: "fd00::1".parse().unwrap(), mtu: 1430, ..vxlan(1) };
        let fdb = (Key::Fdb(overlay(), mac(2)), Value::Fdb("fd00::2".parse().unwrap()));
        done(&mut kernel, create([link(six.clone()), fdb.clone()]));
        assert_found([link(six), fdb]);
    });
}

#[test]
fn a_link_that_is_altered_is_told_and_repaired() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        done(&mut kernel, create([link(vxlan(1))]));
        for (harm, words) in
            [("ip link set biplane.vxlan down", "down"), ("ip link set biplane.vxlan type vxlan learning", "learns")]
        {
            run(harm);
            match found(&Key::Link(overlay())) {
                Some(Value::OtherLink(told)) => assert!(told.contains(words), "{told}"),
                other => panic!("{harm}: {other:?}"),
            }
            done(&mut kernel, replace(link(vxlan(1))));
            assert_found([link(vxlan(1))]);
        }
        // A link of our name with another shape is made anew.
        run("ip link del biplane.vxlan");
        run("ip link add biplane.vxlan type vxlan dstport 99 external");
        assert!(matches!(found(&Key::Link(overlay())), Some(Value::OtherLink(_))));
        assert_eq!(refused(&mut kernel, create([link(vxlan(1))])).errno, libc::EEXIST);
        done(&mut kernel, replace(link(vxlan(1))));
        assert_found([link(vxlan(1))]);
    });
}

#[test]
fn a_refused_link_says_who_is_in_the_way() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        run("ip link add flannel.1 type vxlan id 178 dstport 4789 local 10.0.0.1 dev eth0");
        let refusal = refused(&mut kernel, create([link(vxlan(1))]));
        assert_eq!(refusal.errno, libc::EEXIST);
        assert!(refusal.message.contains("flannel.1") && refusal.message.contains("vxlan.vni"), "{refusal}");
        let told = foreign(&mut kernel, &Key::Link(overlay())).unwrap();
        assert!(told.contains("flannel.1"), "{told}");
        run("ip link del flannel.1");

        // Another plugin's device is told even if it takes nothing from us.
        run("ip link add vxlan.calico type vxlan id 4096 dstport 4790 local 10.0.0.1 dev eth0");
        assert!(foreign(&mut kernel, &Key::Link(device("vxlan.calico"))).unwrap().contains("4096"));

        // A UDP port that a program holds.
        let _holder = std::net::UdpSocket::bind("0.0.0.0:4789").unwrap();
        let refusal = refused(&mut kernel, create([link(vxlan(1))]));
        assert_eq!(refusal.errno, libc::EADDRINUSE);
        assert!(refusal.message.contains("4789"), "{refusal}");
        assert_eq!(found(&Key::Link(overlay())), None, "no half-made link stays");
        drop(_holder);

        // A device of our name that is no VXLAN link.
        run("ip link add biplane.vxlan type veth peer name other");
        assert!(foreign(&mut kernel, &Key::Link(overlay())).unwrap().contains("veth"));
        assert_eq!(refused(&mut kernel, create([link(vxlan(1))])).errno, libc::EEXIST);
        assert_eq!(refused(&mut kernel, replace(link(vxlan(1)))).errno, libc::EEXIST);
        assert_eq!(refused(&mut kernel, delete(Key::Link(overlay()))).errno, libc::EPERM);
        run("ip link show other");

        let nowhere = VxlanLink { underlay: device("eth7"), ..vxlan(1) };
        run("ip link del biplane.vxlan");
        assert!(refused(&mut kernel, create([link(nowhere)])).message.contains("eth7"));
    });
}

#[test]
fn addresses_are_known_by_their_protocol() {
    fresh(|| {
        let mut kernel = open();
        let four = (Key::Address(device("lo"), prefix("10.244.1.2/32")), Value::There);
        let six = (Key::Address(device("lo"), prefix("fd44:0:0:1::2/128")), Value::There);
        done(&mut kernel, create([four.clone(), six.clone()]));
        assert_found([four.clone(), six.clone()]);
        assert!(run("ip -6 route show table main").trim().is_empty(), "no connected route");
        assert_eq!(refused(&mut kernel, create([four.clone()])).errno, libc::EEXIST);
        done(
            &mut kernel,
            vec![Write::Delete(four.0.clone()), Write::Delete(six.0.clone()), Write::Delete(four.0.clone())],
        );
        assert_eq!((found(&four.0), found(&six.0)), (None, None));

        run("ip addr add 10.244.1.2/32 dev lo");
        assert_eq!(found(&four.0), None);
        assert!(foreign(&mut kernel, &four.0).is_some());
        assert_eq!(refused(&mut kernel, create([four])).errno, libc::EEXIST);
    });
}

#[test]
fn fdb_and_neighbours_are_made_altered_repaired_and_spared() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        done(&mut kernel, create([link(vxlan(1))]));
        done(&mut kernel, create(remote(2)));
        assert_found(remote(2));
        let (fdb, neighbour) = (remote(2)[0].clone(), remote(2)[1].clone());

        run("bridge fdb replace 02:00:00:00:00:02 dev biplane.vxlan dst 10.0.0.77 extern_learn");
        assert_eq!(found(&fdb.0), Some(Value::Fdb("10.0.0.77".parse().unwrap())));
        done(&mut kernel, replace(fdb.clone()));
        run("bridge fdb replace 02:00:00:00:00:02 dev biplane.vxlan dst 10.0.0.2 port 99 extern_learn");
        assert_ne!(found(&fdb.0), Some(fdb.1.clone()));
        done(&mut kernel, replace(fdb.clone()));
        run("ip neigh replace fe80::ff:fe00:2 lladdr 02:00:00:00:00:99 dev biplane.vxlan nud permanent");
        assert_eq!(found(&neighbour.0), Some(Value::Neighbour(mac(0x99))));
        done(&mut kernel, replace(neighbour.clone()));
        assert_found(remote(2));

        // A node that came back with another MAC: the key is the MAC, so the old entry is a stray of its own.
        done(&mut kernel, create(remote(3)));
        done(&mut kernel, remote(2).into_iter().rev().map(|(key, _)| Write::Delete(key)).collect());
        done(&mut kernel, remote(2).into_iter().rev().map(|(key, _)| Write::Delete(key)).collect());
        assert_found(remote(3));
        assert_eq!(found(&fdb.0), None);
        assert_eq!(found(&neighbour.0), None);

        // Twins of others stay as they are.
        run("bridge fdb add 02:00:00:00:00:02 dev biplane.vxlan dst 10.0.0.55");
        run("ip neigh add fe80::ff:fe00:2 lladdr 02:00:00:00:00:55 dev biplane.vxlan nud permanent");
        assert_eq!(refused(&mut kernel, create([fdb.clone()])).errno, libc::EEXIST);
        assert_eq!(refused(&mut kernel, create([neighbour.clone()])).errno, libc::EEXIST);
        assert!(foreign(&mut kernel, &fdb.0).unwrap().contains("10.0.0.55"));
        assert!(foreign(&mut kernel, &neighbour.0).unwrap().contains("02:00:00:00:00:55"));
        assert_eq!((found(&fdb.0), found(&neighbour.0)), (None, None));

        // An entry that only the kernel made gives way: that of a packet on its way while ours was missing.
        run("ip neigh del fe80::ff:fe00:2 dev biplane.vxlan");
        run("ip neigh add fe80::ff:fe00:2 dev biplane.vxlan nud stale lladdr 02:00:00:00:00:66");
        assert_eq!(foreign(&mut kernel, &neighbour.0), None);
        done(&mut kernel, create([neighbour.clone()]));
        assert_found([neighbour.clone()]);

        assert_eq!(refused(&mut kernel, replace(remote(5).remove(0))).errno, libc::ENOENT);
        assert_eq!(refused(&mut kernel, replace(remote(5).remove(1))).errno, libc::ENOENT);
        let gone = (Key::Fdb(device("nowhere"), mac(2)), fdb.1);
        assert_eq!(refused(&mut kernel, create([gone.clone()])).errno, libc::ENODEV);
        done(&mut kernel, delete(gone.0));
    });
}

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

#[test]
fn an_ipv4_route_is_replaced_in_one_step() {
    fresh(|| {
        underlay();
        flips("10.244.2.0/24", &hop("10.0.0.2", "eth0"));
    });
}

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

#[test]
fn a_foreign_twin_of_a_route_is_told_and_stays() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        for (family, to, gateway) in [("-4", "10.244.2.0/24", "10.0.0.2"), ("-6", "fd44:0:0:2::/64", "fd00::2")] {
            let way = hop(gateway, "eth0");
            done(&mut kernel, create([nexthop(way.clone())]));
            let ours = route_via(to, &way);
            run(&format!("ip {family} route add {to} via {gateway} metric 178 proto static"));
            assert_eq!(refused(&mut kernel, create([ours.clone()])).errno, libc::EEXIST);
            assert!(foreign(&mut kernel, &ours.0).unwrap().contains("static"));
            done(&mut kernel, delete(ours.0.clone()));
            assert!(run(&format!("ip {family} route show {to}")).contains("static"));
            assert_eq!(found(&ours.0), None);

            // Beside ours, with another metric: both stand.
            run(&format!("ip {family} route del {to} metric 178"));
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
        run("ip route replace 10.244.2.0/24 via 10.0.0.9 proto 178 metric 178");
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
        run(&format!("ip route replace 10.244.2.0/24 nhid {id} mtu 900 proto 178 metric 178"));
        assert!(!matches!(found(&ours.0), Some(value) if value == ours.1));
    });
}

#[test]
fn routes_to_pods_here_are_nobodys_business() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        done(&mut kernel, create([unreachable("10.244.1.0/24")]));
        run("ip link add pod0 type veth peer name pod0peer");
        run("ip link set pod0 up");
        run("ip route add 10.244.1.7/32 dev pod0");
        run("ip route add 10.244.9.7/32 dev pod0");
        let told: Vec<Key> = read(&mut kernel).foreign.into_iter().map(|foreign| foreign.key).collect();
        assert_eq!(told, [Key::Route(prefix("10.244.9.7/32"))]);
    });
}

#[test]
fn sysctls_and_the_masquerade_table_are_written_and_read_back() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        let path: Arc<str> = Arc::from("net/ipv4/conf/eth0/rp_filter");
        let sysctl = (Key::Sysctl(Arc::clone(&path)), Value::Sysctl("2".into()));
        let masquerade = model::kernel::Masquerade {
            sources: vec![prefix("10.244.1.0/24")],
            exclude: vec![prefix("10.244.0.0/16")],
        };
        let table = (Key::Masquerade, Value::Masquerade(masquerade.into()));
        done(&mut kernel, create([sysctl.clone(), table.clone()]));
        let interest = Interest { sysctls: vec![path, Arc::from("net/ipv4/conf/gone/rp_filter")], ..interest() };
        let back = kernel.read_back(&interest).unwrap();
        assert!(back.ours.contains(&sysctl) && back.ours.contains(&table), "{:?}", back.ours);
        assert_eq!(back.ours.iter().filter(|(key, _)| matches!(key, Key::Sysctl(_))).count(), 1);
        done(&mut kernel, delete(Key::Masquerade));
        assert_eq!(found(&Key::Masquerade), None);
    });
}

#[test]
fn a_link_that_goes_down_takes_what_leads_over_it() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        let to = route("10.244.2.0/24", &[over(2)]);
        done(&mut kernel, create([link(vxlan(1))]));
        done(&mut kernel, create(remote(2)));
        done(&mut kernel, create([to.clone()]));
        run("ip link set biplane.vxlan down");
        let back = read(&mut kernel);
        let kinds: Vec<&str> = back.ours.iter().map(|(key, _)| key.kind()).collect();
        assert_eq!(kinds, ["link", "fdb"], "only the FDB entry stays");
        // All of it again, from what the read-back said.
        done(&mut kernel, replace(link(vxlan(1))));
        done(&mut kernel, create(remote(2).into_iter().skip(1).chain([to.clone()])));
        assert_found(remote(2).into_iter().chain([to]));
    });
}

#[test]
fn thousands_of_objects_in_one_go_are_all_found() {
    fresh(|| {
        underlay();
        let mut kernel = open();
        done(&mut kernel, create([link(vxlan(1))]));
        let nodes: Vec<_> = (0..3000u32)
            .map(|n| {
                let mac = model::MacAddr([2, 1, 0, 0, (n >> 8) as u8, n as u8]);
                let hop = Hop { gateway: Some(mac.link_local().into()), device: overlay() };
                let to = model::Prefix::new(std::net::Ipv4Addr::from(0x0af4_0000 + (n << 4)).into(), 28).unwrap();
                (mac, hop, to)
            })
            .collect();
        let mut objects = Vec::new();
        objects
            .extend(nodes.iter().map(|(mac, ..)| (Key::Fdb(overlay(), *mac), Value::Fdb("10.0.0.2".parse().unwrap()))));
        objects.extend(
            nodes.iter().map(|(mac, ..)| (Key::Neighbour(overlay(), mac.link_local().into()), Value::Neighbour(*mac))),
        );
        objects.extend(nodes.iter().map(|(_, hop, _)| nexthop(hop.clone())));
        objects.extend(nodes.iter().map(|(_, hop, to)| {
            (Key::Route(*to), Value::Route { via: Via::hops(vec![hop.clone()]).unwrap(), src: None })
        }));
        done(&mut kernel, create(objects.clone()));
        let back = read(&mut open());
        assert_eq!(back.ours.len(), objects.len() + 1);
        objects.push(link(vxlan(1)));
        objects.sort_by(|(one, _), (other, _)| one.cmp(other));
        assert_eq!(back.ours, objects);
        done(&mut kernel, objects.iter().rev().map(|(key, _)| Write::Delete(key.clone())).collect());
        assert!(read(&mut open()).ours.is_empty());
    });
}

fn without_dad(name: &str) {
    std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/accept_dad"), "0").unwrap();
}

#[test]
fn gateways_are_resolved_on_the_wire() {
    fresh(|| {
        // The other end must be another host: it answers for its address from a namespace of its own.
        run("ip link add eth0 type veth peer name peer");
        let (ready, wait) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (moved, arrived) = std::sync::mpsc::channel::<()>();
        let far = std::thread::spawn(move || {
            leave_namespace();
            ready.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
            arrived.recv().unwrap();
            without_dad("peer");
            run("ip link set peer up");
            run("ip addr add 10.0.0.2/24 dev peer");
            run("ip addr add fd00::2/64 dev peer nodad");
            ready.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
            let _ = stopped.recv();
        });
        let tid = wait.recv().unwrap();
        run(&format!("ip link set peer netns {tid}"));
        moved.send(()).unwrap();
        wait.recv().unwrap();
        // The kernel asks from the link-local address, once that is no longer tentative.
        without_dad("eth0");
        run("ip link set eth0 up");
        run("ip addr add 10.0.0.1/24 dev eth0");
        run("ip addr add fd00::1/64 dev eth0 nodad");
        let mut kernel = open();
        let bare = Hop { gateway: None, device: device("eth0") };
        let hops = [hop("10.0.0.2", "eth0"), hop("10.0.0.99", "eth0"), bare, hop("10.0.0.2", "gone")];
        let end = Instant::now() + Duration::from_secs(5);
        let mut told = Vec::new();
        while told != [true, false, true, false] {
            assert!(Instant::now() < end, "{told:?}");
            told = kernel.resolve(&hops).into_iter().map(|(_, resolved)| resolved).collect();
        }

        let ear = worker();
        ear.worker.send(kernel::Command::Resolve(vec![hop("fd00::2", "eth0")]));
        ear.worker.send(kernel::Command::Resolve(vec![hop("10.0.0.98", "eth0")]));
        for (gateway, wanted) in [("fd00::2", true), ("10.0.0.98", false)] {
            ear.wait(gateway, |event| match event {
                kernel::Event::Resolved(told) => told.contains(&(hop(gateway, "eth0"), wanted)).then_some(()),
                _ => None,
            });
        }
        drop(stop);
        far.join().unwrap();
    });
}

#[test]
fn without_the_capability_the_cure_is_named() {
    fresh(|| {
        use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).unwrap();
        let error = Kernel::open(&Options { overlay: overlay() }).unwrap_err();
        assert!(matches!(error, OpenError::Permission), "{error}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"));
    });
}
