//! Sessions between speakers: connect, collide, break, reset, back off.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use std::time::Duration;

use bgp::{Direction, PeerConfig, RoutesQuery, State};
use model::{Asn, Family};
use sim::{Net, address, address6, at, config, plain, prefix};

const SECOND: Duration = Duration::from_secs(1);
const NONE: Vec<std::net::IpAddr> = Vec::new();

#[test]
fn two_speakers_meet_and_tell_each_other_their_prefixes() {
    for asns in [[64512, 64512], [65001, 65002], [4_200_000_001, 65002]] {
        let mut net = Net::mesh(&asns);
        net.until_up();
        for (node, other) in [(0, 2), (1, 1)] {
            assert_eq!(net.hops(node, &format!("10.244.{other}.0/24")), vec![address(other)]);
            assert_eq!(net.hops(node, &format!("fd00:10:244:{other}::/64")), vec![address6(other)], "over IPv4");
            assert_eq!(net.speaker(node).end_of_rib_complete(), Ok(()));
            let peer = &net.nodes[node].speaker.peers()[0];
            assert_eq!(peer.end_of_rib.len(), 2, "End-of-RIB of both families");
            assert_eq!((peer.counts[&Family::V4].accepted, peer.counts[&Family::V6].advertised), (1, 1));
            assert_eq!(net.notices(node, "is up"), 1);
        }
        let path = &net.nodes[0].speaker.routes(RoutesQuery {
            direction: Direction::Loc,
            prefix: Some(prefix("10.244.2.0/24")),
            limit: 10,
            ..RoutesQuery::default()
        })[0];
        let internal = asns[0] == asns[1];
        assert_eq!(path.local_pref, internal.then_some(100), "LOCAL_PREF never to another AS");
        assert_eq!(path.as_path, if internal { String::new() } else { asns[1].to_string() });
        assert!(path.best && path.why == "best");
    }
}

#[test]
fn prefixes_come_and_go() {
    let mut net = Net::mesh(&[64512, 64512]);
    net.until_up();
    net.speaker(0).poll_changed(usize::MAX);
    let now = net.now;
    net.speaker(1).handle_originate(now, prefix("10.244.200.0/24"), true);
    net.run(SECOND);
    assert_eq!(net.speaker(0).poll_changed(100), vec![prefix("10.244.200.0/24")]);
    assert_eq!(net.hops(0, "10.244.200.0/24"), vec![address(2)]);
    let now = net.now;
    net.speaker(1).handle_originate(now, prefix("10.244.200.0/24"), false);
    net.run(SECOND);
    assert_eq!(net.hops(0, "10.244.200.0/24"), NONE);
    assert_eq!(net.speaker(0).poll_changed(100), vec![prefix("10.244.200.0/24")]);
}

#[test]
fn a_mesh_started_at_once_converges_quickly_and_quietly() {
    let mut net = Net::mesh(&[64512; 12]);
    net.until_up();
    assert!(net.now < at(1000) + 3 * SECOND, "took {:?}", net.now.since(at(1000)));
    net.run(60 * SECOND);
    assert_eq!(net.connections(), 12 * 11 / 2, "one connection for each pair");
    for node in 0..12 {
        assert_eq!(net.speaker(node).sessions(), (11, 11));
        assert_eq!(net.speaker(node).holds_paths(), 22);
        assert_eq!(net.nodes[node].notices.len(), 11, "one line a peer: {:?}", net.nodes[node].notices);
        let peers = net.speaker(node).peers();
        assert!(peers.iter().all(|p| p.last_error.is_none() && p.established == 1), "{peers:?}");
    }
}

/// Checklist: 8
#[test]
fn collisions_end_well_whatever_the_latency() {
    for micros in [1, 100, 10_000, 400_000] {
        for asns in [[64512, 64512], [65002, 65001]] {
            let mut net = Net::mesh(&asns);
            net.latency = Duration::from_micros(micros);
            net.until_up();
            net.run(120 * SECOND);
            assert_eq!(net.connections(), 1, "{micros} us");
            assert_eq!(net.speaker(0).peers()[0].established, 1);
        }
    }
}

/// Checklist: 10
#[test]
fn a_passive_peer_waits() {
    let mut net = Net::new();
    let mut passive = config(1, 64512, &[(2, 64512)]);
    passive.peers[0].passive = true;
    net.add(passive);
    net.run(30 * SECOND);
    assert_eq!(net.state(0, 2), State::Active);
    assert_eq!(net.dials.get(&0), None);
    net.add(config(2, 64512, &[(1, 64512)]));
    net.until_up();
    assert_eq!(net.dials.get(&0), None);
}

