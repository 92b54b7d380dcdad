//! Paths that outlive their session: how long, and what the next session says to them (RFC 4724 section 4.2).

use std::time::Duration;

use model::{Family, Moment};

use super::{Link, Peer};
use crate::graceful::{Pledge, Promise, Rule, retention};
use crate::session::Cause;
use crate::speaker::Shared;
use crate::timers::Timer;

/// What is kept of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    rule: Rule,
    /// They go then.
    until: Moment,
    /// The peer has to be back by then, counted from the first loss: losing it again before it has told everything
    /// does not move this.
    back_by: Moment,
    /// With the session back, its End-of-RIB has to come by then.
    told_by: Moment,
    /// The peer itself said that it gives the session up: its process was there then, and has not restarted unless the
    /// next OPEN has news of a restart.
    alive: bool,
    /// How long they live on after that, if at all (RFC 9494).
    long_lived: Option<Duration>,
}

impl Peer {
    /// Our promise for the next OPEN.
    pub(super) fn promise(&self, now: Moment, shared: &Shared) -> Option<Promise> {
        let settings = &shared.settings.graceful_restart;
        let enabled = self.config.graceful_restart.unwrap_or(settings.enabled);
        if !enabled {
            return None;
        }
        // Only until the first session: whatever breaks later is no restart of ours (RFC 4724 section 4.1).
        let first = self.established == 0;
        let restarted = shared.restarted.filter(|restarted| now < restarted.until);
        // A process that runs on has lost nothing; a new one has what it found in the kernel.
        let kept = if first { restarted.map_or([false; 2], |restarted| restarted.kept) } else { [true; 2] };
        Some(Promise::new(settings, first && restarted.is_some(), kept))
    }

    /// An Established session is over. Says which of its paths stay for a while, and lets the others go. Returns how many
    /// stay and for how long.
    pub(super) fn keep(
        &mut self,
        now: Moment,
        link: &Link,
        cause: &Cause,
        shared: &Shared,
    ) -> Option<(usize, Duration)> {
        self.live = false;
        self.timers.stop(Timer::EndOfRib);
        let settings = &shared.settings;
        let agreed = link.session.agreed();
        let hold = agreed.map(|agreed| agreed.hold_time).filter(|hold| !hold.is_zero());
        let broken = settings.stale_time.or(hold).unwrap_or(settings.hold_time);
        let bound = settings.stale_time.unwrap_or(settings.graceful_restart.restart_time);
        let pledge = agreed.and_then(|agreed| agreed.pledge.as_ref());
        let mut floors = [0; 2];
        for family in Family::BOTH {
            let earlier = self.kept[family as usize].take().filter(|_| self.rib_in.old_of(family) > 0);
            let found = retention(cause, family, pledge, bound, broken);
            let found = found.filter(|(_, wait)| !wait.is_zero() || lives_long(pledge, family).is_some());
            let floor = &mut floors[family as usize];
            self.kept[family as usize] = match (found, earlier) {
                (None, _) => {
                    *floor = self.rib_in.generation() + 1;
                    None
                }
                // Lost again before it had told everything: the time goes on, it does not begin anew.
                (Some(_), Some(earlier)) if earlier.rule != Rule::LongLived && earlier.back_by > now => {
                    let alive = earlier.alive && matches!(cause, Cause::Received(_));
                    Some(Kept { until: earlier.back_by, alive, ..earlier })
                }
                (Some((rule, wait)), earlier) => {
                    if earlier.is_some() {
                        *floor = self.rib_in.session();
                    }
                    let back_by = now + wait;
                    let told_by = match rule {
                        Rule::Restart | Rule::LongLived => back_by + bound.max(Self::END_OF_RIB),
                        Rule::Broken => back_by + Self::END_OF_RIB,
                    };
                    let long_lived = lives_long(pledge, family).filter(|_| rule == Rule::Restart);
                    let alive = matches!(cause, Cause::Received(_));
                    Some(Kept { rule, until: back_by, back_by, told_by, alive, long_lived })
                }
            };
        }
        self.rib_in.forget_refused();
        // What was swept must not come back to life, and what is kept is to be marked.
        self.walk_families(floors);
        self.watch_kept();
        let paths = Family::BOTH.map(|family| match self.kept[family as usize] {
            Some(_) => self.rib_in.counts(family).0,
            None => 0,
        });
        let last = self.kept.iter().flatten().map(|kept| kept.until).max()?;
        Some((paths.iter().sum(), last.since(now)))
    }

