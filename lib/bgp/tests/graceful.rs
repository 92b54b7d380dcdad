//! Graceful restart (RFC 4724, 8538, 9494), as the one that stays and as the one that goes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use std::collections::BTreeSet;
use std::time::Duration;

use bgp::{ConnId, SpeakerConfig, State};
use model::Family;
use sim::{Hand, Net, address, config, plain, prefix};
use wire::{Capability, Message, Notification, cease};

const SECOND: Duration = Duration::from_secs(1);
const NONE: Vec<std::net::IpAddr> = Vec::new();
/// What peer 2 announces.
const SLICE: &str = "10.244.2.0/24";
const SLICE6: &str = "fd00:10:244:2::/64";

/// Restart time 60 s here; two routers in one AS.
fn mine() -> SpeakerConfig {
    let mut mine = config(1, 64512, &[(2, 64512)]);
    mine.graceful_restart.restart_time = 60 * SECOND;
    mine
}

/// What the peer says of graceful restart.
#[derive(Clone)]
struct Says {
    restarting: bool,
    notification: bool,
    time: u16,
    families: Vec<(Family, bool)>,
    long_lived: Vec<(Family, bool, u32)>,
}

impl Says {
    fn new(time: u16, kept: bool) -> Says {
        let families = Family::BOTH.map(|family| (family, kept)).to_vec();
        Says { restarting: false, notification: true, time, families, long_lived: Vec::new() }
    }

    fn open(&self) -> Message {
        let mut open = Hand::open(64512, 2);
        open.capabilities.push(Capability::GracefulRestart {
            restarting: self.restarting,
            notification: self.notification,
            restart_time: self.time,
            families: self.families.clone(),
        });
        if !self.long_lived.is_empty() {
            open.capabilities.push(Capability::LongLivedGracefulRestart(self.long_lived.clone()));
        }
        Message::Open(open)
    }
}

/// A session in which the peer has announced its slices and said End-of-RIB.
fn up(hand: &mut Hand, says: &Says) -> ConnId {
    let conn = begin(hand, says);
    announce(hand, conn);
    end_of_rib(hand, conn);
    conn
}

fn begin(hand: &mut Hand, says: &Says) -> ConnId {
    let conn = hand.connect(2);
    hand.say(conn, &says.open());
    hand.say(conn, &Message::Keepalive);
    assert_eq!(hand.speaker.peers()[0].state, State::Established, "{}", hand.last_error());
    conn
}

fn announce(hand: &mut Hand, conn: ConnId) {
    hand.announce(conn, &[SLICE], address(2), &[]);
    hand.announce(conn, &[SLICE6], sim::address6(2), &[]);
}

fn end_of_rib(hand: &mut Hand, conn: ConnId) {
    for family in Family::BOTH {
        let bytes = wire::encode_end_of_rib(family, &hand.negotiated).unwrap();
        hand.bytes(conn, &bytes);
    }
}

fn lose(hand: &mut Hand, conn: ConnId) {
    hand.speaker.handle_closed(hand.now, conn, Some("connection reset by peer".to_owned()));
    hand.work();
}

/// Is the slice there, and is it stale?
fn held(hand: &Hand, text: &str) -> Option<bool> {
    hand.speaker.best(&prefix(text)).first().map(|path| path.stale)
}

/// Checklist: 68
#[test]
fn paths_of_a_peer_that_has_promised_live_for_the_smaller_time() {
    for (theirs, seconds) in [(20, 20), (300, 60)] {
        let mut hand = Hand::new(mine());
        let conn = up(&mut hand, &Says::new(theirs, true));
        assert_eq!(held(&hand, SLICE), Some(false));
        lose(&mut hand, conn);
        hand.wait(seconds - 1);
        assert_eq!((held(&hand, SLICE), held(&hand, SLICE6)), (Some(true), Some(true)));
        hand.wait(2);
        assert_eq!((held(&hand, SLICE), held(&hand, SLICE6)), (None, None), "after {seconds} s");
        assert_eq!(hand.speaker.holds_paths(), 0);
    }
}

