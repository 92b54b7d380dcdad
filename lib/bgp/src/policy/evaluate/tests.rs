use model::policy::{NeighbourMatch, Prepend, Range, RuleConfig};
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::value::{Error, MapDeserializer};
use wire::AsPath;

use super::*;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn pattern(text: &str) -> CommunityPattern {
    text.parse().unwrap()
}

fn rule(then: Then) -> RuleConfig {
    RuleConfig { name: None, matches: RuleMatch::default(), set: RuleSet::default(), then }
}

fn policy(rules: Vec<RuleConfig>, default: Verdict) -> Policy {
    let sets = BTreeMap::from([(
        "services".to_owned(),
        vec![PrefixRange { prefix: prefix("10.96.0.0/12"), ge: Some(24), le: Some(32) }],
    )]);
    let pools = [ClusterPool::new(prefix("10.244.0.0/16"), 24).unwrap()];
    Policy::new("p", &PolicyConfig { rules, default }, &sets, &pools)
}

fn view<'a>(text: &str, attributes: &'a Attributes) -> RouteView<'a> {
    RouteView {
        prefix: prefix(text),
        attributes,
        next_hop: Some("192.0.2.7".parse().unwrap()),
        neighbour: "192.0.2.1".parse().unwrap(),
        neighbour_asn: Asn(65001),
        origin: RouteOrigin::Learned,
        prepend: Asn(64512),
    }
}

fn attributes() -> Attributes {
    Attributes {
        as_path: AsPath::sequence([65001, 65002, 65003].map(Asn)),
        communities: vec![65001 << 16 | 100, 65001 << 16 | 200],
        large_communities: vec![[65001, 1, 2]],
        ..Attributes::default()
    }
}

/// One operator at a time: what it takes, what it does not.
#[test]
fn every_match() {
    let attributes = attributes();
    let all = |any: &[&str], all: &[&str], none: &[&str]| {
        let patterns = |texts: &[&str]| texts.iter().map(|text| pattern(text)).collect();
        let communities = CommunityMatch { any: patterns(any), all: patterns(all), none: patterns(none) };
        RuleMatch { communities: Some(communities), ..RuleMatch::default() }
    };
    let large = |text: &str| {
        let any = vec![text.parse().unwrap()];
        let communities = CommunityMatch { any, ..CommunityMatch::default() };
        RuleMatch { large_communities: Some(communities), ..RuleMatch::default() }
    };
    let path = |as_path| RuleMatch { as_path: Some(as_path), ..RuleMatch::default() };
    let length = |ge, le| path(AsPathMatch { length: Some(Range { ge, le }), ..AsPathMatch::default() });
    let set = |prefixes| RuleMatch { prefixes: Some(prefixes), ..RuleMatch::default() };
    let neighbour = |address: &[&str], asn: &[u32]| {
        let address = address.iter().map(|it| it.parse().unwrap()).collect();
        let asn = asn.iter().copied().map(Asn).collect();
        RuleMatch { neighbour: Some(NeighbourMatch { address, asn }), ..RuleMatch::default() }
    };
    let contains = |asn| path(AsPathMatch { contains: vec![Asn(asn)], ..AsPathMatch::default() });
    let origin = |asn| path(AsPathMatch { origin: vec![Asn(asn)], ..AsPathMatch::default() });
    let first = |asn| path(AsPathMatch { neighbour: vec![Asn(asn)], ..AsPathMatch::default() });
    let hop = |text| RuleMatch { next_hop: vec![prefix(text)], ..RuleMatch::default() };
    let cases = [
        (RuleMatch::default(), true),
        (set(Prefixes::Set("services".into())), true),
        (set(Prefixes::Set(Prefixes::POD_CIDRS.into())), false),
        (set(Prefixes::List(vec![PrefixRange::exact(prefix("10.96.1.0/24"))])), true),
        (set(Prefixes::List(vec![PrefixRange::exact(prefix("10.96.0.0/16"))])), false),
        (set(Prefixes::List(Vec::new())), false),
        (all(&["65001:100", "1:1"], &[], &[]), true),
        (all(&["1:1"], &[], &[]), false),
        (all(&[], &["65001:100", "65001:200"], &[]), true),
        (all(&[], &["65001:100", "1:1"], &[]), false),
        (all(&[], &["65001:*"], &["1:1"]), true),
        (all(&["65001:100"], &[], &["65001:200"]), false),
        (large("65001:*:2"), true),
        (large("65001:1:3"), false),
        (contains(65002), true),
        (contains(65009), false),
        (origin(65003), true),
        (origin(65001), false),
        (first(65001), true),
        (first(65003), false),
        (length(Some(3), Some(3)), true),
        (length(Some(4), None), false),
        (length(None, Some(2)), false),
        (neighbour(&["192.0.2.1"], &[65001]), true),
        (neighbour(&["192.0.2.2"], &[]), false),
        (neighbour(&[], &[65002]), false),
        (RuleMatch { origin: vec![RouteOrigin::Own], ..RuleMatch::default() }, false),
        (RuleMatch { origin: vec![RouteOrigin::Own, RouteOrigin::Learned], ..RuleMatch::default() }, true),
        (RuleMatch { family: Some(model::Family::V4), ..RuleMatch::default() }, true),
        (RuleMatch { family: Some(model::Family::V6), ..RuleMatch::default() }, false),
        (hop("192.0.2.0/24"), true),
        (hop("192.0.3.0/24"), false),
    ];
    for (matches, taken) in cases {
        let words = format!("{matches:?}");
        let policy = policy(vec![RuleConfig { matches, ..rule(Then::Accept) }], Verdict::Reject);
        assert_eq!(policy.evaluate(&view("10.96.1.0/24", &attributes)).is_accepted(), taken, "{words}");
    }
}

