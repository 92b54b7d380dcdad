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
        from: Origins { id: address.into(), router_id: Ipv4Addr::new(10, 0, 0, n), external: true },
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
