//! From messages to octets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, Bytes, BytesMut};
use model::{Family, Prefix};
use rustbgpd_wire::attribute::{
    Aggregator, AsPathSegment, ExtendedCommunity, LargeCommunity, MpReachNlri, MpUnreachNlri, PathAttribute,
    encode_path_attributes,
};
use rustbgpd_wire::nlri::{Ipv4Prefix, Ipv6Prefix, NlriEntry};
use rustbgpd_wire::{
    Afi, GracefulRestartFamily, NotificationCode, NotificationMessage, OpenMessage, RouteRefreshMessage, Safi,
    UpdateMessage, encode_message_with_limit,
};

use crate::decode::FQDN;
use crate::{
    Announced, Attributes, Capability, EncodeError, HEADER, MAX_MESSAGE, Message, Negotiated, Open, Origin, Segment,
    Update,
};

/// Header of an UPDATE and its two length fields.
const UPDATE_HEADER: usize = HEADER + 4;
/// Flags, code and a two-octet length of an attribute.
const ATTRIBUTE_HEADER: usize = 4;

/// Encodes one message.
///
/// # Errors
/// A value that has no form on the wire; a message longer than the session allows; an [`Update`] whose prefixes do not
/// fit one UPDATE (see [`EncodeError::OneUpdate`]: use [`encode_announce`] and [`encode_withdraw`]).
pub fn encode(message: &Message, negotiated: &Negotiated) -> Result<Bytes, EncodeError> {
    let codec = match message {
        Message::Open(open) => rustbgpd_wire::Message::Open(open_of(open)?),
        Message::Update(update) => return encode_update(update, negotiated),
        Message::Notification(n) => rustbgpd_wire::Message::Notification(NotificationMessage::new(
            NotificationCode::from_u8(n.code),
            n.subcode,
            n.data.clone(),
        )),
        Message::Keepalive => rustbgpd_wire::Message::Keepalive,
        Message::RouteRefresh(refresh) => {
            let Some(family) = refresh.family else {
                return Err(EncodeError::Value { field: "ROUTE-REFRESH", value: "no family".to_owned() });
            };
            let mut message = RouteRefreshMessage::new(afi_of(family), Safi::Unicast);
            message.subtype_raw = refresh.subtype;
            rustbgpd_wire::Message::RouteRefresh(message)
        }
    };
    // RFC 8654 section 3: OPEN stays within 4096.
    let max = if matches!(message, Message::Open(_)) { MAX_MESSAGE as u16 } else { limit(negotiated) };
    encode_message_with_limit(&codec, max).map(BytesMut::freeze).map_err(|error| of(error, usize::from(max)))
}

/// Packs prefixes of one family, with their attributes and next hop, into as few UPDATEs as hold them, in the order
/// given. IPv4 prefixes with an IPv4 next hop go into the body; everything else goes into MP_REACH_NLRI, which comes
/// first in the list (RFC 7606 section 5.1). No prefixes, no messages.
///
/// # Errors
/// Prefixes of both families, or of one that was not negotiated; an IPv6 prefix with an IPv4 next hop; attributes that
/// leave no room for a prefix or have no form on the wire.
pub fn encode_announce(
    prefixes: &[Prefix],
    next_hop: IpAddr,
    link_local: Option<Ipv6Addr>,
    attributes: &Attributes,
    negotiated: &Negotiated,
) -> Result<Vec<Bytes>, EncodeError> {
    let Some(family) = one_family(prefixes, negotiated)? else {
        return Ok(Vec::new());
    };
    let body_next_hop = body_next_hop(family, next_hop, link_local)?;
    let shared = encode_attributes(attributes, body_next_hop, negotiated)?;
    let fixed = shared.len()
        + match body_next_hop {
            Some(_) => 0,
            None => mp_reach_header(next_hop, link_local),
        };
    pack(prefixes, fixed, negotiated, |chunk| match body_next_hop {
        Some(_) => {
            Ok(UpdateMessage { withdrawn_routes: Bytes::new(), path_attributes: shared.clone(), nlri: nlri_of(chunk) })
        }
        None => {
            let mut list = encode_list(&[mp_reach(family, next_hop, link_local, chunk)], negotiated)?;
            list.extend_from_slice(&shared);
            Ok(UpdateMessage { withdrawn_routes: Bytes::new(), path_attributes: list.into(), nlri: Bytes::new() })
        }
    })
}

