//! RFC 7606 as a table: one broken thing at a time, on an internal and on an external session.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, dead_code)]

mod raw;

use std::collections::BTreeSet;

use model::{Asn, Family};
use raw::Want::{Fine, Reset, Withdraw};
use raw::{BODY, CANARY, MP_REACH, MP_UNREACH, NEXT_HOP, ORIGIN, Want, judge, read, session, update};
use wire::{Decoder, Message, Negotiated, Treatment, Update};

const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];

fn texts(update: &Update) -> (Vec<String>, Vec<String>) {
    let announced = update.announced.iter().map(|a| format!("{} via {}", a.prefix, a.next_hop)).collect();
    (announced, update.withdrawn.iter().map(|w| w.prefix.to_string()).collect())
}

/// Name, withdrawn, attributes before the canary, body, and what is wanted.
type Whole<'a> = (&'a str, &'a [u8], &'a [u8], &'a [u8], Want);

/// Checklist: 58
#[test]
fn a_mandatory_attribute_broken_or_missing() {
    let rows: &[(&str, [&[u8]; 3], Want)] = &[
        ("all there", [ORIGIN, AS_PATH, NEXT_HOP], Fine),
        ("other order", [NEXT_HOP, ORIGIN, AS_PATH], Fine),
        ("ORIGIN missing", [&[], AS_PATH, NEXT_HOP], Withdraw),
        ("ORIGIN length 2", [&[0x40, 1, 2, 0, 0], AS_PATH, NEXT_HOP], Withdraw),
        ("ORIGIN length 0", [&[0x40, 1, 0], AS_PATH, NEXT_HOP], Withdraw),
        ("ORIGIN 3", [&[0x40, 1, 1, 3], AS_PATH, NEXT_HOP], Withdraw),
        ("ORIGIN flags optional", [&[0xc0, 1, 1, 0], AS_PATH, NEXT_HOP], Withdraw),
        ("ORIGIN partial bit alone", [&[0x60, 1, 1, 0], AS_PATH, NEXT_HOP], Fine),
        ("AS_PATH missing", [ORIGIN, &[], NEXT_HOP], Withdraw),
        ("AS_PATH empty", [ORIGIN, &[0x40, 2, 0], NEXT_HOP], Fine),
        ("AS_PATH segment of 0", [ORIGIN, &[0x40, 2, 2, 2, 0], NEXT_HOP], Withdraw),
        ("AS_PATH segment overrun", [ORIGIN, &[0x40, 2, 6, 2, 2, 0, 0, 0xfd, 0xe9], NEXT_HOP], Withdraw),
        ("AS_PATH trailing octet", [ORIGIN, &[0x40, 2, 7, 2, 1, 0, 0, 0xfd, 0xe9, 2], NEXT_HOP], Withdraw),
        ("AS_PATH segment type 9", [ORIGIN, &[0x40, 2, 6, 9, 1, 0, 0, 0xfd, 0xe9], NEXT_HOP], Withdraw),
        ("AS_PATH confederation sequence", [ORIGIN, &[0x40, 2, 6, 3, 1, 0, 0, 0xfd, 0xe9], NEXT_HOP], Withdraw),
        ("AS_PATH set (RFC 9774)", [ORIGIN, &[0x40, 2, 6, 1, 1, 0, 0, 0xfd, 0xe9], NEXT_HOP], Withdraw),
        (
            "AS_PATH with AS 0 (RFC 7607)",
            [ORIGIN, &[0x40, 2, 10, 2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0, 0], NEXT_HOP],
            Withdraw,
        ),
        ("NEXT_HOP missing", [ORIGIN, AS_PATH, &[]], Withdraw),
        ("NEXT_HOP length 3", [ORIGIN, AS_PATH, &[0x40, 3, 3, 192, 0, 2]], Withdraw),
        ("NEXT_HOP length 5", [ORIGIN, AS_PATH, &[0x40, 3, 5, 192, 0, 2, 1, 1]], Withdraw),
        ("NEXT_HOP 0.0.0.0", [ORIGIN, AS_PATH, &[0x40, 3, 4, 0, 0, 0, 0]], Withdraw),
        ("NEXT_HOP multicast", [ORIGIN, AS_PATH, &[0x40, 3, 4, 224, 0, 0, 1]], Withdraw),
        ("NEXT_HOP loopback", [ORIGIN, AS_PATH, &[0x40, 3, 4, 127, 0, 0, 1]], Withdraw),
        ("NEXT_HOP broadcast", [ORIGIN, AS_PATH, &[0x40, 3, 4, 255, 255, 255, 255]], Withdraw),
        ("nothing at all", [&[], &[], &[]], Withdraw),
    ];
    for (name, mandatory, want) in rows {
        let message = update(&[], &[mandatory[0], mandatory[1], mandatory[2], CANARY], BODY);
        for ibgp in [true, false] {
            judge(name, &message, &session(true, ibgp), *want);
        }
    }
}

