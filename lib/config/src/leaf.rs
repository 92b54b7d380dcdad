//! Scalars: what each may be, and what to say when it is not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use model::bfd::BfdProfile;
use model::kernel::Device;
use model::policy::{CommunityPattern, LargeCommunityPattern, NextHopChange};
use model::{Asn, Family, NodeName, Owner, PeerAs, Prefix};
use serde_json::{Value as Json, json};

use crate::tree::{Node, Value};

/// Kind of a scalar.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leaf {
    Bool,
    /// A whole number, both ends in.
    Int {
        min: u64,
        max: u64,
        unit: &'static str,
    },
    /// Seconds: 0, or 3 to 65535 (RFC 4271, section 4.2).
    HoldTime,
    Asn,
    /// An AS number, `external` or `internal`.
    PeerAs,
    /// Name of a network interface of the fabric.
    Interface,
    /// One of these.
    Word(&'static [&'static str]),
    NodeName,
    /// A unicast address.
    Address,
    /// One unicast address, or a list with at most one a family.
    Addresses,
    RouterId,
    Prefix,
    /// `ADDRESS:PORT`.
    Socket,
    /// Absolute.
    Path,
    /// Absolute; never repeated in an error, in case somebody put the key itself there.
    KeyFile,
    /// Words for people, on one line.
    Text,
    /// A name that the operator gives: of a policy, a rule, a set.
    Name,
    /// A name of a BFD profile; `true` is the default one, `false` none.
    BfdProfile,
    /// A prefix, or an address that stands for itself.
    Hosts,
    /// A community; a pattern for many, if not exact.
    Community {
        exact: bool,
    },
    /// A large community; a pattern for many, if not exact.
    LargeCommunity {
        exact: bool,
    },
    /// `self`, `keep`, or an address.
    NextHop,
}

impl Leaf {
    /// What is expected, in words.
    pub(crate) fn expected(self) -> String {
        match self {
            Leaf::Bool => "true or false".into(),
            Leaf::Int { min, max, unit: "" } => format!("a whole number, {min} to {max}"),
            Leaf::Int { min, max, unit } => format!("a whole number of {unit}, {min} to {max}"),
            Leaf::HoldTime => "a whole number of seconds, 0 (no keepalives) or 3 to 65535".into(),
            Leaf::Asn => "an AS number, 1 to 4294967294 without the reserved 23456 and 65535".into(),
            Leaf::PeerAs => format!("external, internal, or {}", Leaf::Asn.expected()),
            Leaf::Interface => "the name of an interface, 1 to 15 characters, not lo and none of Biplane's own".into(),
            Leaf::Word(words) => words.join(" or "),
            Leaf::NodeName => "a node name of lower-case letters, digits, `-` and `.`, as in DNS".into(),
            Leaf::Address => "a unicast IP address without an interface, for example 192.0.2.1 or \"fd00::1\"".into(),
            Leaf::Addresses => "an IP address, or a list with at most one of each family".into(),
            Leaf::RouterId => "four octets as an IPv4 address, not 0.0.0.0".into(),
            Leaf::Prefix => "ADDRESS/LENGTH, for example 10.244.0.0/16 or \"fd00:10:244::/48\"".into(),
            Leaf::Socket => "ADDRESS:PORT, for example 127.0.0.1:9178 or \"[::]:9178\"".into(),
            Leaf::Path => "an absolute path".into(),
            Leaf::KeyFile => "the absolute path of a file that holds the key; the key itself never goes in here".into(),
            Leaf::Text => "text on one line".into(),
            Leaf::Name => "a name of letters, digits, `-` and `_`, 63 at most".into(),
            Leaf::BfdProfile => "a name of bgp.bfdProfiles, or true (`default`) or false".into(),
            Leaf::Hosts => "an IP address, or ADDRESS/LENGTH".into(),
            Leaf::Community { exact: true } => "a community, for example 65001:100 or no-export".into(),
            Leaf::Community { exact: false } => {
                "a community or a pattern, for example 65001:100, 65001:* or no-export".into()
            }
            Leaf::LargeCommunity { exact: true } => "a large community, for example 65001:1:2".into(),
            Leaf::LargeCommunity { exact: false } => {
                "a large community or a pattern, for example 65001:1:2 or 65001:*:*".into()
            }
            Leaf::NextHop => "self, keep, or a unicast IP address".into(),
        }
    }

