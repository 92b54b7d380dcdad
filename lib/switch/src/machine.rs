//! The state machine of one node.

use std::time::Duration;

use model::{Digest, Moment, NodeName, NodePhase, NodeSet, Plane, PlaneSet, Stance, StateName};
use serde::{Deserialize, Serialize};

use crate::carry::unlicensed;

/// Where the switch of this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// One plane carries; the other stands only as fallback.
    Steady(Plane),
    /// `to` is being stood up, `from` carries.
    Raising {
        /// Carries.
        from: Plane,
        /// Is wished.
        to: Plane,
    },
    /// Both stand; each destination goes to `to` once that is usable to it.
    Flipping {
        /// Carries what cannot be moved yet.
        from: Plane,
        /// Preferred.
        to: Plane,
    },
    /// Everything goes by `to`; `from` still receives.
    Lingering {
        /// Still receives.
        from: Plane,
        /// Carries.
        to: Plane,
        /// Not left before this.
        until: Moment,
    },
    /// `from` is being taken down.
    Lowering {
        /// Goes.
        from: Plane,
        /// Carries.
        to: Plane,
    },
}

impl State {
    /// The state as a word.
    pub const fn name(self) -> StateName {
        match self {
            State::Steady(_) => StateName::Steady,
            State::Raising { .. } => StateName::Raising,
            State::Flipping { .. } => StateName::Flipping,
            State::Lingering { .. } => StateName::Lingering,
            State::Lowering { .. } => StateName::Lowering,
        }
    }

    /// The plane that this node is on or on its way to.
    pub const fn target(self) -> Plane {
        match self {
            State::Steady(plane) => plane,
            State::Raising { to, .. }
            | State::Flipping { to, .. }
            | State::Lingering { to, .. }
            | State::Lowering { to, .. } => to,
        }
    }
}

/// Is a plane's ground (link, sysctls, sessions) ready on this node?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Yes, as read back from the kernel and the sessions.
    Ready,
    /// No, and this is what is waited for.
    Waiting(String),
}

/// How the destinations of live nodes are carried, by the kernel's own word.
///
/// Destinations of nodes that the digest calls gone are left out: nothing waits for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Destinations that some live node claims.
    pub total: usize,
    /// Carried by each plane, indexed by `Plane as usize`.
    ///
    /// A destination on its way from one plane to the other, its write planned or under way, counts for both: only so
    /// does a plane with none really carry nothing a moment later, when this node tells that it sends there no more.
    pub carried: [usize; 2],
    /// Carried by neither and never were: they hold nothing up, they are reported.
    pub unreachable: usize,
    /// One that is not where it should be yet, and why.
    pub stuck: Option<String>,
}

/// What a step looks at.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// This node.
    pub me: &'a NodeName,
    /// Its wished plane.
    pub wish: Plane,
    /// Whether the other plane is to stand as a safety net.
    pub fallback: bool,
    /// How long the old plane receives after the last flip.
    pub linger: Duration,
    /// The newest digest, if one was ever seen.
    pub digest: Option<&'a Digest>,
    /// Readiness of overlay and native ground, indexed by `Plane as usize`.
    pub ground: [Readiness; 2],
    /// Destinations.
    pub counts: Counts,
    /// Objects and routes of overlay and native plane in the kernel, indexed by `Plane as usize`.
    pub leftovers: [usize; 2],
    /// Are store, kernel and sessions all read in?
    pub inputs_complete: bool,
}

impl Facts<'_> {
    /// Nobody may send on `plane`; `Err` names who may.
    fn no_senders(&self, plane: Plane) -> Result<(), String> {
        let Some(digest) = self.digest else { return Err("no digest from a coordinator yet".to_owned()) };
        let senders = digest.senders(plane);
        if senders.is_empty(digest.nodes) {
            return Ok(());
        }
        Err(match senders {
            NodeSet::Only(these) => {
                let first = these.first().map_or_else(String::new, ToString::to_string);
                match these.len() {
                    1 => format!("node {first} may still send over {plane}"),
                    more => format!("node {first} and {} more may still send over {plane}", more - 1),
                }
            }
            NodeSet::AllBut(not) => {
                format!("{} nodes may still send over {plane}", digest.nodes.saturating_sub(not.len()))
            }
        })
    }
}

