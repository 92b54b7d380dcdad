//! Both sides of every kernel object, under one key. Routes may be a million and lead to a few places: their keys are
//! kept as prefixes, and equal values once.

use std::collections::BTreeMap;
use std::sync::Arc;

use delta::{Difference, Observed, Tracker};
use model::Prefix;
use model::kernel::{Key, Value};

/// Values that the next route may share.
const SHARED: usize = 16;

/// [`Tracker`] of all kinds of objects.
#[derive(Debug, Default)]
pub struct Table {
    /// Every key but routes; routes come behind all of them in the order of making.
    objects: Tracker<Key, Value>,
    routes: Tracker<Prefix, Arc<Value>>,
    shared: Vec<Arc<Value>>,
}

impl Table {
    /// Wants `key` to hold `value`, or to be gone with `None`. Tells whether the wish changed.
    pub fn want(&mut self, key: &Key, value: Option<Value>) -> bool {
        match key {
            Key::Route(prefix) => {
                let value = value.map(|value| self.share(value));
                self.routes.want(*prefix, value)
            }
            key => self.objects.want(key.clone(), value),
        }
    }

    /// Records what is there. `None` if it is no news.
    pub fn observe(&mut self, key: &Key, value: Option<&Value>) -> Option<Observed<Arc<Value>>> {
        match key {
            Key::Route(prefix) => {
                let value = value.map(|value| self.share(value.clone()));
                self.routes.observe(*prefix, value)
            }
            key => {
                let Observed { before, settled } = self.objects.observe(key.clone(), value.cloned())?;
                Some(Observed { before: before.map(Arc::new), settled })
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
        match key {
            Key::Route(prefix) => {
                let (desired, actual) = self.routes.both(prefix);
                (desired.map(AsRef::as_ref), actual.map(AsRef::as_ref))
            }
            key => self.objects.both(key),
        }
    }

    /// Is `key` wanted, and there just as wanted?
    pub fn settled(&self, key: &Key) -> bool {
        match key {
            Key::Route(prefix) => self.routes.settled(prefix),
            key => self.objects.settled(key),
        }
    }

    /// What is to be done about `key`, if anything.
    pub fn difference(&self, key: &Key) -> Option<Difference<'_, Value>> {
        let Key::Route(prefix) = key else { return self.objects.difference(key) };
        Some(match self.routes.difference(prefix)? {
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
        self.routes.to_make().copied()
    }

    /// Keys to take away, in the order of breaking.
    pub fn to_take(&self) -> impl Iterator<Item = Key> {
        self.routes.to_take().map(|prefix| Key::Route(*prefix)).chain(self.objects.to_take().cloned())
    }

    /// Number of keys to make or rewrite, and of keys to take away.
    pub fn pending(&self) -> (usize, usize) {
        let (routes, objects) = (self.routes.pending(), self.objects.pending());
        (routes.0 + objects.0, routes.1 + objects.1)
    }

    /// Number of keys wanted.
    pub fn wanted(&self) -> usize {
        self.objects.wanted() + self.routes.wanted()
    }

    /// Number of keys wanted, and of those that are there just as wanted, by kind.
    pub fn kinds(&self) -> BTreeMap<&'static str, (u64, u64)> {
        let mut kinds = BTreeMap::new();
        for (key, _) in self.objects.desired_iter() {
            let (wanted, settled) = kinds.entry(key.kind()).or_insert((0, 0));
            *wanted += 1;
            *settled += u64::from(self.objects.settled(key));
        }
        let routes = self.routes.wanted();
        if routes > 0 {
            let (wanted, missing) = (routes as u64, self.routes.pending().0 as u64);
            kinds.insert("route", (wanted, wanted - missing));
        }
        kinds
    }

    /// Everything wanted, in key order.
    pub fn desired_iter(&self) -> impl Iterator<Item = (Key, &Value)> {
        let routes = self.routes.desired_iter().map(|(prefix, value)| (Key::Route(*prefix), &**value));
        self.objects.desired_iter().map(|(key, value)| (key.clone(), value)).chain(routes)
    }

    /// Everything there, in key order.
    pub fn actual_iter(&self) -> impl Iterator<Item = (Key, &Value)> {
        self.actual_after(None)
    }

    /// Everything there behind `key`, in key order; all of it for `None`.
    pub fn actual_after(&self, key: Option<&Key>) -> impl Iterator<Item = (Key, &Value)> {
        let route = if let Some(Key::Route(prefix)) = key { Some(prefix) } else { None };
        let objects = self.objects.actual_after(key).map(|(key, value)| (key.clone(), value));
        let routes = self.routes.actual_after(route).map(|(prefix, value)| (Key::Route(*prefix), &**value));
        objects.chain(routes)
    }

    fn share(&mut self, value: Value) -> Arc<Value> {
        if let Some(shared) = self.shared.iter().find(|shared| ***shared == value) {
            return Arc::clone(shared);
        }
        let value = Arc::new(value);
        if self.shared.len() == SHARED {
            self.shared.remove(0);
        }
        self.shared.push(Arc::clone(&value));
        value
    }
}
