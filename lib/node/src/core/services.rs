//! Prefixes of our own that can be forwarded only at times, as a service address can while a pod of the service runs here.
//! Whether one can is an input: from the operator today, from whoever watches services later. The speaker hears of what is
//! to be held back before it hears of the prefix, and of what may be announced after it, so that nothing is announced
//! before it can be forwarded.

use std::collections::BTreeSet;

use model::{Moment, PodCidr, Prefix};

use super::Core;
use crate::event::{Level, Topic};

impl Core {
    /// A prefix can be forwarded, or not: remembered for as long as the daemon runs.
    pub(super) fn handle_advertise(&mut self, now: Moment, prefix: Prefix, on: bool) {
        if self.native.forwardable.insert(prefix, on) == Some(on) {
            return;
        }
        let announced = self.config.bgp.originate.iter().any(|wanted| wanted.prefix == prefix);
        self.hold_back(now);
        self.let_go(now);
        if announced {
            let words = if on { "can be forwarded: it is announced" } else { "is held back: it is withdrawn" };
            self.say(now, Level::Info, Topic::Bgp, format!("{prefix} {words}"));
        }
    }

    /// The operator's word on a prefix.
    pub(super) fn advertise(&mut self, now: Moment, prefix: Prefix, on: bool) -> Result<String, String> {
        let originate = &self.config.bgp.originate;
        if originate.iter().any(|wanted| wanted.prefix == prefix) {
            self.handle_advertise(now, prefix, on);
            return Ok(match (on, self.native.on) {
                (true, true) => format!("{prefix} is announced"),
                (true, false) => format!("{prefix} is announced once the native plane stands here"),
                (false, _) => format!("{prefix} is held back"),
            });
        }
        if self.claims.is_own(&PodCidr(prefix)) {
            return Err(format!(
                "{prefix} is a pod CIDR of this node, and announced while the native plane stands; `biplane node drain` moves \
                 traffic away"
            ));
        }
        let there: Vec<String> = originate.iter().map(|wanted| wanted.prefix.to_string()).collect();
        let there =
            if there.is_empty() { "which is empty".to_owned() } else { format!("which has {}", there.join(", ")) };
        Err(format!(
            "{prefix} is not in bgp.originate, {there}; add it there, with `suppressed: true` to begin held back"
        ))
    }

    /// Prefixes of the configuration that must not be announced now.
    fn to_hold_back(&self) -> BTreeSet<Prefix> {
        let told = &self.native.forwardable;
        let held =
            self.config.bgp.originate.iter().filter(|it| !told.get(&it.prefix).copied().unwrap_or(!it.suppressed));
        held.map(|it| it.prefix).collect()
    }

    /// To be called before the speaker hears of a configuration.
    pub(super) fn hold_back(&mut self, now: Moment) {
        for prefix in self.to_hold_back() {
            if self.native.held_back.insert(prefix) {
                self.native.speaker.handle_advertise(now, prefix, false);
            }
        }
    }

    /// To be called after it has.
    pub(super) fn let_go(&mut self, now: Moment) {
        let held = self.to_hold_back();
        let free: Vec<Prefix> = self.native.held_back.difference(&held).copied().collect();
        for prefix in free {
            self.native.held_back.remove(&prefix);
            self.native.speaker.handle_advertise(now, prefix, true);
        }
    }
}
