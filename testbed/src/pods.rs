//! Pods of a lab: network namespaces that the node's own conflist connects, as a container runtime would.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::lab::state::Place;
use crate::lab::{Interrupt, Lab, poll};
use crate::places::{PODS, cni_folder, pod_count};
use crate::topology::Node;

/// Where Debian's package and most others put the plugins.
const PLUGINS: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];
/// The interface of a pod.
const INTERFACE: &str = "eth0";

/// Starts the pods that the labels ask for, once each node's conflist is there. Gives all of them; those that run already
/// are left alone.
pub fn start(lab: &Lab, limit: Duration, interrupt: &Interrupt) -> Result<Vec<Place>> {
    let mut pods: Vec<Place> = lab.load(PODS).unwrap_or_default();
    for node in &lab.topology.nodes {
        let count = pod_count(node)?;
        if count == 0 {
            continue;
        }
        let conflist = poll(limit, interrupt, || conflist(lab, node)).with_context(|| {
            format!(
                "node {:?} has no *.conflist in {} after {} s: does its daemon run, with cni.confDir set?",
                node.name,
                cni_folder(node).display(),
                limit.as_secs()
            )
        })?;
        for number in 1..=count {
            let name = format!("{}/pod{number}", node.name);
            if pods.iter().all(|p| p.name != name) {
                pods.push(add(lab, node, &format!("pod{number}"), &conflist).with_context(|| format!("pod {name}"))?);
                // After each one, so that `destroy` and a second `start` know of it.
                lab.save(PODS, &pods)?;
            }
        }
    }
    Ok(pods)
}

/// The first conflist in the node's folder, by name, as a runtime picks it.
fn conflist(lab: &Lab, node: &Node) -> Option<Value> {
    let folder = lab.path_in(&node.name, &cni_folder(node)).ok()?;
    let mut files: Vec<PathBuf> = fs::read_dir(folder).ok()?.flatten().map(|e| e.path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "conflist"));
    files.sort();
    serde_json::from_str(&fs::read_to_string(files.first()?).ok()?).ok()
}

fn add(lab: &Lab, node: &Node, pod: &str, conflist: &Value) -> Result<Place> {
    lab.shell(&node.name, &format!("ip netns add {pod} && ip -n {pod} link set lo up"))?;
    let plugins = conflist["plugins"].as_array().context("the conflist has no list of plugins")?;
    let mut result = Value::Null;
    for plugin in plugins {
        let mut config = plugin.clone();
        config["cniVersion"] = conflist["cniVersion"].clone();
        config["name"] = conflist["name"].clone();
        if !result.is_null() {
            config["prevResult"] = result;
        }
        if plugin["capabilities"]["portMappings"] == true {
            config["runtimeConfig"] = json!({"portMappings": []});
        }
        result = run_plugin(lab, node, pod, &config)?;
    }
    let addresses: Vec<IpAddr> = result["ips"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|ip| ip["address"].as_str()?.split('/').next()?.parse().ok())
        .collect();
    if addresses.is_empty() {
        bail!("the plugins gave no address: {result}");
    }
    let mtu = lab.shell(&node.name, &format!("ip netns exec {pod} cat /sys/class/net/{INTERFACE}/mtu"))?;
    Ok(Place {
        name: format!("{}/{pod}", node.name),
        node: node.name.clone(),
        pod: Some(pod.to_string()),
        addresses,
        mtu: mtu.trim().parse().context("MTU of the pod")?,
    })
}

/// CNI specification 1.0.0, section 2: environment in, configuration on standard input, result on standard output.
fn run_plugin(lab: &Lab, node: &Node, pod: &str, config: &Value) -> Result<Value> {
    let name = config["type"].as_str().context("a plugin without a type")?;
    let path = PLUGINS.iter().map(|folder| Path::new(folder).join(name)).find(|p| p.exists());
    let path = path.with_context(|| {
        format!("CNI plugin {name:?} is in none of {}: install containernetworking-plugins", PLUGINS.join(", "))
    })?;
    let mut child = lab
        .command(node, &path)?
        .env("CNI_COMMAND", "ADD")
        .env("CNI_CONTAINERID", format!("{}-{}-{pod}", lab.name(), node.name))
        .env("CNI_NETNS", format!("/run/netns/{pod}"))
        .env("CNI_IFNAME", INTERFACE)
        .env("CNI_PATH", PLUGINS.join(":"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(config.to_string().as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "CNI plugin {name}: {}: {} {}",
            output.status,
            text.trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    // An empty answer means that the result so far stands.
    if text.trim().is_empty() {
        return Ok(config["prevResult"].clone());
    }
    serde_json::from_str(&text).with_context(|| format!("CNI plugin {name} answered {text:?}"))
}
