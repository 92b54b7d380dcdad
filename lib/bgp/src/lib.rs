//! Sans-IO BGP speaker (RFC 4271): bytes and facts in, bytes and wishes out. No clock, no socket, no chance.
//!
//! # Call contract
//! 1. [`Speaker::new`], then [`Speaker::handle_local_addresses`] and [`Speaker::handle_originate`] for every own
//!    pod CIDR. Dials come out only after that: own prefixes stand before any session opens, so the first
//!    End-of-RIB is complete.
//! 2. After any `handle_*`, take [`Speaker::poll_output`] until it is `None` and perform each [`Output`] in order.
//! 3. While [`Speaker::has_work`], call [`Speaker::handle_work`] between other events; each call works for a few
//!    milliseconds at most. A million paths arrive in slices.
//! 4. Call [`Speaker::handle_timeout`] when the clock has reached [`Speaker::poll_timeout`].
//! 5. [`Speaker::poll_changed`] names the prefixes whose set of best paths is new; [`Speaker::best`] tells it.
//!
//! What happens to a connection outside is told by [`Speaker::handle_dialed`], [`Speaker::handle_dial_failed`],
//! [`Speaker::handle_accepted`], [`Speaker::handle_bytes`], [`Speaker::handle_drained`] (all bytes sent so far were
//! taken by the kernel) and [`Speaker::handle_closed`]. After an [`Output::Close`] the connection is forgotten:
//! whatever is still told about it is ignored.
//!
//! # Rooms
//! [`Speaker`] owns peers; a `peer` owns its sessions and arbitrates between them (RFC 4271 6.8); a `session` is the
//! FSM of one TCP connection. Paths go `adj_rib_in` → `policy` → `loc_rib` (`decide`) and come to light through
//! `poll_changed`; own prefixes (`origination`) and what may be passed on of the Loc-RIB go through `export`, the one door
//! out, to `adj_rib_out` → UPDATEs.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod add_path;
mod adj_rib_in;
mod adj_rib_out;
mod chance;
mod counters;
mod decide;
mod export;
mod graceful;
mod inbox;
mod loc_rib;
mod local;
mod negotiate;
mod origination;
mod output;
mod packed;
mod peer;
mod policy;
mod role;
mod route;
mod session;
mod settings;
mod speaker;
mod status;
mod timers;

pub use counters::{Counters, MessageKind, Way};
pub use decide::{Ineligible, Reason};
pub use export::Withheld;
pub use graceful::GracefulRestart;
pub use loc_rib::BestPath;
pub use model::{AddPath, NextHopChoice, PeerId, Transport};
pub use origination::Origination;
pub use output::{ConnId, Output};
pub use policy::{Named, Outcome, Policy, Refusal, RouteView, RuleId, policies};
pub use session::State;
pub use settings::{PeerConfig, PeerRange, SpeakerConfig};
pub use speaker::{Speaker, Watched};
pub use status::{Direction, FamilyCounts, PathStatus, PeerStatus, RoutesQuery, Step, Stranger, Untold, Verdict};
pub use wire::Role;