/// What the node tells the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Planes that it receives on, and will until it has told otherwise and seen it in a digest.
    pub stands: PlaneSet,
    /// Planes that it may send on once a digest says so.
    pub sends: PlaneSet,
}

impl Told {
    const fn only(plane: Plane) -> Told {
        Told { stands: PlaneSet::only(plane), sends: PlaneSet::only(plane) }
    }
}

/// One move of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// What opened the gate.
    pub reason: String,
}

/// How far Lingering has come. Each step is told to the cluster before it is relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The old plane receives, and a destination that fails on the new one may still fall back to it.
    Receiving,
    /// The linger time is over: this node sends over the old plane no more, and still receives for whoever does.
    Retracted,
    /// Nobody may send over the old plane: this node tells that it stands there no longer, and still does.
    Leaving,
}

/// The switch of one node.
#[derive(Clone, Debug)]
pub struct Switch {
    state: State,
    since: Moment,
    waiting: Option<String>,
    /// Ground that was ready once since it last was asked for; a plane is announced as standing from then on.
    ready: PlaneSet,
    /// Means something in Lingering only.
    stage: Stage,
    fallback: bool,
    /// What was announced last, and its serial.
    announced: Told,
    serial: u64,
    /// Has a digest shown that serial?
    reflected: bool,
    /// Planes that every announcement since the last reflected one allows sending on.
    granted: PlaneSet,
    /// Those of `granted` for which the newest digest still lists this node.
    licences: PlaneSet,
}

impl Switch {
    /// As [`Switch::recover_from`], when only the serial of the last record is known: whatever stands in the kernel is
    /// taken to have been announced.
    pub fn recover(found: PlaneSet, wish: Plane, fallback: bool, serial: u64, now: Moment) -> Switch {
        let last = Told { stands: found, sends: PlaneSet::BOTH };
        Switch::start(found, wish, fallback, (serial > 0).then_some(last), serial, now)
    }

    /// The state of a daemon that has just started and remembers nothing: `found` is what of each plane stands in the
    /// kernel, `last` the node's last phase record in the store.
    ///
    /// With both planes found the wished one is flipped to; every destination stays where the kernel has it until
    /// something better is usable, so a daemon killed anywhere in a switch goes on from there.
    ///
    /// What the record says this node receives on goes on being said, as far as the kernel bears it out: others send
    /// here by that word, and a restart must not make them stop. A plane that was announced and may not be wanted any
    /// more leaves by the same handshake as after a switch.
    pub fn recover_from(found: PlaneSet, wish: Plane, fallback: bool, last: Option<&NodePhase>, now: Moment) -> Switch {
        let told = last.map(|phase| Told { stands: phase.stands, sends: phase.sends });
        Switch::start(found, wish, fallback, told, last.map_or(0, |phase| phase.serial), now)
    }

