use std::net::IpAddr;

use model::kernel::{Device, Key, LinkInfo, Value, Via, VtepFilter, VxlanLink};
use model::node::BgpReach;
use model::{Asn, ClusterPool, Family, NodeName, Owner, Prefix, Reach, Vni};
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn reach(node: &str, underlay: &[&str]) -> Reach {
    let underlay: Vec<IpAddr> = underlay.iter().map(|a| a.parse().unwrap()).collect();
    reach_of(&name(node), &underlay, BgpReach { asn: Asn(64512), port: 179, mesh: true, reflection: None }).unwrap()
}

fn overlay(local: &str) -> Ground {
    let local: IpAddr = local.parse().unwrap();
    Ground {
        own: vec!["10.244.1.0/24".parse().unwrap(), "fd44:0:0:1::/64".parse().unwrap()],
        vxlan: Some(VxlanLink {
            vni: Vni::new(178).unwrap(),
            port: 4789,
            local,
            underlay: Device::new("eth0").unwrap(),
            mac: vtep_mac(&name("n1")),
            mtu: vxlan_mtu(1500, &local),
            tx_checksum: true,
        }),
        vtep_filter: true,
        senders_known: true,
        underlay: vec![Device::new("eth0").unwrap()],
        unnumbered: Vec::new(),
        families: Family::BOTH.to_vec(),
        masquerade: None,
    }
}

fn link(device: &str, up: bool, addresses: &[(&str, u8)]) -> LinkInfo {
    LinkInfo {
        device: Device::new(device).unwrap(),
        index: 2,
        up,
        mtu: 1500,
        kind: String::new(),
        addresses: addresses.iter().map(|(a, len)| (a.parse().unwrap(), *len)).collect(),
    }
}

fn path(next_hop: &str) -> NativePath {
    let next_hop: IpAddr = next_hop.parse().unwrap();
    NativePath { next_hop, link_local: None, peer: next_hop.into() }
}

/// Checklist: 114
#[test]
fn a_remote_node_is_fdb_neighbour_and_nexthop_of_one_mac() {
    let remote = reach("n2", &["10.0.0.2", "fd00::2"]);
    let objects = vtep(&overlay("10.0.0.1"), &remote);
    assert_eq!(objects.len(), 3);
    assert!(objects.iter().any(|(k, v)| matches!(k, Key::Fdb(_, mac) if *mac == remote.vtep.mac)
        && *v == Value::Fdb("10.0.0.2".parse().unwrap())));
    assert!(objects.iter().any(|(k, v)| matches!(k, Key::Neighbour(_, ip) if *ip == remote.vtep.gateway)
        && *v == Value::Neighbour(remote.vtep.mac)));
    // Over an IPv6 underlay the outer address is the node's IPv6 one.
    let objects = vtep(&overlay("fd00::1"), &remote);
    assert!(objects.iter().any(|(_, v)| *v == Value::Fdb("fd00::2".parse().unwrap())));
    // A node without an address of our family cannot be reached by the overlay.
    assert!(vtep(&overlay("fd00::1"), &reach("n3", &["10.0.0.3"])).is_empty());
    assert_eq!(overlay_via(&overlay("fd00::1"), &reach("n3", &["10.0.0.3"])), None);
}

#[test]
fn a_ground_without_overlay_has_no_link_and_no_vteps() {
    let bare = Ground { vxlan: None, ..overlay("10.0.0.1") };
    assert!(ground(&bare).iter().all(|(key, _)| !matches!(key, Key::Link(_))));
    assert!(vtep(&bare, &reach("n2", &["10.0.0.2"])).is_empty());
}

