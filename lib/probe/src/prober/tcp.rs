//! TCP streams of one place: one per pair of places and family, both directions full of checked octets.
//!
//! The place with the smaller number connects, and says who it is in a greeting of 8 octets.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::{Family, Moment};
use rustix::net::{AddressFamily, SocketType, bind, connect, listen as listen_on, socket, sockopt};

use super::{Error, Shared, Stage, lock, now, own_address, spawn};
use crate::flow::{Spec, Target};
use crate::report;
use crate::stream::{Pattern, Reader};

/// Pause between two writes.
const BEAT: Duration = Duration::from_millis(50);
const GREETING: usize = 8;
const BACKLOG: i32 = 128;

#[derive(Default)]
pub(super) struct State {
    ends: Mutex<BTreeMap<(u16, Family), Arc<End>>>,
}

/// One end of one stream, over all connections that it takes to warm up.
struct End {
    reader: Mutex<Reader>,
    written: AtomicU64,
    life: Mutex<Life>,
}

#[derive(Clone, Debug, Default)]
struct Life {
    connected: bool,
    resets: u64,
    reset: Option<String>,
}

impl State {
    pub(super) fn watch_from(&self, now: Moment) {
        for end in lock(&self.ends).values() {
            lock(&end.reader).watch_from(now);
        }
    }

    pub(super) fn end_watch(&self, now: Moment) {
        for end in lock(&self.ends).values() {
            lock(&end.reader).end_watch(now);
        }
    }

    /// Every stream that the spec asks for, up or not.
    pub(super) fn streams(&self, spec: &Spec) -> Vec<report::Stream> {
        let ends = lock(&self.ends);
        let wanted = spec.targets.iter().filter(|t| t.rates.stream > 0);
        wanted
            .map(|target| {
                let family = Family::of(&target.address);
                let end = ends.get(&(target.place, family));
                let (read, altered) = end.map_or((0, 0), |e| lock(&e.reader).octets());
                let (stalls, longest) = end.map_or((0, Duration::ZERO), |e| lock(&e.reader).silences());
                let life = end.map_or_else(Life::default, |e| lock(&e.life).clone());
                report::Stream {
                    peer: target.place,
                    family,
                    connected: life.connected,
                    written: end.map_or(0, |e| e.written.load(Ordering::Acquire)),
                    read,
                    altered,
                    stalls,
                    longest_gap_seconds: longest.as_secs_f64(),
                    resets: life.resets,
                    reset: life.reset,
                }
            })
            .collect()
    }

    /// A fresh end: what an earlier connection of the warm-up did is forgotten.
    fn begin(&self, spec: &Spec, peer: u16, family: Family) -> Arc<End> {
        let mut ends = lock(&self.ends);
        let before = ends.get(&(peer, family)).map(|end| lock(&end.life).clone()).unwrap_or_default();
        let end = Arc::new(End {
            reader: Mutex::new(Reader::new(Pattern::new(spec.run, peer, spec.place))),
            written: AtomicU64::new(0),
            life: Mutex::new(Life { connected: true, ..before }),
        });
        ends.insert((peer, family), Arc::clone(&end));
        end
    }
}

/// One listener per own address.
pub(super) fn listen(spec: &Spec) -> Result<Vec<TcpListener>, Error> {
    let listen_one = |ip: &IpAddr| {
        let address = SocketAddr::new(*ip, spec.port);
        open_listener(address).map_err(|source| Error::Bind { address, source })
    };
    spec.addresses.iter().map(listen_one).collect()
}

fn open_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let fd = socket(family_of(&address), SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    bind(&fd, &address)?;
    listen_on(&fd, BACKLOG)?;
    Ok(TcpListener::from(fd))
}

