//! Who our BGP peers are: the configured ones, and the nodes of the mesh.

use std::collections::BTreeSet;
use std::net::IpAddr;

use bgp::{PeerConfig, PeerRange};
use model::config::{BgpRole, BgpSessionConfig};
use model::reflection::selects;
use model::{Asn, Family, PeerId, Plane, Prefix};
use peering::Remote;

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

    /// Where peers may connect from that are not configured one by one.
    pub(super) fn ranges(&self) -> Vec<PeerRange> {
        let ranges = self.config.bgp.listen.iter();
        let ranges = ranges.filter(|range| selects(&range.session.nodes, &self.config.node.labels));
        let made = ranges.filter_map(|range| {
            let peer = self.session(&range.session, PeerConfig::new(range.range.address(), *range.asns.first()?));
            let key_generation = self.keys.get(&range.range).copied().unwrap_or(0);
            let peer = PeerConfig { asns: range.asns.clone(), key_generation, ..peer };
            Some(PeerRange { prefix: range.range, limit: range.limit, peer })
        });
        made.collect()
    }

    /// How packets of these peers travel.
    pub(super) fn remotes(peers: &[PeerConfig], ranges: &[PeerRange], own: Asn) -> Vec<Remote> {
        let peers = peers.iter().map(|peer| (Prefix::host(peer.id.address), peer));
        let ranges = ranges.iter().map(|range| (range.prefix, &range.peer));
        let travel = |(prefix, peer): (Prefix, &PeerConfig)| Remote { prefix, transport: peer.transport(own) };
        let mut remotes: Vec<Remote> = peers.chain(ranges).map(travel).collect();
        remotes.sort();
        remotes
    }

    fn key_generation(&self, address: &IpAddr) -> u64 {
        let len = Family::of(address).bits();
        let around = (0..=len).rev().filter_map(|len| self.keys.get(&Prefix::new(*address, len)?));
        around.copied().next().unwrap_or(0)
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
            multihop: said.multihop,
            ttl_security: said.ttl_security,
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
