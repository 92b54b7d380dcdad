//! A node is drained and comes back while packets are counted, with the overlay as the way around and without one.
//!
//! Needs root and BIPLANE_BIN_DIR; without them every test here fails.

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
