//! Import policies on whole speakers: what becomes of paths, and that a change of policy never touches a session.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its own part")]
mod sim;

use std::collections::BTreeMap;
use std::sync::Arc;

use bgp::{Direction, PathStatus, Policy, RoutesQuery, SpeakerConfig, State};
use model::policy::{
    CommunityChange, NextHopChange, PolicyConfig, PrefixRange, Prefixes, RuleConfig, RuleMatch, RuleSet, Then, Verdict,
};
use sim::{Hand, address, config, prefix};

fn rule(name: &str, prefixes: &[(&str, Option<u8>)], set: RuleSet, then: Then) -> RuleConfig {
    let ranges = prefixes.iter().map(|(text, le)| PrefixRange { prefix: prefix(text), ge: None, le: *le }).collect();
    let matches = RuleMatch { prefixes: Some(Prefixes::List(ranges)), ..RuleMatch::default() };
    RuleConfig { name: Some(name.into()), matches, set, then }
}

fn policy(rules: Vec<RuleConfig>) -> Option<Arc<Policy>> {
    let config = PolicyConfig { rules, default: Verdict::Reject };
    Some(Arc::new(Policy::new("from-tor", &config, &BTreeMap::new(), &sim::pools())))
}

/// Node 1 of AS 64512, with the router 2 of AS 65001 and what is imported from it.
fn with(import: Option<Arc<Policy>>) -> SpeakerConfig {
    let mut config = config(1, 64512, &[(2, 65001)]);
    config.service_cidrs = vec![prefix("10.96.0.0/12")];
    config.peers[0].import = import;
    config
}

fn received(hand: &Hand) -> BTreeMap<String, String> {
    let query = RoutesQuery { direction: Direction::In, peer: Some(address(2).into()), prefix: None, limit: 100 };
    hand.speaker.routes(query).into_iter().map(|path: PathStatus| (path.prefix.to_string(), path.why)).collect()
}

fn path(hand: &Hand, text: &str) -> PathStatus {
    let query = RoutesQuery { direction: Direction::Loc, peer: None, prefix: Some(prefix(text)), limit: 9 };
    hand.speaker.routes(query).remove(0)
}

fn whys(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(prefix, why)| ((*prefix).to_owned(), (*why).to_owned())).collect()
}

const LEAK: &[&str] =
    &["0.0.0.0/0", "10.96.7.0/24", "10.244.1.0/24", "10.244.7.0/24", "192.0.2.0/24", "198.51.100.0/24"];

/// A router leaks its whole table: without a policy slices alone come in, with one what a rule names and never ours.
/// Checklist: 81, 82
#[test]
fn what_comes_in_without_and_with_a_policy() {
    let mut hand = Hand::new(with(None));
    let conn = hand.establish(2, 65001);
    hand.announce(conn, LEAK, address(2), &[65001, 65002]);
    let refused = "refused: not a node's slice of any pool";
    assert_eq!(
        received(&hand),
        whys(&[
            ("0.0.0.0/0", "refused: default route"),
            ("10.96.7.0/24", refused),
            ("10.244.1.0/24", "refused: our own pod CIDR"),
            ("10.244.7.0/24", "best"),
            ("192.0.2.0/24", refused),
            ("198.51.100.0/24", refused),
        ])
    );
    let named = rule("outside", &[("0.0.0.0/0", None), ("10.96.0.0/16", Some(24))], RuleSet::default(), Then::Accept);
    let broad = rule("rest", &[("0.0.0.0/0", Some(32))], RuleSet::default(), Then::Accept);
    let mut hand = Hand::new(with(policy(vec![named, broad])));
    let conn = hand.establish(2, 65001);
    hand.announce(conn, LEAK, address(2), &[65001, 65002]);
    assert_eq!(
        received(&hand),
        whys(&[
            ("0.0.0.0/0", "best"),
            ("10.96.7.0/24", "best"),
            ("10.244.1.0/24", "refused: our own pod CIDR"),
            ("10.244.7.0/24", "best"),
            ("192.0.2.0/24", "refused: a network that this host is connected to"),
            ("198.51.100.0/24", "best"),
        ])
    );
    assert!(hand.speaker.poll_changed(100).contains(&prefix("0.0.0.0/0")), "it is for the kernel, too");
    assert_eq!(hand.speaker.best(&prefix("0.0.0.0/0"))[0].next_hop, address(2));
}

