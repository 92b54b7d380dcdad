//! Roles on a session with another AS, and the mark that keeps routes from leaking (RFC 9234).
//!
//! A route that was learnt from a provider, a peer or a route server goes to customers and clients only. Whoever tells
//! or takes such a route writes the AS where it went down into ONLY_TO_CUSTOMER (OTC); who hears a marked route from
//! below or from the side knows that it has leaked.

use std::sync::Arc;

use model::Asn;
use wire::{Attributes, Capability, DecodeError, Notification, Role};

use crate::decide::Ineligible;

/// Subcode of OPEN message error for roles that do not match (RFC 9234 section 4.2).
const ROLE_MISMATCH: u8 = 11;

/// Judges the peer's capabilities, if `ours` is our role towards it and the session is between two ASes.
///
/// # Errors
/// 2/11: the peer's role does not go with ours, it has two of them, or it has none and `strict` insists on one.
pub(crate) fn agree(ours: Option<Role>, strict: bool, theirs: &[Capability]) -> Result<(), DecodeError> {
    let Some(ours) = ours else { return Ok(()) };
    let mut said = theirs.iter().filter_map(|c| if let Capability::Role(role) = c { Some(*role) } else { None });
    let refuse = |what: String| {
        Err(DecodeError { notification: Notification::new(wire::code::OPEN, ROLE_MISMATCH, bytes::Bytes::new()), what })
    };
    let wanted = opposite(ours);
    let Some(first) = said.next() else {
        return match strict {
            true => {
                refuse(format!("the peer names no role, and roleStrict insists on one: it should be {}", name(wanted)))
            }
            false => Ok(()),
        };
    };
    if let Some(other) = said.find(|role| *role != first) {
        return refuse(format!("the peer says that it is {} and {}", name(first), name(other)));
    }
    match first == wanted {
        true => Ok(()),
        false => refuse(format!(
            "roles do not match: we are {} here, so the peer should be {}, and says that it is {}",
            name(ours),
            name(wanted),
            name(first)
        )),
    }
}

/// Has a path with this mark leaked, when `peer` tells it to us in our role `ours` (RFC 9234 section 5, ingress 1, 2)?
pub(crate) fn leak(ours: Option<Role>, peer: Asn, mark: Option<Asn>) -> Option<Ineligible> {
    let leaked = match (ours?, mark?) {
        (Role::Provider | Role::RouteServer, _) => true,
        (Role::Peer, marked) => marked != peer,
        (Role::Customer | Role::RouteServerClient, _) => false,
    };
    leaked.then_some(Ineligible::Leak)
}

/// The mark that a path must carry which `peer` tells us without one (ingress 3).
pub(crate) fn mark_received(ours: Option<Role>, peer: Asn, mark: Option<Asn>) -> Option<Asn> {
    match ours {
        Some(Role::Customer | Role::Peer | Role::RouteServerClient) => mark.or(Some(peer)),
        _ => mark,
    }
}

/// What a path that carries `mark` carries when we tell it to a peer to which we are `ours`.
///
/// # Errors
/// It must not be told: it went down once, and the peer is not below us (egress 2).
pub(crate) fn mark_sent(ours: Option<Role>, local: Asn, mark: Option<Asn>) -> Result<Option<Asn>, NotBelow> {
    match ours {
        Some(Role::Customer | Role::Peer | Role::RouteServerClient) if mark.is_some() => Err(NotBelow),
        Some(Role::Provider | Role::Peer | Role::RouteServer) => Ok(mark.or(Some(local))),
        _ => Ok(mark),
    }
}

/// A path that is for customers only, and a peer that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotBelow;

/// Marks what comes from one peer; UPDATEs with the same attributes share the marked ones too.
#[derive(Debug, Default)]
pub(crate) struct Marker(Option<(Arc<Attributes>, Arc<Attributes>)>);

impl Marker {
    /// The attributes, with the mark that they must carry.
    pub(crate) fn mark(&mut self, ours: Option<Role>, peer: Asn, attributes: &Arc<Attributes>) -> Arc<Attributes> {
        let mark = mark_received(ours, peer, attributes.only_to_customer);
        if mark == attributes.only_to_customer {
            return attributes.clone();
        }
        if let Some((plain, marked)) = &self.0
            && Arc::ptr_eq(plain, attributes)
        {
            return marked.clone();
        }
        let marked = Arc::new(Attributes { only_to_customer: mark, ..Attributes::clone(attributes) });
        self.0 = Some((attributes.clone(), marked.clone()));
        marked
    }
}