/// Checklist: 4
#[test]
fn a_silent_peer_expires_and_its_paths_go_at_once() {
    let mut net = Net::mesh_of(&[64512, 64512], plain);
    net.until_up();
    net.nodes[1].silent = true;
    net.run(60 * SECOND);
    assert_eq!(net.state(0, 2), State::Established);
    net.until("hold timer", 40 * SECOND, |net| net.state(0, 2) != State::Established);
    assert_eq!(net.hops(0, "10.244.2.0/24"), NONE, "no stale paths after the hold timer");
    assert_eq!(net.last_error(0, 2).unwrap(), "hold timer expired: nothing heard for 90 s");
    net.nodes[1].silent = false;
    net.until("back", 180 * SECOND, |net| net.state(0, 2) == State::Established);
}

/// Checklist: 3
#[test]
fn keepalives_hold_a_session_for_hours() {
    let mut net = Net::new();
    for n in [1, 2] {
        let mut short = config(n, 64512, &[(3 - n, 64512)]);
        short.hold_time = 3 * SECOND;
        net.add(short);
    }
    net.until_up();
    net.run(4 * 3600 * SECOND);
    assert_eq!(net.speaker(0).peers()[0].established, 1);
    let sent = net.speaker(0).peers()[0].messages_out;
    assert!((14_400..14_420).contains(&sent), "one KEEPALIVE a second, not more: {sent}");
}

#[test]
fn broken_tcp_keeps_the_paths_until_the_peer_is_back() {
    let mut net = Net::mesh_of(&[64512, 64512], plain);
    net.until_up();
    net.run(120 * SECOND);
    net.speaker(0).poll_changed(usize::MAX);
    net.break_tcp(1);
    net.run(Duration::from_millis(10));
    let best = net.speaker(0).best(&prefix("10.244.2.0/24"));
    assert!(best.len() == 1 && best[0].stale, "{best:?}");
    assert_eq!(net.speaker(0).peers()[0].stale, 2);
    assert_eq!(net.notices(0, "its 2 paths are kept for 90 s"), 1, "{:?}", net.nodes[0].notices);
    net.until_up();
    let best = net.speaker(0).best(&prefix("10.244.2.0/24"));
    assert!(best.len() == 1 && !best[0].stale, "{best:?}");
    assert!(net.now < at(1000) + 130 * SECOND, "a stable session is dialed again soon");
}

#[test]
fn end_of_rib_sweeps_what_a_restarted_peer_does_not_say_again() {
    let mut net = Net::mesh(&[64512, 64512]);
    let now = net.now;
    net.speaker(1).handle_originate(now, prefix("10.244.99.0/24"), true);
    net.until_up();
    net.restart(1, config(2, 64512, &[(1, 64512)]));
    net.run(Duration::from_millis(1));
    assert_eq!(net.hops(0, "10.244.99.0/24").len(), 1, "{}", net.describe());
    net.until("swept", 5 * SECOND, |net| net.hops(0, "10.244.99.0/24").is_empty());
    assert_eq!(net.hops(0, "10.244.2.0/24"), vec![address(2)]);
    assert!(net.now < at(1000) + 10 * SECOND);
}

#[test]
fn stale_paths_do_not_outlive_their_time() {
    let mut net = Net::new();
    let mut short = plain(config(1, 64512, &[(2, 64512)]));
    short.stale_time = Some(20 * SECOND);
    net.add(short);
    net.add(plain(config(2, 64512, &[(1, 64512)])));
    net.until_up();
    net.nodes[1].refuses = true;
    net.nodes[0].refuses = true;
    net.break_tcp(1);
    net.run(19 * SECOND);
    assert_eq!(net.hops(0, "10.244.2.0/24").len(), 1);
    assert_eq!(net.hops(1, "10.244.1.0/24").len(), 1);
    net.run(2 * SECOND);
    assert_eq!(net.hops(0, "10.244.2.0/24").len(), 0);
    net.run(60 * SECOND);
    assert_eq!(net.hops(1, "10.244.1.0/24").len(), 1, "the hold time if nothing is said");
    net.run(20 * SECOND);
    assert_eq!(net.hops(1, "10.244.1.0/24").len(), 0);
    assert_eq!((net.speaker(0).holds_paths(), net.speaker(1).holds_paths()), (0, 0));
}

