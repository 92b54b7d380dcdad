//! A reflector between whole speakers: what reaches whom, and that it ends with what it began with.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use bgp::{AddPath, Origination, PeerConfig, SpeakerConfig};
use model::{Asn, Family};
use sim::{Hand, Net, address, config, prefix};

const AS: u32 = 64512;
const SLICE: &str = "10.244.40.0/24";

/// Node `n` reflects between these peers; those in `clients` are clients.
fn reflector(n: u8, peers: &[u8], clients: &[u8]) -> SpeakerConfig {
    let with_as: Vec<(u8, u32)> = peers.iter().map(|peer| (*peer, AS)).collect();
    let mut config = config(n, AS, &with_as);
    config.reflector = Some(Ipv4Addr::new(9, 9, 9, n));
    for peer in &mut config.peers {
        peer.client = clients.iter().any(|client| peer.id.address == address(*client));
    }
    config
}

fn learn(hand: &mut Hand, conn: u64, path_id: u32, change: impl FnOnce(&mut wire::Attributes)) {
    let mut attributes = wire::Attributes { local_pref: Some(100), ..wire::Attributes::default() };
    change(&mut attributes);
    let codec = wire::Negotiated { ibgp: true, ..hand.negotiated.clone() };
    let hop = address(70 + path_id as u8);
    for bytes in wire::encode_announce(&[(prefix(SLICE), path_id)], hop, None, &attributes, &codec).unwrap() {
        hand.bytes(conn, &bytes);
    }
}

/// Every client reaches every other by two reflectors, with the other's own next hop; a death of one changes nothing.
///
/// Checklist: 23, 90
#[test]
fn clients_of_two_reflectors_reach_each_other() {
    let mut net = Net::new();
    net.add(reflector(1, &[2, 3, 4, 5], &[3, 4, 5]));
    net.add(reflector(2, &[1, 3, 4, 5], &[3, 4, 5]));
    for n in 3..6 {
        net.add(config(n, AS, &[(1, AS), (2, AS)]));
    }
    net.until_up();
    for node in 2..5 {
        for other in (3..6_u8).filter(|other| usize::from(*other) != node + 1) {
            let hops = net.hops(node, &format!("10.244.{other}.0/24"));
            assert_eq!(hops, vec![address(other); 2], "node {} to {other}, by both reflectors", node + 1);
        }
    }
    net.break_tcp(0);
    net.nodes[0].refuses = true;
    net.run(Duration::from_secs(1));
    assert_eq!(net.hops(2, "10.244.4.0/24"), vec![address(4)], "the other one's path is fresh");
}

/// Its clients keep what they had of it until it has heard of all of them: who is late loses nothing by it. Its own prefix
/// does not wait. Who does not come back at all holds up nobody else for more than half a minute, and is given up with the
/// restart time.
///
/// Checklist: 70, 71
#[test]
fn a_restarted_reflector_takes_nothing_away_from_its_clients() {
    let (own, other, late) = ("10.244.1.0/24", "10.244.3.0/24", "10.244.4.0/24");
    // The late client is back after so many seconds; the others' paths are told by then.
    for (back, told) in [(4, 4..33), (600, 29..33)] {
        let mut net = Net::new();
        net.add(reflector(1, &[2, 3, 4], &[2, 3, 4]));
        for n in 2..5 {
            net.add(config(n, AS, &[(1, AS)]));
        }
        net.until_up();
        assert_eq!((net.hops(1, other), net.hops(1, late)), (vec![address(3)], vec![address(4)]));
        net.nodes[3].silent = true;
        net.restart(0, reflector(1, &[2, 3, 4], &[2, 3, 4]));
        let began = net.now;
        net.speaker(0).handle_restarted(began, &BTreeSet::from(Family::BOTH));
        let fresh = |net: &Net, text: &str| net.nodes[1].speaker.best(&prefix(text)).first().map(|path| !path.stale);
        let mut first = None;
        loop {
            net.run(Duration::from_millis(20));
            let after = net.now.since(began).as_secs();
            net.nodes[3].silent = after < back;
            assert!(after < 3 || fresh(&net, own) == Some(true), "its own is told at once");
            assert!(fresh(&net, other).is_some(), "{other} goes after {after} s");
            if fresh(&net, other) == Some(true) {
                first.get_or_insert(after);
            }
            match fresh(&net, late) {
                Some(true) if first.is_some() => break,
                None => {
                    assert!(after >= 119, "{late} goes after {after} s");
                    break;
                }
                _ => assert!(after < 130, "{late} is stale for ever\n{}", net.describe()),
            }
        }
        assert!(told.contains(&first.unwrap()), "back after {back} s: what is learnt is told after {first:?} s");
        assert_eq!(fresh(&net, late).is_some(), back < 60);
    }
}

