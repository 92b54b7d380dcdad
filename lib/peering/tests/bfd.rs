//! BFD threads against each other and against hand-made packets, each side in a network namespace of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod cable;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bfd::{Diagnostic, Hops, Packet, SessionConfig, SessionKey, State};
use cable::{Cable, End, ms};
use model::kernel::Device;
use peering::{BfdCommand, BfdEvent};

fn fast(interval: u64, multiplier: u8) -> SessionConfig {
    SessionConfig { transmit: ms(interval), receive: ms(interval), multiplier, ..SessionConfig::default() }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Both ends of a session, each as the other's peer.
fn keys(hops: Hops, addresses: [&str; 2]) -> [SessionKey; 2] {
    let [a, b] = addresses.map(address);
    let key = |local, peer| SessionKey { peer, device: None, local: Some(local), hops };
    [key(a, b), key(b, a)]
}

fn up_between(hops: Hops, addresses: [&str; 2], config: &SessionConfig) -> (Cable, [End; 2], [SessionKey; 2]) {
    let cable = Cable::new();
    let mut ends = [cable.end(0), cable.end(1)];
    let keys = keys(hops, addresses);
    for (end, key) in ends.iter().zip(&keys) {
        end.bfd.handle(BfdCommand::Set { session: key.clone(), config: config.clone() });
    }
    for (end, key) in ends.iter_mut().zip(&keys) {
        end.until("it is up, at its own pace", |end| {
            end.state(key) == State::Up
                && end.known[key].detection_time == config.receive * u32::from(config.multiplier)
        });
    }
    (cable, ends, keys)
}

#[test]
fn single_hop_and_multihop_sessions_come_up_in_both_families() {
    for addresses in [["10.0.0.1", "10.0.0.2"], ["fd00::1", "fd00::2"]] {
        for hops in [Hops::Single, Hops::Multi] {
            let (_cable, ends, keys) = up_between(hops, addresses, &fast(100, 3));
            let [a, b] = [&ends[0].known[&keys[0]], &ends[1].known[&keys[1]]];
            assert_eq!(a.local_discriminator, b.remote_discriminator);
            assert_eq!((a.failures, b.failures), (0, 0));
        }
    }
}

#[test]
fn link_local_peers_are_told_apart_by_their_device() {
    let cable = Cable::new();
    let mut ends = [cable.end(0), cable.end(1)];
    // A second link between the same two, with the same link-local addresses.
    cable.run(0, "ip link add second type veth peer name second netns $OTHER");
    for end in 0..2 {
        cable.run(
            end,
            "ip link set second addrgenmode none up; ip addr add fe80::$N/64 dev second nodad; ip addr add fe80::$N/64 dev wire nodad",
        );
    }
    let key = |peer: &str, device: &str| SessionKey {
        peer: address(peer),
        device: Device::new(device),
        local: None,
        hops: Hops::Single,
    };
    for (end, peer) in ends.iter_mut().zip(["fe80::2", "fe80::1"]) {
        for device in ["wire", "second"] {
            end.bfd.handle(BfdCommand::Set { session: key(peer, device), config: fast(100, 3) });
        }
    }
    for (end, peer) in ends.iter_mut().zip(["fe80::2", "fe80::1"]) {
        for device in ["wire", "second"] {
            end.until("up", |end| end.state(&key(peer, device)) == State::Up);
        }
    }
    // One of the two is cut; the other one stays.
    cable.run(1, "ip link set second down");
    ends[0].until("down", |end| end.state(&key("fe80::2", "second")) == State::Down);
    ends[0].watch(ms(500));
    let stays = &ends[0].known[&key("fe80::2", "wire")];
    assert_eq!((stays.state, stays.failures), (State::Up, 0));
    // The device comes back as another one with the same name.
    cable.run(1, "ip link del second");
    cable.run(0, "ip link add second type veth peer name second netns $OTHER");
    for end in 0..2 {
        cable.run(end, "ip link set second addrgenmode none up; ip addr add fe80::$N/64 dev second nodad");
    }
    ends[0].until("up again", |end| end.state(&key("fe80::2", "second")) == State::Up);
}

/// Checklist: 97
#[test]
fn a_link_that_is_cut_in_silence_is_noticed_within_the_detection_time() {
    let (cable, mut ends, keys) = up_between(Hops::Single, ["10.0.0.1", "10.0.0.2"], &fast(100, 3));
    cable.run(0, "nft 'add table ip t; add chain ip t c { type filter hook input priority 0; policy drop; }'");
    let cut = Instant::now();
    ends[0].until("down", |end| end.state(&keys[0]) == State::Down);
    let took = cut.elapsed();
    // Not before the last packet is two intervals old, and in time as far as a loaded machine lets us say so.
    assert!(took >= ms(150) && took < ms(2000), "{took:?}");
    assert_eq!(ends[0].known[&keys[0]].diagnostic, Diagnostic::DETECTION_TIME_EXPIRED);
    assert_eq!(ends[0].known[&keys[0]].failures, 1);
    ends[1].until("told by the peer", |end| end.state(&keys[1]) == State::Down);
    assert_eq!(ends[1].known[&keys[1]].diagnostic, Diagnostic::PEER_SIGNALED_DOWN);
    cable.run(0, "nft delete table ip t");
    ends[0].until("up again", |end| end.state(&keys[0]) == State::Up);
}

/// Checklist: 100
#[test]
fn intervals_change_without_a_flap() {
    let (_cable, mut ends, keys) = up_between(Hops::Single, ["10.0.0.1", "10.0.0.2"], &fast(100, 3));
    for (interval, multiplier) in [(400, 3), (50, 4), (100, 3)] {
        ends[0].bfd.handle(BfdCommand::Set { session: keys[0].clone(), config: fast(interval, multiplier) });
        let slower = ms(interval.max(100));
        ends[1].until("the new detection time", |end| {
            end.known[&keys[1]].detection_time == slower * u32::from(multiplier)
        });
        ends[0].until("the new interval", |end| end.known[&keys[0]].transmit_interval == slower);
    }
    for (end, key) in ends.iter().zip(&keys) {
        assert_eq!((end.known[key].ups, end.known[key].failures), (1, 0));
    }
}

/// Checklist: 99
#[test]
fn an_end_that_ends_says_admin_down() {
    let (_cable, ends, keys) = up_between(Hops::Single, ["10.0.0.1", "10.0.0.2"], &fast(100, 3));
    let [mut stays, ends] = ends;
    drop(ends);
    stays.until("told", |end| end.state(&keys[0]) == State::Down);
    let told = &stays.known[&keys[0]];
    assert_eq!((told.failures, told.remote_state), (0, Some(State::AdminDown)));
    // One session that is not wanted any more goes in the same way, and its port is closed.
    stays.bfd.handle(BfdCommand::Remove(keys[0].clone()));
    stays.until("gone", |end| !end.known.contains_key(&keys[0]));
    stays.cable_run("! ss -Hlun | grep -q :3784");
}

/// Checklist: 95, 96
#[test]
fn ttl_source_port_and_discriminators_are_as_the_rfc_says() {
    let cable = Cable::new();
    let mut end = cable.end(0);
    let raw = cable.socket(1, "10.0.0.2:3784");
    let [key, _] = keys(Hops::Single, ["10.0.0.1", "10.0.0.2"]);
    let second = SessionKey { peer: address("10.0.0.3"), ..key.clone() };
    cable.run(1, "ip addr add 10.0.0.3/24 dev wire");
    let other = cable.socket(1, "10.0.0.3:3784");
    // What a receiver's kernel sees of the TTL is what nftables counts.
    cable.run(
        1,
        "nft 'add table ip t; add counter ip t wrong; add chain ip t c { type filter hook input priority 0; }; \
                  add rule ip t c udp dport 3784 ip ttl != 255 counter name wrong drop'",
    );
    for session in [&key, &second] {
        end.bfd.handle(BfdCommand::Set { session: session.clone(), config: fast(100, 3) });
    }
    let mut octets = [0; 100];
    let (length, from) = raw.recv_from(&mut octets).unwrap();
    let first = Packet::decode(&octets[..length]).unwrap();
    assert_eq!((first.state, first.your_discriminator), (State::Down, 0));
    assert!(from.port() >= 49152, "{from}");
    let (_, again) = raw.recv_from(&mut octets).unwrap();
    assert_eq!(from, again, "the same for all packets of a session");
    let (length, another) = other.recv_from(&mut octets).unwrap();
    assert_ne!(from.port(), another.port(), "one for each session");
    assert_ne!(Packet::decode(&octets[..length]).unwrap().my_discriminator, first.my_discriminator);
    let counted = cable.output(1, "nft list counter ip t wrong");
    assert!(counted.contains("packets 0"), "{counted}");

    let answer = |state, yours, ttl: u32| {
        let packet = Packet { state, my_discriminator: 5, your_discriminator: yours, ..first };
        raw.set_ttl(ttl).unwrap();
        raw.send_to(&packet.encode(), SocketAddr::new(address("10.0.0.1"), 3784)).unwrap();
    };
    // From too far away, or to a discriminator that nobody has.
    for ttl in [64, 254] {
        answer(State::Down, 0, ttl);
    }
    answer(State::Init, first.my_discriminator ^ 1, 255);
    end.watch(ms(300));
    assert_eq!(end.state(&key), State::Down);
    assert!(end.notices.iter().any(|text| text.contains("TTL 64")), "{:?}", end.notices);
    answer(State::Down, 0, 255);
    end.until("init", |end| end.state(&key) == State::Init);
    answer(State::Init, first.my_discriminator, 255);
    end.until("up", |end| end.state(&key) == State::Up);
}

#[test]
fn a_port_that_is_taken_is_told_with_the_cure_and_taken_when_it_is_free() {
    let cable = Cable::new();
    let mut ends = [cable.end(0), cable.end(1)];
    let blocker: UdpSocket = cable.socket(0, "0.0.0.0:3784");
    let keys = keys(Hops::Single, ["10.0.0.1", "10.0.0.2"]);
    for (end, key) in ends.iter().zip(&keys) {
        end.bfd.handle(BfdCommand::Set { session: key.clone(), config: fast(100, 3) });
    }
    ends[0].until("trouble", |end| end.trouble.is_some());
    let words = ends[0].trouble.clone().unwrap();
    assert!(words.contains("3784") && words.contains("taken") && words.contains("stop"), "{words}");
    drop(blocker);
    ends[0].until("cured and up", |end| end.trouble.is_none() && end.state(&keys[0]) == State::Up);
}

#[test]
fn events_can_be_recorded() {
    let session = SessionKey::single_hop(address("10.0.0.2"));
    for event in [
        BfdEvent::Changed { session: session.clone(), snapshot: bfd::Snapshot::default() },
        BfdEvent::Gone(session),
        BfdEvent::Trouble(None),
        BfdEvent::Notice("x".to_owned()),
    ] {
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<BfdEvent>(&text).unwrap(), event);
    }
}

/// Checklist: 103
#[test]
fn a_loaded_machine_keeps_300_ms_times_3() {
    let (_cable, mut ends, keys) = up_between(Hops::Single, ["10.0.0.1", "10.0.0.2"], &SessionConfig::default());
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let threads = 4 * std::thread::available_parallelism().map_or(2, usize::from);
    let load: Vec<_> = (0..threads)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || while !stop.load(std::sync::atomic::Ordering::Relaxed) {})
        })
        .collect();
    for end in &mut ends {
        end.watch(Duration::from_secs(4));
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    load.into_iter().for_each(|thread| thread.join().unwrap());
    for (end, key) in ends.iter().zip(&keys) {
        let known = &end.known[key];
        assert_eq!((known.state, known.ups, known.failures), (State::Up, 1, 0));
    }
}
