//! Claims of all nodes, and how this node gets its own.

use std::collections::{BTreeMap, BTreeSet};

use alloc::{Choice, Claim, Taken};
use cluster::{Command, Outcome};
use model::config::Config;
use model::node::BgpReach;
use model::{Family, Moment, NodeName, PodCidr, Reach};

use super::Core;
use crate::event::{Effect, Level, Topic};

/// Everything claimed, as the store says it.
#[derive(Default)]
pub(super) struct Claims {
    /// Every claim, own ones too.
    pub(super) all: BTreeMap<PodCidr, Claim>,
    /// Claimed or quarantined: what an allocation looks at.
    pub(super) taken: BTreeMap<PodCidr, Taken>,
    /// Pod CIDRs of every other node.
    pub(super) nodes: BTreeMap<NodeName, BTreeSet<PodCidr>>,
    own: BTreeSet<PodCidr>,
    /// Something changed since the last look at what this node still needs.
    pub(super) dirty: bool,
    asking: BTreeMap<Family, PodCidr>,
    updating: BTreeMap<PodCidr, Reach>,
    /// Families for which no pool has a free slice.
    exhausted: BTreeMap<Family, String>,
    pub(super) conflicts: u64,
}

impl Claims {
    /// Own pod CIDRs, IPv4 first.
    pub(super) fn own(&self) -> Vec<PodCidr> {
        self.own.iter().copied().collect()
    }

    pub(super) fn is_own(&self, cidr: &PodCidr) -> bool {
        self.own.contains(cidr)
    }

    /// A family of the pools in which this node has no pod CIDR yet, in words.
    pub(super) fn missing(&self, config: &Config) -> Option<String> {
        let families: BTreeSet<Family> = config.pools.iter().map(model::ClusterPool::family).collect();
        let family = families.into_iter().find(|family| !self.own.iter().any(|cidr| cidr.family() == *family))?;
        Some(match self.exhausted.get(&family) {
            Some(words) => words.clone(),
            None => format!("an {family} pod CIDR for this node"),
        })
    }

    /// Why no pod CIDR can be had, if so.
    pub(super) fn exhausted(&self) -> impl Iterator<Item = &String> {
        self.exhausted.values()
    }
}

impl Core {
    /// Claims what this node needs and does not hold; brings its claims' addresses up to date.
    pub(super) fn allocate(&mut self, now: Moment) {
        // Before the switch has begun it is not sure that this is the right store.
        if !self.claims.dirty || self.switch.is_none() {
            return;
        }
        let Some(reach) = self.own_reach() else { return };
        self.claims.dirty = false;
        let me = self.identity.node.clone();
        for cidr in self.claims.own() {
            let Some(claim) = self.claims.all.get(&cidr) else { continue };
            let stale = claim.reach != reach || claim.uid != self.identity.uid;
            if stale && self.claims.updating.get(&cidr) != Some(&reach) {
                let claim = Claim { reach: reach.clone(), uid: self.identity.uid.clone(), ..claim.clone() };
                self.claims.updating.insert(cidr, reach.clone());
                self.out.push(Effect::Store(Command::Update(claim)));
            }
        }
        for family in Family::BOTH {
            let held = self.claims.own.iter().any(|cidr| cidr.family() == family);
            if held || self.claims.asking.contains_key(&family) {
                if held && self.claims.exhausted.remove(&family).is_some() {
                    self.ground.dirty = true;
                }
                continue;
            }
            let pools: Vec<_> = self.config.pools.iter().filter(|pool| pool.family() == family).copied().collect();
            let mut full = Vec::new();
            for pool in &pools {
                match alloc::choose(pool, &self.claims.taken, &me) {
                    Choice::Keep(pod_cidr) | Choice::Try(pod_cidr) => {
                        self.claims.asking.insert(family, pod_cidr);
                        let claim =
                            Claim { pod_cidr, node: me.clone(), uid: self.identity.uid.clone(), reach: reach.clone() };
                        self.out.push(Effect::Store(Command::Create(claim)));
                        full.clear();
                        break;
                    }
                    Choice::Full { pool, claimed, quarantined } => full.push(format!(
                        "pool {} is exhausted: {claimed} of {} blocks claimed, {quarantined} in quarantine; \
                         add a pool, or one with a longer nodePrefix",
                        pool.cidr,
                        pool.slots()
                    )),
                }
            }
            if full.is_empty() {
                self.claims.exhausted.remove(&family);
            } else {
                let words = full.join("; ");
                if self.claims.exhausted.insert(family, words.clone()).is_none() {
                    self.say(now, Level::Warn, Topic::Ipam, words);
                }
            }
        }
    }

