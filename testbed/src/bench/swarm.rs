//! Two hundred peers of the own AS, one route each: dialed by the program from its start, connecting to it all at once,
//! and at rest.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use model::{Asn, Family, Prefix};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use wire::{AsPath, Attributes, Capability, Message, Negotiated, Open};

use super::router::{Kind, OWN_ASN, Router, SWARM_ROUTER, biplaned_value};
use super::routes::Folder;
use super::{Programs, mebibytes, ratio, seconds};
use crate::lab::Interrupt;

const LIMIT: Duration = Duration::from_secs(60);
const HOLD: u16 = 90;
/// How long the processor time at rest is counted.
const REST: Duration = Duration::from_secs(30);

/// How long it took until all routes were there, or how many were when it was given up.
type Reached = std::result::Result<Duration, usize>;

/// What one program showed.
struct Shown {
    dialing: Reached,
    peak: u64,
    taking: Reached,
    /// Share of a processor; `None` where not all sessions came up.
    idle: Option<f64>,
}

/// A row per program.
pub(crate) fn compare(programs: &Programs, peers: u16, interrupt: &Interrupt) -> Result<Vec<Vec<String>>> {
    let title = format!("{peers} IBGP PEERS");
    let header = [title.as_str(), "START TO ALL ROUTES", "PEAK MEMORY", "ALL CONNECT AT ONCE", "IDLE"];
    let mut rows = vec![header.map(String::from).to_vec()];
    let mut all = Vec::new();
    for (kind, binary) in programs.all() {
        let shown = once(kind, binary, peers, interrupt).with_context(|| kind.title())?;
        let reached = |reached: &Reached| match *reached {
            Ok(time) => seconds(time),
            Err(count) => format!("{count} after {} s", LIMIT.as_secs()),
        };
        rows.push(vec![
            kind.title().into(),
            reached(&shown.dialing),
            mebibytes(shown.peak),
            reached(&shown.taking),
            shown.idle.map_or("-".into(), |share| format!("{:.2} %", share * 100.0)),
        ]);
        all.push((kind, shown));
    }
    let of = |wanted: Kind| all.iter().find(|(kind, _)| *kind == wanted).map(|(_, shown)| shown);
    if let (Some(ours), Some(theirs)) = (of(Kind::Biplaned), of(Kind::Bird)) {
        let times = |ours: &Reached, theirs: &Reached| match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => ratio(ours.as_secs_f64(), theirs.as_secs_f64()),
            _ => "-".into(),
        };
        rows.push(vec![
            "biplaned / BIRD 2".into(),
            times(&ours.dialing, &theirs.dialing),
            ratio(ours.peak as f64, theirs.peak as f64),
            times(&ours.taking, &theirs.taking),
            ours.idle.zip(theirs.idle).map_or("-".into(), |(ours, theirs)| ratio(ours, theirs)),
        ]);
    }
    Ok(rows)
}

fn once(kind: Kind, binary: &Path, peers: u16, interrupt: &Interrupt) -> Result<Shown> {
    // The peers listen before the program starts, and it dials.
    let folder = Folder::new()?;
    let stage = Router::stage(kind, &folder.0)?;
    let swarm = Swarm::listen(&stage.far, peers)?;
    let mut router = stage.start(binary, &config(kind, &folder.0, peers, false))?;
    let started = router.program.started();
    let dialing = all_routes(&mut router, peers, started, interrupt)?;
    let peak = router.peak()?;
    let before = router.cpu_exact()?;
    let began = Instant::now();
    std::thread::sleep(REST);
    let idle = router.cpu_exact()?.saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64();
    let idle = (swarm.up() == usize::from(peers)).then_some(idle);
    drop(router);
    drop(swarm);
    // The program waits, and all peers connect at one moment.
    let folder = Folder::new()?;
    let stage = Router::stage(kind, &folder.0)?;
    let mut router = stage.start(binary, &config(kind, &folder.0, peers, true))?;
    router.settled_size()?;
    let at = Instant::now();
    let swarm = Swarm::connect(&router.far, peers)?;
    let taking = all_routes(&mut router, peers, at, interrupt)?;
    drop(swarm);
    Ok(Shown { dialing, peak, taking, idle })
}

