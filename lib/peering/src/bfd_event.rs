use bfd::{SessionConfig, SessionKey, Snapshot};
use serde::{Deserialize, Serialize};

/// What happened to BFD sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BfdEvent {
    /// A session has changed; at least 20 ms lie between two of one session, and the counts in it miss nothing.
    Changed {
        /// The session.
        session: SessionKey,
        /// As it is now.
        snapshot: Snapshot,
    },
    /// A session that was to end is no more.
    Gone(SessionKey),
    /// A port cannot be listened on, with the cause and the cure; `None`: it can again. Tried again every 2 s.
    Trouble(Option<String>),
    /// One line about packets that were dropped; the same again not before a minute has passed.
    Notice(String),
}

/// What the BFD thread shall do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BfdCommand {
    /// Make a session, or give one another configuration.
    Set {
        /// The session.
        session: SessionKey,
        /// What is wanted of it.
        config: SessionConfig,
    },
    /// End a session; the peer is told AdminDown.
    Remove(SessionKey),
}
