//! `biplane bgp routes --why`: every path of a prefix with the step or rule that decided, and what a peer is told and why.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bgp::{
    AddPath, ConnId, Ineligible, Origination, PathStatus, PeerConfig, Policy, Reason, Refusal, Step, Untold, Verdict,
    Withheld,
};
use model::policy::{PolicyConfig, PrefixRange, Prefixes, RuleConfig, RuleMatch, RuleSet, Then, Verdict as Word};
use model::{Asn, Family};
use sim::{Hand, address, address6, config, prefix};
use wire::{AsPath, Attributes, Capability, Message, Origin};

const AS: u32 = 64512;
const SLICE: &str = "10.244.7.0/24";

/// Says a path of [`SLICE`]: an empty AS path if `asn` is ours.
fn say(hand: &mut Hand, conn: ConnId, n: u8, path: &[u32], change: impl FnOnce(&mut Attributes)) {
    let mut attributes =
        Attributes { as_path: AsPath::sequence(path.iter().copied().map(Asn)), ..Attributes::default() };
    if path.is_empty() {
        attributes.local_pref = Some(100);
    }
    change(&mut attributes);
    let codec = wire::Negotiated { ibgp: path.is_empty(), ..hand.negotiated.clone() };
    for bytes in wire::encode_announce(&[(prefix(SLICE), 0)], address(n), None, &attributes, &codec).unwrap() {
        hand.bytes(conn, &bytes);
    }
}

fn explain(hand: &Hand) -> Vec<PathStatus> {
    hand.speaker.explain(&prefix(SLICE), None)
}

fn of(paths: &[PathStatus], n: u8) -> &PathStatus {
    paths.iter().find(|path| path.peer == Some(address(n).into())).unwrap_or_else(|| panic!("{n} in {paths:#?}"))
}

fn policy(name: &str, rules: Vec<RuleConfig>) -> Option<Arc<Policy>> {
    let config = PolicyConfig { rules, default: Word::Reject };
    Some(Arc::new(Policy::new(name, &config, &BTreeMap::new(), &sim::pools())))
}

fn rule(name: Option<&str>, text: &str, le: Option<u8>, then: Then) -> RuleConfig {
    let ranges = vec![PrefixRange { prefix: prefix(text), ge: None, le }];
    let matches = RuleMatch { prefixes: Some(Prefixes::List(ranges)), ..RuleMatch::default() };
    RuleConfig { name: name.map(Into::into), matches, set: RuleSet::default(), then }
}

/// Peers 2 and 3 tell a path each, and the words of both say which step decided, by which values.
#[test]
fn every_step_of_the_decision_is_named_with_its_values() {
    type Change = fn(&mut Attributes);
    let plain: Change = |_| {};
    let external: &[u32] = &[65001];
    type Case<'a> = (&'a str, [&'a [u32]; 2], [Change; 2], Reason, &'a str, &'a str);
    let cases: Vec<Case<'_>> = vec![
        (
            "10",
            [&[], &[]],
            [|a| a.local_pref = Some(200), plain],
            Reason::LocalPref,
            "best: higher LOCAL_PREF: 200 against 100 of 192.0.2.3",
            "lost: lower LOCAL_PREF: 100 against 200 of 192.0.2.2",
        ),
        (
            "shutdown",
            [&[], &[]],
            [plain, |a| a.communities = vec![0xffff_0000]],
            Reason::LocalPref,
            "best: higher LOCAL_PREF: 100 against 0 (GRACEFUL_SHUTDOWN) of 192.0.2.3",
            "lost: lower LOCAL_PREF: 0 (GRACEFUL_SHUTDOWN) against 100 of 192.0.2.2",
        ),
        (
            "path",
            [external, &[65001, 65009]],
            [plain, plain],
            Reason::AsPath,
            "best: shorter AS path: 1 against 2 of 192.0.2.3",
            "lost: longer AS path: 2 against 1 of 192.0.2.2",
        ),
        (
            "origin",
            [external, external],
            [plain, |a| a.origin = Origin::Incomplete],
            Reason::Origin,
            "best: better ORIGIN: igp against incomplete of 192.0.2.3",
            "lost: worse ORIGIN: incomplete against igp of 192.0.2.2",
        ),
        (
            "med",
            [external, external],
            [plain, |a| a.med = Some(7)],
            Reason::Med,
            "best: lower MED: 0 against 7 of 192.0.2.3",
            "lost: higher MED: 7 against 0 of 192.0.2.2",
        ),
        (
            "equal",
            [external, external],
            [plain, plain],
            Reason::Multipath,
            "best: first of 2 equal paths, lower router ID: 192.0.2.2 against 192.0.2.3 of 192.0.2.3",
            "multipath: equal to the best, 2 of 2",
        ),
    ];
    for (what, paths, changes, reason, best, other) in cases {
        let asn = |path: &[u32]| if path.is_empty() { AS } else { 65001 };
        let mut hand = Hand::new(config(1, AS, &[(2, asn(paths[0])), (3, asn(paths[1]))]));
        for (n, (path, change)) in [2, 3].into_iter().zip(paths.into_iter().zip(changes)) {
            let conn = hand.establish(n, asn(path));
            say(&mut hand, conn, n, path, change);
        }
        let told = explain(&hand);
        assert_eq!((told.len(), of(&told, 2).why.as_str(), of(&told, 3).why.as_str()), (2, best, other), "{what}");
        assert_eq!((of(&told, 2).verdict, of(&told, 3).step), (Verdict::Best, Some(Step::Decision(reason))), "{what}");
    }
}

