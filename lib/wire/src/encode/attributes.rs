//! The attribute list that prefixes share.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use bytes::Bytes;
use rustbgpd_wire::attribute::{
    Aggregator, AsPathSegment, ExtendedCommunity, LargeCommunity, PathAttribute, encode_path_attributes,
};

use super::{UPDATE_HEADER, limit};
use crate::{Attributes, EncodeError, Negotiated, Origin, Segment};

/// The shared attributes with NEXT_HOP, in the order of their codes.
pub(super) fn encode_attributes(
    attributes: &Attributes,
    next_hop: Option<Ipv4Addr>,
    negotiated: &Negotiated,
) -> Result<Bytes, EncodeError> {
    let mut list = vec![PathAttribute::Origin(match attributes.origin {
        Origin::Igp => rustbgpd_wire::attribute::Origin::Igp,
        Origin::Egp => rustbgpd_wire::attribute::Origin::Egp,
        Origin::Incomplete => rustbgpd_wire::attribute::Origin::Incomplete,
    })];
    list.push(PathAttribute::AsPath(as_path_of(attributes)?));
    list.extend(next_hop.map(PathAttribute::NextHop));
    list.extend(attributes.med.map(PathAttribute::Med));
    list.extend(attributes.local_pref.map(PathAttribute::LocalPref));
    if attributes.atomic_aggregate {
        list.push(PathAttribute::AtomicAggregate);
    }
    list.extend(
        attributes
            .aggregator
            .map(|(asn, router_id)| PathAttribute::Aggregator(Aggregator { asn: asn.0, router_id, partial: false })),
    );
    // An empty list of these is malformed (RFC 7606 sections 7.8, 7.10, 7.14).
    if !attributes.communities.is_empty() {
        list.push(PathAttribute::Communities(in_order(&attributes.communities).into_owned()));
    }
    list.extend(attributes.originator_id.map(PathAttribute::OriginatorId));
    if !attributes.cluster_list.is_empty() {
        list.push(PathAttribute::ClusterList(attributes.cluster_list.clone()));
    }
    if !attributes.ext_communities.is_empty() {
        let values = in_order(&attributes.ext_communities).iter().copied().map(ExtendedCommunity::new).collect();
        list.push(PathAttribute::ExtendedCommunities(values));
    }
    if !attributes.large_communities.is_empty() {
        let values =
            in_order(&attributes.large_communities).iter().map(|[a, b, c]| LargeCommunity::new(*a, *b, *c)).collect();
        list.push(PathAttribute::LargeCommunities(values));
    }
    list.extend(attributes.only_to_customer.map(|asn| PathAttribute::OnlyToCustomer(asn.0)));
    for raw in &attributes.unknown {
        list.push(PathAttribute::Unknown(rustbgpd_wire::attribute::RawAttribute {
            flags: raw.flags,
            type_code: raw.code,
            data: raw.value.clone(),
        }));
    }
    encode_list(&list, negotiated).map(Bytes::from)
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

/// AS_PATH for the codec. A segment holds at most 255 ASes; longer ones are cut.
fn as_path_of(attributes: &Attributes) -> Result<rustbgpd_wire::attribute::AsPath, EncodeError> {
    let mut segments = Vec::with_capacity(attributes.as_path.0.len());
    for segment in &attributes.as_path.0 {
        match segment {
            Segment::Sequence(ases) => {
                segments.extend(
                    ases.chunks(255).map(|part| AsPathSegment::AsSequence(part.iter().map(|asn| asn.0).collect())),
                );
            }
            Segment::Set(_) => {
                let value = format!("{}: AS_SET is not sent (RFC 9774)", attributes.as_path);
                return Err(EncodeError::Value { field: "AS_PATH", value });
            }
        }
    }
    Ok(rustbgpd_wire::attribute::AsPath { segments })
}

/// Encodes a list of attributes; none may be longer than its length field can say.
fn encode_list(list: &[PathAttribute], negotiated: &Negotiated) -> Result<Vec<u8>, EncodeError> {
    let max = limit(negotiated);
    let mut octets = Vec::new();
    for attribute in list {
        let before = octets.len();
        encode_path_attributes(std::slice::from_ref(attribute), &mut octets, negotiated.four_octet_as, false)
            .map_err(|error| of(error, max))?;
        // The codec cuts a longer length to 16 bits.
        if octets.len() - before > usize::from(u16::MAX) {
            return Err(EncodeError::TooLong { size: octets.len() + UPDATE_HEADER, max });
        }
    }
    Ok(octets)
}

fn of(error: rustbgpd_wire::EncodeError, max: usize) -> EncodeError {
    match error {
        rustbgpd_wire::EncodeError::MessageTooLong { size } => EncodeError::TooLong { size, max },
        rustbgpd_wire::EncodeError::ValueOutOfRange { field, value } => EncodeError::Value { field, value },
        other => EncodeError::Value { field: "message", value: other.to_string() },
    }
}
