use wire::Attributes;

use super::*;

fn route(next_hop: u8, med: u32) -> Arc<Route> {
    let attributes = Arc::new(Attributes { med: Some(med), ..Attributes::default() });
    Arc::new(Route { attributes, next_hop: IpAddr::from([192, 0, 2, next_hop]), link_local: None })
}

fn prefix() -> Prefix {
    "10.244.1.0/24".parse().unwrap()
}

fn rib() -> (LocRib, PeerIndex, PeerIndex) {
    let mut rib = LocRib::new(16);
    let one = rib.enter(IpAddr::from([192, 0, 2, 1]).into());
    let two = rib.enter(IpAddr::from([192, 0, 2, 2]).into());
    rib.introduce(one, Ipv4Addr::new(1, 1, 1, 1), true, false);
    rib.introduce(two, Ipv4Addr::new(2, 2, 2, 2), true, false);
    (rib, one, two)
}

fn hops(rib: &LocRib) -> Vec<IpAddr> {
    rib.best(&prefix()).iter().map(|path| path.next_hop).collect()
}

#[test]
fn a_set_is_told_when_it_changes_and_only_then() {
    let (mut rib, one, two) = rib();
    let changed = |rib: &mut LocRib| !rib.take_changed(10).is_empty();
    rib.offer(prefix(), (one, 0), route(1, 0), None);
    assert!(changed(&mut rib) && !changed(&mut rib));
    rib.offer(prefix(), (one, 0), route(1, 7), None);
    assert!(!changed(&mut rib), "the same next hop with another MED forwards the same");
    rib.offer(prefix(), (two, 0), route(2, 9), None);
    assert!(!changed(&mut rib), "no better");
    rib.offer(prefix(), (two, 0), route(2, 7), None);
    assert!(changed(&mut rib));
    assert_eq!(hops(&rib).len(), 2);
    rib.amend(prefix(), (one, 0), true, None);
    assert!(changed(&mut rib), "stale loses");
    assert_eq!(hops(&rib), vec![IpAddr::from([192, 0, 2, 2])]);
    rib.withdraw(prefix(), (two, 0));
    assert!(changed(&mut rib));
    assert!(rib.best(&prefix())[0].stale, "but is better than nothing");
    rib.amend(prefix(), (one, 0), true, Some(Ineligible::OwnNextHop));
    assert!(changed(&mut rib) && rib.best(&prefix()).is_empty());
    rib.withdraw(prefix(), (one, 0));
    assert!(!changed(&mut rib), "it did not forward");
    assert_eq!(rib.paths(), 0);
    rib.withdraw(prefix(), (one, 0));
    assert_eq!(rib.paths(), 0, "an unknown path is no matter");
}

#[test]
fn changed_prefixes_come_in_slices_each_once() {
    let (mut rib, one, _) = rib();
    for n in 0..10 {
        let prefix = Prefix::new(IpAddr::from([10, 244, n, 0]), 24).unwrap();
        rib.offer(prefix, (one, 0), route(1, 0), None);
        rib.offer(prefix, (one, 0), route(2, 0), None);
    }
    assert_eq!(rib.take_changed(4).len(), 4);
    assert_eq!(rib.take_changed(100).len(), 6);
    assert!(!rib.has_changed());
}

#[test]
fn a_path_costs_little() {
    assert!(std::mem::size_of::<Entry>() <= 24, "{}", std::mem::size_of::<Entry>());
}
