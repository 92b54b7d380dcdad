//! Pods behind the reference CNI plugins, probed: what is dropped on purpose is counted to the packet. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const LAB: &str = env!("CARGO_BIN_EXE_biplane-lab");

struct Static {
    labs: tempfile::TempDir,
    _turn: testbed::turn::Turn,
}

impl Static {
    fn deploy() -> Static {
        let lab = Static { labs: tempfile::tempdir().unwrap(), _turn: testbed::turn::take().unwrap() };
        lab.good(&["deploy", "--strict"]);
        lab
    }

    fn topology() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/static.clab.yml")
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(LAB);
        command.arg("--labs").arg(self.labs.path().join("labs")).arg(words[0]).arg("-t").arg(Static::topology());
        command.args(&words[1..]).output().unwrap()
    }

    fn good(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?} ended with {}: {complaint}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    fn on(&self, node: &str, script: &str) -> String {
        let command = format!("sh -c '{script}'");
        let text = self.good(&["exec", "--label", &format!("clab-node-name={node}"), "--cmd", &command]);
        text.lines().map(|l| l.strip_prefix(&format!("{node}: ")).unwrap_or(l)).collect::<Vec<_>>().join("\n")
    }

    fn report(&self, extra: &[&str]) -> (bool, Value) {
        let mut words = vec!["report", "--format", "json", "--seconds", "1"];
        words.extend(extra);
        let output = self.run(&words);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {complaint}"));
        (output.status.success(), json)
    }
}

impl Drop for Static {
    fn drop(&mut self) {
        let _ = self.run(&["destroy"]);
    }
}

fn paths<'a>(report: &'a Value, from: &str, to: &str) -> Vec<&'a Value> {
    report["paths"].as_array().unwrap().iter().filter(|p| p["from"] == from && p["to"] == to).collect()
}

#[test]
fn every_pair_of_pods_is_probed_in_both_families_and_losses_are_exact() {
    let lab = Static::deploy();
    let (good, report) = lab.report(&[]);
    assert!(good, "{:#}", report["totals"]);
    // Three pods, both families, both sizes, both ways.
    assert_eq!(report["paths"].as_array().unwrap().len(), 3 * 2 * 2 * 2);
    assert_eq!(report["streams"].as_array().unwrap().len(), 3 * 2);
    for path in report["paths"].as_array().unwrap() {
        let rate = path["sent"].as_f64().unwrap() / report["seconds"].as_f64().unwrap();
        let asked = if path["size"] == "small" { 1000.0 } else { 50.0 };
        assert!(rate >= asked * 0.95, "{rate} packets/s of {asked}: {path:#}");
        assert!(path["rtt"]["count"].as_u64().unwrap() > 0 && path["lost"] == 0, "{path:#}");
    }

    // Every 50th probe of one direction is dropped on the way; the kernel's own counter is the judge.
    lab.on("n2", "nft add table inet t && nft add counter inet t dropped && \
        nft \"add chain inet t f { type filter hook forward priority 0; }\" && \
        nft add rule inet t f ip saddr 10.244.1.2 ip daddr 10.244.2.3 udp length \\> 60 numgen inc mod 50 0 counter name dropped drop");
    let (good, report) = lab.report(&[]);
    assert!(!good, "loss must make the report fail");
    let counter = lab.on("n2", "nft -j list counter inet t dropped");
    let counter: Value = serde_json::from_str(&counter).unwrap();
    let dropped =
        counter["nftables"].as_array().unwrap().iter().find_map(|o| o["counter"]["packets"].as_u64()).unwrap();
    assert!(dropped > 10);
    let hit = paths(&report, "n1/pod1", "n2/pod2");
    let lost: u64 = hit.iter().filter(|p| p["family"] == "v4").map(|p| p["lost"].as_u64().unwrap()).sum();
    // Echoes of the other direction and the greetings pass the same rule without being counted as sent.
    assert!(lost > 0 && lost <= dropped && lost * 3 >= dropped * 2, "{lost} lost of {dropped} dropped");
    let others = report["paths"].as_array().unwrap().iter().filter(|p| p["lost"] != 0).count();
    assert!(others <= 2, "only that direction and family lost anything: {others}");
}

#[test]
fn a_path_that_is_too_narrow_for_full_size_is_named() {
    let lab = Static::deploy();
    // Small packets pass, full-size ones do not: what an MTU fault looks like.
    lab.on("n1", "ip link set dev eth1 mtu 1400");
    let output = lab.run(&["report", "--seconds", "1", "--stream", "0"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(words.contains("not reached") && words.contains("full-size"), "{words}");
    assert!(!words.contains("n2/pod1 → n2/pod2"), "the pods of one node are not concerned: {words}");
}

#[test]
fn pods_are_listed_and_entered() {
    let lab = Static::deploy();
    let text = lab.good(&[
        "exec",
        "--label",
        "clab-node-name=n2",
        "--pod",
        "pod2",
        "--cmd",
        "ip -br -4 address show dev eth0",
    ]);
    assert!(text.contains("10.244.2.3/24"), "{text}");
    // The bridge's IPv6 gateway answers once duplicate address detection is through, a second or two after the first pod.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let words = ["exec", "--label", "clab-node-name=n1", "--pod", "pod1", "--cmd", "ping -c1 -W1 fd44:0:0:2::3"];
        let output = lab.run(&words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains(" 0% packet loss") {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{text} {}", String::from_utf8_lossy(&output.stderr));
    }
}
