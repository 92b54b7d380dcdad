//! A peer: its connections, which of them wins, when to dial, and what it has announced.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use model::{Asn, Family, Moment};
use wire::{Notification, cease, code, open};

use crate::adj_rib_in::AdjRibIn;
use crate::counters::PeerCounters;
use crate::graceful::{LastLeaving, as_sent, is_permanent};
use crate::loc_rib::PeerIndex;
use crate::negotiate::{Extent, Offer};
use crate::output::{ConnId, NoticeBudget, Output};
use crate::policy::Import;
use crate::role::Marker;
use crate::session::{Action, Cause, End, Initiator, Input, Session, State};
use crate::settings::{PeerConfig, SpeakerConfig};
use crate::speaker::Shared;
use crate::timers::{Timer, Timers};

mod admin;
mod graceful;
mod link;
mod path;
mod receive;
mod refresh;
mod send;
mod walk;

pub(crate) use link::Link;
use walk::Walk;

/// One configured peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) config: PeerConfig,
    /// Its AS number: the configured one, or what its last OPEN said; 0 before.
    pub(crate) asn: Asn,
    pub(crate) index: PeerIndex,
    pub(crate) rib_in: AdjRibIn,
    pub(crate) import: Import,
    /// The import policy is another one: what it made of the peer's paths is to be asked anew.
    pub(crate) import_changed: bool,
    pub(crate) counters: PeerCounters,
    pub(crate) last_error: Option<(Moment, String)>,
    /// Configured no more; lives on until its paths are gone.
    pub(crate) gone: bool,
    /// ConnectRetry, IdleHold, Stale, EndOfRib.
    pub(crate) timers: Timers,
    /// Families whose End-of-RIB has come in this session.
    pub(crate) end_of_rib: BTreeSet<Family>,
    /// End-of-RIB is waited for no longer in this session.
    pub(crate) end_of_rib_waived: bool,
    /// The peer has promised it for this session.
    end_of_rib_promised: bool,
    /// It is not waited for beyond this.
    end_of_rib_limit: Moment,
    /// Times that it was Established.
    pub(crate) established: u64,
    /// At most three: our dial, the peer's connection, and a later one of the peer's beside an established one.
    links: Vec<Link>,
    /// A session is Established: paths of the current generation are fresh.
    live: bool,
    /// From another AS; as of the last session.
    external: bool,
    /// BGP Identifier of the peer; as of the last session.
    router_id: Ipv4Addr,
    /// Our end of the last session.
    local: Option<IpAddr>,
    walk: Option<Walk>,
    /// What outlives its session, by family.
    kept: [Option<graceful::Kept>; 2],
    /// Since when every OPEN of the peer says that it has restarted (R bit); `None` if the last one does not.
    restarted: Option<Moment>,
    leaving: LastLeaving,
    state: (State, Moment),
    /// Sessions and dials that have failed since one held.
    failures: u32,
    /// Sessions in a row that BFD has ended early.
    path_losses: u32,
    /// Taken down by the operator.
    pub(crate) down: bool,
    /// A line was written: it is near its bound.
    warned: bool,
    refresh: refresh::Refresh,
    /// Writes the mark of RFC 9234 into what comes.
    marker: Marker,
    /// How much of what we can do the next OPEN says.
    extent: Extent,
    pub(crate) budget: NoticeBudget,
    /// Last failure that was worth a line; the same again is not.
    noticed: String,
}

impl Peer {
    /// How long End-of-RIB is waited for.
    pub(crate) const END_OF_RIB: Duration = Duration::from_secs(30);
    /// A peer that has not promised End-of-RIB has told everything once it has sent no UPDATE for so long.
    const TOLD_BY_SILENCE: Duration = Duration::from_secs(5);
    /// A session that has held for so long was none of a flapping peer.
    const STABLE: Duration = Duration::from_secs(60);
    /// A timer that is looked at so late was no matter of the peer's: our own process did not run.
    const STOOD_STILL: Duration = Duration::from_secs(1);
    /// First dial after a stable session broke.
    const QUICK: Duration = Duration::from_secs(1);
    /// Least pause after too many prefixes: taking them in again is dear.
    const MAX_PREFIX_PAUSE: Duration = Duration::from_secs(60);

