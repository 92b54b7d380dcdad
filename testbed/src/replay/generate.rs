//! A full table as the Internet's are: lengths of prefixes, lengths of paths, and how many prefixes share their attributes
//! are spread as in the public tables of recent years. The same numbers give the same table.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use model::{Asn, Family, Prefix};

use super::mrt::is_routed;
use super::table::{Group, Step, put};
use crate::bench::feeder::{ASN, Chance};

/// Per mille of the prefixes of a length, cumulated.
const V4: &[(u8, u32)] = &[
    (24, 598),
    (23, 701),
    (22, 816),
    (21, 868),
    (20, 913),
    (19, 941),
    (18, 956),
    (17, 965),
    (16, 979),
    (15, 981),
    (14, 983),
    (13, 984),
    (12, 985),
    (11, 986),
    (10, 987),
    (9, 988),
    (8, 989),
    (24, 1000),
];
const V6: &[(u8, u32)] = &[
    (48, 470),
    (32, 600),
    (44, 690),
    (40, 780),
    (36, 840),
    (46, 880),
    (42, 910),
    (47, 930),
    (29, 965),
    (33, 980),
    (34, 990),
    (28, 995),
    (48, 1000),
];

/// How many of a thousand groups have AS 0 on their path. In public data they are a few in all.
const AS_ZERO: u32 = 1;

/// `count` prefixes, one IPv6 among ten, behind groups of attributes; with a few that must be refused.
pub(super) fn table(count: u32) -> Vec<Step> {
    let mut chance = Chance(0x51c4_7a9b_2f0d_e863);
    let v6 = count / 11;
    let mut steps = Vec::new();
    for (family, many) in [(Family::V4, count - v6), (Family::V6, v6)] {
        let prefixes = prefixes(family, many, &mut chance);
        let mut rest = &prefixes[..];
        while !rest.is_empty() {
            let (front, behind) = rest.split_at(rest.len().min(shared(&mut chance)));
            rest = behind;
            let gateway = chance.below(2) as usize;
            let attributes = attributes(&mut chance, steps.len() % 1000 < AS_ZERO as usize);
            steps.push(Step::Announce(Group { attributes, gateway, prefixes: front.to_vec() }));
        }
    }
    steps
}

/// `count` changes of a table: other attributes, withdrawals, and what was withdrawn again; some are made wrong.
pub(super) fn churn(table: &[Step], count: u32) -> Vec<Step> {
    let mut chance = Chance(0x0f1e_2d3c_4b5a_6978);
    let groups: Vec<&Group> = table
        .iter()
        .filter_map(|step| match step {
            Step::Announce(group) => Some(group),
            Step::Withdraw(_) => None,
        })
        .collect();
    if groups.is_empty() {
        return Vec::new();
    }
    let (mut steps, mut changed, mut gone) = (Vec::new(), 0, Vec::new());
    while changed < count {
        let group = groups[chance.below(groups.len() as u32) as usize];
        let from = chance.below(group.prefixes.len() as u32) as usize;
        let to = group.prefixes.len().min(from + 1 + chance.below(8) as usize);
        let prefixes = group.prefixes[from..to].to_vec();
        changed += prefixes.len() as u32;
        let anew = |prefixes, chance: &mut Chance, zero| {
            let gateway = chance.below(2) as usize;
            Step::Announce(Group { attributes: attributes(chance, zero), gateway, prefixes })
        };
        match chance.below(10) {
            0..5 => steps.push(anew(prefixes, &mut chance, false)),
            5..8 => {
                steps.push(Step::Withdraw(prefixes.clone()));
                gone.push(prefixes);
            }
            8 => {
                let back: Vec<Prefix> = gone.pop().unwrap_or(prefixes);
                steps.push(anew(back, &mut chance, false));
            }
            _ => {
                let zero = chance.below(20) == 0;
                steps.push(anew(prefixes, &mut chance, zero));
            }
        }
    }
    steps
}

fn prefixes(family: Family, count: u32, chance: &mut Chance) -> Vec<Prefix> {
    let mut met = HashSet::new();
    let mut all = Vec::new();
    while all.len() < count as usize {
        let number = chance.below(1000);
        let lengths = if family == Family::V4 { V4 } else { V6 };
        let Some((len, _)) = lengths.iter().find(|(_, bound)| number < *bound) else { continue };
        let (high, low) = (chance.below(u32::MAX), chance.below(u32::MAX));
        let address = match family {
            Family::V4 => Ipv4Addr::from(high).into(),
            Family::V6 => {
                let top = [0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00][chance.below(6) as usize];
                let [a, b, c, d] = [high >> 16, high & 0xffff, low >> 16, low & 0xffff].map(|n| n as u16);
                Ipv6Addr::new(top | a & 0x01ff, b, c, d, 0, 0, 0, 0).into()
            }
        };
        if let Some(prefix) = Prefix::new(address, *len).filter(is_routed).filter(|prefix| met.insert(*prefix)) {
            all.push(prefix);
        }
    }
    all
}

