//! The loop around the core: it reads the clock, moves bytes between the core and the edges, and decides nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::config::Config;
use model::kernel::Device;
use model::{Moment, Owner};
use status::{Answer, Call, HttpServer, MonitorEvent, Operation, Request, UnixServer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc};

use crate::core::Core;
use crate::event::{Effect, Event, Identity, Level, Notice};
use crate::record::{Head, Recorder};
use crate::settings::{Keys, Settings, machine_uid, node_name};

/// How often files are looked at for changes.
const LOOK_AT_FILES: Duration = Duration::from_secs(1);
/// How long the end of the process waits for peers to take their Cease.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Lines kept for a slow reader of the monitor.
const MONITOR_LINES: usize = 1024;

/// Runs the daemon until it is told to end (SIGTERM, SIGINT), leaving everything in the kernel as it is.
///
/// # Errors
/// In words, with the cure: settings that do not hold together, no rights, a store that cannot be made, a second daemon.
pub async fn run(settings: Settings, version: String, recording: Option<PathBuf>) -> Result<(), String> {
    let loaded = settings.load()?;
    for warning in &loaded.warnings {
        tracing::warn!(topic = "config", "{warning}");
    }
    let config = loaded.config;
    let mut keys = Keys::default();
    for warning in keys.read(&config)? {
        tracing::warn!(topic = "config", "{warning}");
    }
    let identity = identity(&config, version)?;
    tracing::info!(node = %identity.node, version = %identity.version, mode = %config.mode, "starting");

    let (sender, mut events) = mpsc::unbounded_channel::<Event>();
    let overlay = Device::new(Owner::VXLAN_DEVICE).ok_or("the overlay's device name")?;
    let to = sender.clone();
    let worker = kernel::Worker::spawn(kernel::Options { overlay }, move |event| {
        // The receiver goes only when the daemon ends.
        let _ = to.send(Event::Kernel(event));
    })
    .map_err(|error| error.to_string())?;
    let to = sender.clone();
    let store = cluster::spawn(&config.store, identity.node.clone(), identity.uid.clone(), move |event| {
        let _ = to.send(Event::Store(event));
    })
    .map_err(|error| error.to_string())?;
    let to = sender.clone();
    let mut peering = peering::Peering::new(move |event| {
        let _ = to.send(Event::Peering(event));
    });
    peering.keys(keys.keys());

    let (call_sender, mut calls) = mpsc::channel::<Call>(64);
    let (monitor, _) = broadcast::channel::<MonitorEvent>(MONITOR_LINES);
    let mut servers = Servers::start(&config, &call_sender, &monitor)?;

    let mut hangup = signal(SignalKind::hangup()).map_err(|error| error.to_string())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;

    let clock = Clock { began: Instant::now() };
    let head = Head { form: Head::FORM, at: clock.now(), identity, config: config.clone(), keys: keys.generations() };
    let recorder = recording.as_deref().map(|path| begin_recording(path, &head)).transpose()?;
    let mut files = Files { prints: settings.fingerprint(&config), settings, origins: loaded.origins };
    let to = sender.clone();
    let bfd = BfdThread {
        seed: head.identity.seed,
        events: Box::new(move || {
            let to = to.clone();
            Box::new(move |event| drop(to.send(Event::Bfd(event))))
        }),
        thread: None,
    };
    let mut body = Body {
        core: head.core(),
        recorder,
        config,
        worker,
        store,
        peering,
        bfd,
        monitor,
        calls: Vec::new(),
        number: 0,
        closing: BTreeSet::new(),
    };
    let mut look = tokio::time::interval(LOOK_AT_FILES);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

    let mut next = vec![Event::Underlay(default_route_sources())];
    loop {
        for event in next.drain(..) {
            let links = matches!(event, Event::Kernel(kernel::Event::Links(_) | kernel::Event::ReadBack { .. }));
            body.tell(clock.now(), event)?;
            if links {
                body.tell(clock.now(), Event::Underlay(default_route_sources()))?;
            }
        }
        // A flood of events must not starve timers: what is due is done between any two of them.
        let mut due = body.core.poll_timeout();
        if due.is_some_and(|at| at <= clock.now()) {
            body.tell(clock.now(), Event::Timeout)?;
            due = body.core.poll_timeout();
        }
        let wait = due.map(|at| at.since(clock.now()));
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => drop(files.reload(&mut body, &mut keys, &clock)?),
            call = calls.recv() => if let Some(call) = call {
                if let Request::Operate(Operation::Reload) = &call.request {
                    let said = files.reload(&mut body, &mut keys, &clock)?;
                    answer(call, match said { Ok(words) => Answer::Said(words), Err(why) => Answer::Refused(why) });
                } else {
                    body.serve(clock.now(), call, &files)?;
                }
            },
            event = events.recv() => next.extend(event),
            _ = look.tick() => {
                if files.changed(&body.config) {
                    drop(files.reload(&mut body, &mut keys, &clock)?);
                    servers.follow(&body.config, &call_sender);
                }
            }
            () = sleep(wait) => next.push(Event::Timeout),
        }
    }
    servers.stop();
    body.tell(clock.now(), Event::Terminate)?;
    body.last_words(&mut events).await;
    Ok(())
}

