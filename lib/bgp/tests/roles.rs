//! Roles between two ASes: who meets, what is marked, what is a leak (RFC 9234).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, unreachable_pub)]

mod sim;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bgp::{Direction, Policy, Role, RoutesQuery, State};
use model::Asn;
use model::policy::{PolicyConfig, Verdict};
use sim::{Hand, Net, address, config, prefix};
use wire::{Capability, Message};

const SECOND: Duration = Duration::from_secs(1);

fn with_roles(ours: Option<Role>, theirs: Option<Role>, strict: bool) -> Net {
    let mut net = Net::new();
    for (n, asn, role) in [(1, 64512, ours), (2, 65002, theirs)] {
        let mut config = config(n, asn, &[(3 - n, 64512 + 65002 - asn)]);
        config.peers[0].role = role;
        config.peers[0].role_strict = strict && n == 1;
        net.add(config);
    }
    net
}

/// Checklist: 84
#[test]
fn roles_that_match_meet_and_others_are_told() {
    let mut net = with_roles(Some(Role::Provider), Some(Role::Customer), true);
    net.until_up();
    assert_eq!(net.speaker(0).peers()[0].role, Some(Role::Provider));

    let mut net = with_roles(Some(Role::Provider), Some(Role::Peer), false);
    net.run(30 * SECOND);
    assert_ne!(net.state(0, 2), State::Established);
    let words = [net.last_error(0, 2).unwrap(), net.last_error(1, 1).unwrap()];
    assert!(words.iter().any(|w| w.contains("roles do not match")), "{words:?}");
    assert!(words.iter().all(|w| w.contains("roles do not match") || w.contains("(2/11)")), "{words:?}");

    let mut net = with_roles(Some(Role::Customer), None, false);
    net.until_up();

    let mut net = with_roles(Some(Role::Customer), None, true);
    net.run(30 * SECOND);
    let words = net.last_error(0, 2).unwrap();
    assert!(words.contains("roleStrict") && words.contains("provider"), "{words}");
    // The cure takes effect with the next try.
    let mut cured = config(2, 65002, &[(1, 64512)]);
    cured.peers[0].role = Some(Role::Provider);
    let now = net.now;
    net.speaker(1).handle_config(now, cured);
    net.until("up", 60 * SECOND, |net| net.state(0, 2) == State::Established);
}

/// A role means nothing inside an AS.
///
/// Checklist: 84
#[test]
fn a_role_inside_an_as_is_not_said() {
    let mut config = config(1, 64512, &[(2, 64512)]);
    config.peers[0].role = Some(Role::Provider);
    let mut hand = Hand::new(config);
    let conn = hand.connect(2);
    let Message::Open(open) = hand.heard(conn).remove(0) else { panic!("an OPEN") };
    assert!(!open.capabilities.iter().any(|c| matches!(c, Capability::Role(_))));
}

/// Checklist: 85
#[test]
fn leaks_are_not_used_and_marks_are_written() {
    for (role, mark, expected) in [
        (Role::Provider, Some(65009), "ineligible: a route leak"),
        (Role::Provider, None, "best"),
        (Role::RouteServer, Some(65002), "ineligible: a route leak"),
        (Role::Peer, Some(65009), "ineligible: a route leak"),
        (Role::Peer, Some(65002), "best"),
        (Role::Customer, Some(65009), "best"),
        (Role::RouteServerClient, Some(65009), "best"),
    ] {
        let mut config = config(1, 64512, &[(2, 65002)]);
        config.peers[0].passive = true;
        config.peers[0].role = Some(role);
        let mut hand = Hand::new(config);
        let conn = hand.establish(2, 65002);
        let attributes = wire::Attributes {
            as_path: wire::AsPath::sequence([Asn(65002)]),
            only_to_customer: mark.map(Asn),
            ..wire::Attributes::default()
        };
        let one = [(prefix("10.244.9.0/24"), 0)];
        for bytes in wire::encode_announce(&one, address(2), None, &attributes, &hand.negotiated).unwrap() {
            hand.bytes(conn, &bytes);
        }
        let query =
            RoutesQuery { direction: Direction::In, prefix: Some(one[0].0), limit: 9, ..RoutesQuery::default() };
        let why = hand.speaker.routes(query)[0].why.clone();
        assert!(why.starts_with(expected), "{role:?} {mark:?}: {why}");
        assert_eq!(hand.speaker.best(&one[0].0).is_empty(), expected != "best");
        // Another look at it says the same.
        let eth0 = model::kernel::Device::new("eth0").unwrap();
        hand.speaker.handle_local_addresses(vec![(address(1), 24, eth0.clone()), (address(77), 24, eth0)]);
        hand.work();
        assert_eq!(hand.speaker.best(&one[0].0).is_empty(), expected != "best", "{role:?} {mark:?}");
        // What we tell of our own carries our mark where the peer is below us or beside us.
        let told = hand.heard(conn).into_iter().find_map(|m| match m {
            Message::Update(update) => update.attributes,
            _ => None,
        });
        let marks = matches!(role, Role::Provider | Role::RouteServer | Role::Peer);
        assert_eq!(told.unwrap().only_to_customer, marks.then_some(Asn(64512)), "{role:?}");
    }
}