    pub(crate) fn new(now: Moment, config: PeerConfig, index: PeerIndex) -> Peer {
        let mut timers = Timers::default();
        timers.set(Timer::ConnectRetry, now);
        Peer {
            config,
            asn: Asn(0),
            index,
            rib_in: AdjRibIn::default(),
            import: Import::default(),
            import_changed: false,
            counters: PeerCounters::default(),
            last_error: None,
            gone: false,
            timers,
            end_of_rib: BTreeSet::new(),
            end_of_rib_waived: false,
            end_of_rib_promised: false,
            end_of_rib_limit: now,
            established: 0,
            links: Vec::new(),
            live: false,
            external: false,
            router_id: Ipv4Addr::UNSPECIFIED,
            local: None,
            walk: None,
            kept: [None; 2],
            restarted: None,
            leaving: LastLeaving::default(),
            state: (State::Active, now),
            failures: 0,
            path_losses: 0,
            down: false,
            warned: false,
            refresh: refresh::Refresh::default(),
            marker: Marker::default(),
            extent: Extent::Whole,
            budget: NoticeBudget::default(),
            noticed: String::new(),
        }
    }

    /// State of the furthest connection, and since when.
    pub(crate) fn state(&self) -> (State, Moment) {
        self.state
    }

    /// Our end of the last session.
    pub(crate) fn local(&self) -> Option<IpAddr> {
        self.local
    }

    /// Is a session Established?
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// The Established connection, or else the furthest.
    pub(crate) fn furthest(&self) -> Option<&Link> {
        self.links.iter().max_by_key(|link| link.session.state())
    }

    /// When something is to be done next.
    pub(crate) fn next_timeout(&self) -> Option<Moment> {
        let sessions = self.links.iter().filter_map(|link| link.session.timers.next());
        sessions.chain(self.timers.next()).min()
    }

    /// The peer has connected.
    pub(crate) fn handle_accepted(&mut self, now: Moment, conn: ConnId, local: SocketAddr, shared: &mut Shared) {
        if !self.is_wanted(shared) || self.timers.at(Timer::IdleHold).is_some() {
            return self.reject(conn, shared);
        }
        // A peer that connects again has given up its earlier try.
        let earlier: Vec<ConnId> = self
            .links
            .iter()
            .filter(|link| link.session.initiator == Initiator::Peer && link.session.state() != State::Established)
            .map(|link| link.session.conn)
            .collect();
        for earlier in earlier {
            self.drive(now, earlier, Input::OpenCollisionDump, shared);
        }
        self.add_link(now, conn, Initiator::Peer, Some(local), shared);
        self.drive(now, conn, Input::AutomaticStartPassive, shared);
        self.drive(now, conn, Input::TcpConnectionConfirmed, shared);
    }

    /// Our dial is through.
    pub(crate) fn handle_dialed(&mut self, now: Moment, conn: ConnId, local: SocketAddr, shared: &mut Shared) {
        if let Some(link) = self.link_mut(conn) {
            link.session.local = Some(local);
            self.drive(now, conn, Input::TcpCrAcked, shared);
        }
    }

    /// Runs what has run out.
    pub(crate) fn handle_timeout(&mut self, now: Moment, shared: &mut Shared) {
        let conns: Vec<ConnId> = self.links.iter().map(|link| link.session.conn).collect();
        for conn in conns {
            while let Some(link) = self.link_mut(conn) {
                let hold = link.session.timers.at(Timer::Hold);
                let Some(timer) = link.session.timers.take_expired(now) else { break };
                let stood = hold.is_some_and(|due| now.since(due) >= Self::STOOD_STILL);
                let input = match timer {
                    // What has arrived and is not looked at yet is as good as a KEEPALIVE: we are slow, not the peer. So
                    // is what may lie in the socket when our process stood still over the deadline (SIGSTOP, a starved
                    // machine): the peer's last word about a session that it has given up is worth more than our silence.
                    Timer::Hold if stood || link.has_messages() => {
                        link.session.timers.set(Timer::Hold, now + Duration::from_secs(1));
                        continue;
                    }
                    Timer::Hold => Input::HoldTimerExpires,
                    Timer::Keepalive => Input::KeepaliveTimerExpires,
                    Timer::SendHold => Input::SendHoldTimerExpires,
                    _ => Input::ConnectRetryTimerExpires,
                };
                self.drive(now, conn, input, shared);
            }
        }
        while let Some(timer) = self.timers.take_expired(now) {
            match timer {
                Timer::ConnectRetry | Timer::IdleHold => self.dial(now, shared),
                Timer::Stale => self.expire_kept(now),
                Timer::EndOfRib => self.give_up_end_of_rib(),
                Timer::RefreshEnd => self.give_up_refresh(now, shared),
                Timer::RefreshAgain => self.answer_again(now),
                Timer::Advertise => self.release(),
                _ => {}
            }
        }
        self.note_state(now, shared);
    }

