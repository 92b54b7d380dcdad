//! The attribute list before it is parsed: what is reachability of a family that was negotiated, and what is the rest.

use std::collections::BTreeSet;

use bytes::Bytes;
use model::Family;

use super::family_of_codes;

/// MP_REACH_NLRI (RFC 4760).
const MP_REACH: u8 = 14;
/// MP_UNREACH_NLRI (RFC 4760).
const MP_UNREACH: u8 = 15;
/// Extended Length in the flags octet.
const EXTENDED_LENGTH: u8 = 0x10;

/// The attribute section of an UPDATE in two parts, each an attribute list of its own.
pub(super) struct Parts {
    /// All but MP_REACH_NLRI and MP_UNREACH_NLRI, and the tail that cannot be cut into attributes. What a cache is keyed
    /// on: it repeats from UPDATE to UPDATE while the prefixes change.
    pub(super) rest: Bytes,
    /// MP_REACH_NLRI and MP_UNREACH_NLRI of negotiated families.
    pub(super) reachability: Bytes,
}

/// Cuts the list. MP attributes of families that were not negotiated are left out unparsed: what another family's NLRI
/// looks like is not ours to judge, and a peer that sends it keeps its session.
///
/// If one of the two types comes twice, all of them stay, for the session is to be reset (RFC 7606 section 3 g). One
/// that is too short to name its family stays as well.
pub(super) fn split(list: &Bytes, families: &BTreeSet<Family>) -> Parts {
    let spans = mp_spans(list);
    if spans.is_empty() {
        return Parts { rest: list.clone(), reachability: Bytes::new() };
    }
    let twice = [MP_REACH, MP_UNREACH].iter().any(|code| spans.iter().filter(|s| s.code == *code).count() > 1);
    let mut rest = Vec::with_capacity(list.len());
    let mut reachability = Vec::with_capacity(list.len());
    let mut at = 0;
    for span in &spans {
        rest.extend_from_slice(list.get(at..span.start).unwrap_or_default());
        at = span.end;
        let ours = match span.family {
            Some((afi, safi)) => family_of_codes(afi, safi).is_some_and(|family| families.contains(&family)),
            None => true,
        };
        if ours || twice {
            reachability.extend_from_slice(list.get(span.start..span.end).unwrap_or_default());
        }
    }
    rest.extend_from_slice(list.get(at..).unwrap_or_default());
    Parts { rest: rest.into(), reachability: reachability.into() }
}

/// One MP attribute in the list.
struct Span {
    code: u8,
    start: usize,
    end: usize,
    /// AFI and SAFI, if the value has room for them.
    family: Option<(u16, u8)>,
}

/// Where the MP attributes are, up to the first attribute that does not fit the list. Each step moves on by at least
/// three octets.
fn mp_spans(list: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut start = 0;
    while let Some((code, value, end)) = attribute_at(list, start) {
        if matches!(code, MP_REACH | MP_UNREACH) {
            let family = match value {
                [afi_high, afi_low, safi, ..] => Some((u16::from_be_bytes([*afi_high, *afi_low]), *safi)),
                _ => None,
            };
            spans.push(Span { code, start, end, family });
        }
        start = end;
    }
    spans
}

/// Code and value of the attribute at `start`, and where the next one begins.
fn attribute_at(list: &[u8], start: usize) -> Option<(u8, &[u8], usize)> {
    let flags = *list.get(start)?;
    let code = *list.get(start + 1)?;
    let (length, value_at) = if flags & EXTENDED_LENGTH == 0 {
        (usize::from(*list.get(start + 2)?), start + 3)
    } else {
        (usize::from(u16::from_be_bytes([*list.get(start + 2)?, *list.get(start + 3)?])), start + 4)
    };
    let end = value_at + length;
    Some((code, list.get(value_at..end)?, end))
}