/// External before internal; with one path alone the tie breakers; and MED only among paths of one neighbour AS.
#[test]
fn ties_and_the_comparison_of_med_are_named() {
    let mut one = config(1, AS, &[(2, AS), (3, 65001)]);
    one.max_paths = 1;
    let mut hand = Hand::new(one.clone());
    let (inside, outside) = (hand.establish(2, AS), hand.establish(3, 65001));
    say(&mut hand, inside, 2, &[], |a| a.as_path = AsPath::sequence([Asn(65009)]));
    say(&mut hand, outside, 3, &[65001], |_| {});
    let told = explain(&hand);
    assert_eq!(of(&told, 3).why, "best: external path, the others are internal");
    assert_eq!(of(&told, 2).why, "lost: internal path");

    one.peers = [2, 3, 4].map(|n| PeerConfig::new(address(n), Asn(65000 + u32::from(n) / 3))).to_vec();
    let mut hand = Hand::new(one);
    for (n, med) in [(2, 9), (3, 50), (4, 8)] {
        let asn = 65000 + u32::from(n) / 3;
        let conn = hand.establish(n, asn);
        say(&mut hand, conn, n, &[asn], |a| a.med = Some(med));
    }
    let told = explain(&hand);
    assert_eq!(of(&told, 2).why, "best: lower router ID: 192.0.2.2 against 192.0.2.4 of 192.0.2.4");
    assert_eq!(
        of(&told, 3).why,
        "lost: higher MED: 50 against 8 of 192.0.2.4",
        "not against the best: that is another AS"
    );
    let tie =
        "lost: as many equal paths as maxPaths allows, higher router ID: 192.0.2.4 against 192.0.2.2 of 192.0.2.2";
    assert_eq!(of(&told, 4).why, tie);
    assert_eq!(told.iter().map(|path| path.best).collect::<Vec<_>>(), [true, false, false], "the best comes first");
}

