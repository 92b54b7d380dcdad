use config::{Source, Text};

use super::*;

const CONFIG: &str = r#"
mode: bgp
pools: [{cidr: 10.244.0.0/16, nodePrefix: 24}]
serviceCidrs: [10.96.0.0/12]
bgp:
  policies:
    from-tor:
      rules:
        - {name: default, match: {prefixes: [0.0.0.0/0]}, set: {localPref: 50}, then: accept}
        - {match: {communities: [65001:666]}, then: reject}
        - {name: all, match: {prefixes: [{prefix: 0.0.0.0/0, le: 32}]}, set: {communities: [1:1]}, then: accept}
    to-tor: {rules: [{name: own, match: {origin: own}, set: {prepend: 2}, then: accept}]}
  peers: [{address: 192.0.2.1, asn: 65001, import: from-tor, export: to-tor}]
"#;

fn loaded() -> Config {
    config::load(&[Source { name: "c".into(), text: Text::Yaml(CONFIG.into()) }]).unwrap().config
}

fn tested(cases: &str) -> Vec<Tested> {
    let config = loaded();
    let policies = bgp::policies(&config.bgp, &config.pools);
    parse(cases).unwrap().iter().map(|case| run(case, &config, &policies).unwrap()).collect()
}

#[test]
fn cases_that_hold_and_cases_that_do_not() {
    let cases = "
- {policy: from-tor, prefix: 0.0.0.0/0, expect: {verdict: accept, rule: default, localPref: 50}}
- {name: black, policy: from-tor, prefix: 198.51.100.0/24, communities: [65001:666], expect: {verdict: reject, rule: '2'}}
- {policy: from-tor, prefix: 198.51.100.0/24, expect: {verdict: accept, communities: [1:1]}}
- {policy: from-tor, prefix: 10.96.0.0/24, expect: {verdict: reject}}
- {policy: to-tor, prefix: 10.244.1.0/24, origin: pod, expect: {verdict: accept, asPath: 64512 64512}}
- {policy: to-tor, prefix: 10.244.1.0/24, expect: {verdict: accept, rule: own, localPref: 7}}
";
    let tested = tested(cases);
    let failures: Vec<Vec<String>> = tested.iter().map(|it| it.failures.clone()).collect();
    assert_eq!(failures[..5], [const { Vec::<String>::new() }; 5]);
    assert_eq!(
        failures[5],
        ["verdict: want accept, got reject", "rule: want own, got default", "localPref: want 7, got none"]
    );
    assert_eq!(tested[0].direction, Direction::Import);
    assert_eq!(tested[4].direction, Direction::Export, "as peers use it");
    assert!(tested[3].refusal.as_deref().unwrap().contains("service CIDR"), "{:?}", tested[3]);
}

#[test]
fn cases_that_cannot_be_read() {
    for (text, part) in [
        ("[]", "no cases"),
        ("- {policy: p, prefix: 10.0.0.0/8}", "case 1 has no `expect`"),
        ("- {policy: p, prefix: 10.0.0.0/8, colour: red}", "colour"),
        ("- {policy: p, prefix: 10.0.0.1/8, expect: {}}", "bits set behind its length"),
        ("- {policy: p, prefix: 10.0.0.0/8, expect: {verdict: maybe}}", "maybe"),
    ] {
        let said = parse(text).unwrap_err();
        assert!(said.contains(part), "{text}: {said}");
    }
}

#[test]
fn paths_as_people_write_them() {
    for (text, written) in
        [("", ""), ("65001 65002", "65001 65002"), ("1,2 {3, 4}5", "1 2 {3 4} 5"), ("{7}", "{7}"), ("{} 1", "1")]
    {
        assert_eq!(as_path(text).unwrap().to_string(), written, "{text}");
    }
    for text in ["x", "1 {2", "1 }", "{{1}}", "4294967296"] {
        assert!(as_path(text).is_err(), "{text}");
    }
}

/// The worked example of the README is a configuration, and its cases hold.
#[test]
fn the_readme_s_example_holds() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let section = readme.split("## Policies\n").nth(1).unwrap();
    let blocks: Vec<&str> = section.split("```yaml\n").skip(1).map(|it| it.split("```").next().unwrap()).collect();
    let text = format!("mode: bgp\npools: [{{cidr: 10.244.0.0/16, nodePrefix: 24}}]\n{}", blocks[0]);
    let loaded = config::load(&[Source { name: "README".into(), text: Text::Yaml(text) }]).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let policies = bgp::policies(&loaded.config.bgp, &loaded.config.pools);
    for case in parse(blocks[1]).unwrap() {
        let tested = run(&case, &loaded.config, &policies).unwrap();
        assert_eq!(tested.failures, Vec::<String>::new(), "{}", tested.name);
    }
}
