//! Numbers of nexthop objects by content, both ways.
//!
//! The kernel knows an object by its number, Biplane by what it holds. Numbers go up and are not used again until the
//! range wraps, so that a late notice never speaks of another object than the one that had the number then.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use model::Owner;
use model::kernel::{Device, Hop, Key};

use crate::decode;

/// First number of our range.
const FIRST: u32 = 178_000_000;
/// Last number of our range.
const LAST: u32 = 187_999_999;

/// What an object of ours holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    Hop(Hop),
    Group(Arc<[Hop]>),
}

impl Content {
    pub(crate) fn key(&self) -> Key {
        match self {
            Content::Hop(hop) => Key::Nexthop(hop.clone()),
            Content::Group(hops) => Key::NexthopGroup(Arc::clone(hops)),
        }
    }

    /// The object that a route with these hops names.
    pub(crate) fn of(hops: &Arc<[Hop]>) -> Content {
        match &hops[..] {
            [hop] => Content::Hop(hop.clone()),
            _ => Content::Group(Arc::clone(hops)),
        }
    }

    fn hops(&self) -> &[Hop] {
        match self {
            Content::Hop(hop) => std::slice::from_ref(hop),
            Content::Group(hops) => hops,
        }
    }
}

/// An object in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    /// `None` for a shape that we do not make.
    pub(crate) content: Option<Content>,
    /// Protocol number; ours if it is [`Owner::MARK`].
    pub(crate) protocol: u8,
}

impl Object {
    /// The content, if the object is ours and of a shape that we make.
    pub(crate) fn ours(&self) -> Option<&Content> {
        self.content.as_ref().filter(|_| self.protocol == Owner::MARK)
    }
}

/// Every nexthop object of the namespace.
#[derive(Debug, Default)]
pub(crate) struct Nexthops {
    by_id: HashMap<u32, Object>,
    /// Ours only. More than one number where somebody made a twin.
    by_content: HashMap<Content, Vec<u32>>,
    /// How many hops of ours go over a device.
    devices: HashMap<Device, usize>,
    last: u32,
}

impl Nexthops {
    /// From a whole dump. A group may stand before its members in it.
    pub(crate) fn from_dump(found: &[decode::Nexthop], device: impl Fn(u32) -> Option<Device>) -> Nexthops {
        let mut nexthops = Nexthops::default();
        for groups in [false, true] {
            for raw in found.iter().filter(|raw| raw.group.is_some() == groups) {
                let object = nexthops.object(raw, &device);
                nexthops.insert(raw.id, object);
            }
        }
        nexthops
    }

    /// What a message says of an object, by the members known so far.
    pub(crate) fn object(&self, raw: &decode::Nexthop, device: impl Fn(u32) -> Option<Device>) -> Object {
        let content = match &raw.group {
            _ if raw.strange => None,
            None => raw.oif.and_then(device).map(|device| Content::Hop(Hop { gateway: raw.gateway, device })),
            Some(members) => self.group(members),
        };
        Object { content, protocol: raw.protocol }
    }

    /// A group of fewer than two different hops, or with members of others, is none that we make.
    fn group(&self, members: &[u32]) -> Option<Content> {
        let mut hops = BTreeSet::new();
        for member in members {
            match self.by_id.get(member).and_then(Object::ours) {
                Some(Content::Hop(hop)) => hops.insert(hop.clone()),
                _ => return None,
            };
        }
        (hops.len() > 1 && hops.len() == members.len()).then(|| Content::Group(hops.into_iter().collect()))
    }

    /// Records an object; returns what had that number before.
    pub(crate) fn insert(&mut self, id: u32, object: Object) -> Option<Object> {
        let before = self.remove(id);
        if let Some(content) = object.ours() {
            for hop in content.hops() {
                *self.devices.entry(hop.device.clone()).or_default() += 1;
            }
            let ids = self.by_content.entry(content.clone()).or_default();
            ids.push(id);
            ids.sort_unstable();
        }
        if (FIRST..=LAST).contains(&id) {
            self.last = self.last.max(id);
        }
        self.by_id.insert(id, object);
        before
    }

