use std::path::{Path, PathBuf};

use super::*;
use crate::topology::nodes::Bind;

fn parse(text: &str) -> Result<Topology, Fault> {
    let variable = |name: &str| (name == "TAG").then(|| "v1".to_string());
    let surroundings = Surroundings { labs: Path::new("/run/labs"), variable: &variable };
    Topology::parse(Path::new("/labs/x.clab.yml"), text, &surroundings)
}

fn good(text: &str) -> Topology {
    parse(text).unwrap_or_else(|fault| panic!("{fault}"))
}

fn fault(text: &str) -> String {
    parse(text).err().map(|f| f.to_string()).unwrap_or_else(|| panic!("accepted: {text}"))
}

#[test]
fn what_is_more_specific_wins_lists_add_up_and_maps_merge() {
    let topology = good(
        r#"
name: fabric
topology:
  defaults: {kind: linux, env: {A: defaults, B: defaults}, exec: [first], labels: {role: any}}
  kinds:
    linux: {image: "lab:${TAG:=dev}", env: {A: kind, C: kind}, exec: [second], startup-delay: 1}
  groups:
    worker:
      sysctls: {net.ipv4.ip_forward: 1}
      binds: ["/etc/hostname:/x", "/etc/hosts:/b:ro"]
      exec: ["sh -c 'run --name __clabNodeName__ > /tmp/log &'"]
  nodes:
    n1: {group: worker, exec: [ip addr add 10.1.1.1/24 dev eth1], env: {C: 1.10}, startup-delay: 2, labels: {}}
    n2:
"#,
    );
    let n1 = topology.node("n1").unwrap();
    assert_eq!(n1.kind, Kind::Linux);
    assert_eq!(n1.image.as_deref(), Some("lab:v1"));
    assert_eq!(
        n1.exec.iter().map(|e| e.join("|")).collect::<Vec<_>>(),
        ["first", "second", "sh|-c|run --name n1 > /tmp/log &", "ip|addr|add|10.1.1.1/24|dev|eth1"]
    );
    let env: Vec<_> = n1.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(env, ["A=kind", "B=defaults", "C=1.10"], "the text of a number stays as it is written");
    assert_eq!(n1.sysctls["net.ipv4.ip_forward"], "1");
    assert_eq!((n1.startup_delay, n1.labels["role"].as_str()), (2, "any"));
    assert_eq!(
        n1.binds,
        [
            Bind { source: "/etc/hosts".into(), target: "/b".into(), read_only: true },
            Bind { source: "/etc/hostname".into(), target: "/x".into(), read_only: false },
        ]
    );
    let n2 = topology.node("n2").unwrap();
    assert_eq!((n2.exec.len(), n2.startup_delay, n2.hostname.as_str()), (2, 1, "n2"));
    assert_eq!(topology.warnings, [""; 0]);
}

#[test]
fn a_bind_of_the_node_replaces_one_of_its_group() {
    let topology = good(
        "name: l\ntopology:\n  groups: {g: {kind: linux, binds: ['/etc/hosts:/a']}}\n  nodes:\n    \
         n1: {group: g, binds: ['/etc/hostname:/a:ro', '__clabDir__/store:/s', '__clabNodeDir__/x:/y']}\n",
    );
    let binds = &topology.nodes[0].binds;
    assert_eq!(binds[0], Bind { source: "/etc/hostname".into(), target: "/a".into(), read_only: true });
    assert_eq!(binds[1].source, PathBuf::from("/run/labs/l/store"), "it need not exist: the lab makes it");
    assert_eq!(binds[2].source, PathBuf::from("/run/labs/l/nodes/n1/x"));
}

#[test]
fn comments_are_no_values() {
    let text =
        "# a lab\nname: l # its name\ntopology: # all of it\n  nodes:\n    # the first\n    n1: {kind: linux} # one\n";
    assert_eq!(good(text).nodes.len(), 1);
}