/// Packs withdrawals of one family into as few UPDATEs as hold them, in the order given: IPv4 in the body, IPv6 in
/// MP_UNREACH_NLRI. No prefixes, no messages.
///
/// # Errors
/// Prefixes of both families, or of one that was not negotiated.
pub fn encode_withdraw(prefixes: &[Prefix], negotiated: &Negotiated) -> Result<Vec<Bytes>, EncodeError> {
    let Some(family) = one_family(prefixes, negotiated)? else {
        return Ok(Vec::new());
    };
    // AFI and SAFI.
    let fixed = if family == Family::V4 { 0 } else { ATTRIBUTE_HEADER + 3 };
    pack(prefixes, fixed, negotiated, |chunk| {
        Ok(if family == Family::V4 {
            UpdateMessage { withdrawn_routes: nlri_of(chunk), path_attributes: Bytes::new(), nlri: Bytes::new() }
        } else {
            let list = encode_list(&[mp_unreach(family, chunk)], negotiated)?;
            UpdateMessage { withdrawn_routes: Bytes::new(), path_attributes: list.into(), nlri: Bytes::new() }
        })
    })
}

/// End-of-RIB (RFC 4724 section 2): an empty UPDATE for IPv4, an empty MP_UNREACH_NLRI for IPv6.
///
/// # Errors
/// The family was not negotiated.
pub fn encode_end_of_rib(family: Family, negotiated: &Negotiated) -> Result<Bytes, EncodeError> {
    check_negotiated(family, negotiated)?;
    let path_attributes = match family {
        Family::V4 => Bytes::new(),
        Family::V6 => encode_list(&[mp_unreach(family, &[])], negotiated)?.into(),
    };
    finish(&UpdateMessage { withdrawn_routes: Bytes::new(), path_attributes, nlri: Bytes::new() }, negotiated)
}

/// All of it in one UPDATE.
fn encode_update(update: &Update, negotiated: &Negotiated) -> Result<Bytes, EncodeError> {
    if let Some(family) = update.end_of_rib {
        if update.withdrawn.is_empty() && update.announced.is_empty() {
            return encode_end_of_rib(family, negotiated);
        }
        return Err(EncodeError::OneUpdate("End-of-RIB and prefixes"));
    }
    for family in update.withdrawn.iter().map(Prefix::family).chain(update.announced.iter().map(|a| a.prefix.family()))
    {
        check_negotiated(family, negotiated)?;
    }
    let (withdrawn4, withdrawn6): (Vec<Prefix>, Vec<Prefix>) =
        update.withdrawn.iter().partition(|prefix| prefix.family() == Family::V4);
    let (body, mp): (Vec<Announced>, Vec<Announced>) =
        update.announced.iter().partition(|a| a.prefix.family() == Family::V4 && a.next_hop.is_ipv4());
    let body = Group::of(&body)?;
    let mp = Group::of(&mp)?;
    let mut list = Vec::new();
    if let Some(group) = &mp {
        body_next_hop(group.family, group.next_hop, group.link_local)?;
        list = encode_list(&[mp_reach(group.family, group.next_hop, group.link_local, &group.prefixes)], negotiated)?;
    }
    if !withdrawn6.is_empty() {
        list.extend(encode_list(&[mp_unreach(Family::V6, &withdrawn6)], negotiated)?);
    }
    let mut nlri = Bytes::new();
    let mut next_hop = None;
    if let Some(group) = &body {
        next_hop = body_next_hop(group.family, group.next_hop, group.link_local)?;
        nlri = nlri_of(&group.prefixes);
    }
    match &update.attributes {
        Some(attributes) if body.is_some() || mp.is_some() => {
            list.extend_from_slice(&encode_attributes(attributes, next_hop, negotiated)?);
        }
        None if body.is_some() || mp.is_some() => {
            return Err(EncodeError::Value { field: "announced prefixes", value: "no attributes".to_owned() });
        }
        _ => {}
    }
    let raw = UpdateMessage { withdrawn_routes: nlri_of(&withdrawn4), path_attributes: list.into(), nlri };
    finish(&raw, negotiated)
}

