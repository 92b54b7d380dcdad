//! Import policy: default deny (RFC 8212). Accepted are slices of the cluster's pools, and of them none of our own.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use model::{Asn, ClusterPool, Prefix, RouterId};
use serde::{Deserialize, Serialize};
use wire::Attributes;

use crate::decide::Ineligible;
use crate::export::Withheld;
use crate::local::LocalAddresses;
use crate::origination::OwnPrefixes;
use crate::route::Route;

mod evaluate;
mod import;
mod prefix_set;

pub use evaluate::{Outcome, Policy, RouteView, policies};
pub use import::RuleId;
pub(crate) use import::{Import, Rules};
pub use prefix_set::Named;
use prefix_set::PrefixSet;

/// Why the policy refuses a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// 0.0.0.0/0 or ::/0.
    DefaultRoute,
    /// Not inside a pool, or not of the pool's node length.
    NotASlice,
    /// The same as, inside of, or around a prefix that we originate.
    OwnPodCidr,
    /// An address of this host is in it.
    Connected,
    /// Our AS is on the AS_PATH already.
    AsLoop,
    /// ORIGINATOR_ID or CLUSTER_LIST says that it came from us (RFC 4456 section 8).
    ReflectedLoop,
    /// A network that this host is connected to, or a part of one.
    ConnectedNetwork,
    /// 0.0.0.0/0 or ::/0, which a rule takes in but does not name.
    UnnamedDefaultRoute,
    /// Inside a service CIDR, which a rule takes in but does not name.
    UnnamedServiceCidr,
    /// A rule of the import policy says so, or its default.
    Policy(RuleId),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::DefaultRoute => "refused: default route",
            Refusal::NotASlice => "refused: not a node's slice of any pool",
            Refusal::OwnPodCidr => "refused: our own pod CIDR",
            Refusal::Connected => "refused: holds an address of this host",
            Refusal::AsLoop => "refused: our AS is on the AS path",
            Refusal::ReflectedLoop => "refused: reflected back to us",
            Refusal::ConnectedNetwork => "refused: a network that this host is connected to",
            Refusal::UnnamedDefaultRoute => {
                "refused: default route, which no rule names (by its prefix without ge and le)"
            }
            Refusal::UnnamedServiceCidr => "refused: inside a service CIDR, of which no rule names a part",
            Refusal::Policy(_) => "refused by the import policy",
        })
    }
}

/// What policy and eligibility look at.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) local_asn: Asn,
    /// What else we are called in some session: on an AS_PATH it is a loop, too.
    pub(crate) other_asns: BTreeSet<Asn>,
    pub(crate) router_id: RouterId,
    pub(crate) originated: BTreeSet<Prefix>,
    /// What of our own is announced, and with what.
    pub(crate) own: OwnPrefixes,
    /// Our CLUSTER_ID, if we reflect.
    pub(crate) reflector: Option<Ipv4Addr>,
    pub(crate) addresses: LocalAddresses,
    /// Everything that is announced says that we are about to go (RFC 8326).
    pub(crate) draining: bool,
    /// See [`crate::SpeakerConfig::reflects_last`].
    pub(crate) reflects_last: bool,
    /// What is learnt is told to nobody yet: this process has just taken over from another one.
    pub(crate) learnt_waits: bool,
    /// Nor is it said that it was all.
    pub(crate) end_of_rib_waits: bool,
    pools: Vec<ClusterPool>,
    /// Originated prefixes that are no slice; only these can overlap a slice without being equal to it.
    odd: BTreeSet<Prefix>,
    /// Own addresses inside the pools.
    inside: Vec<IpAddr>,
    /// What is originated, and what lies inside it.
    own_within: PrefixSet,
    /// The networks of this host's addresses, and what lies inside them.
    connected: PrefixSet,
    services: Vec<Prefix>,
}

impl View {
    pub(crate) fn new(local_asn: Asn, router_id: RouterId, pools: Vec<ClusterPool>) -> View {
        View {
            local_asn,
            other_asns: BTreeSet::new(),
            router_id,
            originated: BTreeSet::new(),
            own: OwnPrefixes::default(),
            reflector: None,
            addresses: LocalAddresses::default(),
            draining: false,
            reflects_last: false,
            learnt_waits: false,
            end_of_rib_waits: false,
            pools,
            odd: BTreeSet::new(),
            inside: Vec::new(),
            own_within: PrefixSet::default(),
            connected: PrefixSet::default(),
            services: Vec::new(),
        }
    }

    /// New service CIDRs.
    pub(crate) fn set_services(&mut self, services: Vec<Prefix>) {
        self.services = services;
    }

