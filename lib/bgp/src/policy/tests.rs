use std::net::Ipv4Addr;
use std::sync::Arc;

use model::kernel::Device;
use wire::AsPath;

use super::*;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn view() -> View {
    let pools = vec![
        ClusterPool::new(prefix("10.244.0.0/16"), 24).unwrap(),
        ClusterPool::new(prefix("fd00:10:244::/48"), 64).unwrap(),
    ];
    let mut view = View::new(Asn(64512), RouterId(Ipv4Addr::new(192, 0, 2, 1)), pools);
    view.originate(prefix("10.244.3.0/24"), true);
    let eth0 = Device::new("eth0").unwrap();
    let lo = Device::new("lo").unwrap();
    view.set_addresses(LocalAddresses::new(vec![
        ("192.0.2.1".parse().unwrap(), 24, eth0),
        ("10.244.3.2".parse().unwrap(), 32, lo.clone()),
        ("10.244.77.2".parse().unwrap(), 32, lo),
    ]));
    view
}

#[test]
fn only_slices_that_are_not_ours() {
    let view = view();
    let refused = |text| view.refuse_prefix(&prefix(text));
    assert_eq!(refused("10.244.4.0/24"), None);
    assert_eq!(refused("fd00:10:244:9::/64"), None);
    assert_eq!(refused("0.0.0.0/0"), Some(Refusal::DefaultRoute));
    assert_eq!(refused("::/0"), Some(Refusal::DefaultRoute));
    assert_eq!(refused("10.244.4.0/25"), Some(Refusal::NotASlice));
    assert_eq!(refused("10.244.0.0/16"), Some(Refusal::OwnPodCidr), "around our own");
    assert_eq!(refused("192.0.2.0/24"), Some(Refusal::NotASlice), "the connected network");
    assert_eq!(refused("10.96.0.0/12"), Some(Refusal::NotASlice), "services");
    assert_eq!(refused("10.244.3.0/24"), Some(Refusal::OwnPodCidr));
    assert_eq!(refused("10.244.3.128/25"), Some(Refusal::OwnPodCidr), "inside our own");
    assert_eq!(refused("10.244.77.0/24"), Some(Refusal::Connected));
    assert_eq!(Refusal::NotASlice.to_string(), "refused: not a node's slice of any pool");
}

#[test]
fn an_own_prefix_that_is_no_slice_refuses_what_it_overlaps() {
    let mut view = view();
    view.originate(prefix("10.244.8.0/22"), true);
    assert_eq!(view.refuse_prefix(&prefix("10.244.9.0/24")), Some(Refusal::OwnPodCidr));
    view.originate(prefix("10.244.8.0/22"), false);
    assert_eq!(view.refuse_prefix(&prefix("10.244.9.0/24")), None);
    view.set_pools(Vec::new());
    assert_eq!(view.refuse_prefix(&prefix("10.244.9.0/24")), Some(Refusal::NotASlice), "no pool, nothing accepted");
    assert_eq!(view.refuse_prefix(&prefix("10.244.3.128/25")), Some(Refusal::OwnPodCidr));
}

#[test]
fn loops() {
    let view = view();
    let looped = Attributes { as_path: AsPath::sequence([65001, 64512].map(Asn)), ..Attributes::default() };
    assert_eq!(view.refuse_attributes(&looped), Some(Refusal::AsLoop));
    let ours = Some(Ipv4Addr::new(192, 0, 2, 1));
    let reflected = Attributes { originator_id: ours, ..Attributes::default() };
    assert_eq!(view.refuse_attributes(&reflected), Some(Refusal::ReflectedLoop));
    let cluster = Attributes { cluster_list: ours.into_iter().collect(), ..Attributes::default() };
    assert_eq!(view.refuse_attributes(&cluster), Some(Refusal::ReflectedLoop));
    assert_eq!(view.refuse_attributes(&Attributes::default()), None);
}

#[test]
fn next_hops() {
    let view = view();
    let peer: IpAddr = "203.0.113.9".parse().unwrap();
    let judge = |hop: &str, external| {
        let route =
            Route { attributes: Arc::new(Attributes::default()), next_hop: hop.parse().unwrap(), link_local: None };
        view.ineligible(&route, external, peer, Some("192.0.2.1".parse().unwrap()))
    };
    assert_eq!(judge("192.0.2.7", true), None);
    assert_eq!(judge("203.0.113.9", true), None, "the peer itself");
    assert_eq!(judge("203.0.113.10", true), Some(Ineligible::NotOnSubnet));
    assert_eq!(judge("203.0.113.10", false), None, "internal: the caller resolves it");
    for external in [true, false] {
        assert_eq!(judge("192.0.2.1", external), Some(Ineligible::OwnNextHop));
        assert_eq!(judge("10.244.3.2", external), Some(Ineligible::OwnNextHop));
        for martian in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.5", "255.255.255.255", "::", "::1", "ff02::1"] {
            assert_eq!(judge(martian, external), Some(Ineligible::MartianNextHop), "{martian}");
        }
    }
}

#[test]
fn overlap_is_found_by_look_up() {
    let set: BTreeSet<Prefix> = ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.128/25", "fd00::/16"].map(prefix).into();
    for text in ["10.0.0.0/8", "10.9.0.0/16", "0.0.0.0/0", "192.0.2.0/24", "192.0.2.200/32", "fd00:1::/64", "fc00::/7"]
    {
        let brute = set.iter().any(|own| own.overlaps(&prefix(text)));
        assert!(brute && overlaps(&set, &prefix(text)), "{text}");
    }
    for text in ["11.0.0.0/8", "192.0.2.0/25", "192.0.3.0/24", "fe00::/16", "9.0.0.0/8"] {
        assert!(!overlaps(&set, &prefix(text)), "{text}");
    }
    assert!(!overlaps(&BTreeSet::new(), &prefix("0.0.0.0/0")));
}