/// Announced prefixes that share family and next hops.
struct Group {
    family: Family,
    next_hop: IpAddr,
    link_local: Option<Ipv6Addr>,
    prefixes: Vec<Prefix>,
}

impl Group {
    fn of(announced: &[Announced]) -> Result<Option<Group>, EncodeError> {
        let Some(first) = announced.first() else {
            return Ok(None);
        };
        let same = |a: &Announced| {
            a.prefix.family() == first.prefix.family()
                && a.next_hop == first.next_hop
                && a.link_local == first.link_local
        };
        if !announced.iter().all(same) {
            return Err(EncodeError::OneUpdate("prefixes with different next hops or families in MP_REACH_NLRI"));
        }
        Ok(Some(Group {
            family: first.prefix.family(),
            next_hop: first.next_hop,
            link_local: first.link_local,
            prefixes: announced.iter().map(|a| a.prefix).collect(),
        }))
    }
}

/// Cuts `prefixes` so that each message fits, `fixed` octets of attributes included.
fn pack(
    prefixes: &[Prefix],
    fixed: usize,
    negotiated: &Negotiated,
    mut message: impl FnMut(&[Prefix]) -> Result<UpdateMessage, EncodeError>,
) -> Result<Vec<Bytes>, EncodeError> {
    let max = usize::from(limit(negotiated));
    let room = max.saturating_sub(UPDATE_HEADER + fixed);
    let mut messages = Vec::new();
    let mut rest = prefixes;
    while !rest.is_empty() {
        let mut used = 0;
        let fit = rest
            .iter()
            .take_while(|prefix| {
                used += nlri_size(prefix);
                used <= room
            })
            .count();
        if fit == 0 {
            return Err(EncodeError::TooLong { size: UPDATE_HEADER + fixed + used, max });
        }
        let (chunk, behind) = rest.split_at(fit);
        messages.push(finish(&message(chunk)?, negotiated)?);
        rest = behind;
    }
    Ok(messages)
}

fn finish(raw: &UpdateMessage, negotiated: &Negotiated) -> Result<Bytes, EncodeError> {
    let max = limit(negotiated);
    let size = raw.encoded_len();
    if size > usize::from(max) {
        return Err(EncodeError::TooLong { size, max: usize::from(max) });
    }
    let mut octets = BytesMut::with_capacity(size);
    raw.encode_with_limit(&mut octets, max).map_err(|error| of(error, usize::from(max)))?;
    Ok(octets.freeze())
}

/// NEXT_HOP for prefixes that go into the body; `None` for those that go into MP_REACH_NLRI.
fn body_next_hop(
    family: Family,
    next_hop: IpAddr,
    link_local: Option<Ipv6Addr>,
) -> Result<Option<Ipv4Addr>, EncodeError> {
    if let Some(address) = link_local.filter(|address| !address.is_unicast_link_local()) {
        return Err(EncodeError::Value { field: "link-local next hop", value: address.to_string() });
    }
    match (family, next_hop) {
        (Family::V4, IpAddr::V4(address)) => Ok(Some(address)),
        (Family::V6, IpAddr::V4(_)) => Err(EncodeError::NextHop),
        (_, IpAddr::V6(_)) => Ok(None),
    }
}

/// Attribute header, AFI, SAFI, next hop with its length, and the reserved octet.
fn mp_reach_header(next_hop: IpAddr, link_local: Option<Ipv6Addr>) -> usize {
    let next_hop = match (next_hop, link_local) {
        (IpAddr::V4(_), _) => 4,
        (IpAddr::V6(_), None) => 16,
        (IpAddr::V6(_), Some(_)) => 32,
    };
    ATTRIBUTE_HEADER + 2 + 1 + 1 + next_hop + 1
}

