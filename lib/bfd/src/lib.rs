//! Sans-IO BFD (RFC 5880): packets and time in, packets and changes out. No clock, no socket, no chance.
//!
//! # Call contract
//! 1. [`Sessions::set`] for every session that is wanted, [`Sessions::remove`] when it is not any more.
//! 2. Every UDP payload that comes to port 3784 or 4784 goes to [`Sessions::handle_packet`] with what the kernel knows of it.
//! 3. Call [`Sessions::handle_timeout`] when the clock has reached [`Sessions::poll_timeout`]; packets that wait in a
//!    socket go in first: a late reader is no silent peer.
//! 4. After any of these, take [`Sessions::poll_output`] until it is `None` and perform each [`Output`] in order.
//!
//! # What is built
//! Asynchronous mode, single hop (RFC 5881) and multihop (RFC 5883). A peer that is in Demand mode is obeyed; we never
//! ask for it. No Echo function is offered or used. There is no authentication: packets with an authentication section
//! are checked for form and dropped (RFC 5880 6.8.6). The C bit is never set: we share fate with the BGP speaker.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod chance;
mod packet;
mod session;
mod sessions;
mod settings;
mod snapshot;

pub use packet::{Diagnostic, Malformed, Packet, State};
pub use sessions::{Arrival, Dropped, Output, Sessions};
pub use settings::{Hops, SessionConfig, SessionKey};
pub use snapshot::Snapshot;
