//! Routes as a router tells them: groups of prefixes behind one set of attributes, kept as octets so that they go out as
//! they came in, right or wrong.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};
use model::{Asn, Family, Prefix};

/// Which of the feeder's addresses is the next hop: 0 or 1.
pub(super) type Gateway = usize;

/// Longest message.
const MESSAGE: usize = 4096;
const HEADER: usize = 19;
const UPDATE: u8 = 2;

const AS_PATH: u8 = 2;
const NEXT_HOP: u8 = 3;
const MP_REACH: u8 = 14;
const MP_UNREACH: u8 = 15;
const EXTENDED: u8 = 0x10;
const SEQUENCE: u8 = 2;

/// Prefixes of one family that share all attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Attributes as on the wire with four-octet AS numbers, without NEXT_HOP, MP_REACH_NLRI and MP_UNREACH_NLRI.
    pub(super) attributes: Vec<u8>,
    /// Whom packets are sent to.
    pub(super) gateway: Gateway,
    /// All of one family.
    pub(super) prefixes: Vec<Prefix>,
}

/// What a router says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// These are announced, or announced anew.
    Announce(Group),
    /// These, of one family, go.
    Withdraw(Vec<Prefix>),
}

/// One attribute of a list of them.
pub(super) struct Attribute<'a> {
    /// Flags octet.
    pub(super) flags: u8,
    /// Type code.
    pub(super) code: u8,
    /// Value.
    pub(super) value: &'a [u8],
}

/// Splits a list of attributes; what follows a broken one is left out.
pub(super) fn attributes(mut octets: &[u8]) -> Vec<Attribute<'_>> {
    let mut found = Vec::new();
    while let [flags, code, rest @ ..] = octets {
        let (length, rest) = match rest {
            [high, low, rest @ ..] if flags & EXTENDED != 0 => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            [length, rest @ ..] if flags & EXTENDED == 0 => (usize::from(*length), rest),
            _ => break,
        };
        let Some((value, rest)) = rest.split_at_checked(length) else { break };
        found.push(Attribute { flags: *flags, code: *code, value });
        octets = rest;
    }
    found
}

/// Adds one attribute to a list.
pub(super) fn put(octets: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    if length > 255 || flags & EXTENDED != 0 {
        octets.extend_from_slice(&[flags | EXTENDED, code]);
        octets.extend_from_slice(&length.to_be_bytes());
    } else {
        octets.extend_from_slice(&[flags, code, length as u8]);
    }
    octets.extend_from_slice(value);
}

/// The attributes of `octets` that a [`Group`] keeps, with `first` in front of AS_PATH: it is the feeder's session.
pub(super) fn kept(octets: &[u8], first: Asn) -> Vec<u8> {
    let mut all = Vec::with_capacity(octets.len() + 6);
    for Attribute { flags, code, value } in attributes(octets) {
        match code {
            NEXT_HOP | MP_REACH | MP_UNREACH => {}
            AS_PATH => put(&mut all, flags, code, &prepended(value, first)),
            _ => put(&mut all, flags, code, value),
        }
    }
    all
}

fn prepended(path: &[u8], first: Asn) -> Vec<u8> {
    let asn = first.0.to_be_bytes();
    match path {
        [SEQUENCE, count @ 1..=254, rest @ ..] => [&[SEQUENCE, count + 1][..], &asn, rest].concat(),
        _ => [&[SEQUENCE, 1][..], &asn, path].concat(),
    }
}

/// AS numbers of AS_PATH, four octets each.
pub(super) fn path(octets: &[u8]) -> Vec<Asn> {
    let all = attributes(octets);
    let Some(mut value) = all.iter().find(|attribute| attribute.code == AS_PATH).map(|attribute| attribute.value)
    else {
        return Vec::new();
    };
    let mut ases = Vec::new();
    while let [_, count, rest @ ..] = value {
        let Some((segment, rest)) = rest.split_at_checked(usize::from(*count) * 4) else { break };
        ases.extend(segment.chunks_exact(4).map(|asn| Asn(u32::from_be_bytes([asn[0], asn[1], asn[2], asn[3]]))));
        value = rest;
    }
    ases
}

