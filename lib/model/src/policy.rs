//! BGP policies as an operator writes them: rules in order, each with what it matches, what it sets, and what then.
//! `lib/config` reads them, `lib/bgp` compiles and evaluates them. The JSON form is the form of the file.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Asn, Family, Prefix};

/// A prefix, and which lengths below it match: exactly its own without `ge` and `le`; `ge` alone opens the range to the
/// family's longest, `le` alone from the prefix's own length on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PrefixRange {
    /// Whatever matches lies in here.
    pub prefix: Prefix,
    /// Shortest length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ge: Option<u8>,
    /// Longest length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub le: Option<u8>,
}

impl PrefixRange {
    /// The prefix alone.
    pub fn exact(prefix: Prefix) -> PrefixRange {
        PrefixRange { prefix, ge: None, le: None }
    }

    /// Shortest and longest length that match; the shortest is never below the prefix's own.
    pub fn lengths(&self) -> (u8, u8) {
        let own = self.prefix.len();
        match (self.ge, self.le) {
            (None, None) => (own, own),
            (Some(ge), None) => (ge.max(own), self.prefix.family().bits()),
            (ge, Some(le)) => (ge.unwrap_or(own).max(own), le),
        }
    }
}

/// Prefixes that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prefixes {
    /// Those of `bgp.prefixSets` with this name, or of a set that is built in.
    Set(String),
    /// These.
    List(Vec<PrefixRange>),
}

impl Prefixes {
    /// Name of the built-in set: every slice of every pool, as a node may claim it.
    pub const POD_CIDRS: &str = "podCidrs";
}

/// A community (RFC 1997), or many: `65001:100`, `65001:*`, or a well-known name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommunityPattern {
    /// The first two octets; any if absent.
    pub high: Option<u16>,
    /// The last two octets; any if absent.
    pub low: Option<u16>,
}

/// Well-known communities by name (RFC 1997, 7999, 8326, 9494).
const WELL_KNOWN: &[(&str, u32)] = &[
    ("graceful-shutdown", 0xffff_0000),
    ("llgr-stale", 0xffff_0006),
    ("no-llgr", 0xffff_0007),
    ("blackhole", 0xffff_029a),
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("no-export-subconfed", 0xffff_ff03),
];

impl CommunityPattern {
    /// Does it match?
    pub fn matches(&self, community: u32) -> bool {
        let [a, b, c, d] = community.to_be_bytes();
        self.high.is_none_or(|high| high.to_be_bytes() == [a, b])
            && self.low.is_none_or(|low| low.to_be_bytes() == [c, d])
    }

    /// The one community that it matches; `None` if there are many.
    pub fn exact(&self) -> Option<u32> {
        Some(u32::from(self.high?) << 16 | u32::from(self.low?))
    }
}

impl FromStr for CommunityPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<CommunityPattern, String> {
        if let Some((_, number)) = WELL_KNOWN.iter().find(|(name, _)| *name == text) {
            return Ok(CommunityPattern { high: Some((number >> 16) as u16), low: Some((number & 0xffff) as u16) });
        }
        let wrong = || {
            let names: Vec<&str> = WELL_KNOWN.iter().map(|(name, _)| *name).collect();
            format!(
                "`{}` is no community; expected HIGH:LOW of 0 to 65535, for example 65001:100, or one of {}",
                text.escape_debug(),
                names.join(", ")
            )
        };
        let (high, low) = text.split_once(':').ok_or_else(wrong)?;
        Ok(CommunityPattern { high: part(high).ok_or_else(wrong)?, low: part(low).ok_or_else(wrong)? })
    }
}

/// A number, or `*` for any.
fn part<T: FromStr>(text: &str) -> Option<Option<T>> {
    if text == "*" {
        return Some(None);
    }
    text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse().ok().map(Some)).flatten()
}

fn part_words<T: fmt::Display>(part: Option<T>) -> String {
    part.map_or_else(|| "*".to_owned(), |it| it.to_string())
}

impl fmt::Display for CommunityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = WELL_KNOWN.iter().find(|(_, number)| self.exact() == Some(*number)) {
            return f.write_str(name);
        }
        write!(f, "{}:{}", part_words(self.high), part_words(self.low))
    }
}

impl TryFrom<String> for CommunityPattern {
    type Error = String;

    fn try_from(text: String) -> Result<CommunityPattern, String> {
        text.parse()
    }
}

impl From<CommunityPattern> for String {
    fn from(pattern: CommunityPattern) -> String {
        pattern.to_string()
    }
}

/// A large community (RFC 8092), or many: `65001:1:2`, `65001:*:*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LargeCommunityPattern(pub [Option<u32>; 3]);

impl LargeCommunityPattern {
    /// Does it match?
    pub fn matches(&self, community: &[u32; 3]) -> bool {
        self.0.iter().zip(community).all(|(wanted, part)| wanted.is_none_or(|wanted| wanted == *part))
    }

    /// The one community that it matches; `None` if there are many.
    pub fn exact(&self) -> Option<[u32; 3]> {
        let [a, b, c] = self.0;
        Some([a?, b?, c?])
    }
}

