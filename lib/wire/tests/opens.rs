//! OPEN: capabilities one by one, in every packing, and everything that can run past its container.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, dead_code)]

mod any;

use bytes::Bytes;
use model::{Asn, Family};
use proptest::prelude::*;
use wire::{AddPathMode, Capability, DecodeError, Message, Negotiated, Open, Role, decode, encode};

fn framed(body: &[u8]) -> Vec<u8> {
    [&[0xff; 16][..], &(body.len() as u16 + 19).to_be_bytes(), &[1], body].concat()
}

const FIXED: [u8; 9] = [4, 0xfd, 0xe9, 0, 90, 192, 0, 2, 1];

fn read(parameters: &[u8]) -> Result<Open, DecodeError> {
    match decode(&framed(&[&FIXED[..], parameters].concat()), &Negotiated::default())? {
        Message::Open(open) => Ok(open),
        other => panic!("{other:?}"),
    }
}

/// Capabilities in one classic parameter.
fn read_capabilities(octets: &[u8]) -> Vec<Capability> {
    let length = octets.len() as u8;
    read(&[&[length + 2, 2, length], octets].concat()).unwrap().capabilities
}

fn octets_of(capability: Capability) -> Vec<u8> {
    let capabilities = vec![Capability::FourOctetAs(1), capability];
    let open = Open { asn: Asn(1), hold_time: 90, router_id: [192, 0, 2, 1].into(), capabilities };
    let octets = encode(&Message::Open(open), &Negotiated::default()).unwrap();
    let head = if octets[28..30] == [255, 255] { 10 + 3 + 3 } else { 10 + 2 };
    octets[19 + head + 6..].to_vec()
}

/// Each capability in octets that the RFCs print, read and written.
///
/// Checklist: 34
#[test]
fn every_capability() {
    let both = Family::BOTH;
    let rows: &[(&[u8], Capability)] = &[
        (&[1, 4, 0, 1, 0, 1], Capability::MultiProtocol(Family::V4)),
        (&[1, 4, 0, 2, 0, 1], Capability::MultiProtocol(Family::V6)),
        (&[2, 0], Capability::RouteRefresh),
        (&[5, 6, 0, 1, 0, 1, 0, 2], Capability::ExtendedNextHop(vec![(Family::V4, Family::V6)])),
        (&[6, 0], Capability::ExtendedMessage),
        (&[9, 1, 0], Capability::Role(Role::Provider)),
        (&[9, 1, 1], Capability::Role(Role::RouteServer)),
        (&[9, 1, 2], Capability::Role(Role::RouteServerClient)),
        (&[9, 1, 3], Capability::Role(Role::Customer)),
        (&[9, 1, 4], Capability::Role(Role::Peer)),
        (
            &[64, 10, 0xc0, 0x78, 0, 1, 1, 0x80, 0, 2, 1, 0],
            Capability::GracefulRestart {
                restarting: true,
                notification: true,
                restart_time: 120,
                families: vec![(Family::V4, true), (Family::V6, false)],
            },
        ),
        (
            &[64, 2, 0x0f, 0xff],
            Capability::GracefulRestart {
                restarting: false,
                notification: false,
                restart_time: 4095,
                families: vec![],
            },
        ),
        (&[65, 4, 0, 1, 0x11, 0x70], Capability::FourOctetAs(70000)),
        (
            &[69, 8, 0, 1, 1, 1, 0, 2, 1, 3],
            Capability::AddPath(vec![(Family::V4, AddPathMode::Receive), (Family::V6, AddPathMode::Both)]),
        ),
        (&[70, 0], Capability::EnhancedRouteRefresh),
        (
            &[71, 14, 0, 1, 1, 0x80, 0xff, 0xff, 0xff, 0, 2, 1, 0, 0, 0, 9],
            Capability::LongLivedGracefulRestart(vec![(both[0], true, 0xff_ffff), (both[1], false, 9)]),
        ),
        (
            &[73, 7, 2, b'n', b'1', 3, b'l', b'a', b'b'],
            Capability::Fqdn { hostname: "n1".to_owned(), domain: "lab".to_owned() },
        ),
        (&[73, 3, 1, b'n', 0], Capability::Fqdn { hostname: "n".to_owned(), domain: String::new() }),
        (&[128, 0], Capability::Other { code: 128, value: Bytes::new() }),
        (&[255, 1, 9], Capability::Other { code: 255, value: Bytes::from_static(&[9]) }),
    ];
    for (octets, capability) in rows {
        assert_eq!(read_capabilities(octets), std::slice::from_ref(capability), "{octets:?}");
        assert_eq!(octets_of(capability.clone()), *octets, "{capability:?}");
        assert_eq!(capability.code(), octets[0]);
    }
}

