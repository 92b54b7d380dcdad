//! What goes out, and comes back: many paths, foreign next hops, two-octet peers, long paths, sets in order.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, dead_code)]

mod raw;

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::{Asn, Family, Prefix};
use raw::{attribute, read, session, update};
use wire::{
    AsPath, Attributes, Message, Negotiated, RawAttribute, Segment, Update, decode, encode_announce, encode_withdraw,
};

fn paths(list: &[(&str, u32)]) -> Vec<(Prefix, u32)> {
    list.iter().map(|(prefix, id)| (prefix.parse().unwrap(), *id)).collect()
}

fn hop(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn announce(attributes: &Attributes, negotiated: &Negotiated) -> Vec<u8> {
    let one = paths(&[("203.0.113.0/24", 0)]);
    encode_announce(&one, hop("192.0.2.1"), None, attributes, negotiated).unwrap()[0].to_vec()
}

fn announced(update: &Update) -> Vec<(Prefix, u32)> {
    update.announced.iter().map(|a| (a.prefix, a.path_id)).collect()
}

/// Flags, code and value of each attribute of an UPDATE without withdrawn routes.
fn attributes_of(message: &[u8]) -> Vec<(u8, u8, Vec<u8>)> {
    let length = usize::from(u16::from_be_bytes([message[21], message[22]]));
    let mut list = &message[23..23 + length];
    let mut found = Vec::new();
    while let [flags, code, rest @ ..] = list {
        let (length, rest) = if flags & 0x10 == 0 {
            (usize::from(rest[0]), &rest[1..])
        } else {
            (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..])
        };
        found.push((*flags, *code, rest[..length].to_vec()));
        list = &rest[length..];
    }
    found
}

fn value_of(message: &[u8], code: u8) -> Option<Vec<u8>> {
    attributes_of(message).into_iter().find(|a| a.1 == code).map(|a| a.2)
}

/// Checklist: 75
#[test]
fn many_paths_for_a_prefix() {
    let both = BTreeSet::from(Family::BOTH);
    let negotiated = Negotiated { add_path_send: both.clone(), add_path_receive: both, ..session(true, true) };
    let attributes = Attributes::default();
    let four = paths(&[("203.0.113.0/24", 1), ("203.0.113.0/24", 2), ("0.0.0.0/0", u32::MAX), ("198.51.100.7/32", 0)]);
    let six = paths(&[("2001:db8::/32", 1), ("2001:db8::/32", 0xdead_beef), ("::/0", 0)]);
    for (sent, next_hop) in [(&four, "192.0.2.1"), (&six, "2001:db8::1")] {
        let message = encode_announce(sent, hop(next_hop), None, &attributes, &negotiated).unwrap();
        assert_eq!(&announced(&read(&message[0], &negotiated)), sent);
        let message = encode_withdraw(sent, &negotiated).unwrap();
        let withdrawn: Vec<_> =
            read(&message[0], &negotiated).withdrawn.iter().map(|w| (w.prefix, w.path_id)).collect();
        assert_eq!(&withdrawn, sent, "a path is withdrawn by its identifier");
    }
    // Another path of a prefix that is announced can be withdrawn in the same message.
    let nlri = [&[0, 0, 0, 2][..], raw::BODY].concat();
    let withdrawn = [&[0, 0, 0, 1][..], raw::BODY, &[0, 0, 0, 2], raw::BODY].concat();
    let message = update(&withdrawn, &[raw::ORIGIN, raw::as_path(&negotiated), raw::NEXT_HOP], &nlri);
    let update = read(&message, &negotiated);
    assert_eq!(announced(&update), paths(&[("203.0.113.0/24", 2)]));
    assert_eq!((update.withdrawn.len(), update.withdrawn[0].path_id), (1, 1));
}

/// One direction and one family at a time: what is not agreed has no identifier.
///
/// Checklist: 75
#[test]
fn directions_and_families_of_many_paths_are_apart() {
    for family in Family::BOTH {
        let ours = Negotiated { add_path_send: [family].into(), ..session(true, true) };
        let theirs = Negotiated { add_path_receive: [family].into(), ..session(true, true) };
        for (sent, next_hop) in
            [(paths(&[("203.0.113.0/24", 7)]), "192.0.2.1"), (paths(&[("2001:db8::/32", 7)]), "2001:db8::1")]
        {
            let id = if sent[0].0.family() == family { 7 } else { 0 };
            let message = encode_announce(&sent, hop(next_hop), None, &Attributes::default(), &ours).unwrap();
            assert_eq!(announced(&read(&message[0], &theirs)), [(sent[0].0, id)]);
            let message = encode_withdraw(&sent, &ours).unwrap();
            assert_eq!(read(&message[0], &theirs).withdrawn[0].path_id, id);
        }
    }
}

