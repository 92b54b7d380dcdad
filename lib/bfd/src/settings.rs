//! What is wanted of a session, and what it is known by.

use std::net::IpAddr;
use std::time::Duration;

use model::kernel::Device;
use serde::{Deserialize, Serialize};

/// One hop or many: another port and another rule for the TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Hops {
    /// RFC 5881: port 3784, the TTL of what comes is 255.
    Single,
    /// RFC 5883: port 4784, the TTL of what comes is [`SessionConfig::min_ttl`] or more.
    Multi,
}

impl Hops {
    /// UDP port that packets go to.
    pub const fn port(self) -> u16 {
        match self {
            Hops::Single => 3784,
            Hops::Multi => 4784,
        }
    }
}

/// What a session is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionKey {
    /// Address of the peer.
    pub peer: IpAddr,
    /// Device that it is reached by; always there for a link-local peer.
    pub device: Option<Device>,
    /// Our address; the kernel's choice if absent.
    pub local: Option<IpAddr>,
    /// One hop or many.
    pub hops: Hops,
}

impl SessionKey {
    /// A single-hop session with a peer, from the address that the kernel chooses.
    pub fn single_hop(peer: IpAddr) -> SessionKey {
        SessionKey { peer, device: None, local: None, hops: Hops::Single }
    }
}

/// What is wanted of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionConfig {
    /// We want to send this often while the session is up; 1 µs to [`SessionConfig::LONGEST`].
    pub transmit: Duration,
    /// We take packets this often; 1 µs to [`SessionConfig::LONGEST`].
    pub receive: Duration,
    /// The peer declares us gone after so many of our packets did not come; at least 1.
    pub multiplier: u8,
    /// Send nothing before the peer has.
    pub passive: bool,
    /// Least TTL of what comes in a multihop session; 255 always in a single-hop one.
    pub min_ttl: u8,
}

impl SessionConfig {
    /// Longest interval: the field holds 32 bits of microseconds.
    pub const LONGEST: Duration = Duration::from_micros(u32::MAX as u64);
    /// While a session is not up, nobody sends more often than this (RFC 5880 6.8.3).
    pub const SLOW: Duration = Duration::from_secs(1);
}

impl Default for SessionConfig {
    /// 300 ms times 3: outages are noticed within 0.9 s.
    fn default() -> SessionConfig {
        SessionConfig {
            transmit: Duration::from_millis(300),
            receive: Duration::from_millis(300),
            multiplier: 3,
            passive: false,
            min_ttl: 1,
        }
    }
}
