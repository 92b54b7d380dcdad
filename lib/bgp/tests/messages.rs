//! A peer made by hand says what real ones should not.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use std::time::Duration;

use bgp::{Direction, RoutesQuery, State};
use model::Asn;
use sim::{Hand, address, address6, config, prefix};
use wire::{Message, Notification};

fn hand() -> Hand {
    let mut config = config(1, 64512, &[(2, 65002)]);
    config.peers[0].passive = true;
    Hand::new(config)
}

fn why(hand: &Hand, text: &str) -> String {
    let query =
        RoutesQuery { direction: Direction::In, prefix: Some(prefix(text)), limit: 10, ..RoutesQuery::default() };
    hand.speaker.routes(query).first().map(|path| path.why.clone()).unwrap_or_default()
}

/// Checklist: 19, 20, 82
#[test]
fn what_is_refused_or_ineligible_is_said_why() {
    let mut hand = hand();
    let conn = hand.establish(2, 65002);
    assert_eq!(hand.speaker.sessions(), (1, 1));
    hand.announce(conn, &["0.0.0.0/0", "10.244.1.0/24", "10.244.1.128/25", "8.8.8.0/24"], address(2), &[65002]);
    hand.announce(conn, &["10.244.7.0/24"], address(2), &[65002, 64512]);
    hand.announce(conn, &["10.244.8.0/24"], address(1), &[65002]);
    hand.announce(conn, &["10.244.9.0/24"], "203.0.113.1".parse().unwrap(), &[65002]);
    hand.announce(conn, &["10.244.10.0/24"], address(99), &[65002]);
    for (text, expected) in [
        ("0.0.0.0/0", "refused: default route"),
        ("10.244.1.0/24", "refused: our own pod CIDR"),
        ("10.244.1.128/25", "refused: our own pod CIDR"),
        ("8.8.8.0/24", "refused: not a node's slice of any pool"),
        ("10.244.7.0/24", "refused: our AS is on the AS path"),
        ("10.244.8.0/24", "ineligible: next hop is our own address"),
        ("10.244.9.0/24", "ineligible: next hop is not on a subnet that we share with the peer"),
        ("10.244.10.0/24", "best"),
    ] {
        assert_eq!(why(&hand, text), expected, "{text}");
    }
    assert_eq!(hand.speaker.poll_changed(100), vec![prefix("10.244.10.0/24")]);
    let counts = hand.speaker.peers()[0].counts[&model::Family::V4];
    assert_eq!((counts.received, counts.accepted, counts.rejected), (8, 3, 5));
    // An address that was ours is ours no more: the next hop becomes good.
    let eth0 = model::kernel::Device::new("eth0").unwrap();
    hand.speaker
        .handle_local_addresses(vec![(address(1), 24, eth0.clone()), ("203.0.113.77".parse().unwrap(), 24, eth0)]);
    hand.work();
    assert_eq!(why(&hand, "10.244.9.0/24"), "best");
}

/// IPv4 over an IPv6 next hop, told in MP_REACH_NLRI: good because we offered it, whatever the peer says of itself.
///
/// Checklist: 30, 32
#[test]
fn ipv4_comes_with_an_ipv6_next_hop() {
    let mut hand = hand();
    let conn = hand.establish(2, 65002);
    hand.announce(conn, &["10.244.10.0/24"], address6(2), &[65002]);
    hand.announce(conn, &["10.244.11.0/24"], address(2), &[65002]);
    hand.announce(conn, &["10.244.12.0/24"], "2001:db8:7::1".parse().unwrap(), &[65002]);
    let best = hand.speaker.best(&prefix("10.244.10.0/24"));
    assert_eq!(best.iter().map(|path| path.next_hop).collect::<Vec<_>>(), [address6(2)]);
    assert_eq!(why(&hand, "10.244.11.0/24"), "best");
    assert_eq!(why(&hand, "10.244.12.0/24"), "ineligible: next hop is not on a subnet that we share with the peer");
    assert_eq!(hand.speaker.sessions(), (1, 1));
    // A peer that takes no capabilities beyond the basic ones was not offered it: there it is malformed (RFC 4760).
    let mut hand = self::hand();
    let conn = hand.connect(2);
    hand.say(conn, &Message::Notification(Notification::new(2, 4, bytes::Bytes::new())));
    let conn = hand.establish(2, 65002);
    assert_eq!(hand.speaker.sessions(), (1, 1));
    hand.announce(conn, &["10.244.10.0/24"], address6(2), &[65002]);
    assert_eq!(hand.told(conn), Some((3, 9)));
    assert_eq!(hand.last_error(), "MP_REACH_NLRI: next hop of 16 octets does not go with ipv4");
}