/// How long after `since` the kernel has a route of each peer.
fn all_routes(router: &mut Router, peers: u16, since: Instant, interrupt: &Interrupt) -> Result<Reached> {
    loop {
        let routes = router.program.routes()?;
        let at = since.elapsed();
        let count = routes.iter().filter(|route| route.network >> 24 == 16).count();
        if count >= usize::from(peers) {
            return Ok(Ok(at));
        }
        if at > LIMIT {
            return Ok(Err(count));
        }
        if interrupt.is_raised() || !router.program.is_alive() {
            bail!("{count} of {peers} routes after {:.0} s: {}", at.as_secs_f64(), router.last_words());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Address of a peer.
fn peer(number: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 254, 1, 0)) + u32::from(number) + 1)
}

fn config(kind: Kind, folder: &Path, peers: u16, passive: bool) -> String {
    let all = (0..peers).map(peer);
    match kind {
        Kind::Biplaned => {
            let own = json!({"cidr": "10.244.0.0/16", "nodePrefix": 24});
            let pool = json!({"cidr": "16.0.0.0/8", "nodePrefix": 24});
            let mut config = biplaned_value("bgp", folder, &json!([own, pool]));
            config["node"]["address"] = json!(SWARM_ROUTER.to_string());
            let peers = all.map(|address| {
                json!({"address": address.to_string(), "asn": OWN_ASN, "localAddress": SWARM_ROUTER.to_string(), "passive": passive})
            });
            config["bgp"]["peers"] = peers.collect();
            config["bgp"]["localAsn"] = json!(OWN_ASN);
            config.to_string()
        }
        Kind::Bird => {
            let mut text = format!(
                "router id {SWARM_ROUTER};\nprotocol device {{ }}\nprotocol direct {{ ipv4; }}\n\
                 protocol kernel {{ ipv4 {{ import none; export all; }}; }}\n\
                 protocol static own {{ ipv4; route 10.244.1.0/24 unreachable; }}\n"
            );
            for (number, address) in all.enumerate() {
                let passive = if passive { "passive;" } else { "" };
                text += &format!(
                    "protocol bgp p{number} {{ local {SWARM_ROUTER} as {OWN_ASN}; neighbor {address} as {OWN_ASN}; {passive} \
                     ipv4 {{ import all; export where proto = \"own\"; }}; }}\n"
                );
            }
            text
        }
        Kind::Frr => {
            let mut text =
                format!("router bgp {OWN_ASN}\n bgp router-id {SWARM_ROUTER}\n no bgp network import-check\n");
            for address in all {
                text += &format!(" neighbor {address} remote-as {OWN_ASN}\n");
                if passive {
                    text += &format!(" neighbor {address} passive\n");
                }
            }
            text + " address-family ipv4 unicast\n  network 10.244.1.0/24\n exit-address-family\n"
        }
    }
}

