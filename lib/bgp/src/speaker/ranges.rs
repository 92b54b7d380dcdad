//! Dynamic neighbours: peers that are there because they connected from a range.

use std::collections::BTreeMap;

use model::{Moment, PeerId};

use super::Speaker;
use crate::settings::{PeerConfig, PeerRange};

impl Speaker {
    /// Makes whoever connects from a range a peer.
    ///
    /// # Errors
    /// In words: why not.
    pub(super) fn admit(&mut self, now: Moment, id: &PeerId) -> Result<(), String> {
        let Some(range) = most_specific(&self.shared.settings.ranges, id) else {
            return Err("it is no peer; add it to bgp.peers if it should be".to_owned());
        };
        let (prefix, limit) = (range.prefix, range.limit);
        let of_range = |peer: &&crate::peer::Peer| peer.config.range == Some(prefix);
        if self.peers.values().filter(of_range).count() >= limit as usize {
            return Err(format!(
                "the range {prefix} of bgp.listen has its {limit} peers; raise its limit if that is right"
            ));
        }
        let config = range.peer(id.clone(), None);
        self.shared.watched_changed |= config.bfd.is_some();
        if self.peers.contains_key(id) {
            // It was configured once, and something of it is still kept.
            self.configure(now, id.clone(), config.clone(), false);
        }
        if !self.peers.contains_key(id) {
            self.enter(now, config);
        }
        if let (Some(peer), Some(budget)) = (self.peers.get_mut(id), self.range_budgets.get(&prefix)) {
            // Else everybody who comes and goes would have lines of its own.
            peer.budget = budget.clone();
        }
        Ok(())
    }

    /// Adds to the configured peers those who are there and lie in a range: they stay as what the range says now.
    pub(super) fn want_ranged(&self, wanted: &mut BTreeMap<PeerId, PeerConfig>, ranges: &[PeerRange]) {
        for (id, peer) in self.peers.iter().filter(|(_, peer)| !peer.gone) {
            if let Some(range) = most_specific(ranges, id) {
                wanted.entry(id.clone()).or_insert_with(|| range.peer(id.clone(), Some(peer.config.asn)));
            }
        }
    }
}

fn most_specific<'a>(ranges: &'a [PeerRange], id: &PeerId) -> Option<&'a PeerRange> {
    ranges.iter().filter(|range| range.prefix.holds(&id.address)).max_by_key(|range| range.prefix.len())
}
