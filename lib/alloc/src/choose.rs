//! The choice of a slot.

use std::collections::{BTreeMap, BTreeSet};

use model::{ClusterPool, NodeName, PodCidr, Prefix};
use serde::{Deserialize, Serialize};

use crate::Taken;

/// What a node does about a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Choice {
    /// It holds this slot already and stays.
    Keep(PodCidr),
    /// It should try to claim this one.
    Try(PodCidr),
    /// No slot is free.
    #[serde(rename_all = "camelCase")]
    Full {
        /// The pool.
        pool: ClusterPool,
        /// Claims in it.
        claimed: u64,
        /// Quarantined pod CIDRs in it: these become free by waiting.
        quarantined: u64,
    },
}

/// The slot of `pool` for `node`, given everything that is taken (other pools' too; what lies outside does not matter).
///
/// Of several slots that the node holds it keeps the first. A claim of the node that is no slot of the pool (the node
/// length was changed) is not kept, yet its addresses stay taken until it is released.
///
/// The walk starts at a slot picked by hash of the node's name and goes on by a hashed odd step, which visits every
/// slot of a pool of 2^n: nodes that start together seldom meet, and those that meet part at once. Cost: about
/// `taken` lookups even in a full pool of 2^32 slots.
pub fn choose(pool: &ClusterPool, taken: &BTreeMap<PodCidr, Taken>, node: &NodeName) -> Choice {
    let held = taken.iter().filter(|(_, by)| matches!(by, Taken::Claimed(holder) if holder == node));
    if let Some((held, _)) = held.into_iter().find(|(cidr, _)| pool.is_slot(&cidr.0)) {
        return Choice::Keep(*held);
    }
    let occupied = Occupied::new(pool, taken);
    match occupied.walk(node).or_else(|| occupied.scan()) {
        Some(free) => Choice::Try(free),
        None => Choice::Full { pool: *pool, claimed: occupied.claimed, quarantined: occupied.quarantined },
    }
}

/// What is taken of one pool.
struct Occupied<'a> {
    pool: &'a ClusterPool,
    prefixes: BTreeSet<Prefix>,
    /// Lengths among `prefixes` that are shorter than a slot: each such prefix occupies many slots.
    wider: BTreeSet<u8>,
    claimed: u64,
    quarantined: u64,
}

impl<'a> Occupied<'a> {
    fn new(pool: &'a ClusterPool, taken: &BTreeMap<PodCidr, Taken>) -> Occupied<'a> {
        let mut occupied =
            Occupied { pool, prefixes: BTreeSet::new(), wider: BTreeSet::new(), claimed: 0, quarantined: 0 };
        for (cidr, by) in taken.iter().filter(|(cidr, _)| pool.cidr.overlaps(&cidr.0)) {
            occupied.prefixes.insert(cidr.0);
            if cidr.0.len() < pool.node_len {
                occupied.wider.insert(cidr.0.len());
            }
            match by {
                Taken::Claimed(_) => occupied.claimed += 1,
                Taken::Quarantined => occupied.quarantined += 1,
            }
        }
        occupied
    }

    /// By hash. When nothing taken is wider than a slot, each occupies at most one, so that one try more than there
    /// are taken ones finds a free slot if there is any.
    fn walk(&self, node: &NodeName) -> Option<PodCidr> {
        let slots = self.pool.slots();
        let start = fnv1a(&[self.pool.cidr.to_string().as_bytes(), b"/start/", node.as_str().as_bytes()]);
        let step = fnv1a(&[self.pool.cidr.to_string().as_bytes(), b"/step/", node.as_str().as_bytes()]) | 1;
        let tries = slots.min(self.prefixes.len() as u64 + 1);
        // Both wrap at 2^64, a multiple of `slots`, so the walk stays a walk of the pool.
        (0..tries)
            .map(|nth| start.wrapping_add(step.wrapping_mul(nth)) % slots)
            .filter_map(|index| self.pool.slot(index))
            .find(|slot| self.blocker(slot).is_none())
    }

    /// In order, past each blocker as a whole: exact also where claims of another length are about.
    fn scan(&self) -> Option<PodCidr> {
        let mut index = 0;
        while let Some(slot) = self.pool.slot(index) {
            let Some(blocker) = self.blocker(&slot) else { return Some(slot) };
            let width = 1_u64 << self.pool.node_len.saturating_sub(blocker.len().max(self.pool.cidr.len()));
            index = (index / width + 1) * width;
        }
        None
    }

    /// Something taken that shares addresses with `slot`; the widest.
    fn blocker(&self, slot: &PodCidr) -> Option<Prefix> {
        let covering = self.wider.iter().filter_map(|len| Prefix::new(slot.0.address(), *len));
        if let Some(wide) = covering.into_iter().find(|wide| self.prefixes.contains(wide)) {
            return Some(wide);
        }
        // Prefixes are ordered by address, then length: the slot itself and what lies inside follow one another.
        self.prefixes.range(slot.0..).next().filter(|next| slot.0.covers(next)).copied()
    }
}

/// FNV-1a, 64 bits, with a final mix: stable over versions and machines, which a seeded hash is not.
///
/// Plain FNV-1a hardly moves its low bits between names that differ in the last letter (n1, n2, ...); the finaliser
/// of MurmurHash3 spreads them.
fn fnv1a(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    let mut hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    for multiplier in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(multiplier);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cidr: &str, node_len: u8) -> ClusterPool {
        ClusterPool::new(cidr.parse().unwrap(), node_len).unwrap()
    }

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn taken(entries: &[(&str, Option<&str>)]) -> BTreeMap<PodCidr, Taken> {
        entries
            .iter()
            .map(|(cidr, by)| (cidr.parse().unwrap(), by.map_or(Taken::Quarantined, |n| Taken::Claimed(node(n)))))
            .collect()
    }

