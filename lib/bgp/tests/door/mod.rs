//! The promises of policies that are made of any text: the entry of the fuzz target, and of the test of its corpus.

use std::net::IpAddr;

use bgp::{Policy, RouteView};
use config::{Source, Text};
use model::policy::RouteOrigin;
use model::{Asn, Prefix};
use wire::{AsPath, Attributes, Negotiated};

/// ASes of the longest AS_PATH that a message of 65,535 octets holds: 4 octets each, 2 a segment of 255, and some 60 for
/// everything else.
pub const LONGEST: usize = 16_200;

/// Any text is refused in words or gives policies that survive being written down, and that give every
/// route one and the same outcome.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let loaded = match load(text) {
        Ok(loaded) => loaded,
        Err(errors) => {
            assert!(errors.0.iter().all(|error| !error.message.is_empty()), "refused without a word");
            return;
        }
    };
    let written = config::document(&loaded.config);
    let (mode, pools, bgp) = (&written["mode"], &written["pools"], &written["bgp"]);
    let (sets, policies) = (&bgp["prefixSets"], &bgp["policies"]);
    let written =
        format!(r#"{{"mode": {mode}, "pools": {pools}, "bgp": {{"prefixSets": {sets}, "policies": {policies}}}}}"#);
    let again =
        load(&written).unwrap_or_else(|errors| panic!("what was read cannot be read again: {errors}\n{written}"));
    assert_eq!(again.config.bgp.policies, loaded.config.bgp.policies, "{written}");
    assert_eq!(again.config.bgp.prefix_sets, loaded.config.bgp.prefix_sets, "{written}");
    let policies = bgp::policies(&loaded.config.bgp, &loaded.config.pools);
    let again = bgp::policies(&again.config.bgp, &again.config.pools);
    assert_eq!(policies, again);
    for policy in policies.values() {
        for (prefix, attributes) in routes() {
            evaluate(policy, prefix, &attributes);
        }
    }
}

fn load(text: &str) -> Result<config::Loaded, config::Errors> {
    config::load(&[Source { name: "f.yaml".to_owned(), text: Text::Yaml(text.to_owned()) }])
}

/// Routes of all sizes.
fn routes() -> Vec<(Prefix, Attributes)> {
    let path = |ases: usize| AsPath::sequence((0..ases as u32).map(|n| Asn(64512 + n % 1000)));
    let some = Attributes {
        as_path: path(3),
        communities: vec![0xffff_0000, 64512 << 16 | 100, 0xffff_ff01],
        large_communities: vec![[64512, 1, 2]],
        med: Some(7),
        local_pref: Some(200),
        ..Attributes::default()
    };
    let many = Attributes {
        communities: (0..15_000).collect(),
        large_communities: (0..1000).map(|n| [n, n, n]).collect(),
        ..some.clone()
    };
    let prefix = |text: &str| text.parse().expect("a prefix");
    vec![
        (prefix("10.244.7.0/24"), Attributes::default()),
        (prefix("0.0.0.0/0"), some.clone()),
        (prefix("fd00:10:244:7::/64"), some.clone()),
        (prefix("198.51.100.7/32"), many),
        (prefix("10.244.7.0/24"), Attributes { as_path: path(LONGEST), ..some }),
    ]
}

/// One route through one policy, in and out.
pub fn evaluate(policy: &Policy, prefix: Prefix, attributes: &Attributes) {
    let neighbour = IpAddr::from([192, 0, 2, 254]);
    for origin in [RouteOrigin::Learned, RouteOrigin::Pod, RouteOrigin::Originated] {
        let view = RouteView {
            prefix,
            attributes,
            next_hop: (origin == RouteOrigin::Learned).then_some(neighbour),
            neighbour,
            neighbour_asn: Asn(64512),
            origin,
            prepend: Asn(64513),
        };
        let (one, two) = (policy.evaluate(&view), policy.evaluate(&view));
        assert_eq!((one.verdict, one.rule, &one.attributes), (two.verdict, two.rule, &two.attributes));
        assert!(policy.label(one.rule).starts_with("policy "));
        if !one.is_accepted() {
            continue;
        }
        // It fits a message or it does not: either is said.
        let hop = if prefix.address().is_ipv4() { neighbour } else { IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]) };
        for max_message in [4096, 65_535] {
            let codec = Negotiated {
                four_octet_as: true,
                families: model::Family::BOTH.into_iter().collect(),
                max_message,
                ..Negotiated::default()
            };
            let Ok(messages) = wire::encode_announce(&[(prefix, 0)], hop, None, &one.attributes, &codec) else {
                continue;
            };
            for message in &messages {
                assert!(message.len() <= max_message);
                assert!(wire::decode(message, &codec).is_ok(), "we send what we would not take");
            }
        }
    }
}
