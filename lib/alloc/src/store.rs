//! What a store of claims must promise.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeName, PodCidr};

use crate::{Claim, Taken};

/// Everything that is taken, complete as of `revision`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Claims by pod CIDR.
    pub claims: BTreeMap<PodCidr, Claim>,
    /// Pod CIDRs that nobody holds and nobody may claim yet.
    pub quarantined: BTreeSet<PodCidr>,
    /// Counts up with changes; its steps mean nothing.
    pub revision: u64,
}

impl Listing {
    /// The same in the form that [`crate::choose`] takes. A claim wins over a quarantine of the same pod CIDR.
    pub fn taken(&self) -> BTreeMap<PodCidr, Taken> {
        let quarantined = self.quarantined.iter().map(|cidr| (*cidr, Taken::Quarantined));
        let claims = self.claims.iter().map(|(cidr, claim)| (*cidr, Taken::Claimed(claim.node.clone())));
        quarantined.chain(claims).collect()
    }
}

/// Answer to a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The claim is ours now, or was already.
    Created,
    /// Another claim or a quarantine covers the pod CIDR or a part of it.
    Taken,
}

/// Answer to an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// Written.
    Updated,
    /// The claim is gone, or another node's.
    NotOurs,
}

/// Answer to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// In quarantine now, or nobody held it.
    Released,
    /// It is another node's; untouched.
    NotOurs,
}

/// Where claims are kept. Each call is atomic towards every other caller, and when it has returned `Ok` its effect
/// survives a crash. After an `Err` the effect may or may not be there: list again before choosing anything.
pub trait ClaimStore {
    /// Why the store could not answer.
    type Error;

    /// The complete list.
    fn list(&mut self) -> Result<Listing, Self::Error>;

    /// Creates the claim unless its pod CIDR overlaps a claim or a quarantine. A claim of the same node on the same pod
    /// CIDR is `Created` again, with the new content: the answer to an earlier try may have been lost.
    fn create(&mut self, claim: &Claim) -> Result<Created, Self::Error>;

    /// Replaces the content of a claim that its node still holds.
    fn update(&mut self, claim: &Claim) -> Result<Updated, Self::Error>;

    /// Frees a claim that `node` holds; the pod CIDR is in quarantine from then on.
    fn release(&mut self, pod_cidr: &PodCidr, node: &NodeName) -> Result<Released, Self::Error>;
}
