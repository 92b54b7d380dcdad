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
    Kernel(usize),
    Ground(usize, Plane),
    Complete(usize),
    See(usize, usize),
    Learn(usize, usize),
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
    /// Everybody does everything.
    Round,
    /// A seed: somebody does something, in any order; whatever is left out comes late.
    Sloppy(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    let n = 0..6usize;
    prop_oneof![
        2 => Just(Happens::Round),
        40 => any::<u64>().prop_map(Happens::Sloppy),
        1 => n.clone().prop_map(Happens::Kernel),
        1 => (n.clone(), plane()).prop_map(|(n, p)| Happens::Ground(n, p)),
        1 => n.clone().prop_map(Happens::Complete),
        2 => (n.clone(), 1..4usize).prop_map(|(n, k)| Happens::See(n, k)),
        1 => (n.clone(), n.clone()).prop_map(|(n, m)| Happens::Learn(n, m)),
        2 => n.clone().prop_map(Happens::Elect),
        1 => Just(Happens::Depose),
        1 => Just(Happens::LookAtLive),
        1 => Just(Happens::LookAtReturned),
        6 => (n.clone(), plane()).prop_map(|(n, p)| Happens::Wish(n, p)),
        3 => plane().prop_map(Happens::WishAll),
        1 => (n.clone(), any::<bool>()).prop_map(|(n, on)| Happens::Fallback(n, on)),
        1 => any::<bool>().prop_map(Happens::FallbackAll),
        2 => (n.clone(), 0..3usize).prop_map(|(n, k)| Happens::Kill(n, k)),
        3 => n.clone().prop_map(Happens::Start),
        1 => (n.clone(), n).prop_map(|(n, m)| Happens::Cut(n, m)),
        1 => plane().prop_map(Happens::Join),
    ]
}

fn happen(sim: &mut Sim, event: &Happens) -> Result<(), String> {
    let count = sim.nodes.len();
    let node = |n: &usize| n % count;
    match event {
        Happens::Kernel(n) => sim.kernel(node(n)),
        Happens::Ground(n, plane) => sim.ground(node(n), *plane),
        Happens::Complete(n) => sim.complete(node(n)),
        Happens::See(n, ahead) => sim.see(node(n), *ahead),
        Happens::Learn(n, other) => sim.learn(node(n), node(other)),
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
        Happens::Round => sim.round(true),
        Happens::Sloppy(seed) => return sloppy(sim, *seed),
    }
    sim.check()
}

/// A few hundred small things in the seed's order.
fn sloppy(sim: &mut Sim, seed: u64) -> Result<(), String> {
    let mut state = seed | 1;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from((state >> 33) % bound as u64).unwrap()
    };
    let count = sim.nodes.len();
    // Some are slow for the whole of it: they see nothing, or nothing of them is seen.
    let (deaf, dumb) = (below(2 * count), below(2 * count));
    for _ in 0..count * (1 + below(60)) {
        let n = below(count);
        match below(14) {
            0..3 => sim.work(n),
            3..5 => sim.kernel(n),
            5..7 if n != deaf => sim.see(n, 1 + below(3)),
            7..9 if n != dumb => sim.flush(n),
            9 => sim.watch(n),
            10 => sim.coordinate(),
            11 if below(3) == 0 => sim.now = sim.now + Duration::from_secs(1),
            12 => sim.complete(n),
            13 if below(2) == 0 => sim.learn(n, below(count)),
            13 if below(8) == 0 => sim.nodes[n].wish = sim.nodes[n].wish.other(),
            _ => {}
        }
        sim.check()?;
    }
    if below(4) > 0 {
        sim.elect(below(count));
    }
    Ok(())
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
        sim.round(true);
        sim.look_at_live();
        sim.check()?;
    }
    (0..sim.nodes.len()).try_for_each(|n| sim.rest(n))
}

fn run(wishes: &[Plane], fallback: bool, events: &[Happens], end: &End, revive: bool) -> Result<(), String> {
    let mut sim = Sim::new(wishes, fallback);
    // Half of the runs start in a cluster that is at rest.
    if events.len().is_multiple_of(2) {
        (0..6).for_each(|_| sim.round(true));
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
        events in prop::collection::vec(happens(), 0..60),
        end in end(),
        revive in any::<bool>(),
    ) {
        run(&wishes, fallback, &events, &end, revive).map_err(TestCaseError::fail)?;
    }
}

/// Phase records and digests that one switch of `nodes` nodes costs, every record being shown by a digest of its own.
fn cost(nodes: usize) -> (usize, usize) {
    let mut sim = Sim::new(&vec![Overlay; nodes], false);
    let rest = |sim: &mut Sim| {
        for _ in 0..40 {
            sim.round(false);
            sim.check().unwrap();
        }
        (0..nodes).try_for_each(|n| sim.rest(n)).unwrap();
        (sim.phase_writes, sim.digests.len())
    };
    let before = rest(&mut sim);
    sim.nodes.iter_mut().for_each(|node| node.wish = Native);
    let after = rest(&mut sim);
    assert_eq!(rest(&mut sim), after, "a cluster at rest writes nothing");
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn a_switch_costs_records_and_digests_in_proportion_to_the_nodes() {
    for nodes in [2, 5, 10, 20, 40] {
        let (records, digests) = cost(nodes);
        assert!(records <= 7 * nodes, "{records} records of {nodes} nodes");
        assert!(digests <= 5 * nodes, "{digests} digests for {nodes} nodes");
        assert!(records >= 5 * nodes && digests >= 3, "{nodes} nodes did not switch");
    }
}