/// What one neighbour told goes to another one, by a policy that lets everything through: the mark alone decides, and it is
/// never lost on the way.
///
/// Checklist: 85
#[test]
fn the_mark_goes_down_with_the_path_and_never_up_or_across() {
    const FIRST: Asn = Asn(65002);
    const OURS: Asn = Asn(64512);
    let told = |mark: Asn| Some(Some(mark));
    let cases = [
        // From a provider: down alone, marked by us where the provider did not.
        (Role::Customer, None, Some(Role::Provider), told(FIRST)),
        (Role::Customer, Some(Asn(65009)), Some(Role::Provider), told(Asn(65009))),
        (Role::Customer, None, Some(Role::RouteServer), told(FIRST)),
        (Role::Customer, None, Some(Role::Peer), None),
        (Role::Customer, None, Some(Role::Customer), None),
        (Role::Customer, None, Some(Role::RouteServerClient), None),
        (Role::Customer, None, None, told(FIRST)),
        // From a peer and from a route server as well.
        (Role::Peer, Some(FIRST), Some(Role::Provider), told(FIRST)),
        (Role::Peer, Some(FIRST), Some(Role::Peer), None),
        (Role::RouteServerClient, None, Some(Role::Customer), None),
        // From a customer: everywhere, with our mark where the way is down or across.
        (Role::Provider, None, Some(Role::Provider), told(OURS)),
        (Role::Provider, None, Some(Role::Peer), told(OURS)),
        (Role::Provider, None, Some(Role::Customer), Some(None)),
        (Role::Provider, None, Some(Role::RouteServerClient), Some(None)),
        // A leak goes nowhere.
        (Role::Provider, Some(Asn(65009)), Some(Role::Provider), None),
        (Role::Peer, Some(Asn(65009)), Some(Role::Provider), None),
    ];
    let all = PolicyConfig { rules: Vec::new(), default: Verdict::Accept };
    let all = Arc::new(Policy::new("all", &all, &BTreeMap::new(), &sim::pools()));
    for (from, mark, to, expected) in cases {
        let mut config = config(1, OURS.0, &[(2, FIRST.0), (3, 65003)]);
        config.peers[0].role = Some(from);
        config.peers[1].role = to;
        config.peers[1].export = Some(all.clone());
        config.peers.iter_mut().for_each(|peer| peer.passive = true);
        let mut hand = Hand::new(config);
        let (first, second) = (hand.establish(2, FIRST.0), hand.establish(3, 65003));
        hand.heard(second);
        let attributes = wire::Attributes {
            as_path: wire::AsPath::sequence([FIRST]),
            only_to_customer: mark,
            ..wire::Attributes::default()
        };
        let one = [(prefix("10.244.9.0/24"), 0)];
        for bytes in wire::encode_announce(&one, address(2), None, &attributes, &hand.negotiated).unwrap() {
            hand.bytes(first, &bytes);
        }
        hand.wait(1);
        let heard = hand.heard(second).into_iter().find_map(|message| match message {
            Message::Update(update) if update.announced.iter().any(|nlri| nlri.prefix == one[0].0) => update.attributes,
            _ => None,
        });
        assert_eq!(heard.map(|attributes| attributes.only_to_customer), expected, "{from:?} {mark:?} {to:?}");
    }
}
