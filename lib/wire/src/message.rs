//! The five messages of RFC 4271 and RFC 2918 in our words.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use model::{Asn, Family, Prefix};

use crate::{AttributeError, Attributes, Capability, MAX_MESSAGE, Notification, Treatment};

/// What decoding and encoding need to know of the session. `Default` is the state before OPEN: two-octet AS numbers, an
/// external peer, no family, 4096 octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Both sides sent capability 65 (RFC 6793): AS_PATH has four-octet numbers, and there is no AS4_PATH.
    pub four_octet_as: bool,
    /// The peer is in our AS.
    pub ibgp: bool,
    /// Families whose prefixes may pass, in either direction. A session without capability 1 on both sides has
    /// [`Family::V4`] here (RFC 4760 section 8); who negotiates puts it in.
    pub families: BTreeSet<Family>,
    /// Longest message either side may send, in octets: 4096, or 65535 with RFC 8654.
    pub max_message: usize,
    /// Families whose prefixes we send with a path identifier: we offered to send many paths (RFC 7911) and the peer to
    /// receive them.
    pub add_path_send: BTreeSet<Family>,
    /// Families whose prefixes come with a path identifier: the peer offered to send many paths, we to receive them.
    pub add_path_receive: BTreeSet<Family>,
    /// IPv4 prefixes that we send may have an IPv6 next hop: the peer sent capability 5 for it (RFC 8950).
    pub extended_next_hop_send: bool,
    /// IPv4 prefixes may come with an IPv6 next hop: we sent capability 5, which is all that a sender has to know (RFC
    /// 8950 section 4).
    pub extended_next_hop_receive: bool,
    /// AS_SETs in an AS_PATH are taken, and passed on to a peer with the same mind. Without it such a path is treated as
    /// withdrawn, as RFC 9774 wants it.
    pub accept_as_sets: bool,
}

impl Default for Negotiated {
    fn default() -> Negotiated {
        Negotiated {
            four_octet_as: false,
            ibgp: false,
            families: BTreeSet::new(),
            max_message: MAX_MESSAGE,
            add_path_send: BTreeSet::new(),
            add_path_receive: BTreeSet::new(),
            extended_next_hop_send: false,
            extended_next_hop_receive: false,
            accept_as_sets: false,
        }
    }
}

/// One BGP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Type 1.
    Open(Open),
    /// Type 2.
    Update(Update),
    /// Type 3.
    Notification(Notification),
    /// Type 4.
    Keepalive,
    /// Type 5 (RFC 2918, RFC 7313).
    RouteRefresh(RouteRefresh),
}

impl Message {
    /// Name of the type as in counters: `open`, `update`, `notification`, `keepalive`, `routeRefresh`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Message::Open(_) => "open",
            Message::Update(_) => "update",
            Message::Notification(_) => "notification",
            Message::Keepalive => "keepalive",
            Message::RouteRefresh(_) => "routeRefresh",
        }
    }
}

/// OPEN (RFC 4271 section 4.2). Values are as the peer sent them: AS number, hold time and identifier are judged by the
/// session, which alone knows what it expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The number in capability 65 if there is one, else the two-octet field. May be 0 when it came from a peer.
    pub asn: Asn,
    /// Proposed hold time in seconds; 1 and 2 are illegal and are not refused here.
    pub hold_time: u16,
    /// BGP Identifier; may be 0.0.0.0 when it came from a peer.
    pub router_id: Ipv4Addr,
    /// In the order of the message; one capability may stand there more than once (RFC 5492 section 4).
    pub capabilities: Vec<Capability>,
}

/// UPDATE (RFC 4271 section 4.3), as it is left when the treatments of RFC 7606 have been applied.
///
/// A prefix with its path identifier stands in `announced` or in `withdrawn`, never in both. Prefixes of families that were not negotiated are
/// in neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Withdrawn by the peer, or announced and withdrawn by [`Treatment::Withdraw`].
    pub withdrawn: Vec<Withdrawn>,
    /// Announced, each with its own next hop, as one UPDATE may carry both families.
    pub announced: Vec<Announced>,
    /// Present whenever `announced` is not empty.
    pub attributes: Option<Arc<Attributes>>,
    /// End-of-RIB of this family (RFC 4724 section 2); nothing else is in the message then.
    pub end_of_rib: Option<Family>,
    /// The strongest of `errors`.
    pub treatment: Option<Treatment>,
    /// What was wrong with the message; never more than one for each attribute occurrence, and one for martians.
    pub errors: Vec<AttributeError>,
}

/// An announced prefix with the next hop that NEXT_HOP or MP_REACH_NLRI gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Announced {
    /// The prefix (NLRI).
    pub prefix: Prefix,
    /// Which of the peer's paths (RFC 7911); 0 without add-path.
    pub path_id: u32,
    /// Next hop; an IPv4 prefix may have an IPv6 one (RFC 8950). A peer that has no global address gives its link-local
    /// one here and in `link_local`.
    pub next_hop: IpAddr,
    /// Link-local next hop beside a global one (RFC 2545 section 3).
    pub link_local: Option<Ipv6Addr>,
}

/// A withdrawn prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Withdrawn {
    /// The prefix (NLRI).
    pub prefix: Prefix,
    /// Which of the peer's paths (RFC 7911); 0 without add-path.
    pub path_id: u32,
}

/// ROUTE-REFRESH (RFC 2918, RFC 7313).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// `None`: a family unknown to us; the message is to be ignored.
    pub family: Option<Family>,
    /// 0: request. 1: begin of a refresh (BoRR). 2: its end (EoRR). Others are to be ignored.
    pub subtype: u8,
}

impl RouteRefresh {
    /// Subtype 0: asks the peer to send its routes again.
    pub const REQUEST: u8 = 0;
    /// Subtype 1: the routes that follow are the whole of the family (RFC 7313).
    pub const BEGIN: u8 = 1;
    /// Subtype 2: what was not sent since [`RouteRefresh::BEGIN`] is gone.
    pub const END: u8 = 2;
}
