//! OPEN: what we offer, what we take, and what comes of both (RFC 4271 section 4.2, RFC 5492).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use model::{Asn, Family, RouterId};
use wire::{Capability, DecodeError, Notification, Open};

/// What we say in our OPEN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) asn: Asn,
    pub(crate) router_id: RouterId,
    pub(crate) hold_time: Duration,
    /// Say what we can do. Off for one try after the peer has refused it (NOTIFICATION 2/4 or 2/7).
    pub(crate) capabilities: bool,
}

/// What came of both OPENs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// For the codec.
    pub(crate) wire: wire::Negotiated,
    /// The smaller of both; zero: no KEEPALIVE and no hold timer.
    pub(crate) hold_time: Duration,
    /// The peer's BGP Identifier.
    pub(crate) router_id: Ipv4Addr,
    /// The peer answers ROUTE-REFRESH.
    pub(crate) route_refresh: bool,
    /// The peer promises End-of-RIB (RFC 4724 section 3): it sent the Graceful Restart capability.
    pub(crate) end_of_rib: bool,
}

impl Offer {
    /// Our OPEN.
    pub(crate) fn open(&self) -> Open {
        let mut capabilities = Vec::new();
        if self.capabilities {
            capabilities.extend(Family::BOTH.map(Capability::MultiProtocol));
            capabilities.push(Capability::RouteRefresh);
            // No family in it: we do not promise to keep forwarding over our own restart. It asks for End-of-RIB,
            // which many routers send only to a peer that has said this (RFC 4724 section 3).
            capabilities.push(Capability::GracefulRestart {
                restarting: false,
                notification: false,
                restart_time: 0,
                families: Vec::new(),
            });
            capabilities.push(Capability::FourOctetAs(self.asn.0));
        }
        let hold_time = u16::try_from(self.hold_time.as_secs()).unwrap_or(u16::MAX);
        Open { asn: self.asn, hold_time, router_id: self.router_id.0, capabilities }
    }

    /// Checks the peer's OPEN. The error says what to send, and why in words.
    pub(crate) fn agree(&self, expected: Asn, theirs: &Open) -> Result<Agreed, DecodeError> {
        let refuse = |subcode, what: String| Err(DecodeError { notification: Notification::open_error(subcode), what });
        if theirs.asn != expected {
            let what = format!("bad peer AS: want {expected}, got {}", theirs.asn);
            return refuse(wire::open::BAD_PEER_AS, what);
        }
        if theirs.router_id.is_unspecified() || theirs.router_id.is_multicast() || theirs.router_id.is_broadcast() {
            return refuse(wire::open::BAD_IDENTIFIER, format!("bad router ID {}", theirs.router_id));
        }
        let ibgp = expected == self.asn;
        if ibgp && theirs.router_id == self.router_id.0 {
            let what = format!("router ID {} is ours: every router of an AS needs its own", theirs.router_id);
            return refuse(wire::open::BAD_IDENTIFIER, what);
        }
        if matches!(theirs.hold_time, 1 | 2) {
            let what = format!("hold time {} s: expected 0, or 3 and more", theirs.hold_time);
            return refuse(wire::open::UNACCEPTABLE_HOLD_TIME, what);
        }
        let can = |wanted: &Capability| self.capabilities && theirs.capabilities.contains(wanted);
        let four_octet_as =
            self.capabilities && theirs.capabilities.iter().any(|c| matches!(c, Capability::FourOctetAs(_)));
        // An OPEN with no word on families means IPv4 (RFC 4760 section 8).
        let names_none = !theirs.capabilities.iter().any(is_multiprotocol);
        let families: BTreeSet<Family> = match names_none || !self.capabilities {
            true => BTreeSet::from([Family::V4]),
            false => Family::BOTH.into_iter().filter(|f| can(&Capability::MultiProtocol(*f))).collect(),
        };
        if families.is_empty() {
            // AFI 1 and 2 with SAFI 1, as code, length, value.
            let missing = Bytes::from_static(&[1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1]);
            let what = "the peer speaks neither IPv4 nor IPv6 unicast".to_owned();
            return Err(DecodeError { notification: Notification::unsupported_capability(missing), what });
        }
        let hold_time = self.hold_time.min(Duration::from_secs(theirs.hold_time.into()));
        Ok(Agreed {
            wire: wire::Negotiated { four_octet_as, ibgp, families, ..wire::Negotiated::default() },
            hold_time,
            router_id: theirs.router_id,
            route_refresh: can(&Capability::RouteRefresh),
            end_of_rib: self.capabilities
                && theirs.capabilities.iter().any(|c| matches!(c, Capability::GracefulRestart { .. })),
        })
    }
}