/// Two reflectors that restart together do not wait for each other.
///
/// Checklist: 71
#[test]
fn two_that_restart_together_do_not_wait_for_each_other() {
    let configs = || [reflector(1, &[2, 3, 4], &[3, 4]), reflector(2, &[1, 3, 4], &[3, 4])];
    let mut net = Net::new();
    for config in configs() {
        net.add(config);
    }
    for n in 3..5 {
        net.add(config(n, AS, &[(1, AS), (2, AS)]));
    }
    net.until_up();
    let now = net.now;
    for (at, config) in configs().into_iter().enumerate() {
        net.restart(at, config);
        net.speaker(at).handle_restarted(now, &BTreeSet::from(Family::BOTH));
    }
    while net.nodes[2].speaker.best(&prefix("10.244.4.0/24")).first().is_none_or(|path| path.stale) {
        net.run(Duration::from_millis(10));
        assert!(!net.hops(2, "10.244.4.0/24").is_empty(), "it never goes");
        assert!(net.now.since(now) < Duration::from_secs(15), "{}", net.describe());
    }
    net.until_up();
    assert_eq!(net.hops(2, "10.244.4.0/24").len(), 2);
}

/// Without a reflector nothing that was learnt inside the AS goes on.
///
/// Checklist: 23
#[test]
fn nobody_else_passes_paths_on() {
    let mut net = Net::new();
    net.add(config(1, AS, &[(2, AS), (3, AS)]));
    net.add(config(2, AS, &[(1, AS)]));
    net.add(config(3, AS, &[(1, AS)]));
    net.until_up();
    assert!(net.hops(1, "10.244.3.0/24").is_empty());
    assert_eq!(net.hops(1, "10.244.1.0/24"), vec![address(1)]);
}

/// Our CLUSTER_ID or router ID in CLUSTER_LIST, and our router ID as ORIGINATOR_ID, are loops; for a client, too.
///
/// Checklist: 89
#[test]
fn a_path_that_was_here_before_is_not_used() {
    let own = Ipv4Addr::new(192, 0, 2, 1);
    let cluster = Ipv4Addr::new(9, 9, 9, 1);
    let through = |id: Ipv4Addr| move |a: &mut wire::Attributes| a.cluster_list = vec![Ipv4Addr::new(8, 8, 8, 8), id];
    let used = |config: SpeakerConfig, change: Box<dyn FnOnce(&mut wire::Attributes)>| {
        let mut hand = Hand::new(config);
        let conn = hand.establish(2, AS);
        learn(&mut hand, conn, 0, change);
        !hand.speaker.best(&prefix(SLICE)).is_empty()
    };
    let client = || config(1, AS, &[(2, AS)]);
    let reflects = || reflector(1, &[2], &[2]);
    assert!(used(client(), Box::new(through(cluster))), "that is no ID of a client's");
    assert!(!used(client(), Box::new(through(own))));
    assert!(!used(reflects(), Box::new(through(cluster))));
    assert!(!used(reflects(), Box::new(through(own))));
    for config in [client(), reflects()] {
        assert!(!used(config, Box::new(move |a| a.originator_id = Some(own))));
    }
}

