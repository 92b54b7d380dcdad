//! Wrong input, with the real programs: each mistake is named with its place and its cure, ends with the exit code that
//! is promised, and leaves nothing half-applied. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod configuration;
mod host;
mod peers;
#[path = "../stage/mod.rs"]
mod stage;

use stage::Stage;

/// Nodes on one switch, 10.40.0.N/24 and fd40::N/64 on eth1, a store for all, no daemon; `more` are further nodes.
fn switched(name: &str, nodes: &[&str]) -> Stage {
    let mut topology =
        format!("name: {name}\ntopology:\n  defaults: {{kind: linux}}\n  nodes:\n    sw: {{kind: bridge}}\n");
    let mut links = String::new();
    for (nth, node) in nodes.iter().enumerate() {
        let n = nth + 1;
        topology += &format!(
            "    {node}:\n      binds: [\"__clabDir__/store:/var/lib/biplane/store\"]\n      tmpfs: [/etc/biplane, /run/bird]\n      \
             exec: [ip address add 10.40.0.{n}/24 dev eth1, ip address add fd40::{n}/64 dev eth1 nodad]\n"
        );
        links += &format!("    - {{endpoints: [\"{node}:eth1\", \"sw:p{n}\"], mtu: 1500}}\n");
    }
    Stage::written(name, &format!("{topology}  links:\n{links}"), &[])
}

/// Writes a file on a node.
fn write(stage: &Stage, node: &str, path: &str, text: &str) {
    let inside = stage.lab.path_in(node, path.as_ref()).unwrap();
    // As an editor does, so that a daemon never reads a half of it.
    let fresh = inside.with_extension("fresh");
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(&fresh, &inside).unwrap();
}

const CONFIG: &str = "/etc/biplane/config.yaml";

/// Writes the configuration of a node and starts its daemon.
fn start(stage: &Stage, node: &str, config: &str) {
    write(stage, node, CONFIG, config);
    stage.start_daemon(node, "");
}

/// Everything that a daemon might change on a node, as iproute2, nft and the kernel tell it.
fn kernel_of(stage: &Stage, node: &str) -> String {
    // The link-local address of the underlay's link comes by itself, a while after the link.
    let script = "{ ip -4 route show table all; ip -6 route show table all; ip -o address; } | grep -v 'fe80.*eth1\\|eth1.*fe80'; \
        ip nexthop; ip neigh show nud permanent; bridge fdb show; ip -o -d link; nft list ruleset; \
        cd /proc/sys/net && grep . ipv4/ip_forward ipv6/conf/all/forwarding ipv4/conf/*/rp_filter";
    stage.good(node, script)
}

/// Nothing was changed.
#[track_caller]
fn same(before: &str, after: &str, when: &str) {
    let without =
        |all: &str, those: &str| all.lines().filter(|l| !those.lines().any(|t| t == *l)).collect::<Vec<_>>().join("\n");
    let (gone, new) = (without(before, after), without(after, before));
    assert!(gone.is_empty() && new.is_empty(), "{when}: gone:\n{gone}\nnew:\n{new}");
}

/// Words that must all be there.
#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}
