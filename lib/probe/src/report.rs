//! What one prober has seen so far.

use model::Family;
use serde::{Deserialize, Serialize};

use crate::flow::Size;
use crate::spread::Summary;

/// Cumulative since `start`; one line of JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Number of the reporting place.
    pub place: u16,
    /// Its name.
    pub name: String,
    /// What it sent.
    pub outgoing: Vec<Outgoing>,
    /// What it received.
    pub incoming: Vec<Incoming>,
    /// Its ends of TCP streams.
    pub streams: Vec<Stream>,
    /// What its own host dropped: not the fault of the path.
    pub host: HostDrops,
}

/// One flow at its sender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outgoing {
    /// The place sent to.
    pub to: u16,
    /// Family of the packets.
    pub family: Family,
    /// Size class.
    pub size: Size,
    /// Sequence numbers used.
    pub sent: u64,
    /// Of these, refused by the kernel on the way out.
    pub refused: u64,
    /// The last refusal in the kernel's words.
    pub refusal: Option<String>,
    /// A hello of this flow has been answered.
    pub reached: bool,
    /// Round-trip times.
    pub rtt: Summary,
}

/// One flow at its receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Incoming {
    /// The place it came from.
    pub from: u16,
    /// Family of the packets.
    pub family: Family,
    /// Size class.
    pub size: Size,
    /// Distinct sequence numbers.
    pub received: u64,
    /// Sequence numbers below the highest one that have not arrived (yet).
    pub missing: u64,
    /// Arrivals of a number already seen.
    pub duplicated: u64,
    /// First arrivals behind a higher number.
    pub reordered: u64,
    /// Longest silence, seconds.
    pub longest_gap_seconds: f64,
    /// One-way delays.
    pub delay: Summary,
}

/// One end of a TCP stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// The place at the other end.
    pub peer: u16,
    /// Family.
    pub family: Family,
    /// The connection stands.
    pub connected: bool,
    /// Octets handed to the kernel.
    pub written: u64,
    /// Octets read that are what the peer wrote.
    pub read: u64,
    /// Octets read that are not.
    pub altered: u64,
    /// Silences longer than [`crate::stream::STALL`].
    pub stalls: u64,
    /// Longest silence, seconds.
    pub longest_gap_seconds: f64,
    /// Times the connection broke.
    pub resets: u64,
    /// How it last broke.
    pub reset: Option<String>,
}

/// Packets dropped by the machine the test runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostDrops {
    /// UDP packets that found the prober's socket buffer full.
    pub socket_buffer: u64,
    /// Packets that found a processor's backlog full, on the whole machine, since the prober started.
    pub backlog: u64,
    /// UDP packets of this port that were no packet of this run.
    pub foreign: u64,
}
