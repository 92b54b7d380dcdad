//! What leaves the Loc-RIB: [`export`] is the one door through which a path goes to a peer, own ones too.
//!
//! In the order in which it asks:
//! 1. Nothing goes back to whom it came from, by the peer or by ORIGINATOR_ID.
//! 2. NO_ADVERTISE goes to nobody; NO_EXPORT and NO_EXPORT_SUBCONFED to no other AS (RFC 1997).
//!    Long-lived stale paths go only to who knows what they are (RFC 9494).
//! 3. Own prefixes go to everybody, but to nodes of the mesh only slices of the pools.
//! 4. From inside the AS to inside the AS only as a reflector, and of client and other peer at least one is a client
//!    (RFC 4456 section 6). All other transit needs a policy that says so: by default there is none (RFC 8212).
//! 5. The export policy is asked, if the peer has one, with the attributes as they stand in the Loc-RIB.
//! 6. On a node that is drained everything carries GRACEFUL_SHUTDOWN (RFC 8326); the attributes are made what the peer may see (RFC 4271 sections 5.1 and 9.2, RFC 4456 section 8).

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use model::policy::{NextHopChange, RouteOrigin};
use model::{Asn, Family, NextHopChoice, Prefix};
use serde::{Deserialize, Serialize};
use wire::Attributes;
use wire::community::{GRACEFUL_SHUTDOWN, NO_ADVERTISE, NO_EXPORT, NO_EXPORT_SUBCONFED};

use crate::decide::LOCAL_PREF;
use crate::graceful::is_long_lived;
use crate::loc_rib::PeerIndex;
use crate::local::is_link_local;
use crate::policy::{Outcome, Policy, RouteView, View};
use crate::role;
use crate::route::Route;

/// What an announcement says besides the prefix. Prefixes are grouped by it, so many share one UPDATE.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Export {
    pub(crate) attributes: Arc<Attributes>,
    pub(crate) next_hop: IpAddr,
    pub(crate) link_local: Option<Ipv6Addr>,
}

/// The peer that a path is offered to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) index: PeerIndex,
    pub(crate) address: IpAddr,
    pub(crate) router_id: Ipv4Addr,
    /// In another AS.
    pub(crate) external: bool,
    /// Our client, if we reflect.
    pub(crate) client: bool,
    /// A node, made a peer from its claim.
    pub(crate) mesh: bool,
    /// Our AS number in this session.
    pub(crate) local_asn: Asn,
    /// AS number of the peer.
    pub(crate) asn: Asn,
    /// What the operator says of what it is told.
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) next_hop: NextHopChoice,
    /// What we are to it (RFC 9234).
    pub(crate) role: Option<wire::Role>,
    /// It takes IPv6 next hops for IPv4 (RFC 8950).
    pub(crate) extended_next_hop: bool,
    /// Our own address as next hop, by family.
    pub(crate) own_hops: [Option<(IpAddr, Option<Ipv6Addr>)>; 2],
    /// It keeps long-lived stale paths where they belong: last (RFC 9494).
    pub(crate) long_lived: bool,
    /// Most paths that it is told with path identifiers, by family; `None`: the best one, without.
    pub(crate) add_path: [Option<usize>; 2],
}

/// Who told us a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Teller {
    pub(crate) peer: PeerIndex,
    pub(crate) router_id: Ipv4Addr,
    pub(crate) external: bool,
    pub(crate) client: bool,
}

/// A path as it stands in the Loc-RIB, or a prefix of our own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Offered<'a> {
    /// Originated here, with these attributes; see [`crate::origination`].
    Own { attributes: &'a Arc<Attributes> },
    /// Learnt.
    Learnt { route: &'a Route, teller: Teller },
}

/// Why a peer is not told a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Withheld {
    /// It came from that peer, or began there.
    Back,
    /// A community forbids it (RFC 1997).
    Community,
    /// Long-lived stale, and the peer would not know that it is a last resort (RFC 9494 section 4.4).
    LongLived,
    /// A rule of the export policy says so, by its place; `None`: the policy's default.
    Policy(Option<usize>),
    /// From a peer inside the AS to another one, and we are no reflector.
    Internal,
    /// From a peer inside the AS to another one, and neither is a client of ours.
    NoClient,
    /// Transit, and no policy allows it (RFC 8212).
    NoPolicy,
    /// It is for customers only, and the peer is none (RFC 9234).
    OnlyToCustomer,
    /// Nodes of the mesh take slices of the pools only.
    NotForNodes,
    /// The announced aggregate stands for it.
    Summarised,
    /// We have no address of the family that the peer could send to.
    NoNextHop,
    /// Its next hop is the peer itself.
    ItsOwnNextHop,
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Withheld::Back => "not announced: it came from there",
            Withheld::Community => "not announced: a well-known community forbids it",
            Withheld::LongLived => "not announced: long-lived stale, and the peer does not know of such",
            Withheld::Policy(_) => "not announced: the export policy rejects it",
            Withheld::Internal => "not announced: from inside the AS, and this node is no reflector",
            Withheld::NoClient => "not announced: neither this peer nor the one that it came from is a client",
            Withheld::NoPolicy => "not announced: no export policy allows transit",
            Withheld::OnlyToCustomer => "not announced: ONLY_TO_CUSTOMER, and the peer is no customer",
            Withheld::NotForNodes => "not announced: nodes take slices of the pools only",
            Withheld::Summarised => "not announced: its aggregate is (summaryOnly)",
            Withheld::NoNextHop => "not announced: this node has no address of that family on the session's device",
            Withheld::ItsOwnNextHop => "not announced: its next hop is the peer itself",
        })
    }
}

