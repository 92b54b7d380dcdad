//! Floor 1: make before break between the two planes.
//!
//! One node's switch is a state machine with one door, [`Switch::step`]. It knows nothing of sockets or netlink: it
//! is shown [`Facts`] and moves at most one state at a time, saying why. What it lets the rest of the daemon do is
//! its [`Stance`]; what the node tells the cluster is its [`Told`].
//!
//! ```text
//!   Steady(p) ──wish q──► Raising(p→q) ──ready──► Flipping(p→q) ──all on q──► Lingering(p→q) ──nobody sends p──► Lowering(p→q) ──► Steady(q)
//!                              │ wish p               │ wish p                   │ wish p              │ falls back    │ wish p
//!            Flipping(q→p) ◄───┴──────────────────────┴──────────────────────────┘      Flipping(p→q)◄─┘               └─► Raising(q→p)
//! ```
//! A q that was told to nobody yet needs no goodbye: Raising goes straight to Lowering(q→p) then.
//!
//! Why nothing is lost. `stands` and `sends` are announcements with a handshake. A node moves a destination to a plane
//! only while the newest digest shows its last announcement and lists it among that plane's senders (its licence),
//! and shows the destination standing there. It leaves a plane in three stages, each told before the next is begun:
//! it sends there no more; then, once a digest shows that nobody does, it says that it stands there no longer; then,
//! once a digest shows that too, with still nobody sending, it takes its end down. Digests are totally ordered, so of
//! "I send to you: the digest shows you standing and me a sender" and "I go: the digest shows me gone and no senders"
//! one always comes too late to be acted on.
//!
//! A daemon dies, its kernel goes on. So a restarted daemon first says what its record in the store says, as far as
//! the kernel bears it out, and a plane that only the record knows of leaves by the same handshake
//! ([`Switch::recover_from`]).
//!
//! What the argument leans on outside this crate:
//! - A node's phase record is written by it alone and never goes back; a claim may go, the record of a node that runs
//!   must not. Writes of a dead daemon that arrive late must be refused by the store.
//! - A coordinator lists phases and digest afresh after it got the lock, before its first digest, and sees each record
//!   in the order in which it was written ([`digest()`]).
//! - [`Counts::carried`] counts a write under way.
//! - A destination that joined after the digest was written is counted in by "all but these". Senders with such a
//!   digest may send where it does not receive yet; it has no pods before a digest has shown its own record.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod carry;
mod digest;
mod machine;
#[cfg(test)]
mod tests;

pub use carry::{Carry, Usable, carry};
pub use digest::digest;
pub use machine::{Counts, Facts, Readiness, State, Switch, Told, Transition};
