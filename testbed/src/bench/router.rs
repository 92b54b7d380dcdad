//! A router under measurement: biplaned or BIRD in a namespace, a veth away from the feeder.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::feeder::{self, Feeder, bgp_port};
use super::space::{Program, Space};
use super::{Cost, metrics};
use crate::lab::Interrupt;

/// The router's address towards the feeder.
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);
/// The feeder's.
pub(crate) const FEEDER: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);
/// Its IPv6 address; the router's is one less.
pub(crate) const FEEDER_V6: Ipv6Addr = Ipv6Addr::new(0xfd55, 0, 0, 0, 0, 0, 0, 2);
/// The router's AS.
pub(crate) const OWN_ASN: u32 = 64512;
/// The router's address towards many peers.
pub(crate) const SWARM_ROUTER: Ipv4Addr = Ipv4Addr::new(10, 254, 0, 1);
/// Device of the router towards the feeder.
const UPLINK: &str = "up0";
/// A measurement that takes longer than this has failed.
const LIMIT: Duration = Duration::from_secs(600);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Biplaned,
    Bird,
    /// bgpd and zebra.
    Frr,
}

impl Kind {
    /// As tables have it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Biplaned => "biplaned",
            Kind::Bird => "BIRD 2",
            Kind::Frr => "FRR",
        }
    }
}

/// Namespaces and a folder, before the program runs.
pub(crate) struct Stage {
    kind: Kind,
    space: Space,
    pub(crate) far: Space,
    folder: std::path::PathBuf,
}

/// Program, namespaces, folder. Ends with all that belongs to it.
pub(crate) struct Router {
    kind: Kind,
    // Before the namespaces: it goes first.
    pub(crate) program: Program,
    /// FRR's zebra.
    also: Option<Program>,
    pub(crate) space: Space,
    pub(crate) far: Space,
    log: std::path::PathBuf,
}

impl Router {
    /// Starts `binary` in a fresh namespace, with its files in `folder`.
    pub(crate) fn start(kind: Kind, binary: &Path, folder: &Path, config: &str) -> Result<Router> {
        Router::stage(kind, folder)?.start(binary, config)
    }

    /// The same as a lone node that takes slices of 16.0.0.0/4 from the feeder and puts them into its kernel.
    pub(crate) fn alone(kind: Kind, binary: &Path, folder: &Path) -> Result<Router> {
        let config = match kind {
            Kind::Biplaned => {
                let own = json!({"cidr": "10.244.0.0/16", "nodePrefix": 24});
                let all = json!({"cidr": "16.0.0.0/4", "nodePrefix": 24});
                biplaned_config("bgp", folder, &json!([own, all]))
            }
            Kind::Bird => bird_config(),
            Kind::Frr => frr_config(),
        };
        Router::start(kind, binary, folder, &config)
    }

    /// The namespaces alone.
    pub(crate) fn stage(kind: Kind, folder: &Path) -> Result<Stage> {
        let (space, far) = (Space::new()?, Space::new()?);
        space.ip(&format!("link add {UPLINK} type veth peer name down0 netns {}", far.pid()))?;
        space.ip(&format!("addr add {ROUTER}/24 dev {UPLINK}"))?;
        space.ip(&format!("addr add fd55::1/64 dev {UPLINK} nodad"))?;
        space.ip(&format!("link set {UPLINK} up"))?;
        far.ip(&format!("addr add {FEEDER}/24 dev down0"))?;
        // A second of each, as another next hop.
        far.ip("addr add 10.255.0.3/24 dev down0")?;
        far.ip(&format!("addr add {FEEDER_V6}/64 dev down0 nodad"))?;
        far.ip("addr add fd55::3/64 dev down0 nodad")?;
        far.ip("link set down0 up")?;
        // A network for many peers.
        space.ip(&format!("addr add {SWARM_ROUTER}/16 dev {UPLINK}"))?;
        far.ip("addr add 10.254.255.254/16 dev down0")?;
        // Any address of it is the peers'.
        far.ip("route add local 10.254.1.0/24 dev lo")?;
        far.ip("link set lo up")?;
        Ok(Stage { kind, space, far, folder: folder.to_path_buf() })
    }

    /// Peak of resident memory, octets; of both programs where there are two, though their peaks need not meet.
    pub(crate) fn peak(&self) -> Result<u64> {
        Ok(self.program.peak()? + self.also.as_ref().map_or(Ok(0), Program::peak)?)
    }

    /// User and system time of all threads.
    pub(crate) fn cpu_exact(&self) -> Result<Duration> {
        Ok(self.program.cpu_exact()? + self.also.as_ref().map_or(Ok(Duration::ZERO), Program::cpu_exact)?)
    }
}