/// Identifiers where none were agreed, and none where they were: a reset, or other prefixes, but never a read past the end and
/// never a loss of place in the message.
///
/// Checklist: 76
#[test]
fn identifiers_that_only_one_side_knows_of() {
    let with = Negotiated { add_path_receive: Family::BOTH.into(), ..session(true, true) };
    let without = session(true, true);
    let list: &[&[u8]] = &[raw::ORIGIN, raw::as_path(&with), raw::NEXT_HOP];
    // Length 0 in the first octet of the identifier reads as the default route, then 0, 0, then a length of 1 that is cut.
    let message = update(&[], list, &[&[0, 0, 0, 1, 33], &raw::BODY[1..]].concat());
    let error = decode(&message, &without).unwrap_err();
    assert_eq!((error.notification.code, error.notification.subcode), (3, 10));
    let error = decode(&message, &with).unwrap_err();
    assert_eq!((error.notification.code, error.notification.subcode), (3, 10), "33 is too long either way");
    for nlri in [&[0, 0, 0, 200, 24, 203, 0, 113][..], &[64, 0, 0, 1, 24, 203, 0, 113]] {
        let error = decode(&update(&[], list, nlri), &without).unwrap_err();
        assert_eq!((error.notification.code, error.notification.subcode), (3, 10));
        assert!(decode(&update(&[], list, nlri), &with).is_ok());
    }
    // A prefix without an identifier, and an identifier that is cut.
    for nlri in [raw::BODY, &[0, 0, 0], &[0, 0, 0, 1], &[0, 0, 0, 1, 24, 203, 0, 113, 9]] {
        let error = decode(&update(&[], list, nlri), &with).unwrap_err();
        assert_eq!((error.notification.code, error.notification.subcode), (3, 10), "{nlri:?}");
        let unreach = attribute(0x80, 15, &[&[0, 2, 1], nlri].concat());
        let error = decode(&update(&[], &[&unreach], &[]), &with).unwrap_err();
        assert_eq!((error.notification.code, error.notification.subcode), (3, 10), "{nlri:?}");
    }
}

/// Checklist: 32
#[test]
fn an_ipv4_prefix_over_an_ipv6_next_hop() {
    let agreed = Negotiated { extended_next_hop_send: true, extended_next_hop_receive: true, ..session(true, false) };
    let sent = paths(&[("203.0.113.0/24", 0)]);
    let attributes = Attributes::default();
    let link_local = Some("fe80::1".parse().unwrap());
    for (next_hop, local, length) in
        [("2001:db8::1", None, 16), ("2001:db8::1", link_local, 32), ("fe80::1", link_local, 32), ("fe80::1", None, 32)]
    {
        let message = encode_announce(&sent, hop(next_hop), local, &attributes, &agreed).unwrap()[0].to_vec();
        let reach = value_of(&message, 14).unwrap();
        assert_eq!(reach[..4], [0, 1, 1, length]);
        assert_eq!(value_of(&message, 3), None, "no NEXT_HOP beside it");
        let announced = read(&message, &agreed).announced[0];
        let local = local.or(Some("fe80::1".parse().unwrap()).filter(|_| length == 32));
        assert_eq!((announced.prefix, announced.next_hop, announced.link_local), (sent[0].0, hop(next_hop), local));
        // Nobody has agreed to it: malformed, as the length does not go with the family.
        let error = decode(&message, &session(true, false)).unwrap_err();
        assert_eq!((error.notification.code, error.notification.subcode), (3, 9));
    }
    // With the agreement, an IPv4 next hop in MP_REACH_NLRI is legal as well, and others are not.
    for length in (0..=48).filter(|length| ![4, 16, 32].contains(length)) {
        let value = [&[0, 1, 1, length as u8], &vec![0x20; length][..], &[0], raw::BODY].concat();
        let reach = attribute(0x80, 14, &value);
        let error = decode(&update(&[], &[&reach], &[]), &agreed).unwrap_err();
        assert_eq!((error.notification.code, error.notification.subcode), (3, 9), "{length}");
    }
}