/// Starts a thread per listener and one per stream that this place opens.
pub(super) fn start(shared: &Arc<Shared>, listeners: Vec<TcpListener>) -> io::Result<()> {
    for listener in listeners {
        // Polled, so that the thread sees the stage change.
        listener.set_nonblocking(true)?;
        let shared = Arc::clone(shared);
        spawn("probe-accept", move || accept(&shared, &listener))?;
    }
    for (index, target) in shared.spec.targets.iter().enumerate() {
        if target.rates.stream > 0 && shared.spec.place < target.place {
            let shared = Arc::clone(shared);
            spawn("probe-connect", move || keep_connected(&shared, index))?;
        }
    }
    Ok(())
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    while shared.stage() != Stage::Quit {
        match listener.accept() {
            Ok((stream, _)) => {
                let shared = Arc::clone(shared);
                // Without a thread the stream never comes up, which its own report shows.
                let _ = spawn("probe-stream", move || serve(&shared, stream));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn serve(shared: &Arc<Shared>, mut stream: TcpStream) {
    let mut greeting = [0; GREETING];
    let open = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(Duration::from_secs(2))))
        .and_then(|()| stream.read_exact(&mut greeting));
    let run = u32::from_be_bytes([greeting[0], greeting[1], greeting[2], greeting[3]]);
    let place = u16::from_be_bytes([greeting[4], greeting[5]]);
    let Ok(peer) = stream.peer_addr() else { return };
    let target = shared.spec.targets.iter().find(|t| t.place == place && t.address.is_ipv4() == peer.is_ipv4());
    match target {
        Some(target) if open.is_ok() && run == shared.spec.run => {
            let end = shared.tcp.begin(&shared.spec, place, Family::of(&target.address));
            // The connecting end counts its own breaks and comes again.
            let _ = carry(shared, stream, &end, target);
        }
        _ => {
            shared.foreign.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Comes again while the prober warms up; once counting has begun, a broken stream stays broken and is reported.
fn keep_connected(shared: &Arc<Shared>, index: usize) {
    let target = &shared.spec.targets[index];
    loop {
        match shared.stage() {
            Stage::Warming => {
                if let Ok(stream) = open_stream(&shared.spec, target) {
                    let end = shared.tcp.begin(&shared.spec, target.place, Family::of(&target.address));
                    let _ = carry(shared, stream, &end, target);
                }
            }
            Stage::Idle => {}
            Stage::Sending | Stage::Stopped | Stage::Quit => return,
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn open_stream(spec: &Spec, target: &Target) -> io::Result<TcpStream> {
    let own = own_address(spec, &target.address).ok_or(ErrorKind::AddrNotAvailable)?;
    let address = SocketAddr::new(target.address, spec.port);
    let fd = socket(family_of(&address), SocketType::STREAM, None)?;
    // A black hole on the way must not hold the thread for the kernel's two minutes.
    sockopt::set_socket_timeout(&fd, sockopt::Timeout::Send, Some(Duration::from_secs(1)))?;
    bind(&fd, &SocketAddr::new(own, 0))?;
    connect(&fd, &address)?;
    let mut stream = TcpStream::from(fd);
    let mut greeting = [0; GREETING];
    greeting[..4].copy_from_slice(&spec.run.to_be_bytes());
    greeting[4..6].copy_from_slice(&spec.place.to_be_bytes());
    stream.write_all(&greeting)?;
    Ok(stream)
}

/// Reads here, writes in a second thread, until the peer has closed.
fn carry(shared: &Arc<Shared>, stream: TcpStream, end: &Arc<End>, target: &Target) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    stream.set_write_timeout(Some(Duration::from_millis(500)))?;
    let writer = stream.try_clone()?;
    let (peer, rate) = (target.place, target.rates.stream);
    let (at, its_end) = (Arc::clone(shared), Arc::clone(end));
    spawn("probe-write", move || {
        if let Err(error) = write(&at, &writer, &its_end, peer, rate) {
            broken(&at, &its_end, &error);
        }
    })?;
    let outcome = read(shared, stream, end);
    if let Err(error) = &outcome {
        broken(shared, end, error);
    }
    outcome
}

fn read(shared: &Shared, mut stream: TcpStream, end: &End) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    while shared.stage() != Stage::Quit {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => lock(&end.reader).handle(&buffer[..length], now()),
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write(shared: &Shared, mut stream: &TcpStream, end: &End, peer: u16, rate: u32) -> io::Result<()> {
    let pattern = Pattern::new(shared.spec.run, shared.spec.place, peer);
    let mut buffer = vec![0; ((u64::from(rate) * BEAT.as_millis() as u64) / 1000).max(1) as usize];
    let mut offset = 0;
    while matches!(shared.stage(), Stage::Warming | Stage::Sending | Stage::Idle) {
        pattern.fill(offset, &mut buffer);
        match stream.write(&buffer) {
            Ok(length) => {
                offset += length as u64;
                end.written.store(offset, Ordering::Release);
            }
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error),
        }
        std::thread::sleep(BEAT);
    }
    // The peer reads what is on the way, then the end.
    stream.shutdown(std::net::Shutdown::Write)
}

fn broken(shared: &Shared, end: &End, error: &io::Error) {
    let mut life = lock(&end.life);
    let first = life.connected;
    life.connected = false;
    life.reset = Some(error.to_string());
    if first && shared.stage() == Stage::Sending {
        life.resets += 1;
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn family_of(address: &SocketAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 }
}
