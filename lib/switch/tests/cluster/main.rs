//! Whole clusters: nobody ever sends where nobody receives, and whatever happened, it comes to rest.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod sim;

use std::time::Duration;

use model::Plane::{self, Native, Overlay};
use proptest::prelude::*;
use sim::Sim;

/// One thing that happens; numbers are taken modulo the number of nodes.
#[derive(Clone, Debug)]
enum Happens {
    Work(usize),
    Kernel(usize),
    Ground(usize, Plane),
    Complete(usize),
    Flush(usize),
    See(usize, usize),
    Learn(usize, usize),
    Watch(usize),
    Coordinate,
    Elect(usize),
    Depose,
    LookAtLive,
    LookAtReturned,
    Wish(usize, Plane),
    WishAll(Plane),
    Fallback(usize, bool),
    FallbackAll(bool),
    Kill(usize, usize),
    Start(usize),
    Cut(usize, usize),
    Join(Plane),
    /// A fair round for everybody, so that runs get far.
    Round(usize),
    Time(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    let n = 0..6usize;
    let plane = prop_oneof![Just(Overlay), Just(Native)];
    prop_oneof![
        12 => n.clone().prop_map(Happens::Work),
        8 => n.clone().prop_map(Happens::Kernel),
        4 => (n.clone(), plane.clone()).prop_map(|(n, p)| Happens::Ground(n, p)),
        3 => n.clone().prop_map(Happens::Complete),
        8 => n.clone().prop_map(Happens::Flush),
        8 => (n.clone(), 1..4usize).prop_map(|(n, k)| Happens::See(n, k)),
        2 => (n.clone(), n.clone()).prop_map(|(n, m)| Happens::Learn(n, m)),
        6 => n.clone().prop_map(Happens::Watch),
        8 => Just(Happens::Coordinate),
        2 => n.clone().prop_map(Happens::Elect),
        1 => Just(Happens::Depose),
        1 => Just(Happens::LookAtLive),
        1 => Just(Happens::LookAtReturned),
        1 => (n.clone(), plane.clone()).prop_map(|(n, p)| Happens::Wish(n, p)),
        2 => plane.clone().prop_map(Happens::WishAll),
        1 => (n.clone(), any::<bool>()).prop_map(|(n, on)| Happens::Fallback(n, on)),
        1 => any::<bool>().prop_map(Happens::FallbackAll),
        2 => (n.clone(), 0..3usize).prop_map(|(n, k)| Happens::Kill(n, k)),
        3 => n.clone().prop_map(Happens::Start),
        1 => (n.clone(), n.clone()).prop_map(|(n, m)| Happens::Cut(n, m)),
        1 => plane.prop_map(Happens::Join),
        3 => (1..5usize).prop_map(Happens::Round),
        3 => (1..12u64).prop_map(Happens::Time),
    ]
}

fn happen(sim: &mut Sim, event: &Happens) -> Result<(), String> {
    let count = sim.nodes.len();
    let node = |n: &usize| n % count;
    match event {
        Happens::Work(n) => sim.work(node(n)),
        Happens::Kernel(n) => sim.kernel(node(n)),
        Happens::Ground(n, plane) => sim.ground(node(n), *plane),
        Happens::Complete(n) => sim.complete(node(n)),
        Happens::Flush(n) => sim.flush(node(n)),
        Happens::See(n, ahead) => sim.see(node(n), *ahead),
        Happens::Learn(n, other) => sim.learn(node(n), node(other)),
        Happens::Watch(n) => sim.watch(node(n)),
        Happens::Coordinate => sim.coordinate(),
        Happens::Elect(n) => sim.elect(node(n)),
        Happens::Depose => sim.depose(),
        Happens::LookAtLive => sim.look_at_live(),
        Happens::LookAtReturned => sim.look_at_returned(),
        Happens::Wish(n, plane) => sim.nodes[node(n)].wish = *plane,
        Happens::WishAll(plane) => sim.nodes.iter_mut().for_each(|node| node.wish = *plane),
        Happens::Fallback(n, on) => sim.nodes[node(n)].fallback = *on,
        Happens::FallbackAll(on) => sim.nodes.iter_mut().for_each(|node| node.fallback = *on),
        Happens::Kill(n, applied) => sim.kill(node(n), *applied),
        Happens::Start(n) => sim.start(node(n)),
        Happens::Cut(n, to) => sim.cut(node(n), node(to)),
        Happens::Join(wish) if count < 6 => sim.join(*wish, sim.nodes[0].fallback),
        Happens::Join(_) => {}
        Happens::Round(rounds) => {
            for _ in 0..*rounds {
                sim.round();
                sim.check()?;
            }
        }
        Happens::Time(seconds) => sim.now = sim.now + Duration::from_secs(*seconds),
    }
    sim.check()
}

/// How everybody wishes in the end.
#[derive(Clone, Debug)]
enum End {
    /// One plane, with or without the other as fallback.
    Same(Plane, bool),
    /// Each its own, all with fallback.
    Mixed(Vec<Plane>),
}

fn plane() -> impl Strategy<Value = Plane> {
    prop_oneof![Just(Overlay), Just(Native)]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => (plane(), any::<bool>()).prop_map(|(p, on)| End::Same(p, on)),
        1 => prop::collection::vec(plane(), 6).prop_map(End::Mixed),
    ]
}

/// Rounds in which everything that happened must have come to rest: some twenty hand-shakes and two linger times.
const ROUNDS: usize = 80;

fn come_to_rest(sim: &mut Sim, end: &End, revive: bool) -> Result<(), String> {
    sim.mend();
    for n in 0..sim.nodes.len() {
        (sim.nodes[n].wish, sim.nodes[n].fallback) = match end {
            End::Same(plane, fallback) => (*plane, *fallback),
            End::Mixed(planes) => (planes[n], true),
        };
        if revive {
            sim.start(n);
        }
    }
    // Somebody is there to coordinate.
    sim.start(0);
    for _ in 0..ROUNDS {
        sim.round();
        sim.look_at_live();
        sim.check()?;
    }
    (0..sim.nodes.len()).try_for_each(|n| sim.rest(n))
}

fn run(wishes: &[Plane], fallback: bool, events: &[Happens], end: &End, revive: bool) -> Result<(), String> {
    let mut sim = Sim::new(wishes, fallback);
    // Half of the runs start in a cluster that is at rest.
    if events.len() % 2 == 0 {
        (0..6).for_each(|_| sim.round());
    }
    for (at, event) in events.iter().enumerate() {
        happen(&mut sim, event).map_err(|why| format!("event {at}, {event:?}: {why}"))?;
    }
    come_to_rest(&mut sim, end, revive)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn nobody_sends_where_nobody_receives_and_all_come_to_rest(
        wishes in prop::collection::vec(plane(), 2..=6),
        fallback in any::<bool>(),
        events in prop::collection::vec(happens(), 0..300),
        end in end(),
        revive in any::<bool>(),
    ) {
        run(&wishes, fallback, &events, &end, revive).map_err(TestCaseError::fail)?;
    }
}
