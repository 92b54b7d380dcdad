use std::net::Ipv4Addr;

use std::collections::BTreeMap;

use model::kernel::Device;
use model::policy::{PolicyConfig, Prepend, RuleConfig, RuleMatch, RuleSet, Then, Verdict};
use model::{ClusterPool, RouterId};
use wire::{AsPath, Origin, RawAttribute};

use super::*;
use crate::loc_rib::LocRib;
use crate::local::LocalAddresses;

const OWN_ASN: Asn = Asn(64512);
const CLUSTER: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);

fn prefix() -> Prefix {
    "10.244.7.0/24".parse().unwrap()
}

fn indices() -> [PeerIndex; 3] {
    let mut rib = LocRib::new(1);
    [1, 2, 3].map(|n| rib.enter(IpAddr::from([192, 0, 2, n]).into()))
}

fn view(reflector: bool) -> View {
    let pool = ClusterPool::new("10.244.0.0/16".parse().unwrap(), 24).unwrap();
    let mut view = View::new(OWN_ASN, RouterId(Ipv4Addr::new(1, 1, 1, 1)), vec![pool]);
    view.set_addresses(LocalAddresses::new(vec![("192.0.2.1".parse().unwrap(), 24, Device::new("eth0").unwrap())]));
    view.reflector = reflector.then_some(CLUSTER);
    view
}

/// Peer 3, whom things are offered to.
fn to(external: bool, client: bool) -> Target {
    Target {
        index: indices()[2],
        address: IpAddr::from([192, 0, 2, 3]),
        router_id: Ipv4Addr::new(3, 3, 3, 3),
        external,
        client,
        mesh: false,
        local_asn: OWN_ASN,
        asn: if external { Asn(65009) } else { OWN_ASN },
        policy: None,
        next_hop: NextHopChoice::Auto,
        role: None,
        extended_next_hop: false,
        own_hops: [Some((IpAddr::from([192, 0, 2, 1]), None)), None],
        add_path: [None; 2],
        long_lived: false,
    }
}

/// Peer 2, whom things come from.
fn from(external: bool, client: bool) -> Teller {
    Teller { peer: indices()[1], router_id: Ipv4Addr::new(2, 2, 2, 2), external, client }
}

fn route(change: impl FnOnce(&mut Attributes)) -> Route {
    let mut attributes = Attributes { as_path: AsPath::sequence([Asn(65001)]), ..Attributes::default() };
    change(&mut attributes);
    Route { attributes: Arc::new(attributes), next_hop: IpAddr::from([192, 0, 2, 77]), link_local: None }
}

fn offer(route: &Route, teller: Teller, to: &Target, view: &View) -> Result<Export, Withheld> {
    export(&prefix(), Offered::Learnt { route, teller }, to, view)
}

/// Who reflects what to whom: client to all, others to clients only.
///
/// Checklist: 23, 90
#[test]
fn reflection_is_between_clients_and_all() {
    let path = route(|_| {});
    let rows = [
        (false, true, true, Err(Withheld::Internal)),
        (true, true, true, Ok(())),
        (true, true, false, Ok(())),
        (true, false, true, Ok(())),
        (true, false, false, Err(Withheld::NoClient)),
    ];
    for (reflector, from_client, to_client, expected) in rows {
        let result = offer(&path, from(false, from_client), &to(false, to_client), &view(reflector));
        assert_eq!(result.map(|_| ()), expected, "{reflector} {from_client} {to_client}");
    }
    for (teller, target) in [(true, true), (true, false), (false, true)] {
        let result = offer(&path, from(teller, true), &to(target, true), &view(true));
        assert_eq!(result, Err(Withheld::NoPolicy), "transit between ASes is denied");
    }
}

/// Checklist: 90
#[test]
fn reflected_paths_say_where_they_began_and_where_they_passed_and_keep_their_next_hop() {
    let path = route(|a| a.local_pref = Some(7));
    for next_hop in [NextHopChoice::Auto, NextHopChoice::Own, NextHopChoice::Keep] {
        let target = Target { next_hop, ..to(false, true) };
        let first = offer(&path, from(false, true), &target, &view(true)).unwrap();
        assert_eq!(first.attributes.originator_id, Some(Ipv4Addr::new(2, 2, 2, 2)));
        assert_eq!(first.attributes.cluster_list, vec![CLUSTER]);
        assert_eq!(first.attributes.local_pref, Some(7));
        assert_eq!(first.attributes.as_path, path.attributes.as_path);
        assert_eq!(first.next_hop, path.next_hop);
    }
    let again = route(|a| {
        a.originator_id = Some(Ipv4Addr::new(5, 5, 5, 5));
        a.cluster_list = vec![Ipv4Addr::new(8, 8, 8, 8)];
    });
    let second = offer(&again, from(false, true), &to(false, true), &view(true)).unwrap();
    assert_eq!(second.attributes.originator_id, Some(Ipv4Addr::new(5, 5, 5, 5)), "the first one stays");
    assert_eq!(second.attributes.cluster_list, vec![CLUSTER, Ipv4Addr::new(8, 8, 8, 8)]);
    assert_eq!(second.attributes.local_pref, Some(100));
}