    fn start(found: PlaneSet, wish: Plane, fallback: bool, last: Option<Told>, serial: u64, now: Moment) -> Switch {
        let told = last.map_or(PlaneSet::NONE, |told| told.stands);
        // A plane that the kernel holds nothing of was lost with the kernel, and the word with it. Not so the native
        // plane: a node receives natively with no route of its own, and shows no trace of it.
        let ready: PlaneSet = told.iter().filter(|plane| found.has(*plane) || *plane == Plane::Native).collect();
        let stood: PlaneSet = Plane::BOTH.into_iter().filter(|p| found.has(*p) || ready.has(*p)).collect();
        let from = wish.other();
        let state = match (stood.has(wish), stood.has(from)) {
            (_, false) => State::Steady(wish),
            (false, true) => State::Raising { from, to: wish },
            (true, true) if fallback => State::Steady(wish),
            // Killed while the old plane was going: it goes on going.
            (true, true) if last == Some(Told::only(wish)) => State::Lingering { from, to: wish, until: now },
            (true, true) => State::Flipping { from, to: wish },
        };
        Switch {
            state,
            since: now,
            waiting: None,
            ready,
            stage: Stage::Leaving,
            fallback,
            // Equal to no announcement, so that the first one counts the serial up: a digest that reflects the serial
            // of the life before says nothing about this one.
            announced: Told { stands: PlaneSet::NONE, sends: PlaneSet::NONE },
            serial,
            reflected: false,
            granted: PlaneSet::NONE,
            licences: PlaneSet::NONE,
        }
    }

    /// Looks at the facts and moves at most one state on. Call again until it returns `None`.
    pub fn step(&mut self, now: Moment, facts: &Facts<'_>) -> Option<Transition> {
        self.take_digest(facts);
        let transition = match self.decide(now, facts) {
            Ok((to, reason)) => Some(self.enter(now, to, reason)),
            Err(waiting) => {
                self.waiting = waiting;
                None
            }
        };
        self.fallback = facts.fallback;
        self.announce(facts);
        transition
    }

    fn take_digest(&mut self, facts: &Facts<'_>) {
        if facts.digest.and_then(|digest| digest.reflects.get(facts.me)) == Some(&self.serial) {
            self.reflected = true;
            self.granted = self.announced.sends;
        }
        self.renew_licences(facts);
    }

    /// A licence ends with the list that gave it: a node that was taken for gone is no sender until it is listed again.
    fn renew_licences(&mut self, facts: &Facts<'_>) {
        let listed = |plane: Plane| {
            facts.digest.is_some_and(|digest| !digest.gone.contains(facts.me) && digest.senders(plane).has(facts.me))
        };
        self.licences = self.granted.iter().filter(|plane| listed(*plane)).collect();
    }

    /// The one way into a state.
    fn enter(&mut self, now: Moment, to: State, reason: String) -> Transition {
        let from = std::mem::replace(&mut self.state, to);
        self.since = now;
        self.waiting = None;
        self.stage = Stage::Receiving;
        Transition { from, to, reason }
    }

    /// Brings the announcement in line with the state. What it takes back is given up at once; what it adds waits for
    /// a digest that shows the new serial.
    fn announce(&mut self, facts: &Facts<'_>) {
        for plane in Plane::BOTH {
            if !self.stance().stand.has(plane) {
                self.ready = self.ready.without(plane);
            } else if facts.ground[plane as usize] == Readiness::Ready {
                self.ready = self.ready.with(plane);
            }
        }
        let told = self.told();
        if told != self.announced {
            self.announced = told;
            // A record that was lost from the store must not make an old digest speak of a new announcement.
            let shown = facts.digest.and_then(|digest| digest.reflects.get(facts.me)).copied();
            self.serial = self.serial.max(shown.unwrap_or(0)) + 1;
            self.reflected = false;
            self.granted = self.granted.iter().filter(|plane| told.sends.has(*plane)).collect();
            self.renew_licences(facts);
        }
    }

    /// What was announced last.
    pub fn announced(&self) -> Told {
        self.announced
    }

    /// Serial of the last announcement.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Steady, its plane announced as standing, and the last announcement shown by a digest.
    pub fn settled(&self) -> bool {
        self.reflected && matches!(self.state, State::Steady(plane) if self.announced.stands.has(plane))
    }

