//! Every state with every event has a defined result: the table of RFC 4271 section 8.2.2, with our departures.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use model::Family;

use super::*;

fn at(seconds: u64) -> Moment {
    Moment::new(Duration::from_secs(seconds))
}

fn agreed(hold: u64) -> Agreed {
    Agreed {
        wire: wire::Negotiated { families: BTreeSet::from([Family::V4]), ..wire::Negotiated::default() },
        hold_time: Duration::from_secs(hold),
        router_id: Ipv4Addr::new(1, 1, 1, 1),
        route_refresh: true,
        end_of_rib: true,
    }
}

fn session_in(state: State, hold: u64) -> (Session, Chance) {
    let mut chance = Chance::new(1);
    let mut session = Session::new(at(0), 1, Initiator::Us);
    let steps = match state {
        State::Idle => vec![],
        State::Connect => vec![Input::AutomaticStart],
        State::Active => vec![Input::AutomaticStartPassive],
        State::OpenSent => vec![Input::AutomaticStart, Input::TcpCrAcked],
        State::OpenConfirm => vec![Input::AutomaticStart, Input::TcpCrAcked, Input::BgpOpen(agreed(hold))],
        State::Established => {
            vec![Input::AutomaticStart, Input::TcpCrAcked, Input::BgpOpen(agreed(hold)), Input::KeepAliveMsg]
        }
    };
    for step in steps {
        session.handle(at(0), step, &mut chance);
    }
    assert_eq!(session.state(), state);
    (session, chance)
}

fn malformed() -> DecodeError {
    DecodeError { notification: Notification::new(3, 1, bytes::Bytes::new()), what: "broken".to_owned() }
}

fn inputs() -> Vec<(&'static str, Input)> {
    vec![
        ("3", Input::AutomaticStart),
        ("5", Input::AutomaticStartPassive),
        ("8", Input::Stop(Notification::cease(cease::RESET, ""))),
        ("9", Input::ConnectRetryTimerExpires),
        ("10", Input::HoldTimerExpires),
        ("11", Input::KeepaliveTimerExpires),
        ("16", Input::TcpCrAcked),
        ("17", Input::TcpConnectionConfirmed),
        ("18", Input::TcpConnectionFails(None)),
        ("19", Input::BgpOpen(agreed(90))),
        ("21", Input::MessageErr(malformed())),
        ("23", Input::OpenCollisionDump),
        ("25", Input::NotifMsg(Notification::cease(cease::RESET, ""))),
        ("26", Input::KeepAliveMsg),
        ("27", Input::UpdateMsg),
        ("rr", Input::RouteRefreshMsg),
        ("29", Input::SendHoldTimerExpires),
    ]
}

/// State after the event, and in short what is done: `o`pen, `k`eepalive, `d`ial, `c`lose, `e`stablished, a NOTIFICATION
/// by its numbers.
fn run(state: State, input: Input) -> String {
    let (mut session, mut chance) = session_in(state, 90);
    let mut done = String::new();
    for action in session.handle(at(1), input, &mut chance) {
        match action {
            Action::Dial => done.push('d'),
            Action::SendOpen => done.push('o'),
            Action::SendKeepalive => done.push('k'),
            Action::SendNotification(told) => done += &format!("{}/{} ", told.code, told.subcode),
            Action::Close { .. } => done.push('c'),
            Action::Established => done.push('e'),
            Action::Over(end) => {
                assert_eq!(end.from, state);
                assert_eq!(session.state(), State::Idle);
                assert_eq!(session.timers.next(), None, "no timer outlives its session");
            }
        }
    }
    format!("{} {done}", session.state()).trim_end().to_owned()
}

