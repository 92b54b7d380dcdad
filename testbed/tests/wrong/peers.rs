//! What routers can do wrong: BIRD, with static routes.

use std::fmt::Write as _;
use std::time::Duration;

use super::{kernel_of, same, says, start, switched, write};
use crate::stage::{Stage, until};

/// Prefixes of a full table, here.
const FULL: usize = 100_000;
/// What a full table may cost a node, in KiB: refused paths are counted, and the first thousand kept.
const MEMORY: u64 = 24 * 1024;

const CONFIG: &str = "mode: bgp
pools:
  - {cidr: 10.244.0.0/16, nodePrefix: 24}
  - {cidr: \"fd44::/48\", nodePrefix: 64}
";

/// Starts BIRD on a router with these static routes; it announces all of them to n1.
fn bird(stage: &Stage, node: &str, n: u8, asn: u32, v4: &[String], v6: &[String]) {
    let mut text = format!("log stderr all;\nrouter id 10.40.0.{n};\nprotocol device {{}}\n");
    for (family, routes) in [("ipv4", v4), ("ipv6", v6)] {
        let _ = writeln!(text, "protocol static {{ {family};");
        for prefix in routes {
            let _ = writeln!(text, "route {prefix} blackhole;");
        }
        text.push_str("}\n");
    }
    let _ = writeln!(
        text,
        "protocol bgp n1 {{ local 10.40.0.{n} as {asn}; neighbor 10.40.0.1 as 64601; connect retry time 1; \
         connect delay time 1; error wait time 1, 2;\n\
         ipv4 {{ import all; export all; }};\nipv6 {{ import all; export all; next hop address fd40::{n}; }}; }}"
    );
    write(stage, node, "/etc/biplane/bird.conf", &text);
    stage.good(node, "bird -c /etc/biplane/bird.conf -s /run/bird/ctl");
}

fn texts(prefixes: &[&str]) -> Vec<String> {
    prefixes.iter().map(ToString::to_string).collect()
}

/// n1 (AS 64601) with these peers, and n2, both of a mesh by hand.
fn nodes(stage: &Stage, peers: &str) {
    for (node, n, other) in [("n1", 64601, 2), ("n2", 64602, 1)] {
        let peers = if node == "n1" { peers } else { "" };
        let other = format!("    - {{address: 10.40.0.{other}, asn: {}}}\n", 64600 + other);
        start(stage, node, &format!("{CONFIG}bgp:\n  localAsn: {n}\n  mesh: false\n  peers:\n{other}{peers}"));
    }
    for node in ["n1", "n2"] {
        stage.good(node, "biplane status --wait --timeout 60s");
    }
    until("n1 and n2 reach each other", || {
        let native = |node| stage.ask(node, "status")["destinations"]["native"] == 2;
        (native("n1") && native("n2")).then_some(())
    });
}

fn peer(stage: &Stage, address: &str) -> serde_json::Value {
    stage.ask("n1", &format!("bgp peer {address}"))
}

fn pod_cidrs(stage: &Stage, node: &str) -> Vec<String> {
    let cidrs = stage.ask(node, "status")["podCidrs"].clone();
    cidrs.as_array().unwrap().iter().map(|c| c.as_str().unwrap().to_string()).collect()
}

#[test]
fn of_what_a_router_announces_only_slices_of_the_pools_are_taken() {
    let stage = switched("policy", &["n1", "n2", "r1"]);
    nodes(&stage, "    - {address: 10.40.0.3, asn: 65001}\n");
    let own = pod_cidrs(&stage, "n1");
    let before = kernel_of(&stage, "n1");
    // A /25 of a slice that nobody has.
    let taken: Vec<String> = ["n1", "n2"].iter().map(|node| pod_cidrs(&stage, node)[0].clone()).collect();
    let free =
        (1..255).rev().map(|n| format!("10.244.{n}.")).filter(|net| !taken.iter().any(|t| t.starts_with(net.as_str())));
    let free: Vec<String> = free.take(2).collect();
    let v4 = [
        ("0.0.0.0/0".to_string(), "refused: default route"),
        (own[0].clone(), "refused: our own pod CIDR"),
        (format!("{}0/25", free[0]), "refused: not a node's slice of any pool"),
        ("10.244.0.0/16".to_string(), "refused: our own pod CIDR"),
        ("10.40.0.0/24".to_string(), "refused: not a node's slice of any pool"),
        ("198.51.100.0/24".to_string(), "refused: not a node's slice of any pool"),
    ];
    let v6 = [
        ("::/0".to_string(), "refused: default route"),
        (own[1].clone(), "refused: our own pod CIDR"),
        ("fd44:0:0:ffff:8000::/65".to_string(), "refused: not a node's slice of any pool"),
    ];
    let refused: Vec<(String, &str)> = v4.iter().chain(&v6).cloned().collect();
    let good = format!("{}0/24", free[1]);
    let announced = |list: &[(String, &str)]| list.iter().map(|(prefix, _)| prefix.clone()).collect::<Vec<_>>();
    bird(&stage, "r1", 3, 65001, &[announced(&v4), vec![good.clone()]].concat(), &announced(&v6));
    until("the slice of the pool is taken", || {
        stage.run("n1", &format!("ip route show {good}")).stdout.contains("via 10.40.0.3").then_some(())
    });
    until("everything has come", || (peer(&stage, "10.40.0.3")["received"] == 10).then_some(()));
    assert_eq!(peer(&stage, "10.40.0.3")["accepted"], 1);
    let shown = stage.good("n1", "biplane bgp routes --in 10.40.0.3");
    for (prefix, why) in &refused {
        let row = shown.lines().find(|line| line.starts_with(&format!("{prefix} ")));
        assert!(row.is_some_and(|row| row.contains(why)), "{prefix}, {why}:\n{shown}");
        let why_not = stage.run("n1", &format!("biplane bgp routes --why {prefix}"));
        says(&why_not.stdout, &[why]);
    }
    // Nothing came into the kernel but the one route and what it leans on.
    let after = kernel_of(&stage, "n1");
    let news: Vec<&str> = after.lines().filter(|line| !before.contains(line)).collect();
    let is_good = |line: &&str| line.contains(&good) || line.starts_with("id 178");
    assert!(news.iter().all(is_good), "{news:?}");
    let gone: Vec<&str> = before.lines().filter(|line| !after.contains(line)).collect();
    assert_eq!(gone, [""; 0]);
    // A node is no transit either.
    assert_eq!(pod_cidrs(&stage, "n2").len(), 2);
    assert!(!stage.good("n2", "biplane bgp routes").contains(&good), "a node passed a route on");
}

#[test]
fn a_full_table_costs_a_bounded_amount_of_memory_and_no_route() {
    let stage = switched("table", &["n1", "n2", "r1", "r2"]);
    nodes(
        &stage,
        "    - {address: 10.40.0.3, asn: 65001, maxPrefixes: 200000}\n    - {address: 10.40.0.4, asn: 65002}\n",
    );
    let before = kernel_of(&stage, "n1");
    let mesh = peer(&stage, "10.40.0.2")["since"].clone();
    let table: Vec<String> =
        (0..FULL).map(|n| format!("{}.{}.{}.0/24", 32 + n / 65536, n / 256 % 256, n % 256)).collect();
    let rss = [rss(&stage)];
    bird(&stage, "r1", 3, 65001, &table, &[]);
    until("the whole table has come", || (peer(&stage, "10.40.0.3")["received"] == FULL).then_some(()));
    let full = self::rss(&stage);
    println!("a table of {FULL} prefixes: {} KiB before, {full} KiB with it", rss[0]);
    assert!(full < rss[0] + MEMORY, "{} KiB grew to {full} KiB", rss[0]);
    let peer_of_table = peer(&stage, "10.40.0.3");
    assert_eq!((&peer_of_table["accepted"], &peer_of_table["state"]), (&0.into(), &"Established".into()));

    // The other peer has the usual limit: the session ends, is named, and does not come back at once.
    bird(&stage, "r2", 4, 65002, &table, &[]);
    let words = ["announced more than 20000 prefixes", "raise maxPrefixes"];
    let error = until("the limit is told of", || {
        let error = peer(&stage, "10.40.0.4")["lastError"].as_str().unwrap_or_default().to_string();
        words.iter().all(|word| error.contains(word)).then_some(error)
    });
    let listed = stage.good("n1", "biplane bgp peers");
    let row = listed.lines().find(|line| line.starts_with("10.40.0.4")).unwrap();
    assert!(row.contains(&error) && !row.contains("Established"), "{row}");
    same(&before, &kernel_of(&stage, "n1"), "no route of it");
    assert_eq!(peer(&stage, "10.40.0.2")["since"], mesh, "the other sessions go on");
    stage.good("n1", "biplane status && biplane route list --diff");

    // What came goes.
    stage.good("r1", "birdc -s /run/bird/ctl down");
    until("the router is down", || (peer(&stage, "10.40.0.3")["state"] != "Established").then_some(()));
    println!("after it went: {} KiB", self::rss(&stage));
    same(&before, &kernel_of(&stage, "n1"), "in the end");
}

/// Resident memory of n1's daemon, in KiB.
fn rss(stage: &Stage) -> u64 {
    let text = stage.good("n1", "sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$(pidof biplaned)/status");
    text.trim().parse().unwrap()
}

#[test]
fn wrong_numbers_and_strangers_are_named() {
    let stage = switched("strangers", &["n1", "n2", "r1", "r2"]);
    nodes(&stage, "    - {address: 10.40.0.3, asn: 65000, description: top of rack}\n");
    let before = kernel_of(&stage, "n1");
    // r1 says 65003 where 65000 was wanted; r2 is nobody's peer.
    bird(&stage, "r1", 3, 65003, &texts(&["10.244.250.0/24"]), &[]);
    bird(&stage, "r2", 4, 65004, &texts(&["10.244.251.0/24"]), &[]);
    let row = until("the AS number is named", || {
        let peers = stage.good("n1", "biplane bgp peers");
        let row = peers.lines().find(|line| line.starts_with("10.40.0.3")).unwrap().to_string();
        row.contains("bad peer AS: want 65000, got 65003").then_some(row)
    });
    assert!(row.contains(" ago"), "{row}");
    says(&stage.log("n1"), &["10.40.0.3", "bad peer AS: want 65000, got 65003"]);
    let peers = until("the stranger is named", || {
        let peers = stage.run("n1", "biplane bgp peers");
        peers.stderr.contains("10.40.0.4").then_some(peers)
    });
    says(&peers.stderr, &["10.40.0.4 connected", "it is no peer", "bgp.peers"]);
    let one = stage.run("n1", "biplane bgp peer 10.40.0.4");
    assert_eq!(one.return_code, 1);
    says(&one.stderr, &["no peer 10.40.0.4", "there are 10.40.0.2,10.40.0.3", "refused"]);
    says(&stage.log("n1"), &["10.40.0.4"]);
    // They come again and again; the log does not grow with them.
    std::thread::sleep(Duration::from_secs(3));
    let lines = stage.log("n1").lines().filter(|line| line.contains("10.40.0.4")).count();
    assert!(lines <= 3, "{lines} lines of one stranger");
    same(&before, &kernel_of(&stage, "n1"), "in the end");
    stage.good("n1", "biplane status");
}