async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) if wait.is_zero() => tokio::task::yield_now().await,
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// The daemon's monotonic clock.
struct Clock {
    began: Instant,
}

impl Clock {
    fn now(&self) -> Moment {
        Moment::new(self.began.elapsed())
    }
}

/// The core and the edges that its effects go to.
struct Body {
    core: Core,
    recorder: Option<Recorder<File>>,
    config: Config,
    worker: kernel::Worker,
    store: cluster::Store,
    peering: peering::Peering,
    bfd: BfdThread,
    monitor: broadcast::Sender<MonitorEvent>,
    /// Operators who wait for an answer.
    calls: Vec<(u64, Call)>,
    number: u64,
    /// Connections that have something to write before they close.
    closing: BTreeSet<u64>,
}

impl Body {
    fn tell(&mut self, now: Moment, event: Event) -> Result<(), String> {
        if let Event::Peering(peering::Event::Closed { conn, .. }) = &event {
            self.closing.remove(conn);
        }
        let begin = Instant::now();
        let Some(recorder) = &mut self.recorder else {
            let effects = self.core.begin(now, event);
            let took = begin.elapsed();
            self.perform(now, effects)?;
            let begin = Instant::now();
            let effects = self.core.finish(now);
            self.core.note_event(took + begin.elapsed());
            return self.perform(now, effects);
        };
        // A recording has all effects of an event before any of them is done.
        let (effects, written) = recorder.handle(&mut self.core, now, event);
        if let Err(error) = written {
            tracing::warn!("the recording ends here, the daemon goes on: {error}");
            self.recorder = None;
        }
        self.core.note_event(begin.elapsed());
        self.perform(now, effects)
    }

    fn perform(&mut self, now: Moment, effects: Vec<Effect>) -> Result<(), String> {
        for effect in effects {
            match effect {
                Effect::Store(command) => self.store.send(command),
                Effect::Kernel(command) => self.worker.send(command),
                Effect::Peering(command) => {
                    if let peering::Command::Close { conn, flush: true } = &command {
                        self.closing.insert(*conn);
                    }
                    self.peering.handle(command);
                }
                Effect::Bfd(command) => {
                    if let Err(why) = self.bfd.handle(command) {
                        self.tell(now, Event::Bfd(peering::BfdEvent::Trouble(Some(why))))?;
                    }
                }
                Effect::InstallPods { pod_cidrs, mtu } => {
                    let result = cni::install(&self.config.cni, &pod_cidrs, mtu).map_err(|error| error.to_string());
                    self.tell(now, Event::PodsInstalled(result))?;
                }
                Effect::Answer(number, said) => {
                    if let Some(at) = self.calls.iter().position(|(n, _)| *n == number) {
                        let (_, call) = self.calls.swap_remove(at);
                        answer(
                            call,
                            match said {
                                Ok(words) => Answer::Said(words),
                                Err(why) => Answer::Refused(why),
                            },
                        );
                    }
                }
                Effect::Say(notice) => self.say(notice),
                Effect::Exit(why) => return Err(why),
            }
        }
        Ok(())
    }

    /// Waits until the peers that were told of the end have it, a second at most.
    async fn last_words(&mut self, events: &mut mpsc::UnboundedReceiver<Event>) {
        let closed = async {
            while !self.closing.is_empty() {
                match events.recv().await {
                    Some(Event::Peering(peering::Event::Closed { conn, .. })) => drop(self.closing.remove(&conn)),
                    Some(_) => {}
                    None => return,
                }
            }
        };
        if tokio::time::timeout(LAST_WORDS, closed).await.is_err() {
            tracing::warn!(topic = "bgp", "{} peers have not taken their Cease in time", self.closing.len());
        }
    }

    fn say(&self, notice: Notice) {
        let (topic, text) = (notice.topic.word(), notice.text);
        let level = match notice.level {
            Level::Warn => status::Level::Warn,
            Level::Info => status::Level::Info,
            Level::Debug => {
                tracing::debug!(topic, "{text}");
                return;
            }
        };
        match level {
            status::Level::Info => tracing::info!(topic, "{text}"),
            _ => tracing::warn!(topic, "{text}"),
        }
        let time = status::doc::rfc3339(jiff::Timestamp::now());
        // An error here means that nobody listens.
        let _ = self.monitor.send(MonitorEvent { time, kind: notice.topic, level, text });
    }

    fn serve(&mut self, now: Moment, call: Call, files: &Files) -> Result<(), String> {
        match &call.request {
            Request::Query(query) => {
                let said = self.core.query(now, jiff::Timestamp::now(), query, &files.origins);
                answer(call, said);
                Ok(())
            }
            Request::Operate(operation) => {
                self.number += 1;
                let (number, operation) = (self.number, operation.clone());
                self.calls.retain(|(_, call)| !call.answer.is_closed());
                self.calls.push((number, call));
                self.tell(now, Event::Operator(number, operation))
            }
        }
    }
}

