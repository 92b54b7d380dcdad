//! The numbers that the metrics are made of.

use std::collections::BTreeMap;

use status::doc;

use super::Wall;
use crate::core::Core;

impl Core {
    pub(super) fn metrics_doc(&self, wall: Wall) -> doc::MetricsDoc {
        let (state, since) = self.state();
        let tracker = self.reconcile.tracker();
        let kinds = tracker.kinds();
        let wanted = kinds.iter().map(|(kind, counts)| ((*kind).to_owned(), counts.0)).collect();
        let installed = kinds.iter().map(|(kind, counts)| ((*kind).to_owned(), counts.1)).collect();
        let mut waiting = Vec::new();
        let mut wait = |on: &str, yes: bool, since: model::Moment| {
            if yes {
                waiting.push(doc::WaitingMetric { on: on.to_owned(), since: wall.unix(since) });
            }
        };
        wait("store", self.coordination.down.is_some(), self.store_since);
        wait("claim", self.claims.missing(&self.config).is_some(), self.started);
        wait("ground", self.ground.trouble.is_some() || self.ground_missing(self.stance().carry).is_some(), since);
        wait("inputs", !self.complete, self.started);
        wait("switch", self.switch.as_ref().is_some_and(|s| s.waiting().is_some()), since);
        wait("destinations", self.destinations.counts().stuck.is_some(), since);
        let pools = self.ipam_doc().pools.into_iter().map(|pool| doc::PoolMetrics {
            pool: pool.cidr,
            claimed: pool.claimed,
            quarantined: pool.quarantined,
            free: pool.free,
        });
        let count_kinds = |kinds: &mut dyn Iterator<Item = &'static str>| {
            let mut counts = BTreeMap::new();
            for kind in kinds {
                *counts.entry(kind.to_owned()).or_default() += 1;
            }
            counts
        };
        doc::MetricsDoc {
            version: self.identity.version.clone(),
            mode: self.wish(),
            carry: self.stance().carry,
            state: state.name(),
            switch_duration: self.stats.switch_duration.clone(),
            switch_reversals: self.stats.reversals,
            waiting,
            ready: self.unready().is_none(),
            store_up: self.coordination.down.is_none() && self.coordination.listed,
            coordinator: self.coordination.coordinator,
            destinations: self.destination_counts(),
            peers: self.peer_metrics(wall),
            bfd: self.bfd_doc(wall).items,
            strangers: self.native.speaker.counters().strangers,
            pools: pools.collect(),
            ipam_conflicts: self.claims.conflicts,
            wanted,
            installed,
            failing: count_kinds(&mut self.reconcile.failures().keys().map(model::kernel::Key::kind)),
            foreign: count_kinds(&mut self.told_foreign.keys().map(model::kernel::Key::kind)),
            drift_repairs: self.stats.drift.iter().map(|(cause, n)| ((*cause).to_owned(), *n)).collect(),
            convergence: self.stats.convergence.clone(),
            event_longest: self.stats.longest_event.as_secs_f64(),
            netlink_errors: self
                .stats
                .netlink_errors
                .iter()
                .map(|((op, errno), count)| doc::ErrnoCount { op: op.clone(), errno: *errno, count: *count })
                .collect(),
            netlink_resyncs: self.stats.read_back_reasons.clone(),
            probes: Vec::new(),
            config_last_reload_successful: self.config_error.is_none(),
            config_last_reload_success_time: wall.unix(self.config_loaded),
            doctor: Vec::new(),
        }
    }

    fn peer_metrics(&self, wall: Wall) -> Vec<doc::PeerMetrics> {
        let counters = self.native.speaker.counters();
        let metrics = |peer: bgp::PeerStatus| {
            let routes = peer.counts.iter().flat_map(|(family, counts)| {
                let kinds = [
                    ("received", counts.received),
                    ("accepted", counts.accepted),
                    ("rejected", counts.rejected),
                    ("advertised", counts.advertised),
                ];
                kinds.map(|(kind, count)| doc::RouteCount {
                    family: *family,
                    kind: kind.to_owned(),
                    count: count as u64,
                })
            });
            let address = peer.id.clone();
            let way = |way: bgp::Way| match way {
                bgp::Way::In => "in".to_owned(),
                bgp::Way::Out => "out".to_owned(),
            };
            let messages =
                counters.messages.iter().filter(|((of, ..), _)| *of == address).map(|((_, direction, kind), count)| {
                    doc::MessageCount {
                        direction: way(*direction),
                        message: message_word(*kind).to_owned(),
                        count: *count,
                    }
                });
            let notifications = counters.notifications.iter().filter(|((of, ..), _)| *of == address).map(
                |((_, direction, code, subcode), count)| doc::NotificationCount {
                    direction: way(*direction),
                    code: *code,
                    subcode: *subcode,
                    count: *count,
                },
            );
            let errors = counters.update_errors.iter().filter(|((of, _), _)| *of == address);
            doc::PeerMetrics {
                peer: peer.id,
                asn: peer.asn,
                peer_type: if peer.asn == peer.local_asn { doc::PeerType::Ibgp } else { doc::PeerType::Ebgp },
                state: super::bgp_docs::state(peer.state),
                established_time: (peer.state == bgp::State::Established).then(|| wall.unix(peer.since)),
                routes: routes.collect(),
                messages: messages.collect(),
                notifications: notifications.collect(),
                update_errors: errors.map(|((_, words), count)| (words.clone(), *count)).collect(),
            }
        };
        self.native.speaker.peers().into_iter().map(metrics).collect()
    }
}

fn message_word(kind: bgp::MessageKind) -> &'static str {
    match kind {
        bgp::MessageKind::Open => "open",
        bgp::MessageKind::Update => "update",
        bgp::MessageKind::Notification => "notification",
        bgp::MessageKind::Keepalive => "keepalive",
        bgp::MessageKind::RouteRefresh => "routeRefresh",
    }
}