    /// Planes that destinations may be moved to now.
    pub fn licences(&self) -> PlaneSet {
        self.licences
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// When the state was entered.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// What is waited for, if anything.
    pub fn waiting(&self) -> Option<&str> {
        self.waiting.as_deref()
    }

    /// When to step again at the latest, whatever happens.
    pub fn poll_timeout(&self) -> Option<Moment> {
        match self.state {
            State::Lingering { until, .. } if self.stage == Stage::Receiving => Some(until),
            _ => None,
        }
    }

    /// What is to stand on this node and what is to carry.
    pub fn stance(&self) -> Stance {
        match self.state {
            State::Steady(plane) if self.fallback => both(plane),
            State::Steady(plane) => Stance { stand: PlaneSet::only(plane), carry: plane, fallback: None },
            State::Raising { from, .. } => both(from),
            State::Flipping { to, .. } | State::Lingering { to, .. } => both(to),
            State::Lowering { to, .. } => Stance { stand: PlaneSet::only(to), carry: to, fallback: None },
        }
    }

    /// What is to be told to the cluster.
    fn told(&self) -> Told {
        let both = Told { stands: PlaneSet::BOTH, sends: PlaneSet::BOTH };
        let told = match self.state {
            State::Steady(_) if self.fallback => both,
            State::Steady(plane) => Told::only(plane),
            State::Raising { .. } | State::Flipping { .. } => both,
            State::Lingering { to, .. } => match self.stage {
                Stage::Receiving => both,
                Stage::Retracted => Told { stands: PlaneSet::BOTH, sends: PlaneSet::only(to) },
                Stage::Leaving => Told::only(to),
            },
            State::Lowering { to, .. } => Told::only(to),
        };
        Told { stands: told.stands.iter().filter(|plane| self.ready.has(*plane)).collect(), ..told }
    }

    /// The gate out of the present state: the next one and why, or what is waited for.
    fn decide(&mut self, now: Moment, facts: &Facts<'_>) -> Result<(State, String), Option<String>> {
        match self.state {
            State::Steady(plane) if self.fallback && !facts.fallback => {
                Ok((self.leave(plane.other(), plane, facts), "fallback was turned off".to_owned()))
            }
            State::Steady(plane) if facts.wish != plane => {
                let to = State::Raising { from: plane, to: facts.wish };
                Ok((to, format!("{} is wished", facts.wish)))
            }
            State::Steady(plane) => Err(self.steady_wants(plane, facts)),
            State::Raising { from, to } if facts.wish == from => {
                let next = if facts.fallback { State::Steady(from) } else { self.leave(to, from, facts) };
                Ok((next, format!("the wish is {from} again")))
            }
            State::Raising { from, to } => {
                read_in(to, facts)?;
                if !self.licences.has(to) {
                    return Err(Some(unlicensed(to)));
                }
                Ok((State::Flipping { from, to }, format!("{to} is ready")))
            }
            State::Flipping { from, to } if facts.wish == from => {
                Ok((State::Flipping { from: to, to: from }, format!("the wish is {from} again")))
            }
            State::Flipping { from, to } => {
                read_in(to, facts)?;
                let on_target = facts.counts.carried[to as usize];
                let total = facts.counts.total;
                if facts.fallback {
                    // Both planes are wanted for good: what cannot move stays on the fallback, by the same rule.
                    return Ok((State::Steady(to), format!("{on_target} of {total} destinations carried by {to}")));
                }
                let left = left(from, to, &facts.counts);
                if left > 0 {
                    let why = facts.counts.stuck.clone().unwrap_or_else(|| format!("{left} to go"));
                    return Err(Some(format!("{on_target} of {total} destinations carried by {to}; {why}")));
                }
                let until = now + facts.linger;
                Ok((State::Lingering { from, to, until }, format!("all {on_target} destinations are carried by {to}")))
            }
            State::Lingering { from, to, .. } if facts.wish == from => {
                Ok((State::Flipping { from: to, to: from }, format!("the wish is {from} again")))
            }
            State::Lingering { to, .. } if facts.fallback => {
                Ok((State::Steady(to), "fallback is on: both planes stay".to_owned()))
            }
            State::Lingering { from, to, until } => self.linger(from, to, now < until, facts),
            State::Lowering { from, to } if facts.wish == from => {
                Ok((State::Raising { from: to, to: from }, format!("the wish is {from} again")))
            }
            State::Lowering { to, .. } if facts.fallback => {
                Ok((State::Steady(to), "fallback is on: both planes are wanted".to_owned()))
            }
            State::Lowering { from, to } => match facts.leftovers[from as usize] {
                0 => Ok((State::Steady(to), format!("nothing of {from} is left"))),
                left => Err(Some(format!("{left} objects of {from} are still in the kernel"))),
            },
        }
    }

    /// The way to stand down `from`, which may never have been told to anybody: then nobody sends there and it goes
    /// at once; else as after a switch.
    fn leave(&self, from: Plane, to: Plane, facts: &Facts<'_>) -> State {
        let told = self.ready.has(from) || self.announced.stands.has(from);
        if told || facts.counts.carried[from as usize] > 0 {
            State::Flipping { from, to }
        } else {
            State::Lowering { from, to }
        }
    }

    /// Lingering, stage by stage. None may be left out: a node that takes back its sending and its standing at once
    /// would be left by a sender that has no other way to it yet, and one that lowers without having told would take
    /// its end away under a sender whose licence it has not seen.
    fn linger(
        &mut self,
        from: Plane,
        to: Plane,
        early: bool,
        facts: &Facts<'_>,
    ) -> Result<(State, String), Option<String>> {
        if facts.counts.carried[from as usize] > 0 {
            return Ok((State::Flipping { from, to }, format!("a destination fell back to {from}")));
        }
        read_in_all(facts)?;
        if left(from, to, &facts.counts) > 0 {
            let why = facts.counts.stuck.as_deref().unwrap_or("one was lost");
            return Ok((State::Flipping { from, to }, format!("not all destinations are carried by {to} now: {why}")));
        }
        if self.stage == Stage::Receiving {
            if early {
                return Err(Some(format!("lingering: {from} receives for a while yet")));
            }
            self.stage = Stage::Retracted;
        }
        facts.no_senders(from).map_err(Some)?;
        if self.stage == Stage::Retracted {
            self.stage = Stage::Leaving;
            return Err(Some(format!("the cluster is told that this node leaves {from}")));
        }
        let shown = facts.digest.is_some_and(|digest| !digest.stands(from).has(facts.me));
        if !self.reflected || !shown {
            return Err(Some(format!("no digest from the coordinator shows yet that this node leaves {from}")));
        }
        Ok((State::Lowering { from, to }, format!("nobody sends over {from} any more")))
    }

    fn steady_wants(&self, plane: Plane, facts: &Facts<'_>) -> Option<String> {
        let ground = self.stance().stand.iter().find_map(|stands| match &facts.ground[stands as usize] {
            Readiness::Ready => None,
            Readiness::Waiting(what) => Some(what.clone()),
        });
        ground.or_else(|| (!self.licences.has(plane)).then(|| unlicensed(plane)))
    }
}

/// Ground of `to` ready, and everything read in.
fn read_in(to: Plane, facts: &Facts<'_>) -> Result<(), Option<String>> {
    if let Readiness::Waiting(what) = &facts.ground[to as usize] {
        return Err(Some(what.clone()));
    }
    read_in_all(facts)
}

fn read_in_all(facts: &Facts<'_>) -> Result<(), Option<String>> {
    if facts.inputs_complete {
        return Ok(());
    }
    Err(Some("store, kernel and sessions are not read in completely yet".to_owned()))
}

/// Destinations that keep `from`: on it still, or carried once and now by nothing.
fn left(from: Plane, to: Plane, counts: &Counts) -> usize {
    let elsewhere = counts.total.saturating_sub(counts.carried[to as usize] + counts.unreachable);
    elsewhere.max(counts.carried[from as usize])
}

const fn both(carry: Plane) -> Stance {
    Stance { stand: PlaneSet::BOTH, carry, fallback: Some(carry.other()) }
}
