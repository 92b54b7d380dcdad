use model::policy::*;
use serde_json::json;

use crate::{Loaded, Source, Text, document, load, schema};

const TOP: &str = "mode: vxlan\npools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]\n";

fn read(more: &str) -> Result<Loaded, String> {
    let source = |text: String| Source { name: "c.yaml".into(), text: Text::Yaml(text) };
    load(&[source(format!("{TOP}{more}"))]).map_err(|errors| errors.to_string())
}

/// A text, and every line that is said of it.
fn refuses(more: &str, wanted: &[&str]) {
    let said = read(more).expect_err(more);
    assert_eq!(said.lines().collect::<Vec<_>>(), wanted, "of\n{more}");
}

const WHOLE: &str = r#"
node: {address: 192.0.2.9}
bgp:
  prefixSets:
    services: [{prefix: 10.96.0.0/12, ge: 24, le: 32}, "fd96::/108"]
    none: []
  policies:
    from-tor:
      default: reject
      rules:
        - name: services
          match:
            prefixes: services
            communities: [65001:100, no-export]
            largeCommunities: {all: ["65001:1:*"], none: "1:2:3"}
            asPath: {contains: 65001, origin: [65002, 65003], neighbour: 65001, length: {ge: 1, le: 9}}
            neighbour: {address: 192.0.2.1, asn: [65001]}
            origin: [learned]
            family: ipv4
            nextHop: [192.0.2.0/24, "fd00::1"]
          set:
            localPref: 200
            med: 0
            communities: {add: blackhole, remove: ["65001:*"]}
            largeCommunities: {replace: []}
            prepend: {asn: 65009, times: 3}
            nextHop: 192.0.2.9
          then: accept
        - match: {prefixes: [0.0.0.0/0, {prefix: "fd00::/8", le: 64}]}
          set: {prepend: 2, communities: [1:1]}
          then: next
    to-tor: {rules: [{match: {origin: own, prefixes: podCidrs}, set: {nextHop: self}, then: accept}]}
  meshImport: from-tor
  peers: [{address: 192.0.2.1, asn: 65001, import: from-tor, export: to-tor}]
"#;

#[test]
fn every_word_arrives_and_goes_back() {
    let loaded = read(WHOLE).unwrap();
    let bgp = &loaded.config.bgp;
    let policy = &bgp.policies["from-tor"];
    let [first, second] = policy.rules.as_slice() else { panic!("{policy:?}") };
    assert_eq!(first.matches.prefixes, Some(Prefixes::Set("services".into())));
    let communities = first.matches.communities.as_ref().unwrap();
    assert_eq!(communities.any.iter().map(ToString::to_string).collect::<Vec<_>>(), ["65001:100", "no-export"]);
    assert_eq!(first.matches.large_communities.as_ref().unwrap().none.len(), 1, "one needs no list");
    assert_eq!(first.matches.as_path.as_ref().unwrap().contains, [model::Asn(65001)]);
    assert_eq!(first.matches.next_hop[1].to_string(), "fd00::1/128");
    assert_eq!(first.set.next_hop, Some(NextHopChange::Address("192.0.2.9".parse().unwrap())));
    assert_eq!(first.set.large_communities.as_ref().unwrap().replace, Some(Vec::new()));
    let Some(Prefixes::List(list)) = &second.matches.prefixes else { panic!("{second:?}") };
    assert_eq!(list[0], PrefixRange::exact("0.0.0.0/0".parse().unwrap()));
    assert_eq!(second.set.prepend, Some(Prepend { asn: None, times: 2 }));
    assert_eq!((second.then, policy.default), (Then::Next, Verdict::Reject));
    assert_eq!(bgp.policies["to-tor"].default, Verdict::Reject, "what is not said is not accepted");
    assert_eq!(bgp.peers[0].session.import.as_deref(), Some("from-tor"));
    assert_eq!(loaded.origins["bgp.policies.from-tor.rules[0].then"], "c.yaml:30");
    assert_eq!(loaded.warnings, Vec::<String>::new());

    let text = document(&loaded.config).to_string();
    let again = load(&[Source { name: "again".into(), text: Text::Yaml(text) }]).unwrap();
    assert_eq!(again.config, loaded.config);
}

#[test]
fn layers_add_policies_by_name() {
    let source = |name: &str, text: &str| Source { name: name.into(), text: Text::Yaml(text.into()) };
    let main = format!("{TOP}bgp: {{policies: {{a: {{default: accept}}, b: {{rules: []}}}}}}\n");
    let more = "bgp:\n  policies:\n    b: {default: accept}\n    c: {}\n  meshImport: a\n";
    let variable = Source {
        name: "environment".into(),
        text: Text::Pairs(vec![
            ("BIPLANE_BGP__MESH_EXPORT".into(), "c".into()),
            ("BIPLANE_BGP__PREFIX_SETS".into(), "{x: [10.0.0.0/8]}".into()),
        ]),
    };
    let config = load(&[source("main", &main), source("more", more), variable]).unwrap().config;
    let defaults: Vec<_> = config.bgp.policies.iter().map(|(name, it)| (name.as_str(), it.default)).collect();
    assert_eq!(defaults, [("a", Verdict::Accept), ("b", Verdict::Accept), ("c", Verdict::Reject)]);
    assert_eq!((config.bgp.mesh_export.as_deref(), config.bgp.prefix_sets.len()), (Some("c"), 1));
}