impl Target {
    /// Could anything but own prefixes ever be announced to it?
    pub(crate) fn takes_transit(&self, view: &View) -> bool {
        self.policy.is_some() || (!self.external && view.reflector.is_some())
    }
}

/// What a peer is to be told of a path.
///
/// # Errors
/// Why it is told nothing.
pub(crate) fn export(prefix: &Prefix, path: Offered<'_>, to: &Target, view: &View) -> Result<Export, Withheld> {
    let from = match path {
        Offered::Own { attributes } => attributes,
        Offered::Learnt { route, .. } => &route.attributes,
    };
    let origin = match path {
        Offered::Own { .. } => None,
        Offered::Learnt { teller, .. } => Some(from.originator_id.unwrap_or(teller.router_id)),
    };
    if let Offered::Learnt { teller, .. } = path
        && (teller.peer == to.index || (!to.external && !teller.external && origin == Some(to.router_id)))
    {
        return Err(Withheld::Back);
    }
    if forbids(&from.communities, to.external) {
        return Err(Withheld::Community);
    }
    if is_long_lived(from) && !to.long_lived {
        return Err(Withheld::LongLived);
    }
    let reflects = match path {
        Offered::Own { .. } => {
            view.withhold_own(prefix, to.mesh)?;
            None
        }
        Offered::Learnt { teller, .. } if !teller.external && !to.external => {
            let cluster = view.reflector.ok_or(Withheld::Internal)?;
            if !teller.client && !to.client {
                return Err(Withheld::NoClient);
            }
            Some(cluster)
        }
        Offered::Learnt { .. } if to.policy.is_none() => return Err(Withheld::NoPolicy),
        Offered::Learnt { .. } => None,
    };
    let mark = role::mark_sent(to.role, to.local_asn, from.only_to_customer).map_err(|_| Withheld::OnlyToCustomer)?;
    let said = ask(prefix, path, from, to, view)?;
    let mut attributes = said.as_ref().map_or(from.as_ref(), |said| &*said.attributes).clone();
    attributes.only_to_customer = mark;
    if view.draining {
        attributes.communities.push(GRACEFUL_SHUTDOWN);
    }
    tidy(&mut attributes);
    if to.external {
        attributes.as_path.prepend(to.local_asn);
        attributes.local_pref = None;
        attributes.originator_id = None;
        attributes.cluster_list.clear();
        if matches!(path, Offered::Learnt { .. }) {
            attributes.med = said.as_ref().and_then(|said| said.med);
        }
    } else {
        attributes.local_pref = Some(attributes.local_pref.unwrap_or(LOCAL_PREF));
    }
    if let Some(cluster) = reflects {
        attributes.originator_id = origin;
        // A path of two reflectors of the new topology has two.
        let times = if view.reflects_last { 3 } else { 1 };
        for _ in 0..times {
            attributes.cluster_list.insert(0, cluster);
        }
    }
    let (next_hop, link_local) = match said.and_then(|said| said.next_hop) {
        None => next_hop(prefix.family(), path, to, reflects.is_some())?,
        Some(change) => changed_hop(prefix.family(), path, to, change)?,
    };
    Ok(Export { attributes: Arc::new(attributes), next_hop, link_local })
}

/// The rule of the export policy that accepts a path, in words; `None` without a policy, and where none accepts.
pub(crate) fn accepting(prefix: &Prefix, path: Offered<'_>, to: &Target, view: &View) -> Option<String> {
    let attributes = match path {
        Offered::Own { attributes } => attributes,
        Offered::Learnt { route, .. } => &route.attributes,
    };
    let outcome = ask(prefix, path, attributes, to, view).ok()??;
    to.policy.as_ref().map(|policy| policy.label(outcome.rule))
}

