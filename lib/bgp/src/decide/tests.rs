//! One row a step: what differs, which path wins, what the loser is told.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use model::Asn;
use wire::{AsPath, Attributes, Origin};

use super::*;

#[derive(Clone, Debug)]
struct Path {
    route: Route,
    stale: bool,
    ineligible: Option<Ineligible>,
    reason: Reason,
    from: Origins,
    path_id: u32,
}

impl Contender for Path {
    fn route(&self) -> &Route {
        &self.route
    }
    fn stale(&self) -> bool {
        self.stale
    }
    fn ineligible(&self) -> Option<Ineligible> {
        self.ineligible
    }
    fn reason(&self) -> Reason {
        self.reason
    }
    fn path_id(&self) -> u32 {
        self.path_id
    }
    fn set_reason(&mut self, reason: Reason) {
        self.reason = reason;
    }
}

/// An external path through AS 65001, from peer `n` with router ID `n`.
fn path(n: u8, change: impl FnOnce(&mut Attributes)) -> Path {
    let mut attributes = Attributes { as_path: AsPath::sequence([Asn(65001), Asn(65009)]), ..Attributes::default() };
    change(&mut attributes);
    let address = IpAddr::from([192, 0, 2, n]);
    Path {
        route: Route { attributes: Arc::new(attributes), next_hop: address, link_local: None },
        stale: false,
        ineligible: None,
        reason: Reason::Best,
        from: Origins { id: address.into(), router_id: Ipv4Addr::new(10, 0, 0, n), external: true, client: false },
        path_id: 0,
    }
}

fn names(paths: &[Path]) -> Vec<(u8, Reason)> {
    let name = |p: &Path| match p.from.id.address {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(_) => 0,
    };
    paths.iter().map(|p| (name(p), p.reason)).collect()
}

/// Decides in both orders of arrival; the result must be the same.
fn both_ways(mut paths: Vec<Path>, max_paths: usize) -> (usize, Vec<(u8, Reason)>) {
    let mut reversed: Vec<Path> = paths.iter().rev().cloned().collect();
    let set = decide(&mut paths, max_paths, |p| p.from.clone());
    assert_eq!(decide(&mut reversed, max_paths, |p| p.from.clone()), set);
    assert_eq!(names(&paths), names(&reversed));
    (set, names(&paths))
}

/// Checklist: 21
#[test]
fn every_step_decides() {
    // In each row path 2 is better by this step and path 1 by every later one.
    let better = |p: &mut Path| p.from.router_id = Ipv4Addr::new(1, 1, 1, 1);
    let internal = |mut p: Path| {
        p.from.external = false;
        p
    };
    let stale = |mut p: Path| {
        p.stale = true;
        p
    };
    let rows: Vec<(Reason, Path, Path)> = vec![
        (Reason::Stale, stale(path(1, |a| a.local_pref = Some(200))), path(2, |_| {})),
        (Reason::LocalPref, path(1, |a| a.as_path = AsPath::default()), path(2, |a| a.local_pref = Some(101))),
        (
            Reason::AsPath,
            path(1, |a| a.as_path = AsPath::sequence([65001, 65002, 65009].map(Asn))),
            path(2, |a| a.origin = Origin::Incomplete),
        ),
        (Reason::Origin, path(1, |a| a.origin = Origin::Egp), path(2, |a| a.med = Some(5))),
        (Reason::Med, path(1, |a| a.med = Some(1)), internal(path(2, |_| {}))),
        (Reason::Internal, internal(path(1, |_| {})), path(2, |_| {})),
    ];
    for (step, mut worse, good) in rows {
        better(&mut worse);
        let (set, result) = both_ways(vec![worse, good], 16);
        assert_eq!((set, result), (1, vec![(2, Reason::Best), (1, step)]), "{step:?}");
    }
}

#[test]
fn equal_paths_forward_together_and_the_rank_orders_them() {
    let mut last = path(1, |_| {});
    last.from.router_id = Ipv4Addr::new(10, 0, 0, 9);
    let (set, result) = both_ways(vec![last.clone(), path(2, |_| {}), path(3, |_| {})], 16);
    assert_eq!(set, 3);
    assert_eq!(result, vec![(2, Reason::Best), (3, Reason::Multipath), (1, Reason::Multipath)]);
    let (set, result) = both_ways(vec![last, path(2, |_| {}), path(3, |_| {})], 2);
    assert_eq!(set, 2);
    assert_eq!(result[2], (1, Reason::RouterId));
    let mut twin = path(4, |_| {});
    twin.from.router_id = Ipv4Addr::new(10, 0, 0, 2);
    let (_, result) = both_ways(vec![twin, path(2, |_| {})], 1);
    assert_eq!(result, vec![(2, Reason::Best), (4, Reason::PeerAddress)]);
    let reflected = path(9, |a| a.originator_id = Some(Ipv4Addr::new(10, 0, 0, 1)));
    let (_, result) = both_ways(vec![reflected, path(2, |_| {})], 1);
    assert_eq!(result[0].0, 9, "ORIGINATOR_ID stands for the router ID");
}

