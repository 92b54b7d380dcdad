use std::net::IpAddr;

use wire::Attributes;

use super::*;

/// MEDs of the paths that a prefix should have, by prefix.
#[derive(Default)]
struct World {
    own: BTreeMap<Prefix, Vec<u32>>,
    learnt: BTreeMap<Prefix, Vec<u32>>,
    asked: usize,
    /// Not everything is there yet.
    incomplete: bool,
}

fn export(med: u32) -> Arc<Export> {
    let attributes = Arc::new(Attributes { med: Some(med), ..Attributes::default() });
    Arc::new(Export { attributes, next_hop: IpAddr::from([192, 0, 2, 1]), link_local: None })
}

fn after(table: &BTreeMap<Prefix, Vec<u32>>, after: Option<Prefix>, at_most: usize) -> Vec<Prefix> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    table.range((from, Bound::Unbounded)).take(at_most).map(|(prefix, _)| *prefix).collect()
}

impl Tables for World {
    fn own_after(&self, from: Option<Prefix>, at_most: usize) -> Vec<Prefix> {
        after(&self.own, from, at_most)
    }

    fn learnt_after(&self, from: Option<Prefix>, at_most: usize) -> Vec<Prefix> {
        after(&self.learnt, from, at_most)
    }

    fn are_complete(&self) -> bool {
        !self.incomplete
    }

