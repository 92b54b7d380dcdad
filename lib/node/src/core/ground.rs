//! Node-wide kernel objects, and whether each plane's ground is ready.

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::config::AcceptFrom;
use model::kernel::{Key, LinkInfo, SysctlPath, Value, VxlanLink};
use model::{Family, Moment, Owner, Plane};
use plan::Ground;
use switch::Readiness;

use super::Core;

/// What was planned last.
#[derive(Default)]
pub(super) struct GroundState {
    pub(super) spec: Ground,
    wanted: BTreeMap<Key, Value>,
    pub(super) dirty: bool,
    /// What is wanted of every node's addresses has been said.
    pub(super) senders_known: bool,
    /// Why no ground can be planned: no underlay address, or it is on no link.
    pub(super) trouble: Option<String>,
}

impl GroundState {
    pub(super) fn sysctls(&self) -> Vec<SysctlPath> {
        let path = |key: &Key| if let Key::Sysctl(path) = key { Some(path.clone()) } else { None };
        self.wanted.keys().filter_map(path).collect()
    }
}

impl Core {
    /// Plans the ground anew if something that it rests on changed, and wants just that.
    pub(super) fn refresh_ground(&mut self, _now: Moment) {
        if !std::mem::take(&mut self.ground.dirty) || self.switch.is_none() {
            return;
        }
        let spec = self.plan_ground();
        let overlay_changed =
            (&spec.vxlan, spec.vtep_filter) != (&self.ground.spec.vxlan, self.ground.spec.vtep_filter);
        let source_changed = spec.own != self.ground.spec.own;
        let wanted: BTreeMap<Key, Value> = plan::ground(&spec).into_iter().collect();
        for (key, value) in &wanted {
            self.reconcile.want(key.clone(), Some(value.clone()));
        }
        for key in self.ground.wanted.keys().filter(|key| !wanted.contains_key(*key)) {
            self.reconcile.want(key.clone(), None);
        }
        self.ground.wanted = wanted;
        self.ground.spec = spec;
        if overlay_changed {
            self.destinations.all_nodes_dirty();
        }
        if overlay_changed || source_changed {
            self.destinations.all_dirty();
        }
    }

    /// This node's underlay addresses, primary first.
    pub(super) fn underlay(&self) -> Vec<IpAddr> {
        if !self.config.node.addresses.is_empty() {
            return self.config.node.addresses.clone();
        }
        if !self.found_underlay.is_empty() {
            return self.found_underlay.clone();
        }
        // No default route: the first global address of each family on a link that is not ours.
        let candidates = || {
            let links = self.links.iter().filter(|link| link.up && !is_ours(link));
            links.flat_map(|link| link.addresses.iter().map(|(address, _)| *address)).filter(is_global)
        };
        Family::BOTH.iter().filter_map(|family| candidates().find(|a| Family::of(a) == *family)).collect()
    }

    fn plan_ground(&mut self) -> Ground {
        let own = self.claims.own();
        let underlay = self.underlay();
        let stand = self.stance().stand;
        self.ground.trouble = None;
        let primary = underlay.first().copied();
        let home = primary.and_then(|p| self.links.iter().find(|l| l.addresses.iter().any(|(a, _)| *a == p)));
        let vxlan = match (primary, home) {
            (None, _) => {
                let cure = "set node.address, or give an interface an address";
                self.ground.trouble = Some(format!("this node has no underlay address: {cure}"));
                None
            }
            (Some(primary), None) => {
                let words =
                    format!("underlay address {primary} is on no interface: set it up, or correct node.address");
                self.ground.trouble = Some(words);
                // The link that stands is better than none while an address comes and goes.
                self.ground.spec.vxlan.clone().filter(|_| stand.has(Plane::Overlay))
            }
            (Some(local), Some(home)) => stand.has(Plane::Overlay).then(|| VxlanLink {
                vni: self.config.vxlan.vni,
                port: self.config.vxlan.port,
                local,
                underlay: home.device.clone(),
                mac: plan::vtep_mac(&self.identity.node),
                mtu: self.config.vxlan.mtu.unwrap_or_else(|| plan::vxlan_mtu(home.mtu, &local)),
                tx_checksum: self.config.vxlan.tx_checksum_offload,
            }),
        };
        let behind: Vec<_> = self.unnumbered_peers().map(|(device, _)| device.clone()).collect();
        let mut devices: Vec<_> = super::relevant(&self.links, &own, &behind).map(|link| link.device.clone()).collect();
        devices.sort();
        devices.dedup();
        let mut families: Vec<Family> = self.config.pools.iter().map(model::ClusterPool::family).collect();
        families.sort();
        families.dedup();
        let masquerade = self
            .config
            .masquerade
            .enabled
            .then(|| plan::masquerade(&own, &self.config.pools, &self.config.masquerade.exclude))
            .flatten();
        let unnumbered = self.without_ipv4(&own);
        let vtep_filter = self.config.vxlan.accept_from == AcceptFrom::Nodes;
        // Whoever was known by another link's family, or by no filter, is not known by this one.
        let family = |link: &VxlanLink| Family::of(&link.local);
        let same = vtep_filter == self.ground.spec.vtep_filter
            && vxlan.as_ref().map(family) == self.ground.spec.vxlan.as_ref().map(family);
        self.ground.senders_known &= same;
        let senders_known = self.ground.senders_known;
        Ground { own, vxlan, underlay: devices, unnumbered, families, masquerade, vtep_filter, senders_known }
    }

