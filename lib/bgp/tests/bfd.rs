//! What BFD says of a path, and what becomes of sessions and paths by it (RFC 5882, RFC 9384).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use std::net::IpAddr;
use std::time::Duration;

use bgp::{ConnId, SpeakerConfig, State, Watched};
use model::{Asn, Family};
use sim::{Hand, Net, address, config, plain, prefix};
use wire::{Capability, Message, Notification, cease, code};

const SLICE: &str = "10.244.2.0/24";
const SILENCE: &str = "control detection time expired";
const SECOND: Duration = Duration::from_secs(1);

fn mine() -> SpeakerConfig {
    config(1, 64512, &[(2, 64512), (3, 64512)])
}

/// Peer 2 is up and has announced its slice; with graceful restart, and the N bit, if it says so.
fn up(hand: &mut Hand, graceful: Option<bool>) -> ConnId {
    let conn = hand.connect(2);
    let mut open = Hand::open(64512, 2);
    open.capabilities.extend(graceful.map(|notification| Capability::GracefulRestart {
        restarting: false,
        notification,
        restart_time: 120,
        families: Family::BOTH.map(|family| (family, true)).to_vec(),
    }));
    hand.say(conn, &Message::Open(open));
    hand.say(conn, &Message::Keepalive);
    hand.announce(conn, &[SLICE], address(2), &[]);
    for family in Family::BOTH {
        let bytes = wire::encode_end_of_rib(family, &hand.negotiated).unwrap();
        hand.bytes(conn, &bytes);
    }
    assert_eq!(held(hand), Some(false));
    hand.speaker.poll_changed(usize::MAX);
    hand.heard(conn);
    conn
}

/// Is the slice there, and is it stale?
fn held(hand: &Hand) -> Option<bool> {
    hand.speaker.best(&prefix(SLICE)).first().map(|path| path.stale)
}

fn down(hand: &mut Hand, surely: bool) {
    hand.speaker.handle_path_down(hand.now, &address(2).into(), SILENCE, surely);
}

/// Neither promise of the peer, nor a word with its BFD about its control plane, keeps anything.
///
/// Checklist: 98, 102
#[test]
fn a_dead_path_takes_session_and_paths_at_once_whatever_was_promised() {
    for graceful in [None, Some(false), Some(true)] {
        for surely in [false, true] {
            let mut hand = Hand::new(mine());
            let conn = up(&mut hand, graceful);
            let other = hand.establish(3, 64512);
            down(&mut hand, surely);
            // In this very event: nothing is left to a timer or to later work.
            assert_eq!(held(&hand), None, "{graceful:?} {surely}");
            assert_eq!(hand.speaker.poll_changed(10), [prefix(SLICE)]);
            hand.work();
            assert_eq!(hand.speaker.holds_paths(), 0);
            assert!(hand.closed.contains(&conn) && !hand.closed.contains(&other));
            let said = hand.heard(conn).pop();
            let Some(Message::Notification(told)) = said else { panic!("{said:?}") };
            match graceful {
                // A bare 6/10 would let the other end keep our paths (RFC 8538).
                Some(true) => {
                    assert_eq!((told.code, told.subcode), (code::CEASE, cease::HARD_RESET));
                    assert_eq!(told.data[..], [code::CEASE, cease::BFD_DOWN]);
                }
                _ => assert_eq!((told.code, told.subcode), (code::CEASE, cease::BFD_DOWN)),
            }
            assert_eq!(hand.last_error(), format!("BFD session down: {SILENCE}"));
            assert_eq!(hand.speaker.peers()[1].state, State::Established);
        }
    }
}

/// Checklist: 98, 102
#[test]
fn what_the_other_end_says_of_its_bfd_counts_as_much_as_our_own() {
    for graceful in [None, Some(false), Some(true)] {
        let mut hand = Hand::new(mine());
        let conn = up(&mut hand, graceful);
        hand.say(conn, &Message::Notification(Notification::cease(cease::BFD_DOWN, "")));
        assert_eq!(held(&hand), None, "{graceful:?}");
    }
}

/// A restart is under way, its paths are kept. That BFD of a peer falls that shares fate with what restarts (C bit clear)
/// was to be expected; BFD of one that does not (C bit set) knows better.
///
/// Checklist: 102
#[test]
fn a_restart_under_way_is_ended_by_bfd_that_survives_restarts_only() {
    for (surely, left) in [(false, Some(true)), (true, None)] {
        let mut hand = Hand::new(mine());
        let conn = up(&mut hand, Some(true));
        hand.speaker.handle_closed(hand.now, conn, Some("connection reset by peer".to_owned()));
        hand.work();
        assert_eq!(held(&hand), Some(true));
        hand.wait(1);
        down(&mut hand, surely);
        assert_eq!(held(&hand), left, "{surely}");
        hand.work();
        let told = hand.notices.iter().filter(|line| line.contains("kept over its restart are gone")).count();
        assert_eq!(told, usize::from(surely));
    }
}

/// A session that is not up yet is ended too, but a dial is left alone: BFD may never have been there.
///
/// Checklist: 98
#[test]
fn a_session_that_comes_up_while_the_path_fails_is_ended() {
    let mut hand = Hand::new(mine());
    let conn = hand.connect(2);
    hand.say(conn, &Message::Open(Hand::open(64512, 2)));
    down(&mut hand, false);
    hand.work();
    assert_eq!(hand.told(conn), Some((code::CEASE, cease::BFD_DOWN)));
    hand.wait(200);
    assert!(!hand.dials.is_empty(), "it is dialed as ever, BFD or not");
    let closed = hand.closed.clone();
    down(&mut hand, false);
    hand.work();
    assert_eq!(hand.closed, closed);
    let nobody: IpAddr = address(9);
    hand.speaker.handle_path_down(hand.now, &nobody.into(), SILENCE, true);
}

