//! Prefixes, pod CIDRs and the pools they are cut from.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Address family of pods or of the underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order in which they are listed everywhere.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub const fn of(address: &IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// Number of bits in an address: 32 or 128.
    pub const fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        })
    }
}

/// Why a text is not a [`Prefix`], a pool or a pod CIDR.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not `address/length` at all.
    #[error("`{0}` is not a prefix: expected ADDRESS/LENGTH, for example 10.244.0.0/16 or fd00:10:244::/48")]
    Syntax(String),
    /// Bits are set behind the length.
    #[error("`{given}` has bits set behind its length: did you mean {meant}?")]
    HostBits {
        /// What was given.
        given: String,
        /// The same with those bits cleared.
        meant: Prefix,
    },
    /// The node length of a pool does not fit the pool.
    #[error("nodePrefix {node_len} does not fit the pool {cidr}: expected {min} to {max}")]
    NodeLength {
        /// The pool.
        cidr: Prefix,
        /// The node length that was given.
        node_len: u8,
        /// Smallest that fits.
        min: u8,
        /// Largest that fits.
        max: u8,
    },
}

/// An IP prefix without host bits. Text form `10.1.0.0/24`.
///
/// Ordered by family, then address, then length: IPv4 comes first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(IpNet);

/// Tables of a million prefixes are searched by this, so each side is one number.
impl Ord for Prefix {
    #[inline]
    fn cmp(&self, other: &Prefix) -> Ordering {
        let v4 = |net: &Ipv4Net| u64::from(u32::from(net.addr())) << 8 | u64::from(net.prefix_len());
        let v6 = |net: &Ipv6Net| (u128::from(net.addr()), net.prefix_len());
        match (&self.0, &other.0) {
            (IpNet::V4(one), IpNet::V4(two)) => v4(one).cmp(&v4(two)),
            (IpNet::V6(one), IpNet::V6(two)) => v6(one).cmp(&v6(two)),
            (IpNet::V4(_), IpNet::V6(_)) => Ordering::Less,
            (IpNet::V6(_), IpNet::V4(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Prefix) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Prefix {
    /// The prefix that holds `address` at `len` bits; bits behind `len` are cleared. `None` if `len` is too long for the family.
    pub fn new(address: IpAddr, len: u8) -> Option<Prefix> {
        IpNet::new(address, len).ok().map(|net| Prefix(net.trunc()))
    }

    /// The prefix of one address alone: /32 or /128.
    pub fn host(address: IpAddr) -> Prefix {
        Prefix(IpNet::from(address))
    }

    /// First address; the network address.
    pub fn address(&self) -> IpAddr {
        self.0.network()
    }

    /// Prefix length: 0 to 32, or 0 to 128.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Is this a default route, 0.0.0.0/0 or ::/0?
    pub fn is_default(&self) -> bool {
        self.0.prefix_len() == 0
    }

    /// Address family.
    pub fn family(&self) -> Family {
        match self.0 {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        }
    }

    /// Is `address` inside?
    pub fn holds(&self, address: &IpAddr) -> bool {
        self.0.contains(address)
    }

    /// Is `other` the same prefix, or a longer one inside this?
    pub fn covers(&self, other: &Prefix) -> bool {
        self.0.contains(&other.0)
    }

    /// Do the two share an address?
    pub fn overlaps(&self, other: &Prefix) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The address `offset` places behind the first one; `None` outside the prefix.
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        let span = u32::from(self.family().bits() - self.len());
        if span < 128 && offset >> span != 0 {
            return None;
        }
        Some(match self.0 {
            IpNet::V4(net) => {
                let base = u32::from(net.network());
                IpAddr::V4(Ipv4Addr::from(base | u32::try_from(offset).ok()?))
            }
            IpNet::V6(net) => IpAddr::V6(Ipv6Addr::from(u128::from(net.network()) | offset)),
        })
    }

    /// The same as the `ipnet` crate's type.
    pub fn net(&self) -> IpNet {
        self.0
    }
}

impl From<Ipv4Net> for Prefix {
    fn from(net: Ipv4Net) -> Prefix {
        Prefix(IpNet::V4(net.trunc()))
    }
}

impl From<Ipv6Net> for Prefix {
    fn from(net: Ipv6Net) -> Prefix {
        Prefix(IpNet::V6(net.trunc()))
    }
}

impl From<IpNet> for Prefix {
    fn from(net: IpNet) -> Prefix {
        Prefix(net.trunc())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        let net: IpNet = text.parse().map_err(|_| PrefixError::Syntax(text.to_owned()))?;
        let meant = Prefix(net.trunc());
        if net.addr() != net.network() {
            return Err(PrefixError::HostBits { given: text.to_owned(), meant });
        }
        Ok(meant)
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Prefix, PrefixError> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.to_string()
    }
}

/// One node's slice of a pool: the addresses of its pods.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodCidr(pub Prefix);

impl PodCidr {
    /// The pods' default gateway, first address behind the network address; the CNI plugin puts it on the bridge.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.0.nth(1)
    }

    /// The node's own address among its pods: second behind the network address, never given to a pod.
    ///
    /// Preferred source of every pod CIDR route, so that the host's own source does not change with the plane
    /// (facts: a flip that changes the source breaks the host's connections).
    pub fn node_address(&self) -> Option<IpAddr> {
        self.0.nth(2)
    }

    /// First address that a pod may get; the ones before it are network, gateway and node.
    pub fn first_pod(&self) -> Option<IpAddr> {
        self.0.nth(3)
    }

    /// Address family.
    pub fn family(&self) -> Family {
        self.0.family()
    }
}

impl fmt::Display for PodCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PodCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PodCidr {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<PodCidr, PrefixError> {
        text.parse().map(PodCidr)
    }
}

/// A cluster CIDR and the length of the slices that nodes get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterPool {
    /// All pods of the pool live in here.
    pub cidr: Prefix,
    /// Prefix length of a node's slice; longer than the pool's own, and leaving at least 3 bits for pods.
    pub node_len: u8,
}

impl ClusterPool {
    /// A slice needs network, gateway and node address, and some pods: at least 8 addresses.
    pub const MIN_HOST_BITS: u8 = 3;

