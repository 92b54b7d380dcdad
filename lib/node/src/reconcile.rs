//! Desired against actual kernel state: what to write next, and what may be taken away now.
//!
//! Making goes in the order of [`Key`]; nothing is broken while something can still be made, nor before every input
//! is complete, nor while an object that is really in the kernel leans on it. The last rule matters because the
//! kernel deletes what leans: taking a nexthop object away deletes its routes without a word, taking the link away
//! deletes everything on it. A refused write keeps its key pending with the errno and comes again with backoff; it
//! never holds up the others.

#[cfg(test)]
mod flight_tests;
#[cfg(test)]
mod read_back_tests;
mod table;
#[cfg(test)]
mod vtep_tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::Peekable;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use delta::Difference;
use model::kernel::{Device, Foreign, Hop, Key, Refusal, Value, Via, Write};
use model::{Moment, Plane};
use table::Table;

/// Most writes that one batch holds: a few milliseconds of kernel work.
const BATCH: usize = 1024;
/// Batches under way: while one is written the next is at hand.
const IN_FLIGHT: usize = 2;
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// A write that the kernel refused and that is still wanted.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What the kernel said last.
    pub refusal: Refusal,
    /// When it is tried again.
    pub retry_at: Moment,
    /// When it was refused for the first time.
    pub since: Moment,
    /// How often it was tried.
    pub attempts: u32,
    wait: Duration,
}

/// What the kernel holds of one plane that is ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Links, FDB entries, neighbours and nexthop objects.
    pub objects: usize,
    /// Routes to pod CIDRs.
    pub routes: usize,
}

/// Both sides of every kernel object, and the way from one to the other.
#[derive(Debug)]
pub struct Reconcile {
    tracker: Table,
    failures: BTreeMap<Key, Failure>,
    foreign: BTreeMap<Key, String>,
    /// How many routes and groups in the kernel lean on a nexthop object.
    leaning: BTreeMap<Key, usize>,
    overlay: Device,
    standing: [Standing; 2],
    /// What the core has not looked at yet.
    changed: Vec<Changed>,
    in_flight: VecDeque<Flight>,
    reading: bool,
    /// A read-back that is being taken in.
    incoming: Option<Incoming>,
    doubt: bool,
}

/// A key whose actual side changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The key.
    pub key: Key,
    /// Of a route: the plane that carries it now.
    pub carried: Option<Plane>,
    /// Is it there just as wanted?
    pub settled: bool,
    /// Neither wanted nor there.
    pub forgotten: bool,
}

/// A batch that the kernel has not answered yet.
#[derive(Debug)]
struct Flight {
    /// Sorted.
    keys: Vec<Key>,
    /// Takes away, or else makes.
    taking: bool,
}

/// A read-back as far as it is not taken in yet.
#[derive(Debug)]
struct Incoming {
    /// In key order.
    ours: Peekable<std::vec::IntoIter<(Key, Value)>>,
    /// Everything up to here is compared.
    done: Option<Key>,
    /// Keys that notices have spoken of since: they know better.
    told: BTreeSet<Key>,
    news: usize,
}

impl Reconcile {
    /// Nothing wanted, nothing known. `overlay` is the VXLAN device: objects on it belong to the overlay.
    pub fn new(overlay: Device) -> Reconcile {
        Reconcile {
            tracker: Table::default(),
            failures: BTreeMap::new(),
            foreign: BTreeMap::new(),
            leaning: BTreeMap::new(),
            overlay,
            standing: [Standing::default(); 2],
            changed: Vec::new(),
            in_flight: VecDeque::new(),
            reading: false,
            incoming: None,
            doubt: false,
        }
    }