/// The BFD thread, which is there from the first session on.
struct BfdThread {
    seed: u64,
    /// Makes what the thread tells its events to.
    events: Box<dyn Fn() -> Box<dyn FnMut(peering::BfdEvent) + Send>>,
    thread: Option<peering::Bfd>,
}

impl BfdThread {
    fn handle(&mut self, command: peering::BfdCommand) -> Result<(), String> {
        if self.thread.is_none() && matches!(command, peering::BfdCommand::Set { .. }) {
            let thread = peering::Bfd::spawn(self.seed, (self.events)());
            self.thread = Some(thread.map_err(|error| format!("BFD cannot be started: {error}"))?);
        }
        if let Some(thread) = &self.thread {
            thread.handle(command);
        }
        Ok(())
    }
}

/// The asker may have gone; then nobody wants the answer.
fn answer(call: Call, said: Answer) {
    let _ = call.answer.send(said);
}

/// The settings' files as they were read last.
struct Files {
    settings: Settings,
    prints: Vec<(std::path::PathBuf, Option<(std::time::SystemTime, u64)>)>,
    origins: std::collections::BTreeMap<String, String>,
}

impl Files {
    fn changed(&self, config: &Config) -> bool {
        self.settings.fingerprint(config) != self.prints
    }

    /// Reads everything anew; what does not hold together changes nothing.
    fn reload(&mut self, body: &mut Body, keys: &mut Keys, clock: &Clock) -> Result<Result<String, String>, String> {
        let read = self.settings.load().and_then(|loaded| {
            let warnings = keys.read(&loaded.config)?;
            Ok((loaded, warnings))
        });
        let said = match read {
            Err(why) => {
                self.prints = self.settings.fingerprint(&body.config);
                body.tell(clock.now(), Event::ConfigRefused(why.clone()))?;
                Err(why)
            }
            Ok((loaded, warnings)) => {
                for warning in loaded.warnings.iter().chain(&warnings) {
                    tracing::warn!(topic = "config", "{warning}");
                }
                self.prints = self.settings.fingerprint(&loaded.config);
                self.origins = loaded.origins;
                body.config = loaded.config.clone();
                // Before the sessions that need them.
                body.peering.keys(keys.keys());
                let event = Event::Config { config: Box::new(loaded.config), keys: keys.generations() };
                body.tell(clock.now(), event)?;
                Ok("the configuration was read anew".to_owned())
            }
        };
        Ok(said)
    }
}

/// Sockets of the command line and of HTTP.
struct Servers {
    http: Option<(SocketAddr, tokio::task::JoinHandle<()>)>,
    unix: tokio::task::JoinHandle<()>,
}

impl Servers {
    fn start(
        config: &Config,
        calls: &mpsc::Sender<Call>,
        monitor: &broadcast::Sender<MonitorEvent>,
    ) -> Result<Servers, String> {
        let server = UnixServer::bind(&config.api.socket).map_err(|error| error.to_string())?;
        let mut servers = Servers { http: None, unix: tokio::spawn(server.run(calls.clone(), monitor.clone())) };
        servers.serve_http(config, calls)?;
        Ok(servers)
    }

    fn serve_http(&mut self, config: &Config, calls: &mpsc::Sender<Call>) -> Result<(), String> {
        if let Some(address) = config.metrics.listen {
            let server = HttpServer::bind(address).map_err(|error| error.to_string())?;
            self.http = Some((address, tokio::spawn(server.run(calls.clone()))));
        }
        Ok(())
    }

    /// Moves HTTP to another address when the configuration says so.
    fn follow(&mut self, config: &Config, calls: &mpsc::Sender<Call>) {
        if self.http.as_ref().map(|(address, _)| *address) == config.metrics.listen {
            return;
        }
        if let Some((_, task)) = self.http.take() {
            task.abort();
        }
        if let Err(why) = self.serve_http(config, calls) {
            tracing::warn!(topic = "config", "{why}");
        }
    }

    fn stop(self) {
        self.unix.abort();
        if let Some((_, task)) = self.http {
            task.abort();
        }
    }
}

fn begin_recording(path: &Path, head: &Head) -> Result<Recorder<File>, String> {
    Recorder::create(path, head).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            format!("--record {}: the file exists; name a new one, or move it away", path.display())
        }
        _ => format!("--record {}: {error}", path.display()),
    })
}

fn identity(config: &Config, version: String) -> Result<Identity, String> {
    let node = node_name(config)?;
    let uid = machine_uid();
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seed = node
        .as_str()
        .bytes()
        .fold(clock.as_nanos() as u64, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    Ok(Identity { node, uid, version, seed })
}

/// Source addresses that the kernel would take towards the default routes. Nothing is sent: connecting a UDP socket only
/// looks the route up. The addresses are of the documentation ranges (RFC 5737, RFC 3849).
fn default_route_sources() -> Vec<IpAddr> {
    let probes: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    let source = |(any, far): &(IpAddr, IpAddr)| {
        let socket = UdpSocket::bind((*any, 0)).ok()?;
        socket.connect((*far, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    probes.iter().filter_map(source).filter(|address| !address.is_loopback() && !address.is_unspecified()).collect()
}
