//! A router out of its mind beside a node that carries pods: ten thousand malformed messages a second, sessions that are
//! torn down as fast as they can be opened, and what scanners, browsers and stalled hosts do to port 179. No packet of a
//! pod is lost, sessions end when RFC 7606 says so and not else, the log and the memory stay small.
//!
//! Needs root and BIPLANE_BIN_DIR; without them every test here fails.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, dead_code)]

#[path = "storm/attacker.rs"]
mod attacker;
#[path = "topologies/fabric.rs"]
mod fabric;
#[path = "storm/nonsense.rs"]
mod nonsense;
mod recordings;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use attacker::{Over, Session, inside};
use fabric::Fabric;
use model::Plane;
use nonsense::{CLASSES, Treatment};
use serde_json::Value;
use testbed::lab::{Interrupt, poll};

const NODE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 27, 0, 1)), 179);
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 27, 0, 66));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 27, 0, 77));
/// Messages a second.
const RATE: u32 = 10_000;
/// So long with messages that end no session.
const STORM: Duration = Duration::from_secs(20);
/// So long after it with messages that do.
const ENDS: Duration = Duration::from_secs(6);
const LINES_A_SECOND: f64 = 10.0;
/// What the daemon may need more at its peak, octets.
const MORE_MEMORY: u64 = 24 << 20;
const SOON: Duration = Duration::from_secs(60);

/// Every class by itself: the session ends with the NOTIFICATION that is due, or it stays and the route goes, or it stays
/// and the route stays.
/// Checklist: 13, 14, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 57, 58, 59, 60, 61
#[test]
fn every_malformed_message_costs_what_the_rfc_says() {
    let fabric = Fabric::deploy("storm", |stand| stand.is_steady(Plane::Native));
    let prefix = [10, 244, 200, 0];
    let mut wrong = Vec::new();
    inside(&fabric.lab, "bad", || {
        let mut session = reopen();
        for class in CLASSES {
            session.send(&nonsense::announce(prefix)).unwrap();
            announced(&fabric, "10.244.200.0/24", true).unwrap_or_else(|e| panic!("before {}: {e}", class.name));
            session.send(&(class.message)(prefix)).unwrap();
            let outcome = match class.treatment {
                Treatment::Withdraw => announced(&fabric, "10.244.200.0/24", false),
                Treatment::Discard => {
                    // What comes behind it has been read as well: then it has had its effect.
                    session.send(&nonsense::announce([10, 244, 201, 0])).unwrap();
                    let marked = announced(&fabric, "10.244.201.0/24", true);
                    marked.and_then(|()| announced(&fabric, "10.244.200.0/24", true))
                }
                Treatment::Reset(code, subcode) => match session.is_over(Duration::from_secs(5)) {
                    Some(Over::Told(c, s)) if c == code && (s == subcode || subcode == 0) => Ok(()),
                    other => Err(format!("{other:?} instead of NOTIFICATION {code}/{subcode}")),
                },
            };
            let ends = matches!(class.treatment, Treatment::Reset(..));
            let over = if ends { None } else { session.is_over(Duration::from_millis(1)) };
            match (outcome, over) {
                (Ok(()), None) => println!("{}: {:?}", class.name, class.treatment),
                (outcome, over) => wrong.push(format!("{}: {outcome:?}, {over:?}", class.name)),
            }
            if ends || over.is_some() {
                drop(session);
                // By itself it holds off longer and longer a peer that errs again and again.
                fabric.lab.shell("n1", &format!("biplane bgp reset {PEER}")).unwrap();
                session = reopen();
            } else {
                // Both prefixes go, so that each class begins alike.
                session.send(&nonsense::framed(2, &[0, 8, 24, 10, 244, 200, 24, 10, 244, 201, 0, 0])).unwrap();
                announced(&fabric, "10.244.200.0/24", false).unwrap();
            }
        }
    });
    assert!(wrong.is_empty(), "{} of {} classes:\n{}", wrong.len(), CLASSES.len(), wrong.join("\n"));
}