/// A peer with two-octet numbers: AS_TRANS in their place, and the truth beside it.
///
/// Checklist: 38
#[test]
fn large_numbers_for_a_two_octet_peer() {
    let two = session(false, true);
    let id = "192.0.2.9".parse().unwrap();
    let attributes = Attributes {
        as_path: AsPath::sequence([Asn(70000), Asn(65001)]),
        aggregator: Some((Asn(70000), id)),
        ..Attributes::default()
    };
    let message = announce(&attributes, &two);
    assert_eq!(value_of(&message, 2).unwrap(), [2, 2, 0x5b, 0xa0, 0xfd, 0xe9]);
    assert_eq!(value_of(&message, 17).unwrap(), [2, 2, 0, 1, 0x11, 0x70, 0, 0, 0xfd, 0xe9]);
    assert_eq!(value_of(&message, 7).unwrap(), [0x5b, 0xa0, 192, 0, 2, 9]);
    assert_eq!(value_of(&message, 18).unwrap(), [0, 1, 0x11, 0x70, 192, 0, 2, 9]);
    assert_eq!(read(&message, &two).attributes.as_deref(), Some(&attributes));
    // Small numbers need no help; and a four-octet peer gets none.
    let small = Attributes { as_path: AsPath::sequence([Asn(65001)]), ..Attributes::default() };
    assert_eq!(value_of(&announce(&small, &two), 17), None);
    let four = announce(&attributes, &session(true, true));
    assert_eq!((value_of(&four, 17), value_of(&four, 18)), (None, None));
}

/// Thousands of ASes: whole as far as a message holds them, an error behind that; neither side loses its place.
///
/// Checklist: 77
#[test]
fn paths_of_thousands_of_ases() {
    for (count, max, fits) in [
        (1000, 4096, true),
        (1100, 4096, false),
        (2049, 65535, true),
        (5000, 65535, true),
        (16_000, 65535, true),
        (17_000, 65535, false),
        (100_000, 65535, false),
    ] {
        let negotiated = Negotiated { max_message: max, ..session(true, true) };
        let attributes = Attributes {
            as_path: AsPath::sequence((1..=count).map(Asn)),
            communities: vec![7],
            ..Attributes::default()
        };
        let one = paths(&[("203.0.113.0/24", 0)]);
        let sent = encode_announce(&one, hop("192.0.2.1"), None, &attributes, &negotiated);
        assert_eq!(sent.is_ok(), fits, "{count}");
        let Ok(sent) = sent else { continue };
        let update = read(&sent[0], &negotiated);
        let got = update.attributes.unwrap();
        assert_eq!((got.as_path.length(), got.communities.len()), (count as usize, 1));
        assert!(got.as_path.ases().eq(attributes.as_path.ases()));
        assert!(got.as_path.0.iter().all(|s| matches!(s, Segment::Sequence(ases) if ases.len() <= 255)));
        // The same for a two-octet peer takes AS4_PATH beside it.
        let two = Negotiated { four_octet_as: false, ..negotiated };
        if let Ok(sent) = encode_announce(&one, hop("192.0.2.1"), None, &attributes, &two) {
            assert!(read(&sent[0], &two).attributes.unwrap().as_path.ases().eq(attributes.as_path.ases()));
        }
    }
}

/// Checklist: 77
#[test]
fn no_message_is_longer_than_the_session_allows() {
    let many: Vec<(Prefix, u32)> =
        (0..30_000_u32).map(|n| (Prefix::new(IpAddr::V4((0x1000_0000 + (n << 4)).into()), 28).unwrap(), n)).collect();
    for max_message in [4096, 4097, 9000, 65535] {
        for add_path in [false, true] {
            let families = if add_path { Family::BOTH.into() } else { BTreeSet::new() };
            let negotiated = Negotiated {
                max_message,
                add_path_send: families.clone(),
                add_path_receive: families,
                ..session(true, true)
            };
            let mut got = Vec::new();
            for message in encode_announce(&many, hop("192.0.2.1"), None, &Attributes::default(), &negotiated).unwrap()
            {
                assert!(message.len() <= max_message);
                if message.len() > 4096 {
                    let narrow = Negotiated { max_message: 4096, ..negotiated.clone() };
                    let error = decode(&message, &narrow).unwrap_err().notification;
                    assert_eq!((error.code, error.subcode, error.data.len()), (1, 2, 2));
                }
                got.extend(announced(&read(&message, &negotiated)));
            }
            let wanted: Vec<_> = many.iter().map(|(p, id)| (*p, if add_path { *id } else { 0 })).collect();
            assert_eq!(got, wanted);
        }
    }
}