    /// What senders need to know of this node.
    fn own_reach(&self) -> Option<Reach> {
        let bgp = &self.config.bgp;
        let bgp =
            BgpReach { asn: bgp.local_asn, port: bgp.port, mesh: bgp.mesh, reflection: self.native.meeting.reflection };
        plan::reach_of(&self.identity.node, &self.underlay(), bgp)
    }

    /// A claim came, changed or went.
    pub(super) fn handle_claim(&mut self, now: Moment, cidr: PodCidr, claim: Option<Claim>) {
        let before = self.claims.all.get(&cidr).cloned();
        if before == claim {
            return;
        }
        let me = &self.identity.node;
        if let Some(old) = &before {
            if old.node == *me {
                self.claims.own.remove(&cidr);
            } else if let Some(cidrs) = self.claims.nodes.get_mut(&old.node) {
                cidrs.remove(&cidr);
                if cidrs.is_empty() {
                    self.claims.nodes.remove(&old.node);
                }
            }
        }
        match &claim {
            Some(new) => {
                if new.node == *me {
                    self.claims.own.insert(cidr);
                    self.claims.asking.retain(|_, asked| *asked != cidr);
                    if self.claims.updating.get(&cidr) == Some(&new.reach) {
                        self.claims.updating.remove(&cidr);
                    }
                } else {
                    self.claims.nodes.entry(new.node.clone()).or_default().insert(cidr);
                }
                self.claims.taken.insert(cidr, Taken::Claimed(new.node.clone()));
            }
            None => {
                self.claims.taken.remove(&cidr);
            }
        }
        let own = |claim: &Option<Claim>| claim.as_ref().is_some_and(|claim| claim.node == self.identity.node);
        let (was_own, is_own) = (own(&before), own(&claim));
        for other in [&before, &claim].into_iter().flatten() {
            if other.node != self.identity.node {
                self.destinations.node_dirty(other.node.clone());
            }
        }
        match claim {
            Some(claim) => self.claims.all.insert(cidr, claim),
            None => self.claims.all.remove(&cidr),
        };
        if was_own != is_own {
            let words = if is_own { "holds" } else { "no longer holds" };
            self.say(now, Level::Info, Topic::Ipam, format!("this node {words} {cidr}"));
            self.ground.dirty = true;
        }
        self.claims.dirty = true;
        self.native.dirty = true;
        self.native.meeting.dirty = true;
        self.destinations.dirty(cidr.0);
    }

    /// A pod CIDR went into quarantine or came out of it.
    pub(super) fn handle_quarantined(&mut self, cidr: PodCidr, inside: bool) {
        if inside {
            self.claims.taken.entry(cidr).or_insert(Taken::Quarantined);
        } else if self.claims.taken.get(&cidr) == Some(&Taken::Quarantined) {
            self.claims.taken.remove(&cidr);
        }
        self.claims.dirty = true;
    }

    /// The store's answer to a claim of ours.
    pub(super) fn handle_claimed(&mut self, now: Moment, claim: Claim, result: Result<Outcome, String>) {
        let cidr = claim.pod_cidr;
        self.claims.asking.retain(|_, asked| *asked != cidr);
        self.claims.dirty = true;
        match result {
            Ok(Outcome::Done) => self.handle_claim(now, cidr, Some(claim)),
            Ok(Outcome::Taken) => {
                self.claims.conflicts += 1;
                // Somebody was faster; until the store shows who, the slice is as good as quarantined.
                self.claims.taken.entry(cidr).or_insert(Taken::Quarantined);
            }
            Err(why) => self.say(now, Level::Warn, Topic::Ipam, format!("cannot claim {cidr}: {why}")),
        }
    }
}
