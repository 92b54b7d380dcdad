//! AFI and SAFI (RFC 4760) of the families that we speak.

use model::Family;

/// SAFI of unicast.
pub(crate) const UNICAST: u8 = 1;

/// Our family of an AFI and a SAFI; `None` for any but unicast of IPv4 and IPv6.
pub(crate) const fn family_of(afi: u16, safi: u8) -> Option<Family> {
    match (afi, safi) {
        (1, UNICAST) => Some(Family::V4),
        (2, UNICAST) => Some(Family::V6),
        _ => None,
    }
}

/// AFI.
pub(crate) const fn afi_of(family: Family) -> u16 {
    match family {
        Family::V4 => 1,
        Family::V6 => 2,
    }
}
