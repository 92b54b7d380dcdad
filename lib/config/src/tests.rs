//! Whole documents: what they give, and the exact words of what is wrong with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::bfd::BfdProfile;
use model::config::{AcceptFrom, BgpSessionConfig, CniPlugin, StoreConfig};
use model::{Asn, Plane};
use serde_json::json;

use super::*;

const SMALLEST: &str = "mode: vxlan\npools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]\n";

fn yaml(name: &str, text: &str) -> Source {
    Source { name: name.into(), text: Text::Yaml(text.into()) }
}

fn pairs(name: &str, pairs: &[(&str, &str)]) -> Source {
    let pairs = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    Source { name: name.into(), text: Text::Pairs(pairs) }
}

/// The smallest file with `more` behind it.
fn with(more: &str) -> String {
    format!("{SMALLEST}{more}")
}

/// Each text, and every line that is said of it.
fn refuses(cases: &[(&str, &[&str])]) {
    for (text, wanted) in cases {
        let said = match load(&[yaml("c.yaml", text)]) {
            Ok(_) => panic!("taken:\n{text}"),
            Err(errors) => errors.to_string(),
        };
        assert_eq!(said.lines().collect::<Vec<_>>(), *wanted, "of\n{text}");
    }
}

const TOP: &str = "mode, fallback, node, store, pools, serviceCidrs, vxlan, bgp, masquerade, cni, switch, metrics, api";

#[test]
fn smallest_file_gives_the_defaults() {
    let loaded = load(&[yaml("c.yaml", SMALLEST)]).unwrap();
    let pool = model::ClusterPool::new("10.244.0.0/16".parse().unwrap(), 24).unwrap();
    assert_eq!(loaded.config, Config::minimal(Plane::Overlay, vec![pool]));
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.origins["mode"], "c.yaml:1");
    assert_eq!(loaded.origins["pools[0].nodePrefix"], "c.yaml:2");
    assert_eq!(loaded.origins["bgp.holdTime"], BUILT_IN);
}