#[test]
fn refused_and_ineligible_paths_are_there_too() {
    let mut own = config(1, AS, &[(2, 65002), (3, 65003), (4, 65004), (5, 65005)]);
    own.peers[2].import = policy(
        "from-4",
        vec![
            rule(Some("none-of-these"), "10.244.0.0/20", Some(24), Then::Reject),
            rule(None, "0.0.0.0/0", Some(32), Then::Accept),
        ],
    );
    own.peers[3].import = policy("from-5", vec![rule(None, "10.244.0.0/16", Some(24), Then::Accept)]);
    let mut hand = Hand::new(own);
    let conns: Vec<ConnId> = (2..6).map(|n| hand.establish(n, 65000 + u32::from(n))).collect();
    say(&mut hand, conns[0], 2, &[65002, AS], |_| {});
    say(&mut hand, conns[1], 1, &[65003], |_| {});
    say(&mut hand, conns[2], 4, &[65004], |_| {});
    say(&mut hand, conns[3], 5, &[65005], |_| {});
    let told = explain(&hand);
    assert_eq!(told.len(), 4);
    let looped = of(&told, 2);
    assert_eq!((looped.verdict, looped.step), (Verdict::Refused, Some(Step::Refused(Refusal::AsLoop))));
    assert_eq!(looped.why, "refused: our AS is on the AS path");
    let own_hop = of(&told, 3);
    assert_eq!((own_hop.verdict, own_hop.step), (Verdict::Ineligible, Some(Step::Ineligible(Ineligible::OwnNextHop))));
    assert_eq!(own_hop.why, "ineligible: next hop is our own address (192.0.2.1)");
    let by_rule = of(&told, 4);
    assert_eq!(by_rule.why, "refused by policy from-4, rule none-of-these");
    assert_eq!(by_rule.rule.as_deref(), Some("policy from-4, rule none-of-these"));
    let best = of(&told, 5);
    assert_eq!(best.why, "best: the only usable path; accepted by policy from-5, rule 1");
    assert_eq!(best.rule.as_deref(), Some("policy from-5, rule 1"));
    // Of one peer alone.
    let alone = hand.speaker.explain(&prefix(SLICE), Some(&address(2).into()));
    assert_eq!(alone.len(), 1);
    // By default a prefix that is no slice is refused, and around what is asked for the next wider one is named.
    hand.announce(conns[0], &["198.51.100.0/24"], address(2), &[65002]);
    let outside = hand.speaker.explain(&prefix("198.51.100.0/24"), None);
    assert_eq!(outside[0].why, "refused: not a node's slice of any pool");
    assert_eq!(hand.speaker.explain(&prefix("198.51.100.7/32"), None), vec![]);
    assert_eq!(hand.speaker.around(&prefix("198.51.100.7/32")), Some(prefix("198.51.100.0/24")));
    assert_eq!(hand.speaker.around(&prefix("203.0.113.0/24")), None);
    // What is withdrawn has gone without a trace.
    for bytes in wire::encode_withdraw(&[(prefix(SLICE), 0)], &hand.negotiated).unwrap() {
        conns.iter().for_each(|conn| hand.bytes(*conn, &bytes));
    }
    assert_eq!(explain(&hand), vec![]);
}

#[test]
fn stale_and_long_lived_paths_say_so() {
    let mut own = config(1, AS, &[(2, AS), (3, 65003)]);
    own.graceful_restart.restart_time = Duration::from_secs(60);
    own.graceful_restart.long_lived = Duration::from_secs(1000);
    let mut hand = Hand::new(own);
    let conn = hand.connect(2);
    let mut open = Hand::open(AS, 2);
    let families = Family::BOTH.map(|family| (family, true)).to_vec();
    open.capabilities.push(Capability::GracefulRestart {
        restarting: false,
        notification: true,
        restart_time: 20,
        families,
    });
    open.capabilities.push(Capability::LongLivedGracefulRestart(vec![(Family::V4, true, 3600)]));
    hand.say(conn, &Message::Open(open));
    hand.say(conn, &Message::Keepalive);
    say(&mut hand, conn, 2, &[], |_| {});
    hand.speaker.handle_closed(hand.now, conn, Some("connection reset by peer".to_owned()));
    hand.work();
    assert_eq!(of(&explain(&hand), 2).why, "best: the only path; kept from a session that broke");
    let other = hand.establish(3, 65003);
    say(&mut hand, other, 3, &[65003, 65003, 65003], |_| {});
    let told = explain(&hand);
    assert_eq!(of(&told, 2).why, "lost: kept from a session that broke");
    assert_eq!(of(&told, 3).why, "best: the others are kept from sessions that broke");
    hand.wait(25);
    let told = explain(&hand);
    assert_eq!(of(&told, 2).why, "lost: long-lived stale, a last resort");
    assert_eq!(of(&told, 3).why, "best: the others are long-lived stale");
    hand.speaker.handle_closed(hand.now, other, Some("connection reset by peer".to_owned()));
    hand.wait(90);
    assert_eq!(of(&explain(&hand), 2).why, "best: the only path; long-lived stale");
}

