//! Whatever happens to connections, nodes and configurations: nothing panics, nothing is left over, and when it is over
//! everybody knows what everybody originates.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use std::time::Duration;

use proptest::prelude::*;
use sim::{Hand, Net, address, config, prefix};

#[derive(Clone, Debug)]
enum Blow {
    Wait(u64),
    Break(usize),
    Silence(usize),
    Wake(usize),
    Restart(usize),
    Shutdown(usize),
    Reset(usize, bool),
    Originate(usize, u8, bool),
    Forget(usize, usize),
    Configure(usize),
    Latency(u64),
}

const NODES: usize = 4;

fn blow() -> impl Strategy<Value = Blow> {
    let node = 0..NODES;
    prop_oneof![
        4 => (1u64..200_000).prop_map(Blow::Wait),
        2 => node.clone().prop_map(Blow::Break),
        1 => node.clone().prop_map(Blow::Silence),
        1 => node.clone().prop_map(Blow::Wake),
        2 => node.clone().prop_map(Blow::Restart),
        1 => node.clone().prop_map(Blow::Shutdown),
        1 => (node.clone(), any::<bool>()).prop_map(|(n, soft)| Blow::Reset(n, soft)),
        2 => (node.clone(), 100u8..104, any::<bool>()).prop_map(|(n, p, on)| Blow::Originate(n, p, on)),
        1 => (node.clone(), 0..NODES).prop_map(|(n, other)| Blow::Forget(n, other)),
        2 => node.prop_map(Blow::Configure),
        1 => (0u64..300).prop_map(Blow::Latency),
    ]
}

fn mesh_config(node: usize, without: Option<usize>) -> bgp::SpeakerConfig {
    let asn = |node: usize| if node == 3 { 65003 } else { 64512 };
    let others = (0..NODES).filter(|other| *other != node && Some(*other) != without);
    let peers: Vec<(u8, u32)> = others.map(|other| (other as u8 + 1, asn(other))).collect();
    config(node as u8 + 1, asn(node), &peers)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn ends_in_order(blows in proptest::collection::vec(blow(), 1..40)) {
        let mut net = Net::new();
        for node in 0..NODES {
            net.add(mesh_config(node, None));
        }
        let mut extra = vec![std::collections::BTreeSet::new(); NODES];
        for blow in blows {
            let now = net.now;
            match blow {
                Blow::Wait(millis) => net.run(Duration::from_millis(millis)),
                Blow::Break(node) => net.break_tcp(node),
                Blow::Silence(node) => net.nodes[node].silent = true,
                Blow::Wake(node) => net.nodes[node].silent = false,
                Blow::Restart(node) => {
                    extra[node].clear();
                    net.restart(node, mesh_config(node, None));
                }
                Blow::Shutdown(node) => net.speaker(node).handle_shutdown(now),
                Blow::Reset(node, soft) => drop(net.speaker(node).handle_reset(now, None, soft)),
                Blow::Originate(node, third, on) => {
                    if on { extra[node].insert(third); } else { extra[node].remove(&third); }
                    net.speaker(node).handle_originate(now, prefix(&format!("10.244.{third}.0/24")), on);
                }
                Blow::Forget(node, other) => net.speaker(node).handle_config(now, mesh_config(node, Some(other))),
                Blow::Configure(node) => net.speaker(node).handle_config(now, mesh_config(node, None)),
                Blow::Latency(millis) => net.latency = Duration::from_millis(millis),
            }
        }
        net.latency = Duration::from_millis(1);
        for node in 0..NODES {
            net.nodes[node].silent = false;
            let now = net.now;
            net.speaker(node).handle_config(now, mesh_config(node, None));
        }
        // Long enough for hold timers, back-off, idle hold and stale time.
        net.run(Duration::from_secs(400));
        for node in 0..NODES {
            prop_assert_eq!(net.speaker(node).sessions(), (NODES - 1, NODES - 1), "{}", net.describe());
            prop_assert!(net.speaker(node).end_of_rib_complete().is_ok());
            for other in (0..NODES).filter(|other| *other != node) {
                let own = format!("10.244.{}.0/24", other + 1);
                prop_assert_eq!(net.hops(node, &own), vec![address(other as u8 + 1)]);
            }
            for third in 100..104u8 {
                let text = format!("10.244.{third}.0/24");
                let from = (0..NODES).filter(|other| *other != node && extra[*other].contains(&third));
                let expected = if extra[node].contains(&third) { 0 } else { from.count() };
                let paths = net.speaker(node).routes(bgp::RoutesQuery {
                    prefix: Some(prefix(&text)),
                    limit: 100,
                    ..Default::default()
                });
                let learnt = paths.iter().filter(|path| path.peer.is_some()).count();
                prop_assert_eq!(learnt, expected, "{} at node {}: {:?}", text, node, paths);
                prop_assert!(paths.iter().all(|path| !path.stale));
            }
        }
        prop_assert_eq!(net.connections(), NODES * (NODES - 1) / 2);
    }

    #[test]
    fn bytes_never_panic(
        start in proptest::sample::select(vec![0usize, 1, 2]),
        noise in proptest::collection::vec((0usize..200, any::<u8>(), 0usize..60), 1..12),
        cut in 1usize..100,
    ) {
        let mut hand = Hand::new(config(1, 64512, &[(2, 65002)]));
        let conn = match start {
            0 => hand.connect(2),
            1 => {
                let conn = hand.connect(2);
                hand.say(conn, &wire::Message::Open(Hand::open(65002, 2)));
                conn
            }
            _ => hand.establish(2, 65002),
        };
        let attributes = wire::Attributes {
            as_path: wire::AsPath::sequence([model::Asn(65002)]),
            communities: vec![1, 2],
            ..wire::Attributes::default()
        };
        let own = [(prefix("10.244.9.0/24"), 0), (prefix("10.244.10.0/24"), 0)];
        let mut bytes = wire::encode(&wire::Message::Open(Hand::open(65002, 2)), &hand.negotiated).unwrap().to_vec();
        bytes.extend_from_slice(&wire::encode(&wire::Message::Keepalive, &hand.negotiated).unwrap());
        for update in wire::encode_announce(&own, address(2), None, &attributes, &hand.negotiated).unwrap() {
            bytes.extend_from_slice(&update);
        }
        for (at, value, gap) in noise {
            let at = (at + gap) % bytes.len();
            bytes[at] = value;
        }
        for piece in bytes.chunks(cut) {
            hand.bytes(conn, piece);
        }
        hand.wait(300);
        prop_assert!(hand.speaker.holds_paths() <= 3);
        // It still works with the next one.
        hand.wait(200);
        if hand.speaker.sessions().0 == 0 {
            hand.establish(2, 65002);
            prop_assert_eq!(hand.speaker.sessions().0, 1);
        }
    }
}
