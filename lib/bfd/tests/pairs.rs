//! Two ends on a simulated clock.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod sim;

use std::time::Duration;

use bfd::{Diagnostic, Packet, SessionConfig, State};
use proptest::prelude::*;
use sim::{Sim, config, key, ms};

const SECOND: Duration = Duration::from_secs(1);

/// Up, and all Poll Sequences done.
fn settled(seed: u64, a: SessionConfig, b: SessionConfig) -> Sim {
    let mut sim = Sim::joined(seed, a, b);
    assert!(sim.run_until(5 * SECOND, Sim::up).is_some());
    sim.run(5 * SECOND);
    assert!(sim.up());
    sim
}

#[test]
fn two_ends_come_up_in_three_packets_and_then_speak_fast() {
    let mut sim = Sim::joined(1, config(300, 3), config(300, 3));
    let took = sim.run_until(5 * SECOND, Sim::up).expect("up");
    assert!(took < ms(50), "a change is told at once: {took:?}");
    sim.run(ms(100));
    for end in 0..2 {
        // Before Up nobody sends faster than once a second (6.8.3), and says so.
        let (up, _) = sim.sent[end].iter().find(|(_, packet)| packet.state == State::Up).unwrap();
        let before = sim.sent[end].iter().take_while(|(at, _)| at < up);
        assert!(before.clone().all(|(_, packet)| packet.desired_min_tx == 1_000_000));
        assert_eq!(sim.told[end].transmit_interval, ms(300));
        assert_eq!(sim.told[end].detection_time, ms(900));
        assert_eq!((sim.told[end].ups, sim.told[end].failures), (1, 0));
    }
}

/// Checklist: 97
#[test]
fn the_detection_time_is_the_peers_multiplier_times_the_slower_of_both() {
    let a = SessionConfig { transmit: ms(100), receive: ms(250), multiplier: 5, ..SessionConfig::default() };
    let b = SessionConfig { transmit: ms(400), receive: ms(50), multiplier: 2, ..SessionConfig::default() };
    let mut sim = settled(2, a, b);
    assert_eq!(sim.told[0].detection_time, ms(2 * 400));
    assert_eq!(sim.told[1].detection_time, ms(5 * 100));
    assert_eq!(sim.told[0].transmit_interval, ms(100));
    assert_eq!(sim.told[1].transmit_interval, ms(400));
    // Nothing reaches end 0 any more.
    sim.cut[0] = true;
    let last = sim.sent[1].last().unwrap().0;
    sim.run_until(5 * SECOND, |sim| sim.told[0].state == State::Down).expect("down");
    let silent = sim.now.since(last + sim.delay);
    assert_eq!(silent, ms(800));
    assert_eq!((sim.told[0].diagnostic, sim.told[0].failures), (Diagnostic::DETECTION_TIME_EXPIRED, 1));
    // The other end hears of it, in the direction that works still.
    sim.run_until(ms(10), |sim| sim.told[1].state == State::Down).expect("told");
    assert_eq!((sim.told[1].diagnostic, sim.told[1].failures), (Diagnostic::PEER_SIGNALED_DOWN, 1));
}

/// Checklist: 97
#[test]
fn periodic_packets_are_75_to_100_percent_of_the_interval_apart() {
    for (multiplier, most) in [(3, 300), (1, 270)] {
        let mut sim = settled(3, config(300, multiplier), config(300, 3));
        let from = sim.sent[0].len();
        sim.run(60 * SECOND);
        let gaps: Vec<Duration> = sim.sent[0][from..].windows(2).map(|two| two[1].0.since(two[0].0)).collect();
        assert!(gaps.len() > 199);
        assert!(gaps.iter().all(|gap| *gap >= ms(225) && *gap <= ms(most)), "{gaps:?}");
        assert!(sim.up() && sim.told[0].ups == 1, "not a flap");
    }
}

/// Checklist: 100
#[test]
fn intervals_change_by_a_poll_sequence_without_a_flap() {
    let mut sim = settled(4, config(300, 3), config(300, 3));
    for (interval, multiplier) in [(1000, 3), (50, 3), (50, 10), (2000, 2), (300, 3)] {
        let from = sim.sent[0].len();
        sim.set(0, config(interval, multiplier));
        sim.run(10 * SECOND);
        let after = &sim.sent[0][from..];
        if sim.told[0].transmit_interval != ms(interval.max(300)) {
            panic!("{interval}: {:?}", sim.told[0]);
        }
        assert!(after.iter().all(|(_, packet)| packet.state == State::Up));
        assert!(!after.last().unwrap().1.poll, "the Poll Sequence has ended");
        assert_eq!([sim.told[0].ups, sim.told[1].ups], [1, 1], "{interval} ms x {multiplier}: a flap");
        assert_eq!(sim.told[1].detection_time, ms(interval.max(300) * u64::from(multiplier)));
    }
}

