//! TCP for BGP: listens, dials, reads, writes, closes; TCP MD5 and TCP-AO (RFC 2385, 5925). Finds routers on a link by their advertisements
//! (RFC 4861). Knows nothing of BGP.
//!
//! [`Bfd`] is the UDP side of BFD, on a thread of its own.
//!
//! [`Peering`] takes a [`Command`] and answers with [`Event`]s. Reading is held back by the reader: see [`Event::Bytes`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod advertisement;
mod auth;
mod bfd_event;
mod bfd_priority;
mod bfd_socket;
mod bfd_thread;
mod conn;
mod discovery;
mod event;
mod guard;
mod key;
mod keychain;
mod listen;
mod options;
mod peering;
mod scope;
mod words;

pub use auth::{Auth, ao_supported};
pub use bfd_event::{BfdCommand, BfdEvent};
pub use bfd_thread::Bfd;
pub use conn::{DIAL, FLUSH, UNSENT};
pub use event::{Command, Event, Remote};
pub use key::{KEY_MAX, Key, KeyError};
pub use keychain::Keychain;
pub use options::md5_supported;
pub use peering::Peering;
