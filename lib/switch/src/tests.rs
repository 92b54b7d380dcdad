//! Every transition, every reason to wait, and what a restart makes of what it finds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::Plane::{self, Native, Overlay};
use model::{Digest, Moment, NodeName, NodePhase, NodeSet, PlaneSet, StateName, Uid};

use crate::{Counts, Facts, Readiness, State, Switch, Told, digest};

const LINGER: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Moment {
    Moment::new(Duration::from_secs(seconds))
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn phase(node: &str, stands: PlaneSet, sends: PlaneSet, serial: u64) -> NodePhase {
    NodePhase {
        node: name(node),
        uid: Uid("u".into()),
        wish: Overlay,
        state: StateName::Steady,
        stands,
        sends,
        waiting: None,
        serial,
        settled: false,
        config_beats: 0,
        topology: None,
        version: String::new(),
    }
}

/// A node `a`, another node `b` with a record of its own, and a coordinator that is up to date when told to be.
struct Lab {
    switch: Switch,
    me: NodeName,
    now: Moment,
    wish: Plane,
    fallback: bool,
    ground: [Readiness; 2],
    counts: Counts,
    leftovers: [usize; 2],
    complete: bool,
    other: NodePhase,
    gone: BTreeSet<NodeName>,
    digest: Option<Digest>,
}

impl Lab {
    fn new(switch: Switch, wish: Plane, fallback: bool) -> Lab {
        Lab {
            switch,
            me: name("a"),
            now: at(100),
            wish,
            fallback,
            ground: [Readiness::Ready, Readiness::Ready],
            counts: Counts::default(),
            leftovers: [0, 0],
            complete: true,
            other: phase("b", PlaneSet::BOTH, PlaneSet::NONE, 1),
            gone: BTreeSet::new(),
            digest: None,
        }
    }

    /// Steady on `plane`, licensed and settled.
    fn steady(plane: Plane, fallback: bool) -> Lab {
        let mut lab = Lab::new(Switch::recover_from(PlaneSet::NONE, plane, fallback, None, at(0)), plane, fallback);
        lab.rest();
        assert_eq!(lab.switch.state(), State::Steady(plane));
        assert!(lab.switch.settled() && lab.switch.licences().has(plane));
        lab
    }

    fn step(&mut self) -> Option<State> {
        let facts = Facts {
            me: &self.me,
            wish: self.wish,
            fallback: self.fallback,
            linger: LINGER,
            digest: self.digest.as_ref(),
            ground: self.ground.clone(),
            counts: self.counts.clone(),
            leftovers: self.leftovers,
            inputs_complete: self.complete,
        };
        let before = self.switch.state();
        let step = self.switch.step(self.now, &facts)?;
        assert_eq!((step.from, step.to), (before, self.switch.state()));
        assert!(!step.reason.is_empty());
        Some(step.to)
    }

    /// The coordinator sees this node's record.
    fn coordinate(&mut self) {
        let told = self.switch.announced();
        let mine = phase("a", told.stands, told.sends, self.switch.serial());
        let phases = [mine, self.other.clone()].map(|phase| (phase.node.clone(), phase)).into();
        self.digest = digest(&phases, &self.gone, self.digest.as_ref(), &name("b")).or(self.digest.take());
    }

    fn rest(&mut self) {
        for _ in 0..12 {
            self.step();
            self.coordinate();
        }
    }

    /// Steps until `state` is reached.
    fn reach(&mut self, state: StateName) {
        for _ in 0..12 {
            if self.switch.state().name() == state {
                return;
            }
            self.step();
            self.coordinate();
        }
        panic!("at {:?}, waiting for {:?}", self.switch.state(), self.switch.waiting());
    }

    fn waits(&mut self, words: &str) {
        assert_eq!(self.step(), None);
        assert_eq!(self.switch.waiting(), Some(words));
    }

    fn all_on(&mut self, plane: Plane) {
        self.counts = Counts { total: 2, ..Counts::default() };
        self.counts.carried[plane as usize] = 2;
    }
}

fn told(stands: PlaneSet, sends: PlaneSet) -> Told {
    Told { stands, sends }
}

const V: PlaneSet = PlaneSet::only(Overlay);
const B: PlaneSet = PlaneSet::only(Native);
const BOTH: PlaneSet = PlaneSet::BOTH;
const NONE: PlaneSet = PlaneSet::NONE;

#[test]
fn a_whole_switch_with_every_gate() {
    for (from, to) in [(Overlay, Native), (Native, Overlay)] {
        let (p, q) = (PlaneSet::only(from), PlaneSet::only(to));
        let mut lab = Lab::steady(from, false);
        lab.all_on(from);
        lab.wish = to;
        lab.ground[to as usize] = Readiness::Waiting("a session".to_owned());
        lab.complete = false;
        assert_eq!(lab.step(), Some(State::Raising { from, to }));
        assert_eq!(lab.switch.announced(), told(p, BOTH));
        assert_eq!(lab.switch.licences(), p, "told, not yet shown");
        assert!(!lab.switch.settled());
        lab.waits("a session");
        lab.ground[to as usize] = Readiness::Ready;
        lab.waits("store, kernel and sessions are not read in completely yet");
        assert_eq!(lab.switch.announced(), told(BOTH, BOTH));
        lab.complete = true;
        lab.waits(&format!("no digest from the coordinator lists this node as a sender over {to} yet"));
        lab.coordinate();
        assert_eq!(lab.step(), Some(State::Flipping { from, to }));
        assert_eq!(lab.switch.licences(), BOTH);
        let stance = lab.switch.stance();
        assert_eq!((stance.stand, stance.carry, stance.fallback), (BOTH, to, Some(from)));

        lab.counts.carried = [1, 1];
        lab.waits(&format!("1 of 2 destinations carried by {to}; 1 to go"));
        lab.counts.stuck = Some("no path to b".to_owned());
        lab.waits(&format!("1 of 2 destinations carried by {to}; no path to b"));
        lab.complete = false;
        lab.waits("store, kernel and sessions are not read in completely yet");
        lab.complete = true;
        lab.ground[to as usize] = Readiness::Waiting("the link".to_owned());
        lab.waits("the link");
        lab.ground[to as usize] = Readiness::Ready;
        lab.all_on(to);
        // One on its way to the new plane is on both.
        lab.counts.carried[from as usize] = 1;
        lab.waits(&format!("2 of 2 destinations carried by {to}; 1 to go"));
        lab.all_on(to);
        let until = lab.now + LINGER;
        assert_eq!(lab.step(), Some(State::Lingering { from, to, until }));
        assert_eq!(lab.switch.poll_timeout(), Some(until));
        assert_eq!(lab.switch.announced(), told(BOTH, BOTH), "what fails may still fall back");

        lab.waits(&format!("lingering: {from} receives for a while yet"));
        lab.now = until;
        let other = told(BOTH, BOTH);
        (lab.other.sends, lab.other.serial) = (other.sends, 2);
        lab.coordinate();
        lab.step();
        assert_eq!(lab.switch.announced(), told(BOTH, q), "sends first, stands still");
        assert_eq!(lab.switch.licences(), q, "given up at once");
        assert_eq!(lab.switch.poll_timeout(), None);
        lab.waits(&format!("node a and 1 more may still send over {from}").replace("node a and 1 more", "2 nodes"));
        lab.coordinate();
        lab.waits(&format!("node b may still send over {from}"));
        (lab.other.sends, lab.other.serial) = (q, 3);
        lab.coordinate();
        lab.waits(&format!("the cluster is told that this node leaves {from}"));
        assert_eq!(lab.switch.announced(), told(q, q));
        assert_eq!(lab.switch.stance().stand, BOTH, "told, not done");
        lab.waits(&format!("no digest from the coordinator shows yet that this node leaves {from}"));
        // Somebody has a licence again.
        (lab.other.sends, lab.other.serial) = (BOTH, 4);
        lab.coordinate();
        lab.waits(&format!("node b may still send over {from}"));
        (lab.other.sends, lab.other.serial) = (q, 5);
        lab.coordinate();
        assert_eq!(lab.step(), Some(State::Lowering { from, to }));
        assert_eq!(lab.switch.stance().stand, q);

        lab.leftovers[from as usize] = 3;
        lab.waits(&format!("3 objects of {from} are still in the kernel"));
        lab.leftovers[from as usize] = 0;
        assert_eq!(lab.step(), Some(State::Steady(to)));
        assert_eq!((lab.step(), lab.switch.waiting()), (None, None));
        assert!(lab.switch.settled());
    }
}

#[test]
fn steady_says_what_it_misses() {
    let mut lab = Lab::new(Switch::recover_from(NONE, Overlay, true, None, at(0)), Overlay, true);
    lab.ground = [Readiness::Waiting("no underlay".to_owned()), Readiness::Waiting("no peer".to_owned())];
    lab.waits("no underlay");
    assert_eq!(lab.switch.announced(), told(NONE, BOTH), "nothing stands before it is ready");
    lab.ground[0] = Readiness::Ready;
    lab.waits("no peer");
    assert_eq!(lab.switch.announced(), told(V, BOTH));
    lab.ground[1] = Readiness::Ready;
    lab.waits("no digest from the coordinator lists this node as a sender over vxlan yet");
    lab.coordinate();
    assert_eq!((lab.step(), lab.switch.waiting()), (None, None));
    assert_eq!(lab.switch.licences(), BOTH);
    // Ground that goes is not taken back: others go on sending while it is repaired.
    lab.ground[0] = Readiness::Waiting("link deleted".to_owned());
    lab.waits("link deleted");
    assert_eq!(lab.switch.announced(), told(BOTH, BOTH));
}

#[test]
fn the_wish_turns_back_from_every_state() {
    let (from, to) = (Overlay, Native);
    let back = |state: StateName, prepare: &dyn Fn(&mut Lab), want: State| {
        let mut lab = Lab::steady(from, false);
        lab.wish = to;
        lab.step();
        prepare(&mut lab);
        lab.reach(state);
        lab.wish = from;
        assert_eq!(lab.step(), Some(want), "from {state}");
        // And it comes to rest where it began.
        lab.ground = [Readiness::Ready, Readiness::Ready];
        lab.leftovers = [0, 0];
        lab.all_on(from);
        lab.rest();
        lab.now = lab.now + LINGER;
        lab.rest();
        assert_eq!(lab.switch.state(), State::Steady(from), "{:?}", lab.switch.waiting());
        assert_eq!(lab.switch.announced(), told(V, V));
    };
    let flipping_back = State::Flipping { from: to, to: from };
    back(StateName::Raising, &|_| {}, flipping_back);
    back(StateName::Flipping, &|lab| lab.counts.total = 1, flipping_back);
    back(StateName::Lingering, &|_| {}, flipping_back);
    let expire = |lab: &mut Lab| {
        lab.reach(StateName::Lingering);
        lab.now = lab.now + LINGER;
        lab.leftovers = [1, 1];
    };
    back(StateName::Lowering, &expire, State::Raising { from: to, to: from });
}

#[test]
fn a_plane_that_was_never_told_goes_at_once() {
    let mut lab = Lab::steady(Overlay, false);
    lab.ground[1] = Readiness::Waiting("no peer".to_owned());
    lab.wish = Native;
    assert_eq!(lab.step(), Some(State::Raising { from: Overlay, to: Native }));
    lab.coordinate();
    lab.wish = Overlay;
    assert_eq!(lab.step(), Some(State::Lowering { from: Native, to: Overlay }));
}

#[test]
fn lingering_goes_back_when_a_destination_leaves_the_new_plane() {
    for stage in 0..3 {
        let mut lab = Lab::steady(Overlay, false);
        lab.wish = Native;
        lab.all_on(Native);
        lab.reach(StateName::Lingering);
        if stage > 0 {
            lab.now = lab.now + LINGER;
            (0..stage).for_each(|_| {
                lab.step();
                lab.coordinate();
            });
        }
        assert_eq!(lab.switch.state().name(), StateName::Lingering, "stage {stage}");
        // On the old plane, or on none any more; one that never was carried holds nothing up.
        lab.counts = Counts { total: 3, carried: [0, 2], unreachable: 1, stuck: None };
        lab.step();
        assert_ne!(lab.switch.state().name(), StateName::Flipping, "stage {stage}");
        if lab.switch.state().name() == StateName::Lowering {
            continue;
        }
        lab.counts = Counts { total: 3, carried: [0, 1], unreachable: 1, stuck: None };
        assert_eq!(lab.step(), Some(State::Flipping { from: Overlay, to: Native }));
        assert_eq!(lab.switch.announced(), told(BOTH, BOTH));
        lab.coordinate();
        lab.step();
        assert_eq!(lab.switch.licences(), BOTH, "and may fall back");
    }
    let mut lab = Lab::steady(Overlay, false);
    lab.wish = Native;
    lab.all_on(Native);
    lab.reach(StateName::Lingering);
    lab.counts.carried = [1, 1];
    assert_eq!(lab.step(), Some(State::Flipping { from: Overlay, to: Native }));
}

#[test]
fn fallback_comes_and_goes() {
    let mut lab = Lab::steady(Overlay, false);
    lab.fallback = true;
    lab.rest();
    assert_eq!((lab.switch.state(), lab.switch.announced()), (State::Steady(Overlay), told(BOTH, BOTH)));
    // With both planes wanted, a switch is a change of preference.
    lab.wish = Native;
    lab.counts = Counts { total: 2, carried: [1, 1], unreachable: 0, stuck: None };
    lab.reach(StateName::Flipping);
    assert_eq!(lab.step(), Some(State::Steady(Native)));
    lab.rest();
    // Turned off: what the fallback carries holds it up, and nothing is taken back while it does.
    lab.fallback = false;
    assert_eq!(lab.step(), Some(State::Flipping { from: Overlay, to: Native }));
    lab.waits("1 of 2 destinations carried by bgp; 1 to go");
    assert_eq!((lab.switch.announced(), lab.switch.licences()), (told(BOTH, BOTH), BOTH));
    // Turned on again in the middle.
    lab.fallback = true;
    assert_eq!(lab.step(), Some(State::Steady(Native)));

    // A fallback that never came up goes at once.
    let mut lab = Lab::new(Switch::recover_from(NONE, Overlay, true, None, at(0)), Overlay, true);
    lab.ground[1] = Readiness::Waiting("no peer".to_owned());
    lab.rest();
    lab.fallback = false;
    assert_eq!(lab.step(), Some(State::Lowering { from: Native, to: Overlay }));
    // And comes back from every state that leaves it.
    lab.fallback = true;
    assert_eq!(lab.step(), Some(State::Steady(Overlay)));
    lab.wish = Native;
    assert_eq!(lab.step(), Some(State::Raising { from: Overlay, to: Native }));
    lab.wish = Overlay;
    assert_eq!(lab.step(), Some(State::Steady(Overlay)));
    let mut lab = Lab::steady(Overlay, false);
    lab.wish = Native;
    lab.reach(StateName::Lingering);
    lab.fallback = true;
    assert_eq!(lab.step(), Some(State::Steady(Native)));
}

#[test]
fn a_restart_goes_on_from_what_it_finds() {
    let (v, b) = (Overlay, Native);
    let flipping = State::Flipping { from: v, to: b };
    let raising = State::Raising { from: v, to: b };
    let lingering = State::Lingering { from: v, to: b, until: at(7) };
    // Wished is bgp. Found in the kernel, what the record says, fallback → state, what is told at first.
    let rows = [
        (NONE, None, false, State::Steady(b), NONE),
        (B, None, false, State::Steady(b), NONE),
        (V, None, false, raising, NONE),
        (BOTH, None, false, flipping, NONE),
        (BOTH, None, true, State::Steady(b), NONE),
        (V, None, true, raising, NONE),
        (V, Some(told(V, V)), false, raising, V),
        (V, Some(told(V, BOTH)), false, raising, V),
        (V, Some(told(BOTH, BOTH)), false, flipping, BOTH),
        (BOTH, Some(told(V, BOTH)), false, flipping, V),
        (BOTH, Some(told(BOTH, B)), false, flipping, BOTH),
        (BOTH, Some(told(BOTH, BOTH)), true, State::Steady(b), BOTH),
        // Killed while leaving or lowering.
        (BOTH, Some(told(B, B)), false, lingering, B),
        (B, Some(told(B, B)), false, State::Steady(b), B),
        // The machine was started anew: the overlay's word went with its link.
        (NONE, Some(told(BOTH, BOTH)), false, State::Steady(b), B),
    ];
    for (found, record, fallback, want, stands) in rows {
        let words = format!("{found}, {record:?}, {fallback}");
        let record = record.map(|told| phase("a", told.stands, told.sends, 9));
        let switch = Switch::recover_from(found, b, fallback, record.as_ref(), at(7));
        assert_eq!(switch.state(), want, "{words}");
        assert_eq!(switch.licences(), NONE, "{words}");
        let mut lab = Lab::new(switch, b, fallback);
        lab.ground = [Readiness::Waiting("w".to_owned()), Readiness::Waiting("w".to_owned())];
        lab.complete = false;
        lab.step();
        assert_eq!(lab.switch.announced().stands, stands, "{words}");
        assert!(lab.switch.announced().sends.covers(found) || want == lingering, "{words}");
        assert_eq!(lab.switch.serial(), record.map_or(1, |record| record.serial + 1), "{words}");
    }
    // A native receiver without a route of its own, sent to by others, now to be an overlay node.
    let record = phase("a", B, B, 3);
    let switch = Switch::recover_from(NONE, v, false, Some(&record), at(0));
    assert_eq!(switch.state(), State::Raising { from: b, to: v });
    // Only the serial is known.
    let switch = Switch::recover(BOTH, b, false, 4, at(0));
    assert_eq!(switch.state(), flipping);
}

#[test]
fn a_restart_while_leaving_waits_for_its_own_digest() {
    let record = phase("a", B, B, 9);
    let mut lab = Lab::new(Switch::recover_from(BOTH, Native, false, Some(&record), at(0)), Native, false);
    lab.all_on(Native);
    lab.leftovers = [4, 4];
    // The digest of the life before shows the record, not this announcement.
    let phases = [record, lab.other.clone()].map(|phase| (phase.node.clone(), phase)).into();
    lab.digest = digest(&phases, &lab.gone, None, &name("b"));
    lab.complete = false;
    lab.waits("store, kernel and sessions are not read in completely yet");
    lab.complete = true;
    lab.waits("no digest from the coordinator shows yet that this node leaves vxlan");
    lab.coordinate();
    assert_eq!(lab.step(), Some(State::Lowering { from: Overlay, to: Native }));
}

#[test]
fn a_licence_needs_the_newest_digest() {
    let mut lab = Lab::steady(Overlay, false);
    // Taken for gone.
    lab.gone.insert(name("a"));
    lab.coordinate();
    lab.step();
    assert_eq!(lab.switch.licences(), NONE);
    assert!(lab.switch.waiting().unwrap().contains("no digest"));
    lab.gone.clear();
    lab.coordinate();
    lab.step();
    assert_eq!(lab.switch.licences(), V);
    // An old digest that shows a serial as high as a lost record's says nothing about the new announcement.
    let mut lab = Lab::new(Switch::recover_from(NONE, Overlay, false, None, at(0)), Overlay, false);
    let old = phase("a", V, V, 1);
    let phases = [old, lab.other.clone()].map(|phase| (phase.node.clone(), phase)).into();
    lab.digest = digest(&phases, &lab.gone, None, &name("b"));
    lab.step();
    lab.step();
    assert_eq!((lab.switch.serial(), lab.switch.licences()), (2, NONE));
    // No digest at all.
    lab.digest = None;
    lab.waits("no digest from the coordinator lists this node as a sender over vxlan yet");
}

#[test]
fn nobody_waits_for_the_dead_and_the_dead_still_receive() {
    let mut phases: BTreeMap<NodeName, NodePhase> = BTreeMap::new();
    for node in ["a", "b", "c", "d", "e"] {
        phases.insert(name(node), phase(node, V, V, 1));
    }
    let none = BTreeSet::new();
    let first = digest(&phases, &none, None, &name("a")).unwrap();
    assert_eq!((first.sequence, first.nodes, first.reflects.len()), (1, 5, 5));
    assert_eq!(first.overlay_senders, NodeSet::AllBut(BTreeSet::new()));
    assert_eq!(first.native_stands, NodeSet::NONE);
    assert_eq!(digest(&phases, &none, Some(&first), &name("a")), None, "nothing new");
    let second = digest(&phases, &none, Some(&first), &name("b")).unwrap();
    assert_eq!((second.sequence, &second.coordinator), (2, &name("b")));

    // c and d are dead, x died with a claim and no record.
    let gone: BTreeSet<NodeName> = ["c", "d", "x"].map(name).into();
    let third = digest(&phases, &gone, Some(&second), &name("b")).unwrap();
    for (node, stands, sends) in [("a", true, true), ("c", true, false), ("x", false, false)] {
        assert_eq!(third.overlay_stands.has(&name(node)), stands, "{node}");
        assert_eq!(third.overlay_senders.has(&name(node)) && !third.gone.contains(&name(node)), sends, "{node}");
    }
    assert!(!third.overlay_senders.is_empty(third.nodes));
    assert!(!third.reflects.contains_key(&name("c")));
    // With the last live sender gone over to the other plane nobody is left, whatever the dead said last.
    for node in ["a", "b", "e"] {
        phases.insert(name(node), phase(node, V, B, 2));
    }
    let fourth = digest(&phases, &gone, Some(&third), &name("b")).unwrap();
    assert!(fourth.overlay_senders.is_empty(fourth.nodes));

    // A coordinator that has not caught up keeps quiet.
    phases.insert(name("a"), phase("a", V, V, 1));
    assert_eq!(digest(&phases, &gone, Some(&fourth), &name("e")), None);
    // A record that is gone altogether holds nobody up.
    phases.remove(&name("a"));
    assert!(digest(&phases, &gone, Some(&fourth), &name("e")).is_some());
    // Settled nodes need not be repeated.
    phases.values_mut().for_each(|phase| phase.settled = true);
    assert!(digest(&phases, &gone, None, &name("e")).unwrap().reflects.is_empty());
}
