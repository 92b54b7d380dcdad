//! A connection of a peer: its machine, its bytes in both directions, and what flows while it is Established.

use std::net::Ipv4Addr;

use bytes::Bytes;
use model::Moment;
use wire::{Decoder, Message};

use crate::adj_rib_out::AdjRibOut;
use crate::counters::{MessageKind, PeerCounters, Way};
use crate::export::Target;
use crate::inbox::Inbox;
use crate::negotiate::Offer;
use crate::output::Output;
use crate::route::LastRoute;
use crate::session::Session;
use crate::speaker::Shared;

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) session: Session,
    /// What our OPEN said.
    pub(super) offer: Option<Offer>,
    pub(crate) codec: wire::Negotiated,
    pub(super) inbox: Inbox,
    pub(super) decoder: Decoder,
    pub(super) last_route: LastRoute,
    pub(crate) rib_out: AdjRibOut,
    /// Whom exports are for; present while Established.
    pub(crate) target: Option<Target>,
    /// Our CLUSTER_ID, as it was when all paths were last looked at.
    pub(super) reflector: Option<Ipv4Addr>,
    /// Announcements are held back until then.
    pub(crate) quiet_until: Moment,
    /// When it became Established.
    pub(super) established_at: Moment,
    /// Octets sent since the kernel had last taken all.
    unsent: usize,
    /// TCP is gone, with the kernel's words; what is in `inbox` comes first.
    pub(super) closed: Option<Option<String>>,
}

impl Link {
    /// No more UPDATEs while so many octets wait: memory stays bounded when the peer reads slowly.
    const MOST_UNSENT: usize = 256 * 1024;

    pub(super) fn new(session: Session) -> Link {
        Link {
            established_at: session.since(),
            quiet_until: session.since(),
            session,
            offer: None,
            codec: wire::Negotiated::default(),
            inbox: Inbox::default(),
            decoder: Decoder::default(),
            last_route: LastRoute::default(),
            rib_out: AdjRibOut::default(),
            target: None,
            reflector: None,
            unsent: 0,
            closed: None,
        }
    }

    /// Is a whole message, or the end, waiting?
    pub(super) fn has_messages(&self) -> bool {
        self.closed.is_some() || self.inbox.is_ready(self.codec.max_message)
    }

    /// May more UPDATEs go out?
    pub(crate) fn has_room(&self) -> bool {
        self.unsent < Self::MOST_UNSENT
    }

    /// The kernel has taken all.
    pub(super) fn drained(&mut self) {
        self.unsent = 0;
        self.session.timers.stop(crate::timers::Timer::SendHold);
    }

    /// Sends a message other than UPDATE.
    pub(super) fn send(&mut self, now: Moment, message: &Message, counters: &mut PeerCounters, shared: &mut Shared) {
        // These have no part that could be too long, so it cannot fail; if it does, there is nothing to send.
        let Ok(bytes) = wire::encode(message, &self.codec) else { return };
        counters.message(Way::Out, MessageKind::of(message));
        if let Message::Notification(told) = message {
            counters.notification(Way::Out, told.code, told.subcode);
        }
        self.push(now, bytes, shared);
    }

    /// Sends UPDATEs, and the marks between them (RFC 7313).
    pub(super) fn send_updates(
        &mut self,
        now: Moment,
        updates: Vec<Bytes>,
        counters: &mut PeerCounters,
        shared: &mut Shared,
    ) {
        for bytes in updates {
            let is_mark = bytes.get(18) == Some(&5);
            counters.message(Way::Out, if is_mark { MessageKind::RouteRefresh } else { MessageKind::Update });
            self.push(now, bytes, shared);
        }
        self.session.restart_keepalive(now, &mut shared.chance);
    }

    fn push(&mut self, now: Moment, bytes: Bytes, shared: &mut Shared) {
        self.unsent += bytes.len();
        self.session.start_send_hold(now);
        shared.out.push(Output::Send { conn: self.session.conn, bytes });
    }
}