/// Two paths of one peer for a prefix, of which one is refused: both are told, by their identifiers.
#[test]
fn paths_with_identifiers_stand_for_themselves() {
    let mut own = config(1, AS, &[(2, 65002)]);
    own.peers[0].add_path = AddPath { send: 0, receive: true };
    let mut hand = Hand::new(own);
    let conn = hand.connect(2);
    let mut open = Hand::open(65002, 2);
    open.capabilities.push(Capability::AddPath(vec![(Family::V4, wire::AddPathMode::Send)]));
    hand.say(conn, &Message::Open(open));
    hand.say(conn, &Message::Keepalive);
    let codec = wire::Negotiated { add_path_send: [Family::V4].into(), ..hand.negotiated.clone() };
    for (id, path) in [(5, vec![65002]), (6, vec![65002, AS]), (7, vec![65002, 65003])] {
        let attributes = Attributes { as_path: AsPath::sequence(path.into_iter().map(Asn)), ..Attributes::default() };
        for bytes in wire::encode_announce(&[(prefix(SLICE), id)], address(2), None, &attributes, &codec).unwrap() {
            hand.bytes(conn, &bytes);
        }
    }
    let told: Vec<(u32, Verdict)> = explain(&hand).iter().map(|path| (path.path_id, path.verdict)).collect();
    assert_eq!(told, [(5, Verdict::Best), (7, Verdict::Lost), (6, Verdict::Refused)]);
}

fn out(hand: &Hand, text: &str, n: u8) -> Vec<PathStatus> {
    hand.speaker.explain_out(&prefix(text), &address(n).into()).unwrap()
}

/// The one row about what `n` is told of a prefix.
fn row(hand: &Hand, text: &str, n: u8) -> (Verdict, Option<Step>, String) {
    let rows = out(hand, text, n);
    assert_eq!(rows.len(), 1, "{rows:#?}");
    (rows[0].verdict, rows[0].step, rows[0].why.clone())
}

fn held(step: Withheld, why: &str) -> (Verdict, Option<Step>, String) {
    (Verdict::Withheld, Some(Step::Withheld(step)), why.to_owned())
}

/// Why a peer is told a path or not: back to where it came from, inside the AS, transit without a policy, communities.
#[test]
fn what_a_peer_is_not_told_has_a_reason() {
    let mut hand = Hand::new(config(1, AS, &[(2, AS), (3, AS), (4, 65004), (9, 65009)]));
    let from = hand.establish(2, AS);
    hand.establish(3, AS);
    hand.establish(4, 65004);
    say(&mut hand, from, 2, &[], |_| {});
    assert_eq!(row(&hand, SLICE, 2), held(Withheld::Back, "not announced: it came from there"));
    let inside = "not announced: from inside the AS, and this node is no reflector";
    assert_eq!(row(&hand, SLICE, 3), held(Withheld::Internal, inside));
    assert_eq!(row(&hand, SLICE, 4), held(Withheld::NoPolicy, "not announced: no export policy allows transit"));
    let (verdict, step, why) = row(&hand, SLICE, 9);
    assert_eq!((verdict, step), (Verdict::Withheld, Some(Step::Untold(Untold::NoSession))));
    assert!(why.starts_with("not announced: the session is "), "{why}");
    assert_eq!(hand.speaker.explain_out(&prefix(SLICE), &address(77).into()), None, "no such peer");
    // Own prefixes go to everybody, and what is said of them is what the peer holds.
    let told = out(&hand, "10.244.1.0/24", 4);
    assert_eq!((told[0].verdict, told[0].why.as_str()), (Verdict::Announced, "announced"));
    assert_eq!((told[0].next_hop, told[0].as_path.as_str()), (Some(address(1)), "64512"));
    assert_eq!(out(&hand, "10.244.99.0/24", 4), vec![], "nothing to be told");
    say(&mut hand, from, 2, &[], |a| a.communities = vec![0xffff_ff02]);
    assert_eq!(row(&hand, SLICE, 4), held(Withheld::Community, "not announced: a well-known community forbids it"));
    // A path that was never taken in is not passed on either, and the row says why it was not.
    hand.announce(from, &["198.51.100.0/24"], address(2), &[]);
    let (verdict, step, why) = row(&hand, "198.51.100.0/24", 3);
    assert_eq!((verdict, step), (Verdict::Refused, Some(Step::Refused(Refusal::NotASlice))));
    assert_eq!(why, "not announced: refused: not a node's slice of any pool");
    // Down by the operator.
    hand.speaker.handle_peer_down(hand.now, &address(4).into(), "").unwrap();
    hand.work();
    let (_, _, why) = row(&hand, "10.244.1.0/24", 4);
    assert_eq!(why, "not announced: the session is Idle, taken down by the operator");
}