#[test]
fn frames_are_taken_from_all_addresses_of_a_node_that_the_link_can_hear() {
    let remote = reach("n2", &["10.0.0.2", "fd00::2", "10.9.0.2"]);
    let addresses = |ground: &Ground, remote: &Reach| -> Vec<String> {
        senders(ground, remote)
            .into_iter()
            .map(|key| match key {
                Key::Vtep(address) => address.to_string(),
                other => panic!("{other}"),
            })
            .collect()
    };
    assert_eq!(addresses(&overlay("10.0.0.1"), &remote), ["10.0.0.2", "10.9.0.2"]);
    assert_eq!(addresses(&overlay("fd00::1"), &remote), ["fd00::2"]);
    let anybody = Ground { vtep_filter: false, ..overlay("10.0.0.1") };
    let no_overlay = Ground { vxlan: None, ..overlay("10.0.0.1") };
    for open in [&anybody, &no_overlay] {
        assert_eq!(senders(open, &remote), []);
        assert!(ground(open).iter().all(|(key, _)| !matches!(key, Key::VtepTable | Key::VtepFilter)));
    }
    // Strangers are shut out last.
    let soon = Ground { senders_known: false, ..overlay("10.0.0.1") };
    assert!(ground(&soon).contains(&(Key::VtepTable, Value::There)));
    assert!(ground(&soon).iter().all(|(key, _)| *key != Key::VtepFilter));
    let filter = VtepFilter { vni: Vni::new(178).unwrap(), port: 4789 };
    assert!(ground(&overlay("10.0.0.1")).contains(&(Key::VtepFilter, Value::VtepFilter(filter))));
}

#[test]
fn the_ground_forwards_filters_loosely_and_does_not_loop() {
    let wanted = ground(&overlay("10.0.0.1"));
    let sysctl = |path: &str| {
        wanted.iter().find(|(key, _)| matches!(key, Key::Sysctl(p) if &**p == path)).map(|(_, value)| value.clone())
    };
    assert_eq!(sysctl("net/ipv4/ip_forward"), Some(Value::Sysctl("1".into())));
    assert_eq!(sysctl("net/ipv6/conf/all/forwarding"), Some(Value::Sysctl("1".into())));
    assert_eq!(sysctl("net/ipv4/conf/eth0/rp_filter"), Some(Value::Sysctl("2".into())));
    assert_eq!(sysctl("net/ipv4/conf/biplane.vxlan/rp_filter"), Some(Value::Sysctl("2".into())));
    let own: Prefix = "10.244.1.0/24".parse().unwrap();
    assert!(wanted.contains(&(Key::Route(own), Value::Route { via: Via::Unreachable, src: None })));
    // Loose filtering needs an IPv4 address on the device, else it is strict.
    let vxlan = Device::new(Owner::VXLAN_DEVICE).unwrap();
    assert!(wanted.contains(&(Key::Address(vxlan, "10.244.1.2/32".parse().unwrap()), Value::There)));
    let lo = Device::new("lo").unwrap();
    assert!(wanted.contains(&(Key::Address(lo, "10.244.1.2/32".parse().unwrap()), Value::There)));
}

#[test]
fn an_unnumbered_uplink_gets_an_ipv4_address_so_that_loose_filtering_is_loose() {
    let eth1 = Device::new("eth1").unwrap();
    let wanted = ground(&Ground { vxlan: None, unnumbered: vec![eth1.clone()], ..overlay("10.0.0.1") });
    let addresses = wanted.iter().filter(|(key, _)| matches!(key, Key::Address(device, _) if *device == eth1));
    let addresses: Vec<_> = addresses.map(|(key, _)| key.to_string()).collect();
    assert_eq!(addresses, ["address 10.244.1.2/32 dev eth1"], "IPv6 has no such filter");
}

