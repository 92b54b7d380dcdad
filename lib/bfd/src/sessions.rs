//! All sessions of a node: which of them a packet is for, and when the next one is due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use model::Moment;
use model::kernel::Device;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::chance::Chance;
use crate::packet::{Malformed, Packet};
use crate::session::{Action, Session};
use crate::settings::{Hops, SessionConfig, SessionKey};
use crate::snapshot::Snapshot;

/// What the kernel knows of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Who sent it.
    pub source: IpAddr,
    /// To which of our addresses.
    pub destination: IpAddr,
    /// By which device, if it has a name still.
    pub device: Option<Device>,
    /// TTL or hop limit that it came with.
    pub ttl: u8,
    /// The port that it came to.
    pub hops: Hops,
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Dropped {
    /// No packet of RFC 5880.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// It may come from farther away than the session allows (RFC 5881 section 5, RFC 5883 section 5).
    #[error("TTL {0} is too small: it was sent from farther away, or not with 255")]
    TimeToLive(u8),
    /// Your Discriminator is none of ours.
    #[error("your discriminator is none of ours")]
    Discriminator,
    /// Your Discriminator is one of ours, but of a session with another peer, device or address.
    #[error("your discriminator is that of another session")]
    Mismatch,
    /// Your Discriminator is 0, and there is no session with the sender.
    #[error("no session with the sender")]
    Stranger,
    /// There is an authentication section, and sessions here have none.
    #[error("it is authenticated, which is not supported: turn BFD authentication off at the peer")]
    Authenticated,
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send to the peer of a session, to the port of its [`Hops`], with TTL 255.
    Send {
        /// The session.
        session: SessionKey,
        /// The UDP payload.
        octets: [u8; Packet::LENGTH],
    },
    /// A session has changed.
    Changed {
        /// The session.
        session: SessionKey,
        /// As it is now.
        snapshot: Snapshot,
    },
    /// A session is no more; the last that is heard of it.
    Gone(SessionKey),
}

/// All BFD sessions. See the crate's page for the order of calls.
#[derive(Debug)]
pub struct Sessions {
    /// By our discriminator.
    sessions: BTreeMap<u32, Session>,
    by_key: BTreeMap<SessionKey, u32>,
    deadlines: BTreeSet<(Moment, u32)>,
    deadline_of: BTreeMap<u32, Moment>,
    chance: Chance,
    out: VecDeque<Output>,
}

impl Sessions {
    /// No sessions. `seed` makes jitter and discriminators: another one for each start, so that a peer does not take a
    /// restarted speaker's sessions for the old ones.
    pub fn new(seed: u64) -> Sessions {
        Sessions {
            sessions: BTreeMap::new(),
            by_key: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            deadline_of: BTreeMap::new(),
            chance: Chance::new(seed),
            out: VecDeque::new(),
        }
    }

    /// Makes a session, or gives one another configuration; other intervals are agreed on by a Poll Sequence, without a flap.
    pub fn set(&mut self, now: Moment, key: SessionKey, config: SessionConfig) {
        let id = match self.by_key.get(&key) {
            Some(id) => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.configure(config);
                }
                *id
            }
            None => {
                let id = self.free_discriminator();
                self.by_key.insert(key.clone(), id);
                self.sessions.insert(id, Session::new(now, key, config, id));
                id
            }
        };
        self.settle(now, id, Vec::new());
    }

    /// Ends a session: the peer is told AdminDown for a while, then comes [`Output::Gone`].
    pub fn remove(&mut self, now: Moment, key: &SessionKey) {
        let Some(id) = self.by_key.get(key).copied() else { return };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.leave(now);
        }
        self.settle(now, id, Vec::new());
    }

    /// Takes a UDP payload in.
    ///
    /// # Errors
    /// Why it was dropped; no session has changed then.
    pub fn handle_packet(&mut self, now: Moment, arrival: &Arrival, octets: &[u8]) -> Result<(), Dropped> {
        if arrival.hops == Hops::Single && arrival.ttl != 255 {
            return Err(Dropped::TimeToLive(arrival.ttl));
        }
        let packet = Packet::decode(octets).map_err(Dropped::Malformed)?;
        let id = match packet.your_discriminator {
            0 => self.lookup(arrival).ok_or(Dropped::Stranger)?,
            id => id,
        };
        let session = self.sessions.get_mut(&id).ok_or(Dropped::Discriminator)?;
        if !fits(&session.key, arrival) {
            return Err(Dropped::Mismatch);
        }
        if arrival.hops == Hops::Multi && arrival.ttl < session.config.min_ttl {
            return Err(Dropped::TimeToLive(arrival.ttl));
        }
        if packet.authenticated {
            return Err(Dropped::Authenticated);
        }
        let mut actions = Vec::new();
        session.handle_packet(now, &packet, &mut actions);
        self.settle(now, id, actions);
        Ok(())
    }

    /// Runs the timers that have run out.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.remove(&(at, id));
            self.deadline_of.remove(&id);
            if let Some(session) = self.sessions.get_mut(&id) {
                session.handle_timeout(now);
            }
            self.settle(now, id, Vec::new());
        }
    }

    /// When [`Sessions::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The next thing to do outside.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// A session as it is now.
    pub fn snapshot(&self, key: &SessionKey) -> Option<Snapshot> {
        self.sessions.get(self.by_key.get(key)?).map(Session::snapshot)
    }

    /// Keys of all sessions, those that are leaving too.
    pub fn keys(&self) -> impl Iterator<Item = &SessionKey> {
        self.by_key.keys()
    }

    /// The session of a packet without Your Discriminator: the one that says most about where it came from and went to.
    fn lookup(&self, arrival: &Arrival) -> Option<u32> {
        let devices = [arrival.device.clone(), None];
        let locals = [Some(arrival.destination), None];
        devices.iter().flat_map(|device| locals.iter().map(move |local| (device, local))).find_map(|(device, local)| {
            let key = SessionKey { peer: arrival.source, device: device.clone(), local: *local, hops: arrival.hops };
            self.by_key.get(&key).copied()
        })
    }

    fn free_discriminator(&mut self) -> u32 {
        loop {
            let drawn = self.chance.discriminator();
            if !self.sessions.contains_key(&drawn) {
                return drawn;
            }
        }
    }

    /// Hands out what a session wants done, and notes when to look at it again.
    fn settle(&mut self, now: Moment, id: u32, mut actions: Vec<Action>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.settle(now, &mut self.chance, &mut actions);
        for action in actions {
            self.out.push_back(match action {
                Action::Send(octets) => Output::Send { session: session.key.clone(), octets },
                Action::Report(snapshot) => Output::Changed { session: session.key.clone(), snapshot },
            });
        }
        let gone = session.gone_at.is_some_and(|at| at <= now);
        let next = if gone { None } else { session.next_timeout() };
        if gone {
            let key = session.key.clone();
            self.sessions.remove(&id);
            self.by_key.remove(&key);
            self.out.push_back(Output::Gone(key));
        }
        let before = match next {
            Some(at) => self.deadline_of.insert(id, at),
            None => self.deadline_of.remove(&id),
        };
        if before != next {
            if let Some(at) = before {
                self.deadlines.remove(&(at, id));
            }
            if let Some(at) = next {
                self.deadlines.insert((at, id));
            }
        }
    }
}

/// Whoever knows a discriminator must still be the one that the session is with.
fn fits(key: &SessionKey, arrival: &Arrival) -> bool {
    key.peer == arrival.source
        && key.hops == arrival.hops
        && key.local.is_none_or(|local| local == arrival.destination)
        && (key.device.is_none() || key.device == arrival.device)
}
