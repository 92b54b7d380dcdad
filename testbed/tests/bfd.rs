//! BFD with real routers: a link that dies without a word, and intervals that change on a session that stays.
//!
//! Needs root, FRR, BIRD and BIPLANE_BIN_DIR; without them every test here fails.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod stage;

use serde_json::Value;
use stage::{Stage, until};

/// A node below two routers, each on a link of its own. Both announce one prefix, each another one besides.
const TOPOLOGY: &str = r#"
name: bfd
prefix: __lab-name
topology:
  defaults: {kind: linux, image: "biplane/lab:dev", privileged: false, cap-add: [NET_ADMIN, NET_RAW, SYS_ADMIN]}
  kinds:
    linux: {network-mode: none}
  nodes:
    n1:
      binds: ["n1.yaml:/etc/biplane/config.yaml"]
      tmpfs: [/var/lib/biplane, /etc/cni/net.d]
      exec:
        - ip address add 10.51.1.1/24 dev eth1
        - ip address add fd51:1::1/64 dev eth1 nodad
        - ip address add 10.51.2.1/24 dev eth2
        - ip address add fd51:2::1/64 dev eth2 nodad
        - sh -c 'biplaned --config /etc/biplane/config.yaml >/var/log/biplaned.log 2>&1 &'
    frr:
      binds: ["daemons:/etc/frr/daemons:ro", "vtysh.conf:/etc/frr/vtysh.conf:ro", "frr.conf:/etc/frr/frr.conf:ro"]
      exec:
        - ip address add 10.51.1.2/24 dev eth1
        - ip address add fd51:1::2/64 dev eth1 nodad
        - /usr/lib/frr/frrinit.sh start
    bird:
      binds: ["bird.conf:/etc/bird/bird.conf:ro"]
      exec:
        - ip address add 10.51.2.2/24 dev eth1
        - ip address add fd51:2::2/64 dev eth1 nodad
        - mkdir -p /run/bird
        - bird -c /etc/bird/bird.conf
  links:
    - {endpoints: ["n1:eth1", "frr:eth1"], mtu: 1500}
    - {endpoints: ["n1:eth2", "bird:eth1"], mtu: 1500}
"#;

const DAEMONS: &str = "bgpd=yes
bfdd=yes
vtysh_enable=yes
zebra_options=\"-A 127.0.0.1\"
bgpd_options=\"-A 127.0.0.1\"
bfdd_options=\"-A 127.0.0.1\"
";

const FRR: &str = "frr defaults datacenter
hostname frr
service integrated-vtysh-config
!
router bgp 65001
 bgp router-id 10.51.1.2
 no bgp ebgp-requires-policy
 no bgp network import-check
 timers bgp 60 180
 neighbor 10.51.1.1 remote-as 64512
 neighbor 10.51.1.1 timers connect 1
 neighbor 10.51.1.1 bfd 3 100 100
 !
 address-family ipv4 unicast
  network 10.244.200.0/24
  network 10.244.201.0/24
 exit-address-family
!
";

