//! Prefixes on the wire (RFC 4271 section 4.3, RFC 4760 section 5), with path identifiers where they were negotiated
//! (RFC 7911 section 3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use ipnet::{Ipv4Net, Ipv6Net};
use model::{Family, Prefix};

use crate::{DecodeError, Notification, code};

/// Octets of a path identifier.
const PATH_ID: usize = 4;

/// Reads prefixes one by one; after an error there is nothing more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    family: Family,
    add_path: bool,
}

impl<'a> Reader<'a> {
    /// `add_path`: each prefix has a path identifier in front.
    pub(crate) const fn new(octets: &'a [u8], family: Family, add_path: bool) -> Reader<'a> {
        Reader { rest: octets, family, add_path }
    }

    /// At most so many prefixes are left; for room in a list.
    pub(crate) const fn most(&self) -> usize {
        // A guess on the safe side of the usual: three octets of address and the length.
        self.rest.len() / 4
    }

    fn read(&mut self) -> Result<(Prefix, u32), DecodeError> {
        let start = self.rest;
        let mut rest = start;
        let mut path_id = 0;
        if self.add_path {
            let (id, behind) =
                rest.split_first_chunk::<PATH_ID>().ok_or_else(|| broken(start, "path identifier is cut"))?;
            path_id = u32::from_be_bytes(*id);
            rest = behind;
        }
        let (&length, rest) = rest.split_first().ok_or_else(|| broken(start, "prefix without a length"))?;
        let most = match self.family {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        if length > most {
            return Err(broken(start, "prefix length is too long for its family"));
        }
        let (octets, rest) =
            rest.split_at_checked(usize::from(length.div_ceil(8))).ok_or_else(|| broken(start, "prefix is cut"))?;
        self.rest = rest;
        // Bits behind the length are irrelevant (RFC 4271 section 4.3); `Prefix` clears them.
        let prefix = match self.family {
            Family::V4 => {
                let mut address = [0; 4];
                fill(&mut address, octets);
                Prefix::from(Ipv4Net::new(Ipv4Addr::from(address), length).unwrap_or_default())
            }
            Family::V6 => {
                let mut address = [0; 16];
                fill(&mut address, octets);
                Prefix::from(Ipv6Net::new(Ipv6Addr::from(address), length).unwrap_or_default())
            }
        };
        Ok((prefix, path_id))
    }
}

impl Iterator for Reader<'_> {
    /// A prefix and its path identifier, 0 without add-path; or 3/10.
    type Item = Result<(Prefix, u32), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.rest = &[];
        }
        Some(read)
    }
}

/// What is there, from the left.
fn fill(address: &mut [u8], octets: &[u8]) {
    for (to, from) in address.iter_mut().zip(octets) {
        *to = *from;
    }
}

/// 3/10 with the prefix that cannot be read, at most as long as a prefix can be.
fn broken(at: &[u8], what: &str) -> DecodeError {
    let octets = &at[..at.len().min(PATH_ID + 17)];
    DecodeError {
        notification: Notification::new(code::UPDATE, 10, Bytes::copy_from_slice(octets)),
        what: format!("{what}, octets {octets:02x?}"),
    }
}

/// Octets that a prefix takes.
pub(crate) fn size(prefix: &Prefix, add_path: bool) -> usize {
    let id = if add_path { PATH_ID } else { 0 };
    id + 1 + usize::from(prefix.len().div_ceil(8))
}

/// Writes one prefix.
pub(crate) fn put(into: &mut Vec<u8>, prefix: &Prefix, path_id: u32, add_path: bool) {
    if add_path {
        into.extend_from_slice(&path_id.to_be_bytes());
    }
    into.push(prefix.len());
    let used = usize::from(prefix.len().div_ceil(8));
    match prefix.address() {
        IpAddr::V4(address) => into.extend_from_slice(&address.octets()[..used]),
        IpAddr::V6(address) => into.extend_from_slice(&address.octets()[..used]),
    }
}

/// Writes many.
pub(crate) fn list<'a>(prefixes: impl IntoIterator<Item = &'a (Prefix, u32)>, add_path: bool) -> Vec<u8> {
    let mut octets = Vec::new();
    for (prefix, path_id) in prefixes {
        put(&mut octets, prefix, *path_id, add_path);
    }
    octets
}