/// What a capability says of families and modes that are not ours is left out; what says nothing is kept as it is and is no
/// error.
///
/// Checklist: 34, 75
#[test]
fn capabilities_of_no_use() {
    let add_path = [69, 20, 0, 1, 1, 0, 0, 1, 1, 4, 0, 1, 1, 255, 0, 25, 70, 3, 0, 2, 1, 2];
    assert_eq!(read_capabilities(&add_path), [Capability::AddPath(vec![(Family::V6, AddPathMode::Send)])]);
    let next_hop = [5, 18, 0, 1, 0, 128, 0, 2, 0, 1, 1, 1, 0, 2, 0, 1, 0, 1, 0, 25];
    assert_eq!(read_capabilities(&next_hop), [Capability::ExtendedNextHop(vec![])]);
    let long = [71, 7, 0, 25, 70, 0, 0, 0, 9];
    assert_eq!(read_capabilities(&long), [Capability::LongLivedGracefulRestart(vec![])]);
    for odd in [
        &[1, 3, 0, 1, 0][..],
        &[1, 4, 0, 25, 0, 70],
        &[2, 1, 0],
        &[5, 5, 0, 1, 0, 1, 0],
        &[6, 1, 1],
        &[9, 1, 5],
        &[9, 0],
        &[9, 2, 0, 0],
        &[64, 1, 0],
        &[64, 5, 0, 120, 0, 1, 1],
        &[65, 3, 0, 0, 1],
        &[65, 5, 0, 0, 0, 1, 1],
        &[69, 3, 0, 1, 1],
        &[70, 1, 0],
        &[71, 6, 0, 1, 1, 0, 0, 0],
        &[73, 0],
        &[73, 2, 9, b'a'],
        &[73, 3, 1, b'a', 5],
        &[73, 4, 1, b'a', 0, 0],
        &[73, 3, 1, 0xff, 0],
    ] {
        let value = Bytes::copy_from_slice(&odd[2..]);
        let other = Capability::Other { code: odd[0], value };
        assert_eq!(read_capabilities(odd), std::slice::from_ref(&other));
        assert_eq!(octets_of(other), odd);
    }
}

/// One parameter with many, many with one, the same twice, none.
///
/// Checklist: 34
#[test]
fn packings() {
    let twice = [Capability::RouteRefresh, Capability::RouteRefresh, Capability::MultiProtocol(Family::V6)];
    let packings: &[&[u8]] = &[
        &[12, 2, 10, 2, 0, 2, 0, 1, 4, 0, 2, 0, 1],
        &[16, 2, 2, 2, 0, 2, 2, 2, 0, 2, 6, 1, 4, 0, 2, 0, 1],
        &[18, 2, 0, 2, 2, 2, 0, 2, 2, 2, 0, 2, 6, 1, 4, 0, 2, 0, 1],
        // RFC 9072, with 255 and with another length in the classic field.
        &[255, 255, 0, 13, 2, 0, 10, 2, 0, 2, 0, 1, 4, 0, 2, 0, 1],
        &[1, 255, 0, 13, 2, 0, 10, 2, 0, 2, 0, 1, 4, 0, 2, 0, 1],
        &[255, 255, 0, 19, 2, 0, 2, 2, 0, 2, 0, 2, 2, 0, 2, 0, 6, 1, 4, 0, 2, 0, 1],
    ];
    for packing in packings {
        assert_eq!(read(packing).unwrap().capabilities, twice, "{packing:?}");
    }
    assert_eq!(read(&[0]).unwrap().capabilities, []);
    assert_eq!(read(&[255, 255, 0, 0]).unwrap().capabilities, []);
}

/// Every field that can be shorter or longer than its container, cut at every octet: an answer, never a read past the end.
///
/// Checklist: 2, 35, 37
#[test]
fn lengths_that_do_not_add_up() {
    let sound: &[&[u8]] = &[
        &[8, 2, 6, 65, 4, 0, 0, 0xfd, 0xe9],
        &[255, 255, 0, 9, 2, 0, 6, 65, 4, 0, 0, 0xfd, 0xe9],
        &[16, 2, 6, 1, 4, 0, 1, 0, 1, 2, 6, 65, 4, 0, 0, 0xfd, 0xe9],
    ];
    for parameters in sound {
        assert!(read(parameters).is_ok());
        for cut in 0..parameters.len() {
            let body = [&FIXED[..], &parameters[..cut]].concat();
            let answer = decode(&framed(&body), &Negotiated::default()).unwrap_err().notification;
            // Without its last fixed octet it is too short for its type.
            let wanted = if cut == 0 { (1, 2) } else { (2, 0) };
            assert_eq!((answer.code, answer.subcode), wanted, "{parameters:?} cut at {cut}");
        }
        let more = [parameters, &[0][..]].concat();
        assert_eq!(read(&more).unwrap_err().notification.subcode, 0, "an octet behind the parameters");
    }
    for (name, parameters, subcode) in [
        ("capability past its parameter", &[4, 2, 2, 65, 4][..], 0),
        ("capability without a length", &[3, 2, 1, 65], 0),
        ("capability into the next parameter", &[12, 2, 4, 65, 4, 0, 0, 2, 4, 65, 4, 0, 1], 0),
        ("parameter past the parameters", &[2, 2, 9], 0),
        ("parameter without a length", &[1, 2], 0),
        ("extended parameter with a classic length", &[255, 255, 0, 2, 2, 0], 0),
        ("unknown parameter", &[2, 9, 0], 4),
        ("authentication, which RFC 5492 has abolished", &[3, 1, 1, 0], 4),
        ("unknown parameter, extended", &[255, 255, 0, 3, 9, 0, 0], 4),
        // Type 255 with the classic length 0 is not the extended form (RFC 9072 section 2).
        ("type 255 behind a length of 0", &[0, 255, 0, 0], 0),
    ] {
        let answer = read(parameters).unwrap_err().notification;
        assert_eq!((answer.code, answer.subcode), (2, subcode), "{name}");
    }
    let mut old = framed(&[&FIXED[..], &[0]].concat());
    for version in [0, 3, 5, 255] {
        old[19] = version;
        let answer = decode(&old, &Negotiated::default()).unwrap_err().notification;
        assert_eq!((answer.code, answer.subcode, &answer.data[..]), (2, 1, &[0, 4][..]));
    }
}

