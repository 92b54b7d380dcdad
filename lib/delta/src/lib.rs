//! Floor 0: desired and actual state side by side; the difference is derived, never stored as a to-do list.
//!
//! ```text
//!            desired          actual
//!         ┌───────────────┬───────────────┐
//!         │ Missing       │        Stray  │     Missing: create     Differs: replace
//!         │        ┌──────┴──────┐        │     Stray:   delete     Same:    nothing
//!         │        │ Same/Differs│        │
//!         └────────┴─────────────┴────────┘
//! ```
//!
//! One [`Tracker`] holds both sides of each key and the set of keys that differ. Every update of either side costs
//! the logarithm of the table, and what is pending is read off in key order: the key's order is the order of making,
//! its reverse the order of breaking. A failed write needs no bookkeeping here: its key simply stays pending.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod tracker;

pub use tracker::{Difference, Observed, Tracker};