    /// Ends all connections with this Cease, and dials again soon unless the speaker is shut or the peer gone. Its paths
    /// go, but for those that both sides have promised to keep over such an end.
    pub(crate) fn stop(&mut self, now: Moment, cease: &Notification, shared: &mut Shared) {
        let conns: Vec<ConnId> = self.links.iter().map(|link| link.session.conn).collect();
        for conn in conns {
            self.drive(now, conn, Input::Stop(cease.clone()), shared);
        }
        if is_permanent(cease) || self.stale_until().is_none() {
            self.purge();
        }
        self.failures = 0;
        self.extent = Extent::Whole;
        self.timers.stop(Timer::IdleHold);
        self.timers.stop(Timer::ConnectRetry);
        if self.is_wanted(shared) {
            self.timers.set(Timer::ConnectRetry, now + Self::QUICK.min(shared.settings.connect_retry));
        }
        self.note_state(now, shared);
    }

    /// Tries now, whatever the back-off says.
    pub(crate) fn dial_now(&mut self, now: Moment, shared: &mut Shared) {
        self.failures = 0;
        self.timers.stop(Timer::IdleHold);
        self.dial(now, shared);
        self.note_state(now, shared);
    }

    /// Sends a ROUTE-REFRESH for every family. `false` if there is no session, or the peer does not answer to it.
    pub(crate) fn ask_again(&mut self, now: Moment, shared: &mut Shared) -> bool {
        let Some(link) = self.links.iter_mut().find(|l| l.session.state() == State::Established) else { return false };
        let Some(agreed) = link.session.agreed().filter(|agreed| agreed.route_refresh) else { return false };
        for family in agreed.wire.families.clone() {
            let request = wire::RouteRefresh { family: Some(family), subtype: wire::RouteRefresh::REQUEST };
            link.send(now, &wire::Message::RouteRefresh(request), &mut self.counters, shared);
        }
        true
    }

    /// Paths with an AS_SET are taken from now on, or no more; what is there is asked for again.
    pub(crate) fn accept_as_sets(&mut self, now: Moment, taken: bool, shared: &mut Shared) {
        for link in &mut self.links {
            link.codec.accept_as_sets = taken;
        }
        if self.is_live() && !self.ask_again(now, shared) {
            let id = &self.config.id;
            let text = format!(
                "peer {id}: bgp.acceptAsSets has changed, and it does not answer to route refresh: `biplane bgp reset {id}` \
                 makes it announce again"
            );
            shared.out.push(Output::Notice { warn: true, text });
        }
    }

    /// The paths of an ended session go, now.
    fn purge(&mut self) {
        self.live = false;
        self.forget_kept();
        self.rib_in.forget_refused();
        if !self.rib_in.is_empty() {
            self.walk_all(self.rib_in.generation() + 1);
        }
    }

    /// Gives an event to a connection's machine and does what it says.
    fn drive(&mut self, now: Moment, conn: ConnId, input: Input, shared: &mut Shared) {
        let Some(link) = self.link_mut(conn) else { return };
        let actions = link.session.handle(now, input, &mut shared.chance);
        for action in actions {
            self.perform(now, conn, action, shared);
        }
        self.note_state(now, shared);
    }

