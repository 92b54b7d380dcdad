//! Route refresh with and without marks, and bursts of announcements.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use std::time::Duration;

use bgp::{MessageKind, Way};
use model::{Family, Prefix};
use sim::{Hand, Net, address, config, prefix};
use wire::{Capability, Message, RouteRefresh};

fn hand(enhanced: bool) -> (Hand, u64) {
    let mut config = config(1, 64512, &[(2, 65002)]);
    config.peers[0].passive = true;
    let mut hand = Hand::new(config);
    let conn = hand.connect(2);
    let mut open = Hand::open(65002, 2);
    open.capabilities.extend(enhanced.then_some(Capability::EnhancedRouteRefresh));
    hand.say(conn, &Message::Open(open));
    hand.say(conn, &Message::Keepalive);
    hand.work();
    (hand, conn)
}

fn refresh(family: Family, subtype: u8) -> Message {
    Message::RouteRefresh(RouteRefresh { family: Some(family), subtype })
}

/// What was sent since, in short: prefixes, `begin`, `end`.
fn said(hand: &mut Hand, conn: u64) -> Vec<String> {
    let heard = hand.heard(conn);
    heard
        .into_iter()
        .flat_map(|message| match message {
            Message::Update(update) if update.end_of_rib.is_some() => vec!["eor".to_owned()],
            Message::Update(update) => update
                .withdrawn
                .iter()
                .map(|w| format!("-{}", w.prefix))
                .chain(update.announced.iter().map(|a| a.prefix.to_string()))
                .collect(),
            Message::RouteRefresh(refresh) => match refresh.subtype {
                RouteRefresh::BEGIN => vec!["begin".to_owned()],
                RouteRefresh::END => vec!["end".to_owned()],
                _ => vec!["request".to_owned()],
            },
            _ => Vec::new(),
        })
        .collect()
}

/// Checklist: 65
#[test]
fn a_request_is_answered_with_everything_of_its_family() {
    let (mut hand, conn) = hand(false);
    said(&mut hand, conn);
    hand.say(conn, &refresh(Family::V4, RouteRefresh::REQUEST));
    assert_eq!(said(&mut hand, conn), ["10.244.1.0/24"]);
    hand.say(conn, &refresh(Family::V6, RouteRefresh::REQUEST));
    assert_eq!(said(&mut hand, conn), ["fd00:10:244:1::/64"]);
    // A family unknown to us (AFI 1, SAFI 128), and one that was not agreed on.
    hand.bytes(conn, &[[0xff; 16].as_slice(), &[0, 23, 5, 0, 1, 0, 128]].concat());
    assert_eq!(said(&mut hand, conn), [""; 0]);
    let mut config = config(1, 64512, &[(2, 65002)]);
    config.peers[0].passive = true;
    let mut other = Hand::new(config);
    let conn = other.connect(2);
    let mut open = Hand::open(65002, 2);
    open.capabilities.retain(|c| *c != Capability::MultiProtocol(Family::V6));
    other.say(conn, &Message::Open(open));
    other.say(conn, &Message::Keepalive);
    other.work();
    other.negotiated.families = [Family::V4].into();
    said(&mut other, conn);
    other.say(conn, &refresh(Family::V6, RouteRefresh::REQUEST));
    assert_eq!(said(&mut other, conn), [""; 0]);
    assert_eq!(other.speaker.sessions().0, 1);
}

/// Checklist: 66
#[test]
fn a_wrong_length_ends_the_session_and_an_unknown_subtype_does_not() {
    let (mut hand, conn) = hand(true);
    said(&mut hand, conn);
    for subtype in [3, 77, 255] {
        hand.say(conn, &refresh(Family::V4, subtype));
    }
    assert_eq!(said(&mut hand, conn), [""; 0]);
    assert_eq!(hand.speaker.sessions().0, 1);
    hand.bytes(conn, &[[0xff; 16].as_slice(), &[0, 24, 5, 0, 1, 1, 1, 9]].concat());
    assert_eq!(hand.told(conn), Some((7, 1)));
    assert_eq!(hand.speaker.sessions().0, 0);
}

/// Checklist: 67
#[test]
fn our_answer_has_a_begin_and_an_end_where_the_peer_knows_them() {
    let (mut hand, conn) = hand(true);
    let first = said(&mut hand, conn);
    assert!(!first.contains(&"begin".to_owned()), "the first telling ends with End-of-RIB: {first:?}");
    hand.say(conn, &refresh(Family::V4, RouteRefresh::REQUEST));
    assert_eq!(said(&mut hand, conn), ["begin", "10.244.1.0/24", "end"]);
    hand.speaker.handle_originate(hand.now, prefix("10.244.1.0/24"), false);
    said(&mut hand, conn);
    hand.wait(10);
    said(&mut hand, conn);
    hand.say(conn, &refresh(Family::V4, RouteRefresh::REQUEST));
    assert_eq!(said(&mut hand, conn), ["begin", "end"], "an empty table has them too");
}

