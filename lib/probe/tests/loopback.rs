//! Two probers on the loopback device: everything arrives, and what does not arrive, or arrives twice, is counted.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use probe::flow::{Rates, Spec, Target};
use probe::packet::{Kind, Packet};
use probe::tally::{self, Tally};
use probe::{Report, Size, prober};

const RUN: u32 = 0x5eed;

struct Place {
    pipe: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Place {
    fn start(spec: &Spec) -> Place {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let input = BufReader::new(theirs.try_clone().unwrap());
        std::thread::spawn(move || prober::run(input, theirs));
        let mut place = Place { answers: BufReader::new(ours.try_clone().unwrap()), pipe: ours };
        place.ask(&serde_json::to_string(spec).unwrap());
        place
    }

    fn ask(&mut self, line: &str) -> Report {
        writeln!(self.pipe, "{line}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e} in answer {answer:?} to {line:?}"))
    }
}

fn spec(place: u16, peer: u16, port: u16, rates: Rates) -> Spec {
    // IPv4 has many loopback addresses; IPv6 has one, which two places of one machine cannot share.
    let address = |place: u16| IpAddr::from([127, 0, 0, place as u8 + 10]);
    let target = |name: &str, address| Target { place: peer, name: name.into(), address, rates, mtu: 1500 };
    Spec {
        run: RUN,
        place,
        name: format!("p{place}"),
        addresses: vec![address(place)],
        port,
        targets: vec![target(&format!("p{peer}"), address(peer))],
    }
}

fn ask_all(places: &mut [Place], line: &str) -> Tally {
    let reports: Vec<Report> = places.iter_mut().map(|p| p.ask(line)).collect();
    tally::join(&reports)
}

fn until(places: &mut [Place], what: &str, done: impl Fn(&Tally) -> bool) -> Tally {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let tally = ask_all(places, "snapshot");
        if done(&tally) {
            return tally;
        }
        assert!(Instant::now() < deadline, "no {what} in 10 s: {tally:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn all_that_is_sent_is_received_and_measured() {
    let rates = Rates { small: 1000, full: 100, stream: 200_000 };
    let mut places = [Place::start(&spec(1, 2, 17801, rates)), Place::start(&spec(2, 1, 17801, rates))];
    ask_all(&mut places, "warm");
    until(&mut places, "reach", |t| t.unreached().is_empty());
    let before = Instant::now();
    ask_all(&mut places, "start");
    until(&mut places, "1,000 small probes each way", |t| {
        t.paths.iter().filter(|p| p.size == Size::Small).all(|p| p.received >= 1000)
    });
    ask_all(&mut places, "stop");
    let took = before.elapsed().as_secs_f64();
    let tally = until(&mut places, "drained path", |t| {
        t.paths.iter().all(|p| p.lost == 0) && t.streams.iter().all(|s| s.read == s.written)
    });
    let totals = tally.totals();
    assert_eq!((totals.lost, totals.duplicated, totals.reordered, totals.stream_faults), (0, 0, 0, 0), "{tally:#?}");
    assert_eq!(tally.paths.len(), 4);
    for path in &tally.paths {
        assert!(path.rtt.count > 0 && path.rtt.p99_seconds >= path.rtt.p50_seconds, "{path:?}");
        assert!(path.sent as f64 <= took * 1000.0 + 1.0, "faster than its rate: {path:?} in {took} s");
    }
    assert!(tally.streams[0].read > 100_000, "{:?}", tally.streams);
}

#[test]
fn a_packet_of_another_run_is_foreign_and_a_second_copy_is_a_duplicate() {
    let mut place = Place::start(&spec(3, 4, 17802, Rates { small: 0, full: 0, stream: 0 }));
    place.ask("start");
    let socket = UdpSocket::bind("127.0.0.14:0").unwrap();
    let to: SocketAddr = "127.0.0.13:17802".parse().unwrap();
    let send = |run, sequence| {
        let packet = Packet { kind: Kind::Probe, size: 0, run, from: 4, to: 3, sequence, sent: 0 };
        let mut datagram = [0; 64];
        packet.encode(&mut datagram);
        socket.send_to(&datagram, to).unwrap();
    };
    for sequence in [0, 1, 3, 2, 2, 5] {
        send(RUN, sequence);
    }
    send(RUN + 1, 4);
    let deadline = Instant::now() + Duration::from_secs(5);
    let report = loop {
        let report = place.ask("snapshot");
        if report.host.foreign == 1 {
            break report;
        }
        assert!(Instant::now() < deadline, "{report:?}");
    };
    let flow = &report.incoming[0];
    assert_eq!((flow.received, flow.missing, flow.duplicated, flow.reordered), (5, 1, 1, 1));
}

#[test]
fn an_address_that_is_not_here_is_named() {
    let mut far = spec(1, 2, 17803, Rates::default());
    far.addresses = vec!["203.0.113.7".parse().unwrap()];
    let line = serde_json::to_string(&far).unwrap();
    let error = prober::run(line.as_bytes(), Vec::new()).unwrap_err().to_string();
    assert!(error.contains("203.0.113.7:17803") && error.contains("is it configured here"), "{error}");
    let error = prober::run(&b"{}"[..], Vec::new()).unwrap_err().to_string();
    assert!(error.contains("first input line must be its spec"), "{error}");
}
