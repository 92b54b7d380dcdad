//! Addresses of this host: for next-hop checks, and for the next hop that we give out.

use std::net::{IpAddr, Ipv6Addr};

use model::kernel::Device;
use model::{Family, Prefix};

/// Addresses with their subnets and devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LocalAddresses(Vec<(IpAddr, u8, Device)>);

impl LocalAddresses {
    pub(crate) fn new(mut addresses: Vec<(IpAddr, u8, Device)>) -> LocalAddresses {
        addresses.sort();
        addresses.dedup();
        LocalAddresses(addresses)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &IpAddr> {
        self.0.iter().map(|(address, ..)| address)
    }

    /// The networks that the addresses are on.
    pub(crate) fn networks(&self) -> impl Iterator<Item = Prefix> {
        self.0.iter().filter_map(|(address, len, _)| Prefix::new(*address, *len))
    }

    pub(crate) fn is_own(&self, address: &IpAddr) -> bool {
        self.iter().any(|own| own == address)
    }

    /// Is `hop` on a subnet of the device that holds `local`? A link-local address always is on some link of it.
    pub(crate) fn share_subnet(&self, local: &IpAddr, hop: &IpAddr) -> bool {
        if matches!(hop, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            return true;
        }
        self.beside(local).any(|(address, len)| Prefix::new(*address, len).is_some_and(|subnet| subnet.holds(hop)))
    }

    /// The next hop "self" for prefixes of `family` on a session whose our end is `local`: that address, or one of the
    /// other family on the same device, a global one before a link-local one. The second is the link-local address
    /// when the session itself runs over it (RFC 2545 section 3).
    pub(crate) fn next_hop_self(&self, local: IpAddr, family: Family) -> Option<(IpAddr, Option<Ipv6Addr>)> {
        let link_local = |a: &IpAddr| matches!(a, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if Family::of(&local) == family && !link_local(&local) {
            return Some((local, None));
        }
        let session_link_local = match local {
            IpAddr::V6(v6) if v6.is_unicast_link_local() && family == Family::V6 => Some(v6),
            _ => None,
        };
        let candidates = self.beside(&local).map(|(address, _)| *address).filter(|a| Family::of(a) == family);
        let usable = candidates.filter(|a| !a.is_loopback() && !a.is_unspecified());
        let best = usable.min_by_key(|a| (link_local(a), *a));
        let hop = best.or(session_link_local.map(IpAddr::V6))?;
        Some((hop, session_link_local))
    }

    /// Addresses and prefix lengths on the device that holds `local`.
    fn beside<'a>(&'a self, local: &'a IpAddr) -> impl Iterator<Item = (&'a IpAddr, u8)> {
        let devices = self.0.iter().filter(move |(address, ..)| address == local).map(|(.., device)| device);
        devices.flat_map(|device| {
            self.0.iter().filter(move |(.., on)| on == device).map(|(address, len, _)| (address, *len))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> LocalAddresses {
        let eth0 = Device::new("eth0").unwrap();
        let eth1 = Device::new("eth1").unwrap();
        LocalAddresses::new(vec![
            ("192.0.2.1".parse().unwrap(), 24, eth0.clone()),
            ("fe80::1".parse().unwrap(), 64, eth0.clone()),
            ("2001:db8::1".parse().unwrap(), 64, eth0),
            ("198.51.100.1".parse().unwrap(), 24, eth1),
        ])
    }

    #[test]
    fn next_hop_self_of_the_other_family_is_on_the_same_device() {
        let own = addresses();
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(own.next_hop_self(v4, Family::V4), Some((v4, None)));
        assert_eq!(own.next_hop_self(v4, Family::V6), Some(("2001:db8::1".parse().unwrap(), None)));
        let other: IpAddr = "198.51.100.1".parse().unwrap();
        assert_eq!(own.next_hop_self(other, Family::V6), None, "eth1 has no IPv6 address");
        let link_local = own.next_hop_self("fe80::1".parse().unwrap(), Family::V6);
        assert_eq!(link_local, Some(("2001:db8::1".parse().unwrap(), Some("fe80::1".parse().unwrap()))));
        assert_eq!(own.next_hop_self("fe80::1".parse().unwrap(), Family::V4), Some((v4, None)));
    }

    #[test]
    fn subnets_are_those_of_the_session_s_device() {
        let own = addresses();
        let local: IpAddr = "192.0.2.1".parse().unwrap();
        assert!(own.share_subnet(&local, &"192.0.2.99".parse().unwrap()));
        assert!(own.share_subnet(&local, &"2001:db8::99".parse().unwrap()));
        assert!(own.share_subnet(&local, &"fe80::99".parse().unwrap()));
        assert!(!own.share_subnet(&local, &"198.51.100.99".parse().unwrap()), "that is eth1's");
    }
}