#[test]
fn every_key_arrives() {
    let text = r#"
mode: bgp
fallback: true
node: {name: n-1.example, address: [192.0.2.1, "fd00::1"], labels: {rack: a}}
store: {kind: files, path: /srv/store, quarantineSeconds: 5}
pools:
  - cidr: 10.0.0.0/8
    nodePrefix: 24
  - {cidr: "fd44::/48", nodePrefix: 64}
vxlan: {vni: 5, port: 8472, mtu: 1400, txChecksumOffload: false, acceptFrom: any}
bgp:
  localAsn: 4200000001
  routerId: 192.0.2.9
  port: 1179
  mesh: false
  holdTime: 9
  staleTime: 0
  gracefulRestart: {enabled: false, restartTime: 60, longLived: 3600}
  gracefulShutdown: {honour: false, waitSeconds: 30}
  maxPrefixes: 100
  maxPrefixesWarn: 50
  maxPrefixesRestart: 600
  minAdvertisementInterval: 1
  maxPaths: 2
  acceptAsSets: true
  prefixSets: {all: [0.0.0.0/0]}
  policies: {one: {rules: [], default: accept}}
  meshImport: one
  meshExport: one
  bfdProfiles:
    fast: {minTx: 50, minRx: 100, multiplier: 5, passive: true, multihop: false}
    default: {minTx: 1000}
  meshBfd: fast
  reflectors: {nodes: [n-1.example], clusterId: 192.0.2.9, above: 3, count: 2, selector: {rack: a}}
  originate:
    - prefix: 10.0.0.0/8
      communities: ["65001:1"]
      largeCommunities: ["65001:1:2"]
      localPref: 50
      med: 5
      aggregate: true
      summaryOnly: true
      suppressed: true
  peers:
    - {address: 192.0.2.2, asn: 65001}
    - address: "fd00::2"
      port: 1790
      asn: 65002
      localAddress: fd00::1
      passwordFile: /run/key
      holdTime: 0
      gracefulRestart: false
      maxPrefixes: 7
      maxPrefixesWarn: 0
      maxPrefixesRestart: 60
      minAdvertisementInterval: 0
      role: peer
      roleStrict: true
      passive: true
      bfd: true
      description: top of rack
      import: one
      export: one
      nodes: {rack: a}
      localAsn: 65010
      nextHop: self
      addPath: {send: 2, receive: true}
      client: false
      ttlSecurity: 3
    - {interface: eth1, asn: external}
    - {address: 192.0.2.3, asn: 65003, multihop: 4, tcpAoFile: /run/chain}
  listen:
    - {range: 198.51.100.0/24, asn: 65003}
    - range: "fd01::/64"
      asn: [65004, 65005]
      limit: 7
      passwordFile: /run/key
      import: one
      holdTime: 9
      ttlSecurity: 1
serviceCidrs: [172.16.0.0/12]
masquerade: {enabled: false, exclude: [172.16.0.0/12]}
cni: {confDir: /etc/cni/net.d, plugin: ptp, mtu: 1300}
switch: {lingerSeconds: 0}
metrics: {listen: "[::]:9178"}
api: {socket: /run/b.sock}
"#;
    let loaded = load(&[yaml("c.yaml", text)]).unwrap();
    let c = &loaded.config;
    assert_eq!((c.mode, c.fallback), (Plane::Native, true));
    assert_eq!(c.node.name.as_ref().unwrap().as_str(), "n-1.example");
    assert_eq!(c.node.addresses, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
    let store = StoreConfig::Files { path: "/srv/store".into(), quarantine: Duration::from_secs(5) };
    assert_eq!(c.store, store);
    assert_eq!(
        c.pools.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/8 (/24 a node)", "fd44::/48 (/64 a node)"]
    );
    assert_eq!((c.vxlan.vni.number(), c.vxlan.port, c.vxlan.mtu), (5, 8472, Some(1400)));
    assert_eq!((c.vxlan.tx_checksum_offload, c.vxlan.accept_from), (false, AcceptFrom::Any));
    assert_eq!((c.bgp.local_asn, c.bgp.port, c.bgp.mesh), (Asn(4_200_000_001), 1179, false));
    assert_eq!(c.bgp.router_id.unwrap().to_string(), "192.0.2.9");
    assert_eq!((c.bgp.hold_time, c.bgp.stale_time), (Duration::from_secs(9), Some(Duration::ZERO)));
    let restart = c.bgp.graceful_restart;
    let times = (restart.restart_time.as_secs(), restart.long_lived.as_secs(), c.bgp.graceful_shutdown.wait.as_secs());
    assert_eq!((restart.enabled, c.bgp.graceful_shutdown.honour, times), (false, false, (60, 3600, 30)));
    assert_eq!((c.bgp.max_prefixes, c.bgp.max_paths, c.bgp.accept_as_sets), (100, 2, true));
    let [first, second, third, fourth] = c.bgp.peers.as_slice() else { panic!("{:?}", c.bgp.peers) };
    assert_eq!((third.address, third.interface.as_ref().unwrap().as_str()), (None, "eth1"));
    assert_eq!(third.asn, model::PeerAs::External);
    let hops = |session: &BgpSessionConfig| (session.multihop, session.ttl_security);
    assert_eq!(
        (hops(&first.session), hops(&second.session), hops(&fourth.session)),
        ((None, None), (None, Some(3)), (Some(4), None))
    );
    assert_eq!(fourth.session.tcp_ao_file, Some(PathBuf::from("/run/chain")));
    let [all, few] = c.bgp.listen.as_slice() else { panic!("{:?}", c.bgp.listen) };
    assert_eq!(
        (all.range.to_string().as_str(), all.limit, &all.asns[..]),
        ("198.51.100.0/24", 100, &[Asn(65003).into()][..])
    );
    assert_eq!(all.session, BgpSessionConfig::default());
    assert_eq!(
        (few.limit, &few.asns[..], hops(&few.session)),
        (7, &[Asn(65004).into(), Asn(65005).into()][..], (None, Some(1)))
    );
    assert_eq!((few.session.import.as_deref(), few.session.hold_time), (Some("one"), Some(Duration::from_secs(9))));
    assert_eq!(
        (first.port, first.passive, first.session.hold_time, &first.session.password_file),
        (179, false, None, &None)
    );
    assert_eq!(
        (second.port, second.asn, second.passive, second.session.max_prefixes),
        (1790, Asn(65002).into(), true, Some(7))
    );
    assert_eq!(second.local_address.unwrap().to_string(), "fd00::1");
    assert_eq!(second.session.password_file, Some(PathBuf::from("/run/key")));
    assert_eq!(
        (second.session.hold_time, second.session.description.as_deref()),
        (Some(Duration::ZERO), Some("top of rack"))
    );
    let ms = Duration::from_millis;
    let fast = BfdProfile { min_tx: ms(50), min_rx: ms(100), multiplier: 5, passive: true, multihop: Some(false) };
    assert_eq!(c.bgp.bfd_profile(c.bgp.mesh_bfd.as_ref().unwrap()), Some(fast));
    let default = BfdProfile { min_tx: ms(1000), ..BfdProfile::default() };
    assert_eq!((&first.session.bfd, c.bgp.bfd_profile(second.session.bfd.as_ref().unwrap())), (&None, Some(default)));
    assert_eq!((c.masquerade.enabled, c.masquerade.exclude.len()), (false, 1));
    assert_eq!(
        (c.cni.conf_dir.as_deref(), c.cni.plugin, c.cni.mtu),
        (Some(Path::new("/etc/cni/net.d")), CniPlugin::Ptp, Some(1300))
    );
    assert_eq!(c.switch.linger, Duration::ZERO);
    assert_eq!(c.metrics.listen.unwrap().to_string(), "[::]:9178");
    assert_eq!(c.api.socket, Path::new("/run/b.sock"));
    // One peer says all that one peer can; what the others and the ranges say is of the same struct.
    let short = |key: &str| {
        let short = ["bgp.peers[0]", "bgp.peers[2]", "bgp.peers[3]", "bgp.listen[", "bgp.bfdProfiles.default"];
        let other = ["bgp.peers[1].interface", "bgp.peers[1].multihop", "bgp.peers[1].tcpAoFile"];
        short.iter().any(|it| key.starts_with(it)) || other.contains(&key)
    };
    let from_file = |(key, origin): (&String, &String)| short(key) || origin.starts_with("c.yaml:");
    assert!(loaded.origins.iter().all(from_file), "{:?}", loaded.origins);

    // The document of a configuration is a file of it.
    let again = load(&[yaml("again", &document(c).to_string())]).unwrap();
    assert_eq!(again.config, *c);
}

#[test]
fn short_forms() {
    for (more, enabled) in [("masquerade: false\n", false), ("masquerade: true\n", true), ("masquerade:\n", true)] {
        assert_eq!(load(&[yaml("c.yaml", &with(more))]).unwrap().config.masquerade.enabled, enabled, "{more}");
    }
    let one = load(&[yaml("c.yaml", &with("node: {address: 192.0.2.1}\nbgp:\n  peers:\n"))]).unwrap().config;
    assert_eq!(one.node.addresses.len(), 1);
    assert!(one.bgp.peers.is_empty());
}

#[test]
fn layers() {
    let sources = [
        yaml("main.yaml", &with("bgp:\n  localAsn: 64600\n  holdTime: 30\n  peers: [{address: 192.0.2.1, asn: 1}]\n")),
        yaml(
            "conf.d/10.yaml",
            "bgp:\n  holdTime: 20\n  peers: [{address: 192.0.2.2, asn: 2}]\nmasquerade: {exclude: [192.0.2.0/24]}\n",
        ),
        yaml("conf.d/20.yaml", "# nothing\n"),
        pairs(
            "environment",
            &[
                ("HOME", "/root"),
                ("BIPLANE_BGP__LOCAL_ASN", "64700"),
                ("BIPLANE_MASQUERADE", "false"),
                ("BIPLANE_NODE__NAME", "1e3"),
                ("BIPLANE_NODE__ADDRESS", "[192.0.2.7, fd00::7]"),
                ("BIPLANE_API__SOCKET", ""),
                ("BIPLANE_POOLS", "[{cidr: 10.9.0.0/16, nodePrefix: 25}]"),
                ("BIPLANE_SERVICE_HOST", "10.96.0.1"),
                ("BIPLANE_BGP_HOLD_TIME", "3"),
            ],
        ),
        pairs("flag --mode", &[("mode", "bgp")]),
    ];
    let Loaded { config, origins, warnings } = load(&sources).unwrap();
    assert_eq!((config.mode, config.bgp.local_asn, config.bgp.hold_time.as_secs()), (Plane::Native, Asn(64700), 20));
    assert_eq!(config.bgp.peers.iter().map(|peer| peer.asn).collect::<Vec<_>>(), [Asn(2).into()]);
    assert_eq!((config.masquerade.enabled, config.masquerade.exclude.len()), (false, 1));
    assert_eq!(config.node.name.unwrap().as_str(), "1e3");
    assert_eq!(config.node.addresses.len(), 2);
    assert_eq!(config.pools.first().unwrap().node_len, 25);
    for (key, origin) in [
        ("mode", "flag --mode"),
        ("bgp.localAsn", "BIPLANE_BGP__LOCAL_ASN"),
        ("bgp.holdTime", "conf.d/10.yaml:2"),
        ("bgp.peers[0].asn", "conf.d/10.yaml:3"),
        ("bgp.peers[0].port", BUILT_IN),
        ("masquerade.enabled", "BIPLANE_MASQUERADE"),
        ("masquerade.exclude[0]", "conf.d/10.yaml:4"),
        ("node.address", "BIPLANE_NODE__ADDRESS"),
        ("pools[0].cidr", "BIPLANE_POOLS"),
        ("api.socket", BUILT_IN),
    ] {
        assert_eq!(origins.get(key).map(String::as_str), Some(origin), "{key}");
    }
    let warning =
        "BIPLANE_BGP_HOLD_TIME is passed over; did you mean BIPLANE_BGP__HOLD_TIME, with two underscores for the dot?";
    assert_eq!(warnings, [warning]);
}

#[test]
fn syntax() {
    let expected = "expected one document of `key: value` lines, indented by spaces";
    let not = |place: &str, what: &str| format!("c.yaml:{place}: not YAML: {what}; {expected}");
    refuses(&[
        ("mode: bgp\n  pools: [\n", &[&not("2:8", "mapping values are not allowed in this context")]),
        ("mode: bgp\n---\nmode: bgp\n", &[&not("3:1", "multiple YAML documents detected")]),
        ("mode: *there\n", &[&not("1:7", "alias references unknown anchor")]),
        ("- mode\n", &[&format!("c.yaml:1:1: the document is a list; expected a section with keys: {TOP}")]),
        ("mode bgp\n", &[&format!("c.yaml:1:1: the document is `mode bgp`; expected a section with keys: {TOP}")]),
    ]);
}

#[test]
fn keys() {
    refuses(&[
        (
            "",
            &[
                "c.yaml: mode is missing; expected vxlan or bgp",
                "c.yaml: pools is missing; expected at least one, for example `pools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]`",
            ],
        ),
        (
            "modee: bgp\npools: []\n",
            &[
                &format!("c.yaml:1:1: unknown key `modee`; expected one of {TOP}; did you mean `mode`?"),
                "c.yaml:2:8: pools is empty; expected at least one, for example `pools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]`",
            ],
        ),
        (
            &with("mode: bgp\nvxlan:\n  prot: 1\n  prot: 2\n  vni: 1\n  vni: 2\n"),
            &[
                "c.yaml:3:1: mode is given twice, first in line 1; expected once",
                "c.yaml:5:3: unknown key `prot` in vxlan; expected one of vni, port, mtu, txChecksumOffload, acceptFrom; did you mean `port`?",
                "c.yaml:6:3: vxlan.prot is given twice, first in line 5; expected once",
                "c.yaml:8:3: vxlan.vni is given twice, first in line 7; expected once",
            ],
        ),
        (
            &with("localAsn: 64600\nbackend: vxlan\ncolour: red\n"),
            &[
                &format!("c.yaml:3:1: unknown key `localAsn`; expected one of {TOP}; did you mean `bgp.localAsn`?"),
                &format!("c.yaml:4:1: unknown key `backend`; expected one of {TOP}; did you mean `mode`?"),
                &format!("c.yaml:5:1: unknown key `colour`; expected one of {TOP}"),
            ],
        ),
    ]);
}

#[test]
fn values() {
    refuses(&[
        (
            "mode: native\npools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]\n",
            &["c.yaml:1:7: mode: `native`; expected vxlan or bgp"],
        ),
        (
            "mode: VXLAN\npools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]\n",
            &["c.yaml:1:7: mode: `VXLAN`; expected vxlan or bgp; did you mean `vxlan`?"],
        ),
        (&with("fallback: yes\n"), &["c.yaml:3:11: fallback: `yes`; expected true or false; did you mean true?"]),
        (&with("masquerade: no\n"), &["c.yaml:3:13: masquerade: `no`; expected true or false; did you mean false?"]),
        (&with("fallback: 1\n"), &["c.yaml:3:11: fallback: 1; expected true or false"]),
        (
            &with("vxlan: 4789\n"),
            &["c.yaml:3:8: vxlan: 4789; expected a section with keys: vni, port, mtu, txChecksumOffload, acceptFrom"],
        ),
        (&with("vxlan: {port: 70000}\n"), &["c.yaml:3:15: vxlan.port: 70000; expected a whole number, 1 to 65535"]),
        (&with("vxlan: {port: -1}\n"), &["c.yaml:3:15: vxlan.port: -1; expected a whole number, 1 to 65535"]),
        (
            &with("vxlan: {port: \"4789\"}\n"),
            &["c.yaml:3:15: vxlan.port: `4789` in quotes; expected a whole number, 1 to 65535"],
        ),
        (
            &with("vxlan: {vni: 16777216}\n"),
            &["c.yaml:3:14: vxlan.vni: 16777216; expected a whole number, 1 to 16777215"],
        ),
        (
            &with("vxlan: {mtu: [1]}\n"),
            &["c.yaml:3:14: vxlan.mtu: a list; expected a whole number of octets, 576 to 65535"],
        ),
        (
            &with("bgp: {localAsn: 65535}\n"),
            &[
                "c.yaml:3:17: bgp.localAsn: 65535; expected an AS number, 1 to 4294967294 without the reserved 23456 and 65535",
            ],
        ),
        (
            &with("bgp: {holdTime: 2}\n"),
            &["c.yaml:3:17: bgp.holdTime: 2; expected a whole number of seconds, 0 (no keepalives) or 3 to 65535"],
        ),
        (
            &with("bgp: {holdTime: 9.5}\n"),
            &["c.yaml:3:17: bgp.holdTime: 9.5; expected a whole number of seconds, 0 (no keepalives) or 3 to 65535"],
        ),
        (
            &with("bgp: {routerId: 0.0.0.0}\n"),
            &["c.yaml:3:17: bgp.routerId: `0.0.0.0`; expected four octets as an IPv4 address, not 0.0.0.0"],
        ),
        (&with("bgp: {maxPaths: 65}\n"), &["c.yaml:3:17: bgp.maxPaths: 65; expected a whole number, 1 to 64"]),
        (
            &with("bgp: {peers: {address: 192.0.2.1}}\n"),
            &["c.yaml:3:14: bgp.peers: a section with keys; expected a list, an item a line after `- `"],
        ),
        (
            &with("node: {name: Node_1}\n"),
            &[
                "c.yaml:3:14: node.name: `Node_1`; expected a node name of lower-case letters, digits, `-` and `.`, as in DNS; did you mean `node-1`?",
            ],
        ),
        (
            &with("node: {name: 10}\n"),
            &[
                "c.yaml:3:14: node.name: 10 is no text for YAML; expected a node name of lower-case letters, digits, `-` and `.`, as in DNS, in quotes",
            ],
        ),
        (
            &with("node: {address: fe80::1}\n"),
            &[
                "c.yaml:3:17: node.address: `fe80::1`; expected a unicast IP address without an interface, for example 192.0.2.1 or \"fd00::1\"",
            ],
        ),
        (
            &with("node: {address: [192.0.2.1, 192.0.2.2]}\n"),
            &[
                "c.yaml:3:17: node.address: 2 addresses; expected an IP address, or a list with at most one of each family",
            ],
        ),
        (
            &with("node: {address: [192.0.2.1, x]}\n"),
            &[
                "c.yaml:3:29: node.address[1]: `x`; expected a unicast IP address without an interface, for example 192.0.2.1 or \"fd00::1\"",
            ],
        ),
        (&with("store: {kind: etcd}\n"), &["c.yaml:3:15: store.kind: `etcd`; expected files"]),
        (&with("store: {path: store}\n"), &["c.yaml:3:15: store.path: `store`; expected an absolute path"]),
        (
            &with("metrics: {listen: :9178}\n"),
            &[
                "c.yaml:3:19: metrics.listen: `:9178`; expected ADDRESS:PORT, for example 127.0.0.1:9178 or \"[::]:9178\"; did you mean `0.0.0.0:9178`?",
            ],
        ),
        (
            &with("switch: {lingerSeconds: 3601}\n"),
            &["c.yaml:3:25: switch.lingerSeconds: 3601; expected a whole number of seconds, 0 to 3600"],
        ),
        (
            &with("masquerade: {exclude: [192.0.2.1/24]}\n"),
            &[
                "c.yaml:3:24: masquerade.exclude[0]: `192.0.2.1/24` has bits set behind its length: did you mean 192.0.2.0/24?",
            ],
        ),
    ]);
}

#[test]
fn pools() {
    refuses(&[
        (
            "mode: bgp\npools:\n  - {cidr: 10.244.1.0/16, nodePrefix: 24}\n  - {cidr: 10.244.0.0, nodePrefix: 24}\n  - {cidr: 10.0.0.0/8}\n  -\n",
            &[
                "c.yaml:3:12: pools[0].cidr: `10.244.1.0/16` has bits set behind its length: did you mean 10.244.0.0/16?",
                "c.yaml:4:12: pools[1].cidr: `10.244.0.0`; expected ADDRESS/LENGTH, for example 10.244.0.0/16 or \"fd00:10:244::/48\"",
                "c.yaml:5:5: pools[2].nodePrefix is missing; expected a whole number, 0 to 128",
                "c.yaml:6:4: pools[3]: nothing behind `-`; expected an item",
            ],
        ),
        (
            "mode: bgp\npools:\n  - {cidr: x, nodePrefix: 24}\n  - {cidr: 10.244.0.0/16, nodePrefix: 30}\n  - {cidr: 10.244.128.0/17, nodePrefix: 24}\n  - {cidr: \"fd44::/16\", nodePrefix: 64}\n",
            &[
                "c.yaml:3:12: pools[0].cidr: `x`; expected ADDRESS/LENGTH, for example 10.244.0.0/16 or \"fd00:10:244::/48\"",
                "c.yaml:4:39: pools[1]: nodePrefix 30 does not fit the pool 10.244.0.0/16: expected 16 to 29",
                "c.yaml:5:12: pools[2].cidr: 10.244.128.0/17 overlaps 10.244.0.0/16 of pools[1] (c.yaml:4); expected pools that share no address",
                "c.yaml:6:37: pools[3]: nodePrefix 64 does not fit the pool fd44::/16: expected 16 to 48",
            ],
        ),
        (
            &with("node: {address: 10.244.0.1}\n"),
            &[
                "c.yaml:3:17: node.address: 10.244.0.1 lies in the pool 10.244.0.0/16; expected an address of the network below the pods",
            ],
        ),
        (
            "mode: bgp\npools: [{cidr: \"fd44::/48\", nodePrefix: 64}]\nvxlan: {mtu: 1200}\n",
            &["c.yaml:3:14: vxlan.mtu: 1200; expected 1280 or more, as a pool is IPv6"],
        ),
    ]);
}

#[test]
fn peers() {
    refuses(&[(
        &with(
            "node: {address: 192.0.2.9}\nbgp:\n  peers:\n    - {address: 192.0.2.1}\n    - {address: 192.0.2.1, asn: 1, localAddress: \"fd00::1\"}\n    - {address: 192.0.2.1, asn: 2}\n    - {address: 192.0.2.9, asn: 1}\n    - {address: 192.0.2.2, asn: 1, remoteAs: 4}\n",
        ),
        &[
            "c.yaml:6:7: bgp.peers[0].asn is missing; expected external, internal, or an AS number, 1 to 4294967294 without the reserved 23456 and 65535",
            "c.yaml:7:50: bgp.peers[1].localAddress: fd00::1 cannot reach 192.0.2.1; expected an ipv4 address",
            "c.yaml:8:17: bgp.peers[2].address: 192.0.2.1 is bgp.peers[1] too (c.yaml:7); expected each address once",
            "c.yaml:9:17: bgp.peers[3].address: 192.0.2.9 is this node's own node.address; expected the address of another speaker",
            "c.yaml:10:36: unknown key `remoteAs` in bgp.peers[4]; expected one of address, interface, port, asn, localAddress, passive, passwordFile, holdTime, maxPrefixes, maxPrefixesWarn, maxPrefixesRestart, minAdvertisementInterval, role, roleStrict, gracefulRestart, bfd, description, import, export, nodes, localAsn, nextHop, addPath, client, multihop, ttlSecurity, tcpAoFile; did you mean `asn`?",
        ],
    )]);
}

#[test]
fn peers_behind_interfaces() {
    refuses(&[(
        &with(
            "bgp:\n  peers:\n    - {interface: eth1, asn: 65001}\n    - {interface: eth1, asn: external}\n    - {interface: eth2, address: 192.0.2.1, asn: internal}\n    - {asn: external}\n    - {interface: biplane0, asn: externl}\n    - {interface: eth3, asn: internal, role: peer, localAddress: \"fd00::1\", passwordFile: /run/key}\n    - {interface: lo, asn: \"65001\"}\n    - {interface: interface-number-1, asn: 65535}\n",
        ),
        &[
            "c.yaml:6:19: bgp.peers[1].interface: eth1 is bgp.peers[0] too (c.yaml:5); expected each interface once",
            "c.yaml:7:19: bgp.peers[2].interface: eth2 beside an address; expected one of the two: behind an interface the peer is found by its router advertisements",
            "c.yaml:8:7: bgp.peers[3].address is missing; expected the address of the peer, or `interface`: the one that it is behind",
            "c.yaml:9:19: bgp.peers[4].interface: `biplane0`; expected the name of an interface, 1 to 15 characters, not lo and none of Biplane's own",
            "c.yaml:9:34: bgp.peers[4].asn: `externl`; expected external, internal, or an AS number, 1 to 4294967294 without the reserved 23456 and 65535; did you mean `external`?",
            "c.yaml:10:46: bgp.peers[5].role: AS 64512 is our own; expected a peer of another AS, as RFC 9234 knows no roles inside one",
            "c.yaml:10:66: bgp.peers[5].localAddress: fd00::1 beside an interface; expected none: the session runs between link-local addresses",
            "c.yaml:10:91: bgp.peers[5].passwordFile: not possible behind an interface, as the kernel keeps TCP MD5 keys by address; expected `address` instead of `interface`",
            "c.yaml:11:19: bgp.peers[6].interface: `lo`; expected the name of an interface, 1 to 15 characters, not lo and none of Biplane's own",
            "c.yaml:11:28: bgp.peers[6].asn: `65001` in quotes; expected external, internal, or an AS number, 1 to 4294967294 without the reserved 23456 and 65535",
            "c.yaml:12:19: bgp.peers[7].interface: `interface-number-1`; expected the name of an interface, 1 to 15 characters, not lo and none of Biplane's own",
            "c.yaml:12:44: bgp.peers[7].asn: 65535; expected external, internal, or an AS number, 1 to 4294967294 without the reserved 23456 and 65535",
        ],
    )]);
}

#[test]
fn ranges_and_hops() {
    refuses(&[(
        &with(
            "bgp:
  peers:
    - {address: 192.0.3.1, asn: 1, multihop: 2, ttlSecurity: 1}
    - {address: 192.0.3.2, asn: 1, multihop: 256}
    - {address: 192.0.3.3, asn: 1, ttlSecurity: 255}
    - {address: 192.0.3.4, asn: 1, passwordFile: /k, tcpAoFile: /k}
    - {address: 192.0.2.5, asn: 1}
    - {address: 192.0.2.6, asn: 1, tcpAoFile: /k}
    - {address: 192.0.2.7, asn: 1, passwordFile: /k}
    - {address: 192.0.2.8, asn: 1, nodes: {rack: a}}
  listen:
    - {range: 192.0.2.0/24, asn: 2, passwordFile: /k}
    - {range: 192.0.2.0/24, asn: 3, passwordFile: /k}
    - {range: 192.0.2.128/25, asn: 3}
    - {range: 192.0.4.0/29, asn: []}
    - {range: 198.51.100.0/24}
    - {range: 203.0.113.0/24, asn: [1, 64512], role: peer, roleStrict: true}
    - {range: 203.0.113.0/25, asn: 5, roleStrict: true}
",
        ),
        &[
            "c.yaml:5:46: bgp.peers[0].multihop: 2 beside ttlSecurity 1; expected one of them: ttlSecurity alone, with the number of hops, if the peer is set to it as well, else multihop alone",
            "c.yaml:6:46: bgp.peers[1].multihop: 256; expected a whole number of hops, 1 to 255",
            "c.yaml:7:49: bgp.peers[2].ttlSecurity: 255; expected a whole number of hops, 1 to 254",
            "c.yaml:8:65: bgp.peers[3].tcpAoFile: beside passwordFile; expected one of them, as a connection has TCP-AO or TCP MD5 (RFC 5925 section 1): take out what the peer does not use",
            "c.yaml:9:17: bgp.peers[4].address: 192.0.2.5 lies in the range 192.0.2.0/24, where the kernel takes nobody without the key of bgp.listen[].passwordFile; expected a passwordFile here too, or a range that leaves 192.0.2.5 out",
            "c.yaml:10:17: bgp.peers[5].address: 192.0.2.6 lies in the range 192.0.2.0/24, where the kernel takes nobody without the key of bgp.listen[].passwordFile; expected a passwordFile here too, or a range that leaves 192.0.2.6 out",
            "c.yaml:15:15: bgp.listen[1].range: 192.0.2.0/24 is bgp.listen[0] too (c.yaml:14); expected each range once",
            "c.yaml:16:15: bgp.listen[2].range: 192.0.2.128/25 lies in the range 192.0.2.0/24, where the kernel takes nobody without the key of bgp.listen[].passwordFile; expected a passwordFile here too, or a range that leaves 192.0.2.128/25 out",
            "c.yaml:17:34: bgp.listen[3].asn: an empty list; expected the AS number of the peers, or all that they may have",
            "c.yaml:18:7: bgp.listen[4].asn is missing; expected external, internal, or an AS number, 1 to 4294967294 without the reserved 23456 and 65535",
            "c.yaml:19:54: bgp.listen[5].role: AS 64512 is our own; expected a peer of another AS, as RFC 9234 knows no roles inside one",
            "c.yaml:20:51: bgp.listen[6].roleStrict: true without a role; expected bgp.listen[].role beside it: what this node is to the peer",
        ],
    )]);
}

/// What is announced must neither draw other nodes' packets here nor be a summary of nothing.
#[test]
fn originated_prefixes() {
    let originate = |list: &str| with(&format!("bgp:\n  originate:\n{list}"));
    let fine = "    - {prefix: 198.51.100.7/32}\n    - {prefix: 10.244.0.0/20, aggregate: true, summaryOnly: true}\n    - {prefix: 10.0.0.0/8}\n    - {prefix: 10.244.3.0/24, aggregate: true}\n";
    assert!(load(&[yaml("c.yaml", &originate(fine))]).is_ok());
    refuses(&[(
        &originate(
            "    - {prefix: 198.51.100.7/32}\n    - {prefix: 198.51.100.7/32, med: 1}\n    - {prefix: 192.0.2.0/24, aggregate: true, summaryOnly: true}\n    - {prefix: 10.244.3.0/24}\n    - {prefix: 10.244.3.7/32}\n    - {prefix: 10.244.3.8/32, aggregate: true}\n",
        ),
        &[
            "c.yaml:6:16: bgp.originate[1].prefix: 198.51.100.7/32 is bgp.originate[0] too (c.yaml:5); expected each prefix once",
            "c.yaml:7:41: bgp.originate[2].aggregate: no pod CIDR can lie inside 192.0.2.0/24; expected a prefix around slices of a pool",
            "c.yaml:7:60: bgp.originate[2].summaryOnly: no pod CIDR can lie inside 192.0.2.0/24; expected a prefix around slices of a pool",
            "c.yaml:8:16: bgp.originate[3].prefix: 10.244.3.0/24 lies in the pool 10.244.0.0/16, where pods of other nodes may be; expected `aggregate: true` beside it, so that it is announced only while a pod CIDR of this node is inside",
            "c.yaml:9:16: bgp.originate[4].prefix: 10.244.3.7/32 lies in the pool 10.244.0.0/16, where pods of other nodes may be; expected a prefix outside the pools: pod CIDRs are announced by themselves",
            "c.yaml:10:42: bgp.originate[5].aggregate: no pod CIDR can lie inside 10.244.3.8/32; expected a prefix around slices of a pool",
        ],
    )]);
}

#[test]
fn bfd() {
    let off =
        load(&[yaml("c.yaml", &with("bgp: {peers: [{address: 192.0.2.1, asn: 1, bfd: false}], meshBfd: true}\n"))]);
    let bgp = off.unwrap().config.bgp;
    assert_eq!((&bgp.peers[0].session.bfd, bgp.mesh_bfd.as_deref()), (&None, Some(BfdProfile::DEFAULT)));
    assert_eq!(bgp.bfd_profile("default"), Some(BfdProfile::default()));
    refuses(&[
        (
            &with(
                "bgp:\n  meshBfd: fsat\n  bfdProfiles: {fast: {}}\n  peers: [{address: 192.0.2.1, asn: 1, bfd: slow}]\n",
            ),
            &[
                "c.yaml:4:12: bgp.meshBfd: there is no BFD profile `fsat`; expected one of bgp.bfdProfiles (default is built in): fast; did you mean `fast`?",
                "c.yaml:6:45: bgp.peers[0].bfd: there is no BFD profile `slow`; expected one of bgp.bfdProfiles (default is built in): fast",
            ],
        ),
        (
            &with("bgp:\n  meshBfd: fast\n  bfdProfiles: {fast: {minTx: 5, multiplier: 0, detectMultiplier: 3}}\n"),
            &[
                "c.yaml:5:31: bgp.bfdProfiles.fast.minTx: 5; expected a whole number of milliseconds, 10 to 60000",
                "c.yaml:5:46: bgp.bfdProfiles.fast.multiplier: 0; expected a whole number of packets, 1 to 255",
                "c.yaml:5:49: unknown key `detectMultiplier` in bgp.bfdProfiles.fast; expected one of minTx, minRx, multiplier, passive, multihop",
            ],
        ),
        (
            &with("bgp: {meshBfd: 3}\n"),
            &["c.yaml:3:16: bgp.meshBfd: 3; expected a name of bgp.bfdProfiles, or true (`default`) or false"],
        ),
    ]);
    let unused = load(&[yaml("c.yaml", &with("bgp: {bfdProfiles: {fast: {}}}\n"))]).unwrap().warnings;
    assert_eq!(unused, ["bgp.bfdProfiles.fast is used by no peer: name it in `bfd` of one, or in bgp.meshBfd"]);
}

#[test]
fn secrets_are_not_repeated() {
    let text = with(
        "bgp:\n  peers:\n    - {address: 192.0.2.1, asn: 1, password: hunter2}\n    - {address: 192.0.2.2, asn: 1, passwordFile: hunter2}\n",
    );
    let said = load(&[yaml("c.yaml", &text)]).unwrap_err().to_string();
    assert!(!said.contains("hunter2"), "{said}");
    refuses(&[(
        &text,
        &[
            "c.yaml:5:36: unknown key `password` in bgp.peers[0]; a key never goes in here: put it into a file and name that with `passwordFile` of the peer",
            "c.yaml:6:50: bgp.peers[1].passwordFile: not usable; expected the absolute path of a file that holds the key; the key itself never goes in here",
        ],
    )]);
}

#[test]
fn variables_and_flags() {
    let environment = pairs(
        "environment",
        &[
            ("BIPLANE_BGP__LOCAL_AS", "1"),
            ("BIPLANE_BGP__PORT", "bgp"),
            ("BIPLANE_BGP__PEERS__0__ASN", "1"),
            ("BIPLANE_MODE__X", "1"),
            ("BIPLANE_POOLS", "[{cidr: ["),
            ("BIPLANE_NODE__NAME", "A"),
        ],
    );
    let said = load(&[yaml("c.yaml", SMALLEST), environment, pairs("flag --set", &[("bgp.mash", "true")])]);
    let said = said.unwrap_err().to_string();
    let wanted = [
        "BIPLANE_BGP__LOCAL_AS: unknown variable; expected one of BIPLANE_BGP__LOCAL_ASN, BIPLANE_BGP__ROUTER_ID, BIPLANE_BGP__PORT, BIPLANE_BGP__MESH, BIPLANE_BGP__HOLD_TIME, BIPLANE_BGP__STALE_TIME, BIPLANE_BGP__GRACEFUL_RESTART, BIPLANE_BGP__GRACEFUL_SHUTDOWN, BIPLANE_BGP__MAX_PREFIXES, BIPLANE_BGP__MAX_PREFIXES_WARN, BIPLANE_BGP__MAX_PREFIXES_RESTART, BIPLANE_BGP__MIN_ADVERTISEMENT_INTERVAL, BIPLANE_BGP__MAX_PATHS, BIPLANE_BGP__ACCEPT_AS_SETS, BIPLANE_BGP__PREFIX_SETS, BIPLANE_BGP__POLICIES, BIPLANE_BGP__MESH_IMPORT, BIPLANE_BGP__MESH_EXPORT, BIPLANE_BGP__BFD_PROFILES, BIPLANE_BGP__MESH_BFD, BIPLANE_BGP__REFLECTORS, BIPLANE_BGP__ORIGINATE, BIPLANE_BGP__PEERS, BIPLANE_BGP__LISTEN; did you mean `BIPLANE_BGP__LOCAL_ASN`?",
        "BIPLANE_BGP__PORT: bgp.port: `bgp`; expected a whole number, 1 to 65535",
        "BIPLANE_BGP__PEERS__0__ASN: an item of a list has no variable; expected the whole list in BIPLANE_BGP__PEERS, as YAML: [{…}, {…}]",
        "BIPLANE_MODE__X: unknown variable; expected BIPLANE_MODE, which has nothing below it",
        "BIPLANE_POOLS: not YAML: unclosed bracket '['; expected one document of `key: value` lines, indented by spaces",
        "BIPLANE_NODE__NAME: node.name: `A`; expected a node name of lower-case letters, digits, `-` and `.`, as in DNS; did you mean `a`?",
        "flag --set: unknown key `bgp.mash`; expected one of localAsn, routerId, port, mesh, holdTime, staleTime, gracefulRestart, gracefulShutdown, maxPrefixes, maxPrefixesWarn, maxPrefixesRestart, minAdvertisementInterval, maxPaths, acceptAsSets, prefixSets, policies, meshImport, meshExport, bfdProfiles, meshBfd, reflectors, originate, peers, listen; did you mean `bgp.mesh`?",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), wanted);
}