#[test]
fn nothing_goes_back() {
    let target = to(false, true);
    let itself = Teller { peer: target.index, ..from(false, true) };
    assert_eq!(offer(&route(|_| {}), itself, &target, &view(true)), Err(Withheld::Back));
    let began_there = route(|a| a.originator_id = Some(target.router_id));
    assert_eq!(offer(&began_there, from(false, true), &target, &view(true)), Err(Withheld::Back));
    let leads_there = Route { next_hop: target.address, ..route(|_| {}) };
    assert_eq!(offer(&leads_there, from(false, true), &target, &view(true)), Err(Withheld::ItsOwnNextHop));
}

/// Checklist: 92
#[test]
fn well_known_communities_are_honoured_and_all_are_in_order() {
    let own = |communities: &[u32]| Arc::new(Attributes { communities: communities.to_vec(), ..Attributes::default() });
    let rows: [(u32, bool, bool); 4] = [
        (NO_ADVERTISE, false, false),
        (NO_EXPORT, true, false),
        (NO_EXPORT_SUBCONFED, true, false),
        (0x0001_0002, true, true),
    ];
    for (community, internal, external) in rows {
        let attributes = own(&[community]);
        for (to, expected) in [(to(false, true), internal), (to(true, false), external)] {
            let result = export(&prefix(), Offered::Own { attributes: &attributes }, &to, &view(true));
            assert_eq!(result.is_ok(), expected, "{community:x} to {}", to.external);
            if to.external == expected && !expected {
                assert_eq!(result, Err(Withheld::Community));
            }
        }
    }
    let path = route(|a| a.communities = vec![NO_ADVERTISE]);
    assert_eq!(offer(&path, from(false, true), &to(false, true), &view(true)), Err(Withheld::Community));
    let path = route(|a| {
        a.communities = vec![9, 3, 9, 1];
        a.large_communities = vec![[2, 0, 0], [1, 0, 0], [2, 0, 0]];
    });
    let export = offer(&path, from(false, true), &to(false, true), &view(true)).unwrap();
    assert_eq!(export.attributes.communities, vec![1, 3, 9]);
    assert_eq!(export.attributes.large_communities, vec![[1, 0, 0], [2, 0, 0]]);
}

/// Checklist: 23, 81
#[test]
fn own_prefixes_bear_our_as_outside_and_a_local_pref_inside() {
    let attributes = Arc::new(Attributes { local_pref: Some(7), med: Some(3), ..Attributes::default() });
    let own = Offered::Own { attributes: &attributes };
    let outside = export(&prefix(), own, &Target { local_asn: Asn(65100), ..to(true, false) }, &view(false)).unwrap();
    assert_eq!(outside.attributes.as_path, AsPath::sequence([Asn(65100)]));
    assert_eq!((outside.attributes.local_pref, outside.attributes.med), (None, Some(3)));
    assert_eq!(outside.next_hop, IpAddr::from([192, 0, 2, 1]));
    let inside = export(&prefix(), own, &to(false, false), &view(false)).unwrap();
    assert_eq!(inside.attributes.as_path, AsPath::default());
    assert_eq!((inside.attributes.local_pref, inside.attributes.med), (Some(7), Some(3)));
    let plain = Arc::new(Attributes::default());
    let inside = export(&prefix(), Offered::Own { attributes: &plain }, &to(false, false), &view(false)).unwrap();
    assert_eq!((inside.attributes.local_pref, inside.attributes.origin), (Some(100), Origin::Igp));
    let no_address = export(&"fd00::/64".parse().unwrap(), own, &to(true, false), &view(false));
    assert_eq!(no_address, Err(Withheld::NoNextHop));
    let node = Target { mesh: true, ..to(false, false) };
    assert!(export(&prefix(), own, &node, &view(false)).is_ok());
    let service: Prefix = "198.51.100.7/32".parse().unwrap();
    assert_eq!(export(&service, own, &node, &view(false)), Err(Withheld::NotForNodes));
    assert!(export(&service, own, &to(true, false), &view(false)).is_ok());
}

/// Checklist: 25
#[test]
fn an_attribute_that_we_do_not_know_is_passed_on_as_it_came() {
    let strange = RawAttribute { code: 99, flags: 0xe0, value: bytes::Bytes::from_static(b"hello") };
    let path = route(|a| a.unknown = vec![strange.clone()]);
    let export = offer(&path, from(false, true), &to(false, true), &view(true)).unwrap();
    assert_eq!(export.attributes.unknown, vec![strange]);
}

/// Checklist: 74
#[test]
fn what_is_stale_for_long_goes_to_who_knows_what_that_means() {
    let path = route(|a| a.communities = vec![wire::community::LLGR_STALE]);
    assert_eq!(offer(&path, from(false, true), &to(false, true), &view(true)), Err(Withheld::LongLived));
    let knows = Target { long_lived: true, ..to(false, true) };
    let export = offer(&path, from(false, true), &knows, &view(true)).unwrap();
    assert_eq!(export.attributes.communities, path.attributes.communities);
}