/// How many prefixes share their attributes: most few, some hundreds; eleven or twelve in the mean.
fn shared(chance: &mut Chance) -> usize {
    let bound = match chance.below(100) {
        0..45 => 1,
        45..75 => 4,
        75..92 => 16,
        92..99 => 100,
        _ => 700,
    };
    1 + chance.below(bound) as usize
}

fn attributes(chance: &mut Chance, zero: bool) -> Vec<u8> {
    let mut all = Vec::new();
    put(&mut all, 0x40, 1, &[if chance.below(20) == 0 { 2 } else { 0 }]);
    let more = match chance.below(100) {
        0..5 => 1,
        5..25 => 2,
        25..58 => 3,
        58..80 => 4,
        80..91 => 5,
        _ => 6 + chance.below(6),
    };
    let mut ases = vec![ASN];
    for _ in 0..more {
        // Some two octets hold, some not.
        let asn = if chance.below(3) > 0 { 1 + chance.below(63_000) } else { 131_072 + chance.below(270_000) };
        ases.push(Asn(asn));
    }
    if let Some(last) = ases.last().copied().filter(|_| chance.below(7) == 0) {
        ases.extend(std::iter::repeat_n(last, 1 + chance.below(3) as usize));
    }
    if zero {
        ases.push(Asn(0));
    }
    // Not the own AS of whoever takes this in.
    ases.iter_mut().filter(|asn| asn.0 == 64512).for_each(|asn| asn.0 = 64511);
    let mut path = vec![2, ases.len() as u8];
    ases.iter().for_each(|asn| path.extend_from_slice(&asn.0.to_be_bytes()));
    put(&mut all, 0x40, 2, &path);
    if chance.below(5) == 0 {
        put(&mut all, 0x80, 4, &chance.below(1000).to_be_bytes());
    }
    if chance.below(20) == 0 {
        put(&mut all, 0x40, 6, &[]);
    }
    if chance.below(12) == 0 {
        let value = [ases[ases.len() - 1].0.max(1).to_be_bytes(), chance.below(u32::MAX).to_be_bytes()].concat();
        put(&mut all, 0xc0, 7, &value);
    }
    let communities = match chance.below(10) {
        0..2 => 0,
        2..6 => 1 + chance.below(3),
        6..9 => 3 + chance.below(8),
        _ => 10 + chance.below(20),
    };
    if communities > 0 {
        let value: Vec<u8> = (0..communities)
            .flat_map(|_| (((1 + chance.below(60_000)) << 16) | chance.below(10_000)).to_be_bytes())
            .collect();
        put(&mut all, 0xc0, 8, &value);
    }
    if chance.below(8) == 0 {
        let value: Vec<u8> =
            (0..3 + 3 * chance.below(4)).flat_map(|_| (1 + chance.below(400_000)).to_be_bytes()).collect();
        put(&mut all, 0xc0, 32, &value);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::table::{Expected, path};
    use super::*;

    #[test]
    fn a_table_is_large_shared_and_the_same_each_time() {
        let steps = table(50_000);
        assert_eq!(steps, table(50_000));
        let mut expected = Expected::default();
        steps.iter().for_each(|step| expected.apply(step, 1, Asn(64512)));
        assert_eq!(expected.routes.len() + expected.refused.len(), 50_000);
        assert!(!expected.refused.is_empty(), "some have AS 0");
        let share = 50_000 / steps.len();
        assert!((8..20).contains(&share), "{share} prefixes share attributes");
        let long: usize = expected.routes.keys().filter(|p| p.len() == 24).count();
        assert!((0.5..0.65).contains(&(long as f64 / 50_000.0)), "{long} of /24");
        let lengths: Vec<usize> = steps
            .iter()
            .map(|step| match step {
                Step::Announce(group) => path(&group.attributes).len(),
                Step::Withdraw(_) => panic!("nothing is withdrawn"),
            })
            .collect();
        let mean = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
        assert!((4.0..6.0).contains(&mean), "{mean} ASes in the mean");
    }

    #[test]
    fn churn_changes_announces_and_withdraws() {
        let steps = table(5_000);
        let mut expected = Expected::default();
        steps.iter().for_each(|step| expected.apply(step, 1, Asn(64512)));
        let before = expected.clone();
        churn(&steps, 3_000).iter().for_each(|step| expected.apply(step, 1, Asn(64512)));
        let moved =
            expected.routes.iter().filter(|(prefix, hop)| before.routes.get(prefix).is_some_and(|it| it != *hop));
        assert!(expected.routes.len() < before.routes.len() && moved.count() > 100);
        // Some refused ones come back as good ones; others that were good bear AS 0 now.
        assert!(expected.refused.iter().any(|prefix| before.routes.contains_key(prefix)));
    }
}
