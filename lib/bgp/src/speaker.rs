//! The speaker: all peers, the tables between them, and the order of work.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;

use model::kernel::Device;
use model::{Moment, PeerId, Prefix};
use wire::{Notification, cease};

use crate::chance::Chance;
use crate::export::Shelf;
use crate::graceful::Restarted;
use crate::loc_rib::{BestPath, LocRib};
use crate::local::LocalAddresses;
use crate::output::{ConnId, NoticeBudget, Output, Outputs};
use crate::packed::Packed;
use crate::peer::Peer;
use crate::policy::{Rules, View};
use crate::settings::SpeakerConfig;
use crate::status::Stranger;

mod admin;
mod configure;
mod deferral;
mod explain;
mod path;
mod propagate;
mod query;
mod ranges;
mod replace;
mod restart;

pub use path::Watched;

/// What all peers work with.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: SpeakerConfig,
    pub(crate) view: View,
    pub(crate) rules: Rules,
    pub(crate) rib: LocRib,
    pub(crate) out: Outputs,
    pub(crate) shelf: Shelf,
    pub(crate) packed: Packed,
    /// What is told of learnt paths follows from something else than before.
    pub(crate) look_again: bool,
    pub(crate) chance: Chance,
    /// Shut down: no session opens.
    pub(crate) shut: bool,
    /// Other peers are to be watched by BFD, or no longer.
    pub(crate) watched_changed: bool,
    /// We are a new process where there was one before.
    pub(crate) restarted: Option<Restarted>,
    /// Whose connection it is.
    pub(crate) conns: BTreeMap<ConnId, PeerId>,
}

/// A BGP speaker. See the crate's page for the order of calls.
#[derive(Debug)]
pub struct Speaker {
    shared: Shared,
    peers: BTreeMap<PeerId, Peer>,
    /// Peers with work that waits for nothing.
    busy: BTreeSet<PeerId>,
    /// Peers that hear of learnt paths.
    audience: BTreeSet<PeerId>,
    /// Who of them had the last slice.
    turn: Option<PeerId>,
    /// We are a new process, and not all peers have told it everything yet.
    deferral: Option<deferral::Deferral>,
    /// Peers by their next deadline; the same the other way round.
    deadlines: BTreeSet<(Moment, PeerId)>,
    deadline_of: BTreeMap<PeerId, Moment>,
    /// Peers with an Established session, without those that were taken out of the configuration.
    live: BTreeSet<PeerId>,
    /// Peers with an Established session that have not told everything.
    telling: BTreeSet<PeerId>,
    /// Peers that were taken out of the configuration and have left something.
    going: BTreeSet<PeerId>,
    strangers: VecDeque<Stranger>,
    strangers_total: u64,
    budget: NoticeBudget,
    /// What the peers of a range may still write, as the last of them left it.
    range_budgets: BTreeMap<Prefix, NoticeBudget>,
    /// The latest time that was told.
    now: Moment,
}

impl Speaker {
    /// Work at a stretch, in messages and prefixes: a few milliseconds.
    const SLICE: usize = 2000;
    /// Octets of a connection that may wait; beyond that, taking in more costs the work on as many.
    const MOST_BACKLOG: usize = 256 * 1024;
    /// Strangers that are remembered.
    const STRANGERS: usize = 64;