/// What a rule sets is what the decision sees; what the peer said is kept as it was.
#[test]
fn what_is_set_decides() {
    let community = CommunityChange { add: vec!["1:1".parse().unwrap()], ..CommunityChange::default() };
    let set = RuleSet {
        local_pref: Some(50),
        communities: Some(community),
        next_hop: Some(NextHopChange::Address(address(9))),
        ..RuleSet::default()
    };
    let mut config = with(policy(vec![rule("low", &[("10.244.0.0/16", Some(24))], set, Then::Accept)]));
    config.peers.push(bgp::PeerConfig::new(address(3), model::Asn(65003)));
    let mut hand = Hand::new(config);
    let (low, plain) = (hand.establish(2, 65001), hand.establish(3, 65003));
    hand.announce(low, &["10.244.7.0/24"], address(2), &[65001]);
    assert_eq!(hand.speaker.best(&prefix("10.244.7.0/24"))[0].next_hop, address(9));
    hand.announce(plain, &["10.244.7.0/24"], address(3), &[65003, 65004]);
    assert_eq!(
        path(&hand, "10.244.7.0/24").peer,
        Some(address(3).into()),
        "the longer path, as the other is preferred less"
    );
    let query = RoutesQuery { direction: Direction::In, peer: Some(address(2).into()), prefix: None, limit: 9 };
    let lost = hand.speaker.routes(query).remove(0);
    assert_eq!((lost.why.as_str(), lost.local_pref), ("lost: lower LOCAL_PREF", Some(50)));
    assert_eq!(lost.communities, ["1:1"]);
}

/// Another policy looks at what is kept, and asks by route refresh for what was refused; the session does not notice.
#[test]
fn a_change_of_policy_is_hitless() {
    let pods = |set| rule("pods", &[("10.244.0.0/16", Some(24))], set, Then::Accept);
    let mut hand = Hand::new(with(policy(vec![pods(RuleSet::default())])));
    let conn = hand.establish(2, 65001);
    let announce = |hand: &mut Hand| {
        hand.announce(conn, &["10.244.7.0/24", "198.51.100.0/24"], address(2), &[65001]);
    };
    announce(&mut hand);
    let before = hand.speaker.peers().remove(0);
    assert_eq!((before.state, before.established), (State::Established, 1));
    assert_eq!(received(&hand)["198.51.100.0/24"], "refused by policy from-tor, default");
    hand.heard(conn);
    hand.speaker.poll_changed(100);

    // Kept paths are looked at again, at once.
    let set = RuleSet { local_pref: Some(77), ..RuleSet::default() };
    let more = rule("doc", &[("198.51.100.0/24", None)], RuleSet::default(), Then::Accept);
    let now = hand.now;
    hand.speaker.handle_config(now, with(policy(vec![pods(set), more])));
    hand.work();
    assert_eq!(path(&hand, "10.244.7.0/24").local_pref, Some(77));
    assert!(!hand.speaker.poll_changed(100).contains(&prefix("10.244.7.0/24")), "it forwards as it did");
    // What was refused was not kept: the peer is asked, once a family, and nothing else is said.
    let said = hand.heard(conn);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|message| matches!(message, wire::Message::RouteRefresh(_))), "{said:?}");
    announce(&mut hand);
    assert_eq!(received(&hand), whys(&[("10.244.7.0/24", "best"), ("198.51.100.0/24", "best")]));

    // The same once more is no change.
    let same = with(policy(vec![
        pods(RuleSet { local_pref: Some(77), ..RuleSet::default() }),
        rule("doc", &[("198.51.100.0/24", None)], RuleSet::default(), Then::Accept),
    ]));
    hand.speaker.handle_config(now, same);
    hand.work();
    assert_eq!(hand.heard(conn), []);

    // Fewer rules take away, without a word to the peer about it but the question.
    hand.speaker.handle_config(now, with(policy(vec![pods(RuleSet::default())])));
    hand.work();
    assert!(hand.speaker.best(&prefix("198.51.100.0/24")).is_empty());
    assert_eq!(path(&hand, "10.244.7.0/24").local_pref, None);
    hand.speaker.handle_config(now, with(None));
    hand.work();
    assert!(!hand.speaker.best(&prefix("10.244.7.0/24")).is_empty());

    let after = hand.speaker.peers().remove(0);
    assert_eq!((after.state, after.since, after.established), (before.state, before.since, 1));
    assert!(hand.closed.is_empty());
}

