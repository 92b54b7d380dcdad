//! The finite state machine of one TCP connection (RFC 4271 section 8).
//!
//! Every connection has its own; the peer above dials, waits, backs off and arbitrates between two of them. Where we
//! leave the RFC:
//! - A machine lives as long as its connection: what ends it leads to Idle, where it stays; ConnectRetry with
//!   back-off and IdleHold are timers of the peer. So a failed dial ends in Idle, not in Active.
//! - There is no DelayOpen (events 12 and 20), no IdleHold timer here (event 13, the peer has it), and no connection is
//!   heard of before it stands (events 14 and 15): the kernel and the speaker have taken it in or turned it away.
//! - A NOTIFICATION is never answered with one (section 6.4 over section 8.2.2).
//! - An error in a message is told by its own code in every state from OpenSent on, where section 8.2.2 has
//!   "FSM error" for events 21 and 22 in Established.
//! - FSM errors carry the subcodes of RFC 6608.
//!
//! State changes go through one door, [`Session::enter`], which alone runs what entering a state requires.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use model::Moment;
use serde::{Deserialize, Serialize};
use wire::{DecodeError, Notification, cease, fsm};

use crate::chance::Chance;
use crate::graceful;
use crate::negotiate::Agreed;
use crate::output::ConnId;
use crate::timers::{Timer, Timers};

/// States of RFC 4271 section 8.2.2, in the order of progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum State {
    /// No connection, and none wanted now.
    #[default]
    Idle,
    /// A dial is under way.
    Connect,
    /// Waiting for the peer, or for the next dial.
    Active,
    /// Our OPEN is out.
    OpenSent,
    /// The peer's OPEN was good; its KEEPALIVE is awaited.
    OpenConfirm,
    /// UPDATEs flow.
    Established,
}

impl State {
    /// All of them.
    pub const ALL: [State; 6] =
        [State::Idle, State::Connect, State::Active, State::OpenSent, State::OpenConfirm, State::Established];

    /// RFC spelling.
    pub const fn name(self) -> &'static str {
        match self {
            State::Idle => "Idle",
            State::Connect => "Connect",
            State::Active => "Active",
            State::OpenSent => "OpenSent",
            State::OpenConfirm => "OpenConfirm",
            State::Established => "Established",
        }
    }

    /// Subcode for a message that this state does not expect (RFC 6608).
    const fn fsm_error(self) -> u8 {
        match self {
            State::OpenSent => fsm::OPEN_SENT,
            State::OpenConfirm => fsm::OPEN_CONFIRM,
            State::Established => fsm::ESTABLISHED,
            _ => fsm::UNSPECIFIC,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Events of RFC 4271 section 8.1, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// 3 (1): dial.
    AutomaticStart,
    /// 5 (4): a connection of the peer's is being taken in.
    AutomaticStartPassive,
    /// 8 (2): end it with this Cease.
    Stop(Notification),
    /// 9: the dial has taken too long.
    ConnectRetryTimerExpires,
    /// 10.
    HoldTimerExpires,
    /// 11.
    KeepaliveTimerExpires,
    /// 16: our dial is through.
    TcpCrAcked,
    /// 17: the peer's connection stands.
    TcpConnectionConfirmed,
    /// 18, with the kernel's words.
    TcpConnectionFails(Option<String>),
    /// 19: a good OPEN that has won any collision.
    BgpOpen(Agreed),
    /// 21, 22, 28: header, OPEN or UPDATE in error.
    MessageErr(DecodeError),
    /// 23.
    OpenCollisionDump,
    /// 24, 25.
    NotifMsg(Notification),
    /// 26.
    KeepAliveMsg,
    /// 27.
    UpdateMsg,
    /// ROUTE-REFRESH (RFC 2918): as an UPDATE, but it does not restart the hold timer.
    RouteRefreshMsg,
    /// 29 (RFC 9687).
    SendHoldTimerExpires,
    /// BFD: nothing comes through between the two any more, in these words (RFC 5882 section 4.2).
    PathDown(String),
}

/// What the peer is to do for its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Dial,
    SendOpen,
    SendKeepalive,
    SendNotification(Notification),
    Close { flush: bool },
    Established,
    Over(End),
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The state that it was in.
    pub(crate) from: State,
    pub(crate) cause: Cause,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// We ended it with this Cease.
    Stopped(Notification),
    /// It lost against another connection of the same peer.
    Collision,
    /// TCP failed or was closed, without a NOTIFICATION.
    TcpLost(Option<String>),
    /// A dial took too long.
    DialTimeout,
    /// Nothing was heard for the hold time.
    HoldExpired(Duration),
    /// The peer has taken no bytes for too long.
    SendHoldExpired,
    /// The peer did wrong, and was told so.
    Error(DecodeError),
    /// The peer ended it.
    Received(Notification),
    /// BFD found the path to the peer dead, in these words.
    PathDown(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Stopped(notification) => write!(f, "we sent {}", graceful::words(notification)),
            Cause::Collision => f.write_str("collision with another connection of the peer"),
            Cause::TcpLost(Some(error)) => write!(f, "connection lost: {error}"),
            Cause::TcpLost(None) => f.write_str("connection closed by the peer"),
            Cause::DialTimeout => f.write_str("no answer to the dial"),
            Cause::HoldExpired(hold) => write!(f, "hold timer expired: nothing heard for {} s", hold.as_secs()),
            Cause::SendHoldExpired => f.write_str("send hold timer expired: the peer takes no bytes"),
            Cause::Error(error) => f.write_str(&error.what),
            Cause::Received(notification) => write!(f, "peer sent {}", graceful::words(notification)),
            Cause::PathDown(why) => write!(f, "BFD session down: {why}"),
        }
    }
}

