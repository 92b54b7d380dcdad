//! Labs of plain nodes: made, entered and removed without a trace. Needs root; without it every test here fails.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const LAB: &str = env!("CARGO_BIN_EXE_biplane-lab");

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    fn labs(&self) -> PathBuf {
        self.folder.path().join("labs")
    }

    fn topology(&self, name: &str, body: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.clab.yml"));
        fs::write(&path, format!("name: {name}\ntopology:\n  defaults: {{kind: linux}}\n{body}")).unwrap();
        path
    }

    fn command(&self, topology: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(LAB);
        command.arg("--labs").arg(self.labs()).arg(words[0]).arg("-t").arg(topology).args(&words[1..]);
        command
    }

    fn run(&self, topology: &Path, words: &[&str]) -> Output {
        self.command(topology, words).output().unwrap()
    }

    fn good(&self, topology: &Path, words: &[&str]) -> String {
        let output = self.run(topology, words);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?} ended with {}: {complaint}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Processes that have anything to do with this bench's labs.
    fn processes(&self) -> Vec<String> {
        let labs = self.labs().display().to_string();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let lines = entries.filter_map(|e| fs::read(e.path().join("cmdline")).ok());
        lines
            .map(|l| String::from_utf8_lossy(&l).replace('\0', " "))
            .filter(|l| l.contains(&labs) && l.contains("keeper"))
            .collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|e| e == "yml") {
                let _ = self.run(&entry.path(), &["destroy"]);
            }
        }
    }
}

/// What the machine has that a lab could leave behind.
fn host() -> (BTreeSet<String>, BTreeSet<String>) {
    let links = fs::read_dir("/sys/class/net").unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    // The host link of another test of this file comes and goes meanwhile.
    (links.filter(|name| !name.starts_with("bph")).collect(), mounts.lines().map(str::to_string).collect())
}

const THREE: &str = r#"
  nodes:
    sw: {kind: bridge}
    n1: {labels: {side: left}, exec: [ip addr add 10.9.0.1/24 dev eth1, ip addr add fd09::1/64 dev eth1 nodad]}
    n2: {exec: [ip addr add 10.9.0.2/24 dev eth1, ip addr add fd09::2/64 dev eth1 nodad]}
    n3: {exec: [ip addr add 10.9.0.3/24 dev eth1, ip addr add fd09::3/64 dev eth1 nodad]}
  links:
    - {endpoints: ["n1:eth1", "sw:p1"], mtu: 1500}
    - {endpoints: ["n2:eth1", "sw:p2"], mtu: 1500}
    - {endpoints: ["n3:eth1", "sw:p3"], mtu: 1500}
    - {endpoints: ["n1:eth2", "n2:a-name-that-is-too-long-for-a-device"]}
"#;

