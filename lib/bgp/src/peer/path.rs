//! What BFD says of the way to the peer (RFC 5882).

use std::time::Duration;

use model::Moment;

use super::Peer;
use crate::output::ConnId;
use crate::session::{Input, State};
use crate::speaker::Shared;
use crate::timers::Timer;

impl Peer {
    /// A dial that is older has lost its first SYN: TCP waits longer and longer for the next.
    const OLD_DIAL: Duration = Duration::from_secs(1);
    /// After so many sessions in a row that the path did not bear for [`Peer::STABLE`], back-off decides again.
    const MOST_PATH_LOSSES: u32 = 3;

    /// Nothing comes through any more: sessions end with Cease 6/10, and their paths go. What is kept of an earlier
    /// session goes too if the failure is surely one of forwarding, and no side effect of a restart.
    pub(crate) fn path_down(&mut self, now: Moment, why: &str, surely: bool, shared: &mut Shared) {
        let established = self.furthest().filter(|link| link.session.state() == State::Established);
        if let Some(held) = established.map(|link| now.since(link.established_at)) {
            self.path_losses = if held < Self::STABLE { self.path_losses.saturating_add(1) } else { 0 };
        }
        let conns: Vec<ConnId> = self.links.iter().map(|link| link.session.conn).collect();
        for conn in conns {
            self.drive(now, conn, Input::PathDown(why.to_owned()), shared);
        }
        if surely && !self.live && self.stale_until().is_some() {
            let text =
                format!("peer {}: BFD session down: {why}; the paths kept over its restart are gone", self.config.id);
            shared.out.notice(now, &mut self.budget, true, text);
            self.purge();
        }
        self.note_state(now, shared);
    }

    /// Something comes through again: whatever back-off says, it is worth a dial.
    pub(crate) fn path_up(&mut self, now: Moment, shared: &mut Shared) {
        let held_off = self.timers.at(Timer::IdleHold).is_some() || self.path_losses > Self::MOST_PATH_LOSSES;
        if self.live || held_off {
            return;
        }
        let old = |link: &&super::Link| {
            link.session.state() == State::Connect && now.since(link.session.since()) >= Self::OLD_DIAL
        };
        let old: Vec<ConnId> = self.links.iter().filter(old).map(|link| link.session.conn).collect();
        for conn in old {
            self.drive(now, conn, Input::OpenCollisionDump, shared);
        }
        if self.links.is_empty() {
            self.dial_now(now, shared);
        }
    }
}
