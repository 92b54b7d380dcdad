//! Every state met by every state that a packet can carry (RFC 5880 6.8.6), and what a packet must be to count at all.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod sim;

use std::time::Duration;

use bfd::{Diagnostic, Dropped, Hops, Malformed, Output, Packet, SessionConfig, SessionKey, Sessions, State};
use model::Moment;
use sim::{address, arrival, config, key, ms, packet};

const THEIRS: u32 = 7;

fn at(millis: u64) -> Moment {
    Moment::new(Duration::from_secs(10) + ms(millis))
}

/// Sessions with one in this state, and its discriminator.
fn in_state(state: State) -> (Sessions, u32) {
    let mut sessions = Sessions::new(3);
    sessions.set(at(0), key(0), config(300, 3));
    let ours = sessions.snapshot(&key(0)).unwrap().local_discriminator;
    let path: &[State] = match state {
        State::Down => &[],
        State::Init => &[State::Down],
        State::Up => &[State::Init],
        State::AdminDown => &[State::Init],
    };
    for theirs in path {
        sessions.handle_packet(at(0), &arrival(0), &packet(*theirs, THEIRS, ours).encode()).unwrap();
    }
    if state == State::AdminDown {
        sessions.remove(at(0), &key(0));
    }
    while sessions.poll_output().is_some() {}
    assert_eq!(sessions.snapshot(&key(0)).unwrap().state, state);
    (sessions, ours)
}

#[test]
fn every_state_meets_every_received_state() {
    use State::{AdminDown, Down, Init, Up};
    let signaled = Diagnostic::PEER_SIGNALED_DOWN;
    let none = Diagnostic::NONE;
    let admin = Diagnostic::ADMINISTRATIVELY_DOWN;
    // Our state, the packet's state, the new state, the diagnostic, is it a failure?
    let table = [
        (AdminDown, AdminDown, AdminDown, admin, 0),
        (AdminDown, Down, AdminDown, admin, 0),
        (AdminDown, Init, AdminDown, admin, 0),
        (AdminDown, Up, AdminDown, admin, 0),
        (Down, AdminDown, Down, none, 0),
        (Down, Down, Init, none, 0),
        (Down, Init, Up, none, 0),
        (Down, Up, Down, none, 0),
        (Init, AdminDown, Down, signaled, 0),
        (Init, Down, Init, none, 0),
        (Init, Init, Up, none, 0),
        (Init, Up, Up, none, 0),
        (Up, AdminDown, Down, signaled, 0),
        (Up, Down, Down, signaled, 1),
        (Up, Init, Up, none, 0),
        (Up, Up, Up, none, 0),
    ];
    for (ours, theirs, next, diagnostic, failures) in table {
        let (mut sessions, discriminator) = in_state(ours);
        let mut packet = packet(theirs, THEIRS, discriminator);
        packet.poll = true;
        sessions.handle_packet(at(50), &arrival(0), &packet.encode()).unwrap();
        let after = sessions.snapshot(&key(0)).unwrap();
        assert_eq!((after.state, after.diagnostic), (next, diagnostic), "{ours} meets {theirs}");
        assert_eq!(after.failures, failures, "{ours} meets {theirs}");
        let mut sent = Vec::new();
        while let Some(output) = sessions.poll_output() {
            if let Output::Send { octets, .. } = output {
                sent.push(Packet::decode(&octets).unwrap());
            }
        }
        // A poll is answered at once, with the state that it led to; in AdminDown it is not looked at.
        let answers = sent.iter().filter(|packet| packet.last && !packet.poll && packet.state == next).count();
        assert_eq!(answers, usize::from(ours != AdminDown), "{ours} meets {theirs}: {sent:?}");
        // A change is told at once.
        let told = sent.iter().filter(|packet| !packet.last).count();
        assert_eq!(told, usize::from(ours != next), "{ours} meets {theirs}: {sent:?}");
    }
}

/// Checklist: 99
#[test]
fn admin_down_of_the_peer_is_no_failure() {
    let (mut sessions, ours) = in_state(State::Up);
    sessions.handle_packet(at(10), &arrival(0), &packet(State::AdminDown, THEIRS, ours).encode()).unwrap();
    let after = sessions.snapshot(&key(0)).unwrap();
    assert_eq!((after.state, after.failures, after.remote_state), (State::Down, 0, Some(State::AdminDown)));
    // It stays so while the peer stays so, and is forgotten when the peer falls silent: no failure either.
    sessions.handle_packet(at(500), &arrival(0), &packet(State::AdminDown, THEIRS, ours).encode()).unwrap();
    sessions.handle_timeout(at(60_000));
    let after = sessions.snapshot(&key(0)).unwrap();
    assert_eq!((after.state, after.failures, after.remote_state), (State::Down, 0, None));
}

