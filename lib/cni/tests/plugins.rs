//! The installed conflist, executed by the real reference plugins as a container runtime would: ADD, CHECK, DEL.
//!
//! Needs root and Debian's `containernetworking-plugins`. Each test has a node and two pods of its own, as network
//! namespaces, and a private directory in the place of `/var/lib/cni`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use model::PodCidr;
use model::config::{CniConfig, CniPlugin};
use serde_json::{Value, json};

const PLUGINS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];
const MTU: u32 = 1450;

#[test]
fn bridge() {
    pods_live_and_die(CniPlugin::Bridge);
}

#[test]
fn ptp() {
    pods_live_and_die(CniPlugin::Ptp);
}

fn pods_live_and_die(plugin: CniPlugin) {
    let folder = tempfile::tempdir().unwrap();
    let config = CniConfig { conf_dir: Some(folder.path().join("net.d")), plugin, mtu: None };
    let cidrs: [PodCidr; 2] = ["10.244.7.0/24".parse().unwrap(), "fd44:0:0:7::/64".parse().unwrap()];
    assert!(cni::install(&config, &cidrs, MTU).unwrap());
    let node = Node::new(folder.path());
    let conflist = std::fs::read_to_string(folder.path().join("net.d").join(cni::FILE)).unwrap();
    let conflist: Value = serde_json::from_str(&conflist).unwrap();

    let pods: Vec<Pod> = (1..=2).map(|number| node.add(&conflist, number)).collect();
    let addresses: Vec<&[IpAddr]> = pods.iter().map(|pod| pod.addresses.as_slice()).collect();
    for (nth, cidr) in cidrs.iter().enumerate() {
        let first = cidr.first_pod().unwrap();
        assert_eq!(addresses[0][nth], first, "the addresses before are the network's, the gateway's and the node's");
        assert!(addresses.iter().all(|pod| cidr.0.holds(&pod[nth])), "{addresses:?}");
        assert_ne!(addresses[0][nth], addresses[1][nth]);
    }
    for (pod, other) in [(&pods[0], &pods[1]), (&pods[1], &pods[0])] {
        assert_eq!(pod.shell("cat /sys/class/net/eth0/mtu").trim(), MTU.to_string());
        for address in other.addresses.iter().copied().chain(cidrs.iter().filter_map(PodCidr::gateway)) {
            pod.reaches(address);
        }
    }
    for pod in &pods {
        node.check(&conflist, pod);
    }
    // CHECK must be able to fail: a pod that lost its address is no pod of this conflist.
    pods[1].shell(&format!("ip address flush dev eth0 to {}", addresses[1][0]));
    let check = node.run(&conflist, &pods[1].name, "CHECK", Some(&pods[1].result));
    assert!(check.is_err(), "CHECK passed without the address: {check:?}");
    for pod in &pods {
        node.delete(&conflist, pod);
        assert!(!pod.shell("ip -o link").contains("eth0"), "DEL left the interface");
    }
    let left = std::fs::read_dir(node.state.join("networks/biplane")).unwrap();
    let left: Vec<String> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| name.parse::<IpAddr>().is_err()), "DEL left claims of addresses: {left:?}");
}

/// A network namespace with a directory for the plugins' state.
struct Node {
    name: String,
    state: PathBuf,
}

/// A network namespace that the plugins connected.
struct Pod {
    name: String,
    addresses: Vec<IpAddr>,
    result: Value,
}

static NAMES: AtomicU32 = AtomicU32::new(0);

fn namespace(what: &str) -> String {
    let name = format!("bpcni-{}-{}-{what}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed));
    expect(Command::new("ip").args(["netns", "add", &name]));
    expect(Command::new("ip").args(["-n", &name, "link", "set", "lo", "up"]));
    name
}

impl Node {
    fn new(folder: &Path) -> Node {
        let state = folder.join("state");
        std::fs::create_dir_all(&state).unwrap();
        std::fs::create_dir_all("/var/lib/cni").unwrap();
        Node { name: namespace("node"), state }
    }

    fn add(&self, conflist: &Value, number: u32) -> Pod {
        let name = namespace(&format!("pod{number}"));
        let mut pod = Pod { name, addresses: Vec::new(), result: Value::Null };
        pod.result = self.run(conflist, &pod.name, "ADD", None).unwrap();
        let ips = pod.result["ips"].as_array().expect("a result has ips");
        pod.addresses =
            ips.iter().map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap()).collect();
        assert_eq!(pod.addresses.len(), 2, "one of each family: {}", pod.result);
        pod
    }

    fn check(&self, conflist: &Value, pod: &Pod) {
        self.run(conflist, &pod.name, "CHECK", Some(&pod.result)).unwrap();
    }

    fn delete(&self, conflist: &Value, pod: &Pod) {
        self.run(conflist, &pod.name, "DEL", Some(&pod.result)).unwrap();
    }

    /// All plugins of the list, in order; in reverse order for DEL (CNI specification 1.0.0, section 3).
    fn run(&self, conflist: &Value, pod: &str, command: &str, known: Option<&Value>) -> Result<Value, String> {
        let mut plugins = conflist["plugins"].as_array().expect("a list of plugins").clone();
        if command == "DEL" {
            plugins.reverse();
        }
        let mut result = known.cloned();
        for plugin in &mut plugins {
            for key in ["cniVersion", "name"] {
                plugin[key] = conflist[key].clone();
            }
            if plugin["capabilities"]["portMappings"] == true {
                plugin["runtimeConfig"] = json!({ "portMappings": [] });
            }
            if let Some(result) = &result {
                plugin["prevResult"] = result.clone();
            }
            let answer = self.execute(plugin, pod, command)?;
            if command == "ADD" {
                result = Some(answer);
            }
        }
        result.ok_or_else(|| "no plugin in the list".to_owned())
    }

    fn execute(&self, plugin: &Value, pod: &str, command: &str) -> Result<Value, String> {
        let name = plugin["type"].as_str().expect("a plugin has a type");
        let path = PLUGINS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists());
        let path = path.unwrap_or_else(|| panic!("no CNI plugin {name}: install containernetworking-plugins"));
        // `ip netns exec` gives a mount namespace too, which ends with the command.
        let script = format!("mount --bind {} /var/lib/cni && exec {}", self.state.display(), path.display());
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.name, "sh", "-c", &script])
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", pod)
            .env("CNI_NETNS", format!("/run/netns/{pod}"))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", PLUGINS.join(":"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(plugin.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        if !output.status.success() {
            return Err(format!("{command} of {name}: {}", words(&output)));
        }
        Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
    }
}

impl Pod {
    fn shell(&self, script: &str) -> String {
        expect(Command::new("ip").args(["netns", "exec", &self.name, "sh", "-c", script]))
    }

    /// Bounded by a deadline: the first packets may be lost to address resolution and duplicate address detection.
    fn reaches(&self, address: IpAddr) {
        let began = Instant::now();
        let mut ping = Command::new("ip");
        ping.args(["netns", "exec", &self.name, "ping", "-n", "-c", "1", "-W", "1", &address.to_string()]);
        loop {
            let output = ping.output().unwrap();
            if output.status.success() {
                return;
            }
            assert!(
                began.elapsed() < Duration::from_secs(15),
                "{} does not reach {address}: {}",
                self.name,
                words(&output)
            );
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn expect(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?} (are we root?): {}", words(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn words(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{} {} {}", output.status, out.trim(), err.trim())
}