    /// Does a variable's value go in as it stands, whatever YAML would make of it?
    pub(crate) fn is_text(self) -> bool {
        !matches!(
            self,
            Leaf::Bool
                | Leaf::Int { .. }
                | Leaf::HoldTime
                | Leaf::Asn
                | Leaf::PeerAs
                | Leaf::Addresses
                | Leaf::BfdProfile
        )
    }

    /// The value in the form in which `model::config::Config` reads it.
    ///
    /// # Errors
    /// What is wrong and what was expected, without the key.
    pub(crate) fn check(self, node: &Node) -> Result<Json, String> {
        let given = &node.value;
        let refused = || Err(format!("{}; expected {}", given.words(), self.expected()));
        match (self, given) {
            (Leaf::KeyFile, Value::Text(text)) if text.starts_with('/') => Ok(json!(text)),
            (Leaf::KeyFile, _) => Err(format!("not usable; expected {}", self.expected())),
            (Leaf::Bool, Value::Bool(it)) => Ok(json!(it)),
            (Leaf::Bool, Value::Text(text)) if text.eq_ignore_ascii_case("yes") || text.eq_ignore_ascii_case("on") => {
                refused().map_err(|words: String| format!("{words}; did you mean true?"))
            }
            (Leaf::Bool, Value::Text(text)) if text.eq_ignore_ascii_case("no") || text.eq_ignore_ascii_case("off") => {
                refused().map_err(|words: String| format!("{words}; did you mean false?"))
            }
            (Leaf::Int { min, max, .. }, Value::Int(it)) => match u64::try_from(*it) {
                Ok(number) if (min..=max).contains(&number) => Ok(json!(number)),
                _ => refused(),
            },
            (Leaf::HoldTime, Value::Int(it)) if *it == 0 || (3..=65535).contains(it) => {
                u64_json(*it).map_or_else(refused, Ok)
            }
            (Leaf::Asn | Leaf::PeerAs, Value::Int(it)) => match u32::try_from(*it).ok().and_then(Asn::new) {
                Some(asn) => Ok(json!(asn)),
                None => refused(),
            },
            (Leaf::Int { .. } | Leaf::HoldTime | Leaf::Asn | Leaf::PeerAs, Value::Text(text))
                if text.parse::<u64>().is_ok() =>
            {
                Err(format!("{} in quotes; expected {}", given.words(), self.expected()))
            }
            (Leaf::PeerAs, Value::Text(text)) => match PeerAs::WORDS.iter().find(|(word, _)| *word == text) {
                Some((_, it)) => Ok(json!(it)),
                None => {
                    let meant = crate::meant::closest(text, PeerAs::WORDS.iter().map(|(word, _)| *word));
                    refused().map_err(|said: String| crate::meant::with(said, meant))
                }
            },
            (Leaf::Interface, Value::Text(text)) => match Device::new(text) {
                Some(it) if text != "lo" && !text.starts_with(Owner::DEVICE_PREFIX) => Ok(json!(it)),
                _ => refused(),
            },
            (Leaf::Word(words), Value::Text(text)) => match words.iter().find(|word| *word == text) {
                Some(word) => Ok(json!(word)),
                None => {
                    let meant = crate::meant::closest(text, words.iter().copied());
                    refused().map_err(|said: String| crate::meant::with(said, meant))
                }
            },
            (Leaf::NodeName, Value::Text(text)) => text.parse::<NodeName>().map(|name| json!(name)).or_else(|_| {
                let lower = text.to_lowercase().replace('_', "-");
                let meant = lower.parse::<NodeName>().ok().map(|_| lower);
                refused().map_err(|said: String| crate::meant::with(said, meant.as_deref()))
            }),
            (Leaf::Address, Value::Text(text)) => address(text).map_or_else(refused, |it| Ok(json!(it))),
            (Leaf::Addresses, Value::Text(_)) => Leaf::Address.check(node).map(|it| json!([it])),
            (Leaf::RouterId, Value::Text(text)) => match text.parse::<Ipv4Addr>() {
                Ok(it) if !it.is_unspecified() => Ok(json!(it)),
                _ => refused(),
            },
            (Leaf::Prefix, Value::Text(text)) => match text.parse::<Prefix>() {
                Ok(it) => Ok(json!(it)),
                Err(error @ model::prefix::PrefixError::HostBits { .. }) => Err(error.to_string()),
                Err(_) => refused(),
            },
            (Leaf::Socket, Value::Text(text)) => match text.parse::<SocketAddr>() {
                Ok(it) if it.port() != 0 => Ok(json!(it)),
                _ => {
                    let any = text.strip_prefix(':').and_then(|port| port.parse::<u16>().ok());
                    let meant = any.map(|port| format!("0.0.0.0:{port}"));
                    refused().map_err(|said: String| crate::meant::with(said, meant.as_deref()))
                }
            },
            (Leaf::Path, Value::Text(text)) if text.starts_with('/') && !text.contains('\0') => Ok(json!(text)),
            (Leaf::Text, Value::Text(text)) if !text.chars().any(char::is_control) => Ok(json!(text)),
            (Leaf::Name | Leaf::BfdProfile, Value::Text(text)) if is_name(text) => Ok(json!(text)),
            (Leaf::BfdProfile, Value::Bool(true)) => Ok(json!(BfdProfile::DEFAULT)),
            (Leaf::BfdProfile, Value::Bool(false)) => Ok(Json::Null),
            (Leaf::Hosts, Value::Text(text)) => {
                let host = text.parse::<IpAddr>().ok().map(|it| Prefix::host(it.to_canonical()));
                match host.map_or_else(|| text.parse::<Prefix>(), Ok) {
                    Ok(it) => Ok(json!(it)),
                    Err(error @ model::prefix::PrefixError::HostBits { .. }) => Err(error.to_string()),
                    Err(_) => refused(),
                }
            }
            (Leaf::Community { exact }, Value::Text(text)) => match text.parse::<CommunityPattern>() {
                Ok(it) if !exact || it.exact().is_some() => Ok(json!(it)),
                _ => refused(),
            },
            (Leaf::LargeCommunity { exact }, Value::Text(text)) => match text.parse::<LargeCommunityPattern>() {
                Ok(it) if !exact || it.exact().is_some() => Ok(json!(it)),
                _ => refused(),
            },
            (Leaf::NextHop, Value::Text(text)) => {
                text.parse::<NextHopChange>().map_or_else(|_| refused(), |it| Ok(json!(it)))
            }
            (Leaf::Text | Leaf::NodeName | Leaf::Name, Value::Bool(_) | Value::Int(_) | Value::Float(_)) => {
                Err(format!("{} is no text for YAML; expected {}, in quotes", given.words(), self.expected()))
            }
            _ => refused(),
        }
    }
}

/// An address that a packet can be sent to or come from, on any interface.
fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.parse().ok()?;
    let usable = match address {
        IpAddr::V4(it) => !it.is_unspecified() && !it.is_multicast() && !it.is_broadcast(),
        // A link-local address means nothing without its interface; a mapped one is IPv4 in disguise.
        IpAddr::V6(it) => {
            !it.is_unspecified() && !it.is_multicast() && !it.is_unicast_link_local() && it.to_ipv4_mapped().is_none()
        }
    };
    usable.then_some(address)
}

/// May an operator call something so? No dot: it parts the keys.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// Is there at most one address of each family?
pub(crate) fn one_a_family(addresses: &[IpAddr]) -> bool {
    Family::BOTH.iter().all(|family| addresses.iter().filter(|it| Family::of(it) == *family).count() <= 1)
}

/// An address in a list of them, by itself.
pub(crate) fn parsed(json: &Json) -> Option<IpAddr> {
    json.as_str()?.parse().ok()
}

fn u64_json(number: i128) -> Option<Json> {
    u64::try_from(number).ok().map(|it| json!(it))
}
