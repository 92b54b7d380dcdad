//! Who a BGP peer is, and how its packets travel.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Asn;
use crate::kernel::Device;

/// A peer: its address, and for an IPv6 link-local one the device that it is behind. As text `192.0.2.1` or
/// `fe80::1%eth0`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerId {
    /// Where we dial, and where its connections come from.
    pub address: IpAddr,
    /// The device, by name; only for a link-local address, which means nothing without.
    pub device: Option<Device>,
}

impl PeerId {
    /// The peer behind an address; the device counts for a link-local one alone. IPv4-mapped addresses are IPv4 ones.
    pub fn new(address: IpAddr, device: Option<Device>) -> PeerId {
        let address = address.to_canonical();
        let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        PeerId { address, device: device.filter(|_| link_local) }
    }

    /// The link-local peer on a device.
    pub fn link_local(address: Ipv6Addr, device: Device) -> PeerId {
        PeerId::new(address.into(), Some(device))
    }
}

impl From<IpAddr> for PeerId {
    fn from(address: IpAddr) -> PeerId {
        PeerId::new(address, None)
    }
}

impl FromStr for PeerId {
    type Err = String;

    fn from_str(text: &str) -> Result<PeerId, String> {
        let (address, device) = match text.split_once('%') {
            Some((address, device)) => (address, Some(Device::try_from(device.to_owned())?)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| format!("`{text}` is no peer: expected an address, or `fe80::1%eth0`"))?;
        let id = PeerId::new(address, device.clone());
        match device {
            Some(_) if id.device.is_none() => {
                Err(format!("`{text}`: only an IPv6 link-local address (fe80::/10) takes a device: write {address}"))
            }
            _ => Ok(id),
        }
    }
}

impl TryFrom<String> for PeerId {
    type Error = String;

    fn try_from(text: String) -> Result<PeerId, String> {
        text.parse()
    }
}

impl From<PeerId> for String {
    fn from(id: PeerId) -> String {
        id.to_string()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.device {
            Some(device) => f.pad(&format!("{}%{device}", self.address)),
            None => self.address.fmt(f),
        }
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which AS a peer is of. In JSON a number, `external` or `internal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerAs {
    /// Any but ours: its OPEN says which.
    External,
    /// Ours.
    Internal,
    /// This one; our own makes the session internal.
    #[serde(untagged)]
    Number(Asn),
}

impl PeerAs {
    /// Those that are no number, by their names.
    pub const WORDS: [(&'static str, PeerAs); 2] = [("external", PeerAs::External), ("internal", PeerAs::Internal)];

    /// Is `asn` the AS of such a peer, when `own` is ours?
    pub fn admits(self, asn: Asn, own: Asn) -> bool {
        match self {
            PeerAs::External => asn != own && asn != Asn(0),
            PeerAs::Internal => asn == own,
            PeerAs::Number(number) => asn == number,
        }
    }

    /// Is the peer in another AS than `own`, ours?
    pub fn is_external(self, own: Asn) -> bool {
        match self {
            PeerAs::External => true,
            PeerAs::Internal => false,
            PeerAs::Number(asn) => asn != own,
        }
    }

    /// The number, as far as it is known without the peer's word; `own` is ours.
    pub fn number(self, own: Asn) -> Option<Asn> {
        match self {
            PeerAs::External => None,
            PeerAs::Internal => Some(own),
            PeerAs::Number(asn) => Some(asn),
        }
    }
}

impl From<Asn> for PeerAs {
    fn from(asn: Asn) -> PeerAs {
        PeerAs::Number(asn)
    }
}

impl fmt::Display for PeerAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAs::External => f.pad("external"),
            PeerAs::Internal => f.pad("internal"),
            PeerAs::Number(asn) => asn.fmt(f),
        }
    }
}

/// How the packets of a BGP connection travel.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transport {
    /// The device that they leave by, for a link-local remote.
    pub device: Option<Device>,
    /// TTL or hop limit of what we send, 1 to 255; the kernel's default if absent.
    pub ttl: Option<u8>,
    /// Packets that arrive with less are dropped by the kernel (RFC 5082), 1 to 255; none is if absent.
    pub least_ttl: Option<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["192.0.2.1", "2001:db8::1", "fe80::1%eth0", "fe80::1"] {
            assert_eq!(text.parse::<PeerId>().unwrap().to_string(), text);
        }
        let json = serde_json::to_string(&"fe80::1%eth0".parse::<PeerId>().unwrap()).unwrap();
        assert_eq!(json, "\"fe80::1%eth0\"");
        for (text, words) in [
            ("eth0", "`eth0` is no peer: expected an address, or `fe80::1%eth0`"),
            ("fe80::1%", "`` is not an interface name: expected 1 to 15 characters"),
            (
                "2001:db8::1%eth0",
                "`2001:db8::1%eth0`: only an IPv6 link-local address (fe80::/10) takes a device: write 2001:db8::1",
            ),
        ] {
            assert_eq!(text.parse::<PeerId>(), Err(words.to_owned()));
        }
    }

    #[test]
    fn an_as_is_a_number_or_a_word() {
        for (json, what) in [
            ("65001", PeerAs::Number(Asn(65001))),
            ("\"external\"", PeerAs::External),
            ("\"internal\"", PeerAs::Internal),
        ] {
            assert_eq!(serde_json::from_str::<PeerAs>(json).unwrap(), what);
            assert_eq!(serde_json::to_string(&what).unwrap(), json);
        }
        assert!(serde_json::from_str::<PeerAs>("\"any\"").is_err());
        let own = Asn(64512);
        let admits = |what: PeerAs| [64512, 65001, 0].map(|asn| what.admits(Asn(asn), own));
        assert_eq!(admits(PeerAs::External), [false, true, false]);
        assert_eq!(admits(PeerAs::Internal), [true, false, false]);
        assert_eq!(admits(Asn(65001).into()), [false, true, false]);
    }

    #[test]
    fn a_device_counts_for_a_link_local_address_alone() {
        let eth0 = Device::new("eth0");
        assert_eq!(PeerId::new("2001:db8::1".parse().unwrap(), eth0.clone()).device, None);
        assert_eq!(PeerId::new("::ffff:192.0.2.1".parse().unwrap(), None).to_string(), "192.0.2.1");
        assert_ne!(
            PeerId::new("fe80::1".parse().unwrap(), eth0),
            PeerId::new("fe80::1".parse().unwrap(), Device::new("eth1"))
        );
    }
}
