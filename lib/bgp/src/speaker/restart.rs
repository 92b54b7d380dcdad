//! Restarts of our own: what the first OPENs say, and how sessions end when the process does.

use std::collections::BTreeSet;

use model::{Family, Moment, PeerId};
use wire::{Notification, cease};

use super::Speaker;
use super::deferral::Deferral;
use crate::graceful::{self, Restarted};
use crate::session::State;

impl Speaker {
    /// This process stands where another one was, whose routes of the families in `kept` are in the kernel still: the
    /// first OPENs say so (R and F bit of RFC 4724), and what is learnt is told on only when all peers have told
    /// everything. To be called before a session opens; a process that begins on a bare kernel does not call it.
    pub fn handle_restarted(&mut self, now: Moment, kept: &BTreeSet<Family>) {
        let until = now + self.shared.settings.graceful_restart.restart_time;
        let kept = Family::BOTH.map(|family| kept.contains(&family));
        self.shared.restarted = Some(Restarted { kept, until });
        self.begin_deferral(Deferral::new(now, self.shared.settings.graceful_restart.restart_time));
    }

    /// Resets a peer, or all of them for `None`, so that nothing of the session outlives it on either side: Hard Reset
    /// (6/9) where both sides know it, else Cease 6/4. Says in words what was done; the error names the peers that there
    /// are.
    pub fn handle_hard_reset(&mut self, now: Moment, peer: Option<PeerId>) -> Result<String, String> {
        self.now = now;
        let known = self.peers.iter().filter(|(_, peer)| !peer.gone).map(|(id, _)| id.clone());
        let chosen: Vec<PeerId> = known.filter(|id| peer.as_ref().is_none_or(|peer| peer == id)).collect();
        if chosen.is_empty() {
            return Err(self.no_such_peer(peer));
        }
        let cease = graceful::hard_reset(&Notification::cease(cease::RESET, ""));
        let mut done = Vec::new();
        for id in chosen {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let was = peer.state().0;
            peer.stop(now, &cease, &mut self.shared);
            done.push(match was {
                State::Established => format!("{id}: session reset, its paths are gone"),
                _ => format!("{id}: it was {was}; nothing is kept of it, dialing again"),
            });
            self.settle(&id);
        }
        self.handle_work(now, Self::SLICE);
        Ok(done.join("\n"))
    }

    /// Everything that is announced says from now on that this speaker is about to go, or no longer: peers prefer any
    /// other path (RFC 8326). Sessions stay.
    pub fn handle_drain(&mut self, now: Moment, on: bool) {
        self.now = now;
        if std::mem::replace(&mut self.shared.view.draining, on) != on {
            self.each(|peer, _| peer.look_at_all());
        }
        self.handle_work(now, Self::SLICE);
    }

    /// The process is about to end, and the kernel goes on forwarding. Whoever keeps our paths over a broken connection
    /// is told nothing: a NOTIFICATION would take them away. Any other peer is told Cease 6/2. None opens any more.
    /// Returns how many were told, whose bytes are still to be written.
    pub fn handle_terminate(&mut self, now: Moment) -> usize {
        self.now = now;
        self.shared.shut = true;
        self.shared.watched_changed = true;
        let cease = Notification::cease(cease::SHUTDOWN, "");
        let mut told = 0;
        self.each(|peer, shared| {
            if peer.is_live() && !peer.keeps_our_paths() {
                told += 1;
                peer.stop(now, &cease, shared);
            }
        });
        told
    }
}
