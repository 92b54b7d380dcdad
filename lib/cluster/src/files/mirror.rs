//! What the store's files say, and what of it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use alloc::Claim;
use model::PodCidr;

use super::disk::{Disk, Stamp};
use super::record::{Key, Place, Record, Released, slot_name};
use super::trouble::Trouble;
use crate::{Event, Snapshot};

/// A file that cannot be read is complained about only when it stays so: somebody may be writing it by hand.
const PATIENCE: Duration = Duration::from_millis(500);

/// The files as last seen, and the state that was told.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    files: BTreeMap<(Place, String), File>,
    /// Slots with a freed record, in whichever place.
    freed: BTreeSet<(Place, PodCidr)>,
    told: Snapshot,
    /// Files with something wrong with them.
    wrong: BTreeMap<(Place, String), Wrong>,
    /// Pairs of claims that overlap, which was told.
    overlapping: BTreeSet<(PodCidr, PodCidr)>,
}

#[derive(Debug)]
struct File {
    stamp: Stamp,
    /// The last good content: a claim does not go because its file was damaged.
    record: Option<Record>,
    /// It was not written just before it was read: a write in the same tick of the clock leaves the same stamp.
    settled: bool,
    /// When this content was first seen.
    since: Instant,
}

#[derive(Debug)]
struct Wrong {
    why: String,
    since: Instant,
    told: bool,
}

/// A freed pod CIDR that needs somebody to go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Its node did not live to move it to the quarantine.
    FinishRelease(PodCidr),
    /// Its quarantine is over; with the file's stamp where only our own observation says so.
    EndQuarantine(PodCidr, Option<Stamp>),
}