#[test]
fn socket_path_fits_its_address() {
    let socket = |octets: usize| with(&format!("api: {{socket: /{}}}\n", "x".repeat(octets - 1)));
    assert!(load(&[yaml("c.yaml", &socket(107))]).is_ok());
    refuses(&[(&socket(108), &["c.yaml:3:15: api.socket: a path of 108 octets; expected at most 107"])]);
}

#[test]
fn what_is_hardly_meant_is_warned_of() {
    let text = "mode: bgp\npools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]\nbgp: {mesh: false}\nvxlan: {mtu: 1400}\ncni: {mtu: 1500}\n";
    assert_eq!(
        load(&[yaml("c.yaml", text)]).unwrap().warnings,
        [
            "mode is bgp, but bgp.mesh is false and bgp.peers is empty: no route will ever be learnt",
            "cni.mtu 1500 is larger than vxlan.mtu 1400: the overlay will fragment or drop full-size packets",
        ]
    );
}

#[test]
fn schema_follows_the_table() {
    let schema = schema();
    assert_eq!(schema["required"], json!(["mode", "pools"]));
    assert_eq!(schema["properties"]["vxlan"]["properties"]["port"]["default"], json!(4789));
    assert_eq!(schema["properties"]["bgp"]["properties"]["peers"]["items"]["required"], json!(["asn"]));
    assert_eq!(schema["properties"]["masquerade"]["type"], json!(["object", "boolean", "null"]));
    assert_eq!(schema["additionalProperties"], json!(false));
}