/// Checklist: 14
#[test]
fn prefixes_that_cannot_be_read_reset_the_session() {
    let rows: &[Whole] = &[
        ("body length 33", &[], &[], &[33, 1, 1, 1, 1, 1], Reset(10)),
        ("body length 255", &[], &[], &[255, 1, 1, 1, 1, 1], Reset(10)),
        ("body cut", &[], &[], &[24, 203, 0], Reset(10)),
        ("second prefix cut", &[], &[], &[24, 203, 0, 113, 8], Reset(10)),
        ("withdrawn length 33", &[33, 1, 1, 1, 1, 1], &[], BODY, Reset(10)),
        ("withdrawn cut", &[24, 1], &[], BODY, Reset(10)),
        ("IPv4 in MP_REACH length 33", &[], &[0x80, 14, 14, 0, 1, 1, 4, 192, 0, 2, 1, 0, 33, 1, 1, 1], BODY, Reset(10)),
        ("IPv4 in MP_UNREACH length 33", &[], &[0x80, 15, 8, 0, 1, 1, 33, 1, 1, 1, 1], BODY, Reset(10)),
        ("beside an attribute to withdraw for", &[], &[0x80, 4, 1, 0], &[33], Reset(10)),
    ];
    for (name, withdrawn, extra, nlri, want) in rows {
        for ibgp in [true, false] {
            let message = update(withdrawn, &[ORIGIN, AS_PATH, NEXT_HOP, extra, CANARY], nlri);
            judge(name, &message, &session(true, ibgp), *want);
        }
    }
}

/// Checklist: 13
#[test]
fn lengths_inside_the_message_that_do_not_add_up() {
    for (name, at, value) in [("withdrawn", 19, 0xffff_u16), ("attributes", 21, 0xffff), ("attributes", 21, 60)] {
        let mut message = update(&[], &[ORIGIN, AS_PATH, NEXT_HOP, CANARY], BODY);
        message[at..at + 2].copy_from_slice(&value.to_be_bytes());
        judge(name, &message, &session(true, false), Reset(1));
    }
}

#[test]
fn both_families_in_one_message() {
    let message = update(&[24, 198, 51, 100], &[MP_REACH, MP_UNREACH, ORIGIN, AS_PATH, NEXT_HOP, CANARY], BODY);
    let (announced, withdrawn) = texts(&read(&message, &session(true, false)));
    assert_eq!(announced, ["203.0.113.0/24 via 192.0.2.1", "2001:db8:1::/48 via 2001:db8::1"]);
    assert_eq!(withdrawn, ["198.51.100.0/24", "2001:db8:2::/48"]);

    // One error withdraws all of it (RFC 7606 section 2).
    let message = update(&[], &[MP_REACH, &[0x40, 1, 1, 7], AS_PATH, NEXT_HOP], BODY);
    let (announced, withdrawn) = texts(&read(&message, &session(true, false)));
    assert_eq!((announced.len(), withdrawn), (0, vec!["203.0.113.0/24".to_owned(), "2001:db8:1::/48".to_owned()]));
}

