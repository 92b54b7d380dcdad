//! UPDATE: attributes, reachability, and the treatments of RFC 7606.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bytes::Bytes;
use ipnet::{Ipv4Net, Ipv6Net};
use model::{Asn, Family, Prefix};
use rustbgpd_wire::UpdateMessage;
use rustbgpd_wire::attribute::{
    AsPathSegment, MpReachNlri, MpUnreachNlri, PathAttribute, RevisedAttributeDecode, decode_path_attributes_revised,
    encode_path_attributes,
};
use rustbgpd_wire::nlri::decode_nlri;
use rustbgpd_wire::validate::{ErrorDisposition, validate_update_attributes};

use super::attribute_list::{Parts, split};
use super::{decode_with, family_of};
use crate::{
    Announced, AsPath, AttributeError, Attributes, DecodeError, Message, Negotiated, Origin, RawAttribute, Segment,
    Treatment, Update,
};

/// Decodes the messages of one session and remembers attributes: a table arrives as many UPDATEs with few different
/// attribute lists. Equal lists share one [`Attributes`].
#[derive(Debug)]
pub struct Decoder {
    /// Attribute lists without an error, keyed by their octets.
    known: BTreeMap<Bytes, Arc<List>>,
    /// Octets of all keys.
    octets: usize,
    /// All keys together may have so many octets; when more come the memory starts afresh.
    most_octets: usize,
    /// What the lists were decoded for: four-octet AS numbers, internal peer.
    for_session: (bool, bool),
}

impl Default for Decoder {
    fn default() -> Decoder {
        // For some 5,000 lists of the usual length; 200 peers that fill it cost 50 MiB and the attributes.
        Decoder { most_octets: 256 * 1024, ..Decoder::forgetful() }
    }
}

impl Decoder {
    /// One that remembers nothing, for a single message.
    pub(super) const fn forgetful() -> Decoder {
        Decoder { known: BTreeMap::new(), octets: 0, most_octets: 0, for_session: (false, false) }
    }

    /// Same as [`decode`](crate::decode), with memory. A change of `negotiated` is noticed.
    ///
    /// # Errors
    /// As [`decode`](crate::decode).
    pub fn decode(&mut self, message: &[u8], negotiated: &Negotiated) -> Result<Message, DecodeError> {
        decode_with(message, negotiated, |raw| self.decode_update(raw, negotiated))
    }

    fn decode_update(&mut self, raw: &UpdateMessage, negotiated: &Negotiated) -> Result<Update, DecodeError> {
        let body = negotiated.families.contains(&Family::V4);
        if raw.withdrawn_routes.is_empty() && raw.path_attributes.is_empty() && raw.nlri.is_empty() {
            return Ok(Update { end_of_rib: body.then_some(Family::V4), ..Update::default() });
        }
        let mut update = Update::default();
        let mut body_announced = Vec::new();
        if body {
            update.withdrawn = body_prefixes(&raw.withdrawn_routes)?;
            body_announced = body_prefixes(&raw.nlri)?;
        }
        let Parts { rest, reachability } = split(&raw.path_attributes, &negotiated.families);
        let list = self.list(&rest, negotiated)?;
        let mp = Reachability::decode(&reachability, negotiated)?;
        if rest.is_empty() && body_announced.is_empty() && update.withdrawn.is_empty() {
            // Nothing but an empty MP_UNREACH_NLRI. With any other attribute beside it, it says nothing at all.
            update.end_of_rib = mp.end_of_rib();
            if update.end_of_rib.is_some() {
                return Ok(update);
            }
        }

        update.errors.extend(list.errors.iter().cloned());
        update.errors.extend(mp.errors);
        if !body_announced.is_empty() || mp.reach.is_some() {
            update.errors.extend(list.missing());
        }
        match list.next_hop_for(!body_announced.is_empty()) {
            Ok(Some(next_hop)) => announce(&mut update.announced, body_announced, IpAddr::V4(next_hop), None),
            // Only with nothing announced in the body.
            Ok(None) => {}
            Err(error) => {
                update.errors.push(error);
                update.withdrawn.extend(body_announced);
            }
        }
        if let Some(unreach) = mp.unreach {
            update.withdrawn.extend(unreach.withdrawn.iter().map(|entry| prefix_of(&entry.prefix)));
        }
        if let Some(reach) = mp.reach {
            let prefixes = reach.announced.iter().map(|entry| prefix_of(&entry.prefix));
            announce(&mut update.announced, prefixes, reach.next_hop, reach.link_local_next_hop);
        }
        settle(&mut update, &list.attributes);
        Ok(update)
    }

