//! The state machine of one node.

use std::time::Duration;

use model::{Digest, Moment, NodeName, Plane, PlaneSet, Stance, StateName};
use serde::{Deserialize, Serialize};

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

/// How the destinations are carried, by the kernel's own word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Destinations that some live node claims.
    pub total: usize,
    /// Carried by each plane, indexed by `Plane as usize`.
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
            model::NodeSet::Only(these) => {
                let first = these.first().map_or_else(String::new, ToString::to_string);
                match these.len() {
                    1 => format!("node {first} may still send over {plane}"),
                    more => format!("node {first} and {} more may still send over {plane}", more - 1),
                }
            }
            model::NodeSet::AllBut(not) => {
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

/// The switch of one node.
#[derive(Clone, Debug)]
pub struct Switch {
    state: State,
    since: Moment,
    waiting: Option<String>,
    /// Ground that was ready once since it last was asked for; a plane is announced as standing from then on.
    ready: PlaneSet,
    /// In Lingering: time and senders allowed it, and it is announced that the old plane no longer stands.
    leaving: bool,
    fallback: bool,
    /// What was announced last, and its serial.
    announced: Told,
    serial: u64,
    /// Has a digest shown that serial?
    reflected: bool,
    /// Planes that every announcement since the last reflected one allows sending on.
    licences: PlaneSet,
}

impl Switch {
    /// The state of a daemon that has just started and remembers nothing: `found` is what of each plane stands in the kernel.
    ///
    /// With both planes found the wished one is flipped to; every destination stays where the kernel has it until
    /// something better is usable, so a daemon killed anywhere in a switch goes on from there.
    ///
    /// `serial` is that of the node's last phase record in the store, 0 if there is none.
    pub fn recover(found: PlaneSet, wish: Plane, fallback: bool, serial: u64, now: Moment) -> Switch {
        let other = wish.other();
        let state = match (found.has(wish), found.has(other)) {
            (_, false) => State::Steady(wish),
            (false, true) => State::Raising { from: other, to: wish },
            (true, true) if fallback => State::Steady(wish),
            (true, true) => State::Flipping { from: other, to: wish },
        };
        let nothing = Told { stands: PlaneSet::NONE, sends: PlaneSet::NONE };
        Switch {
            state,
            since: now,
            waiting: None,
            ready: PlaneSet::NONE,
            leaving: false,
            fallback,
            announced: nothing,
            serial,
            reflected: false,
            licences: PlaneSet::NONE,
        }
    }

    /// Looks at the facts and moves at most one state on. Call again until it returns `None`.
    pub fn step(&mut self, now: Moment, facts: &Facts<'_>) -> Option<Transition> {
        if facts.digest.and_then(|digest| digest.reflects.get(facts.me)) == Some(&self.serial) {
            self.reflected = true;
            self.licences = self.announced.sends;
        }
        let dropped = match self.state {
            // Fallback was turned off: the plane that stood for it leaves as after a switch, not at once.
            State::Steady(plane) if self.fallback && !facts.fallback => Some(plane),
            _ => None,
        };
        self.fallback = facts.fallback;
        let transition = match dropped {
            Some(plane) => {
                let to = State::Lingering { from: plane.other(), to: plane, until: now + facts.linger };
                Some(self.enter(now, to, "fallback was turned off".to_owned()))
            }
            None => match self.decide(now, facts) {
                Ok((to, reason)) => Some(self.enter(now, to, reason)),
                Err(waiting) => {
                    self.waiting = waiting;
                    None
                }
            },
        };
        self.announce(facts);
        transition
    }

    /// The one way into a state.
    fn enter(&mut self, now: Moment, to: State, reason: String) -> Transition {
        let from = std::mem::replace(&mut self.state, to);
        self.since = now;
        self.waiting = None;
        self.leaving = false;
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
            self.serial += 1;
            self.reflected = false;
            self.licences = self.licences.iter().filter(|plane| told.sends.has(*plane)).collect();
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

    /// Steady, with the last announcement shown by a digest.
    pub fn settled(&self) -> bool {
        self.reflected && matches!(self.state, State::Steady(_))
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
            State::Lingering { until, .. } if !self.leaving => Some(until),
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
        let both = PlaneSet::BOTH;
        let (stands, sends) = match self.state {
            State::Steady(_) if self.fallback => (both, both),
            State::Steady(plane) => (PlaneSet::only(plane), PlaneSet::only(plane)),
            State::Raising { .. } | State::Flipping { .. } => (both, both),
            State::Lingering { to, .. } if self.leaving => (PlaneSet::only(to), PlaneSet::only(to)),
            State::Lingering { to, .. } => (both, PlaneSet::only(to)),
            State::Lowering { to, .. } => (PlaneSet::only(to), PlaneSet::only(to)),
        };
        let stands = stands.iter().filter(|plane| self.ready.has(*plane)).collect();
        Told { stands, sends }
    }

    /// The gate out of the present state: the next one and why, or what is waited for.
    fn decide(&mut self, now: Moment, facts: &Facts<'_>) -> Result<(State, String), Option<String>> {
        match self.state {
            State::Steady(plane) if facts.wish != plane => {
                let to = State::Raising { from: plane, to: facts.wish };
                Ok((to, format!("{} is wished", facts.wish)))
            }
            State::Steady(_) => Err(self.ground_wanted(facts)),
            State::Raising { from, to } if facts.wish == from => {
                Ok((State::Lowering { from: to, to: from }, format!("the wish is {from} again")))
            }
            State::Raising { from, to } => {
                if let Readiness::Waiting(what) = &facts.ground[to as usize] {
                    return Err(Some(what.clone()));
                }
                if !facts.inputs_complete {
                    return Err(Some("store, kernel and sessions are not read in completely yet".to_owned()));
                }
                if !self.licences.has(to) {
                    return Err(Some(format!(
                        "no digest from the coordinator lists this node as a sender over {to} yet"
                    )));
                }
                Ok((State::Flipping { from, to }, format!("{to} is ready")))
            }
            State::Flipping { from, to } if facts.wish == from => {
                Ok((State::Flipping { from: to, to: from }, format!("the wish is {from} again")))
            }
            State::Flipping { from, to } => {
                let on_target = facts.counts.carried[to as usize];
                let left = facts.counts.total.saturating_sub(on_target + facts.counts.unreachable);
                if !facts.inputs_complete {
                    return Err(Some("store, kernel and sessions are not read in completely yet".to_owned()));
                }
                if let Readiness::Waiting(what) = &facts.ground[to as usize] {
                    return Err(Some(what.clone()));
                }
                if facts.fallback {
                    // Both planes are wanted for good: what cannot move stays on the fallback, by the same rule.
                    return Ok((
                        State::Steady(to),
                        format!("{on_target} of {} destinations carried by {to}", facts.counts.total),
                    ));
                }
                if left > 0 || facts.counts.carried[from as usize] > 0 {
                    let why = facts.counts.stuck.clone().unwrap_or_else(|| format!("{left} destinations"));
                    return Err(Some(format!(
                        "{on_target} of {} destinations carried by {to}; {why}",
                        facts.counts.total
                    )));
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
            State::Lingering { from, to, until } => {
                if facts.counts.carried[from as usize] > 0 && !self.leaving {
                    return Ok((State::Flipping { from, to }, format!("a destination fell back to {from}")));
                }
                if now < until {
                    return Err(Some(format!("lingering: {from} receives for a while yet")));
                }
                facts.no_senders(from).map_err(Some)?;
                if !self.leaving {
                    // Announced first; taken down only when a digest shows it, with still nobody sending.
                    self.leaving = true;
                    return Err(Some(format!("the cluster is told that this node leaves {from}")));
                }
                if !self.reflected {
                    return Err(Some(format!("no digest from the coordinator shows yet that this node leaves {from}")));
                }
                Ok((State::Lowering { from, to }, format!("nobody sends over {from} any more")))
            }
            State::Lowering { from, to } if facts.wish == from => {
                Ok((State::Raising { from: to, to: from }, format!("the wish is {from} again")))
            }
            State::Lowering { from, to } => match facts.leftovers[from as usize] {
                0 => Ok((State::Steady(to), format!("nothing of {from} is left"))),
                left => Err(Some(format!("{left} objects of {from} are still in the kernel"))),
            },
        }
    }

    fn ground_wanted(&self, facts: &Facts<'_>) -> Option<String> {
        self.stance().stand.iter().find_map(|plane| match &facts.ground[plane as usize] {
            Readiness::Ready => None,
            Readiness::Waiting(what) => Some(what.clone()),
        })
    }
}

const fn both(carry: Plane) -> Stance {
    Stance { stand: PlaneSet::BOTH, carry, fallback: Some(carry.other()) }
}