fn mp_reach(family: Family, next_hop: IpAddr, link_local: Option<Ipv6Addr>, prefixes: &[Prefix]) -> PathAttribute {
    PathAttribute::MpReachNlri(Box::new(MpReachNlri {
        afi: afi_of(family),
        safi: Safi::Unicast,
        next_hop,
        link_local_next_hop: link_local,
        announced: entries_of(prefixes),
        flowspec_announced: Vec::new(),
        evpn_announced: Vec::new(),
        bgpls_announced: Vec::new(),
        vpn_announced: Vec::new(),
        labeled_announced: Vec::new(),
        rtc_announced: Vec::new(),
    }))
}

fn mp_unreach(family: Family, prefixes: &[Prefix]) -> PathAttribute {
    PathAttribute::MpUnreachNlri(Box::new(MpUnreachNlri {
        afi: afi_of(family),
        safi: Safi::Unicast,
        withdrawn: entries_of(prefixes),
        flowspec_withdrawn: Vec::new(),
        evpn_withdrawn: Vec::new(),
        bgpls_withdrawn: Vec::new(),
        vpn_withdrawn: Vec::new(),
        labeled_withdrawn: Vec::new(),
        rtc_withdrawn: Vec::new(),
    }))
}

fn entries_of(prefixes: &[Prefix]) -> Vec<NlriEntry> {
    prefixes
        .iter()
        .map(|prefix| NlriEntry {
            path_id: 0,
            prefix: match prefix.address() {
                IpAddr::V4(address) => rustbgpd_wire::Prefix::V4(Ipv4Prefix::new(address, prefix.len())),
                IpAddr::V6(address) => rustbgpd_wire::Prefix::V6(Ipv6Prefix::new(address, prefix.len())),
            },
        })
        .collect()
}

/// Octets of a prefix in NLRI: its length, and as much of the address as that covers (RFC 4271 section 4.3).
fn nlri_size(prefix: &Prefix) -> usize {
    1 + usize::from(prefix.len().div_ceil(8))
}

/// NLRI of the body.
fn nlri_of(prefixes: &[Prefix]) -> Bytes {
    let mut nlri = BytesMut::with_capacity(prefixes.iter().map(nlri_size).sum());
    for prefix in prefixes {
        nlri.put_u8(prefix.len());
        let used = nlri_size(prefix) - 1;
        match prefix.address() {
            IpAddr::V4(address) => nlri.put_slice(&address.octets()[..used]),
            IpAddr::V6(address) => nlri.put_slice(&address.octets()[..used]),
        }
    }
    nlri.freeze()
}

/// The shared attributes with NEXT_HOP, in the order of their codes.
fn encode_attributes(
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
        list.push(PathAttribute::Communities(attributes.communities.clone()));
    }
    list.extend(attributes.originator_id.map(PathAttribute::OriginatorId));
    if !attributes.cluster_list.is_empty() {
        list.push(PathAttribute::ClusterList(attributes.cluster_list.clone()));
    }
    if !attributes.ext_communities.is_empty() {
        let values = attributes.ext_communities.iter().copied().map(ExtendedCommunity::new).collect();
        list.push(PathAttribute::ExtendedCommunities(values));
    }
    if !attributes.large_communities.is_empty() {
        let values = attributes.large_communities.iter().map(|[a, b, c]| LargeCommunity::new(*a, *b, *c)).collect();
        list.push(PathAttribute::LargeCommunities(values));
    }
    for raw in &attributes.unknown {
        list.push(PathAttribute::Unknown(rustbgpd_wire::attribute::RawAttribute {
            flags: raw.flags,
            type_code: raw.code,
            data: raw.value.clone(),
        }));
    }
    encode_list(&list, negotiated).map(Bytes::from)
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
    let max = usize::from(limit(negotiated));
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