#[test]
fn every_change() {
    let attributes = attributes();
    let set = RuleSet {
        local_pref: Some(200),
        med: Some(7),
        communities: Some(CommunityChange {
            add: vec![pattern("1:1"), pattern("no-export"), pattern("65001:200")],
            remove: vec![pattern("65001:100")],
            replace: None,
        }),
        large_communities: Some(CommunityChange {
            replace: Some(vec!["9:9:9".parse().unwrap()]),
            ..CommunityChange::default()
        }),
        prepend: Some(Prepend { asn: None, times: 2 }),
        next_hop: Some(NextHopChange::Address("192.0.2.99".parse().unwrap())),
    };
    let policy = policy(vec![RuleConfig { set, ..rule(Then::Accept) }], Verdict::Reject);
    let outcome = policy.evaluate(&view("10.0.0.0/24", &attributes));
    let after = outcome.attributes.as_ref();
    assert_eq!((after.local_pref, after.med), (Some(200), Some(7)));
    assert_eq!(after.communities, [65001 << 16 | 200, 1 << 16 | 1, 0xffff_ff01], "what stays stays in its place");
    assert_eq!(after.large_communities, [[9, 9, 9]]);
    assert_eq!(after.as_path.to_string(), "64512 64512 65001 65002 65003");
    assert_eq!(outcome.next_hop, Some(NextHopChange::Address("192.0.2.99".parse().unwrap())));
    assert_eq!((outcome.rule, policy.label(outcome.rule)), (Some(0), "policy p, rule 1".to_owned()));
}

/// A rule that says `next` hands on what it has set, and a later rule sees it.
#[test]
fn next_hands_on_what_was_set() {
    let add = |text: &str| RuleSet {
        communities: Some(CommunityChange { add: vec![pattern(text)], ..CommunityChange::default() }),
        ..RuleSet::default()
    };
    let has = |text: &str| RuleMatch {
        communities: Some(CommunityMatch { all: vec![pattern(text)], ..CommunityMatch::default() }),
        ..RuleMatch::default()
    };
    let rules = vec![
        RuleConfig { set: add("1:1"), ..rule(Then::Next) },
        RuleConfig { matches: has("1:2"), ..rule(Then::Reject) },
        RuleConfig { matches: has("1:1"), set: add("1:2"), name: Some("second".into()), ..rule(Then::Accept) },
    ];
    let policy = policy(rules, Verdict::Reject);
    let plain = Attributes::default();
    let outcome = policy.evaluate(&view("10.0.0.0/24", &plain));
    assert_eq!((outcome.verdict, outcome.rule), (Verdict::Accept, Some(2)));
    assert_eq!(outcome.attributes.communities, [1 << 16 | 1, 1 << 16 | 2]);
    assert_eq!(policy.label(outcome.rule), "policy p, rule second");
}

#[test]
fn the_default_decides_last_and_rejects_unless_told() {
    let config: PolicyConfig =
        PolicyConfig::deserialize(MapDeserializer::<_, Error>::new(std::iter::empty::<(&str, &str)>())).unwrap();
    assert_eq!(config.default, Verdict::Reject, "nothing said");
    let plain = Attributes::default();
    for default in [Verdict::Accept, Verdict::Reject] {
        let policy = policy(vec![rule(Then::Next)], default);
        let outcome = policy.evaluate(&view("10.0.0.0/24", &plain));
        assert_eq!((outcome.verdict, outcome.rule), (default, None));
        assert_eq!(policy.label(outcome.rule), "policy p, default");
    }
}