/// The messages of a step.
///
/// # Errors
/// Attributes that fill a message.
pub(super) fn messages(step: &Step, gateways: &[(Ipv4Addr, Ipv6Addr); 2], out: &mut Vec<u8>) -> Result<usize> {
    let mut count = 0;
    let (prefixes, group) = match step {
        Step::Announce(group) => (&group.prefixes, Some(group)),
        Step::Withdraw(prefixes) => (prefixes, None),
    };
    let Some(family) = prefixes.first().map(Prefix::family) else { return Ok(0) };
    let (v4, v6) = gateways[group.map_or(0, |group| group.gateway.min(1))];
    let mut own = Vec::new();
    // What stands in front of the prefixes inside of MP_REACH_NLRI or MP_UNREACH_NLRI.
    let mut front = Vec::new();
    if let Some(group) = group {
        own.clone_from(&group.attributes);
        match family {
            Family::V4 => put(&mut own, 0x40, NEXT_HOP, &v4.octets()),
            Family::V6 => {
                front = vec![0, 2, 1, 16];
                front.extend_from_slice(&v6.octets());
                front.push(0);
            }
        }
    } else if family == Family::V6 {
        front = vec![0, 2, 1];
    }
    let Some(room) = (MESSAGE - HEADER - 8).checked_sub(own.len() + front.len()).filter(|room| *room > 17) else {
        bail!("{} octets of attributes leave no room for a prefix", own.len());
    };
    let mut rest = &prefixes[..];
    while !rest.is_empty() {
        let mut nlri = Vec::new();
        while let [prefix, behind @ ..] = rest {
            if nlri.len() + 17 > room {
                break;
            }
            put_prefix(&mut nlri, prefix);
            rest = behind;
        }
        let mut body = Vec::with_capacity(4 + own.len() + nlri.len());
        let mut all = own.clone();
        match (family, group.is_some()) {
            (Family::V4, true) => section(&mut body, &[]),
            (Family::V4, false) => section(&mut body, &nlri),
            (Family::V6, announced) => {
                section(&mut body, &[]);
                let value = [&front[..], &nlri].concat();
                put(&mut all, 0x80 | EXTENDED, if announced { MP_REACH } else { MP_UNREACH }, &value);
            }
        }
        section(&mut body, &all);
        if family == Family::V4 && group.is_some() {
            body.extend_from_slice(&nlri);
        }
        out.extend_from_slice(&[0xff; 16]);
        out.extend_from_slice(&u16::try_from(HEADER + body.len())?.to_be_bytes());
        out.push(UPDATE);
        out.extend_from_slice(&body);
        count += 1;
    }
    Ok(count)
}

/// Two octets of length, and what they count.
fn section(body: &mut Vec<u8>, octets: &[u8]) {
    body.extend_from_slice(&u16::try_from(octets.len()).unwrap_or(u16::MAX).to_be_bytes());
    body.extend_from_slice(octets);
}

fn put_prefix(octets: &mut Vec<u8>, prefix: &Prefix) {
    let address = match prefix.address() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    octets.push(prefix.len());
    octets.extend_from_slice(&address[..usize::from(prefix.len()).div_ceil(8)]);
}

/// What a router that believes all that is said, and is right about it, has in its table: prefix and gateway.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// By prefix.
    pub(super) routes: BTreeMap<Prefix, Gateway>,
    /// Prefixes that were announced in a way that must be refused, and are still.
    pub(super) refused: std::collections::BTreeSet<Prefix>,
    /// Messages so far with AS 0 on their path: errors that the daemon has to count.
    pub(super) as_zero: usize,
}

impl Expected {
    /// Takes in what is said, in so many messages.
    pub(super) fn apply(&mut self, step: &Step, messages: usize, own: Asn) {
        match step {
            Step::Withdraw(prefixes) => {
                for prefix in prefixes {
                    self.routes.remove(prefix);
                    self.refused.remove(prefix);
                }
            }
            Step::Announce(group) => {
                let path = path(&group.attributes);
                // RFC 7607: AS 0 on the path makes it a withdrawal. RFC 4271 section 9.1.2: our own AS is a loop.
                let zero = path.contains(&Asn(0));
                let refused = zero || path.contains(&own);
                self.as_zero += if zero { messages } else { 0 };
                for prefix in &group.prefixes {
                    if refused {
                        self.routes.remove(prefix);
                        self.refused.insert(*prefix);
                    } else {
                        self.refused.remove(prefix);
                        self.routes.insert(*prefix, group.gateway);
                    }
                }
            }
        }
    }

