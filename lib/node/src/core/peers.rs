//! Who our BGP peers are: the configured ones, and the nodes of the mesh.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bgp::PeerConfig;
use model::config::{BgpRole, BgpSessionConfig};
use model::reflection::selects;
use model::{PeerId, Plane};

use super::Core;

impl Core {
    /// Configured peers, and every other node that takes part in the mesh.
    pub(super) fn peers(&self) -> Vec<PeerConfig> {
        let bgp = &self.config.bgp;
        let mut peers: Vec<PeerConfig> = bgp
            .peers
            .iter()
            .filter(|peer| selects(&peer.session.nodes, &self.config.node.labels))
            .filter_map(|peer| {
                let id = match &peer.interface {
                    Some(interface) => self.router_behind(interface)?,
                    None => PeerId::from(peer.address?),
                };
                Some(PeerConfig {
                    port: peer.port,
                    local_address: peer.local_address,
                    passive: peer.passive,
                    key_generation: self.key_generation(&id.address),
                    ..self.session(&peer.session, PeerConfig::new(id, peer.asn))
                })
            })
            .collect();
        if !bgp.mesh {
            return peers;
        }
        let mut met: BTreeSet<IpAddr> = peers.iter().map(|peer| peer.id.address).collect();
        met.extend(self.underlay());
        for (node, cidrs) in &self.claims.nodes {
            let Some(claim) = cidrs.first().and_then(|cidr| self.claims.all.get(cidr)) else { continue };
            let reach = &claim.reach;
            if !self.native.meeting.met.contains(node) {
                continue;
            }
            if !reach.bgp.mesh || !reach.planes.has(Plane::Native) || !met.insert(reach.vtep.underlay) {
                continue;
            }
            peers.push(PeerConfig {
                port: reach.bgp.port,
                local_address: self
                    .underlay()
                    .first()
                    .copied()
                    .filter(|own| own.is_ipv4() == reach.vtep.underlay.is_ipv4()),
                max_prefixes: bgp.max_prefixes,
                max_prefixes_warn: bgp.max_prefixes_warn,
                max_prefixes_restart: bgp.max_prefixes_restart,
                min_advertisement_interval: bgp.min_advertisement_interval,
                mesh: true,
                client: self.native.meeting.reflecting && self.native.meeting.clients.contains(node),
                key_generation: self.key_generation(&reach.vtep.underlay),
                description: Some(format!("node {node}")),
                bfd: bgp.mesh_bfd.clone(),
                import: self.native.policy(bgp.mesh_import.as_ref()),
                export: self.native.policy(bgp.mesh_export.as_ref()),
                ..PeerConfig::new(reach.vtep.underlay, reach.bgp.asn)
            });
        }
        peers
    }

    fn key_generation(&self, address: &IpAddr) -> u64 {
        self.keys.get(address).copied().unwrap_or(0)
    }

    /// `peer`, with what the configuration says of its sessions.
    fn session(&self, said: &BgpSessionConfig, peer: PeerConfig) -> PeerConfig {
        let bgp = &self.config.bgp;
        PeerConfig {
            hold_time: said.hold_time,
            max_prefixes: said.max_prefixes.unwrap_or(bgp.max_prefixes),
            max_prefixes_warn: said.max_prefixes_warn.unwrap_or(bgp.max_prefixes_warn),
            max_prefixes_restart: said.max_prefixes_restart.or(bgp.max_prefixes_restart),
            min_advertisement_interval: said.min_advertisement_interval.unwrap_or(bgp.min_advertisement_interval),
            role: said.role.map(role),
            role_strict: said.role_strict,
            graceful_restart: said.graceful_restart,
            description: said.description.clone(),
            import: self.native.policy(said.import.as_ref()),
            export: self.native.policy(said.export.as_ref()),
            local_asn: said.local_asn,
            client: said.client,
            next_hop: said.next_hop,
            add_path: said.add_path,
            bfd: said.bfd.clone(),
            ..peer
        }
    }
}

fn role(role: BgpRole) -> bgp::Role {
    match role {
        BgpRole::Provider => bgp::Role::Provider,
        BgpRole::Customer => bgp::Role::Customer,
        BgpRole::Peer => bgp::Role::Peer,
        BgpRole::RouteServer => bgp::Role::RouteServer,
        BgpRole::RouteServerClient => bgp::Role::RouteServerClient,
    }
}