/// Checklist: 101
#[test]
fn malformed_packets_are_dropped_and_change_nothing() {
    let (_, ours) = in_state(State::Up);
    let good = packet(State::Down, THEIRS, ours).encode();
    let with = |at: usize, octet: u8| {
        let mut octets = good.to_vec();
        octets[at] = octet;
        octets
    };
    let zeroed = |from: usize, state: State| {
        let mut octets = packet(state, THEIRS, ours).encode().to_vec();
        octets[from..from + 4].fill(0);
        octets
    };
    let authenticated = |section: &[u8]| {
        let mut octets = with(1, good[1] | 0x04);
        octets.extend_from_slice(section);
        octets[3] = octets.len() as u8;
        octets
    };
    let mut too_long = good.to_vec();
    too_long[3] = 25;
    let mut without_section = authenticated(&[1, 4, 1, b'x']);
    without_section[3] = 25;
    let keyed = |kind: u8, length: usize| {
        let mut section = vec![0; length];
        section[0] = kind;
        section[1] = length as u8;
        authenticated(&section)
    };
    let table: &[(&str, Vec<u8>, Malformed)] = &[
        ("nothing", Vec::new(), Malformed::Short),
        ("23 octets", good[..23].to_vec(), Malformed::Short),
        ("version 0", with(0, 0), Malformed::Version),
        ("version 2", with(0, 2 << 5), Malformed::Version),
        ("length 0", with(3, 0), Malformed::Length),
        ("length 23", with(3, 23), Malformed::Length),
        ("length beyond the payload", too_long, Malformed::Length),
        ("A bit without room for a section", without_section, Malformed::Length),
        ("multiplier 0", with(2, 0), Malformed::Multiplier),
        ("multipoint", with(1, good[1] | 1), Malformed::Multipoint),
        ("my discriminator 0", zeroed(4, State::Up), Malformed::MyDiscriminator),
        ("your discriminator 0 in Init", zeroed(8, State::Init), Malformed::YourDiscriminator),
        ("your discriminator 0 in Up", zeroed(8, State::Up), Malformed::YourDiscriminator),
        ("unknown authentication", authenticated(&[9, 4, 1, 2]), Malformed::Authentication),
        ("password of no octets", authenticated(&[1, 3, 1]), Malformed::Authentication),
        ("password of 17 octets", keyed(1, 20), Malformed::Authentication),
        ("section shorter than it says", authenticated(&[1, 9, 1, b'x']), Malformed::Authentication),
        ("MD5 of 23 octets", keyed(2, 23), Malformed::Authentication),
        ("meticulous MD5 of 25", keyed(3, 25), Malformed::Authentication),
        ("SHA1 of 24 octets", keyed(4, 24), Malformed::Authentication),
        ("meticulous SHA1 of 29", keyed(5, 29), Malformed::Authentication),
    ];
    for (what, octets, why) in table {
        let (mut sessions, _) = in_state(State::Up);
        let before = sessions.snapshot(&key(0));
        let result = sessions.handle_packet(at(100), &arrival(0), octets);
        assert_eq!(result, Err(Dropped::Malformed(*why)), "{what}");
        assert_eq!(sessions.snapshot(&key(0)), before, "{what}");
        assert!(sessions.poll_output().is_none(), "{what}: something was sent");
    }
    // What is well-formed but authenticated is dropped too: sessions here have no authentication (6.8.6).
    for section in [&keyed(1, 4), &keyed(1, 19), &keyed(2, 24), &keyed(3, 24), &keyed(4, 28), &keyed(5, 28)] {
        let (mut sessions, _) = in_state(State::Up);
        assert_eq!(sessions.handle_packet(at(100), &arrival(0), section), Err(Dropped::Authenticated));
        assert_eq!(sessions.snapshot(&key(0)).unwrap().state, State::Up);
    }
}