impl Stage {
    /// Starts the program, whose files are in the folder.
    pub(crate) fn start(self, binary: &Path, config: &str) -> Result<Router> {
        let Stage { kind, space, far, folder } = self;
        let (file, log) = (folder.join("config"), folder.join("log"));
        fs::write(&file, config)?;
        let mut also = None;
        let mut command = space.command(binary);
        match kind {
            Kind::Frr => {
                let zebra = binary.with_file_name("zebra");
                let shared = [("-z", "zserv.api"), ("--vty_socket", "")];
                let tell = |command: &mut std::process::Command, name: &str| {
                    for (flag, file) in shared {
                        command.arg(flag).arg(folder.join(file));
                    }
                    command.arg("-i").arg(folder.join(format!("{name}.pid")));
                    // As the user that the package makes, with the capabilities that they keep.
                    command.args(["-u", "frr", "-g", "frr", "-A", "127.0.0.1"]);
                };
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
                let mut first = space.command(&zebra);
                tell(&mut first, "zebra");
                first.args(["-s", "90000000", "-f", "/dev/null"]);
                also = Some(Program::start(&mut first, &folder.join("zebra.log"))?);
                let deadline = Instant::now() + Duration::from_secs(10);
                while !folder.join("zserv.api").exists() {
                    if Instant::now() > deadline {
                        let words = fs::read_to_string(folder.join("zebra.log")).unwrap_or_default();
                        bail!("zebra does not come up: {words}");
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                tell(&mut command, "bgpd");
                command.arg("-f").arg(&file)
            }
            Kind::Biplaned => command.arg("-c").arg(&file),
            Kind::Bird => command.args(["-f", "-c"]).arg(&file).arg("-s").arg(folder.join("bird.ctl")),
        };
        // Settings come from the file alone.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BIPLANE")) {
            command.env_remove(name);
        }
        let program = Program::start(&mut command, &log)?;
        Ok(Router { kind, program, also, space, far, log })
    }
}

impl Router {
    /// A session with the feeder.
    pub(crate) fn feed(&mut self) -> Result<Feeder> {
        let far = &self.far;
        let opened = Feeder::open(FEEDER, || far.connect(bgp_port(ROUTER)));
        opened.with_context(|| self.last_words())
    }

    /// Does `work` and measures until the kernel holds `size` IPv4 routes.
    pub(crate) fn measure(
        &mut self,
        size: u64,
        interrupt: &Interrupt,
        work: impl FnOnce() -> Result<()>,
        check: impl Fn() -> Result<()>,
    ) -> Result<Cost> {
        self.program.forget_peak()?;
        let before = self.program.cpu()?;
        let start = Instant::now();
        work()?;
        let wall = self.wait_for(size, start, interrupt, check)?;
        let cpu = self.program.cpu()?.saturating_sub(before);
        let longest = match self.kind {
            Kind::Biplaned => Some(metrics::longest_event(&self.space)?),
            Kind::Bird | Kind::Frr => None,
        };
        Ok(Cost { wall, cpu, peak: self.program.peak()?, longest })
    }

    /// Counting walks the kernel's table, which takes tens of milliseconds for a million routes: so it is done rarely,
    /// and more often towards the end.
    fn wait_for(
        &mut self,
        size: u64,
        start: Instant,
        interrupt: &Interrupt,
        check: impl Fn() -> Result<()>,
    ) -> Result<Duration> {
        let mut first: Option<(Instant, u64)> = None;
        loop {
            let at = Instant::now();
            let now = self.program.fib_size().with_context(|| self.last_words())?;
            let cost = at.elapsed();
            if now == size {
                return Ok(at.duration_since(start));
            }
            check()?;
            if !self.program.is_alive() {
                bail!("the program has ended: {}", self.last_words());
            }
            if at.duration_since(start) > LIMIT || interrupt.is_raised() {
                bail!("given up with {now} routes in the kernel, {size} expected: {}", self.last_words());
            }
            let (then, count) = *first.get_or_insert((at, now));
            let (done, left) = (count.abs_diff(now), now.abs_diff(size));
            let expected = at.duration_since(then).mul_f64(left as f64 / done.max(1) as f64);
            // Half of what is expected: the end comes in ever smaller steps, and early when the pace goes up.
            let least = Duration::from_millis(5).max(cost);
            std::thread::sleep((expected / 2).clamp(least, Duration::from_millis(250).max(least)));
        }
    }

    /// Until the kernel's number of routes has not moved for a moment: what is there before the feeder speaks.
    pub(crate) fn settled_size(&mut self) -> Result<u64> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let (mut last, mut since) = (0, Instant::now());
        while Instant::now() < deadline {
            let now = self.program.fib_size()?;
            if now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > Duration::from_millis(500) {
                return Ok(now);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the kernel's table does not come to rest: {}", self.last_words())
    }

    /// The end of the program's log.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// biplaned's configuration for a lone node; JSON is YAML.
pub(crate) fn biplaned_config(mode: &str, folder: &Path, pools: &Value) -> String {
    biplaned_value(mode, folder, pools).to_string()
}

/// The same as a value, for more keys.
pub(crate) fn biplaned_value(mode: &str, folder: &Path, pools: &Value) -> Value {
    json!({
        "mode": mode,
        "node": {"name": "bench", "address": ROUTER.to_string()},
        "store": {"kind": "files", "path": folder.join("store")},
        "pools": pools,
        "bgp": {
            "mesh": false,
            "maxPrefixes": 2_000_000,
            "peers": [{"address": FEEDER.to_string(), "asn": feeder::ASN.0, "passive": true}],
        },
        "masquerade": {"enabled": false},
        "metrics": {"listen": format!("127.0.0.1:{}", metrics::PORT)},
        "api": {"socket": folder.join("socket")},
    })
}

/// FRR's bgpd with zebra, all else at its defaults.
fn frr_config() -> String {
    let asn = feeder::ASN;
    format!(
        "router bgp {OWN_ASN}
 bgp router-id {ROUTER}
 no bgp ebgp-requires-policy
 neighbor {FEEDER} remote-as {asn}
 neighbor {FEEDER} passive
"
    )
}

/// BIRD with its kernel protocol, all else at its defaults.
fn bird_config() -> String {
    format!(
        "router id {ROUTER};
protocol device {{ }}
protocol kernel {{ ipv4 {{ import none; export all; }}; }}
protocol bgp feeder {{
  local {ROUTER} as 64512;
  neighbor {FEEDER} as {};
  passive yes;
  ipv4 {{ import all; export none; }};
}}
",
        feeder::ASN.0
    )
}