/// Checklist: 68
#[test]
fn a_notification_ends_the_paths_of_a_peer_without_the_n_bit() {
    let mut hand = Hand::new(mine());
    let conn = up(&mut hand, &Says { notification: false, ..Says::new(60, true) });
    hand.say(conn, &Message::Notification(Notification::cease(cease::OTHER_CHANGE, "")));
    assert_eq!((held(&hand, SLICE), held(&hand, SLICE6)), (None, None));
}

#[test]
fn stale_time_bounds_the_wait_for_those_who_promised_too() {
    let mut hand = Hand::new(SpeakerConfig { stale_time: Some(5 * SECOND), ..mine() });
    let conn = up(&mut hand, &Says::new(60, true));
    lose(&mut hand, conn);
    hand.wait(4);
    assert_eq!(held(&hand, SLICE), Some(true));
    hand.wait(2);
    assert_eq!(held(&hand, SLICE), None);
}

/// Checklist: 69
#[test]
fn what_a_peer_comes_back_without_goes_at_once() {
    let again = Says { restarting: true, ..Says::new(60, true) };
    let nothing = Says { families: Vec::new(), ..again.clone() };
    let only6 = Says { families: vec![(Family::V4, false), (Family::V6, true)], ..again.clone() };
    let neither = Says::new(60, false);
    for (back, v4, v6) in [(&nothing, None, None), (&only6, None, Some(true)), (&neither, None, None)] {
        let mut hand = Hand::new(mine());
        let conn = up(&mut hand, &Says::new(60, true));
        lose(&mut hand, conn);
        hand.wait(3);
        begin(&mut hand, back);
        assert_eq!((held(&hand, SLICE), held(&hand, SLICE6)), (v4, v6));
    }
    // And without the capability at all.
    let mut hand = Hand::new(mine());
    let conn = up(&mut hand, &Says::new(60, true));
    lose(&mut hand, conn);
    hand.wait(3);
    hand.establish(2, 64512);
    assert_eq!((held(&hand, SLICE), held(&hand, SLICE6)), (None, None));
}

#[test]
fn a_peer_that_gave_us_up_and_did_not_restart_keeps_forwarding_without_the_f_bit() {
    for (restarting, held_after) in [(false, Some(true)), (true, None)] {
        let mut hand = Hand::new(mine());
        let conn = up(&mut hand, &Says { notification: false, ..Says::new(60, true) });
        hand.say(conn, &Message::Notification(Notification::hold_timer_expired()));
        assert_eq!(held(&hand, SLICE), Some(true));
        hand.wait(3);
        begin(&mut hand, &Says { restarting, notification: false, ..Says::new(60, false) });
        assert_eq!(held(&hand, SLICE), held_after, "R bit {restarting}");
    }
}

/// FRR says R in every OPEN of its first two minutes, and F never. What a process that was frozen for longer than the hold
/// time meets when it runs again: a 4/0, and an OPEN of the same restart as before.
#[test]
fn a_peer_that_gave_us_up_and_tells_of_the_same_restart_as_before_keeps_forwarding() {
    let says = Says { restarting: true, ..Says::new(60, false) };
    let told = Message::Notification(Notification::hold_timer_expired());
    // How long the first session lasted; whether the peer said the last word, or TCP broke.
    for (seconds, spoke, held_after) in [(20, true, Some(true)), (20, false, None), (58, true, None)] {
        let mut hand = Hand::new(mine());
        let conn = up(&mut hand, &says);
        for _ in 0..seconds / 2 {
            hand.wait(2);
            hand.say(conn, &Message::Keepalive);
        }
        match spoke {
            true => hand.say(conn, &told),
            false => lose(&mut hand, conn),
        }
        assert_eq!(held(&hand, SLICE), Some(true));
        hand.wait(3);
        let conn = begin(&mut hand, &says);
        assert_eq!(held(&hand, SLICE), held_after, "after {seconds} s, last word {spoke}");
        // What it does not say again is gone then all the same.
        end_of_rib(&mut hand, conn);
        assert_eq!((held(&hand, SLICE), held(&hand, SLICE6)), (None, None));
    }
    // A session without R in between: the next R is news.
    let mut hand = Hand::new(mine());
    for (restarting, held_after) in [(true, None), (false, Some(true)), (true, None)] {
        let conn = begin(&mut hand, &Says { restarting, ..says.clone() });
        assert_eq!(held(&hand, SLICE), held_after, "R bit {restarting}");
        announce(&mut hand, conn);
        end_of_rib(&mut hand, conn);
        hand.say(conn, &told);
        hand.wait(3);
    }
}

