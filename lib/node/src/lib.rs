//! Floor 4: the one place that knows all.
//!
//! [`Core`] is the reducer: `handle(now, Event) -> Vec<Effect>` holds all state and does no I/O. [`run`] is the loop
//! around it that moves bytes between the core and the edges (kernel, store, peers, command line).
//!
//! ```text
//!  store ───────┐                      ┌─ dirty destinations ─► plan ─► desired ─► tracker ─► kernel batches
//!  BGP bytes ───┼─► Event ─► Core ─────┤                                             ▲              │
//!  kernel ──────┤   (switch, bgp,      └─ Effects: send, claim, publish, log         └── per-key ───┘
//!  operator ────┘    alloc, view)                                                        result
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod core;
mod event;
mod reconcile;
pub mod record;
mod run;
pub mod settings;

pub use core::Core;
pub use event::{Effect, Event, Identity, KeyGenerations, Level, Notice, Topic};
pub use reconcile::Reconcile;
pub use run::run;
