//! Interfaces and their addresses, as last told by the kernel.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::Vni;
use model::kernel::{Device, LinkInfo, Value, VxlanLink};

use crate::decode::{Address, Link, Vxlan};
use crate::ethtool;

/// Devices whose names tell of another network plugin's overlay.
const KNOWN_OVERLAYS: [&str; 6] =
    ["flannel.1", "flannel-v6.1", "vxlan.calico", "vxlan-v6.calico", "cilium_vxlan", "vxlan_sys_4789"];

/// Interfaces by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<u32, Vec<Address>>,
}

impl Links {
    /// Records a link; returns what had its index before.
    pub(crate) fn insert(&mut self, link: Link) -> Option<Link> {
        self.links.insert(link.index, link)
    }

    /// Forgets a link and its addresses; returns it.
    pub(crate) fn remove(&mut self, index: u32) -> Option<Link> {
        self.addresses.remove(&index);
        self.links.remove(&index)
    }

    /// Records an address; `false` if it was there with the same length already.
    pub(crate) fn insert_address(&mut self, address: Address) -> bool {
        let addresses = self.addresses.entry(address.index).or_default();
        let known = addresses.iter_mut().find(|other| (other.ip, other.len) == (address.ip, address.len));
        match known {
            Some(known) => {
                *known = address;
                false
            }
            None => {
                addresses.push(address);
                true
            }
        }
    }

    /// Forgets an address; `false` if it was not there.
    pub(crate) fn remove_address(&mut self, address: &Address) -> bool {
        let Some(addresses) = self.addresses.get_mut(&address.index) else { return false };
        let before = addresses.len();
        addresses.retain(|other| (other.ip, other.len) != (address.ip, address.len));
        addresses.len() != before
    }

    pub(crate) fn by_index(&self, index: u32) -> Option<&Link> {
        self.links.get(&index)
    }

    pub(crate) fn by_name(&self, device: &Device) -> Option<&Link> {
        self.links.values().find(|link| link.device == *device)
    }

    pub(crate) fn device(&self, index: u32) -> Option<Device> {
        self.links.get(&index).map(|link| link.device.clone())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.addresses.values().flatten()
    }

    /// As the rest of Biplane sees them, by index.
    pub(crate) fn infos(&self) -> Vec<LinkInfo> {
        self.links
            .values()
            .map(|link| LinkInfo {
                device: link.device.clone(),
                index: link.index,
                up: link.passes(),
                mtu: link.mtu,
                kind: link.kind.clone(),
                addresses: self
                    .addresses
                    .get(&link.index)
                    .map(|addresses| addresses.iter().map(|address| (address.ip, address.len)).collect())
                    .unwrap_or_default(),
            })
            .collect()
    }

    /// The value of a VXLAN link under our name; `None` if the link is of another kind, which makes it foreign.
    pub(crate) fn vxlan_value(&self, link: &Link) -> Option<Value> {
        let vxlan = link.vxlan.as_ref()?;
        let other = |words: &str| Some(Value::OtherLink(Arc::from(words)));
        let (Some(vni), Some(mac)) = (Vni::new(vxlan.vni), link.mac) else { return other("a VXLAN link without VNI") };
        let Some(local) = vxlan.local else { return other("a VXLAN link without local address") };
        let Some(underlay) = vxlan.lower.and_then(|index| self.device(index)) else {
            return other("a VXLAN link without underlay device");
        };
        match vxlan {
            Vxlan { external: true, .. } => other("a VXLAN link under external control"),
            Vxlan { learning: true, .. } => other("a VXLAN link that learns"),
            Vxlan { remote: Some(remote), .. } => {
                Some(Value::OtherLink(format!("a VXLAN link with the default destination {remote}").into()))
            }
            _ if !link.is_up() => other("a VXLAN link that is down"),
            _ => {
                let (port, mtu) = (vxlan.port, link.mtu);
                // No message tells of it; a device that has just gone is told as such by the next one.
                let tx_checksum = ethtool::tx_checksum(&link.device).unwrap_or(true);
                Some(Value::Link(Arc::new(VxlanLink { vni, port, local, underlay, mac, mtu, tx_checksum })))
            }
        }
    }

    /// Another device that takes what the wanted link needs: the same VNI on the same UDP port in the same family.
    pub(crate) fn twin(&self, device: &Device, wanted: &VxlanLink) -> Option<&Link> {
        self.links.values().find(|link| {
            link.device != *device
                && link.vxlan.as_ref().is_some_and(|other| {
                    other.port == wanted.port
                        && (other.external || other.vni == wanted.vni.number())
                        && other.local.is_none_or(|local| same_family(&local, &wanted.local))
                })
        })
    }

    /// Another VXLAN device on the same UDP port; the kernel shares the port only among links with the same settings.
    pub(crate) fn on_port(&self, device: &Device, port: u16) -> Option<&Link> {
        self.links
            .values()
            .find(|link| link.device != *device && link.vxlan.as_ref().is_some_and(|other| other.port == port))
    }
}

/// A VXLAN device of another network plugin, in words; `None` if it is nothing to worry about.
pub(crate) fn overlay_of_others(link: &Link, own: &Device, wanted: Option<&VxlanLink>) -> Option<String> {
    let vxlan = link.vxlan.as_ref().filter(|_| link.device != *own)?;
    let same_port = wanted.is_some_and(|wanted| wanted.port == vxlan.port);
    (same_port || KNOWN_OVERLAYS.contains(&link.device.as_str())).then(|| describe(link))
}

/// A link in words: `VXLAN device flannel.1 with VNI 1 on UDP port 8472`.
pub(crate) fn describe(link: &Link) -> String {
    match &link.vxlan {
        Some(vxlan) if vxlan.external => {
            format!("VXLAN device {} for any VNI on UDP port {}", link.device, vxlan.port)
        }
        Some(vxlan) => format!("VXLAN device {} with VNI {} on UDP port {}", link.device, vxlan.vni, vxlan.port),
        None if link.kind.is_empty() => format!("device {}, which is no VXLAN link", link.device),
        None => format!("device {} of kind {}, which is no VXLAN link", link.device, link.kind),
    }
}

fn same_family(one: &IpAddr, other: &IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}
