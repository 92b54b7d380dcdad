//! Changes of claims, quarantine and wish.
//!
//! All of them are made under the store's lock: a claim is unique by its file's name already, but only under a lock can
//! "not in quarantine, no claim of another length overlaps, so create" be one step. `flock` goes with the process, so a
//! crash leaves no lock, and every order of writes below leaves a state that everybody reads the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alloc::{Claim, ClaimStore, Created, Listing, Released, Updated};
use model::{NodeName, PodCidr, Wish};

use super::disk::{Disk, Stamp};
use super::record::{self, ClaimFile, Key, Place, Record, slot_name};
use super::trouble::Trouble;

impl ClaimStore for Disk {
    type Error = Trouble;

    fn list(&mut self) -> Result<Listing, Trouble> {
        let mut listing = Listing { claims: BTreeMap::new(), quarantined: BTreeSet::new(), revision: 0 };
        // Quarantine last: what moves there in between is seen at least once.
        for place in [Place::Claims, Place::Quarantine] {
            for name in self.names(place)? {
                let Some(Key::Slot(cidr)) = Key::of(place, &name) else { continue };
                match self.record(place, &cidr)? {
                    Slot::Free => {}
                    Slot::Held(claim) => drop(listing.claims.insert(cidr, *claim)),
                    Slot::Freed(_) | Slot::Unreadable => drop(listing.quarantined.insert(cidr)),
                }
            }
        }
        Ok(listing)
    }

    fn create(&mut self, claim: &Claim) -> Result<Created, Trouble> {
        let name = slot_name(&claim.pod_cidr);
        self.prepare_claim(claim, None)?;
        let lock = self.lock_store().inspect_err(|_| self.discard_prepared())?;
        let created = match self.record(Place::Claims, &claim.pod_cidr)? {
            // Ours from an earlier try whose answer was lost, or with old content.
            Slot::Held(held) if held.node == claim.node => {
                self.replace_prepared(Place::Claims, &name)?;
                true
            }
            Slot::Free if !self.overlaps(&claim.pod_cidr)? => self.create_prepared(Place::Claims, &name)?,
            _ => false,
        };
        drop(lock);
        if !created {
            self.discard_prepared();
            return Ok(Created::Taken);
        }
        self.sync(Place::Claims)?;
        Ok(Created::Created)
    }

    fn update(&mut self, claim: &Claim) -> Result<Updated, Trouble> {
        self.prepare_claim(claim, None)?;
        let lock = self.lock_store().inspect_err(|_| self.discard_prepared())?;
        match self.record(Place::Claims, &claim.pod_cidr)? {
            Slot::Held(held) if held.node == claim.node => {
                self.replace_prepared(Place::Claims, &slot_name(&claim.pod_cidr))?;
            }
            _ => {
                self.discard_prepared();
                return Ok(Updated::NotOurs);
            }
        }
        drop(lock);
        self.sync(Place::Claims)?;
        Ok(Updated::Updated)
    }

    /// Two steps, each of which leaves a readable state: the claim is marked as released in place, which frees it for
    /// every reader, and then moved to the quarantine. Whoever finds one that was left in between moves it.
    fn release(&mut self, pod_cidr: &PodCidr, node: &NodeName) -> Result<Released, Trouble> {
        let name = slot_name(pod_cidr);
        let _lock = self.lock_store()?;
        match self.record(Place::Claims, pod_cidr)? {
            Slot::Free => return Ok(Released::Released),
            Slot::Unreadable => return Ok(Released::NotOurs),
            Slot::Held(held) => {
                if held.node != *node {
                    return Ok(Released::NotOurs);
                }
                self.prepare_claim(&held, Some(record::Released::now(self.boot_id())))?;
                self.replace_prepared(Place::Claims, &name)?;
                self.sync(Place::Claims)?;
            }
            Slot::Freed(_) => {}
        }
        self.quarantine(&name)?;
        Ok(Released::Released)
    }
}

