//! Routers on a link: found by their advertisements, on the devices that were asked for and on no other. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unsafe_code)]

mod ground;

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddrV6};

use ground::{Side, in_namespace, run};
use model::kernel::Device;
use peering::{Command, Event};
use socket2::{Domain, Protocol, Socket, Type};

/// Two cables, and the addresses of their ends.
const CABLES: [[(&str, &str); 2]; 2] =
    [[("left", "fe80::a"), ("right", "fe80::b")], [("node", "fe80::1"), ("pod", "fe80::2")]];

fn cables() {
    for ends in CABLES {
        run(&format!("ip link add {} type veth peer name {}", ends[0].0, ends[1].0));
        for (device, address) in ends {
            run(&format!("ip link set {device} addrgenmode none; ip link set {device} up"));
            run(&format!("ip address add {address}/64 dev {device} nodad"));
        }
    }
}

fn at(device: &str) -> Ipv6Addr {
    let end = CABLES.iter().flatten().find(|(name, _)| *name == device);
    end.unwrap().1.parse().unwrap()
}

fn device(name: &str) -> Device {
    Device::new(name).unwrap()
}

fn index(device: &str) -> u32 {
    rustix::net::netdevice::name_to_index(Socket::new(Domain::UNIX, Type::DGRAM, None).unwrap(), device).unwrap()
}

fn discover(side: &mut Side, devices: &[&str]) {
    let devices: BTreeMap<Device, u32> = devices.iter().map(|name| (device(name), index(name))).collect();
    side.peering.handle(Command::Discover(devices));
}

/// Sends octets as ICMPv6 from a device to all nodes of its link.
fn forge(from: &str, source: Option<&str>, hops: u32, octets: &[u8]) {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
    socket.bind_device(Some(from.as_bytes())).unwrap();
    if let Some(source) = source {
        socket.bind(&SocketAddrV6::new(source.parse().unwrap(), 0, 0, index(from)).into()).unwrap();
    }
    socket.set_multicast_hops_v6(hops).unwrap();
    let all_nodes = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, index(from));
    socket.send_to(octets, &all_nodes.into()).unwrap();
}

fn advertisement() -> [u8; 16] {
    let mut octets = [0; 16];
    octets[0] = 134;
    octets
}

/// Checklist: 33
#[test]
fn two_ends_of_a_link_find_each_other() {
    in_namespace(async || {
        cables();
        let mut one = Side::new();
        discover(&mut one, &["left"]);
        // It is alone, and asks and tells in vain; the other one is told at once when it comes.
        one.quiet().await;
        let mut other = Side::new();
        discover(&mut other, &["right"]);
        assert_eq!(other.next().await, Event::Neighbour { device: device("right"), address: at("left") });
        assert_eq!(one.next().await, Event::Neighbour { device: device("left"), address: at("right") });
        // Said again, it changes nothing; on another device it is begun with anew.
        discover(&mut one, &["left"]);
        one.quiet().await;
    });
}

/// Checklist: 33
#[test]
fn advertisements_from_elsewhere_are_not_heard() {
    in_namespace(async || {
        cables();
        run("ip address add fd00::b/64 dev right nodad; ip address add fe80::77/64 dev right nodad");
        let mut side = Side::new();
        discover(&mut side, &["left"]);
        side.quiet().await;
        // Pods' links, and all others that nobody asked for.
        forge("pod", None, 255, &advertisement());
        forge("left", None, 255, &advertisement());
        // Through a router; from no link-local address; cut; with a broken option; another message.
        forge("right", None, 254, &advertisement());
        forge("right", Some("fd00::b"), 255, &advertisement());
        forge("right", None, 255, &advertisement()[..12]);
        forge("right", None, 255, &[&advertisement()[..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat());
        let mut other = advertisement();
        other[0] = 136;
        forge("right", None, 255, &other);
        side.quiet().await;
        forge("right", Some("fe80::77"), 255, &advertisement());
        assert_eq!(
            side.next().await,
            Event::Neighbour { device: device("left"), address: "fe80::77".parse().unwrap() }
        );
        // A flood of the same is told once in a while.
        for _ in 0..500 {
            forge("right", Some("fe80::77"), 255, &advertisement());
        }
        side.quiet().await;
        // Nobody is heard any more once nothing is asked for.
        discover(&mut side, &[]);
        forge("right", None, 255, &advertisement());
        side.quiet().await;
    });
}

#[test]
fn a_device_without_an_address_is_said_so_and_works_once_it_has_one() {
    in_namespace(async || {
        cables();
        run("ip address flush dev left");
        let mut side = Side::new();
        discover(&mut side, &["left"]);
        let Event::DiscoveryFailed { device: on, error } = side.next().await else { panic!("it works") };
        assert_eq!(on, device("left"));
        assert!(error.contains("router advertisements on left: it has no IPv6 link-local address"), "{error}");
        run("ip address add fe80::1/64 dev left nodad");
        let mut other = Side::new();
        discover(&mut other, &["right"]);
        let router = "fe80::1".parse().unwrap();
        assert_eq!(other.next().await, Event::Neighbour { device: device("right"), address: router });
        assert_eq!(side.next().await, Event::Neighbour { device: device("left"), address: at("right") });
    });
}
