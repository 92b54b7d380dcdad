//! Peers and paths.

use model::{PeerId, Prefix, RouterId};
use status::doc;

use super::Wall;
use crate::core::Core;

impl Core {
    pub(super) fn bgp_peers_doc(&self, wall: Wall) -> doc::BgpPeers {
        let bgp = &self.config.bgp;
        let speaker = &self.native.speaker;
        let items = speaker.peers().into_iter().map(|peer| {
            let established = peer.state == bgp::State::Established;
            let by_family: Vec<doc::FamilyCounts> = peer
                .counts
                .iter()
                .map(|(family, counts)| doc::FamilyCounts {
                    family: *family,
                    received: counts.received as u64,
                    accepted: counts.accepted as u64,
                    rejected: counts.rejected as u64,
                    advertised: counts.advertised as u64,
                })
                .collect();
            let sum = |of: fn(&doc::FamilyCounts) -> u64| by_family.iter().map(of).sum();
            let node = self.claims.all.values().find(|claim| claim.reach.underlay.contains(&peer.id.address));
            doc::BgpPeer {
                interface: peer.id.device.clone(),
                address: peer.id,
                port: peer.port,
                asn: peer.asn,
                local_asn: peer.local_asn,
                peer_type: if peer.asn == peer.local_asn { doc::PeerType::Ibgp } else { doc::PeerType::Ebgp },
                mesh: peer.mesh,
                range: peer.range,
                node: node.filter(|_| peer.mesh).map(|claim| claim.node.clone()),
                description: peer.description,
                passive: peer.passive,
                admin_down: peer.down,
                role: peer.role.map(|role| role_word(role).to_owned()),
                host_name: peer.host_name,
                state: state(peer.state),
                since: wall.at(peer.since),
                uptime_seconds: established.then(|| wall.seconds(peer.since)),
                local_address: peer.local,
                router_id: peer.router_id.map(RouterId),
                hold_time_seconds: peer.hold_time.unwrap_or(bgp.hold_time).as_secs_f64(),
                families: peer.families.iter().copied().collect(),
                received: sum(|counts| counts.received),
                accepted: sum(|counts| counts.accepted),
                rejected: sum(|counts| counts.rejected),
                advertised: sum(|counts| counts.advertised),
                max_prefixes: peer.max_prefixes,
                messages_in: peer.messages_in,
                messages_out: peer.messages_out,
                end_of_rib: established && peer.families.iter().all(|family| peer.end_of_rib.contains(family)),
                stale: peer.stale as u64,
                warnings: peer.warnings,
                last_error: peer.last_error.as_ref().map(|(_, error)| error.clone()),
                last_error_seconds_ago: peer.last_error.as_ref().map(|(at, _)| wall.seconds(*at)),
                by_family,
            }
        });
        let items = items.collect();
        doc::BgpPeers {
            local_asn: bgp.local_asn,
            router_id: self.router_id(),
            port: bgp.port,
            listening: self.native.is_listening(),
            listen_error: self.native.listen_error().map(str::to_owned),
            originated: if self.native.on { self.native.originated.iter().copied().collect() } else { Vec::new() },
            items,
            undiscovered: if self.native.on { self.undiscovered_docs() } else { Vec::new() },
            strangers: speaker
                .last_strangers()
                .iter()
                .map(|stranger| doc::Stranger {
                    address: stranger.id.clone(),
                    count: stranger.attempts,
                    last: wall.at(stranger.last),
                })
                .collect(),
        }
    }

    fn undiscovered_docs(&self) -> Vec<doc::Undiscovered> {
        let own = self.config.bgp.local_asn;
        let undiscovered = self.undiscovered().into_iter().map(|(peer, interface, why)| doc::Undiscovered {
            interface: interface.clone(),
            asn: peer.asn,
            peer_type: if peer.asn.is_external(own) { doc::PeerType::Ebgp } else { doc::PeerType::Ibgp },
            description: peer.session.description.clone(),
            why,
        });
        undiscovered.collect()
    }

    pub(super) fn bgp_routes_doc(
        &self,
        direction: doc::RouteDirection,
        peer: Option<PeerId>,
        prefix: Option<Prefix>,
        limit: usize,
    ) -> doc::BgpRoutes {
        let limit = limit.clamp(1, status::Query::MAX_ROUTES);
        let table = match direction {
            doc::RouteDirection::Local => bgp::Direction::Loc,
            doc::RouteDirection::In => bgp::Direction::In,
            doc::RouteDirection::Out => bgp::Direction::Out,
        };
        let query = bgp::RoutesQuery { direction: table, peer, prefix, limit: limit + 1 };
        let mut paths = self.native.speaker.routes(query);
        let truncated = paths.len() > limit;
        paths.truncate(limit);
        let items = paths.into_iter().map(route_doc).collect();
        doc::BgpRoutes { direction, items, truncated, around: None }
    }

