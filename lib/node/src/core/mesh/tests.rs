use super::*;

fn name(n: usize) -> NodeName {
    format!("node-{n}").parse().unwrap()
}

/// Every node of a cluster, each with its own view; claims are what they say of themselves.
struct World {
    config: ReflectorsConfig,
    said: BTreeMap<NodeName, Reflection>,
    dead: BTreeSet<NodeName>,
}

impl World {
    fn new(nodes: usize, config: ReflectorsConfig) -> World {
        let said = (0..nodes).map(|n| (name(n), Reflection { cluster: config.cluster_id, reflects: false })).collect();
        World { config, said, dead: BTreeSet::new() }
    }

    fn members(&self, of: &NodeName) -> Members {
        let others = self.said.iter().filter(|(name, _)| *name != of);
        let member =
            |name: &NodeName, said: &Reflection| Member { reflection: Some(*said), live: !self.dead.contains(name) };
        others.map(|(name, said)| (name.clone(), member(name, said))).collect()
    }

    /// One after the other says what it finds, until nobody has news. Returns how many words were said.
    fn settle(&mut self) -> usize {
        let mut words = 0;
        for _ in 0..20 {
            let before = words;
            for name in self.said.keys().filter(|name| !self.dead.contains(*name)).cloned().collect::<Vec<_>>() {
                let reflects = self.said[&name].reflects;
                let part = part(&name, &Labels::new(), &self.config, reflects, &self.members(&name));
                if self.said.insert(name, part) != Some(part) {
                    words += 1;
                }
            }
            if words == before {
                return words;
            }
        }
        panic!("never settles");
    }

    fn reflectors(&self) -> BTreeSet<NodeName> {
        let live = self.said.iter().filter(|(name, said)| said.reflects && !self.dead.contains(*name));
        live.map(|(name, _)| name.clone()).collect()
    }

    fn topology(&self, of: &NodeName) -> Topology {
        topology(of, Some(self.said[of]), &self.members(of))
    }
}

#[test]
fn reflectors_stand_above_a_size_and_go_with_some_slack() {
    let config = ReflectorsConfig { above: Some(10), count: 3, ..ReflectorsConfig::default() };
    let mut world = World::new(10, config);
    world.settle();
    assert!(world.reflectors().is_empty(), "ten are not more than ten");
    assert_eq!(world.topology(&name(0)), Topology { fingerprint: 0, wanted: (1..10).map(name).collect() });
    world.said.insert(name(10), Reflection { cluster: None, reflects: false });
    world.settle();
    let chosen = world.reflectors();
    assert_eq!(chosen.len(), 3);
    world.said.remove(&name((0..11).find(|n| !chosen.contains(&name(*n))).unwrap()));
    assert_eq!(world.settle(), 0, "one node fewer takes them not away again");
    world
        .said
        .remove(&name((0..11).find(|n| !chosen.contains(&name(*n)) && world.said.contains_key(&name(*n))).unwrap()));
    world.settle();
    assert!(world.reflectors().is_empty());
}

#[test]
fn a_node_that_comes_or_goes_moves_no_other() {
    let config = ReflectorsConfig { count: 3, ..ReflectorsConfig::default() };
    let mut world = World::new(20, config);
    world.settle();
    let first = world.reflectors();
    assert_eq!(first.len(), 3);
    for n in 20..60 {
        world.said.insert(name(n), Reflection { cluster: None, reflects: false });
    }
    assert_eq!(world.settle(), 0, "whoever reflects goes on, whatever the newcomers' hashes are");
    let dead = first.first().unwrap().clone();
    world.dead.insert(dead.clone());
    assert_eq!(world.settle(), 1, "one takes the place of the one that is gone");
    assert!(world.reflectors().is_superset(&first.iter().filter(|name| **name != dead).cloned().collect()));
    world.dead.clear();
    world.settle();
    assert_eq!(world.reflectors().len(), 3);
}

#[test]
fn clients_meet_reflectors_only_and_both_ends_agree() {
    let config = ReflectorsConfig { nodes: vec![name(0), name(1)], ..ReflectorsConfig::default() };
    let mut world = World::new(6, config);
    world.settle();
    for a in 0..6 {
        let here = world.topology(&name(a));
        for b in (0..6).filter(|b| *b != a) {
            let there = world.topology(&name(b));
            assert_eq!(here.fingerprint, there.fingerprint);
            let expected = a < 2 || b < 2;
            assert_eq!(here.wanted.contains(&name(b)), expected, "{a} and {b}");
            assert_eq!(there.wanted.contains(&name(a)), expected, "{b} and {a}");
        }
    }
    let mut members = world.members(&name(5));
    members.insert("old".parse().unwrap(), Member { reflection: None, live: true });
    let topology = topology(&name(5), Some(world.said[&name(5)]), &members);
    assert!(topology.wanted.contains(&"old".parse().unwrap()), "who knows nothing of reflectors is met by all");
    world.dead.extend([name(0), name(1)]);
    assert_eq!(world.topology(&name(5)).fingerprint, 0, "with all reflectors gone there is the mesh");
}

#[test]
fn clusters_have_their_own_reflectors() {
    let cluster = |n: u8| Some(Ipv4Addr::new(10, 0, 0, n));
    let mut world = World::new(8, ReflectorsConfig::default());
    for n in 0..8_usize {
        let own = if n < 4 { cluster(1) } else { cluster(2) };
        world.said.insert(name(n), Reflection { cluster: own, reflects: n % 4 == 0 });
    }
    let meets = |a: usize, b: usize| world.topology(&name(a)).wanted.contains(&name(b));
    assert!(meets(1, 0) && meets(0, 1) && !meets(1, 4) && !meets(4, 1), "a client has the reflectors of its cluster");
    assert!(meets(0, 4) && meets(4, 0), "reflectors meet each other");
    assert!(!meets(1, 2) && !meets(1, 5));
    world.said.insert(name(4), Reflection { cluster: cluster(2), reflects: false });
    let meets = |a: usize, b: usize| world.topology(&name(a)).wanted.contains(&name(b));
    assert!(meets(5, 0) && meets(0, 5), "a cluster without reflectors has those that there are");
}

#[test]
fn labels_choose() {
    let labels = |value: &str| Labels::from([("role".to_owned(), value.to_owned())]);
    let config = ReflectorsConfig { selector: labels("border"), ..ReflectorsConfig::default() };
    assert!(part(&name(0), &labels("border"), &config, false, &Members::new()).reflects);
    assert!(!part(&name(0), &labels("worker"), &config, false, &Members::new()).reflects);
    assert!(!part(&name(0), &Labels::new(), &config, false, &Members::new()).reflects);
}
