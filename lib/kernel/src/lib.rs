//! Floor 3: the kernel by raw batched netlink. One thread owns it.
//!
//! ```text
//!   Command ─► Worker (one thread) ─► Kernel: encode ─► socket (batches, acks by sequence) ─► Wrote, ReadBack
//!                     ▲
//!                     └── Watch: notices of the kernel, ours and others' ─► Changed, Links, Foreign, ReadBackNeeded
//! ```
//!
//! How a restarted daemon with no memory knows its own: protocol number [`model::Owner::MARK`] on routes, nexthop
//! objects, neighbours and addresses; the externally-learned flag on FDB entries of our device; the name of the link
//! and of the nftables table.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod apply;
mod decode;
mod dump;
mod encode;
mod error;
mod ethtool;
mod event;
mod kernel;
mod link;
mod links;
mod message;
mod nexthops;
pub mod nft;
mod notice;
mod socket;
pub mod sysctl;
mod uapi;
mod view;
mod watch;
mod worker;

pub use error::{Error, OpenError};
pub use event::{Command, Event, Interest, ReadBack};
pub use kernel::{Kernel, Options};
pub use watch::Watch;
pub use worker::Worker;
