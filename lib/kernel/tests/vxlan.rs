//! What the overlay puts on the wire and what it takes from there (RFC 7348), octet by octet.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod netns;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use kernel::Kernel;
use model::kernel::{Key, Value, VtepFilter, VxlanLink};
use model::{Prefix, Vni};
use netns::*;
use wire::{Checksum, Wire, arp_request, datagram, v4, vxlan_payload};

const POD: &str = "10.244.1.2";
const REMOTE_POD: &str = "10.244.2.9";
const OUTER: [[u8; 6]; 2] = [[0x02, 0, 0, 0, 1, 1], [0x02, 0, 0, 0, 1, 2]];
/// I flag and nothing else, VNI 178.
const HEADER: [u8; 8] = [0x08, 0, 0, 0, 0, 0, 178, 0];

/// A node at 10.0.0.1 whose pod address is [`POD`], with an overlay to another node at 10.0.0.2. `peer` is the other end of
/// its cable.
fn node(link_value: VxlanLink) -> (Kernel, Wire) {
    underlay();
    run(&format!("ip link set eth0 address {}", model::MacAddr(OUTER[0])));
    run(&format!("ip neigh add 10.0.0.2 lladdr {} dev eth0 nud permanent", model::MacAddr(OUTER[1])));
    for device in ["all", "eth0"] {
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"), "0").unwrap();
    }
    let mut kernel = open();
    let pod = Prefix::host(POD.parse().unwrap());
    let address = |device: model::kernel::Device| (Key::Address(device, pod), Value::There);
    done(&mut kernel, create([link(link_value)]));
    done(&mut kernel, create([address(device("lo")), address(overlay())]));
    done(&mut kernel, create(remote(2)));
    done(&mut kernel, create([route_via("10.244.2.0/24", &over(2))]));
    (kernel, Wire::on("peer"))
}