    /// New pools.
    pub(crate) fn set_pools(&mut self, pools: Vec<ClusterPool>) {
        self.pools = pools;
        self.odd = self.originated.iter().filter(|p| !self.is_slice(p)).copied().collect();
        self.find_inside();
    }

    /// New addresses of this host.
    pub(crate) fn set_addresses(&mut self, addresses: LocalAddresses) {
        self.connected = PrefixSet::within(addresses.networks());
        self.addresses = addresses;
        self.find_inside();
    }

    /// Originates a prefix, or no longer. Was that news?
    pub(crate) fn originate(&mut self, prefix: Prefix, on: bool) -> bool {
        let news = if on { self.originated.insert(prefix) } else { self.originated.remove(&prefix) };
        if news && on {
            self.own_within.insert_within(prefix);
        } else if news {
            self.own_within.remove(&prefix);
        }
        if news && !self.is_slice(&prefix) {
            if on {
                self.odd.insert(prefix);
            } else {
                self.odd.remove(&prefix);
            }
        }
        news
    }

    /// Is it a node's slice of a pool?
    pub(crate) fn is_slice(&self, prefix: &Prefix) -> bool {
        self.pools.iter().any(|pool| pool.is_slot(prefix))
    }

    /// Policy on the prefix alone.
    pub(crate) fn refuse_prefix(&self, prefix: &Prefix) -> Option<Refusal> {
        if prefix.is_default() {
            return Some(Refusal::DefaultRoute);
        }
        if self.originated.contains(prefix) || overlaps(&self.odd, prefix) {
            return Some(Refusal::OwnPodCidr);
        }
        if !self.is_slice(prefix) {
            let own = overlaps(&self.originated, prefix);
            return Some(if own { Refusal::OwnPodCidr } else { Refusal::NotASlice });
        }
        self.inside.iter().any(|address| prefix.holds(address)).then_some(Refusal::Connected)
    }

    /// Policy on what all prefixes of an UPDATE share.
    pub(crate) fn refuse_attributes(&self, attributes: &Attributes) -> Option<Refusal> {
        let ours = |asn: Asn| asn == self.local_asn || self.other_asns.contains(&asn);
        if attributes.as_path.ases().any(ours) {
            return Some(Refusal::AsLoop);
        }
        let own = self.router_id.0;
        let cluster = self.reflector.unwrap_or(own);
        let through = |id: &Ipv4Addr| *id == own || *id == cluster;
        let reflected = attributes.originator_id == Some(own) || attributes.cluster_list.iter().any(through);
        reflected.then_some(Refusal::ReflectedLoop)
    }

    /// Is an own prefix kept from a peer?
    pub(crate) fn withhold_own(&self, prefix: &Prefix, mesh: bool) -> Result<(), Withheld> {
        match mesh {
            true if !self.is_slice(prefix) => Err(Withheld::NotForNodes),
            false if self.own.is_summarised(prefix) => Err(Withheld::Summarised),
            _ => Ok(()),
        }
    }

    /// Can the next hop be used, on a session of which `local` is our end and `peer` the other? A `neighbour` of another
    /// AS is no more than a hop away, and so are its next hops.
    pub(crate) fn ineligible(
        &self,
        route: &Route,
        neighbour: bool,
        peer: IpAddr,
        local: Option<IpAddr>,
    ) -> Option<Ineligible> {
        let hop = route.next_hop;
        let martian = hop.is_unspecified() || hop.is_loopback() || hop.is_multicast();
        let broadcast = matches!(hop, IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] == 0);
        if martian || broadcast {
            return Some(Ineligible::MartianNextHop);
        }
        if local == Some(hop) || self.addresses.is_own(&hop, local) {
            return Some(Ineligible::OwnNextHop);
        }
        let near = !neighbour || hop == peer || local.is_some_and(|local| self.addresses.share_subnet(&local, &hop));
        (!near).then_some(Ineligible::NotOnSubnet)
    }

    fn find_inside(&mut self) {
        let pools = &self.pools;
        let inside = self.addresses.iter().filter(|a| pools.iter().any(|pool| pool.cidr.holds(a)));
        self.inside = inside.copied().collect();
    }
}

/// Does one of `set` share an address with `prefix`? By look-ups alone, as the set may be large.
fn overlaps(set: &BTreeSet<Prefix>, prefix: &Prefix) -> bool {
    // In their order, whatever lies inside follows the prefix directly.
    let inside = set.range(*prefix..).next().is_some_and(|next| prefix.covers(next));
    let around = || (0..prefix.len()).filter_map(|len| Prefix::new(prefix.address(), len)).any(|p| set.contains(&p));
    !set.is_empty() && (inside || around())
}

#[cfg(test)]
mod tests;
