//! Capabilities of an OPEN (RFC 5492): what each of them says, and its value on the wire.

use bytes::{BufMut, Bytes, BytesMut};
use model::Family;
use serde::{Deserialize, Serialize};

use crate::EncodeError;
use crate::family_codes::{UNICAST, afi_of, family_of};

/// A capability of an OPEN (RFC 5492). In lists of families those that are not ours are left out on decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Capability {
    /// 1: unicast of this family (RFC 4760).
    MultiProtocol(Family),
    /// 2: answers ROUTE-REFRESH (RFC 2918).
    RouteRefresh,
    /// 5: prefixes of the first family may have a next hop of the second (RFC 8950).
    ExtendedNextHop(Vec<(Family, Family)>),
    /// 6: messages up to 65535 octets (RFC 8654).
    ExtendedMessage,
    /// 9: what the sender is to us (RFC 9234).
    Role(Role),
    /// 64: graceful restart (RFC 4724).
    GracefulRestart {
        /// R bit: the sender has just restarted.
        restarting: bool,
        /// N bit: NOTIFICATIONs, too, are survived (RFC 8538).
        notification: bool,
        /// Seconds until its session is back at the latest: 0 to 4095.
        restart_time: u16,
        /// Family, and its F bit: forwarding state was kept.
        families: Vec<(Family, bool)>,
    },
    /// 65: four-octet AS number (RFC 6793).
    FourOctetAs(u32),
    /// 69: many paths for a prefix, told apart by a path identifier (RFC 7911).
    AddPath(Vec<(Family, AddPathMode)>),
    /// 70: marks the begin and the end of a route refresh (RFC 7313).
    EnhancedRouteRefresh,
    /// 71: long-lived graceful restart (RFC 9494). Family, its F bit, and how many seconds its stale paths may live after
    /// the time of capability 64: 0 to 16777215.
    LongLivedGracefulRestart(Vec<(Family, bool, u32)>),
    /// 73: host and domain name of the sender; words for an operator, no more.
    Fqdn {
        /// Host name, at most 255 octets.
        hostname: String,
        /// Domain name, at most 255 octets; mostly empty.
        domain: String,
    },
    /// Any other, or one of the above with a value that does not parse, or capability 1 for a family that is not ours.
    Other {
        /// Capability code.
        code: u8,
        /// Value, at most 255 octets.
        value: Bytes,
    },
}

/// What the sender of capability 69 wants to do with many paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AddPathMode {
    /// 1: it can receive them.
    Receive,
    /// 2: it would send them.
    Send,
    /// 3: both.
    Both,
}

impl AddPathMode {
    /// Would the sender of the capability send many paths?
    pub const fn sends(self) -> bool {
        matches!(self, AddPathMode::Send | AddPathMode::Both)
    }

    /// Can the sender of the capability receive many paths?
    pub const fn receives(self) -> bool {
        matches!(self, AddPathMode::Receive | AddPathMode::Both)
    }
}

/// What the sender of capability 9 is on this session (RFC 9234 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// 0: sells transit.
    Provider,
    /// 1: route server of an exchange.
    RouteServer,
    /// 2: client of a route server.
    RouteServerClient,
    /// 3: buys transit.
    Customer,
    /// 4: exchanges its own and its customers' routes.
    Peer,
}

/// Capability codes.
mod code {
    pub(super) const MULTI_PROTOCOL: u8 = 1;
    pub(super) const ROUTE_REFRESH: u8 = 2;
    pub(super) const EXTENDED_NEXT_HOP: u8 = 5;
    pub(super) const EXTENDED_MESSAGE: u8 = 6;
    pub(super) const ROLE: u8 = 9;
    pub(super) const GRACEFUL_RESTART: u8 = 64;
    pub(super) const FOUR_OCTET_AS: u8 = 65;
    pub(super) const ADD_PATH: u8 = 69;
    pub(super) const ENHANCED_ROUTE_REFRESH: u8 = 70;
    pub(super) const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;
    pub(super) const FQDN: u8 = 73;
}

/// Largest number in 24 bits.
const MOST_STALE_TIME: u32 = 0xff_ffff;
/// Largest number in 12 bits.
const MOST_RESTART_TIME: u16 = 0xfff;
/// R or F bit: top bit of its octet.
const TOP: u8 = 0x80;

