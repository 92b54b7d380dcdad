//! AS_PATH, and what a peer without four-octet AS numbers says beside it (RFC 6793).

use std::net::Ipv4Addr;

use model::Asn;

use crate::attribute_types::segment;
use crate::{AsPath, Segment};

/// AS_TRANS: stands for a number that does not fit two octets.
const AS_TRANS: Asn = Asn(23456);
/// Most ASes of a segment.
const SEGMENT: usize = 255;

/// Width of the numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Two,
    Four,
}

/// Reads an AS_PATH; the error says what is wrong with it. `sets`: is an AS_SET taken (RFC 9774 says no)?
pub(super) fn read(value: &[u8], width: Width, sets: bool) -> Result<AsPath, String> {
    let mut path = Vec::new();
    for found in (Segments { rest: value, width }) {
        let (kind, ases) = found?;
        match kind {
            segment::SEQUENCE => path.push(Segment::Sequence(ases)),
            segment::SET if sets => path.push(Segment::Set(ases)),
            segment::SET => return Err("AS_SET, which RFC 9774 has abolished".to_owned()),
            segment::CONFED_SEQUENCE | segment::CONFED_SET => {
                return Err("confederation segment, and we are in no confederation".to_owned());
            }
            other => return Err(format!("segment type {other}")),
        }
    }
    Ok(AsPath(path))
}

/// An AS4_PATH.
pub(super) struct As4Path {
    path: AsPath,
    /// It had segments of a confederation, which are left out (RFC 6793 section 6).
    pub(super) confederation: bool,
    /// It has sets, of a confederation or not (RFC 9774).
    pub(super) sets: bool,
}

/// Reads an AS4_PATH.
pub(super) fn read_as4_path(value: &[u8]) -> Result<As4Path, String> {
    let mut path = Vec::new();
    let (mut confederation, mut sets) = (false, false);
    for found in (Segments { rest: value, width: Width::Four }) {
        let (kind, ases) = found?;
        sets |= matches!(kind, segment::SET | segment::CONFED_SET);
        match kind {
            segment::SEQUENCE => path.push(Segment::Sequence(ases)),
            segment::SET => path.push(Segment::Set(ases)),
            segment::CONFED_SEQUENCE | segment::CONFED_SET => confederation = true,
            other => return Err(format!("segment type {other}")),
        }
    }
    if path.is_empty() && !confederation {
        return Err("no segment".to_owned());
    }
    Ok(As4Path { path: AsPath(path), confederation, sets })
}

/// What a two-octet peer has said of the ASes: AS_TRANS stands for the large ones in the first two, the other two have
/// them in full.
#[derive(Default)]
pub(super) struct Said {
    pub(super) path: Option<AsPath>,
    pub(super) aggregator: Option<(Asn, Ipv4Addr)>,
    pub(super) as4_path: Option<As4Path>,
    pub(super) as4_aggregator: Option<(Asn, Ipv4Addr)>,
}

impl Said {
    /// RFC 6793 section 4.2.3: the attributes as a four-octet peer would have sent them.
    pub(super) fn merge(self) -> (Option<AsPath>, Option<(Asn, Ipv4Addr)>) {
        let Said { mut path, mut aggregator, as4_path, as4_aggregator } = self;
        if let (Some((asn, _)), Some(full)) = (aggregator, as4_aggregator) {
            if asn != AS_TRANS {
                // Somebody aggregated since and knew nothing of these: both are old.
                return (path, aggregator);
            }
            aggregator = Some(full);
        }
        if let (Some(path), Some(as4_path)) = (&mut path, as4_path) {
            replace_tail(path, as4_path.path);
        }
        (path, aggregator)
    }
}

/// The nearest ASes of `path` that `tail` does not have, and behind them `tail`. One that is longer than the path is no
/// tail of it.
fn replace_tail(path: &mut AsPath, tail: AsPath) {
    let Some(mut keep) = path.length().checked_sub(tail.length()) else {
        return;
    };
    let mut merged: Vec<Segment> = Vec::with_capacity(path.0.len() + tail.0.len());
    for segment in path.0.drain(..) {
        if keep == 0 {
            break;
        }
        match segment {
            Segment::Set(ases) => {
                keep -= 1;
                merged.push(Segment::Set(ases));
            }
            Segment::Sequence(mut ases) => {
                ases.truncate(keep);
                keep -= ases.len();
                merged.push(Segment::Sequence(ases));
            }
        }
    }
    for segment in tail.0 {
        match (merged.last_mut(), segment) {
            (Some(Segment::Sequence(before)), Segment::Sequence(ases)) if before.len() + ases.len() <= SEGMENT => {
                before.extend(ases);
            }
            (_, segment) => merged.push(segment),
        }
    }
    path.0 = merged;
}

