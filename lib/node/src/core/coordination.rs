//! What the cluster tells and is told: wish, phases, digest; and the coordinator's work when this node is it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster::{Command, Event, Outcome};
use model::{Digest, Moment, NodeName, NodePhase, Plane, Wish};
use switch::{Facts, State};

use super::Core;
use crate::event::{Effect, Level, Topic};

/// A daemon that has been gone for this long holds up no gate any more; it may still forward.
const GRACE: Duration = Duration::from_secs(60);
/// Words of what is waited for are written to the store no more often than this.
const WORDS_EVERY: Duration = Duration::from_secs(5);

/// The store's side of things, as last heard.
#[derive(Default)]
pub(super) struct Coordination {
    /// Has the store listed everything once?
    pub(super) listed: bool,
    /// Since when the store cannot be read or written, and why.
    pub(super) down: Option<(String, Moment)>,
    pub(super) phases: BTreeMap<NodeName, NodePhase>,
    pub(super) digest: Option<Digest>,
    pub(super) wish: Option<Wish>,
    /// Generation of the cluster's wish up to which this node's configuration file wins.
    pub(super) config_beats: u64,
    pub(super) coordinator: bool,
    live: Option<BTreeSet<NodeName>>,
    absent_since: BTreeMap<NodeName, Moment>,
    /// Absent for so long that the digest counts them as gone.
    counted: BTreeSet<NodeName>,
    digest_dirty: bool,
    /// Written and not yet seen back.
    sent: Option<Digest>,
    published: Option<NodePhase>,
    published_at: Moment,
    words_due: Option<Moment>,
    /// Operators who wait for a wish to be stored.
    wishes: BTreeMap<u64, Option<Wish>>,
}

impl Coordination {
    /// The highest generation of a wish that anybody has heard of.
    pub(super) fn last_generation(&self) -> u64 {
        let beaten = self.phases.values().map(|phase| phase.config_beats);
        let wish = self.wish.as_ref().map(|wish| wish.generation);
        beaten.chain(wish).chain([self.config_beats]).max().unwrap_or(0)
    }

    pub(super) fn poll_timeout(&self) -> Option<Moment> {
        let uncounted = self.absent_since.iter().filter(|(node, _)| self.coordinator && !self.counted.contains(*node));
        let gone = uncounted.map(|(_, at)| *at + GRACE).min();
        [self.words_due, gone].into_iter().flatten().min()
    }

    /// Is the node's daemon alive? Only the coordinator is told.
    pub(super) fn lives(&self, node: &NodeName) -> Option<bool> {
        self.live.as_ref().map(|live| live.contains(node))
    }

    fn gone(&self, now: Moment) -> BTreeSet<NodeName> {
        let mut gone: BTreeSet<NodeName> =
            self.absent_since.iter().filter(|(_, at)| now.since(**at) >= GRACE).map(|(n, _)| n.clone()).collect();
        // Before the first look at who lives, the last digest's word stands.
        if self.live.is_none() {
            gone.extend(self.digest.iter().flat_map(|digest| digest.gone.iter().cloned()));
        }
        gone
    }
}

