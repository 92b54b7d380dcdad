//! Adj-RIB-Out: what one peer has been told, and what it is still to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use model::{Family, Prefix, PrefixMap};

use crate::export::Export;

/// What there is to tell.
pub(crate) trait Tables {
    /// Up to `at_most` own prefixes behind one.
    fn own_after(&self, after: Option<Prefix>, at_most: usize) -> Vec<Prefix>;
    /// Up to `at_most` learnt prefixes behind one that the peer might be told.
    fn learnt_after(&self, after: Option<Prefix>, at_most: usize) -> Vec<Prefix>;
    /// Is that everything? If not, End-of-RIB waits for a look at the whole when it is.
    fn are_complete(&self) -> bool;
    /// What the peer should hold of a prefix now, with the path identifiers: mostly one path, or none.
    fn wanted(&mut self, prefix: &Prefix, paths: &mut Vec<(u32, Arc<Export>)>);
}

/// A prefix, and the identifier of one of its paths; 0 without RFC 7911.
pub(crate) type PathKey = (Prefix, u32);

/// What to send next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) withdraw: BTreeMap<Family, Vec<PathKey>>,
    pub(crate) announce: BTreeMap<(Family, Arc<Export>), Vec<PathKey>>,
    /// Told in full for the first time in this session.
    pub(crate) end_of_rib: Vec<Family>,
    /// From here on told again in full: what is announced comes behind this.
    pub(crate) begins: Vec<Family>,
    /// Told again in full, as the peer had asked (RFC 2918, RFC 7313).
    pub(crate) refreshed: Vec<Family>,
    /// Prefixes looked at.
    pub(crate) looked_at: usize,
}

/// Adj-RIB-Out of one session.
#[derive(Debug, Default)]
pub(crate) struct AdjRibOut {
    told: PrefixMap<Told>,
    /// Paths told, by family.
    counts: [usize; 2],
    families: BTreeSet<Family>,
    /// Prefixes to look at.
    pending: BTreeSet<Prefix>,
    /// Announcements are held back (RFC 4271 section 9.2.1.1).
    quiet: bool,
    /// Prefixes with announcements that were.
    held: BTreeSet<Prefix>,
    sweep: Option<Sweep>,
    /// The next sweep: families to look at, and those of them to say again even if it was said.
    next: Option<(BTreeSet<Family>, BTreeSet<Family>)>,
    /// Families whose End-of-RIB follows the sweep under way.
    end_of_rib: BTreeSet<Family>,
}

/// Mostly one path.
#[derive(Debug)]
enum Told {
    One((u32, Arc<Export>)),
    Many(Vec<(u32, Arc<Export>)>),
}

/// A look at the whole table, in slices: own prefixes, then learnt ones, then what was told and is in neither.
#[derive(Debug)]
struct Sweep {
    families: BTreeSet<Family>,
    again: BTreeSet<Family>,
    stage: Stage,
    after: Option<Prefix>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Own,
    Learnt,
    Told,
}

impl AdjRibOut {
    /// So many single prefixes to look at are more than one look at the whole table, and cost memory.
    const MOST_PENDING: usize = 16_384;

    /// The initial dump of some families: everything, then End-of-RIB, also when there is nothing.
    pub(crate) fn open(families: &BTreeSet<Family>) -> AdjRibOut {
        let mut rib = AdjRibOut { families: families.clone(), ..AdjRibOut::default() };
        rib.end_of_rib = families.clone();
        rib.look_at_all();
        rib
    }

    /// Something about the prefix may be new.
    pub(crate) fn touch(&mut self, prefix: Prefix) {
        if !self.families.contains(&prefix.family()) {
            return;
        }
        self.pending.insert(prefix);
        if self.pending.len() > Self::MOST_PENDING {
            self.pending.clear();
            self.look_at_all();
        }
    }

    /// Anything may be new: what the peer should hold follows from something else than before.
    pub(crate) fn look_at_all(&mut self) {
        let (families, _) = self.next.get_or_insert_default();
        families.clone_from(&self.families);
    }

    /// The peer wants a family again (RFC 2918).
    pub(crate) fn refresh(&mut self, family: Family) {
        if self.families.contains(&family) {
            let (families, again) = self.next.get_or_insert_default();
            families.insert(family);
            again.insert(family);
        }
    }

    /// Holds announcements of single changes back from now on, or no longer.
    pub(crate) fn set_quiet(&mut self, quiet: bool) {
        self.quiet = quiet;
    }

    /// Is something held back?
    pub(crate) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Number of prefixes of which something is held back.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// What was held back may go.
    pub(crate) fn release(&mut self) {
        self.quiet = false;
        self.pending.append(&mut self.held);
    }

