//! OPEN: what we offer, what we take, and what comes of both (RFC 4271 section 4.2, RFC 5492).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::graceful::{self, Pledge, Promise};
use bytes::Bytes;
use model::{AddPath, Asn, Family, PeerAs, RouterId};
use wire::{Capability, DecodeError, Notification, Open, Role};

use crate::role;

use crate::add_path;

/// How much of what we can do our OPEN says. A peer that refuses it (NOTIFICATION 2/4 or 2/7) is tried again with less
/// (RFC 5492 section 3), and then from the start: each refusal costs one try, and the waits between tries stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// Everything.
    #[default]
    Whole,
    /// Families, route refresh and the AS number: what was there before 2005.
    Basic,
    /// No capabilities: IPv4 between two-octet AS numbers.
    Bare,
}

impl Extent {
    /// What to try after a refusal; `bare` tells whether nothing at all would do. `None`: there is nothing less.
    pub(crate) fn less(self, bare: bool) -> Option<Extent> {
        match self {
            Extent::Whole => Some(Extent::Basic),
            Extent::Basic if bare => Some(Extent::Bare),
            Extent::Basic | Extent::Bare => None,
        }
    }
}

/// What we say in our OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) asn: Asn,
    pub(crate) router_id: RouterId,
    pub(crate) hold_time: Duration,
    /// How much of what we can do we say.
    pub(crate) extent: Extent,
    /// What we are to the peer, and whether it has to name its own role.
    pub(crate) role: Option<Role>,
    pub(crate) role_strict: bool,
    /// Name of this host, for the other side's operator.
    pub(crate) host_name: Option<String>,
    /// What we promise of graceful restart; nothing if absent.
    pub(crate) promise: Option<Promise>,
    /// Several paths for a prefix (RFC 7911).
    pub(crate) add_path: AddPath,
    /// Nothing of it is offered: paths with an AS_SET are taken.
    pub(crate) accept_as_sets: bool,
}

/// What came of both OPENs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// For the codec.
    pub(crate) wire: wire::Negotiated,
    /// The smaller of both; zero: no KEEPALIVE and no hold timer.
    pub(crate) hold_time: Duration,
    /// The peer's AS number.
    pub(crate) asn: Asn,
    /// The peer's BGP Identifier.
    pub(crate) router_id: Ipv4Addr,
    /// The peer answers ROUTE-REFRESH.
    pub(crate) route_refresh: bool,
    /// Both sides mark the begin and the end of a route refresh (RFC 7313).
    pub(crate) enhanced_refresh: bool,
    /// Name of the peer's host, if it tells one, as one safe line.
    pub(crate) host_name: Option<String>,
    /// The peer promises End-of-RIB (RFC 4724 section 3): it sent the Graceful Restart capability.
    pub(crate) end_of_rib: bool,
    /// What the peer promises of graceful restart; absent if one of us takes no part in it.
    pub(crate) pledge: Option<Pledge>,
}

impl Offer {
    /// Our OPEN.
    pub(crate) fn open(&self) -> Open {
        let mut capabilities = Vec::new();
        if self.extent < Extent::Bare {
            capabilities.extend(Family::BOTH.map(Capability::MultiProtocol));
            capabilities.push(Capability::RouteRefresh);
            capabilities.push(Capability::FourOctetAs(self.asn.0));
        }
        // Whoever insists on roles says its own whatever the peer makes of it.
        if self.extent == Extent::Whole || (self.extent == Extent::Basic && self.role_strict) {
            capabilities.extend(self.role.map(Capability::Role));
        }
        if self.extent == Extent::Whole {
            capabilities.push(Capability::ExtendedMessage);
            capabilities.push(Capability::EnhancedRouteRefresh);
            capabilities.extend(graceful::capabilities(self.promise.as_ref()));
            let hostname = self.host_name.iter().filter(|name| name.len() <= 255).cloned();
            capabilities.extend(hostname.map(|hostname| Capability::Fqdn { hostname, domain: String::new() }));
            capabilities.extend(add_path::capability(self.add_path));
            capabilities.push(Capability::ExtendedNextHop(vec![EXTENDED_NEXT_HOP]));
        }
        let hold_time = u16::try_from(self.hold_time.as_secs()).unwrap_or(u16::MAX);
        Open { asn: self.asn, hold_time, router_id: self.router_id.0, capabilities }
    }