/// `external`: any AS but ours, and its OPEN says which.
///
/// Checklist: 2
#[test]
fn a_peer_of_another_as_says_which() {
    let mut config = config(1, 64512, &[(2, 65002)]);
    config.peers[0].asn = model::PeerAs::External;
    config.peers[0].passive = true;
    let mut hand = Hand::new(config);
    assert_eq!(hand.speaker.peers()[0].asn, Asn(0), "nobody knows yet");
    let conn = hand.establish(2, 64512);
    assert_eq!(hand.told(conn), Some((2, 2)));
    assert_eq!(hand.last_error(), "bad peer AS: want external, got 64512");
    hand.wait(200);
    let conn = hand.establish(2, 65002);
    assert_eq!(hand.speaker.sessions(), (1, 1));
    assert_eq!(hand.speaker.peers()[0].asn, Asn(65002));
    hand.announce(conn, &["10.244.10.0/24"], address(2), &[65002]);
    // TCP breaks, and the paths are kept for a while; but who comes back is another one.
    hand.speaker.handle_closed(hand.now, conn, None);
    hand.work();
    assert_eq!(hand.speaker.best(&prefix("10.244.10.0/24")).len(), 1);
    hand.establish(2, 65003);
    hand.work();
    assert_eq!((hand.speaker.sessions(), hand.speaker.peers()[0].asn), ((1, 1), Asn(65003)));
    assert_eq!(hand.speaker.best(&prefix("10.244.10.0/24")).len(), 0, "what another AS announced does not outlive it");
}

/// Checklist: 13, 61, 62
#[test]
fn errors_reset_withdraw_or_pass() {
    let mut hand = hand();
    let conn = hand.establish(2, 65002);
    hand.announce(conn, &["10.244.10.0/24"], address(2), &[65002]);
    assert_eq!(hand.speaker.best(&prefix("10.244.10.0/24")).len(), 1);
    // ORIGIN of two octets: treat as withdraw (RFC 7606), and the path that was there goes.
    let mut update = wire::encode_announce(
        &[(prefix("10.244.10.0/24"), 0)],
        address(2),
        None,
        &wire::Attributes { as_path: wire::AsPath::sequence([Asn(65002)]), ..wire::Attributes::default() },
        &hand.negotiated,
    )
    .unwrap()[0]
        .to_vec();
    let origin = update.windows(4).position(|w| w == [0x40, 1, 1, 0]).unwrap();
    update[origin + 3] = 9;
    hand.bytes(conn, &update);
    assert_eq!(hand.speaker.best(&prefix("10.244.10.0/24")).len(), 0);
    assert_eq!(hand.speaker.sessions().0, 1, "the session stays");
    assert!(hand.speaker.counters().update_errors.keys().any(|(_, kind)| kind.contains("treated as withdrawn")));
    for _ in 0..1000 {
        hand.bytes(conn, &update);
    }
    assert!(hand.notices.len() < 15, "{}", hand.notices.len());
    // Length of the attributes beyond the message: reset, 3/1.
    update[22] = 0xff;
    hand.bytes(conn, &update);
    assert_eq!(hand.told(conn), Some((3, 1)));
    assert!(hand.closed.contains(&conn));
    assert_eq!(hand.speaker.peers()[0].state, State::Idle, "held off after an error in Established");
    let again = hand.connect(2);
    assert!(hand.closed.contains(&again));
    hand.wait(6);
    let again = hand.establish(2, 65002);
    assert!(!hand.closed.contains(&again));
    assert_eq!(hand.speaker.sessions().0, 1);
}