    /// A speaker with these peers. Dials come out of the first [`Speaker::handle_timeout`].
    pub fn new(now: Moment, config: SpeakerConfig) -> Speaker {
        let mut view = View::new(config.local_asn, config.router_id, config.pools.clone());
        view.set_services(config.service_cidrs.clone());
        let mut speaker = Speaker {
            shared: Shared {
                view,
                rules: Rules::default(),
                rib: LocRib::new(config.max_paths),
                out: Outputs::default(),
                shelf: Shelf::default(),
                packed: Packed::default(),
                look_again: false,
                chance: Chance::new(config.seed),
                shut: false,
                watched_changed: false,
                restarted: None,
                conns: BTreeMap::new(),
                settings: SpeakerConfig { peers: Vec::new(), ..config.clone() },
            },
            peers: BTreeMap::new(),
            busy: BTreeSet::new(),
            audience: BTreeSet::new(),
            turn: None,
            deferral: None,
            deadlines: BTreeSet::new(),
            deadline_of: BTreeMap::new(),
            live: BTreeSet::new(),
            telling: BTreeSet::new(),
            going: BTreeSet::new(),
            strangers: VecDeque::new(),
            strangers_total: 0,
            budget: NoticeBudget::default(),
            range_budgets: BTreeMap::new(),
            now,
        };
        speaker.handle_config(now, config);
        speaker
    }

    /// Ends all sessions with Cease 6/2; none opens any more until the next [`Speaker::handle_config`]. The paths of
    /// the peers go.
    pub fn handle_shutdown(&mut self, now: Moment) {
        self.now = now;
        self.shared.shut = true;
        self.shared.watched_changed = true;
        let cease = Notification::cease(cease::SHUTDOWN, "BGP is taken down on this node");
        self.each(|peer, shared| peer.stop(now, &cease, shared));
        self.handle_work(now, Self::SLICE);
    }

    /// Originates a prefix, or no longer. Peers hear of it at once.
    pub fn handle_originate(&mut self, now: Moment, prefix: Prefix, on: bool) {
        self.now = now;
        if !self.shared.view.originate(prefix, on) {
            return;
        }
        let slice = self.shared.view.is_slice(&prefix);
        let touched = self.shared.view.own.set_pod(prefix, on);
        self.each(|peer, shared| {
            if on && (!slice || peer.import.policy().is_some()) {
                // It may overlap anything.
                peer.walk_all(0);
            } else if on {
                peer.refuse_own(prefix, shared);
            } else if peer.rib_in.refused(&prefix).next().is_some() || !slice || peer.import.policy().is_some() {
                // What was refused as our own may be good now, and was not kept.
                peer.ask_again(now, shared);
            }
            if on {
                peer.name_refusals(shared);
                peer.tell_missing_hops(now, shared);
            }
            touched.iter().for_each(|prefix| peer.touch(*prefix));
        });
        self.handle_work(now, Self::SLICE);
    }

    /// Holds a prefix of our own back (`false`): it is announced to nobody, whatever is said by
    /// [`Speaker::handle_originate`] and the configuration, until it may be (`true`). For prefixes that can be forwarded
    /// only at times, as a service address is while a pod of the service runs here. Can be said before the prefix is
    /// originated, so that it is never announced too early.
    pub fn handle_advertise(&mut self, now: Moment, prefix: Prefix, on: bool) {
        self.now = now;
        let touched = self.shared.view.own.advertise(prefix, on);
        self.touch_all(&touched);
        self.handle_work(now, Self::SLICE);
    }

    /// Addresses of this host with prefix lengths and devices: for next-hop checks, and for the next hop of the family
    /// that is not the session's.
    pub fn handle_local_addresses(&mut self, addresses: Vec<(IpAddr, u8, Device)>) {
        let addresses = LocalAddresses::new(addresses);
        if addresses == self.shared.view.addresses {
            return;
        }
        self.shared.view.set_addresses(addresses);
        let now = self.now;
        self.each(|peer, shared| {
            peer.walk_all(0);
            peer.renew_target(now, shared);
        });
        self.handle_work(now, Self::SLICE);
    }

    /// Someone has connected. Whoever is no peer and in no range of peers is closed at once, and remembered.
    pub fn handle_accepted(&mut self, now: Moment, conn: ConnId, local: SocketAddr, remote: impl Into<PeerId>) {
        self.now = now;
        let id = remote.into();
        if self.peers.get(&id).is_none_or(|peer| peer.gone)
            && let Err(why) = self.admit(now, &id)
        {
            return self.turn_away(now, conn, id, &why);
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.handle_accepted(now, conn, local, &mut self.shared);
            self.settle(&id);
        }
    }

