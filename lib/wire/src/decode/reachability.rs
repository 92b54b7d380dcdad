//! MP_REACH_NLRI and MP_UNREACH_NLRI (RFC 4760) of negotiated families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::Family;

use super::attribute_list::{MpAttribute, unreadable};
use crate::attribute_types::{CLASS, MP_REACH_NLRI, MP_UNREACH_NLRI, OPTIONAL, name};
use crate::nlri::Reader;
use crate::{AttributeError, DecodeError, Negotiated, Treatment};

/// Announced in MP_REACH_NLRI.
pub(super) struct Reach<'a> {
    pub(super) next_hop: IpAddr,
    pub(super) link_local: Option<Ipv6Addr>,
    pub(super) prefixes: Reader<'a>,
}

/// Reads all of MP_REACH_NLRI but its prefixes. What is wrong with it without making them unreadable goes to `errors`.
pub(super) fn reach<'a>(
    attribute: &MpAttribute<'a>,
    negotiated: &Negotiated,
    errors: &mut Vec<AttributeError>,
) -> Result<Reach<'a>, DecodeError> {
    let broken = |why: &str| unreadable(MP_REACH_NLRI, attribute.octets, why);
    let Some((next_hop, rest)) =
        attribute.value.split_first().and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)))
    else {
        return Err(broken("its next hop is cut"));
    };
    let Some((_reserved, nlri)) = rest.split_first() else {
        return Err(broken("it ends behind its next hop"));
    };
    let v6 = attribute.family == Family::V6 || negotiated.extended_next_hop_receive;
    let (next_hop, link_local) = if let (Family::V4, Ok(octets)) = (attribute.family, <[u8; 4]>::try_from(next_hop)) {
        (IpAddr::V4(Ipv4Addr::from(octets)), None)
    } else if let (true, Ok(octets)) = (v6, <[u8; 16]>::try_from(next_hop)) {
        next_hop6(Ipv6Addr::from(octets), None, errors)
    } else if let (true, Some((global, local))) = (v6, halves(next_hop)) {
        next_hop6(global, Some(local), errors)
    } else {
        let octets = next_hop.len();
        let why = format!("next hop of {octets} octets does not go with {}", attribute.family);
        return Err(broken(&why));
    };
    check_flags(MP_REACH_NLRI, attribute, errors);
    if !is_router(next_hop) {
        errors.push(withdraw(MP_REACH_NLRI, format!("next hop {next_hop} is no address of a router")));
    }
    let add_path = negotiated.add_path_receive.contains(&attribute.family);
    Ok(Reach { next_hop, link_local, prefixes: Reader::new(nlri, attribute.family, add_path) })
}

/// The prefixes of MP_UNREACH_NLRI.
pub(super) fn unreach<'a>(
    attribute: &MpAttribute<'a>,
    negotiated: &Negotiated,
    errors: &mut Vec<AttributeError>,
) -> Reader<'a> {
    check_flags(MP_UNREACH_NLRI, attribute, errors);
    Reader::new(attribute.value, attribute.family, negotiated.add_path_receive.contains(&attribute.family))
}

/// A conflict of flags is treated as withdrawn (RFC 7606 section 3 c); the NLRI can be read all the same. The Partial bit
/// is nobody's business.
fn check_flags(code: u8, attribute: &MpAttribute<'_>, errors: &mut Vec<AttributeError>) {
    if attribute.flags & CLASS != OPTIONAL {
        errors.push(withdraw(
            code,
            format!("{} with flags {:#04x}, {OPTIONAL:#04x} expected", name(code), attribute.flags),
        ));
    }
}

fn withdraw(code: u8, what: String) -> AttributeError {
    AttributeError { attribute: Some(code), treatment: Treatment::Withdraw, what }
}

fn halves(octets: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let (global, local) = octets.split_first_chunk::<16>()?;
    Some((Ipv6Addr::from(*global), Ipv6Addr::from(<[u8; 16]>::try_from(local).ok()?)))
}

/// A peer without a global address sends its link-local one alone, twice, or behind an unspecified one; all mean the same.
fn next_hop6(
    global: Ipv6Addr,
    local: Option<Ipv6Addr>,
    errors: &mut Vec<AttributeError>,
) -> (IpAddr, Option<Ipv6Addr>) {
    let mut link_local = local.filter(Ipv6Addr::is_unicast_link_local);
    if let (Some(local), None) = (local, link_local)
        && !local.is_unspecified()
    {
        let what = format!("link-local next hop {local} is none");
        errors.push(AttributeError { attribute: Some(MP_REACH_NLRI), treatment: Treatment::Discard, what });
    }
    let mut next_hop = global;
    if next_hop.is_unspecified() {
        next_hop = link_local.unwrap_or(global);
    }
    if next_hop.is_unicast_link_local() {
        next_hop = link_local.unwrap_or(next_hop);
        link_local = Some(next_hop);
    }
    (IpAddr::V6(next_hop), link_local)
}

/// Can a packet be sent there? Not to "this network", loopback, multicast or the broadcast address (RFC 4271 section 6.3).
pub(super) fn is_router(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            first != 0 && !address.is_loopback() && first < 224
        }
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_loopback() && !address.is_multicast(),
    }
}