impl Core {
    pub(super) fn handle_store(&mut self, now: Moment, event: Event) {
        match event {
            Event::Listed(snapshot) => {
                let gone: Vec<_> =
                    self.claims.all.keys().filter(|cidr| !snapshot.claims.contains_key(*cidr)).copied().collect();
                for cidr in gone {
                    self.handle_claim(now, cidr, None);
                }
                let freed: Vec<_> = self
                    .claims
                    .taken
                    .iter()
                    .filter(|(cidr, taken)| {
                        **taken == alloc::Taken::Quarantined && !snapshot.quarantined.contains(*cidr)
                    })
                    .map(|(cidr, _)| *cidr)
                    .collect();
                for cidr in freed {
                    self.handle_quarantined(cidr, false);
                }
                for cidr in snapshot.quarantined {
                    self.handle_quarantined(cidr, true);
                }
                for (cidr, claim) in snapshot.claims {
                    self.handle_claim(now, cidr, Some(claim));
                }
                self.coordination.phases = snapshot.phases;
                self.coordination.digest_dirty = true;
                self.handle_digest(snapshot.digest);
                self.coordination.wish = snapshot.wish;
                if !self.coordination.listed {
                    self.coordination.listed = true;
                    self.native.dirty = true;
                }
                self.claims.dirty = true;
            }
            Event::Claim(cidr, claim) => self.handle_claim(now, cidr, claim),
            Event::Quarantined(cidr, inside) => self.handle_quarantined(cidr, inside),
            Event::Phase(node, phase) => {
                match phase {
                    Some(phase) => self.coordination.phases.insert(node, phase),
                    None => self.coordination.phases.remove(&node),
                };
                self.coordination.digest_dirty = true;
            }
            Event::Digest(digest) => self.handle_digest(digest),
            Event::Wish(wish) => {
                if self.coordination.wish != wish {
                    let words = match &wish {
                        Some(wish) => format!("{} is wished for the cluster (by {})", wish.plane, wish.by),
                        None => "the cluster's wish is taken back: every node follows its own file".to_owned(),
                    };
                    self.say(now, Level::Info, Topic::Mode, words);
                }
                self.coordination.wish = wish;
            }
            Event::Coordinator(on) => {
                if on {
                    self.say(now, Level::Info, Topic::Mode, "this node coordinates the cluster".to_owned());
                }
                self.coordination.coordinator = on;
                self.coordination.digest_dirty = true;
                self.coordination.sent = None;
                self.coordination.live = None;
                self.coordination.absent_since.clear();
            }
            Event::Live(live) => {
                let coordination = &mut self.coordination;
                coordination.absent_since.retain(|node, _| !live.contains(node));
                // A node that holds a claim and died before its first record counts as well.
                let known = coordination.phases.keys().chain(self.claims.nodes.keys());
                for node in known.filter(|node| !live.contains(*node)) {
                    // What the coordinator before counted as gone stays so.
                    let gone = coordination.digest.as_ref().is_some_and(|digest| digest.gone.contains(node));
                    let since = if gone { now - GRACE } else { now };
                    coordination.absent_since.entry(node.clone()).or_insert(since);
                }
                coordination.live = Some(live);
                coordination.digest_dirty = true;
            }
            Event::Done(command, result) => self.handle_done(now, command, result),
            Event::Down(why) => {
                self.say(now, Level::Warn, Topic::Store, format!("{why}; forwarding stays as it is"));
                self.coordination.down = Some((why, now));
                self.store_since = now;
            }
            Event::Up => {
                if self.coordination.down.take().is_some() {
                    self.store_since = now;
                    self.say(now, Level::Info, Topic::Store, "the store is back".to_owned());
                }
            }
            Event::Warn(why) => self.say(now, Level::Warn, Topic::Store, why),
            Event::Fatal(why) => self.out.push(Effect::Exit(why)),
        }
    }

    fn handle_done(&mut self, now: Moment, command: Command, result: Result<Outcome, String>) {
        match command {
            Command::Create(claim) => self.handle_claimed(now, claim, result),
            Command::Wish(wish) => {
                let waiting: Vec<u64> =
                    self.coordination.wishes.iter().filter(|(_, w)| **w == wish).map(|(n, _)| *n).collect();
                for number in waiting {
                    self.coordination.wishes.remove(&number);
                    let answer = match &result {
                        Ok(_) => Ok(match &wish {
                            Some(wish) => {
                                format!("{} is wished for the cluster, generation {}", wish.plane, wish.generation)
                            }
                            None => "the wish is taken back: every node follows its own configuration".to_owned(),
                        }),
                        Err(why) => Err(format!("the store did not take the wish: {why}")),
                    };
                    self.out.push(Effect::Answer(number, answer));
                }
            }
            Command::Update(_) | Command::Release(_) | Command::Phase(_) | Command::Digest(_) => {
                if let Err(why) = result {
                    self.say(now, Level::Warn, Topic::Store, format!("a write was refused: {why}"));
                }
            }
        }
    }

