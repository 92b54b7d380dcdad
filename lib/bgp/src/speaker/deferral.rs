//! After a restart of ours, what is learnt is passed on only once all peers have told everything (RFC 4724 section 4.1).
//!
//! Peers keep our last paths until our End-of-RIB. One that came before the other peers have told what this node passes
//! on, a reflector's for its clients most of all, would take paths away that are back a moment later. Own prefixes never
//! wait, and neither does the End-of-RIB of a peer that hears nothing else.
//!
//! Who has a session is waited for until the restart time is over. Who has none keeps nobody from hearing what is new for
//! longer than half a minute; but the End-of-RIB still waits for it: its paths are good for as long as it may be away.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{Moment, PeerId};

use super::Speaker;
use crate::peer::Peer;

/// The Selection_Deferral_Timer, and who is waited for.
#[derive(Debug)]
pub(crate) struct Deferral {
    /// Peers without a session.
    absent: BTreeSet<PeerId>,
    /// Peers whose session has not told everything.
    telling: BTreeSet<PeerId>,
    /// Somebody was waited for: before that the peers are not configured yet.
    begun: bool,
    /// Those without a session hold up what is new until then.
    absent_until: Moment,
    until: Moment,
}

impl Deferral {
    /// Peers that kept our paths over the restart are back sooner than this.
    const ABSENT: Duration = Peer::END_OF_RIB;

    pub(super) fn new(now: Moment, restart_time: Duration) -> Deferral {
        Deferral {
            absent: BTreeSet::new(),
            telling: BTreeSet::new(),
            begun: false,
            absent_until: now + Self::ABSENT.min(restart_time),
            until: now + restart_time,
        }
    }

    /// The peer has come, gone, or told something.
    pub(super) fn note(&mut self, id: &PeerId, peer: &Peer) {
        self.absent.remove(id);
        self.telling.remove(id);
        if peer.is_awaited() {
            self.begun = true;
            if peer.is_live() { &mut self.telling } else { &mut self.absent }.insert(id.clone());
        }
    }

    pub(super) fn poll_timeout(&self, now: Moment) -> Moment {
        if now < self.absent_until { self.absent_until } else { self.until }
    }

    /// Is what was learnt to wait, and is End-of-RIB?
    fn waits(&self, now: Moment) -> (bool, bool) {
        let early = now < self.absent_until;
        let absent = !self.absent.is_empty() || !self.begun && early;
        let learnt = !self.telling.is_empty() || absent && early;
        (learnt && now < self.until, (learnt || absent) && now < self.until)
    }
}

impl Speaker {
    pub(super) fn begin_deferral(&mut self, deferral: Deferral) {
        (self.shared.view.learnt_waits, self.shared.view.end_of_rib_waits) = (true, true);
        self.deferral = Some(deferral);
        self.each(|_, _| ());
    }

    /// Has what waits changed, and nobody has looked?
    pub(super) fn is_deferral_due(&self) -> bool {
        let view = &self.shared.view;
        self.waits(self.now).is_some_and(|waits| waits != (view.learnt_waits, view.end_of_rib_waits))
    }

    /// Goes on once everybody has told everything, or the time is over.
    pub(super) fn step_deferral(&mut self, now: Moment) {
        let Some(waits) = self.waits(now) else { return };
        let view = &mut self.shared.view;
        if waits != (view.learnt_waits, view.end_of_rib_waits) {
            (view.learnt_waits, view.end_of_rib_waits) = waits;
            self.shared.look_again = true;
        }
        if !waits.1 {
            self.deferral = None;
        }
    }

    /// Is what was learnt to wait, and is End-of-RIB? What has begun to be told goes on, whoever comes late.
    fn waits(&self, now: Moment) -> Option<(bool, bool)> {
        let (learnt, end) = self.deferral.as_ref()?.waits(now);
        Some((learnt && self.shared.view.learnt_waits, end))
    }
}
