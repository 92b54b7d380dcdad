//! What is wanted of the kernel and what it holds.

use std::net::IpAddr;

use model::kernel::{Key, Value, Via};
use model::{NodeName, Prefix};
use status::doc;

use crate::core::Core;

impl Core {
    /// Objects of others, but for the routes that CNI plugins make inside own pod CIDRs.
    pub(super) fn foreign_docs(&self) -> Vec<doc::ForeignDoc> {
        self.told_foreign
            .iter()
            .map(|(key, what)| doc::ForeignDoc { key: key.to_string(), what: what.clone() })
            .collect()
    }

    pub(super) fn vxlan_doc(&self) -> doc::VxlanDoc {
        let tracker = self.reconcile.tracker();
        let overlay = model::kernel::Device::new(model::Owner::VXLAN_DEVICE);
        let link = overlay.and_then(|device| {
            let key = Key::Link(device.clone());
            let (desired, actual) = (tracker.desired(&key), tracker.actual(&key));
            let shown = [desired, actual].into_iter().flatten().find_map(|value| match value {
                Value::Link(link) => Some(link.clone()),
                _ => None,
            })?;
            Some(doc::LinkDoc {
                device,
                vni: shown.vni,
                port: shown.port,
                local: shown.local,
                underlay: shown.underlay.clone(),
                mac: shown.mac,
                mtu: shown.mtu,
                state: match (desired, actual) {
                    (Some(d), Some(a)) if d == a => doc::LinkState::Up,
                    (Some(_), Some(_)) => doc::LinkState::Differs,
                    (Some(_), None) => doc::LinkState::Missing,
                    (None, _) => doc::LinkState::Stray,
                },
                error: self.key_error(&key),
            })
        });
        let mut fdb = Vec::new();
        let mut neighbours = Vec::new();
        for key in self.keys_of(|key| matches!(key, Key::Fdb(..) | Key::Neighbour(..))) {
            let shown = tracker.desired(&key).or_else(|| tracker.actual(&key));
            let (state, error) = (self.object_state(&key), self.key_error(&key));
            match (&key, shown) {
                (Key::Fdb(_, mac), Some(Value::Fdb(dst))) => fdb.push(doc::FdbDoc {
                    mac: *mac,
                    dst: *dst,
                    node: self.node_of_gateway(&IpAddr::V6(mac.link_local())),
                    state,
                    error,
                }),
                (Key::Neighbour(_, ip), Some(Value::Neighbour(mac))) => {
                    let node = self.node_of_gateway(ip);
                    neighbours.push(doc::NeighbourDoc { ip: *ip, mac: *mac, node, state, error });
                }
                _ => {}
            }
        }
        let stands = self.ground.spec.vxlan.is_some();
        doc::VxlanDoc { stands, link, fdb, neighbours }
    }

    pub(super) fn routes_doc(&self, diff: bool) -> doc::Routes {
        let tracker = self.reconcile.tracker();
        let mut items = Vec::new();
        let (mut ok, mut total) = (0, 0);
        let own = self.claims.own();
        for key in self.keys_of(|key| matches!(key, Key::Route(_))) {
            let Key::Route(prefix) = &key else { continue };
            let state = self.object_state(&key);
            if state == doc::ObjectState::Foreign
                && own.iter().any(|cidr| cidr.0.covers(prefix))
                && tracker.desired(&key).is_none()
            {
                continue;
            }
            total += 1;
            ok += usize::from(state == doc::ObjectState::Ok);
            // Somebody else's with another metric, beside ours.
            let twin = self.reconcile.foreign().get(&key).filter(|_| state != doc::ObjectState::Foreign);
            let twin = twin.map(|what| doc::RouteDoc {
                prefix: *prefix,
                kind: doc::RouteKind::Other,
                node: None,
                plane: None,
                desired: None,
                actual: None,
                state: doc::ObjectState::Foreign,
                error: Some(what.clone()),
                why: None,
            });
            total += usize::from(twin.is_some());
            items.extend(twin);
            if diff && state == doc::ObjectState::Ok {
                continue;
            }
            let destination = self.destinations.of(prefix);
            let is_own = own.iter().any(|cidr| cidr.0 == *prefix);
            items.push(doc::RouteDoc {
                prefix: *prefix,
                kind: match (is_own, destination) {
                    (true, _) => doc::RouteKind::Own,
                    (false, Some(_)) => doc::RouteKind::Remote,
                    (false, None) => doc::RouteKind::Other,
                },
                node: match is_own {
                    true => Some(self.identity.node.clone()),
                    false => destination.and_then(|destination| destination.node().cloned()),
                },
                plane: self.reconcile.carried(prefix),
                desired: tracker.desired(&key).map(route_words),
                actual: tracker.actual(&key).map(route_words),
                state,
                error: self.key_error(&key),
                why: destination.and_then(|destination| destination.why_not().map(str::to_owned)),
            });
        }
        doc::Routes { items, ok, total }
    }

    /// The kernel's route to a prefix in words.
    pub(super) fn actual_route(&self, prefix: &Prefix) -> Option<String> {
        self.reconcile.tracker().actual(&Key::Route(*prefix)).map(route_words)
    }

    /// Keys wanted, there, or held by others.
    fn keys_of(&self, take: impl Fn(&Key) -> bool) -> Vec<Key> {
        let tracker = self.reconcile.tracker();
        let known = tracker.desired_iter().chain(tracker.actual_iter()).map(|(key, _)| key);
        let mut keys: Vec<Key> =
            known.chain(self.reconcile.foreign().keys().cloned()).filter(|key| take(key)).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    pub(super) fn object_state(&self, key: &Key) -> doc::ObjectState {
        let tracker = self.reconcile.tracker();
        match (tracker.desired(key), tracker.actual(key)) {
            (Some(d), Some(a)) if d == a => doc::ObjectState::Ok,
            (_, None) if self.reconcile.foreign().contains_key(key) => doc::ObjectState::Foreign,
            (Some(_), Some(_)) => doc::ObjectState::Differs,
            (Some(_), None) => doc::ObjectState::Missing,
            (None, _) => doc::ObjectState::Stray,
        }
    }

    fn key_error(&self, key: &Key) -> Option<String> {
        let foreign = self.reconcile.foreign().get(key).cloned();
        foreign.or_else(|| self.reconcile.failures().get(key).map(|failure| failure.refusal.to_string()))
    }

    fn node_of_gateway(&self, gateway: &IpAddr) -> Option<NodeName> {
        self.destinations.node_of(gateway).cloned()
    }
}

pub(super) fn route_words(value: &Value) -> String {
    match value {
        Value::Route { via, src: Some(src) } if matches!(via, Via::Hops(_)) => format!("{via} src {src}"),
        Value::Route { via, .. } => via.to_string(),
        other => format!("{other:?}"),
    }
}
