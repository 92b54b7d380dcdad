//! UDP flows of one place: one socket per family, a thread that receives on each, one thread that sends all flows.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{Family, Moment};
use rustix::net::sockopt;

use super::{Error, Shared, Stage, Times, lock, now, own_address, spawn};
use crate::counter::Counter;
use crate::flow::{Size, Spec, Target};
use crate::packet::{Kind, Packet};
use crate::report::{Incoming, Outgoing};
use crate::spread::Spread;

/// Room for a second of everything: a receiver that the scheduler forgot must not look like a lossy path.
const BUFFER: usize = 16 << 20;
/// Largest datagram.
const LARGEST: usize = 65_536;
const TICK: Duration = Duration::from_millis(1);
/// Pause between two hellos of a flow.
const HELLO: Duration = Duration::from_millis(100);
/// Every so manieth probe is answered.
const SOUNDING: u64 = 10;
/// Most packets of one flow in one tick: after a long pause of the scheduler the rate is caught up without a burst
/// that no real sender would make.
const BURST: u64 = 16;

pub(super) struct State {
    flows: Vec<Flow>,
    inbound: Mutex<BTreeMap<(u16, Family, Size), Inbound>>,
}

struct Flow {
    target: usize,
    size: Size,
    sent: AtomicU64,
    refused: AtomicU64,
    refusal: Mutex<Option<String>>,
    reached: AtomicBool,
    rtt: Mutex<Spread>,
}

#[derive(Default)]
struct Inbound {
    counter: Counter,
    delay: Spread,
}

impl State {
    pub(super) fn new(spec: &Spec) -> State {
        let flows = spec
            .targets
            .iter()
            .enumerate()
            .flat_map(|(index, target)| Size::BOTH.map(|size| (index, target, size)))
            .filter(|(_, target, size)| target.rates.packets(*size) > 0)
            .map(|(target, _, size)| Flow {
                target,
                size,
                sent: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                refusal: Mutex::default(),
                reached: AtomicBool::new(false),
                rtt: Mutex::default(),
            })
            .collect();
        State { flows, inbound: Mutex::default() }
    }

    pub(super) fn outgoing(&self, spec: &Spec) -> Vec<Outgoing> {
        let report = |flow: &Flow| {
            let target = &spec.targets[flow.target];
            Outgoing {
                to: target.place,
                family: Family::of(&target.address),
                size: flow.size,
                sent: flow.sent.load(Ordering::Acquire),
                refused: flow.refused.load(Ordering::Relaxed),
                refusal: lock(&flow.refusal).clone(),
                reached: flow.reached.load(Ordering::Relaxed),
                rtt: lock(&flow.rtt).summary(),
            }
        };
        self.flows.iter().map(report).collect()
    }

    pub(super) fn incoming(&self, times: Times) -> Vec<Incoming> {
        let end = times.stopped.unwrap_or_else(now);
        let report = |(&(from, family, size), inbound): (&(u16, Family, Size), &Inbound)| {
            let open = inbound.counter.last_arrival().map_or(Duration::ZERO, |last| end.since(last));
            Incoming {
                from,
                family,
                size,
                received: inbound.counter.received(),
                missing: inbound.counter.missing(),
                duplicated: inbound.counter.duplicated(),
                reordered: inbound.counter.reordered(),
                longest_gap_seconds: inbound.counter.longest_gap().length.max(open).as_secs_f64(),
                delay: inbound.delay.summary(),
            }
        };
        lock(&self.inbound).iter().map(report).collect()
    }
}

/// One socket per own address, never fragmenting.
pub(super) fn open(spec: &Spec) -> Result<Vec<UdpSocket>, Error> {
    let open_one = |ip: &IpAddr| {
        let address = SocketAddr::new(*ip, spec.port);
        bind(address).map_err(|source| Error::Bind { address, source })
    };
    spec.addresses.iter().map(open_one).collect()
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    // Root may exceed the system's bound; others get what the bound allows.
    if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, BUFFER)?;
    }
    if sockopt::set_socket_send_buffer_size_force(&socket, BUFFER / 4).is_err() {
        sockopt::set_socket_send_buffer_size(&socket, BUFFER / 4)?;
    }
    if address.is_ipv4() {
        sockopt::set_ip_mtu_discover(&socket, sockopt::Ipv4PathMtuDiscovery::DO)?;
    } else {
        sockopt::set_ipv6_mtu_discover(&socket, sockopt::Ipv6PathMtuDiscovery::DO)?;
    }
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(socket)
}

/// Starts the receiving threads and the sending one.
pub(super) fn start(shared: &Arc<Shared>, sockets: Vec<UdpSocket>) -> io::Result<()> {
    let mut senders = BTreeMap::new();
    for socket in sockets {
        let family = Family::of(&socket.local_addr()?.ip());
        senders.insert(family, socket.try_clone()?);
        let shared = Arc::clone(shared);
        spawn("probe-receive", move || receive(&shared, &socket, family))?;
    }
    let shared = Arc::clone(shared);
    spawn("probe-send", move || send(&shared, &senders))
}

