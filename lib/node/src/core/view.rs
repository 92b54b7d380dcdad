//! Documents for people and programs, read off the core's state; asking changes nothing.

mod bgp_docs;
mod explain;
mod kernel_docs;
mod metrics_docs;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::config::StoreConfig;
use model::{Moment, NodeName, Plane, PlaneSet, RouterId};
use status::doc::{self, Doc};
use status::{Answer, MonitorEvent, Query};
use switch::{Readiness, State};

use super::Core;
use crate::event::Level;

/// Turns the daemon's moments into times of the wall clock, as it shows now.
#[derive(Clone, Copy)]
pub(super) struct Wall {
    now: Moment,
    time: Timestamp,
}

impl Wall {
    pub(super) fn at(&self, moment: Moment) -> doc::Time {
        let ago = jiff::SignedDuration::try_from(self.now.since(moment)).unwrap_or_default();
        doc::rfc3339(self.time.checked_sub(ago).unwrap_or(self.time))
    }

    pub(super) fn seconds(&self, since: Moment) -> f64 {
        // Milliseconds are enough, and read better.
        (self.now.since(since).as_secs_f64() * 1000.0).round() / 1000.0
    }

    fn unix(&self, moment: Moment) -> f64 {
        self.time.as_millisecond() as f64 / 1000.0 - self.now.since(moment).as_secs_f64()
    }
}

impl Core {
    /// Answers a question about the present state. `time` is the wall clock's now, `origins` where settings came from.
    pub fn query(&self, now: Moment, time: Timestamp, query: &Query, origins: &BTreeMap<String, String>) -> Answer {
        let wall = Wall { now, time };
        Answer::from(match query {
            Query::Status => Doc::Status(Box::new(self.status_doc(wall))),
            Query::Nodes => Doc::NodeList(self.nodes_doc()),
            Query::Mode => Doc::Mode(Box::new(self.mode_doc(wall))),
            Query::Ipam => Doc::Ipam(self.ipam_doc()),
            Query::BgpPeers => Doc::BgpPeerList(self.bgp_peers_doc(wall)),
            Query::Bfd => Doc::BfdSessionList(self.bfd_doc(wall)),
            Query::BgpRoutes { direction, peer, prefix, limit } => {
                Doc::BgpRouteList(self.bgp_routes_doc(*direction, peer.clone(), *prefix, *limit))
            }
            Query::BgpWhy { prefix, direction, peer } => match self.bgp_why_doc(*prefix, *direction, peer.as_ref()) {
                Ok(routes) => Doc::BgpRouteList(routes),
                Err(why) => return Answer::Refused(why),
            },
            Query::Vxlan => Doc::Vxlan(Box::new(self.vxlan_doc())),
            Query::Routes { diff } => Doc::RouteList(self.routes_doc(*diff)),
            Query::RouteExplain { address } => Doc::RouteExplain(Box::new(self.explain_doc(*address))),
            Query::Config => Doc::Config(Box::new(self.config_doc(wall, origins))),
            Query::Metrics => Doc::Metrics(Box::new(self.metrics_doc(wall))),
            Query::Ready => {
                let reasons: Vec<String> = self.unready().into_iter().collect();
                Doc::Ready(doc::Ready { ready: reasons.is_empty(), reasons })
            }
        })
    }

    fn status_doc(&self, wall: Wall) -> doc::Status {
        let stance = self.stance();
        let unready = self.unready();
        let waiting = self.waiting(wall);
        let (state, since) = self.state();
        let (make, take) = self.reconcile.tracker().pending();
        let (peers_up, known) = if self.native.on { self.native.speaker.sessions() } else { (0, 0) };
        let peers_total = if self.native.on { known + self.undiscovered().len() } else { 0 };
        let foreign = self.foreign_docs();
        doc::Status {
            node: self.identity.node.clone(),
            uid: self.identity.uid.clone(),
            version: self.identity.version.clone(),
            started_at: wall.at(self.started),
            ready: unready.is_none(),
            mode: self.wish(),
            wish_from: self.wish_from(),
            fallback: self.config.fallback,
            state: state.name(),
            since: wall.at(since),
            state_seconds: wall.seconds(since),
            stands: stance.stand,
            carry: stance.carry,
            pod_cidrs: self.claims.own(),
            underlay: self.underlay(),
            local_asn: self.config.bgp.local_asn,
            router_id: self.router_id(),
            peers_up,
            peers_total,
            destinations: self.destination_counts(),
            waiting,
            drain: self.drain_doc(wall),
            conditions: self.conditions_doc(wall),
            store: self.store_doc(wall),
            drift: doc::Drift {
                desired: self.reconcile.tracker().wanted(),
                actual: self.reconcile.tracker().actual_iter().count(),
                pending_replaces: make,
                pending_deletes: take,
                repairs: self.stats.drift.values().sum(),
                last_repair: self
                    .stats
                    .last_drift
                    .as_ref()
                    .map(|(at, repair)| doc::Repair { time: wall.at(*at), ..repair.clone() }),
                last_read_back: self.kernel_read.then(|| wall.at(self.last_read_back)),
            },
            foreign,
            failures: self
                .reconcile
                .failures()
                .iter()
                .map(|(key, failure)| doc::FailureDoc {
                    key: key.to_string(),
                    error: failure.refusal.message.clone(),
                    errno: failure.refusal.errno,
                    for_seconds: wall.seconds(failure.since),
                    attempts: failure.attempts,
                })
                .collect(),
            config: self.reload_doc(wall),
            last_event: self.last_event.as_ref().map(|(at, notice)| MonitorEvent {
                time: wall.at(*at),
                kind: notice.topic,
                level: if notice.level == Level::Warn { status::Level::Warn } else { status::Level::Info },
                text: notice.text.clone(),
            }),
        }
    }

