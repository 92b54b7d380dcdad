//! Configuration files and flags.

use super::{CONFIG, kernel_of, same, says, start, switched, write};
use crate::stage::{Stage, until};

const GOOD: &str =
    "mode: vxlan\npools:\n  - {cidr: 10.244.0.0/16, nodePrefix: 24}\nmetrics: {listen: \"127.0.0.1:9178\"}\n";

/// Name, text, and what is said: place, what is wrong there, what was expected.
const WRONG: [(&str, &str, &[&str]); 7] = [
    (
        "broken YAML",
        "mode: vxlan\npools: [{cidr: 10.244.0.0/16, nodePrefix: 24}\n",
        &["config.yaml:2:8: not YAML: unclosed bracket '['", "expected one document"],
    ),
    (
        "unknown key",
        "mode: vxlan\npools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]\nvxlan:\n  vnid: 5\n",
        &["config.yaml:4:3: unknown key `vnid` in vxlan", "expected one of vni, port, mtu", "did you mean `vni`?"],
    ),
    (
        "wrong type",
        "mode: vxlan\npools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]\nbgp: {localAsn: many}\n",
        &["config.yaml:3:17: bgp.localAsn: `many`", "expected an AS number, 1 to 4294967294"],
    ),
    (
        "overlapping pools",
        "mode: vxlan\npools:\n  - {cidr: 10.244.0.0/16, nodePrefix: 24}\n  - {cidr: 10.244.128.0/17, nodePrefix: 24}\n",
        &["config.yaml:4:12: pools[1].cidr: 10.244.128.0/17 overlaps 10.244.0.0/16 of pools[0]", "share no address"],
    ),
    (
        "node length outside the pool",
        "mode: vxlan\npools:\n  - {cidr: 10.244.0.0/16, nodePrefix: 12}\n",
        &["config.yaml:3:39: pools[0]: nodePrefix 12 does not fit the pool 10.244.0.0/16", "expected 16 to 29"],
    ),
    (
        "wrong mode",
        "mode: vxlon\npools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]\n",
        &["config.yaml:1:7: mode: `vxlon`", "vxlan or bgp"],
    ),
    ("nothing", "", &["config.yaml: mode is missing; expected vxlan or bgp", "config.yaml: pools is missing"]),
];

#[test]
fn a_wrong_file_is_refused_at_start_and_nothing_is_touched() {
    let stage = switched("start", &["n1"]);
    let before = kernel_of(&stage, "n1");
    for (name, text, words) in WRONG {
        write(&stage, "n1", CONFIG, text);
        for command in ["biplaned", "biplaned -n", "biplane config validate"] {
            let output = stage.run("n1", &format!("timeout 20 {command}"));
            assert_eq!(output.return_code, 1, "{name}: {command}: {}", output.stderr);
            says(&output.stderr, words);
            assert_eq!(output.stdout, "", "{name}: {command}");
        }
        same(&before, &kernel_of(&stage, "n1"), name);
        stage.good("n1", "test -z \"$(ls -A /var/lib/biplane/store)\" && test ! -e /run/biplane");
    }
    for (command, code, words) in [
        ("biplaned -c /nowhere.yaml", 1, "cannot read /nowhere.yaml: No such file or directory"),
        ("biplaned --nonsense", 2, "unexpected argument '--nonsense'"),
        ("biplaned --set mode", 2, "expected KEY=VALUE, for example mode=bgp"),
        ("biplaned --set vxlan.vni=x -n", 1, "flag --set vxlan.vni: vxlan.vni: `x`"),
        ("BIPLANE_BGP__HOLD_TIME=2 biplaned -n", 1, "BIPLANE_BGP__HOLD_TIME: bgp.holdTime: 2; expected"),
        ("biplane mode switch sideways", 2, "possible values: vxlan, bgp, config"),
        ("biplane status", 3, "start biplaned"),
        ("biplane status --wait --timeout 0s", 4, "start biplaned"),
    ] {
        write(&stage, "n1", CONFIG, GOOD);
        let output = stage.run("n1", &format!("timeout 20 sh -c '{command}'"));
        assert_eq!(output.return_code, code, "{command}: {}", output.stderr);
        says(&output.stderr, &[words]);
    }
    same(&before, &kernel_of(&stage, "n1"), "flags");
    assert_eq!(stage.run("n1", "biplaned -n").return_code, 0);
}

#[test]
fn a_wrong_file_is_refused_live_and_the_running_settings_stay() {
    let stage = switched("reload", &["n1", "n2"]);
    for node in ["n1", "n2"] {
        start(&stage, node, GOOD);
    }
    stage.good("n1", "biplane status --wait --timeout 60s && biplane mode switch vxlan --wait");
    until("a route to the other node", || (stage.ask("n1", "status")["destinations"]["overlay"] == 1).then_some(()));
    let before = kernel_of(&stage, "n1");
    let running = stage.good("n1", "biplane config show");
    for (name, text, words) in WRONG {
        write(&stage, "n1", CONFIG, text);
        // The file is watched; nobody needs to tell the daemon.
        let error = until(name, || {
            let error = stage.ask("n1", "status")["config"]["error"].as_str().unwrap_or_default().to_string();
            words.iter().all(|word| error.contains(word)).then_some(error)
        });
        assert_eq!(reload_metric(&stage), "0", "{name}");
        let status = stage.run("n1", "biplane status");
        assert_eq!(status.return_code, 0, "it forwards on: {}", status.stderr);
        says(&status.stdout, &["Degraded", error.lines().next().unwrap()]);
        for (command, code) in [("biplane config reload", 1), ("kill -HUP $(pidof biplaned)", 0)] {
            let output = stage.run("n1", command);
            assert_eq!(output.return_code, code, "{name}: {command}");
            if code != 0 {
                says(&output.stderr, words);
            }
        }
        same(&before, &kernel_of(&stage, "n1"), name);
        assert_eq!(stage.good("n1", "biplane config show"), running, "{name}");
    }
    says(&stage.log("n1"), &["the running configuration stays", "unknown key `vnid` in vxlan"]);
    write(&stage, "n1", CONFIG, &GOOD.replace("mode", "bgp: {localAsn: 64999}\nmode"));
    until("the good file is taken", || (reload_metric(&stage) == "1").then_some(()));
    says(&stage.good("n1", "biplane config show"), &["64999"]);
    assert!(stage.ask("n1", "status")["config"]["error"].is_null());
}

fn reload_metric(stage: &Stage) -> String {
    let script = "bash -c 'exec 3<>/dev/tcp/127.0.0.1/9178; printf \"GET /metrics HTTP/1.0\\r\\n\\r\\n\" >&3; cat <&3'";
    let text = stage.good("n1", script);
    let line = text.lines().find(|line| line.starts_with("biplane_config_last_reload_successful "));
    line.unwrap().rsplit_once(' ').unwrap().1.trim().to_string()
}
