//! Dynamic neighbours: peers that are there because they connected from a range.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use std::time::Duration;

use bgp::{PeerConfig, PeerRange, SpeakerConfig, State};
use model::{Asn, PeerAs, PeerId};
use sim::{Hand, Net, address, config, plain, prefix};

const SECOND: Duration = Duration::from_secs(1);

fn range(text: &str, asns: &[u32], limit: u32) -> PeerRange {
    let asns: Vec<PeerAs> = asns.iter().map(|asn| Asn(*asn).into()).collect();
    let peer = PeerConfig { asns: asns.clone(), ..PeerConfig::new(address(0), asns[0]) };
    PeerRange { prefix: prefix(text), limit, peer }
}

fn listening(asn: u32, ranges: Vec<PeerRange>) -> SpeakerConfig {
    SpeakerConfig { ranges, ..plain(config(1, asn, &[])) }
}

/// Node 1 listens, the others dial it.
fn net(ranges: Vec<PeerRange>, others: &[(u8, u32)]) -> Net {
    let mut net = Net::new();
    net.add(listening(64512, ranges));
    for (n, asn) in others {
        net.add(plain(config(*n, *asn, &[(1, 64512)])));
    }
    net
}

fn ids(net: &mut Net) -> Vec<String> {
    net.speaker(0).peers().iter().map(|peer| peer.id.to_string()).collect()
}

/// Checklist: 10, 11
#[test]
fn peers_come_from_a_range_and_go_with_their_session() {
    let all = vec![range("192.0.2.0/24", &[65002, 65003], 10)];
    let mut net = net(all, &[(2, 65002), (3, 65003), (4, 65004)]);
    net.until("both are up", 30 * SECOND, |net| net.speaker(0).sessions().0 == 2);
    net.run(SECOND);
    let peers = net.speaker(0).peers();
    let seen: Vec<_> = peers.iter().map(|p| (p.id.to_string(), p.asn.0, p.range, p.passive)).collect();
    let all = Some(prefix("192.0.2.0/24"));
    assert_eq!(seen, [("192.0.2.2".into(), 65002, all, true), ("192.0.2.3".into(), 65003, all, true)]);
    assert_eq!(net.hops(0, "10.244.2.0/24"), [address(2)]);
    assert_eq!(net.hops(1, "10.244.1.0/24"), [address(1)]);
    // The one of a wrong AS has been told so, and is remembered by nobody.
    assert!(net.last_error(3, 1).unwrap().contains("2/2"), "{:?}", net.last_error(3, 1));
    assert_eq!(net.dials.get(&0), None, "nobody is dialed");

    let now = net.now;
    net.speaker(1).handle_shutdown(now);
    net.run(SECOND);
    assert_eq!(ids(&mut net), ["192.0.2.3"]);
    assert!(net.hops(0, "10.244.2.0/24").is_empty());
    assert!(net.notices(0, "peer 192.0.2.2 (AS 65002) is down") == 1, "{:?}", net.nodes[0].notices);
    // It may come again.
    net.speaker(1).handle_config(now, plain(config(2, 65002, &[(1, 64512)])));
    net.until("it is back", 30 * SECOND, |net| net.speaker(0).sessions().0 == 2);
}

/// What RFC 4724 keeps is kept, with the peer that it is of; then both go.
#[test]
fn a_peer_stays_as_long_as_something_of_it_is_kept() {
    let mut net = Net::new();
    net.add(SpeakerConfig { ranges: vec![range("192.0.2.0/24", &[64512], 10)], ..config(1, 64512, &[]) });
    net.add(config(2, 64512, &[(1, 64512)]));
    net.until("it is up", 30 * SECOND, |net| net.speaker(0).sessions().0 == 1);
    net.run(5 * SECOND);
    net.nodes[1].silent = true;
    net.break_tcp(1);
    net.run(SECOND);
    let peers = net.speaker(0).peers();
    assert_eq!((peers.len(), peers[0].state, peers[0].stale), (1, State::Active, 2), "{peers:?}");
    assert_eq!(net.hops(0, "10.244.2.0/24"), [address(2)]);
    net.run(200 * SECOND);
    assert_eq!(ids(&mut net), [""; 0]);
    assert!(net.hops(0, "10.244.2.0/24").is_empty());
}