    /// The peer is back with this promise: what it has not kept goes now, the rest once it has told everything.
    pub(super) fn meet_again(
        &mut self,
        now: Moment,
        pledge: Option<&Pledge>,
        families: &std::collections::BTreeSet<Family>,
    ) {
        let news = self.restarts_anew(now, pledge);
        let mut floors = [0; 2];
        for family in Family::BOTH {
            let Some(kept) = &mut self.kept[family as usize] else { continue };
            let forwards = match kept.rule {
                Rule::Broken => true,
                // Some routers set F only together with R, some not even then. From one that was alive all the while and
                // tells of no restart since, its absence tells nothing.
                Rule::Restart => pledge.is_some_and(|pledge| {
                    let unbroken = kept.alive && !news;
                    pledge.families.get(&family).is_some_and(|forwards| *forwards || unbroken)
                }),
                Rule::LongLived => pledge.is_some_and(|pledge| {
                    pledge.families.get(&family) == Some(&true)
                        || pledge.long_lived.get(&family).is_some_and(|(forwards, _)| *forwards)
                }),
            };
            if forwards && families.contains(&family) {
                kept.until = match kept.rule {
                    Rule::Broken => now + Self::END_OF_RIB,
                    Rule::Restart | Rule::LongLived => kept.told_by,
                };
            } else {
                self.kept[family as usize] = None;
                floors[family as usize] = self.rib_in.session();
            }
        }
        if floors != [0; 2] {
            self.walk_families(floors);
        }
        self.watch_kept();
    }

    /// Does this OPEN tell of a restart that earlier ones have not told of? Routers say R in every OPEN of their first
    /// minutes (FRR: of its restart time), whatever sessions come and go meanwhile.
    fn restarts_anew(&mut self, now: Moment, pledge: Option<&Pledge>) -> bool {
        let Some(pledge) = pledge.filter(|pledge| pledge.restarting) else {
            self.restarted = None;
            return false;
        };
        match self.restarted {
            Some(since) if now.since(since) < pledge.restart_time => false,
            _ => {
                self.restarted = Some(now);
                true
            }
        }
    }

    /// How long End-of-RIB is waited for: longer from a peer that has just restarted, which defers its own selection.
    pub(super) fn end_of_rib_wait(&self, pledge: Option<&Pledge>, shared: &Shared) -> Duration {
        match pledge.is_some_and(|pledge| pledge.restarting) {
            true => Self::END_OF_RIB.max(shared.settings.graceful_restart.restart_time),
            false => Self::END_OF_RIB,
        }
    }

    /// The peer has told everything of a family: what it has not said again is gone.
    pub(super) fn told_all_of(&mut self, family: Family) {
        self.kept[family as usize] = None;
        self.watch_kept();
        if self.rib_in.old_of(family) > 0 {
            self.sweep_family(family);
        }
    }

    /// End-of-RIB is waited for no longer. A peer that has promised to come back with everything has more time than one
    /// which has not.
    pub(super) fn give_up_end_of_rib(&mut self) {
        self.timers.stop(Timer::EndOfRib);
        self.end_of_rib_waived = true;
        for family in Family::BOTH {
            if self.kept[family as usize].is_none_or(|kept| kept.rule == Rule::Broken) {
                self.told_all_of(family);
            }
        }
    }

    /// The time of some kept paths is over.
    pub(super) fn expire_kept(&mut self, now: Moment) {
        for family in Family::BOTH {
            let Some(kept) = self.kept[family as usize].filter(|kept| kept.until <= now) else { continue };
            match kept.long_lived.filter(|_| kept.rule == Rule::Restart) {
                Some(wait) if !wait.is_zero() => {
                    let until = now + wait;
                    let long = Kept {
                        rule: Rule::LongLived,
                        until,
                        back_by: until,
                        told_by: until,
                        alive: false,
                        long_lived: None,
                    };
                    self.kept[family as usize] = Some(long);
                    self.mark_long_lived(family);
                }
                _ => {
                    self.kept[family as usize] = None;
                    self.sweep_family(family);
                }
            }
        }
        self.watch_kept();
    }

    /// Do our paths outlive the session there if it breaks without a word? So does whoever agreed on graceful restart,
    /// and any other node of the mesh: it fails static.
    pub(crate) fn keeps_our_paths(&self) -> bool {
        let agreed = self.furthest().and_then(|link| link.session.agreed());
        self.config.mesh || agreed.is_some_and(|agreed| agreed.pledge.is_some())
    }

    /// Nothing is kept any more.
    pub(super) fn forget_kept(&mut self) {
        self.kept = [None; 2];
        self.timers.stop(Timer::Stale);
    }

    /// When the first of the kept paths go.
    pub(crate) fn stale_until(&self) -> Option<Moment> {
        let running = |family: &Family| !self.live || self.rib_in.old_of(*family) > 0;
        let kept = Family::BOTH.into_iter().filter(running).filter_map(|family| self.kept[family as usize]);
        kept.map(|kept| kept.until).min()
    }

    /// Takes the paths of a family away that no session has said again.
    fn sweep_family(&mut self, family: Family) {
        let mut floors = [0; 2];
        floors[family as usize] = if self.live { self.rib_in.session() } else { self.rib_in.generation() + 1 };
        self.walk_families(floors);
    }

    fn watch_kept(&mut self) {
        match self.kept.iter().flatten().map(|kept| kept.until).min() {
            Some(at) => self.timers.set(Timer::Stale, at),
            None => self.timers.stop(Timer::Stale),
        }
    }
}

/// For how long the stale paths of a family may live on.
fn lives_long(pledge: Option<&Pledge>, family: Family) -> Option<Duration> {
    pledge?.long_lived.get(&family).map(|(_, wait)| *wait).filter(|wait| !wait.is_zero())
}
