//! What somebody alters by hand comes right again, at once; what is somebody else's is left alone and told of. Needs root.
//!
//! The kernel of a node is read back again and again by a thread in its network namespace. A repair lasts from when an
//! alteration is first seen, or from the start of the command that made it if it was never seen, until the kernel holds
//! just what it held before.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use kernel::{Interest, Kernel, Options};
use model::kernel::{Device, Key, Value as Object};
use model::{Owner, Plane};
use stage::{LONG, Stage, inside, until};

/// Longer takes only what nobody is told of, until the next read-back by the clock, once a minute.
const SOON: Duration = Duration::from_secs(20);
const OFTEN: usize = 20;
/// Takes routes of half a cluster along.
const SELDOM: usize = 8;

#[test]
fn what_is_altered_by_hand_is_repaired() {
    let _turn = testbed::turn::take().unwrap();
    let stage = Stage::of("demo");
    for plane in [Plane::Overlay, Plane::Native] {
        if plane == Plane::Native {
            stage.switch("n1", plane);
        }
        stage.steady(plane);
        let before = (tables(&stage), stage.ask("n1", "status"));
        let repairs = repair_all(&stage, plane);
        let mut all: Vec<Duration> = repairs.values().flatten().copied().collect();
        for (name, mut times) in repairs {
            println!("{}: {name}: {}", plane.mode(), quantiles(&mut times));
        }
        println!("{}: all kinds: {}", plane.mode(), quantiles(&mut all));
        stage.steady(plane);
        let now = tables(&stage);
        let differ: Vec<_> = before.0.lines().zip(now.lines()).filter(|(before, now)| before != now).collect();
        assert!(now == before.0, "as iproute2 and nft see it: {differ:#?}");
        let after = stage.ask("n1", "status");
        assert_eq!(after["startedAt"], before.1["startedAt"], "the daemon went on");
        assert_eq!((&after["failures"], &after["foreign"]), (&serde_json::json!([]), &serde_json::json!([])));
        assert!(after["drift"]["repairs"].as_u64().unwrap() > before.1["drift"]["repairs"].as_u64().unwrap());
        stage.good("n1", "biplane route list --diff && biplane status");
    }
}