    /// A dial is through; `local` is our end.
    pub fn handle_dialed(&mut self, now: Moment, conn: ConnId, local: SocketAddr) {
        self.with(now, conn, |peer, shared| peer.handle_dialed(now, conn, local, shared));
    }

    /// A dial has failed, with the kernel's words.
    pub fn handle_dial_failed(&mut self, now: Moment, conn: ConnId, error: String) {
        self.handle_closed(now, conn, Some(error));
    }

    /// Bytes have arrived. A slice of them is worked on at once; the rest is for [`Speaker::handle_work`].
    pub fn handle_bytes(&mut self, now: Moment, conn: ConnId, bytes: &[u8]) {
        self.with(now, conn, |peer, shared| {
            peer.handle_bytes(conn, bytes);
            loop {
                peer.work(now, &mut Self::SLICE.clone(), shared);
                if peer.backlog(conn) <= Self::MOST_BACKLOG {
                    break;
                }
            }
        });
    }

    /// A connection is gone; `error` are the kernel's words, `None` when the peer closed it.
    pub fn handle_closed(&mut self, now: Moment, conn: ConnId, error: Option<String>) {
        self.with(now, conn, |peer, shared| {
            peer.handle_closed(conn, error);
            peer.work(now, &mut Self::SLICE.clone(), shared);
        });
    }

    /// The kernel has taken all bytes that were sent on a connection.
    pub fn handle_drained(&mut self, now: Moment, conn: ConnId) {
        self.with(now, conn, |peer, shared| {
            peer.handle_drained(conn);
            peer.work(now, &mut Self::SLICE.clone(), shared);
        });
    }

    /// Runs the timers that have run out, and a slice of work.
    pub fn handle_timeout(&mut self, now: Moment) {
        self.now = now;
        while let Some((at, id)) = self.deadlines.first().cloned()
            && at <= now
        {
            match self.peers.get_mut(&id) {
                Some(peer) => {
                    peer.handle_timeout(now, &mut self.shared);
                    self.settle(&id);
                }
                None => {
                    self.deadlines.remove(&(at, id));
                }
            }
        }
        self.handle_work(now, Self::SLICE);
    }

    /// Works off up to `slice` messages and prefixes, peer by peer in turn; 2000 are a few milliseconds.
    pub fn handle_work(&mut self, now: Moment, slice: usize) {
        self.now = now;
        let mut left = slice;
        while left > 0 {
            self.step_deferral(now);
            self.propagate(&mut left);
            let after = self.turn.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.busy.range((after, Bound::Unbounded)).next().or(self.busy.first()).cloned();
            let Some(id) = next else {
                self.shared.packed.clear();
                return;
            };
            self.turn = Some(id.clone());
            if let Some(peer) = self.peers.get_mut(&id) {
                let before = left;
                peer.work(now, &mut left, &mut self.shared);
                // Work that costs nothing must not go on for ever.
                left = left.min(before.saturating_sub(1));
            }
            self.settle(&id);
        }
    }

    /// Is there work that waits for nothing? Then call [`Speaker::handle_work`] soon.
    pub fn has_work(&self) -> bool {
        !self.busy.is_empty() || self.shared.look_again || self.shared.rib.has_news() || self.is_deferral_due()
    }