impl Mirror {
    /// All that is known.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.told.clone()
    }

    /// Looks at every file; what is new goes to `tell`.
    /// With `stamps`, files that look unchanged are not read again.
    pub(crate) fn read_all(&mut self, disk: &Disk, stamps: bool, tell: &mut dyn FnMut(Event)) -> Result<(), Trouble> {
        let mut seen = BTreeSet::new();
        // Quarantine after claims: a claim that moves there meanwhile is seen at least once.
        for place in [Place::Claims, Place::Quarantine, Place::Phases] {
            seen.extend(disk.names(place)?.into_iter().map(|name| (place, name)));
        }
        seen.extend([super::record::DIGEST, super::record::WISH].map(|name| (Place::Root, name.to_owned())));
        let gone: Vec<_> =
            self.files.keys().chain(self.wrong.keys()).filter(|key| !seen.contains(*key)).cloned().collect();
        self.read(disk, seen.into_iter().chain(gone), stamps, tell)?;
        self.find_overlaps(tell);
        Ok(())
    }

    /// Looks at some files.
    pub(crate) fn read(
        &mut self,
        disk: &Disk,
        files: impl IntoIterator<Item = (Place, String)>,
        stamps: bool,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), Trouble> {
        let mut changed = Vec::new();
        for (place, name) in files {
            match Key::of(place, &name) {
                Some(key) => {
                    if self.look(disk, place, &name, &key, stamps)? {
                        changed.push(key);
                    }
                }
                None if place == Place::Root || name.starts_with('.') => {}
                None => self.look_at_stranger(disk, place, name)?,
            }
        }
        // A pod CIDR that goes from a claim to quarantine, or back, has two files: look at the state of both together.
        changed.dedup();
        for key in changed {
            self.tell(key, tell);
        }
        self.complain(disk, tell);
        Ok(())
    }

    /// Reads one file if it is other than before; true if so.
    fn look(&mut self, disk: &Disk, place: Place, name: &str, key: &Key, stamps: bool) -> Result<bool, Trouble> {
        let at = (place, name.to_owned());
        let Some(stamp) = disk.stamp(place, name)? else { return Ok(self.forget(&at, key)) };
        let known = self.files.get(&at);
        if stamps && known.is_some_and(|file| file.stamp == stamp && file.settled) {
            return Ok(false);
        }
        let Some(content) = disk.read(place, name)? else { return Ok(self.forget(&at, key)) };
        let now = Instant::now();
        let record = match content.and_then(|content| Record::parse(place, key, &content)) {
            Ok(record) => {
                self.wrong.remove(&at);
                Some(record)
            }
            Err(why) => {
                let told = self.wrong.get(&at).is_some_and(|wrong| wrong.told && wrong.why == why);
                let since = self.wrong.get(&at).map_or(now, |wrong| wrong.since);
                self.wrong.insert(at.clone(), Wrong { why, since, told });
                self.files.get(&at).and_then(|file| file.record.clone())
            }
        };
        if let Key::Slot(cidr) = key {
            match record {
                Some(Record::Freed(_)) => self.freed.insert((place, *cidr)),
                _ => self.freed.remove(&(place, *cidr)),
            };
        }
        let since = self.files.get(&at).filter(|file| file.stamp == stamp).map_or(now, |file| file.since);
        self.files.insert(at, File { stamp, record, settled: stamp.is_settled(), since });
        Ok(true)
    }

    fn forget(&mut self, at: &(Place, String), key: &Key) -> bool {
        self.wrong.remove(at);
        if let Key::Slot(cidr) = key {
            self.freed.remove(&(at.0, *cidr));
        }
        self.files.remove(at).is_some()
    }

    fn look_at_stranger(&mut self, disk: &Disk, place: Place, name: String) -> Result<(), Trouble> {
        match disk.stamp(place, &name)? {
            None => drop(self.wrong.remove(&(place, name))),
            Some(_) => {
                let why = "its name is none of the store's".to_owned();
                let fresh = Wrong { why, since: Instant::now(), told: false };
                self.wrong.entry((place, name)).or_insert(fresh);
            }
        }
        Ok(())
    }

    fn record(&self, place: Place, name: &str) -> Option<&File> {
        self.files.get(&(place, name.to_owned()))
    }

    /// Who holds a slot, and is it out of use?
    fn slot(&self, cidr: &PodCidr) -> (Option<&Claim>, bool) {
        let name = slot_name(cidr);
        let claim = self.record(Place::Claims, &name);
        match claim.and_then(|file| file.record.as_ref()) {
            Some(Record::Held(claim)) => (Some(claim), false),
            _ => (None, claim.is_some() || self.record(Place::Quarantine, &name).is_some()),
        }
    }

    fn tell(&mut self, key: Key, tell: &mut dyn FnMut(Event)) {
        let mut news = Vec::new();
        match key {
            Key::Slot(cidr) => {
                let (claim, quarantined) = self.slot(&cidr);
                let claim = claim.cloned();
                let (was, was_quarantined) = (self.told.claims.get(&cidr), self.told.quarantined.contains(&cidr));
                if was != claim.as_ref() {
                    news.push(Event::Claim(cidr, claim.clone()));
                }
                if was_quarantined != quarantined {
                    news.push(Event::Quarantined(cidr, quarantined));
                }
                match claim {
                    Some(claim) => drop(self.told.claims.insert(cidr, claim)),
                    None => drop(self.told.claims.remove(&cidr)),
                }
                if quarantined {
                    self.told.quarantined.insert(cidr)
                } else {
                    self.told.quarantined.remove(&cidr)
                };
            }
            Key::Phase(node) => {
                let phase = match self.record(Place::Phases, &super::record::phase_name(&node)) {
                    Some(File { record: Some(Record::Phase(phase)), .. }) => Some(phase.clone()),
                    _ => None,
                };
                if self.told.phases.get(&node) != phase.as_ref() {
                    news.push(Event::Phase(node.clone(), phase.clone()));
                }
                match phase {
                    Some(phase) => drop(self.told.phases.insert(node, phase)),
                    None => drop(self.told.phases.remove(&node)),
                }
            }
            Key::Digest => {
                let digest = match self.record(Place::Root, super::record::DIGEST) {
                    Some(File { record: Some(Record::Digest(digest)), .. }) => Some(digest.clone()),
                    _ => None,
                };
                if self.told.digest != digest {
                    news.push(Event::Digest(digest.clone()));
                }
                self.told.digest = digest;
            }
            Key::Wish => {
                let wish = match self.record(Place::Root, super::record::WISH) {
                    Some(File { record: Some(Record::Wish(wish)), .. }) => Some(wish.clone()),
                    _ => None,
                };
                if self.told.wish != wish {
                    news.push(Event::Wish(wish.clone()));
                }
                self.told.wish = wish;
            }
        }
        self.told.revision += u64::from(!news.is_empty());
        news.into_iter().for_each(tell);
    }

    fn complain(&mut self, disk: &Disk, tell: &mut dyn FnMut(Event)) {
        for ((place, name), wrong) in &mut self.wrong {
            if wrong.told || wrong.since.elapsed() < PATIENCE {
                continue;
            }
            wrong.told = true;
            let path = disk.file(*place, name);
            let left_out = match place {
                Place::Claims | Place::Quarantine if Key::of(*place, name).is_some() => "its pod CIDR stays taken",
                _ => "it is left out",
            };
            tell(Event::Warn(format!("{}: {}; {left_out}; mend or remove the file", path.display(), wrong.why)));
        }
    }

    /// Two claims that share addresses cannot come about through us, but by a backup that was put back.
    fn find_overlaps(&mut self, tell: &mut dyn FnMut(Event)) {
        let mut found = BTreeSet::new();
        let mut open: Vec<PodCidr> = Vec::new();
        // In order of address a prefix is followed by all that lies inside it.
        for cidr in self.told.claims.keys() {
            while open.last().is_some_and(|outer| !outer.0.covers(&cidr.0)) {
                open.pop();
            }
            found.extend(open.iter().map(|outer| (*outer, *cidr)));
            open.push(*cidr);
        }
        for (outer, inner) in found.difference(&self.overlapping) {
            let node = |cidr| self.told.claims.get(cidr).map_or("", |claim| claim.node.as_str());
            tell(Event::Warn(format!(
                "claims {outer} of {} and {inner} of {} overlap; release one of them",
                node(outer),
                node(inner)
            )));
        }
        self.overlapping = found;
    }

    /// When a complaint becomes due, if none is already.
    pub(crate) fn next_complaint(&self) -> Option<Instant> {
        self.wrong.values().filter(|wrong| !wrong.told).map(|wrong| wrong.since + PATIENCE).min()
    }

    /// The freed pod CIDRs, and how long each is to be left alone yet.
    pub(crate) fn freed(&self, quarantine: Duration, boot_id: &str) -> Vec<(Duration, Due)> {
        let clocks = Released::now(boot_id);
        let freed = self.freed.iter().filter_map(|(place, cidr)| {
            let file = self.record(*place, &slot_name(cidr))?;
            let seen = file.since.elapsed();
            if *place == Place::Claims {
                return Some((PATIENCE.saturating_sub(seen), Due::FinishRelease(*cidr)));
            }
            let Some(Record::Freed(released)) = &file.record else { return None };
            let left = quarantine.saturating_sub(released.age(&clocks));
            let left_by_sight = quarantine.saturating_sub(seen);
            let stamp = (left_by_sight < left).then_some(file.stamp);
            Some((left.min(left_by_sight), Due::EndQuarantine(*cidr, stamp)))
        });
        let unreadable = self.wrong.keys().filter_map(|(place, name)| {
            let (Place::Quarantine, Some(Key::Slot(cidr))) = (*place, Key::of(*place, name)) else { return None };
            let file = self.files.get(&(Place::Quarantine, name.clone())).filter(|file| file.record.is_none())?;
            let left = quarantine.saturating_sub(file.since.elapsed());
            Some((left, Due::EndQuarantine(cidr, Some(file.stamp))))
        });
        freed.chain(unreadable).collect()
    }
}
