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

    /// Is this address on one of the networks, as far as they are known?
    pub(crate) fn reach(&self, address: &IpAddr) -> bool {
        self.0.is_empty() || self.networks().any(|network| network.holds(address))
    }

    /// The networks that the addresses are on.
    pub(crate) fn networks(&self) -> impl Iterator<Item = Prefix> {
        self.0.iter().filter_map(|(address, len, _)| Prefix::new(*address, *len))
    }

    /// Is `hop`, told in a session of which `local` is our end, an address of ours? A link-local one is another's on
    /// another link, whatever it looks like.
    pub(crate) fn is_own(&self, hop: &IpAddr, local: Option<IpAddr>) -> bool {
        if !is_link_local(hop) {
            return self.iter().any(|own| own == hop);
        }
        local.is_some_and(|local| self.beside(&local).any(|(own, _)| own == hop))
    }

    /// Is `hop` on a subnet of the device that holds `local`? A link-local address always is on some link of it.
    pub(crate) fn share_subnet(&self, local: &IpAddr, hop: &IpAddr) -> bool {
        if is_link_local(hop) {
            return true;
        }
        self.beside(local).any(|(address, len)| Prefix::new(*address, len).is_some_and(|subnet| subnet.holds(hop)))
    }

    /// The next hop "self" for prefixes of `family` on a session whose our end is `local`: that address, or one of the
    /// other family on the same device, a global one before a link-local one. The second is the link-local address
    /// when the session itself runs over it (RFC 2545 section 3).
    ///
    /// With `extended`, the peer takes IPv6 next hops for IPv4 (RFC 8950): on a session between link-local addresses it
    /// gets one in any case, as what IPv4 address the device may have is on no subnet of the peer's; else where the device
    /// has no IPv4 address.
    pub(crate) fn next_hop_self(
        &self,
        local: IpAddr,
        family: Family,
        extended: bool,
    ) -> Option<(IpAddr, Option<Ipv6Addr>)> {
        let link_local = is_link_local;
        if Family::of(&local) == family && !link_local(&local) {
            return Some((local, None));
        }
        let extended = extended && family == Family::V4 && local.is_ipv6();
        if extended && link_local(&local) {
            return self.next_hop_self(local, Family::V6, false);
        }
        let session_link_local = match local {
            IpAddr::V6(v6) if v6.is_unicast_link_local() && family == Family::V6 => Some(v6),
            _ => None,
        };
        let candidates = self.beside(&local).map(|(address, _)| *address).filter(|a| Family::of(a) == family);
        let usable = candidates.filter(|a| !a.is_loopback() && !a.is_unspecified());
        let best = usable.min_by_key(|a| (link_local(a), *a));
        if best.is_none() && extended {
            return Some((local, None));
        }
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

pub(crate) fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
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
        assert_eq!(own.next_hop_self(v4, Family::V4, true), Some((v4, None)));
        assert_eq!(own.next_hop_self(v4, Family::V6, true), Some(("2001:db8::1".parse().unwrap(), None)));
        let other: IpAddr = "198.51.100.1".parse().unwrap();
        assert_eq!(own.next_hop_self(other, Family::V6, true), None, "eth1 has no IPv6 address");
        let link_local = own.next_hop_self("fe80::1".parse().unwrap(), Family::V6, true);
        assert_eq!(link_local, Some(("2001:db8::1".parse().unwrap(), Some("fe80::1".parse().unwrap()))));
        assert_eq!(own.next_hop_self("fe80::1".parse().unwrap(), Family::V4, false), Some((v4, None)));
    }

    /// Checklist: 32
    #[test]
    fn ipv4_goes_over_an_ipv6_next_hop_where_there_is_no_other() {
        let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let eth1 = Device::new("eth1").unwrap();
        let bare = LocalAddresses::new(vec![("fe80::2".parse().unwrap(), 64, eth1.clone())]);
        let hop = |own: &LocalAddresses, local: &str, extended| {
            own.next_hop_self(local.parse().unwrap(), Family::V4, extended)
        };
        // Between link-local addresses: that one, alone or behind the device's global one.
        assert_eq!(hop(&bare, "fe80::2", true), Some((v6("fe80::2").into(), Some(v6("fe80::2")))));
        assert_eq!(hop(&bare, "fe80::2", false), None);
        assert_eq!(hop(&addresses(), "fe80::1", true), Some((v6("2001:db8::1").into(), Some(v6("fe80::1")))));
        // Between global ones: the IPv4 address that is there, else our end of the session.
        assert_eq!(hop(&addresses(), "2001:db8::1", true), Some(("192.0.2.1".parse().unwrap(), None)));
        let only6 = LocalAddresses::new(vec![("2001:db8::2".parse().unwrap(), 64, eth1)]);
        assert_eq!(hop(&only6, "2001:db8::2", true), Some((v6("2001:db8::2").into(), None)));
        assert_eq!(hop(&only6, "2001:db8::2", false), None);
    }

    #[test]
    fn a_link_local_address_of_ours_is_another_s_on_another_link() {
        let own = addresses();
        let hop: IpAddr = "fe80::1".parse().unwrap();
        assert!(own.is_own(&hop, Some("192.0.2.1".parse().unwrap())));
        assert!(own.is_own(&hop, Some(hop)));
        assert!(!own.is_own(&hop, Some("198.51.100.1".parse().unwrap())), "that session is on eth1");
        assert!(own.is_own(&"2001:db8::1".parse().unwrap(), Some("198.51.100.1".parse().unwrap())));
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
