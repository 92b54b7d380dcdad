//! The attribute list before it is parsed: what is reachability of a family that was negotiated, and what is the rest.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;
use model::Family;

use crate::attribute_types::{EXTENDED_LENGTH, MP_REACH_NLRI, MP_UNREACH_NLRI, name};
use crate::family_codes::family_of;
use crate::{DecodeError, Notification, code};

/// The attribute section of an UPDATE in its parts.
pub(super) struct Parts<'a> {
    /// All but MP_REACH_NLRI and MP_UNREACH_NLRI, and the tail that cannot be cut into attributes. What a cache is keyed
    /// on: it repeats from UPDATE to UPDATE while the prefixes change.
    pub(super) rest: Cow<'a, [u8]>,
    /// MP_REACH_NLRI of a negotiated family.
    pub(super) reach: Option<MpAttribute<'a>>,
    /// MP_UNREACH_NLRI of a negotiated family.
    pub(super) unreach: Option<MpAttribute<'a>>,
}

/// MP_REACH_NLRI or MP_UNREACH_NLRI of a family of ours.
#[derive(Clone, Copy)]
pub(super) struct MpAttribute<'a> {
    pub(super) family: Family,
    pub(super) flags: u8,
    /// What stands behind AFI and SAFI.
    pub(super) value: &'a [u8],
    /// All of it, with its header.
    pub(super) octets: &'a [u8],
}

/// Cuts the list. MP attributes of families that were not negotiated are left out unparsed: what another family's NLRI
/// looks like is not ours to judge, and a peer that sends it keeps its session.
///
/// # Errors
/// 3/1 if one of the two types comes twice, of whatever family (RFC 7606 section 3 g); 3/9 for one that is too short to
/// name its family.
pub(super) fn split<'a>(list: &'a [u8], families: &BTreeSet<Family>) -> Result<Parts<'a>, DecodeError> {
    let mut parts = Parts { rest: Cow::Borrowed(list), reach: None, unreach: None };
    let mut seen = [false; 2];
    let mut rest: Option<Vec<u8>> = None;
    // Where what is not yet in `rest` begins.
    let mut kept = 0;
    let mut start = 0;
    while let Some(attribute) = attribute_at(list, start) {
        let end = attribute.end;
        if matches!(attribute.code, MP_REACH_NLRI | MP_UNREACH_NLRI) {
            let octets = list.get(start..end).unwrap_or_default();
            let twice = std::mem::replace(&mut seen[usize::from(attribute.code == MP_UNREACH_NLRI)], true);
            if twice {
                return Err(DecodeError {
                    notification: Notification::new(code::UPDATE, 1, Bytes::new()),
                    what: format!("{} twice", name(attribute.code)),
                });
            }
            let Some(([afi_high, afi_low, safi], value)) = attribute.value.split_first_chunk::<3>() else {
                return Err(unreadable(attribute.code, octets, "it is too short to name its family"));
            };
            if let Some(family) = family_of(u16::from_be_bytes([*afi_high, *afi_low]), *safi)
                && families.contains(&family)
            {
                let found = Some(MpAttribute { family, flags: attribute.flags, value, octets });
                if attribute.code == MP_REACH_NLRI { parts.reach = found } else { parts.unreach = found }
            }
            let rest = rest.get_or_insert_with(|| Vec::with_capacity(list.len()));
            rest.extend_from_slice(list.get(kept..start).unwrap_or_default());
            kept = end;
        }
        start = end;
    }
    if let Some(mut rest) = rest {
        rest.extend_from_slice(list.get(kept..).unwrap_or_default());
        parts.rest = Cow::Owned(rest);
    }
    Ok(parts)
}

/// 3/9 with the attribute: its NLRI cannot be read, so the session ends (RFC 7606 sections 5.3 and 7.11).
pub(super) fn unreadable(attribute: u8, octets: &[u8], why: &str) -> DecodeError {
    let name = name(attribute);
    // The data has to fit our NOTIFICATION.
    let data = Bytes::copy_from_slice(&octets[..octets.len().min(crate::MAX_MESSAGE - 21)]);
    DecodeError { notification: Notification::new(code::UPDATE, 9, data), what: format!("{name}: {why}") }
}

/// One attribute of a list.
pub(super) struct Attribute<'a> {
    pub(super) flags: u8,
    pub(super) code: u8,
    pub(super) value: &'a [u8],
    /// Where the next one begins.
    pub(super) end: usize,
}

/// The attribute at `start`; `None` at the end of the list and where the rest is no whole attribute. Each step moves on by at
/// least three octets.
pub(super) fn attribute_at(list: &[u8], start: usize) -> Option<Attribute<'_>> {
    let flags = *list.get(start)?;
    let code = *list.get(start + 1)?;
    let (length, value_at) = if flags & EXTENDED_LENGTH == 0 {
        (usize::from(*list.get(start + 2)?), start + 3)
    } else {
        (usize::from(u16::from_be_bytes([*list.get(start + 2)?, *list.get(start + 3)?])), start + 4)
    };
    let end = value_at + length;
    Some(Attribute { flags, code, value: list.get(value_at..end)?, end })
}
