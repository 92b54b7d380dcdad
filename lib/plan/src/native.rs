//! From BGP next hops to gateways of the kernel.

use std::net::{IpAddr, Ipv6Addr};

use model::kernel::{Device, Hop, LinkInfo, Via};
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
/// A peer behind a device (unnumbered) is reached by link-local next hops on that device, for prefixes of both families
/// (RFC 8950); whatever global address it may give besides is on no network that we share.
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
    let link_local = path.link_local.or_else(|| link_local(&next_hop));
    match (&path.peer.device, link_local) {
        (Some(device), Some(gateway)) => return hop_on(links, device, gateway),
        (None, Some(gateway)) if gateway == next_hop => {
            // Told in a session between global addresses: it is on the link of that session.
            let session = links.iter().filter(|link| !is_pods(link)).find(|link| connected(link, &path.peer.address));
            let link =
                session.ok_or_else(|| format!("next hop {gateway} is on an unknown link: its peer is on none"))?;
            return hop_on(links, &link.device, gateway);
        }
        _ => {}
    }
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

/// A link-local gateway, which is good for one device alone.
fn hop_on(links: &[LinkInfo], device: &Device, gateway: Ipv6Addr) -> Result<Hop, String> {
    match links.iter().find(|link| link.device == *device).filter(|link| !is_pods(link)) {
        None => Err(format!("next hop {gateway} is on {device}, which is gone")),
        Some(link) if !link.up => Err(format!("next hop {gateway} is on {device}, which is down")),
        Some(link) if link.addresses.iter().any(|(address, _)| *address == gateway) => {
            Err(format!("next hop {gateway} is our own address on {device}"))
        }
        Some(_) => Ok(Hop { gateway: Some(gateway.into()), device: device.clone() }),
    }
}

fn link_local(address: &IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(*v6),
        _ => None,
    }
}

fn connected(link: &LinkInfo, address: &IpAddr) -> bool {
    link.addresses.iter().any(|(own, len)| Prefix::new(*own, *len).is_some_and(|net| net.holds(address)))
}

/// Devices of ours carry pods and tunnels, never next hops of the fabric.
fn is_pods(link: &LinkInfo) -> bool {
    let name = link.device.as_str();
    name.starts_with(Owner::DEVICE_PREFIX) || name == "lo"
}
