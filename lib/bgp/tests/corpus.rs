//! The corpus of the fuzz target through the same entry, and the longest AS_PATH through every operator of a policy.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub, clippy::disallowed_methods)]

mod door;

use std::collections::BTreeMap;

use bgp::Policy;
use model::Asn;
use model::policy::{AsPathMatch, PolicyConfig, Prepend, Range, RuleConfig, RuleMatch, RuleSet, Then, Verdict};
use wire::{AsPath, Attributes};

/// Checklist: 101
#[test]
fn every_seed_keeps_the_promises() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/policy");
    let (mut count, mut valid) = (0, 0);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        assert!(std::panic::catch_unwind(|| door::policy(&data)).is_ok(), "{}", path.display());
        let text = config::Text::Yaml(String::from_utf8_lossy(&data).into_owned());
        valid += usize::from(config::load(&[config::Source { name: "f".into(), text }]).is_ok());
        count += 1;
    }
    assert!(count >= 14 && valid >= 8, "{count} seeds, {valid} of them valid: the promises would hold for nothing");
}

fn policy(matches: RuleMatch, set: RuleSet) -> Policy {
    let rule = RuleConfig { name: None, matches, set, then: Then::Next };
    let config = PolicyConfig { rules: vec![rule], default: Verdict::Accept };
    Policy::new("long", &config, &BTreeMap::new(), &[])
}

/// CVE-2026-49943: more ASes than fit a buffer that was sized for 4,096 octets. Each operator on AS_PATH reads, and the
/// one that writes lengthens, the longest path of a message of 4,096 and of one of 65,535 octets.
/// Checklist: 77
#[test]
fn the_longest_as_path_passes_every_operator() {
    let path = |asns: Vec<Asn>| AsPathMatch { contains: asns, ..AsPathMatch::default() };
    let last = Asn(64512 + door::LONGEST as u32 - 1);
    let matches = [
        path(vec![last]),
        path(vec![Asn(1)]),
        AsPathMatch { origin: vec![last], ..AsPathMatch::default() },
        AsPathMatch { neighbour: vec![Asn(64512)], ..AsPathMatch::default() },
        AsPathMatch { length: Some(Range { ge: Some(1000), le: None }), ..AsPathMatch::default() },
    ];
    let sets = [RuleSet::default(), RuleSet { prepend: Some(Prepend { asn: None, times: 10 }), ..RuleSet::default() }];
    for ases in [1_000, door::LONGEST] {
        let as_path = AsPath::sequence((0..ases as u32).map(|n| Asn(64512 + n)));
        assert_eq!(as_path.length(), ases);
        let attributes = Attributes { as_path, ..Attributes::default() };
        for matches in matches.clone() {
            for set in sets.clone() {
                let matches = RuleMatch { as_path: Some(matches.clone()), ..RuleMatch::default() };
                door::evaluate(&policy(matches, set), "10.244.7.0/24".parse().unwrap(), &attributes);
            }
        }
        let all = policy(RuleMatch::default(), sets[1].clone());
        let view = bgp::RouteView {
            prefix: "10.244.7.0/24".parse().unwrap(),
            attributes: &attributes,
            next_hop: None,
            neighbour: "192.0.2.1".parse().unwrap(),
            neighbour_asn: Asn(65001),
            origin: model::policy::RouteOrigin::Learned,
            prepend: Asn(65001),
        };
        let outcome = all.evaluate(&view);
        assert_eq!(outcome.attributes.as_path.length(), ases + 10, "nothing is cut off");
        assert_eq!(outcome.attributes.as_path.first(), Some(Asn(65001)));
    }
}
