//! What operators do to sessions, and what each end of a session is told: Cease and its subcodes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use std::time::Duration;

use bgp::State;
use model::PeerId;
use sim::{Hand, Net, address, config, prefix};
use wire::{Message, Notification};

const SECOND: Duration = Duration::from_secs(1);

fn id(n: u8) -> PeerId {
    PeerId::from(address(n))
}

/// Checklist: 78, 80
#[test]
fn a_peer_is_taken_down_with_words_and_up_again() {
    let mut net = Net::mesh(&[64512, 64512]);
    net.until_up();
    let now = net.now;
    let said = net.speaker(0).handle_peer_down(now, &id(2), "moving racks, back at 15:00 (ticket 4711)").unwrap();
    assert!(said.contains("bgp peer up 192.0.2.2"), "{said}");
    net.run(Duration::from_millis(10));
    let told = net.last_error(1, 1).unwrap();
    assert!(told.contains("administrative shutdown (6/2)") && told.contains("ticket 4711"), "{told}");
    assert!(net.hops(1, "10.244.1.0/24").is_empty() && net.hops(0, "10.244.2.0/24").is_empty());
    assert_eq!(net.state(0, 2), State::Idle);
    assert!(net.speaker(0).peers()[0].down);
    // It stays so, whatever the other end tries and the configuration says; and its operator still reads why.
    net.run(600 * SECOND);
    let now = net.now;
    let mut again = config(1, 64512, &[(2, 64512)]);
    again.peers[0].description = Some("rack 7".to_owned());
    net.speaker(0).handle_config(now, again);
    net.run(600 * SECOND);
    assert_eq!(net.state(0, 2), State::Idle);
    assert_eq!(net.speaker(0).peers()[0].established, 1);
    assert!(net.last_error(1, 1).unwrap().contains("ticket 4711"), "{:?}", net.last_error(1, 1));
    assert!(net.dials[&1] < 30, "{:?}", net.dials);
    let now = net.now;
    let words = net.speaker(0).handle_reset(now, Some(id(2)), false).unwrap_err();
    assert!(words.contains("peer up"), "{words}");
    let said = net.speaker(0).handle_peer_up(now, &id(2)).unwrap();
    assert!(said.contains("dialing now"), "{said}");
    net.until("up", SECOND, |net| net.state(0, 2) == State::Established);
    let words = net.speaker(0).handle_peer_up(now, &id(9)).unwrap_err();
    assert_eq!(words, "no peer 192.0.2.9: the peers are 192.0.2.2");
    assert!(net.speaker(0).handle_peer_up(now, &id(2)).unwrap().contains("was not down"));
}

/// A connection that is not wanted is told so, before any OPEN; one of a stranger is not even that.
///
/// Checklist: 11, 80
#[test]
fn an_unwanted_connection_is_rejected() {
    let mut hand = Hand::new(config(1, 64512, &[(2, 65002)]));
    hand.speaker.handle_peer_down(hand.now, &id(2), "").unwrap();
    let conn = hand.connect(2);
    assert_eq!(hand.heard(conn), [Message::Notification(Notification::cease(wire::cease::REJECTED, ""))]);
    assert!(hand.closed.contains(&conn));
    // Strangers hear nothing, whatever they say, and nothing of them is kept.
    let size = |hand: &Hand| format!("{:?}{:?}", hand.speaker.peers(), hand.speaker.poll_timeout()).len();
    let before = size(&hand);
    for _ in 0..1000 {
        let stranger = hand.connect(77);
        assert!(hand.closed.contains(&stranger));
        hand.say(stranger, &Message::Open(Hand::open(65077, 77)));
        assert!(!hand.sent.contains_key(&stranger));
    }
    assert_eq!(size(&hand), before);
    assert!(hand.notices.len() < 20, "{} lines about strangers", hand.notices.len());
}