    /// Decodes a list without MP attributes, or finds it again.
    fn list(&mut self, rest: &Bytes, negotiated: &Negotiated) -> Result<Arc<List>, DecodeError> {
        let for_session = (negotiated.four_octet_as, negotiated.ibgp);
        if self.for_session != for_session {
            self.known.clear();
            self.octets = 0;
            self.for_session = for_session;
        }
        if let Some(list) = self.known.get(rest.as_ref()) {
            return Ok(Arc::clone(list));
        }
        let list = Arc::new(List::decode(rest, negotiated)?);
        if list.errors.is_empty() && rest.len() <= self.most_octets {
            if self.octets + rest.len() > self.most_octets {
                self.known.clear();
                self.octets = 0;
            }
            self.octets += rest.len();
            // A copy: a slice would keep the whole message.
            self.known.insert(Bytes::copy_from_slice(rest), Arc::clone(&list));
        }
        Ok(list)
    }
}

/// Applies the strongest treatment, drops martians, and sees to it that no prefix stands on both sides.
fn settle(update: &mut Update, attributes: &Arc<Attributes>) {
    if let Some(error) = drop_martians(&mut update.announced) {
        update.errors.push(error);
    }
    update.treatment = update.errors.iter().map(|error| error.treatment).max();
    if update.treatment >= Some(Treatment::Withdraw) {
        update.withdrawn.extend(update.announced.drain(..).map(|announced| announced.prefix));
    }
    if !update.withdrawn.is_empty() && !update.announced.is_empty() {
        // Announced in the same message wins (RFC 4271 section 4.3).
        let announced: BTreeSet<Prefix> = update.announced.iter().map(|announced| announced.prefix).collect();
        update.withdrawn.retain(|prefix| !announced.contains(prefix));
    }
    if !update.announced.is_empty() {
        update.attributes = Some(Arc::clone(attributes));
    }
}

fn announce(
    announced: &mut Vec<Announced>,
    prefixes: impl IntoIterator<Item = Prefix>,
    next_hop: IpAddr,
    link_local: Option<Ipv6Addr>,
) {
    announced.extend(prefixes.into_iter().map(|prefix| Announced { prefix, next_hop, link_local }));
}

fn body_prefixes(nlri: &[u8]) -> Result<Vec<Prefix>, DecodeError> {
    let prefixes = decode_nlri(nlri).map_err(|error| DecodeError::of(&error, &[]))?;
    Ok(prefixes.iter().map(|p| prefix_of(&rustbgpd_wire::Prefix::V4(*p))).collect())
}

/// Bits behind the length are irrelevant (RFC 4271 section 4.3) and cleared.
fn prefix_of(prefix: &rustbgpd_wire::Prefix) -> Prefix {
    match prefix {
        // The codec refuses lengths past the family's.
        rustbgpd_wire::Prefix::V4(p) => Prefix::from(Ipv4Net::new(p.addr, p.len).unwrap_or_default()),
        rustbgpd_wire::Prefix::V6(p) => Prefix::from(Ipv6Net::new(p.addr, p.len).unwrap_or_default()),
    }
}

/// What an attribute list without the MP attributes says.
#[derive(Debug)]
struct List {
    attributes: Arc<Attributes>,
    has_origin: bool,
    has_as_path: bool,
    next_hop: Option<Ipv4Addr>,
    errors: Vec<AttributeError>,
}

