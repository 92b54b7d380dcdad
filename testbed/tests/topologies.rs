//! Every topology of this repository, with real routers: pods reach each other on both planes, a cluster moves from one
//! to the other and back without losing a packet, and nothing of the plane that went stays behind.
//!
//! Needs root, FRR, BIRD, GoBGP and BIPLANE_BIN_DIR; without them every test here fails.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, dead_code)]

#[path = "topologies/fabric.rs"]
mod fabric;
mod recordings;
#[path = "topologies/unnumbered.rs"]
mod unnumbered;

use std::time::{Duration, Instant};

use fabric::Fabric;
use model::{Owner, Plane};
use testbed::cluster::Stand;

const OVERLAY: &str = Owner::VXLAN_DEVICE;
/// How long the mixed cluster is looked at.
const STEADY: Duration = Duration::from_secs(60);

#[test]
fn five_nodes_in_an_automatic_mesh() {
    there_and_back("mesh5", |_| {}, &[]);
}

#[test]
fn frr_leaves_and_spine_with_equal_paths() {
    let script = "ip route; ip -6 route; vtysh -c 'show bgp ipv4 unicast' -c 'show bgp ipv6 unicast'";
    there_and_back("leaf-spine", equal_paths, &[("tor1", script), ("tor2", script), ("spine", script)]);
}

/// Every node has both top-of-rack routers in one nexthop group, for every pod CIDR of both families.
fn equal_paths(fabric: &Fabric) {
    for (number, node) in fabric.cluster().nodes().iter().enumerate() {
        let rack = number + 1;
        for (other, cidr, hops) in fabric.ways(node) {
            let expected = if cidr.contains(':') {
                [(format!("fd01:{rack}::1"), "eth1".to_string()), (format!("fd02:{rack}::1"), "eth2".to_string())]
            } else {
                [(format!("10.1.{rack}.1"), "eth1".to_string()), (format!("10.2.{rack}.1"), "eth2".to_string())]
            };
            assert_eq!(hops, expected, "from {node} to {cidr} of {other}");
        }
    }
}

/// Checklist: 32, 33
#[test]
fn unnumbered_uplinks_to_frr() {
    let script = "ip route; ip -6 route; vtysh -c 'show bgp ipv4 unicast' -c 'show bgp ipv6 unicast'";
    let native = unnumbered::equal_paths_over_link_local_next_hops;
    let fabric = there_and_back("unnumbered", native, &[("tor1", script), ("tor2", script)]);
    fabric.switch(Plane::Native);
    unnumbered::an_uplink_goes_and_comes_back(&fabric);
}

#[test]
fn bird_as_route_server() {
    there_and_back("bird", one_hop_to_the_node_itself, &[("rs", "birdc show route")]);
}

#[test]
fn gobgp_as_top_of_rack() {
    let script = "gobgp global rib -a ipv4; gobgp global rib -a ipv6";
    there_and_back("gobgp", one_hop_to_the_node_itself, &[("tor", script)]);
}

/// Route server and reflector keep the next hop: packets go straight to the other node, not through the router.
fn one_hop_to_the_node_itself(fabric: &Fabric) {
    let nodes = fabric.cluster().nodes().to_vec();
    for (number, node) in nodes.iter().enumerate() {
        for (other, cidr, hops) in fabric.ways(node) {
            let place = nodes.iter().position(|n| *n == other).unwrap();
            assert_ne!(number, place);
            let end = if cidr.contains(':') { format!("::{}", place + 1) } else { format!(".0.{}", place + 1) };
            assert_eq!(hops.len(), 1, "from {node} to {cidr} of {other}: {hops:?}");
            assert!(hops[0].0.ends_with(&end) && hops[0].1 == "eth1", "from {node} to {cidr} of {other}: {hops:?}");
        }
    }
}

