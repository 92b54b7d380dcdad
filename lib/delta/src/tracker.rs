//! Desired, actual and pending per key.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// What is to be done about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference<'a, V> {
    /// Wanted and not there.
    Missing(&'a V),
    /// There, and wanted otherwise.
    Differs {
        /// What is wanted.
        desired: &'a V,
        /// What is there.
        actual: &'a V,
    },
    /// There and wanted by nobody.
    Stray(&'a V),
}

/// One copy of the value where both sides agree: at a million routes the table is held once, not twice.
#[derive(Clone, Debug)]
enum Slot<V> {
    Same(V),
    Missing(V),
    Stray(V),
    Differs(Box<(V, V)>),
    /// Neither side. Never kept in the table.
    Empty,
}

impl<V: PartialEq> Slot<V> {
    fn of(desired: Option<V>, actual: Option<V>) -> Slot<V> {
        match (desired, actual) {
            (None, None) => Slot::Empty,
            (Some(d), None) => Slot::Missing(d),
            (None, Some(a)) => Slot::Stray(a),
            (Some(d), Some(a)) if d == a => Slot::Same(d),
            (Some(d), Some(a)) => Slot::Differs(Box::new((d, a))),
        }
    }

    fn both(&self) -> (Option<&V>, Option<&V>) {
        match self {
            Slot::Same(v) => (Some(v), Some(v)),
            Slot::Missing(v) => (Some(v), None),
            Slot::Stray(v) => (None, Some(v)),
            Slot::Differs(both) => (Some(&both.0), Some(&both.1)),
            Slot::Empty => (None, None),
        }
    }

    fn desired(&self) -> Option<&V> {
        self.both().0
    }

    fn actual(&self) -> Option<&V> {
        self.both().1
    }

    /// The set of pending keys that it belongs to.
    fn pending(&self) -> Option<Pending> {
        match self {
            Slot::Missing(_) | Slot::Differs(_) => Some(Pending::Make),
            Slot::Stray(_) => Some(Pending::Take),
            Slot::Same(_) | Slot::Empty => None,
        }
    }
}

impl<V: PartialEq + Clone> Slot<V> {
    fn into_both(self) -> (Option<V>, Option<V>) {
        match self {
            Slot::Same(v) => (Some(v.clone()), Some(v)),
            Slot::Missing(v) => (Some(v), None),
            Slot::Stray(v) => (None, Some(v)),
            Slot::Differs(both) => (Some(both.0), Some(both.1)),
            Slot::Empty => (None, None),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pending {
    Make,
    Take,
}

/// What an observation changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed<V> {
    /// What was there before.
    pub before: Option<V>,
    /// Is the key wanted?
    pub wanted: bool,
    /// Is it now there just as wanted?
    pub settled: bool,
}

/// Desired and actual state of one kind of thing, or of several whose keys are ordered by kind.
#[derive(Clone, Debug)]
pub struct Tracker<K, V> {
    slots: BTreeMap<K, Slot<V>>,
    /// Missing or differing.
    make: BTreeSet<K>,
    /// Stray.
    take: BTreeSet<K>,
}

impl<K, V> Default for Tracker<K, V> {
    fn default() -> Tracker<K, V> {
        Tracker { slots: BTreeMap::new(), make: BTreeSet::new(), take: BTreeSet::new() }
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> Tracker<K, V> {
    /// Empty on both sides.
    pub fn new() -> Tracker<K, V> {
        Tracker::default()
    }

    /// Wants `key` to hold `value`, or to be gone with `None`. Tells whether the wish changed.
    pub fn want(&mut self, key: K, value: Option<V>) -> bool {
        self.update(key, |slot| {
            if slot.desired() == value.as_ref() {
                return None;
            }
            let (_, actual) = std::mem::replace(slot, Slot::Empty).into_both();
            *slot = Slot::of(value, actual);
            Some(())
        })
        .is_some()
    }

    /// Records what is there: after a write that succeeded, or a notice. `None` if it is no news.
    pub fn observe(&mut self, key: K, value: Option<V>) -> Option<Observed<V>> {
        self.update(key, |slot| {
            if slot.actual() == value.as_ref() {
                return None;
            }
            let (desired, before) = std::mem::replace(slot, Slot::Empty).into_both();
            let wanted = desired.is_some();
            *slot = Slot::of(desired, value);
            Some(Observed { before, wanted, settled: matches!(slot, Slot::Same(_)) })
        })
    }

    /// [`observe`](Self::observe), for those who only want to know whether it is news.
    pub fn found(&mut self, key: K, value: Option<V>) -> bool {
        self.observe(key, value).is_some()
    }

    /// What is wanted of `key`.
    pub fn desired(&self, key: &K) -> Option<&V> {
        self.slots.get(key).and_then(Slot::desired)
    }

    /// What is there of `key`.
    pub fn actual(&self, key: &K) -> Option<&V> {
        self.slots.get(key).and_then(Slot::actual)
    }

    /// What is wanted of `key` and what is there, looked up once.
    pub fn both(&self, key: &K) -> (Option<&V>, Option<&V>) {
        self.slots.get(key).map_or((None, None), Slot::both)
    }

    /// Is `key` wanted, and there just as wanted?
    pub fn settled(&self, key: &K) -> bool {
        matches!(self.slots.get(key), Some(Slot::Same(_)))
    }

    /// What is to be done about `key`, if anything.
    pub fn difference(&self, key: &K) -> Option<Difference<'_, V>> {
        match self.slots.get(key)? {
            Slot::Same(_) | Slot::Empty => None,
            Slot::Missing(v) => Some(Difference::Missing(v)),
            Slot::Stray(v) => Some(Difference::Stray(v)),
            Slot::Differs(both) => Some(Difference::Differs { desired: &both.0, actual: &both.1 }),
        }
    }

    /// Keys to make or rewrite, in the order of making.
    pub fn to_make(&self) -> impl Iterator<Item = &K> {
        self.make.iter()
    }

    /// Keys to take away, in the order of breaking.
    pub fn to_take(&self) -> impl Iterator<Item = &K> {
        self.take.iter().rev()
    }

    /// Number of keys to make or rewrite, and of keys to take away.
    pub fn pending(&self) -> (usize, usize) {
        (self.make.len(), self.take.len())
    }

    /// Number of keys wanted.
    pub fn wanted(&self) -> usize {
        self.slots.len() - self.take.len()
    }

    /// Everything wanted, in key order.
    pub fn desired_iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().filter_map(|(k, s)| s.desired().map(|v| (k, v)))
    }

    /// Everything there, in key order.
    pub fn actual_iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().filter_map(|(k, s)| s.actual().map(|v| (k, v)))
    }

    /// Everything there behind `key`, in key order; all of it for `None`.
    pub fn actual_after(&self, key: Option<K>) -> impl Iterator<Item = (&K, &V)> + use<'_, K, V> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.slots.range((from, Bound::Unbounded)).filter_map(|(k, s)| s.actual().map(|v| (k, v)))
    }

    /// Changes one slot, and the sets of pending keys along with it. `change` says `None` if it changed nothing.
    fn update<T>(&mut self, key: K, change: impl FnOnce(&mut Slot<V>) -> Option<T>) -> Option<T> {
        let mut place = match self.slots.entry(key) {
            Entry::Occupied(place) => place,
            Entry::Vacant(place) => {
                let mut slot = Slot::Empty;
                let told = change(&mut slot);
                match slot.pending() {
                    Some(Pending::Make) => drop(self.make.insert(place.key().clone())),
                    Some(Pending::Take) => drop(self.take.insert(place.key().clone())),
                    None => return told,
                }
                place.insert(slot);
                return told;
            }
        };
        let before = place.get().pending();
        let told = change(place.get_mut())?;
        let after = place.get().pending();
        if before != after {
            match before {
                Some(Pending::Make) => drop(self.make.remove(place.key())),
                Some(Pending::Take) => drop(self.take.remove(place.key())),
                None => {}
            }
            match after {
                Some(Pending::Make) => drop(self.make.insert(place.key().clone())),
                Some(Pending::Take) => drop(self.take.insert(place.key().clone())),
                None => {}
            }
        }
        if matches!(place.get(), Slot::Empty) {
            place.remove();
        }
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Want(u8, Option<u8>),
        Found(u8, Option<u8>),
    }

    fn op() -> impl Strategy<Value = Op> {
        let value = prop::option::of(0..4u8);
        prop_oneof![
            (0..8u8, value.clone()).prop_map(|(k, v)| Op::Want(k, v)),
            (0..8u8, value).prop_map(|(k, v)| Op::Found(k, v)),
        ]
    }

    proptest! {
        /// Whatever the order of wishes and notices, the tracker says just what two plain maps say.
        /// Checklist: 107
        #[test]
        fn equals_two_maps(ops in prop::collection::vec(op(), 0..60)) {
            let mut tracker = Tracker::new();
            let (mut desired, mut actual) = (BTreeMap::new(), BTreeMap::new());
            for op in ops {
                match op {
                    Op::Want(k, v) => { tracker.want(k, v); put(&mut desired, k, v); }
                    Op::Found(k, v) => { tracker.found(k, v); put(&mut actual, k, v); }
                }
            }
            let make: Vec<u8> = desired.iter().filter(|(k, v)| actual.get(*k) != Some(*v)).map(|(k, _)| *k).collect();
            let take: Vec<u8> = actual.keys().rev().filter(|k| !desired.contains_key(*k)).copied().collect();
            prop_assert_eq!(tracker.to_make().copied().collect::<Vec<_>>(), make);
            prop_assert_eq!(tracker.to_take().copied().collect::<Vec<_>>(), take);
            prop_assert_eq!(tracker.wanted(), desired.len());
            prop_assert_eq!(tracker.desired_iter().map(|(k, v)| (*k, *v)).collect::<BTreeMap<_, _>>(), desired);
            for from in 0..8 {
                let behind = tracker.actual_after(Some(from)).map(|(k, v)| (*k, *v)).collect::<Vec<_>>();
                prop_assert_eq!(behind, actual.range(from + 1..).map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
            }
            prop_assert_eq!(tracker.actual_iter().map(|(k, v)| (*k, *v)).collect::<BTreeMap<_, _>>(), actual);
        }
    }

    fn put(map: &mut BTreeMap<u8, u8>, k: u8, v: Option<u8>) {
        match v {
            Some(v) => map.insert(k, v),
            None => map.remove(&k),
        };
    }

    #[test]
    fn a_failed_write_stays_pending() {
        let mut tracker = Tracker::new();
        tracker.want(1, Some('a'));
        assert_eq!(tracker.difference(&1), Some(Difference::Missing(&'a')));
        assert_eq!(tracker.pending(), (1, 0));
        tracker.found(1, Some('b'));
        assert_eq!(tracker.difference(&1), Some(Difference::Differs { desired: &'a', actual: &'b' }));
        tracker.found(1, Some('a'));
        assert!(tracker.settled(&1));
    }
}
