//! A million paths from one peer: in slices, in bounded time at a stretch, with timers served between. Figures are
//! printed by `cargo test --release -p biplane-bgp --test speed -- --nocapture`; only generous bounds are held.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod sim;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use model::{Asn, ClusterPool, Prefix};
use sim::{Hand, address, config, prefix};
use wire::{AsPath, Attributes};

/// `count` /28 slices of 16.0.0.0/4, `each` to an UPDATE.
fn updates(hand: &Hand, count: u32, each: usize) -> Vec<u8> {
    let prefixes: Vec<(Prefix, u32)> =
        (0..count).map(|n| (Prefix::new(Ipv4Addr::from(0x1000_0000 + (n << 4)).into(), 28).unwrap(), 0)).collect();
    let mut stream = Vec::new();
    for (at, group) in prefixes.chunks(each).enumerate() {
        let ases = [65002, 100_000 + at as u32 % 5000].map(Asn);
        let attributes = Attributes { as_path: AsPath::sequence(ases), ..Attributes::default() };
        for bytes in wire::encode_announce(group, address(2), None, &attributes, &hand.negotiated).unwrap() {
            stream.extend_from_slice(&bytes);
        }
    }
    stream
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

fn take_in(count: u32, each: usize) -> Duration {
    let mut config = config(1, 64512, &[(2, 65002), (3, 65003)]);
    config.pools = vec![ClusterPool::new(prefix("16.0.0.0/4"), 28).unwrap()];
    config.peers[0].max_prefixes = 2_000_000;
    let mut hand = Hand::new(config);
    let conn = hand.establish(2, 65002);
    let stream = updates(&hand, count, each);
    let before = resident();
    let start = Instant::now();
    let mut longest = Duration::ZERO;
    let mut changed = 0;
    let mut timed = |hand: &mut Hand, work: &mut dyn FnMut(&mut Hand)| {
        let start = Instant::now();
        work(hand);
        longest = longest.max(start.elapsed());
        changed += hand.speaker.poll_changed(5000).len();
    };
    for chunk in stream.chunks(64 * 1024) {
        timed(&mut hand, &mut |hand| hand.speaker.handle_bytes(hand.now, conn, chunk));
        timed(&mut hand, &mut |hand| hand.speaker.handle_work(hand.now, 2000));
    }
    while hand.speaker.has_work() {
        timed(&mut hand, &mut |hand| hand.speaker.handle_work(hand.now, 2000));
    }
    let taken = start.elapsed();
    let memory = resident().saturating_sub(before);
    changed += hand.speaker.poll_changed(usize::MAX).len();
    assert_eq!((hand.speaker.holds_paths(), changed), (count as usize, count as usize));
    let sweep = Instant::now();
    let cease = wire::Message::Notification(wire::Notification::cease(wire::cease::SHUTDOWN, ""));
    let bytes = wire::encode(&cease, &hand.negotiated).unwrap();
    let first = Instant::now();
    hand.speaker.handle_bytes(hand.now, conn, &bytes);
    let first = first.elapsed();
    hand.work();
    assert_eq!(hand.speaker.holds_paths(), 0);
    println!(
        "{count} paths, {each} to an UPDATE: in {:.2} s, longest stretch {:.1} ms, {memory} MiB; gone in {:.2} s, first \
         stretch {:.1} ms",
        taken.as_secs_f64(),
        longest.as_secs_f64() * 1000.0,
        sweep.elapsed().as_secs_f64(),
        first.as_secs_f64() * 1000.0,
    );
    longest
}

#[test]
fn a_million_paths_in_slices() {
    let count = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };
    for each in [200, 1] {
        let longest = take_in(count, each);
        assert!(longest < Duration::from_secs(2), "no stretch is of the size of the table: {longest:?}");
    }
}