#[test]
fn links_in_both_forms() {
    let topology = good(
        r#"
name: l
topology:
  nodes: {n1: {kind: linux}, n2: {kind: linux}, br0: {kind: bridge}}
  links:
    - endpoints: ["n1:eth1", "n2:eth1"]
    - {type: veth, mtu: 1500, endpoints: [{node: n1, interface: eth2, mac: "02:00:00:00:00:01"}, {node: br0, interface: p1}]}
    - endpoints: ["n2:eth3", "host:hx"]
    - {type: host, endpoint: {node: n2, interface: eth4}, host-interface: hy}
"#,
    );
    let shown: Vec<String> = topology
        .links
        .iter()
        .map(|l| {
            format!("{}:{} {}:{} {}", l.ends[0].node, l.ends[0].interface, l.ends[1].node, l.ends[1].interface, l.mtu)
        })
        .collect();
    assert_eq!(shown, ["n1:eth1 n2:eth1 9500", "n1:eth2 br0:p1 1500", "n2:eth3 host:hx 9500", "n2:eth4 host:hy 9500"]);
    assert_eq!(topology.links[1].ends[0].mac.unwrap().to_string(), "02:00:00:00:00:01");
}

#[test]
fn known_keys_without_effect_are_named_with_their_place() {
    let topology = good(
        "name: l\nmgmt: {network: m}\ntopology:\n  nodes:\n    n1: {kind: linux, ports: [80], privileged: false, network-mode: host}\n\
         \x20   n2: {kind: linux, network-mode: none}\n  links:\n    - {endpoints: ['n1:a', 'n2:a'], ipv4: [x, y]}\n",
    );
    let warned: Vec<&str> = topology.warnings.iter().map(|w| w.strip_prefix("/labs/x.clab.yml:").unwrap()).collect();
    assert_eq!(
        warned,
        [
            r#"2:1: key "mgmt" of topology file is not honoured by a namespace lab"#,
            r#"5:23: key "ports" of node "n1" is not honoured by a namespace lab"#,
            r#"5:69: network-mode "host" is not honoured: every node has a namespace of its own"#,
            r#"8:37: key "ipv4" of link is not honoured by a namespace lab"#,
        ]
    );
}