    /// Is anything to be looked at or to be sent?
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty() || self.sweep.is_some() || self.next.is_some()
    }

    /// Number of paths told, of one family.
    pub(crate) fn advertised(&self, family: Family) -> usize {
        self.counts[family as usize]
    }

    /// What was told, from a prefix on.
    pub(crate) fn told_from(&self, from: Option<Prefix>) -> impl Iterator<Item = (Prefix, u32, &Arc<Export>)> {
        let all = self.told.range(from.map_or(Bound::Unbounded, Bound::Included));
        all.flat_map(|(prefix, told)| told.paths().iter().map(move |(id, export)| (prefix, *id, export)))
    }

    /// What was told of a prefix.
    pub(crate) fn told_of(&self, prefix: &Prefix) -> &[(u32, Arc<Export>)] {
        self.told.get(prefix).map(Told::paths).unwrap_or_default()
    }

    /// Is an announcement of the prefix held back?
    pub(crate) fn holds_back(&self, prefix: &Prefix) -> bool {
        self.held.contains(prefix)
    }

    /// Looks at up to `at_most` prefixes: single ones first, so that no change waits behind the dump of a large table.
    /// Never says twice what was said, unless the peer asked.
    pub(crate) fn next_batch(&mut self, at_most: usize, tables: &mut impl Tables) -> Batch {
        let mut batch = Batch::default();
        let mut wanted = Vec::new();
        while batch.looked_at < at_most
            && let Some(prefix) = self.pending.pop_first()
        {
            if !(self.quiet && self.hold_back(prefix, tables, &mut wanted, &mut batch)) {
                self.look(prefix, false, tables, &mut wanted, &mut batch);
            }
        }
        while batch.looked_at < at_most {
            let begun = self.sweep.take();
            let fresh = begun.is_none();
            let Some(mut sweep) = begun.or_else(|| self.next_sweep()) else { break };
            if fresh {
                batch.begins = sweep.again.iter().copied().collect();
            }
            let room = at_most - batch.looked_at;
            let slice = match sweep.stage {
                Stage::Own => tables.own_after(sweep.after, room),
                Stage::Learnt => tables.learnt_after(sweep.after, room),
                Stage::Told => {
                    let behind = self.told.range(sweep.after.map_or(Bound::Unbounded, Bound::Excluded));
                    behind.take(room).map(|(prefix, _)| prefix).collect()
                }
            };
            let ended = slice.len() < room;
            sweep.after = slice.last().copied().filter(|_| !ended);
            for prefix in slice.into_iter().filter(|prefix| sweep.families.contains(&prefix.family())) {
                // In the last stage everything that is still there has been said in the ones before.
                let again = sweep.stage != Stage::Told && sweep.again.contains(&prefix.family());
                self.look(prefix, again, tables, &mut wanted, &mut batch);
            }
            // Of the other family, or nothing at all: it was work all the same, and must come to an end.
            batch.looked_at += 1;
            match (ended, sweep.stage) {
                (false, _) => self.sweep = Some(sweep),
                (true, Stage::Own) => self.sweep = Some(Sweep { stage: Stage::Learnt, ..sweep }),
                (true, Stage::Learnt) => self.sweep = Some(Sweep { stage: Stage::Told, ..sweep }),
                (true, Stage::Told) => {
                    if tables.are_complete() {
                        batch.end_of_rib = std::mem::take(&mut self.end_of_rib).into_iter().collect();
                    }
                    batch.refreshed = sweep.again.into_iter().collect();
                    // What these say comes behind everything before it, and before anything after.
                    break;
                }
            }
        }
        batch
    }

    fn next_sweep(&mut self) -> Option<Sweep> {
        let (families, again) = self.next.take()?;
        Some(Sweep { families, again, stage: Stage::Own, after: None })
    }

    /// Holds a prefix back if there is something to announce of it: what is withdrawn of it is so now. Is it held?
    fn hold_back(
        &mut self,
        prefix: Prefix,
        tables: &mut impl Tables,
        wanted: &mut Vec<(u32, Arc<Export>)>,
        batch: &mut Batch,
    ) -> bool {
        wanted.clear();
        tables.wanted(&prefix, wanted);
        let told = self.told.get(&prefix).map(Told::paths).unwrap_or_default();
        let is_told = |path: &(u32, Arc<Export>)| told.contains(path);
        if wanted.iter().all(is_told) {
            return false;
        }
        let mut kept = Vec::new();
        for path in told {
            match wanted.iter().any(|(id, _)| *id == path.0) {
                true => kept.push(path.clone()),
                false => batch.withdraw.entry(prefix.family()).or_default().push((prefix, path.0)),
            }
        }
        batch.looked_at += 1;
        self.counts[prefix.family() as usize] -= told.len() - kept.len();
        if kept.len() < told.len() {
            match kept.len() {
                0 => drop(self.told.remove(&prefix)),
                _ => drop(self.told.insert(prefix, Told::Many(kept))),
            }
        }
        self.held.insert(prefix);
        if self.held.len() > Self::MOST_PENDING {
            self.held.clear();
            self.look_at_all();
        }
        true
    }

    /// Compares what the peer holds of a prefix with what it should hold.
    fn look(
        &mut self,
        prefix: Prefix,
        again: bool,
        tables: &mut impl Tables,
        wanted: &mut Vec<(u32, Arc<Export>)>,
        batch: &mut Batch,
    ) {
        batch.looked_at += 1;
        wanted.clear();
        tables.wanted(&prefix, wanted);
        let family = prefix.family();
        let told = self.told.get(&prefix).map(Told::paths).unwrap_or_default();
        for (id, _) in told.iter().filter(|(id, _)| !wanted.iter().any(|(wanted, _)| wanted == id)) {
            batch.withdraw.entry(family).or_default().push((prefix, *id));
        }
        for (id, export) in wanted.iter() {
            let known = told.iter().find(|(told, _)| told == id).map(|(_, export)| export);
            if again || !known.is_some_and(|known| Arc::ptr_eq(known, export) || known == export) {
                batch.announce.entry((family, export.clone())).or_default().push((prefix, *id));
            }
        }
        let before = told.len();
        self.counts[family as usize] = self.counts[family as usize] + wanted.len() - before;
        match wanted.len() {
            0 if before == 0 => {}
            0 => drop(self.told.remove(&prefix)),
            1 => drop(wanted.pop().map(|(id, export)| self.told.insert(prefix, Told::One((id, export))))),
            _ => drop(self.told.insert(prefix, Told::Many(std::mem::take(wanted)))),
        }
    }
}

impl Told {
    fn paths(&self) -> &[(u32, Arc<Export>)] {
        match self {
            Told::One(path) => std::slice::from_ref(path),
            Told::Many(paths) => paths,
        }
    }
}

#[cfg(test)]
mod tests;
