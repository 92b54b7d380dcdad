//! What is known of the kernel, and what its messages mean in the words of the model: ours, foreign, or nothing to us.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::kernel::{Device, Foreign, Key, Refusal, Value, Via, VxlanLink, Write};
use model::{MacAddr, Owner, Prefix};

use crate::Interest;
use crate::decode::{self, Address, Link, Neigh, Route, kind_name, protocol_name};
use crate::links::{Links, describe, overlay_of_others};
use crate::nexthops::{Content, Nexthops};
use crate::nft::Vteps;
use crate::uapi::*;

/// Hosts have a few routes of their own; a daemon beside us may have a full table, of which nobody can be told one by one.
pub(crate) const OUTSIDE: usize = 1024;

/// The kernel as last seen.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) overlay: Device,
    pub(crate) links: Links,
    pub(crate) nexthops: Nexthops,
    /// Whether `nexthops` can be trusted: a link that goes down takes its objects along without telling.
    pub(crate) nexthops_known: bool,
    pub(crate) interest: Interest,
    /// Own pod CIDRs, told by our unreachable routes: what is inside leads to our own pods.
    pub(crate) own: BTreeSet<Prefix>,
    /// Preferred sources of our routes: an address that goes takes its routes along without telling.
    pub(crate) sources: BTreeSet<IpAddr>,
    pub(crate) foreign: BTreeMap<Key, String>,
    /// Routes of others outside the pools, as far as they are kept: worth a word where one of ours has the same prefix.
    pub(crate) outside: BTreeMap<Prefix, Foreign>,
    pub(crate) vteps: Vteps,
    pub(crate) wanted_link: Option<Arc<VxlanLink>>,
    /// Whether this kernel keeps `IFA_PROTO` (Linux 5.18).
    pub(crate) marks_addresses: bool,
}

/// What an object is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Ours(Key, Value),
    /// On a key of ours, or in our way.
    Foreign(Foreign),
    Nothing,
}

impl View {
    pub(crate) fn new(overlay: Device) -> View {
        View {
            overlay,
            links: Links::default(),
            nexthops: Nexthops::default(),
            nexthops_known: false,
            interest: Interest::default(),
            own: BTreeSet::new(),
            sources: BTreeSet::new(),
            foreign: BTreeMap::new(),
            outside: BTreeMap::new(),
            vteps: Vteps::default(),
            wanted_link: None,
            marks_addresses: true,
        }
    }

    /// Index of the overlay's link, if there is one of kind VXLAN.
    pub(crate) fn overlay_index(&self) -> Option<u32> {
        self.links.by_name(&self.overlay).filter(|link| link.vxlan.is_some()).map(|link| link.index)
    }

    /// Does anything of ours lead over this device?
    pub(crate) fn matters(&self, device: &Device) -> bool {
        let carries = |link: &Link| {
            link.vxlan.as_ref().and_then(|vxlan| vxlan.lower).and_then(|index| self.links.by_index(index))
        };
        *device == self.overlay
            || device.as_str() == Owner::NODE_ADDRESS_DEVICE
            || self.nexthops.uses(device)
            || self.links.by_name(&self.overlay).and_then(carries).is_some_and(|lower| lower.device == *device)
    }

    /// Is this a route of ours: our protocol and our metric?
    pub(crate) fn is_our_route(route: &Route) -> bool {
        route.protocol == Owner::MARK && on_our_key(route)
    }

    /// Is this route of others worth a word: inside the pools or on our key, not made by the kernel for an address, not to a
    /// pod here?
    pub(crate) fn is_in_the_way(&self, route: &Route) -> bool {
        Self::is_made_by_somebody(route)
            && (on_our_key(route) || self.interest.pools.iter().any(|pool| pool.covers(&route.prefix)))
            && !self.leads_to_own_pod(route)
    }

    /// Not the kernel's own for an address, nor local, broadcast, anycast or multicast.
    pub(crate) fn is_made_by_somebody(route: &Route) -> bool {
        route.protocol != RTPROT_KERNEL && !matches!(route.kind, 2..=5)
    }

    /// The `ptp` plugin makes a host route to each pod of this node.
    fn leads_to_own_pod(&self, route: &Route) -> bool {
        let on_link = route.gateway.is_none() && route.nexthop.is_none() && !route.paths;
        on_link && self.own.iter().any(|own| own.covers(&route.prefix) && *own != route.prefix)
    }

