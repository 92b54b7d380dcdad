//! From messages to octets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, Bytes};
use model::{Family, Prefix};

mod attributes;

use attributes::encode_attributes;

use crate::attribute_types::{MP_REACH_NLRI, MP_UNREACH_NLRI};
use crate::family_codes::{UNICAST, afi_of};
use crate::frame::{begin, kind};
use crate::{
    Announced, Attributes, EncodeError, HEADER, Message, Negotiated, RouteRefresh, Update, Withdrawn, nlri,
    open_message,
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
    let max = negotiated.max_message;
    match message {
        Message::Open(open) => open_message::encode(open),
        Message::Update(update) => encode_update(update, negotiated),
        Message::Notification(n) => {
            let mut octets = begin(kind::NOTIFICATION, 2 + n.data.len(), max)?;
            octets.put_slice(&[n.code, n.subcode]);
            octets.put_slice(&n.data);
            Ok(octets.freeze())
        }
        Message::Keepalive => Ok(begin(kind::KEEPALIVE, 0, max)?.freeze()),
        Message::RouteRefresh(refresh) => encode_route_refresh(refresh, max),
    }
}

fn encode_route_refresh(refresh: &RouteRefresh, max: usize) -> Result<Bytes, EncodeError> {
    let Some(family) = refresh.family else {
        return Err(EncodeError::Value { field: "ROUTE-REFRESH", value: "no family".to_owned() });
    };
    let mut octets = begin(kind::ROUTE_REFRESH, 4, max)?;
    octets.put_u16(afi_of(family));
    octets.put_slice(&[refresh.subtype, UNICAST]);
    Ok(octets.freeze())
}

/// Packs prefixes of one family, each with its path identifier (0 and not sent without add-path), with their attributes
/// and next hop, into as few UPDATEs as hold them, in the order given. IPv4 prefixes with an IPv4 next hop go into the
/// body; everything else goes into MP_REACH_NLRI, which comes first in the list (RFC 7606 section 5.1). No prefixes, no
/// messages.
///
/// # Errors
/// Prefixes of both families, or of one that was not negotiated; an IPv6 prefix with an IPv4 next hop, or an IPv4 prefix
/// with an IPv6 one that was not negotiated (RFC 8950); attributes that leave no room for a prefix or have no form on
/// the wire.
pub fn encode_announce(
    prefixes: &[(Prefix, u32)],
    next_hop: IpAddr,
    link_local: Option<Ipv6Addr>,
    attributes: &Attributes,
    negotiated: &Negotiated,
) -> Result<Vec<Bytes>, EncodeError> {
    let Some(family) = one_family(prefixes, negotiated)? else {
        return Ok(Vec::new());
    };
    let hop = NextHop::of(family, next_hop, link_local, negotiated)?;
    let shared = encode_attributes(attributes, hop.body(), negotiated)?;
    let add_path = negotiated.add_path_send.contains(&family);
    let fixed = shared.len() + hop.mp_reach_size();
    pack(prefixes, add_path, fixed, negotiated, |chunk| match hop {
        NextHop::Body(_) => compose(&[], &[&shared], chunk, negotiated),
        NextHop::MpReach { .. } => compose(&[], &[&hop.mp_reach(family, chunk)?, &shared], &[], negotiated),
    })
}

/// Packs withdrawals of one family, each with its path identifier (0 and not sent without add-path), into as few UPDATEs
/// as hold them, in the order given: IPv4 in the body, IPv6 in MP_UNREACH_NLRI. No prefixes, no messages.
///
/// # Errors
/// Prefixes of both families, or of one that was not negotiated.
pub fn encode_withdraw(prefixes: &[(Prefix, u32)], negotiated: &Negotiated) -> Result<Vec<Bytes>, EncodeError> {
    let Some(family) = one_family(prefixes, negotiated)? else {
        return Ok(Vec::new());
    };
    let add_path = negotiated.add_path_send.contains(&family);
    // AFI and SAFI.
    let fixed = if family == Family::V4 { 0 } else { ATTRIBUTE_HEADER + 3 };
    pack(prefixes, add_path, fixed, negotiated, |chunk| match family {
        Family::V4 => compose(chunk, &[], &[], negotiated),
        Family::V6 => compose(&[], &[&mp_unreach(family, chunk)?], &[], negotiated),
    })
}

/// End-of-RIB (RFC 4724 section 2): an empty UPDATE for IPv4, an empty MP_UNREACH_NLRI for IPv6.
///
/// # Errors
/// The family was not negotiated.
pub fn encode_end_of_rib(family: Family, negotiated: &Negotiated) -> Result<Bytes, EncodeError> {
    check_negotiated(family, negotiated)?;
    match family {
        Family::V4 => compose(&[], &[], &[], negotiated),
        Family::V6 => compose(&[], &[&mp_unreach(family, &[])?], &[], negotiated),
    }
}