#[test]
fn next_hop_attribute_is_ignored_beside_mp_reach_alone() {
    for next_hop in [&[][..], NEXT_HOP, &[0x40, 3, 4, 0, 0, 0, 0]] {
        let update = read(&update(&[], &[MP_REACH, ORIGIN, AS_PATH, next_hop], &[]), &session(true, false));
        assert_eq!((update.treatment, texts(&update).0), (None, vec!["2001:db8:1::/48 via 2001:db8::1".to_owned()]));
    }
}

/// Checklist: 29
#[test]
fn next_hops_of_mp_reach() {
    let with = |next_hop: &[u8]| {
        let value = [&[0, 2, 1, next_hop.len() as u8], next_hop, &[0, 48, 0x20, 1, 0x0d, 0xb8, 0, 1]].concat();
        let attribute = [&[0x80, 14, value.len() as u8], &value[..]].concat();
        read(&update(&[], &[&attribute, ORIGIN, AS_PATH], &[]), &session(true, false))
    };
    let octets = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec();
    let both = with(&[octets("2001:db8::1"), octets("fe80::1")].concat());
    assert_eq!(both.announced[0].link_local, Some("fe80::1".parse().unwrap()));
    assert_eq!(both.announced[0].next_hop, "2001:db8::1".parse::<std::net::IpAddr>().unwrap());
    for bad in ["::", "::1", "ff02::1"] {
        let update = with(&octets(bad));
        assert_eq!((update.treatment, update.withdrawn.len()), (Some(Treatment::Withdraw), 1), "{bad}");
    }
    // A second half that is no link-local address says nothing; the global one holds.
    let two = with(&[octets("2001:db8::1"), octets("2001:db8::2")].concat());
    assert_eq!((two.treatment, two.announced[0].link_local), (Some(Treatment::Discard), None));
    let unspecified = with(&[octets("2001:db8::1"), octets("::")].concat());
    assert_eq!((unspecified.treatment, unspecified.announced[0].link_local), (None, None));
    // A peer that has nothing but a link-local address: three ways to say it.
    for way in
        [octets("fe80::1"), [octets("fe80::1"), octets("fe80::1")].concat(), [octets("::"), octets("fe80::1")].concat()]
    {
        let update = with(&way);
        let announced = update.announced[0];
        assert_eq!((update.treatment, announced.next_hop), (None, "fe80::1".parse::<std::net::IpAddr>().unwrap()));
        assert_eq!(announced.link_local, Some("fe80::1".parse().unwrap()));
    }
}

/// Checklist: 30
#[test]
fn mp_reach_for_ipv4_equals_the_body() {
    let reach = [0x80, 14, 13, 0, 1, 1, 4, 192, 0, 2, 1, 0, 24, 203, 0, 113];
    judge("IPv4 in MP_REACH", &update(&[], &[&reach, ORIGIN, AS_PATH, CANARY], &[]), &session(true, false), Fine);
}

/// Checklist: 28
#[test]
fn families_that_were_not_negotiated_are_ignored() {
    let v4 = Negotiated { families: BTreeSet::from([Family::V4]), ..session(true, false) };
    let v6 = Negotiated { families: BTreeSet::from([Family::V6]), ..session(true, false) };
    // EVPN with nonsense inside; nobody parses it.
    let evpn = [0x80, 14, 9, 0, 25, 70, 99, 1, 2, 3, 4, 5];
    let broken6 = [0x80, 14, 7, 0, 2, 1, 3, 1, 2, 3];
    for extra in [MP_REACH, MP_UNREACH, &evpn, &broken6] {
        judge("other family", &update(&[], &[ORIGIN, AS_PATH, NEXT_HOP, extra, CANARY], BODY), &v4, Fine);
    }
    let message = update(&[24, 198, 51, 100], &[MP_REACH, MP_UNREACH, ORIGIN, AS_PATH, CANARY], BODY);
    let (announced, withdrawn) = texts(&read(&message, &v6));
    assert_eq!(
        (announced, withdrawn),
        (vec!["2001:db8:1::/48 via 2001:db8::1".into()], vec!["2001:db8:2::/48".into()])
    );
    assert_eq!(read(&update(&[], &[], &[]), &v6), Update::default(), "nor is its End-of-RIB");
}

