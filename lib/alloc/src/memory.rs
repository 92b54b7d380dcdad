//! A store in memory, which can be made to die in the middle of a call.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Moment, NodeName, PodCidr};

use crate::{Claim, ClaimStore, Created, Listing, Released, Updated};

/// The caller died in the middle of a call: what it had written until then stands, nothing after it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("crashed")]
pub struct Crashed;

/// A [`ClaimStore`] in memory, built like the files store: a record a pod CIDR, freed by marking it as released first
/// and moving it to the quarantine second, so that the same crashes are possible in between.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    claims: BTreeMap<PodCidr, Record>,
    quarantine: BTreeMap<PodCidr, Moment>,
    now: Moment,
    revision: u64,
    writes_left: Option<u32>,
}

#[derive(Clone, Debug)]
struct Record {
    claim: Claim,
    /// Set when it was released: from then on it is a quarantine, wherever it lies.
    released: Option<Moment>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Lets the caller die after `writes` more writes; `None` lets it live.
    pub fn crash_after(&mut self, writes: Option<u32>) {
        self.writes_left = writes;
    }

    /// Sets the clock, tidies up what a crash left half done, and frees what was in quarantine for `quarantine`.
    pub fn expire(&mut self, now: Moment, quarantine: Duration) -> Result<(), Crashed> {
        self.now = now;
        let half_done: Vec<PodCidr> =
            self.claims.iter().filter(|(_, record)| record.released.is_some()).map(|(cidr, _)| *cidr).collect();
        for cidr in half_done {
            self.move_to_quarantine(&cidr)?;
        }
        let over: Vec<PodCidr> =
            self.quarantine.iter().filter(|(_, at)| now.since(**at) >= quarantine).map(|(cidr, _)| *cidr).collect();
        for cidr in over {
            self.write()?;
            self.quarantine.remove(&cidr);
        }
        Ok(())
    }

    /// One durable write; everything before it stands when the caller dies here.
    fn write(&mut self) -> Result<(), Crashed> {
        match &mut self.writes_left {
            Some(0) => return Err(Crashed),
            Some(left) => *left -= 1,
            None => {}
        }
        self.revision += 1;
        Ok(())
    }

    fn move_to_quarantine(&mut self, cidr: &PodCidr) -> Result<(), Crashed> {
        self.write()?;
        if let Some(at) = self.claims.remove(cidr).and_then(|record| record.released) {
            self.quarantine.insert(*cidr, at);
        }
        Ok(())
    }
}

impl ClaimStore for MemoryStore {
    type Error = Crashed;

    fn list(&mut self) -> Result<Listing, Crashed> {
        let held = self.claims.iter().filter(|(_, record)| record.released.is_none());
        let freed = self.claims.iter().filter(|(_, record)| record.released.is_some());
        Ok(Listing {
            claims: held.map(|(cidr, record)| (*cidr, record.claim.clone())).collect(),
            quarantined: self.quarantine.keys().chain(freed.map(|(cidr, _)| cidr)).copied().collect(),
            revision: self.revision,
        })
    }

    fn create(&mut self, claim: &Claim) -> Result<Created, Crashed> {
        if self.update(claim)? == Updated::Updated {
            return Ok(Created::Created);
        }
        let mut others = self.claims.keys().chain(self.quarantine.keys());
        if others.any(|other| other.0.overlaps(&claim.pod_cidr.0)) {
            return Ok(Created::Taken);
        }
        self.write()?;
        self.claims.insert(claim.pod_cidr, Record { claim: claim.clone(), released: None });
        Ok(Created::Created)
    }

    fn update(&mut self, claim: &Claim) -> Result<Updated, Crashed> {
        let held = self.claims.get(&claim.pod_cidr);
        if !held.is_some_and(|record| record.released.is_none() && record.claim.node == claim.node) {
            return Ok(Updated::NotOurs);
        }
        self.write()?;
        self.claims.insert(claim.pod_cidr, Record { claim: claim.clone(), released: None });
        Ok(Updated::Updated)
    }

    fn release(&mut self, pod_cidr: &PodCidr, node: &NodeName) -> Result<Released, Crashed> {
        match self.claims.get(pod_cidr) {
            None => return Ok(Released::Released),
            Some(record) if record.released.is_some() => {}
            Some(record) if record.claim.node != *node => return Ok(Released::NotOurs),
            Some(_) => {
                self.write()?;
                let now = self.now;
                if let Some(record) = self.claims.get_mut(pod_cidr) {
                    record.released = Some(now);
                }
            }
        }
        self.move_to_quarantine(pod_cidr)?;
        Ok(Released::Released)
    }
}