/// Checklist: 62
#[test]
fn a_storm_of_malformed_messages_costs_no_packet() {
    let fabric = Fabric::deploy("storm", |stand| stand.is_steady(Plane::Native));
    let mut probes = fabric.probe();
    let before = Health::of(&fabric);
    let began = Instant::now();
    let Storm { sent, sessions, refused } = inside(&fabric.lab, "bad", storm);
    let took = began.elapsed();
    let after = Health::of(&fabric);
    fabric.all_reach_each_other(&mut probes, "after the storm");
    let lines = (after.lines - before.lines) as f64 / took.as_secs_f64();
    println!(
        "{sent} malformed messages in {} s on one session: {:.0} a second; then {sessions} sessions torn down and {refused} \
         refused in {} s; {lines:.1} lines of log a second; memory {} KiB before, {} KiB at its peak; {:.1} s of processor \
         time",
        STORM.as_secs(),
        f64::from(sent) / STORM.as_secs_f64(),
        ENDS.as_secs(),
        before.memory >> 10,
        after.peak >> 10,
        (after.cpu - before.cpu).as_secs_f64(),
    );
    assert!(f64::from(sent) >= 0.95 * f64::from(RATE) * STORM.as_secs_f64(), "only {sent} messages were sent");
    assert!(lines < LINES_A_SECOND, "{lines:.1} lines of log a second");
    after.is_well_since(&before);
    fabric.prove(probes);
}

