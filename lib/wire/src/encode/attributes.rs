//! The attribute list that prefixes share.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use model::Asn;

use super::{ATTRIBUTE_HEADER, UPDATE_HEADER};
use crate::attribute_types::{
    AGGREGATOR, AS_PATH, AS4_AGGREGATOR, AS4_PATH, ATOMIC_AGGREGATE, CLUSTER_LIST, COMMUNITIES, EXTENDED_COMMUNITIES,
    EXTENDED_LENGTH, LARGE_COMMUNITY, LOCAL_PREF, MULTI_EXIT_DISC, NEXT_HOP, ONLY_TO_CUSTOMER, OPTIONAL, ORIGIN,
    ORIGINATOR_ID, PARTIAL, TRANSITIVE, segment,
};
use crate::{AsPath, Attributes, EncodeError, Negotiated, Origin, Segment};

/// AS_TRANS: stands for a number that does not fit two octets (RFC 6793 section 9).
const AS_TRANS: u16 = 23456;
/// Most ASes of a segment.
const SEGMENT: usize = 255;
/// Flags of attributes that are not well-known.
const OPTIONAL_TRANSITIVE: u8 = OPTIONAL | TRANSITIVE;

/// The shared attributes with NEXT_HOP, in the order of their codes but for AS4_PATH and AS4_AGGREGATOR, which a peer
/// with two-octet AS numbers gets, and the unknown ones, which come last.
///
/// What RFC 7606 has the receiver of an external session discard is not sent on one.
pub(super) fn encode_attributes(
    attributes: &Attributes,
    next_hop: Option<Ipv4Addr>,
    negotiated: &Negotiated,
) -> Result<Vec<u8>, EncodeError> {
    let mut list = List { octets: Vec::with_capacity(128), max: super::limit(negotiated) };
    let internal = negotiated.ibgp;
    let origin = match attributes.origin {
        Origin::Igp => 0,
        Origin::Egp => 1,
        Origin::Incomplete => 2,
    };
    list.put(TRANSITIVE, ORIGIN, &[origin])?;
    let path = path_octets(&attributes.as_path, negotiated)?;
    list.put(TRANSITIVE, AS_PATH, &path)?;
    if let Some(address) = next_hop {
        list.put(TRANSITIVE, NEXT_HOP, &address.octets())?;
    }
    if let Some(med) = attributes.med {
        list.put(OPTIONAL, MULTI_EXIT_DISC, &med.to_be_bytes())?;
    }
    if let Some(preference) = attributes.local_pref.filter(|_| internal) {
        list.put(TRANSITIVE, LOCAL_PREF, &preference.to_be_bytes())?;
    }
    if attributes.atomic_aggregate {
        list.put(TRANSITIVE, ATOMIC_AGGREGATE, &[])?;
    }
    if let Some((asn, id)) = attributes.aggregator {
        list.put_aggregator(asn, id, negotiated)?;
    }
    // An empty list of these is malformed (RFC 7606 sections 7.8, 7.10, 7.14).
    if !attributes.communities.is_empty() {
        let values = in_order(&attributes.communities);
        list.put_rows(COMMUNITIES, values.iter().map(|value| value.to_be_bytes()))?;
    }
    if let Some(id) = attributes.originator_id.filter(|_| internal) {
        list.put(OPTIONAL, ORIGINATOR_ID, &id.octets())?;
    }
    if !attributes.cluster_list.is_empty() && internal {
        let ids: Vec<u8> = attributes.cluster_list.iter().flat_map(Ipv4Addr::octets).collect();
        list.put(OPTIONAL, CLUSTER_LIST, &ids)?;
    }
    if !attributes.ext_communities.is_empty() {
        let values = in_order(&attributes.ext_communities);
        list.put_rows(EXTENDED_COMMUNITIES, values.iter().map(|value| value.to_be_bytes()))?;
    }
    if !negotiated.four_octet_as && attributes.as_path.ases().any(is_large) {
        list.put(OPTIONAL_TRANSITIVE, AS4_PATH, &segments(&attributes.as_path, true))?;
    }
    if let Some((asn, id)) = attributes.aggregator.filter(|(asn, _)| !negotiated.four_octet_as && is_large(*asn)) {
        list.put(OPTIONAL_TRANSITIVE, AS4_AGGREGATOR, &[asn.0.to_be_bytes(), id.octets()].concat())?;
    }
    if !attributes.large_communities.is_empty() {
        let values = in_order(&attributes.large_communities);
        list.put_rows(LARGE_COMMUNITY, values.iter().flatten().map(|part| part.to_be_bytes()))?;
    }
    if let Some(asn) = attributes.only_to_customer {
        list.put(OPTIONAL_TRANSITIVE, ONLY_TO_CUSTOMER, &asn.0.to_be_bytes())?;
    }
    for raw in &attributes.unknown {
        list.put(raw.flags | PARTIAL, raw.code, &raw.value)?;
    }
    Ok(list.octets)
}

