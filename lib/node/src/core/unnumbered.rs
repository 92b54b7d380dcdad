//! Peers that are named by the interface they are behind: the router that advertises itself there is the peer (RFC 4861).
//!
//! One peer for each interface. It is there from the first advertisement on until the interface goes; then its session
//! ends and its paths go at once, as nothing can be sent there any more. While its session is up no other router on the
//! link takes its place, and none does that was heard later, as long as the first one is still heard.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use model::config::BgpPeerConfig;
use model::kernel::{Device, LinkInfo};
use model::reflection::selects;
use model::{Moment, PeerId};
use peering::Command;

use super::{Core, ground};
use crate::event::{Effect, Level, Topic};

/// A router that advertises itself every ten seconds, as FRR does below BGP, and is not heard for so long, is gone.
const SILENT: Duration = Duration::from_secs(30);

/// Who is behind which interface.
#[derive(Default)]
pub(super) struct Unnumbered {
    /// Interfaces on which routers are listened for, with the kernel's index.
    asked: BTreeMap<Device, u32>,
    heard: BTreeMap<Device, Heard>,
    /// Why none can be heard.
    failed: BTreeMap<Device, String>,
}

/// A router.
struct Heard {
    address: Ipv6Addr,
    at: Moment,
    /// Another one on the link that was told of.
    other: Option<Ipv6Addr>,
}

impl Core {
    /// Peers behind interfaces that this node has, by configuration.
    pub(super) fn unnumbered_peers(&self) -> impl Iterator<Item = (&Device, &BgpPeerConfig)> {
        let peers = self.config.bgp.peers.iter().filter(|peer| selects(&peer.session.nodes, &self.config.node.labels));
        peers.filter_map(|peer| Some((peer.interface.as_ref()?, peer)))
    }

    /// Is a peer configured behind the device?
    pub(super) fn is_unnumbered(&self, device: &Device) -> bool {
        self.unnumbered_peers().any(|(interface, _)| interface == device)
    }

    /// The router behind an interface, if one is known.
    pub(super) fn router_behind(&self, interface: &Device) -> Option<PeerId> {
        let heard = self.native.unnumbered.heard.get(interface)?;
        Some(PeerId::link_local(heard.address, interface.clone()))
    }

    /// Interfaces with a peer of whom nothing is known, and why.
    pub(super) fn undiscovered(&self) -> Vec<(&BgpPeerConfig, &Device, String)> {
        let unknown = self.unnumbered_peers().filter(|(device, _)| !self.native.unnumbered.heard.contains_key(*device));
        unknown.map(|(device, peer)| (peer, device, self.why_undiscovered(device))).collect()
    }

    fn why_undiscovered(&self, device: &Device) -> String {
        let unnumbered = &self.native.unnumbered;
        match self.links.iter().find(|link| link.device == *device) {
            None => format!("there is no interface {device}"),
            Some(link) if !link.up => format!("interface {device} is down"),
            Some(link) if self.carries_pods(link) => format!("interface {device} carries pods: no router is behind it"),
            Some(_) => match unnumbered.failed.get(device) {
                Some(why) => why.clone(),
                None => format!(
                    "no router advertisement is heard on {device} yet: the router has to send them there (FRR does for \
                     `neighbor INTERFACE interface`)"
                ),
            },
        }
    }

    /// Listens on what is configured and up, and forgets who was behind what is not. Was that news for the sessions?
    pub(super) fn renew_discovery(&mut self, now: Moment, on: bool) -> bool {
        let wanted: BTreeMap<Device, u32> = match on {
            false => BTreeMap::new(),
            true => {
                let links = self.links.iter().filter(|link| link.up && !self.carries_pods(link));
                let links = links.filter(|link| self.is_unnumbered(&link.device));
                links.map(|link| (link.device.clone(), link.index)).collect()
            }
        };
        if wanted == self.native.unnumbered.asked {
            return false;
        }
        let unnumbered = &mut self.native.unnumbered;
        let before = std::mem::replace(&mut unnumbered.asked, wanted.clone());
        let same = |device: &Device| before.get(device).is_some_and(|index| wanted.get(device) == Some(index));
        unnumbered.failed.retain(|device, _| same(device));
        let gone: Vec<Device> = unnumbered.heard.keys().filter(|device| !same(device)).cloned().collect();
        for device in &gone {
            unnumbered.heard.remove(device);
        }
        self.out.push(Effect::Peering(Command::Discover(wanted)));
        if on {
            for device in &gone {
                let text = format!("peer on {device}: the interface has gone, and the session with it");
                self.say(now, Level::Warn, Topic::Bgp, text);
            }
        }
        !gone.is_empty()
    }

    /// A router has advertised itself.
    pub(super) fn handle_neighbour(&mut self, now: Moment, device: Device, address: Ipv6Addr) {
        if !self.native.unnumbered.asked.contains_key(&device) {
            return;
        }
        self.native.unnumbered.failed.remove(&device);
        let before = self.native.unnumbered.heard.get_mut(&device);
        let text = match before {
            None => format!("peer on {device}: the router there is {address}"),
            Some(known) if known.address == address => {
                known.at = now;
                return;
            }
            Some(known) => {
                let id = PeerId::link_local(known.address, device.clone());
                let silent = now.since(known.at) >= SILENT;
                let up = self.native.speaker.is_established(&id);
                if up || !silent {
                    if known.other.replace(address) != Some(address) {
                        let text = format!(
                            "peer on {device}: {address} advertises itself there, too; the peer stays {}",
                            known.address
                        );
                        self.say(now, Level::Warn, Topic::Bgp, text);
                    }
                    return;
                }
                format!("peer on {device}: the router there is {address} now, in place of {}", known.address)
            }
        };
        self.native.unnumbered.heard.insert(device, Heard { address, at: now, other: None });
        self.native.dirty = true;
        self.say(now, Level::Info, Topic::Bgp, text);
    }

    pub(super) fn handle_discovery_failed(&mut self, now: Moment, device: Device, error: String) {
        if self.native.unnumbered.asked.contains_key(&device) {
            self.say(now, Level::Warn, Topic::Bgp, error.clone());
            self.native.unnumbered.failed.insert(device, error);
        }
    }

    /// Ours, or the host's end of a pod's link: whoever is behind it is no router of the fabric.
    fn carries_pods(&self, link: &LinkInfo) -> bool {
        let own = self.claims.own();
        // What the ground puts there for reverse-path filtering is no pods' gateway.
        let node = |address| own.iter().any(|cidr| cidr.node_address() == Some(address));
        let pods = |address| own.iter().any(|cidr| cidr.0.holds(&address));
        ground::is_ours(link) || link.addresses.iter().any(|(address, _)| pods(*address) && !node(*address))
    }
}
