//! One prober process: the sockets of one place, driven by lines on its input.
//!
//! The first input line is a [`Spec`]. Then each line is one command, answered by one line, a [`Report`]:
//! - `warm`: greet every target until it answers; nothing is counted yet.
//! - `start`: counting begins; every flow sends at its rate from sequence number 0.
//! - `snapshot`: nothing but the answer.
//! - `stop`: the senders stop; receivers go on, so that later snapshots show what was still on the way.
//!
//! The end of the input ends the prober, so it never outlives who started it.

mod host;
mod tcp;
mod udp;

use std::io::{self, BufRead, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use model::Moment;

use crate::flow::Spec;
use crate::report::Report;

/// Why a prober could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The first line is no spec.
    #[error("the prober's first input line must be its spec as JSON: {0}")]
    Spec(#[source] serde_json::Error),
    /// A line after it is no command.
    #[error("unknown prober command {0:?}: expected warm, start, snapshot or stop")]
    Command(String),
    /// An own address could not be bound.
    #[error("cannot use {address} as probe address: {source}; is it configured here, and the port free?")]
    Bind {
        /// Address and port.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Input, output or a thread failed.
    #[error("prober: {0}")]
    Io(#[from] io::Error),
    /// A report could not be written down.
    #[error("prober report: {0}")]
    Report(#[source] serde_json::Error),
}

/// Runs a prober until `input` ends.
pub fn run(mut input: impl BufRead, mut output: impl Write) -> Result<(), Error> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let spec: Spec = serde_json::from_str(&line).map_err(Error::Spec)?;
    let prober = Prober::open(spec)?;
    prober.answer(&mut output)?;
    for command in input.lines() {
        match command?.trim() {
            "warm" => prober.enter(Stage::Warming),
            "start" => prober.enter(Stage::Sending),
            "stop" => prober.enter(Stage::Stopped),
            "snapshot" => {}
            other => return Err(Error::Command(other.to_string())),
        }
        prober.answer(&mut output)?;
    }
    Ok(())
}

/// CLOCK_MONOTONIC: the same for every process of the machine.
pub fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Moment::new(Duration::new(seconds, nanoseconds))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Warming,
    Sending,
    Stopped,
    Quit,
}

/// What all threads of a prober see.
struct Shared {
    spec: Spec,
    stage: AtomicU8,
    times: Mutex<Times>,
    foreign: AtomicU64,
    udp: udp::State,
    tcp: tcp::State,
}

#[derive(Clone, Copy, Debug, Default)]
struct Times {
    started: Option<Moment>,
    stopped: Option<Moment>,
}

impl Shared {
    fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Idle,
            1 => Stage::Warming,
            2 => Stage::Sending,
            3 => Stage::Stopped,
            _ => Stage::Quit,
        }
    }

    fn times(&self) -> Times {
        *lock(&self.times)
    }
}

struct Prober {
    shared: Arc<Shared>,
    host: host::Baseline,
}

impl Prober {
    fn open(spec: Spec) -> Result<Prober, Error> {
        let sockets = udp::open(&spec)?;
        let listeners = tcp::listen(&spec)?;
        let shared = Arc::new(Shared {
            udp: udp::State::new(&spec),
            tcp: tcp::State::default(),
            spec,
            stage: AtomicU8::new(Stage::Idle as u8),
            times: Mutex::default(),
            foreign: AtomicU64::new(0),
        });
        // From here on a failure drops `prober`, which ends the threads already started.
        let prober = Prober { shared, host: host::Baseline::read() };
        udp::start(&prober.shared, sockets)?;
        tcp::start(&prober.shared, listeners)?;
        Ok(prober)
    }

    fn enter(&self, stage: Stage) {
        {
            let mut times = lock(&self.shared.times);
            match stage {
                Stage::Sending => *times = Times { started: Some(now()), stopped: None },
                Stage::Stopped => times.stopped = Some(now()),
                _ => {}
            }
        }
        match stage {
            Stage::Sending => self.shared.tcp.watch_from(now()),
            Stage::Stopped => self.shared.tcp.end_watch(now()),
            _ => {}
        }
        self.shared.stage.store(stage as u8, Ordering::Release);
    }

    fn answer(&self, output: &mut impl Write) -> Result<(), Error> {
        let mut host = self.host.since();
        host.foreign = self.shared.foreign.load(Ordering::Relaxed);
        let report = Report {
            place: self.shared.spec.place,
            name: self.shared.spec.name.clone(),
            outgoing: self.shared.udp.outgoing(&self.shared.spec),
            incoming: self.shared.udp.incoming(self.shared.times()),
            streams: self.shared.tcp.streams(&self.shared.spec),
            host,
        };
        serde_json::to_writer(&mut *output, &report).map_err(Error::Report)?;
        output.write_all(b"\n")?;
        output.flush()?;
        Ok(())
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.shared.stage.store(Stage::Quit as u8, Ordering::Release);
    }
}

/// Own address of the same family as `target`.
fn own_address(spec: &Spec, target: &IpAddr) -> Option<IpAddr> {
    spec.addresses.iter().find(|own| own.is_ipv4() == target.is_ipv4()).copied()
}

/// A panicking thread leaves counters that are still true.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_string()).stack_size(256 * 1024).spawn(work).map(drop)
}