/// Who is a client, and whether this node reflects, changes without a session being reset.
#[test]
fn a_part_changes_without_a_reset() {
    let mut net = Net::new();
    net.add(config(1, AS, &[(2, AS), (3, AS)]));
    net.add(config(2, AS, &[(1, AS)]));
    net.add(config(3, AS, &[(1, AS)]));
    net.until_up();
    let now = net.now;
    net.speaker(0).handle_config(now, reflector(1, &[2, 3], &[2]));
    net.run(Duration::from_secs(1));
    assert_eq!(net.hops(1, "10.244.3.0/24"), vec![address(3)], "a client hears of everybody");
    assert_eq!(net.hops(2, "10.244.2.0/24"), vec![address(2)], "everybody hears of a client");
    let now = net.now;
    net.speaker(0).handle_config(now, reflector(1, &[2, 3], &[]));
    net.run(Duration::from_secs(1));
    assert!(net.hops(1, "10.244.3.0/24").is_empty() && net.hops(2, "10.244.2.0/24").is_empty());
    assert_eq!(net.dials.values().sum::<usize>(), 4, "nobody dialed again");
}

/// Who reflects only until others have taken over leaves the better place to them: reflector 2 takes client 4's path by
/// reflector 3, and so has it for reflector 1, whose own is not told back to it.
#[test]
fn who_reflects_last_does_not_keep_others_from_taking_over() {
    let last = |last| SpeakerConfig { reflects_last: last, ..reflector(1, &[2, 4], &[4]) };
    for (reflects_last, expected) in [(false, 1), (true, 2)] {
        let mut net = Net::new();
        net.add(last(reflects_last));
        net.add(reflector(2, &[1, 3], &[1]));
        net.add(reflector(3, &[2, 4], &[4]));
        net.add(config(4, AS, &[(1, AS), (3, AS)]));
        net.until_up();
        net.run(Duration::from_secs(5));
        let held = net.nodes[0].speaker.routes(bgp::RoutesQuery {
            direction: bgp::Direction::Loc,
            prefix: Some(prefix("10.244.4.0/24")),
            limit: 10,
            ..bgp::RoutesQuery::default()
        });
        assert_eq!(held.len(), expected, "{held:#?}");
    }
}

/// Several paths in and out, each with an identifier that stays; a withdrawal takes the one it names.
///
/// Checklist: 75, 76
#[test]
fn many_paths_come_in_and_go_out() {
    let mut with_paths = reflector(1, &[2, 3], &[2, 3]);
    with_paths.peers[0].add_path = AddPath { send: 0, receive: true };
    with_paths.peers[1].add_path = AddPath { send: 2, receive: false };
    let mut hand = Hand::new(with_paths);
    let both = |mode| wire::Capability::AddPath(vec![(model::Family::V4, mode), (model::Family::V6, mode)]);
    let meet = |hand: &mut Hand, n: u8, mode| {
        let conn = hand.connect(n);
        let mut open = Hand::open(AS, n);
        open.capabilities.push(both(mode));
        hand.say(conn, &wire::Message::Open(open));
        hand.say(conn, &wire::Message::Keepalive);
        conn
    };
    let from = meet(&mut hand, 2, wire::AddPathMode::Send);
    let to = meet(&mut hand, 3, wire::AddPathMode::Receive);
    let plain = hand.negotiated.clone();
    let families: std::collections::BTreeSet<_> = model::Family::BOTH.into_iter().collect();
    let ids = wire::Negotiated { ibgp: true, add_path_receive: families.clone(), ..plain.clone() };
    hand.negotiated = ids.clone();
    hand.sent.clear();
    hand.negotiated = wire::Negotiated { add_path_send: families.clone(), ..plain.clone() };
    for id in 1..4 {
        learn(&mut hand, from, id, |a| a.local_pref = Some(100 + id));
    }
    assert_eq!(hand.speaker.holds_paths(), 3, "one prefix, three paths");
    assert_eq!(hand.speaker.best(&prefix(SLICE))[0].next_hop, address(73));
    hand.negotiated = ids.clone();
    let told = |hand: &mut Hand| {
        let mut held = std::collections::BTreeMap::new();
        for message in hand.heard(to) {
            let wire::Message::Update(update) = message else { continue };
            held.extend(update.withdrawn.iter().map(|w| (w.path_id, None)));
            held.extend(update.announced.iter().map(|a| (a.path_id, Some(a.next_hop))));
        }
        held
    };
    let first = told(&mut hand);
    let now_held: Vec<_> = first.values().flatten().copied().collect();
    assert_eq!(now_held.len(), 2, "the two best: {first:?}");
    assert!(now_held.contains(&address(73)) && now_held.contains(&address(72)), "{first:?}");
    let best = *first.iter().find(|(_, hop)| **hop == Some(address(73))).unwrap().0;
    let codec = wire::Negotiated { ibgp: true, add_path_send: families, ..plain };
    for bytes in wire::encode_withdraw(&[(prefix(SLICE), 3)], &codec).unwrap() {
        hand.bytes(from, &bytes);
    }
    let second = told(&mut hand);
    assert_eq!(second.get(&best), Some(&None), "that path goes: {second:?}");
    assert!(second.values().any(|hop| *hop == Some(address(71))), "and the next one comes: {second:?}");
    assert_eq!(hand.speaker.best(&prefix(SLICE))[0].next_hop, address(72));
}

