//! Ready, Progressing, Degraded, and when each became what it is.

use model::Moment;
use status::doc;
use switch::State;

use super::Core;
use super::view::Wall;

/// Each condition's status and the time of its last change.
pub(super) struct Conditions([(bool, Moment); 3]);

impl Conditions {
    pub(super) fn new(now: Moment) -> Conditions {
        Conditions([(false, now); 3])
    }
}

impl Core {
    /// To be called after every event.
    pub(super) fn note_conditions(&mut self, now: Moment) {
        let are = [self.unready().is_none(), self.is_switching(), self.degraded().is_some()];
        for (known, is) in self.conditions.0.iter_mut().zip(are) {
            if known.0 != is {
                *known = (is, now);
            }
        }
    }

    fn is_switching(&self) -> bool {
        self.switch.as_ref().is_some_and(|switch| !matches!(switch.state(), State::Steady(_)))
    }

    /// The worst thing that is not as it should be, as a word for machines.
    fn degraded(&self) -> Option<&'static str> {
        if self.coordination.down.is_some() {
            Some("StoreDown")
        } else if !self.reconcile.failures().is_empty() {
            Some("KernelRefuses")
        } else if self.config_error.is_some() {
            Some("ConfigRefused")
        } else if self.claims.exhausted().next().is_some() {
            Some("PoolExhausted")
        } else {
            None
        }
    }

    /// In the manner of Kubernetes.
    pub(super) fn conditions_doc(&self, wall: Wall) -> Vec<doc::Condition> {
        let unready = self.unready();
        let switching = self.is_switching();
        let degraded = self.degraded();
        // What the switch waits for; a lost store has a condition of its own.
        let waits = self.switch.as_ref().filter(|_| switching).and_then(|switch| switch.waiting());
        let said = [
            ("Ready", if unready.is_none() { "Forwarding" } else { "Waiting" }, unready.unwrap_or_default()),
            ("Progressing", if switching { "Switching" } else { "Steady" }, waits.unwrap_or_default().to_owned()),
            ("Degraded", degraded.unwrap_or("AsWanted"), self.degraded_words()),
        ];
        let pairs = said.into_iter().zip(self.conditions.0);
        pairs
            .map(|((name, reason, message), (status, since))| doc::Condition {
                name: name.to_owned(),
                status,
                reason: reason.to_owned(),
                message,
                last_transition_time: Some(wall.at(since)),
            })
            .collect()
    }

    fn degraded_words(&self) -> String {
        let store = self.coordination.down.as_ref().map(|(why, _)| format!("{why}; forwarding stays as it is"));
        let pools = self.claims.exhausted().next().cloned();
        let config = self.config_error.clone();
        let kernel = self.reconcile.failures().keys().find_map(|key| Some(format!("{key}: {}", self.obstacle(key)?)));
        store.or(kernel).or(config).or(pools).unwrap_or_default()
    }
}