    fn store_doc(&self, wall: Wall) -> doc::StoreState {
        let StoreConfig::Files { path, .. } = &self.config.store;
        doc::StoreState {
            name: "files".to_owned(),
            place: path.display().to_string(),
            up: self.coordination.down.is_none() && self.coordination.listed,
            error: self.coordination.down.as_ref().map(|(why, _)| why.clone()),
            since: Some(wall.at(self.store_since)),
            coordinator: self.coordination.coordinator,
        }
    }

    fn reload_doc(&self, wall: Wall) -> doc::ReloadState {
        doc::ReloadState {
            successful: self.config_error.is_none(),
            loaded_at: wall.at(self.config_loaded),
            error: self.config_error.clone(),
        }
    }

    /// State of the switch and since when; before it has begun, Steady on the wish since the start.
    fn state(&self) -> (State, Moment) {
        match &self.switch {
            Some(switch) => (switch.state(), switch.since()),
            None => (State::Steady(self.wish()), self.started),
        }
    }

    fn wish_from(&self) -> doc::WishFrom {
        if self.wish_is_clusters() { doc::WishFrom::Cluster } else { doc::WishFrom::Config }
    }

    fn router_id(&self) -> RouterId {
        self.config.bgp.router_id.unwrap_or_else(|| super::native::router_id(&self.identity, &self.underlay()))
    }

    pub(super) fn destination_counts(&self) -> doc::Destinations {
        let counts = self.destinations.counts();
        doc::Destinations {
            overlay: counts.carried[Plane::Overlay as usize],
            native: counts.carried[Plane::Native as usize],
            unreachable: counts.total - counts.carried[0] - counts.carried[1],
            total: counts.total,
        }
    }

    /// Everything that stalls, each once.
    fn waiting(&self, wall: Wall) -> Vec<doc::Waiting> {
        let mut found: Vec<(String, Moment)> = Vec::new();
        let (_, since) = self.state();
        if let Some((why, at)) = &self.coordination.down {
            found.push((why.clone(), *at));
        }
        found.extend(self.switch.as_ref().and_then(|s| s.waiting()).map(|what| (what.to_owned(), since)));
        if let Some(why) = self.unready() {
            found.push((why, since));
        }
        if let Some(stuck) = self.destinations.counts().stuck {
            found.push((stuck, since));
        }
        found.extend(self.drain.as_ref().and_then(|drain| drain.waiting()));
        if self.kernel_read && !self.complete && self.coordination.listed {
            found.push(("stores, kernel and sessions are still being read in".to_owned(), self.started));
        }
        if let Some(what) = self.native.meeting.waiting() {
            found.push((what.clone(), since));
        }
        if let Some(error) = &self.pods.error {
            found.push((format!("the conflist: {error}"), since));
        }
        let mut seen = BTreeSet::new();
        found.retain(|(what, _)| seen.insert(what.clone()));
        found.into_iter().map(|(what, at)| doc::Waiting { what, for_seconds: wall.seconds(at) }).collect()
    }

