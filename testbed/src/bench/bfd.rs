//! A link that dies in silence, with BFD at 50 ms times 3: how long packets are lost until the other way is taken.
//!
//! The router under measurement forwards from a sender to an address that two neighbours have, and prefers the first by
//! its shorter AS path. Both neighbours are BIRD, whatever the router is. The first one's link is cut while the sender
//! goes on, a packet a millisecond; what the neighbours hear says how long nothing came through.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::router::{Kind, OWN_ASN};
use super::routes::Folder;
use super::space::{Program, Space};
use super::{Programs, millis, ratio};
use crate::lab::Interrupt;

/// What the neighbours announce, and the address in it that they have.
const PREFIX: &str = "10.245.200.0/24";
const TARGET: Ipv4Addr = Ipv4Addr::new(10, 245, 200, 1);
const PORT: u16 = 17_801;
/// BFD: milliseconds, and times.
const INTERVAL: u32 = 50;
const MULTIPLIER: u32 = 3;
/// Between two packets of the sender.
const PACE: Duration = Duration::from_millis(1);
/// Nothing takes longer.
const LIMIT: Duration = Duration::from_secs(60);
/// So many packets in a row say that a way is in use.
const STEADY: usize = 200;

/// A row per program.
pub(crate) fn compare(programs: &Programs, rounds: u32, interrupt: &Interrupt) -> Result<Vec<Vec<String>>> {
    let header =
        ["SILENT FAILURE, BFD 3 x 50 MS", "ROUNDS", "OUTAGE P50", "LEAST", "MOST", "PACKETS LOST P50", "P50 / BIRD'S"];
    let mut rows = vec![header.map(String::from).to_vec()];
    let mut all = Vec::new();
    for (kind, binary) in programs.all() {
        let mut outages = measure(kind, binary, rounds, interrupt).with_context(|| kind.title())?;
        outages.sort();
        all.push((kind, outages));
    }
    let middle = |outages: &[Outage]| outages.get(outages.len() / 2).copied();
    let bird = all.iter().find(|(kind, _)| *kind == Kind::Bird).and_then(|(_, outages)| middle(outages));
    for (kind, outages) in &all {
        let (Some(least), Some(p50), Some(most)) = (outages.first(), middle(outages), outages.last()) else { continue };
        let relation = bird.map_or("-".into(), |bird| ratio(p50.lasted.as_secs_f64(), bird.lasted.as_secs_f64()));
        let count = outages.len().to_string();
        let times = [p50.lasted, least.lasted, most.lasted].map(millis);
        let mut row = vec![kind.title().to_owned(), count];
        row.extend(times);
        row.extend([p50.lost.to_string(), relation]);
        rows.push(row);
    }
    Ok(rows)
}

/// One cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Outage {
    /// Between the sending of the last packet that came through before and that of the first after.
    lasted: Duration,
    lost: usize,
}

