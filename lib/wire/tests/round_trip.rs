//! What we compose reads the same; nothing is lost in packing; no octets bring the door down.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, dead_code)]

mod any;
mod door;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;
use model::{Asn, Family, Prefix};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use wire::{
    AsPath, Attributes, Capability, EncodeError, Message, Negotiated, Open, RouteRefresh, Segment, Update, decode,
    encode, encode_announce, encode_end_of_rib, encode_withdraw, frame_length,
};

fn session() -> Negotiated {
    Negotiated { four_octet_as: true, families: BTreeSet::from(Family::BOTH), ..Negotiated::default() }
}

fn read(octets: &[u8], negotiated: &Negotiated) -> Update {
    assert_eq!(frame_length(octets, negotiated.max_message), Ok(Some(octets.len())));
    match decode(octets, negotiated).unwrap() {
        Message::Update(update) => {
            assert_eq!((update.treatment, &update.errors[..]), (None, &[][..]));
            update
        }
        other => panic!("{other:?}"),
    }
}

fn prefixes(text: &[&str]) -> Vec<(Prefix, u32)> {
    text.iter().map(|p| (p.parse().unwrap(), 0)).collect()
}

fn some_attributes() -> Attributes {
    Attributes { as_path: AsPath::sequence([Asn(65001)]), ..Attributes::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Checklist: 75
    #[test]
    fn an_update_reads_the_same((negotiated, update) in any::session().prop_flat_map(|n| { let u = any::update(&n); (Just(n), u) })) {
        let octets = encode(&Message::Update(update.clone()), &negotiated).unwrap();
        prop_assert!(octets.len() <= negotiated.max_message);
        prop_assert_eq!(read(&octets, &negotiated), update);
    }

    #[test]
    fn open_and_notification_read_the_same(open in any::open(), notification in any::notification()) {
        for message in [Message::Open(open), Message::Notification(notification)] {
            let octets = encode(&message, &session()).unwrap();
            prop_assert_eq!(frame_length(&octets, 4096), Ok(Some(octets.len())));
            prop_assert_eq!(decode(&octets, &session()), Ok(message));
        }
    }

    #[test]
    fn packing_loses_nothing(
        (negotiated, attributes) in any::session().prop_flat_map(|n| { let a = any::attributes(&n); (Just(n), a) }),
        ids in vec(any::<u32>(), 1..5),
        four in btree_set(any::prefix(Family::V4), 0..1500),
        six in btree_set(any::prefix(Family::V6), 0..600),
        next_hop4 in any::next_hop4(),
        (next_hop6, link_local) in any::next_hop6(),
    ) {
        let paths = |prefixes: BTreeSet<Prefix>, family| -> Vec<(Prefix, u32)> {
            let add_path = negotiated.add_path_send.contains(&family);
            prefixes.into_iter().zip(ids.iter().cycle()).map(|(p, id)| (p, if add_path { *id } else { 0 })).collect()
        };
        let four = paths(four, Family::V4);
        let six = paths(six, Family::V6);
        // IPv4 in the body, IPv4 over an IPv6 next hop, IPv6.
        for (sent, next_hop, link_local) in [(&four, next_hop4, None), (&four, next_hop6, link_local), (&six, next_hop6, link_local)] {
            let mut got = Vec::new();
            let messages = encode_announce(sent, next_hop, link_local, &attributes, &negotiated).unwrap();
            for octets in &messages {
                prop_assert!(octets.len() <= negotiated.max_message);
                let update = read(octets, &negotiated);
                prop_assert_eq!(update.attributes.as_deref(), Some(&attributes));
                for announced in update.announced {
                    prop_assert_eq!((announced.next_hop, announced.link_local), (next_hop, link_local));
                    got.push((announced.prefix, announced.path_id));
                }
            }
            prop_assert_eq!(&got, sent);
            // Few: any two neighbours together would not fit one message.
            for pair in messages.windows(2) {
                prop_assert!(pair[0].len() + 21 + pair[1].len() > negotiated.max_message);
            }
        }
        for sent in [&four, &six] {
            let mut got = Vec::new();
            for octets in encode_withdraw(sent, &negotiated).unwrap() {
                prop_assert!(octets.len() <= negotiated.max_message);
                got.extend(read(&octets, &negotiated).withdrawn.iter().map(|w| (w.prefix, w.path_id)));
            }
            prop_assert_eq!(&got, sent);
        }
    }

    #[test]
    fn mutated_messages_keep_the_promises(
        (negotiated, update) in any::session().prop_flat_map(|n| { let u = any::update(&n); (Just(n), u) }),
        open in any::open(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..6),
    ) {
        for message in [Message::Update(update), Message::Open(open)] {
            let mut octets = encode(&message, &negotiated).unwrap().to_vec();
            for (at, value, how) in &changes {
                let at = at.index(octets.len());
                match how {
                    0 => octets[at] = *value,
                    1 => octets[at] ^= 1 << (value % 8),
                    2 => octets.insert(at, *value),
                    _ => { octets.remove(at); }
                }
            }
            door::enter(&octets);
            // The marker and the length put right again, so that what is behind them gets its turn.
            if octets.len() >= 19 {
                octets[..16].fill(0xff);
                let length = (octets.len() as u16).to_be_bytes();
                octets[16..18].copy_from_slice(&length);
                door::enter(&octets);
            }
        }
    }

    #[test]
    fn noise_keeps_the_promises(data in vec(any::<u8>(), 0..200)) {
        door::enter(&data);
    }
}

#[test]
fn nothing_to_say_is_no_message() {
    let next_hop = "192.0.2.1".parse().unwrap();
    assert_eq!(encode_announce(&[], next_hop, None, &some_attributes(), &session()), Ok(vec![]));
    assert_eq!(encode_withdraw(&[], &session()), Ok(vec![]));
}

#[test]
fn end_of_rib_octets() {
    let four = encode_end_of_rib(Family::V4, &session()).unwrap();
    assert_eq!((four.len(), &four[18..]), (23, &[2, 0, 0, 0, 0][..]));
    let six = encode_end_of_rib(Family::V6, &session()).unwrap();
    assert_eq!((six.len(), &six[19..]), (29, &[0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1][..]));
    assert_eq!(encode_end_of_rib(Family::V4, &Negotiated::default()), Err(EncodeError::NotNegotiated(Family::V4)));
}

#[test]
fn a_thousand_slices_take_few_messages() {
    let four: Vec<(Prefix, u32)> =
        (0..1000_u32).map(|i| (Prefix::new(IpAddr::V4((0x0a00_0000 | i << 8).into()), 24).unwrap(), 0)).collect();
    let next_hop = "192.0.2.1".parse().unwrap();
    let messages = encode_announce(&four, next_hop, None, &some_attributes(), &session()).unwrap();
    assert_eq!(messages.len(), 1, "4 octets each, {} in the longest", messages[0].len());
    let six: Vec<(Prefix, u32)> = (0..1000_u128)
        .map(|i| (Prefix::new(IpAddr::V6(Ipv6Addr::from(0xfd00_u128 << 112 | i << 64)), 64).unwrap(), 0))
        .collect();
    let next_hop = "2001:db8::1".parse().unwrap();
    let messages = encode_announce(&six, next_hop, None, &some_attributes(), &session()).unwrap();
    assert_eq!(messages.len(), 3, "9 octets each: 450 fit a message");
}

#[test]
fn what_cannot_be_said_is_refused() {
    let (four, six) = (prefixes(&["10.0.0.0/24"]), prefixes(&["fd00::/64"]));
    let (hop4, hop6): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
    let attributes = some_attributes();
    let only4 = Negotiated { families: BTreeSet::from([Family::V4]), ..session() };
    let announce = |prefixes: &[(Prefix, u32)], hop, local, attributes: &Attributes, negotiated: &Negotiated| {
        encode_announce(prefixes, hop, local, attributes, negotiated).unwrap_err()
    };
    assert_eq!(announce(&six, hop4, None, &attributes, &session()), EncodeError::NextHop);
    assert_eq!(announce(&four, hop6, None, &attributes, &session()), EncodeError::ExtendedNextHop);
    assert_eq!(announce(&six, hop6, None, &attributes, &only4), EncodeError::NotNegotiated(Family::V6));
    assert_eq!(encode_withdraw(&six, &only4), Err(EncodeError::NotNegotiated(Family::V6)));
    assert_eq!(announce(&[six[0], four[0]], hop6, None, &attributes, &session()), EncodeError::MixedFamilies);
    let global = Some("2001:db8::2".parse().unwrap());
    assert!(matches!(announce(&six, hop6, global, &attributes, &session()), EncodeError::Value { .. }));
    let set = Attributes { as_path: AsPath(vec![Segment::Set(vec![Asn(1)])]), ..Attributes::default() };
    assert!(matches!(announce(&four, hop4, None, &set, &session()), EncodeError::Value { field: "AS_PATH", .. }));
    let zero = Attributes { as_path: AsPath::sequence([Asn(0)]), ..Attributes::default() };
    assert!(matches!(announce(&four, hop4, None, &zero, &session()), EncodeError::Value { field: "AS_PATH", .. }));
    for count in [1100, 20_000] {
        let long = Attributes { communities: (0..count).collect(), ..some_attributes() };
        let error = announce(&four, hop4, None, &long, &session());
        assert!(matches!(error, EncodeError::TooLong { size, max: 4096 } if size > 4096), "{error}");
    }
}

#[test]
fn long_paths_are_cut_into_segments_and_still_count_the_same() {
    let path = AsPath::sequence((1..=600).map(Asn));
    let attributes = Attributes { as_path: path.clone(), ..Attributes::default() };
    let next_hop = "192.0.2.1".parse().unwrap();
    let messages = encode_announce(&prefixes(&["10.0.0.0/24"]), next_hop, None, &attributes, &session()).unwrap();
    let got = read(&messages[0], &session()).attributes.unwrap();
    assert_eq!(got.as_path.0.len(), 3);
    assert_eq!((any::ases(&got.as_path), got.as_path.length()), (any::ases(&path), 600));
}

#[test]
fn large_as_numbers_over_a_two_octet_session() {
    let two = Negotiated { four_octet_as: false, ..session() };
    let attributes = Attributes {
        as_path: AsPath::sequence([Asn(4_200_000_001), Asn(64512)]),
        aggregator: Some((Asn(4_200_000_001), "192.0.2.9".parse().unwrap())),
        ..Attributes::default()
    };
    let next_hop = "192.0.2.1".parse().unwrap();
    let messages = encode_announce(&prefixes(&["10.0.0.0/24"]), next_hop, None, &attributes, &two).unwrap();
    assert_eq!(read(&messages[0], &two).attributes.as_deref(), Some(&attributes));
}

#[test]
fn open_of_a_large_as_needs_the_capability() {
    let mut open =
        Open { asn: Asn(4_200_000_001), hold_time: 90, router_id: "192.0.2.1".parse().unwrap(), capabilities: vec![] };
    assert!(encode(&Message::Open(open.clone()), &session()).is_err());
    open.capabilities.push(Capability::FourOctetAs(4_200_000_001));
    let octets = encode(&Message::Open(open.clone()), &session()).unwrap();
    assert_eq!(octets[20..22], 23456_u16.to_be_bytes(), "AS_TRANS");
    open.capabilities[0] = Capability::FourOctetAs(1);
    assert!(encode(&Message::Open(open), &session()).is_err(), "two different numbers");
}

#[test]
fn many_capabilities_use_extended_parameters() {
    let capabilities: Vec<Capability> =
        (0..5).map(|i| Capability::Other { code: 200 + i, value: Bytes::from(vec![i; 200]) }).collect();
    let open = Open { asn: Asn(65001), hold_time: 9, router_id: "192.0.2.1".parse().unwrap(), capabilities };
    let octets = encode(&Message::Open(open.clone()), &session()).unwrap();
    assert_eq!((octets[28], octets[29]), (255, 255), "RFC 9072");
    assert_eq!(decode(&octets, &session()), Ok(Message::Open(open)));
}

#[test]
fn route_refresh_and_its_lengths() {
    let refresh = RouteRefresh { family: Some(Family::V6), subtype: RouteRefresh::BEGIN };
    let octets = encode(&Message::RouteRefresh(refresh), &session()).unwrap();
    assert_eq!(&octets[19..], [0, 2, 1, 1]);
    assert_eq!(decode(&octets, &session()), Ok(Message::RouteRefresh(refresh)));

    let unknown = [&octets[..19], &[0, 25, 9, 70]].concat();
    let want = RouteRefresh { family: None, subtype: 9 };
    assert_eq!(decode(&unknown, &session()), Ok(Message::RouteRefresh(want)));
    assert!(encode(&Message::RouteRefresh(want), &session()).is_err());

    for length in [19_u16, 22, 24, 4096] {
        let mut message = octets[..19].to_vec();
        message[16..18].copy_from_slice(&length.to_be_bytes());
        message.resize(usize::from(length), 0);
        let answer = decode(&message, &session()).unwrap_err().notification;
        assert_eq!((answer.code, answer.subcode), (7, 1), "{length}");
        assert!(message.starts_with(&answer.data), "the message is the data");
        assert!(encode(&Message::Notification(answer), &session()).is_ok());
    }
}

#[test]
fn a_message_is_whole() {
    let keepalive = encode(&Message::Keepalive, &session()).unwrap();
    assert_eq!(decode(&keepalive, &session()), Ok(Message::Keepalive));
    for wrong in [&keepalive[..18], &[&keepalive[..], &[0]].concat()] {
        let answer = decode(wrong, &session()).unwrap_err().notification;
        assert_eq!((answer.code, answer.subcode), (1, 2));
    }
}

/// The bodies of OPENs that brought others down.
#[test]
fn opens_that_do_not_parse() {
    let open = |body: &[u8]| {
        let mut message = vec![0xff; 16];
        message.extend_from_slice(&(body.len() as u16 + 19).to_be_bytes());
        message.push(1);
        message.extend_from_slice(body);
        decode(&message, &session())
    };
    let head = |version: u8, rest: &[u8]| [&[version, 0xfd, 0xe9, 0, 90, 192, 0, 2, 1][..], rest].concat();
    let refused: &[(&str, Vec<u8>, u8)] = &[
        ("version 5", head(5, &[0]), 1),
        ("parameters past the message", head(4, &[10]), 0),
        ("octets behind the parameters", head(4, &[0, 1]), 0),
        ("parameter past the parameters", head(4, &[2, 2, 9]), 0),
        ("capability past its parameter", head(4, &[4, 2, 2, 65, 4]), 0),
        ("capability cut", head(4, &[3, 2, 1, 65]), 0),
        ("extended parameters past the message", head(4, &[255, 255, 0, 9, 2, 0, 0]), 0),
        ("extended parameters cut", head(4, &[255, 255, 0]), 0),
        ("unknown parameter", head(4, &[2, 9, 0]), 4),
    ];
    for (name, body, subcode) in refused {
        let answer = open(body).unwrap_err().notification;
        assert_eq!((answer.code, answer.subcode), (2, *subcode), "{name}");
    }
    // A name that runs past its capability is some capability of no use.
    let Ok(Message::Open(open)) = open(&head(4, &[7, 2, 5, 73, 3, 9, b'a', 0])) else { panic!() };
    let value = Bytes::from_static(&[9, b'a', 0]);
    assert_eq!(open.capabilities, [Capability::Other { code: 73, value }]);
    assert_eq!(open.asn, Asn(65001));
}