/// Checklist: 70
#[test]
fn end_of_rib_is_that_and_nothing_else() {
    let both = session(true, true);
    let end6: &[u8] = &[0x80, 15, 3, 0, 2, 1];
    assert_eq!(read(&update(&[], &[], &[]), &both).end_of_rib, Some(Family::V4));
    assert_eq!(read(&update(&[], &[end6], &[]), &both).end_of_rib, Some(Family::V6));
    assert_eq!(read(&update(&[], &[&[0x90, 15, 0, 3, 0, 2, 1]], &[]), &both).end_of_rib, Some(Family::V6));
    assert_eq!(read(&update(&[], &[&[0x80, 15, 3, 0, 1, 1]], &[]), &both).end_of_rib, Some(Family::V4));
    for look_alike in [
        update(&[], &[end6, ORIGIN], &[]),
        update(&[24, 198, 51, 100], &[end6], &[]),
        update(&[], &[end6, MP_REACH, ORIGIN, AS_PATH], &[]),
        update(&[], &[ORIGIN, AS_PATH, NEXT_HOP], &[]),
        update(&[], &[&[0x80, 15, 3, 0, 25, 70]], &[]),
    ] {
        assert_eq!(read(&look_alike, &both).end_of_rib, None, "{look_alike:02x?}");
    }
}

/// Each subset of attributes, with and without NLRI and MP attributes, on each session, in every order: never a path
/// without its mandatory attributes, and what is made of it does not depend on the order.
///
/// Checklist: 31, 58
#[test]
fn subsets_and_orders_of_attributes() {
    for negotiated in raw::sessions() {
        let parts: [&[u8]; 6] = [ORIGIN, raw::as_path(&negotiated), NEXT_HOP, MP_REACH, MP_UNREACH, CANARY];
        for chosen in 0_u32..64 {
            let list: Vec<&[u8]> =
                parts.iter().enumerate().filter(|(i, _)| chosen & 1 << i != 0).map(|(_, part)| *part).collect();
            for nlri in [&[][..], BODY] {
                let has = |i: u32| chosen & 1 << i != 0;
                let first = read(&update(&[], &list, nlri), &negotiated);
                let complete = has(0) && has(1) && (nlri.is_empty() || has(2));
                let offered = usize::from(!nlri.is_empty()) + usize::from(has(3));
                assert_eq!(first.announced.len(), if complete { offered } else { 0 }, "{chosen:06b}");
                assert_eq!(first.treatment.is_some(), offered > 0 && !complete, "{chosen:06b}");
                assert_eq!(first.withdrawn.len(), usize::from(has(4)) + if complete { 0 } else { offered });
                permute(&mut list.clone(), 0, &mut |list| {
                    assert_eq!(read(&update(&[], list, nlri), &negotiated), first, "{list:02x?}");
                });
            }
        }
    }
}

/// Each order of `list[from..]`.
fn permute<T: Copy>(list: &mut [T], from: usize, each: &mut impl FnMut(&[T])) {
    if from == list.len() {
        return each(list);
    }
    for at in from..list.len() {
        list.swap(from, at);
        permute(list, from + 1, each);
        list.swap(from, at);
    }
}