/// Checklist: 100
#[test]
fn a_slower_rate_waits_for_the_answer_to_the_poll() {
    let mut sim = settled(5, config(300, 3), config(300, 3));
    // The peer hears us, its answer does not arrive.
    sim.cut[0] = true;
    let from = sim.sent[0].len();
    sim.set(0, config(700, 3));
    sim.run(ms(850));
    let polls: Vec<_> = sim.sent[0][from..].iter().filter(|(_, packet)| packet.poll).collect();
    assert!(polls.len() >= 3, "asks again with each packet");
    assert!(
        polls.windows(2).all(|two| two[1].0.since(two[0].0) <= ms(300)),
        "and does not slow down before the answer"
    );
    assert!(polls.iter().all(|(_, packet)| packet.desired_min_tx == 700_000));
    sim.cut[0] = false;
    sim.run(5 * SECOND);
    assert_eq!([sim.told[0].ups, sim.told[1].ups], [1, 1]);
    assert_eq!(sim.told[0].transmit_interval, ms(700));
}

#[test]
fn a_shorter_detection_time_waits_for_the_answer_to_the_poll() {
    let mut sim = settled(6, config(1000, 3), config(50, 3));
    assert_eq!(sim.told[0].detection_time, ms(3000));
    // Nothing reaches the peer: it goes on with 1000 ms.
    sim.cut[1] = true;
    sim.set(0, config(50, 3));
    sim.run(ms(1500));
    assert_eq!(sim.told[0].detection_time, ms(3000), "the peer does not know yet");
    sim.cut[1] = false;
    sim.run(5 * SECOND);
    assert_eq!([sim.told[0].ups, sim.told[1].ups], [1, 1]);
    assert_eq!(sim.told[0].detection_time, ms(150));
}

/// Checklist: 99
#[test]
fn a_session_that_is_not_wanted_any_more_says_so_and_goes() {
    let mut sim = settled(7, config(300, 3), config(300, 3));
    sim.remove(0);
    sim.run_until(ms(10), |sim| sim.told[1].state == State::Down).expect("told");
    assert_eq!((sim.told[1].failures, sim.told[1].remote_state), (0, Some(State::AdminDown)));
    sim.run(11 * SECOND);
    assert!(sim.gone[0]);
    assert_eq!(sim.ends[0].poll_timeout(), None, "nothing is left");
    let sent = sim.sent[0].len();
    sim.run(5 * SECOND);
    assert_eq!(sim.sent[0].len(), sent);
    // And comes back when it is wanted again.
    sim.set(0, config(300, 3));
    sim.run_until(5 * SECOND, Sim::up).expect("up");
}

#[test]
fn a_session_that_is_wanted_again_while_it_leaves_comes_back() {
    let mut sim = settled(8, config(300, 3), config(300, 3));
    sim.remove(0);
    sim.run(ms(500));
    sim.set(0, config(300, 3));
    sim.run(5 * SECOND);
    assert!(sim.up() && !sim.gone[0]);
    assert_eq!(sim.told[1].failures, 0);
}

#[test]
fn a_restarted_peer_is_a_failure_and_comes_up_again() {
    let mut sim = settled(9, config(300, 3), config(300, 3));
    sim.restart(1, 4711, config(300, 3));
    sim.run_until(3 * SECOND, |sim| sim.told[0].failures == 1).expect("noticed");
    sim.run_until(5 * SECOND, Sim::up).expect("up again");
}

#[test]
fn two_passive_ends_say_nothing_and_one_is_enough() {
    let passive = SessionConfig { passive: true, ..config(300, 3) };
    let mut sim = Sim::joined(10, passive.clone(), passive);
    sim.run(10 * SECOND);
    assert!(sim.sent.iter().all(Vec::is_empty));
    sim.set(1, config(300, 3));
    sim.run_until(5 * SECOND, Sim::up).expect("up");
}

#[test]
fn a_peer_that_wants_no_packets_gets_none_but_answers() {
    let mut sim = settled(11, config(300, 3), config(300, 3));
    let ours = sim.told[0].local_discriminator;
    let theirs = sim.told[0].remote_discriminator;
    let mut quiet = Packet { required_min_rx: 0, ..sim::packet(State::Up, theirs, ours) };
    sim.cut = [true; 2];
    let before = sim.sent[0].len();
    sim.ends[0].handle_packet(sim.now, &sim::arrival(0), &quiet.encode()).unwrap();
    sim.run(ms(800));
    assert_eq!(sim.sent[0].len(), before);
    quiet.poll = true;
    sim.ends[0].handle_packet(sim.now, &sim::arrival(0), &quiet.encode()).unwrap();
    sim.run(ms(1));
    assert_eq!(sim.sent[0].len(), before + 1);
    assert!(sim.sent[0][before].1.last);
    // One in Demand mode is obeyed too (6.8.7), and is still declared gone when it falls silent.
    let demand = Packet { demand: true, ..sim::packet(State::Up, theirs, ours) };
    sim.ends[0].handle_packet(sim.now, &sim::arrival(0), &demand.encode()).unwrap();
    sim.run(ms(2900));
    assert_eq!(sim.sent[0].len(), before + 1);
    sim.run(ms(200));
    assert_eq!(sim.ends[0].snapshot(&key(0)).unwrap().state, State::Down);
    assert!(sim.sent[0].iter().all(|(_, packet)| !packet.demand && packet.required_min_echo_rx == 0));
}

