//! One node below one real router. What a policy accepts from outside the pools, from the router into the kernel and back:
//! pods reach the world by the default route, an administrator's own route stays whatever comes and goes, and takes over when
//! ours is gone. And what a node below its only router must bear: reloads, flaps of the link, flaps of the router.
//!
//! Needs root, BIRD and BIPLANE_BIN_DIR; without them every test here fails.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod stage;

use model::Plane;
use stage::{LONG, Stage, recordings, until};
use testbed::lab::Interrupt;
use testbed::pods;

const TOPOLOGY: &str = "name: outside
prefix: __lab-name
topology:
  defaults: {kind: linux, image: \"biplane/lab:dev\", privileged: false, cap-add: [NET_ADMIN, NET_RAW, SYS_ADMIN]}
  kinds:
    linux: {network-mode: none}
  nodes:
    n1:
      binds: [\"n1.yaml:/etc/biplane/config.yaml:ro\"]
      tmpfs: [/var/lib/biplane, /etc/cni/net.d, /var/lib/cni]
      exec:
        - ip address add 10.50.0.1/24 dev eth1
        - ip address add fd50::1/64 dev eth1 nodad
        - sh -c 'biplaned --config /etc/biplane/config.yaml >/var/log/biplaned.log 2>&1 &'
    bird:
      binds: [\"bird.conf:/etc/bird/bird.conf:ro\"]
      exec:
        - ip address add 10.50.0.100/24 dev eth1
        - ip address add fd50::100/64 dev eth1 nodad
        - ip address add 203.0.113.1/32 dev lo
        - ip address add 2001:db8:ffff::1/128 dev lo
        - sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
        - mkdir -p /run/bird
        - bird -c /etc/bird/bird.conf
  links:
    - {endpoints: [\"n1:eth1\", \"bird:eth1\"], mtu: 1500}
";

const BIRD: &str = "log stderr all;
router id 10.50.0.100;
protocol device {}
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
protocol static { ipv4; route 0.0.0.0/0 unreachable; route 198.51.100.0/24 unreachable; }
protocol static { ipv6; route ::/0 unreachable; }
protocol bgp n4 { local 10.50.0.100 as 65100; neighbor 10.50.0.1 as 64600; ipv4 { import all; export where source = RTS_STATIC; next hop self; }; }
protocol bgp n6 { local fd50::100 as 65100; neighbor fd50::1 as 64600; ipv6 { import all; export where source = RTS_STATIC; next hop self; }; }
";

const CONFIG: &str = "mode: bgp
node: {address: [10.50.0.1, \"fd50::1\"]}
pools:
  - {cidr: 10.244.0.0/16, nodePrefix: 24}
  - {cidr: \"fd44::/48\", nodePrefix: 64}
cni: {confDir: /etc/cni/net.d}
masquerade: {enabled: false}
bgp:
  localAsn: 64600
  mesh: false
  policies:
    world: {rules: [{name: default, match: {prefixes: [0.0.0.0/0, \"::/0\"]}, then: accept}]}
  peers:
    - {address: 10.50.0.100, asn: 65100, import: world}
    - {address: \"fd50::100\", asn: 65100, import: world}
";

/// The outside, by family: what names the default route, the option of ip(8), an address out there, the router.
const FAMILIES: [(&str, &str, &str, &str); 2] =
    [("0.0.0.0/0", "-4", "203.0.113.1", "10.50.0.100"), ("::/0", "-6", "2001:db8:ffff::1", "fd50::100")];

#[test]
fn a_default_route_by_policy_leads_pods_out_and_an_administrators_own_stays() {
    let stage = Stage::written("outside", TOPOLOGY, &[("bird.conf", BIRD), ("n1.yaml", CONFIG)]);
    stage.steady(Plane::Native);
    let defaults = |option: &str| stage.good("n1", &format!("ip {option} route show default"));
    let ours = |option: &str| defaults(option).lines().filter(|line| line.contains("proto 178")).count();
    for (_, option, ..) in FAMILIES {
        until("our default route is in the kernel", || (ours(option) == 1).then_some(()));
        let shown = stage.good("n1", &format!("ip -d {option} route show default proto 178"));
        assert!(shown.contains("metric 1178") && !shown.contains(" src "), "{shown}");
        assert!(!stage.good("n1", &format!("ip {option} route")).contains("198.51.100.0"), "no rule names that one");
    }

    pods::start(&stage.lab, LONG, &Interrupt::default()).unwrap();
    for (_, _, outside, _) in FAMILIES {
        until("the pod reaches the outside and is answered", || reaches(&stage, outside).then_some(()));
    }

    // An administrator's route behind ours is left alone, and told.
    for (prefix, option, _, router) in FAMILIES {
        stage.good("n1", &format!("ip {option} route add default via {router} metric 5000 proto static"));
        let own = defaults(option).lines().find(|line| line.contains("5000")).unwrap().trim().to_owned();
        assert!(own.contains(router));
        // Made anew, as after a change of the path, ours meets it at once; a read-back would as well.
        stage.good("n1", &format!("ip {option} route del default proto 178"));
        until("ours is back", || (ours(option) == 1).then_some(()));
        let words = [format!("route {prefix}"), format!("metric 5000, via {router} dev eth1")];
        until("status names the other route", || {
            let status = stage.run("n1", "biplane status").stdout;
            words.iter().all(|word| status.contains(word)).then_some(())
        });
        assert!(defaults(option).contains(&own));
    }

    // Withdrawn, ours goes and the administrator's takes over.
    stage.good("bird", "birdc disable static1 && birdc disable static2");
    for (_, option, outside, router) in FAMILIES {
        until("ours is gone", || (ours(option) == 0).then_some(()));
        let left = defaults(option);
        assert!(
            left.lines().count() == 1 && left.contains(&format!("via {router}")) && left.contains("5000"),
            "{left}"
        );
        assert!(reaches(&stage, outside), "by the administrator's route");
    }

    // A route of the administrator's on our very key: ours waits, and comes by itself when the way is free.
    for (_, option, _, router) in FAMILIES {
        stage.good("n1", &format!("ip {option} route add default via {router} metric 1178 proto static"));
    }
    let keys = FAMILIES.map(|(_, option, ..)| defaults(option));
    stage.good("bird", "birdc enable static1 && birdc enable static2");
    for (prefix, ..) in FAMILIES {
        let words = [format!("route {prefix}"), "metric 1178".to_owned(), "remove it".to_owned()];
        until("status says what is in the way", || {
            let status = stage.run("n1", "biplane status").stdout;
            words.iter().all(|word| status.contains(word)).then_some(())
        });
    }
    assert_eq!(FAMILIES.map(|(_, option, ..)| defaults(option)), keys, "nothing of the administrator's was touched");
    for (_, option, outside, router) in FAMILIES {
        stage.good("n1", &format!("ip {option} route del default via {router} metric 1178"));
        until("ours comes by itself", || (ours(option) == 1).then_some(()));
        assert!(reaches(&stage, outside));
    }
    recordings::keep(&stage.lab, &["n1"]);
    assert!(pods::stop(&stage.lab).is_empty());
}

/// A path whose next hop the kernel refuses is not installed, and neither does the one stay that it has replaced.
///
/// Checklist: 110
#[test]
fn a_next_hop_that_the_kernel_refuses_leaves_no_old_route_behind() {
    let config = CONFIG.replace("match: {prefixes: [0.0.0.0/0, \"::/0\"]}", "match: {prefixes: [198.51.100.0/24]}");
    let stage = Stage::written("refused", &named("refused"), &[("bird.conf", BIRD), ("n1.yaml", &config)]);
    stage.steady(Plane::Native);
    let route = || stage.good("n1", "ip route show 198.51.100.0/24 proto 178");
    let next_hop = |address: &str| {
        // The address of the whole network is on the shared subnet, and no gateway.
        let changed = BIRD.replace("ipv4 { import all; export where source = RTS_STATIC; next hop self; }",
            &format!("ipv4 {{ import all; export filter {{ if source != RTS_STATIC then reject; bgp_next_hop = {address}; accept; }}; }}"));
        assert_ne!(changed, BIRD);
        let inside = stage.lab.path_in("bird", "/run/bird/next.conf".as_ref()).unwrap();
        std::fs::write(inside, changed).unwrap();
        stage.good("bird", "birdc configure '\"/run/bird/next.conf\"'");
    };
    until("the route is in the kernel", || route().contains("via 10.50.0.100").then_some(()));
    next_hop("10.50.0.255");
    until("the old route is gone", || route().is_empty().then_some(()));
    let routes = stage.ask("n1", "bgp routes");
    let path = routes["items"].as_array().unwrap().iter().find(|path| path["prefix"] == "198.51.100.0/24").cloned();
    assert_eq!(path.unwrap()["nextHop"], "10.50.0.255", "it is no withdrawal that took the route");
    until("the refusal is told", || {
        stage.log("n1").contains("the kernel refused nexthop via 10.50.0.255").then_some(())
    });
    next_hop("10.50.0.100");
    until("the route is back", || route().contains("via 10.50.0.100").then_some(()));
}

fn named(name: &str) -> String {
    TOPOLOGY.replace("name: outside", &format!("name: {name}"))
}

/// A node whose only router gives it both default routes, with a pod that reaches the outside.
fn world(name: &str) -> Stage {
    let stage = Stage::written(name, &named(name), &[("bird.conf", BIRD), ("n1.yaml", CONFIG)]);
    stage.steady(Plane::Native);
    pods::start(&stage.lab, LONG, &Interrupt::default()).unwrap();
    for (_, _, outside, _) in FAMILIES {
        until("the pod reaches the outside", || reaches(&stage, outside).then_some(()));
    }
    stage
}

fn reaches(stage: &Stage, outside: &str) -> bool {
    stage.run("n1", &format!("ip netns exec pod1 ping -c 1 -W 1 {outside}")).return_code == 0
}

/// What the daemon has in the kernel, without the numbers of nexthop objects.
fn kernel(stage: &Stage) -> String {
    let script = "{ ip route show proto 178; ip -6 route show proto 178; ip nexthop show proto 178; ip -o address show proto 178; } | \
        sed 's/^id [0-9]* //; s/nhid [0-9]* //; s/[a-z]*_lft [a-z0-9]*//g; s/ linkdown//; s/^[0-9]*: //' | sort";
    stage.good("n1", script)
}

/// Since when each session stands, by its peer.
fn sessions(stage: &Stage) -> Vec<(String, String, String)> {
    let document = stage.ask("n1", "bgp peers");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let items = document["items"].as_array().unwrap();
    items.iter().map(|peer| (text(&peer["address"]), text(&peer["state"]), text(&peer["since"]))).collect()
}

/// Two files in turn and a signal each, as a confused deployment tool does it: no session is touched, nothing in the kernel
/// is written that does not change, and the last file is the one that holds.
#[test]
fn a_hundred_reloads_in_a_second_touch_no_session() {
    let stage = world("reloads");
    let file = stage.lab.path_in("n1", "/run/config.yaml".as_ref()).unwrap();
    std::fs::write(&file, CONFIG).unwrap();
    // Its own copy, as the bind of the topology is read-only.
    stage.good("n1", "kill $(pidof biplaned) && while pidof biplaned; do sleep 0.1; done; true");
    stage.start_daemon("n1", "--config /run/config.yaml");
    stage.steady(Plane::Native);
    until("both sessions are up", || sessions(&stage).iter().all(|(_, state, _)| state == "Established").then_some(()));
    let (before, objects) = (sessions(&stage), kernel(&stage));
    assert_eq!(before.len(), 2);
    for round in 0..100 {
        let other = CONFIG.replace(
            "masquerade: {enabled: false}",
            &format!("masquerade: {{enabled: false, exclude: [198.18.{round}.0/24]}}"),
        );
        let fresh = file.with_extension("fresh");
        std::fs::write(&fresh, if round % 3 == 2 { "mode: nonsense" } else { &other }).unwrap();
        std::fs::rename(&fresh, &file).unwrap();
        stage.good("n1", "kill -HUP $(pidof biplaned)");
    }
    until("the last file holds", || {
        let shown = stage.run("n1", "biplane config show").stdout;
        shown.contains("198.18.99.0/24").then_some(())
    });
    assert_eq!(sessions(&stage), before);
    assert_eq!(kernel(&stage), objects);
    assert!(FAMILIES.iter().all(|(_, _, outside, _)| reaches(&stage, outside)));
    assert!(pods::stop(&stage.lab).is_empty());
}

/// Linux takes routes of a link that goes down away without a word, and everything that stood on it.
#[test]
fn a_link_that_flaps_a_hundred_times_is_as_before_when_it_stays() {
    let stage = world("linkflap");
    let before = kernel(&stage);
    stage.good("n1", "sysctl -qw net.ipv6.conf.eth1.keep_addr_on_down=1");
    stage.good(
        "n1",
        "for i in $(seq 100); do ip link set eth1 down; sleep 0.0$((i % 10)); ip link set eth1 up; sleep 0.02; done",
    );
    let began = std::time::Instant::now();
    until("the kernel is as before", || (kernel(&stage) == before).then_some(()));
    for (_, _, outside, _) in FAMILIES {
        until("the pod reaches the outside", || reaches(&stage, outside).then_some(()));
    }
    println!("as before {:.1} s after the last flap", began.elapsed().as_secs_f64());
    assert_eq!(kernel(&stage), before, "and it stays so");
    let leftovers = stage.good(
        "n1",
        "ip nexthop show proto 178 | wc -l; ip nexthop show proto 178 | sed 's/^id [0-9]* //' | sort -u | wc -l",
    );
    let counts: Vec<&str> = leftovers.split_whitespace().collect();
    assert_eq!(counts[0], counts[1], "no nexthop object is there twice");
    assert!(pods::stop(&stage.lab).is_empty());
}

/// Thirty resets in ten seconds: paths come and go, the daemon neither dials in a busy loop nor writes more than a few lines
/// for each, and all is as before in the end.
#[test]
fn a_router_that_resets_its_sessions_thirty_times_costs_some_lines_of_log() {
    let stage = world("peerflap");
    let before = kernel(&stage);
    let lines = || stage.log("n1").lines().count();
    let said = lines();
    for _ in 0..30 {
        stage.good("bird", "birdc restart n4 && birdc restart n6");
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    until("both sessions are up", || sessions(&stage).iter().all(|(_, state, _)| state == "Established").then_some(()));
    until("the kernel is as before", || (kernel(&stage) == before).then_some(()));
    let said = lines() - said;
    println!("{said} lines of log for 60 resets");
    assert!(said < 60 * 8, "{said} lines of log for 60 resets");
    assert!(FAMILIES.iter().all(|(_, _, outside, _)| reaches(&stage, outside)));
    assert!(pods::stop(&stage.lab).is_empty());
}
