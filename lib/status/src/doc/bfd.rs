//! `biplane bgp bfd`.

use std::fmt;
use std::net::IpAddr;

use model::{NodeName, PeerId};
use serde::{Deserialize, Serialize};

use super::Time;

/// Paths to peers that BFD watches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BfdSessions {
    /// Sessions by address.
    pub items: Vec<BfdSession>,
    /// Why packets cannot be heard, and what to do about it; `null` if they can.
    pub trouble: Option<String>,
}

/// One session (RFC 5880).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BfdSession {
    /// The peer.
    pub address: PeerId,
    /// The node behind it, if it is one of the cluster.
    pub node: Option<NodeName>,
    /// Name of the profile (`bgp.bfdProfiles`).
    pub profile: String,
    /// Over more than one hop (RFC 5883, UDP port 4784), or over one (RFC 5881, port 3784).
    pub multihop: bool,
    /// Our address; `null` if the kernel chooses it.
    pub local_address: Option<IpAddr>,
    /// Our state.
    pub state: BfdState,
    /// Since when.
    pub since: Time,
    /// Why it left Up last, in the RFC's words; `null` while nothing is to be said.
    pub diagnostic: Option<String>,
    /// State that the peer says it is in; `null` while it is not heard.
    pub remote_state: Option<BfdState>,
    /// What the peer says of its own state; `null` while it says nothing.
    pub remote_diagnostic: Option<String>,
    /// Does the peer's BFD survive a restart of its control plane (C bit)? `null` while it is not heard.
    pub remote_independent: Option<bool>,
    /// Longest wait between two of our packets; `null` if none are sent.
    pub transmit_interval_seconds: Option<f64>,
    /// Silence of the peer for so long takes the session down; `null` while it is not heard.
    pub detection_time_seconds: Option<f64>,
    /// So many of our packets may be missing before the peer takes its session down.
    pub multiplier: u8,
    /// Our discriminator.
    pub local_discriminator: u32,
    /// The peer's discriminator; `null` while it is not heard.
    pub remote_discriminator: Option<u32>,
    /// Times that it came up, since it was configured.
    pub ups: u64,
    /// Times that the path failed while it was up; AdminDown is no failure.
    pub failures: u64,
    /// The last failure, in words; `null` if there was none.
    pub last_failure: Option<String>,
    /// How long ago; `null` if there was none.
    pub last_failure_seconds_ago: Option<f64>,
}

/// State of a session (RFC 5880 section 6.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BfdState {
    /// Held down by an operator.
    AdminDown,
    /// Nothing comes through, or the peer says so.
    Down,
    /// The peer is heard, and does not know yet that it is.
    Init,
    /// Both hear each other.
    Up,
}

impl BfdState {
    /// All, in order of progress.
    pub const ALL: [BfdState; 4] = [BfdState::AdminDown, BfdState::Down, BfdState::Init, BfdState::Up];
}

impl fmt::Display for BfdState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}"))
    }
}