    pub(crate) fn judge_route(&self, route: &Route) -> Judged {
        if Self::is_our_route(route) {
            return Judged::Ours(Key::Route(route.prefix), self.route_value(route));
        }
        if self.is_in_the_way(route) { Judged::Foreign(self.foreign_route(route)) } else { Judged::Nothing }
    }

    /// Keeps the picture of routes outside the pools up with one of them.
    pub(crate) fn note_outside(&mut self, route: &Route, gone: bool) {
        if gone {
            self.outside.remove(&route.prefix);
        } else if Self::is_made_by_somebody(route) && self.outside.len() < OUTSIDE {
            self.outside.insert(route.prefix, self.foreign_route(route));
        }
    }

    /// What others have, with another metric, at the prefixes of routes that were just made.
    pub(crate) fn beside(&mut self, results: &[(Write, Result<(), Refusal>)]) -> Vec<Foreign> {
        if self.outside.is_empty() {
            return Vec::new();
        }
        let made = results.iter().filter_map(|result| match result {
            (Write::Create(Key::Route(prefix), _) | Write::Replace(Key::Route(prefix), _), Ok(())) => Some(prefix),
            _ => None,
        });
        let beside: Vec<Foreign> = made.filter_map(|prefix| self.outside.get(prefix)).cloned().collect();
        self.foreign.extend(beside.iter().map(|foreign| (foreign.key.clone(), foreign.what.clone())));
        beside
    }

    pub(crate) fn foreign_route(&self, route: &Route) -> Foreign {
        let what = format!("protocol {}, metric {}, {}", protocol_name(route.protocol), route.metric, self.way(route));
        Foreign { key: Key::Route(route.prefix), what }
    }

    fn route_value(&self, route: &Route) -> Value {
        let other = |words: String| Via::Other(words.into());
        let content = route.nexthop.and_then(|id| self.nexthops.by_id(id)).and_then(|object| object.ours());
        let via = match (route.kind, content) {
            _ if route.strange => other(format!("{}, with path metrics or an encapsulation", self.way(route))),
            (RTN_UNREACHABLE, _) => Via::Unreachable,
            (RTN_UNICAST, Some(Content::Hop(hop))) => Via::Hops(Arc::from([hop.clone()])),
            (RTN_UNICAST, Some(Content::Group(hops))) => Via::Hops(Arc::clone(hops)),
            _ => other(self.way(route)),
        };
        Value::Route { via, src: route.src }
    }

    /// Where a route leads, in words.
    fn way(&self, route: &Route) -> String {
        if route.kind != RTN_UNICAST {
            return kind_name(route.kind).to_owned();
        }
        if let Some(id) = route.nexthop {
            return format!("nexthop object {id}");
        }
        if route.paths {
            return "several paths".to_owned();
        }
        let device = route.oif.map(|index| match self.links.device(index) {
            Some(device) => format!("dev {device}"),
            None => format!("dev number {index}"),
        });
        let gateway = route.gateway.map(|gateway| format!("via {gateway}"));
        gateway.into_iter().chain(device).collect::<Vec<_>>().join(" ")
    }

    /// An FDB or neighbour entry on the overlay's link.
    pub(crate) fn judge_neigh(&self, neigh: &Neigh) -> Judged {
        let device = self.overlay.clone();
        if neigh.bridge {
            let Some(mac) = neigh.mac.filter(is_unicast) else { return Judged::Nothing };
            let key = Key::Fdb(device, mac);
            // An entry of ours that was bent to another port, VNI, device or object is none that we write.
            let nowhere = IpAddr::from([0; 4]);
            let to = neigh.ip.filter(|_| !neigh.detour).unwrap_or(nowhere);
            if neigh.flags & NTF_EXT_LEARNED != 0 {
                return Judged::Ours(key, Value::Fdb(to));
            }
            let what = match neigh.ip {
                Some(ip) => format!("not marked as ours, leads to {ip}"),
                None => "not marked as ours".to_owned(),
            };
            return Judged::Foreign(Foreign { key, what });
        }
        let Some(ip) = neigh.ip.filter(|ip| !ip.is_multicast()) else { return Judged::Nothing };
        match neigh.mac {
            Some(mac) if neigh.state & NUD_PERMANENT != 0 => {
                let key = Key::Neighbour(device, ip);
                if neigh.protocol == Owner::MARK {
                    return Judged::Ours(key, Value::Neighbour(mac));
                }
                let what = format!("protocol {}, permanent, {mac}", protocol_name(neigh.protocol));
                Judged::Foreign(Foreign { key, what })
            }
            // The kernel's own, made when a packet wanted the address.
            _ => Judged::Nothing,
        }
    }

