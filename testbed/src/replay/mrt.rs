//! MRT files (RFC 6396): the table of one peer of a collector, and the messages that follow it.
//!
//! The framing is read here and attributes stay octets: a route that is wrong in the file must reach the daemon as wrong as
//! it is, which no library that parses them keeps.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result, bail};
use model::{Asn, Family, Prefix};

use super::table::{Group, Step, attributes, kept};

const TABLE_DUMP_V2: u16 = 13;
const PEER_INDEX_TABLE: u16 = 1;
const RIB_IPV4: u16 = 2;
const RIB_IPV6: u16 = 4;
const BGP4MP: u16 = 16;
const BGP4MP_ET: u16 = 17;
const MESSAGE_AS4: u16 = 4;
/// No record of a collector is longer.
const LONGEST: usize = 1 << 20;

/// What a file holds, as far as it is of use.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// The table of the peer with the most routes, in groups that share attributes.
    pub(super) table: Vec<Step>,
    /// What was said afterwards by whoever.
    pub(super) messages: Vec<Step>,
    /// Records of other kinds, routes of other peers, prefixes that nobody routes.
    pub(super) passed_over: usize,
}

/// Reads a file; `.gz` and `.bz2` are unpacked. `first` goes in front of every AS path.
///
/// # Errors
/// A file that cannot be read, or is no MRT.
pub(super) fn read(file: &Path, first: Asn) -> Result<Contents> {
    let named = || format!("{}", file.display());
    let mut raw = BufReader::new(File::open(file).with_context(named)?);
    let mut magic = [0; 3];
    let length = raw.read(&mut magic).with_context(named)?;
    let whole = std::io::Cursor::new(magic[..length].to_vec()).chain(raw);
    let unpacked: Box<dyn Read> = match &magic {
        [0x1f, 0x8b, _] => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        b"BZh" => Box::new(bzip2::read::MultiBzDecoder::new(whole)),
        _ => Box::new(whole),
    };
    contents(BufReader::new(unpacked), first).with_context(named)
}

/// Prefixes by family and attributes.
type Routes = BTreeMap<(Family, Vec<u8>), Vec<Prefix>>;

fn contents(mut input: impl Read, first: Asn) -> Result<Contents> {
    let mut found = Contents::default();
    // Routes of each peer; their attributes are shared, as many routes have the same.
    let mut peers: BTreeMap<u16, Routes> = BTreeMap::new();
    let mut records = 0usize;
    while let Some((kind, subtype, body)) = record(&mut input, records)? {
        records += 1;
        match (kind, subtype) {
            (TABLE_DUMP_V2, RIB_IPV4 | RIB_IPV6) => {
                let family = if subtype == RIB_IPV4 { Family::V4 } else { Family::V6 };
                let place = || format!("record {records}, RIB entry");
                let entries = rib(&body, family).with_context(place)?;
                for (peer, prefix, octets) in entries {
                    if is_routed(&prefix) {
                        peers.entry(peer).or_default().entry((family, kept(octets, first))).or_default().push(prefix);
                    } else {
                        found.passed_over += 1;
                    }
                }
            }
            (TABLE_DUMP_V2, PEER_INDEX_TABLE) => {}
            (BGP4MP, MESSAGE_AS4) => message(&body, first, &mut found),
            // Microseconds come first.
            (BGP4MP_ET, MESSAGE_AS4) => message(body.get(4..).unwrap_or_default(), first, &mut found),
            _ => found.passed_over += 1,
        }
    }
    if records == 0 {
        bail!("no MRT record is in it");
    }
    let count = |groups: &BTreeMap<_, Vec<Prefix>>| groups.values().map(Vec::len).sum::<usize>();
    let best = peers.iter().max_by_key(|(_, groups)| count(groups)).map(|(peer, _)| *peer);
    for (peer, groups) in peers {
        if Some(peer) != best {
            found.passed_over += count(&groups);
            continue;
        }
        let step = |((_, attributes), prefixes)| Step::Announce(Group { attributes, gateway: 0, prefixes });
        found.table = groups.into_iter().map(step).collect();
    }
    Ok(found)
}

/// Type, subtype and body of the next record; `None` at the end.
fn record(input: &mut impl Read, number: usize) -> Result<Option<(u16, u16, Vec<u8>)>> {
    let mut header = [0; 12];
    let mut have = 0;
    while have < header.len() {
        match input.read(&mut header[have..])? {
            0 if have == 0 => return Ok(None),
            0 => bail!("the file ends inside of the header of record {}", number + 1),
            length => have += length,
        }
    }
    let [_, _, _, _, kind @ .., l0, l1, l2, l3] = header;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > LONGEST {
        bail!("record {} is {length} octets long, expected at most {LONGEST}: this is no MRT file", number + 1);
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).with_context(|| format!("record {}", number + 1))?;
    Ok(Some((u16::from_be_bytes([kind[0], kind[1]]), u16::from_be_bytes([kind[2], kind[3]]), body)))
}