    /// Checks that slices of `node_len` fit the pool: not shorter than the pool, at most 2^32 slices, at least 8 addresses each.
    pub fn new(cidr: Prefix, node_len: u8) -> Result<ClusterPool, PrefixError> {
        let min = cidr.len();
        let max = (cidr.family().bits() - Self::MIN_HOST_BITS).min(min.saturating_add(32));
        if node_len < min || node_len > max {
            return Err(PrefixError::NodeLength { cidr, node_len, min, max });
        }
        Ok(ClusterPool { cidr, node_len })
    }

    /// Number of slices in the pool: 1 to 2^32.
    pub fn slots(&self) -> u64 {
        1 << (self.node_len - self.cidr.len())
    }

    /// The slice at `index`; `None` past the end.
    pub fn slot(&self, index: u64) -> Option<PodCidr> {
        if index >= self.slots() {
            return None;
        }
        let shift = u32::from(self.cidr.family().bits() - self.node_len);
        let first = self.cidr.nth(u128::from(index) << shift)?;
        Prefix::new(first, self.node_len).map(PodCidr)
    }

    /// Is this prefix one of the pool's slices: inside, and of exactly the node length?
    pub fn is_slot(&self, prefix: &Prefix) -> bool {
        prefix.len() == self.node_len && self.cidr.covers(prefix)
    }

    /// Address family of the pool.
    pub fn family(&self) -> Family {
        self.cidr.family()
    }
}

impl fmt::Display for ClusterPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (/{} a node)", self.cidr, self.node_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_refused_and_named() {
        let error = "10.1.2.3/16".parse::<Prefix>().unwrap_err();
        assert_eq!(error.to_string(), "`10.1.2.3/16` has bits set behind its length: did you mean 10.1.0.0/16?");
    }

    #[test]
    fn ordered_by_family_address_and_length() {
        let texts =
            ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.1.0/24", "200.0.0.0/8", "::/0", "::1/128", "fd00::/8"];
        let sorted: Vec<Prefix> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let mut turned: Vec<Prefix> = sorted.iter().rev().copied().collect();
        turned.sort();
        assert_eq!(turned, sorted);
    }

    #[test]
    fn slots_walk_the_pool() {
        let pool = ClusterPool::new("10.244.0.0/16".parse().unwrap(), 24).unwrap();
        assert_eq!(pool.slots(), 256);
        assert_eq!(pool.slot(255).unwrap().to_string(), "10.244.255.0/24");
        assert_eq!(pool.slot(256), None);
        let six = ClusterPool::new("fd00:10:244::/48".parse().unwrap(), 64).unwrap();
        assert_eq!(six.slots(), 65536);
        assert_eq!(six.slot(1).unwrap().to_string(), "fd00:10:244:1::/64");
        assert!(six.is_slot(&"fd00:10:244:ffff::/64".parse().unwrap()));
        assert!(!six.is_slot(&"fd00:10:245::/64".parse().unwrap()));
    }

    #[test]
    fn node_length_is_bounded() {
        assert!(ClusterPool::new("10.244.0.0/16".parse().unwrap(), 15).is_err());
        assert!(ClusterPool::new("10.244.0.0/16".parse().unwrap(), 30).is_err());
        assert!(ClusterPool::new("10.244.0.0/16".parse().unwrap(), 16).is_ok());
        assert!(ClusterPool::new("fd00::/8".parse().unwrap(), 64).is_err());
    }

    #[test]
    fn addresses_of_a_slice() {
        let cidr: PodCidr = "10.244.3.0/24".parse().unwrap();
        assert_eq!(cidr.gateway().unwrap().to_string(), "10.244.3.1");
        assert_eq!(cidr.node_address().unwrap().to_string(), "10.244.3.2");
        assert_eq!(cidr.first_pod().unwrap().to_string(), "10.244.3.3");
        assert_eq!(cidr.0.nth(256), None);
    }
}