/// All peers, on one thread in the far namespace.
struct Swarm {
    up: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Swarm {
    fn listen(far: &super::space::Space, peers: u16) -> Result<Swarm> {
        Swarm::run(far, peers, true)
    }

    fn connect(far: &super::space::Space, peers: u16) -> Result<Swarm> {
        Swarm::run(far, peers, false)
    }

    fn up(&self) -> usize {
        self.up.load(Ordering::Acquire)
    }

    fn run(far: &super::space::Space, peers: u16, listening: bool) -> Result<Swarm> {
        use std::os::fd::AsFd;
        let space = fs::File::open(format!("/proc/{}/ns/net", far.pid()))?;
        let (up, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&up), Arc::clone(&stop));
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
            let entered = move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let (Ok(()), Ok(runtime)) = (entered, runtime) else { return };
            runtime.block_on(async move {
                let mut tasks = BTreeMap::new();
                for number in 0..peers {
                    let address = SocketAddr::new(peer(number).into(), if listening { 179 } else { 0 });
                    let count = Arc::clone(&count);
                    if listening {
                        let Ok(listener) = TcpListener::bind(address).await else { return };
                        tasks.insert(number, tokio::spawn(listen(listener, number, count)));
                    } else {
                        tasks.insert(number, tokio::spawn(dial(address, number, count)));
                    }
                }
                let _ = ready.send(());
                while !end.load(Ordering::Acquire) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        });
        is_ready.recv_timeout(Duration::from_secs(10)).context("the peers do not come up")?;
        Ok(Swarm { up, stop, thread: Some(thread) })
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn listen(listener: TcpListener, number: u16, up: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        // The program may open a second one while the first stands; it closes one of them.
        tokio::spawn(session(stream, number, Arc::clone(&up)));
    }
}

async fn dial(from: SocketAddr, number: u16, up: Arc<AtomicUsize>) {
    let to = SocketAddr::new(IpAddr::V4(SWARM_ROUTER), 179);
    loop {
        let socket = TcpSocket::new_v4().and_then(|socket| socket.bind(from).map(|()| socket));
        let Ok(socket) = socket else { return };
        if let Ok(stream) = socket.connect(to).await {
            session(stream, number, Arc::clone(&up)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn session(mut stream: TcpStream, number: u16, up: Arc<AtomicUsize>) {
    let mut is_up = false;
    let _ = talk(&mut stream, number, &up, &mut is_up).await;
    if is_up {
        up.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn talk(stream: &mut TcpStream, number: u16, up: &AtomicUsize, is_up: &mut bool) -> Result<()> {
    let agreed = Negotiated { four_octet_as: true, ibgp: true, families: [Family::V4].into(), ..Negotiated::default() };
    let address = peer(number);
    let capabilities =
        vec![Capability::MultiProtocol(Family::V4), Capability::RouteRefresh, Capability::FourOctetAs(OWN_ASN)];
    let open = Open { asn: Asn(OWN_ASN), hold_time: HOLD, router_id: address, capabilities };
    stream.set_nodelay(true)?;
    stream.write_all(&wire::encode(&Message::Open(open), &agreed)?).await?;
    let keepalive = wire::encode(&Message::Keepalive, &agreed)?;
    let mut ticks = tokio::time::interval(Duration::from_secs(u64::from(HOLD) / 3));
    ticks.tick().await;
    let (mut inbox, mut buffer) = (Vec::new(), vec![0; 4096]);
    loop {
        let length = tokio::select! {
            read = stream.read(&mut buffer) => read?,
            _ = ticks.tick() => {
                stream.write_all(&keepalive).await?;
                continue;
            }
        };
        if length == 0 {
            return Ok(());
        }
        inbox.extend_from_slice(&buffer[..length]);
        while inbox.len() >= 19 {
            let length = usize::from(u16::from_be_bytes([inbox[16], inbox[17]])).max(19);
            if inbox.len() < length {
                break;
            }
            let kind = inbox[18];
            inbox.drain(..length);
            match kind {
                1 => stream.write_all(&keepalive).await?,
                3 => return Ok(()),
                4 if !*is_up => {
                    *is_up = true;
                    up.fetch_add(1, Ordering::AcqRel);
                    let attributes =
                        Attributes { as_path: AsPath::default(), local_pref: Some(100), ..Attributes::default() };
                    let network = Ipv4Addr::from(0x1000_0000 | u32::from(number) << 8);
                    let prefix = Prefix::new(network.into(), 24).context("a prefix")?;
                    let mut said = wire::encode_announce(&[(prefix, 0)], address.into(), None, &attributes, &agreed)?;
                    said.push(wire::encode_end_of_rib(Family::V4, &agreed)?);
                    stream.write_all(&said.concat()).await?;
                }
                _ => {}
            }
        }
    }
}
