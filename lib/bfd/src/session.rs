//! One session: the state machine and its timers (RFC 5880 section 6.8).

use std::time::Duration;

use model::Moment;

use crate::chance::Chance;
use crate::packet::{Diagnostic, Packet, State};
use crate::settings::{SessionConfig, SessionKey};
use crate::snapshot::Snapshot;

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    pub(crate) config: SessionConfig,
    discriminator: u32,
    state: State,
    diagnostic: Diagnostic,
    /// The peer as its last packet shows it; absent when none has come for a detection time.
    remote: Option<Remote>,
    /// When the last packet came that was taken.
    heard: Moment,
    /// What our packets say.
    told: Intervals,
    /// What we do: `told`, or in part what was told before, while a Poll Sequence runs (RFC 5880 6.8.3).
    held: Intervals,
    /// A Poll Sequence runs.
    polling: bool,
    /// What our packets say has changed: the next one goes now.
    news: bool,
    last_send: Moment,
    next_send: Option<Moment>,
    /// The interval that `next_send` was drawn from.
    drawn_from: Option<Duration>,
    /// Not wanted any more; AdminDown is told until then.
    pub(crate) gone_at: Option<Moment>,
    failures: u64,
    ups: u64,
    reported: Snapshot,
    reported_at: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Intervals {
    transmit: Duration,
    receive: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Remote {
    discriminator: u32,
    state: State,
    diagnostic: Diagnostic,
    independent: bool,
    demand: bool,
    multiplier: u8,
    transmit: Duration,
    receive: Duration,
}

/// What a session wants done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Send([u8; Packet::LENGTH]),
    Report(Snapshot),
}

impl Session {
    /// Two reports of a session are at least so far apart: a peer that flaps with every packet must not flood who listens.
    pub(crate) const REPORT_GAP: Duration = Duration::from_millis(20);
    /// AdminDown is told for no longer than this, whatever the intervals are.
    const LONGEST_FAREWELL: Duration = Duration::from_secs(10);

    pub(crate) fn new(now: Moment, key: SessionKey, config: SessionConfig, discriminator: u32) -> Session {
        let config = clamped(config);
        let told = Intervals { transmit: config.transmit.max(SessionConfig::SLOW), receive: config.receive };
        Session {
            key,
            config,
            discriminator,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            remote: None,
            heard: now,
            told,
            held: told,
            polling: false,
            news: true,
            last_send: now,
            next_send: None,
            drawn_from: None,
            gone_at: None,
            failures: 0,
            ups: 0,
            reported: Snapshot::default(),
            reported_at: None,
        }
    }

    /// Another configuration; a session that was leaving comes back.
    pub(crate) fn configure(&mut self, config: SessionConfig) {
        let config = clamped(config);
        self.news |= config.multiplier != self.config.multiplier;
        self.config = config;
        if self.gone_at.take().is_some() {
            self.failures = 0;
            self.ups = 0;
            self.enter(State::Down, Diagnostic::NONE);
        }
        self.retime();
    }

    /// The session is not wanted any more: AdminDown is told for as long as the peer needs to hear it, so that it takes
    /// this for no failure.
    pub(crate) fn leave(&mut self, now: Moment) {
        if self.gone_at.is_some() {
            return;
        }
        self.enter(State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN);
        let farewell = match &self.remote {
            Some(remote) => self.told.transmit.max(remote.receive) * u32::from(self.config.multiplier),
            None => Duration::ZERO,
        };
        self.gone_at = Some(now + farewell.min(Self::LONGEST_FAREWELL));
    }

