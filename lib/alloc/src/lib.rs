//! Which pod CIDR a node takes, and how it takes it.
//!
//! A cluster pool is cut into slots of one length ([`model::ClusterPool`]). A node holds a slot by a [`Claim`], an
//! object in the store whose name is the pod CIDR: **the store makes a claim unique**, by create-if-absent, and no
//! memory of anybody's does. Everything here rests on four rules:
//!
//! 1. nobody chooses before it has a complete list;
//! 2. a node first takes back what it holds ([`Choice::Keep`]), so a crash between any two steps leaks nothing;
//! 3. a choice is only a proposal ([`Choice::Try`]): whoever gets [`Created::Taken`] lists and chooses again;
//! 4. a freed pod CIDR stays out of use for the quarantine time, so that packets still under way to its old holder
//!    never meet a new one.
//!
//! This crate is pure: [`choose`] is a function of lists, [`Acquire`] does one store call a step, and the store is a
//! trait with one implementation for tests, [`MemoryStore`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod acquire;
mod choose;
mod claim;
mod memory;
mod store;

pub use acquire::{Acquire, AcquireError, Acquired, Step, acquire};
pub use choose::{Choice, choose};
pub use claim::{Claim, Taken};
pub use memory::{Crashed, MemoryStore};
pub use store::{ClaimStore, Created, Listing, Released, Updated};
