//! Route refresh, both sides (RFC 2918), with marks where both ends know them (RFC 7313).
//!
//! Theirs: between begin (BoRR) and end (EoRR) of a family every path that was there before is old, and used as before;
//! what is old at the end goes. A peer that never ends it is not waited for.
//!
//! Ours: a request is answered at once, but not more than [`Peer::REFRESH_BURST`] times in [`Peer::REFRESH_PAUSE`]: what is
//! asked beyond that is one more answer when that is over, however often it was asked.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{Family, Moment};
use wire::RouteRefresh;

use super::Peer;
use crate::output::ConnId;
use crate::session::State;
use crate::speaker::Shared;
use crate::timers::Timer;

/// Refreshes of the current session.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    /// Families that the peer is telling again.
    theirs: BTreeSet<Family>,
    /// When the answers began that are counted, and how many there were since, by family.
    answered: [Option<(Moment, u32)>; 2],
    /// Families that were asked for too soon.
    asked: BTreeSet<Family>,
}

impl Peer {
    /// Most answers for one family within [`Peer::REFRESH_PAUSE`]: a few prefixes that move at once ask for as many.
    const REFRESH_BURST: u32 = 4;
    /// See [`Peer::REFRESH_BURST`].
    pub(crate) const REFRESH_PAUSE: Duration = Duration::from_secs(5);
    /// How long the end of the peer's refresh is waited for.
    pub(crate) const REFRESH_END: Duration = Duration::from_secs(120);

    /// A session has begun.
    pub(super) fn begin_refreshes(&mut self) {
        self.refresh = Refresh::default();
        self.timers.stop(Timer::RefreshEnd);
        self.timers.stop(Timer::RefreshAgain);
    }

    /// A ROUTE-REFRESH. Ignored for families that were not agreed on, and for subtypes that were not or are unknown.
    pub(super) fn handle_refresh(&mut self, now: Moment, conn: ConnId, message: RouteRefresh, shared: &mut Shared) {
        let Some(link) = self.links.iter().find(|link| link.session.conn == conn) else { return };
        let Some(agreed) = link.session.agreed().filter(|_| link.session.state() == State::Established) else { return };
        let Some(family) = message.family.filter(|family| link.codec.families.contains(family)) else { return };
        let marks = agreed.enhanced_refresh;
        // A refresh before the end of the first telling would take away what a restart has kept (RFC 7313 section 4).
        let told = !agreed.end_of_rib || self.end_of_rib.contains(&family) || self.end_of_rib_waived;
        match message.subtype {
            RouteRefresh::REQUEST => self.answer(now, family),
            RouteRefresh::BEGIN if marks && told => {
                self.rib_in.begin_refresh(family);
                self.refresh.theirs.insert(family);
                self.timers.set(Timer::RefreshEnd, now + Self::REFRESH_END);
            }
            RouteRefresh::END if marks && self.refresh.theirs.remove(&family) => {
                if self.refresh.theirs.is_empty() {
                    self.timers.stop(Timer::RefreshEnd);
                }
                let gone = self.rib_in.old_of(family);
                if gone > 0 {
                    let text = format!(
                        "peer {}: {gone} {family} paths were not told again by its refresh, and go",
                        self.config.id
                    );
                    shared.out.notice(now, &mut self.budget, false, text);
                    self.sweep_refreshed(family);
                }
            }
            _ => {}
        }
    }

    /// The peer wants a family again.
    fn answer(&mut self, now: Moment, family: Family) {
        let before = self.refresh.answered[family as usize];
        let (since, count) = before.filter(|(since, _)| *since + Self::REFRESH_PAUSE > now).unwrap_or((now, 0));
        if count >= Self::REFRESH_BURST {
            let next = since + Self::REFRESH_PAUSE;
            self.refresh.asked.insert(family);
            let at = self.timers.at(Timer::RefreshAgain).map_or(next, |at| at.min(next));
            return self.timers.set(Timer::RefreshAgain, at);
        }
        self.refresh.answered[family as usize] = Some((since, count + 1));
        for link in self.links.iter_mut().filter(|link| link.session.state() == State::Established) {
            link.rib_out.refresh(family);
        }
    }

    /// Answers what was asked too soon.
    pub(super) fn answer_again(&mut self, now: Moment) {
        for family in std::mem::take(&mut self.refresh.asked) {
            self.answer(now, family);
        }
    }

    /// Takes the paths of a family away that the refresh has not told again.
    fn sweep_refreshed(&mut self, family: Family) {
        let mut floors = [0; 2];
        floors[family as usize] = self.rib_in.generation_of(family);
        self.walk_families(floors);
    }

    /// The peer has begun and never ended: what it has told again stays, the rest goes.
    pub(super) fn give_up_refresh(&mut self, now: Moment, shared: &mut Shared) {
        for family in std::mem::take(&mut self.refresh.theirs) {
            if !self.live {
                continue;
            }
            let text = format!(
                "peer {}: began to tell {family} again and has not ended for {} s; its {} paths that it has not told \
                 again go",
                self.config.id,
                Self::REFRESH_END.as_secs(),
                self.rib_in.old_of(family)
            );
            shared.out.notice(now, &mut self.budget, true, text);
            self.sweep_refreshed(family);
        }
    }

    /// Announcements that were held back may go.
    pub(crate) fn release(&mut self) {
        self.timers.stop(Timer::Advertise);
        for link in &mut self.links {
            link.rib_out.release();
        }
    }
}