impl FromStr for LargeCommunityPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<LargeCommunityPattern, String> {
        let parts: Option<Vec<Option<u32>>> = text.split(':').take(4).map(part).collect();
        let parts: Option<[Option<u32>; 3]> = parts.and_then(|parts| parts.try_into().ok());
        parts.map(LargeCommunityPattern).ok_or_else(|| {
            format!(
                "`{}` is no large community; expected three numbers of 0 to 4294967295, for example 65001:1:2",
                text.escape_debug()
            )
        })
    }
}

impl fmt::Display for LargeCommunityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.0.map(part_words);
        write!(f, "{a}:{b}:{c}")
    }
}

impl TryFrom<String> for LargeCommunityPattern {
    type Error = String;

    fn try_from(text: String) -> Result<LargeCommunityPattern, String> {
        text.parse()
    }
}

impl From<LargeCommunityPattern> for String {
    fn from(pattern: LargeCommunityPattern) -> String {
        pattern.to_string()
    }
}

/// What is asked of the communities of a route; all that is given must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CommunityMatch<P> {
    /// At least one of these is there; says nothing if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<P>,
    /// Each of these is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<P>,
    /// None of these is there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub none: Vec<P>,
}

impl<P> Default for CommunityMatch<P> {
    fn default() -> Self {
        CommunityMatch { any: Vec::new(), all: Vec::new(), none: Vec::new() }
    }
}

/// A range of numbers, both ends in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// At least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ge: Option<u32>,
    /// At most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub le: Option<u32>,
}

/// What is asked of the AS_PATH; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AsPathMatch {
    /// One of these is on it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contains: Vec<Asn>,
    /// One of these is its last AS: where the prefix comes from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origin: Vec<Asn>,
    /// One of these is its first AS: who told us.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub neighbour: Vec<Asn>,
    /// Its length as the decision counts it (a set counts 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<Range>,
}

/// Who the other end of the session is; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NeighbourMatch {
    /// It has one of these addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub address: Vec<IpAddr>,
    /// It is in one of these ASes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asn: Vec<Asn>,
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteOrigin {
    /// A peer announced it.
    Learned,
    /// A pod CIDR of this node.
    Pod,
    /// Configured to be originated here, and no pod CIDR.
    Originated,
    /// Either of the two above; only ever in a match.
    Own,
}

impl RouteOrigin {
    /// All words, as they are written.
    pub const WORDS: &[&str] = &["own", "learned", "pod", "originated"];

    /// Does this word of a match take in a route of `origin`?
    pub fn takes(self, origin: RouteOrigin) -> bool {
        self == origin || (self == RouteOrigin::Own && origin != RouteOrigin::Learned)
    }
}

/// What a rule asks of a route. All that is given must hold; a rule that asks nothing matches every route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleMatch {
    /// Its prefix is one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefixes: Option<Prefixes>,
    /// Its communities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub communities: Option<CommunityMatch<CommunityPattern>>,
    /// Its large communities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub large_communities: Option<CommunityMatch<LargeCommunityPattern>>,
    /// Its AS_PATH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_path: Option<AsPathMatch>,
    /// The other end of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbour: Option<NeighbourMatch>,
    /// It comes from one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origin: Vec<RouteOrigin>,
    /// It is of this family.
    #[serde(skip_serializing_if = "Option::is_none", with = "family")]
    pub family: Option<Family>,
    /// Its next hop lies in one of these; a route of our own has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next_hop: Vec<Prefix>,
}

/// Changes to communities: first `replace`, then `remove`, then `add`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CommunityChange<P> {
    /// Put there, once each; every pattern in it is exact.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<P>,
    /// Taken away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<P>,
    /// All that were there go, and these come; every pattern in it is exact. An empty list takes all away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<Vec<P>>,
}

impl<P> Default for CommunityChange<P> {
    fn default() -> Self {
        CommunityChange { add: Vec::new(), remove: Vec::new(), replace: None }
    }
}

/// ASes put in front of the AS_PATH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prepend {
    /// Which; our own on export, the peer's on import, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<Asn>,
    /// How often: 1 to [`Prepend::MOST`].
    #[serde(default = "once")]
    pub times: u8,
}

impl Prepend {
    /// Longer paths are cut off by many routers.
    pub const MOST: u8 = 32;
}

fn once() -> u8 {
    1
}

/// What becomes of the next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NextHopChange {
    /// Our own address of the session; exports only.
    Own,
    /// As it is, also to a peer that would be given our own.
    Keep,
    /// This address.
    Address(IpAddr),
}

impl FromStr for NextHopChange {
    type Err = String;

    fn from_str(text: &str) -> Result<NextHopChange, String> {
        match text {
            "self" => Ok(NextHopChange::Own),
            "keep" => Ok(NextHopChange::Keep),
            text => match text.parse::<IpAddr>() {
                Ok(it) if !it.is_unspecified() && !it.is_multicast() && !it.is_loopback() => {
                    Ok(NextHopChange::Address(it.to_canonical()))
                }
                _ => Err(format!(
                    "`{}` is no next hop; expected self, keep, or a unicast IP address",
                    text.escape_debug()
                )),
            },
        }
    }
}