fn one_family(prefixes: &[Prefix], negotiated: &Negotiated) -> Result<Option<Family>, EncodeError> {
    let Some(family) = prefixes.first().map(Prefix::family) else {
        return Ok(None);
    };
    if prefixes.iter().any(|prefix| prefix.family() != family) {
        return Err(EncodeError::MixedFamilies);
    }
    check_negotiated(family, negotiated)?;
    Ok(Some(family))
}

fn check_negotiated(family: Family, negotiated: &Negotiated) -> Result<(), EncodeError> {
    if negotiated.families.contains(&family) { Ok(()) } else { Err(EncodeError::NotNegotiated(family)) }
}

fn open_of(open: &Open) -> Result<OpenMessage, EncodeError> {
    // RFC 6793 section 4.2.2: a number that does not fit goes into capability 65, AS_TRANS into the field.
    let two_octets = u16::try_from(open.asn.0).ok();
    let capability = open.capabilities.iter().find_map(|c| match c {
        Capability::FourOctetAs(asn) => Some(*asn),
        _ => None,
    });
    if capability.unwrap_or(u32::from(two_octets.unwrap_or(0))) != open.asn.0 {
        return Err(EncodeError::Value {
            field: "AS number of OPEN",
            value: format!("{} needs capability 65 with the same number", open.asn),
        });
    }
    Ok(OpenMessage {
        version: 4,
        my_as: two_octets.unwrap_or(rustbgpd_wire::constants::AS_TRANS),
        hold_time: open.hold_time,
        bgp_identifier: open.router_id,
        capabilities: open.capabilities.iter().map(capability_of).collect::<Result<_, _>>()?,
    })
}

fn capability_of(capability: &Capability) -> Result<rustbgpd_wire::Capability, EncodeError> {
    use rustbgpd_wire::Capability as Codec;
    Ok(match capability {
        Capability::MultiProtocol(family) => Codec::MultiProtocol { afi: afi_of(*family), safi: Safi::Unicast },
        Capability::RouteRefresh => Codec::RouteRefresh,
        Capability::ExtendedMessage => Codec::ExtendedMessage,
        Capability::EnhancedRouteRefresh => Codec::EnhancedRouteRefresh,
        Capability::FourOctetAs(asn) => Codec::FourOctetAs { asn: *asn },
        Capability::GracefulRestart { restarting, notification, restart_time, families } => {
            if *restart_time > 0xfff {
                return Err(EncodeError::Value { field: "restart time", value: restart_time.to_string() });
            }
            Codec::GracefulRestart {
                restart_state: *restarting,
                notification: *notification,
                restart_time: *restart_time,
                families: families
                    .iter()
                    .map(|(family, forwarding_preserved)| GracefulRestartFamily {
                        afi: afi_of(*family),
                        safi: Safi::Unicast,
                        forwarding_preserved: *forwarding_preserved,
                    })
                    .collect(),
            }
        }
        Capability::Fqdn { hostname, domain } => {
            let mut data = BytesMut::new();
            for name in [hostname, domain] {
                let length = u8::try_from(name.len())
                    .map_err(|_| EncodeError::Value { field: "name in capability 73", value: name.clone() })?;
                data.put_u8(length);
                data.put_slice(name.as_bytes());
            }
            Codec::Unknown { code: FQDN, data: data.freeze() }
        }
        Capability::Other { code, value } => Codec::Unknown { code: *code, data: value.clone() },
    })
}

const fn afi_of(family: Family) -> Afi {
    match family {
        Family::V4 => Afi::Ipv4,
        Family::V6 => Afi::Ipv6,
    }
}

/// Longest message of the session; the length field has 16 bits.
fn limit(negotiated: &Negotiated) -> u16 {
    u16::try_from(negotiated.max_message).unwrap_or(u16::MAX)
}

fn of(error: rustbgpd_wire::EncodeError, max: usize) -> EncodeError {
    match error {
        rustbgpd_wire::EncodeError::MessageTooLong { size } => EncodeError::TooLong { size, max },
        rustbgpd_wire::EncodeError::ValueOutOfRange { field, value } => EncodeError::Value { field, value },
        other => EncodeError::Value { field: "message", value: other.to_string() },
    }
}