/// Checklist: 69
#[test]
fn what_it_comes_back_with_stays_until_its_end_of_rib() {
    let mut hand = Hand::new(mine());
    let conn = up(&mut hand, &Says::new(60, true));
    hand.announce(conn, &["10.244.77.0/24"], address(2), &[]);
    lose(&mut hand, conn);
    hand.wait(50);
    let conn = begin(&mut hand, &Says { restarting: true, ..Says::new(60, true) });
    // Longer than the wait for it to come back, as it may wait for others itself.
    for _ in 0..4 {
        hand.wait(10);
        hand.say(conn, &Message::Keepalive);
    }
    assert_eq!((held(&hand, SLICE), held(&hand, SLICE6)), (Some(true), Some(true)));
    hand.announce(conn, &[SLICE], address(2), &[]);
    assert_eq!((held(&hand, SLICE), held(&hand, "10.244.77.0/24")), (Some(false), Some(true)));
    let bytes = wire::encode_end_of_rib(Family::V4, &hand.negotiated).unwrap();
    hand.bytes(conn, &bytes);
    assert_eq!(held(&hand, "10.244.77.0/24"), None, "not said again");
    assert_eq!((held(&hand, SLICE), held(&hand, SLICE6)), (Some(false), Some(true)), "the other family has its own");
}

#[test]
fn a_peer_that_never_says_end_of_rib_is_not_waited_for_for_ever() {
    let mut hand = Hand::new(mine());
    let conn = up(&mut hand, &Says::new(60, true));
    lose(&mut hand, conn);
    hand.wait(10);
    let conn = begin(&mut hand, &Says { restarting: true, ..Says::new(60, true) });
    hand.announce(conn, &[SLICE], address(2), &[]);
    for _ in 0..13 {
        assert_eq!(held(&hand, SLICE6), Some(true), "at {:?}", hand.now);
        hand.wait(8);
        hand.say(conn, &Message::Keepalive);
    }
    hand.wait(10);
    assert_eq!((held(&hand, SLICE), held(&hand, SLICE6)), (Some(false), None));
}

/// Checklist: 72
#[test]
fn a_second_loss_does_not_extend_the_time() {
    let mut hand = Hand::new(mine());
    let conn = up(&mut hand, &Says::new(60, true));
    lose(&mut hand, conn);
    for _ in 0..5 {
        hand.wait(10);
        let conn = begin(&mut hand, &Says { restarting: true, ..Says::new(60, true) });
        assert_eq!(held(&hand, SLICE), Some(true));
        lose(&mut hand, conn);
    }
    hand.wait(9);
    assert_eq!(held(&hand, SLICE), Some(true));
    hand.wait(2);
    assert_eq!(held(&hand, SLICE), None, "60 s after the first loss");
    // Lost again when that time is over: what was stale then goes at once, what was said since has its own time.
    let conn = up(&mut hand, &Says::new(60, true));
    lose(&mut hand, conn);
    hand.wait(30);
    let conn = begin(&mut hand, &Says { restarting: true, ..Says::new(60, true) });
    hand.announce(conn, &[SLICE], address(2), &[]);
    for _ in 0..5 {
        hand.wait(10);
        hand.say(conn, &Message::Keepalive);
    }
    assert_eq!((held(&hand, SLICE), held(&hand, SLICE6)), (Some(false), Some(true)));
    lose(&mut hand, conn);
    assert_eq!((held(&hand, SLICE), held(&hand, SLICE6)), (Some(true), None));
    hand.wait(59);
    assert_eq!(held(&hand, SLICE), Some(true));
    hand.wait(2);
    assert_eq!(held(&hand, SLICE), None);
}

/// Checklist: 73
#[test]
fn silence_counts_as_a_restart() {
    let mut hand = Hand::new(mine());
    let conn = up(&mut hand, &Says { notification: false, ..Says::new(60, true) });
    hand.wait(91);
    assert!(hand.closed.contains(&conn));
    assert_eq!(hand.told(conn), Some((4, 0)));
    assert_eq!(held(&hand, SLICE), Some(true));
    hand.wait(60);
    assert_eq!(held(&hand, SLICE), None);
    // Who has promised nothing is out at once.
    let mut hand = Hand::new(mine());
    let conn = hand.establish(2, 64512);
    announce(&mut hand, conn);
    assert_eq!(held(&hand, SLICE), Some(false));
    hand.wait(91);
    assert_eq!(held(&hand, SLICE), None);
}

