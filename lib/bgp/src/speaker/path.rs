//! Paths to peers that BFD watches from outside, and what it says of them.

use std::net::IpAddr;

use model::{Moment, PeerId};

use super::Speaker;

/// A peer whose path is to be watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched {
    /// The peer.
    pub id: PeerId,
    /// Our end, if the configuration says which.
    pub local: Option<IpAddr>,
    /// It may be more than one hop away: the configuration says so, or it is a peer of our AS and nothing is said.
    pub far: bool,
    /// Least TTL of what it sends: by `ttlSecurity`, and 255 from a neighbour. `multihop` says nothing of it: RFC 5883 asks for
    /// no TTL, and BIRD sends what its kernel takes by default.
    pub least_ttl: u8,
    /// [`crate::PeerConfig::bfd`].
    pub profile: String,
}

impl Speaker {
    /// Peers whose paths are to be watched: those with a profile that may have a session.
    pub fn watched(&self) -> Vec<Watched> {
        let wanted = self.peers.values().filter(|peer| peer.is_wanted(&self.shared));
        let watched = wanted.filter_map(|peer| {
            let config = &peer.config;
            let hops = config.ttl_security.or(config.multihop);
            let guarded = config.ttl_security.or(config.multihop.filter(|hops| *hops == 1));
            let internal = !config.asn.is_external(config.local_asn.unwrap_or(self.shared.view.local_asn));
            Some(Watched {
                id: config.id.clone(),
                local: config.local_address,
                far: hops.map_or(internal, |hops| hops > 1),
                least_ttl: guarded.map_or(1, |hops| u8::MAX - hops.saturating_sub(1)),
                profile: config.bfd.clone()?,
            })
        });
        watched.collect()
    }

    /// May [`Speaker::watched`] say something else than when this was last asked?
    pub fn take_watched_changed(&mut self) -> bool {
        std::mem::take(&mut self.shared.watched_changed)
    }

    /// The path to a peer was up, and has failed; AdminDown is no failure (RFC 5882 section 4.2). `surely`: the peer's BFD
    /// survives a restart of its control plane (C bit), so paths that are kept over one are no good either.
    pub fn handle_path_down(&mut self, now: Moment, id: &PeerId, why: &str, surely: bool) {
        self.now = now;
        if let Some(peer) = self.peers.get_mut(id) {
            peer.path_down(now, why, surely, &mut self.shared);
            self.settle(id);
        }
        self.handle_work(now, Self::SLICE);
    }

    /// The path to a peer has come up.
    pub fn handle_path_up(&mut self, now: Moment, id: &PeerId) {
        self.now = now;
        if let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.gone) {
            peer.path_up(now, &mut self.shared);
            self.settle(id);
        }
    }
}
