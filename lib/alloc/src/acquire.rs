//! Taking a slot of a pool from a store, one store call a step.

use model::{ClusterPool, NodeName, PodCidr, Reach, Uid};

use crate::{Choice, Claim, ClaimStore, Created, Updated, choose};

/// A slot that the node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// The claim as it stands in the store.
    pub claim: Claim,
    /// It was the node's before.
    pub kept: bool,
}

/// Why a node has no slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError<E> {
    /// The store could not answer; start over when it can.
    #[error("{0}")]
    Store(E),
    /// The pool has no free slot.
    #[error(
        "pool {pool} is exhausted: {claimed} claimed, {quarantined} in quarantine; add a pool, or remove nodes that are gone"
    )]
    Full {
        /// The pool.
        pool: ClusterPool,
        /// Claims in it.
        claimed: u64,
        /// Quarantined pod CIDRs in it.
        quarantined: u64,
    },
}

/// Where an acquisition stands after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call [`Acquire::step`] again.
    Again,
    /// The slot is held.
    Held(Acquired),
}

/// An acquisition under way: list, choose, create; after `Taken` from the start. Dropping it between any two steps is
/// safe: what it may have created is kept by the next acquisition of the same node.
#[derive(Clone, Debug)]
pub struct Acquire {
    pool: ClusterPool,
    node: NodeName,
    uid: Uid,
    reach: Reach,
    next: Next,
}

#[derive(Clone, Debug)]
enum Next {
    List,
    Create(PodCidr),
    Update(PodCidr),
}

impl Acquire {
    /// An acquisition that has done nothing yet.
    pub fn new(pool: ClusterPool, node: NodeName, uid: Uid, reach: Reach) -> Acquire {
        Acquire { pool, node, uid, reach, next: Next::List }
    }

    /// Does one store call.
    pub fn step<S: ClaimStore>(&mut self, store: &mut S) -> Result<Step, AcquireError<S::Error>> {
        match std::mem::replace(&mut self.next, Next::List) {
            Next::List => {
                let listing = store.list().map_err(AcquireError::Store)?;
                match choose(&self.pool, &listing.taken(), &self.node) {
                    Choice::Keep(cidr) => match listing.claims.get(&cidr) {
                        Some(held) if *held == self.claim(cidr) => {
                            return Ok(Step::Held(Acquired { claim: held.clone(), kept: true }));
                        }
                        _ => self.next = Next::Update(cidr),
                    },
                    Choice::Try(cidr) => self.next = Next::Create(cidr),
                    Choice::Full { pool, claimed, quarantined } => {
                        return Err(AcquireError::Full { pool, claimed, quarantined });
                    }
                }
            }
            Next::Create(cidr) => {
                let claim = self.claim(cidr);
                if store.create(&claim).map_err(AcquireError::Store)? == Created::Created {
                    return Ok(Step::Held(Acquired { claim, kept: false }));
                }
            }
            Next::Update(cidr) => {
                let claim = self.claim(cidr);
                if store.update(&claim).map_err(AcquireError::Store)? == Updated::Updated {
                    return Ok(Step::Held(Acquired { claim, kept: true }));
                }
            }
        }
        Ok(Step::Again)
    }

    fn claim(&self, pod_cidr: PodCidr) -> Claim {
        Claim { pod_cidr, node: self.node.clone(), uid: self.uid.clone(), reach: self.reach.clone() }
    }
}

/// Runs an [`Acquire`] to its end.
pub fn acquire<S: ClaimStore>(store: &mut S, mut acquire: Acquire) -> Result<Acquired, AcquireError<S::Error>> {
    loop {
        if let Step::Held(acquired) = acquire.step(store)? {
            return Ok(acquired);
        }
    }
}
