//! What an operator says about one peer: down, up; and who is told that a connection is not wanted.

use std::time::Duration;

use bytes::Bytes;
use model::{Moment, Prefix};
use wire::{Message, Notification, cease};

use super::Peer;
use crate::counters::{MessageKind, Way};
use crate::output::{ConnId, Output};
use crate::speaker::Shared;

impl Peer {
    /// May a session open?
    pub(crate) fn is_wanted(&self, shared: &Shared) -> bool {
        !(shared.shut || self.gone || self.down)
    }

    /// Ends its sessions with Cease 6/2 and this text (RFC 9003); none opens until it is taken up again.
    pub(crate) fn take_down(&mut self, now: Moment, text: &str, shared: &mut Shared) {
        self.down = true;
        shared.watched_changed = true;
        self.stop(now, &Notification::cease(cease::SHUTDOWN, text), shared);
    }

    /// Lets sessions open again, from now on.
    pub(crate) fn take_up(&mut self, now: Moment, shared: &mut Shared) {
        self.down = false;
        shared.watched_changed = true;
        self.dial_now(now, shared);
    }

    /// The configured hold time was `before`: says when another one counts.
    pub(crate) fn note_hold_time(&mut self, now: Moment, before: Option<Duration>, shared: &mut Shared) {
        if self.live && before != self.config.hold_time {
            let wanted = self.config.hold_time.unwrap_or(shared.settings.hold_time).as_secs();
            let text = format!("peer {}: hold time {wanted} s counts from the next OPEN on", self.config.id);
            shared.out.notice(now, &mut self.budget, false, text);
        }
    }

    /// A connection of the peer's that is not wanted now: Cease 6/5, so that its operator reads why.
    pub(super) fn reject(&mut self, conn: ConnId, shared: &mut Shared) {
        let told = Message::Notification(Notification::cease(cease::REJECTED, ""));
        let bytes = wire::encode(&told, &wire::Negotiated::default()).unwrap_or_else(|_| Bytes::new());
        self.counters.message(Way::Out, MessageKind::Notification);
        self.counters.notification(Way::Out, wire::code::CEASE, cease::REJECTED);
        shared.out.push(Output::Send { conn, bytes });
        shared.out.push(Output::Close { conn, flush: true });
    }

    /// Is it near its bound, by [`PeerConfig::max_prefixes_warn`](crate::PeerConfig::max_prefixes_warn)?
    pub(crate) fn is_near_bound(&self) -> bool {
        let percent = u64::from(self.config.max_prefixes_warn.min(100));
        percent > 0 && self.rib_in.received() as u64 * 100 >= u64::from(self.config.max_prefixes) * percent
    }

    /// Why no packet may get there, if one of a single hop is on no network of this host.
    pub(super) fn too_far(&self, shared: &Shared) -> Option<String> {
        let single = self.config.transport(shared.view.local_asn).ttl == Some(1) && self.config.multihop.is_none();
        let near = self.config.id.device.is_some() || shared.view.addresses.reach(&self.config.id.address);
        (single && !near).then(|| {
            format!(
                "{} is on no network of this host: a peer of another AS behind a router needs `multihop`",
                self.config.id
            )
        })
    }

    /// A line when the peer comes near its bound, once until it has gone back below.
    pub(super) fn watch_bound(&mut self, now: Moment, sample: Prefix, shared: &mut Shared) {
        let percent = u64::from(self.config.max_prefixes_warn.min(100));
        let most = u64::from(self.config.max_prefixes);
        let received = self.rib_in.received() as u64;
        let near = self.is_near_bound();
        if near && !self.warned {
            let text = format!(
                "peer {}: announces {received} prefixes ({sample} last), {percent} % of the {most} that maxPrefixes \
                 allows: more than that closes the session",
                self.config.id
            );
            shared.out.notice(now, &mut self.budget, true, text);
        }
        self.warned = near;
    }
}