    /// Checks the peer's OPEN. The error says what to send, and why in words.
    pub(crate) fn agree(&self, expected: impl Into<PeerAs>, theirs: &Open) -> Result<Agreed, DecodeError> {
        let expected = expected.into();
        let refuse = |subcode, what: String| Err(DecodeError { notification: Notification::open_error(subcode), what });
        if !expected.admits(theirs.asn, self.asn) {
            let what = format!("bad peer AS: want {expected}, got {}", theirs.asn);
            return refuse(wire::open::BAD_PEER_AS, what);
        }
        if theirs.router_id.is_unspecified() || theirs.router_id.is_multicast() || theirs.router_id.is_broadcast() {
            return refuse(wire::open::BAD_IDENTIFIER, format!("bad router ID {}", theirs.router_id));
        }
        let ibgp = theirs.asn == self.asn;
        if ibgp && theirs.router_id == self.router_id.0 {
            let what = format!("router ID {} is ours: every router of an AS needs its own", theirs.router_id);
            return refuse(wire::open::BAD_IDENTIFIER, what);
        }
        if matches!(theirs.hold_time, 1 | 2) {
            let what = format!("hold time {} s: expected 0, or 3 and more", theirs.hold_time);
            return refuse(wire::open::UNACCEPTABLE_HOLD_TIME, what);
        }
        role::agree(self.role.filter(|_| !ibgp), self.role_strict, &theirs.capabilities)?;
        let basic = self.extent < Extent::Bare;
        let whole = self.extent == Extent::Whole;
        let can = |wanted: &Capability| basic && theirs.capabilities.contains(wanted);
        let four_octet_as = basic && theirs.capabilities.iter().any(|c| matches!(c, Capability::FourOctetAs(_)));
        let max_message = match whole && can(&Capability::ExtendedMessage) {
            true => wire::MAX_EXTENDED_MESSAGE,
            false => wire::MAX_MESSAGE,
        };
        // An OPEN with no word on families means IPv4 (RFC 4760 section 8).
        let names_none = !theirs.capabilities.iter().any(is_multiprotocol);
        let families: BTreeSet<Family> = match names_none || !basic {
            true => BTreeSet::from([Family::V4]),
            false => Family::BOTH.into_iter().filter(|f| can(&Capability::MultiProtocol(*f))).collect(),
        };
        if families.is_empty() {
            // AFI 1 and 2 with SAFI 1, as code, length, value.
            let missing = Bytes::from_static(&[1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1]);
            let what = "the peer speaks neither IPv4 nor IPv6 unicast".to_owned();
            return Err(DecodeError { notification: Notification::unsupported_capability(missing), what });
        }
        let (add_path_send, add_path_receive) = match self.extent == Extent::Whole {
            true => add_path::agree(self.add_path, &families, &theirs.capabilities),
            false => Default::default(),
        };
        let v4 = families.contains(&Family::V4);
        let extended = |c: &Capability| matches!(c, Capability::ExtendedNextHop(p) if p.contains(&EXTENDED_NEXT_HOP));
        let hold_time = self.hold_time.min(Duration::from_secs(theirs.hold_time.into()));
        Ok(Agreed {
            wire: wire::Negotiated {
                four_octet_as,
                ibgp,
                families,
                max_message,
                add_path_send,
                add_path_receive,
                extended_next_hop_send: whole && v4 && theirs.capabilities.iter().any(extended),
                extended_next_hop_receive: whole && v4,
                accept_as_sets: self.accept_as_sets,
            },
            hold_time,
            asn: theirs.asn,
            router_id: theirs.router_id,
            route_refresh: can(&Capability::RouteRefresh),
            enhanced_refresh: whole && can(&Capability::EnhancedRouteRefresh),
            host_name: theirs.capabilities.iter().find_map(host_name),
            end_of_rib: whole && theirs.capabilities.iter().any(|c| matches!(c, Capability::GracefulRestart { .. })),
            pledge: Pledge::read(self.promise.as_ref().filter(|_| whole), &theirs.capabilities),
        })
    }
}

