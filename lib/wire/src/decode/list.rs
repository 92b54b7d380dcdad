//! The attribute list of an UPDATE without the MP attributes, and the treatments of RFC 7606.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use model::Asn;
use rustbgpd_wire::attribute::{
    AsPathSegment, PathAttribute, RevisedAttributeDecode, decode_path_attributes_revised, encode_path_attributes,
};
use rustbgpd_wire::validate::{ErrorDisposition, validate_update_attributes};

use super::reachability::is_router;
use crate::{AsPath, AttributeError, Attributes, DecodeError, Negotiated, Origin, RawAttribute, Segment, Treatment};

/// What an attribute list without the MP attributes says.
#[derive(Debug)]
pub(super) struct List {
    pub(super) attributes: Arc<Attributes>,
    has_origin: bool,
    has_as_path: bool,
    next_hop: Option<Ipv4Addr>,
    pub(super) errors: Vec<AttributeError>,
}

impl List {
    pub(super) fn decode(rest: &[u8], negotiated: &Negotiated) -> Result<List, DecodeError> {
        let decoded = decode_path_attributes_revised(rest, negotiated.four_octet_as, negotiated.ibgp, &[])
            .map_err(|error| DecodeError::of(&error))?;
        let mut errors = errors_of(&decoded)?;
        // NEXT_HOP is judged only if the body announces something: beside MP_REACH_NLRI it is ignored (RFC 4760 section 3).
        let (next_hops, others): (Vec<_>, Vec<_>) =
            decoded.attributes.into_iter().partition(|a| matches!(a, PathAttribute::NextHop(_)));
        errors.extend(validated(&others, negotiated)?);
        let next_hop = match next_hops.first() {
            Some(PathAttribute::NextHop(address)) => Some(*address),
            _ => None,
        };
        let mut list = List {
            attributes: Arc::default(),
            has_origin: others.iter().any(|a| matches!(a, PathAttribute::Origin(_))),
            has_as_path: others.iter().any(|a| matches!(a, PathAttribute::AsPath(_))),
            next_hop,
            errors,
        };
        let (attributes, discarded) = attributes_of(others, negotiated.ibgp);
        list.attributes = Arc::new(attributes);
        list.errors.extend(discarded);
        Ok(list)
    }

    /// Mandatory attributes that are not there (RFC 7606 section 3 d).
    pub(super) fn missing(&self) -> impl Iterator<Item = AttributeError> {
        let missing = |code, name, there: bool| (!there).then(|| withdraw(code, format!("{name} is missing")));
        [missing(1, "ORIGIN", self.has_origin), missing(2, "AS_PATH", self.has_as_path)].into_iter().flatten()
    }

    /// Next hop of the prefixes in the body. Mandatory with them on internal sessions as well (RFC 4271 section 5.1.3).
    pub(super) fn next_hop_for(&self, body: bool) -> Result<Option<Ipv4Addr>, AttributeError> {
        if !body {
            return Ok(None);
        }
        let Some(next_hop) = self.next_hop else {
            return Err(withdraw(3, "NEXT_HOP is missing".to_owned()));
        };
        if is_router(IpAddr::V4(next_hop)) {
            Ok(Some(next_hop))
        } else {
            Err(withdraw(3, format!("NEXT_HOP {next_hop} is no address of a router")))
        }
    }
}

fn withdraw(code: u8, what: String) -> AttributeError {
    AttributeError { attribute: Some(code), treatment: Treatment::Withdraw, what }
}

/// What the codec has recovered from, in our words.
fn errors_of(decoded: &RevisedAttributeDecode) -> Result<Vec<AttributeError>, DecodeError> {
    let mut errors = Vec::with_capacity(decoded.malformed.len());
    for malformed in &decoded.malformed {
        let treatment = match malformed.disposition {
            ErrorDisposition::AttributeDiscard => Treatment::Discard,
            ErrorDisposition::TreatAsWithdraw => Treatment::Withdraw,
            ErrorDisposition::SessionReset => return Err(DecodeError::of(&malformed.error)),
        };
        let (_, _, octets) = malformed.error.to_notification();
        let attribute = (malformed.type_code != 0).then_some(malformed.type_code);
        errors.push(AttributeError { attribute, treatment, what: format!("{}{}", malformed.error, hex(&octets)) });
    }
    Ok(errors)
}

/// Checks of values that parse; which attributes have to be there is asked elsewhere, where it is known what the whole
/// UPDATE announces.
fn validated(attributes: &[PathAttribute], negotiated: &Negotiated) -> Result<Option<AttributeError>, DecodeError> {
    let Err(error) = validate_update_attributes(attributes, false, false, !negotiated.ibgp) else {
        return Ok(None);
    };
    let words = match error.subcode {
        2 => "unknown attribute that claims to be well-known",
        8 => "invalid next hop",
        11 => "malformed AS_PATH",
        _ => "malformed attribute list",
    };
    let what = format!("{words}{}", hex(&error.data));
    let attribute = match error.subcode {
        2 => error.data.get(1).copied(),
        8 => Some(14),
        11 => Some(2),
        _ => None,
    };
    match error.disposition {
        ErrorDisposition::AttributeDiscard => {
            Ok(Some(AttributeError { attribute, treatment: Treatment::Discard, what }))
        }
        ErrorDisposition::TreatAsWithdraw => {
            Ok(Some(AttributeError { attribute, treatment: Treatment::Withdraw, what }))
        }
        ErrorDisposition::SessionReset => Err(DecodeError {
            notification: crate::Notification::new(crate::code::UPDATE, error.subcode, Bytes::from(error.data)),
            what,
        }),
    }
}