#[test]
fn next_hops_resolve_on_connected_networks_only() {
    let links = [
        link("lo", true, &[("10.244.1.2", 32)]),
        link("eth0", true, &[("10.0.0.1", 24), ("fd00::1", 64)]),
        link("eth1", false, &[("10.9.0.1", 24)]),
        link("biplane0", true, &[("10.244.1.1", 24)]),
    ];
    let via = native_via(&links, &[path("10.0.0.7"), path("10.0.0.3"), path("10.0.0.7")]).unwrap();
    assert_eq!(via.to_string(), "via 10.0.0.3 dev eth0, via 10.0.0.7 dev eth0");
    assert_eq!(native_via(&links, &[path("fd00::9")]).unwrap().to_string(), "via fd00::9 dev eth0");
    let why = |next_hop: &str| native_via(&links, &[path(next_hop)]).unwrap_err();
    assert_eq!(why("10.0.1.7"), "next hop 10.0.1.7 is on no connected network");
    assert_eq!(why("10.9.0.7"), "next hop 10.9.0.7 is on eth1, which is down");
    assert_eq!(why("10.0.0.1"), "next hop 10.0.0.1 is our own address on eth0");
    assert_eq!(why("10.244.1.9"), "next hop 10.244.1.9 is on no connected network");
    assert_eq!(native_via(&links, &[]).unwrap_err(), "no peer announces it");
    // One usable path is enough.
    assert!(native_via(&links, &[path("10.9.0.7"), path("10.0.0.3")]).is_ok());
}

/// Checklist: 32, 33
#[test]
fn a_link_local_next_hop_is_on_the_device_of_its_peer() {
    let links = [
        link("eth0", true, &[("10.0.0.1", 24), ("fe80::1", 64), ("fd00::1", 64)]),
        link("eth1", true, &[("fe80::1", 64)]),
        link("eth2", true, &[("fe80::1", 64)]),
        link("eth3", false, &[("fe80::1", 64)]),
        link("biplane.vxlan", true, &[("fe80::1", 64)]),
    ];
    let behind = |next_hop: &str, link_local: Option<&str>, peer: &str| NativePath {
        next_hop: next_hop.parse().unwrap(),
        link_local: link_local.map(|a| a.parse().unwrap()),
        peer: peer.parse().unwrap(),
    };
    // Two uplinks whose routers have one and the same address: ECMP all the same.
    let ecmp = [behind("fe80::9", None, "fe80::9%eth2"), behind("fe80::9", Some("fe80::9"), "fe80::9%eth1")];
    assert_eq!(native_via(&links, &ecmp).unwrap().to_string(), "via fe80::9 dev eth1, via fe80::9 dev eth2");
    // A global next hop beside it is on no network that is shared.
    let both = [behind("fd00:ffff::9", Some("fe80::9"), "fe80::9%eth1")];
    assert_eq!(native_via(&links, &both).unwrap().to_string(), "via fe80::9 dev eth1");
    // Mixed with a numbered peer.
    let mixed = [behind("fe80::9", None, "fe80::9%eth1"), path("10.0.0.7")];
    assert_eq!(native_via(&links, &mixed).unwrap().to_string(), "via 10.0.0.7 dev eth0, via fe80::9 dev eth1");
    // In a session between global addresses: on the link of the session; a global next hop beside it is preferred.
    let global = [behind("fe80::9", None, "fd00::9")];
    assert_eq!(native_via(&links, &global).unwrap().to_string(), "via fe80::9 dev eth0");
    let global = [behind("fd00::9", Some("fe80::9"), "fd00::9")];
    assert_eq!(native_via(&links, &global).unwrap().to_string(), "via fd00::9 dev eth0");
    let why = |path: NativePath| native_via(&links, &[path]).unwrap_err();
    assert_eq!(why(behind("fe80::9", None, "fe80::9%eth3")), "next hop fe80::9 is on eth3, which is down");
    assert_eq!(why(behind("fe80::9", None, "fe80::9%eth7")), "next hop fe80::9 is on eth7, which is gone");
    assert_eq!(why(behind("fe80::1", None, "fe80::9%eth1")), "next hop fe80::1 is our own address on eth1");
    assert_eq!(
        why(behind("fe80::9", None, "fe80::9%biplane.vxlan")),
        "next hop fe80::9 is on biplane.vxlan, which is gone"
    );
    assert_eq!(
        why(behind("fe80::9", None, "203.0.113.1")),
        "next hop fe80::9 is on an unknown link: its peer is on none"
    );
}

