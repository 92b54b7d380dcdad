//! Adj-RIB-In: what one peer has announced. Accepted paths in full, refused ones as a word each.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use model::{Family, Prefix, PrefixMap};

use crate::policy::Refusal;
use crate::route::Route;

/// A prefix, and the identifier that the peer gives its path (RFC 7911); 0 without.
pub(crate) type PathKey = (Prefix, u32);

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
    /// Paths with identifier 0, so nearly always all.
    accepted: PrefixMap<Accepted>,
    /// The others.
    identified: BTreeMap<PathKey, Accepted>,
    refused: BTreeMap<PathKey, Refusal>,
    counts: [(usize, usize); 2],
    /// What is announced now has this number, by family: another one with each session and each refresh of its family.
    generations: [u32; 2],
    /// The number with which the session that announces now, or announced last, began.
    session: u32,
    /// Accepted paths of earlier generations, by family.
    old: [usize; 2],
}

impl AdjRibIn {
    /// A new session: what is there is old, until it is said again.
    pub(crate) fn begin_generation(&mut self) {
        self.session = self.generation() + 1;
        self.generations = [self.session; 2];
        self.old = self.counts.map(|(accepted, _)| accepted);
    }

    /// The peer tells a family again (RFC 7313): what is there is old, until it is said again.
    pub(crate) fn begin_refresh(&mut self, family: Family) {
        self.generations[family as usize] = self.generation() + 1;
        self.old[family as usize] = self.counts[family as usize].0;
        let before = self.refused.len();
        self.refused.retain(|(prefix, _), _| prefix.family() != family);
        if before > self.refused.len() {
            self.counts[family as usize].1 = 0;
        }
    }

    /// The newest number of any family: there is no path with a greater one.
    pub(crate) fn generation(&self) -> u32 {
        self.generations[0].max(self.generations[1])
    }

    /// The newest number of a family.
    pub(crate) fn generation_of(&self, family: Family) -> u32 {
        self.generations[family as usize]
    }

    /// What has a smaller number is from an earlier session.
    pub(crate) fn session(&self) -> u32 {
        self.session
    }

    /// Accepted paths that the current generation has not announced.
    pub(crate) fn old(&self) -> usize {
        self.old.iter().sum()
    }

    /// The same, of one family.
    pub(crate) fn old_of(&self, family: Family) -> usize {
        self.old[family as usize]
    }

    /// Number of paths that the current generation has announced, refused ones too.
    pub(crate) fn received(&self) -> usize {
        self.accepted.len() + self.identified.len() + self.refused.len() - self.old()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.accepted.is_empty() && self.identified.is_empty() && self.refused.is_empty()
    }

    /// Accepted and refused of one family.
    pub(crate) fn counts(&self, family: Family) -> (usize, usize) {
        self.counts[family as usize]
    }

    /// A path that passed the policy, in place of whatever the peer said under the same identifier before.
    pub(crate) fn accept(&mut self, path: PathKey, route: Arc<Route>) {
        self.remove_refused(&path);
        let accepted = Accepted { route, generation: self.generation_of(path.0.family()) };
        let before = match path {
            (prefix, 0) => self.accepted.insert(prefix, accepted),
            path => self.identified.insert(path, accepted),
        };
        match before {
            None => self.counts[path.0.family() as usize].0 += 1,
            Some(before) => {
                self.old[path.0.family() as usize] -=
                    usize::from(before.generation < self.generation_of(path.0.family()))
            }
        }
    }

    /// A path that did not pass. Was there an accepted one in its place before?
    pub(crate) fn refuse(&mut self, path: PathKey, refusal: Refusal) -> bool {
        if self.refused.insert(path, refusal).is_none() {
            self.counts[path.0.family() as usize].1 += 1;
        }
        self.remove_accepted(&path)
    }

    /// The peer takes a path back. Was it an accepted one?
    pub(crate) fn withdraw(&mut self, path: &PathKey) -> bool {
        self.remove_refused(path);
        self.remove_accepted(path)
    }

    pub(crate) fn remove_accepted(&mut self, path: &PathKey) -> bool {
        let removed = match path {
            (prefix, 0) => self.accepted.remove(prefix),
            path => self.identified.remove(path),
        };
        let Some(before) = removed else { return false };
        self.counts[path.0.family() as usize].0 -= 1;
        self.old[path.0.family() as usize] -= usize::from(before.generation < self.generation_of(path.0.family()));
        true
    }

    fn remove_refused(&mut self, path: &PathKey) {
        if !self.refused.is_empty() && self.refused.remove(path).is_some() {
            self.counts[path.0.family() as usize].1 -= 1;
        }
    }

    /// Another route for an accepted path, which stays as old as it is.
    pub(crate) fn set_route(&mut self, path: &PathKey, route: Arc<Route>) {
        let accepted = match path {
            (prefix, 0) => self.accepted.get_mut(prefix),
            path => self.identified.get_mut(path),
        };
        if let Some(accepted) = accepted {
            accepted.route = route;
        }
    }

    /// Refused paths are said anew by the next session.
    pub(crate) fn forget_refused(&mut self) {
        self.refused.clear();
        self.counts[0].1 = 0;
        self.counts[1].1 = 0;
    }

    /// Accepted paths for a prefix.
    pub(crate) fn accepted(&self, prefix: &Prefix) -> impl Iterator<Item = (PathKey, &Accepted)> {
        let prefix = *prefix;
        let plain = self.accepted.get(&prefix).map(|accepted| ((prefix, 0), accepted));
        let identified = self.identified.range((prefix, 0)..=(prefix, u32::MAX));
        plain.into_iter().chain(identified.map(|(path, accepted)| (*path, accepted)))
    }

    /// Accepted paths behind one; all of them for `None`. Those with an identifier come behind all that have none.
    pub(crate) fn accepted_after(&self, path: Option<PathKey>) -> impl Iterator<Item = (PathKey, &Accepted)> {
        let (plain, identified) = match path {
            None => (Some(Bound::Unbounded), Bound::Unbounded),
            Some((prefix, 0)) => (Some(Bound::Excluded(prefix)), Bound::Unbounded),
            Some(path) => (None, Bound::Excluded(path)),
        };
        let plain = plain.into_iter().flat_map(|from| self.accepted.range(from));
        let identified = self.identified.range((identified, Bound::Unbounded));
        plain
            .map(|(prefix, accepted)| ((prefix, 0), accepted))
            .chain(identified.map(|(path, accepted)| (*path, accepted)))
    }

    /// Names the refusals anew that `why` has a reason for; one for the path's attributes is the first that is asked for,
    /// and stays.
    pub(crate) fn name_refusals(&mut self, why: impl Fn(&Prefix) -> Option<Refusal>) {
        for ((prefix, _), refusal) in &mut self.refused {
            if !matches!(refusal, Refusal::AsLoop | Refusal::ReflectedLoop)
                && let Some(why) = why(prefix)
            {
                *refusal = why;
            }
        }
    }

    /// All refused paths.
    pub(crate) fn all_refused(&self) -> impl Iterator<Item = (&PathKey, &Refusal)> {
        self.refused.iter()
    }

    /// Refused paths for a prefix.
    pub(crate) fn refused(&self, prefix: &Prefix) -> impl Iterator<Item = (&PathKey, &Refusal)> {
        self.refused.range((*prefix, 0)..=(*prefix, u32::MAX))
    }
}