    /// Has a refusal shown that our picture of the kernel is wrong? Asked once: a full read-back is due then.
    pub fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubt)
    }

    /// Wants an object, or wants it gone. Tells whether the wish is new.
    pub fn want(&mut self, key: Key, value: Option<Value>) -> bool {
        let forget_sysctl = value.is_none() && matches!(key, Key::Sysctl(_));
        let new = self.tracker.want(&key, value);
        if new && !self.failures.is_empty() {
            self.failures.remove(&key);
        }
        if forget_sysctl {
            // A sysctl is never taken back: it stays as it is, and we look away.
            self.found(key, None);
        }
        new
    }

    /// Records what the kernel holds; tells whether that is news.
    pub fn found(&mut self, key: Key, value: Option<Value>) -> bool {
        if let Some(incoming) = &mut self.incoming {
            incoming.told.insert(key.clone());
        }
        self.record(key, value)
    }

    fn record(&mut self, key: Key, value: Option<Value>) -> bool {
        if matches!(key, Key::Sysctl(_)) && self.tracker.desired(&key).is_none() && value.is_some() {
            return false;
        }
        let Some(seen) = self.tracker.observe(&key, value.as_ref()) else { return false };
        self.account(&key, seen.before.as_deref(), value.as_ref());
        if seen.settled && !(self.failures.is_empty() && self.foreign.is_empty()) {
            self.failures.remove(&key);
            // Somebody's route with another metric is still beside ours; a read-back tells when it goes. The list of a
            // read-back that is being taken in is newer than what it is compared with.
            if !matches!(key, Key::Route(_)) && !self.reading {
                self.foreign.remove(&key);
            }
        }
        let carried = value.as_ref().and_then(|value| self.plane_of_route(value));
        let forgotten = !seen.wanted && value.is_none();
        self.changed.push(Changed { key, carried, settled: seen.settled, forgotten });
        true
    }

    /// A full read-back of everything of ours is here; [`take_in`](Self::take_in) compares it.
    pub fn read_back(&mut self, mut ours: Vec<(Key, Value)>, foreign: Vec<Foreign>) {
        if !ours.is_sorted_by(|(one, _), (other, _)| one < other) {
            ours.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        let ours = ours.into_iter().peekable();
        self.incoming = Some(Incoming { ours, done: None, told: BTreeSet::new(), news: 0 });
        self.foreign = foreign.into_iter().map(|f| (f.key, f.what)).collect();
    }

    /// Compares up to `at_most` keys of the read-back with what was believed, in key order on both sides. Returns how
    /// many differed in all once it is done; nothing is written before.
    pub fn take_in(&mut self, at_most: usize) -> Option<usize> {
        let mut incoming = self.incoming.take()?;
        let mut differ: Vec<(Key, Option<Value>)> = Vec::new();
        let mut believed = self.tracker.actual_after(incoming.done.as_ref()).peekable();
        let mut last = None;
        let mut over = false;
        for _ in 0..at_most {
            match (believed.peek(), incoming.ours.peek()) {
                (None, None) => {
                    over = true;
                    break;
                }
                (Some((key, _)), seen) if seen.is_none_or(|(seen, _)| key < seen) => {
                    last = Some(key.clone());
                    differ.push((key.clone(), None));
                    believed.next();
                }
                (known, _) => {
                    let Some((key, value)) = incoming.ours.next() else { break };
                    let known = known.filter(|(known, _)| *known == key).map(|(_, value)| *value);
                    let same = known.is_some_and(|known| *known == value);
                    if known.is_some() {
                        believed.next();
                    }
                    if same {
                        last = Some(key);
                    } else {
                        last = Some(key.clone());
                        differ.push((key, Some(value)));
                    }
                }
            }
        }
        drop(believed);
        incoming.done = last.or(incoming.done);
        for (key, value) in differ.into_iter().filter(|(key, _)| !incoming.told.contains(key)) {
            incoming.news += usize::from(self.record(key, value));
        }
        if over {
            self.reading = false;
            return Some(incoming.news);
        }
        self.incoming = Some(incoming);
        None
    }

    /// Is a read-back being taken in?
    pub fn has_work(&self) -> bool {
        self.incoming.is_some()
    }

    /// The next writes, while the kernel has work for no more than one batch: makes first; takes only when `sweep` allows
    /// it and nothing is being made.
    pub fn poll_batch(&mut self, now: Moment, sweep: bool) -> Option<Vec<Write>> {
        if self.in_flight.len() == IN_FLIGHT || self.reading {
            return None;
        }
        let waits = |key: &Key| self.failures.get(key).is_some_and(|failure| failure.retry_at > now);
        let flies = |key: &Key| self.in_flight.iter().any(|flight| flight.keys.binary_search(key).is_ok());
        let taking = self.in_flight.iter().any(|flight| flight.taking);
        let making = self.in_flight.iter().any(|flight| !flight.taking);
        let mut batch: Vec<Write> = Vec::new();
        let linkless = self.linkless();
        let tableless = self.tracker.actual(&Key::VtepTable).is_none();
        let mut vteps_wait = false;
        // What is being taken away may be what something to be made would lean on.
        for key in self.tracker.to_make().take_while(|_| !taking) {
            if batch.len() == BATCH {
                break;
            }
            // Elements come after their table; whoever is not let in yet must not be shut out.
            match key {
                Key::Vtep(_) => vteps_wait = true,
                Key::VtepFilter if vteps_wait => continue,
                _ => {}
            }
            if tableless && matches!(key, Key::Vtep(_) | Key::VtepFilter) {
                continue;
            }
            if flies(&key) || waits(&key) || linkless.is_some_and(|refused| self.is_premature(&key, refused)) {
                continue;
            }
            match self.tracker.difference(&key) {
                Some(Difference::Missing(value)) => {
                    let value = value.clone();
                    batch.push(Write::Create(key, value));
                }
                Some(Difference::Differs { desired, .. }) => {
                    let desired = desired.clone();
                    batch.push(Write::Replace(key, desired));
                }
                Some(Difference::Stray(_)) | None => {}
            }
        }
        let taking = batch.is_empty() && sweep && !making;
        if taking {
            let ready = self.tracker.to_take().filter(|key| !flies(key) && !waits(key) && self.may_take(key));
            batch.extend(ready.take(BATCH).map(Write::Delete));
        }
        if batch.is_empty() {
            return None;
        }
        let mut keys: Vec<Key> = batch.iter().map(|write| write.key().clone()).collect();
        if taking {
            keys.reverse();
        }
        self.in_flight.push_back(Flight { keys, taking });
        Some(batch)
    }

    /// The kernel's answers to a batch.
    pub fn handle_wrote(&mut self, now: Moment, results: Vec<(Write, Result<(), Refusal>)>) {
        self.in_flight.pop_front();
        let mut progress = false;
        for (write, result) in results {
            match result {
                Ok(()) => {
                    progress |= matches!(write.key(), Key::Link(_) | Key::Nexthop(_) | Key::NexthopGroup(_));
                    let (key, value) = match write {
                        Write::Create(key, value) | Write::Replace(key, value) => (key, Some(value)),
                        Write::Delete(key) => (key, None),
                    };
                    self.found(key, value);
                }
                Err(refusal) => self.refused(now, write, refusal),
            }
        }
        if progress {
            // What leaned on the object that now stands need not wait out its backoff.
            for failure in self.failures.values_mut() {
                failure.retry_at = failure.retry_at.min(now);
            }
        }
        if self.is_link_refused() {
            // One obstacle is told of and tried again, not one for every other node.
            let overlay = self.overlay.clone();
            self.failures.retain(|key, _| !stands_on(&overlay, key));
        }
    }

    /// Does the kernel refuse the overlay's link, and has none?
    pub fn is_link_refused(&self) -> bool {
        self.linkless() == Some(true)
    }

    /// A full read-back has been asked for: nothing is written until it is here.
    pub fn expect_read_back(&mut self) {
        self.reading = true;
    }

    /// Is a route on its way into the kernel, or about to be? One that the kernel keeps refusing is not.
    pub fn routes_pending(&self) -> bool {
        let mut routes = self.tracker.routes_to_make();
        !self.in_flight.is_empty()
            || (self.failures.is_empty() && routes.next().is_some())
            || routes.any(|prefix| !self.failures.contains_key(&Key::Route(prefix)))
    }

    /// Is a batch or a read-back under way?
    pub fn busy(&self) -> bool {
        !self.in_flight.is_empty() || self.reading
    }

    /// The read-back that was asked for failed.
    pub fn read_back_failed(&mut self) {
        self.reading = false;
    }

    /// Links came or went: refused writes are worth another try at once.
    pub fn retry_all(&mut self, now: Moment) {
        for failure in self.failures.values_mut() {
            failure.retry_at = failure.retry_at.min(now);
        }
    }

    /// Keys whose actual side changed since the last call, in the order of change.
    pub fn take_changed(&mut self) -> Vec<Changed> {
        std::mem::take(&mut self.changed)
    }

    /// When the next refused write is due again.
    pub fn poll_timeout(&self) -> Option<Moment> {
        if self.busy() {
            return None;
        }
        self.failures.values().map(|failure| failure.retry_at).min()
    }

    /// Is the object in the kernel just as wanted?
    pub fn settled(&self, key: &Key) -> bool {
        self.tracker.settled(key)
    }

    /// Both sides of everything.
    pub fn tracker(&self) -> &Table {
        &self.tracker
    }

    /// Refused writes that are still wanted.
    pub fn failures(&self) -> &BTreeMap<Key, Failure> {
        &self.failures
    }

    /// Objects of others that share a key with ours or stand in our way.
    pub fn foreign(&self) -> &BTreeMap<Key, String> {
        &self.foreign
    }

    /// Someone else's object was seen, or one went (`None`).
    pub fn note_foreign(&mut self, key: Key, what: Option<String>) {
        match what {
            Some(what) => self.foreign.insert(key, what),
            None => self.foreign.remove(&key),
        };
    }

    /// What of `plane` is in the kernel now.
    pub fn standing(&self, plane: Plane) -> Standing {
        self.standing[plane as usize]
    }

    /// The plane that carries `prefix` in the kernel now.
    pub fn carried(&self, prefix: &model::Prefix) -> Option<Plane> {
        self.tracker.actual(&Key::Route(*prefix)).and_then(|value| self.plane_of_route(value))
    }

    /// The plane of a route's value; `None` for one that leads nowhere.
    pub fn plane_of_route(&self, value: &Value) -> Option<Plane> {
        match value {
            Value::Route { via: Via::Hops(hops), .. } => Some(self.plane_of(&hops.first()?.device)),
            _ => None,
        }
    }

    fn plane_of(&self, device: &Device) -> Plane {
        if *device == self.overlay { Plane::Overlay } else { Plane::Native }
    }

    fn refused(&mut self, now: Moment, write: Write, refusal: Refusal) {
        let (Write::Create(key, _) | Write::Replace(key, _) | Write::Delete(key)) = &write;
        let key = key.clone();
        // ENOENT, ESRCH on a replace, EEXIST on a create: what we believe of the key is wrong, so look before the next try.
        self.doubt |= match write {
            Write::Create(..) => refusal.errno == 17 && !self.foreign.contains_key(&key),
            Write::Replace(..) => matches!(refusal.errno, 2 | 3),
            Write::Delete(_) => false,
        };
        let before = self.failures.get(&key);
        let (since, wait) = before.map_or((now, FIRST_RETRY), |f| (f.since, (f.wait * 2).min(LAST_RETRY)));
        let attempts = before.map_or(1, |f| f.attempts.saturating_add(1));
        self.failures.insert(key, Failure { refusal, retry_at: now + wait, since, attempts, wait });
    }

    /// While the overlay's link is not there: does the kernel refuse it?
    fn linkless(&self) -> Option<bool> {
        let link = Key::Link(self.overlay.clone());
        self.tracker.actual(&link).is_none().then(|| self.failures.contains_key(&link))
    }

    /// Does it stand on the overlay's link, which is not there? Sysctls come with the batch after the link's, the rest
    /// with the link's own, unless the link is refused.
    fn is_premature(&self, key: &Key, link_refused: bool) -> bool {
        match key {
            Key::Sysctl(path) => path.contains(self.overlay.as_str()),
            _ => link_refused && stands_on(&self.overlay, key),
        }
    }

    /// Whether nothing in the kernel leans on a stray object, so that taking it away takes only itself away.
    fn may_take(&self, key: &Key) -> bool {
        match key {
            Key::Sysctl(_) => false,
            Key::Nexthop(_) | Key::NexthopGroup(_) => !self.leaning.contains_key(key),
            Key::Neighbour(device, ip) => {
                let hop = Hop { gateway: Some(*ip), device: device.clone() };
                self.tracker.actual(&Key::Nexthop(hop)).is_none()
            }
            Key::Fdb(device, mac) => {
                let gateway = IpAddr::V6(mac.link_local());
                self.tracker.actual(&Key::Neighbour(device.clone(), gateway)).is_none()
            }
            Key::Link(device) if *device == self.overlay => self.standing(Plane::Overlay).objects <= 1,
            // While it is not known yet who is to be let in, the filter stays as it is and so does what it lets in.
            Key::VtepTable => {
                let next = self.tracker.actual_after(Some(key)).next();
                !next.is_some_and(|(next, _)| matches!(next, Key::Vtep(_) | Key::VtepFilter))
            }
            Key::VtepFilter => self.tracker.desired(&Key::VtepTable).is_none(),
            Key::Vtep(_) => {
                self.tracker.both(&Key::VtepFilter) == (None, None) || self.tracker.desired(&Key::VtepFilter).is_some()
            }
            _ => true,
        }
    }

    /// Keeps the counts of what stands and what leans in step with one change of an actual object.
    fn account(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        let device = match key {
            Key::Link(device) | Key::Fdb(device, _) | Key::Neighbour(device, _) => Some(device),
            Key::Nexthop(hop) => Some(&hop.device),
            Key::NexthopGroup(hops) => hops.first().map(|hop| &hop.device),
            _ => None,
        };
        if let Some(device) = device {
            let plane = self.plane_of(device) as usize;
            match (before.is_some(), after.is_some()) {
                (false, true) => self.standing[plane].objects += 1,
                (true, false) => self.standing[plane].objects -= 1,
                _ => {}
            }
        }
        if let Key::NexthopGroup(hops) = key
            && before.is_some() != after.is_some()
        {
            for hop in hops.iter() {
                self.lean(Key::Nexthop(hop.clone()), after.is_some());
            }
        }
        if matches!(key, Key::Route(_)) {
            for (value, there) in [(before, false), (after, true)] {
                let Some(Value::Route { via: Via::Hops(hops), .. }) = value else { continue };
                self.lean(object_of(hops), there);
                let Some(plane) = hops.first().map(|hop| self.plane_of(&hop.device)) else { continue };
                let routes = &mut self.standing[plane as usize].routes;
                if there { *routes += 1 } else { *routes -= 1 }
            }
        }
    }

    fn lean(&mut self, on: Key, there: bool) {
        if there {
            *self.leaning.entry(on).or_default() += 1;
        } else if let Some(count) = self.leaning.get_mut(&on) {
            *count -= 1;
            if *count == 0 {
                self.leaning.remove(&on);
            }
        }
    }
}

