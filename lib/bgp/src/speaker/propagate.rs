//! From the Loc-RIB to the peers: what is new is looked at once for each peer that could be told of it.

use model::Prefix;

use super::Speaker;
use crate::loc_rib::Interest;

impl Speaker {
    /// Touches of a peer's Adj-RIB-Out at a stretch: a millisecond or so.
    const TOUCHES: usize = 10_000;

    /// Hands changed prefixes on to the peers that hear of learnt paths. Their sessions send it when their turn comes.
    pub(super) fn propagate(&mut self, budget: &mut usize) {
        if std::mem::take(&mut self.shared.look_again) {
            for id in self.audience.clone() {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.look_at_all();
                }
                self.settle(&id);
            }
        }
        if !self.shared.rib.has_news() {
            return;
        }
        let at_most = (Self::TOUCHES / self.audience.len().max(1)).clamp(1, (*budget).max(1));
        let news = self.shared.rib.take_news(at_most);
        *budget = budget.saturating_sub(news.len());
        for id in self.audience.clone() {
            if let Some(peer) = self.peers.get_mut(&id) {
                news.iter().for_each(|prefix| peer.touch(*prefix));
            }
            self.settle(&id);
        }
    }

    /// Which changes of the Loc-RIB somebody is to hear of. Asked again whenever that may be different.
    pub(super) fn renew_interest(&mut self) {
        let peers = || self.peers.values().filter(|peer| !peer.gone);
        let view = &self.shared.view;
        let told = view.reflector.is_some() || peers().any(|peer| peer.config.export.is_some());
        let interest = match told {
            false => Interest::Nothing,
            true if peers().any(|peer| peer.config.add_path.send > 0) => Interest::All,
            true => Interest::Best,
        };
        self.shared.rib.set_interest(interest);
    }

    /// Something about these own prefixes may be new.
    pub(super) fn touch_all(&mut self, prefixes: &[Prefix]) {
        if !prefixes.is_empty() {
            self.each(|peer, _| prefixes.iter().for_each(|prefix| peer.touch(*prefix)));
        }
    }
}