/// What a file of a slot says.
enum Slot {
    Free,
    Held(Box<Claim>),
    Freed(record::Released),
    Unreadable,
}

impl Disk {
    /// Ends a quarantine that is over: released `time` ago, or still the file that the caller has seen there for so
    /// long (`seen`), whatever the clocks did or the file says.
    pub(crate) fn end_quarantine(&self, cidr: &PodCidr, time: Duration, seen: Option<Stamp>) -> Result<(), Trouble> {
        let _lock = self.lock_store()?;
        let name = slot_name(cidr);
        let over = match self.record(Place::Quarantine, cidr)? {
            Slot::Freed(released) => released.age(&record::Released::now(self.boot_id())) >= time,
            _ => false,
        };
        if over || (seen.is_some() && seen == self.stamp(Place::Quarantine, &name)?) {
            self.remove(Place::Quarantine, &name)?;
            self.sync(Place::Quarantine)?;
        }
        Ok(())
    }

    /// Moves a freed claim, which its node did not live to move, to the quarantine.
    pub(crate) fn finish_release(&self, cidr: &PodCidr) -> Result<(), Trouble> {
        let _lock = self.lock_store()?;
        if let Slot::Freed(_) = self.record(Place::Claims, cidr)? {
            self.quarantine(&slot_name(cidr))?;
        }
        Ok(())
    }

    /// Writes the wish unless another of the same or a later generation is there; false if so.
    pub(crate) fn wish(&self, wish: Option<&Wish>) -> Result<bool, Trouble> {
        let _lock = self.lock_store()?;
        let Some(wish) = wish else {
            self.remove(Place::Root, record::WISH)?;
            self.sync(Place::Root)?;
            return Ok(true);
        };
        if let Some(Ok(content)) = self.read(Place::Root, record::WISH)?
            && let Ok(Record::Wish(there)) = Record::parse(Place::Root, &Key::Wish, &content)
        {
            if there == *wish {
                return Ok(true);
            }
            if there.generation >= wish.generation {
                return Ok(false);
            }
        }
        self.replace(Place::Root, record::WISH, &json(wish)?)?;
        Ok(true)
    }

    fn quarantine(&self, name: &str) -> Result<(), Trouble> {
        self.shift(Place::Claims, Place::Quarantine, name)?;
        // The new name before the old one's end: a power cut in between shows it twice, never not at all.
        self.sync(Place::Quarantine)?;
        self.sync(Place::Claims)
    }

    fn prepare_claim(&self, claim: &Claim, released: Option<record::Released>) -> Result<(), Trouble> {
        self.prepare(&json(&ClaimFile { claim: claim.clone(), released })?)
    }

    fn record(&self, place: Place, cidr: &PodCidr) -> Result<Slot, Trouble> {
        Ok(match self.read(place, &slot_name(cidr))? {
            None => Slot::Free,
            Some(Err(_)) => Slot::Unreadable,
            Some(Ok(content)) => match Record::parse(place, &Key::Slot(*cidr), &content) {
                Ok(Record::Held(claim)) => Slot::Held(Box::new(claim)),
                Ok(Record::Freed(released)) => Slot::Freed(released),
                _ => Slot::Unreadable,
            },
        })
    }

    /// Does a claim or a quarantine share addresses with `cidr`?
    fn overlaps(&self, cidr: &PodCidr) -> Result<bool, Trouble> {
        for place in [Place::Claims, Place::Quarantine] {
            let overlaps =
                |name: &String| matches!(Key::of(place, name), Some(Key::Slot(other)) if other.0.overlaps(&cidr.0));
            if self.names(place)?.iter().any(overlaps) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// As people read it, one field a line, with a newline at the end.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, Trouble> {
    let mut text =
        serde_json::to_vec_pretty(value).map_err(|error| Trouble::said(format!("cannot encode: {error}")))?;
    text.push(b'\n');
    Ok(text)
}