const BIRD: &str = "log stderr all;
router id 10.51.2.2;
protocol device {}
protocol bfd { interface \"*\" { interval 100 ms; multiplier 3; }; }
protocol static own { ipv4; route 10.244.200.0/24 unreachable; route 10.244.202.0/24 unreachable; }
protocol bgp n1 {
  local 10.51.2.2 as 65001;
  neighbor 10.51.2.1 as 64512;
  hold time 180;
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  bfd on;
  ipv4 { import none; export all; };
}
";

const ROUTERS: [(&str, &str, &str, &str); 2] = [
    ("frr", "10.51.1.2", "10.244.201.0/24", "10.244.202.0/24"),
    ("bird", "10.51.2.2", "10.244.202.0/24", "10.244.201.0/24"),
];

fn config(profile: &str, bfd: &str) -> String {
    format!(
        "mode: bgp
node: {{name: n1, address: [10.51.1.1, \"fd51:1::1\"]}}
store: {{kind: files, path: /var/lib/biplane/store}}
pools:
  - {{cidr: 10.244.0.0/16, nodePrefix: 24}}
  - {{cidr: \"fd44::/48\", nodePrefix: 64}}
masquerade: {{enabled: false}}
bgp:
  mesh: false
  holdTime: 180
  bfdProfiles: {{fast: {{{profile}}}}}
  peers:
    - {{address: 10.51.1.2, asn: 65001{bfd}}}
    - {{address: 10.51.2.2, asn: 65001{bfd}}}
"
    )
}

const FAST: &str = "minTx: 100, minRx: 100, multiplier: 3";

fn deploy() -> Stage {
    let own = config(FAST, ", bfd: fast");
    let files = [
        ("daemons", DAEMONS),
        ("vtysh.conf", "service integrated-vtysh-config\n"),
        ("frr.conf", FRR),
        ("bird.conf", BIRD),
        ("n1.yaml", own.as_str()),
    ];
    let stage = Stage::written("bfd", TOPOLOGY, &files);
    for (_, address, ..) in ROUTERS {
        await_up(&stage, address);
    }
    stage
}

fn session(stage: &Stage, address: &str) -> Option<Value> {
    let all = stage.ask("n1", "bgp bfd");
    all["items"].as_array()?.iter().find(|it| it["address"] == address).cloned()
}

fn peer(stage: &Stage, address: &str) -> Value {
    let all = stage.ask("n1", "bgp peers");
    all["items"].as_array().unwrap().iter().find(|it| it["address"] == address).cloned().unwrap()
}

/// BGP is Established and BFD is Up, at its own pace on both sides.
fn await_up(stage: &Stage, address: &str) -> Value {
    until(&format!("BGP and BFD with {address} are up"), || {
        let paced = session(stage, address).filter(|it| {
            it["state"] == "Up" && it["remoteState"] == "Up" && it["detectionTimeSeconds"].as_f64().unwrap_or(9.0) < 0.5
        });
        paced.filter(|_| peer(stage, address)["state"] == "Established")
    })
}

/// Routes and what they lean on, which may be gone between the two looks.
fn kernel(stage: &Stage, prefix: &str) -> String {
    stage.good("n1", &format!("ip route show {prefix} proto 178; for n in $(ip route show {prefix} proto 178 | sed -n 's/.*nhid \\([0-9]*\\).*/\\1/p'); do ip nexthop show id $n || true; done"))
}

/// Nothing comes in or goes out any more, and no carrier is lost.
fn cut(stage: &Stage, router: &str) {
    stage.good(
        router,
        "nft -f - <<'X'
table inet cut {
  chain in { type filter hook prerouting priority -400; policy drop; }
  chain out { type filter hook output priority -400; policy drop; }
}
X",
    );
}

/// Seconds of a line of `ip -ts monitor`: `[2026-05-04T12:00:00.250000] …`.
fn second(line: &str) -> f64 {
    let time = line.strip_prefix('[').and_then(|line| line.split_once(']')).unwrap().0;
    let clock = time.split_once('T').unwrap().1;
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

/// Each router in turn: with both of them BFD is all that notices in time, as their hold times are three minutes.
///
/// Checklist: 98
#[test]
fn a_link_that_dies_in_silence_loses_its_routes_within_the_detection_time() {
    let stage = deploy();
    for (router, address, only, others) in ROUTERS {
        await_up(&stage, address);
        until("both next hops are in the kernel", || {
            let both = kernel(&stage, "10.244.200.0/24");
            ROUTERS.iter().all(|(_, address, ..)| both.contains(&format!("via {address} "))).then_some(())
        });
        until("its own prefix is in the kernel", || (!kernel(&stage, only).is_empty()).then_some(()));
        let detection = session(&stage, address).unwrap()["detectionTimeSeconds"].as_f64().unwrap();
        stage.good("n1", "ip -ts monitor route >/tmp/monitor 2>&1 & echo $! >/tmp/monitor.pid; sleep 0.2");
        cut(&stage, router);
        // The clock of all nodes is this machine's; the cut was in place at this moment at the latest.
        let at = stage.good("n1", "date +[%Y-%m-%dT%H:%M:%S.%6N]");
        until("the routes that it alone had are out of the kernel", || kernel(&stage, only).is_empty().then_some(()));
        let words = peer(&stage, address)["lastError"].as_str().unwrap_or_default().to_owned();
        assert!(words.starts_with("BFD session down: control detection time expired"), "{router}: {words}");
        stage.good("n1", "kill $(cat /tmp/monitor.pid)");
        let monitor = stage.good("n1", "cat /tmp/monitor");
        let gone = monitor.lines().find(|line| line.contains(&format!("Deleted {only}")));
        let gone = gone.unwrap_or_else(|| panic!("{router}: no deletion of {only} in\n{monitor}"));
        let took = second(gone) - second(at.trim());
        println!(
            "{router}: cut in silence, {only} out of the kernel after {:.0} ms; BFD notices within {:.0} ms",
            took * 1000.0,
            detection * 1000.0
        );
        assert!(detection <= 0.3 + 1e-6, "{detection}");
        assert!(took < 1.0, "{router}: {took} s");
        // What both had was never without a route, and what the other has is as it was.
        assert!(!monitor.contains("Deleted 10.244.200.0/24"), "{monitor}");
        let left = kernel(&stage, "10.244.200.0/24");
        assert!(!left.is_empty() && !left.contains(address), "{left}");
        assert!(!kernel(&stage, others).is_empty());
        stage.good(router, "nft delete table inet cut");
        await_up(&stage, address);
    }
}

/// Other intervals by a Poll Sequence, then none, then BFD again: neither BFD nor BGP comes down for it.
///
/// Checklist: 100
#[test]
fn intervals_change_with_real_routers_without_a_flap() {
    let stage = deploy();
    // FRR begins its BFD session once more when BGP has come up.
    let counts = |address: &str| session(&stage, address).map(|it| (it["ups"].clone(), it["failures"].clone()));
    let before = ROUTERS.map(|(router, address, ..)| {
        until(&format!("{router} has been up for some seconds"), || {
            (peer(&stage, address)["uptimeSeconds"].as_f64()? > 4.0).then_some(())
        });
        await_up(&stage, address);
        counts(address)
    });
    let since: Vec<Value> = ROUTERS.iter().map(|(_, address, ..)| peer(&stage, address)["since"].clone()).collect();
    let reload = |text: &str| {
        stage.good("n1", &format!("cat >/etc/biplane/config.yaml <<'X'\n{text}X\nbiplane config reload"));
    };
    for (interval, multiplier) in [(250, 5), (80, 4), (100, 3)] {
        reload(&config(&format!("minTx: {interval}, minRx: {interval}, multiplier: {multiplier}"), ", bfd: fast"));
        let seconds = f64::from(interval.max(100)) / 1000.0;
        for ((router, address, ..), before) in ROUTERS.into_iter().zip(&before) {
            until(&format!("{router} sends and is sent to every {seconds} s"), || {
                let it = session(&stage, address)?;
                let near = |key: &str, wanted: f64| (it[key].as_f64().unwrap_or_default() - wanted).abs() < 1e-6;
                (near("transmitIntervalSeconds", seconds) && near("detectionTimeSeconds", 3.0 * seconds)).then_some(())
            });
            let it = session(&stage, address).unwrap();
            assert_eq!((&counts(address), &it["state"]), (before, &"Up".into()), "{it}");
        }
        let frr: Vec<Value> = serde_json::from_str(&stage.good("frr", "vtysh -c 'show bfd peers json'")).unwrap();
        assert_eq!(
            (&frr[0]["status"], &frr[0]["remote-detect-multiplier"]),
            (&"up".into(), &multiplier.into()),
            "{frr:?}"
        );
    }
    let now: Vec<Value> = ROUTERS.iter().map(|(_, address, ..)| peer(&stage, address)["since"].clone()).collect();
    assert_eq!(now, since, "the BGP sessions are the same");
}