/// Attributes one behind the other.
struct List {
    octets: Vec<u8>,
    /// Longest message of the session, for the error.
    max: usize,
}

impl List {
    /// The length has as many octets as it needs.
    fn put(&mut self, flags: u8, code: u8, value: &[u8]) -> Result<(), EncodeError> {
        let flags = flags & !EXTENDED_LENGTH;
        if let Ok(length) = u8::try_from(value.len()) {
            self.octets.extend_from_slice(&[flags, code, length]);
        } else if let Ok(length) = u16::try_from(value.len()) {
            let [high, low] = length.to_be_bytes();
            self.octets.extend_from_slice(&[flags | EXTENDED_LENGTH, code, high, low]);
        } else {
            let size = UPDATE_HEADER + self.octets.len() + ATTRIBUTE_HEADER + value.len();
            return Err(EncodeError::TooLong { size, max: self.max });
        }
        self.octets.extend_from_slice(value);
        Ok(())
    }

    /// Communities of whatever kind.
    fn put_rows<const N: usize>(&mut self, code: u8, rows: impl Iterator<Item = [u8; N]>) -> Result<(), EncodeError> {
        let value: Vec<u8> = rows.flatten().collect();
        self.put(OPTIONAL_TRANSITIVE, code, &value)
    }

    fn put_aggregator(&mut self, asn: Asn, id: Ipv4Addr, negotiated: &Negotiated) -> Result<(), EncodeError> {
        if asn == Asn(0) {
            return Err(EncodeError::Value { field: "AGGREGATOR", value: "AS 0 (RFC 7607)".to_owned() });
        }
        let mut value = Vec::with_capacity(8);
        put_as(&mut value, asn, negotiated.four_octet_as);
        value.extend_from_slice(&id.octets());
        self.put(OPTIONAL_TRANSITIVE, AGGREGATOR, &value)
    }
}

/// AS_PATH, if it may be sent.
fn path_octets(path: &AsPath, negotiated: &Negotiated) -> Result<Vec<u8>, EncodeError> {
    let refused = |why: &str| Err(EncodeError::Value { field: "AS_PATH", value: format!("{path}: {why}") });
    if path.0.iter().any(|segment| matches!(segment, Segment::Set(_))) && !negotiated.accept_as_sets {
        return refused("AS_SET is not sent (RFC 9774)");
    }
    if path.contains(Asn(0)) {
        return refused("AS 0 is not sent (RFC 7607)");
    }
    Ok(segments(path, negotiated.four_octet_as))
}

/// Segments, none of more than 255 ASes and none of none: longer sequences are cut.
fn segments(path: &AsPath, four_octets: bool) -> Vec<u8> {
    let mut octets = Vec::new();
    for part in &path.0 {
        let (kind, ases) = match part {
            Segment::Sequence(ases) => (segment::SEQUENCE, ases),
            Segment::Set(ases) => (segment::SET, ases),
        };
        for chunk in ases.chunks(SEGMENT) {
            octets.extend_from_slice(&[kind, chunk.len() as u8]);
            for asn in chunk {
                put_as(&mut octets, *asn, four_octets);
            }
        }
    }
    octets
}

fn put_as(into: &mut Vec<u8>, asn: Asn, four_octets: bool) {
    if four_octets {
        into.extend_from_slice(&asn.0.to_be_bytes());
    } else {
        into.extend_from_slice(&u16::try_from(asn.0).unwrap_or(AS_TRANS).to_be_bytes());
    }
}

/// Does it not fit two octets?
const fn is_large(asn: Asn) -> bool {
    asn.0 > 0xffff
}

/// Sorted and each once.
fn in_order<T: Ord + Clone>(values: &[T]) -> Cow<'_, [T]> {
    if values.is_sorted_by(|a, b| a < b) {
        return Cow::Borrowed(values);
    }
    let mut values = values.to_vec();
    values.sort_unstable();
    values.dedup();
    Cow::Owned(values)
}