impl Capability {
    /// Capability code.
    pub const fn code(&self) -> u8 {
        match self {
            Capability::MultiProtocol(_) => code::MULTI_PROTOCOL,
            Capability::RouteRefresh => code::ROUTE_REFRESH,
            Capability::ExtendedNextHop(_) => code::EXTENDED_NEXT_HOP,
            Capability::ExtendedMessage => code::EXTENDED_MESSAGE,
            Capability::Role(_) => code::ROLE,
            Capability::GracefulRestart { .. } => code::GRACEFUL_RESTART,
            Capability::FourOctetAs(_) => code::FOUR_OCTET_AS,
            Capability::AddPath(_) => code::ADD_PATH,
            Capability::EnhancedRouteRefresh => code::ENHANCED_ROUTE_REFRESH,
            Capability::LongLivedGracefulRestart(_) => code::LONG_LIVED_GRACEFUL_RESTART,
            Capability::Fqdn { .. } => code::FQDN,
            Capability::Other { code, .. } => *code,
        }
    }

    /// Reads a value. One that is not as its code says is kept as it is: a capability of no use is no error
    /// (RFC 5492 section 3).
    pub(crate) fn decode(code: u8, value: &[u8]) -> Capability {
        known(code, value).unwrap_or_else(|| Capability::Other { code, value: Bytes::copy_from_slice(value) })
    }

    /// Code, length and value.
    pub(crate) fn encode(&self, into: &mut BytesMut) -> Result<(), EncodeError> {
        let value = self.value()?;
        let length = u8::try_from(value.len()).map_err(|_| EncodeError::Value {
            field: "capability",
            value: format!("{} with {} octets, of 255 at most", self.code(), value.len()),
        })?;
        into.put_u8(self.code());
        into.put_u8(length);
        into.put_slice(&value);
        Ok(())
    }

    fn value(&self) -> Result<Bytes, EncodeError> {
        let mut value = BytesMut::new();
        match self {
            Capability::RouteRefresh | Capability::ExtendedMessage | Capability::EnhancedRouteRefresh => {}
            Capability::MultiProtocol(family) => {
                value.put_u16(afi_of(*family));
                value.put_slice(&[0, UNICAST]);
            }
            Capability::ExtendedNextHop(pairs) => {
                for (family, next_hop) in pairs {
                    value.put_u16(afi_of(*family));
                    value.put_u16(u16::from(UNICAST));
                    value.put_u16(afi_of(*next_hop));
                }
            }
            Capability::Role(role) => value.put_u8(role.number()),
            Capability::GracefulRestart { restarting, notification, restart_time, families } => {
                if *restart_time > MOST_RESTART_TIME {
                    return Err(EncodeError::Value { field: "restart time", value: restart_time.to_string() });
                }
                value.put_u16(u16::from(*restarting) << 15 | u16::from(*notification) << 14 | restart_time);
                for (family, kept) in families {
                    put_family(&mut value, *family);
                    value.put_u8(if *kept { TOP } else { 0 });
                }
            }
            Capability::FourOctetAs(asn) => value.put_u32(*asn),
            Capability::AddPath(families) => {
                for (family, mode) in families {
                    put_family(&mut value, *family);
                    value.put_u8(mode.number());
                }
            }
            Capability::LongLivedGracefulRestart(families) => {
                for (family, kept, stale_time) in families {
                    if *stale_time > MOST_STALE_TIME {
                        return Err(EncodeError::Value { field: "stale time", value: stale_time.to_string() });
                    }
                    put_family(&mut value, *family);
                    value.put_u8(if *kept { TOP } else { 0 });
                    value.put_slice(&stale_time.to_be_bytes()[1..]);
                }
            }
            Capability::Fqdn { hostname, domain } => {
                for name in [hostname, domain] {
                    let length = u8::try_from(name.len())
                        .map_err(|_| EncodeError::Value { field: "name in capability 73", value: name.clone() })?;
                    value.put_u8(length);
                    value.put_slice(name.as_bytes());
                }
            }
            Capability::Other { value, .. } => return Ok(value.clone()),
        }
        Ok(value.freeze())
    }
}