/// Can the object be only where this device is?
fn stands_on(device: &Device, key: &Key) -> bool {
    match key {
        Key::Address(on, _) | Key::Fdb(on, _) | Key::Neighbour(on, _) => on == device,
        Key::Nexthop(hop) => hop.device == *device,
        _ => false,
    }
}

/// The nexthop object that a route with these hops names.
pub(crate) fn object_of(hops: &Arc<[Hop]>) -> Key {
    match &hops[..] {
        [hop] => Key::Nexthop(hop.clone()),
        _ => Key::NexthopGroup(hops.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_on_a_link_waits_for_it_without_a_word() {
        let overlay = Device::new("biplane.vxlan").unwrap();
        let mac = model::MacAddr([2, 0, 0, 0, 0, 1]);
        let gateway = IpAddr::V6(mac.link_local());
        let link = Key::Link(overlay.clone());
        let wanted = [
            (link.clone(), Value::OtherLink("as wanted".into())),
            (Key::Address(overlay.clone(), "10.244.1.2/32".parse().unwrap()), Value::There),
            (Key::Fdb(overlay.clone(), mac), Value::Fdb("192.0.2.1".parse().unwrap())),
            (Key::Neighbour(overlay.clone(), gateway), Value::Neighbour(mac)),
            (Key::Nexthop(Hop { gateway: Some(gateway), device: overlay.clone() }), Value::There),
        ];
        let mut reconcile = Reconcile::new(overlay);
        for (key, value) in &wanted {
            reconcile.want(key.clone(), Some(value.clone()));
        }
        let refuse = |write: Write| {
            let errno = if *write.key() == link { 98 } else { 19 };
            (write, Err(Refusal { errno, message: "refused".to_owned() }))
        };
        let mut now = Moment::ZERO;
        let first = reconcile.poll_batch(now, true).unwrap();
        assert_eq!(first.len(), wanted.len(), "all at once where nothing is in the way");
        reconcile.handle_wrote(now, first.into_iter().map(refuse).collect());
        for _ in 0..3 {
            assert_eq!(reconcile.failures().keys().collect::<Vec<_>>(), [&link]);
            assert_eq!(reconcile.poll_batch(now, true), None);
            now = reconcile.poll_timeout().unwrap();
            let again = reconcile.poll_batch(now, true).unwrap();
            assert_eq!(again.iter().map(Write::key).collect::<Vec<_>>(), [&link]);
            reconcile.handle_wrote(now, again.into_iter().map(refuse).collect());
        }
        now = reconcile.poll_timeout().unwrap();
        let last = reconcile.poll_batch(now, true).unwrap();
        reconcile.handle_wrote(now, last.into_iter().map(|write| (write, Ok(()))).collect());
        let rest = reconcile.poll_batch(now, true).unwrap();
        assert_eq!(rest.len(), wanted.len() - 1);
    }

    #[test]
    fn a_foreign_route_beside_ours_is_not_forgotten_when_ours_comes_back() {
        let mut reconcile = Reconcile::new(Device::new("biplane.vxlan").unwrap());
        let key = Key::Route("10.244.2.0/24".parse().unwrap());
        let value = Value::Route { via: Via::Unreachable, src: None };
        reconcile.want(key.clone(), Some(value.clone()));
        reconcile.note_foreign(key.clone(), Some("metric 50".to_owned()));
        reconcile.found(key.clone(), Some(value));
        assert!(reconcile.settled(&key));
        assert_eq!(reconcile.foreign().get(&key).map(String::as_str), Some("metric 50"));
    }
}