/// The net swallows everything for ten minutes: by then a dial waits for long. BFD up ends that.
#[test]
fn when_the_path_is_back_the_session_is_back_without_waiting_for_back_off() {
    let mut net = Net::mesh_of(&[64512, 64512], plain);
    net.until_up();
    net.run(100 * SECOND);
    net.nodes[1].silent = true;
    let now = net.now;
    for (node, peer) in [(0, 2), (1, 1)] {
        net.speaker(node).handle_path_down(now, &address(peer).into(), SILENCE, false);
    }
    net.run(600 * SECOND);
    net.nodes[1].silent = false;
    let now = net.now;
    for (node, peer) in [(0, 2), (1, 1)] {
        net.speaker(node).handle_path_up(now, &address(peer).into());
    }
    net.run(Duration::from_millis(100));
    assert_eq!((net.state(0, 2), net.state(1, 1)), (State::Established, State::Established), "{}", net.describe());
}

/// A path that bears a session for seconds only must not make it come and go with each packet of BFD.
#[test]
fn a_path_that_flaps_is_dialed_slower_and_slower() {
    let mut net = Net::mesh_of(&[64512, 64512], plain);
    net.until_up();
    let start = net.now;
    while net.now.since(start) < 600 * SECOND {
        let now = net.now;
        for (node, peer) in [(0, 2), (1, 1)] {
            net.speaker(node).handle_path_down(now, &address(peer).into(), SILENCE, false);
            net.speaker(node).handle_path_up(now, &address(peer).into());
        }
        net.run(SECOND);
    }
    let ups = net.notices(0, "is up:");
    assert!((3..40).contains(&ups), "{ups} sessions in ten minutes of a flap each second");
}

#[test]
fn whom_bfd_is_to_watch() {
    let mut mine = mine();
    mine.peers[0].bfd = Some("fast".to_owned());
    mine.peers[0].local_address = Some(address(1));
    mine.peers[1].asn = Asn(65001).into();
    let mut hand = Hand::new(mine.clone());
    let two =
        Watched { id: address(2).into(), local: Some(address(1)), far: true, least_ttl: 1, profile: "fast".to_owned() };
    assert!(hand.speaker.take_watched_changed());
    assert_eq!(hand.speaker.watched(), std::slice::from_ref(&two));
    assert!(!hand.speaker.take_watched_changed());

    // On, off or another profile: the session stays.
    let conn = hand.establish(3, 65001);
    mine.peers[1].bfd = Some("slow".to_owned());
    hand.speaker.handle_config(hand.now, mine.clone());
    hand.work();
    assert!(hand.speaker.take_watched_changed());
    let three = Watched { id: address(3).into(), local: None, far: false, least_ttl: 1, profile: "slow".to_owned() };
    assert_eq!(hand.speaker.watched(), [two.clone(), three.clone()]);
    mine.peers[1].bfd = None;
    hand.speaker.handle_config(hand.now, mine.clone());
    hand.work();
    assert_eq!(hand.speaker.watched(), std::slice::from_ref(&two));
    assert!(!hand.closed.contains(&conn) && hand.told(conn).is_none());

    // As far as its session may go, and not farther.
    for (asn, multihop, ttl_security, far, least_ttl) in [
        (65001, Some(3), None, true, 1),
        (65001, None, Some(2), true, 254),
        (65001, Some(1), None, false, 255),
        (64512, None, Some(1), false, 255),
        (64512, None, None, true, 1),
    ] {
        let mut mine = mine.clone();
        mine.peers[0].asn = Asn(asn).into();
        mine.peers[0].multihop = multihop;
        mine.peers[0].ttl_security = ttl_security;
        let found = Hand::new(mine).speaker.watched();
        assert_eq!((found[0].far, found[0].least_ttl), (far, least_ttl), "{asn} {multihop:?} {ttl_security:?}");
    }

    // Whoever may have no session is not watched: that we stop is no failure.
    hand.speaker.handle_peer_down(hand.now, &address(2).into(), "").unwrap();
    assert!(hand.speaker.take_watched_changed() && hand.speaker.watched().is_empty());
    hand.speaker.handle_peer_up(hand.now, &address(2).into()).unwrap();
    assert!(hand.speaker.take_watched_changed());
    assert_eq!(hand.speaker.watched(), std::slice::from_ref(&two));
    hand.speaker.handle_shutdown(hand.now);
    assert!(hand.speaker.take_watched_changed() && hand.speaker.watched().is_empty());
    hand.speaker.handle_config(hand.now, mine.clone());
    assert_eq!(hand.speaker.watched(), [two]);
    hand.speaker.handle_terminate(hand.now);
    assert!(hand.speaker.take_watched_changed() && hand.speaker.watched().is_empty());
}

/// A neighbour that came from a range is watched while it is there.
#[test]
fn dynamic_neighbours_are_watched_while_they_are_there() {
    let mut mine = plain(config(1, 64512, &[]));
    let mut peer = bgp::PeerConfig::new(address(0), Asn(64512));
    peer.bfd = Some("fast".to_owned());
    mine.ranges = vec![bgp::PeerRange { prefix: prefix("192.0.2.0/24"), limit: 8, peer }];
    let mut hand = Hand::new(mine);
    hand.speaker.take_watched_changed();
    let conn = hand.establish(2, 64512);
    assert!(hand.speaker.take_watched_changed());
    assert_eq!(hand.speaker.watched().len(), 1);
    hand.say(conn, &Message::Notification(Notification::cease(cease::DECONFIGURED, "")));
    assert!(hand.speaker.take_watched_changed() && hand.speaker.watched().is_empty());
}