/// `None`: not a code of ours, or not a value of that code.
fn known(code: u8, value: &[u8]) -> Option<Capability> {
    let empty = |capability| value.is_empty().then_some(capability);
    match code {
        code::MULTI_PROTOCOL => match value {
            [high, low, _reserved, safi] => Some(Capability::MultiProtocol(family(*high, *low, *safi)?)),
            _ => None,
        },
        code::ROUTE_REFRESH => empty(Capability::RouteRefresh),
        code::EXTENDED_MESSAGE => empty(Capability::ExtendedMessage),
        code::ENHANCED_ROUTE_REFRESH => empty(Capability::EnhancedRouteRefresh),
        code::EXTENDED_NEXT_HOP => {
            let pairs = rows::<6>(value)?.filter_map(|[high, low, safi_high, safi, hop_high, hop_low]| {
                let prefix = family(*high, *low, *safi).filter(|_| *safi_high == 0)?;
                Some((prefix, family(*hop_high, *hop_low, UNICAST)?))
            });
            Some(Capability::ExtendedNextHop(pairs.collect()))
        }
        code::ROLE => match value {
            [number] => Some(Capability::Role(Role::of(*number)?)),
            _ => None,
        },
        code::GRACEFUL_RESTART => {
            let (head, families) = value.split_first_chunk::<2>()?;
            let head = u16::from_be_bytes(*head);
            let families = rows::<4>(families)?
                .filter_map(|[high, low, safi, flags]| Some((family(*high, *low, *safi)?, flags & TOP != 0)));
            Some(Capability::GracefulRestart {
                restarting: head & 0x8000 != 0,
                notification: head & 0x4000 != 0,
                restart_time: head & MOST_RESTART_TIME,
                families: families.collect(),
            })
        }
        code::FOUR_OCTET_AS => Some(Capability::FourOctetAs(u32::from_be_bytes(value.try_into().ok()?))),
        code::ADD_PATH => {
            let families = rows::<4>(value)?
                .filter_map(|[high, low, safi, mode]| Some((family(*high, *low, *safi)?, AddPathMode::of(*mode)?)));
            Some(Capability::AddPath(families.collect()))
        }
        code::LONG_LIVED_GRACEFUL_RESTART => {
            let families = rows::<7>(value)?.filter_map(|[high, low, safi, flags, a, b, c]| {
                Some((family(*high, *low, *safi)?, flags & TOP != 0, u32::from_be_bytes([0, *a, *b, *c])))
            });
            Some(Capability::LongLivedGracefulRestart(families.collect()))
        }
        code::FQDN => {
            let (hostname, rest) = name(value)?;
            let (domain, rest) = name(rest)?;
            rest.is_empty().then_some(Capability::Fqdn { hostname, domain })
        }
        _ => None,
    }
}

/// Rows of a table; `None` if the last one is cut.
fn rows<const N: usize>(value: &[u8]) -> Option<impl Iterator<Item = &[u8; N]>> {
    let (rows, rest) = value.as_chunks::<N>();
    rest.is_empty().then(|| rows.iter())
}

fn family(afi_high: u8, afi_low: u8, safi: u8) -> Option<Family> {
    family_of(u16::from_be_bytes([afi_high, afi_low]), safi)
}

fn put_family(into: &mut BytesMut, family: Family) {
    into.put_u16(afi_of(family));
    into.put_u8(UNICAST);
}

/// A length and as much UTF-8, and what is behind.
fn name(value: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = value.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(name).ok()?.to_owned(), rest))
}

impl AddPathMode {
    const fn of(number: u8) -> Option<AddPathMode> {
        Some(match number {
            1 => AddPathMode::Receive,
            2 => AddPathMode::Send,
            3 => AddPathMode::Both,
            _ => return None,
        })
    }

    const fn number(self) -> u8 {
        match self {
            AddPathMode::Receive => 1,
            AddPathMode::Send => 2,
            AddPathMode::Both => 3,
        }
    }
}

impl Role {
    const fn of(number: u8) -> Option<Role> {
        Some(match number {
            0 => Role::Provider,
            1 => Role::RouteServer,
            2 => Role::RouteServerClient,
            3 => Role::Customer,
            4 => Role::Peer,
            _ => return None,
        })
    }

    const fn number(self) -> u8 {
        match self {
            Role::Provider => 0,
            Role::RouteServer => 1,
            Role::RouteServerClient => 2,
            Role::Customer => 3,
            Role::Peer => 4,
        }
    }
}