/// Checklist: 92
#[test]
fn communities_are_sorted_and_each_once() {
    let attributes = Attributes {
        communities: vec![9, 1, 9, 5, 1],
        large_communities: vec![[2, 0, 0], [1, 2, 3], [2, 0, 0]],
        ext_communities: vec![7, 3, 7],
        ..Attributes::default()
    };
    let message = announce(&attributes, &session(true, true));
    let tidy = Attributes {
        communities: vec![1, 5, 9],
        large_communities: vec![[1, 2, 3], [2, 0, 0]],
        ext_communities: vec![3, 7],
        ..Attributes::default()
    };
    assert_eq!(value_of(&message, 8).unwrap(), [0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 9]);
    assert_eq!(read(&message, &session(true, true)).attributes.as_deref(), Some(&tidy));
    assert_eq!(announce(&tidy, &session(true, true)), message, "one form for one meaning");
}

/// Checklist: 23
#[test]
fn what_an_external_peer_would_discard_is_not_sent() {
    let attributes = Attributes {
        local_pref: Some(200),
        originator_id: Some("192.0.2.9".parse().unwrap()),
        cluster_list: vec!["192.0.2.8".parse().unwrap()],
        ..Attributes::default()
    };
    let codes =
        |ibgp| attributes_of(&announce(&attributes, &session(true, ibgp))).iter().map(|a| a.1).collect::<Vec<_>>();
    assert_eq!(codes(true), [1, 2, 3, 5, 9, 10]);
    assert_eq!(codes(false), [1, 2, 3]);
}

/// Through us and on: type 0xfe as any other.
///
/// Checklist: 25
#[test]
fn unknown_transitive_attributes_pass_through() {
    for (from, to) in [(session(true, false), session(true, true)), (session(false, false), session(true, false))] {
        for code in [11, 100, 200, 254, 255, 0] {
            let long = vec![7; 300];
            for value in [&[][..], &[1, 2, 3], &long] {
                let one = attribute(0xc0, code, value);
                let list = [raw::ORIGIN, raw::as_path(&from), raw::NEXT_HOP, &one];
                let attributes = read(&update(&[], &list, raw::BODY), &from).attributes.unwrap();
                let passed = announce(&attributes, &to);
                let sent = attributes_of(&passed).into_iter().find(|a| a.1 == code && a.1 != 1).unwrap();
                assert_eq!((sent.0 & 0xe0, &sent.2[..]), (0xe0, value), "{code}: with the Partial bit and untouched");
            }
        }
    }
    // One that a policy has put there has the Partial bit as well.
    let raw = RawAttribute { code: 99, flags: 0xc0, value: vec![1].into() };
    let attributes = Attributes { unknown: vec![raw], ..Attributes::default() };
    assert_eq!(attributes_of(&announce(&attributes, &session(true, true))).last().unwrap().0, 0xe0);
}

/// Checklist: 91, 105
#[test]
fn segments_other_than_sequences_are_never_sent() {
    for count in [0, 1, 255, 256, 600] {
        let attributes = Attributes { as_path: AsPath::sequence((1..=count).map(Asn)), ..Attributes::default() };
        let mut path = &value_of(&announce(&attributes, &session(true, true)), 2).unwrap()[..];
        while let [kind, count, rest @ ..] = path {
            assert_eq!((*kind, *count > 0), (2, true));
            path = &rest[4 * usize::from(*count)..];
        }
    }
    let set = Attributes { as_path: AsPath(vec![Segment::Set(vec![Asn(1)])]), ..Attributes::default() };
    let one = paths(&[("203.0.113.0/24", 0)]);
    assert!(encode_announce(&one, hop("192.0.2.1"), None, &set, &session(true, true)).is_err());
}

/// Checklist: 66
#[test]
fn route_refresh_messages() {
    let message = |body: &[u8]| {
        let length = (19 + body.len() as u16).to_be_bytes();
        decode(&[&[0xff; 16][..], &length, &[5], body].concat(), &session(true, true))
    };
    let read = |body: &[u8]| match message(body) {
        Ok(Message::RouteRefresh(refresh)) => (refresh.family, refresh.subtype),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(&[0, 1, 0, 1]), (Some(Family::V4), 0));
    assert_eq!(read(&[0, 2, 2, 1]), (Some(Family::V6), 2));
    assert_eq!(read(&[0, 1, 255, 1]), (Some(Family::V4), 255), "an unknown subtype is for the session to ignore");
    assert_eq!(read(&[0, 25, 0, 70]), (None, 0));
    for length in (0..40).filter(|length| *length != 4) {
        let body: Vec<u8> = [0, 1, 0, 1].into_iter().cycle().take(length).collect();
        let error = message(&body).unwrap_err().notification;
        assert_eq!((error.code, error.subcode), (7, 1), "{length}");
        assert_eq!(error.data.len(), 19 + length, "with the message");
    }
}
