//! Could the speaker do without some of its peers? Asked before sessions of an old topology go.

use std::collections::BTreeSet;

use model::PeerId;

use super::Speaker;

impl Speaker {
    /// Has the peer told everything, and been told everything?
    pub fn is_told(&self, peer: &PeerId) -> bool {
        let Some(peer) = self.peers.get(peer).filter(|peer| peer.is_live()) else { return false };
        let told = peer.furthest().is_some_and(|link| !link.rib_out.has_pending());
        told && peer.has_told_all()
    }

    /// Has every usable path of these peers another one beside it that is none of theirs? The error names a prefix of
    /// which the last path would go with them.
    pub fn can_do_without(&self, peers: &BTreeSet<PeerId>) -> Result<(), model::Prefix> {
        let rib = &self.shared.rib;
        let stays = |index| !peers.contains(&rib.origins(index).id);
        for peer in peers.iter().filter_map(|id| self.peers.get(id)) {
            for ((prefix, _), _) in peer.rib_in.accepted_after(None) {
                let mut usable = rib.usable(&prefix);
                if rib.usable(&prefix).next().is_some() && !usable.any(|path| stays(path.peer) && !path.stale) {
                    return Err(prefix);
                }
            }
        }
        Ok(())
    }
}
