//! Every state with every event has a defined result: the table of RFC 4271 section 8.2.2, with our departures.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use model::Family;
use wire::{code, open};

use super::*;

fn at(seconds: u64) -> Moment {
    Moment::new(Duration::from_secs(seconds))
}

fn agreed(hold: u64) -> Agreed {
    Agreed {
        wire: wire::Negotiated { families: BTreeSet::from([Family::V4]), ..wire::Negotiated::default() },
        hold_time: Duration::from_secs(hold),
        router_id: Ipv4Addr::new(1, 1, 1, 1),
        asn: model::Asn(64512),
        route_refresh: true,
        enhanced_refresh: false,
        host_name: None,
        pledge: None,
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

fn in_error(code: u8, subcode: u8) -> DecodeError {
    DecodeError { notification: Notification::new(code, subcode, bytes::Bytes::new()), what: "broken".to_owned() }
}

/// The events of RFC 4271 section 8.1 and what was added since, each with what our machine is told. `None`: an optional
/// event that never comes to it.
fn events() -> Vec<(&'static str, &'static str, Option<Input>)> {
    let stop = || Input::Stop(Notification::cease(cease::RESET, ""));
    let told = |code, subcode| Input::NotifMsg(Notification::new(code, subcode, bytes::Bytes::new()));
    let wrong = |code, subcode| Input::MessageErr(in_error(code, subcode));
    vec![
        ("1", "ManualStart", Some(Input::AutomaticStart)),
        ("2", "ManualStop", Some(stop())),
        ("3", "AutomaticStart", Some(Input::AutomaticStart)),
        ("4", "ManualStart_with_PassiveTcpEstablishment", Some(Input::AutomaticStartPassive)),
        ("5", "AutomaticStart_with_PassiveTcpEstablishment", Some(Input::AutomaticStartPassive)),
        // Damping is the peer's: it starts a machine later.
        ("6", "AutomaticStart_with_DampPeerOscillations", Some(Input::AutomaticStart)),
        ("7", "AutomaticStart_with_both", Some(Input::AutomaticStartPassive)),
        ("8", "AutomaticStop", Some(stop())),
        ("9", "ConnectRetryTimer_Expires", Some(Input::ConnectRetryTimerExpires)),
        ("10", "HoldTimer_Expires", Some(Input::HoldTimerExpires)),
        ("11", "KeepaliveTimer_Expires", Some(Input::KeepaliveTimerExpires)),
        ("12", "DelayOpenTimer_Expires", None),
        ("13", "IdleHoldTimer_Expires", None),
        ("14", "TcpConnection_Valid", None),
        ("15", "Tcp_CR_Invalid", None),
        ("16", "Tcp_CR_Acked", Some(Input::TcpCrAcked)),
        ("17", "TcpConnectionConfirmed", Some(Input::TcpConnectionConfirmed)),
        ("18", "TcpConnectionFails", Some(Input::TcpConnectionFails(None))),
        ("19", "BGPOpen", Some(Input::BgpOpen(agreed(90)))),
        ("20", "BGPOpen with DelayOpenTimer running", None),
        ("21", "BGPHeaderErr", Some(wrong(code::MESSAGE_HEADER, 2))),
        ("22", "BGPOpenMsgErr", Some(wrong(code::OPEN, open::BAD_PEER_AS))),
        ("23", "OpenCollisionDump", Some(Input::OpenCollisionDump)),
        ("24", "NotifMsgVerErr", Some(told(code::OPEN, open::UNSUPPORTED_VERSION))),
        ("25", "NotifMsg", Some(told(code::CEASE, cease::RESET))),
        ("26", "KeepAliveMsg", Some(Input::KeepAliveMsg)),
        ("27", "UpdateMsg", Some(Input::UpdateMsg)),
        ("28", "UpdateMsgErr", Some(wrong(code::UPDATE, 1))),
        ("29", "SendHoldTimer_Expires (RFC 9687)", Some(Input::SendHoldTimerExpires)),
        ("bfd", "BFD session down (RFC 5882)", Some(Input::PathDown("silence".to_owned()))),
        ("rr", "RouteRefreshMsg (RFC 2918)", Some(Input::RouteRefreshMsg)),
        ("rrErr", "RouteRefreshMsgErr (RFC 7313)", Some(wrong(code::ROUTE_REFRESH, 1))),
    ]
}

/// What every pair of event and state does: the state after it, then in order what is done. `dial`, `OPEN` and
/// `KEEPALIVE` are sent, a NOTIFICATION is told by its numbers, `close` ends the connection and `drop` does so without a
/// word, `up` is the session.
const TABLE: &str = "
    event | Idle         | Connect       | Active        | OpenSent              | OpenConfirm           | Established
    1     | Connect dial | Connect       | Active        | OpenSent              | OpenConfirm           | Established
    2     | Idle         | Idle drop     | Idle drop     | Idle 6/4 close        | Idle 6/4 close        | Idle 6/4 close
    3     | Connect dial | Connect       | Active        | OpenSent              | OpenConfirm           | Established
    4     | Active       | Connect       | Active        | OpenSent              | OpenConfirm           | Established
    5     | Active       | Connect       | Active        | OpenSent              | OpenConfirm           | Established
    6     | Connect dial | Connect       | Active        | OpenSent              | OpenConfirm           | Established
    7     | Active       | Connect       | Active        | OpenSent              | OpenConfirm           | Established
    8     | Idle         | Idle drop     | Idle drop     | Idle 6/4 close        | Idle 6/4 close        | Idle 6/4 close
    9     | Idle         | Idle drop     | Idle drop     | Idle 5/1 close        | Idle 5/2 close        | Idle 5/3 close
    10    | Idle         | Idle drop     | Idle drop     | Idle 4/0 close        | Idle 4/0 close        | Idle 4/0 close
    11    | Idle         | Idle drop     | Idle drop     | Idle 5/1 close        | OpenConfirm KEEPALIVE | Established KEEPALIVE
    12    | never: there is no DelayOpen, an OPEN goes out at once
    13    | never: IdleHold is a timer of the peer, which starts another machine when it is over
    14    | never: a connection is heard of when it stands (17)
    15    | never: whoever is no peer is turned away by the speaker, before there is a machine
    16    | Idle drop    | OpenSent OPEN | OpenSent OPEN | Idle 5/1 close        | Idle 5/2 close        | Idle 5/3 close
    17    | Idle drop    | OpenSent OPEN | OpenSent OPEN | Idle 5/1 close        | Idle 5/2 close        | Idle 5/3 close
    18    | Idle         | Idle          | Idle          | Idle                  | Idle                  | Idle
    19    | Idle         | Idle drop     | Idle drop     | OpenConfirm KEEPALIVE | Idle 5/2 close        | Idle 5/3 close
    20    | never: there is no DelayOpen
    21    | Idle         | Idle drop     | Idle drop     | Idle 1/2 close        | Idle 1/2 close        | Idle 1/2 close
    22    | Idle         | Idle drop     | Idle drop     | Idle 2/2 close        | Idle 2/2 close        | Idle 2/2 close
    23    | Idle         | Idle drop     | Idle drop     | Idle 6/7 close        | Idle 6/7 close        | Idle 6/7 close
    24    | Idle         | Idle drop     | Idle drop     | Idle drop             | Idle drop             | Idle drop
    25    | Idle         | Idle drop     | Idle drop     | Idle drop             | Idle drop             | Idle drop
    26    | Idle         | Idle drop     | Idle drop     | Idle 5/1 close        | Established up        | Established
    27    | Idle         | Idle drop     | Idle drop     | Idle 5/1 close        | Idle 5/2 close        | Established
    28    | Idle         | Idle drop     | Idle drop     | Idle 3/1 close        | Idle 3/1 close        | Idle 3/1 close
    29    | Idle         | Idle drop     | Idle drop     | Idle 8/0 close        | Idle 8/0 close        | Idle 8/0 close
    bfd   | Idle         | Connect       | Active        | Idle 6/10 close       | Idle 6/10 close       | Idle 6/10 close
    rr    | Idle         | Idle drop     | Idle drop     | Idle 5/1 close        | Idle 5/2 close        | Established
    rrErr | Idle         | Idle drop     | Idle drop     | Idle 7/1 close        | Idle 7/1 close        | Idle 7/1 close";

fn run(state: State, input: Input) -> String {
    let (mut session, mut chance) = session_in(state, 90);
    let mut done = vec![];
    for action in session.handle(at(1), input, &mut chance) {
        done.push(match action {
            Action::Dial => "dial".to_owned(),
            Action::SendOpen => "OPEN".to_owned(),
            Action::SendKeepalive => "KEEPALIVE".to_owned(),
            Action::SendNotification(told) => format!("{}/{}", told.code, told.subcode),
            Action::Close { flush: true } => "close".to_owned(),
            Action::Close { flush: false } => "drop".to_owned(),
            Action::Established => "up".to_owned(),
            Action::Over(end) => {
                assert_eq!(end.from, state);
                assert_eq!(session.state(), State::Idle);
                assert_eq!(session.timers.next(), None, "no timer outlives its session");
                continue;
            }
        });
    }
    done.insert(0, session.state().to_string());
    done.join(" ")
}

/// Checklist: 7, 27
#[test]
fn the_table_is_complete() {
    let rows: Vec<Vec<&str>> = TABLE.trim().lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    let mut wrong = Vec::new();
    let mut pairs = 0;
    for (number, name, input) in events() {
        let row = rows.iter().find(|row| row[0] == number).expect("a row for each event");
        let Some(input) = input else {
            assert!(row.len() == 2 && row[1].starts_with("never: "), "{row:?}");
            continue;
        };
        assert_eq!(row.len(), 7, "{row:?}");
        for (state, expected) in State::ALL.into_iter().zip(&row[1..]) {
            pairs += 1;
            let done = run(state, input.clone());
            if done != *expected {
                wrong.push(format!("event {number}, {name}, in {state}: {done}, expected {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((rows.len() - 1, pairs), (events().len(), 6 * 27));
}

/// A KEEPALIVE completes a session only behind a good OPEN.
///
/// Checklist: 27
#[test]
fn nothing_leads_to_established_but_open_and_keepalive() {
    for (_, name, input) in events().into_iter().filter_map(|(n, name, input)| Some((n, name, input?))) {
        for state in State::ALL.into_iter().filter(|state| *state < State::Established) {
            let after = run(state, input.clone());
            let confirmed = state == State::OpenConfirm && input == Input::KeepAliveMsg;
            assert_eq!(after.starts_with("Established"), confirmed, "{name} in {state}");
            let opened =
                state == State::OpenConfirm || (state == State::OpenSent && matches!(input, Input::BgpOpen(_)));
            assert!(opened || !after.starts_with("OpenConfirm"), "{name} in {state}");
        }
    }
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
