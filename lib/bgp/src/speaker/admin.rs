//! One peer taken down and up by the operator.

use model::{Moment, PeerId};

use super::Speaker;

impl Speaker {
    /// Takes a peer down: Cease 6/2 with `text` (cut at 128 octets, RFC 9003), and no session until
    /// [`Speaker::handle_peer_up`] or a new start. Says in words what was done.
    ///
    /// # Errors
    /// No such peer; names those there are.
    pub fn handle_peer_down(&mut self, now: Moment, id: &PeerId, text: &str) -> Result<String, String> {
        self.now = now;
        let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.gone) else {
            return Err(self.no_such_peer(Some(id.clone())));
        };
        let was_up = peer.is_live();
        let was_down = peer.down;
        peer.take_down(now, text, &mut self.shared);
        self.settle(id);
        self.handle_work(now, Self::SLICE);
        Ok(match (was_down, was_up) {
            (true, _) => {
                format!("{id}: was down already, and stays so until `biplane bgp peer up {id}` or a new start")
            }
            (_, true) => format!("{id}: session closed; down until `biplane bgp peer up {id}` or a new start"),
            (_, false) => format!("{id}: no session; down until `biplane bgp peer up {id}` or a new start"),
        })
    }

    /// Takes a peer up again that was taken down, and dials it. Says in words what was done.
    ///
    /// # Errors
    /// No such peer; names those there are.
    pub fn handle_peer_up(&mut self, now: Moment, id: &PeerId) -> Result<String, String> {
        self.now = now;
        let Some(peer) = self.peers.get_mut(id).filter(|peer| !peer.gone) else {
            return Err(self.no_such_peer(Some(id.clone())));
        };
        let was_down = peer.down;
        if was_down {
            peer.take_up(now, &mut self.shared);
        }
        let said = match (was_down, peer.config.passive) {
            (false, _) => format!("{id}: was not down; it is {}", peer.state().0),
            (true, true) => format!("{id}: up again; it is passive: the peer has to connect"),
            (true, false) => format!("{id}: up again; dialing now"),
        };
        self.settle(id);
        self.handle_work(now, Self::SLICE);
        Ok(said)
    }
}
