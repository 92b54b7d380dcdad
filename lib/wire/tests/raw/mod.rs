//! Raw UPDATEs for tests, and what may become of them.

use std::collections::BTreeSet;

use model::Family;
use wire::{Message, Negotiated, Treatment, Update, decode};

pub const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
pub const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];
/// Stands behind whatever is broken: a parser that loses its place loses it.
pub const CANARY: &[u8] = &[0xc0, 8, 4, 0xfd, 0xe9, 0, 42];
/// Instead of it where communities are what is broken: a large community.
pub const OTHER_CANARY: &[u8] = &[0xc0, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
pub const BODY: &[u8] = &[24, 203, 0, 113];
/// 2001:db8:1::/48 with next hop 2001:db8::1.
pub const MP_REACH: &[u8] = &[
    0x80, 14, 28, 0, 2, 1, 16, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 48, 0x20, 1, 0x0d, 0xb8, 0,
    1,
];
/// 2001:db8:2::/48.
pub const MP_UNREACH: &[u8] = &[0x80, 15, 10, 0, 2, 1, 48, 0x20, 1, 0x0d, 0xb8, 0, 2];

/// AS_PATH 65001 in numbers of the session's width.
pub fn as_path(negotiated: &Negotiated) -> &'static [u8] {
    if negotiated.four_octet_as { &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9] } else { &[0x40, 2, 4, 2, 1, 0xfd, 0xe9] }
}

/// An UPDATE of its sections.
pub fn update(withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let length = (23 + withdrawn.len() + attributes.len() + nlri.len()) as u16;
    let size = |section: &[u8]| (section.len() as u16).to_be_bytes();
    [&[0xff; 16][..], &length.to_be_bytes(), &[2], &size(withdrawn), withdrawn, &size(&attributes), &attributes, nlri]
        .concat()
}

/// One attribute with its length in as many octets as it needs.
pub fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    match u8::try_from(value.len()) {
        Ok(length) if flags & 0x10 == 0 => [&[flags, code, length], value].concat(),
        _ => [&[flags | 0x10, code], &(value.len() as u16).to_be_bytes()[..], value].concat(),
    }
}

pub fn session(four_octet_as: bool, ibgp: bool) -> Negotiated {
    Negotiated { four_octet_as, ibgp, families: BTreeSet::from(Family::BOTH), ..Negotiated::default() }
}

/// Internal and external, with four-octet and two-octet numbers.
pub fn sessions() -> [Negotiated; 4] {
    [session(true, true), session(true, false), session(false, true), session(false, false)]
}

pub fn read(message: &[u8], negotiated: &Negotiated) -> Update {
    match decode(message, negotiated).unwrap() {
        Message::Update(update) => update,
        other => panic!("{other:?}"),
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Want {
    Fine,
    Discard,
    Withdraw,
    /// Subcode of an UPDATE error.
    Reset(u8),
}

/// What becomes of a message that announces [`BODY`] and has [`CANARY`] or [`OTHER_CANARY`] at its end. The UPDATE, if
/// the session lives.
pub fn judge(name: &str, message: &[u8], negotiated: &Negotiated, want: Want) -> Option<Update> {
    let decoded = decode(message, negotiated);
    let context =
        format!("{name}, internal {}, four octets {}: {decoded:?}", negotiated.ibgp, negotiated.four_octet_as);
    let update = match (decoded, want) {
        (Err(error), Want::Reset(subcode)) => {
            assert_eq!((error.notification.code, error.notification.subcode), (3, subcode), "{context}");
            return None;
        }
        (Ok(Message::Update(update)), want) if !matches!(want, Want::Reset(_)) => update,
        _ => panic!("{context}"),
    };
    let treatment = match want {
        Want::Fine => None,
        Want::Discard => Some(Treatment::Discard),
        _ => Some(Treatment::Withdraw),
    };
    assert_eq!(update.treatment, treatment, "{context}");
    assert_eq!(update.errors.is_empty(), want == Want::Fine, "{context}");
    let ours = |prefix: model::Prefix| prefix.to_string() == "203.0.113.0/24";
    let announced = update.announced.iter().any(|a| ours(a.prefix) && a.next_hop.to_string() == "192.0.2.1");
    let withdrawn = update.withdrawn.iter().any(|w| ours(w.prefix));
    assert_eq!((announced, withdrawn), (want != Want::Withdraw, want == Want::Withdraw), "{context}");
    assert_eq!(update.attributes.is_some(), announced, "{context}");
    if let Some(attributes) = &update.attributes {
        let canary = attributes.communities == [0xfde9_002a] || attributes.large_communities == [[1, 2, 3]];
        assert!(canary, "{context}: the canary");
    }
    Some(update)
}
