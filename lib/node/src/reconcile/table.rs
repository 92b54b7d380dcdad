//! Both sides of every kernel object, under one key. Routes may be a million and lead to a few places: their keys are
//! kept as prefixes, and equal values once.

use std::collections::BTreeMap;
use std::sync::Arc;

use delta::{Difference, Observed, Tracker};
use model::kernel::{Key, Value};
use model::{Prefix, Prefix4};

/// Values that the next route may share.
const SHARED: usize = 16;

/// [`Tracker`] of all kinds of objects.
#[derive(Debug, Default)]
pub struct Table {
    /// Every key but routes; routes come behind all of them in the order of making.
    objects: Tracker<Key, Value>,
    routes4: Tracker<Prefix4, Arc<Value>>,
    routes6: Tracker<Prefix, Arc<Value>>,
    shared: Vec<Arc<Value>>,
}

/// Where a key is kept.
enum Place {
    Objects,
    Routes4(Prefix4),
    Routes6(Prefix),
}

impl Place {
    fn of(key: &Key) -> Place {
        match key {
            Key::Route(prefix) => Prefix4::of(prefix).map_or(Place::Routes6(*prefix), Place::Routes4),
            _ => Place::Objects,
        }
    }
}

impl Table {
    /// Wants `key` to hold `value`, or to be gone with `None`. Tells whether the wish changed.
    pub fn want(&mut self, key: &Key, value: Option<Value>) -> bool {
        match Place::of(key) {
            Place::Objects => self.objects.want(key.clone(), value),
            Place::Routes4(prefix) => {
                let value = self.share(value.as_ref());
                self.routes4.want(prefix, value)
            }
            Place::Routes6(prefix) => {
                let value = self.share(value.as_ref());
                self.routes6.want(prefix, value)
            }
        }
    }

    /// Records what is there. `None` if it is no news.
    pub fn observe(&mut self, key: &Key, value: Option<&Value>) -> Option<Observed<Arc<Value>>> {
        match Place::of(key) {
            Place::Objects => {
                let Observed { before, wanted, settled } = self.objects.observe(key.clone(), value.cloned())?;
                Some(Observed { before: before.map(Arc::new), wanted, settled })
            }
            Place::Routes4(prefix) => {
                let value = self.share(value);
                self.routes4.observe(prefix, value)
            }
            Place::Routes6(prefix) => {
                let value = self.share(value);
                self.routes6.observe(prefix, value)
            }
        }
    }

    /// What is wanted of `key`.
    pub fn desired(&self, key: &Key) -> Option<&Value> {
        self.both(key).0
    }

    /// What is there of `key`.
    pub fn actual(&self, key: &Key) -> Option<&Value> {
        self.both(key).1
    }

    /// What is wanted of `key` and what is there, looked up once.
    pub fn both(&self, key: &Key) -> (Option<&Value>, Option<&Value>) {
        let (desired, actual) = match Place::of(key) {
            Place::Objects => return self.objects.both(key),
            Place::Routes4(prefix) => self.routes4.both(&prefix),
            Place::Routes6(prefix) => self.routes6.both(&prefix),
        };
        (desired.map(AsRef::as_ref), actual.map(AsRef::as_ref))
    }

    /// Is `key` wanted, and there just as wanted?
    pub fn settled(&self, key: &Key) -> bool {
        match Place::of(key) {
            Place::Objects => self.objects.settled(key),
            Place::Routes4(prefix) => self.routes4.settled(&prefix),
            Place::Routes6(prefix) => self.routes6.settled(&prefix),
        }
    }