/// All of it in one UPDATE.
fn encode_update(update: &Update, negotiated: &Negotiated) -> Result<Bytes, EncodeError> {
    if let Some(family) = update.end_of_rib {
        if update.withdrawn.is_empty() && update.announced.is_empty() {
            return encode_end_of_rib(family, negotiated);
        }
        return Err(EncodeError::OneUpdate("End-of-RIB and prefixes"));
    }
    let withdrawn_families = update.withdrawn.iter().map(|w| w.prefix.family());
    for family in withdrawn_families.chain(update.announced.iter().map(|a| a.prefix.family())) {
        check_negotiated(family, negotiated)?;
    }
    let add_path = |family| negotiated.add_path_send.contains(&family);
    let path = |w: &Withdrawn| (w.prefix, w.path_id);
    let (withdrawn4, withdrawn6): (Vec<_>, Vec<_>) =
        update.withdrawn.iter().map(path).partition(|(prefix, _)| prefix.family() == Family::V4);
    let (body, mp): (Vec<Announced>, Vec<Announced>) =
        update.announced.iter().partition(|a| a.prefix.family() == Family::V4 && a.next_hop.is_ipv4());
    let body = Group::of(&body, negotiated)?;
    let mp = Group::of(&mp, negotiated)?;
    let mut list = Vec::new();
    if let Some(group) = &mp {
        list = group.hop.mp_reach(group.family, &nlri::list(&group.prefixes, add_path(group.family)))?;
    }
    if !withdrawn6.is_empty() {
        list.extend(mp_unreach(Family::V6, &nlri::list(&withdrawn6, add_path(Family::V6)))?);
    }
    if body.is_some() || mp.is_some() {
        let Some(attributes) = &update.attributes else {
            return Err(EncodeError::Value { field: "announced prefixes", value: "no attributes".to_owned() });
        };
        let next_hop = body.as_ref().and_then(|group| group.hop.body());
        list.extend_from_slice(&encode_attributes(attributes, next_hop, negotiated)?);
    }
    let announced4 = body.map(|group| nlri::list(&group.prefixes, add_path(Family::V4))).unwrap_or_default();
    compose(&nlri::list(&withdrawn4, add_path(Family::V4)), &[&list], &announced4, negotiated)
}

/// Announced prefixes that share family and next hops.
struct Group {
    family: Family,
    hop: NextHop,
    prefixes: Vec<(Prefix, u32)>,
}

impl Group {
    fn of(announced: &[Announced], negotiated: &Negotiated) -> Result<Option<Group>, EncodeError> {
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
        let family = first.prefix.family();
        Ok(Some(Group {
            family,
            hop: NextHop::of(family, first.next_hop, first.link_local, negotiated)?,
            prefixes: announced.iter().map(|a| (a.prefix, a.path_id)).collect(),
        }))
    }
}

/// Cuts `prefixes` so that each message fits, `fixed` octets of attributes included, and gives the NLRI of each to
/// `message`.
fn pack(
    prefixes: &[(Prefix, u32)],
    add_path: bool,
    fixed: usize,
    negotiated: &Negotiated,
    mut message: impl FnMut(&[u8]) -> Result<Bytes, EncodeError>,
) -> Result<Vec<Bytes>, EncodeError> {
    let max = limit(negotiated);
    let room = max.saturating_sub(UPDATE_HEADER + fixed);
    let mut messages = Vec::new();
    let mut chunk = Vec::new();
    for (prefix, path_id) in prefixes {
        let size = nlri::size(prefix, add_path);
        if size > room {
            return Err(EncodeError::TooLong { size: UPDATE_HEADER + fixed + size, max });
        }
        if chunk.len() + size > room {
            messages.push(message(&chunk)?);
            chunk.clear();
        }
        nlri::put(&mut chunk, prefix, *path_id, add_path);
    }
    if !chunk.is_empty() {
        messages.push(message(&chunk)?);
    }
    Ok(messages)
}

/// An UPDATE of its sections; the attributes in pieces.
fn compose(withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8], negotiated: &Negotiated) -> Result<Bytes, EncodeError> {
    let list: usize = attributes.iter().map(|piece| piece.len()).sum();
    let mut octets = begin(kind::UPDATE, 4 + withdrawn.len() + list + nlri.len(), negotiated.max_message)?;
    // Both fit, as the message does.
    octets.put_u16(withdrawn.len() as u16);
    octets.put_slice(withdrawn);
    octets.put_u16(list as u16);
    for piece in attributes {
        octets.put_slice(piece);
    }
    octets.put_slice(nlri);
    Ok(octets.freeze())
}