    #[test]
    fn keeps_what_the_node_holds_in_this_pool() {
        let held = taken(&[("10.1.0.0/24", Some("n1")), ("10.2.7.0/24", Some("n1")), ("10.2.9.0/24", Some("n1"))]);
        let kept = choose(&pool("10.2.0.0/16", 24), &held, &node("n1"));
        assert_eq!(kept, Choice::Keep("10.2.7.0/24".parse().unwrap()));
        assert!(matches!(choose(&pool("10.3.0.0/16", 24), &held, &node("n1")), Choice::Try(_)));
        assert!(matches!(choose(&pool("10.2.0.0/16", 25), &held, &node("n1")), Choice::Try(_)));
    }

    #[test]
    fn visits_every_slot_and_then_says_full() {
        let pool = pool("10.2.0.0/24", 28);
        let mut held = BTreeMap::new();
        for nth in 0..16 {
            let Choice::Try(slot) = choose(&pool, &held, &node("n0")) else { panic!("slot {nth} of 16 not found") };
            assert!(pool.is_slot(&slot.0) && !held.contains_key(&slot));
            held.insert(slot, if nth < 3 { Taken::Quarantined } else { Taken::Claimed(node("other")) });
        }
        assert_eq!(choose(&pool, &held, &node("n0")), Choice::Full { pool, claimed: 13, quarantined: 3 });
    }

    #[test]
    fn a_pool_of_one_slot() {
        let pool = pool("10.2.0.0/24", 24);
        assert_eq!(choose(&pool, &BTreeMap::new(), &node("a")), Choice::Try("10.2.0.0/24".parse().unwrap()));
        let full = choose(&pool, &taken(&[("10.2.0.0/24", Some("b"))]), &node("a"));
        assert_eq!(full, Choice::Full { pool, claimed: 1, quarantined: 0 });
    }

    #[test]
    fn claims_of_another_length_block_what_they_touch() {
        let pool = pool("10.2.0.0/22", 24);
        // One /25 inside a slot, one /23 over two slots: one slot is left.
        let held = taken(&[("10.2.1.128/25", Some("a")), ("10.2.2.0/23", Some("b"))]);
        assert_eq!(choose(&pool, &held, &node("c")), Choice::Try("10.2.0.0/24".parse().unwrap()));
        let held = taken(&[("10.2.0.0/26", None), ("10.2.1.128/25", Some("a")), ("10.2.2.0/23", Some("b"))]);
        assert_eq!(choose(&pool, &held, &node("c")), Choice::Full { pool, claimed: 2, quarantined: 1 });
        // A claim wider than the pool itself.
        let held = taken(&[("10.0.0.0/8", Some("a"))]);
        assert_eq!(choose(&pool, &held, &node("c")), Choice::Full { pool, claimed: 1, quarantined: 0 });
    }

    #[test]
    fn a_vast_pool_with_a_vast_claim_is_no_long_walk() {
        let pool = pool("fd00::/32", 64);
        let mut held = taken(&[("fd00::/33", Some("a")), ("fd00:0:8000::/34", Some("b")), ("fd00:0:c000::/35", None)]);
        let Choice::Try(slot) = choose(&pool, &held, &node("c")) else { panic!("an eighth of 2^32 slots is free") };
        assert!("fd00:0:e000::/35".parse::<Prefix>().unwrap().covers(&slot.0));
        held.insert("fd00:0:e000::/35".parse().unwrap(), Taken::Quarantined);
        assert_eq!(choose(&pool, &held, &node("c")), Choice::Full { pool, claimed: 2, quarantined: 2 });
    }

    #[test]
    fn names_that_differ_in_a_digit_start_far_apart() {
        let pool = pool("10.2.0.0/16", 24);
        let starts: BTreeSet<PodCidr> = (0..200)
            .filter_map(|n| match choose(&pool, &BTreeMap::new(), &node(&format!("node-{n}"))) {
                Choice::Try(slot) => Some(slot),
                _ => None,
            })
            .collect();
        // 200 balls in 256 bins fill about 139.
        assert!(starts.len() > 115, "only {} different starts", starts.len());
    }

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(fnv1a(&[b""]), 0xefd0_1f60_ba99_2926);
        let slot = choose(&pool("10.244.0.0/16", 24), &BTreeMap::new(), &node("n1"));
        let six = choose(&pool("fd00:10:244::/48", 64), &BTreeMap::new(), &node("n1"));
        assert_eq!(
            (slot, six),
            (Choice::Try("10.244.27.0/24".parse().unwrap()), Choice::Try("fd00:10:244:f81e::/64".parse().unwrap()))
        );
    }
}