/// What the other end of a session must be (RFC 9234 section 4.2, table 2).
const fn opposite(role: Role) -> Role {
    match role {
        Role::Provider => Role::Customer,
        Role::Customer => Role::Provider,
        Role::RouteServer => Role::RouteServerClient,
        Role::RouteServerClient => Role::RouteServer,
        Role::Peer => Role::Peer,
    }
}

/// A role as in the configuration.
const fn name(role: Role) -> &'static str {
    match role {
        Role::Provider => "provider",
        Role::Customer => "customer",
        Role::RouteServer => "routeServer",
        Role::RouteServerClient => "routeServerClient",
        Role::Peer => "peer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 5] = [Role::Provider, Role::RouteServer, Role::RouteServerClient, Role::Customer, Role::Peer];

    /// Checklist: 84
    #[test]
    fn each_pair_of_roles_is_judged() {
        let good = [
            (Role::Provider, Role::Customer),
            (Role::Customer, Role::Provider),
            (Role::RouteServer, Role::RouteServerClient),
            (Role::RouteServerClient, Role::RouteServer),
            (Role::Peer, Role::Peer),
        ];
        for ours in ROLES {
            for theirs in ROLES {
                let judged = agree(Some(ours), false, &[Capability::Role(theirs)]);
                assert_eq!(judged.is_ok(), good.contains(&(ours, theirs)), "{ours:?} {theirs:?}: {judged:?}");
                if let Err(error) = judged {
                    assert_eq!((error.notification.code, error.notification.subcode), (2, 11));
                }
                assert_eq!(agree(None, true, &[Capability::Role(theirs)]), Ok(()), "no role of ours, no judgement");
            }
            assert_eq!(agree(Some(ours), false, &[]), Ok(()));
            assert!(agree(Some(ours), true, &[Capability::RouteRefresh]).is_err());
        }
        let twice = [Capability::Role(Role::Customer), Capability::Role(Role::Customer)];
        assert_eq!(agree(Some(Role::Provider), true, &twice), Ok(()));
        let both = [Capability::Role(Role::Customer), Capability::Role(Role::Peer)];
        assert!(agree(Some(Role::Provider), false, &both).is_err());
    }

    /// The rules of section 5 as a table: what we are, the mark that comes, whether it has leaked, the mark that is kept,
    /// and the mark with which a path that carries it is told (`None` inside: untold).
    ///
    /// Checklist: 85
    #[test]
    fn every_mark_in_every_role() {
        const PEER: Asn = Asn(65002);
        const OTHER: Asn = Asn(65009);
        const OWN: Asn = Asn(64512);
        let cases = [
            (None, None, false, None, Ok(None)),
            (None, Some(OTHER), false, Some(OTHER), Ok(Some(OTHER))),
            (Some(Role::Provider), None, false, None, Ok(Some(OWN))),
            (Some(Role::Provider), Some(PEER), true, Some(PEER), Ok(Some(PEER))),
            (Some(Role::RouteServer), None, false, None, Ok(Some(OWN))),
            (Some(Role::RouteServer), Some(OTHER), true, Some(OTHER), Ok(Some(OTHER))),
            (Some(Role::Peer), None, false, Some(PEER), Ok(Some(OWN))),
            (Some(Role::Peer), Some(PEER), false, Some(PEER), Err(NotBelow)),
            (Some(Role::Peer), Some(OTHER), true, Some(OTHER), Err(NotBelow)),
            (Some(Role::Customer), None, false, Some(PEER), Ok(None)),
            (Some(Role::Customer), Some(OTHER), false, Some(OTHER), Err(NotBelow)),
            (Some(Role::RouteServerClient), None, false, Some(PEER), Ok(None)),
            (Some(Role::RouteServerClient), Some(OTHER), false, Some(OTHER), Err(NotBelow)),
        ];
        for (ours, mark, leaked, kept, sent) in cases {
            assert_eq!(leak(ours, PEER, mark).is_some(), leaked, "{ours:?} {mark:?}");
            assert_eq!(mark_received(ours, PEER, mark), kept, "{ours:?} {mark:?}");
            assert_eq!(mark_sent(ours, OWN, mark), sent, "{ours:?} {mark:?}");
        }
    }

    #[test]
    fn marked_attributes_are_shared() {
        let plain = Arc::new(Attributes::default());
        let mut marker = Marker::default();
        let one = marker.mark(Some(Role::Customer), Asn(65002), &plain);
        let two = marker.mark(Some(Role::Customer), Asn(65002), &plain);
        assert!(Arc::ptr_eq(&one, &two) && one.only_to_customer == Some(Asn(65002)));
        assert!(Arc::ptr_eq(&marker.mark(Some(Role::Provider), Asn(65002), &plain), &plain));
    }
}
