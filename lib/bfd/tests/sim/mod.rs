//! Two ends joined by a link on a simulated clock.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bfd::{Arrival, Hops, Output, Packet, SessionConfig, SessionKey, Sessions, Snapshot, State};
use model::Moment;

/// Milliseconds.
pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// `transmit` and `receive` alike.
pub(crate) fn config(interval: u64, multiplier: u8) -> SessionConfig {
    SessionConfig { transmit: ms(interval), receive: ms(interval), multiplier, ..SessionConfig::default() }
}

/// Address of end 0 or 1.
pub(crate) fn address(end: usize) -> IpAddr {
    [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])][end]
}

/// What end `end` calls its session with the other one.
pub(crate) fn key(end: usize) -> SessionKey {
    SessionKey::single_hop(address(1 - end))
}

/// What comes to `end` from the other one.
pub(crate) fn arrival(end: usize) -> Arrival {
    Arrival { source: address(1 - end), destination: address(end), device: None, ttl: 255, hops: Hops::Single }
}

/// A packet that would be taken in any state.
pub(crate) fn packet(state: State, mine: u32, yours: u32) -> Packet {
    Packet {
        diagnostic: bfd::Diagnostic::NONE,
        state,
        poll: false,
        last: false,
        independent: false,
        authenticated: false,
        demand: false,
        multiplier: 3,
        my_discriminator: mine,
        your_discriminator: yours,
        desired_min_tx: 1_000_000,
        required_min_rx: 300_000,
        required_min_echo_rx: 0,
    }
}

/// Two nodes, one link.
pub(crate) struct Sim {
    pub(crate) now: Moment,
    pub(crate) ends: [Sessions; 2],
    /// Packets to `end` are dropped.
    pub(crate) cut: [bool; 2],
    pub(crate) delay: Duration,
    /// What arrives when, at which end.
    flying: BTreeMap<(Moment, u64), (usize, [u8; Packet::LENGTH])>,
    number: u64,
    /// What each end was told last.
    pub(crate) told: [Snapshot; 2],
    /// When each end changed its state.
    pub(crate) history: [Vec<(Moment, State)>; 2],
    /// Packets that each end sent.
    pub(crate) sent: [Vec<(Moment, Packet)>; 2],
    pub(crate) gone: [bool; 2],
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Sim {
        Sim {
            now: Moment::new(Duration::from_secs(1000)),
            ends: [Sessions::new(seed), Sessions::new(seed ^ 0x5555)],
            cut: [false; 2],
            delay: ms(1),
            flying: BTreeMap::new(),
            number: 0,
            told: Default::default(),
            history: Default::default(),
            sent: Default::default(),
            gone: [false; 2],
        }
    }

    /// Both ends want a session.
    pub(crate) fn joined(seed: u64, a: SessionConfig, b: SessionConfig) -> Sim {
        let mut sim = Sim::new(seed);
        sim.set(0, a);
        sim.set(1, b);
        sim
    }

    pub(crate) fn set(&mut self, end: usize, config: SessionConfig) {
        self.ends[end].set(self.now, key(end), config);
        self.gone[end] = false;
        self.drain(end);
    }

    pub(crate) fn remove(&mut self, end: usize) {
        self.ends[end].remove(self.now, &key(end));
        self.drain(end);
    }

    /// A node that knows nothing any more.
    pub(crate) fn restart(&mut self, end: usize, seed: u64, config: SessionConfig) {
        self.ends[end] = Sessions::new(seed);
        self.told[end] = Snapshot::default();
        self.set(end, config);
    }

    pub(crate) fn states(&self) -> [State; 2] {
        [self.told[0].state, self.told[1].state]
    }

    pub(crate) fn up(&self) -> bool {
        self.states() == [State::Up; 2]
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_until(time, |_| false);
        self.now = end;
    }

    /// Until `done`, at most `time`; how long it took.
    pub(crate) fn run_until(&mut self, time: Duration, done: impl Fn(&Sim) -> bool) -> Option<Duration> {
        let began = self.now;
        (0..2).for_each(|end| self.drain(end));
        loop {
            if done(self) {
                return Some(self.now.since(began));
            }
            let packet = self.flying.keys().next().map(|(at, _)| *at);
            let next = self.ends.iter().filter_map(Sessions::poll_timeout).chain(packet).min();
            let at = next.filter(|at| *at <= began + time)?;
            self.now = self.now.max(at);
            while let Some(((at, number), _)) = self.flying.first_key_value()
                && *at <= self.now
            {
                let at = (*at, *number);
                let (end, octets) = self.flying.remove(&at).expect("it is there");
                // What a packet does is for the test to see; a drop is one too.
                let _ = self.ends[end].handle_packet(self.now, &arrival(end), &octets);
                self.drain(end);
            }
            for end in 0..2 {
                self.ends[end].handle_timeout(self.now);
                self.drain(end);
            }
        }
    }

    fn drain(&mut self, end: usize) {
        while let Some(output) = self.ends[end].poll_output() {
            match output {
                Output::Send { octets, .. } => {
                    self.sent[end].push((self.now, Packet::decode(&octets).expect("our own packets are right")));
                    if !self.cut[1 - end] {
                        self.number += 1;
                        self.flying.insert((self.now + self.delay, self.number), (1 - end, octets));
                    }
                }
                Output::Changed { snapshot, .. } => {
                    if self.told[end].state != snapshot.state {
                        self.history[end].push((self.now, snapshot.state));
                    }
                    self.told[end] = snapshot;
                }
                Output::Gone(_) => self.gone[end] = true,
            }
        }
    }
}