/// Type and ASes of each segment; after an error there is nothing more.
struct Segments<'a> {
    rest: &'a [u8],
    width: Width,
}

impl Segments<'_> {
    fn read(&mut self) -> Result<(u8, Vec<Asn>), String> {
        let [kind, count, rest @ ..] = self.rest else {
            return Err("segment without a length".to_owned());
        };
        let count = usize::from(*count);
        let size = match self.width {
            Width::Two => 2 * count,
            Width::Four => 4 * count,
        };
        let Some((octets, rest)) = rest.split_at_checked(size) else {
            return Err(format!("segment of {count} ASes that are not all there"));
        };
        self.rest = rest;
        let ases: Vec<Asn> = match self.width {
            Width::Two => octets.as_chunks().0.iter().map(|n| Asn(u32::from(u16::from_be_bytes(*n)))).collect(),
            Width::Four => octets.as_chunks().0.iter().map(|n| Asn(u32::from_be_bytes(*n))).collect(),
        };
        if ases.is_empty() {
            return Err("segment of no AS".to_owned());
        }
        // RFC 7607 section 2.
        if ases.contains(&Asn(0)) {
            return Err("AS 0".to_owned());
        }
        Ok((*kind, ases))
    }
}

impl Iterator for Segments<'_> {
    type Item = Result<(u8, Vec<Asn>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.rest = &[];
        }
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(ases: &[u32]) -> AsPath {
        AsPath::sequence(ases.iter().copied().map(Asn))
    }

    fn merged(path: AsPath, tail: AsPath) -> String {
        let as4_path = Some(As4Path { path: tail, confederation: false, sets: false });
        let said = Said { path: Some(path), as4_path, ..Said::default() };
        said.merge().0.unwrap_or_default().to_string()
    }

    /// Checklist: 38
    #[test]
    fn the_tail_is_replaced_as_far_as_it_goes() {
        assert_eq!(merged(sequence(&[1, 23456, 2]), sequence(&[70000, 2])), "1 70000 2");
        assert_eq!(merged(sequence(&[23456, 23456]), sequence(&[70000, 80000])), "70000 80000");
        assert_eq!(merged(sequence(&[1]), sequence(&[70000, 2])), "1", "longer than the path");
        let with_set = AsPath(vec![Segment::Sequence(vec![Asn(1)]), Segment::Set(vec![Asn(2), Asn(3)])]);
        assert_eq!(merged(with_set.clone(), sequence(&[70000])), "1 70000", "a set counts one");
        assert_eq!(merged(sequence(&[1, 2, 3]), with_set), "1 1 {2 3}");
        let long: Vec<u32> = (1..=255).collect();
        let mut path = sequence(&long);
        path.prepend(Asn(300));
        let whole = Said {
            path: Some(path),
            as4_path: Some(As4Path { path: sequence(&long), confederation: false, sets: false }),
            ..Said::default()
        };
        let path = whole.merge().0.unwrap();
        assert_eq!((path.0.len(), path.length()), (2, 256), "no segment of more than 255");
    }

    /// Checklist: 38
    #[test]
    fn an_aggregator_that_knew_nothing_of_them_voids_both() {
        let id = Ipv4Addr::new(192, 0, 2, 1);
        let said = |asn| Said {
            path: Some(sequence(&[23456])),
            aggregator: Some((Asn(asn), id)),
            as4_path: Some(As4Path { path: sequence(&[70000]), confederation: false, sets: false }),
            as4_aggregator: Some((Asn(70000), id)),
        };
        assert_eq!(said(23456).merge(), (Some(sequence(&[70000])), Some((Asn(70000), id))));
        assert_eq!(said(64512).merge(), (Some(sequence(&[23456])), Some((Asn(64512), id))));
        let alone = Said { aggregator: None, ..said(0) };
        assert_eq!(alone.merge(), (Some(sequence(&[70000])), None), "nobody has aggregated");
    }
}