/// Checklist: 67
#[test]
fn what_the_peer_does_not_tell_again_goes_at_the_end() {
    let (mut hand, conn) = hand(true);
    let best = |hand: &Hand, text: &str| hand.speaker.best(&prefix(text)).len();
    hand.announce(conn, &["10.244.5.0/24", "10.244.6.0/24", "10.244.7.0/24"], address(2), &[65002]);
    hand.say(conn, &refresh(Family::V4, RouteRefresh::BEGIN));
    assert_eq!((best(&hand, "10.244.5.0/24"), hand.speaker.peers()[0].stale), (1, 3), "used as before");
    hand.announce(conn, &["10.244.5.0/24", "10.244.8.0/24"], address(2), &[65002]);
    // Another look at all of them changes nothing about what is used.
    let eth0 = model::kernel::Device::new("eth0").unwrap();
    hand.speaker.handle_local_addresses(vec![(address(1), 24, eth0.clone()), (address(99), 24, eth0)]);
    hand.work();
    assert!(!hand.speaker.best(&prefix("10.244.6.0/24"))[0].stale);
    hand.say(conn, &refresh(Family::V6, RouteRefresh::END));
    assert_eq!(best(&hand, "10.244.6.0/24"), 1, "the end of another family, which never began");
    hand.say(conn, &refresh(Family::V4, RouteRefresh::END));
    for (text, there) in [("10.244.5.0/24", 1), ("10.244.6.0/24", 0), ("10.244.7.0/24", 0), ("10.244.8.0/24", 1)] {
        assert_eq!(best(&hand, text), there, "{text}");
    }
    // A begin within a begin starts again; a withdrawal inside counts at once.
    hand.say(conn, &refresh(Family::V4, RouteRefresh::BEGIN));
    hand.announce(conn, &["10.244.5.0/24"], address(2), &[65002]);
    hand.say(conn, &refresh(Family::V4, RouteRefresh::BEGIN));
    hand.announce(conn, &["10.244.8.0/24"], address(2), &[65002]);
    hand.say(conn, &refresh(Family::V4, RouteRefresh::END));
    assert_eq!((best(&hand, "10.244.5.0/24"), best(&hand, "10.244.8.0/24")), (0, 1));
    assert_eq!(hand.speaker.peers()[0].stale, 0);
    assert_eq!(hand.speaker.sessions().0, 1);
}

/// Checklist: 67
#[test]
fn a_refresh_without_end_ends_by_itself() {
    let (mut hand, conn) = hand(true);
    hand.announce(conn, &["10.244.5.0/24", "10.244.6.0/24"], address(2), &[65002]);
    hand.say(conn, &refresh(Family::V4, RouteRefresh::BEGIN));
    hand.announce(conn, &["10.244.5.0/24"], address(2), &[65002]);
    for _ in 0..11 {
        hand.wait(10);
        hand.say(conn, &Message::Keepalive);
    }
    assert_eq!(hand.speaker.best(&prefix("10.244.6.0/24")).len(), 1, "110 s");
    hand.wait(11);
    assert_eq!(hand.speaker.best(&prefix("10.244.6.0/24")).len(), 0);
    assert_eq!(hand.speaker.best(&prefix("10.244.5.0/24")).len(), 1);
    assert!(hand.notices.iter().any(|line| line.contains("has not ended for 120 s")), "{:?}", hand.notices);
}

/// A session that breaks within a refresh: the next one counts anew.
///
/// Checklist: 67
#[test]
fn a_session_that_breaks_within_a_refresh_leaves_nothing() {
    let (mut hand, conn) = hand(true);
    hand.announce(conn, &["10.244.5.0/24", "fd00:10:244:5::/64"][..1], address(2), &[65002]);
    hand.announce(conn, &["10.244.6.0/24"], address(2), &[65002]);
    hand.say(conn, &refresh(Family::V4, RouteRefresh::BEGIN));
    hand.announce(conn, &["10.244.5.0/24"], address(2), &[65002]);
    hand.speaker.handle_closed(hand.now, conn, None);
    hand.work();
    assert_eq!(hand.speaker.best(&prefix("10.244.6.0/24")).len(), 1, "kept, as TCP broke");
    let conn = hand.establish(2, 65002);
    hand.announce(conn, &["10.244.5.0/24"], address(2), &[65002]);
    hand.wait(60);
    hand.say(conn, &Message::Keepalive);
    assert_eq!(hand.speaker.best(&prefix("10.244.5.0/24")).len(), 1);
    assert_eq!(hand.speaker.best(&prefix("10.244.6.0/24")).len(), 0);
}