    /// A packet that is for this session (RFC 5880 6.8.6).
    pub(crate) fn handle_packet(&mut self, now: Moment, packet: &Packet, out: &mut Vec<Action>) {
        self.remote = Some(Remote {
            discriminator: packet.my_discriminator,
            state: packet.state,
            diagnostic: packet.diagnostic,
            independent: packet.independent,
            demand: packet.demand,
            multiplier: packet.multiplier,
            transmit: Duration::from_micros(packet.desired_min_tx.into()),
            receive: Duration::from_micros(packet.required_min_rx.into()),
        });
        self.heard = now;
        if packet.last && self.polling {
            self.polling = false;
            self.held = self.told;
            self.retime();
        }
        match (self.state, packet.state) {
            (State::AdminDown, _) => return,
            (State::Down, State::AdminDown | State::Up)
            | (State::Init, State::Down)
            | (State::Up, State::Init | State::Up) => {}
            (State::Down, State::Down) => self.enter(State::Init, self.diagnostic),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.enter(State::Up, Diagnostic::NONE);
            }
            (State::Init | State::Up, State::AdminDown) => {
                self.enter(State::Down, Diagnostic::PEER_SIGNALED_DOWN);
            }
            (State::Up, State::Down) => {
                self.failures += 1;
                self.enter(State::Down, Diagnostic::PEER_SIGNALED_DOWN);
            }
        }
        if packet.poll {
            out.push(Action::Send(self.packet(true).encode()));
        }
    }

    /// Runs what has run out.
    pub(crate) fn handle_timeout(&mut self, now: Moment) {
        if self.detection_ends().is_some_and(|at| at <= now) {
            // What the peer asked for went with it: a peer that restarts must be able to hear us.
            self.remote = None;
            if self.state > State::Down {
                self.failures += u64::from(self.state == State::Up);
                self.enter(State::Down, Diagnostic::DETECTION_TIME_EXPIRED);
            }
        }
    }

    /// Sends what is due, and plans what is not; reports what is new. To be called after each of the others.
    pub(crate) fn settle(&mut self, now: Moment, chance: &mut Chance, out: &mut Vec<Action>) {
        let interval = self.interval();
        // Without an interval nothing goes periodically, but a change is told to a peer that listens.
        let news = std::mem::take(&mut self.news) && (interval.is_some() || self.remote.is_some());
        if news || (interval.is_some() && self.next_send.is_some_and(|at| at <= now)) {
            out.push(Action::Send(self.packet(false).encode()));
            self.last_send = now;
            self.drawn_from = None;
        }
        if interval != self.drawn_from || interval.is_none() {
            self.drawn_from = interval;
            self.next_send = interval.map(|interval| self.last_send + chance.jitter(interval, self.config.multiplier));
        }
        if self.report_due().is_some_and(|at| at <= now) {
            self.reported = self.snapshot();
            self.reported_at = Some(now);
            out.push(Action::Report(self.reported.clone()));
        }
    }

    /// When [`Session::handle_timeout`] and [`Session::settle`] are due.
    pub(crate) fn next_timeout(&self) -> Option<Moment> {
        [self.next_send, self.detection_ends(), self.gone_at, self.report_due()].into_iter().flatten().min()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let remote = self.remote.as_ref();
        Snapshot {
            state: self.state,
            diagnostic: self.diagnostic,
            failures: self.failures,
            ups: self.ups,
            local_discriminator: self.discriminator,
            remote_discriminator: remote.map_or(0, |remote| remote.discriminator),
            remote_state: remote.map(|remote| remote.state),
            remote_diagnostic: remote.map_or(Diagnostic::NONE, |remote| remote.diagnostic),
            remote_independent: remote.is_some_and(|remote| remote.independent),
            transmit_interval: self.interval().unwrap_or_default(),
            detection_time: self.detection_time().unwrap_or_default(),
        }
    }

    /// The one door into a state.
    fn enter(&mut self, state: State, diagnostic: Diagnostic) {
        self.ups += u64::from(state == State::Up);
        self.state = state;
        self.diagnostic = diagnostic;
        self.news = true;
        // What was asked in another state is told anew in this one.
        self.polling = false;
        self.held = self.told;
        self.retime();
    }

    /// Tells the intervals that the state and the configuration ask for, by a Poll Sequence. While one runs already, the
    /// newer wish waits for its end: the answer would not say which of the two it answers.
    fn retime(&mut self) {
        let up = self.state == State::Up;
        let transmit = if up { self.config.transmit } else { self.config.transmit.max(SessionConfig::SLOW) };
        let wanted = Intervals { transmit, receive: self.config.receive };
        if self.polling || wanted == self.told {
            return;
        }
        // What makes us send less or expect more waits until the peer has said that it knows; in Up only.
        self.held = Intervals {
            transmit: if up { self.held.transmit.min(wanted.transmit) } else { wanted.transmit },
            receive: if up { self.held.receive.max(wanted.receive) } else { wanted.receive },
        };
        self.told = wanted;
        self.polling = self.remote.is_some();
        self.news = true;
    }

    /// The interval of our packets; `None` if none are sent periodically (RFC 5880 6.8.7).
    fn interval(&self) -> Option<Duration> {
        match &self.remote {
            None => (!self.config.passive).then_some(self.held.transmit),
            Some(remote) if remote.receive.is_zero() => None,
            Some(remote) => {
                let both_up = self.state == State::Up && remote.state == State::Up;
                (!(remote.demand && both_up) || self.polling).then(|| self.held.transmit.max(remote.receive))
            }
        }
    }

    /// RFC 5880 6.8.4: the peer's multiplier times the interval that it and we have agreed on.
    fn detection_time(&self) -> Option<Duration> {
        self.remote.as_ref().map(|remote| self.held.receive.max(remote.transmit) * u32::from(remote.multiplier))
    }

    fn detection_ends(&self) -> Option<Moment> {
        self.detection_time().map(|time| self.heard + time)
    }

    fn report_due(&self) -> Option<Moment> {
        let Some(last) = self.reported_at else { return Some(Moment::ZERO) };
        (self.snapshot() != self.reported).then(|| last + Self::REPORT_GAP)
    }

    fn packet(&self, last: bool) -> Packet {
        let micros = |d: Duration| u32::try_from(d.as_micros()).unwrap_or(u32::MAX);
        Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: self.polling && !last,
            last,
            independent: false,
            authenticated: false,
            demand: false,
            multiplier: self.config.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.as_ref().map_or(0, |remote| remote.discriminator),
            desired_min_tx: micros(self.told.transmit),
            required_min_rx: micros(self.told.receive),
            required_min_echo_rx: 0,
        }
    }
}

/// Intervals of 0 would mean something else, a multiplier of 0 nothing.
fn clamped(config: SessionConfig) -> SessionConfig {
    let whole = |d: Duration| d.clamp(Duration::from_micros(1), SessionConfig::LONGEST);
    SessionConfig {
        transmit: whole(config.transmit),
        receive: whole(config.receive),
        multiplier: config.multiplier.max(1),
        ..config
    }
}
