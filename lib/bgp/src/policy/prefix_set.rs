//! Sets of prefixes with ranges of lengths, looked up by a handful of look-ups however large they are.

use model::policy::PrefixRange;
use model::{ClusterPool, Family, Prefix, PrefixMap};

/// A set. A look-up costs one search for each length that occurs among its entries, mostly one to three.
#[derive(Clone, Debug, Default)]
pub(super) struct PrefixSet {
    entries: PrefixMap<Vec<(u8, u8)>>,
    /// Lengths that occur, by family, longest first.
    lengths: [Vec<u8>; 2],
}

impl PrefixSet {
    pub(super) fn new(ranges: impl IntoIterator<Item = PrefixRange>) -> PrefixSet {
        let mut set = PrefixSet::default();
        for range in ranges {
            let lengths = range.lengths();
            if lengths.0 > lengths.1 {
                continue;
            }
            let of_prefix = set.entries.entry(range.prefix).or_default();
            if !of_prefix.contains(&lengths) {
                of_prefix.push(lengths);
            }
            let known = &mut set.lengths[range.prefix.family() as usize];
            if let Err(at) = known.binary_search_by(|len| range.prefix.len().cmp(len)) {
                known.insert(at, range.prefix.len());
            }
        }
        set
    }

    /// Every slice of the pools.
    pub(super) fn slices(pools: &[ClusterPool]) -> PrefixSet {
        let slice =
            |pool: &ClusterPool| PrefixRange { prefix: pool.cidr, ge: Some(pool.node_len), le: Some(pool.node_len) };
        PrefixSet::new(pools.iter().map(slice))
    }

    /// The longest entry that takes `prefix` in: the narrowest words that name it.
    pub(super) fn find(&self, prefix: &Prefix) -> Option<Prefix> {
        let lengths = self.lengths.get(prefix.family() as usize)?;
        lengths.iter().filter(|len| **len <= prefix.len()).find_map(|len| {
            let around = Prefix::new(prefix.address(), *len)?;
            let ranges = self.entries.get(&around)?;
            ranges.iter().any(|(ge, le)| (*ge..=*le).contains(&prefix.len())).then_some(around)
        })
    }

    /// Is an address inside an entry, whatever its range?
    pub(super) fn holds(&self, address: std::net::IpAddr) -> bool {
        let lengths = self.lengths.get(Family::of(&address) as usize);
        lengths
            .into_iter()
            .flatten()
            .any(|len| Prefix::new(address, *len).is_some_and(|p| self.entries.get(&p).is_some()))
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
            prop_assert_eq!(PrefixSet::new(ranges.iter().copied()).find(&prefix), longest);
        }
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