    fn perform(&mut self, now: Moment, conn: ConnId, action: Action, shared: &mut Shared) {
        let offer = self.offer(now, shared);
        let Some(link) = self.links.iter_mut().find(|link| link.session.conn == conn) else { return };
        match action {
            Action::Dial => {
                let remote = SocketAddr::new(self.config.id.address, self.config.port);
                let local = self.config.local_address;
                let transport = self.config.transport(shared.view.local_asn);
                shared.out.push(Output::Dial { conn, remote, local, transport });
            }
            Action::SendOpen => {
                link.send(now, &wire::Message::Open(offer.open()), &mut self.counters, shared);
                link.offer = Some(offer);
            }
            Action::SendKeepalive => link.send(now, &wire::Message::Keepalive, &mut self.counters, shared),
            Action::SendNotification(notification) => {
                let pledge = link.session.agreed().and_then(|agreed| agreed.pledge.as_ref());
                let notification = as_sent(&notification, pledge);
                link.send(now, &wire::Message::Notification(notification), &mut self.counters, shared);
            }
            Action::Close { flush } => shared.out.push(Output::Close { conn, flush }),
            Action::Established => self.establish(now, conn, shared),
            Action::Over(end) => self.lose(now, conn, end, shared),
        }
    }

    /// A good OPEN has come: which connection stays, if there are two (RFC 4271 section 6.8)?
    fn handle_open(&mut self, now: Moment, conn: ConnId, theirs: &wire::Open, shared: &mut Shared) {
        let offer = self.link_mut(conn).and_then(|link| link.offer.clone()).unwrap_or_else(|| self.offer(now, shared));
        if !self.live
            && let Some(asn) = self.config.asns.iter().find(|asn| asn.admits(theirs.asn, offer.asn))
        {
            self.config.asn = *asn;
        }
        let agreed = match offer.agree(self.config.asn, theirs) {
            Ok(agreed) => agreed,
            Err(error) => return self.drive(now, conn, Input::MessageErr(error), shared),
        };
        let Some(this) = self.links.iter().find(|link| link.session.conn == conn) else { return };
        if this.session.state() == State::OpenSent {
            let ours = (offer.router_id.0, offer.asn);
            let winner = match (theirs.router_id, theirs.asn) > ours {
                true => Initiator::Peer,
                false => Initiator::Us,
            };
            let wins = this.session.initiator == winner;
            let mut losers = Vec::new();
            for other in self.links.iter().filter(|link| link.session.conn != conn) {
                let beaten = wins && other.session.initiator != winner;
                match other.session.state() {
                    State::Established => return self.drive(now, conn, Input::OpenCollisionDump, shared),
                    State::OpenConfirm if !beaten => {
                        return self.drive(now, conn, Input::OpenCollisionDump, shared);
                    }
                    // The rule gives the same answer at both ends, so the loser need not get as far as its OPEN.
                    _ if beaten => losers.push(other.session.conn),
                    _ => {}
                }
            }
            for loser in losers {
                self.drive(now, loser, Input::OpenCollisionDump, shared);
            }
        }
        if let Some(link) = self.link_mut(conn) {
            link.codec = agreed.wire.clone();
        }
        self.drive(now, conn, Input::BgpOpen(agreed), shared);
    }

    /// UPDATEs may flow.
    fn establish(&mut self, now: Moment, conn: ConnId, shared: &mut Shared) {
        let others: Vec<ConnId> = self.links.iter().map(|l| l.session.conn).filter(|c| *c != conn).collect();
        for other in others {
            self.drive(now, other, Input::OpenCollisionDump, shared);
        }
        let Some(link) = self.links.iter().find(|link| link.session.conn == conn) else { return };
        let Some(agreed) = link.session.agreed().cloned() else { return };
        let local = link.session.local.map(|local| local.ip().to_canonical());
        if self.asn != agreed.asn {
            // What another AS has announced is not to outlive it.
            self.purge();
            self.asn = agreed.asn;
        }
        self.external = !agreed.wire.ibgp;
        self.local = local;
        self.live = true;
        self.established += 1;
        self.extent = Extent::Whole;
        self.end_of_rib.clear();
        self.end_of_rib_waived = false;
        self.rib_in.begin_generation();
        self.begin_refreshes();
        self.router_id = agreed.router_id;
        self.meet_again(now, agreed.pledge.as_ref(), &agreed.wire.families);
        self.timers.stop(Timer::ConnectRetry);
        self.timers.stop(Timer::IdleHold);
        self.end_of_rib_limit = now + self.end_of_rib_wait(agreed.pledge.as_ref(), shared);
        self.end_of_rib_promised = agreed.end_of_rib;
        self.timers.set(Timer::EndOfRib, self.end_of_rib_limit);
        self.await_silence(now);
        self.noticed.clear();
        let families: Vec<String> = agreed.wire.families.iter().map(Family::to_string).collect();
        let text = format!(
            "peer {} (AS {}) is up: {}, hold time {} s",
            self.config.id,
            self.asn,
            families.join(" and "),
            agreed.hold_time.as_secs()
        );
        shared.out.notice(now, &mut self.budget, false, text);
        self.introduce(shared);
        self.open_rib_out(now, conn, shared);
    }