    fn wanted(&mut self, prefix: &Prefix, paths: &mut Vec<(u32, Arc<Export>)>) {
        self.asked += 1;
        let meds = self.own.get(prefix).or(self.learnt.get(prefix));
        paths.extend(meds.into_iter().flatten().map(|med| (*med, export(*med))));
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn world(own: &[&str], learnt: &[&str]) -> World {
    let table = |texts: &[&str]| texts.iter().map(|text| (prefix(text), vec![0])).collect();
    World { own: table(own), learnt: table(learnt), ..World::default() }
}

fn everything(rib: &mut AdjRibOut, world: &mut World, slice: usize) -> Vec<Batch> {
    let mut batches = Vec::new();
    while rib.has_pending() {
        batches.push(rib.next_batch(slice, world));
        assert!(batches.len() < 1000, "it comes to an end");
    }
    batches
}

fn announced(batches: &[Batch]) -> Vec<PathKey> {
    let mut all: Vec<PathKey> = batches.iter().flat_map(|batch| batch.announce.values().flatten().copied()).collect();
    all.sort_unstable();
    all
}

/// Checklist: 70
#[test]
fn the_dump_comes_in_slices_and_ends_with_end_of_rib() {
    let own = ["10.0.0.0/24", "10.0.1.0/24", "fd00::/64"];
    let learnt = ["10.0.2.0/24", "10.0.3.0/24", "fd00:1::/64"];
    for slice in 1..10 {
        let mut world = world(&own, &learnt);
        let mut rib = AdjRibOut::open(&BTreeSet::from(Family::BOTH));
        let batches = everything(&mut rib, &mut world, slice);
        assert_eq!(announced(&batches).len(), 6);
        let ends: Vec<&Batch> = batches.iter().filter(|batch| !batch.end_of_rib.is_empty()).collect();
        assert_eq!(ends.len(), 1);
        assert_eq!(ends[0].end_of_rib, Family::BOTH);
        assert!(batches.last().is_some_and(|last| !last.end_of_rib.is_empty()), "nothing comes behind it");
        assert_eq!((rib.advertised(Family::V4), rib.advertised(Family::V6)), (4, 2));
    }
    let mut rib = AdjRibOut::open(&BTreeSet::from([Family::V6]));
    let batches = everything(&mut rib, &mut world(&own, &[]), 10);
    assert_eq!(announced(&batches), vec![(prefix("fd00::/64"), 0)], "not of a family that was not negotiated");
    let mut rib = AdjRibOut::open(&BTreeSet::from([Family::V6]));
    let batches = everything(&mut rib, &mut World::default(), 10);
    assert_eq!(batches.last().unwrap().end_of_rib, vec![Family::V6], "an empty table has its end, too");
}

/// Checklist: 70, 71
#[test]
fn end_of_rib_waits_until_everything_is_there() {
    let mut world = World { incomplete: true, ..world(&["10.0.0.0/24"], &[]) };
    let mut rib = AdjRibOut::open(&BTreeSet::from(Family::BOTH));
    let batches = everything(&mut rib, &mut world, 10);
    assert_eq!(announced(&batches).len(), 1, "what is there is told");
    assert!(batches.iter().all(|batch| batch.end_of_rib.is_empty()));
    world.incomplete = false;
    world.learnt.insert(prefix("10.0.2.0/24"), vec![0]);
    rib.look_at_all();
    let batches = everything(&mut rib, &mut world, 10);
    assert_eq!((announced(&batches).len(), batches.last().unwrap().end_of_rib.len()), (1, 2));
    rib.look_at_all();
    assert!(everything(&mut rib, &mut world, 10).iter().all(|batch| batch.end_of_rib.is_empty()), "once");
}

/// Checklist: 65
#[test]
fn the_same_is_said_twice_only_when_asked() {
    let mut world = world(&["10.0.0.0/24"], &["10.0.2.0/24", "fd00:1::/64"]);
    let mut rib = AdjRibOut::open(&BTreeSet::from(Family::BOTH));
    everything(&mut rib, &mut world, 100);
    rib.touch(prefix("10.0.0.0/24"));
    rib.look_at_all();
    let batches = everything(&mut rib, &mut world, 2);
    assert!(announced(&batches).is_empty() && batches.iter().all(|batch| batch.end_of_rib.is_empty()));
    rib.refresh(Family::V4);
    let batches = everything(&mut rib, &mut world, 2);
    assert_eq!(announced(&batches).len(), 2, "both families are not asked for");
    assert_eq!(batches.last().unwrap().refreshed, vec![Family::V4]);
}

#[test]
fn a_change_costs_its_size_and_does_not_wait_behind_a_dump() {
    let mut world = World::default();
    for n in 0..200 {
        world.learnt.insert(Prefix::new(IpAddr::from([10, 0, n, 0]), 24).unwrap(), vec![0]);
    }
    let changed = prefix("10.0.7.0/24");
    let mut rib = AdjRibOut::open(&BTreeSet::from([Family::V4]));
    everything(&mut rib, &mut world, 50);
    world.asked = 0;
    world.learnt.insert(changed, vec![5]);
    rib.touch(changed);
    let batches = everything(&mut rib, &mut world, 50);
    assert_eq!((announced(&batches), world.asked), (vec![(changed, 5)], 1));
    assert_eq!(batches[0].withdraw[&Family::V4], vec![(changed, 0)], "another path identifier");
    rib.refresh(Family::V4);
    rib.next_batch(10, &mut world);
    world.learnt.remove(&changed);
    rib.touch(changed);
    let next = rib.next_batch(1, &mut world);
    assert_eq!(next.withdraw[&Family::V4], vec![(changed, 5)]);
}

#[test]
fn what_is_in_no_table_any_more_goes() {
    let mut world = world(&["10.0.0.0/24"], &["10.0.2.0/24"]);
    let mut rib = AdjRibOut::open(&BTreeSet::from([Family::V4]));
    everything(&mut rib, &mut world, 100);
    world.learnt.clear();
    rib.look_at_all();
    let batches = everything(&mut rib, &mut world, 100);
    assert_eq!(batches[0].withdraw[&Family::V4], vec![(prefix("10.0.2.0/24"), 0)]);
    assert_eq!(rib.advertised(Family::V4), 1);
}

#[test]
fn very_many_changes_become_one_look_at_the_table() {
    let mut world = World::default();
    let mut rib = AdjRibOut::open(&BTreeSet::from([Family::V4]));
    everything(&mut rib, &mut world, 100);
    let all: Vec<Prefix> = (0..20_000_u32)
        .map(|n| Prefix::new(IpAddr::from((0x0a00_0000 + (n << 8)).to_be_bytes()), 24).unwrap())
        .collect();
    for prefix in &all {
        world.learnt.insert(*prefix, vec![1]);
        rib.touch(*prefix);
        assert!(rib.pending.len() <= AdjRibOut::MOST_PENDING);
    }
    let batches = everything(&mut rib, &mut world, 1000);
    assert_eq!(announced(&batches).len(), all.len(), "none is forgotten, none is said twice");
}

/// Checklist: 75
#[test]
fn paths_of_a_prefix_come_and_go_one_by_one() {
    let own = prefix("10.0.0.0/24");
    let mut world = world(&["10.0.0.0/24"], &[]);
    world.own.insert(own, vec![2, 3]);
    let mut rib = AdjRibOut::open(&BTreeSet::from([Family::V4]));
    assert_eq!(announced(&everything(&mut rib, &mut world, 9)), vec![(own, 2), (own, 3)]);
    assert_eq!(rib.advertised(Family::V4), 2);
    world.own.insert(own, vec![3, 4]);
    rib.touch(own);
    let batches = everything(&mut rib, &mut world, 9);
    assert_eq!(announced(&batches), vec![(own, 4)]);
    assert_eq!(batches[0].withdraw[&Family::V4], vec![(own, 2)]);
    world.own.remove(&own);
    rib.touch(own);
    let batches = everything(&mut rib, &mut world, 9);
    assert_eq!(batches[0].withdraw[&Family::V4], vec![(own, 3), (own, 4)]);
    assert_eq!(rib.advertised(Family::V4), 0);
}