#[test]
fn a_route_names_its_last_object_and_the_nodes_own_source() {
    let g = overlay("10.0.0.1");
    let links = [link("eth0", true, &[("10.0.0.1", 24)])];
    let via = native_via(&links, &[path("10.0.0.3"), path("10.0.0.7")]).unwrap();
    let keys = objects(&via);
    assert_eq!(keys.len(), 3);
    assert!(matches!(keys.last(), Some(Key::NexthopGroup(hops)) if hops.len() == 2));
    let (_, value) = route(&g, "10.244.7.0/24".parse().unwrap(), via.clone());
    assert_eq!(value, Value::Route { via, src: Some("10.244.1.2".parse().unwrap()) });
    let (_, over) = route(&g, "10.244.7.0/24".parse().unwrap(), overlay_via(&g, &reach("n7", &["10.0.0.7"])).unwrap());
    let Value::Route { src, .. } = over else { panic!("a route") };
    assert_eq!(src, Some("10.244.1.2".parse().unwrap()), "the source does not change with the plane");
}

#[test]
fn masquerade_spares_pods_multicast_and_what_is_named() {
    let pool = ClusterPool::new("10.244.0.0/16".parse().unwrap(), 24).unwrap();
    let own = ["10.244.1.0/24".parse().unwrap()];
    let found = masquerade(&own, &[pool], &["192.168.0.0/16".parse().unwrap()]).unwrap();
    let texts: Vec<String> = found.exclude.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["10.244.0.0/16", "192.168.0.0/16", "224.0.0.0/4", "ff00::/8"]);
    assert_eq!(masquerade(&[], &[pool], &[]), None);
}

proptest! {
    /// MACs are unicast, locally administered, and differ between the nodes of a cluster.
    /// Checklist: 116
    #[test]
    fn macs_tell_nodes_apart(numbers in prop::collection::btree_set(0..100_000u32, 2..200)) {
        let macs: std::collections::BTreeSet<_> =
            numbers.iter().map(|n| vtep_mac(&name(&format!("node-{n}.example")))).collect();
        prop_assert_eq!(macs.len(), numbers.len());
        prop_assert!(macs.iter().all(|mac| mac.0[0] & 3 == 2));
    }

    /// No two remote nodes, and no two parts of the plan, ever want one key differently.
    #[test]
    fn parts_of_the_plan_never_contend(nodes in 1..60u32) {
        let g = overlay("10.0.0.1");
        let mut wanted = std::collections::BTreeMap::new();
        let parts = ground(&g).into_iter().chain((0..nodes).flat_map(|n| {
            let remote = reach(&format!("m{n}"), &[&format!("10.1.{}.{}", n / 200, n % 200 + 1)]);
            let to = Prefix::new(format!("10.244.{}.0", n + 2).parse().unwrap(), 24).unwrap();
            let mut all = vtep(&g, &remote);
            all.extend(senders(&g, &remote).into_iter().map(|key| (key, Value::There)));
            all.push(route(&g, to, overlay_via(&g, &remote).unwrap()));
            all
        }));
        for (key, value) in parts {
            prop_assert!(wanted.insert(key.clone(), value).is_none(), "{} is wanted twice", key);
        }
        // A route never leads over a nexthop object that nobody wants.
        for value in wanted.values() {
            if let Value::Route { via: via @ Via::Hops(_), .. } = value {
                prop_assert!(objects(via).iter().all(|key| wanted.contains_key(key)));
            }
        }
    }
}

/// Checklist: 112
#[test]
fn mtu_leaves_room_for_the_outer_headers() {
    assert_eq!(vxlan_mtu(1500, &"10.0.0.1".parse().unwrap()), 1450);
    assert_eq!(vxlan_mtu(1500, &"fd00::1".parse().unwrap()), 1430);
    assert_eq!(pod_mtu(1450, 1500), 1450);
    assert_eq!(Owner::VXLAN_DEVICE.len(), 13);
}