fn measure(kind: Kind, binary: &Path, rounds: u32, interrupt: &Interrupt) -> Result<Vec<Outage>> {
    let net = Net::new(kind, binary)?;
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(Mutex::new(Vec::new()));
    let heard = [Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new()))];
    let mut threads = vec![send(&net.source, stop.clone(), sent.clone())?];
    for (neighbour, heard) in net.neighbours.iter().zip(&heard) {
        threads.push(hear(&neighbour.space, stop.clone(), heard.clone())?);
    }
    let outages = (|| {
        let mut outages = Vec::new();
        for round in 0..rounds {
            if interrupt.is_raised() {
                break;
            }
            for neighbour in &net.neighbours {
                neighbour.await_bfd().with_context(|| net.last_words())?;
            }
            steady(&heard[0], "the preferred way", &net)?;
            // At another point of BFD's intervals each time.
            std::thread::sleep(Duration::from_millis(u64::from(round * 7 % INTERVAL)));
            let before = locked(&heard[1]).len();
            net.neighbours[0].cut()?;
            let deadline = Instant::now() + LIMIT;
            while locked(&heard[1]).len() < before + STEADY {
                if Instant::now() > deadline {
                    bail!("nothing took the other way within {} s: {}", LIMIT.as_secs(), net.last_words());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            let first: u64 = locked(&heard[1]).get(before).copied().unwrap_or_default();
            let last = locked(&heard[0]).iter().rev().find(|number| **number < first).copied().unwrap_or_default();
            let sent = locked(&sent);
            let at = |number: u64| usize::try_from(number).ok().and_then(|number| sent.get(number)).copied();
            if let (Some(from), Some(to)) = (at(last), at(first)) {
                let lost = usize::try_from((first - last).saturating_sub(1))?;
                outages.push(Outage { lasted: to.duration_since(from), lost });
            }
            drop(sent);
            net.neighbours[0].heal()?;
        }
        Ok(outages)
    })();
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    outages
}

/// Waits until a neighbour has heard packets for a while.
fn steady(heard: &Mutex<Vec<u64>>, what: &str, net: &Net) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    let mut start = locked(heard).len();
    let mut since = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let now = locked(heard).len();
        if now >= start + STEADY {
            return Ok(());
        }
        if since.elapsed() > Duration::from_secs(1) {
            (start, since) = (now, Instant::now());
        }
        if Instant::now() > deadline {
            bail!("{what} is not in use after {} s: {}", LIMIT.as_secs(), net.last_words());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A numbered packet each [`PACE`], and when it went.
fn send(space: &Space, stop: Arc<AtomicBool>, sent: Arc<Mutex<Vec<Instant>>>) -> Result<JoinHandle<Result<()>>> {
    let socket = space.inside(|| Ok(UdpSocket::bind("10.250.0.2:0")?))?;
    Ok(std::thread::spawn(move || {
        let begin = Instant::now();
        let mut number = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            let due = begin + PACE * number;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            locked(&sent).push(Instant::now());
            // "No route to host" comes back for earlier ones: that is a packet lost, and counted where it is missed.
            let _ = socket.send_to(&u64::from(number).to_be_bytes(), SocketAddr::from((TARGET, PORT)));
            number += 1;
        }
        Ok(())
    }))
}

fn hear(space: &Space, stop: Arc<AtomicBool>, heard: Arc<Mutex<Vec<u64>>>) -> Result<JoinHandle<Result<()>>> {
    let socket = space.inside(|| Ok(UdpSocket::bind((TARGET, PORT))?))?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(std::thread::spawn(move || {
        let mut octets = [0; 8];
        while !stop.load(Ordering::Relaxed) {
            if socket.recv(&mut octets).is_ok_and(|length| length == octets.len()) {
                locked(&heard).push(u64::from_be_bytes(octets));
            }
        }
        Ok(())
    }))
}

/// Sender, router and neighbours; the programs go before their namespaces.
struct Net {
    _programs: Vec<Program>,
    neighbours: [Neighbour; 2],
    source: Space,
    _router: Space,
    folder: Folder,
}

struct Neighbour {
    _program: Program,
    space: Space,
    folder: Folder,
}

impl Net {
    fn new(kind: Kind, binary: &Path) -> Result<Net> {
        let (router, source) = (Space::new()?, Space::new()?);
        for space in [&router, &source] {
            space.inside(|| Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?))?;
        }
        router.ip(&format!("link add in0 type veth peer name out0 netns {}", source.pid()))?;
        router.ip("addr add 10.250.0.1/24 dev in0")?;
        router.ip("link set in0 up")?;
        source.ip("addr add 10.250.0.2/24 dev out0")?;
        source.ip("link set out0 up")?;
        source.ip("route add default via 10.250.0.1")?;
        let neighbours = [Neighbour::new(&router, 1)?, Neighbour::new(&router, 2)?];
        let folder = Folder::new()?;
        let programs = start(kind, binary, &router, &folder.0)?;
        Ok(Net { _programs: programs, neighbours, source, _router: router, folder })
    }

    /// The ends of the programs' logs.
    fn last_words(&self) -> String {
        let mut words = String::new();
        for entry in fs::read_dir(&self.folder.0).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|it| it == "log") {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = text.lines().rev().take(5).collect();
                words += &lines.into_iter().rev().collect::<Vec<_>>().join("\n");
            }
        }
        words
    }
}