    /// Tells the decision and the exports who this is.
    pub(crate) fn introduce(&mut self, shared: &mut Shared) {
        let client = self.config.client && !self.external;
        let news = shared.rib.introduce(self.index, self.router_id, self.external, client);
        shared.look_again |= news && !self.rib_in.is_empty();
    }

    /// A connection is over.
    fn lose(&mut self, now: Moment, conn: ConnId, end: End, shared: &mut Shared) {
        let Some(at) = self.links.iter().position(|link| link.session.conn == conn) else { return };
        let link = self.links.remove(at);
        shared.conns.remove(&conn);
        let was_up = end.from == State::Established;
        let mut words = end.cause.to_string();
        if !was_up && let Some(hint) = self.too_far(shared) {
            words = format!("{words}; {hint}");
        }
        let kept = if was_up { self.keep(now, &link, &end.cause, shared) } else { None };
        let refused_capabilities = match &end.cause {
            Cause::Received(told) => {
                let about = matches!(told.subcode, open::UNSUPPORTED_PARAMETER | open::UNSUPPORTED_CAPABILITY);
                told.code == code::OPEN && about
            }
            _ => false,
        };
        let less = self.extent.less(self.config_allows_bare(shared));
        self.extent = less.filter(|_| refused_capabilities).unwrap_or_default();
        let collision = match &end.cause {
            Cause::Collision => true,
            Cause::Received(told) => {
                told.code == code::CEASE && told.subcode == cease::COLLISION && !self.links.is_empty()
            }
            // The other end has dropped the loser without a word, or before it was accepted.
            Cause::TcpLost(_) => !was_up && self.links.iter().any(|l| l.session.state() >= State::OpenConfirm),
            _ => false,
        };
        if !collision {
            // That a connection is not wanted says less than what was said when the session was ended.
            let rejected = matches!(&end.cause, Cause::Received(told) if is_rejection(told));
            let known = rejected && self.last_error.is_some();
            if !matches!(end.cause, Cause::Stopped(_)) && !known {
                self.last_error = Some((now, words.clone()));
            }
            self.tell_end(now, was_up, &words, kept, shared);
        }
        self.plan_dial(now, &end, collision, now.since(link.established_at), shared);
    }

    /// One line about an end; none for the same failure of a dial over and over.
    fn tell_end(
        &mut self,
        now: Moment,
        was_up: bool,
        words: &str,
        kept: Option<(usize, Duration)>,
        shared: &mut Shared,
    ) {
        let peer = match self.asn {
            Asn(0) => format!("peer {}", self.config.id),
            asn => format!("peer {} (AS {asn})", self.config.id),
        };
        let text = match (was_up, kept) {
            (true, Some((paths, wait))) if paths > 0 => {
                format!("{peer} is down: {words}; its {paths} paths are kept for {} s", wait.as_secs())
            }
            (true, _) => format!("{peer} is down: {words}"),
            (false, _) => format!("{peer}: no session: {words}"),
        };
        if was_up || self.noticed != text {
            shared.out.notice(now, &mut self.budget, true, text.clone());
            self.noticed = text;
        }
    }

