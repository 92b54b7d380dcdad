//! Floor 1: make before break between the two planes.
//!
//! One node's switch is a state machine with one door, [`Switch::step`]. It knows nothing of sockets or netlink: it
//! is shown [`Facts`] and moves at most one state at a time, saying why. What it lets the rest of the daemon do is
//! its [`Stance`]; what the node tells the cluster is its [`Told`].
//!
//! ```text
//!   Steady(p) ──wish q──► Raising(p→q) ──ready──► Flipping(p→q) ──all on q──► Lingering(p→q) ──nobody sends p──► Lowering(p→q) ──► Steady(q)
//!       ▲                     │ wish p                │ wish p                    │ wish p, or falls back              │ wish p
//!       └──────Lowering(q→p)◄─┘        Flipping(q→p)◄─┴───────────────────────────┘             Raising(q→p)◄─────────┘
//! ```
//!
//! Why nothing is lost. `stands` and `sends` are announcements with a handshake. A node may send on a plane only
//! while the newest digest lists it among that plane's senders (its licence); it may take its end of a plane down
//! only after it has announced that it no longer stands there, and a digest shows both that and that nobody is
//! among the plane's senders. Digests are totally ordered, so of "I send to you, the digest shows you standing and me a
//! sender" and "I go, the digest shows me gone and no senders" one always comes too late to be acted on.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod carry;
mod digest;
mod machine;
#[cfg(test)]
mod tests;

pub use carry::{Carry, Usable, carry};
pub use digest::digest;
pub use machine::{Counts, Facts, Readiness, State, Switch, Told, Transition};