/// IPv4 prefixes with an IPv6 next hop (RFC 8950).
const EXTENDED_NEXT_HOP: (Family, Family) = (Family::V4, Family::V6);

/// Longest name of a host that is shown (RFC 1035 section 2.3.4).
const HOST_NAME: usize = 253;

/// A name as the peer tells it is anybody's text: printable ASCII of it is shown, and not more than a name can have.
fn host_name(capability: &Capability) -> Option<String> {
    let Capability::Fqdn { hostname, domain } = capability else { return None };
    let whole = if domain.is_empty() { hostname.clone() } else { format!("{hostname}.{domain}") };
    let safe: String = whole.chars().filter(char::is_ascii_graphic).take(HOST_NAME).collect();
    (!safe.is_empty()).then_some(safe)
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
            extent: Extent::Whole,
            role: None,
            role_strict: false,
            host_name: Some("node-1".to_owned()),
            promise: None,
            add_path: AddPath::default(),
            accept_as_sets: false,
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
        let plain = Offer { extent: Extent::Bare, ..offer() };
        assert!(plain.open().capabilities.is_empty());
        assert!(!plain.agree(Asn(65002), &theirs(65002)).unwrap().wire.four_octet_as);
    }

    /// Checklist: 36
    #[test]
    fn each_refusal_leaves_less_to_refuse() {
        let codes = |extent| {
            let open = Offer { extent, ..offer() }.open();
            open.capabilities.iter().map(Capability::code).collect::<Vec<_>>()
        };
        assert!(codes(Extent::Whole).len() > 4);
        assert_eq!(codes(Extent::Basic), [1, 1, 2, 65]);
        assert_eq!(codes(Extent::Bare), []);
        assert_eq!(Extent::Whole.less(true), Some(Extent::Basic));
        assert_eq!(Extent::Basic.less(true), Some(Extent::Bare));
        assert_eq!(Extent::Basic.less(false), None, "four octets do not go without");
        assert_eq!(Extent::Bare.less(true), None);
        // What was not offered is not agreed.
        let basic = Offer { extent: Extent::Basic, ..offer() }.agree(Asn(65002), &theirs(65002)).unwrap();
        assert!(basic.wire.four_octet_as && basic.route_refresh && !basic.end_of_rib);
        assert_eq!(basic.wire.max_message, wire::MAX_MESSAGE);
    }

    /// Checklist: 77
    #[test]
    fn long_messages_need_both_sides() {
        let both = offer().agree(Asn(65002), &theirs(65002)).unwrap();
        assert_eq!(both.wire.max_message, 65535);
        let mut open = theirs(65002);
        open.capabilities.retain(|c| *c != Capability::ExtendedMessage);
        assert_eq!(offer().agree(Asn(65002), &open).unwrap().wire.max_message, 4096);
    }

    /// Checklist: 34
    #[test]
    fn unknown_and_repeated_capabilities_do_no_harm() {
        let mut open = theirs(65002);
        let twice = open.capabilities.clone();
        open.capabilities.extend(twice);
        for code in [3, 66, 67, 68, 128, 130, 200, 255] {
            open.capabilities.push(Capability::Other { code, value: Bytes::from_static(&[1, 2, 3]) });
        }
        let agreed = offer().agree(Asn(65002), &open).unwrap();
        assert_eq!(agreed, offer().agree(Asn(65002), &theirs(65002)).unwrap());
    }

    /// Checklist: 32
    #[test]
    fn an_ipv6_next_hop_of_ipv4_needs_the_word_of_who_is_to_take_it() {
        let both = offer().agree(Asn(65002), &theirs(65002)).unwrap().wire;
        assert!(both.extended_next_hop_send && both.extended_next_hop_receive);
        let without = |pairs: Option<Vec<(Family, Family)>>| {
            let mut open = theirs(65002);
            open.capabilities.retain(|c| !matches!(c, Capability::ExtendedNextHop(_)));
            open.capabilities.extend(pairs.map(Capability::ExtendedNextHop));
            let agreed = offer().agree(Asn(65002), &open).unwrap().wire;
            (agreed.extended_next_hop_send, agreed.extended_next_hop_receive)
        };
        // GoBGP sends such prefixes without a word of its own: our word is what allows it.
        assert_eq!(without(None), (false, true));
        assert_eq!(without(Some(vec![(Family::V6, Family::V6)])), (false, true));
        assert_eq!(without(Some(vec![(Family::V6, Family::V6), (Family::V4, Family::V6)])), (true, true));
        // Nothing was said in an OPEN without it, nor where IPv4 does not pass at all.
        let basic = Offer { extent: Extent::Basic, ..offer() }.agree(Asn(65002), &theirs(65002)).unwrap().wire;
        assert!(!basic.extended_next_hop_send && !basic.extended_next_hop_receive);
        let mut open = theirs(65002);
        open.capabilities.retain(|c| *c != Capability::MultiProtocol(Family::V4));
        let v6_only = offer().agree(Asn(65002), &open).unwrap().wire;
        assert!(!v6_only.extended_next_hop_send && !v6_only.extended_next_hop_receive);
    }

    #[test]
    fn names_are_shown_safely() {
        let name = |hostname: &str, domain: &str| {
            let fqdn = Capability::Fqdn { hostname: hostname.to_owned(), domain: domain.to_owned() };
            let open = Open { capabilities: vec![Capability::MultiProtocol(Family::V4), fqdn], ..theirs(65002) };
            offer().agree(Asn(65002), &open).unwrap().host_name
        };
        assert_eq!(name("leaf-1", ""), Some("leaf-1".to_owned()));
        assert_eq!(name("leaf-1", "example.net"), Some("leaf-1.example.net".to_owned()));
        assert_eq!(name("a\u{1b}[2Jb\nc", ""), Some("a[2Jbc".to_owned()));
        assert_eq!(name("", ""), None);
        assert_eq!(offer().agree(Asn(65002), &theirs(65002)).unwrap().host_name, Some("node-1".to_owned()));
    }

    /// Checklist: 2, 40, 104
    #[test]
    fn refusals() {
        let code = |open: &Open, asn| {
            let error = offer().agree(Asn(asn), open).unwrap_err();
            (error.notification.code, error.notification.subcode, error.what)
        };
        let (.., what) = code(&theirs(65003), 65000);
        assert_eq!(what, "bad peer AS: want 65000, got 65003");
        assert_eq!(code(&theirs(0), 65000).1, 2);
        let word =
            |expected: PeerAs, asn| offer().agree(expected, &theirs(asn)).map(|agreed| (agreed.asn, agreed.wire.ibgp));
        assert_eq!(word(PeerAs::External, 65002).unwrap(), (Asn(65002), false));
        assert_eq!(word(PeerAs::External, 65001).unwrap_err().what, "bad peer AS: want external, got 65001");
        assert_eq!(word(PeerAs::External, 0).unwrap_err().notification.subcode, 2);
        assert_eq!(word(PeerAs::Internal, 65001).unwrap(), (Asn(65001), true));
        assert_eq!(word(PeerAs::Internal, 65002).unwrap_err().notification.subcode, 2);
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
