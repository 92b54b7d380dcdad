//! Netlink messages as bytes: a builder that appends to one buffer, and iterators that never panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::Family;

/// Octets of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// Where in a header the octet of its flags is that has `NLM_F_ACK`.
const FLAGS: usize = if cfg!(target_endian = "little") { 6 } else { 7 };
/// `NLM_F_ACK`.
const ACK: u8 = 4;
const ATTRIBUTE: usize = 4;
/// Attribute types carry two flag bits (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const TYPE_MASK: u16 = 0x3fff;

/// One message that came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages of one datagram; ends early at a length that does not fit.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let payload = bytes.get(HEADER..length)?;
        let message =
            Message { kind: u16_at(bytes, 4)?, flags: u16_at(bytes, 6)?, sequence: u32_at(bytes, 8)?, payload };
        bytes = bytes.get(align(length)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes behind a fixed header; ends early at a length that does not fit.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & TYPE_MASK;
        let value = bytes.get(ATTRIBUTE..length)?;
        bytes = bytes.get(align(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(crate) const fn align(length: usize) -> usize {
    (length + 3) & !3
}

pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// An address of 4 or 16 octets.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(octets)));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
}

/// Text up to the first NUL.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.split(|byte| *byte == 0).next()?).ok()
}

/// `AF_INET` or `AF_INET6`.
pub(crate) const fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    }
}

/// Messages one behind the other, ready for one send.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where the message begins that is being written.
    start: usize,
    count: usize,
}

impl Batch {
    /// Begins a message: header and the fixed part of its kind.
    pub(crate) fn begin(&mut self, kind: u16, flags: u16, sequence: u32, fixed: &[u8]) {
        self.start = self.bytes.len();
        self.count += 1;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(fixed);
        self.pad();
    }

    /// Ends the message: writes its length.
    pub(crate) fn end(&mut self) {
        self.write_length(self.start, 4);
    }

    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    pub(crate) fn put_u8(&mut self, kind: u16, value: u8) {
        self.put(kind, &[value]);
    }

    pub(crate) fn put_u32(&mut self, kind: u16, value: u32) {
        self.put(kind, &value.to_ne_bytes());
    }

    pub(crate) fn put_text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes);
    }

    pub(crate) fn put_address(&mut self, kind: u16, value: &IpAddr) {
        match value {
            IpAddr::V4(address) => self.put(kind, &address.octets()),
            IpAddr::V6(address) => self.put(kind, &address.octets()),
        }
    }

    /// Attributes inside an attribute.
    pub(crate) fn nest(&mut self, kind: u16, inner: impl FnOnce(&mut Batch)) {
        let start = self.bytes.len();
        self.put(kind | libc::NLA_F_NESTED as u16, &[]);
        inner(self);
        self.write_length(start, 2);
    }

    /// Leaves the last message alone to ask for an answer (`NLM_F_ACK`). A message that fails is answered anyway.
    pub(crate) fn ask_answer_to_last(&mut self) {
        let mut at = 0;
        while let Some(length) = u32_at(&self.bytes, at).and_then(|length| usize::try_from(length).ok()) {
            if let Some(flags) = self.bytes.get_mut(at + FLAGS) {
                *flags = match at == self.start {
                    true => *flags | ACK,
                    false => *flags & !ACK,
                };
            }
            at += align(length.max(HEADER));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn pad(&mut self) {
        self.bytes.resize(align(self.bytes.len()), 0);
    }

    fn write_length(&mut self, start: usize, width: usize) {
        let length = self.bytes.len() - start;
        match width {
            2 => {
                let length = u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes();
                self.bytes[start..start + 2].copy_from_slice(&length);
            }
            _ => {
                let length = u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes();
                self.bytes[start..start + 4].copy_from_slice(&length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_back() {
        let mut batch = Batch::default();
        batch.begin(24, 0x205, 7, &[1, 2, 3, 4, 5]);
        batch.put_u8(1, 9);
        batch.nest(18, |nest| {
            nest.put_text(1, "vxlan");
            nest.put_u32(2, 77);
        });
        batch.end();
        batch.begin(25, 0, 8, &[]);
        batch.end();
        let found: Vec<_> = messages(batch.bytes()).collect();
        assert_eq!((found.len(), batch.count()), (2, 2));
        assert_eq!((found[0].kind, found[0].flags, found[0].sequence), (24, 0x205, 7));
        let attrs: Vec<_> = attributes(&found[0].payload[8..]).collect();
        assert_eq!(attrs[0], (1, &[9u8][..]));
        assert_eq!(attrs[1].0, 18);
        let inner: Vec<_> = attributes(attrs[1].1).collect();
        assert_eq!(text(inner[0].1), Some("vxlan"));
        assert_eq!(u32_at(inner[1].1, 0), Some(77));
        assert!(found[1].payload.is_empty());
        batch.ask_answer_to_last();
        let flags: Vec<u16> = messages(batch.bytes()).map(|message| message.flags).collect();
        assert_eq!(flags, [0x201, 5]);
    }

    #[test]
    fn lengths_that_lie_end_the_walk() {
        assert_eq!(messages(&[200, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(messages(&[3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).count(), 0);
        assert_eq!(messages(&[16, 0, 0]).count(), 0);
        assert_eq!(attributes(&[0, 0, 1, 0, 5, 5]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[9, 0, 1, 0, 5]).count(), 0);
        assert_eq!(attributes(&[5, 0, 1, 0, 5]).collect::<Vec<_>>(), [(1, &[5u8][..])]);
    }
}