#[test]
fn nodes_reach_each_other_and_nothing_stays_behind() {
    let bench = Bench::new();
    let before = host();
    let topology = bench.topology("three", THREE);
    bench.good(&topology, &["deploy", "--strict"]);
    let ping = "ping -c1 -W2 10.9.0.3";
    bench.good(&topology, &["exec", "--label", "side=left", "--cmd", ping, "--cmd", "ping -c1 -W2 fd09::2"]);

    let links = bench.good(&topology, &["exec", "--label", "clab-node-name=n2", "--cmd", "ip -o link"]);
    assert!(links.contains("mtu 1500") && links.contains("mtu 9500") && links.contains("aa:c1:ab:"), "{links}");
    assert!(links.contains("altname a-name-that-is-too-long-for-a-device"), "{links}");
    assert_eq!(host(), before, "the host's links and mounts while a lab runs");

    let inspect = bench.good(&topology, &["inspect", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&inspect).unwrap();
    let names: Vec<&str> = json["three"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["clab-three-sw", "clab-three-n1", "clab-three-n2", "clab-three-n3"]);
    assert!(json["three"][1]["state"] == "running" && json["three"][1]["kind"] == "linux");

    let graph = bench.good(&topology, &["graph", "--mermaid"]);
    assert!(graph.contains("graph BT") && graph.contains("n1---sw") && graph.contains("n1---n2"), "{graph}");

    bench.good(&topology, &["destroy"]);
    bench.good(&topology, &["destroy"]);
    assert_eq!(bench.processes(), [""; 0]);
    assert!(!bench.labs().exists(), "{:?}", fs::read_dir(bench.labs()).map(|d| d.count()));
    assert_eq!(host(), before);
}

#[test]
fn a_node_has_its_own_root_and_the_host_sees_no_change() {
    let bench = Bench::new();
    fs::create_dir(bench.folder.path().join("cfg")).unwrap();
    fs::write(bench.folder.path().join("cfg/n1.txt"), "for n1").unwrap();
    let topology = bench.topology(
        "root",
        r#"
  nodes:
    n1:
      binds: ["cfg/__clabNodeName__.txt:/opt/deep/er/file:ro", "__clabDir__/shared:/var/lib/shared"]
      env: {COLOUR: blue}
      labels: {a.b: c}
      sysctls: {net.ipv4.ip_forward: 1}
      exec:
        - sh -c 'echo $COLOUR $CLAB_LABEL_A_B $CLAB_INTFS $(hostname) > /var/lib/shared/env'
        - sh -c 'echo changed > /etc/biplane-lab-test && rm /etc/passwd'
        - sh -c 'sleep 1000 >/dev/null 2>&1 &'
    n2: {binds: ["__clabDir__/shared:/var/lib/shared"]}
"#,
    );
    bench.good(&topology, &["deploy", "--strict"]);
    let exec = |node: &str, command: &str| {
        let label = format!("clab-node-name={node}");
        let text = bench.good(&topology, &["exec", "--label", &label, "--cmd", command, "--format", "json"]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json[format!("clab-root-{node}")][0]["stdout"].as_str().unwrap().to_string()
    };
    assert_eq!(exec("n1", "cat /opt/deep/er/file"), "for n1");
    assert_eq!(exec("n2", "cat /var/lib/shared/env"), "blue c 0 n1\n", "two nodes share a folder of the lab");
    assert_eq!(exec("n1", "cat /proc/sys/net/ipv4/ip_forward"), "1\n");
    assert_eq!(exec("n1", "sh -c 'echo x 2>/dev/null > /opt/deep/er/file || echo refused'"), "refused\n");
    assert_eq!(exec("n1", "ls /sys/class/net"), "lo\n", "/sys is of the node's namespace");
    assert!(exec("n1", "ps ax").contains("sleep 1000") && !exec("n2", "ps ax").contains("sleep 1000"));
    assert_eq!(exec("n1", "ls /run"), "", "nothing of the host's /run");
    assert!(!Path::new("/opt/deep").exists() && !Path::new("/etc/biplane-lab-test").exists());
    assert!(Path::new("/etc/passwd").exists());
}

#[test]
fn a_lab_survives_its_deployer_and_can_be_removed_half_made() {
    let bench = Bench::new();
    let topology = bench.topology(
        "half",
        "\n  nodes:\n    n1: {}\n    n2: {}\n    n3: {startup-delay: 600}\n  links: [{endpoints: ['n1:eth1', 'n2:eth1']}]\n",
    );
    let beside = bench.topology("beside", "\n  nodes: {n1: {}}\n");
    bench.good(&beside, &["deploy"]);
    let mut deploy = bench.command(&topology, &["deploy"]).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(deploy.stderr.take().unwrap()).lines();
    let up = lines.map_while(Result::ok).find(|line| line.contains("node n2 is up"));
    assert!(up.is_some());
    let busy = bench.run(&topology, &["destroy"]);
    let words = String::from_utf8_lossy(&busy.stderr).into_owned();
    assert!(!busy.status.success() && words.contains("being deployed or destroyed by another process"), "{words}");

    deploy.kill().unwrap();
    deploy.wait().unwrap();
    assert_eq!(bench.processes().iter().filter(|p| p.contains("/half/nodes/n")).count(), 4, "{:?}", bench.processes());
    let again = bench.run(&topology, &["deploy"]);
    let words = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && words.contains("run `biplane lab destroy"), "{words}");
    bench.good(&topology, &["destroy"]);
    assert!(bench.processes().iter().all(|p| p.contains("/beside/")), "{:?}", bench.processes());
    assert_eq!(bench.good(&beside, &["exec", "--cmd", "hostname"]), "n1: n1\n", "the lab beside goes on");
}

#[test]
fn a_keeper_that_is_killed_takes_its_node_along_and_only_that() {
    let bench = Bench::new();
    let topology = bench.topology(
        "killed",
        "\n  nodes:\n    n1: {exec: [\"sh -c 'sleep 4242 >/dev/null 2>&1 &'\"]}\n    n2: {}\n  links: [{endpoints: ['n1:eth1', 'n2:eth1']}]\n",
    );
    bench.good(&topology, &["deploy", "--strict"]);
    let inspect: serde_json::Value =
        serde_json::from_str(&bench.good(&topology, &["inspect", "--format", "json"])).unwrap();
    let pid = inspect["killed"][0]["container_id"].as_str().unwrap().to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let deadline = Instant::now() + Duration::from_secs(5);
    let gone = || {
        let text = bench.good(&topology, &["inspect", "--format", "json"]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        (
            json["killed"][0]["state"].as_str().unwrap().to_string(),
            json["killed"][1]["state"].as_str().unwrap().to_string(),
        )
    };
    while gone().0 != "exited" {
        assert!(Instant::now() < deadline, "{:?}", gone());
    }
    assert_eq!(gone().1, "running");
    let links = || bench.good(&topology, &["exec", "--label", "clab-node-name=n2", "--cmd", "ls /sys/class/net"]);
    while links() != "n2: lo\n" {
        assert!(Instant::now() < deadline, "the link did not go with its other end: {}", links());
    }
    let error = bench.run(&topology, &["exec", "--label", "clab-node-name=n1", "--cmd", "true"]);
    assert!(String::from_utf8_lossy(&error.stderr).contains("\"n1\" of lab \"killed\" does not run"));
}

#[test]
fn a_failing_command_is_told_and_fails_only_a_strict_deploy() {
    let bench = Bench::new();
    let topology =
        bench.topology("fails", "\n  nodes: {n1: {exec: [\"sh -c 'echo oh >&2; exit 3'\", no-such-program]}}\n");
    let output = bench.run(&topology, &["deploy"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}");
    assert!(words.contains("ended with 3: oh") && words.contains("no-such-program"), "{words}");
    bench.good(&topology, &["destroy"]);
    let output = bench.run(&topology, &["deploy", "--strict"]);
    assert!(!output.status.success());
    assert_eq!(bench.processes(), [""; 0], "a failed deploy cleans up after itself");
    assert!(!bench.labs().exists());
}

#[test]
fn a_host_link_ends_here_and_goes_with_the_lab() {
    let bench = Bench::new();
    let name = format!("bph{}", std::process::id() % 100_000);
    let topology = bench.topology(
        "hostlink",
        &format!("\n  nodes: {{n1: {{}}}}\n  links: [{{endpoints: ['n1:eth1', 'host:{name}'], mtu: 1400}}]\n"),
    );
    bench.good(&topology, &["deploy", "--strict"]);
    let device = PathBuf::from(format!("/sys/class/net/{name}"));
    assert_eq!(fs::read_to_string(device.join("mtu")).unwrap().trim(), "1400");
    bench.good(&topology, &["destroy"]);
    assert!(!device.exists(), "{name} is still there");
}

#[test]
fn a_link_name_that_is_taken_is_named_and_nothing_is_half_made() {
    let bench = Bench::new();
    let topology = bench.topology("taken", "\n  nodes: {n1: {}}\n  links: [{endpoints: ['n1:eth1', 'host:lo']}]\n");
    let output = bench.run(&topology, &["deploy"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && words.contains("name lo") && words.contains("File exists"), "{words}");
    assert_eq!(bench.processes(), [""; 0]);
}