#[test]
fn a_shutdown_says_so_and_nothing_opens_until_the_next_config() {
    let mut net = Net::mesh(&[64512, 64512]);
    net.until_up();
    let now = net.now;
    net.speaker(1).handle_shutdown(now);
    net.run(SECOND);
    assert_eq!(net.hops(0, "10.244.2.0/24"), NONE, "a NOTIFICATION ends the paths");
    assert!(net.last_error(0, 2).unwrap().contains("6/2"), "{:?}", net.last_error(0, 2));
    net.run(600 * SECOND);
    assert_eq!(net.state(1, 1), State::Idle);
    assert_eq!(net.speaker(1).poll_timeout(), None);
    assert!(net.dials[&0] < 12, "back-off: {} dials in ten minutes", net.dials[&0]);
    let now = net.now;
    net.speaker(1).handle_config(now, config(2, 64512, &[(1, 64512)]));
    net.until_up();
}

/// Checklist: 11
#[test]
fn a_removed_peer_is_told_and_forgotten() {
    let mut net = Net::mesh(&[64512, 64512, 64512]);
    net.until_up();
    let now = net.now;
    net.speaker(0).handle_config(now, config(1, 64512, &[(3, 64512)]));
    net.run(SECOND);
    assert!(net.last_error(1, 1).unwrap().contains("6/3"));
    assert_eq!(net.hops(0, "10.244.2.0/24"), NONE);
    assert_eq!(net.hops(0, "10.244.3.0/24"), vec![address(3)]);
    assert_eq!(net.speaker(0).sessions(), (1, 1));
    assert_eq!(net.speaker(0).peers()[0].established, 1, "the other one did not notice");
    net.run(60 * SECOND);
    assert_eq!(net.speaker(0).last_strangers()[0].id, address(2).into());
    assert_eq!(net.notices(0, "it is no peer"), 1, "once, however often it tries");
    let now = net.now;
    net.speaker(0).handle_config(now, config(1, 64512, &[(2, 64512), (3, 64512)]));
    net.until("back", 30 * SECOND, |net| net.speaker(0).sessions() == (2, 2));
    net.run(SECOND);
    assert_eq!(net.hops(0, "10.244.2.0/24"), vec![address(2)]);
}

#[test]
fn only_what_concerns_a_session_resets_it() {
    let mut net = Net::mesh(&[64512, 64512]);
    net.until_up();
    let mut other = config(1, 64512, &[(2, 64512)]);
    other.peers[0].description = Some("rack 7".to_owned());
    other.peers[0].hold_time = Some(30 * SECOND);
    other.peers[0].max_prefixes = 7;
    other.max_paths = 1;
    let now = net.now;
    net.speaker(0).handle_config(now, other.clone());
    net.run(5 * SECOND);
    assert_eq!(net.speaker(0).peers()[0].established, 1);
    other.peers[0].key_generation = 1;
    let now = net.now;
    net.speaker(0).handle_config(now, other.clone());
    net.run(5 * SECOND);
    assert_eq!(net.speaker(0).peers()[0].established, 1, "the socket has the new key already");
    other.peers[0].add_path.send = 2;
    let now = net.now;
    net.speaker(0).handle_config(now, other.clone());
    net.until_up();
    assert_eq!(net.speaker(0).peers()[0].established, 2);
    assert_eq!(net.speaker(0).peers()[0].hold_time, Some(30 * SECOND));
    other.router_id.0 = std::net::Ipv4Addr::new(9, 9, 9, 9);
    let now = net.now;
    net.speaker(0).handle_config(now, other);
    net.until_up();
    assert_eq!(net.speaker(0).peers()[0].established, 3);
    assert!(net.last_error(1, 1).unwrap().contains("6/6"));
}

#[test]
fn operators_reset_hard_and_soft() {
    let mut net = Net::mesh_of(&[64512, 64512], plain);
    net.until_up();
    let now = net.now;
    let words = net.speaker(0).handle_reset(now, Some(address(9).into()), false).unwrap_err();
    assert_eq!(words, "no peer 192.0.2.9: the peers are 192.0.2.2");
    let said = net.speaker(0).handle_reset(now, None, true).unwrap();
    assert!(said.contains("asked to announce again"), "{said}");
    let updates = |net: &Net| {
        net.nodes[0].speaker.counters().messages[&(address(2).into(), bgp::Way::In, bgp::MessageKind::Update)]
    };
    let before = updates(&net);
    net.run(SECOND);
    assert_eq!(updates(&net), before + 2, "one UPDATE a family");
    assert_eq!(net.speaker(0).peers()[0].established, 1);
    let now = net.now;
    net.speaker(0).handle_reset(now, Some(address(2).into()), false).unwrap();
    net.run(Duration::from_millis(10));
    assert!(net.last_error(1, 1).unwrap().contains("6/4"));
    assert_eq!(net.hops(0, "10.244.2.0/24"), NONE, "our own Cease ends the paths");
    net.until_up();
    assert!(net.now.since(now) < 4 * SECOND);
}