#[test]
fn the_narrowest_words_name_a_route() {
    let all = PrefixRange { prefix: prefix("0.0.0.0/0"), ge: None, le: Some(32) };
    let list = Prefixes::List(vec![all, PrefixRange::exact(prefix("10.96.0.0/16"))]);
    let matches = RuleMatch { prefixes: Some(list), ..RuleMatch::default() };
    let policy = policy(vec![RuleConfig { matches, ..rule(Then::Accept) }], Verdict::Reject);
    let plain = Attributes::default();
    let named = |text| policy.evaluate(&view(text, &plain)).named;
    assert_eq!(named("10.96.0.0/16"), Some(Named { prefix: prefix("10.96.0.0/16"), exact: true }));
    assert_eq!(named("10.97.0.0/16"), Some(Named { prefix: prefix("0.0.0.0/0"), exact: false }));
    assert_eq!(named("0.0.0.0/0"), Some(Named { prefix: prefix("0.0.0.0/0"), exact: false }));
}

/// The longest AS_PATH and the most communities that a message of 65535 octets holds go through every operator.
/// Checklist: 77
#[test]
fn the_longest_path_goes_through_every_operator() {
    let longest = Attributes {
        as_path: AsPath(
            (0..63)
                .map(|n| Segment::Sequence((1..=255).map(|m| Asn(n * 255 + m)).collect()))
                .chain([Segment::Set(vec![Asn(9), Asn(10)])])
                .collect(),
        ),
        communities: (0..16_000).collect(),
        large_communities: (0..5_400).map(|n| [n, n, n]).collect(),
        ..Attributes::default()
    };
    assert_eq!(longest.as_path.length(), 63 * 255 + 1);
    let path = AsPathMatch {
        contains: vec![Asn(63 * 255)],
        origin: Vec::new(),
        neighbour: vec![Asn(1)],
        length: Some(Range { ge: Some(16_000), le: Some(17_000) }),
    };
    let ends_in_set = AsPathMatch { origin: vec![Asn(9), Asn(10)], ..AsPathMatch::default() };
    let communities = CommunityMatch {
        any: vec![pattern("0:15999")],
        all: vec![pattern("0:*"), pattern("0:1")],
        none: vec![pattern("1:*")],
    };
    let set = RuleSet {
        prepend: Some(Prepend { asn: None, times: Prepend::MOST }),
        communities: Some(CommunityChange { remove: vec![pattern("0:1")], add: vec![pattern("7:7")], replace: None }),
        large_communities: Some(CommunityChange {
            remove: vec!["1:*:*".parse().unwrap()],
            ..CommunityChange::default()
        }),
        ..RuleSet::default()
    };
    let matches = RuleMatch { as_path: Some(path), communities: Some(communities), ..RuleMatch::default() };
    let rules = vec![
        RuleConfig { matches: RuleMatch { as_path: Some(ends_in_set), ..RuleMatch::default() }, ..rule(Then::Reject) },
        RuleConfig { matches, set, ..rule(Then::Accept) },
    ];
    let policy = policy(rules, Verdict::Reject);
    let outcome = policy.evaluate(&view("10.0.0.0/24", &longest));
    assert_eq!((outcome.verdict, outcome.rule), (Verdict::Accept, Some(1)), "a set at the end is no origin");
    assert_eq!(outcome.attributes.as_path.length(), 63 * 255 + 1 + 32);
    assert!(outcome.attributes.as_path.0.iter().all(|segment| match segment {
        Segment::Sequence(ases) | Segment::Set(ases) => ases.len() <= 255,
    }));
    assert_eq!(outcome.attributes.communities.len(), 16_000);
    assert_eq!(outcome.attributes.large_communities.len(), 5_399);
}

#[test]
fn policies_are_equal_when_what_they_are_made_of_is() {
    let config = PolicyConfig {
        rules: vec![RuleConfig {
            matches: RuleMatch { prefixes: Some(Prefixes::Set("a".into())), ..RuleMatch::default() },
            ..rule(Then::Accept)
        }],
        default: Verdict::Reject,
    };
    let sets = |text: &str| BTreeMap::from([("a".to_owned(), vec![PrefixRange::exact(prefix(text))])]);
    let one = Policy::new("p", &config, &sets("10.0.0.0/8"), &[]);
    assert_eq!(one, Policy::new("p", &config, &sets("10.0.0.0/8"), &[]));
    assert_ne!(one, Policy::new("p", &config, &sets("11.0.0.0/8"), &[]), "the set is another one");
    assert_ne!(one, Policy::new("q", &config, &sets("10.0.0.0/8"), &[]));
}

