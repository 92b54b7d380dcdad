//! Each kind of object in a real kernel: made, found again by a daemon without memory, altered, taken away.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod netns;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::{Interest, Kernel, OpenError, Options};
use model::kernel::{Hop, Key, Value, Via, VxlanLink, Write};
use netns::*;

/// Checklist: 117
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

/// Checklist: 117
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

/// Checklist: 118
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

/// Checklist: 114
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