    /// Every path of a prefix and what decided about it, or what a peer is told of it and why.
    ///
    /// # Errors
    /// There is no such peer.
    pub(super) fn bgp_why_doc(
        &self,
        prefix: Prefix,
        direction: doc::RouteDirection,
        peer: Option<&PeerId>,
    ) -> Result<doc::BgpRoutes, String> {
        let speaker = &self.native.speaker;
        let paths = match (direction, peer) {
            (doc::RouteDirection::Out, Some(peer)) => speaker.explain_out(&prefix, peer),
            (doc::RouteDirection::Out, None) => return Err("who is told? name a peer".to_owned()),
            (_, Some(id)) if speaker.peers().iter().all(|known| known.id != *id) => None,
            (_, peer) => Some(speaker.explain(&prefix, peer)),
        };
        let paths = paths.ok_or_else(|| {
            let known = speaker.peers();
            let there: Vec<String> = known.iter().take(20).map(|known| known.id.to_string()).collect();
            let more = if known.len() > there.len() { ", …; see `biplane bgp peers`" } else { "" };
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            format!("no peer {}; there are {there}{more}", peer.map(PeerId::to_string).unwrap_or_default())
        })?;
        let around = if paths.is_empty() { speaker.around(&prefix).filter(|at| *at != prefix) } else { None };
        let items = paths.into_iter().map(route_doc).collect();
        Ok(doc::BgpRoutes { direction, items, truncated: false, around })
    }
}

pub(super) fn route_doc(path: bgp::PathStatus) -> doc::BgpRoute {
    doc::BgpRoute {
        prefix: path.prefix,
        peer: path.peer,
        next_hop: path.next_hop,
        as_path: path.as_path,
        origin: match path.origin.as_str() {
            "igp" => doc::Origin::Igp,
            "egp" => doc::Origin::Egp,
            _ => doc::Origin::Incomplete,
        },
        med: path.med,
        local_pref: path.local_pref,
        communities: path.communities,
        best: path.best,
        multipath: path.multipath,
        stale: path.stale,
        why: path.why,
        verdict: Some(match path.verdict {
            bgp::Verdict::Best => doc::RouteVerdict::Best,
            bgp::Verdict::Multipath => doc::RouteVerdict::Multipath,
            bgp::Verdict::Lost => doc::RouteVerdict::Lost,
            bgp::Verdict::Ineligible => doc::RouteVerdict::Ineligible,
            bgp::Verdict::Refused => doc::RouteVerdict::Refused,
            bgp::Verdict::Own => doc::RouteVerdict::Own,
            bgp::Verdict::Announced => doc::RouteVerdict::Announced,
            bgp::Verdict::Pending => doc::RouteVerdict::Pending,
            bgp::Verdict::Withheld => doc::RouteVerdict::Withheld,
        }),
        step: path.step.map(|step| match step {
            bgp::Step::Decision(reason) => word(&reason),
            bgp::Step::Ineligible(why) => word(&why),
            bgp::Step::Refused(why) => word(&why),
            bgp::Step::Withheld(why) => word(&why),
            bgp::Step::Untold(why) => word(&why),
        }),
        rule: path.rule,
        path_id: (path.path_id != 0).then_some(path.path_id),
    }
}

/// An enum's word, without what a variant holds.
fn word(step: &impl serde::Serialize) -> String {
    match serde_json::to_value(step) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(serde_json::Value::Object(fields)) => fields.into_iter().next().map(|(word, _)| word).unwrap_or_default(),
        _ => String::new(),
    }
}

/// A role in the configuration's word.
fn role_word(role: bgp::Role) -> &'static str {
    match role {
        bgp::Role::Provider => "provider",
        bgp::Role::Customer => "customer",
        bgp::Role::Peer => "peer",
        bgp::Role::RouteServer => "routeServer",
        bgp::Role::RouteServerClient => "routeServerClient",
    }
}

/// The FSM's state in the documents' word.
pub(super) fn state(state: bgp::State) -> doc::BgpState {
    match state {
        bgp::State::Idle => doc::BgpState::Idle,
        bgp::State::Connect => doc::BgpState::Connect,
        bgp::State::Active => doc::BgpState::Active,
        bgp::State::OpenSent => doc::BgpState::OpenSent,
        bgp::State::OpenConfirm => doc::BgpState::OpenConfirm,
        bgp::State::Established => doc::BgpState::Established,
    }
}
