//! From BGP next hops to gateways of the kernel.

use std::net::{IpAddr, Ipv6Addr};

use model::kernel::{Hop, LinkInfo, Via};
use model::{Owner, PeerId, Prefix};

/// One path of the Loc-RIB's multipath set, as far as forwarding needs it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NativePath {
    /// NEXT_HOP, global.
    pub next_hop: IpAddr,
    /// Link-local next hop of RFC 2545, if the peer gave one.
    pub link_local: Option<Ipv6Addr>,
    /// Peer that announced it.
    pub peer: PeerId,
}

/// The kernel's way for a set of equal paths: every next hop that is on a connected network of a link that is up.
///
/// A next hop behind a router is not taken: that router need not know the pod CIDR, and would drop or loop its packets.
/// Errors tell in words why no path can be used.
pub fn native_via(links: &[LinkInfo], paths: &[NativePath]) -> Result<Via, String> {
    let mut hops = Vec::with_capacity(paths.len());
    let mut why = "no peer announces it".to_owned();
    for path in paths {
        match hop(links, path) {
            Ok(hop) => hops.push(hop),
            Err(reason) => why = reason,
        }
    }
    Via::hops(hops).ok_or(why)
}

fn hop(links: &[LinkInfo], path: &NativePath) -> Result<Hop, String> {
    let next_hop = path.next_hop;
    if let Some(own) = links.iter().find(|link| link.addresses.iter().any(|(address, _)| *address == next_hop)) {
        return Err(format!("next hop {next_hop} is our own address on {}", own.device));
    }
    let mut found: Option<(u8, &LinkInfo)> = None;
    for link in links.iter().filter(|link| !is_pods(link)) {
        for (address, len) in &link.addresses {
            let connected = Prefix::new(*address, *len).is_some_and(|net| net.holds(&next_hop));
            if connected && found.is_none_or(|(best, _)| *len > best) {
                found = Some((*len, link));
            }
        }
    }
    match found {
        Some((_, link)) if link.up => Ok(Hop { gateway: Some(next_hop), device: link.device.clone() }),
        Some((_, link)) => Err(format!("next hop {next_hop} is on {}, which is down", link.device)),
        None => Err(format!("next hop {next_hop} is on no connected network")),
    }
}

/// Devices of ours carry pods and tunnels, never next hops of the fabric.
fn is_pods(link: &LinkInfo) -> bool {
    let name = link.device.as_str();
    name.starts_with(Owner::DEVICE_PREFIX) || name == "lo"
}