#[test]
fn every_fault_names_its_place_and_the_cure() {
    let node = |rest: &str| format!("name: l\ntopology:\n  nodes:\n    n1: {rest}\n");
    let two = "name: l\ntopology:\n  nodes: {n1: {kind: linux}, n2: {kind: linux}}\n  links:\n    - ";
    for (text, expected) in [
        ("name: l\ntopology: {nodes: [}\n".to_string(), "x.clab.yml:2:"),
        (
            "name: l\ntopology: {}\nfoo: 1\n".into(),
            r#"3:1: unknown key "foo" in topology file; known keys are name, prefix, topology"#,
        ),
        ("topology: {}\n".into(), r#"key "name" is missing"#),
        ("name: l\n".into(), r#"key "topology" is missing"#),
        ("name: a/b\ntopology: {}\n".into(), r#"1:7: lab name "a/b""#),
        ("".into(), "the file is empty"),
        (node("{kind: linux, bind: [x]}"), r#"4:23: unknown key "bind" in node "n1"; did you mean "binds"?"#),
        (node("{kind: srl}"), r#"4:16: kind "srl" is not realised in a namespace lab: known kinds are linux, bridge"#),
        (node("{}"), r#"4:5: node "n1" has no kind: say `kind: linux`"#),
        (
            node("{kind: linux, binds: [/nowhere/at/all:/x]}"),
            "4:31: bind \"/nowhere/at/all:/x\": /nowhere/at/all does not exist",
        ),
        (node("{kind: linux, binds: ['/etc/hosts:x']}"), "the path in the node must be absolute"),
        (node("{kind: linux, exec: [\"sh -c 'open\"]}"), "exec: a quote ' is not closed"),
        (node("{kind: linux, exec: true}"), "exec: expected a list, found a text"),
        (
            node("{kind: linux, startup-delay: soon}"),
            "startup-delay: expected a whole number from 0 to 86400, found \"soon\"",
        ),
        (node("{kind: linux, kind: bridge}"), r#"4:23: key "kind" is here twice: first in line 4"#),
        (format!("{two}{{endpoints: ['n1:a']}}"), "endpoints: expected exactly two"),
        (format!("{two}{{endpoints: ['n1:a', 'zz:a']}}"), "5:7: Unable to find node zz"),
        (format!("{two}{{endpoints: ['n1:a', 'n1:a']}}"), "duplicate endpoint n1:a"),
        (
            "name: l\ntopology:\n  nodes: {n1: {kind: linux}, a: {kind: bridge}, b: {kind: bridge}}\n  links:\n    \
             - {endpoints: ['n1:a', 'a:p1']}\n    - {endpoints: ['n1:b', 'b:p1']}\n"
                .into(),
            "6:7: duplicate endpoint b:p1: first in line 5; ports of all bridges need names of their own",
        ),
        (format!("{two}{{endpoints: ['n1:a', 'n2']}}"), r#"endpoint "n2": expected "node:interface""#),
        (
            format!("{two}{{endpoints: ['n1:a', 'n2:a'], mtu: 70000}}"),
            "mtu: expected a whole number from 0 to 65535, found \"70000\"",
        ),
        (
            format!("{two}{{type: macvlan, endpoint: {{}}, host-interface: x}}"),
            r#"a link of type "macvlan" is not realised"#,
        ),
        (format!("{two}{{type: veht}}"), r#"unknown link type "veht"; expected veth or host"#),
        ("name: l\nprefix: ''\ntopology: {nodes: {a: {kind: linux}}}\n".into(), "contains invalid characters"),
        (format!("name: l\ntopology: {{nodes: {{{}: {{kind: linux}}}}}}\n", "n".repeat(60)), "60 at most"),
    ] {
        let words = fault(&text);
        assert!(words.contains(expected), "{text}\n gave {words}\n not {expected}");
    }
}

#[test]
fn anchors_and_merges_are_followed_and_bounded() {
    let topology = good(
        "name: l\ntopology:\n  nodes:\n    n1: &n {kind: linux, env: {A: 1}}\n    n2: *n\n    n3: {<<: *n, env: {B: 2}}\n",
    );
    assert_eq!(topology.node("n2").unwrap().env["A"], "1");
    assert_eq!(topology.node("n3").unwrap().env.len(), 1);
    let mut bomb = "name: l\ntopology:\n  defaults: &a0 {env: {A: 1}}\nx0: &x0 [1,1,1,1,1,1,1,1,1,1]\n".to_string();
    for level in 1..9 {
        bomb += &format!("x{level}: &x{level} [{}]\n", vec![format!("*x{}", level - 1); 10].join(","));
    }
    assert!(fault(&bomb).contains("more than 200000 values"));
}

#[test]
fn the_topologies_of_this_repository_are_well() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
    let labs = std::path::Path::new("/run/labs");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.to_string_lossy().ends_with(".clab.yml") {
            Topology::read(&file, &Surroundings { labs, variable: &|_| None }).unwrap();
            read += 1;
        }
    }
    assert!(read >= 8, "{read} topology files");
}

/// The lists in `keys` against the key names of containerlab's own schema.
#[test]
fn every_key_of_the_schema_has_its_place() {
    let mut objects = 0;
    for line in include_str!("schema-keys.txt").lines().filter(|l| !l.starts_with('#')) {
        let (object, names) = line.split_once(": ").unwrap();
        let lists: &[&[&str]] = match object {
            "document" => &[keys::DOCUMENT, keys::DOCUMENT_IGNORED],
            "topology" => &[keys::TOPOLOGY],
            "node" => &[keys::NODE, keys::NODE_IGNORED],
            "endpoint" => &[keys::ENDPOINT, keys::ENDPOINT_IGNORED],
            _ => &[keys::LINK, keys::LINK_IGNORED, keys::OTHER_LINK_KEYS],
        };
        let missing: Vec<&str> = names.split(' ').filter(|k| lists.iter().all(|l| !l.contains(k))).collect();
        assert!(missing.is_empty(), "{object}: the schema knows {missing:?}, which would be called unknown here");
        objects += 1;
    }
    assert_eq!(objects, 13);
}
