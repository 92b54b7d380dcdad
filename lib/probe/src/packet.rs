//! The probe packet: one UDP payload.
//!
//! ```text
//!  0       4    5     6     7      8      12     14    16        24        32
//!  | magic | v | kind | size | 0 | run   | from | to  | sequence | sent ns | filling ...
//! ```
//! Big endian. The filling is a function of the sequence number and the place in the packet, so that a packet put
//! together from two others, or cut and padded, is found.

/// Octets before the filling.
pub const HEADER: usize = 32;

const MAGIC: u32 = 0x4250_4c4e;
const VERSION: u8 = 1;

/// What a packet asks of its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not counted: tells whether a path works at all; answered.
    Hello,
    /// Answer to a hello.
    Welcome,
    /// Counted.
    Probe,
    /// Counted, and answered so that its sender learns the round-trip time.
    Sounding,
    /// Answer to a sounding.
    Echo,
}

/// The head of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it asks.
    pub kind: Kind,
    /// Index of the flow's size class.
    pub size: u8,
    /// Which run of the lab's probes it belongs to: late packets of an earlier run are not counted in this one.
    pub run: u32,
    /// Sending place.
    pub from: u16,
    /// Receiving place.
    pub to: u16,
    /// Number in its flow, from 0.
    pub sequence: u64,
    /// When it was sent, nanoseconds of CLOCK_MONOTONIC.
    pub sent: u64,
}

/// Why a datagram is no packet of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not ours at all.
    #[error("not a probe")]
    Foreign,
    /// Ours, but its filling is not what its sender wrote.
    #[error("a probe whose filling was altered")]
    Altered,
}

impl Packet {
    /// Writes head and filling over all of `buffer`, which is at least [`HEADER`] long.
    pub fn encode(&self, buffer: &mut [u8]) {
        buffer[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        buffer[4] = VERSION;
        buffer[5] = self.kind as u8;
        buffer[6] = self.size;
        buffer[7] = 0;
        buffer[8..12].copy_from_slice(&self.run.to_be_bytes());
        buffer[12..14].copy_from_slice(&self.from.to_be_bytes());
        buffer[14..16].copy_from_slice(&self.to.to_be_bytes());
        buffer[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        buffer[24..32].copy_from_slice(&self.sent.to_be_bytes());
        for (place, octet) in buffer[HEADER..].iter_mut().enumerate() {
            *octet = filling(self.sequence, place);
        }
    }

    /// Reads head and filling.
    pub fn decode(datagram: &[u8]) -> Result<Packet, Fault> {
        let word = |at: usize| datagram.get(at..at + 4).and_then(|w| w.try_into().ok()).map(u32::from_be_bytes);
        let long = |at: usize| datagram.get(at..at + 8).and_then(|w| w.try_into().ok()).map(u64::from_be_bytes);
        let half = |at: usize| datagram.get(at..at + 2).and_then(|w| w.try_into().ok()).map(u16::from_be_bytes);
        let read = || {
            if word(0)? != MAGIC || *datagram.get(4)? != VERSION {
                return None;
            }
            let kind = [Kind::Hello, Kind::Welcome, Kind::Probe, Kind::Sounding, Kind::Echo]
                .into_iter()
                .find(|kind| *kind as u8 == datagram[5])?;
            Some(Packet {
                kind,
                size: *datagram.get(6)?,
                run: word(8)?,
                from: half(12)?,
                to: half(14)?,
                sequence: long(16)?,
                sent: long(24)?,
            })
        };
        let packet = read().ok_or(Fault::Foreign)?;
        let whole =
            datagram[HEADER..].iter().enumerate().all(|(place, octet)| *octet == filling(packet.sequence, place));
        if whole { Ok(packet) } else { Err(Fault::Altered) }
    }
}

fn filling(sequence: u64, place: usize) -> u8 {
    (sequence as u8).wrapping_mul(31).wrapping_add(place as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn comes_back_and_notices_one_altered_octet(
            (size, run, from, to) in any::<(u8, u32, u16, u16)>(),
            (sequence, sent) in any::<(u64, u64)>(),
            extra in 1usize..1500,
            hit in any::<prop::sample::Index>(),
        ) {
            let packet = Packet { kind: Kind::Sounding, size, run, from, to, sequence, sent };
            let mut buffer = vec![0; HEADER + extra];
            packet.encode(&mut buffer);
            prop_assert_eq!(Packet::decode(&buffer), Ok(packet));
            buffer[HEADER + hit.index(extra)] ^= 0x40;
            prop_assert_eq!(Packet::decode(&buffer), Err(Fault::Altered));
        }

        #[test]
        fn any_octets_are_survived(datagram in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Packet::decode(&datagram), Err(Fault::Foreign));
        }
    }
}