    fn mode_doc(&self, wall: Wall) -> doc::ModeDoc {
        let (state, since) = self.state();
        let stance = self.stance();
        let from = match state {
            State::Steady(_) => None,
            State::Raising { from, .. }
            | State::Flipping { from, .. }
            | State::Lingering { from, .. }
            | State::Lowering { from, .. } => Some(from),
        };
        let digest = self.coordination.digest.as_ref();
        let gate =
            |name: &str, reason: Option<String>| doc::Gate { name: name.to_owned(), open: reason.is_none(), reason };
        let ground = |plane: Plane| match self.readiness(plane) {
            Readiness::Ready => None,
            Readiness::Waiting(why) => Some(why),
        };
        let inputs = (!self.complete).then(|| "store, kernel and sessions are not read in yet".to_owned());
        let mut gates = vec![gate("inputs", inputs)];
        gates.extend(stance.stand.iter().map(|plane| gate(&format!("ground:{plane}"), ground(plane))));
        gates.push(gate("destinations", self.destinations.counts().stuck));
        doc::ModeDoc {
            node: self.identity.node.clone(),
            wish: self.wish(),
            wish_from: self.wish_from(),
            config_mode: self.config.mode,
            cluster_wish: self.coordination.wish.as_ref().map(|wish| doc::ClusterWish {
                mode: wish.plane,
                generation: wish.generation,
                by: wish.by.clone(),
            }),
            fallback: self.config.fallback,
            state: state.name(),
            from,
            since: wall.at(since),
            state_seconds: wall.seconds(since),
            carry: stance.carry,
            stands: stance.stand,
            sends: self.licences(),
            destinations: self.destination_counts(),
            waiting: self.waiting(wall),
            gates,
            coordinator: digest.map(|digest| digest.coordinator.clone()),
            digest: digest.map(|digest| {
                let plane = |plane| doc::PlaneDigest {
                    stands: digest.stands(plane).clone(),
                    sends: digest.senders(plane).clone(),
                };
                doc::DigestDoc {
                    sequence: digest.sequence,
                    nodes: digest.nodes,
                    vxlan: plane(Plane::Overlay),
                    bgp: plane(Plane::Native),
                    gone: digest.gone.iter().cloned().collect(),
                }
            }),
            nodes: self.mode_nodes(),
            history: self
                .stats
                .history
                .iter()
                .map(|(at, transition, lasted)| doc::TransitionDoc {
                    time: wall.at(*at),
                    from: transition.from.name(),
                    to: transition.to.name(),
                    target: transition.to.target(),
                    reason: transition.reason.clone(),
                    after_seconds: lasted.as_secs_f64(),
                })
                .collect(),
        }
    }

    fn mode_nodes(&self) -> Vec<doc::ModeNode> {
        self.coordination
            .phases
            .values()
            .map(|phase| doc::ModeNode {
                node: phase.node.clone(),
                state: Some(phase.state),
                wish: Some(phase.wish),
                stands: phase.stands,
                sends: phase.sends,
                waiting: phase.waiting.clone(),
                live: self.coordination.lives(&phase.node),
            })
            .collect()
    }

    fn nodes_doc(&self) -> doc::Nodes {
        let mut names: BTreeSet<&NodeName> = self.claims.nodes.keys().collect();
        names.extend(self.coordination.phases.keys());
        names.insert(&self.identity.node);
        let items = names.into_iter().map(|name| self.node_doc(name)).collect();
        doc::Nodes { items }
    }

    fn node_doc(&self, name: &NodeName) -> doc::NodeDoc {
        let own = *name == self.identity.node;
        let cidrs =
            if own { self.claims.own() } else { self.claims.nodes.get(name).into_iter().flatten().copied().collect() };
        let claim = cidrs.first().and_then(|cidr| self.claims.all.get(cidr));
        let reach = claim.map(|claim| &claim.reach);
        let phase = self.coordination.phases.get(name);
        let by_digest = |of: fn(&model::Digest, Plane) -> &model::NodeSet| {
            let digest = self.coordination.digest.as_ref()?;
            Some(Plane::BOTH.into_iter().filter(|plane| of(digest, *plane).has(name)).collect::<PlaneSet>())
        };
        let peers = self.native.speaker.peers();
        let session = reach.and_then(|reach| peers.iter().find(|peer| peer.id == reach.vtep.underlay.into()));
        let why = cidrs.iter().find_map(|cidr| self.destinations.of(&cidr.0)?.why_not().map(str::to_owned));
        doc::NodeDoc {
            name: name.clone(),
            own,
            uid: claim.map(|claim| claim.uid.clone()),
            pod_cidrs: cidrs
                .iter()
                .map(|cidr| doc::CarriedCidr {
                    pod_cidr: *cidr,
                    plane: self.reconcile.carried(&cidr.0),
                    via: self.actual_route(&cidr.0),
                })
                .collect(),
            underlay: reach.map(|reach| reach.underlay.clone()).unwrap_or_default(),
            planes: reach.map_or(PlaneSet::NONE, |reach| reach.planes),
            stands: by_digest(model::Digest::stands),
            sends: by_digest(model::Digest::senders),
            vtep_mac: reach.map(|reach| reach.vtep.mac),
            vtep_gateway: reach.map(|reach| reach.vtep.gateway),
            bgp: reach.map(|reach| doc::NodeBgp {
                asn: reach.bgp.asn,
                port: reach.bgp.port,
                mesh: reach.bgp.mesh,
                session: session.map(|peer| bgp_docs::state(peer.state)),
            }),
            state: phase.map(|phase| phase.state),
            wish: phase.map(|phase| phase.wish),
            version: phase.map(|phase| phase.version.clone()),
            live: self.coordination.lives(name),
            why: phase.and_then(|phase| phase.waiting.clone()).or(why),
        }
    }