    /// The next thing to do outside.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.out.pop()
    }

    /// When [`Speaker::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Moment> {
        let peers = self.deadlines.first().map(|(at, _)| *at);
        peers.into_iter().chain(self.deferral.as_ref().map(|deferral| deferral.poll_timeout(self.now))).min()
    }

    /// Up to `at_most` prefixes whose multipath set has changed since this was last asked; each once.
    pub fn poll_changed(&mut self, at_most: usize) -> Vec<Prefix> {
        self.shared.rib.take_changed(at_most)
    }

    /// Does [`Speaker::poll_changed`] have something?
    pub fn has_changed(&self) -> bool {
        self.shared.rib.has_changed()
    }

    /// The multipath set of a prefix, best first; empty if there is no usable path. Stale paths are in it when there
    /// is no fresh one.
    pub fn best(&self, prefix: &Prefix) -> Vec<BestPath> {
        self.shared.rib.best(prefix)
    }

    fn turn_away(&mut self, now: Moment, conn: ConnId, id: PeerId, why: &str) {
        self.shared.out.push(Output::Close { conn, flush: false });
        self.strangers_total += 1;
        let known = self.strangers.iter().position(|stranger| stranger.id == id);
        let mut stranger =
            known.and_then(|at| self.strangers.remove(at)).unwrap_or(Stranger { id, attempts: 0, last: now });
        stranger.attempts += 1;
        stranger.last = now;
        if stranger.attempts == 1 {
            let text = format!("connection from {} refused: {why}", stranger.id);
            self.shared.out.notice(now, &mut self.budget, true, text);
        }
        self.strangers.push_back(stranger);
        if self.strangers.len() > Self::STRANGERS {
            self.strangers.pop_front();
        }
    }

    /// Does something with the peer of a connection; nothing if it is known no more.
    fn with(&mut self, now: Moment, conn: ConnId, action: impl FnOnce(&mut Peer, &mut Shared)) {
        self.now = now;
        let Some(id) = self.shared.conns.get(&conn).cloned() else { return };
        if let Some(peer) = self.peers.get_mut(&id) {
            action(peer, &mut self.shared);
            self.settle(&id);
        }
    }

    fn each(&mut self, mut action: impl FnMut(&mut Peer, &mut Shared)) {
        let ids: Vec<PeerId> = self.peers.keys().cloned().collect();
        for id in ids {
            if let Some(peer) = self.peers.get_mut(&id) {
                action(peer, &mut self.shared);
            }
            self.settle(&id);
        }
    }

    /// Notes when a peer is to be looked at again; forgets one that is gone, or was there for its session alone, and has
    /// left nothing.
    fn settle(&mut self, id: &PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        if let Some(deferral) = &mut self.deferral {
            deferral.note(id, peer);
        }
        if (peer.gone || peer.is_passing()) && peer.is_empty() {
            if let Some(range) = peer.config.range {
                self.range_budgets.insert(range, peer.budget.clone());
            }
            self.shared.watched_changed |= peer.config.bfd.is_some();
            self.shared.rib.leave(peer.index);
            self.peers.remove(id);
            self.busy.remove(id);
            self.audience.remove(id);
            self.live.remove(id);
            self.telling.remove(id);
            self.going.remove(id);
            if let Some(at) = self.deadline_of.remove(id) {
                self.deadlines.remove(&(at, id.clone()));
            }
            return;
        }
        if peer.has_work() {
            self.busy.insert(id.clone());
        } else {
            self.busy.remove(id);
        }
        for (set, is_in) in [
            (&mut self.audience, peer.takes_transit(&self.shared.view)),
            (&mut self.live, peer.is_live() && !peer.gone),
            (&mut self.telling, peer.is_live() && !peer.has_told_all()),
            (&mut self.going, peer.gone),
        ] {
            if is_in != set.contains(id) {
                let _ = if is_in { set.insert(id.clone()) } else { set.remove(id) };
            }
        }
        let next = peer.next_timeout();
        let before = match next {
            Some(at) => self.deadline_of.insert(id.clone(), at),
            None => self.deadline_of.remove(id),
        };
        if before != next {
            if let Some(at) = before {
                self.deadlines.remove(&(at, id.clone()));
            }
            if let Some(at) = next {
                self.deadlines.insert((at, id.clone()));
            }
        }
    }
}