/// The first octets, for the log: `, octets 40 01 02 00 00`.
fn hex(octets: &[u8]) -> String {
    const MOST: usize = 32;
    let mut text = String::new();
    if octets.is_empty() {
        return text;
    }
    text.push_str(", octets");
    for octet in octets.iter().take(MOST) {
        let _ = write!(text, " {octet:02x}");
    }
    if octets.len() > MOST {
        let _ = write!(text, " and {} more", octets.len() - MOST);
    }
    text
}

/// Attributes in our words. From an external peer LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST are discarded however well
/// they are formed (RFC 7606 sections 7.5, 7.9, 7.10).
fn attributes_of(list: Vec<PathAttribute>, ibgp: bool) -> (Attributes, Vec<AttributeError>) {
    let mut attributes = Attributes::default();
    let mut discarded = Vec::new();
    for attribute in list {
        let code = attribute.type_code();
        if !ibgp && matches!(code, 5 | 9 | 10) {
            let what = "from an external peer".to_owned();
            discarded.push(AttributeError { attribute: Some(code), treatment: Treatment::Discard, what });
            continue;
        }
        match attribute {
            PathAttribute::Origin(origin) => {
                attributes.origin = match origin {
                    rustbgpd_wire::attribute::Origin::Igp => Origin::Igp,
                    rustbgpd_wire::attribute::Origin::Egp => Origin::Egp,
                    rustbgpd_wire::attribute::Origin::Incomplete => Origin::Incomplete,
                }
            }
            PathAttribute::AsPath(path) => attributes.as_path = as_path_of(&path.segments),
            PathAttribute::Med(med) => attributes.med = Some(med),
            PathAttribute::LocalPref(preference) => attributes.local_pref = Some(preference),
            PathAttribute::AtomicAggregate => attributes.atomic_aggregate = true,
            PathAttribute::Aggregator(a) => attributes.aggregator = Some((Asn(a.asn), a.router_id)),
            PathAttribute::Communities(values) | PathAttribute::CommunitiesPartial(values) => {
                attributes.communities = values;
            }
            PathAttribute::ExtendedCommunities(values) | PathAttribute::ExtendedCommunitiesPartial(values) => {
                attributes.ext_communities = values.iter().map(|c| c.as_u64()).collect();
            }
            PathAttribute::LargeCommunities(values) | PathAttribute::LargeCommunitiesPartial(values) => {
                attributes.large_communities =
                    values.iter().map(|c| [c.global_admin, c.local_data1, c.local_data2]).collect();
            }
            PathAttribute::OriginatorId(id) => attributes.originator_id = Some(id),
            PathAttribute::ClusterList(ids) => attributes.cluster_list = ids,
            PathAttribute::OnlyToCustomer(asn) | PathAttribute::OnlyToCustomerPartial(asn) => {
                attributes.only_to_customer = Some(Asn(asn));
            }
            other => attributes.unknown.extend(raw_of(&other)),
        }
    }
    sort(&mut attributes.communities);
    sort(&mut attributes.ext_communities);
    sort(&mut attributes.large_communities);
    attributes.unknown.sort();
    (attributes, discarded)
}

/// Communities are sets: order and repetition mean nothing (RFC 1997, RFC 8092 section 4).
fn sort<T: Ord>(values: &mut Vec<T>) {
    values.sort_unstable();
    values.dedup();
}

fn as_path_of(segments: &[AsPathSegment]) -> AsPath {
    let ases = |numbers: &[u32]| numbers.iter().copied().map(Asn).collect();
    AsPath(
        segments
            .iter()
            .map(|segment| match segment {
                AsPathSegment::AsSequence(numbers) => Segment::Sequence(ases(numbers)),
                AsPathSegment::AsSet(numbers) => Segment::Set(ases(numbers)),
            })
            .collect(),
    )
}

/// An optional transitive attribute as it stands on the wire, with the Partial bit: we pass on what we did not
/// interpret. `None` for any other.
fn raw_of(attribute: &PathAttribute) -> Option<RawAttribute> {
    const OPTIONAL_TRANSITIVE: u8 = 0xc0;
    const PARTIAL: u8 = 0x20;
    const EXTENDED_LENGTH: u8 = 0x10;
    let flags = attribute.flags();
    if flags & OPTIONAL_TRANSITIVE != OPTIONAL_TRANSITIVE {
        return None;
    }
    let value = match attribute {
        PathAttribute::Unknown(raw) => Bytes::copy_from_slice(&raw.data),
        typed => {
            let mut octets = Vec::new();
            encode_path_attributes(std::slice::from_ref(typed), &mut octets, true, false).ok()?;
            let header = if octets.first()? & EXTENDED_LENGTH == 0 { 3 } else { 4 };
            Bytes::copy_from_slice(octets.get(header..)?)
        }
    };
    let extended = if value.len() > 255 { EXTENDED_LENGTH } else { 0 };
    Some(RawAttribute { code: attribute.type_code(), flags: OPTIONAL_TRANSITIVE | PARTIAL | extended, value })
}
