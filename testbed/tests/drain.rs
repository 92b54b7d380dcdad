//! A node is drained and comes back while packets are counted, with the overlay as the way around and without one.
//!
//! Needs root, BIRD and BIPLANE_BIN_DIR; without them every test here fails.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, dead_code)]

#[path = "topologies/fabric.rs"]
mod fabric;
mod recordings;

use fabric::Fabric;
use model::{Owner, Plane};
use testbed::cluster::Stand;

const OVERLAY: &str = Owner::VXLAN_DEVICE;

/// In the mixed cluster n1 and n2 prefer the overlay, n3 and n4 BGP, and both planes stand everywhere.
///
/// Checklist: 93
#[test]
fn a_node_with_a_way_around_is_drained_without_losing_a_packet() {
    let preferred = |stand: &Stand| if ["n1", "n2"].contains(&&*stand.node) { Plane::Overlay } else { Plane::Native };
    let fabric = Fabric::deploy("mixed", |stand| stand.is_steady(preferred(stand)) && stand.routes == 6);
    fabric.leaves_by("n4", |_| "eth1");
    let mut probes = fabric.probe();
    fabric.all_reach_each_other(&mut probes, "before");
    let said = fabric.lab.shell("n3", "biplane node drain --wait").unwrap();
    println!("{said}");
    // Whoever sent to it natively takes the overlay, and so does it; the others' ways are as they were.
    fabric.leaves_by("n3", |_| OVERLAY);
    fabric.leaves_by("n4", |other| if other == "n3" { OVERLAY } else { "eth1" });
    fabric.until("the sessions are closed", |stands| {
        stands.iter().all(|stand| {
            stand.peers
                == match &*stand.node {
                    "n3" => "0/0",
                    _ => "2/3",
                }
        })
    });
    fabric.all_reach_each_other(&mut probes, "drained");
    fabric.lab.shell("n3", "biplane node undrain").unwrap();
    fabric.until("the sessions are back", |stands| stands.iter().all(|stand| stand.peers == "3/3"));
    fabric.leaves_by("n3", |_| "eth1");
    fabric.leaves_by("n4", |_| "eth1");
    fabric.all_reach_each_other(&mut probes, "after");
    fabric.prove(probes);
}

/// Nothing but BGP stands: the node is the only origin of its pod CIDRs, so its sessions stay, and it says why.
#[test]
fn a_node_without_a_way_around_keeps_its_sessions_and_says_so() {
    let fabric = Fabric::deploy("mesh5", |stand| stand.is_steady(Plane::Overlay));
    fabric.switch(Plane::Native);
    let mut probes = fabric.probe();
    let words = ["biplane", "node", "drain", "--wait", "--timeout", "13s"].map(String::from);
    let output = fabric.lab.exec(fabric.lab.node("n2").unwrap(), None, &words).unwrap();
    assert_eq!(output.return_code, 4, "{output:?}");
    assert!(output.stderr.contains("vxlan is not its fallback"), "{output:?}");
    let status = fabric.lab.shell("n2", "biplane status -o json").unwrap();
    assert!(status.contains("\"held\"") && status.contains("the drain: "), "{status}");
    fabric.until("all sessions are up", |stands| stands.iter().all(|stand| stand.peers == "4/4"));
    fabric.all_reach_each_other(&mut probes, "held");
    fabric.prove(probes);
}

/// BIRD as a route server keeps LOCAL_PREF to itself and passes the mark on.
///
/// Checklist: 93
#[test]
fn a_node_below_bird_is_drained_without_losing_a_packet() {
    let show = |cidr: &str| format!("birdc show route {cidr} all || true");
    drained_below(
        "bird",
        2,
        &["rs"],
        show,
        |text| text.contains("(65535,0)"),
        |text| text.contains("BGP.origin") && !text.contains("(65535,0)"),
    );
}

/// The last node of a topology is drained and comes back. `show` asks a router for a pod CIDR; `leaves` and `stays` look at
/// the answer.
fn drained_below(
    topology: &str,
    peers: usize,
    routers: &[&str],
    show: impl Fn(&str) -> String,
    leaves: impl Fn(&str) -> bool,
    stays: impl Fn(&str) -> bool,
) {
    let fabric = Fabric::deploy(topology, |stand| stand.is_steady(Plane::Overlay));
    let nodes = fabric.cluster().nodes().to_vec();
    // Both planes are to stand; the files of these topologies say so of none.
    for node in &nodes {
        let script = "kill $(pidof biplaned) && while pidof biplaned >/dev/null; do sleep 0.05; done; biplaned --config \
                      /etc/biplane/config.yaml --set fallback=true </dev/null >>/var/log/biplaned.log 2>&1 &";
        fabric.lab.shell(node, script).unwrap();
    }
    fabric.until("both planes stand", |stands| {
        stands.iter().all(|stand| stand.is_steady(Plane::Overlay) && stand.fallback)
    });
    fabric.switch(Plane::Native);
    let mut probes = fabric.probe();
    let (drained, others) = nodes.split_last().unwrap();
    let all = format!("{peers}/{peers}");
    fabric.until("all sessions are up", |stands| stands.iter().all(|stand| stand.peers == all));
    let natively = |node: &String, to: Option<&str>| {
        let ways = fabric.ways(node);
        ways.iter().filter(|(other, ..)| to.is_none_or(|to| to == other)).all(|(_, _, hops)| {
            let none_by_overlay = hops.iter().all(|(_, device)| device != OVERLAY);
            hops.len() == routers.len() && none_by_overlay
        })
    };
    fabric.comes("every route is native", || nodes.iter().all(|node| natively(node, None)));
    fabric.all_reach_each_other(&mut probes, "before");
    let cidrs = fabric.pod_cidrs().remove(drained).unwrap();
    let ask = |router: &str, cidr: &str| fabric.lab.shell(router, &show(cidr)).unwrap();
    let everywhere =
        |holds: &dyn Fn(&str) -> bool| routers.iter().all(|router| cidrs.iter().all(|cidr| holds(&ask(router, cidr))));
    fabric.comes("the routers know the paths", || everywhere(&stays));

    fabric.lab.shell(drained, "biplane node drain").unwrap();
    fabric.comes("the routers see GRACEFUL_SHUTDOWN", || everywhere(&leaves));
    // While the sessions are still up, everybody has moved away.
    fabric.leaves_by(drained, |_| OVERLAY);
    fabric.comes("the others take the overlay, and among themselves BGP", || {
        others.iter().all(|node| {
            let to_drained: Vec<_> = fabric.ways(node).into_iter().filter(|(other, ..)| other == drained).collect();
            let moved = to_drained.iter().all(|(_, _, hops)| hops.iter().all(|(_, device)| device == OVERLAY));
            moved && others.iter().filter(|other| *other != node).all(|other| natively(node, Some(other)))
        })
    });
    let of_drained = |stands: &[Stand]| stands.iter().find(|stand| stand.node == *drained).unwrap().peers.clone();
    fabric.until("the sessions are closed", |stands| of_drained(stands) == "0/0");
    fabric.comes("the routers have forgotten the paths", || everywhere(&|text| !leaves(text) && !stays(text)));
    fabric.all_reach_each_other(&mut probes, "drained");

    fabric.lab.shell(drained, "biplane node undrain").unwrap();
    fabric.until("the sessions are back", |stands| stands.iter().all(|stand| stand.peers == all));
    fabric.comes("the routers know the paths again", || everywhere(&stays));
    fabric.comes("every route is native again", || nodes.iter().all(|node| natively(node, None)));
    fabric.all_reach_each_other(&mut probes, "after");
    fabric.prove(probes);
}
