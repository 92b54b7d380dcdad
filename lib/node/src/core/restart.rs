//! Begin and end of the process, as peers see it: the kernel forwards on meanwhile (RFC 4724).

use std::collections::BTreeSet;

use model::kernel::Key;
use model::{Family, Moment};

use super::Core;
use crate::event::{Level, Topic};

impl Core {
    /// The first read-back is in: of which families did another process leave routes? They are what the F bit promises:
    /// forwarding has gone on while no daemon ran.
    pub(super) fn note_kept_families(&mut self) {
        let routes = self.reconcile.tracker().actual_iter().filter_map(|(key, _)| match key {
            Key::Route(prefix) => Some(prefix.family()),
            _ => None,
        });
        self.native.kept = routes.collect();
    }

    /// Before the first session opens: are we back from a restart? Long after the start nobody keeps anything of us.
    pub(super) fn tell_restart(&mut self, now: Moment) {
        let kept: BTreeSet<Family> = std::mem::take(&mut self.native.kept);
        if kept.is_empty() || now.since(self.started) >= self.config.bgp.graceful_restart.restart_time {
            return;
        }
        self.native.speaker.handle_restarted(now, &kept);
        let families: Vec<String> = kept.iter().map(Family::to_string).collect();
        let text = format!("the kernel kept forwarding over the restart: {} routes were found", families.join(" and "));
        self.say(now, Level::Info, Topic::Bgp, text);
    }

    /// The process is about to end. Peers that keep our paths over a broken connection hear nothing, any other a Cease.
    pub(super) fn handle_terminate(&mut self, now: Moment) {
        let told = if self.native.on { self.native.speaker.handle_terminate(now) } else { 0 };
        let text = match told {
            0 => "ending; what is in the kernel stays and forwards".to_owned(),
            _ => format!(
                "ending; what is in the kernel stays and forwards; {told} peers without graceful restart are told Cease 6/2"
            ),
        };
        self.say(now, Level::Info, Topic::Bgp, text);
        self.drain_speaker(now);
    }
}
