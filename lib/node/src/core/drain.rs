//! `biplane node drain`: peers move away first, then the sessions close (RFC 8326), and no packet is lost.
//!
//! A node that is drained of BGP still has its pods, and for them it is the only origin there is. So that a drain is no
//! outage, sessions close only once packets have another way: the overlay, standing here and on every other node as the
//! fallback. Nodes that hear GRACEFUL_SHUTDOWN carry by the overlay what they can (`Core::refresh_destination`), routers
//! take any other path. None of them confirms it; what the node waits for is a time, and its own destinations. Without
//! another way the sessions stay, and the drain says so, unless it is forced.

use std::time::Duration;

use model::{Moment, Plane};
use status::doc::{DrainDoc, DrainState};

use super::Core;
use super::view::Wall;
use crate::event::{Effect, Level, Topic};

/// How often a drain that is held looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A drain under way, or done.
#[derive(Clone, Debug)]
pub(super) struct Drain {
    since: Moment,
    /// Sessions do not close before.
    until: Moment,
    force: bool,
    state: DrainState,
    /// Why the sessions stay although the time is over.
    why: Option<String>,
}

impl Drain {
    /// Are sessions closed, or about to be?
    pub(super) fn is_closed(&self) -> bool {
        self.state == DrainState::Drained
    }

    /// What a drain that is held waits for, and since when.
    pub(super) fn waiting(&self) -> Option<(String, Moment)> {
        self.why.as_ref().map(|why| (format!("the drain: {why}"), self.since))
    }

    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        match self.state {
            DrainState::Announcing | DrainState::Held => Some(self.until),
            DrainState::Drained => None,
        }
    }
}

impl Core {
    /// Begins a drain, or forces one that is held.
    pub(super) fn handle_drain(&mut self, now: Moment, number: u64, force: bool) {
        if !self.native.on && self.drain.is_none() {
            let words = "the native plane does not stand on this node: no session is open that could be drained";
            self.out.push(Effect::Answer(number, Err(words.to_owned())));
            return;
        }
        let wait = self.config.bgp.graceful_shutdown.wait;
        match &mut self.drain {
            Some(drain) => drain.force |= force,
            None => {
                let until = now + wait;
                self.drain = Some(Drain { since: now, until, force, state: DrainState::Announcing, why: None });
                self.native.speaker.handle_drain(now, true);
                self.destinations.all_dirty();
                let text = format!(
                    "draining: peers are told to prefer any other path, sessions close in {} s",
                    wait.as_secs()
                );
                self.say(now, Level::Info, Topic::Bgp, text);
            }
        }
        let words = match self.way_around() {
            Ok(()) => format!("draining: sessions close in {} s, packets go by vxlan", wait.as_secs()),
            Err(_) if force => format!("draining: sessions close in {} s, whatever becomes of packets", wait.as_secs()),
            Err(why) => format!("draining: peers prefer other paths, but the sessions stay: {why}"),
        };
        self.out.push(Effect::Answer(number, Ok(words)));
    }

    /// Ends a drain.
    pub(super) fn handle_undrain(&mut self, now: Moment, number: u64) {
        let answer = match self.drain.take() {
            None => Err("this node is not drained".to_owned()),
            Some(_) => {
                self.native.speaker.handle_drain(now, false);
                self.native.dirty = true;
                self.destinations.all_dirty();
                self.say(now, Level::Info, Topic::Bgp, "the drain is over: sessions are open to all".to_owned());
                Ok("the drain is over; `biplane bgp peers` shows the sessions come up".to_owned())
            }
        };
        self.out.push(Effect::Answer(number, answer));
    }

    /// Closes the sessions once the time is over and packets have another way.
    pub(super) fn step_drain(&mut self, now: Moment) {
        let Some(mut drain) = self.drain.clone() else { return };
        if drain.is_closed() || now < drain.until {
            return;
        }
        let blocked = if drain.force { None } else { self.way_around().err() };
        match blocked {
            None => {
                drain.state = DrainState::Drained;
                drain.why = None;
            }
            Some(why) => {
                if drain.why.as_ref() != Some(&why) {
                    let text = format!("drained as far as it goes, the sessions stay: {why}");
                    self.say(now, Level::Warn, Topic::Bgp, text);
                }
                drain.state = DrainState::Held;
                drain.why = Some(why);
                drain.until = now + LOOK_AGAIN;
            }
        }
        self.drain = Some(drain);
    }

    /// Have packets another way than this node's sessions? The error says what is missing, and the cure.
    fn way_around(&self) -> Result<(), String> {
        let cure = "set `fallback: true` on all nodes, or `biplane node drain --force`";
        if !self.stance().stand.has(Plane::Overlay) || self.stance().fallback.is_none() {
            return Err(format!(
                "this node is the only origin of its pod CIDRs, and vxlan is not its fallback: {cure}"
            ));
        }
        let Some(digest) = &self.coordination.digest else {
            return Err("no digest from a coordinator says who has vxlan to fall back on".to_owned());
        };
        let stands = digest.stands(Plane::Overlay);
        let lacks = |node: &&model::NodeName| !stands.has(node) && !digest.gone.contains(*node);
        if let Some(node) = self.claims.nodes.keys().find(lacks) {
            return Err(format!("node {node} has no vxlan to fall back on: {cure}"));
        }
        match self.destinations.counts().carried[Plane::Native as usize] {
            0 => Ok(()),
            left => Err(format!("{left} destinations are carried by bgp still: see `biplane route list`")),
        }
    }

    /// Is a path to be avoided that another plane can take: because this node is drained, or the one it leads to?
    pub(super) fn is_leaving(&self, prefix: &model::Prefix) -> Option<&'static str> {
        if self.drain.is_some() {
            return Some("this node is being drained");
        }
        let best = self.native.speaker.best(prefix);
        let all = !best.is_empty() && best.iter().all(|path| path.leaving);
        all.then_some("the way there is being drained")
    }

    /// For `biplane status`.
    pub(super) fn drain_doc(&self, wall: Wall) -> Option<DrainDoc> {
        let drain = self.drain.as_ref()?;
        Some(DrainDoc { state: drain.state, since: wall.at(drain.since), why: drain.why.clone() })
    }
}