#[test]
fn names_that_are_not_there() {
    refuses(
        "bgp:\n  policies:\n    from-tor: {rules: [{match: {prefixes: service}, then: accept}]}\n  prefixSets: {services: [10.0.0.0/8]}\n  meshExport: x\n  peers: [{address: 192.0.2.1, asn: 1, import: from-tro}]\n",
        &[
            "c.yaml:5:43: bgp.policies.from-tor.rules[0].match.prefixes: there is no set `service`; expected one of bgp.prefixSets (podCidrs is built in): services; did you mean `services`?",
        ],
    );
    refuses(
        "bgp:\n  policies: {from-tor: {}}\n  meshExport: x\n  peers: [{address: 192.0.2.1, asn: 1, import: from-tro}]\n",
        &[
            "c.yaml:5:15: bgp.meshExport: there is no policy `x`; expected one of bgp.policies: from-tor",
            "c.yaml:6:48: bgp.peers[0].import: there is no policy `from-tro`; expected one of bgp.policies: from-tor; did you mean `from-tor`?",
        ],
    );
    refuses(
        "bgp: {peers: [{address: 192.0.2.1, asn: 1, export: x}]}\n",
        &["c.yaml:3:52: bgp.peers[0].export: there is no policy `x`; expected one of bgp.policies, which has none"],
    );
}

#[test]
fn mistakes_inside() {
    refuses(
        "bgp:\n  prefixSets:\n    podCidrs: [10.0.0.0/8]\n    a: [{prefix: 10.0.0.0/8, ge: 7}, {prefix: 10.0.0.0/8, ge: 24, le: 16}, {ge: 1}]\n    b.c: []\n    a: []\n",
        &[
            "c.yaml:5:15: bgp.prefixSets.podCidrs is built in: every slice of every pool; expected another name",
            "c.yaml:6:34: bgp.prefixSets.a[0].ge: 7 is no length inside 10.0.0.0/8; expected 8 to 32",
            "c.yaml:6:38: bgp.prefixSets.a[1]: ge 24 is above le 16; nothing matches",
            "c.yaml:6:76: bgp.prefixSets.a[2].prefix is missing; expected ADDRESS/LENGTH, for example 10.244.0.0/16 or \"fd00:10:244::/48\"",
            "c.yaml:7:5: bgp.prefixSets: `b.c` as a name; expected a name of letters, digits, `-` and `_`, 63 at most",
            "c.yaml:8:5: bgp.prefixSets.a is given twice, first in line 6; expected once",
        ],
    );
    refuses(
        "bgp:\n  policies:\n    p:\n      rules:\n        - match: {communities: [1:x], prefix: 10.0.0.0/8}\n          then: allow\n        - {name: a, set: {communities: {add: [\"1:*\"]}, nextHop: me}, then: accept}\n        - {name: a}\n    q: [accept]\n",
        &[
            "c.yaml:7:33: bgp.policies.p.rules[0].match.communities[0]: `1:x`; expected a community or a pattern, for example 65001:100, 65001:* or no-export",
            "c.yaml:7:39: unknown key `prefix` in bgp.policies.p.rules[0].match; expected one of prefixes, communities, largeCommunities, asPath, neighbour, origin, family, nextHop; did you mean `prefixes`?",
            "c.yaml:8:17: bgp.policies.p.rules[0].then: `allow`; expected accept or reject or next",
            "c.yaml:9:47: bgp.policies.p.rules[1].set.communities.add[0]: `1:*`; expected a community, for example 65001:100 or no-export",
            "c.yaml:9:65: bgp.policies.p.rules[1].set.nextHop: `me`; expected self, keep, or a unicast IP address",
            "c.yaml:10:11: bgp.policies.p.rules[2].then is missing; expected accept or reject or next",
            "c.yaml:11:8: bgp.policies.q: a list; expected a section with keys: rules, default",
        ],
    );
    refuses(
        "bgp:\n  policies:\n    p:\n      rules:\n        - {name: a, then: next, match: {asPath: {length: {ge: 3, le: 2}}}}\n        - {name: a, set: {nextHop: self}, then: accept}\n  meshImport: p\n",
        &[
            "c.yaml:7:58: bgp.policies.p.rules[0].match.asPath.length: ge 3 is above le 2; no path matches",
            "c.yaml:8:18: bgp.policies.p.rules[1].name: `a` is the name of rule 1 too; expected each name once in a policy",
            "c.yaml:9:15: bgp.meshImport: policy `p` sets `nextHop: self` in rule 2, which would send packets to ourselves; expected a policy without it, as `self` is for exports",
        ],
    );
}

#[test]
fn what_is_hardly_meant() {
    let text = "bgp: {policies: {p: {rules: [{then: accept}, {then: reject}]}}}\n";
    assert_eq!(
        read(text).unwrap().warnings,
        [
            "bgp.policies.p is used by no peer: name it in `import` or `export` of one",
            "bgp.policies.p.rules[0] matches every route: the rules behind it are never looked at",
        ]
    );
}

#[test]
fn the_schema_knows_free_names_and_short_forms() {
    let schema = schema();
    let bgp = &schema["properties"]["bgp"]["properties"];
    let policy = &bgp["policies"]["additionalProperties"]["properties"];
    assert_eq!(policy["default"]["enum"], json!(["accept", "reject"]));
    let rule = &policy["rules"]["items"];
    assert_eq!(rule["required"], json!(["then"]));
    let communities = &rule["properties"]["match"]["properties"]["communities"]["anyOf"];
    assert_eq!(communities[0]["additionalProperties"], json!(false));
    assert_eq!(communities[1]["anyOf"][1]["type"], json!("array"));
    let range = &bgp["prefixSets"]["additionalProperties"]["items"]["anyOf"];
    assert_eq!((&range[0]["required"], &range[1]["type"]), (&json!(["prefix"]), &json!("string")));
}
