//! One remote node on the overlay: where its frames go.

use std::net::IpAddr;

use model::kernel::{Hop, Key, Value, Via};
use model::node::BgpReach;
use model::{Family, MacAddr, NodeName, PlaneSet, Reach, Vtep};

use crate::Ground;

/// MAC of a node's VXLAN link: a hash of its name, locally administered, unicast; the same after every restart.
///
/// Names are unique in a cluster, 46 bits are left to tell them apart.
pub fn vtep_mac(node: &NodeName) -> MacAddr {
    let hash = node
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    // FNV's low bits mix best; fold the high ones in.
    let mixed = hash ^ (hash >> 29);
    let [_, _, a, b, c, d, e, f] = mixed.to_be_bytes();
    MacAddr([(a & 0xfc) | 0x02, b, c, d, e, f])
}

/// What a node tells senders of itself; `None` without an underlay address.
pub fn reach_of(node: &NodeName, underlay: &[IpAddr], bgp: BgpReach) -> Option<Reach> {
    let primary = *underlay.first()?;
    let mac = vtep_mac(node);
    let vtep = Vtep { underlay: primary, mac, gateway: IpAddr::V6(mac.link_local()) };
    Some(Reach { underlay: underlay.to_vec(), vtep, bgp, planes: PlaneSet::BOTH })
}

/// FDB entry, neighbour and nexthop object of a remote node; nothing while the overlay does not stand, or when the
/// node has no underlay address of our link's family.
pub fn vtep(ground: &Ground, reach: &Reach) -> Vec<(Key, Value)> {
    let (Some(device), Some(outer)) = (ground.overlay(), outer(ground, reach)) else { return Vec::new() };
    let hop = Hop { gateway: Some(reach.vtep.gateway), device: device.clone() };
    vec![
        (Key::Fdb(device.clone(), reach.vtep.mac), Value::Fdb(outer)),
        (Key::Neighbour(device, reach.vtep.gateway), Value::Neighbour(reach.vtep.mac)),
        (Key::Nexthop(hop), Value::There),
    ]
}

/// Addresses that frames of a remote node come from: any of its underlay addresses that our link can hear, as the node may
/// take another for its own before we know.
pub fn senders(ground: &Ground, reach: &Reach) -> Vec<Key> {
    let Some(link) = ground.vxlan.as_ref().filter(|_| ground.vtep_filter) else { return Vec::new() };
    let family = Family::of(&link.local);
    let heard = reach.underlay.iter().chain([&reach.vtep.underlay]).filter(|address| Family::of(address) == family);
    let mut keys: Vec<Key> = heard.map(|address| Key::Vtep(*address)).collect();
    keys.sort();
    keys.dedup();
    keys
}

/// Where a route to a pod CIDR of the node leads on the overlay.
pub fn overlay_via(ground: &Ground, reach: &Reach) -> Option<Via> {
    outer(ground, reach)?;
    Some(Via::hop(Some(reach.vtep.gateway), ground.overlay()?))
}

fn outer(ground: &Ground, reach: &Reach) -> Option<IpAddr> {
    reach.underlay_of(Family::of(&ground.vxlan.as_ref()?.local))
}
