//! Path probes: sequence-numbered UDP both ways and long-lived TCP streams of checked bytes, counted without doubt.
//!
//! The counting is pure ([`Counter`], [`Spread`], [`tally::join`]); the sockets are in [`prober`], which one process per
//! place (a pod's network namespace) runs. What the words mean:
//! - *sent*: sequence numbers handed to the kernel, refused ones included: a user's packet would have been lost too.
//! - *lost*: sent and never received (RFC 7680), judged after the senders have stopped and the path has drained.
//! - *duplicated*: a sequence number that arrived again (RFC 5560).
//! - *reordered*: first arrival with a sequence number below one already seen (RFC 4737, type-P-reordered).
//!
//! Every process on one machine reads the same CLOCK_MONOTONIC, so a one-way delay is the difference of two readings.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod counter;
pub mod flow;
pub mod packet;
pub mod prober;
pub mod report;
pub mod spread;
pub mod stream;
pub mod tally;

pub use counter::{Arrival, Counter};
pub use flow::Size;
pub use report::Report;
pub use spread::Spread;