/// Capability 1 for any family, ours or not.
fn is_multiprotocol(capability: &Capability) -> bool {
    matches!(capability, Capability::MultiProtocol(_) | Capability::Other { code: 1, .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer {
            asn: Asn(65001),
            router_id: RouterId(Ipv4Addr::new(192, 0, 2, 1)),
            hold_time: Duration::from_secs(90),
            capabilities: true,
        }
    }

    fn theirs(asn: u32) -> Open {
        let other = Offer { asn: Asn(asn), router_id: RouterId(Ipv4Addr::new(192, 0, 2, 2)), ..offer() };
        other.open()
    }

    /// Checklist: 3, 28
    #[test]
    fn the_smaller_hold_time_and_the_common_families() {
        let mut open = theirs(65002);
        open.hold_time = 30;
        open.capabilities.retain(|c| *c != Capability::MultiProtocol(Family::V6));
        let agreed = offer().agree(Asn(65002), &open).unwrap();
        assert_eq!(agreed.hold_time, Duration::from_secs(30));
        assert_eq!(agreed.wire.families, BTreeSet::from([Family::V4]));
        assert!(agreed.wire.four_octet_as && agreed.route_refresh && !agreed.wire.ibgp);
        open.hold_time = 0;
        assert_eq!(offer().agree(Asn(65002), &open).unwrap().hold_time, Duration::ZERO);
    }

    /// Checklist: 28
    #[test]
    fn no_capabilities_mean_ipv4_and_two_octets() {
        let open = Open { capabilities: Vec::new(), ..theirs(65002) };
        let agreed = offer().agree(Asn(65002), &open).unwrap();
        assert_eq!(agreed.wire.families, BTreeSet::from([Family::V4]));
        assert!(!agreed.wire.four_octet_as && !agreed.route_refresh);
        let plain = Offer { capabilities: false, ..offer() };
        assert!(plain.open().capabilities.is_empty());
        assert!(!plain.agree(Asn(65002), &theirs(65002)).unwrap().wire.four_octet_as);
    }

    #[test]
    fn refusals() {
        let code = |open: &Open, asn| {
            let error = offer().agree(Asn(asn), open).unwrap_err();
            (error.notification.code, error.notification.subcode, error.what)
        };
        let (.., what) = code(&theirs(65003), 65000);
        assert_eq!(what, "bad peer AS: want 65000, got 65003");
        assert_eq!(code(&theirs(0), 65000).1, 2);
        let zero = Open { router_id: Ipv4Addr::UNSPECIFIED, ..theirs(65002) };
        assert_eq!(code(&zero, 65002).1, 3);
        let ours = Open { router_id: Ipv4Addr::new(192, 0, 2, 1), ..theirs(65001) };
        assert_eq!(code(&ours, 65001).1, 3);
        let ours = Open { router_id: Ipv4Addr::new(192, 0, 2, 1), ..theirs(65002) };
        assert!(offer().agree(Asn(65002), &ours).is_ok(), "another AS may have the same (RFC 6286)");
        let short = Open { hold_time: 2, ..theirs(65002) };
        assert_eq!(code(&short, 65002).1, 6);
        let vpn = Capability::Other { code: 1, value: Bytes::from_static(&[0, 1, 0, 128]) };
        let strange = Open { capabilities: vec![vpn], ..theirs(65002) };
        assert_eq!(code(&strange, 65002).1, 7);
    }
}