#[test]
fn equal_exports_are_one() {
    let mut shelf = Shelf::default();
    let make = |med| {
        let attributes = Arc::new(Attributes { med: Some(med), ..Attributes::default() });
        Export { attributes, next_hop: IpAddr::from([192, 0, 2, 1]), link_local: None }
    };
    let first = shelf.share(make(1));
    assert!(Arc::ptr_eq(&first, &shelf.share(make(1))));
    for med in 0..100_000 {
        shelf.share(make(med));
    }
    assert!(shelf.exports.len() <= 2 * Shelf::SMALL, "what nobody holds is forgotten: {}", shelf.exports.len());
    assert!(Arc::ptr_eq(&first, &shelf.share(make(1))), "what somebody holds is not");
}

/// A policy of one rule, which takes in what is `origin`.
fn policy(origin: RouteOrigin, set: RuleSet, default: Verdict) -> Option<Arc<Policy>> {
    let matches = RuleMatch { origin: vec![origin], ..RuleMatch::default() };
    let rules = vec![RuleConfig { name: None, matches, set, then: Then::Accept }];
    Some(Arc::new(Policy::new("to-tor", &PolicyConfig { rules, default }, &BTreeMap::new(), &[])))
}

/// Transit to another AS is what a rule accepts, with what it sets; nothing without a policy, nothing that it rejects.
/// Checklist: 81
#[test]
fn a_policy_opens_transit_and_nothing_else() {
    let set = RuleSet {
        med: Some(7),
        prepend: Some(Prepend { asn: None, times: 2 }),
        next_hop: Some(NextHopChange::Own),
        ..RuleSet::default()
    };
    let open = Target { policy: policy(RouteOrigin::Learned, set, Verdict::Reject), ..to(true, false) };
    let route = route(|attributes| {
        attributes.med = Some(99);
        attributes.local_pref = Some(300);
    });
    assert_eq!(offer(&route, from(true, false), &to(true, false), &view(false)), Err(Withheld::NoPolicy));
    let told = offer(&route, from(true, false), &open, &view(false)).unwrap();
    assert_eq!(told.attributes.as_path.to_string(), "64512 64512 64512 65001");
    assert_eq!((told.attributes.med, told.attributes.local_pref), (Some(7), None), "the MED that the rule sets");
    assert_eq!(told.next_hop, IpAddr::from([192, 0, 2, 1]));
    assert!(open.takes_transit(&view(false)));
    // Inside the AS only a reflector passes on, whatever a policy says.
    let inside = Target { external: false, asn: OWN_ASN, ..open.clone() };
    assert_eq!(offer(&route, from(false, false), &inside, &view(false)), Err(Withheld::Internal));
    // A community that forbids is stronger than a rule that accepts.
    let kept = self::route(|attributes| attributes.communities = vec![NO_EXPORT]);
    assert_eq!(offer(&kept, from(true, false), &open, &view(false)), Err(Withheld::Community));
    // What is our own is not learnt.
    let attributes = Arc::new(Attributes::default());
    let own = Offered::Own { attributes: &attributes };
    assert_eq!(export(&prefix(), own, &open, &view(false)), Err(Withheld::Policy(None)));
}

#[test]
fn a_policy_knows_pods_from_other_prefixes_of_our_own() {
    let mut view = view(false);
    view.originate(prefix(), true);
    let target = |origin| Target { policy: policy(origin, RuleSet::default(), Verdict::Reject), ..to(true, false) };
    let attributes = Arc::new(Attributes::default());
    let told =
        |text: &str, to: &Target| export(&text.parse().unwrap(), Offered::Own { attributes: &attributes }, to, &view);
    let pod = prefix().to_string();
    assert!(told(&pod, &target(RouteOrigin::Pod)).is_ok());
    assert_eq!(told("203.0.113.0/24", &target(RouteOrigin::Pod)), Err(Withheld::Policy(None)));
    assert!(told("203.0.113.0/24", &target(RouteOrigin::Originated)).is_ok());
    assert!(told("203.0.113.0/24", &target(RouteOrigin::Own)).is_ok() && told(&pod, &target(RouteOrigin::Own)).is_ok());
}

#[test]
fn a_next_hop_that_a_rule_keeps_or_gives() {
    let target = |change| {
        let set = RuleSet { next_hop: Some(change), ..RuleSet::default() };
        Target { policy: policy(RouteOrigin::Learned, set, Verdict::Reject), ..to(true, false) }
    };
    let route = route(|_| {});
    let hop = |change| offer(&route, from(true, false), &target(change), &view(false)).map(|told| told.next_hop);
    assert_eq!(hop(NextHopChange::Keep), Ok(route.next_hop));
    let other = IpAddr::from([192, 0, 2, 99]);
    assert_eq!(hop(NextHopChange::Address(other)), Ok(other));
    assert_eq!(hop(NextHopChange::Address(IpAddr::from([192, 0, 2, 3]))), Err(Withheld::ItsOwnNextHop));
}