    /// What is to be done about `key`, if anything.
    pub fn difference(&self, key: &Key) -> Option<Difference<'_, Value>> {
        let difference = match Place::of(key) {
            Place::Objects => return self.objects.difference(key),
            Place::Routes4(prefix) => self.routes4.difference(&prefix),
            Place::Routes6(prefix) => self.routes6.difference(&prefix),
        };
        Some(match difference? {
            Difference::Missing(desired) => Difference::Missing(desired),
            Difference::Differs { desired, actual } => Difference::Differs { desired, actual },
            Difference::Stray(actual) => Difference::Stray(actual),
        })
    }

    /// Keys to make or rewrite, in the order of making.
    pub fn to_make(&self) -> impl Iterator<Item = Key> {
        self.objects.to_make().cloned().chain(self.routes_to_make().map(Key::Route))
    }

    /// The routes among them.
    pub fn routes_to_make(&self) -> impl Iterator<Item = Prefix> {
        self.routes4.to_make().map(|prefix| Prefix::from(*prefix)).chain(self.routes6.to_make().copied())
    }

    /// Keys to take away, in the order of breaking.
    pub fn to_take(&self) -> impl Iterator<Item = Key> {
        let v4 = self.routes4.to_take().map(|prefix| Prefix::from(*prefix));
        self.routes6.to_take().copied().chain(v4).map(Key::Route).chain(self.objects.to_take().cloned())
    }

    /// Number of keys to make or rewrite, and of keys to take away.
    pub fn pending(&self) -> (usize, usize) {
        let all = [self.objects.pending(), self.routes4.pending(), self.routes6.pending()];
        all.into_iter().fold((0, 0), |sum, pending| (sum.0 + pending.0, sum.1 + pending.1))
    }

    /// Number of keys wanted.
    pub fn wanted(&self) -> usize {
        self.objects.wanted() + self.routes4.wanted() + self.routes6.wanted()
    }

    /// Number of keys wanted, and of those that are there just as wanted, by kind.
    pub fn kinds(&self) -> BTreeMap<&'static str, (u64, u64)> {
        let mut kinds = BTreeMap::new();
        for (key, _) in self.objects.desired_iter() {
            let (wanted, settled) = kinds.entry(key.kind()).or_insert((0, 0));
            *wanted += 1;
            *settled += u64::from(self.objects.settled(key));
        }
        let wanted = self.routes4.wanted() + self.routes6.wanted();
        if wanted > 0 {
            let missing = self.routes4.pending().0 + self.routes6.pending().0;
            kinds.insert("route", (wanted as u64, (wanted - missing) as u64));
        }
        kinds
    }

    /// Everything wanted, in key order.
    pub fn desired_iter(&self) -> impl Iterator<Item = (Key, &Value)> {
        let v4 = self.routes4.desired_iter().map(|(prefix, value)| (Prefix::from(*prefix), value));
        let v6 = self.routes6.desired_iter().map(|(prefix, value)| (*prefix, value));
        let routes = v4.chain(v6).map(|(prefix, value)| (Key::Route(prefix), &**value));
        self.objects.desired_iter().map(|(key, value)| (key.clone(), value)).chain(routes)
    }

    /// Everything there, in key order.
    pub fn actual_iter(&self) -> impl Iterator<Item = (Key, &Value)> {
        self.actual_after(None)
    }

    /// Everything there behind `key`, in key order; all of it for `None`.
    pub fn actual_after(&self, key: Option<&Key>) -> impl Iterator<Item = (Key, &Value)> + use<'_> {
        let (from4, from6) = match key.map(Place::of) {
            None | Some(Place::Objects) => (None, None),
            Some(Place::Routes4(prefix)) => (Some(prefix), None),
            Some(Place::Routes6(prefix)) => (None, Some(prefix)),
        };
        let most4 = if from6.is_some() { 0 } else { usize::MAX };
        let objects = self.objects.actual_after(key.cloned()).map(|(key, value)| (key.clone(), value));
        let v4 = self.routes4.actual_after(from4).take(most4).map(|(prefix, value)| (Prefix::from(*prefix), value));
        let v6 = self.routes6.actual_after(from6).map(|(prefix, value)| (*prefix, value));
        objects.chain(v4.chain(v6).map(|(prefix, value)| (Key::Route(prefix), &**value)))
    }

    fn share(&mut self, value: Option<&Value>) -> Option<Arc<Value>> {
        let value = value?;
        if let Some(shared) = self.shared.iter().find(|shared| &***shared == value) {
            return Some(Arc::clone(shared));
        }
        let value = Arc::new(value.clone());
        if self.shared.len() == SHARED {
            self.shared.remove(0);
        }
        self.shared.push(Arc::clone(&value));
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use model::kernel::{Device, Via};

    use super::*;

    /// The order of keys and what lies behind each are those of a plain tracker.
    #[test]
    fn equals_one_tracker() {
        let device = Device::new("eth0").unwrap();
        let route = |text: &str| Key::Route(text.parse().unwrap());
        let keys = [Key::Link(device), Key::Masquerade]
            .into_iter()
            .chain(["0.0.0.0/0", "10.0.0.0/8", "255.255.255.255/32", "::/0", "fd00::/8"].map(route));
        let keys: Vec<Key> = keys.collect();
        let value = |n: usize| Value::Route { via: Via::Other(n.to_string().into()), src: None };
        for chosen in 0..1_usize << keys.len() {
            let (mut table, mut plain) = (Table::default(), Tracker::new());
            for (at, key) in keys.iter().enumerate() {
                let (wanted, there) = (chosen >> at & 1 == 1, at % 3 != 0);
                let desired = wanted.then(|| value(at % 2));
                let actual = there.then(|| value(chosen % 2));
                assert_eq!(table.want(key, desired.clone()), plain.want(key.clone(), desired));
                let news = table.observe(key, actual.as_ref()).map(|seen| (seen.wanted, seen.settled));
                assert_eq!(news, plain.observe(key.clone(), actual).map(|seen| (seen.wanted, seen.settled)));
                assert_eq!(table.both(key), plain.both(key));
                assert_eq!(table.settled(key), plain.settled(key));
                assert_eq!(table.difference(key), plain.difference(key));
            }
            assert!(table.to_make().eq(plain.to_make().cloned()));
            assert!(table.to_take().eq(plain.to_take().cloned()));
            assert_eq!((table.pending(), table.wanted()), (plain.pending(), plain.wanted()));
            assert!(table.desired_iter().eq(plain.desired_iter().map(|(key, value)| (key.clone(), value))));
            for key in std::iter::once(None).chain(keys.iter().map(Some)) {
                let expected = plain.actual_after(key.cloned()).map(|(key, value)| (key.clone(), value));
                assert!(table.actual_after(key).eq(expected), "behind {key:?}");
            }
        }
    }
}
