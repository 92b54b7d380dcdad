//! Work on all paths of a peer, in slices.

use std::sync::Arc;

use model::{Family, Moment};

use super::Peer;
use crate::adj_rib_in::PathKey;
use crate::graceful::LastLongLived;
use crate::output::ConnId;
use crate::role;
use crate::speaker::Shared;
use crate::timers::Timer;

/// A walk over the accepted paths: takes away those of old sessions, asks the policy again, decides again.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    after: Option<PathKey>,
    /// Paths of earlier generations than this go, by family.
    sweep_below: [u32; 2],
    /// What is left of earlier sessions is long-lived stale from now on, by family (RFC 9494).
    long_lived: [bool; 2],
}

impl Peer {
    /// Walks all paths from the start, and takes away those of generations before `sweep_below`.
    pub(crate) fn walk_all(&mut self, sweep_below: u32) {
        self.walk_families([sweep_below; 2]);
    }

    /// As [`Peer::walk_all`], with a bound for each family.
    pub(super) fn walk_families(&mut self, sweep_below: [u32; 2]) {
        let before = self.walk.as_ref().map_or([0; 2], |walk| walk.sweep_below);
        let sweep_below = Family::BOTH.map(|family| before[family as usize].max(sweep_below[family as usize]));
        let long_lived = self.walk.as_ref().map_or([false; 2], |walk| walk.long_lived);
        self.walk = Some(Walk { after: None, sweep_below, long_lived });
    }

    /// The stale paths of a family live on as a last resort.
    pub(super) fn mark_long_lived(&mut self, family: Family) {
        self.walk_all(0);
        if let Some(walk) = &mut self.walk {
            walk.long_lived[family as usize] = true;
        }
    }

    /// Has it no paths left, and nothing to do about them?
    pub(crate) fn is_empty(&self) -> bool {
        self.walk.is_none() && self.rib_in.is_empty() && self.links.is_empty()
    }

    /// Is it there for its session alone, and has none, nor anything to remember: a pause that it has earned, an order of
    /// the operator's?
    pub(crate) fn is_passing(&self) -> bool {
        let held_off = self.down || self.timers.at(Timer::IdleHold).is_some();
        self.config.range.is_some() && self.links.is_empty() && !held_off
    }

    /// Is there work that need not wait for anything?
    pub(crate) fn has_work(&self) -> bool {
        self.walk.is_some() || self.can_write() || self.links.iter().any(|link| link.has_messages())
    }

    /// Works while there is `budget`: walks first, as what goes should go before more comes.
    pub(crate) fn work(&mut self, now: Moment, budget: &mut usize, shared: &mut Shared) {
        self.walk(budget, shared);
        let conns: Vec<ConnId> = self.links.iter().map(|link| link.session.conn).collect();
        for conn in conns {
            self.read(now, conn, budget, shared);
        }
        // What was read may have ended a session: its paths go in the same slice, as far as it reaches.
        self.walk(budget, shared);
        // A slice that was used up by reading must not keep others from hearing of us.
        let share = (*budget).max(1000);
        let mut left = share;
        self.write(now, &mut left, shared);
        *budget = budget.saturating_sub(share - left);
    }

    fn walk(&mut self, budget: &mut usize, shared: &mut Shared) {
        if *budget == 0 {
            return;
        }
        let Some(mut walk) = self.walk.take() else { return };
        let ahead = self.rib_in.accepted_after(walk.after).take(*budget);
        let slice: Vec<_> = ahead.map(|(path, accepted)| (path, accepted.clone())).collect();
        // A slice that is not full holds the end.
        if slice.len() == *budget {
            walk.after = slice.last().map(|(path, _)| *path);
            self.walk = Some(walk.clone());
        }
        *budget -= slice.len();
        let mut last = LastLongLived::default();
        for (path, mut accepted) in slice {
            let (prefix, id) = path;
            let place = (self.index, id);
            if accepted.generation < walk.sweep_below[prefix.family() as usize] {
                self.rib_in.remove_accepted(&path);
                shared.rib.withdraw(prefix, place);
                continue;
            }
            let stale = !self.live || accepted.generation < self.rib_in.session();
            if stale && walk.long_lived[prefix.family() as usize] {
                let Some(route) = last.mark(&accepted.route) else {
                    self.rib_in.remove_accepted(&path);
                    shared.rib.withdraw(prefix, place);
                    continue;
                };
                accepted.route = route;
                self.rib_in.set_route(&path, accepted.route.clone());
            }
            let view = &shared.view;
            let refusal = view.refuse_attributes(&accepted.route.attributes);
            let neighbour = (self.config.id.address, self.asn);
            let used = refusal.map_or_else(|| self.import.ask(view, &prefix, &accepted.route, neighbour), Err);
            let used = match used {
                Ok(used) if shared.settings.honour_shutdown => self.leaving.lower(used),
                Ok(used) => used,
                Err(refusal) => {
                    self.refuse_accepted(path, accepted.generation, refusal);
                    shared.rib.withdraw(prefix, place);
                    continue;
                }
            };
            let role = self.config.role.filter(|_| self.external);
            let leak = role::leak(role, self.asn, accepted.route.attributes.only_to_customer);
            let ineligible = leak.or(view.ineligible(
                &used,
                self.external && !self.config.is_far(),
                self.config.id.address,
                self.local,
            ));
            let known = shared.rib.of_peer(&prefix, self.index, id);
            if known.is_some_and(|(candidate, _)| !Arc::ptr_eq(&candidate.route, &used)) {
                shared.rib.offer(prefix, place, used, ineligible);
            }
            shared.rib.amend(prefix, place, stale, ineligible);
        }
    }
}