/// Checklist: 11
#[test]
fn rubbish_on_port_179_costs_no_packet() {
    let fabric = Fabric::deploy("storm", |stand| stand.is_steady(Plane::Native));
    let mut probes = fabric.probe();
    let before = Health::of(&fabric);
    let began = Instant::now();
    inside(&fabric.lab, "bad", || {
        let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 500]].concat();
        for from in [PEER, STRANGER] {
            for octets in [&hello[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0; 4096], &[0xff; 70_000]] {
                for _ in 0..50 {
                    let Ok(mut stream) = attacker::connect(from, NODE) else { continue };
                    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
                    let _ = stream.write_all(octets);
                    let _ = stream.read(&mut [0; 256]);
                }
            }
            // A scanner.
            for _ in 0..500 {
                drop(attacker::connect(from, NODE));
            }
        }
        // Those who connect and say nothing, or stop in the middle of an OPEN.
        let mut silent = Vec::new();
        for number in 0..40 {
            let from = if number % 2 == 0 { PEER } else { STRANGER };
            if let Ok(mut stream) = attacker::connect(from, NODE) {
                let _ = stream.write_all(&nonsense::open()[..number]);
                silent.push(stream);
            }
        }
        std::thread::sleep(Duration::from_secs(3));
        drop(silent);
        // One who asks for everything again and again, and reads nothing of it.
        let mut deaf = reopen();
        let asking = nonsense::route_refresh().repeat(100);
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if deaf.send(&asking).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let after = Health::of(&fabric);
    let lines = (after.lines - before.lines) as f64 / began.elapsed().as_secs_f64();
    println!(
        "{lines:.1} lines of log a second; memory {} KiB before, {} KiB at its peak; {:.1} s of processor time in {:.1} s",
        before.memory >> 10,
        after.peak >> 10,
        (after.cpu - before.cpu).as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    assert!(lines < LINES_A_SECOND, "{lines:.1} lines of log a second");
    after.is_well_since(&before);
    inside(&fabric.lab, "bad", || drop(reopen()));
    fabric.all_reach_each_other(&mut probes, "after all the rubbish");
    fabric.prove(probes);
}

/// What the router did.
struct Storm {
    /// Messages on the session that stays.
    sent: u32,
    /// Sessions that ended by a message.
    sessions: u32,
    /// Connections that the daemon, which holds off a peer that errs again and again, closed at once.
    refused: u32,
}

/// Sends what a session survives, at the full rate; then what it does not, as fast as new sessions can be had.
fn storm() -> Storm {
    let mut sent = 0;
    let (resets, harmless): (Vec<_>, Vec<_>) =
        CLASSES.iter().partition(|class| matches!(class.treatment, Treatment::Reset(..)));
    let mut session = reopen();
    let prefix = |number: u32| [10, 244, u8::try_from(200 + number % 50).unwrap(), 0];
    let began = Instant::now();
    while began.elapsed() < STORM {
        let octets: Vec<u8> = (sent..sent + 100)
            .flat_map(|number| (harmless[number as usize % harmless.len()].message)(prefix(number)))
            .collect();
        session.send(&octets).unwrap_or_else(|e| panic!("after {sent} messages that end no session: {e}"));
        sent += 100;
        if let Some(over) = session.is_over(Duration::ZERO) {
            panic!("a session that should stay ended after {sent} messages: {over:?}");
        }
        pace(began, sent);
    }
    let (mut sessions, mut refused) = (0, 0);
    let mut session = Some(session);
    while began.elapsed() < STORM + ENDS {
        let Some(mut open) = session.take() else {
            match Session::open(PEER, NODE) {
                Ok(open) => session = Some(open),
                Err(_) => {
                    refused += 1;
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            continue;
        };
        let reset = resets[sessions as usize % resets.len()];
        let _ = open.send(&(reset.message)(prefix(0)));
        let over = open.is_over(Duration::from_secs(5));
        assert!(over.is_some(), "{}: the session stays", reset.name);
        sessions += 1;
    }
    Storm { sent, sessions, refused }
}

/// Not faster than the rate.
fn pace(began: Instant, sent: u32) {
    let due = Duration::from_secs(1) * sent / RATE;
    std::thread::sleep(due.saturating_sub(began.elapsed()));
}

/// As soon as the daemon lets us.
fn reopen() -> Session {
    let deadline = Instant::now() + SOON;
    loop {
        match Session::open(PEER, NODE) {
            Ok(session) => return session,
            Err(error) => assert!(Instant::now() < deadline, "the daemon takes no session again: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The daemon has the prefix of the peer, or no longer.
fn announced(fabric: &Fabric, prefix: &str, is: bool) -> Result<(), String> {
    let has = || {
        let text = fabric.lab.shell("n1", &format!("biplane bgp routes --in {PEER} -o json")).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        document["items"].as_array().unwrap().iter().any(|route| route["prefix"] == prefix)
    };
    let found = poll(Duration::from_secs(5), &Interrupt::default(), || (has() == is).then_some(()));
    found.ok_or_else(|| format!("{prefix} is {}", if is { "not there" } else { "still there" }))
}

/// What is looked at before and after.
struct Health {
    started: Value,
    /// How long the session with the other node stands.
    mesh: f64,
    lines: u64,
    memory: u64,
    peak: u64,
    cpu: Duration,
    at: Instant,
}

impl Health {
    fn of(fabric: &Fabric) -> Health {
        let ask = |words: &str| -> Value {
            serde_json::from_str(&fabric.lab.shell("n1", &format!("biplane {words} -o json")).unwrap()).unwrap()
        };
        let at = Instant::now();
        let peers = ask("bgp peers");
        let mesh = peers["items"].as_array().unwrap().iter().find(|peer| peer["mesh"] == true).cloned().unwrap();
        let proc = |file: &str| fabric.lab.shell("n1", &format!("cat /proc/$(pidof biplaned)/{file}")).unwrap();
        let status = proc("status");
        let size = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
        };
        let stat = proc("stat");
        let ticks = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
        Health {
            started: ask("status")["startedAt"].clone(),
            mesh: mesh["uptimeSeconds"].as_f64().expect("the session with the other node is up"),
            lines: fabric.lab.shell("n1", "wc -l </var/log/biplaned.log").unwrap().trim().parse().unwrap(),
            memory: size("VmRSS:"),
            peak: size("VmHWM:"),
            cpu: Duration::from_millis(10) * ticks.filter_map(|word| word.parse::<u32>().ok()).sum::<u32>(),
            at,
        }
    }

    /// The daemon went on, its other session stood all the while, its memory is bounded.
    fn is_well_since(&self, before: &Health) {
        assert_eq!(self.started, before.started, "the daemon went on");
        let between = (self.at - before.at).as_secs_f64();
        assert!(self.mesh >= before.mesh + between - 1.0, "the session with the other node is {:.1} s old", self.mesh);
        let more = self.peak.saturating_sub(before.memory);
        assert!(more < MORE_MEMORY, "{} KiB more than before at the peak", more >> 10);
    }
}