#[test]
fn a_peer_that_flaps_with_every_packet_does_not_flood() {
    let mut sim = settled(12, config(50, 3), config(50, 3));
    let ours = sim.told[0].local_discriminator;
    sim.cut = [true; 2];
    let before = sim.history[0].len();
    for n in 0..2000 {
        let state = if n % 2 == 0 { State::Down } else { State::Init };
        sim.ends[0].handle_packet(sim.now, &sim::arrival(0), &sim::packet(state, 99, ours).encode()).unwrap();
        sim.run(Duration::from_micros(100));
    }
    let told = sim.history[0].len() - before;
    assert!(told <= 11, "{told} reports in 200 ms");
    sim.run(ms(30));
    assert!(sim.told[0].failures > 500, "and none is forgotten: {:?}", sim.told[0]);
}

fn configs() -> impl Strategy<Value = SessionConfig> {
    (10u64..2000, 10u64..2000, 1u8..20, any::<bool>()).prop_map(|(transmit, receive, multiplier, passive)| {
        SessionConfig { transmit: ms(transmit), receive: ms(receive), multiplier, passive, min_ttl: 1 }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Checklist: 97
    #[test]
    fn any_two_ends_come_up_stay_up_and_notice_a_cut_in_time(
        seed: u64, a in configs(), b in configs(), delay in 0u64..80, side in 0usize..2,
    ) {
        prop_assume!(!(a.passive && b.passive));
        let mut sim = Sim::joined(seed, a.clone(), b.clone());
        // A packet may be late by as much as jitter leaves, and no more.
        sim.delay = ms(delay);
        prop_assert!(sim.run_until(10 * SECOND, Sim::up).is_some(), "not up");
        sim.run(20 * SECOND);
        prop_assert!(sim.up(), "not up for long");
        prop_assert_eq!([sim.told[0].ups, sim.told[1].ups], [1, 1]);
        let (to, from) = if side == 0 { (&a, &b) } else { (&b, &a) };
        let time = from.transmit.max(to.receive) * u32::from(from.multiplier);
        prop_assert_eq!(sim.told[side].detection_time, time);
        sim.cut[side] = true;
        let took = sim.run_until(time + ms(delay), |sim| sim.told[side].state == State::Down);
        prop_assert!(took.is_some(), "not noticed in {time:?}");
    }

    /// Checklist: 100
    #[test]
    fn any_change_of_intervals_is_without_a_flap(
        seed: u64, first in configs(), changes in prop::collection::vec((configs(), 0usize..2, 0u64..3000), 1..6),
    ) {
        let mut sim = Sim::joined(seed, SessionConfig { passive: false, ..first.clone() }, first);
        prop_assert!(sim.run_until(10 * SECOND, Sim::up).is_some());
        for (config, end, wait) in changes {
            sim.set(end, config);
            sim.run(ms(wait));
        }
        sim.run(20 * SECOND);
        prop_assert!(sim.up());
        prop_assert_eq!([sim.told[0].ups, sim.told[1].ups], [1, 1]);
    }

    /// Checklist: 101
    #[test]
    fn no_octets_panic_and_what_is_sent_is_well_formed(
        seed: u64,
        packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..60), any::<bool>(), 0u64..2000), 0..60),
    ) {
        let mut sim = Sim::joined(seed, config(300, 3), config(300, 3));
        for (mut octets, shaped, wait) in packets {
            if shaped && octets.len() >= 24 {
                octets[0] = 0x20 | octets[0] & 0x1f;
                octets[1] &= 0xfa;
                octets[3] = 24;
                let ours = sim.ends[0].snapshot(&key(0)).unwrap().local_discriminator;
                octets[8..12].copy_from_slice(&ours.to_be_bytes());
            }
            let _ = sim.ends[0].handle_packet(sim.now, &sim::arrival(0), &octets);
            sim.run(ms(wait));
        }
        // It recovers from whatever it was told.
        sim.restart(1, seed ^ 1, config(300, 3));
        let recovered = sim.run_until(Duration::from_secs(5_000_000), Sim::up);
        prop_assert!(recovered.is_some());
    }
}