/// Where the prefixes of a family cannot be told, nothing of the message can be kept: the session ends, and what it had
/// brought goes at once.
///
/// Checklist: 51, 52
#[test]
fn mp_attributes_that_cannot_be_read_end_the_session_and_its_paths() {
    let global = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let attribute = |kind: u8, value: &[u8]| [&[0x80, kind, value.len() as u8], value].concat();
    let reach = |next_hop: &[u8], nlri: &[u8]| {
        attribute(14, &[&[0, 2, 1, next_hop.len() as u8], next_hop, &[0], nlri].concat())
    };
    let slice = [64, 0xfd, 0x44, 0, 0, 0, 0, 0, 9];
    let good = reach(&global, &slice);
    let cases = [
        ("next hop of 15", reach(&global[..15], &slice), (3, 9)),
        ("next hop of 0", reach(&[], &slice), (3, 9)),
        ("prefix longer than an address", reach(&global, &[129]), (3, 10)),
        ("prefix cut off", reach(&global, &slice[..5]), (3, 10)),
        ("cut off before the next hop", attribute(14, &[0, 2, 1]), (3, 9)),
        ("MP_REACH twice", [good.clone(), good.clone()].concat(), (3, 1)),
        ("MP_UNREACH without a family", attribute(15, &[0, 2]), (3, 9)),
        ("MP_UNREACH with a broken prefix", attribute(15, &[0, 2, 1, 200]), (3, 10)),
        ("MP_UNREACH twice", [attribute(15, &[0, 2, 1]), attribute(15, &[0, 2, 1])].concat(), (3, 1)),
    ];
    for (name, broken, expected) in cases {
        let mut hand = hand();
        let conn = hand.establish(2, 65002);
        hand.announce(conn, &["10.244.10.0/24"], address(2), &[65002]);
        assert_eq!(hand.speaker.best(&prefix("10.244.10.0/24")).len(), 1);
        let head = [0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xea];
        let attributes = [&head[..], &broken].concat();
        let length = (23 + attributes.len()) as u16;
        let parts =
            [&[0xff; 16][..], &length.to_be_bytes(), &[2, 0, 0], &(attributes.len() as u16).to_be_bytes(), &attributes];
        hand.heard(conn);
        hand.bytes(conn, &parts.concat());
        assert_eq!(hand.told(conn), Some(expected), "{name}");
        assert!(hand.closed.contains(&conn), "{name}");
        assert_eq!(hand.speaker.best(&prefix("10.244.10.0/24")).len(), 0, "{name}: its paths are gone");
    }
}

/// Checklist: 1
#[test]
fn garbage_is_answered_as_the_rfc_says() {
    let cases = [
        ("marker", vec![0; 19], Some((1, 1))),
        ("length", [[0xff; 16].as_slice(), &[0, 18, 4]].concat(), Some((1, 2))),
        ("too long", [[0xff; 16].as_slice(), &[0x10, 1, 2]].concat(), Some((1, 2))),
        ("type", [[0xff; 16].as_slice(), &[0, 19, 77]].concat(), Some((1, 3))),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh".to_vec(), Some((1, 1))),
    ];
    for (name, bytes, expected) in cases {
        let mut hand = hand();
        let conn = hand.connect(2);
        hand.bytes(conn, &bytes);
        assert_eq!(hand.told(conn), expected, "{name}");
        assert!(hand.closed.contains(&conn), "{name}");
    }
}

