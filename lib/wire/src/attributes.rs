//! Path attributes of an UPDATE (RFC 4271 section 5), without next hop and reachability.

use std::fmt;
use std::net::Ipv4Addr;

use bytes::Bytes;
use model::Asn;
use serde::{Deserialize, Serialize};

/// Path attributes that prefixes share. Compared and ordered by content: that is how paths are grouped for sending.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attributes {
    /// ORIGIN (1).
    pub origin: Origin,
    /// AS_PATH (2), with AS4_PATH of a two-octet peer merged in (RFC 6793 section 4.2.3).
    pub as_path: AsPath,
    /// MULTI_EXIT_DISC (4); lower is better.
    pub med: Option<u32>,
    /// LOCAL_PREF (5); higher is better. Never there from an external peer; may be missing from an internal one.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE (6).
    pub atomic_aggregate: bool,
    /// AGGREGATOR (7): who aggregated.
    pub aggregator: Option<(Asn, Ipv4Addr)>,
    /// COMMUNITIES (8, RFC 1997), sorted and each once on the wire and when they come from it.
    pub communities: Vec<u32>,
    /// LARGE_COMMUNITY (32, RFC 8092), sorted and each once likewise.
    pub large_communities: Vec<[u32; 3]>,
    /// EXTENDED COMMUNITIES (16, RFC 4360), sorted and each once on the wire and when they come from it.
    pub ext_communities: Vec<u64>,
    /// ORIGINATOR_ID (9, RFC 4456); internal peers only.
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (10, RFC 4456); internal peers only.
    pub cluster_list: Vec<Ipv4Addr>,
    /// ONLY_TO_CUSTOMER (35, RFC 9234): the AS behind which the path must go down only.
    pub only_to_customer: Option<Asn>,
    /// Optional transitive attributes that we do not interpret, in the order of their codes.
    pub unknown: Vec<RawAttribute>,
}

/// ORIGIN: how the prefix came into BGP. In order of preference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// 0: from the routing protocol inside the AS.
    #[default]
    Igp,
    /// 1: from the historic EGP.
    Egp,
    /// 2: otherwise, for example redistributed.
    Incomplete,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Igp => "igp",
            Origin::Egp => "egp",
            Origin::Incomplete => "incomplete",
        })
    }
}

/// AS_PATH: the ASes on the way, nearest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AsPath(pub Vec<Segment>);

/// A segment of an [`AsPath`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Segment {
    /// AS_SEQUENCE: in order.
    Sequence(Vec<Asn>),
    /// AS_SET: in no order. Deprecated; decoding treats it as withdrawn (RFC 9774) and encoding refuses it.
    Set(Vec<Asn>),
}

impl AsPath {
    /// Most ASes a segment can hold.
    const SEGMENT: usize = 255;

    /// A path of one sequence; empty for no AS.
    pub fn sequence(ases: impl IntoIterator<Item = Asn>) -> AsPath {
        let ases: Vec<Asn> = ases.into_iter().collect();
        if ases.is_empty() { AsPath::default() } else { AsPath(vec![Segment::Sequence(ases)]) }
    }

    /// Length as the decision process counts it: a set counts 1 (RFC 4271 section 9.1.2.2).
    pub fn length(&self) -> usize {
        self.0
            .iter()
            .map(|s| match s {
                Segment::Sequence(ases) => ases.len(),
                Segment::Set(_) => 1,
            })
            .sum()
    }

    /// Is `asn` on the path? Then it has been there: a loop if it is ours.
    pub fn contains(&self, asn: Asn) -> bool {
        self.ases().any(|a| a == asn)
    }

    /// The neighbouring AS: first of a leading sequence. `None` for an empty path and for one that begins with a set.
    pub fn first(&self) -> Option<Asn> {
        match self.0.first()? {
            Segment::Sequence(ases) => ases.first().copied(),
            Segment::Set(_) => None,
        }
    }

    /// Puts `asn` in front, in a new segment when the first one is full or a set (RFC 4271 section 5.1.2).
    pub fn prepend(&mut self, asn: Asn) {
        match self.0.first_mut() {
            Some(Segment::Sequence(ases)) if ases.len() < Self::SEGMENT => ases.insert(0, asn),
            _ => self.0.insert(0, Segment::Sequence(vec![asn])),
        }
    }

    /// All ASes, nearest first; those of sets in the order of the message.
    pub fn ases(&self) -> impl Iterator<Item = Asn> + '_ {
        self.0.iter().flat_map(|s| match s {
            Segment::Sequence(ases) | Segment::Set(ases) => ases.iter().copied(),
        })
    }
}

/// As operators write it: `65001 65002 {65003 65004}`.
impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for segment in &self.0 {
            f.write_str(gap)?;
            gap = " ";
            let (ases, open, close) = match segment {
                Segment::Sequence(ases) => (ases, "", ""),
                Segment::Set(ases) => (ases, "{", "}"),
            };
            f.write_str(open)?;
            for (i, asn) in ases.iter().enumerate() {
                if i > 0 {
                    f.write_str(" ")?;
                }
                asn.fmt(f)?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

/// An optional transitive attribute that is passed on as it came, with the Partial bit set (RFC 4271 section 5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawAttribute {
    /// Type code.
    pub code: u8,
    /// Flags octet: Optional, Transitive and Partial set, Extended Length as the length needs it.
    pub flags: u8,
    /// Value.
    pub value: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_counts_one_and_has_no_first() {
        let path = AsPath(vec![Segment::Sequence(vec![Asn(1), Asn(2)]), Segment::Set(vec![Asn(3), Asn(4)])]);
        assert_eq!((path.length(), path.first(), path.to_string().as_str()), (3, Some(Asn(1)), "1 2 {3 4}"));
        assert!(path.contains(Asn(4)) && !path.contains(Asn(5)));
        assert_eq!(AsPath(vec![Segment::Set(vec![Asn(3)])]).first(), None);
        assert_eq!((AsPath::default().first(), AsPath::default().length()), (None, 0));
    }

    #[test]
    fn prepending_opens_a_segment_when_it_must() {
        let mut path = AsPath::default();
        for number in 1..=256 {
            path.prepend(Asn(number));
        }
        assert_eq!((path.0.len(), path.length(), path.first()), (2, 256, Some(Asn(256))));
        let mut behind_set = AsPath(vec![Segment::Set(vec![Asn(3)])]);
        behind_set.prepend(Asn(1));
        assert_eq!(behind_set.to_string(), "1 {3}");
    }

    #[test]
    fn attributes_are_compared_by_content() {
        let one = Attributes { med: Some(1), ..Attributes::default() };
        assert_eq!(one, one.clone());
        assert!(Attributes::default() < one);
        assert!(Origin::Igp < Origin::Egp && Origin::Egp < Origin::Incomplete);
    }
}
