//! Numbers and addresses of the field.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Autonomous system number, four octets (RFC 6793). Never 0 (RFC 7607) when it came through [`Asn::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Asn(pub u32);

impl Asn {
    /// AS_TRANS of RFC 6793: stands in two-octet fields for a number that does not fit.
    pub const TRANS: Asn = Asn(23456);

    /// A usable AS number: not 0 (RFC 7607), not 4294967295 and not 65535 (RFC 7300), not AS_TRANS.
    pub fn new(number: u32) -> Option<Asn> {
        (!matches!(number, 0 | 23456 | 65535 | u32::MAX)).then_some(Asn(number))
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// BGP Identifier: four octets written as an IPv4 address, never 0.0.0.0 (RFC 6286).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RouterId(pub Ipv4Addr);

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// VXLAN network identifier: 1 to 2^24 - 1 (RFC 7348).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

impl Vni {
    /// Largest VNI: 16777215.
    pub const MAX: u32 = (1 << 24) - 1;

    /// `None` for 0 and for what does not fit 24 bits.
    pub const fn new(number: u32) -> Option<Vni> {
        if number == 0 || number > Self::MAX { None } else { Some(Vni(number)) }
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Vni {
    type Error = String;

    fn try_from(number: u32) -> Result<Vni, String> {
        Vni::new(number).ok_or_else(|| format!("VNI {number} is out of range: expected 1 to {}", Vni::MAX))
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> u32 {
        vni.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The IPv6 link-local address that the kernel derives from this MAC (modified EUI-64, RFC 4291 appendix A).
    ///
    /// Inner gateway of the overlay: unlike an address inside the pod CIDR it stays valid while a native route
    /// for that pod CIDR stands.
    pub fn link_local(&self) -> Ipv6Addr {
        let m = self.0;
        Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = self.0;
        write!(f, "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", m[0], m[1], m[2], m[3], m[4], m[5])
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<MacAddr, String> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(|| format!("`{text}` is not a MAC address"))?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| format!("`{text}` is not a MAC address"))?;
        }
        match parts.next() {
            None => Ok(MacAddr(octets)),
            Some(_) => Err(format!("`{text}` is not a MAC address")),
        }
    }
}

impl TryFrom<String> for MacAddr {
    type Error = String;

    fn try_from(text: String) -> Result<MacAddr, String> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_is_modified_eui64() {
        let mac: MacAddr = "02:42:ac:11:00:02".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::42:acff:fe11:2");
    }

    #[test]
    fn vni_bounds() {
        assert_eq!(Vni::new(0), None);
        assert_eq!(Vni::new(1 << 24), None);
        assert_eq!(Vni::new(Vni::MAX).map(Vni::number), Some(16_777_215));
    }

    #[test]
    fn reserved_as_numbers_are_refused() {
        for number in [0, 23456, 65535, u32::MAX] {
            assert_eq!(Asn::new(number), None);
        }
        assert_eq!(Asn::new(4_200_000_001), Some(Asn(4_200_000_001)));
    }
}