/// Checklist: 11
#[test]
fn no_more_than_the_limit_and_nobody_from_outside() {
    let ranges = vec![range("192.0.2.0/29", &[65002], 2), range("192.0.2.4/32", &[65004], 1)];
    let others = [(2, 65002), (3, 65002), (4, 65004), (5, 65002), (9, 65002)];
    let mut net = net(ranges, &others);
    net.run(30 * SECOND);
    let there = ids(&mut net);
    assert_eq!(there.len(), 3, "{there:?}");
    assert!(there.contains(&"192.0.2.4".to_owned()), "the most specific range counts: {there:?}");
    assert!(!there.contains(&"192.0.2.9".to_owned()));
    assert_eq!(net.speaker(0).sessions().0, 3);
    assert!(net.notices(0, "the range 192.0.2.0/29 of bgp.listen has its 2 peers") >= 1, "{:?}", net.nodes[0].notices);
    assert!(net.notices(0, "connection from 192.0.2.9 refused: it is no peer") == 1);
    let strangers = net.speaker(0).last_strangers();
    assert_eq!(strangers.len(), 2, "{strangers:?}");
    // One leaves: there is room for the one that waits.
    let (waits, at) =
        [(2, 1), (3, 2), (5, 4)].into_iter().find(|(n, _)| !there.contains(&format!("192.0.2.{n}"))).unwrap();
    let (leaves, _) = [(1, 2), (2, 3)].into_iter().find(|(node, _)| *node != at).unwrap();
    let now = net.now;
    net.speaker(leaves).handle_shutdown(now);
    net.until("the other one is in", 300 * SECOND, |net| ids(net).contains(&format!("192.0.2.{waits}")));
}

/// Somebody who comes and goes as fast as can be makes a bounded number of lines, and leaves nothing behind.
#[test]
fn a_flapping_stranger_of_the_range_is_heard_of_in_few_lines() {
    let mut hand = Hand::new(listening(64512, vec![range("192.0.2.0/24", &[65002], 5)]));
    for round in 0..1000_u32 {
        let conn = hand.connect(2 + (round % 100) as u8);
        hand.bytes(conn, &[0; 19]);
        hand.now = hand.now + Duration::from_millis(1);
        assert!(hand.closed.contains(&conn), "round {round}");
    }
    assert_eq!(hand.speaker.peers(), []);
    assert!(hand.notices.len() <= 12, "{} lines: {:?}", hand.notices.len(), hand.notices.last());
    assert_eq!(hand.speaker.counters().strangers, 0);
}

#[test]
fn too_many_prefixes_are_not_forgotten_with_the_session() {
    let mut few = range("192.0.2.0/24", &[65002], 5);
    few.peer.max_prefixes = 1;
    few.peer.max_prefixes_restart = Some(100 * SECOND);
    let mut net = net(vec![few], &[(2, 65002)]);
    net.until("it was closed", 30 * SECOND, |net| net.notices(0, "is down") == 1);
    net.run(60 * SECOND);
    let peers = net.speaker(0).peers();
    assert_eq!((peers.len(), peers[0].state, peers[0].established), (1, State::Idle, 1), "{peers:?}");
    net.until("it may try again", 200 * SECOND, |net| net.notices(0, "is down") == 2);
}

