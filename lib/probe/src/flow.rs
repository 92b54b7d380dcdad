//! What a prober is told to do: its place, its addresses and its flows.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Size class of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// 64 octets of UDP payload.
    Small,
    /// As large as the place's MTU allows, never fragmented.
    Full,
}

impl Size {
    /// Both.
    pub const BOTH: [Size; 2] = [Size::Small, Size::Full];

    /// UDP payload of a small probe, octets.
    pub const SMALL_PAYLOAD: usize = 64;

    /// UDP payload in octets for `address`'s family and an IP packet of at most `mtu` octets.
    pub fn payload(self, address: &IpAddr, mtu: u32) -> usize {
        let headers = if address.is_ipv4() { 20 + 8 } else { 40 + 8 };
        match self {
            Size::Small => Size::SMALL_PAYLOAD,
            Size::Full => (mtu as usize).saturating_sub(headers).max(Size::SMALL_PAYLOAD),
        }
    }

    pub(crate) const fn class(self) -> u8 {
        match self {
            Size::Small => 0,
            Size::Full => 1,
        }
    }

    pub(crate) const fn of_class(class: u8) -> Option<Size> {
        match class {
            0 => Some(Size::Small),
            1 => Some(Size::Full),
            _ => None,
        }
    }
}

/// Everything one prober process must know; the first line of its input, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Tells this run's packets from a late one of another run.
    pub run: u32,
    /// Number of this place, unique in the run.
    pub place: u16,
    /// Name for people.
    pub name: String,
    /// Own addresses, at most one per family.
    pub addresses: Vec<IpAddr>,
    /// UDP and TCP port of every place.
    pub port: u16,
    /// Who is probed.
    pub targets: Vec<Target>,
}

/// One address to probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// Number of the place there.
    pub place: u16,
    /// Its name for people.
    pub name: String,
    /// Its address; sent to from the own address of the same family.
    pub address: IpAddr,
    /// Packets per second.
    pub rates: Rates,
    /// Size of the IP packet of a full-size probe, octets.
    pub mtu: u32,
}

/// How much is sent to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rates {
    /// Small packets per second; 0 for none.
    pub small: u32,
    /// Full-size packets per second; 0 for none.
    pub full: u32,
    /// Octets per second and direction of the TCP stream; 0 for no stream.
    pub stream: u32,
}

impl Default for Rates {
    fn default() -> Rates {
        Rates { small: 1000, full: 50, stream: 100_000 }
    }
}

impl Rates {
    /// Packets per second of a size class.
    pub const fn packets(&self, size: Size) -> u32 {
        match size {
            Size::Small => self.small,
            Size::Full => self.full,
        }
    }
}
