//! Uplinks without addresses: FRR's `neighbor INTERFACE interface` at the other ends.

use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::cluster::Tables;

use crate::fabric::Fabric;

const UPLINKS: [(&str, &str); 2] = [("eth1", "tor1"), ("eth2", "tor2")];
/// What has not come about by then never will, even on a loaded machine.
const LONG: Duration = Duration::from_secs(60);

/// Every node reaches every pod CIDR of both families over both routers' link-local addresses, and has no IPv4 address of
/// the fabric; its sessions are known by interface.
pub fn equal_paths_over_link_local_next_hops(fabric: &Fabric) {
    for node in ["n1", "n2"] {
        let expected = UPLINKS.map(|(uplink, tor)| (link_local(fabric, tor, node), uplink.to_string()));
        for (other, cidr, hops) in fabric.ways(node) {
            assert_eq!(hops, expected, "from {node} to {cidr} of {other}");
            if !cidr.contains(':') {
                let text = fabric.lab.shell(node, &format!("ip -4 route show {cidr}")).unwrap();
                for (gateway, uplink) in &expected {
                    assert!(text.contains(&format!("via inet6 {gateway} dev {uplink}")), "{node}: {text}");
                }
            }
        }
        let peers = peers(fabric, node);
        let known: Vec<String> = peers.iter().map(|peer| text(&peer["address"])).collect();
        assert_eq!(known, expected.map(|(gateway, uplink)| format!("{gateway}%{uplink}")), "{peers:#?}");
        let asns: Vec<u64> = peers.iter().filter_map(|peer| peer["asn"].as_u64()).collect();
        assert_eq!(asns, [65101, 65102], "one is configured, one is told by the router");
        let interfaces: Vec<String> = peers.iter().map(|peer| text(&peer["interface"])).collect();
        assert_eq!(interfaces, ["eth1", "eth2"]);
    }
}

/// One uplink goes down: its peer and its next hop go, the other one carries on; it comes up and both are back.
pub fn an_uplink_goes_and_comes_back(fabric: &Fabric) {
    let hops = |node: &str| -> Vec<Vec<String>> {
        let tables = Tables::read(&fabric.lab, node).unwrap();
        let others = fabric.pod_cidrs().into_iter().filter(|(other, _)| other != node);
        let cidrs = others.flat_map(|(_, cidrs)| cidrs);
        cidrs.map(|cidr| tables.hops(&cidr).into_iter().map(|(_, device)| device).collect()).collect()
    };
    fabric.lab.shell("n1", "ip link set eth1 down").unwrap();
    until("n1 and n2 send by eth2 alone", || {
        ["n1", "n2"].iter().all(|node| hops(node).iter().all(|on| on == &["eth2"]))
    });
    let of_n1 = peers(fabric, "n1");
    assert_eq!(of_n1.len(), 1, "who was behind the interface is no peer any more: {of_n1:#?}");
    assert_eq!(text(&of_n1[0]["interface"]), "eth2");
    let status: Value = ask(fabric, "n1", "bgp peers");
    assert_eq!(text(&status["undiscovered"][0]["interface"]), "eth1", "{status:#}");
    assert_eq!(text(&status["undiscovered"][0]["why"]), "interface eth1 is down");

    fabric.lab.shell("n1", "ip link set eth1 up").unwrap();
    until("both uplinks carry again", || {
        ["n1", "n2"].iter().all(|node| hops(node).iter().all(|on| on == &["eth1", "eth2"]))
    });
    equal_paths_over_link_local_next_hops(fabric);
}

/// The address of a router on its link to a node.
fn link_local(fabric: &Fabric, tor: &str, node: &str) -> String {
    let text = fabric.lab.shell(tor, &format!("ip -j -6 address show dev {node} scope link")).unwrap();
    let found: Value = serde_json::from_str(&text).unwrap();
    self::text(&found[0]["addr_info"][0]["local"])
}

/// The node's peers, by interface.
fn peers(fabric: &Fabric, node: &str) -> Vec<Value> {
    let mut items = ask(fabric, node, "bgp peers")["items"].as_array().cloned().unwrap_or_default();
    items.sort_by_key(|peer| text(&peer["interface"]));
    items
}

fn ask(fabric: &Fabric, node: &str, words: &str) -> Value {
    serde_json::from_str(&fabric.lab.shell(node, &format!("biplane {words} -o json")).unwrap()).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {} s: {what}", LONG.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}