#[test]
fn an_operator_s_order_outlives_the_session() {
    let mut net = net(vec![range("192.0.2.0/24", &[65002], 5)], &[(2, 65002)]);
    net.until("it is up", 30 * SECOND, |net| net.speaker(0).sessions().0 == 1);
    let (now, id) = (net.now, PeerId::from(address(2)));
    net.speaker(0).handle_peer_down(now, &id, "no").unwrap();
    net.run(600 * SECOND);
    assert_eq!(ids(&mut net), ["192.0.2.2"]);
    assert_eq!(net.speaker(0).sessions().0, 0);
    let now = net.now;
    net.speaker(0).handle_peer_up(now, &id).unwrap();
    net.until("it is up again", 300 * SECOND, |net| net.speaker(0).sessions().0 == 1);
}

/// From a range to a peer of its own and back, another limit, another policy: no session ends for it.
#[test]
fn a_reload_takes_no_session_that_may_stay() {
    let all = |limit| range("192.0.2.0/24", &[65002, 65003], limit);
    let mut net = net(vec![all(10)], &[(2, 65002), (3, 65003)]);
    net.until("both are up", 30 * SECOND, |net| net.speaker(0).sessions().0 == 2);
    net.run(SECOND);
    let since: Vec<_> = net.speaker(0).peers().iter().map(|peer| peer.since).collect();
    let own = SpeakerConfig { peers: config(1, 64512, &[(3, 65003)]).peers, ..listening(64512, vec![all(10)]) };
    let narrow = listening(64512, vec![all(1), range("192.0.2.2/31", &[65003, 65002], 1)]);
    let mut described = listening(64512, vec![all(10)]);
    described.ranges[0].peer.description = Some("rack".to_owned());
    described.ranges[0].peer.hold_time = Some(30 * SECOND);
    let both = [Some("192.0.2.0/24"); 2];
    let steps = [
        (own, [Some("192.0.2.0/24"), None]),
        (listening(64512, vec![all(10)]), both),
        (narrow, [Some("192.0.2.2/31"); 2]),
        (described, both),
    ];
    for (other, ranges) in steps {
        let now = net.now;
        net.speaker(0).handle_config(now, other);
        net.run(20 * SECOND);
        let peers = net.speaker(0).peers();
        assert_eq!(peers.iter().map(|peer| peer.since).collect::<Vec<_>>(), since, "{}", net.describe());
        let expected: Vec<_> = ranges.iter().map(|text| text.map(prefix)).collect();
        assert_eq!(peers.iter().map(|peer| peer.range).collect::<Vec<_>>(), expected);
        assert_eq!(net.hops(0, "10.244.3.0/24"), [address(3)]);
    }
    assert_eq!(net.speaker(0).peers()[0].description.as_deref(), Some("rack"));
    // An AS that it may have no more, and a range that is no more.
    let now = net.now;
    net.speaker(0).handle_config(now, listening(64512, vec![range("192.0.2.0/24", &[65003], 10)]));
    net.run(SECOND);
    assert_eq!(ids(&mut net), ["192.0.2.3"]);
    let now = net.now;
    net.speaker(0).handle_config(now, listening(64512, Vec::new()));
    net.run(SECOND);
    assert_eq!(ids(&mut net), [""; 0]);
    assert!(net.notices(2, "6/3") == 1, "{:?}", net.nodes[2].notices);
    assert!(net.hops(0, "10.244.3.0/24").is_empty());
}

