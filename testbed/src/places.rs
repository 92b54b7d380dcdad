//! Where probes run: the pods of a lab, and nodes that say so.
//!
//! Labels of a node, all of them ignored by containerlab:
//! - `biplane.pods: "2"`: how many pods; 1 on a node that mentions `biplaned` in its commands or binds, else 0.
//! - `biplane.cniConfDir: /etc/cni/net.d`: where the node's conflist appears.
//! - `biplane.probe: eth1`: the node itself is a place, with the addresses of that interface.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::lab::Lab;
use crate::lab::state::Place;
use crate::topology::{Kind, Node};

/// The file of the lab's folder that lists its pods.
pub const PODS: &str = "pods.json";

/// How many pods a node gets.
pub fn pod_count(node: &Node) -> Result<usize> {
    if node.kind != Kind::Linux {
        return Ok(0);
    }
    if let Some(text) = node.labels.get("biplane.pods") {
        return text
            .parse()
            .with_context(|| format!("node {:?}: label biplane.pods is {text:?}, expected a whole number", node.name));
    }
    Ok(usize::from(runs_daemon(node)))
}

/// Its commands or binds mention `biplaned`.
pub fn runs_daemon(node: &Node) -> bool {
    node.exec.iter().flatten().any(|word| word.contains("biplaned"))
        || node.binds.iter().any(|bind| bind.target.to_string_lossy().contains("biplaned"))
}

/// Where a node's conflist appears, inside the node.
pub fn cni_folder(node: &Node) -> PathBuf {
    node.labels.get("biplane.cniConfDir").map_or_else(|| PathBuf::from("/etc/cni/net.d"), PathBuf::from)
}

/// Every place of a deployed lab, by name.
pub fn all(lab: &Lab) -> Result<Vec<Place>> {
    let mut places: Vec<Place> = lab.load(PODS).unwrap_or_default();
    for node in lab.topology.nodes.iter().filter(|n| n.kind == Kind::Linux) {
        if let Some(interface) = node.labels.get("biplane.probe") {
            places.push(node_place(lab, node, interface)?);
        }
    }
    places.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(places)
}

/// `ip -j address`, as far as it is of interest.
#[derive(Debug, Deserialize)]
struct Interface {
    mtu: u32,
    addr_info: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    local: Option<IpAddr>,
    scope: String,
}

fn node_place(lab: &Lab, node: &Node, interface: &str) -> Result<Place> {
    let words = ["ip", "-j", "address", "show", "dev", interface].map(String::from);
    let output = lab.exec(node, None, &words)?;
    if !output.is_success() {
        bail!("node {:?}, label biplane.probe: {}", node.name, output.stderr.trim());
    }
    let found: Vec<Interface> = serde_json::from_str(&output.stdout).context("ip -j address")?;
    let Some(found) = found.into_iter().next() else { bail!("node {:?} has no interface {interface}", node.name) };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.addr_info.iter().filter(|a| a.scope == "global").filter_map(|a| a.local) {
        if addresses.iter().all(|a| a.is_ipv4() != address.is_ipv4()) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        bail!("node {:?}, label biplane.probe: {interface} has no global address", node.name);
    }
    Ok(Place { name: node.name.clone(), node: node.name.clone(), pod: None, addresses, mtu: found.mtu })
}