#[test]
fn the_wrong_as_is_named_and_found_right_after_the_cure() {
    let mut net = Net::new();
    net.add(config(1, 64512, &[(2, 65000)]));
    net.add(config(2, 65003, &[(1, 64512)]));
    net.run(600 * SECOND);
    assert_eq!(net.last_error(0, 2).unwrap(), "bad peer AS: want 65000, got 65003");
    assert!(net.last_error(1, 1).unwrap().contains("(2/2)"), "{:?}", net.last_error(1, 1));
    assert!(net.nodes[0].notices.len() <= 2, "once is enough: {:?}", net.nodes[0].notices);
    assert!(net.dials[&0] + net.dials[&1] < 30, "{:?}", net.dials);
    let now = net.now;
    net.speaker(0).handle_config(now, config(1, 64512, &[(2, 65003)]));
    net.until("up", 5 * SECOND, |net| net.state(0, 2) == State::Established);
}

/// Checklist: 9
#[test]
fn an_absent_peer_is_dialed_less_and_less() {
    let mut net = Net::new();
    net.add(config(1, 64512, &[(2, 64512)]));
    net.run(3600 * SECOND);
    assert!((25..50).contains(&net.dials[&0]), "{}", net.dials[&0]);
    assert_eq!(net.nodes[0].notices.len(), 1, "{:?}", net.nodes[0].notices);
    assert_eq!(net.last_error(0, 2).unwrap(), "connection lost: connection refused");
    net.add(config(2, 64512, &[(1, 64512)]));
    net.until("it dials us", 2 * SECOND, |net| net.state(0, 2) == State::Established);
}

/// Checklist: 23
#[test]
fn internal_paths_stay_and_a_node_is_no_transit() {
    // 1 and 2 in one AS, 3 and 4 outside; 1 knows all, the others only 1.
    let mut net = Net::new();
    net.add(config(1, 64512, &[(2, 64512), (3, 65003), (4, 65004)]));
    net.add(config(2, 64512, &[(1, 64512)]));
    net.add(config(3, 65003, &[(1, 64512)]));
    net.add(config(4, 65004, &[(1, 64512)]));
    net.until_up();
    assert_eq!(net.speaker(0).holds_paths(), 6);
    for (node, others) in [(1, [3, 4]), (2, [2, 4]), (3, [2, 3])] {
        assert_eq!(net.hops(node, "10.244.1.0/24"), vec![address(1)]);
        for other in others {
            assert_eq!(net.hops(node, &format!("10.244.{other}.0/24")), NONE, "{other} at {node}");
        }
    }
}

#[test]
fn the_same_run_is_the_same() {
    let run = || {
        let mut net = Net::mesh(&[64512, 64512, 65001]);
        net.run(100 * SECOND);
        net.break_tcp(0);
        net.run(500 * SECOND);
        (net.describe(), net.dials.clone(), net.nodes[0].speaker.counters())
    };
    assert_eq!(run(), run());
}

#[test]
fn one_of_two_equal_paths_goes_and_the_other_stays() {
    // 2 and 3 announce the same slice to 1.
    let mut net = Net::new();
    net.add(config(1, 64512, &[(2, 65002), (3, 65003)]));
    net.add(config(2, 65002, &[(1, 64512)]));
    net.add(config(3, 65003, &[(1, 64512)]));
    for node in [1, 2] {
        let now = net.now;
        net.speaker(node).handle_originate(now, prefix("10.244.50.0/24"), true);
    }
    net.until_up();
    assert_eq!(net.hops(0, "10.244.50.0/24"), vec![address(2), address(3)]);
    net.nodes[2].refuses = true;
    net.break_tcp(2);
    net.run(Duration::from_millis(10));
    assert_eq!(net.hops(0, "10.244.50.0/24"), vec![address(2)], "stale loses against fresh");
    assert_eq!(net.hops(0, "10.244.3.0/24"), vec![address(3)], "but is better than none");
}

