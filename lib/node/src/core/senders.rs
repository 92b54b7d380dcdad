//! Whose VXLAN frames this node takes: an address of a node is let in as soon as the node is known, and strangers are shut
//! out only when every known node is let in.

use std::collections::BTreeMap;

use model::kernel::{Key, Value};
use model::{Moment, NodeName, Reach};

use super::Core;

/// What is wanted.
#[derive(Default)]
pub(super) struct Senders {
    of: BTreeMap<NodeName, Vec<Key>>,
    /// How many nodes want an address let in: one machine may come under another name before the old one is forgotten.
    held: BTreeMap<Key, usize>,
}

impl Core {
    /// Wants the addresses of a node let in, or those of one that is no more (`None`) no longer.
    pub(super) fn refresh_senders(&mut self, node: &NodeName, reach: Option<&Reach>) {
        let wanted = reach.map_or_else(Vec::new, |reach| plan::senders(&self.ground.spec, reach));
        let before = self.senders.of.remove(node).unwrap_or_default();
        for key in &wanted {
            let count = self.senders.held.entry(key.clone()).or_default();
            *count += 1;
            if *count == 1 {
                self.reconcile.want(key.clone(), Some(Value::There));
            }
        }
        for key in before {
            let Some(count) = self.senders.held.get_mut(&key) else { continue };
            *count -= 1;
            if *count == 0 {
                self.senders.held.remove(&key);
                self.reconcile.want(key, None);
            }
        }
        if !wanted.is_empty() {
            self.senders.of.insert(node.clone(), wanted);
        }
    }

    /// Shuts strangers out once every node that the store knows has been looked at.
    pub(super) fn shut_strangers_out(&mut self, now: Moment) {
        let spec = &self.ground.spec;
        let due = spec.vtep_filter && spec.vxlan.is_some() && !spec.senders_known;
        if due && !self.destinations.has_nodes_to_look_at() {
            self.ground.senders_known = true;
            self.ground.dirty = true;
            self.refresh_ground(now);
        }
    }
}