fn any_rule() -> impl Strategy<Value = RuleConfig> {
    let set = (any::<bool>(), any::<bool>(), 0_u32..4).prop_map(|(pref, prepend, community)| RuleSet {
        local_pref: pref.then_some(200),
        prepend: prepend.then_some(Prepend { asn: None, times: 1 }),
        communities: (community > 0)
            .then(|| CommunityChange { add: vec![pattern(&format!("1:{community}"))], ..CommunityChange::default() }),
        ..RuleSet::default()
    });
    let matches = (0_u32..4, 0_u8..4).prop_map(|(community, length)| RuleMatch {
        communities: (community > 0)
            .then(|| CommunityMatch { any: vec![pattern(&format!("1:{community}"))], ..CommunityMatch::default() }),
        prefixes: (length > 0).then(|| {
            Prefixes::List(vec![PrefixRange { prefix: prefix("10.0.0.0/8"), ge: Some(length * 8), le: None }])
        }),
        ..RuleMatch::default()
    });
    let then = prop_oneof![Just(Then::Accept), Just(Then::Reject), Just(Then::Next)];
    (matches, set, then).prop_map(|(matches, set, then)| RuleConfig { name: None, matches, set, then })
}

fn any_route() -> impl Strategy<Value = (Prefix, Attributes)> {
    let communities = proptest::collection::vec(1_u32..4, 0..3);
    (8_u8..=32, communities, proptest::collection::vec(1_u32..5, 0..4)).prop_map(|(len, communities, path)| {
        let attributes = Attributes {
            communities: communities.into_iter().map(|low| 1 << 16 | low).collect(),
            as_path: AsPath::sequence(path.into_iter().map(Asn)),
            ..Attributes::default()
        };
        (Prefix::new("10.1.2.3".parse().unwrap(), len).unwrap(), attributes)
    })
}

proptest! {
    /// Rules behind the one that decides are never looked at; the verdict is that rule's, or the default's.
    #[test]
    fn the_first_that_decides_decides(
        rules in proptest::collection::vec(any_rule(), 0..6), more in proptest::collection::vec(any_rule(), 0..3),
        (prefix, attributes) in any_route(), accept in any::<bool>(),
    ) {
        let default = if accept { Verdict::Accept } else { Verdict::Reject };
        let route = RouteView { prefix, ..view("10.0.0.0/8", &attributes) };
        let one = policy(rules.clone(), default);
        let outcome = one.evaluate(&route);
        match outcome.rule {
            Some(at) => {
                let then = if outcome.is_accepted() { Then::Accept } else { Then::Reject };
                prop_assert_eq!(rules[at].then, then);
                let cut = policy(rules[..=at].iter().cloned().chain(more).collect(), default);
                let again = cut.evaluate(&route);
                prop_assert_eq!((again.verdict, again.rule), (outcome.verdict, outcome.rule));
                prop_assert_eq!(again.attributes.as_ref(), outcome.attributes.as_ref());
            }
            None => prop_assert_eq!(outcome.verdict, default),
        }
    }

    /// Accepting everything in front makes every policy accept, rejecting everything makes it reject.
    #[test]
    fn a_rule_for_everything_in_front_decides(
        rules in proptest::collection::vec(any_rule(), 0..6), (prefix, attributes) in any_route(),
    ) {
        let route = RouteView { prefix, ..view("10.0.0.0/8", &attributes) };
        for then in [Then::Accept, Then::Reject] {
            let all = policy([rule(then)].into_iter().chain(rules.clone()).collect(), Verdict::Reject);
            let outcome = all.evaluate(&route);
            prop_assert_eq!((outcome.is_accepted(), outcome.rule), (then == Then::Accept, Some(0)));
            prop_assert!(matches!(outcome.attributes, Cow::Borrowed(_)), "nothing was set, nothing is copied");
        }
    }

    /// Asking twice gives the same: nothing is remembered, and the route itself is left alone.
    #[test]
    fn an_outcome_depends_on_the_route_alone(
        rules in proptest::collection::vec(any_rule(), 0..6), (prefix, attributes) in any_route(),
    ) {
        let before = attributes.clone();
        let route = RouteView { prefix, ..view("10.0.0.0/8", &attributes) };
        let policy = policy(rules, Verdict::Accept);
        let (one, two) = (policy.evaluate(&route), policy.evaluate(&route));
        prop_assert_eq!((one.verdict, one.rule, one.next_hop), (two.verdict, two.rule, two.next_hop));
        prop_assert_eq!(one.attributes.as_ref(), two.attributes.as_ref());
        prop_assert_eq!(before, attributes);
    }
}
