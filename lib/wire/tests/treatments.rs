//! RFC 7606 as a table: one broken thing at a time, on an internal and on an external session.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeSet;

use model::Family;
use wire::{Decoder, Message, Negotiated, Treatment, Update, decode};

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];
/// Stands behind whatever is broken: a parser that loses its place loses it.
const CANARY: &[u8] = &[0xc0, 8, 4, 0xfd, 0xe9, 0, 42];
const BODY: &[u8] = &[24, 203, 0, 113];
/// 2001:db8:1::/48 with next hop 2001:db8::1.
const MP_REACH: &[u8] = &[
    0x80, 14, 28, 0, 2, 1, 16, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 48, 0x20, 1, 0x0d, 0xb8, 0,
    1,
];
const MP_UNREACH: &[u8] = &[0x80, 15, 10, 0, 2, 1, 48, 0x20, 1, 0x0d, 0xb8, 0, 2];

/// What is expected of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Want {
    Fine,
    Discard,
    Withdraw,
    /// Subcode of an UPDATE error; 255: any.
    Reset(u8),
}
use Want::{Discard, Fine, Reset, Withdraw};

fn update(withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let mut message = vec![0xff; 16];
    let length = 23 + withdrawn.len() + attributes.len() + nlri.len();
    message.extend_from_slice(&(length as u16).to_be_bytes());
    message.push(2);
    message.extend_from_slice(&(withdrawn.len() as u16).to_be_bytes());
    message.extend_from_slice(withdrawn);
    message.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    message.extend_from_slice(&attributes);
    message.extend_from_slice(nlri);
    message
}

fn session(four_octet_as: bool, ibgp: bool) -> Negotiated {
    Negotiated { four_octet_as, ibgp, families: BTreeSet::from(Family::BOTH), ..Negotiated::default() }
}

fn read(message: &[u8], negotiated: &Negotiated) -> Update {
    match decode(message, negotiated).unwrap() {
        Message::Update(update) => update,
        other => panic!("{other:?}"),
    }
}

fn texts(update: &Update) -> (Vec<String>, Vec<String>) {
    let announced = update.announced.iter().map(|a| format!("{} via {}", a.prefix, a.next_hop)).collect();
    (announced, update.withdrawn.iter().map(|w| w.prefix.to_string()).collect())
}

/// One message on one session.
fn judge(name: &str, message: &[u8], negotiated: &Negotiated, want: Want) {
    let decoded = decode(message, negotiated);
    let context = format!("{name}, ibgp {}: {decoded:?}", negotiated.ibgp);
    let update = match (decoded, want) {
        (Err(error), Reset(subcode)) => {
            assert_eq!(error.notification.code, 3, "{context}");
            assert!(subcode == 255 || error.notification.subcode == subcode, "{context}");
            return;
        }
        (Ok(Message::Update(update)), want) if !matches!(want, Reset(_)) => update,
        _ => panic!("{context}"),
    };
    let prefix = "203.0.113.0/24".to_owned();
    let treatment = match want {
        Fine => None,
        Discard => Some(Treatment::Discard),
        _ => Some(Treatment::Withdraw),
    };
    assert_eq!(update.treatment, treatment, "{context}");
    if want == Withdraw {
        assert_eq!(texts(&update), (vec![], vec![prefix]), "{context}");
        assert_eq!(update.attributes, None, "{context}");
    } else {
        assert_eq!(texts(&update), (vec![prefix + " via 192.0.2.1"], vec![]), "{context}");
        assert_eq!(update.attributes.unwrap().communities, [0xfde9_002a], "{context}: the canary");
    }
}

/// Name, withdrawn, attributes before the canary, body, and what is wanted.
type Whole<'a> = (&'a str, &'a [u8], &'a [u8], &'a [u8], Want);

/// Name, attributes between AS_PATH/NEXT_HOP and the canary, what is wanted of an internal and of an external session.
type Row = (&'static str, &'static [u8], Want, Want);