/// Checklist: 7
#[test]
fn messages_out_of_place_are_fsm_errors() {
    let withdrawn = vec![wire::Withdrawn { prefix: prefix("10.244.9.0/24"), path_id: 0 }];
    let update = Message::Update(wire::Update { withdrawn, ..wire::Update::default() });
    let mut hand = hand();
    let conn = hand.connect(2);
    hand.say(conn, &Message::Keepalive);
    assert_eq!(hand.told(conn), Some((5, 1)));
    let conn = hand.connect(2);
    hand.say(conn, &Message::Open(Hand::open(65002, 2)));
    hand.say(conn, &update);
    assert_eq!(hand.told(conn), Some((5, 2)));
    let conn = hand.establish(2, 65002);
    hand.say(conn, &Message::Open(Hand::open(65002, 2)));
    assert_eq!(hand.told(conn), Some((5, 3)));
}

/// Checklist: 12
#[test]
fn an_open_in_pieces_and_a_burst_in_one() {
    let mut hand = hand();
    let conn = hand.connect(2);
    let open = wire::encode(&Message::Open(Hand::open(65002, 2)), &hand.negotiated).unwrap();
    for byte in &open {
        hand.bytes(conn, &[*byte]);
    }
    let mut burst = wire::encode(&Message::Keepalive, &hand.negotiated).unwrap().to_vec();
    let attributes = wire::Attributes { as_path: wire::AsPath::sequence([Asn(65002)]), ..wire::Attributes::default() };
    let slice = [(prefix("10.244.9.0/24"), 0)];
    for bytes in wire::encode_announce(&slice, address(2), None, &attributes, &hand.negotiated).unwrap() {
        burst.extend_from_slice(&bytes);
    }
    hand.bytes(conn, &burst);
    assert_eq!(hand.speaker.best(&slice[0].0).len(), 1);
}

#[test]
fn a_notification_is_never_answered_and_says_why() {
    let mut hand = hand();
    let conn = hand.establish(2, 65002);
    hand.announce(conn, &["10.244.9.0/24"], address(2), &[65002]);
    hand.heard(conn);
    hand.say(conn, &Message::Notification(Notification::cease(wire::cease::SHUTDOWN, "moving\nracks")));
    assert_eq!(hand.told(conn), None);
    assert!(hand.closed.contains(&conn));
    assert!(hand.last_error().contains("6/2") && hand.last_error().contains("racks"), "{}", hand.last_error());
    assert!(!hand.last_error().contains('\n'));
    assert_eq!(hand.speaker.best(&prefix("10.244.9.0/24")).len(), 0);
    // One that does not parse ends the session as well, without an answer.
    let conn = hand.establish(2, 65002);
    hand.heard(conn);
    hand.bytes(conn, &[[0xff; 16].as_slice(), &[0, 21, 3, 0, 0]].concat());
    assert_eq!(hand.told(conn), None);
    assert_eq!(hand.speaker.sessions().0, 0);
}

#[test]
fn a_notification_just_before_the_end_counts_more_than_the_end() {
    let mut hand = hand();
    let conn = hand.establish(2, 65002);
    hand.announce(conn, &["10.244.9.0/24"], address(2), &[65002]);
    let cease = Message::Notification(Notification::cease(wire::cease::RESET, ""));
    let bytes = wire::encode(&cease, &hand.negotiated).unwrap();
    let now = hand.now;
    hand.speaker.handle_bytes(now, conn, &bytes);
    hand.speaker.handle_closed(now, conn, None);
    hand.work();
    assert_eq!(hand.speaker.best(&prefix("10.244.9.0/24")), vec![], "not kept as stale");
}

/// Checklist: 8
#[test]
fn an_established_session_wins_against_a_newcomer() {
    let mut hand = hand();
    let first = hand.establish(2, 65002);
    let second = hand.connect(2);
    assert!(!hand.closed.contains(&second));
    hand.say(second, &Message::Open(Hand::open(65002, 2)));
    assert_eq!(hand.told(second), Some((6, 7)));
    assert!(hand.closed.contains(&second) && !hand.closed.contains(&first));
    assert_eq!(hand.speaker.sessions().0, 1);
    let third = hand.connect(2);
    let fourth = hand.connect(2);
    assert!(hand.closed.contains(&third), "a later try replaces an earlier one: memory stays bounded");
    hand.wait(241);
    assert!(hand.closed.contains(&fourth), "silent for four minutes");
}