    /// An address of a device. Only host addresses are ever ours.
    pub(crate) fn judge_address(&self, address: &Address) -> Judged {
        let Some(device) = self.links.device(address.index) else { return Judged::Nothing };
        let prefix = Prefix::host(address.ip);
        if address.len != prefix.len() {
            return Judged::Nothing;
        }
        let on_our_device = device.as_str() == Owner::NODE_ADDRESS_DEVICE
            && self.interest.pools.iter().any(|pool| pool.holds(&address.ip));
        let marked = address.protocol == Some(Owner::MARK);
        let key = Key::Address(device, prefix);
        if marked || (on_our_device && !self.marks_addresses) {
            return Judged::Ours(key, Value::There);
        }
        if on_our_device {
            return Judged::Foreign(Foreign { key, what: "an address without our mark".to_owned() });
        }
        Judged::Nothing
    }

    /// A link: the one with our name, one that takes what ours needs, another plugin's overlay, or nothing to us.
    pub(crate) fn judge_link(&self, link: &Link) -> Judged {
        let key = Key::Link(self.overlay.clone());
        if link.device == self.overlay {
            return match self.links.vxlan_value(link) {
                Some(value) => Judged::Ours(key, value),
                None => Judged::Foreign(Foreign { key, what: describe(link) }),
            };
        }
        let wanted = self.wanted_link.as_deref();
        let twin = wanted.and_then(|wanted| self.links.twin(&self.overlay, wanted));
        if twin.is_some_and(|twin| twin.index == link.index) {
            return Judged::Foreign(Foreign { key, what: format!("{} takes VNI and port", describe(link)) });
        }
        match overlay_of_others(link, &self.overlay, wanted) {
            Some(what) => Judged::Foreign(Foreign { key: Key::Link(link.device.clone()), what }),
            None => Judged::Nothing,
        }
    }

    /// Remembers what a route of ours leans on beside its nexthop object.
    pub(crate) fn note_route(&mut self, prefix: Prefix, value: &Value) {
        let Value::Route { via, src } = value else { return };
        if *via == Via::Unreachable {
            self.own.insert(prefix);
        }
        self.sources.extend(*src);
    }

    /// A device by index, with those that came after the last look.
    pub(crate) fn nexthops_from(&self, found: &[decode::Nexthop], late: &BTreeMap<u32, Device>) -> Nexthops {
        Nexthops::from_dump(found, |index| self.links.device(index).or_else(|| late.get(&index).cloned()))
    }
}

/// Does the route have the key of ours: ToS 0 and our metric, whosever it is?
pub(crate) fn on_our_key(route: &Route) -> bool {
    route.metric == Owner::METRIC && route.tos == 0
}

fn is_unicast(mac: &MacAddr) -> bool {
    mac.0[0] & 1 == 0 && mac.0 != [0; 6]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let mut view = View::new(Device::new("biplane.vxlan").unwrap());
        let device = Device::new(Owner::NODE_ADDRESS_DEVICE).unwrap();
        let (kind, flags) = (String::new(), IFF_UP | IFF_LOWER_UP);
        view.links.insert(Link { index: 1, device, flags, mtu: 65536, kind, mac: None, vxlan: None });
        view.interest.pools = vec!["10.244.0.0/16".parse().unwrap()];
        view
    }

    fn address(ip: &str, len: u8, protocol: Option<u8>) -> Address {
        Address { index: 1, ip: ip.parse().unwrap(), len, protocol }
    }

    #[test]
    fn before_linux_5_18_an_address_is_known_by_its_place() {
        let mut view = view();
        let ours = |view: &View, address: Address| matches!(view.judge_address(&address), Judged::Ours(..));
        assert!(ours(&view, address("10.244.1.2", 32, Some(Owner::MARK))));
        assert!(matches!(view.judge_address(&address("10.244.1.2", 32, None)), Judged::Foreign(_)));
        view.marks_addresses = false;
        assert!(ours(&view, address("10.244.1.2", 32, None)));
        assert_eq!(view.judge_address(&address("10.244.1.2", 24, None)), Judged::Nothing);
        assert_eq!(view.judge_address(&address("192.0.2.1", 32, None)), Judged::Nothing);
    }
}
