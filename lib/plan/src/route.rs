//! One destination's route and the nexthop objects that it names.

use std::sync::Arc;

use model::Prefix;
use model::kernel::{Hop, Key, Value, Via};

use crate::Ground;

/// The route to a destination: one key, so that a flip between planes is one replace of it.
pub fn route(ground: &Ground, prefix: Prefix, via: Via) -> (Key, Value) {
    let src = match via {
        Via::Hops(_) => ground.source(prefix.family()),
        Via::Unreachable | Via::Other(_) => None,
    };
    (Key::Route(prefix), Value::Route { via, src })
}

/// The route to a destination outside of the cluster, learnt by a policy: without a source of ours, as a host's packets to
/// the world come from its own address.
pub fn route_outside(prefix: Prefix, via: Via) -> (Key, Value) {
    (Key::Route(prefix), Value::Route { via, src: None })
}

/// The nexthop objects that a route with this `via` leans on: members first, the group last. The last one is the
/// object that the route names.
pub fn objects(via: &Via) -> Vec<Key> {
    let Via::Hops(hops) = via else { return Vec::new() };
    let mut keys: Vec<Key> = hops.iter().map(|hop: &Hop| Key::Nexthop(hop.clone())).collect();
    if hops.len() > 1 {
        keys.push(Key::NexthopGroup(Arc::clone(hops)));
    }
    keys
}