    /// Prefixes of a family.
    pub(super) fn count(&self, family: Family) -> usize {
        self.routes.keys().filter(|prefix| prefix.family() == family).count()
    }
}

#[cfg(test)]
mod tests {
    use wire::{Message, Negotiated};

    use super::*;

    #[test]
    fn the_messages_say_what_the_steps_say() {
        let session =
            Negotiated { four_octet_as: true, families: [Family::V4, Family::V6].into(), ..Negotiated::default() };
        let mut attributes = Vec::new();
        put(&mut attributes, 0x40, 1, &[0]);
        put(&mut attributes, 0x40, 2, &[2, 1, 0, 0, 0, 9]);
        let attributes = kept(&attributes, Asn(65001));
        assert_eq!(path(&attributes), [Asn(65001), Asn(9)]);
        let gateways = [0, 1].map(|n| (Ipv4Addr::new(10, 0, 0, n), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n.into())));
        let v4: Vec<Prefix> =
            (0..3000u32).filter_map(|n| Prefix::new(Ipv4Addr::from(0x1400_0000 | n << 8).into(), 24)).collect();
        let v6: Vec<Prefix> =
            (0..3000u16).filter_map(|n| Prefix::new(Ipv6Addr::new(0x2001, n, 0, 0, 0, 0, 0, 0).into(), 48)).collect();
        for (prefixes, gateway) in [(v4, 0), (v6, 1)] {
            let group = Group { attributes: attributes.clone(), gateway, prefixes: prefixes.clone() };
            for step in [Step::Announce(group), Step::Withdraw(prefixes.clone())] {
                let mut octets = Vec::new();
                let count = messages(&step, &gateways, &mut octets).unwrap();
                let (mut said, mut rest, mut seen) = (Vec::new(), &octets[..], 0);
                while let Some(length) = wire::frame_length(rest, wire::MAX_MESSAGE).unwrap() {
                    let (message, behind) = rest.split_at(length);
                    rest = behind;
                    seen += 1;
                    let Message::Update(update) = wire::decode(message, &session).unwrap() else { panic!("no UPDATE") };
                    assert!(update.errors.is_empty(), "{:?}", update.errors);
                    said.extend(update.withdrawn.iter().map(|it| it.prefix));
                    said.extend(update.announced.iter().map(|it| it.prefix));
                    let hops: Vec<IpAddr> = update.announced.iter().map(|it| it.next_hop).collect();
                    let hop = if gateway == 0 { IpAddr::V4(gateways[0].0) } else { IpAddr::V6(gateways[1].1) };
                    assert!(hops.iter().all(|it| *it == hop));
                }
                assert_eq!((said, seen), (prefixes.clone(), count));
            }
        }
    }

    #[test]
    fn as_0_and_loops_are_refused_and_withdraw_what_was_there() {
        let prefix = Prefix::new(Ipv4Addr::new(20, 0, 0, 0).into(), 24).unwrap();
        let announce = |ases: &[u32]| {
            let mut value = vec![2, ases.len() as u8];
            ases.iter().for_each(|asn| value.extend_from_slice(&asn.to_be_bytes()));
            let mut attributes = Vec::new();
            put(&mut attributes, 0x40, 2, &value);
            Step::Announce(Group { attributes, gateway: 0, prefixes: vec![prefix] })
        };
        let mut expected = Expected::default();
        expected.apply(&announce(&[1, 2]), 1, Asn(7));
        assert_eq!(expected.routes.len(), 1);
        for path in [[1, 0], [7, 1]] {
            expected.apply(&announce(&path), 3, Asn(7));
            assert_eq!((expected.routes.len(), expected.refused.len(), expected.as_zero), (0, 1, 3));
        }
        expected.apply(&Step::Withdraw(vec![prefix]), 1, Asn(7));
        assert!(expected.refused.is_empty());
    }
}
