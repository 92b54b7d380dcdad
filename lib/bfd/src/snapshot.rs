//! What is told about a session.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::packet::{Diagnostic, State};

/// A session as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Our state.
    pub state: State,
    /// Why it changed last.
    pub diagnostic: Diagnostic,
    /// Times that the session has left Up because the path or the peer failed; AdminDown, ours or the peer's, is no failure.
    pub failures: u64,
    /// Times that the session has come Up.
    pub ups: u64,
    /// Our discriminator.
    pub local_discriminator: u32,
    /// The peer's discriminator; 0 while it is not heard.
    pub remote_discriminator: u32,
    /// State that the peer says it is in; absent while it is not heard.
    pub remote_state: Option<State>,
    /// The diagnostic that the peer sent last.
    pub remote_diagnostic: Diagnostic,
    /// The peer's BFD survives its control plane (C bit).
    pub remote_independent: bool,
    /// The longest wait between two of our packets; zero: none are sent.
    pub transmit_interval: Duration,
    /// The peer is declared gone when nothing has come for so long; zero while it is not heard.
    pub detection_time: Duration,
}