    /// Forgets an object; returns it.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Object> {
        let object = self.by_id.remove(&id)?;
        if let Some(content) = object.ours() {
            if let Some(ids) = self.by_content.get_mut(content) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_content.remove(content);
                }
            }
            for hop in content.hops() {
                if let Some(count) = self.devices.get_mut(&hop.device) {
                    *count -= 1;
                    if *count == 0 {
                        self.devices.remove(&hop.device);
                    }
                }
            }
        }
        Some(object)
    }

    pub(crate) fn by_id(&self, id: u32) -> Option<&Object> {
        self.by_id.get(&id)
    }

    /// Numbers of ours with this content, lowest first.
    pub(crate) fn ids(&self, content: &Content) -> &[u32] {
        self.by_content.get(content).map_or(&[], Vec::as_slice)
    }

    /// Every content of ours, each once.
    pub(crate) fn contents(&self) -> impl Iterator<Item = &Content> {
        self.by_content.keys()
    }

    /// Does an object of ours lead over this device?
    pub(crate) fn uses(&self, device: &Device) -> bool {
        self.devices.contains_key(device)
    }

    /// Goes on from the numbers of an older picture of the same kernel: a notice may still speak of them.
    pub(crate) fn go_on_from(&mut self, before: &Nexthops) {
        self.last = self.last.max(before.last);
    }

    /// A number that nobody is known to have; never the same twice in a row.
    pub(crate) fn next_id(&mut self) -> u32 {
        for _ in 0..=self.by_id.len() {
            self.last = if (FIRST..LAST).contains(&self.last) { self.last + 1 } else { FIRST };
            if !self.by_id.contains_key(&self.last) {
                break;
            }
        }
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(gateway: &str) -> Hop {
        Hop { gateway: Some(gateway.parse().unwrap()), device: Device::new("eth0").unwrap() }
    }

    fn raw(id: u32, gateway: Option<&str>, group: Option<Vec<u32>>, protocol: u8) -> decode::Nexthop {
        let gateway = gateway.map(|text| text.parse().unwrap());
        decode::Nexthop { id, protocol, oif: group.is_none().then_some(2), gateway, group, strange: false }
    }

    fn device(index: u32) -> Option<Device> {
        (index == 2).then(|| Device::new("eth0").unwrap())
    }

    #[test]
    fn numbers_are_found_again_in_a_dump() {
        let found = [
            raw(5, None, Some(vec![FIRST + 1, FIRST]), Owner::MARK),
            raw(FIRST, Some("10.0.0.1"), None, Owner::MARK),
            raw(FIRST + 1, Some("10.0.0.2"), None, Owner::MARK),
            raw(FIRST + 2, Some("10.0.0.2"), None, Owner::MARK),
            raw(FIRST + 3, Some("10.0.0.3"), None, 4),
        ];
        let mut nexthops = Nexthops::from_dump(&found, device);
        assert_eq!(nexthops.ids(&Content::Hop(hop("10.0.0.2"))), [FIRST + 1, FIRST + 2]);
        assert_eq!(nexthops.ids(&Content::Hop(hop("10.0.0.3"))), [0u32; 0], "somebody else's");
        let group = Content::Group(Arc::from([hop("10.0.0.1"), hop("10.0.0.2")]));
        assert_eq!(nexthops.ids(&group), [5]);
        assert_eq!(nexthops.next_id(), FIRST + 4);
        assert!(nexthops.uses(&Device::new("eth0").unwrap()));
        for id in [5, FIRST, FIRST + 1, FIRST + 2] {
            assert!(nexthops.remove(id).is_some());
        }
        assert!(!nexthops.uses(&Device::new("eth0").unwrap()));
        assert_eq!(nexthops.contents().count(), 0);
    }

    #[test]
    fn a_group_that_lost_a_member_is_not_a_hop() {
        let found =
            [raw(FIRST, Some("10.0.0.1"), None, Owner::MARK), raw(FIRST + 1, None, Some(vec![FIRST]), Owner::MARK)];
        let nexthops = Nexthops::from_dump(&found, device);
        assert_eq!(nexthops.by_id(FIRST + 1).map(|object| &object.content), Some(&None));
        assert_eq!(nexthops.ids(&Content::Hop(hop("10.0.0.1"))), [FIRST]);
    }

    #[test]
    fn numbers_wrap_and_skip_what_is_taken() {
        let mut nexthops = Nexthops::default();
        nexthops.insert(LAST, Object { content: None, protocol: 0 });
        nexthops.insert(FIRST, Object { content: None, protocol: 0 });
        assert_eq!(nexthops.next_id(), FIRST + 1);
        assert_eq!(nexthops.next_id(), FIRST + 2);
    }
}