/// Checklist: 83
#[test]
fn refused_prefixes_count_for_the_bound() {
    let mut config = with(policy(vec![rule("none", &[("10.244.7.0/24", None)], RuleSet::default(), Then::Accept)]));
    config.peers[0].max_prefixes = 10;
    let mut hand = Hand::new(config);
    let conn = hand.establish(2, 65001);
    let table: Vec<String> = (0..11).map(|n| format!("198.51.{n}.0/24")).collect();
    hand.announce(conn, &table.iter().map(String::as_str).collect::<Vec<_>>(), address(2), &[65001]);
    assert_eq!(hand.told(conn), Some((6, 1)));
    assert!(hand.last_error().contains("refused by policy from-tor, default"), "{}", hand.last_error());
}

/// A prefix of our own that comes up takes what a policy had let in.
#[test]
fn what_becomes_ours_is_taken_out() {
    let all = rule("all", &[("0.0.0.0/0", Some(32))], RuleSet::default(), Then::Accept);
    let mut hand = Hand::new(with(policy(vec![all])));
    let conn = hand.establish(2, 65001);
    hand.announce(conn, &["10.244.9.0/24", "10.244.9.128/25"], address(2), &[65001]);
    assert!(!hand.speaker.best(&prefix("10.244.9.128/25")).is_empty());
    let now = hand.now;
    hand.speaker.handle_originate(now, prefix("10.244.9.0/24"), true);
    hand.work();
    let ours = "refused: our own pod CIDR";
    assert_eq!(received(&hand), whys(&[("10.244.9.0/24", ours), ("10.244.9.128/25", ours)]));
    assert!(hand.speaker.best(&prefix("10.244.9.128/25")).is_empty());
    hand.heard(conn);
    hand.speaker.handle_originate(now, prefix("10.244.9.0/24"), false);
    hand.work();
    let asked = hand.heard(conn).into_iter().any(|message| matches!(message, wire::Message::RouteRefresh(_)));
    assert!(asked, "what was refused as ours may be good now");
}

/// Another export policy sends the difference and nothing else; the session does not notice.
#[test]
fn a_change_of_export_policy_sends_the_difference() {
    let announced = |hand: &mut Hand, conn| {
        let mut said = Vec::new();
        for message in hand.heard(conn) {
            let wire::Message::Update(update) = message else { panic!("{message:?}") };
            said.extend(update.announced.iter().map(|it| format!("+{}", it.prefix)));
            said.extend(update.withdrawn.iter().map(|it| format!("-{}", it.prefix)));
        }
        said.sort();
        said
    };
    let v4 = |set| rule("v4", &[("10.244.0.0/16", Some(24))], set, Then::Accept);
    let v6 = || rule("v6", &[("fd00::/8", Some(64))], RuleSet::default(), Then::Accept);
    let exports = |rules| {
        let mut config = with(None);
        config.peers[0].export = policy(rules);
        config
    };
    let mut hand = Hand::new(exports(vec![v4(RuleSet::default()), v6()]));
    let conn = hand.establish(2, 65001);
    hand.work();
    let before = hand.speaker.peers().remove(0);
    hand.heard(conn);
    let now = hand.now;
    let change = |hand: &mut Hand, rules| {
        hand.speaker.handle_config(now, exports(rules));
        hand.work();
        announced(hand, conn)
    };
    assert_eq!(
        change(&mut hand, vec![v6(), v4(RuleSet::default())]),
        Vec::<String>::new(),
        "other rules, same outcome"
    );
    let med = RuleSet { med: Some(5), ..RuleSet::default() };
    assert_eq!(change(&mut hand, vec![v4(med), v6()]), ["+10.244.1.0/24"]);
    assert_eq!(change(&mut hand, vec![v6()]), ["-10.244.1.0/24"]);
    assert_eq!(change(&mut hand, vec![v4(RuleSet::default()), v6()]), ["+10.244.1.0/24"]);
    let after = hand.speaker.peers().remove(0);
    assert_eq!((after.state, after.since, after.established), (before.state, before.since, 1));
}
