//! Sets of prefixes with ranges of lengths, looked up by a handful of look-ups however large they are.

use model::policy::PrefixRange;
use model::{ClusterPool, Family, Prefix, PrefixMap};

/// The words by which an entry takes a prefix in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Prefix of the entry.
    pub prefix: Prefix,
    /// The entry is that prefix and nothing else.
    pub exact: bool,
}

/// A set. A look-up costs one search for each length that occurs among its entries, mostly one to three.
#[derive(Clone, Debug, Default)]
pub(super) struct PrefixSet {
    entries: PrefixMap<Vec<(u8, u8)>>,
    /// Lengths that occur, by family, longest first, and how many prefixes have each.
    lengths: [Vec<(u8, usize)>; 2],
}

impl PrefixSet {
    pub(super) fn new(ranges: impl IntoIterator<Item = PrefixRange>) -> PrefixSet {
        let mut set = PrefixSet::default();
        for range in ranges {
            set.insert(range);
        }
        set
    }

    fn insert(&mut self, range: PrefixRange) {
        let (prefix, lengths) = (range.prefix, range.lengths());
        if lengths.0 > lengths.1 {
            return;
        }
        let of_prefix = self.entries.entry(prefix).or_default();
        let new = of_prefix.is_empty();
        if !of_prefix.contains(&lengths) {
            of_prefix.push(lengths);
        }
        if new {
            let known = &mut self.lengths[prefix.family() as usize];
            match known.binary_search_by(|(len, _)| prefix.len().cmp(len)) {
                Ok(at) => known[at].1 += 1,
                Err(at) => known.insert(at, (prefix.len(), 1)),
            }
        }
    }

    /// Adds a prefix with all that lies inside it.
    pub(super) fn insert_within(&mut self, prefix: Prefix) {
        self.insert(PrefixRange { prefix, ge: None, le: Some(prefix.family().bits()) });
    }

    /// Takes a prefix out, whatever its ranges.
    pub(super) fn remove(&mut self, prefix: &Prefix) {
        if self.entries.remove(prefix).is_none() {
            return;
        }
        let known = &mut self.lengths[prefix.family() as usize];
        if let Ok(at) = known.binary_search_by(|(len, _)| prefix.len().cmp(len)) {
            known[at].1 -= 1;
            if known[at].1 == 0 {
                known.remove(at);
            }
        }
    }

    /// These prefixes and all that lies inside them.
    pub(super) fn within(prefixes: impl Iterator<Item = Prefix>) -> PrefixSet {
        let mut set = PrefixSet::default();
        prefixes.for_each(|prefix| set.insert_within(prefix));
        set
    }

    /// Every slice of the pools.
    pub(super) fn slices(pools: &[ClusterPool]) -> PrefixSet {
        let slice =
            |pool: &ClusterPool| PrefixRange { prefix: pool.cidr, ge: Some(pool.node_len), le: Some(pool.node_len) };
        PrefixSet::new(pools.iter().map(slice))
    }

    /// The longest entry that takes `prefix` in: the narrowest words that name it.
    pub(super) fn find(&self, prefix: &Prefix) -> Option<Named> {
        let lengths = self.lengths.get(prefix.family() as usize)?;
        lengths.iter().filter(|(len, _)| *len <= prefix.len()).find_map(|(len, _)| {
            let around = Prefix::new(prefix.address(), *len)?;
            let ranges = self.entries.get(&around)?;
            let takes = ranges.iter().any(|(ge, le)| (*ge..=*le).contains(&prefix.len()));
            let exact = around == *prefix && ranges.contains(&(*len, *len));
            takes.then_some(Named { prefix: around, exact })
        })
    }

    /// Is an address inside an entry, whatever its range?
    pub(super) fn holds(&self, address: std::net::IpAddr) -> bool {
        let lengths = self.lengths.get(Family::of(&address) as usize);
        lengths
            .into_iter()
            .flatten()
            .any(|(len, _)| Prefix::new(address, *len).is_some_and(|p| self.entries.get(&p).is_some()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range() -> impl Strategy<Value = PrefixRange> {
        // Few bits, so that prefixes meet.
        (0_u32..16, 0_u8..=8, proptest::option::of(0_u8..=10), proptest::option::of(0_u8..=10)).prop_map(
            |(bits, len, ge, le)| {
                let address = std::net::Ipv4Addr::from(bits << 28);
                PrefixRange { prefix: Prefix::new(address.into(), len).unwrap(), ge, le }
            },
        )
    }

    proptest! {
        /// A set says what a look at every entry says.
        #[test]
        fn equals_a_look_at_every_entry(
            ranges in proptest::collection::vec(range(), 0..12), bits in 0_u32..16, len in 0_u8..=10,
        ) {
            let prefix = Prefix::new(std::net::Ipv4Addr::from(bits << 28).into(), len).unwrap();
            let takes = |range: &&PrefixRange| {
                let (ge, le) = range.lengths();
                range.prefix.covers(&prefix) && (ge..=le).contains(&prefix.len())
            };
            let longest = ranges.iter().filter(takes).map(|range| range.prefix).max_by_key(Prefix::len);
            let found = PrefixSet::new(ranges.iter().copied()).find(&prefix);
            prop_assert_eq!(found.map(|named| named.prefix), longest);
            let exact = ranges.iter().any(|range| range.prefix == prefix && range.lengths() == (prefix.len(), prefix.len()));
            prop_assert_eq!(found.is_some_and(|named| named.exact), exact);
        }
    }

    #[test]
    fn what_is_taken_out_is_gone() {
        let mut set = PrefixSet::default();
        let prefixes: Vec<Prefix> = ["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"].map(|p| p.parse().unwrap()).into();
        prefixes.iter().for_each(|prefix| set.insert_within(*prefix));
        set.insert_within(prefixes[1]);
        let inside: Prefix = "10.1.2.0/24".parse().unwrap();
        assert_eq!(set.find(&inside).unwrap().prefix, prefixes[1]);
        set.remove(&prefixes[1]);
        set.remove(&prefixes[1]);
        assert_eq!(set.find(&inside).unwrap().prefix, prefixes[0]);
        set.remove(&prefixes[0]);
        assert_eq!(set.find(&inside), None);
        assert_eq!(set.lengths[0], [(16, 1)], "a length that no prefix has costs no look-up");
    }

    #[test]
    fn families_do_not_meet() {
        let all = PrefixRange { prefix: "0.0.0.0/0".parse().unwrap(), ge: None, le: Some(32) };
        let set = PrefixSet::new([all]);
        assert!(set.find(&"192.0.2.0/24".parse().unwrap()).is_some());
        assert_eq!(set.find(&"fd00::/64".parse().unwrap()), None);
        assert!(set.holds("192.0.2.1".parse().unwrap()) && !set.holds("fd00::1".parse().unwrap()));
    }
}