fn repair_all(stage: &Stage, plane: Plane) -> BTreeMap<String, Vec<Duration>> {
    let cases = cases(stage, plane);
    let thread = inside(stage, "n1", move || {
        let mut eye = Eye::open();
        let mut repairs: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
        for (name, script, times) in cases {
            for _ in 0..times {
                repairs.entry(name.to_string()).or_default().push(eye.repair(name, &script));
            }
        }
        repairs
    });
    match thread.join() {
        Ok(repairs) => repairs,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// What is done by hand on n1: name, shell script, how often.
fn cases(stage: &Stage, plane: Plane) -> Vec<(&'static str, String, usize)> {
    let cidr = |node: &str, family: usize| stage.ask(node, "status")["podCidrs"][family].as_str().unwrap().to_string();
    let (v4, v6, own4, own6) = (cidr("n2", 0), cidr("n2", 1), cidr("n1", 0), cidr("n1", 1));
    let held = stage.good("n1", "ip -j -4 address show dev lo");
    let held: serde_json::Value = serde_json::from_str(&held).unwrap();
    let is_held = |a: &&serde_json::Value| a["scope"] == "global";
    let lo4 = held[0]["addr_info"].as_array().unwrap().iter().find(is_held).unwrap()["local"].as_str().unwrap();
    let lo6 = own6.replace("::/64", "::2");
    // The number of the nexthop object that a route names.
    let nexthop = |cidr: &str| format!("$(ip -j route show {cidr} | sed 's/.*\"nhid\":\\([0-9]*\\).*/\\1/')");
    // A flush comes round after round while ours come back under its hands; then it complains.
    let mut cases = vec![
        ("IPv4 route deleted", format!("ip route del {v4} metric 1178"), OFTEN),
        ("IPv6 route deleted", format!("ip route del {v6} metric 1178"), OFTEN),
        ("IPv4 route bent", format!("ip route replace {v4} via 10.20.0.3 proto 178 metric 1178"), OFTEN),
        ("IPv6 route bent", format!("ip route replace {v6} via fd20::3 proto 178 metric 1178"), OFTEN),
        ("IPv4 route made a blackhole", format!("ip route replace blackhole {v4} proto 178 metric 1178"), OFTEN),
        ("own IPv4 route deleted", format!("ip route del unreachable {own4} metric 1178"), OFTEN),
        ("own IPv6 route deleted", format!("ip route del unreachable {own6} metric 1178"), OFTEN),
        ("nexthop deleted", format!("ip nexthop del id {}", nexthop(&v4)), OFTEN),
        ("nexthop bent", format!("ip nexthop replace id {} via fe80::9 dev eth1 proto 178", nexthop(&v4)), OFTEN),
        ("IPv4 address on lo deleted", format!("ip address del {lo4}/32 dev lo"), OFTEN),
        ("IPv6 address on lo deleted", format!("ip address del {lo6}/128 dev lo"), OFTEN),
        ("all IPv4 routes flushed", "ip -4 route flush proto 178 || true".into(), SELDOM),
        ("all IPv6 routes flushed", "ip -6 route flush proto 178 || true".into(), SELDOM),
        ("all nexthops flushed", "ip nexthop flush proto 178 || true".into(), SELDOM),
        ("masquerade table deleted", "nft delete table inet biplane".into(), OFTEN),
        ("masquerade chain emptied", "nft flush chain inet biplane postrouting".into(), OFTEN),
        ("masquerade rule added", "nft insert rule inet biplane postrouting counter accept".into(), OFTEN),
        ("IPv4 forwarding off", "echo 0 > /proc/sys/net/ipv4/ip_forward".into(), OFTEN),
        ("IPv6 forwarding off", "echo 0 > /proc/sys/net/ipv6/conf/all/forwarding".into(), OFTEN),
        ("underlay's filter made strict", "echo 1 > /proc/sys/net/ipv4/conf/eth1/rp_filter".into(), OFTEN),
    ];
    if plane == Plane::Native {
        return cases;
    }
    let link = "biplane.vxlan";
    let node: serde_json::Value = stage.ask("n1", "node show n2");
    let (mac, gateway) = (node["vtepMac"].as_str().unwrap(), node["vtepGateway"].as_str().unwrap());
    cases.extend([
        ("FDB entry deleted", format!("bridge fdb del {mac} dev {link} self"), OFTEN),
        (
            "FDB entry bent",
            format!("bridge fdb replace {mac} dev {link} dst 10.20.0.9 self extern_learn permanent"),
            OFTEN,
        ),
        ("neighbour deleted", format!("ip neigh del {gateway} dev {link}"), OFTEN),
        (
            "neighbour bent",
            format!("ip neigh replace {gateway} lladdr 02:00:00:00:00:09 dev {link} nud permanent"),
            OFTEN,
        ),
        ("neighbour made stale", format!("ip neigh replace {gateway} lladdr {mac} dev {link} nud stale"), OFTEN),
        ("address on the overlay's link deleted", format!("ip address del {lo4}/32 dev {link}"), OFTEN),
        ("overlay's link deleted", format!("ip link del {link}"), SELDOM),
        ("overlay's link set down", format!("ip link set {link} down"), SELDOM),
        ("overlay's MTU changed", format!("ip link set {link} mtu 1300"), SELDOM),
        ("overlay's MAC changed", format!("ip link set {link} address 02:00:00:00:00:77"), SELDOM),
        ("overlay's filter made strict", format!("echo 1 > /proc/sys/net/ipv4/conf/{link}/rp_filter"), OFTEN),
        (
            "all entries of the overlay flushed",
            format!("ip neigh flush dev {link} nud permanent; ip address flush dev {link} scope global"),
            SELDOM,
        ),
    ]);
    cases
}

#[test]
fn what_is_somebody_elses_is_left_alone_and_told_of() {
    let _turn = testbed::turn::take().unwrap();
    let stage = Stage::of("demo");
    stage.steady(Plane::Overlay);
    let cidr = |node: &str| stage.ask(node, "status")["podCidrs"][0].as_str().unwrap().to_string();
    let (beside, same) = (cidr("n2"), cidr("n3"));
    let underlay = stage.ask("n1", "node show n3")["vtepMac"].as_str().unwrap().to_string();
    // What is told of, by the words in which it is.
    let foreign = [
        (format!("ip route add {beside} via 10.20.0.2 metric 50 proto static"), format!("route {beside}")),
        (format!("ip route replace {same} via 10.20.0.3 metric 1178"), format!("route {same}")),
        ("ip route add 10.244.250.0/24 via 10.20.0.2".into(), "route 10.244.250.0/24".into()),
        ("ip -6 route add fd44:0:0:ffff::/64 via fd20::2".into(), "route fd44:0:0:ffff::/64".into()),
        (
            "bridge fdb add 02:00:00:00:00:09 dev biplane.vxlan dst 10.20.0.9 self permanent".into(),
            "fdb 02:00:00:00:00:09 dev biplane.vxlan".into(),
        ),
        // On our key: `bridge` without `extern_learn` takes our mark off.
        (
            format!("bridge fdb replace {underlay} dev biplane.vxlan dst 10.20.0.3 self permanent"),
            format!("fdb {underlay} dev biplane.vxlan"),
        ),
        (
            "ip neigh add fe80::9 lladdr 02:00:00:00:00:09 dev biplane.vxlan nud permanent".into(),
            "neighbour fe80::9 dev biplane.vxlan".into(),
        ),
        ("ip link add flannel.1 type vxlan id 1 dev eth1 local 10.20.0.1 dstport 8472".into(), "link flannel.1".into()),
        ("ip address add 10.244.251.1/32 dev lo".into(), "address 10.244.251.1/32 dev lo".into()),
    ];
    // What is nobody's business.
    let unrelated = [
        "ip route add 198.51.100.0/24 via 10.20.0.2",
        "ip address add 192.0.2.1/32 dev lo",
        "ip neigh add 10.20.0.77 lladdr 02:00:00:00:00:77 dev eth1 nud permanent",
        "ip link add other type bridge",
        "ip nexthop add id 77 via 10.20.0.2 dev eth1",
        "nft add table inet other",
    ];
    for line in foreign.iter().map(|(line, _)| line.as_str()).chain(unrelated) {
        stage.good("n1", line);
    }
    let listed = until("everything foreign is told of", || {
        let listed: BTreeSet<String> = foreign_keys(&stage);
        foreign.iter().all(|(_, key)| listed.contains(key)).then_some(listed)
    });
    let told: BTreeSet<String> = foreign.iter().map(|(_, key)| key.clone()).collect();
    assert_eq!(listed, told);
    let others = others(&stage);
    assert!(others.contains("198.51.100.0/24") && others.contains("metric 50"), "{others}");

    // A repair, a read-back, a restart, and the way there and back: none of them touches it.
    stage.good("n1", "ip -6 route flush proto 178 || true; ip nexthop flush proto 178 || true");
    until("the route beside the foreign one is there again", || {
        stage.run("n1", &format!("ip route show {beside} proto 178")).stdout.contains("metric 1178").then_some(())
    });
    assert_eq!(self::others(&stage), others);
    let diff = stage.run("n1", "biplane route list --diff");
    assert_eq!(diff.return_code, 1, "{}", diff.stderr);
    for prefix in [beside.as_str(), &same, "10.244.250.0/24", "fd44:0:0:ffff::/64"] {
        let row = diff.stdout.lines().find(|line| line.starts_with(&format!("{prefix} ")) && line.contains("foreign"));
        assert!(row.is_some(), "{prefix} in\n{}", diff.stdout);
    }
    let status = stage.run("n1", "biplane status").stdout;
    assert!(
        status.contains("Not ours, left alone:") && status.contains("VXLAN device flannel.1 with VNI 1"),
        "{status}"
    );
    let degraded = status.lines().find(|line| line.contains("Degraded")).unwrap();
    assert!(degraded.contains("True") && degraded.contains("remove it"), "{degraded}");

    stage.good("n1", "kill -9 $(pidof biplaned)");
    stage.start_daemon("n1", "--config /etc/biplane/config.yaml");
    until("the next daemon tells of it too", || (foreign_keys(&stage) == told).then_some(()));
    assert_eq!(self::others(&stage), others);

    // When its owner takes it away, ours comes by itself.
    stage.good("n1", &format!("ip route del {same} metric 1178 && bridge fdb del {underlay} dev biplane.vxlan self"));
    until("ours is there", || {
        let route = stage.run("n1", &format!("ip route show {same} proto 178")).stdout;
        let fdb = stage.run("n1", &format!("bridge fdb show dev biplane.vxlan | grep {underlay}")).stdout;
        (route.contains("metric 1178") && fdb.contains("extern_learn")).then_some(())
    });
    let others = self::others(&stage);
    stage.switch("n1", Plane::Native);
    stage.switch("n1", Plane::Overlay);
    // The overlay's link went and came: what others had put on it went with it.
    let is_on_it = |line: &&str| line.contains("biplane.vxlan") || line.ends_with(" self permanent");
    let rest = |text: &str| text.lines().filter(|line| !is_on_it(line)).map(String::from).collect::<Vec<_>>();
    assert_eq!(rest(&self::others(&stage)), rest(&others));
}

/// Keys of foreign objects as `biplane status` names them.
fn foreign_keys(stage: &Stage) -> BTreeSet<String> {
    let output = stage.run("n1", "biplane status -o json");
    let Ok(status) = serde_json::from_str::<serde_json::Value>(&output.stdout) else { return BTreeSet::new() };
    let keys = status["foreign"].as_array().into_iter().flatten().map(|f| f["key"].as_str().unwrap().to_string());
    keys.collect()
}

/// What is not ours on n1, as iproute2 and nft see it.
fn others(stage: &Stage) -> String {
    let script = "ip -4 route | grep -v 'proto 178'; ip -6 route | grep -v 'proto 178\\|^fe80::/64'; \
        ip nexthop | grep -v 'proto 178'; bridge fdb show dev biplane.vxlan | grep -v extern_learn; \
        ip neigh show nud permanent | grep -v 'proto 178'; ip -o address show dev lo; ip -o -d link show flannel.1; \
        ip -o link show other; nft list table inet other";
    stage.good("n1", script)
}

/// Everything of n1 that may matter, as iproute2 and nft see it, without what changes by itself: numbers of objects and
/// of links, learned neighbours.
fn tables(stage: &Stage) -> String {
    // The link-local address of the underlay's link is new, or went and came with the rest of IPv6.
    let script = "{ ip -4 route show table all; ip -6 route show table all; ip nexthop; } | \
        grep -v 'fe80.*eth1\\|eth1.*fe80' | sed 's/nhid [0-9]* //; s/^id [0-9]* //' | sort; \
        bridge fdb show | grep extern_learn | sort; ip neigh show nud permanent | sort; \
        ip -o address | grep -v 'eth1.*fe80' | sed 's/^[0-9]*: //' | sort; \
        ip -o -d link | sed 's/^[0-9]*: //' | sort; nft list table inet biplane; \
        cd /proc/sys/net && grep . ipv4/ip_forward ipv6/conf/all/forwarding ipv4/conf/*/rp_filter";
    stage.good("n1", script)
}

/// Looks at everything that the daemon wants in the kernel of its thread's namespace.
struct Eye {
    kernel: Kernel,
    interest: Interest,
    right: BTreeMap<Key, Object>,
}

impl Eye {
    fn open() -> Eye {
        let overlay = Device::new(Owner::VXLAN_DEVICE).unwrap();
        let pools = ["10.244.0.0/16", "fd44::/48"].map(|pool| pool.parse().unwrap());
        let paths = [
            "net/ipv4/ip_forward",
            "net/ipv6/conf/all/forwarding",
            "net/ipv4/conf/eth1/rp_filter",
            "net/ipv4/conf/biplane.vxlan/rp_filter",
        ];
        let interest = Interest { pools: pools.to_vec(), sysctls: paths.map(Into::into).to_vec() };
        let mut eye = Eye { kernel: Kernel::open(&Options { overlay }).unwrap(), interest, right: BTreeMap::new() };
        eye.right = eye.look().unwrap();
        assert!(eye.right.len() > 10, "{:?}", eye.right);
        eye
    }

    /// `None` while tables change under the look.
    fn look(&mut self) -> Option<BTreeMap<Key, Object>> {
        Some(self.kernel.read_back(&self.interest).ok()?.ours.into_iter().collect())
    }

    /// How long the kernel is not as it was, once the script has run.
    fn repair(&mut self, name: &str, script: &str) -> Duration {
        let began = Instant::now();
        let mut child = Command::new("sh").args(["-ec", script]).spawn().unwrap();
        let (mut altered, mut done) = (None, false);
        loop {
            let asked = Instant::now();
            if !done && let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{name}: `{script}`: {status}");
                done = true;
            }
            let now = self.look();
            let right = now.as_ref() == Some(&self.right);
            if !right {
                altered.get_or_insert(asked);
            } else if done {
                return altered.unwrap_or(began).elapsed();
            }
            if began.elapsed() > SOON {
                let (now, right) = (now.unwrap_or_default(), &self.right);
                let wrong: Vec<_> = right.iter().filter(|(key, value)| now.get(key) != Some(value)).collect();
                let stray: Vec<_> = now.iter().filter(|(key, _)| !right.contains_key(key)).collect();
                panic!("{name}: after {} s not as wanted: {wrong:?}, stray: {stray:?}", SOON.as_secs());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

fn quantiles(times: &mut [Duration]) -> String {
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize].as_secs_f64() * 1000.0;
    let most = times.last().unwrap().as_secs_f64() * 1000.0;
    assert!(times.len() >= SELDOM && most < LONG.as_secs_f64() * 1000.0);
    format!("{} times, p50 {:.1} ms, p99 {:.1} ms, longest {most:.1} ms", times.len(), at(0.5), at(0.99))
}