/// However a text looks, it is one line for the log; ours is cut where the RFC cuts it.
///
/// Checklist: 78
#[test]
fn texts_are_safe_both_ways() {
    let mut config = config(1, 64512, &[(2, 65002)]);
    config.peers[0].passive = true;
    for (data, expected) in [
        (vec![5, b'h', b'e', b'l', b'l', b'o'], "\"hello\""),
        ([vec![8], b"a\x1b[2J\n\rb".to_vec()].concat(), "\"a?[2J??b\""),
        // A length that lies, UTF-8 that is none, and none at all: the code is told, no text.
        (vec![200, b'x'], "(6/2)"),
        (vec![2, 0xc3, 0x28], "(6/2)"),
        (vec![], "(6/2)"),
        (vec![0], "(6/2)"),
    ] {
        let mut hand = Hand::new(config.clone());
        let conn = hand.establish(2, 65002);
        let told = Notification::new(wire::code::CEASE, wire::cease::SHUTDOWN, data.clone().into());
        hand.say(conn, &Message::Notification(told));
        assert!(
            hand.last_error().contains(expected) && hand.last_error().contains("(6/2)"),
            "{data:?}: {}",
            hand.last_error()
        );
        assert!(hand.notices.iter().all(|line| !line.chars().any(char::is_control)), "{:?}", hand.notices);
    }
    let mut hand = Hand::new(config);
    let conn = hand.establish(2, 65002);
    hand.heard(conn);
    let long = "ä".repeat(300);
    hand.speaker.handle_peer_down(hand.now, &id(2), &long).unwrap();
    hand.work();
    let told = hand.heard(conn).into_iter().find_map(|m| match m {
        Message::Notification(told) => Some(told),
        _ => None,
    });
    let text = told.unwrap().text().unwrap();
    assert!(text.len() <= 255 && text.starts_with("ää") && long.starts_with(&text), "{text}");
}

/// Each reason to close has its own subcode.
///
/// Checklist: 80
#[test]
fn every_reason_has_its_number() {
    let close = |what: &dyn Fn(&mut Hand)| {
        let mut config = config(1, 64512, &[(2, 65002)]);
        config.peers[0].passive = true;
        config.peers[0].max_prefixes = 3;
        let mut hand = Hand::new(config);
        let conn = hand.establish(2, 65002);
        hand.heard(conn);
        what(&mut hand);
        hand.work();
        hand.told(conn)
    };
    let reconfigure = |hand: &mut Hand, change: &dyn Fn(&mut bgp::SpeakerConfig)| {
        let mut other = config(1, 64512, &[(2, 65002)]);
        other.peers[0].passive = true;
        change(&mut other);
        hand.speaker.handle_config(hand.now, other);
    };
    let reset = |hand: &mut Hand| drop(hand.speaker.handle_reset(hand.now, None, false).unwrap());
    let down = |hand: &mut Hand| drop(hand.speaker.handle_peer_down(hand.now, &id(2), "").unwrap());
    let shut = |hand: &mut Hand| hand.speaker.handle_shutdown(hand.now);
    assert_eq!(close(&down), Some((6, 2)));
    assert_eq!(close(&shut), Some((6, 2)));
    assert_eq!(close(&|hand| reconfigure(hand, &|c| c.peers.clear())), Some((6, 3)));
    assert_eq!(close(&reset), Some((6, 4)));
    assert_eq!(
        close(&|hand| reconfigure(hand, &|c| c.peers[0].key_generation = 7)),
        None,
        "the socket has the new key"
    );
    assert_eq!(close(&|hand| reconfigure(hand, &|c| c.peers[0].role = Some(bgp::Role::Peer))), Some((6, 6)));
    assert_eq!(close(&|hand| reconfigure(hand, &|c| c.router_id.0 = [9, 9, 9, 9].into())), Some((6, 6)));
    assert_eq!(close(&|hand| reconfigure(hand, &|_| {})), None, "nothing that concerns the session");
}