/// Reads numbers and slices off the front.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (front, behind) = self.0.split_at_checked(length)?;
        self.0 = behind;
        Some(front)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn prefix(&mut self, family: Family) -> Option<Prefix> {
        let len = *self.take(1)?.first()?;
        let octets = self.take(usize::from(len).div_ceil(8))?;
        let mut whole = [0; 16];
        whole.get_mut(..octets.len())?.copy_from_slice(octets);
        let address = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&whole[..4]).ok()?)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(whole)),
        };
        Prefix::new(address, len)
    }

    fn prefixes(mut self, family: Family) -> Vec<Prefix> {
        let mut all = Vec::new();
        while !self.0.is_empty() {
            let Some(prefix) = self.prefix(family) else { break };
            all.push(prefix);
        }
        all
    }
}

/// Peer, prefix and attributes of each entry (RFC 6396 section 4.3.4).
fn rib(body: &[u8], family: Family) -> Result<Vec<(u16, Prefix, &[u8])>> {
    let mut octets = Octets(body);
    let short = "it is too short";
    octets.take(4).context(short)?;
    let prefix = octets.prefix(family).context("it has no prefix")?;
    let count = octets.u16().context(short)?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let peer = octets.u16().context(short)?;
        octets.take(4).context(short)?;
        let length = octets.u16().context(short)?;
        entries.push((peer, prefix, octets.take(usize::from(length)).context(short)?));
    }
    Ok(entries)
}

/// An UPDATE in a record (RFC 6396 section 4.4.3); others are passed over.
fn message(body: &[u8], first: Asn, found: &mut Contents) {
    let before = found.messages.len();
    if update(body, first, found).is_none() || found.messages.len() == before {
        found.passed_over += 1;
    }
}

fn update(body: &[u8], first: Asn, found: &mut Contents) -> Option<()> {
    let mut octets = Octets(body);
    octets.take(10)?;
    // Addresses of both ends: 4 or 16 octets each.
    let family = octets.u16()?;
    octets.take(if family == 1 { 8 } else { 32 })?;
    octets.take(18)?;
    if octets.take(1)? != [2] {
        return None;
    }
    let withdrawn = octets.u16()?;
    let withdrawn = Octets(octets.take(usize::from(withdrawn))?).prefixes(Family::V4);
    let length = octets.u16()?;
    let list = octets.take(usize::from(length))?;
    let announced = octets.prefixes(Family::V4);
    let mut said = vec![(Family::V4, withdrawn, announced)];
    for attribute in attributes(list) {
        let mut value = Octets(attribute.value);
        match attribute.code {
            14 => {
                let family = unicast(&mut value)?;
                let hop = *value.take(1)?.first()?;
                value.take(usize::from(hop) + 1)?;
                said.push((family, Vec::new(), value.prefixes(family)));
            }
            15 => {
                let family = unicast(&mut value)?;
                said.push((family, value.prefixes(family), Vec::new()));
            }
            _ => {}
        }
    }
    for (_, mut withdrawn, mut announced) in said {
        withdrawn.retain(is_routed);
        announced.retain(is_routed);
        if !withdrawn.is_empty() {
            found.messages.push(Step::Withdraw(withdrawn));
        }
        if !announced.is_empty() {
            let group = Group { attributes: kept(list, first), gateway: 1, prefixes: announced };
            found.messages.push(Step::Announce(group));
        }
    }
    Some(())
}

fn unicast(value: &mut Octets<'_>) -> Option<Family> {
    match value.take(3)? {
        [0, 1, 1] => Some(Family::V4),
        [0, 2, 1] => Some(Family::V6),
        _ => None,
    }
}

/// Of the public tables: no default route, nothing that is local, private or multicast, among which the lab's own
/// addresses are.
pub(super) fn is_routed(prefix: &Prefix) -> bool {
    match prefix.address() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let local = matches!(first, 0 | 10 | 127) || (first, second) == (169, 254);
            prefix.len() >= 8 && !local && first < 224
        }
        IpAddr::V6(v6) => prefix.len() >= 16 && v6.segments()[0] & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_mrt_or_end_early_are_refused() {
        for (octets, words) in [
            (&b""[..], "no MRT record"),
            (&b"0123456789ab"[..], "no MRT file"),
            (&[0; 5][..], "ends inside of the header"),
            (&[0, 0, 0, 0, 0, 13, 0, 2, 0, 0, 0, 9, 1][..], "record 1"),
        ] {
            let error = format!("{:#}", contents(octets, Asn(1)).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
        let short = [0, 0, 0, 0, 0, 13, 0, 2, 0, 0, 0, 4, 0, 0, 0, 0];
        assert!(contents(&short[..], Asn(1)).is_err(), "a RIB entry without a prefix");
    }
}