    fn ipam_doc(&self) -> doc::IpamDoc {
        let taken = &self.claims.taken;
        let pools = self.config.pools.iter().map(|pool| {
            let inside = || taken.iter().filter(|(cidr, _)| pool.is_slot(&cidr.0));
            let quarantined = inside().filter(|(_, t)| matches!(t, alloc::Taken::Quarantined)).count() as u64;
            let claimed = inside().count() as u64 - quarantined;
            doc::PoolDoc {
                cidr: pool.cidr,
                node_prefix: pool.node_len,
                total: pool.slots(),
                claimed,
                quarantined,
                free: pool.slots().saturating_sub(claimed + quarantined),
            }
        });
        let pool_of = |cidr: &model::PodCidr| self.config.pools.iter().find(|p| p.is_slot(&cidr.0)).map(|p| p.cidr);
        let blocks = taken.iter().map(|(cidr, taken)| {
            let claim = self.claims.all.get(cidr);
            doc::BlockDoc {
                pod_cidr: *cidr,
                pool: pool_of(cidr),
                state: match taken {
                    alloc::Taken::Claimed(_) => doc::BlockState::Claimed,
                    alloc::Taken::Quarantined => doc::BlockState::Quarantined,
                },
                node: claim.map(|claim| claim.node.clone()),
                uid: claim.map(|claim| claim.uid.clone()),
                own: claim.is_some_and(|claim| claim.node == self.identity.node),
                free_at: None,
            }
        });
        let problem = |reason: &str, subject: String, what: String, cure: &str| doc::IpamProblem {
            reason: reason.to_owned(),
            subject,
            what,
            cure: Some(cure.to_owned()),
        };
        let mut problems: Vec<doc::IpamProblem> = self
            .claims
            .exhausted()
            .map(|words| {
                let cure = "add a pool, or a pool with a longer nodePrefix";
                problem("PoolExhausted", self.identity.node.to_string(), words.clone(), cure)
            })
            .collect();
        for (cidr, claim) in &self.claims.all {
            if pool_of(cidr).is_none() {
                let what = format!("claimed by node {} but a slice of no configured pool", claim.node);
                let cure = "put the pool back into the configuration of every node, or remove the claim";
                problems.push(problem("OutsidePools", cidr.to_string(), what, cure));
            }
            let overlaps = self.claims.all.range(cidr..).skip(1).take(1).find(|(other, _)| other.0.overlaps(&cidr.0));
            if let Some((other, _)) = overlaps {
                let what = format!("overlaps the claim {other}");
                let cure = "use one nodePrefix per pool on all nodes, and remove one of the claims";
                problems.push(problem("Overlap", cidr.to_string(), what, cure));
            }
        }
        doc::IpamDoc { pools: pools.collect(), blocks: blocks.collect(), problems }
    }

    fn config_doc(&self, wall: Wall, origins: &BTreeMap<String, String>) -> doc::ConfigDoc {
        let mut sources: Vec<String> = origins
            .values()
            .map(|origin| origin.rsplit_once(':').map_or(origin.as_str(), |(n, _)| n).to_owned())
            .collect();
        sources.sort();
        sources.dedup();
        doc::ConfigDoc {
            config: self.config.clone(),
            origins: origins.clone(),
            warnings: Vec::new(),
            sources,
            reload: self.reload_doc(wall),
            effective: doc::Effective {
                node: self.identity.node.clone(),
                underlay: self.underlay(),
                router_id: self.router_id(),
                vxlan_mtu: self.ground.spec.vxlan.as_ref().map(|link| link.mtu),
                pod_mtu: self.pod_mtu(),
                metrics: self.config.metrics.listen,
            },
        }
    }
}
