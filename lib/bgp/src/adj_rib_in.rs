//! Adj-RIB-In: what one peer has announced. Accepted paths in full, refused ones as a word each.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use model::{Family, Prefix, PrefixMap};

use crate::policy::Refusal;
use crate::route::Route;

/// A path that passed the policy.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    pub(crate) route: Arc<Route>,
    /// Number of the session that announced it last.
    pub(crate) generation: u32,
}

/// Adj-RIB-In of one peer. Its size is bounded by the peer's max-prefix: refused prefixes count too.
#[derive(Debug, Default)]
pub(crate) struct AdjRibIn {
    accepted: PrefixMap<Accepted>,
    refused: BTreeMap<Prefix, Refusal>,
    counts: [(usize, usize); 2],
    /// Number of the session that announces now, or announced last.
    generation: u32,
    /// Accepted paths of earlier generations, by family.
    old: [usize; 2],
}

impl AdjRibIn {
    /// A new session: what is there is old, until it is said again.
    pub(crate) fn begin_generation(&mut self) {
        self.generation += 1;
        self.old = self.counts.map(|(accepted, _)| accepted);
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Accepted paths that the current generation has not announced.
    pub(crate) fn old(&self) -> usize {
        self.old.iter().sum()
    }

    /// The same, of one family.
    pub(crate) fn old_of(&self, family: Family) -> usize {
        self.old[family as usize]
    }

    /// Number of prefixes that the current generation has announced, refused ones too.
    pub(crate) fn received(&self) -> usize {
        self.accepted.len() + self.refused.len() - self.old()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.accepted.is_empty() && self.refused.is_empty()
    }

    /// Accepted and refused of one family.
    pub(crate) fn counts(&self, family: Family) -> (usize, usize) {
        self.counts[family as usize]
    }

    /// A path that passed the policy, in place of whatever the peer said of the prefix before.
    pub(crate) fn accept(&mut self, prefix: Prefix, route: Arc<Route>) {
        if !self.refused.is_empty() && self.refused.remove(&prefix).is_some() {
            self.counts[prefix.family() as usize].1 -= 1;
        }
        match self.accepted.insert(prefix, Accepted { route, generation: self.generation }) {
            None => self.counts[prefix.family() as usize].0 += 1,
            Some(before) => self.old[prefix.family() as usize] -= usize::from(before.generation < self.generation),
        }
    }

    /// A prefix that did not pass. Was there an accepted path for it before?
    pub(crate) fn refuse(&mut self, prefix: Prefix, refusal: Refusal) -> bool {
        if self.refused.insert(prefix, refusal).is_none() {
            self.counts[prefix.family() as usize].1 += 1;
        }
        self.remove_accepted(&prefix)
    }

    /// The peer takes a prefix back. Was there an accepted path for it?
    pub(crate) fn withdraw(&mut self, prefix: &Prefix) -> bool {
        if !self.refused.is_empty() && self.refused.remove(prefix).is_some() {
            self.counts[prefix.family() as usize].1 -= 1;
        }
        self.remove_accepted(prefix)
    }

    pub(crate) fn remove_accepted(&mut self, prefix: &Prefix) -> bool {
        let Some(before) = self.accepted.remove(prefix) else { return false };
        self.counts[prefix.family() as usize].0 -= 1;
        self.old[prefix.family() as usize] -= usize::from(before.generation < self.generation);
        true
    }

    /// Another route for an accepted path, which stays as old as it is.
    pub(crate) fn set_route(&mut self, prefix: Prefix, route: Arc<Route>) {
        if let Some(accepted) = self.accepted.get_mut(&prefix) {
            accepted.route = route;
        }
    }

    /// Refused prefixes are said anew by the next session.
    pub(crate) fn forget_refused(&mut self) {
        self.refused.clear();
        self.counts[0].1 = 0;
        self.counts[1].1 = 0;
    }

    pub(crate) fn accepted(&self, prefix: &Prefix) -> Option<&Accepted> {
        self.accepted.get(prefix)
    }

    /// Accepted paths behind a prefix; all of them for `None`.
    pub(crate) fn accepted_after(&self, prefix: Option<Prefix>) -> impl Iterator<Item = (Prefix, &Accepted)> {
        let from = prefix.map_or(Bound::Unbounded, Bound::Excluded);
        self.accepted.range(from)
    }

    /// Refused prefixes, from one on.
    pub(crate) fn refused_from(&self, prefix: Option<Prefix>) -> impl Iterator<Item = (&Prefix, &Refusal)> {
        let from = prefix.map_or(Bound::Unbounded, Bound::Included);
        self.refused.range((from, Bound::Unbounded))
    }

    pub(crate) fn refused(&self, prefix: &Prefix) -> Option<Refusal> {
        self.refused.get(prefix).copied()
    }
}