/// Checklist: 6
#[test]
fn silence_after_the_dial_ends_after_four_minutes() {
    let mut hand = hand();
    let conn = hand.connect(2);
    hand.wait(239);
    assert!(!hand.closed.contains(&conn));
    hand.wait(2);
    assert_eq!(hand.told(conn), Some((4, 0)));
}

/// Checklist: 94
#[test]
fn a_peer_that_takes_no_bytes_is_dropped_in_the_end() {
    let mut hand = hand();
    let conn = hand.establish(2, 65002);
    let now = hand.now;
    hand.speaker.handle_drained(now, conn);
    for _ in 0..30 {
        hand.say(conn, &Message::Keepalive);
        hand.wait(20);
    }
    assert_eq!(hand.speaker.sessions().0, 0);
    assert!(hand.closed.contains(&conn));
    assert_eq!(hand.told(conn), Some((8, 0)));
    assert_eq!(hand.last_error(), "send hold timer expired: the peer takes no bytes");
}

#[test]
fn a_slow_reader_costs_no_memory() {
    let mut hand = hand();
    let now = hand.now;
    for n in 0..200_000u32 {
        let own = model::Prefix::new(std::net::Ipv4Addr::from(0x0b00_0000 + (n << 8)).into(), 24).unwrap();
        hand.speaker.handle_originate(now, own, true);
    }
    let conn = hand.establish(2, 65002);
    hand.work();
    let held = hand.sent[&conn].len();
    assert!(held > 200_000 && held < 400_000, "{held} octets are out");
    let mut total = 0;
    for _ in 0..20 {
        total += hand.sent.remove(&conn).map_or(0, |bytes| bytes.len());
        let now = hand.now;
        hand.speaker.handle_drained(now, conn);
        hand.work();
    }
    total += hand.sent.remove(&conn).map_or(0, |bytes| bytes.len());
    assert!(total > 200_000 * 4, "all of it came in the end: {total}");
    assert_eq!(hand.speaker.peers()[0].counts[&model::Family::V4].advertised, 200_001);
}

#[test]
fn without_route_refresh_or_capabilities_the_basics_work() {
    let mut hand = hand();
    let conn = hand.connect(2);
    hand.negotiated = wire::Negotiated { families: [model::Family::V4].into(), ..wire::Negotiated::default() };
    hand.say(conn, &Message::Open(wire::Open { capabilities: Vec::new(), ..Hand::open(65002, 2) }));
    hand.say(conn, &Message::Keepalive);
    hand.work();
    let heard = hand.heard(conn);
    let updates: Vec<&wire::Update> =
        heard.iter().filter_map(|m| if let Message::Update(u) = m { Some(u) } else { None }).collect();
    assert_eq!(updates.len(), 2, "our IPv4 prefix and End-of-RIB: {heard:?}");
    assert_eq!(updates[0].attributes.as_ref().unwrap().as_path.to_string(), "64512");
    assert_eq!(hand.speaker.end_of_rib_complete(), Err("peer 192.0.2.2 (ipv4)".to_owned()));
    hand.wait(6);
    assert_eq!(hand.speaker.end_of_rib_complete(), Ok(()), "no capabilities, no promise of End-of-RIB");
}