/// The export policy's word; `None` if there is no policy.
fn ask<'a>(
    prefix: &Prefix,
    path: Offered<'a>,
    attributes: &'a Attributes,
    to: &Target,
    view: &View,
) -> Result<Option<Outcome<'a>>, Withheld> {
    let Some(policy) = &to.policy else { return Ok(None) };
    let outcome = policy.evaluate(&RouteView {
        prefix: *prefix,
        attributes,
        next_hop: match path {
            Offered::Own { .. } => None,
            Offered::Learnt { route, .. } => Some(route.next_hop),
        },
        neighbour: to.address,
        neighbour_asn: to.asn,
        origin: match path {
            Offered::Learnt { .. } => RouteOrigin::Learned,
            Offered::Own { .. } if view.originated.contains(prefix) => RouteOrigin::Pod,
            Offered::Own { .. } => RouteOrigin::Originated,
        },
        prepend: to.local_asn,
    });
    if outcome.is_accepted() { Ok(Some(outcome)) } else { Err(Withheld::Policy(outcome.rule)) }
}

/// The next hop that a rule says.
fn changed_hop(
    family: Family,
    path: Offered<'_>,
    to: &Target,
    change: NextHopChange,
) -> Result<(IpAddr, Option<Ipv6Addr>), Withheld> {
    let kept = match (change, path) {
        (NextHopChange::Keep, Offered::Learnt { route, .. }) if fits(family, &route.next_hop, to) => route.next_hop,
        (NextHopChange::Address(address), _) if fits(family, &address, to) => address,
        _ => return to.own_hops[family as usize].ok_or(Withheld::NoNextHop),
    };
    if kept == to.address { Err(Withheld::ItsOwnNextHop) } else { Ok((kept, None)) }
}

/// RFC 1997.
fn forbids(communities: &[u32], external: bool) -> bool {
    communities.iter().any(|community| match *community {
        NO_ADVERTISE => true,
        NO_EXPORT | NO_EXPORT_SUBCONFED => external,
        _ => false,
    })
}

/// Communities sorted, each once: what is equal then looks equal, and shares an UPDATE.
fn tidy(attributes: &mut Attributes) {
    attributes.communities.sort_unstable();
    attributes.communities.dedup();
    attributes.large_communities.sort_unstable();
    attributes.large_communities.dedup();
}

/// The next hop that the peer is given (RFC 4271 section 5.1.3, RFC 4456 section 10).
fn next_hop(
    family: Family,
    path: Offered<'_>,
    to: &Target,
    reflected: bool,
) -> Result<(IpAddr, Option<Ipv6Addr>), Withheld> {
    let kept = match path {
        Offered::Own { .. } => None,
        Offered::Learnt { route, .. } if !fits(family, &route.next_hop, to) => None,
        Offered::Learnt { route, .. } => match to.next_hop {
            _ if reflected => Some(route.next_hop),
            NextHopChoice::Keep => Some(route.next_hop),
            NextHopChoice::Auto if !to.external => Some(route.next_hop),
            NextHopChoice::Auto | NextHopChoice::Own => None,
        },
    };
    let Some(kept) = kept else { return to.own_hops[family as usize].ok_or(Withheld::NoNextHop) };
    if kept == to.address {
        return Err(Withheld::ItsOwnNextHop);
    }
    Ok((kept, None))
}

/// Can the next hop of a path, or a rule's, be told to the peer? A link-local address means nothing on another link, and
/// one of the other family cannot stand in the message, unless that was agreed for IPv4.
fn fits(family: Family, next_hop: &IpAddr, to: &Target) -> bool {
    let form = Family::of(next_hop) == family || (family == Family::V4 && to.extended_next_hop);
    form && !is_link_local(next_hop)
}

/// Exports that are equal are kept once, however many peers and prefixes share them.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    exports: BTreeSet<Arc<Export>>,
    /// Size at which it is looked through for what nobody holds any more.
    full: usize,
}

impl Shelf {
    const SMALL: usize = 1024;

    /// The one copy of an export.
    pub(crate) fn share(&mut self, export: Export) -> Arc<Export> {
        if let Some(known) = self.exports.get(&export) {
            return known.clone();
        }
        if self.exports.len() >= self.full.max(Self::SMALL) {
            self.exports.retain(|export| Arc::strong_count(export) > 1);
            self.full = self.exports.len() * 2;
        }
        let export = Arc::new(export);
        self.exports.insert(export.clone());
        export
    }
}

#[cfg(test)]
mod tests;