#[test]
fn export_policies_reflection_and_summaries_are_named() {
    let mut own = config(1, AS, &[(2, AS), (3, AS), (4, 65004), (5, 65005)]);
    own.reflector = Some(Ipv4Addr::new(9, 9, 9, 9));
    own.peers[2].export = policy(
        "to-4",
        vec![
            rule(Some("pods"), SLICE, None, Then::Accept),
            rule(Some("not-this"), "10.244.8.0/24", None, Then::Reject),
        ],
    );
    own.peers[1].mesh = true;
    let sum = prefix("10.244.0.0/20");
    let service = prefix("198.51.100.7/32");
    own.originate = vec![
        Origination { aggregate: true, summary_only: true, ..Origination::new(sum) },
        Origination { aggregate: true, ..Origination::new(prefix("10.245.0.0/20")) },
        Origination::new(service),
    ];
    let mut hand = Hand::new(own);
    hand.speaker.handle_advertise(hand.now, service, false);
    let from = hand.establish(2, AS);
    let conns = [hand.establish(3, AS), hand.establish(4, 65004), hand.establish(5, 65005)];
    say(&mut hand, from, 2, &[], |_| {});
    let no_client = "not announced: neither this peer nor the one that it came from is a client";
    assert_eq!(row(&hand, SLICE, 3), held(Withheld::NoClient, no_client));
    let told = out(&hand, SLICE, 4);
    assert_eq!(
        (told[0].verdict, told[0].why.as_str()),
        (Verdict::Announced, "announced; accepted by policy to-4, rule pods")
    );
    assert_eq!(told[0].rule.as_deref(), Some("policy to-4, rule pods"));
    let codec = wire::Negotiated { ibgp: true, ..hand.negotiated.clone() };
    let attributes = Attributes { local_pref: Some(100), ..Attributes::default() };
    for text in ["10.244.8.0/24", "10.244.9.0/24"] {
        for bytes in wire::encode_announce(&[(prefix(text), 0)], address(2), None, &attributes, &codec).unwrap() {
            hand.bytes(from, &bytes);
        }
    }
    let by_rule = out(&hand, "10.244.8.0/24", 4);
    assert_eq!(by_rule[0].why, "not announced: rejected by policy to-4, rule not-this");
    assert_eq!(by_rule[0].rule.as_deref(), Some("policy to-4, rule not-this"));
    assert_eq!(out(&hand, "10.244.9.0/24", 4)[0].why, "not announced: rejected by policy to-4, default");
    assert_eq!(
        row(&hand, "10.244.1.0/24", 5),
        held(Withheld::Summarised, "not announced: its aggregate is (summaryOnly)")
    );
    assert_eq!(
        row(&hand, "10.244.0.0/20", 3),
        held(Withheld::NotForNodes, "not announced: nodes take slices of the pools only")
    );
    assert_eq!(out(&hand, "10.244.0.0/20", 5)[0].verdict, Verdict::Announced);
    let (_, step, why) = row(&hand, "10.245.0.0/20", 5);
    assert_eq!(step, Some(Step::Untold(Untold::EmptyAggregate)));
    assert_eq!(why, "originated here, not announced: an aggregate, and no own pod CIDR lies inside");
    let (verdict, step, why) = row(&hand, "198.51.100.7/32", 5);
    assert_eq!((verdict, step), (Verdict::Withheld, Some(Step::Untold(Untold::HeldBack))));
    assert_eq!(why, "originated here, not announced: held back, as it cannot be forwarded now");
    assert_eq!(hand.speaker.explain(&service, None)[0].why, why, "the same without a peer");
    hand.speaker.handle_advertise(hand.now, service, true);
    hand.work();
    assert_eq!(out(&hand, "198.51.100.7/32", 5)[0].why, "announced");
    assert_eq!(hand.speaker.explain(&service, None)[0].why, "originated here: bgp.originate");
    assert_eq!(hand.speaker.explain(&prefix("10.244.1.0/24"), None)[0].why, "originated here: a pod CIDR of this node");
    let _ = conns;
}