/// What this node originates: with communities, held back until it may be announced, in place of what it sums up.
#[test]
fn originated_prefixes_bear_what_they_are_given_and_can_be_held_back() {
    let mut own = config(1, AS, &[(2, 65002), (3, AS)]);
    own.peers[1].mesh = true;
    let service = prefix("198.51.100.7/32");
    let sum = prefix("10.244.0.0/20");
    own.originate = vec![
        Origination { communities: vec![0xfc00_0064], med: Some(5), ..Origination::new(service) },
        Origination { aggregate: true, summary_only: true, ..Origination::new(sum) },
    ];
    let mut hand = Hand::new(own);
    hand.speaker.handle_advertise(hand.now, service, false);
    let router = hand.establish(2, 65002);
    let node = hand.establish(3, AS);
    let announced = |hand: &mut Hand, conn| {
        let updates = hand.heard(conn).into_iter().filter_map(|message| match message {
            wire::Message::Update(update) => Some(update),
            _ => None,
        });
        let of = |update: wire::Update| {
            let attributes = update.attributes.clone();
            update.announced.iter().map(|a| (a.prefix, attributes.clone().unwrap())).collect::<Vec<_>>()
        };
        updates.flat_map(of).collect::<std::collections::BTreeMap<_, _>>()
    };
    let first = announced(&mut hand, router);
    assert!(first.contains_key(&sum) && !first.contains_key(&prefix("10.244.1.0/24")), "{first:?}");
    assert!(!first.contains_key(&service), "it cannot be forwarded yet");
    let inside = announced(&mut hand, node);
    assert!(
        inside.contains_key(&prefix("10.244.1.0/24")) && !inside.contains_key(&sum),
        "nodes take slices: {inside:?}"
    );
    hand.speaker.handle_advertise(hand.now, service, true);
    hand.work();
    let second = announced(&mut hand, router);
    assert_eq!(second[&service].communities, vec![0xfc00_0064]);
    assert_eq!(second[&service].med, Some(5));
    assert!(announced(&mut hand, node).is_empty());
}

/// Our AS number in a session may be another one: it is what the peer expects and sees, and a loop when it comes back.
///
/// Checklist: 19
#[test]
fn a_peer_sees_the_as_number_that_it_expects() {
    let mut own = config(1, AS, &[]);
    own.peers = vec![PeerConfig { local_asn: Some(Asn(65100)), ..PeerConfig::new(address(2), Asn(65002)) }];
    let mut net = Net::new();
    net.add(own.clone());
    net.add(config(2, 65002, &[(1, 65100)]));
    net.until_up();
    assert_eq!(net.hops(1, "10.244.1.0/24"), vec![address(1)]);
    let mut hand = Hand::new(own);
    let conn = hand.establish(2, 65002);
    hand.announce(conn, &[SLICE], address(2), &[65002, 65100]);
    assert!(hand.speaker.best(&prefix(SLICE)).is_empty(), "it has passed us by that name");
    hand.announce(conn, &[SLICE], address(2), &[65002, AS]);
    assert!(hand.speaker.best(&prefix(SLICE)).is_empty(), "and by our own");
    hand.announce(conn, &[SLICE], address(2), &[65002]);
    assert_eq!(hand.speaker.best(&prefix(SLICE)).len(), 1);
}