#[test]
fn the_table_is_complete() {
    const TABLE: &str = "
        event | Idle    | Connect    | Active     | OpenSent      | OpenConfirm      | Established
        3     | Connect d | Connect  | Active     | OpenSent      | OpenConfirm      | Established
        5     | Active  | Connect    | Active     | OpenSent      | OpenConfirm      | Established
        8     | Idle    | Idle c     | Idle c     | Idle 6/4 c    | Idle 6/4 c       | Idle 6/4 c
        9     | Idle    | Idle c     | Idle c     | Idle 5/1 c    | Idle 5/2 c       | Idle 5/3 c
        10    | Idle    | Idle c     | Idle c     | Idle 4/0 c    | Idle 4/0 c       | Idle 4/0 c
        11    | Idle    | Idle c     | Idle c     | Idle 5/1 c    | OpenConfirm k    | Established k
        16    | Idle c  | OpenSent o | OpenSent o | Idle 5/1 c    | Idle 5/2 c       | Idle 5/3 c
        17    | Idle c  | OpenSent o | OpenSent o | Idle 5/1 c    | Idle 5/2 c       | Idle 5/3 c
        18    | Idle    | Idle       | Idle       | Idle          | Idle             | Idle
        19    | Idle    | Idle c     | Idle c     | OpenConfirm k | Idle 5/2 c       | Idle 5/3 c
        21    | Idle    | Idle c     | Idle c     | Idle 3/1 c    | Idle 3/1 c       | Idle 3/1 c
        23    | Idle    | Idle c     | Idle c     | Idle 6/7 c    | Idle 6/7 c       | Idle 6/7 c
        25    | Idle    | Idle c     | Idle c     | Idle c        | Idle c           | Idle c
        26    | Idle    | Idle c     | Idle c     | Idle 5/1 c    | Established e    | Established
        27    | Idle    | Idle c     | Idle c     | Idle 5/1 c    | Idle 5/2 c       | Established
        rr    | Idle    | Idle c     | Idle c     | Idle 5/1 c    | Idle 5/2 c       | Established
        29    | Idle    | Idle c     | Idle c     | Idle c        | Idle c           | Idle c";
    let rows: Vec<Vec<&str>> = TABLE.trim().lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    let mut wrong = Vec::new();
    for (name, input) in inputs() {
        let row = rows.iter().find(|row| row[0] == name).expect("a row for each event");
        for (state, expected) in State::ALL.into_iter().zip(&row[1..]) {
            let done = run(state, input.clone());
            if done != *expected {
                wrong.push(format!("event {name} in {state}: {done}, expected {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(rows.len(), inputs().len() + 1);
}

/// Checklist: 5
#[test]
fn what_restarts_the_hold_timer() {
    let (mut session, mut chance) = session_in(State::Established, 9);
    let hold = |session: &Session| session.timers.at(Timer::Hold);
    assert_eq!(hold(&session), Some(at(9)));
    session.handle(at(2), Input::UpdateMsg, &mut chance);
    assert_eq!(hold(&session), Some(at(11)));
    session.handle(at(3), Input::KeepAliveMsg, &mut chance);
    assert_eq!(hold(&session), Some(at(12)));
    session.handle(at(4), Input::RouteRefreshMsg, &mut chance);
    session.handle(at(4), Input::KeepaliveTimerExpires, &mut chance);
    assert_eq!(hold(&session), Some(at(12)), "only what the RFC names");
}

/// Checklist: 6
#[test]
fn a_silent_peer_is_held_for_four_minutes_in_open_sent() {
    let (session, _) = session_in(State::OpenSent, 9);
    assert_eq!(session.timers.at(Timer::Hold), Some(at(240)));
}

/// Checklist: 3
#[test]
fn hold_time_zero_means_no_timers() {
    let (session, _) = session_in(State::Established, 0);
    assert_eq!(session.timers.next(), None);
}

/// Checklist: 3
#[test]
fn keepalives_come_every_third_of_the_hold_time_and_never_twice_a_second() {
    let (mut session, mut chance) = session_in(State::Established, 3);
    for _ in 0..100 {
        session.restart_keepalive(at(10), &mut chance);
        assert_eq!(session.timers.at(Timer::Keepalive), Some(at(11)));
    }
    let (mut session, mut chance) = session_in(State::Established, 90);
    for _ in 0..100 {
        session.restart_keepalive(at(10), &mut chance);
        let next = session.timers.at(Timer::Keepalive).unwrap();
        assert!(next >= at(10) + Duration::from_millis(22_500) && next <= at(40), "{next:?}");
    }
}