/// Checklist: 73
#[test]
fn with_the_n_bit_a_cease_is_a_restart_and_a_hard_reset_is_the_end() {
    for subcode in [cease::SHUTDOWN, cease::DECONFIGURED, cease::RESET] {
        for notification in [true, false] {
            let mut hand = Hand::new(mine());
            let conn = up(&mut hand, &Says { notification, ..Says::new(60, true) });
            hand.say(conn, &Message::Notification(Notification::cease(subcode, "")));
            assert_eq!(held(&hand, SLICE), notification.then_some(true), "6/{subcode}, N bit {notification}");
            assert!(hand.last_error().contains(&format!("(6/{subcode})")), "{}", hand.last_error());
        }
        let mut hand = Hand::new(mine());
        let conn = up(&mut hand, &Says::new(60, true));
        let inside = bytes::Bytes::copy_from_slice(&[6, subcode]);
        hand.say(conn, &Message::Notification(Notification::new(6, cease::HARD_RESET, inside)));
        assert_eq!(held(&hand, SLICE), None, "hard reset");
        let words = hand.last_error();
        assert!(words.contains("hard reset (6/9), inside: ") && words.ends_with(&format!("(6/{subcode})")), "{words}");
    }
}

/// Checklist: 73
#[test]
fn our_own_cease_says_whether_it_is_for_good() {
    let sent = |says: &Says, act: &dyn Fn(&mut Hand)| {
        let mut hand = Hand::new(mine());
        let conn = up(&mut hand, says);
        hand.heard(conn);
        act(&mut hand);
        hand.work();
        let told = hand.heard(conn).into_iter().find_map(|message| match message {
            Message::Notification(told) => Some((told.code, told.subcode, told.data.get(..2).map(<[u8]>::to_vec))),
            _ => None,
        });
        (told.unwrap(), held(&hand, SLICE))
    };
    let (with, without) = (Says::new(60, true), Says { notification: false, ..Says::new(60, true) });
    let shutdown = |hand: &mut Hand| hand.speaker.handle_shutdown(hand.now);
    let reset = |hand: &mut Hand| drop(hand.speaker.handle_reset(hand.now, None, false).unwrap());
    let hard = |hand: &mut Hand| drop(hand.speaker.handle_hard_reset(hand.now, None).unwrap());
    let remove = |hand: &mut Hand| hand.speaker.handle_config(hand.now, SpeakerConfig { peers: Vec::new(), ..mine() });
    assert_eq!(sent(&with, &shutdown), ((6, 9, Some(vec![6, 2])), None));
    assert_eq!(sent(&without, &shutdown), ((6, 2, Some(vec![30, b'B'])), None), "with words");
    assert_eq!(sent(&with, &reset), ((6, 4, None), Some(true)), "both sides keep forwarding");
    assert_eq!(sent(&without, &reset), ((6, 4, None), None));
    assert_eq!(sent(&with, &hard), ((6, 9, Some(vec![6, 4])), None));
    assert_eq!(sent(&without, &hard), ((6, 4, None), None), "nobody there knows of hard resets");
    assert_eq!(sent(&with, &remove).0, (6, 9, Some(vec![6, 3])));
    let nobody = Hand::new(mine()).speaker.handle_hard_reset(sim::at(0), Some(address(9).into())).unwrap_err();
    assert_eq!(nobody, "no peer 192.0.2.9: the peers are 192.0.2.2");
}

/// The OPEN on a connection.
fn our_open(hand: &mut Hand, conn: ConnId) -> (bool, bool, u16, Vec<(Family, bool)>) {
    let open = hand.heard(conn).into_iter().find_map(|message| match message {
        Message::Open(open) => Some(open),
        _ => None,
    });
    let found = open.expect("an OPEN").capabilities.into_iter().find_map(|capability| match capability {
        Capability::GracefulRestart { restarting, notification, restart_time, families } => {
            Some((restarting, notification, restart_time, families))
        }
        _ => None,
    });
    found.expect("the capability")
}