/// Where the next hop of a group stands.
#[derive(Clone, Copy)]
enum NextHop {
    /// In NEXT_HOP, and the prefixes in the body.
    Body(Ipv4Addr),
    /// In MP_REACH_NLRI, with the prefixes.
    MpReach { global: Ipv6Addr, link_local: Option<Ipv6Addr> },
}

impl NextHop {
    fn of(
        family: Family,
        next_hop: IpAddr,
        link_local: Option<Ipv6Addr>,
        negotiated: &Negotiated,
    ) -> Result<NextHop, EncodeError> {
        if let Some(address) = link_local.filter(|address| !address.is_unicast_link_local()) {
            return Err(EncodeError::Value { field: "link-local next hop", value: address.to_string() });
        }
        match (family, next_hop) {
            (Family::V4, IpAddr::V4(address)) => Ok(NextHop::Body(address)),
            (Family::V6, IpAddr::V4(_)) => Err(EncodeError::NextHop),
            (Family::V4, IpAddr::V6(_)) if !negotiated.extended_next_hop_send => Err(EncodeError::ExtendedNextHop),
            // Without a global address, the link-local one stands in both places: that is what most others read.
            (_, IpAddr::V6(global)) => {
                let link_local = link_local.or(Some(global).filter(Ipv6Addr::is_unicast_link_local));
                Ok(NextHop::MpReach { global, link_local })
            }
        }
    }

    const fn body(self) -> Option<Ipv4Addr> {
        match self {
            NextHop::Body(address) => Some(address),
            NextHop::MpReach { .. } => None,
        }
    }

    /// Octets of MP_REACH_NLRI without its prefixes: header, AFI, SAFI, next hop with its length, and the reserved octet.
    const fn mp_reach_size(self) -> usize {
        match self {
            NextHop::Body(_) => 0,
            NextHop::MpReach { link_local: None, .. } => ATTRIBUTE_HEADER + 2 + 1 + 1 + 16 + 1,
            NextHop::MpReach { link_local: Some(_), .. } => ATTRIBUTE_HEADER + 2 + 1 + 1 + 32 + 1,
        }
    }

    fn mp_reach(self, family: Family, nlri: &[u8]) -> Result<Vec<u8>, EncodeError> {
        let NextHop::MpReach { global, link_local } = self else {
            return Ok(Vec::new());
        };
        let mut head = [0; 5 + 32];
        let afi = afi_of(family).to_be_bytes();
        let used = if link_local.is_some() { 32 } else { 16 };
        head[..4].copy_from_slice(&[afi[0], afi[1], UNICAST, used]);
        head[4..20].copy_from_slice(&global.octets());
        if let Some(address) = link_local {
            head[20..36].copy_from_slice(&address.octets());
        }
        // The reserved octet is the zero behind the next hop.
        mp_attribute(MP_REACH_NLRI, &head[..5 + usize::from(used)], nlri)
    }
}

fn mp_unreach(family: Family, nlri: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let afi = afi_of(family).to_be_bytes();
    mp_attribute(MP_UNREACH_NLRI, &[afi[0], afi[1], UNICAST], nlri)
}

/// An optional non-transitive attribute, its length in one octet if that will do.
fn mp_attribute(code: u8, head: &[u8], nlri: &[u8]) -> Result<Vec<u8>, EncodeError> {
    let length = head.len() + nlri.len();
    let mut octets = Vec::with_capacity(ATTRIBUTE_HEADER + length);
    if let Ok(short) = u8::try_from(length) {
        octets.extend_from_slice(&[0x80, code, short]);
    } else {
        let too_long = |_| EncodeError::TooLong { size: UPDATE_HEADER + length, max: crate::MAX_EXTENDED_MESSAGE };
        let [high, low] = u16::try_from(length).map_err(too_long)?.to_be_bytes();
        octets.extend_from_slice(&[0x90, code, high, low]);
    }
    octets.extend_from_slice(head);
    octets.extend_from_slice(nlri);
    Ok(octets)
}

fn one_family(prefixes: &[(Prefix, u32)], negotiated: &Negotiated) -> Result<Option<Family>, EncodeError> {
    let Some(family) = prefixes.first().map(|(prefix, _)| prefix.family()) else {
        return Ok(None);
    };
    if prefixes.iter().any(|(prefix, _)| prefix.family() != family) {
        return Err(EncodeError::MixedFamilies);
    }
    check_negotiated(family, negotiated)?;
    Ok(Some(family))
}

fn check_negotiated(family: Family, negotiated: &Negotiated) -> Result<(), EncodeError> {
    if negotiated.families.contains(&family) { Ok(()) } else { Err(EncodeError::NotNegotiated(family)) }
}

/// Longest message of the session; the length field has 16 bits.
fn limit(negotiated: &Negotiated) -> usize {
    negotiated.max_message.min(crate::MAX_EXTENDED_MESSAGE)
}
