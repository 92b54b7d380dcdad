//! Desired, actual and pending per key.

use std::collections::{BTreeMap, BTreeSet};

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
}

impl<V: PartialEq> Slot<V> {
    fn of(desired: Option<V>, actual: Option<V>) -> Option<Slot<V>> {
        Some(match (desired, actual) {
            (None, None) => return None,
            (Some(d), None) => Slot::Missing(d),
            (None, Some(a)) => Slot::Stray(a),
            (Some(d), Some(a)) if d == a => Slot::Same(d),
            (Some(d), Some(a)) => Slot::Differs(Box::new((d, a))),
        })
    }

    fn desired(&self) -> Option<&V> {
        match self {
            Slot::Same(v) | Slot::Missing(v) => Some(v),
            Slot::Stray(_) => None,
            Slot::Differs(both) => Some(&both.0),
        }
    }

    fn actual(&self) -> Option<&V> {
        match self {
            Slot::Same(v) | Slot::Stray(v) => Some(v),
            Slot::Missing(_) => None,
            Slot::Differs(both) => Some(&both.1),
        }
    }
}

/// Desired and actual state of one kind of thing, or of several whose keys are ordered by kind.
#[derive(Clone, Debug)]
pub struct Tracker<K, V> {
    slots: BTreeMap<K, Slot<V>>,
    /// Missing or differing.
    make: BTreeSet<K>,
    /// Stray.
    take: BTreeSet<K>,
    /// While a read-back is under way: keys that are there and have not been seen yet.
    unseen: Option<BTreeSet<K>>,
}

impl<K, V> Default for Tracker<K, V> {
    fn default() -> Tracker<K, V> {
        Tracker { slots: BTreeMap::new(), make: BTreeSet::new(), take: BTreeSet::new(), unseen: None }
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> Tracker<K, V> {
    /// Empty on both sides.
    pub fn new() -> Tracker<K, V> {
        Tracker::default()
    }

    /// Wants `key` to hold `value`, or to be gone with `None`. Tells whether the wish changed.
    pub fn want(&mut self, key: K, value: Option<V>) -> bool {
        if self.desired(&key) == value.as_ref() {
            return false;
        }
        let actual = self.slots.get(&key).and_then(Slot::actual).cloned();
        self.put(key, value, actual);
        true
    }

    /// Records what is there: after a write that succeeded, or a notice. Tells whether it is news.
    pub fn found(&mut self, key: K, value: Option<V>) -> bool {
        if let Some(unseen) = &mut self.unseen {
            unseen.remove(&key);
        }
        if self.actual(&key) == value.as_ref() {
            return false;
        }
        let desired = self.slots.get(&key).and_then(Slot::desired).cloned();
        self.put(key, desired, value);
        true
    }

    /// Starts a full read-back: whatever is not [`found`](Self::found) before [`end_read_back`](Self::end_read_back) has gone.
    pub fn begin_read_back(&mut self) {
        self.unseen = Some(self.slots.iter().filter(|(_, s)| s.actual().is_some()).map(|(k, _)| k.clone()).collect());
    }

    /// Ends a full read-back; returns what was believed there and was not seen.
    pub fn end_read_back(&mut self) -> Vec<(K, V)> {
        let unseen: Vec<K> = self.unseen.take().into_iter().flatten().collect();
        let mut gone = Vec::with_capacity(unseen.len());
        for key in unseen {
            let Some(value) = self.actual(&key).cloned() else { continue };
            let desired = self.desired(&key).cloned();
            self.put(key.clone(), desired, None);
            gone.push((key, value));
        }
        gone
    }

    /// What is wanted of `key`.
    pub fn desired(&self, key: &K) -> Option<&V> {
        self.slots.get(key).and_then(Slot::desired)
    }

    /// What is there of `key`.
    pub fn actual(&self, key: &K) -> Option<&V> {
        self.slots.get(key).and_then(Slot::actual)
    }

    /// Is `key` wanted, and there just as wanted?
    pub fn settled(&self, key: &K) -> bool {
        matches!(self.slots.get(key), Some(Slot::Same(_)))
    }

    /// What is to be done about `key`, if anything.
    pub fn difference(&self, key: &K) -> Option<Difference<'_, V>> {
        match self.slots.get(key)? {
            Slot::Same(_) => None,
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

    /// Everything wanted, in key order.
    pub fn desired_iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().filter_map(|(k, s)| s.desired().map(|v| (k, v)))
    }

    /// Everything there, in key order.
    pub fn actual_iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().filter_map(|(k, s)| s.actual().map(|v| (k, v)))
    }

    /// Everything there whose key is not below `from`, in key order.
    pub fn actual_from(&self, from: &K) -> impl Iterator<Item = (&K, &V)> {
        self.slots.range(from.clone()..).filter_map(|(k, s)| s.actual().map(|v| (k, v)))
    }

    fn put(&mut self, key: K, desired: Option<V>, actual: Option<V>) {
        let slot = Slot::of(desired, actual);
        let (make, take) = match &slot {
            Some(Slot::Missing(_) | Slot::Differs(_)) => (true, false),
            Some(Slot::Stray(_)) => (false, true),
            Some(Slot::Same(_)) | None => (false, false),
        };
        set(&mut self.make, &key, make);
        set(&mut self.take, &key, take);
        match slot {
            Some(slot) => {
                self.slots.insert(key, slot);
            }
            None => {
                self.slots.remove(&key);
            }
        }
    }
}

fn set<K: Ord + Clone>(keys: &mut BTreeSet<K>, key: &K, there: bool) {
    if there {
        if !keys.contains(key) {
            keys.insert(key.clone());
        }
    } else {
        keys.remove(key);
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
        ReadBack(BTreeMap<u8, u8>),
    }

    fn op() -> impl Strategy<Value = Op> {
        let value = prop::option::of(0..4u8);
        prop_oneof![
            (0..8u8, value.clone()).prop_map(|(k, v)| Op::Want(k, v)),
            (0..8u8, value).prop_map(|(k, v)| Op::Found(k, v)),
            prop::collection::btree_map(0..8u8, 0..4u8, 0..8).prop_map(Op::ReadBack),
        ]
    }

    proptest! {
        /// Whatever the order of wishes, notices and read-backs, the tracker says just what two plain maps say.
        #[test]
        fn equals_two_maps(ops in prop::collection::vec(op(), 0..60)) {
            let mut tracker = Tracker::new();
            let (mut desired, mut actual) = (BTreeMap::new(), BTreeMap::new());
            for op in ops {
                match op {
                    Op::Want(k, v) => { tracker.want(k, v); put(&mut desired, k, v); }
                    Op::Found(k, v) => { tracker.found(k, v); put(&mut actual, k, v); }
                    Op::ReadBack(seen) => {
                        tracker.begin_read_back();
                        for (k, v) in &seen { tracker.found(*k, Some(*v)); }
                        tracker.end_read_back();
                        actual = seen;
                    }
                }
            }
            let make: Vec<u8> = desired.iter().filter(|(k, v)| actual.get(*k) != Some(*v)).map(|(k, _)| *k).collect();
            let take: Vec<u8> = actual.keys().rev().filter(|k| !desired.contains_key(*k)).copied().collect();
            prop_assert_eq!(tracker.to_make().copied().collect::<Vec<_>>(), make);
            prop_assert_eq!(tracker.to_take().copied().collect::<Vec<_>>(), take);
            prop_assert_eq!(tracker.desired_iter().map(|(k, v)| (*k, *v)).collect::<BTreeMap<_, _>>(), desired);
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