/// Without path identifiers one path is told; with them as many as are wanted.
#[test]
fn of_several_paths_the_others_are_named() {
    let mut own = config(1, AS, &[(2, AS), (3, AS), (4, AS), (5, AS), (6, AS)]);
    own.reflector = Some(Ipv4Addr::new(9, 9, 9, 9));
    own.peers.iter_mut().for_each(|peer| peer.client = true);
    own.peers[4].add_path = AddPath { send: 2, receive: false };
    let mut hand = Hand::new(own);
    for n in 2..5 {
        let conn = hand.establish(n, AS);
        say(&mut hand, conn, n, &[], |a| a.local_pref = Some(100 + u32::from(n)));
    }
    hand.establish(5, AS);
    let conn = hand.connect(6);
    let mut open = Hand::open(AS, 6);
    open.capabilities.push(Capability::AddPath(vec![(Family::V4, wire::AddPathMode::Receive)]));
    hand.say(conn, &Message::Open(open));
    hand.say(conn, &Message::Keepalive);
    let steps = |n: u8| out(&hand, SLICE, n).iter().map(|path| (path.verdict, path.step)).collect::<Vec<_>>();
    let untold = |why| (Verdict::Withheld, Some(Step::Untold(why)));
    assert_eq!(steps(5), [(Verdict::Announced, None), untold(Untold::NotBest), untold(Untold::NotBest)]);
    assert_eq!(steps(6), [(Verdict::Announced, None), (Verdict::Announced, None), untold(Untold::BeyondAddPath)]);
    let ids: Vec<u32> = out(&hand, SLICE, 6).iter().take(2).map(|path| path.path_id).collect();
    assert!(ids[0] != ids[1] && ids.iter().all(|id| *id > 1), "each has the identifier that it is told under: {ids:?}");
    // What the best path came from is told nothing else in its place.
    assert_eq!(steps(4)[0], (Verdict::Withheld, Some(Step::Withheld(Withheld::Back))));
    assert_eq!(steps(4)[1], untold(Untold::NotBest));
}

#[test]
fn what_waits_and_what_the_session_cannot_carry_is_named() {
    let mut own = config(1, AS, &[(2, 65002), (3, 65003)]);
    own.peers[0].min_advertisement_interval = Duration::from_secs(30);
    let mut hand = Hand::new(own);
    hand.establish(2, 65002);
    let conn = hand.connect(3);
    let mut open = Hand::open(65003, 3);
    open.capabilities.retain(|capability| *capability != Capability::MultiProtocol(Family::V6));
    hand.say(conn, &Message::Open(open));
    hand.say(conn, &Message::Keepalive);
    let (verdict, step, why) = row(&hand, "fd00:10:244:1::/64", 3);
    assert_eq!((verdict, step), (Verdict::Withheld, Some(Step::Untold(Untold::FamilyNotAgreed))));
    assert_eq!(why, "not announced: the session does not carry ipv6");
    assert_eq!(out(&hand, "fd00:10:244:1::/64", 2)[0].next_hop, Some(address6(1)));
    hand.speaker.handle_originate(hand.now, prefix("10.244.50.0/24"), true);
    hand.work();
    let (verdict, step, why) = row(&hand, "10.244.50.0/24", 2);
    assert_eq!((verdict, step), (Verdict::Pending, Some(Step::Untold(Untold::Interval))));
    assert!(why.starts_with("not announced yet: it waits for minAdvertisementInterval, "), "{why}");
    hand.wait(31);
    assert_eq!(row(&hand, "10.244.50.0/24", 2).0, Verdict::Announced);
}

