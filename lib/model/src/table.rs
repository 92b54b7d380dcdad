//! Maps keyed by prefix that hold a million entries: IPv4 prefixes are kept as one number each, which halves the nodes
//! of the tree and makes a search a comparison of numbers.

use std::collections::{BTreeMap, btree_map};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Bound;

use crate::{Family, Prefix};

/// An IPv4 prefix as one number: the address, then the length. Ordered as [`Prefix`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix4(u64);

impl Prefix4 {
    /// Behind every prefix.
    const BEHIND: Prefix4 = Prefix4(u64::MAX);

    /// `None` for an IPv6 prefix.
    pub fn of(prefix: &Prefix) -> Option<Prefix4> {
        match prefix.address() {
            IpAddr::V4(address) => Some(Prefix4(u64::from(u32::from(address)) << 8 | u64::from(prefix.len()))),
            IpAddr::V6(_) => None,
        }
    }
}

impl From<Prefix4> for Prefix {
    fn from(packed: Prefix4) -> Prefix {
        let [.., a, b, c, d, len] = packed.0.to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
        Prefix::new(address, len).unwrap_or_else(|| unreachable!("made of a prefix"))
    }
}

/// A map keyed by prefix, in their order.
#[derive(Clone, Debug)]
pub struct PrefixMap<V> {
    v4: BTreeMap<Prefix4, V>,
    v6: BTreeMap<Prefix, V>,
}

impl<V> Default for PrefixMap<V> {
    fn default() -> PrefixMap<V> {
        PrefixMap { v4: BTreeMap::new(), v6: BTreeMap::new() }
    }
}

impl<V> PrefixMap<V> {
    /// Nothing in it.
    pub fn new() -> PrefixMap<V> {
        PrefixMap::default()
    }

    /// Number of prefixes.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Nothing in it?
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The value of a prefix.
    pub fn get(&self, prefix: &Prefix) -> Option<&V> {
        match Prefix4::of(prefix) {
            Some(packed) => self.v4.get(&packed),
            None => self.v6.get(prefix),
        }
    }

    /// The value of a prefix, to be changed.
    pub fn get_mut(&mut self, prefix: &Prefix) -> Option<&mut V> {
        match Prefix4::of(prefix) {
            Some(packed) => self.v4.get_mut(&packed),
            None => self.v6.get_mut(prefix),
        }
    }

    /// Gives a prefix a value; returns the one it had.
    pub fn insert(&mut self, prefix: Prefix, value: V) -> Option<V> {
        match Prefix4::of(&prefix) {
            Some(packed) => self.v4.insert(packed, value),
            None => self.v6.insert(prefix, value),
        }
    }

    /// Takes a prefix out.
    pub fn remove(&mut self, prefix: &Prefix) -> Option<V> {
        match Prefix4::of(prefix) {
            Some(packed) => self.v4.remove(&packed),
            None => self.v6.remove(prefix),
        }
    }

    /// The place of a prefix, looked up once.
    pub fn entry(&mut self, prefix: Prefix) -> Entry<'_, V> {
        match Prefix4::of(&prefix) {
            Some(packed) => match self.v4.entry(packed) {
                btree_map::Entry::Vacant(place) => Entry::Vacant(Vacant::V4(place)),
                btree_map::Entry::Occupied(place) => Entry::Occupied(Occupied::V4(place)),
            },
            None => match self.v6.entry(prefix) {
                btree_map::Entry::Vacant(place) => Entry::Vacant(Vacant::V6(place)),
                btree_map::Entry::Occupied(place) => Entry::Occupied(Occupied::V6(place)),
            },
        }
    }

    /// All in order, from a prefix on; from the first for [`Bound::Unbounded`].
    pub fn range(&self, from: Bound<Prefix>) -> impl Iterator<Item = (Prefix, &V)> {
        let is_v6 = |prefix: &Prefix| prefix.family() == Family::V6;
        let packed = |prefix: Prefix| Prefix4::of(&prefix).unwrap_or(Prefix4::BEHIND);
        let v6 = match from {
            Bound::Included(prefix) | Bound::Excluded(prefix) if is_v6(&prefix) => from,
            _ => Bound::Unbounded,
        };
        let v4 =
            self.v4.range((from.map(packed), Bound::Unbounded)).map(|(packed, value)| (Prefix::from(*packed), value));
        v4.chain(self.v6.range((v6, Bound::Unbounded)).map(|(prefix, value)| (*prefix, value)))
    }
}