#[test]
fn max_prefixes_end_the_session_and_hold_it_off() {
    let mut net = Net::new();
    let mut bounded = config(1, 64512, &[(2, 64512)]);
    bounded.peers[0].max_prefixes = 50;
    net.add(bounded);
    net.add(config(2, 64512, &[(1, 64512)]));
    net.until_up();
    for n in 0..100u8 {
        let now = net.now;
        net.speaker(1).handle_originate(now, prefix(&format!("172.16.{n}.0/24")), true);
    }
    net.run(SECOND);
    assert_eq!(net.state(0, 2), State::Idle, "held off");
    let error = net.last_error(0, 2).unwrap();
    let words = "announced more than 50 prefixes: filter there, or raise maxPrefixes; 49 of them refused: not a node's slice of any pool, \
                 for example 172.16.0.0/24";
    assert_eq!(error, words);
    assert!(net.last_error(1, 1).unwrap().contains("limit 50"), "{:?}", net.last_error(1, 1));
    assert_eq!(net.speaker(0).holds_paths(), 0);
    net.run(40 * SECOND);
    assert_eq!(net.state(0, 2), State::Idle, "{}", net.describe());
    net.run(3600 * SECOND);
    let tries = net.speaker(0).peers()[0].established;
    assert!((25..60).contains(&tries), "about one in 100 s: {tries}");
    assert!(net.nodes[0].notices.len() < 130, "{}", net.nodes[0].notices.len());
    for n in 0..100u8 {
        let now = net.now;
        net.speaker(1).handle_originate(now, prefix(&format!("172.16.{n}.0/24")), false);
    }
    net.until("back", 150 * SECOND, |net| net.speaker(0).sessions() == (1, 1));
}

#[test]
fn a_prefix_moves_between_nodes_without_a_word_from_an_operator() {
    let mut net = Net::mesh(&[64512, 64512]);
    net.until_up();
    // 2 takes over a slice that 1 still holds: 1 refuses it; when 1 lets go, it asks again by itself.
    let now = net.now;
    net.speaker(1).handle_originate(now, prefix("10.244.1.0/24"), true);
    net.run(SECOND);
    assert_eq!(net.hops(0, "10.244.1.0/24"), NONE);
    let query = RoutesQuery { direction: Direction::In, limit: 100, ..RoutesQuery::default() };
    let refused = net.speaker(0).routes(query.clone());
    assert!(refused.iter().any(|p| p.prefix == prefix("10.244.1.0/24") && p.why == "refused: our own pod CIDR"));
    let now = net.now;
    net.speaker(0).handle_originate(now, prefix("10.244.1.0/24"), false);
    net.run(SECOND);
    assert_eq!(net.hops(0, "10.244.1.0/24"), vec![address(2)]);
    // And the other way: what is accepted goes when we originate it ourselves.
    let now = net.now;
    net.speaker(0).handle_originate(now, prefix("10.244.2.0/24"), true);
    assert_eq!(net.hops(0, "10.244.2.0/24"), NONE);
    // Pools come and go.
    let mut without = config(1, 64512, &[(2, 64512)]);
    without.pools.remove(0);
    let now = net.now;
    net.speaker(0).handle_config(now, without);
    assert_eq!(net.hops(0, "10.244.1.0/24"), NONE);
    let now = net.now;
    net.speaker(0).handle_config(now, config(1, 64512, &[(2, 64512)]));
    net.run(SECOND);
    assert_eq!(net.hops(0, "10.244.1.0/24"), vec![address(2)], "asked for again");
    assert_eq!(net.speaker(0).peers()[0].established, 1);
}

#[test]
fn a_dual_stack_session_over_ipv6_carries_ipv4_by_the_device_s_address() {
    use std::net::SocketAddr;
    let mut first = config(1, 64512, &[]);
    first.peers = vec![PeerConfig::new(address6(2), Asn(64512))];
    let mut hand = sim::Hand::new(first);
    let local = SocketAddr::new(address6(1), 179);
    hand.speaker.handle_accepted(hand.now, 1 << 63, local, address6(2));
    hand.say(1 << 63, &wire::Message::Open(sim::Hand::open(64512, 2)));
    hand.say(1 << 63, &wire::Message::Keepalive);
    hand.work();
    let announced: Vec<wire::Announced> = hand
        .heard(1 << 63)
        .into_iter()
        .filter_map(|message| match message {
            wire::Message::Update(update) => Some(update.announced),
            _ => None,
        })
        .flatten()
        .collect();
    let hops: Vec<_> = announced.iter().map(|a| (a.prefix, a.next_hop)).collect();
    assert_eq!(hops, vec![(prefix("10.244.1.0/24"), address(1)), (prefix("fd00:10:244:1::/64"), address6(1))]);
}
