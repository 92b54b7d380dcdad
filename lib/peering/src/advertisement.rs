//! Router advertisements and solicitations (RFC 4861 sections 4.1, 4.2, 6.1), as far as finding a BGP peer needs them.

use std::net::Ipv6Addr;

/// ICMPv6 type of a Router Solicitation.
pub(crate) const SOLICITATION: u8 = 133;
/// ICMPv6 type of a Router Advertisement.
pub(crate) const ADVERTISEMENT: u8 = 134;

/// What an ICMPv6 message on a link says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Somebody asks who the routers are.
    Solicitation,
    /// A router is there.
    Advertisement,
}

/// Our Router Advertisement: that we are there and speak. Router lifetime 0: nobody is to take us for its default router;
/// no prefix, no hop limit, no timers: nobody's configuration changes by it. The kernel fills the checksum in.
pub(crate) const fn advertisement() -> [u8; 16] {
    let mut octets = [0; 16];
    octets[0] = ADVERTISEMENT;
    octets
}

/// Our Router Solicitation.
pub(crate) const fn solicitation() -> [u8; 8] {
    let mut octets = [0; 8];
    octets[0] = SOLICITATION;
    octets
}

/// Reads a message whose checksum the kernel has checked. `None` for one that RFC 4861 section 6.1 says to drop: not from
/// this link (hop limit below 255), not from a link-local address (of an advertisement), too short, or with an option
/// that is broken.
pub(crate) fn read(octets: &[u8], source: &Ipv6Addr, hop_limit: u8) -> Option<Message> {
    let [kind, code, ..] = *octets else { return None };
    if hop_limit != 255 || code != 0 {
        return None;
    }
    let (message, head) = match kind {
        SOLICITATION => (Message::Solicitation, 8),
        ADVERTISEMENT if source.is_unicast_link_local() => (Message::Advertisement, 16),
        _ => return None,
    };
    options(octets.get(head..)?).then_some(message)
}

/// Is each option whole, and none of length 0?
fn options(mut octets: &[u8]) -> bool {
    while let [_, length, ..] = *octets {
        let Some(rest) = octets.get(usize::from(length) * 8..).filter(|_| length > 0) else { return false };
        octets = rest;
    }
    octets.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    #[test]
    fn ours_are_read_again() {
        assert_eq!(read(&advertisement(), &ROUTER, 255), Some(Message::Advertisement));
        assert_eq!(read(&solicitation(), &ROUTER, 255), Some(Message::Solicitation));
        // Whoever has no address yet may ask, too.
        assert_eq!(read(&solicitation(), &Ipv6Addr::UNSPECIFIED, 255), Some(Message::Solicitation));
    }

    /// Checklist: 33
    #[test]
    fn what_does_not_come_from_this_link_or_is_broken_is_nothing() {
        let with = |options: &[u8]| [advertisement().as_slice(), options].concat();
        let link_layer = [1, 1, 2, 0, 0, 0, 0, 9];
        assert_eq!(read(&with(&link_layer), &ROUTER, 255), Some(Message::Advertisement));
        assert_eq!(read(&with(&[link_layer, link_layer].concat()), &ROUTER, 255), Some(Message::Advertisement));
        for hop_limit in [0, 1, 64, 254] {
            assert_eq!(read(&advertisement(), &ROUTER, hop_limit), None, "it came through a router");
            assert_eq!(read(&solicitation(), &ROUTER, hop_limit), None);
        }
        for source in ["::", "fd00::1", "2001:db8::1", "ff02::1", "fec0::1"] {
            assert_eq!(read(&advertisement(), &source.parse().unwrap(), 255), None, "{source} is no router's address");
        }
        for length in 0..16 {
            assert_eq!(read(&advertisement()[..length], &ROUTER, 255), None, "{length} octets");
        }
        for broken in [&[1][..], &[1, 0], &[1, 0, 0, 0, 0, 0, 0, 0], &[1, 1, 0, 0], &[1, 2, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(read(&with(broken), &ROUTER, 255), None, "{broken:?}");
        }
        let mut code = advertisement();
        code[1] = 1;
        assert_eq!(read(&code, &ROUTER, 255), None);
        // Neighbour discovery that is none of ours.
        for kind in [0, 128, 135, 136, 137, 255] {
            let mut other = advertisement();
            other[0] = kind;
            assert_eq!(read(&other, &ROUTER, 255), None);
        }
    }
}