    /// Interfaces with a peer behind them that have no IPv4 address but what we give them.
    fn without_ipv4(&self, own: &[model::PodCidr]) -> Vec<model::kernel::Device> {
        let ours = |address: IpAddr| own.iter().any(|cidr| cidr.node_address() == Some(address));
        let links = self.links.iter().filter(|link| !is_ours(link) && self.is_unnumbered(&link.device));
        let bare = |link: &&LinkInfo| link.addresses.iter().all(|(address, _)| address.is_ipv6() || ours(*address));
        links.filter(bare).map(|link| link.device.clone()).collect()
    }

    /// MTU of pods: the configured one, or the smaller of the planes'.
    pub(super) fn pod_mtu(&self) -> Option<u32> {
        if let Some(mtu) = self.config.cni.mtu {
            return Some(mtu);
        }
        let primary = self.underlay().first().copied()?;
        let home = self.links.iter().find(|link| link.addresses.iter().any(|(a, _)| *a == primary))?;
        let vxlan = self.config.vxlan.mtu.unwrap_or_else(|| plan::vxlan_mtu(home.mtu, &primary));
        Some(plan::pod_mtu(vxlan, home.mtu))
    }

    /// Is the ground of `plane` in the kernel as wanted, and for the native plane, is a session up?
    pub(super) fn readiness(&self, plane: Plane) -> Readiness {
        if let Some(trouble) = &self.ground.trouble {
            return Readiness::Waiting(trouble.clone());
        }
        if let Some(why) = self.claims.missing(&self.config) {
            return Readiness::Waiting(why);
        }
        if let Some(why) = self.ground_missing(plane) {
            return Readiness::Waiting(why);
        }
        match plane {
            Plane::Overlay if self.ground.spec.vxlan.is_none() => Readiness::Waiting("the VXLAN link".to_owned()),
            Plane::Overlay => Readiness::Ready,
            Plane::Native => self.sessions_ready(),
        }
    }

    /// The first object of the plane's ground that is not in the kernel as wanted, in words.
    pub(super) fn ground_missing(&self, plane: Plane) -> Option<String> {
        let of_plane = |key: &Key| match (key, plane) {
            (Key::Masquerade | Key::VtepTable | Key::VtepFilter, _) => false,
            (_, Plane::Overlay) => true,
            (Key::Link(_), Plane::Native) => false,
            (Key::Address(device, _), Plane::Native) => device.as_str() != Owner::VXLAN_DEVICE,
            (Key::Sysctl(path), Plane::Native) => !path.contains(Owner::VXLAN_DEVICE),
            (_, Plane::Native) => true,
        };
        let missing = || self.ground.wanted.keys().filter(|key| of_plane(key) && !self.reconcile.settled(key));
        // What is merely on its way, or waits for something else to be there, says less than what is kept out.
        let missing = missing().find(|key| self.obstacle(key).is_some()).or_else(|| missing().next())?;
        let mut words = format!("{missing} is not in the kernel as wanted");
        if let Some(obstacle) = self.obstacle(missing) {
            words.push_str(&format!(": {obstacle}"));
        }
        Some(words)
    }

    /// What keeps an object of ours out of the kernel, with the cure.
    pub(super) fn obstacle(&self, key: &Key) -> Option<String> {
        let refusal = self.reconcile.failures().get(key).map(|failure| failure.refusal.to_string());
        let foreign = self.reconcile.foreign().get(key).filter(|_| self.reconcile.tracker().actual(key).is_none());
        match foreign {
            // Who tried to make the link knows more than that somebody has what it needs.
            Some(_) if matches!(key, Key::Link(_)) && refusal.is_some() => refusal,
            Some(what) => {
                Some(format!("somebody else's is in its place ({what}): remove it, and ours comes by itself"))
            }
            None => refusal,
        }
    }
}

pub(super) fn is_ours(link: &LinkInfo) -> bool {
    let name = link.device.as_str();
    name == "lo" || name.starts_with(Owner::DEVICE_PREFIX)
}

pub(super) fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}