impl fmt::Display for NextHopChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NextHopChange::Own => f.write_str("self"),
            NextHopChange::Keep => f.write_str("keep"),
            NextHopChange::Address(address) => address.fmt(f),
        }
    }
}

impl TryFrom<String> for NextHopChange {
    type Error = String;

    fn try_from(text: String) -> Result<NextHopChange, String> {
        text.parse()
    }
}

impl From<NextHopChange> for String {
    fn from(change: NextHopChange) -> String {
        change.to_string()
    }
}

/// What a rule changes on a route that it matches, before `then`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuleSet {
    /// LOCAL_PREF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// Communities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub communities: Option<CommunityChange<CommunityPattern>>,
    /// Large communities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub large_communities: Option<CommunityChange<LargeCommunityPattern>>,
    /// AS_PATH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepend: Option<Prepend>,
    /// Next hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<NextHopChange>,
}

/// What becomes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It is used, or sent.
    Accept,
    /// It is not.
    Reject,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Accept => "accept",
            Verdict::Reject => "reject",
        })
    }
}

/// What follows a rule that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Then {
    /// The route is accepted; no further rule is looked at.
    Accept,
    /// The route is refused; no further rule is looked at.
    Reject,
    /// The next rule is looked at, with what was set.
    Next,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleConfig {
    /// Name, in `--why` and in tests; its place in the policy (`rule 3`) if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which routes.
    #[serde(default, rename = "match")]
    pub matches: RuleMatch,
    /// What changes.
    #[serde(default)]
    pub set: RuleSet,
    /// What then.
    pub then: Then,
}

/// A policy: rules in order, the first that accepts or rejects decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyConfig {
    /// Rules in order.
    #[serde(default)]
    pub rules: Vec<RuleConfig>,
    /// What becomes of a route that no rule decides about.
    #[serde(default = "reject")]
    pub default: Verdict,
}

fn reject() -> Verdict {
    Verdict::Reject
}

/// `ipv4` and `ipv6`, as people write them.
mod family {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::Family;

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(family: &Option<Family>, s: S) -> Result<S::Ok, S::Error> {
        match family {
            Some(family) => s.collect_str(family),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Family>, D::Error> {
        match Option::<String>::deserialize(d)?.as_deref() {
            None => Ok(None),
            Some("ipv4") => Ok(Some(Family::V4)),
            Some("ipv6") => Ok(Some(Family::V6)),
            Some(other) => Err(D::Error::custom(format!("family {other}: expected ipv4 or ipv6"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_read_as_they_are_written() {
        for text in ["65001:100", "65001:*", "*:*", "no-export", "blackhole", "0:0"] {
            assert_eq!(text.parse::<CommunityPattern>().unwrap().to_string(), text);
        }
        assert_eq!("65535:65281".parse::<CommunityPattern>().unwrap().to_string(), "no-export");
        for text in ["", "1", "1:", ":1", "65536:1", "1:2:3", "+1:1", "-1:1", "1:x", "no_export", "1:99999999999"] {
            assert!(text.parse::<CommunityPattern>().is_err(), "{text}");
        }
        let pattern: CommunityPattern = "65001:*".parse().unwrap();
        assert!(pattern.matches(65001 << 16 | 7) && !pattern.matches(65002 << 16 | 7));
        assert_eq!((pattern.exact(), "1:2".parse::<CommunityPattern>().unwrap().exact()), (None, Some(1 << 16 | 2)));
    }

    #[test]
    fn large_communities_read_as_they_are_written() {
        for text in ["65001:1:2", "4294967295:*:0", "*:*:*"] {
            assert_eq!(text.parse::<LargeCommunityPattern>().unwrap().to_string(), text);
        }
        for text in ["", "1:2", "1:2:3:4", "4294967296:1:1", "1::2"] {
            assert!(text.parse::<LargeCommunityPattern>().is_err(), "{text}");
        }
        let pattern: LargeCommunityPattern = "65001:*:2".parse().unwrap();
        assert!(pattern.matches(&[65001, 9, 2]) && !pattern.matches(&[65001, 9, 3]));
    }

    #[test]
    fn ranges_of_lengths() {
        let range = |text: &str, ge, le| PrefixRange { prefix: text.parse().unwrap(), ge, le }.lengths();
        assert_eq!(range("10.0.0.0/8", None, None), (8, 8));
        assert_eq!(range("10.0.0.0/8", Some(16), None), (16, 32));
        assert_eq!(range("10.0.0.0/8", None, Some(24)), (8, 24));
        assert_eq!(range("10.0.0.0/8", Some(16), Some(24)), (16, 24));
        assert_eq!(range("fd00::/8", Some(48), None), (48, 128));
    }

    #[test]
    fn own_is_pod_and_originated() {
        use RouteOrigin::*;
        assert!(Own.takes(Pod) && Own.takes(Originated) && !Own.takes(Learned));
        assert!(Pod.takes(Pod) && !Pod.takes(Originated) && Learned.takes(Learned));
    }
}