/// GoBGP sends End-of-RIB only where graceful restart is configured; then it also says so in its OPEN.
#[test]
fn end_of_rib_is_waited_for_only_where_it_is_promised() {
    let promise = wire::Capability::GracefulRestart {
        restarting: false,
        notification: false,
        restart_time: 120,
        families: Vec::new(),
    };
    for promised in [false, true] {
        let mut hand = hand();
        let conn = hand.connect(2);
        let mut open = Hand::open(65002, 2);
        open.capabilities.extend(promised.then(|| promise.clone()));
        hand.say(conn, &Message::Open(open));
        hand.say(conn, &Message::Keepalive);
        let told = |hand: &Hand| hand.speaker.end_of_rib_complete().is_ok();
        for slice in 0..4 {
            hand.wait(4);
            assert!(!told(&hand), "silent for 4 s only (promised: {promised})");
            hand.announce(conn, &[&format!("10.244.{slice}.0/24")], address(2), &[65002]);
        }
        hand.wait(6);
        assert_eq!(told(&hand), !promised, "22 s after the session came up, silent for 6 s");
        hand.wait(9);
        assert!(told(&hand), "not waited for longer than 30 s");
    }
    let mut hand = hand();
    let conn = hand.establish(2, 65002);
    for slice in 0..8 {
        hand.announce(conn, &[&format!("10.244.{slice}.0/24")], address(2), &[65002]);
        hand.wait(4);
    }
    assert_eq!(hand.speaker.end_of_rib_complete(), Ok(()), "nor for one that is never silent");
}