/// Keys of the table and of the document are the same: a key forgotten in one of them shows here.
#[test]
fn table_and_document_agree() {
    fn keys(shape: &'static keys::Shape, prefix: &str, into: &mut Vec<String>) {
        for field in shape.fields() {
            let key = layer::below(prefix, field.key);
            if field.shape.fields().is_empty() { into.push(key) } else { keys(&field.shape, &key, into) }
        }
    }
    let mut table = Vec::new();
    keys(&keys::ROOT, "", &mut table);
    let mut document = Vec::new();
    super::values("", &document::built_in(), &mut |key| document.push(key));
    // A section that is absent when nothing is said stands in the document as one key without a value.
    let absent = |key: String| document.iter().find(|d| key.starts_with(&format!("{d}."))).cloned().unwrap_or(key);
    let mut table: Vec<String> = table.into_iter().map(absent).collect();
    table.sort();
    table.dedup();
    document.sort();
    assert_eq!(table, document);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the product reads no file; this test does")]
fn files_of_the_testbed_are_taken() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed/topologies");
    let mut seen = 0;
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|it| it == "yaml") {
                let text = std::fs::read_to_string(&file).unwrap();
                load(&[yaml(&file.display().to_string(), &text)]).unwrap_or_else(|errors| panic!("{errors}"));
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen}");
}
