//! Adj-RIB-Out: what one peer has been told, and what it is still to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use model::{Family, Prefix};
use wire::Attributes;

/// What an announcement says besides the prefix. Prefixes are grouped by it, so many share one UPDATE.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Export {
    pub(crate) attributes: Arc<Attributes>,
    pub(crate) next_hop: IpAddr,
    pub(crate) link_local: Option<Ipv6Addr>,
}

/// What to send next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) withdraw: BTreeMap<Family, Vec<Prefix>>,
    pub(crate) announce: BTreeMap<(Family, Arc<Export>), Vec<Prefix>>,
    pub(crate) end_of_rib: Vec<Family>,
}

/// Adj-RIB-Out of one session.
#[derive(Debug, Default)]
pub(crate) struct AdjRibOut {
    advertised: BTreeMap<Prefix, Arc<Export>>,
    /// Prefixes to look at; `true`: say it again even if it was said.
    pending: BTreeMap<Prefix, bool>,
    /// Families whose End-of-RIB follows when nothing is pending.
    end_of_rib: BTreeSet<Family>,
}

impl AdjRibOut {
    /// The initial dump of some families: everything, then End-of-RIB, also when there is nothing.
    pub(crate) fn open(families: &BTreeSet<Family>, prefixes: &BTreeSet<Prefix>) -> AdjRibOut {
        let wanted = prefixes.iter().filter(|p| families.contains(&p.family()));
        AdjRibOut {
            advertised: BTreeMap::new(),
            pending: wanted.map(|p| (*p, false)).collect(),
            end_of_rib: families.clone(),
        }
    }

    /// Something about the prefix may be new.
    pub(crate) fn touch(&mut self, prefix: Prefix) {
        self.pending.entry(prefix).or_insert(false);
    }

    /// The peer wants a family again (RFC 2918).
    pub(crate) fn refresh(&mut self, family: Family, prefixes: &BTreeSet<Prefix>) {
        let again = prefixes.iter().chain(self.advertised.keys()).filter(|p| p.family() == family);
        self.pending.extend(again.map(|p| (*p, true)));
    }

    /// Number of prefixes to look at.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Is anything to be sent?
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty() || !self.end_of_rib.is_empty()
    }

    /// Number of prefixes told, of one family.
    pub(crate) fn advertised(&self, family: Family) -> usize {
        self.advertised.keys().filter(|p| p.family() == family).count()
    }

    /// What was told.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Prefix, &Arc<Export>)> {
        self.advertised.iter()
    }

    /// Looks at up to `at_most` pending prefixes; `wanted` says what the peer should hold now. Never says twice what
    /// was said, unless the peer asked.
    pub(crate) fn next_batch(
        &mut self,
        at_most: usize,
        mut wanted: impl FnMut(&Prefix) -> Option<Arc<Export>>,
    ) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..at_most {
            let Some((prefix, again)) = self.pending.pop_first() else { break };
            match wanted(&prefix) {
                Some(export) if again || self.advertised.get(&prefix) != Some(&export) => {
                    self.advertised.insert(prefix, export.clone());
                    batch.announce.entry((prefix.family(), export)).or_default().push(prefix);
                }
                Some(_) => {}
                None => {
                    if self.advertised.remove(&prefix).is_some() {
                        batch.withdraw.entry(prefix.family()).or_default().push(prefix);
                    }
                }
            }
        }
        if self.pending.is_empty() {
            batch.end_of_rib = std::mem::take(&mut self.end_of_rib).into_iter().collect();
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(med: u32) -> Arc<Export> {
        let attributes = Arc::new(Attributes { med: Some(med), ..Attributes::default() });
        Arc::new(Export { attributes, next_hop: IpAddr::from([192, 0, 2, 1]), link_local: None })
    }

    fn prefixes(texts: &[&str]) -> BTreeSet<Prefix> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn dump_groups_by_attributes_and_ends_with_end_of_rib() {
        let families = BTreeSet::from(Family::BOTH);
        let own = prefixes(&["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "fd00::/64"]);
        let mut rib = AdjRibOut::open(&families, &own);
        let odd: Prefix = "10.0.1.0/24".parse().unwrap();
        let wanted = |p: &Prefix| Some(export(u32::from(*p == odd)));
        let first = rib.next_batch(2, wanted);
        assert!(first.end_of_rib.is_empty(), "not before the end of the dump");
        assert_eq!(first.announce.len(), 2);
        let second = rib.next_batch(10, wanted);
        assert_eq!(second.announce.len(), 2, "one group a family");
        assert_eq!(second.end_of_rib, vec![Family::V4, Family::V6]);
        assert!(!rib.has_pending());
        rib.touch(odd);
        assert_eq!(rib.next_batch(10, wanted), Batch::default(), "the same is not said twice");
        rib.refresh(Family::V4, &own);
        let again = rib.next_batch(10, wanted);
        assert_eq!(again.announce.values().map(Vec::len).sum::<usize>(), 3, "but when asked it is");
        rib.touch(odd);
        let gone = rib.next_batch(10, |_| None);
        assert_eq!(gone.withdraw, BTreeMap::from([(Family::V4, vec![odd])]));
    }

    /// Checklist: 70
    #[test]
    fn an_empty_table_still_has_its_end() {
        let mut rib = AdjRibOut::open(&BTreeSet::from([Family::V6]), &BTreeSet::new());
        assert!(rib.has_pending());
        assert_eq!(rib.next_batch(10, |_| None).end_of_rib, vec![Family::V6]);
    }
}