/// Each row: two paths that are equal up to this step, of which the second is better by it and the first by every later.
///
/// Checklist: 21
#[test]
fn every_step_of_the_order_decides_when_the_set_is_full() {
    let origin = |a: &mut Attributes| a.originator_id = Some(Ipv4Addr::new(10, 0, 0, 1));
    let twice = |n: u8| {
        path(n, |a| {
            origin(a);
            a.cluster_list = vec![Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(2, 2, 2, 2)];
        })
    };
    let once = |n: u8| {
        path(n, |a| {
            origin(a);
            a.cluster_list = vec![Ipv4Addr::new(3, 3, 3, 3)];
        })
    };
    let identified = |n: u8, path_id| Path { path_id, ..once(n) };
    let rows = [
        (Reason::RouterId, path(2, |_| {}), once(9)),
        (Reason::ClusterList, twice(2), once(9)),
        (Reason::PeerAddress, once(9), identified(2, 7)),
        (Reason::PathId, identified(2, 8), identified(2, 7)),
    ];
    for (step, worse, good) in rows {
        let kept = (good.from.id.clone(), good.path_id);
        let mut paths = vec![worse, good];
        assert_eq!(decide(&mut paths, 1, |p| p.from.clone()), 1);
        assert_eq!(((paths[0].from.id.clone(), paths[0].path_id), paths[1].reason), (kept.clone(), step));
        paths.reverse();
        decide(&mut paths, 1, |p| p.from.clone());
        assert_eq!(
            ((paths[0].from.id.clone(), paths[0].path_id), paths[1].reason),
            (kept.clone(), step),
            "the other way round"
        );
    }
}

/// Behind the set those come first that lost last: with several paths told (RFC 7911) they are next.
#[test]
fn who_lost_late_is_next() {
    let short = path(1, |a| a.as_path = AsPath::sequence([65001].map(Asn)));
    let long = path(2, |a| a.as_path = AsPath::sequence([65001, 65002, 65009].map(Asn)));
    let mut med = path(3, |a| a.as_path = AsPath::sequence([65001].map(Asn)));
    med.route = Route {
        attributes: Arc::new(Attributes { med: Some(9), ..Attributes::clone(&med.route.attributes) }),
        ..med.route
    };
    let mut unusable = path(4, |_| {});
    unusable.ineligible = Some(Ineligible::OwnNextHop);
    let (_, result) = both_ways(vec![unusable, long, med, short], 16);
    let order: Vec<u8> = result.iter().map(|(n, _)| *n).collect();
    assert_eq!(order, [1, 3, 2, 4]);
}

#[test]
fn different_ases_of_equal_length_are_equal() {
    let other = path(2, |a| a.as_path = AsPath::sequence([65005, 65006].map(Asn)));
    assert_eq!(both_ways(vec![path(1, |_| {}), other], 16).0, 2);
}

/// Checklist: 21
#[test]
fn med_counts_inside_one_neighbour_as_only() {
    // The classic: comparing pairs gives another winner for each order of arrival.
    let through = |n, asn: u32, med| {
        path(n, |a| {
            a.as_path = AsPath::sequence([Asn(asn), Asn(65009)]);
            a.med = Some(med);
        })
    };
    let paths = vec![through(1, 65001, 20), through(2, 65002, 30), through(3, 65001, 10)];
    let (set, result) = both_ways(paths, 16);
    assert_eq!(set, 2);
    assert_eq!(result, vec![(2, Reason::Best), (3, Reason::Multipath), (1, Reason::Med)]);
}

#[test]
fn ineligible_paths_are_no_candidates() {
    let mut bad = path(1, |a| a.local_pref = Some(500));
    bad.ineligible = Some(Ineligible::OwnNextHop);
    let (set, result) = both_ways(vec![bad.clone(), path(2, |_| {})], 16);
    assert_eq!((set, result), (1, vec![(2, Reason::Best), (1, Reason::NotEligible)]));
    assert_eq!(both_ways(vec![bad], 16).0, 0);
}
