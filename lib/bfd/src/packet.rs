//! The BFD Control packet (RFC 5880 section 4.1): 24 octets, and an authentication section that is only checked for form.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// State of a session (RFC 5880 6.8.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[repr(u8)]
pub enum State {
    /// Held down by an operator: says nothing about the path.
    AdminDown = 0,
    /// Nothing is heard, or the peer says that it hears nothing.
    #[default]
    Down = 1,
    /// The peer is heard, and does not know yet that it is.
    Init = 2,
    /// Both hear each other.
    Up = 3,
}

impl State {
    /// The RFC's word.
    pub fn word(self) -> &'static str {
        match self {
            State::AdminDown => "AdminDown",
            State::Down => "Down",
            State::Init => "Init",
            State::Up => "Up",
        }
    }

    fn of(bits: u8) -> State {
        match bits & 3 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a session changed its state last (RFC 5880 section 4.1), 0 to 31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Diagnostic(u8);

impl Diagnostic {
    /// No diagnostic.
    pub const NONE: Diagnostic = Diagnostic(0);
    /// Control detection time expired.
    pub const DETECTION_TIME_EXPIRED: Diagnostic = Diagnostic(1);
    /// Neighbor signaled session down.
    pub const PEER_SIGNALED_DOWN: Diagnostic = Diagnostic(3);
    /// Administratively down.
    pub const ADMINISTRATIVELY_DOWN: Diagnostic = Diagnostic(7);

    /// The number on the wire.
    pub fn number(self) -> u8 {
        self.0
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "the peer signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            _ => "unassigned diagnostic",
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// A well-formed control packet of version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Why the sender's session changed its state last.
    pub diagnostic: Diagnostic,
    /// State of the sender's session.
    pub state: State,
    /// The sender wants an answer with [`Packet::last`].
    pub poll: bool,
    /// The Final bit: an answer to [`Packet::poll`].
    pub last: bool,
    /// The C bit: the sender's BFD survives its control plane.
    pub independent: bool,
    /// The A bit: an authentication section follows, of a form that fits its type.
    pub authenticated: bool,
    /// The D bit: the sender is in Demand mode.
    pub demand: bool,
    /// Detect Mult, never 0.
    pub multiplier: u8,
    /// The sender's discriminator, never 0.
    pub my_discriminator: u32,
    /// The receiver's discriminator as the sender knows it; 0 if it does not, in Down and AdminDown only.
    pub your_discriminator: u32,
    /// Desired Min TX Interval, microseconds.
    pub desired_min_tx: u32,
    /// Required Min RX Interval, microseconds; 0: the sender wants no periodic packets.
    pub required_min_rx: u32,
    /// Required Min Echo RX Interval, microseconds; 0: the sender takes no echoes.
    pub required_min_echo_rx: u32,
}

/// Why octets are no packet to be looked at (RFC 5880 6.8.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Malformed {
    /// Fewer octets than the mandatory section has.
    #[error("shorter than 24 octets")]
    Short,
    /// Another version than 1.
    #[error("BFD version is not 1")]
    Version,
    /// The Length field is too small, or larger than what came.
    #[error("the length field does not fit")]
    Length,
    /// Detect Mult 0.
    #[error("detect multiplier 0")]
    Multiplier,
    /// The M bit is set, which is for point-to-multipoint.
    #[error("multipoint bit set")]
    Multipoint,
    /// My Discriminator 0.
    #[error("my discriminator 0")]
    MyDiscriminator,
    /// Your Discriminator 0 in another state than Down and AdminDown.
    #[error("your discriminator 0 in state Init or Up")]
    YourDiscriminator,
    /// The authentication section does not have the length of its type, or its type is unknown.
    #[error("authentication section malformed")]
    Authentication,
}

impl Packet {
    /// Octets of a packet without authentication.
    pub const LENGTH: usize = 24;

    const POLL: u8 = 0x20;
    const FINAL: u8 = 0x10;
    const INDEPENDENT: u8 = 0x08;
    const AUTHENTICATED: u8 = 0x04;
    const DEMAND: u8 = 0x02;
    const MULTIPOINT: u8 = 0x01;

    /// Reads a UDP payload; octets behind the packet's own length are padding.
    ///
    /// # Errors
    /// The first rule of RFC 5880 6.8.6 that the octets break.
    pub fn decode(octets: &[u8]) -> Result<Packet, Malformed> {
        let Some((head, behind)) = octets.split_first_chunk::<{ Packet::LENGTH }>() else {
            return Err(Malformed::Short);
        };
        let [vers_diag, flags, multiplier, length, rest @ ..] = head;
        let [m0, m1, m2, m3, y0, y1, y2, y3, t0, t1, t2, t3, r0, r1, r2, r3, e0, e1, e2, e3] = *rest;
        let word = |a, b, c, d| u32::from_be_bytes([a, b, c, d]);
        if vers_diag >> 5 != 1 {
            return Err(Malformed::Version);
        }
        let length = usize::from(*length);
        let authenticated = flags & Self::AUTHENTICATED != 0;
        let least = if authenticated { Self::LENGTH + 2 } else { Self::LENGTH };
        if length < least || length > octets.len() {
            return Err(Malformed::Length);
        }
        if *multiplier == 0 {
            return Err(Malformed::Multiplier);
        }
        if flags & Self::MULTIPOINT != 0 {
            return Err(Malformed::Multipoint);
        }
        let packet = Packet {
            diagnostic: Diagnostic(vers_diag & 0x1f),
            state: State::of(flags >> 6),
            poll: flags & Self::POLL != 0,
            last: flags & Self::FINAL != 0,
            independent: flags & Self::INDEPENDENT != 0,
            authenticated,
            demand: flags & Self::DEMAND != 0,
            multiplier: *multiplier,
            my_discriminator: word(m0, m1, m2, m3),
            your_discriminator: word(y0, y1, y2, y3),
            desired_min_tx: word(t0, t1, t2, t3),
            required_min_rx: word(r0, r1, r2, r3),
            required_min_echo_rx: word(e0, e1, e2, e3),
        };
        if packet.my_discriminator == 0 {
            return Err(Malformed::MyDiscriminator);
        }
        if packet.your_discriminator == 0 && packet.state > State::Down {
            return Err(Malformed::YourDiscriminator);
        }
        if authenticated {
            let section = behind.get(..length - Self::LENGTH).ok_or(Malformed::Length)?;
            authentication(section)?;
        }
        Ok(packet)
    }

    /// The octets of a packet without authentication.
    pub fn encode(&self) -> [u8; Packet::LENGTH] {
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        let mut octets = [0; Packet::LENGTH];
        octets[0] = 1 << 5 | self.diagnostic.0 & 0x1f;
        octets[1] = (self.state as u8) << 6
            | flag(self.poll, Self::POLL)
            | flag(self.last, Self::FINAL)
            | flag(self.independent, Self::INDEPENDENT)
            | flag(self.demand, Self::DEMAND);
        octets[2] = self.multiplier;
        octets[3] = 24;
        let words = [
            self.my_discriminator,
            self.your_discriminator,
            self.desired_min_tx,
            self.required_min_rx,
            self.required_min_echo_rx,
        ];
        for (place, word) in octets[4..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        octets
    }
}

/// Form of the authentication section (RFC 5880 sections 4.2 to 4.4): the length of its type, which is all of the rest.
fn authentication(section: &[u8]) -> Result<(), Malformed> {
    let [kind, length, ..] = section else { return Err(Malformed::Authentication) };
    let fits = usize::from(*length) == section.len()
        && match kind {
            // Simple Password: key id and 1 to 16 octets.
            1 => (4..=19).contains(length),
            // Keyed MD5, Meticulous Keyed MD5.
            2 | 3 => *length == 24,
            // Keyed SHA1, Meticulous Keyed SHA1.
            4 | 5 => *length == 28,
            _ => false,
        };
    if fits { Ok(()) } else { Err(Malformed::Authentication) }
}