/// First without what came after 2005, then without anything, then all again; and no faster than any other failure.
///
/// Checklist: 36
#[test]
fn refused_capabilities_are_left_out_and_come_back() {
    let refusal = Message::Notification(Notification::open_error(wire::open::UNSUPPORTED_PARAMETER));
    let codes = |hand: &mut Hand, conn| match &hand.heard(conn)[0] {
        Message::Open(open) => open.capabilities.iter().map(wire::Capability::code).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    for code in [wire::open::UNSUPPORTED_PARAMETER, wire::open::UNSUPPORTED_CAPABILITY] {
        let mut hand = hand();
        for _ in 0..2 {
            for expected in [7, 4, 0] {
                let conn = hand.connect(2);
                assert!(
                    matches!(codes(&mut hand, conn).len(), n if n == expected || (expected == 7 && n >= 5)),
                    "{expected}"
                );
                hand.say(conn, &Message::Notification(Notification::open_error(code)));
                assert!(hand.closed.contains(&conn));
            }
        }
        // With the first refusal gone it takes one session without, and the next begins with all again.
        let conn = hand.connect(2);
        hand.say(conn, &refusal);
        let conn = hand.establish(2, 65002);
        assert_eq!(codes(&mut hand, conn), [1, 1, 2, 65]);
        assert_eq!(hand.speaker.sessions().0, 1);
        hand.say(conn, &Message::Notification(Notification::cease(wire::cease::RESET, "")));
        let conn = hand.connect(2);
        assert!(codes(&mut hand, conn).len() > 4);
    }
    // A peer that refuses each time is dialed less and less.
    let mut hand = Hand::new(config(1, 64512, &[(2, 65002)]));
    hand.wait(1);
    let mut tries = 0;
    for _ in 0..3600 {
        hand.wait(1);
        for conn in std::mem::take(&mut hand.dials) {
            tries += 1;
            hand.speaker.handle_dialed(hand.now, conn, std::net::SocketAddr::new(address(1), 40_000));
            hand.work();
            hand.say(conn, &refusal);
        }
    }
    assert!((30..150).contains(&tries), "{tries} tries in an hour");
}

/// Without capability 65 AS numbers have two octets, and nothing is lost of those that do not fit.
///
/// Checklist: 38
#[test]
fn a_two_octet_peer_is_spoken_to_in_its_own_numbers() {
    let mut config = config(1, 4_200_000_001, &[(2, 65002)]);
    config.peers[0].passive = true;
    let mut hand = Hand::new(config);
    let conn = hand.connect(2);
    let Message::Open(open) = hand.heard(conn).remove(0) else { panic!("an OPEN") };
    assert_eq!(open.asn, Asn(4_200_000_001), "in capability 65");
    hand.negotiated = wire::Negotiated { families: [model::Family::V4].into(), ..wire::Negotiated::default() };
    let capabilities = vec![wire::Capability::MultiProtocol(model::Family::V4)];
    hand.say(conn, &Message::Open(wire::Open { capabilities, ..Hand::open(65002, 2) }));
    hand.say(conn, &Message::Keepalive);
    hand.work();
    // Ours: AS_TRANS in AS_PATH, the number in AS4_PATH, and whoever reads both has it again.
    let raw = hand.sent[&conn].clone();
    assert!(raw.windows(7).any(|w| w == [0x40, 2, 4, 2, 1, 0x5b, 0xa0]), "AS_PATH 23456");
    assert!(raw.windows(9).any(|w| w == [0xc0, 17, 6, 2, 1, 0xfa, 0x56, 0xea, 1]), "AS4_PATH 4200000001");
    let told = hand.heard(conn).into_iter().find_map(|m| match m {
        Message::Update(update) => update.attributes,
        _ => None,
    });
    assert_eq!(told.unwrap().as_path.to_string(), "4200000001");
    // Theirs, both ways: merged, and a loop is seen through AS_TRANS.
    hand.announce(conn, &["10.244.5.0/24"], address(2), &[65002, 4_200_000_077]);
    hand.announce(conn, &["10.244.6.0/24"], address(2), &[65002, 4_200_000_001]);
    let query =
        |text| RoutesQuery { direction: Direction::In, prefix: Some(prefix(text)), limit: 9, ..Default::default() };
    assert_eq!(hand.speaker.routes(query("10.244.5.0/24"))[0].as_path, "65002 4200000077");
    assert_eq!(why(&hand, "10.244.5.0/24"), "best");
    assert_eq!(why(&hand, "10.244.6.0/24"), "refused: our AS is on the AS path");
}

/// A path of thousands of ASes in a message of more than 4096 octets.
///
/// Checklist: 77
#[test]
fn long_messages_pass_when_both_sides_take_them() {
    let ases: Vec<u32> = std::iter::once(65002).chain((0..2_999).map(|n| 100_000 + n)).collect();
    for agreed in [true, false] {
        let mut hand = hand();
        let conn = hand.connect(2);
        let Message::Open(ours) = hand.heard(conn).remove(0) else { panic!("an OPEN") };
        assert!(ours.capabilities.contains(&wire::Capability::ExtendedMessage));
        let mut open = Hand::open(65002, 2);
        open.capabilities.extend(agreed.then_some(wire::Capability::ExtendedMessage));
        hand.say(conn, &Message::Open(open));
        hand.say(conn, &Message::Keepalive);
        hand.negotiated.max_message = wire::MAX_EXTENDED_MESSAGE;
        hand.announce(conn, &["10.244.5.0/24"], address(2), &ases);
        if agreed {
            assert_eq!(why(&hand, "10.244.5.0/24"), "best");
            assert_eq!(hand.speaker.sessions().0, 1);
            // KEEPALIVE has its one length all the same.
            hand.bytes(conn, &[[0xff; 16].as_slice(), &[0x10, 1, 4]].concat());
            assert_eq!(hand.told(conn), Some((1, 2)));
        } else {
            assert_eq!(hand.told(conn), Some((1, 2)));
            assert_eq!(hand.speaker.sessions().0, 0);
        }
    }
}

/// Of many prefixes as few messages as the session allows, and none longer.
///
/// Checklist: 77
#[test]
fn our_messages_are_as_long_as_was_agreed() {
    let longest = |agreed: bool| {
        let mut hand = hand();
        for n in 0..5_000u32 {
            hand.speaker.handle_originate(hand.now, prefix(&format!("fd00:77:{n:x}::/48")), true);
        }
        let conn = hand.connect(2);
        let mut open = Hand::open(65002, 2);
        open.capabilities.extend(agreed.then_some(wire::Capability::ExtendedMessage));
        hand.say(conn, &Message::Open(open));
        hand.say(conn, &Message::Keepalive);
        hand.work();
        let mut raw = hand.sent[&conn].as_slice();
        let mut longest = 0;
        while raw.len() >= 19 {
            let length = usize::from(u16::from_be_bytes([raw[16], raw[17]]));
            longest = longest.max(length);
            raw = &raw[length..];
        }
        longest
    };
    assert!(longest(false) <= 4096);
    assert!((4097..=65535).contains(&longest(true)), "{}", longest(true));
}

/// Checklist: 105
#[test]
fn sets_are_withdrawn_unless_the_operator_takes_them() {
    let mut hand = hand();
    let conn = hand.establish(2, 65002);
    let path = wire::AsPath(vec![wire::Segment::Sequence(vec![Asn(65002)]), wire::Segment::Set(vec![Asn(1), Asn(2)])]);
    let attributes = wire::Attributes { as_path: path, ..wire::Attributes::default() };
    let liberal = wire::Negotiated { accept_as_sets: true, ..hand.negotiated.clone() };
    let slice = prefix("10.244.10.0/24");
    let update = wire::encode_announce(&[(slice, 0)], address(2), None, &attributes, &liberal).unwrap();
    hand.bytes(conn, &update[0]);
    assert_eq!(hand.speaker.best(&slice).len(), 0);
    // The session stays, and is asked again, as what was refused was not kept.
    for taken in [true, false] {
        hand.heard(conn);
        let mut other = config(1, 64512, &[(2, 65002)]);
        other.peers[0].passive = true;
        other.accept_as_sets = taken;
        hand.speaker.handle_config(hand.now, other);
        hand.work();
        let asked = hand.heard(conn).iter().filter(|m| matches!(m, Message::RouteRefresh(_))).count();
        assert!(asked > 0, "{taken}");
        hand.bytes(conn, &update[0]);
        assert_eq!(hand.speaker.best(&slice).len(), usize::from(taken));
    }
    assert_eq!(hand.speaker.sessions(), (1, 1));
}

/// What one peer does not take is its own affair: others are told everything meanwhile, and memory stays bounded.
///
/// Checklist: 94
#[test]
fn a_peer_that_takes_nothing_holds_up_nobody() {
    let mut config = config(1, 64512, &[(2, 65002), (3, 65003)]);
    config.peers.iter_mut().for_each(|peer| peer.passive = true);
    let mut hand = Hand::new(config);
    let stuck = hand.establish(2, 65002);
    let well = hand.establish(3, 65003);
    for round in 0..40u32 {
        for n in 0..200u32 {
            let own = 0x0b00_0000 + ((round * 200 + n) << 8);
            let own = model::Prefix::new(std::net::Ipv4Addr::from(own).into(), 24).unwrap();
            hand.speaker.handle_originate(hand.now, own, true);
        }
        hand.speaker.handle_drained(hand.now, well);
        hand.say(stuck, &Message::Keepalive);
        hand.say(well, &Message::Keepalive);
        hand.wait(20);
    }
    assert_eq!(hand.told(stuck), Some((8, 0)));
    let peers = hand.speaker.peers();
    assert_eq!((peers[0].established, peers[1].established), (1, 1));
    assert_eq!((peers[0].state == State::Established, peers[1].state), (false, State::Established));
    assert_eq!(peers[1].counts[&model::Family::V4].advertised, 8_001);
    assert!(hand.sent.get(&stuck).map_or(0, Vec::len) < 400_000);
}

/// A process that stood still over its hold timer hears the peer's last word first; a peer that stays silent goes all
/// the same.
#[test]
fn the_hold_timer_of_a_process_that_stood_still_waits_for_what_lies_in_the_socket() {
    for word in [true, false] {
        let mut hand = hand();
        let conn = hand.establish(2, 65002);
        hand.now = hand.now + Duration::from_secs(200);
        hand.speaker.handle_timeout(hand.now);
        hand.work();
        assert!(!hand.closed.contains(&conn), "its 90 s are over, but nobody has looked into the socket yet");
        if word {
            hand.say(conn, &wire::Message::Notification(wire::Notification::hold_timer_expired()));
            hand.work();
            assert!(hand.last_error().starts_with("peer sent"), "{}", hand.last_error());
        } else {
            hand.wait(2);
            assert!(hand.last_error().starts_with("hold timer expired"), "{}", hand.last_error());
        }
        assert!(hand.closed.contains(&conn));
    }
}