/// Checklist: 71
#[test]
fn the_first_open_after_a_restart_says_so_and_no_other() {
    let both = |kept| Family::BOTH.map(|family| (family, kept)).to_vec();
    // The first process on a bare kernel.
    let mut hand = Hand::new(mine());
    let conn = hand.connect(2);
    assert_eq!(our_open(&mut hand, conn), (false, true, 60, both(false)));
    // One that found its routes, those of IPv4 only.
    let mut hand = Hand::new(mine());
    hand.speaker.handle_restarted(hand.now, &BTreeSet::from([Family::V4]));
    let conn = hand.connect(2);
    let kept = vec![(Family::V4, true), (Family::V6, false)];
    assert_eq!(our_open(&mut hand, conn), (true, true, 60, kept.clone()));
    // A connection that came to nothing was no session.
    lose(&mut hand, conn);
    let conn = hand.connect(2);
    assert_eq!(our_open(&mut hand, conn), (true, true, 60, kept));
    hand.say(conn, &Says::new(60, true).open());
    hand.say(conn, &Message::Keepalive);
    lose(&mut hand, conn);
    // From now on it is not our restart, and we forward all the while.
    let conn = hand.connect(2);
    assert_eq!(our_open(&mut hand, conn), (false, true, 60, both(true)));
    // After the time nobody keeps anything of us.
    let mut hand = Hand::new(mine());
    hand.speaker.handle_restarted(hand.now, &BTreeSet::from(Family::BOTH));
    hand.wait(61);
    let conn = hand.connect(2);
    assert_eq!(our_open(&mut hand, conn), (false, true, 60, both(false)));
    // Switched off, for all or for one peer.
    let mut off = mine();
    off.peers[0].graceful_restart = Some(false);
    for off in [plain(mine()), off] {
        let mut hand = Hand::new(off);
        let conn = hand.connect(2);
        assert_eq!(our_open(&mut hand, conn), (false, false, 0, Vec::new()), "asks for End-of-RIB, promises nothing");
    }
}

/// Checklist: 70, 71
#[test]
fn a_restarted_speaker_announces_at_once_and_loses_nothing() {
    let mut net = Net::mesh(&[64512, 64512, 65003]);
    net.until_up();
    let peers = [(1, 64512), (3, 65003)];
    net.restart(1, config(2, 64512, &peers));
    let now = net.now;
    net.speaker(1).handle_restarted(now, &BTreeSet::from(Family::BOTH));
    let own = prefix(SLICE);
    while net.nodes[0].speaker.best(&own).first().is_none_or(|path| path.stale) {
        net.run(Duration::from_millis(1));
        let worst = net.now.since(now);
        assert!(!net.nodes[0].speaker.best(&own).is_empty(), "it never goes");
        assert!(!net.nodes[2].speaker.best(&own).is_empty(), "it never goes");
        assert!(worst < 3 * SECOND, "announced again only after {worst:?}\n{}", net.describe());
    }
    net.until_up();
    assert_eq!(net.speaker(1).end_of_rib_complete(), Ok(()));
    assert_eq!(net.speaker(0).peers()[0].end_of_rib.len(), 2);
    assert_eq!(net.speaker(0).peers()[0].stale, 0);
}

/// Checklist: 24
#[test]
fn the_end_of_the_process_is_told_to_whom_nothing_outlives_it() {
    // 2 takes part in graceful restart; 3 and 4 know nothing of it, but 4 is a node, which fails static.
    let mut first = config(1, 64512, &[(2, 64512), (3, 65003), (4, 64512)]);
    first.peers[2].mesh = true;
    let mut hand = Hand::new(first);
    let graceful = up(&mut hand, &Says::new(60, true));
    let (router, node) = (hand.establish(3, 65003), hand.establish(4, 64512));
    assert_eq!(hand.speaker.sessions(), (3, 3));
    assert_eq!(hand.speaker.handle_terminate(hand.now), 1);
    hand.work();
    assert_eq!((hand.told(graceful), hand.told(router), hand.told(node)), (None, Some((6, 2)), None));
    assert_eq!(hand.closed, BTreeSet::from([router]), "the end of the process closes the others");
    hand.wait(10);
    assert_eq!(hand.dials.len(), 0, "none opens any more");
}