/// Who opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Initiator {
    Us,
    Peer,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) conn: ConnId,
    pub(crate) initiator: Initiator,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) timers: Timers,
    state: State,
    since: Moment,
    agreed: Option<Agreed>,
}

impl Session {
    /// RFC 4271 section 8.2.2 suggests 4 minutes for the hold timer in OpenSent.
    pub(crate) const OPEN_HOLD: Duration = Duration::from_secs(240);
    /// Least send hold time (RFC 9687 section 3).
    const SEND_HOLD: Duration = Duration::from_secs(480);

    pub(crate) fn new(now: Moment, conn: ConnId, initiator: Initiator) -> Session {
        Session {
            conn,
            initiator,
            local: None,
            timers: Timers::default(),
            state: State::Idle,
            since: now,
            agreed: None,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn since(&self) -> Moment {
        self.since
    }

    /// What was negotiated; from OpenConfirm on.
    pub(crate) fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_ref()
    }

    /// Takes one event; what is to be done about it, in order.
    pub(crate) fn handle(&mut self, now: Moment, input: Input, chance: &mut Chance) -> Vec<Action> {
        let mut actions = Vec::new();
        match self.state {
            State::Idle => match input {
                Input::AutomaticStart => {
                    self.enter(now, State::Connect, chance);
                    actions.push(Action::Dial);
                }
                Input::AutomaticStartPassive => self.enter(now, State::Active, chance),
                // Over, or not begun: nothing concerns it. A connection that comes up all the same is dropped.
                Input::TcpCrAcked | Input::TcpConnectionConfirmed => actions.push(Action::Close { flush: false }),
                _ => {}
            },
            State::Connect | State::Active => match input {
                Input::AutomaticStart | Input::AutomaticStartPassive => {}
                // A dial finds out by itself.
                Input::PathDown(_) => {}
                Input::TcpCrAcked | Input::TcpConnectionConfirmed => {
                    self.enter(now, State::OpenSent, chance);
                    actions.push(Action::SendOpen);
                }
                Input::TcpConnectionFails(error) => self.end(now, Cause::TcpLost(error), chance, &mut actions),
                Input::Stop(cease) => self.drop_silently(now, Cause::Stopped(cease), chance, &mut actions),
                Input::OpenCollisionDump => self.drop_silently(now, Cause::Collision, chance, &mut actions),
                Input::NotifMsg(told) => self.drop_silently(now, Cause::Received(told), chance, &mut actions),
                Input::MessageErr(error) => self.drop_silently(now, Cause::Error(error), chance, &mut actions),
                Input::ConnectRetryTimerExpires => {
                    self.drop_silently(now, Cause::DialTimeout, chance, &mut actions);
                }
                // No message can come before the connection, no other timer runs.
                _ => self.drop_silently(now, Cause::TcpLost(None), chance, &mut actions),
            },
            State::OpenSent => match input {
                Input::AutomaticStart | Input::AutomaticStartPassive => {}
                Input::BgpOpen(agreed) => {
                    self.agreed = Some(agreed);
                    self.enter(now, State::OpenConfirm, chance);
                    actions.push(Action::SendKeepalive);
                }
                other => self.handle_later(now, other, chance, &mut actions),
            },
            State::OpenConfirm => match input {
                Input::AutomaticStart | Input::AutomaticStartPassive => {}
                Input::KeepAliveMsg => {
                    self.enter(now, State::Established, chance);
                    actions.push(Action::Established);
                }
                Input::KeepaliveTimerExpires => self.keepalive(now, chance, &mut actions),
                other => self.handle_later(now, other, chance, &mut actions),
            },
            State::Established => match input {
                Input::AutomaticStart | Input::AutomaticStartPassive => {}
                Input::UpdateMsg | Input::KeepAliveMsg => self.restart_hold(now),
                Input::RouteRefreshMsg => {}
                Input::KeepaliveTimerExpires => self.keepalive(now, chance, &mut actions),
                other => self.handle_later(now, other, chance, &mut actions),
            },
        }
        actions
    }

    /// What OpenSent, OpenConfirm and Established have in common.
    fn handle_later(&mut self, now: Moment, input: Input, chance: &mut Chance, actions: &mut Vec<Action>) {
        let (told, cause) = match input {
            Input::Stop(cease) => (Some(cease.clone()), Cause::Stopped(cease)),
            Input::OpenCollisionDump => (Some(Notification::cease(cease::COLLISION, "")), Cause::Collision),
            Input::HoldTimerExpires => {
                let hold = self.agreed.as_ref().map_or(Self::OPEN_HOLD, |agreed| agreed.hold_time);
                (Some(Notification::hold_timer_expired()), Cause::HoldExpired(hold))
            }
            // Mostly it will not go out, as nothing else does; the edge tries for a few seconds (RFC 9687 section 4).
            Input::SendHoldTimerExpires => (Some(Notification::send_hold_timer_expired()), Cause::SendHoldExpired),
            // Nor will this, unless only one direction is dead: then it spares the peer its own detection (RFC 9384).
            Input::PathDown(why) => (Some(Notification::cease(cease::BFD_DOWN, "")), Cause::PathDown(why)),
            Input::TcpConnectionFails(error) => return self.end(now, Cause::TcpLost(error), chance, actions),
            Input::NotifMsg(told) => return self.drop_silently(now, Cause::Received(told), chance, actions),
            Input::MessageErr(error) => (Some(error.notification.clone()), Cause::Error(error)),
            Input::BgpOpen(_) => self.unexpected("OPEN"),
            Input::KeepAliveMsg => self.unexpected("KEEPALIVE"),
            Input::UpdateMsg => self.unexpected("UPDATE"),
            Input::RouteRefreshMsg => self.unexpected("ROUTE-REFRESH"),
            Input::TcpCrAcked | Input::TcpConnectionConfirmed => self.unexpected("connection"),
            Input::ConnectRetryTimerExpires => self.unexpected("connect retry"),
            Input::KeepaliveTimerExpires => self.unexpected("keepalive timer"),
            Input::AutomaticStart | Input::AutomaticStartPassive => return,
        };
        actions.extend(told.map(Action::SendNotification));
        actions.push(Action::Close { flush: true });
        self.end(now, cause, chance, actions);
    }

    fn unexpected(&self, what: &str) -> (Option<Notification>, Cause) {
        let notification = Notification::fsm_error(self.state.fsm_error());
        let what = format!("unexpected {what} in {}", self.state);
        (Some(notification.clone()), Cause::Error(DecodeError { notification, what }))
    }

    fn drop_silently(&mut self, now: Moment, cause: Cause, chance: &mut Chance, actions: &mut Vec<Action>) {
        actions.push(Action::Close { flush: false });
        self.end(now, cause, chance, actions);
    }

    fn end(&mut self, now: Moment, cause: Cause, chance: &mut Chance, actions: &mut Vec<Action>) {
        let from = self.state;
        self.enter(now, State::Idle, chance);
        actions.push(Action::Over(End { from, cause }));
    }

    /// The one door: all that entering a state requires.
    fn enter(&mut self, now: Moment, state: State, chance: &mut Chance) {
        self.state = state;
        self.since = now;
        match state {
            State::Idle => self.timers.clear(),
            State::Connect => self.timers.set(Timer::ConnectRetry, now + Self::DIAL),
            State::Active => {}
            State::OpenSent => {
                self.timers.stop(Timer::ConnectRetry);
                self.timers.set(Timer::Hold, now + Self::OPEN_HOLD);
            }
            State::OpenConfirm => {
                self.restart_hold(now);
                self.restart_keepalive(now, chance);
            }
            State::Established => self.restart_hold(now),
        }
    }

    /// How long a dial may take.
    const DIAL: Duration = Duration::from_secs(30);

    fn keepalive(&mut self, now: Moment, chance: &mut Chance, actions: &mut Vec<Action>) {
        actions.push(Action::SendKeepalive);
        self.restart_keepalive(now, chance);
    }

    /// A third of the hold time, jitter down to 75 %, never more than one a second (RFC 4271 sections 4.4 and 10). To
    /// be called when a KEEPALIVE or an UPDATE has gone out.
    pub(crate) fn restart_keepalive(&mut self, now: Moment, chance: &mut Chance) {
        let hold = self.hold_time();
        if hold.is_zero() {
            self.timers.stop(Timer::Keepalive);
        } else {
            let wait = chance.jitter(hold / 3).max(Duration::from_secs(1));
            self.timers.set(Timer::Keepalive, now + wait);
        }
    }

    fn restart_hold(&mut self, now: Moment) {
        let hold = self.hold_time();
        if hold.is_zero() {
            self.timers.stop(Timer::Hold);
        } else {
            self.timers.set(Timer::Hold, now + hold);
        }
    }

    /// Bytes are waiting for the peer to take them.
    pub(crate) fn start_send_hold(&mut self, now: Moment) {
        if self.timers.at(Timer::SendHold).is_none() {
            self.timers.set(Timer::SendHold, now + Self::SEND_HOLD.max(self.hold_time() * 2));
        }
    }

    fn hold_time(&self) -> Duration {
        self.agreed.as_ref().map_or(Duration::ZERO, |agreed| agreed.hold_time)
    }
}

#[cfg(test)]
mod tests;