/// Too many prefixes: a line at three quarters, then 6/1 with family and bound, then a pause as long as was configured.
///
/// Checklist: 79, 83
#[test]
fn a_bound_warns_ends_and_waits_as_configured() {
    let mut net = Net::new();
    let mut bounded = config(1, 64512, &[(2, 65002)]);
    bounded.peers[0].max_prefixes = 40;
    bounded.peers[0].max_prefixes_restart = Some(15 * SECOND);
    net.add(bounded);
    net.add(config(2, 65002, &[(1, 64512)]));
    net.until_up();
    let originate = |net: &mut Net, from: u8, to: u8, on: bool| {
        for n in from..to {
            let now = net.now;
            net.speaker(1).handle_originate(now, prefix(&format!("10.244.{}.0/24", 100 + n)), on);
        }
        net.run(SECOND);
    };
    originate(&mut net, 0, 27, true);
    assert_eq!(net.notices(0, "that maxPrefixes allows"), 0, "29 of 40");
    originate(&mut net, 27, 36, true);
    assert_eq!(net.notices(0, "75 % of the 40 that maxPrefixes allows"), 1, "{:?}", net.nodes[0].notices);
    originate(&mut net, 0, 20, false);
    originate(&mut net, 0, 20, true);
    assert_eq!(net.notices(0, "that maxPrefixes allows"), 2, "again, when it had gone back");
    assert_eq!(net.state(0, 2), State::Established);
    originate(&mut net, 36, 50, true);
    assert_eq!(net.state(0, 2), State::Idle);
    let told = net.last_error(1, 1).unwrap();
    assert!(told.contains("(6/1)") && told.contains("limit 40"), "{told}");
    originate(&mut net, 36, 50, false);
    net.run(11 * SECOND);
    assert_eq!(net.state(0, 2), State::Idle);
    net.run(6 * SECOND);
    assert_eq!(net.state(0, 2), State::Established, "{}", net.describe());
    assert_eq!(bgp::PeerConfig::new(address(9), model::Asn(1)).max_prefixes, 20_000, "there is always a bound");
}

/// What need not reset a session does not, a hundred times over.
#[test]
fn a_hundred_reloads_touch_no_session() {
    let mut net = Net::mesh(&[64512, 64512, 65003]);
    net.until_up();
    net.run(90 * SECOND);
    let since: Vec<_> = net.speaker(0).peers().iter().map(|peer| peer.since).collect();
    for round in 0..100u64 {
        let mut other = config(1, 64512, &[(2, 64512), (3, 65003)]);
        other.connect_retry = Duration::from_secs(2 + round % 9);
        other.stale_time = (round % 2 == 0).then(|| Duration::from_secs(30 + round));
        other.hold_time = Duration::from_secs(30 + round);
        other.max_paths = 1 + (round % 16) as u8;
        other.host_name = Some(format!("node-{round}"));
        for peer in &mut other.peers {
            peer.description = Some(format!("round {round}"));
            peer.hold_time = (round % 3 == 0).then(|| Duration::from_secs(60 + round));
            peer.max_prefixes = 100 + round as u32;
            peer.max_prefixes_warn = (round % 100) as u8;
            peer.max_prefixes_restart = (round % 2 == 0).then_some(SECOND);
            peer.min_advertisement_interval = Duration::from_millis(round % 5 * 100);
            peer.role_strict = round % 2 == 0;
            peer.passive = round % 7 == 0;
            peer.port = 179 + (round % 3) as u16;
        }
        let now = net.now;
        net.speaker(0).handle_config(now, other);
        net.run(SECOND);
    }
    let peers = net.speaker(0).peers();
    assert_eq!(peers.iter().map(|peer| peer.since).collect::<Vec<_>>(), since, "uptime goes on");
    assert!(peers.iter().all(|peer| peer.established == 1 && peer.last_error.is_none()), "{peers:?}");
    assert_eq!(peers[0].hold_time, Some(90 * SECOND), "agreed on is what was said in OPEN");
    assert!(net.notices(0, "from each session's next OPEN on") >= 1, "{:?}", net.nodes[0].notices);
    assert!(net.notices(0, "s counts from the next OPEN on") >= 1, "{:?}", net.nodes[0].notices);
    // The new hold time comes with the next OPEN.
    let now = net.now;
    let mut last = config(1, 64512, &[(2, 64512), (3, 65003)]);
    last.hold_time = 45 * SECOND;
    net.speaker(0).handle_config(now, last);
    net.speaker(0).handle_reset(now, None, false).unwrap();
    net.until_up();
    assert_eq!(net.speaker(0).peers()[0].hold_time, Some(45 * SECOND));
}