/// As many octets of capabilities as there may be: the form changes where it must, and nothing is lost.
///
/// Checklist: 37
#[test]
fn the_extended_form_is_taken_where_the_classic_one_ends() {
    for octets in 1..=600_usize {
        // Capabilities of 2 to 252 octets that make `octets` beside the first one of 6.
        let mut capabilities = vec![Capability::FourOctetAs(65001)];
        let mut left = octets.saturating_sub(6);
        while left >= 2 {
            let take = if left <= 252 { left } else { 250.min(left - 2) };
            capabilities.push(Capability::Other { code: 200, value: vec![7; take - 2].into() });
            left -= take;
        }
        let open = Open { asn: Asn(65001), hold_time: 90, router_id: [192, 0, 2, 1].into(), capabilities };
        let message = encode(&Message::Open(open.clone()), &Negotiated::default()).unwrap();
        let classic = message.len() - 19 - 10 - 2 <= 252;
        assert_eq!(message[28] != 255, classic, "{octets}");
        assert_eq!(decode(&message, &Negotiated::default()), Ok(Message::Open(open)));
    }
    // And 4096 octets are the end, extended messages or not.
    let capabilities = vec![Capability::Other { code: 200, value: vec![7; 253].into() }; 16];
    let open = Open { asn: Asn(65001), hold_time: 90, router_id: [192, 0, 2, 1].into(), capabilities };
    let extended = Negotiated { max_message: wire::MAX_EXTENDED_MESSAGE, ..Negotiated::default() };
    assert!(encode(&Message::Open(open), &extended).is_err());
}

#[test]
fn values_without_a_form_are_refused() {
    let long = "x".repeat(256);
    for capability in [
        Capability::Fqdn { hostname: long, domain: String::new() },
        Capability::Fqdn { hostname: "x".repeat(200), domain: "y".repeat(200) },
        Capability::LongLivedGracefulRestart(vec![(Family::V4, false, 1 << 24)]),
        Capability::GracefulRestart { restarting: false, notification: false, restart_time: 4096, families: vec![] },
        Capability::AddPath(vec![(Family::V4, AddPathMode::Send); 64]),
        Capability::Other { code: 200, value: vec![0; 256].into() },
    ] {
        let capabilities = vec![capability];
        let open = Open { asn: Asn(1), hold_time: 90, router_id: [192, 0, 2, 1].into(), capabilities };
        assert!(encode(&Message::Open(open), &Negotiated::default()).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// However the capabilities are cut into parameters, they are the same.
    #[test]
    fn any_packing_reads_the_same(open in any::open(), cuts in proptest::collection::vec(any::<bool>(), 12)) {
        let mut parameters: Vec<Vec<u8>> = vec![Vec::new()];
        for (capability, cut) in open.capabilities.iter().zip(cuts) {
            if cut || parameters.last().unwrap().len() > 200 {
                parameters.push(Vec::new());
            }
            parameters.last_mut().unwrap().extend(octets_of(capability.clone()));
        }
        let extended: Vec<u8> =
            parameters.iter().flat_map(|p| [&[2][..], &(p.len() as u16).to_be_bytes(), p].concat()).collect();
        let head = [&[255, 255][..], &(extended.len() as u16).to_be_bytes()].concat();
        prop_assert_eq!(&read(&[&head[..], &extended].concat()).unwrap().capabilities, &open.capabilities);
        if parameters.iter().all(|p| p.len() < 256) {
            let classic: Vec<u8> = parameters.iter().flat_map(|p| [&[2, p.len() as u8][..], p].concat()).collect();
            if let Ok(length) = u8::try_from(classic.len()) {
                prop_assert_eq!(read(&[&[length], &classic[..]].concat()).unwrap().capabilities, open.capabilities);
            }
        }
    }
}