/// Checklist: 17, 31
#[test]
fn the_same_prefix_in_many_places_counts_once() {
    // IPv4 in MP_REACH_NLRI and in the body, with next hops of their own: both are there, none is lost.
    let reach = [0x80, 14, 13, 0, 1, 1, 4, 192, 0, 2, 9, 0, 24, 203, 0, 113];
    let both = read(&update(&[], &[&reach, ORIGIN, AS_PATH, NEXT_HOP], BODY), &session(true, true));
    assert_eq!(texts(&both).0, ["203.0.113.0/24 via 192.0.2.1", "203.0.113.0/24 via 192.0.2.9"]);
    // Withdrawn in MP_UNREACH_NLRI and announced in MP_REACH_NLRI: announced.
    let unreach = [0x80, 15, 7, 0, 1, 1, 24, 203, 0, 113];
    let won = read(&update(&[], &[&unreach, &reach, ORIGIN, AS_PATH], &[]), &session(true, true));
    assert_eq!(texts(&won), (vec!["203.0.113.0/24 via 192.0.2.9".to_owned()], vec![]));
    // Withdrawn alone, with attributes that mean nothing then.
    let gone = read(&update(BODY, &[ORIGIN], &[]), &session(true, true));
    assert_eq!((gone.treatment, texts(&gone).1), (None, vec!["203.0.113.0/24".to_owned()]));
}

/// Checklist: 16
#[test]
fn announced_wins_over_withdrawn() {
    let message = update(BODY, &[ORIGIN, AS_PATH, NEXT_HOP], BODY);
    let (announced, withdrawn) = texts(&read(&message, &session(true, false)));
    assert_eq!((announced.len(), withdrawn.len()), (1, 0));
}

/// Checklist: 15
#[test]
fn martians_are_dropped_and_named() {
    let nlri = [&[8, 127, 16, 169, 254, 4, 224, 8, 0, 32, 255, 255, 255, 255, 0, 8, 10][..], BODY].concat();
    let update4 = read(&update(&[], &[ORIGIN, AS_PATH, NEXT_HOP], &nlri), &session(true, false));
    assert_eq!(
        texts(&update4).0,
        ["0.0.0.0/0 via 192.0.2.1", "10.0.0.0/8 via 192.0.2.1", "203.0.113.0/24 via 192.0.2.1"]
    );
    assert_eq!(update4.treatment, Some(Treatment::Discard));
    let what = &update4.errors[0].what;
    assert!(what.contains("127.0.0.0/8") && what.contains("169.254.0.0/16") && what.contains("224.0.0.0/4"), "{what}");

    let prefixes = [&[8, 0xff, 10, 0xfe, 0x80, 128][..], &[0; 15], &[1, 0, 3, 0x20, 7, 0xfc]].concat();
    let mut value = [&[0, 2, 1, 16][..], &MP_REACH[7..23], &[0]].concat();
    value.extend_from_slice(&prefixes);
    let reach = [&[0x80, 14, value.len() as u8][..], &value].concat();
    let update6 = read(&update(&[], &[&reach, ORIGIN, AS_PATH], &[]), &session(true, false));
    let left: Vec<String> = update6.announced.iter().map(|a| a.prefix.to_string()).collect();
    assert_eq!(left, ["::/0", "2000::/3", "fc00::/7"]);
}

#[test]
fn bits_behind_the_length_are_cleared() {
    let message = update(&[], &[ORIGIN, AS_PATH, NEXT_HOP], &[20, 10, 1, 0xff]);
    assert_eq!(texts(&read(&message, &session(true, false))).0, ["10.1.240.0/20 via 192.0.2.1"]);
}