    /// A newer digest opens gates; one that is older than what was heard says nothing.
    fn handle_digest(&mut self, digest: Option<Digest>) {
        let Some(digest) = digest else { return };
        let before = self.coordination.digest.as_ref();
        if before.is_some_and(|old| old.sequence >= digest.sequence) {
            return;
        }
        let moved = before.is_none_or(|old| {
            old.overlay_stands != digest.overlay_stands
                || old.native_stands != digest.native_stands
                || old.gone != digest.gone
        });
        if moved {
            self.destinations.all_dirty();
        }
        if before.is_none_or(|old| {
            (&old.topology, &old.at_home, &old.gone) != (&digest.topology, &digest.at_home, &digest.gone)
        }) {
            self.native.meeting.dirty = true;
        }
        if self.coordination.sent.as_ref().is_some_and(|sent| sent.sequence <= digest.sequence) {
            self.coordination.sent = None;
        }
        self.coordination.digest_dirty = true;
        self.coordination.digest = Some(digest);
    }

    /// The plane that this node should be on: the cluster's wish, unless its own file changed later.
    pub(super) fn wish(&self) -> Plane {
        match &self.coordination.wish {
            Some(wish) if wish.generation > self.coordination.config_beats => wish.plane,
            _ => self.config.mode,
        }
    }

    /// Is the wish the cluster's?
    pub(super) fn wish_is_clusters(&self) -> bool {
        self.coordination.wish.as_ref().is_some_and(|wish| wish.generation > self.coordination.config_beats)
    }

    pub(super) fn handle_operation(&mut self, now: Moment, number: u64, operation: status::Operation) {
        match operation {
            status::Operation::Switch(plane) => {
                if let Some((why, _)) = &self.coordination.down {
                    let words = format!("the store cannot take a wish now: {why}");
                    self.out.push(Effect::Answer(number, Err(words)));
                    return;
                }
                let wish = plane.map(|plane| Wish {
                    plane,
                    generation: self.coordination.last_generation() + 1,
                    by: self.identity.node.clone(),
                });
                self.coordination.wishes.insert(number, wish.clone());
                self.out.push(Effect::Store(Command::Wish(wish)));
            }
            status::Operation::BgpReset { peer, soft, hard } => {
                let speaker = &mut self.native.speaker;
                let answer = match hard {
                    true => speaker.handle_hard_reset(now, peer),
                    false => speaker.handle_reset(now, peer, soft),
                };
                self.out.push(Effect::Answer(number, answer));
            }
            status::Operation::BgpPeer { peer, up, text } => {
                let answer = match up {
                    true => self.native.speaker.handle_peer_up(now, &peer),
                    false => self.native.speaker.handle_peer_down(now, &peer, &text),
                };
                self.out.push(Effect::Answer(number, answer));
            }
            status::Operation::Advertise { prefix, on } => {
                let answer = self.advertise(now, prefix, on);
                self.out.push(Effect::Answer(number, answer));
            }
            status::Operation::Drain { force } => self.handle_drain(now, number, force),
            status::Operation::Undrain => self.handle_undrain(now, number),
            // The loop reads files; it answers this one before it comes here.
            status::Operation::Reload => self.out.push(Effect::Answer(number, Ok("reloading".to_owned()))),
        }
    }