fn receive(shared: &Shared, socket: &UdpSocket, family: Family) {
    let mut buffer = vec![0; LARGEST];
    while shared.stage() != Stage::Quit {
        // A timeout only lets the stage be read; other errors (an ICMP answer to an earlier packet) concern a sender.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let arrived = now();
        match Packet::decode(&buffer[..length]) {
            Ok(packet) if packet.run == shared.spec.run && packet.to == shared.spec.place => {
                handle(shared, socket, family, &mut buffer[..length], packet, from, arrived);
            }
            _ => {
                shared.foreign.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn handle(
    shared: &Shared,
    socket: &UdpSocket,
    family: Family,
    datagram: &mut [u8],
    packet: Packet,
    from: SocketAddr,
    arrived: Moment,
) {
    let Some(size) = Size::of_class(packet.size) else {
        return;
    };
    let age = arrived.since(Moment::new(Duration::from_nanos(packet.sent)));
    let mut answer = |kind| {
        let (from_place, to_place) = (packet.to, packet.from);
        Packet { kind, from: from_place, to: to_place, ..packet }.encode(datagram);
        // A lost answer costs one round-trip sample, nothing else.
        let _ = socket.send_to(datagram, from);
    };
    match packet.kind {
        Kind::Hello => answer(Kind::Welcome),
        Kind::Probe | Kind::Sounding => {
            if packet.kind == Kind::Sounding {
                answer(Kind::Echo);
            }
            let mut inbound = lock(&shared.udp.inbound);
            let inbound = inbound.entry((packet.from, family, size)).or_default();
            inbound.counter.handle(packet.sequence, arrived);
            inbound.delay.handle(age);
        }
        Kind::Welcome | Kind::Echo => {
            let flow = shared.udp.flows.iter().find(|flow| {
                let target = &shared.spec.targets[flow.target];
                target.place == packet.from && Family::of(&target.address) == family && flow.size == size
            });
            let Some(flow) = flow else { return };
            if packet.kind == Kind::Welcome {
                flow.reached.store(true, Ordering::Relaxed);
            } else {
                lock(&flow.rtt).handle(age);
            }
        }
    }
}

fn send(shared: &Shared, sockets: &BTreeMap<Family, UdpSocket>) {
    let mut buffer = vec![0; LARGEST];
    let mut next_hello = Moment::ZERO;
    let mut wake = now();
    loop {
        match shared.stage() {
            Stage::Quit => return,
            Stage::Warming if now() >= next_hello => {
                next_hello = now() + HELLO;
                for flow in &shared.udp.flows {
                    if !flow.reached.load(Ordering::Relaxed) {
                        send_one(shared, sockets, flow, Kind::Hello, 0, &mut buffer);
                    }
                }
            }
            Stage::Sending => send_due(shared, sockets, &mut buffer),
            _ => {}
        }
        wake = (wake + TICK).max(now());
        std::thread::sleep(wake.since(now()).max(TICK / 4));
    }
}

fn send_due(shared: &Shared, sockets: &BTreeMap<Family, UdpSocket>, buffer: &mut [u8]) {
    let Some(started) = shared.times().started else { return };
    let elapsed = now().since(started).as_secs_f64();
    for flow in &shared.udp.flows {
        let rate = shared.spec.targets[flow.target].rates.packets(flow.size);
        let due = (elapsed * f64::from(rate)) as u64;
        let sent = flow.sent.load(Ordering::Relaxed);
        for sequence in sent..due.min(sent + BURST) {
            let kind = if sequence.is_multiple_of(SOUNDING) { Kind::Sounding } else { Kind::Probe };
            // Before the packet leaves, so that no reader ever sees more received than sent.
            flow.sent.store(sequence + 1, Ordering::Release);
            send_one(shared, sockets, flow, kind, sequence, buffer);
        }
    }
}

fn send_one(
    shared: &Shared,
    sockets: &BTreeMap<Family, UdpSocket>,
    flow: &Flow,
    kind: Kind,
    sequence: u64,
    buffer: &mut [u8],
) {
    let Target { place, address, mtu, .. } = &shared.spec.targets[flow.target];
    let refuse = |words: String| {
        if kind != Kind::Hello {
            flow.refused.fetch_add(1, Ordering::Relaxed);
        }
        *lock(&flow.refusal) = Some(words);
    };
    let socket = own_address(&shared.spec, address).and_then(|own| sockets.get(&Family::of(&own)));
    let Some(socket) = socket else {
        return refuse(format!("{} has no {} address", shared.spec.name, Family::of(address)));
    };
    let length = flow.size.payload(address, *mtu);
    let Some(datagram) = buffer.get_mut(..length) else {
        return refuse(format!("MTU {mtu} is too large"));
    };
    let sent = u64::try_from(now().since_start().as_nanos()).unwrap_or(u64::MAX);
    let packet = Packet {
        kind,
        size: flow.size.class(),
        run: shared.spec.run,
        from: shared.spec.place,
        to: *place,
        sequence,
        sent,
    };
    packet.encode(datagram);
    if let Err(error) = socket.send_to(datagram, SocketAddr::new(*address, shared.spec.port)) {
        refuse(error.to_string());
    }
}
