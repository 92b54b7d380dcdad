//! Floor 1: the BGP codec.
//!
//! Octets of one BGP-4 message (RFC 4271) come in, our own types go out, and back. Other codecs are read against this one
//! in tests (`tests/differential.rs`); none of them does all of the following:
//! - the treatments of RFC 7606 are ordered and already applied: the strongest error of an UPDATE wins, and with
//!   [`Treatment::Withdraw`] its announced prefixes have become withdrawn ones;
//! - only negotiated families are parsed at all; attributes of others cannot hurt the session;
//! - NEXT_HOP is missed on internal sessions too; LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST from external peers, and
//!   martian prefixes, are dropped; every type of message has its own length limits;
//! - what is not known is passed on as RFC 4271 wants it, whatever its type code;
//! - many prefixes are packed into few UPDATEs, none longer than the session allows.
//!
//! Call order: [`frame_length`] on what has been received until it names a length, then [`decode`] (or
//! [`Decoder::decode`], which remembers attributes) on exactly that many octets.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod attribute_types;
mod attributes;
mod capability;
pub mod community;
mod decode;
mod encode;
mod error;
mod family_codes;
mod frame;
mod message;
mod nlri;
mod notification;
mod open_message;

pub use attributes::{AsPath, Attributes, Origin, RawAttribute, Segment};
pub use capability::{AddPathMode, Capability, Role};
pub use decode::{Decoder, decode};
pub use encode::{encode, encode_announce, encode_end_of_rib, encode_withdraw};
pub use error::{AttributeError, DecodeError, EncodeError, Treatment};
pub use frame::{HEADER, MAX_EXTENDED_MESSAGE, MAX_MESSAGE, frame_length};
pub use message::{Announced, Message, Negotiated, Open, RouteRefresh, Update, Withdrawn};
pub use notification::{Notification, cease, code, fsm, open};