    /// Moves the switch as far as its gates are open.
    pub(super) fn step_switch(&mut self, now: Moment) {
        // Each state is entered at most once per call in a sound machine; the bound is for one that is not.
        for _ in 0..8 {
            let Some(mut switch) = self.switch.take() else { return };
            let facts = Facts {
                me: &self.identity.node,
                wish: self.wish(),
                fallback: self.config.fallback,
                linger: self.config.switch.linger,
                digest: self.coordination.digest.as_ref(),
                ground: [self.readiness(Plane::Overlay), self.readiness(Plane::Native)],
                counts: self.destinations.counts(),
                leftovers: Plane::BOTH.map(|plane| {
                    let standing = self.reconcile.standing(plane);
                    standing.objects + standing.routes
                }),
                // A route that is being written may turn out on either plane.
                inputs_complete: self.complete && !self.destinations.has_work() && !self.reconcile.routes_pending(),
            };
            let before = (switch.stance(), switch.licences());
            let lasted = now.since(switch.since());
            let transition = switch.step(now, &facts);
            let after = (switch.stance(), switch.licences());
            self.switch = Some(switch);
            if let Some(transition) = &transition {
                self.stats.count_transition(now, transition, lasted);
                let (from, to) = (state_words(transition.from), state_words(transition.to));
                self.say(now, Level::Info, Topic::Mode, format!("{from} → {to}: {}", transition.reason));
            }
            if before.0 != after.0 {
                self.stance_changed();
            } else if before.1 != after.1 {
                self.destinations.all_dirty();
            }
            if transition.is_none() {
                return;
            }
            self.refresh_ground(now);
            self.run_native(now);
            self.refresh_destinations(now);
        }
    }

    /// Tells the cluster this node's phase when it changed, and writes the digest if this node is the coordinator.
    pub(super) fn publish(&mut self, now: Moment) {
        self.publish_phase(now);
        self.publish_digest(now);
    }

    fn publish_phase(&mut self, now: Moment) {
        let Some(switch) = &self.switch else { return };
        let told = switch.announced();
        let phase = NodePhase {
            node: self.identity.node.clone(),
            uid: self.identity.uid.clone(),
            wish: self.wish(),
            state: switch.state().name(),
            stands: told.stands,
            sends: told.sends,
            waiting: switch.waiting().map(str::to_owned),
            serial: switch.serial(),
            settled: switch.settled(),
            config_beats: self.coordination.config_beats,
            topology: self.native.meeting.home(),
            version: self.identity.version.clone(),
        };
        self.coordination.words_due = None;
        if let Some(last) = &self.coordination.published {
            if *last == phase {
                return;
            }
            let words_alone = NodePhase { waiting: last.waiting.clone(), ..phase.clone() } == *last;
            let due = self.coordination.published_at + WORDS_EVERY;
            if words_alone && now < due {
                self.coordination.words_due = Some(due);
                return;
            }
        }
        self.coordination.published = Some(phase.clone());
        self.coordination.published_at = now;
        self.stats.phases_written += 1;
        self.out.push(Effect::Store(Command::Phase(phase)));
    }

    fn publish_digest(&mut self, now: Moment) {
        let coordination = &mut self.coordination;
        if !coordination.coordinator || !coordination.listed || coordination.sent.is_some() {
            return;
        }
        let gone = coordination.gone(now);
        if !coordination.digest_dirty && gone == coordination.counted {
            return;
        }
        coordination.digest_dirty = false;
        coordination.counted.clone_from(&gone);
        let Some(next) = switch::digest(&coordination.phases, &gone, coordination.digest.as_ref(), &self.identity.node)
        else {
            return;
        };
        coordination.sent = Some(next.clone());
        self.stats.digests_written += 1;
        self.out.push(Effect::Store(Command::Digest(next)));
    }
}

/// A state and its planes: `steady on vxlan`, `flipping vxlan→bgp`.
fn state_words(state: State) -> String {
    let name = state.name();
    match state {
        State::Steady(plane) => format!("{name} on {plane}"),
        State::Raising { from, to }
        | State::Flipping { from, to }
        | State::Lingering { from, to, .. }
        | State::Lowering { from, to } => format!("{name} {from}→{to}"),
    }
}