/// The router between the subnets knows no pod CIDR. One rule everywhere: the preferred plane where it is usable, else the
/// other one.
#[test]
fn two_subnets_native_inside_overlay_across() {
    let fabric = Fabric::deploy("two-subnets", |stand| stand.is_steady(Plane::Overlay));
    let mut probes = fabric.probe();
    let nodes = fabric.cluster().nodes().to_vec();
    let subnet = |node: &str| nodes.iter().position(|n| n == node).unwrap() / 2;
    let all_overlay = |when: &str| {
        println!("{when}");
        nodes.iter().for_each(|node| fabric.leaves_by(node, |_| OVERLAY));
    };
    all_overlay("mode vxlan from the start");
    fabric.all_reach_each_other(&mut probes, "vxlan");

    fabric.switch(Plane::Native);
    fabric.all_reach_each_other(&mut probes, "bgp");
    for node in &nodes {
        fabric.leaves_by(node, |other| if subnet(other) == subnet(node) { "eth1" } else { OVERLAY });
    }
    fabric.router_knows("router", "ip route; ip -6 route", false);

    fabric.switch(Plane::Overlay);
    all_overlay("mode vxlan again");
    fabric.all_reach_each_other(&mut probes, "vxlan again");
    fabric.prove(probes);
}

/// Two nodes send over the overlay, two natively, to everybody; then all move together.
#[test]
fn a_mixed_cluster_is_steady() {
    let preferred = |stand: &Stand| if ["n1", "n2"].contains(&&*stand.node) { Plane::Overlay } else { Plane::Native };
    let fabric = Fabric::deploy("mixed", |stand| stand.is_steady(preferred(stand)) && stand.routes == 6);
    let device = |node: &str| if ["n1", "n2"].contains(&node) { OVERLAY } else { "eth1" };
    let nodes = fabric.cluster().nodes().to_vec();
    nodes.iter().for_each(|node| fabric.leaves_by(node, |_| device(node)));
    let mut probes = fabric.probe();
    let began = Instant::now();
    while began.elapsed() < STEADY {
        fabric.all_reach_each_other(&mut probes, "mixed");
        nodes.iter().for_each(|node| fabric.leaves_by(node, |_| device(node)));
        std::thread::sleep(Duration::from_secs(4).min(STEADY.saturating_sub(began.elapsed())));
    }
    fabric.switch(Plane::Native);
    fabric.all_reach_each_other(&mut probes, "all bgp");
    nodes.iter().for_each(|node| fabric.leaves_by(node, |_| "eth1"));
    fabric.switch(Plane::Overlay);
    fabric.all_reach_each_other(&mut probes, "all vxlan");
    nodes.iter().for_each(|node| fabric.leaves_by(node, |_| OVERLAY));
    fabric.prove(probes);
}

/// vxlan, bgp, and vxlan again. `native` looks at the kernels while BGP carries; the routers' scripts print all that they
/// know.
fn there_and_back(topology: &str, native: impl Fn(&Fabric), routers: &[(&str, &str)]) -> Fabric {
    let fabric = Fabric::deploy(topology, |stand| stand.is_steady(Plane::Overlay));
    let mut probes = fabric.probe();
    let nodes = fabric.cluster().nodes().to_vec();
    let all_overlay = || nodes.iter().for_each(|node| fabric.leaves_by(node, |_| OVERLAY));
    all_overlay();
    fabric.nothing_left(Plane::Native);
    fabric.all_reach_each_other(&mut probes, "vxlan");

    fabric.switch(Plane::Native);
    fabric.nothing_left(Plane::Overlay);
    fabric.all_reach_each_other(&mut probes, "bgp");
    native(&fabric);
    routers.iter().for_each(|(router, script)| fabric.router_knows(router, script, true));

    fabric.switch(Plane::Overlay);
    fabric.nothing_left(Plane::Native);
    all_overlay();
    routers.iter().for_each(|(router, script)| fabric.router_knows(router, script, false));
    fabric.all_reach_each_other(&mut probes, "vxlan again");
    fabric.prove(probes);
    fabric
}