/// A policy that comes while a peer is away refuses what is kept of it; what the peer does not say again when it is back
/// is not there, not even as refused.
#[test]
fn what_was_refused_while_a_peer_was_away_is_no_path_of_its_new_session() {
    let own = |import| {
        let mut own = config(1, AS, &[(2, 65002)]);
        own.stale_time = Some(Duration::from_secs(600));
        own.peers[0].import = import;
        own
    };
    let mut hand = Hand::new(own(None));
    let conn = hand.establish(2, 65002);
    say(&mut hand, conn, 2, &[65002], |_| {});
    hand.speaker.handle_closed(hand.now, conn, Some("connection reset by peer".to_owned()));
    hand.work();
    assert_eq!(of(&explain(&hand), 2).verdict, Verdict::Best, "kept");
    let none = policy("from-2", vec![rule(None, "198.51.100.0/24", None, Then::Accept)]);
    hand.speaker.handle_config(hand.now, own(none));
    hand.work();
    hand.establish(2, 65002);
    assert_eq!(explain(&hand), vec![]);
    let counts = hand.speaker.peers().remove(0).counts;
    assert!(counts.values().all(|counts| counts.received == 0), "{counts:?}");
}

/// A prefix that becomes our own is refused for that from then on, also what was refused for something else before.
#[test]
fn a_refusal_is_named_anew_when_the_prefix_becomes_our_own() {
    let mut own = config(1, AS, &[(2, 65002), (3, 65003)]);
    own.peers[0].import = policy("from-2", vec![rule(None, "198.51.100.0/24", None, Then::Accept)]);
    let mut hand = Hand::new(own);
    let conns = [hand.establish(2, 65002), hand.establish(3, 65003)];
    say(&mut hand, conns[0], 2, &[65002], |_| {});
    say(&mut hand, conns[1], 3, &[65003, AS], |_| {});
    assert_eq!(of(&explain(&hand), 2).why, "refused by policy from-2, default");
    hand.speaker.handle_originate(hand.now, prefix(SLICE), true);
    hand.work();
    let told = explain(&hand);
    assert_eq!(of(&told, 2).why, "refused: our own pod CIDR");
    assert_eq!(of(&told, 3).why, "refused: our AS is on the AS path", "which is asked first");
}

/// What the operator should know of a peer that works stands with it, and goes when it is over.
#[test]
fn a_peer_has_its_warnings() {
    let mut own = config(1, AS, &[(2, 65002)]);
    own.peers[0].max_prefixes = 4;
    own.peers[0].min_advertisement_interval = Duration::from_secs(30);
    let mut hand = Hand::new(own);
    let conn = hand.establish(2, 65002);
    let warnings = |hand: &Hand| hand.speaker.peers().remove(0).warnings;
    assert_eq!(warnings(&hand), Vec::<String>::new());
    hand.announce(conn, &["10.244.7.0/24", "198.51.100.0/24"], address(2), &[65002]);
    let refused = "1 of its paths is not used, for example 198.51.100.0/24: refused: not a node's slice of any pool; \
                   `biplane bgp routes --in 192.0.2.2` lists them";
    assert_eq!(warnings(&hand), [refused]);
    hand.announce(conn, &["10.244.8.0/24"], address(2), &[65002]);
    let near = "3 prefixes of the 4 that maxPrefixes allows: more closes the session";
    assert_eq!(warnings(&hand), [near, refused]);
    hand.speaker.handle_originate(hand.now, prefix("10.244.50.0/24"), true);
    hand.work();
    let held = warnings(&hand).remove(2);
    assert!(held.starts_with("1 of our prefixes wait for minAdvertisementInterval, "), "{held}");
    hand.wait(31);
    assert_eq!(warnings(&hand), [near, refused]);
}
