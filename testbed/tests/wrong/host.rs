//! What a host can have in the way.

use std::net::UdpSocket;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use super::{kernel_of, same, says, start, switched};
use crate::stage::{Stage, inside, until};

fn config(mode: &str, more: &str) -> String {
    format!("mode: {mode}\npools:\n  - {{cidr: 10.244.0.0/16, nodePrefix: 24}}\n{more}")
}

/// Holds something in the network namespace of a node until it is dropped.
struct Held {
    release: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Held {
    fn new<T: 'static>(stage: &Stage, node: &str, take: impl FnOnce() -> T + Send + 'static) -> Held {
        let (release, released) = channel::<()>();
        let (taken, is_taken) = channel();
        let thread = inside(stage, node, move || {
            let _held = take();
            taken.send(()).unwrap();
            let _ = released.recv();
        });
        is_taken.recv().unwrap();
        Held { release: Some(release), thread: Some(thread) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_pool_with_fewer_blocks_than_nodes_stalls_only_the_node_that_has_none() {
    let stage = switched("full", &["n1", "n2", "n3"]);
    let small = "mode: vxlan\npools:\n  - {cidr: 10.244.0.0/23, nodePrefix: 24}\n";
    for node in ["n1", "n2"] {
        start(&stage, node, small);
        stage.good(node, "biplane status --wait --timeout 60s");
    }
    until("n1 reaches n2", || (stage.ask("n1", "status")["destinations"]["overlay"] == 1).then_some(()));
    let others = kernel_of(&stage, "n1");
    start(&stage, "n3", small);
    let words = [
        "pool 10.244.0.0/23 is exhausted: 2 of 2 blocks claimed, 0 in quarantine",
        "add a pool, or one with a longer nodePrefix",
    ];
    let output = until("n3 says that the pool is exhausted", || {
        let output = stage.run("n3", "biplane status");
        output.stderr.contains("exhausted").then_some(output)
    });
    assert_eq!(output.return_code, 1);
    says(&output.stderr, &words);
    says(&output.stdout, &words);
    says(&stage.log("n3"), &words);
    let check = stage.run("n3", "biplane ipam check");
    assert_eq!(check.return_code, 1);
    says(&check.stdout, &["PoolExhausted", "add a pool"]);
    assert_eq!(stage.run("n3", "biplane status --wait --timeout 0s").return_code, 4);
    same(&others, &kernel_of(&stage, "n1"), "the others go on as before");
    let claimed = stage.good("n3", "ls /var/lib/biplane/store/claims | wc -l");
    assert_eq!(claimed.trim(), "2");

    // The cure that was named.
    super::write(&stage, "n3", super::CONFIG, &format!("{small}  - {{cidr: 10.245.0.0/24, nodePrefix: 25}}\n"));
    stage.good("n3", "biplane status --wait --timeout 60s");
    let status = stage.ask("n3", "status");
    assert!(status["podCidrs"][0].as_str().unwrap().starts_with("10.245.0."), "{status}");
    assert_eq!(stage.run("n3", "biplane ipam check").return_code, 0);
}

#[test]
fn a_second_daemon_with_a_nodes_name_refuses_to_run() {
    let stage = switched("twins", &["n1", "n2"]);
    start(&stage, "n1", &config("vxlan", ""));
    stage.good("n1", "biplane status --wait --timeout 60s");
    let before = (kernel_of(&stage, "n1") + &kernel_of(&stage, "n2"), claims(&stage));
    super::write(&stage, "n2", super::CONFIG, &config("vxlan", "node: {name: n1}\n"));
    let output = stage.run("n2", "timeout 20 biplaned");
    assert_eq!(output.return_code, 1, "{}", output.stderr);
    says(&output.stderr, &["another daemon runs as node n1", "node.name"]);
    // Nor does a second one on the same host.
    let output = stage.run("n1", "timeout 20 biplaned");
    assert_eq!(output.return_code, 1, "{}", output.stderr);
    says(&output.stderr, &["another biplaned (pid ", "/run/biplane/biplane.sock"]);
    same(&before.0, &(kernel_of(&stage, "n1") + &kernel_of(&stage, "n2")), "both");
    assert_eq!(claims(&stage), before.1);
    stage.good("n1", "biplane status");
    // Under its own name it runs.
    start(&stage, "n2", &config("vxlan", ""));
    stage.good("n2", "biplane status --wait --timeout 60s");
}

fn claims(stage: &Stage) -> String {
    stage.good("n1", "cd /var/lib/biplane/store/claims && grep . *")
}

#[test]
fn a_bgp_port_that_is_taken_is_named_and_taken_over_when_it_is_free() {
    let stage = switched("port", &["n1", "n2"]);
    let bird = "router id 10.40.0.1;\nprotocol device {}\n\
        protocol bgp b1 { local as 65009; neighbor 10.40.0.99 as 65010; passive; ipv4 { import none; export none; }; }\n";
    super::write(&stage, "n1", "/etc/biplane/bird.conf", bird);
    stage.good("n1", "bird -c /etc/biplane/bird.conf -s /run/bird/ctl");
    for node in ["n1", "n2"] {
        start(&stage, node, &config("bgp", ""));
    }
    let words = ["port 179 is taken by bird (pid ", "stop it, or set bgp.port"];
    until("n1 says that the port is taken", || {
        let peers = stage.run("n1", "biplane bgp peers");
        words.iter().all(|word| peers.stderr.contains(word)).then_some(())
    });
    says(&stage.log("n1"), &words);
    let status = stage.run("n1", "biplane status");
    assert_eq!(status.return_code, 1);
    says(&status.stderr, &words);
    // It dials all the same.
    until("n1 has a session", || (stage.ask("n1", "status")["peersUp"] == 1).then_some(()));
    stage.good("n1", "birdc -s /run/bird/ctl down");
    stage.good("n1", "biplane status --wait --timeout 60s");
    assert_eq!(stage.ask("n1", "bgp peers")["listening"], true);
    assert!(!stage.run("n1", "biplane bgp peers").stderr.contains("port 179"));
}

/// Checklist: 118
#[test]
fn a_vni_that_another_device_has_is_named_and_taken_over_when_it_is_free() {
    let stage = switched("vni", &["n1", "n2"]);
    stage.good(
        "n1",
        "ip link add flannel.1 type vxlan id 178 dev eth1 local 10.40.0.1 dstport 4789 && ip link set flannel.1 up",
    );
    let flannel = stage.good("n1", "ip -d link show flannel.1");
    for node in ["n1", "n2"] {
        start(&stage, node, &config("vxlan", ""));
    }
    let words =
        ["VXLAN device flannel.1 with VNI 178 on UDP port 4789 is in the way", "ip link del flannel.1", "vxlan.vni"];
    let output = until("n1 says who has the VNI", || {
        let output = stage.run("n1", "biplane status");
        words.iter().all(|word| output.stderr.contains(word)).then_some(output)
    });
    assert_eq!(output.return_code, 1);
    says(&output.stdout, &["Not ours, left alone:", "flannel.1"]);
    says(&stage.log("n1"), &["flannel.1"]);
    assert_eq!(stage.good("n1", "ip -d link show flannel.1"), flannel, "it is left alone");
    assert!(!stage.good("n1", "ip -4 route").contains("flannel.1"), "nothing leads into it");
    stage.good("n1", "ip link del flannel.1 && biplane status --wait --timeout 60s && ip link show biplane.vxlan up");
}

/// Checklist: 118
#[test]
fn a_udp_port_that_is_taken_is_named_and_taken_over_when_it_is_free() {
    let stage = switched("udp", &["n1", "n2"]);
    let held = Held::new(&stage, "n1", || UdpSocket::bind("0.0.0.0:4789").unwrap());
    for node in ["n1", "n2"] {
        start(&stage, node, &config("vxlan", ""));
    }
    let words = ["UDP port 4789 is taken", "vxlan.port"];
    let output = until("n1 says that the port is taken", || {
        let output = stage.run("n1", "biplane status");
        words.iter().all(|word| output.stderr.contains(word)).then_some(output)
    });
    assert_eq!(output.return_code, 1);
    says(&stage.log("n1"), &words);
    drop(held);
    stage.good("n1", "biplane status --wait --timeout 60s && ip link show biplane.vxlan up");
}

#[test]
fn without_cap_net_admin_nothing_is_begun() {
    let stage = switched("cap", &["n1"]);
    super::write(&stage, "n1", super::CONFIG, &config("vxlan", ""));
    let before = kernel_of(&stage, "n1");
    let output = stage.run("n1", "timeout 20 setpriv --bounding-set=-net_admin --inh-caps=-net_admin biplaned");
    assert_eq!(output.return_code, 1, "{}", output.stderr);
    says(&output.stderr, &["biplaned needs CAP_NET_ADMIN", "start it as root"]);
    same(&before, &kernel_of(&stage, "n1"), "without the right to change it");
    stage.good("n1", "test -z \"$(ls -A /var/lib/biplane/store)\"");
}

/// Checklist: 106
#[test]
fn a_foreign_route_on_our_key_is_left_alone_and_named_from_the_start() {
    let stage = switched("key", &["n1", "n2"]);
    start(&stage, "n2", &config("vxlan", ""));
    stage.good("n2", "biplane status --wait --timeout 60s");
    let cidr = stage.ask("n2", "status")["podCidrs"][0].as_str().unwrap().to_string();
    stage.good("n1", &format!("ip route add {cidr} via 10.40.0.2 metric 1178"));
    let route = stage.good("n1", &format!("ip route show {cidr}"));
    start(&stage, "n1", &config("vxlan", ""));
    let words = [format!("route {cidr}"), "metric 1178, via 10.40.0.2 dev eth1".into(), "remove it".into()];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    until("n1 names the route", || {
        let text = stage.run("n1", "biplane status").stdout;
        words.iter().all(|word| text.contains(word)).then_some(())
    });
    let diff = stage.run("n1", "biplane route list --diff");
    assert_eq!(diff.return_code, 1);
    says(&diff.stdout, &[&cidr, "foreign", "metric 1178, via 10.40.0.2"]);
    assert_eq!(stage.good("n1", &format!("ip route show {cidr}")), route);
    stage.good("n1", &format!("ip route del {cidr} metric 1178"));
    until("ours comes by itself", || stage.run("n1", "biplane route list --diff").return_code.eq(&0).then_some(()));
    says(&stage.good("n1", &format!("ip route show {cidr}")), &["dev biplane.vxlan proto 178"]);
}