impl Neighbour {
    /// BIRD on a link of its own, behind which the target lies; the second one's AS path is longer.
    fn new(router: &Space, number: u8) -> Result<Neighbour> {
        let space = Space::new()?;
        let (own, theirs) = (format!("10.251.{number}.2"), format!("10.251.{number}.1"));
        router.ip(&format!("link add up{number} type veth peer name down0 netns {}", space.pid()))?;
        router.ip(&format!("addr add {theirs}/24 dev up{number}"))?;
        router.ip(&format!("link set up{number} up"))?;
        space.ip(&format!("addr add {own}/24 dev down0"))?;
        space.ip("link set down0 up")?;
        space.ip(&format!("addr add {TARGET}/32 dev lo"))?;
        // Packets come from a network that there is no way back to.
        space.inside(|| {
            for device in ["all", "down0"] {
                fs::write(format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"), "0")?;
            }
            Ok(())
        })?;
        let prepend = if number == 2 { "bgp_path.prepend(65001); bgp_path.prepend(65001);" } else { "" };
        let config = format!(
            "router id {own};
protocol device {{ }}
protocol bfd {{ interface \"*\" {{ interval {INTERVAL} ms; multiplier {MULTIPLIER}; }}; }}
protocol static own {{ ipv4; route {PREFIX} unreachable; }}
protocol bgp far {{
  local {own} as 65001;
  neighbor {theirs} as {OWN_ASN};
  bfd on;
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  ipv4 {{ import none; export filter {{ {prepend} accept; }}; }};
}}
"
        );
        let folder = Folder::new()?;
        let file = folder.0.join("config");
        fs::write(&file, config)?;
        let mut command = space.command(Path::new("bird"));
        command.args(["-f", "-c"]).arg(&file).arg("-s").arg(folder.0.join("bird.ctl"));
        let program = Program::start(&mut command, &folder.0.join("bird.log"))?;
        Ok(Neighbour { _program: program, space, folder })
    }

    /// Waits until BFD is up at its full pace: before that a cut is nothing that it could notice in time.
    fn await_bfd(&self) -> Result<()> {
        let timeout = format!("{:.3}", f64::from(INTERVAL * MULTIPLIER) / 1000.0);
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut command = self.space.command(Path::new("birdc"));
            command.arg("-s").arg(self.folder.0.join("bird.ctl")).args(["show", "bfd", "sessions"]);
            let output = command.output().context("birdc")?;
            let text = String::from_utf8_lossy(&output.stdout);
            let up = |line: &str| line.split_whitespace().any(|word| word == "Up") && line.contains(&timeout);
            if text.lines().any(up) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("BFD is not up at its pace within {} s:\n{text}", LIMIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Nothing goes in or out any more, and no carrier is lost.
    fn cut(&self) -> Result<()> {
        let rules = "table inet cut {
            chain in { type filter hook prerouting priority -400; policy drop; }
            chain out { type filter hook output priority -400; policy drop; }
        }";
        self.nft(rules)
    }

    fn heal(&self) -> Result<()> {
        self.nft("delete table inet cut")
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let output = self.space.command(Path::new("nft")).arg(rules).output()?;
        if !output.status.success() {
            bail!("nft: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// The program under measurement, and those that it needs beside it.
fn start(kind: Kind, binary: &Path, space: &Space, folder: &Path) -> Result<Vec<Program>> {
    let file = folder.join("config");
    let own = Ipv4Addr::new(10, 251, 1, 1);
    let mut programs = Vec::new();
    let mut command = space.command(binary);
    let config = match kind {
        Kind::Biplaned => {
            for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BIPLANE")) {
                command.env_remove(name);
            }
            command.arg("-c").arg(&file);
            let peer = |number: u8| json!({"address": format!("10.251.{number}.2"), "asn": 65001, "bfd": "fast"});
            json!({
                "mode": "bgp",
                "node": {"name": "bench", "address": own.to_string()},
                "store": {"kind": "files", "path": folder.join("store")},
                "pools": [{"cidr": "10.244.0.0/16", "nodePrefix": 24}, {"cidr": "10.245.0.0/16", "nodePrefix": 24}],
                "bgp": {
                    "localAsn": OWN_ASN,
                    "mesh": false,
                    "bfdProfiles": {"fast": {"minTx": INTERVAL, "minRx": INTERVAL, "multiplier": MULTIPLIER}},
                    "peers": [peer(1), peer(2)],
                },
                "masquerade": {"enabled": false},
                "api": {"socket": folder.join("socket")},
            })
            .to_string()
        }
        Kind::Bird => {
            command.args(["-f", "-c"]).arg(&file).arg("-s").arg(folder.join("bird.ctl"));
            let mut text = format!(
                "router id {own};
protocol device {{ }}
protocol kernel {{ ipv4 {{ import none; export all; }}; }}
protocol bfd {{ interface \"*\" {{ interval {INTERVAL} ms; multiplier {MULTIPLIER}; }}; }}
"
            );
            for number in [1, 2] {
                text += &format!(
                    "protocol bgp n{number} {{ local 10.251.{number}.1 as {OWN_ASN}; neighbor 10.251.{number}.2 as 65001; \
                     bfd on; connect retry time 1; connect delay time 1; error wait time 1, 2; \
                     ipv4 {{ import all; export none; }}; }}\n"
                );
            }
            text
        }
        Kind::Frr => {
            // As the user that the package makes, with the capabilities that they keep.
            fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
            let tell = |command: &mut std::process::Command, name: &str| {
                command.arg("-z").arg(folder.join("zserv.api")).arg("--vty_socket").arg(folder);
                command.arg("-i").arg(folder.join(format!("{name}.pid")));
                command.args(["-u", "frr", "-g", "frr", "-A", "127.0.0.1"]);
            };
            for name in ["zebra", "bfdd"] {
                let mut beside = space.command(&binary.with_file_name(name));
                tell(&mut beside, name);
                beside.args(["-f", "/dev/null"]);
                if name == "bfdd" {
                    beside.arg("--bfdctl").arg(folder.join("bfdd.sock"));
                }
                programs.push(Program::start(&mut beside, &folder.join(format!("{name}.log")))?);
                let deadline = Instant::now() + Duration::from_secs(10);
                while !folder.join("zserv.api").exists() {
                    if Instant::now() > deadline {
                        bail!("zebra does not come up");
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            tell(&mut command, "bgpd");
            command.arg("-f").arg(&file);
            let mut text = format!("router bgp {OWN_ASN}\n bgp router-id {own}\n no bgp ebgp-requires-policy\n");
            for number in [1, 2] {
                text += &format!(
                    " neighbor 10.251.{number}.2 remote-as 65001\n neighbor 10.251.{number}.2 timers connect 1\n \
                     neighbor 10.251.{number}.2 bfd {MULTIPLIER} {INTERVAL} {INTERVAL}\n"
                );
            }
            text
        }
    };
    fs::write(&file, config)?;
    programs.push(Program::start(&mut command, &folder.join("router.log"))?);
    // The one that leans on the others goes first.
    programs.reverse();
    Ok(programs)
}