    /// When to dial again after an end.
    fn plan_dial(&mut self, now: Moment, end: &End, collision: bool, held: Duration, shared: &mut Shared) {
        if !self.is_wanted(shared) {
            self.timers.stop(Timer::ConnectRetry);
            return;
        }
        let first = shared.settings.connect_retry;
        if collision || !self.links.is_empty() {
            if !self.live {
                self.timers.set(Timer::ConnectRetry, now + shared.chance.jitter(first));
            }
            return;
        }
        let stable = end.from == State::Established && held >= Self::STABLE;
        if stable {
            self.failures = 0;
        }
        let doubled = first.saturating_mul(1 << self.failures.min(16)).min(SpeakerConfig::MAX_RETRY.max(first));
        self.failures = self.failures.saturating_add(1);
        // An established session that ended because the peer did wrong: the same would happen at once again, and each
        // time its paths would come and go. Before that point an OPEN costs nothing, and the cure may be under way.
        if let (State::Established, Cause::Error(error)) = (end.from, &end.cause) {
            let too_many = error.notification.code == code::CEASE;
            let wait = match self.config.max_prefixes_restart.filter(|_| too_many) {
                Some(said) => said,
                None if too_many => shared.chance.jitter(doubled.max(Self::MAX_PREFIX_PAUSE)),
                None => shared.chance.jitter(doubled),
            };
            self.timers.stop(Timer::ConnectRetry);
            self.timers.set(Timer::IdleHold, now + wait);
            return;
        }
        let wait = if stable || self.extent != Extent::Whole { Self::QUICK.min(first) } else { doubled };
        self.timers.set(Timer::ConnectRetry, now + shared.chance.jitter(wait));
    }

    /// Dials, unless there is no need.
    fn dial(&mut self, now: Moment, shared: &mut Shared) {
        if !self.is_wanted(shared) || self.config.passive || self.live {
            return;
        }
        if !self.links.is_empty() {
            // The peer's own connection is under way: a second one would only collide with it.
            self.timers.set(Timer::ConnectRetry, now + shared.chance.jitter(shared.settings.connect_retry));
            return;
        }
        self.timers.stop(Timer::ConnectRetry);
        let conn = shared.out.next_conn();
        self.add_link(now, conn, Initiator::Us, None, shared);
        self.drive(now, conn, Input::AutomaticStart, shared);
    }

    fn add_link(
        &mut self,
        now: Moment,
        conn: ConnId,
        initiator: Initiator,
        local: Option<SocketAddr>,
        shared: &mut Shared,
    ) {
        let mut session = Session::new(now, conn, initiator);
        session.local = local;
        self.links.push(Link::new(session));
        shared.conns.insert(conn, self.config.id.clone());
    }

    fn link_mut(&mut self, conn: ConnId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.session.conn == conn)
    }

    fn offer(&self, now: Moment, shared: &Shared) -> Offer {
        Offer {
            asn: self.local_asn(shared),
            router_id: shared.view.router_id,
            hold_time: self.config.hold_time.unwrap_or(shared.settings.hold_time),
            extent: self.extent,
            role: self.config.role.filter(|_| self.config.asn.is_external(self.local_asn(shared))),
            role_strict: self.config.role_strict,
            host_name: shared.settings.host_name.clone(),
            promise: self.promise(now, shared),
            add_path: self.config.add_path,
            accept_as_sets: shared.settings.accept_as_sets,
        }
    }

    /// Our AS number in sessions with this peer.
    fn local_asn(&self, shared: &Shared) -> Asn {
        self.config.local_asn.unwrap_or(shared.view.local_asn)
    }

    /// The configuration may be another one.
    pub(crate) fn note_asn(&mut self, shared: &Shared) {
        if let Some(asn) = self.config.asn.number(self.local_asn(shared)) {
            self.asn = asn;
        }
    }

    /// Without capabilities our AS number has to fit two octets.
    fn config_allows_bare(&self, shared: &Shared) -> bool {
        let local = self.local_asn(shared);
        [Some(local), self.config.asn.number(local)].into_iter().flatten().all(|asn| u16::try_from(asn.0).is_ok())
    }

    fn note_state(&mut self, now: Moment, shared: &Shared) {
        let held_off = !self.is_wanted(shared) || self.timers.at(Timer::IdleHold).is_some();
        let alone = if held_off { State::Idle } else { State::Active };
        let state = self.furthest().map_or(alone, |link| link.session.state());
        if state != self.state.0 {
            self.state = (state, now);
        }
    }
}

/// The peer does not take our connection, without a reason.
fn is_rejection(told: &Notification) -> bool {
    told.code == code::CEASE && told.subcode == cease::REJECTED
}