impl List {
    fn decode(rest: &[u8], negotiated: &Negotiated) -> Result<List, DecodeError> {
        let decoded = decode_path_attributes_revised(rest, negotiated.four_octet_as, negotiated.ibgp, &[])
            .map_err(|error| DecodeError::of(&error, &[]))?;
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
    fn missing(&self) -> impl Iterator<Item = AttributeError> {
        let missing = |code, name, there: bool| (!there).then(|| withdraw(code, format!("{name} is missing")));
        [missing(1, "ORIGIN", self.has_origin), missing(2, "AS_PATH", self.has_as_path)].into_iter().flatten()
    }

    /// Next hop of the prefixes in the body. Mandatory with them on internal sessions as well (RFC 4271 section 5.1.3).
    fn next_hop_for(&self, body: bool) -> Result<Option<Ipv4Addr>, AttributeError> {
        if !body {
            return Ok(None);
        }
        let Some(next_hop) = self.next_hop else {
            return Err(withdraw(3, "NEXT_HOP is missing".to_owned()));
        };
        // The last argument only matters for presence, which is not asked about here.
        match validate_update_attributes(&[PathAttribute::NextHop(next_hop)], false, false, false) {
            Ok(()) => Ok(Some(next_hop)),
            Err(_) => Err(withdraw(3, format!("NEXT_HOP {next_hop} is no address of a router"))),
        }
    }
}

fn withdraw(code: u8, what: String) -> AttributeError {
    AttributeError { attribute: Some(code), treatment: Treatment::Withdraw, what }
}

/// The MP attributes of negotiated families.
#[derive(Default)]
struct Reachability {
    reach: Option<MpReachNlri>,
    unreach: Option<MpUnreachNlri>,
    errors: Vec<AttributeError>,
}

impl Reachability {
    fn decode(list: &[u8], negotiated: &Negotiated) -> Result<Reachability, DecodeError> {
        if list.is_empty() {
            return Ok(Reachability::default());
        }
        let decoded = decode_path_attributes_revised(list, negotiated.four_octet_as, negotiated.ibgp, &[])
            .map_err(|error| DecodeError::of(&error, &[]))?;
        let mut reachability = Reachability { errors: errors_of(&decoded)?, ..Reachability::default() };
        reachability.errors.extend(validated(&decoded.attributes, negotiated)?);
        for attribute in decoded.attributes {
            match attribute {
                PathAttribute::MpReachNlri(reach) => reachability.reach = Some(*reach),
                PathAttribute::MpUnreachNlri(unreach) => reachability.unreach = Some(*unreach),
                _ => {}
            }
        }
        Ok(reachability)
    }

    /// The family whose End-of-RIB this is, if nothing else is in the UPDATE.
    fn end_of_rib(&self) -> Option<Family> {
        let unreach = self.unreach.as_ref().filter(|unreach| unreach.withdrawn.is_empty())?;
        if self.reach.is_some() || !self.errors.is_empty() {
            return None;
        }
        family_of(unreach.afi, unreach.safi)
    }
}

/// What the codec has recovered from, in our words.
fn errors_of(decoded: &RevisedAttributeDecode) -> Result<Vec<AttributeError>, DecodeError> {
    let mut errors = Vec::with_capacity(decoded.malformed.len());
    for malformed in &decoded.malformed {
        let treatment = match malformed.disposition {
            ErrorDisposition::AttributeDiscard => Treatment::Discard,
            ErrorDisposition::TreatAsWithdraw => Treatment::Withdraw,
            ErrorDisposition::SessionReset => return Err(DecodeError::of(&malformed.error, &[])),
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
            other => attributes.unknown.extend(raw_of(&other)),
        }
    }
    attributes.unknown.sort();
    (attributes, discarded)
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

/// Takes out prefixes that no router can announce in earnest, and says which.
fn drop_martians(announced: &mut Vec<Announced>) -> Option<AttributeError> {
    const NAMED: usize = 5;
    let mut dropped = 0;
    let mut names = String::new();
    announced.retain(|a| {
        if !is_martian(&a.prefix) {
            return true;
        }
        dropped += 1;
        if dropped <= NAMED {
            let _ = write!(names, " {}", a.prefix);
        }
        false
    });
    if dropped == 0 {
        return None;
    }
    let more = if dropped > NAMED { format!(" and {} more", dropped - NAMED) } else { String::new() };
    let what = format!("martian prefixes:{names}{more}");
    Some(AttributeError { attribute: None, treatment: Treatment::Discard, what })
}

/// Inside "this network", loopback, link-local, multicast, reserved or IPv4-mapped space (RFC 6890, RFC 5735). A default
/// route is none: whether to take it is a question of policy.
fn is_martian(prefix: &Prefix) -> bool {
    let len = prefix.len();
    match prefix.address() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            let inside = |first: bool, least: u8| first && len >= least;
            inside(a == 0, 8) || inside(a == 127, 8) || inside(a == 169 && b == 254, 16) || inside(a >= 224, 3)
        }
        IpAddr::V6(address) => {
            let [a, b, ..] = address.octets();
            (a == 0xff && len >= 8)
                || (a == 0xfe && b & 0xc0 == 0x80 && len >= 10)
                // ::, ::1, IPv4-compatible and IPv4-mapped: everything in ::/64 as far as addresses of hosts go.
                || (address.segments()[..5] == [0; 5] && len >= 80)
        }
    }
}
