//! Graceful shutdown (RFC 8326): peers move away before a session goes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use std::time::Duration;

use bgp::{Direction, RoutesQuery, SpeakerConfig};
use model::Prefix;
use sim::{Hand, Net, address, config, prefix};

const SHARED: &str = "10.244.50.0/24";

/// 2 and 3 announce the same slice to 1; the path of 2 is the shorter.
fn two_ways(change: impl Fn(SpeakerConfig) -> SpeakerConfig) -> Net {
    let mut net = Net::new();
    net.add(change(config(1, 64512, &[(2, 64512), (3, 65003)])));
    net.add(config(2, 64512, &[(1, 64512)]));
    net.add(config(3, 65003, &[(1, 64512)]));
    for node in [1, 2] {
        let now = net.now;
        net.speaker(node).handle_originate(now, prefix(SHARED), true);
    }
    net.until_up();
    assert_eq!(net.hops(0, SHARED), vec![address(2)]);
    net
}

fn path(net: &Net, of: Prefix) -> (Option<u32>, Vec<String>) {
    let query = RoutesQuery { direction: Direction::Loc, peer: Some(address(2).into()), prefix: Some(of), limit: 1 };
    let path = net.nodes[0].speaker.routes(query).remove(0);
    (path.local_pref, path.communities)
}

/// Checklist: 93
#[test]
fn peers_move_away_before_the_sessions_close_and_back_after() {
    let mut net = two_ways(|config| config);
    let now = net.now;
    net.speaker(1).handle_drain(now, true);
    net.run(Duration::from_millis(100));
    assert_eq!(net.hops(0, SHARED), vec![address(3)], "the other path");
    assert_eq!(net.hops(0, "10.244.2.0/24"), vec![address(2)], "the only one stays");
    assert!(net.nodes[0].speaker.best(&prefix("10.244.2.0/24"))[0].leaving, "and says that it is about to go");
    assert_eq!(path(&net, prefix(SHARED)), (Some(0), vec!["65535:0".to_owned()]));
    assert_eq!(net.speaker(0).peers()[0].established, 1, "the session stays");
    let now = net.now;
    net.speaker(1).handle_drain(now, false);
    net.run(Duration::from_millis(100));
    assert_eq!(net.hops(0, SHARED), vec![address(2)]);
    assert_eq!(path(&net, prefix(SHARED)), (Some(100), Vec::new()));
}

#[test]
fn who_does_not_honour_it_stays() {
    let mut net = two_ways(|config| SpeakerConfig { honour_shutdown: false, ..config });
    let now = net.now;
    net.speaker(1).handle_drain(now, true);
    net.run(Duration::from_millis(100));
    assert_eq!(net.hops(0, SHARED), vec![address(2)]);
    assert_eq!(path(&net, prefix(SHARED)), (Some(100), vec!["65535:0".to_owned()]));
}

/// Checklist: 93
#[test]
fn any_other_path_is_preferred_whatever_its_local_pref() {
    let mut hand = Hand::new(config(1, 64512, &[(2, 64512), (3, 64512)]));
    let (leaving, staying) = (hand.establish(2, 64512), hand.establish(3, 64512));
    for (conn, hop, local_pref, communities) in
        [(leaving, 2, 1_000_000, vec![0xffff_0000]), (staying, 3, 1, Vec::new())]
    {
        let attributes = wire::Attributes { local_pref: Some(local_pref), communities, ..wire::Attributes::default() };
        let prefixes = [(prefix(SHARED), 0)];
        for bytes in wire::encode_announce(&prefixes, address(hop), None, &attributes, &hand.negotiated).unwrap() {
            hand.bytes(conn, &bytes);
        }
    }
    assert_eq!(hand.speaker.best(&prefix(SHARED))[0].next_hop, address(3));
}
