//! Numbers that only ever grow, and the last transitions; what the metrics and `mode show` are made of.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::Moment;
use status::doc::{Histogram, Repair};
use switch::{State, Transition};

/// Transitions that `mode show` remembers.
const HISTORY: usize = 20;

/// Counters since the start of the daemon.
#[derive(Clone, Debug)]
pub(super) struct Stats {
    pub(super) read_back_reasons: BTreeMap<String, u64>,
    /// By kind of object and errno.
    pub(super) netlink_errors: BTreeMap<(String, i32), u64>,
    pub(super) drift: BTreeMap<&'static str, u64>,
    pub(super) last_drift: Option<(Moment, Repair)>,
    pub(super) phases_written: u64,
    pub(super) digests_written: u64,
    /// When, what, and how long the state that was left had lasted.
    pub(super) history: VecDeque<(Moment, Transition, Duration)>,
    pub(super) reversals: u64,
    /// When the switch under way left Steady.
    switch_began: Option<Moment>,
    pub(super) switch_duration: Histogram,
    pub(super) convergence: Histogram,
    pub(super) longest_event: Duration,
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            read_back_reasons: BTreeMap::new(),
            netlink_errors: BTreeMap::new(),
            drift: BTreeMap::new(),
            last_drift: None,
            phases_written: 0,
            digests_written: 0,
            history: VecDeque::new(),
            reversals: 0,
            switch_began: None,
            switch_duration: Histogram::new(Histogram::SWITCH),
            convergence: Histogram::new(Histogram::CONVERGENCE),
            longest_event: Duration::ZERO,
        }
    }
}

impl Stats {
    pub(super) fn count_read_back(&mut self, why: &str) {
        // Reasons are a handful of fixed words; one that carries details is filed under what stands before them.
        let word = why.split([':', ',', '(']).next().unwrap_or_default().trim().to_owned();
        *self.read_back_reasons.entry(word).or_default() += 1;
    }

    pub(super) fn count_netlink_error(&mut self, kind: &str, errno: i32) {
        *self.netlink_errors.entry((kind.to_owned(), errno)).or_default() += 1;
    }

    /// Somebody else took away or altered an object of ours.
    pub(super) fn count_drift(&mut self, now: Moment, key: String, cause: &'static str) {
        *self.drift.entry(cause).or_default() += 1;
        self.last_drift = Some((now, Repair { key, cause: cause.to_owned(), time: String::new() }));
    }

    pub(super) fn count_transition(&mut self, now: Moment, transition: &Transition, lasted: Duration) {
        let turned = transition.from.target() != transition.to.target();
        match (transition.from, transition.to) {
            (State::Steady(_), _) => self.switch_began = Some(now),
            (_, State::Steady(_)) => {
                if let Some(began) = self.switch_began.take() {
                    self.switch_duration.observe(now.since(began).as_secs_f64());
                }
            }
            _ if turned => self.reversals += 1,
            _ => {}
        }
        self.history.push_back((now, transition.clone(), lasted));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    /// A destination's route reached the kernel this long after the event that wanted it.
    pub(super) fn converged(&mut self, took: Duration) {
        self.convergence.observe(took.as_secs_f64());
    }
}