#[test]
fn an_attribute_too_many_or_broken() {
    let rows: &[Row] = &[
        ("MED", &[0x80, 4, 4, 0, 0, 0, 9], Fine, Fine),
        ("MED length 3", &[0x80, 4, 3, 0, 0, 0], Withdraw, Withdraw),
        ("MED flags transitive", &[0xc0, 4, 4, 0, 0, 0, 9], Withdraw, Withdraw),
        ("MED flags well-known", &[0x40, 4, 4, 0, 0, 0, 9], Withdraw, Withdraw),
        ("LOCAL_PREF", &[0x40, 5, 4, 0, 0, 0, 100], Fine, Discard),
        ("LOCAL_PREF length 3", &[0x40, 5, 3, 0, 0, 0], Withdraw, Discard),
        ("LOCAL_PREF length 0", &[0x40, 5, 0], Withdraw, Discard),
        ("ATOMIC_AGGREGATE", &[0x40, 6, 0], Fine, Fine),
        ("ATOMIC_AGGREGATE length 1", &[0x40, 6, 1, 0], Discard, Discard),
        ("ATOMIC_AGGREGATE flags optional", &[0xc0, 6, 0], Withdraw, Withdraw),
        ("AGGREGATOR", &[0xc0, 7, 8, 0, 0, 0xfd, 0xe9, 192, 0, 2, 1], Fine, Fine),
        ("AGGREGATOR length 6", &[0xc0, 7, 6, 0xfd, 0xe9, 192, 0, 2, 1], Discard, Discard),
        ("AGGREGATOR AS 0", &[0xc0, 7, 8, 0, 0, 0, 0, 192, 0, 2, 1], Discard, Discard),
        ("ORIGINATOR_ID", &[0x80, 9, 4, 192, 0, 2, 9], Fine, Discard),
        ("ORIGINATOR_ID length 5", &[0x80, 9, 5, 192, 0, 2, 9, 9], Withdraw, Discard),
        ("CLUSTER_LIST", &[0x80, 10, 4, 192, 0, 2, 9], Fine, Discard),
        ("CLUSTER_LIST length 0", &[0x80, 10, 0], Withdraw, Discard),
        ("CLUSTER_LIST length 6", &[0x80, 10, 6, 1, 1, 1, 1, 1, 1], Withdraw, Discard),
        ("EXTENDED COMMUNITIES", &[0xc0, 16, 8, 0, 2, 0xfd, 0xe9, 0, 0, 0, 1], Fine, Fine),
        ("EXTENDED COMMUNITIES length 7", &[0xc0, 16, 7, 0, 2, 0xfd, 0xe9, 0, 0, 0], Withdraw, Withdraw),
        ("EXTENDED COMMUNITIES length 0", &[0xc0, 16, 0], Withdraw, Withdraw),
        (
            "IPv6 EXTENDED COMMUNITIES length 19",
            &[0xc0, 25, 19, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            Withdraw,
            Withdraw,
        ),
        ("LARGE COMMUNITY length 11", &[0xc0, 32, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Withdraw, Withdraw),
        ("LARGE COMMUNITY length 0", &[0xc0, 32, 0], Withdraw, Withdraw),
        ("OTC length 3", &[0xc0, 35, 3, 0, 0, 1], Withdraw, Withdraw),
        ("AIGP with a broken TLV", &[0x80, 26, 3, 1, 0, 200], Discard, Discard),
        ("PREFIX_SID with a broken TLV", &[0xc0, 40, 4, 1, 0, 200, 0], Discard, Discard),
        ("ENCAP with a broken TLV, unknown to us", &[0xc0, 23, 4, 0, 1, 0, 200], Fine, Fine),
        ("BGP-LS attribute with a broken TLV", &[0x80, 29, 4, 1, 0, 0, 200], Discard, Discard),
        ("AS4_PATH of a four-octet peer", &[0xc0, 17, 6, 2, 1, 0, 0, 0xfd, 0xe8], Discard, Discard),
        ("AS4_AGGREGATOR of a four-octet peer", &[0xc0, 18, 8, 0, 0, 0xfd, 0xe8, 192, 0, 2, 1], Discard, Discard),
        ("unknown optional transitive", &[0xc0, 99, 2, 1, 2], Fine, Fine),
        ("unknown optional transitive, extended length", &[0xd0, 99, 0, 2, 1, 2], Fine, Fine),
        ("unknown optional", &[0x80, 99, 2, 1, 2], Fine, Fine),
        ("unknown optional 254", &[0x80, 254, 0], Fine, Fine),
        ("unknown well-known", &[0x40, 99, 2, 1, 2], Withdraw, Withdraw),
        ("ORIGIN twice", &[0x40, 1, 1, 2], Discard, Discard),
        ("AS_PATH twice", &[0x40, 2, 0], Discard, Discard),
        ("NEXT_HOP twice", &[0x40, 3, 4, 192, 0, 2, 2], Discard, Discard),
        ("lower flag bits", &[0x8f, 4, 4, 0, 0, 0, 9], Fine, Fine),
    ];
    for (name, extra, internal, external) in rows {
        let message = update(&[], &[ORIGIN, AS_PATH, NEXT_HOP, extra, CANARY], BODY);
        judge(name, &message, &session(true, true), *internal);
        judge(name, &message, &session(true, false), *external);
    }
}

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

#[test]
fn the_list_ends_too_early() {
    for (name, tail) in [
        ("one octet", &[0x40][..]),
        ("two octets", &[0xc0, 8]),
        ("value past the end", &[0xc0, 32, 12, 0, 0]),
        ("extended length cut", &[0xd0, 32, 0]),
        ("extended length past the end", &[0xd0, 32, 0xff, 0xff, 1]),
    ] {
        let message = update(&[], &[ORIGIN, AS_PATH, NEXT_HOP, CANARY, tail], BODY);
        for ibgp in [true, false] {
            judge(name, &message, &session(true, ibgp), Withdraw);
        }
    }
    let message = update(&[], &[ORIGIN, AS_PATH, NEXT_HOP, CANARY, &[0x80, 14, 200, 0, 2]], BODY);
    judge("MP_REACH past the end", &message, &session(true, false), Reset(255));
}

#[test]
fn reachability_that_cannot_be_read_resets_the_session() {
    let next_hop_15 = [&[0x80, 14, 20, 0, 2, 1, 15][..], &[0x20; 15], &[0]].concat();
    let next_hop_4 = [0x80, 14, 9, 0, 2, 1, 4, 192, 0, 2, 1, 0];
    let mut length_200 = MP_REACH.to_vec();
    length_200[24] = 200;
    let rows: &[Whole] = &[
        ("body length 33", &[], &[], &[33, 1, 1, 1, 1, 1], Reset(10)),
        ("body cut", &[], &[], &[24, 203, 0], Reset(10)),
        ("withdrawn length 33", &[33, 1, 1, 1, 1, 1], &[], BODY, Reset(10)),
        ("MP_REACH prefix length 200", &[], &length_200, BODY, Reset(255)),
        ("MP_REACH next hop of 15", &[], &next_hop_15, BODY, Reset(255)),
        ("MP_REACH next hop of 4 for IPv6", &[], &next_hop_4, BODY, Reset(255)),
        ("MP_REACH length 2", &[], &[0x80, 14, 2, 0, 2], BODY, Reset(255)),
        ("MP_REACH twice", &[], &[MP_REACH, MP_REACH].concat(), BODY, Reset(1)),
        ("MP_UNREACH length 2", &[], &[0x80, 15, 2, 0, 2], BODY, Reset(255)),
        ("MP_UNREACH cut", &[], &[0x80, 15, 5, 0, 2, 1, 48, 0x20], BODY, Reset(255)),
        ("MP_UNREACH twice", &[], &[MP_UNREACH, MP_UNREACH].concat(), BODY, Reset(1)),
    ];
    for (name, withdrawn, extra, nlri, want) in rows {
        for ibgp in [true, false] {
            let message = update(withdrawn, &[ORIGIN, AS_PATH, NEXT_HOP, extra, CANARY], nlri);
            judge(name, &message, &session(true, ibgp), *want);
        }
    }
}

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

#[test]
fn mp_reach_for_ipv4_equals_the_body() {
    let reach = [0x80, 14, 13, 0, 1, 1, 4, 192, 0, 2, 1, 0, 24, 203, 0, 113];
    judge("IPv4 in MP_REACH", &update(&[], &[&reach, ORIGIN, AS_PATH, CANARY], &[]), &session(true, false), Fine);
}

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

/// Each subset of attributes, with and without NLRI and MP attributes: never a path without its mandatory attributes.
#[test]
fn subsets_of_attributes() {
    let parts: [&[u8]; 6] = [ORIGIN, AS_PATH, NEXT_HOP, MP_REACH, MP_UNREACH, CANARY];
    for chosen in 0_u32..64 {
        for nlri in [&[][..], BODY] {
            let list: Vec<&[u8]> =
                parts.iter().enumerate().filter(|(i, _)| chosen & 1 << i != 0).map(|(_, part)| *part).collect();
            let has = |i: u32| chosen & 1 << i != 0;
            let update = read(&update(&[], &list, nlri), &session(true, chosen % 2 == 0));
            let complete = has(0) && has(1) && (nlri.is_empty() || has(2));
            let offered = usize::from(!nlri.is_empty()) + usize::from(has(3));
            assert_eq!(update.announced.len(), if complete { offered } else { 0 }, "{chosen:06b}");
            assert_eq!(update.treatment.is_some(), offered > 0 && !complete, "{chosen:06b}");
            assert_eq!(update.withdrawn.len(), usize::from(has(4)) + if complete { 0 } else { offered });
        }
    }
}

#[test]
fn announced_wins_over_withdrawn() {
    let message = update(BODY, &[ORIGIN, AS_PATH, NEXT_HOP], BODY);
    let (announced, withdrawn) = texts(&read(&message, &session(true, false)));
    assert_eq!((announced.len(), withdrawn.len()), (1, 0));
}

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
    assert_eq!(attributes.only_to_customer, Some(model::Asn(1)));
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

#[test]
fn errors_have_words() {
    let update = read(&update(&[], &[&[0x40, 1, 2, 0, 9], AS_PATH, NEXT_HOP], BODY), &session(true, false));
    let words = update.errors[0].to_string();
    assert!(words.contains("attribute 1") && words.contains("treated as withdrawn"), "{words}");
    assert!(words.contains("40 01 02 00 09"), "the octets are shown: {words}");
}
