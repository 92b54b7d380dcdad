//! Counters, from the start of the daemon; for metrics.

use std::collections::BTreeMap;

use model::PeerId;
use serde::{Deserialize, Serialize};
use wire::{AttributeError, Message};

/// Direction of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// Type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MessageKind {
    /// OPEN.
    Open,
    /// UPDATE.
    Update,
    /// NOTIFICATION.
    Notification,
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH.
    RouteRefresh,
}

impl MessageKind {
    const ALL: [MessageKind; 5] = [
        MessageKind::Open,
        MessageKind::Update,
        MessageKind::Notification,
        MessageKind::Keepalive,
        MessageKind::RouteRefresh,
    ];

    pub(crate) fn of(message: &Message) -> MessageKind {
        match message {
            Message::Open(_) => MessageKind::Open,
            Message::Update(_) => MessageKind::Update,
            Message::Notification(_) => MessageKind::Notification,
            Message::Keepalive => MessageKind::Keepalive,
            Message::RouteRefresh(_) => MessageKind::RouteRefresh,
        }
    }
}

/// All counters of the speaker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages by peer, direction and type.
    pub messages: BTreeMap<(PeerId, Way, MessageKind), u64>,
    /// NOTIFICATIONs by peer, direction, code and subcode.
    pub notifications: BTreeMap<(PeerId, Way, u8, u8), u64>,
    /// Errors in UPDATEs by peer and kind (attribute and treatment, RFC 7606).
    pub update_errors: BTreeMap<(PeerId, String), u64>,
    /// Connections from addresses that are no peers.
    pub strangers: u64,
}

/// Counters of one peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerCounters {
    messages: [[u64; MessageKind::ALL.len()]; 2],
    notifications: BTreeMap<(Way, u8, u8), u64>,
    /// By attribute code and treatment: at most 257 x 4.
    update_errors: BTreeMap<(Option<u8>, wire::Treatment), u64>,
}

impl PeerCounters {
    pub(crate) fn message(&mut self, way: Way, kind: MessageKind) {
        self.messages[way as usize][kind as usize] += 1;
    }

    pub(crate) fn notification(&mut self, way: Way, code: u8, subcode: u8) {
        *self.notifications.entry((way, code, subcode)).or_default() += 1;
    }

    pub(crate) fn update_error(&mut self, error: &AttributeError) {
        *self.update_errors.entry((error.attribute, error.treatment)).or_default() += 1;
    }

    pub(crate) fn messages(&self, way: Way) -> u64 {
        self.messages[way as usize].iter().sum()
    }

    /// Adds them to those of all peers.
    pub(crate) fn report(&self, peer: &PeerId, all: &mut Counters) {
        for way in [Way::In, Way::Out] {
            for kind in MessageKind::ALL {
                all.messages.insert((peer.clone(), way, kind), self.messages[way as usize][kind as usize]);
            }
        }
        for ((way, code, subcode), count) in &self.notifications {
            all.notifications.insert((peer.clone(), *way, *code, *subcode), *count);
        }
        for ((attribute, treatment), count) in &self.update_errors {
            let words = match attribute {
                Some(code) => format!("attribute {code}: {treatment}"),
                None => treatment.to_string(),
            };
            *all.update_errors.entry((peer.clone(), words)).or_default() += count;
        }
    }
}