/// Checklist: 96
#[test]
fn unknown_discriminators_and_strangers_make_no_state() {
    let (mut sessions, ours) = in_state(State::Up);
    let down = |yours| packet(State::Down, THEIRS, yours).encode();
    let unknown = sessions.handle_packet(at(1), &arrival(0), &down(ours ^ 1));
    assert_eq!(unknown, Err(Dropped::Discriminator));
    let mut stranger = arrival(0);
    stranger.source = [10, 0, 0, 99].into();
    assert_eq!(sessions.handle_packet(at(1), &stranger, &down(0)), Err(Dropped::Stranger));
    // Our discriminator in a packet of somebody else.
    assert_eq!(sessions.handle_packet(at(1), &stranger, &down(ours)), Err(Dropped::Mismatch));
    let mut far = arrival(0);
    far.hops = Hops::Multi;
    assert_eq!(sessions.handle_packet(at(1), &far, &down(ours)), Err(Dropped::Mismatch));
    assert_eq!(sessions.handle_packet(at(1), &far, &down(0)), Err(Dropped::Stranger));
    assert_eq!(sessions.keys().count(), 1);
    assert_eq!(sessions.snapshot(&key(0)).unwrap().state, State::Up);
    // The peer has restarted: it knows no discriminator, and says so in Down.
    sessions.handle_packet(at(1), &arrival(0), &down(0)).unwrap();
    assert_eq!(sessions.snapshot(&key(0)).unwrap().state, State::Down);
}

/// Checklist: 95
#[test]
fn a_single_hop_packet_must_come_with_255_and_a_multihop_one_with_enough() {
    let (mut sessions, ours) = in_state(State::Up);
    let down = packet(State::Down, THEIRS, ours).encode();
    for ttl in [0, 1, 64, 254] {
        let mut near = arrival(0);
        near.ttl = ttl;
        assert_eq!(sessions.handle_packet(at(1), &near, &down), Err(Dropped::TimeToLive(ttl)));
    }
    assert_eq!(sessions.snapshot(&key(0)).unwrap().state, State::Up);

    let far_key = SessionKey { hops: Hops::Multi, ..key(0) };
    sessions.set(at(2), far_key.clone(), SessionConfig { min_ttl: 250, ..config(300, 3) });
    let mut far = arrival(0);
    far.hops = Hops::Multi;
    for (ttl, taken) in [(64, false), (249, false), (250, true), (255, true)] {
        far.ttl = ttl;
        let result = sessions.handle_packet(at(3), &far, &packet(State::Down, 9, 0).encode());
        assert_eq!(result, if taken { Ok(()) } else { Err(Dropped::TimeToLive(ttl)) });
    }
    assert_eq!(sessions.snapshot(&far_key).unwrap().state, State::Init);
}

#[test]
fn sessions_are_told_apart_by_peer_device_and_local_address() {
    let mut sessions = Sessions::new(1);
    let peer: std::net::IpAddr = "fe80::1".parse().unwrap();
    let device = |name: &str| model::kernel::Device::new(name);
    let keys: Vec<SessionKey> = ["eth0", "eth1"]
        .iter()
        .map(|name| SessionKey { peer, device: device(name), local: None, hops: Hops::Single })
        .chain([
            SessionKey { local: Some(address(0)), ..SessionKey::single_hop(address(1)) },
            SessionKey::single_hop(address(1)),
        ])
        .collect();
    for key in &keys {
        sessions.set(at(0), key.clone(), SessionConfig::default());
    }
    let mut numbers: Vec<u32> = keys.iter().map(|key| sessions.snapshot(key).unwrap().local_discriminator).collect();
    let mut from = |source, destination, name: &str| {
        let arrival = bfd::Arrival { source, destination, device: device(name), ttl: 255, hops: Hops::Single };
        sessions.handle_packet(at(1), &arrival, &packet(State::Down, THEIRS, 0).encode())
    };
    let own: std::net::IpAddr = "fe80::2".parse().unwrap();
    assert_eq!(from(peer, own, "eth1"), Ok(()));
    assert_eq!(from(peer, own, "eth2"), Err(Dropped::Stranger));
    assert_eq!(from(address(1), address(0), "eth0"), Ok(()));
    let state = |key: &SessionKey| sessions.snapshot(key).unwrap().state;
    let states: Vec<State> = keys.iter().map(state).collect();
    assert_eq!(states, [State::Down, State::Init, State::Init, State::Down]);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 4, "discriminators are unique");
}

#[test]
fn what_is_written_is_read_back_and_padding_is_passed_over() {
    let mut full = packet(State::Up, 0xdead_beef, 0x0102_0304);
    full.poll = true;
    full.independent = true;
    full.demand = true;
    full.multiplier = 255;
    let mut octets = full.encode().to_vec();
    assert_eq!(octets[..12], [0x20, 0xea, 255, 24, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4]);
    assert_eq!(octets[12..], [0, 0x0f, 0x42, 0x40, 0, 0x04, 0x93, 0xe0, 0, 0, 0, 0]);
    octets.extend_from_slice(&[0xaa; 40]);
    assert_eq!(Packet::decode(&octets), Ok(full));
}