/// The place of a prefix.
#[derive(Debug)]
pub enum Entry<'a, V> {
    /// The prefix is not in the map.
    Vacant(Vacant<'a, V>),
    /// It is.
    Occupied(Occupied<'a, V>),
}

impl<'a, V: Default> Entry<'a, V> {
    /// The value of the prefix; the default one if it had none.
    pub fn or_default(self) -> &'a mut V {
        match self {
            Entry::Vacant(place) => place.insert(V::default()),
            Entry::Occupied(place) => place.into_mut(),
        }
    }
}

/// A place without a value.
#[derive(Debug)]
pub enum Vacant<'a, V> {
    /// Of an IPv4 prefix.
    V4(btree_map::VacantEntry<'a, Prefix4, V>),
    /// Of an IPv6 prefix.
    V6(btree_map::VacantEntry<'a, Prefix, V>),
}

impl<'a, V> Vacant<'a, V> {
    /// Gives the prefix a value.
    pub fn insert(self, value: V) -> &'a mut V {
        match self {
            Vacant::V4(place) => place.insert(value),
            Vacant::V6(place) => place.insert(value),
        }
    }
}

/// A place with a value.
#[derive(Debug)]
pub enum Occupied<'a, V> {
    /// Of an IPv4 prefix.
    V4(btree_map::OccupiedEntry<'a, Prefix4, V>),
    /// Of an IPv6 prefix.
    V6(btree_map::OccupiedEntry<'a, Prefix, V>),
}

impl<'a, V> Occupied<'a, V> {
    /// The value, to be changed.
    pub fn get_mut(&mut self) -> &mut V {
        match self {
            Occupied::V4(place) => place.get_mut(),
            Occupied::V6(place) => place.get_mut(),
        }
    }

    /// The value, to be changed for as long as the map is borrowed.
    pub fn into_mut(self) -> &'a mut V {
        match self {
            Occupied::V4(place) => place.into_mut(),
            Occupied::V6(place) => place.into_mut(),
        }
    }

    /// Takes the prefix out.
    pub fn remove(self) -> V {
        match self {
            Occupied::V4(place) => place.remove(),
            Occupied::V6(place) => place.remove(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is asked of it, it says what a plain map says.
    #[test]
    fn equals_a_plain_map() {
        let texts = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.0.0.0/24",
            "255.255.255.255/32",
            "::/0",
            "::1/128",
            "fd00::/8",
            "fd00::/64",
        ];
        let prefixes: Vec<Prefix> = texts.iter().map(|text| text.parse().unwrap()).collect();
        for &prefix in &prefixes {
            assert_eq!(Prefix4::of(&prefix).map(Prefix::from), Some(prefix).filter(|p| p.family() == Family::V4));
        }
        for chosen in 0..1_usize << prefixes.len() {
            let (mut map, mut plain) = (PrefixMap::new(), BTreeMap::new());
            for (at, &prefix) in prefixes.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1) {
                assert_eq!(map.insert(prefix, at), plain.insert(prefix, at));
            }
            assert_eq!((map.len(), map.is_empty()), (plain.len(), plain.is_empty()));
            for &prefix in &prefixes {
                assert_eq!(map.get(&prefix), plain.get(&prefix));
                assert_eq!(map.get_mut(&prefix), plain.get_mut(&prefix));
                for from in [Bound::Unbounded, Bound::Included(prefix), Bound::Excluded(prefix)] {
                    let expected: Vec<_> = plain.range((from, Bound::Unbounded)).map(|(p, v)| (*p, v)).collect();
                    assert_eq!(map.range(from).collect::<Vec<_>>(), expected);
                }
            }
            for (at, &prefix) in prefixes.iter().enumerate() {
                *map.entry(prefix).or_default() += at;
                *plain.entry(prefix).or_default() += at;
            }
            for &prefix in prefixes.iter().step_by(2) {
                let Entry::Occupied(mut place) = map.entry(prefix) else { panic!("{prefix} is there") };
                *place.get_mut() += 1;
                assert_eq!(Some(place.remove() - 1), plain.remove(&prefix));
                assert!(matches!(map.entry(prefix), Entry::Vacant(_)));
                assert_eq!(map.remove(&prefix), None);
            }
            let rest: Vec<_> = plain.iter().map(|(p, v)| (*p, v)).collect();
            assert_eq!(map.range(Bound::Unbounded).collect::<Vec<_>>(), rest);
        }
    }
}