fn pod_socket() -> UdpSocket {
    let socket = UdpSocket::bind((POD, 7000)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// A frame as another node would send it: outer addresses, header, and a datagram of a pod with `words` inside.
fn frame(from: &str, header: [u8; 8], checksum: Checksum, words: &str) -> Vec<u8> {
    let macs = (mac(2).0, mac(1).0);
    let inner = datagram(macs, (v4(REMOTE_POD), 9000), (v4(POD), 7000), Checksum::Right, words.as_bytes());
    outer(from, checksum, &vxlan_payload(header, &inner))
}

fn outer(from: &str, checksum: Checksum, payload: &[u8]) -> Vec<u8> {
    datagram((OUTER[1], OUTER[0]), (v4(from), 50_000), (v4("10.0.0.1"), 4789), checksum, payload)
}

/// Sends the frames, then one that is sure to arrive; what the pod heard before it, in words.
fn heard(wire: &Wire, socket: &UdpSocket, frames: &[Vec<u8>]) -> Vec<String> {
    frames.iter().for_each(|frame| wire.send(frame));
    wire.send(&frame("10.0.0.2", HEADER, Checksum::Right, "last"));
    let mut words = Vec::new();
    loop {
        let mut octets = [0; 64];
        let length = socket.recv(&mut octets).expect("the last one arrives");
        match std::str::from_utf8(&octets[..length]).unwrap() {
            "last" => return words,
            other => words.push(other.to_owned()),
        }
    }
}

fn filter(kernel: &mut Kernel, vteps: &[&str]) {
    let filter = VtepFilter { vni: Vni::new(178).unwrap(), port: 4789 };
    let vteps = vteps.iter().map(|address| (Key::Vtep(address.parse().unwrap()), Value::There));
    let table = [(Key::VtepTable, Value::There)];
    done(kernel, create(table.into_iter().chain(vteps).chain([(Key::VtepFilter, Value::VtepFilter(filter))])));
}

/// Checklist: 111
#[test]
fn what_is_sent_has_the_header_of_the_rfc() {
    assert_eq!((Vni::new(0), Vni::new(1 << 24)), (None, None));
    for (vni, port) in [(178, 4789), (1, 4789), ((1 << 24) - 1, 8472)] {
        fresh(move || {
            let vni = Vni::new(vni).unwrap();
            let (_kernel, wire) = node(VxlanLink { vni, port, ..vxlan(1) });
            pod_socket().send_to(b"hello", (REMOTE_POD, 9000)).unwrap();
            let frame = wire.vxlan_frames(port, 1).remove(0);
            assert_eq!((frame.from, frame.to), (v4("10.0.0.1"), v4("10.0.0.2")));
            // I flag, 24 reserved bits, the VNI, 8 reserved bits.
            let [_, a, b, c] = vni.number().to_be_bytes();
            assert_eq!(frame.vxlan, [0x08, 0, 0, 0, a, b, c, 0]);
            assert_eq!(frame.inner[..12], [mac(2).0, mac(1).0].concat(), "from our VTEP to the other one's");
            let (from, to, udp) = frame.inner_udp().unwrap();
            assert_eq!((from, to, &*udp.payload), (v4(POD), v4(REMOTE_POD), &b"hello"[..]));
            assert_eq!(frame.fragments & 0x3fff, 0, "no fragment");
        });
    }
}

/// Needs Linux 6.14: before, the kernel drops what has a reserved bit set.
///
/// Checklist: 111
#[test]
fn reserved_bits_are_ignored_and_the_flag_is_not() {
    fresh(|| {
        let (_kernel, wire) = node(vxlan(1));
        let socket = pod_socket();
        let with = |change: &dyn Fn(&mut [u8; 8]), words: &str| {
            let mut header = HEADER;
            change(&mut header);
            frame("10.0.0.2", header, Checksum::Right, words)
        };
        let frames = [
            with(&|header| header[0] |= 0xf7, "reserved flags"),
            with(&|header| header[1..4].fill(0xff), "24 reserved bits"),
            with(&|header| header[7] = 0xff, "the last octet"),
            with(&|header| header[0] = 0, "no flag"),
            with(&|header| header[6] = 179, "another VNI"),
        ];
        assert_eq!(heard(&wire, &socket, &frames), ["reserved flags", "24 reserved bits", "the last octet"]);
    });
}

/// Checklist: 113
#[test]
fn flows_are_spread_over_source_ports_and_each_keeps_its_own() {
    fresh(|| {
        let (_kernel, wire) = node(vxlan(1));
        let sockets: Vec<UdpSocket> = (0..64).map(|_| UdpSocket::bind((POD, 0)).unwrap()).collect();
        for _ in 0..3 {
            for socket in &sockets {
                socket.send_to(b"x", (REMOTE_POD, 9000)).unwrap();
            }
        }
        let mut ports: BTreeMap<u16, BTreeSet<u16>> = BTreeMap::new();
        for frame in wire.vxlan_frames(4789, 192) {
            let (_, _, inner) = frame.inner_udp().unwrap();
            ports.entry(inner.from).or_default().insert(frame.udp.from);
        }
        assert_eq!(ports.len(), 64);
        assert!(ports.values().all(|outer| outer.len() == 1), "{ports:?}");
        let outer: BTreeSet<u16> = ports.values().flatten().copied().collect();
        assert!(outer.len() > 50, "64 flows share {} ports", outer.len());
        assert!(outer.iter().all(|port| *port >= 49152), "{outer:?}");
    });
}

/// Checklist: 113
#[test]
fn no_checksum_over_ipv4_is_taken_and_a_wrong_one_is_not() {
    fresh(|| {
        let (_kernel, wire) = node(vxlan(1));
        let socket = pod_socket();
        let frames = [
            frame("10.0.0.2", HEADER, Checksum::Zero, "zero"),
            frame("10.0.0.2", HEADER, Checksum::Right, "right"),
            frame("10.0.0.2", HEADER, Checksum::Wrong, "wrong"),
        ];
        assert_eq!(heard(&wire, &socket, &frames), ["zero", "right"]);
    });
}

/// Frames of a VTEP that no claim tells of: they may come in where the operator takes anybody's, and even then nothing is
/// learnt from them; where nodes alone are heard, they do not even get so far as to have a question answered.
///
/// Checklist: 115
#[test]
fn a_stranger_leaves_no_entry_behind() {
    for filtered in [false, true] {
        fresh(move || {
            let (mut kernel, wire) = node(vxlan(1));
            if filtered {
                filter(&mut kernel, &["10.0.0.2"]);
            }
            let socket = pod_socket();
            let state = || {
                (
                    run("bridge fdb show dev biplane.vxlan"),
                    run("ip neigh show dev biplane.vxlan"),
                    run("ip -6 neigh show dev biplane.vxlan"),
                )
            };
            let before = state();
            let stranger = [0x02, 0xbe, 0xef, 0, 0, 7];
            let inner = |words: &str| {
                datagram(
                    (stranger, mac(1).0),
                    (v4("10.244.7.9"), 9000),
                    (v4(POD), 7000),
                    Checksum::Right,
                    words.as_bytes(),
                )
            };
            let unknown = outer("10.0.0.77", Checksum::Zero, &vxlan_payload(HEADER, &inner("unknown")));
            // The MAC of a node that is known, from elsewhere: the entry must not follow it.
            let moved = frame("10.0.0.77", HEADER, Checksum::Zero, "moved");
            let mut frames = vec![unknown, moved];
            if filtered {
                // Who is asked by ARP for an address of its own learns who asks; a stranger does not get to ask.
                let question = arp_request(stranger, v4("10.244.7.9"), v4(POD));
                frames.push(outer("10.0.0.77", Checksum::Zero, &vxlan_payload(HEADER, &question)));
            }
            let heard = heard(&wire, &socket, &frames);
            assert_eq!(heard, if filtered { &[][..] } else { &["unknown", "moved"] });
            assert_eq!(state(), before);
        });
    }
}

/// Checklist: 119
#[test]
fn checksums_inside_are_made_by_the_kernel_where_the_hardware_is_not_trusted() {
    fresh(|| {
        let trusting = vxlan(1);
        let (mut kernel, wire) = node(trusting.clone());
        let offload = || match found(&Key::Link(overlay())) {
            Some(Value::Link(link)) => link.tx_checksum,
            other => panic!("{other:?}"),
        };
        let inner = || {
            pod_socket().send_to(b"words", (REMOTE_POD, 9000)).unwrap();
            wire.vxlan_frames(4789, 1).remove(0).inner_udp().unwrap().2
        };
        // The cable takes checksums as unfinished as they are: what a card would have to finish can be seen on it.
        assert!(offload());
        assert!(!inner().right);

        let wary = VxlanLink { tx_checksum: false, ..trusting.clone() };
        let index = || run("ip -o link show biplane.vxlan").split(':').next().map(str::to_owned);
        let before = index();
        done(&mut kernel, replace(link(wary.clone())));
        assert_found([link(wary.clone())]);
        assert_eq!(index(), before, "in place");
        let made = inner();
        assert!(made.right && made.checksum != 0, "{made:?}");

        // Whoever switches it back is noticed.
        let ear = worker();
        done(&mut open(), replace(link(trusting.clone())));
        ear.wait_changed(&Key::Link(overlay()), Some(&Value::Link(trusting.clone().into())));
        done(&mut kernel, replace(link(wary.clone())));
        assert!(!offload() && inner().right);
        // And a new link has it from the start.
        done(&mut kernel, delete(Key::Link(overlay())));
        done(&mut kernel, create([link(wary)]));
        assert!(!offload());
        done(&mut kernel, replace(link(trusting)));
        assert!(offload());
    });
}

/// Checklist: 120
#[test]
fn frames_are_taken_from_nodes_alone() {
    fresh(|| {
        let (mut kernel, wire) = node(vxlan(1));
        let socket = pod_socket();
        let from = |address: &str, words: &str| frame(address, HEADER, Checksum::Zero, words);
        let all = [from("10.0.0.2", "node"), from("10.0.0.3", "later"), from("10.0.0.66", "stranger")];
        assert_eq!(heard(&wire, &socket, &all), ["node", "later", "stranger"], "without the filter");
        filter(&mut kernel, &["10.0.0.2"]);
        assert_eq!(heard(&wire, &socket, &all), ["node"]);
        // A node that comes and one that goes cost one element.
        done(&mut kernel, create([(Key::Vtep("10.0.0.3".parse().unwrap()), Value::There)]));
        assert_eq!(heard(&wire, &socket, &all), ["node", "later"]);
        done(&mut kernel, delete(Key::Vtep("10.0.0.3".parse().unwrap())));
        assert_eq!(heard(&wire, &socket, &all), ["node"]);

        // Another tunnel on the same port is nobody's business.
        run("ip link add other type vxlan id 5 dstport 4789 local 10.0.0.1 dev eth0 nolearning");
        run("ip link set other address 02:00:00:00:00:55 up");
        run("ip addr add 10.55.0.1/24 dev other");
        let apart = UdpSocket::bind(("10.55.0.1", 7000)).unwrap();
        apart.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let macs = ([0x02, 0, 0, 0, 0, 0x66], [0x02, 0, 0, 0, 0, 0x55]);
        let inner = datagram(macs, (v4("10.55.0.9"), 1), (v4("10.55.0.1"), 7000), Checksum::Right, b"apart");
        let header = [0x08, 0, 0, 0, 0, 0, 5, 0];
        wire.send(&outer("10.0.0.66", Checksum::Zero, &vxlan_payload(header, &inner)));
        let mut octets = [0; 16];
        assert_eq!(apart.recv(&mut octets).unwrap(), 5);

        done(&mut kernel, delete(Key::VtepFilter));
        assert_eq!(heard(&wire, &socket, &all), ["node", "later", "stranger"]);
    });
}

/// What a pod sends to the VXLAN port of its own node or of another one is dropped where it enters: beyond, masquerade
/// would have given it the node's own address.
///
/// Checklist: 120
#[test]
fn pods_cannot_send_frames() {
    fresh(|| {
        let (mut kernel, wire) = node(vxlan(1));
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        run("ip link add pod type veth peer name port");
        run("ip link add biplane0 type bridge");
        run("ip link set port master biplane0");
        run("ip link set biplane0 address 02:00:00:00:02:00");
        for device in ["pod", "port", "biplane0"] {
            run(&format!("ip link set {device} up"));
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"), "0").unwrap();
        }
        run("ip addr add 10.244.1.1/24 dev biplane0");
        let masquerade = model::kernel::Masquerade {
            sources: vec![prefix("10.244.1.0/24")],
            exclude: vec![prefix("10.244.0.0/16")],
        };
        done(&mut kernel, create([(Key::Masquerade, Value::Masquerade(masquerade.into()))]));
        let pod = Wire::on("pod");
        let bridge = [0x02, 0, 0, 0, 2, 0];
        let inner = datagram((mac(9).0, mac(1).0), (v4(REMOTE_POD), 9000), (v4(POD), 7000), Checksum::Right, b"forged");
        let send = |from: &str, to: &str, header: [u8; 8]| {
            let macs = ([0x02, 0, 0, 0, 2, 1], bridge);
            let payload = vxlan_payload(header, &inner);
            pod.send(&datagram(macs, (v4(from), 50_000), (v4(to), 4789), Checksum::Zero, &payload));
        };
        let marked = |number: u8| [0x08, number, 0, 0, 0, 0, 178, 0];
        let other_vni = [0x08, 9, 0, 0, 0, 0, 5, 0];

        // Without the filter it gets out, with the node's own address on it.
        send("10.244.1.7", "10.0.0.2", marked(1));
        let got_out = wire.vxlan_frames(4789, 1).remove(0);
        assert_eq!((got_out.from, got_out.vxlan[1]), (v4("10.0.0.1"), 1));

        filter(&mut kernel, &["10.0.0.2", "10.0.0.3"]);
        // As itself, and in the name of another node; to another node, and to its own.
        let socket = pod_socket();
        for from in ["10.244.1.7", "10.0.0.3"] {
            send(from, "10.0.0.2", marked(2));
            send(from, "10.0.0.1", marked(3));
        }
        // Its own tunnels are its own business.
        send("10.244.1.7", "10.0.0.2", other_vni);
        assert_eq!(wire.vxlan_frames(4789, 1).remove(0).vxlan[1], 9, "nothing before it");
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let error = socket.recv(&mut [0; 16]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(heard(&wire, &socket, &[]), [""; 0], "the node is heard all the same");
    });
}