/// One path of peer 2 with these communities beside one of peer 3, whose AS path is the longer.
fn long_lived(communities: &[u32], kept_again: bool) -> (Hand, ConnId) {
    let mut mine = mine();
    mine.peers.push(bgp::PeerConfig::new(address(3), model::Asn(65003)));
    mine.graceful_restart.long_lived = 1000 * SECOND;
    let mut hand = Hand::new(mine);
    let says = Says { long_lived: vec![(Family::V4, kept_again, 3600)], ..Says::new(20, true) };
    let conn = begin(&mut hand, &says);
    let attributes = wire::Attributes { communities: communities.to_vec(), ..wire::Attributes::default() };
    let prefixes = [(prefix(SLICE), 0)];
    for bytes in wire::encode_announce(&prefixes, address(2), None, &attributes, &hand.negotiated).unwrap() {
        hand.bytes(conn, &bytes);
    }
    hand.announce(conn, &[SLICE6], sim::address6(2), &[]);
    end_of_rib(&mut hand, conn);
    lose(&mut hand, conn);
    (hand, conn)
}

/// Checklist: 74
#[test]
fn beyond_the_restart_time_paths_live_on_as_a_last_resort() {
    let (mut hand, _) = long_lived(&[0xfc00_0001], true);
    hand.wait(19);
    let communities = |hand: &Hand| {
        let query = bgp::RoutesQuery { prefix: Some(prefix(SLICE)), limit: 9, ..bgp::RoutesQuery::default() };
        let paths = hand.speaker.routes(query);
        paths.into_iter().map(|path| (path.communities.join(" "), path.why)).collect::<Vec<_>>()
    };
    assert_eq!(communities(&hand), vec![("64512:1".to_owned(), "best".to_owned())]);
    hand.wait(2);
    assert_eq!(communities(&hand), vec![("64512:1 65535:6".to_owned(), "best".to_owned())]);
    assert_eq!((held(&hand, SLICE), held(&hand, SLICE6)), (Some(true), None), "IPv6 may not live long");
    // Any other path is better, whatever the rest says.
    let other = hand.establish(3, 65003);
    hand.announce(other, &[SLICE], address(3), &[65003, 65003, 65003]);
    assert_eq!(hand.speaker.best(&prefix(SLICE))[0].next_hop, address(3));
    assert_eq!(communities(&hand)[1].1, "lost: long-lived stale, a last resort");
    hand.wait(500);
    lose(&mut hand, other);
    hand.wait(400);
    assert_eq!(held(&hand, SLICE), Some(true), "the smaller of 1000 s and 3600 s");
    hand.wait(85);
    hand.wait(20);
    assert_eq!(held(&hand, SLICE), None);
    assert_eq!(hand.speaker.holds_paths(), 0);
}

/// Checklist: 74
#[test]
fn a_path_that_must_not_live_long_goes_when_the_restart_time_is_over() {
    let (mut hand, _) = long_lived(&[0xffff_0007], true);
    hand.wait(19);
    assert_eq!(held(&hand, SLICE), Some(true));
    hand.wait(2);
    assert_eq!(held(&hand, SLICE), None);
}

/// Checklist: 74
#[test]
fn a_peer_that_is_back_after_long_refreshes_what_it_kept() {
    for kept in [true, false] {
        let (mut hand, _) = long_lived(&[], true);
        hand.wait(500);
        assert_eq!(held(&hand, SLICE), Some(true));
        let says = Says { long_lived: vec![(Family::V4, kept, 3600)], ..Says::new(20, false) };
        let conn = begin(&mut hand, &says);
        assert_eq!(held(&hand, SLICE), kept.then_some(true));
        hand.announce(conn, &[SLICE], address(2), &[]);
        assert_eq!(held(&hand, SLICE), Some(false));
        end_of_rib(&mut hand, conn);
        let query = bgp::RoutesQuery { prefix: Some(prefix(SLICE)), limit: 9, ..bgp::RoutesQuery::default() };
        assert!(hand.speaker.routes(query)[0].communities.is_empty(), "no mark any more");
    }
}
