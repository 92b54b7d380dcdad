//! Pods of a lab: network namespaces that the node's own conflist connects, as a container runtime would.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
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

/// Asks the plugins whether every pod is still connected as they left it.
pub fn check(lab: &Lab) -> Result<()> {
    let pods: Vec<Place> = lab.load(PODS).unwrap_or_default();
    for (place, known) in each(lab, &pods) {
        let checked = known.and_then(|(node, attachment)| {
            let pod = place.pod.as_deref().unwrap_or_default();
            run(lab, node, pod, &attachment.conflist, Verb::Check, attachment.result)
        });
        checked.with_context(|| format!("pod {}", place.name))?;
    }
    Ok(())
}

/// Disconnects and removes every pod of a lab, as far as its nodes still run. Gives what went wrong, for a lab must be
/// destroyable whatever happened to it.
pub fn stop(lab: &Lab) -> Vec<String> {
    let pods: Vec<Place> = lab.load(PODS).unwrap_or_default();
    let mut complaints = Vec::new();
    for (place, known) in each(lab, &pods).filter(|(place, _)| lab.keeper(&place.node).is_some()) {
        let stopped = known.and_then(|(node, attachment)| {
            let pod = place.pod.as_deref().unwrap_or_default();
            run(lab, node, pod, &attachment.conflist, Verb::Del, attachment.result)?;
            lab.shell(&node.name, &format!("ip netns delete {pod}"))
        });
        if let Err(error) = stopped {
            complaints.push(format!("pod {}: {error:#}", place.name));
        }
    }
    if lab.folder().exists()
        && let Err(error) = lab.save(PODS, &Vec::<Place>::new())
    {
        complaints.push(format!("{error:#}"));
    }
    complaints
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
    let connected = run(lab, node, pod, conflist, Verb::Add, Value::Null).and_then(|result| {
        run(lab, node, pod, conflist, Verb::Check, result.clone())?;
        lab.save(&record(&node.name, pod), &Attachment { conflist: conflist.clone(), result: result.clone() })?;
        place(lab, node, pod, &result)
    });
    if connected.is_err() {
        // What a runtime does after a failed ADD; the error to tell is the first one.
        let _ = run(lab, node, pod, conflist, Verb::Del, Value::Null);
        let _ = lab.shell(&node.name, &format!("ip netns delete {pod}"));
    }
    connected
}

fn place(lab: &Lab, node: &Node, pod: &str, result: &Value) -> Result<Place> {
    let ips = result["ips"].as_array().into_iter().flatten();
    let addresses: Vec<IpAddr> = ips.filter_map(|ip| ip["address"].as_str()?.split('/').next()?.parse().ok()).collect();
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

/// What a runtime remembers of a pod.
#[derive(Debug, Serialize, Deserialize)]
struct Attachment {
    conflist: Value,
    result: Value,
}

/// The file of the lab's folder with a pod's [`Attachment`].
fn record(node: &str, pod: &str) -> String {
    format!("pod-{node}-{pod}.json")
}

fn each<'a>(lab: &'a Lab, pods: &'a [Place]) -> impl Iterator<Item = (&'a Place, Result<(&'a Node, Attachment)>)> {
    pods.iter().map(|place| {
        let known = lab.node(&place.node).and_then(|node| {
            let attachment = lab.load(&record(&node.name, place.pod.as_deref().unwrap_or_default()));
            Ok((node, attachment.context("the lab has no record of how it was connected")?))
        });
        (place, known)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Add,
    Check,
    Del,
}

impl Verb {
    const fn name(self) -> &'static str {
        match self {
            Verb::Add => "ADD",
            Verb::Check => "CHECK",
            Verb::Del => "DEL",
        }
    }
}

/// All plugins of a list, in order; in reverse order for DEL (CNI specification 1.0.0, section 3). `known` is the result
/// of ADD. Gives the result of the last plugin of an ADD.
fn run(lab: &Lab, node: &Node, pod: &str, conflist: &Value, verb: Verb, known: Value) -> Result<Value> {
    let mut plugins = conflist["plugins"].as_array().context("the conflist has no list of plugins")?.clone();
    if verb == Verb::Del {
        plugins.reverse();
    }
    let mut result = known;
    for config in &mut plugins {
        config["cniVersion"] = conflist["cniVersion"].clone();
        config["name"] = conflist["name"].clone();
        if !result.is_null() {
            config["prevResult"] = result.clone();
        }
        if config["capabilities"]["portMappings"] == true {
            config["runtimeConfig"] = json!({"portMappings": []});
        }
        let answer = run_plugin(lab, node, pod, config, verb)?;
        if verb == Verb::Add {
            result = answer;
        }
    }
    Ok(result)
}

/// CNI specification 1.0.0, section 2: environment in, configuration on standard input, result on standard output.
fn run_plugin(lab: &Lab, node: &Node, pod: &str, config: &Value, verb: Verb) -> Result<Value> {
    let name = config["type"].as_str().context("a plugin without a type")?;
    let path = PLUGINS.iter().map(|folder| Path::new(folder).join(name)).find(|p| p.exists());
    let path = path.with_context(|| {
        format!("CNI plugin {name:?} is in none of {}: install containernetworking-plugins", PLUGINS.join(", "))
    })?;
    let mut child = lab
        .command(node, &path)?
        .env("CNI_COMMAND", verb.name())
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
            "CNI plugin {name}, {}: {}: {} {}",
            verb.name(),
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