/// Checklist: 86
#[test]
fn packets_travel_as_far_as_the_peer_may_be() {
    let far = |asn: u32, change: &dyn Fn(&mut PeerConfig)| {
        let mut peer = PeerConfig::new(address(2), Asn(asn));
        change(&mut peer);
        let transport = peer.transport(Asn(64512));
        (transport.ttl, transport.least_ttl, peer.is_far())
    };
    assert_eq!(far(64512, &|_| {}), (None, None, false));
    assert_eq!(far(65002, &|_| {}), (Some(1), None, false));
    assert_eq!(far(65002, &|peer| peer.mesh = true), (None, None, false));
    assert_eq!(far(65002, &|peer| peer.multihop = Some(1)), (Some(1), None, false));
    assert_eq!(far(65002, &|peer| peer.multihop = Some(255)), (Some(255), None, true));
    assert_eq!(far(64512, &|peer| peer.multihop = Some(3)), (Some(3), None, true));
    assert_eq!(far(65002, &|peer| peer.ttl_security = Some(1)), (Some(255), Some(255), false));
    assert_eq!(far(64512, &|peer| peer.ttl_security = Some(254)), (Some(255), Some(2), true));
    assert_eq!(far(65002, &|peer| peer.local_asn = Some(Asn(65002))), (None, None, false));
    assert_eq!(far(65002, &|peer| peer.asns = vec![Asn(65002).into(), Asn(64512).into()]), (None, None, false));
    // And so a dial says.
    let mut guarded = config(1, 64512, &[(2, 65002)]);
    guarded.peers[0].ttl_security = Some(2);
    let mut speaker = bgp::Speaker::new(sim::at(0), guarded);
    speaker.handle_timeout(sim::at(0));
    let Some(bgp::Output::Dial { transport, .. }) = speaker.poll_output() else { panic!("no dial") };
    assert_eq!((transport.ttl, transport.least_ttl), (Some(255), Some(254)));
}

/// A peer of another AS gives next hops on the network that it shares with us, unless it may be farther away.
///
/// Checklist: 20
#[test]
fn next_hops_of_a_far_peer_may_be_elsewhere() {
    let with = |multihop| {
        let mut listening = plain(config(1, 64512, &[(2, 65002)]));
        listening.peers[0].multihop = multihop;
        listening.peers[0].passive = true;
        listening
    };
    let mut hand = Hand::new(with(None));
    let conn = hand.establish(2, 65002);
    hand.announce(conn, &["10.244.7.0/24"], "198.51.100.7".parse().unwrap(), &[65002]);
    hand.work();
    assert_eq!(hand.speaker.best(&prefix("10.244.7.0/24")).len(), 0);
    hand.speaker.handle_config(hand.now, with(Some(2)));
    hand.work();
    assert_eq!(hand.speaker.best(&prefix("10.244.7.0/24"))[0].next_hop.to_string(), "198.51.100.7");
    hand.speaker.handle_config(hand.now, with(Some(1)));
    hand.work();
    assert_eq!(hand.speaker.best(&prefix("10.244.7.0/24")).len(), 0);
    assert_eq!(hand.speaker.peers()[0].established, 1, "the session is the same");
}

/// A peer that cannot be reached with one hop: its last error says what to do.
#[test]
fn a_peer_behind_a_router_is_told_of() {
    let mut net = Net::new();
    let mut alone = plain(config(1, 64512, &[]));
    alone.peers = vec![PeerConfig::new("198.51.100.2".parse::<std::net::IpAddr>().unwrap(), Asn(65002))];
    net.add(alone);
    net.run(SECOND);
    let said = net.speaker(0).peers()[0].last_error.clone().unwrap().1;
    assert!(said.contains("198.51.100.2 is on no network of this host") && said.contains("multihop"), "{said}");
}

/// A new key is on the sockets already: the session goes on, and one that is not up is tried at once.
///
/// Checklist: 87
#[test]
fn another_key_ends_no_session() {
    let mut net = Net::mesh(&[64512, 65002]);
    net.until_up();
    let since = net.speaker(0).peers()[0].since;
    let now = net.now;
    let mut other = config(1, 64512, &[(2, 65002)]);
    other.peers[0].key_generation = 7;
    net.speaker(0).handle_config(now, other.clone());
    net.run(200 * SECOND);
    assert_eq!((net.speaker(0).peers()[0].since, net.state(0, 2)), (since, State::Established));
    net.nodes[1].refuses = true;
    net.break_tcp(1);
    let now = net.now;
    net.speaker(1).handle_shutdown(now);
    net.run(600 * SECOND);
    let dials = net.dials[&0];
    let now = net.now;
    other.peers[0].key_generation = 8;
    net.speaker(0).handle_config(now, other);
    net.run(SECOND / 100);
    assert_eq!(net.dials[&0], dials + 1);
}