/// Checklist: 67
#[test]
fn a_storm_of_requests_is_answered_now_and_then() {
    let (mut hand, conn) = hand(true);
    said(&mut hand, conn);
    for _ in 0..1000 {
        hand.say(conn, &refresh(Family::V4, RouteRefresh::REQUEST));
    }
    assert_eq!(said(&mut hand, conn), ["begin", "10.244.1.0/24", "end"].repeat(4), "and no more");
    hand.wait(4);
    assert_eq!(said(&mut hand, conn), [""; 0]);
    hand.wait(2);
    assert_eq!(said(&mut hand, conn), ["begin", "10.244.1.0/24", "end"], "once for all that was asked meanwhile");
    hand.wait(60);
    assert_eq!(said(&mut hand, conn), [""; 0]);
}

/// Announcements of a burst wait for the interval and become one; what is withdrawn is so at once.
///
/// Checklist: 22
#[test]
fn bursts_coalesce_and_withdrawals_do_not_wait() {
    let mut config = config(1, 64512, &[(2, 65002)]);
    config.peers[0].passive = true;
    config.peers[0].min_advertisement_interval = Duration::from_secs(20);
    let mut hand = Hand::new(config.clone());
    let conn = hand.establish(2, 65002);
    hand.work();
    let first = said(&mut hand, conn);
    assert!(first.contains(&"10.244.1.0/24".to_owned()), "the first telling waits for nothing: {first:?}");
    let flap = |hand: &mut Hand, text: &str, on: bool| hand.speaker.handle_originate(hand.now, prefix(text), on);
    for text in ["10.244.50.0/24", "10.244.51.0/24"] {
        flap(&mut hand, text, true);
    }
    hand.work();
    assert_eq!(said(&mut hand, conn), [""; 0], "held back");
    flap(&mut hand, "10.244.1.0/24", false);
    hand.work();
    assert_eq!(said(&mut hand, conn), ["-10.244.1.0/24"], "not held back");
    for n in 0..50 {
        flap(&mut hand, "10.244.51.0/24", n % 2 == 1);
        flap(&mut hand, "10.244.52.0/24", n % 2 == 0);
        hand.work();
    }
    assert_eq!(said(&mut hand, conn), [""; 0], "what was never told is not withdrawn");
    hand.wait(21);
    assert_eq!(said(&mut hand, conn), ["10.244.50.0/24", "10.244.51.0/24"], "once, and in one UPDATE");
    let updates = |hand: &Hand| hand.speaker.counters().messages[&(address(2).into(), Way::Out, MessageKind::Update)];
    let before = updates(&hand);
    hand.wait(60);
    assert_eq!(updates(&hand), before);
    // After a quiet time the next one goes at once, and so does everything when the interval goes.
    flap(&mut hand, "10.244.53.0/24", true);
    hand.work();
    assert_eq!(said(&mut hand, conn), ["10.244.53.0/24"]);
    flap(&mut hand, "10.244.54.0/24", true);
    hand.work();
    assert_eq!(said(&mut hand, conn), [""; 0]);
    config.peers[0].min_advertisement_interval = Duration::ZERO;
    hand.speaker.handle_config(hand.now, config);
    hand.work();
    assert_eq!(said(&mut hand, conn), ["10.244.54.0/24"]);
    assert_eq!(hand.speaker.sessions().0, 1);
}

/// Two of ours ask and answer with marks, and nothing is lost.
///
/// Checklist: 65, 67
#[test]
fn two_speakers_refresh_each_other() {
    let mut net = Net::mesh(&[64512, 64512]);
    net.until_up();
    net.run(Duration::from_secs(40));
    let now = net.now;
    net.speaker(0).handle_reset(now, None, true).unwrap();
    net.run(Duration::from_secs(1));
    let peer = &net.speaker(0).peers()[0];
    assert_eq!((peer.established, peer.stale), (1, 0));
    let all: Vec<Prefix> = vec![prefix("10.244.2.0/24"), prefix("fd00:10:244:2::/64")];
    assert!(all.iter().all(|p| net.nodes[0].speaker.best(p).len() == 1));
    let marks = net.nodes[0].speaker.counters().messages[&(address(2).into(), Way::In, MessageKind::RouteRefresh)];
    assert_eq!(marks, 4, "begin and end of both families");
}