/// Checklist: 38, 39
#[test]
fn four_octet_numbers_of_two_octet_peers() {
    // AS_TRANS 64512, and AS4_PATH 4200000001 64512.
    let path2 = &[0x40, 2, 6, 2, 2, 0x5b, 0xa0, 0xfc, 0][..];
    let path4 = &[0xc0, 17, 10, 2, 2, 0xfa, 0x56, 0xea, 0x01, 0, 0, 0xfc, 0][..];
    let two = session(false, false);
    for list in [[ORIGIN, path2, NEXT_HOP, path4], [path4, ORIGIN, path2, NEXT_HOP]] {
        let update = read(&update(&[], &list, BODY), &two);
        assert_eq!(
            (update.treatment, update.attributes.unwrap().as_path.to_string().as_str()),
            (None, "4200000001 64512")
        );
    }
    // Malformed, or with AS 0: AS_PATH stands as it is.
    for bad in [&[0xc0, 17, 3, 2, 2, 0][..], &[0xc0, 17, 6, 2, 1, 0, 0, 0, 0]] {
        let update = read(&update(&[], &[bad, ORIGIN, path2, NEXT_HOP], BODY), &two);
        assert_eq!(update.treatment, Some(Treatment::Discard));
        assert_eq!(update.attributes.unwrap().as_path.to_string(), "23456 64512");
    }
}

/// Checklist: 25
#[test]
fn unknown_transitive_is_kept_with_partial_and_others_are_not() {
    let update = read(
        &update(
            &[],
            &[ORIGIN, AS_PATH, NEXT_HOP, &[0xd0, 199, 0, 1, 7], &[0x80, 98, 1, 7], &[0xc0, 35, 4, 0, 0, 0, 1]],
            BODY,
        ),
        &session(true, false),
    );
    let attributes = update.attributes.unwrap();
    assert_eq!(attributes.only_to_customer, Some(Asn(1)));
    let unknown = &attributes.unknown;
    assert_eq!(
        unknown.iter().map(|raw| (raw.code, raw.flags, raw.value.to_vec())).collect::<Vec<_>>(),
        [(199, 0xe0, vec![7])]
    );
}

#[test]
fn equal_lists_share_their_attributes() {
    let mut decoder = Decoder::default();
    let mut attributes = |nlri: &[u8], negotiated: &Negotiated| {
        let message = update(&[], &[ORIGIN, AS_PATH, NEXT_HOP, CANARY], nlri);
        match decoder.decode(&message, negotiated).unwrap() {
            Message::Update(update) => update.attributes,
            other => panic!("{other:?}"),
        }
    };
    let first = attributes(BODY, &session(true, true)).unwrap();
    let second = attributes(&[24, 198, 51, 100], &session(true, true)).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second));
    // With two-octet numbers the same octets are no AS_PATH.
    assert_eq!(attributes(BODY, &session(false, true)), None);
}

#[test]
fn memory_of_attributes_is_bounded() {
    let mut decoder = Decoder::default();
    let first = update(&[], &[ORIGIN, AS_PATH, NEXT_HOP, CANARY], BODY);
    let attributes = |decoder: &mut Decoder, message: &[u8]| match decoder.decode(message, &session(true, true)) {
        Ok(Message::Update(update)) => update.attributes.unwrap(),
        other => panic!("{other:?}"),
    };
    let kept = attributes(&mut decoder, &first);
    // 400 lists of 1 kB are more than there is room for; what was first is forgotten, and read again all the same.
    for number in 0..400_u32 {
        let values: Vec<u8> = (0..250).flat_map(|_| number.to_be_bytes()).collect();
        let communities = [&[0xd0, 8, 3, 0xe8][..], &values].concat();
        attributes(&mut decoder, &update(&[], &[ORIGIN, AS_PATH, NEXT_HOP, &communities], BODY));
    }
    assert_eq!(std::sync::Arc::strong_count(&kept), 1, "the decoder has let go of it");
    assert_eq!(attributes(&mut decoder, &first), kept);
}

/// Checklist: 62
#[test]
fn errors_have_words() {
    let update = read(&update(&[], &[&[0x40, 1, 2, 0, 9], AS_PATH, NEXT_HOP], BODY), &session(true, false));
    let words = update.errors[0].to_string();
    assert!(words.contains("attribute 1") && words.contains("treated as withdrawn"), "{words}");
    assert!(words.contains("40 01 02 00 09"), "the octets are shown: {words}");
}
