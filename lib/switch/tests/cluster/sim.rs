//! A cluster on paper: daemons that die, kernels that do not, a store whose readers lag, and a coordinator.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use model::{Digest, Moment, NodeName, NodePhase, Plane, PlaneSet, Uid};
use switch::{Counts, Facts, Readiness, State, Switch, Usable, carry, digest};

pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// The part of a node that outlives its daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    /// Receives on the plane.
    pub(crate) up: [bool; 2],
    /// Plane of each destination's route.
    pub(crate) routes: BTreeMap<usize, Plane>,
}

/// The part that does not.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    pub(crate) switch: Switch,
    /// Destinations this daemon has carried.
    ever: BTreeSet<usize>,
    /// Writes under way, in order.
    writes: VecDeque<(usize, Option<Plane>)>,
    /// The record that is on its way into the store.
    pending: Option<NodePhase>,
    /// Newest digest seen, as an index.
    seen: Option<usize>,
    /// Claims seen.
    known: BTreeSet<usize>,
    inputs_complete: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) wish: Plane,
    pub(crate) fallback: bool,
    pub(crate) kernel: Kernel,
    pub(crate) daemon: Option<Daemon>,
    /// Every record that was in the store.
    records: Vec<NodePhase>,
    /// Native paths to these are down.
    cut: BTreeSet<usize>,
    /// The first digest that knows the node.
    first: Option<usize>,
    /// Taken for gone: what its kernel sends is its own affair until it has caught up.
    excused: bool,
    last: Option<NodePhase>,
    /// Routes written by a digest from before the destination's first record. Such a digest cannot speak of the
    /// destination, and "all but these" counts it in; but no pod runs there yet.
    blind: BTreeSet<usize>,
}

#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) now: Moment,
    pub(crate) nodes: Vec<Node>,
    pub(crate) digests: Vec<Digest>,
    coordinator: Option<usize>,
    /// How many records of each node the coordinator has seen.
    view: Vec<usize>,
    gone: BTreeSet<usize>,
    pub(crate) phase_writes: usize,
}

impl Sim {
    pub(crate) fn new(wishes: &[Plane], fallback: bool) -> Sim {
        let mut sim = Sim {
            now: Moment::ZERO,
            nodes: Vec::new(),
            digests: Vec::new(),
            coordinator: None,
            view: Vec::new(),
            gone: BTreeSet::new(),
            phase_writes: 0,
        };
        for wish in wishes {
            sim.join(*wish, fallback);
        }
        sim
    }

    pub(crate) fn join(&mut self, wish: Plane, fallback: bool) {
        let index = self.nodes.len();
        self.nodes.push(Node {
            name: format!("n{index}").parse().unwrap(),
            wish,
            fallback,
            kernel: Kernel::default(),
            daemon: None,
            records: Vec::new(),
            cut: BTreeSet::new(),
            first: None,
            excused: false,
            last: None,
            blind: BTreeSet::new(),
        });
        self.view.push(0);
        self.start(index);
    }

    pub(crate) fn kill(&mut self, n: usize, applied: usize) {
        if let Some(daemon) = self.nodes[n].daemon.take() {
            // Of the batch under way the kernel has taken a part.
            for (to, plane) in daemon.writes.into_iter().take(applied) {
                self.nodes[n].kernel.set(to, plane);
            }
            if self.coordinator == Some(n) {
                self.coordinator = None;
            }
        }
    }

    pub(crate) fn start(&mut self, n: usize) {
        let claims = (0..self.nodes.len()).filter(|other| *other != n).collect();
        let newest = self.digests.len().checked_sub(1);
        let now = self.now;
        let node = &mut self.nodes[n];
        if node.daemon.is_some() {
            return;
        }
        let found = Plane::BOTH.into_iter().filter(|plane| node.kernel.shows(*plane)).collect();
        let switch = Switch::recover_from(found, node.wish, node.fallback, node.records.last(), now);
        node.last = None;
        node.daemon = Some(Daemon {
            switch,
            ever: node.kernel.routes.keys().copied().collect(),
            writes: VecDeque::new(),
            pending: None,
            seen: newest,
            known: claims,
            inputs_complete: false,
        });
    }

    /// The daemon works: destinations, then the switch, then its record.
    pub(crate) fn work(&mut self, n: usize) {
        let now = self.now;
        let digests = &self.digests;
        let names: Vec<NodeName> = self.nodes.iter().map(|node| node.name.clone()).collect();
        let first: Vec<Option<usize>> = self.nodes.iter().map(|node| node.first).collect();
        let receives: Vec<[bool; 2]> = self.nodes.iter().map(|node| node.kernel.up).collect();
        let node = &mut self.nodes[n];
        let Some(daemon) = &mut node.daemon else { return };
        let seen = daemon.seen.and_then(|index| digests.get(index));
        for to in daemon.known.iter().copied() {
            let usable = usable(&node.kernel, &node.cut, seen, to, &names[to], receives[to]);
            let present = node.kernel.routes.get(&to).copied();
            let carry = carry(daemon.switch.stance(), daemon.switch.licences(), &usable, present);
            let under_way = daemon.writes.iter().any(|(other, _)| *other == to);
            if first[to].is_none() || daemon.seen < first[to] {
                node.blind.insert(to);
            } else if !under_way && carry.plane == present {
                node.blind.remove(&to);
            }
            if carry.plane != present && !under_way && daemon.inputs_complete {
                daemon.writes.push_back((to, carry.plane));
            }
        }
        for _ in 0..8 {
            let facts = Facts {
                me: &node.name,
                wish: node.wish,
                fallback: node.fallback,
                linger: LINGER,
                digest: seen,
                ground: node.kernel.ground(),
                counts: counts(daemon, &node.kernel, seen, &names),
                leftovers: node.kernel.leftovers(),
                inputs_complete: daemon.inputs_complete,
            };
            if daemon.switch.step(now, &facts).is_none() {
                break;
            }
        }
        let told = daemon.switch.announced();
        let phase = NodePhase {
            node: node.name.clone(),
            uid: Uid("u".into()),
            wish: node.wish,
            state: daemon.switch.state().name(),
            stands: told.stands,
            sends: told.sends,
            waiting: None,
            serial: daemon.switch.serial(),
            settled: daemon.switch.settled(),
            config_beats: 0,
            topology: None,
            version: String::new(),
        };
        if node.last.as_ref() != Some(&phase) {
            node.last = Some(phase.clone());
            daemon.pending = Some(phase);
        }
    }

    /// The kernel takes one write, or one plane's ground follows the stance.
    pub(crate) fn kernel(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let Some(daemon) = &mut node.daemon else { return };
        if let Some((to, plane)) = daemon.writes.pop_front() {
            node.kernel.set(to, plane);
            if plane.is_some() {
                daemon.ever.insert(to);
            }
            return;
        }
        self.ground(n, Plane::Overlay);
        self.ground(n, Plane::Native);
    }

    /// One plane's ground follows the stance.
    pub(crate) fn ground(&mut self, n: usize, plane: Plane) {
        let node = &mut self.nodes[n];
        let Some(daemon) = &node.daemon else { return };
        let wanted = daemon.switch.stance().stand.has(plane);
        // Making at once; breaking only with the inputs complete.
        if wanted || daemon.inputs_complete {
            node.kernel.up[plane as usize] = wanted;
        }
    }

    pub(crate) fn complete(&mut self, n: usize) {
        if let Some(daemon) = &mut self.nodes[n].daemon {
            daemon.inputs_complete = true;
        }
    }

    /// The node's record reaches the store.
    pub(crate) fn flush(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        if let Some(phase) = node.daemon.as_mut().and_then(|daemon| daemon.pending.take()) {
            node.records.push(phase);
            self.phase_writes += 1;
        }
    }

    /// The node sees up to `ahead` digests further.
    pub(crate) fn see(&mut self, n: usize, ahead: usize) {
        let newest = self.digests.len().checked_sub(1);
        if let Some(daemon) = &mut self.nodes[n].daemon {
            let next = daemon.seen.map_or(0, |seen| seen + ahead);
            daemon.seen = newest.map(|newest| next.min(newest));
        }
        self.forgive(n);
    }

    pub(crate) fn learn(&mut self, n: usize, other: usize) {
        if let Some(daemon) = self.nodes[n].daemon.as_mut().filter(|_| n != other) {
            daemon.known.insert(other);
        }
    }

    /// A live daemon gets the lock, and lists afresh under it.
    pub(crate) fn elect(&mut self, n: usize) {
        if self.coordinator.is_none() && self.nodes[n].daemon.is_some() {
            self.coordinator = Some(n);
            self.view = self.nodes.iter().map(|node| node.records.len()).collect();
            self.gone.clear();
        }
    }

    /// The coordinator loses the lock and lives.
    pub(crate) fn depose(&mut self) {
        self.coordinator = None;
    }

    /// The coordinator sees one node's record.
    pub(crate) fn watch(&mut self, of: usize) {
        self.view[of] = self.nodes[of].records.len();
    }

    pub(crate) fn look_at_live(&mut self) {
        self.gone = (0..self.nodes.len()).filter(|n| self.nodes[*n].daemon.is_none()).collect();
    }

    pub(crate) fn look_at_returned(&mut self) {
        self.gone.retain(|n| self.nodes[*n].daemon.is_none());
    }

    pub(crate) fn coordinate(&mut self) {
        let Some(me) = self.coordinator else { return };
        let seen = |n: usize| self.view[n].checked_sub(1).and_then(|last| self.nodes[n].records.get(last));
        let phases: BTreeMap<NodeName, NodePhase> =
            (0..self.nodes.len()).filter_map(seen).map(|phase| (phase.node.clone(), phase.clone())).collect();
        let gone = self.gone.iter().map(|n| self.nodes[*n].name.clone()).collect();
        let Some(next) = digest(&phases, &gone, self.digests.last(), &self.nodes[me].name) else { return };
        let index = self.digests.len();
        for node in &mut self.nodes {
            if phases.contains_key(&node.name) {
                node.first.get_or_insert(index);
            }
            node.excused |= next.gone.contains(&node.name);
        }
        self.digests.push(next);
    }

    pub(crate) fn cut(&mut self, n: usize, to: usize) {
        let cut = &mut self.nodes[n].cut;
        if !cut.remove(&to) {
            cut.insert(to);
        }
    }

    pub(crate) fn mend(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.cut.clear());
    }

    /// One fair round: everybody does everything once. One digest sums it up, or every record gets its own.
    pub(crate) fn round(&mut self, sum_up: bool) {
        for n in 0..self.nodes.len() {
            self.look_at_returned();
            self.elect(n);
            self.complete(n);
            (0..self.nodes.len()).for_each(|other| self.learn(n, other));
            self.see(n, usize::MAX / 2);
            self.work(n);
            (0..=self.nodes.len()).for_each(|_| self.kernel(n));
            self.work(n);
            self.flush(n);
            if !sum_up {
                self.watch(n);
                self.coordinate();
            }
        }
        (0..self.nodes.len()).for_each(|n| self.watch(n));
        self.coordinate();
        (0..self.nodes.len()).for_each(|n| self.forgive(n));
        self.now = self.now + Duration::from_secs(1);
    }

    /// Nobody sends where nobody receives.
    pub(crate) fn check(&self) -> Result<(), String> {
        for sender in self.nodes.iter().filter(|sender| !sender.excused) {
            for (to, plane) in &sender.kernel.routes {
                let receiver = &self.nodes[*to];
                if !sender.blind.contains(to) && !receiver.kernel.up[*plane as usize] {
                    return Err(format!(
                        "{} sends to {} over {plane}, where it does not receive",
                        sender.name, receiver.name
                    ));
                }
            }
        }
        Ok(())
    }

    /// At rest: steady on its plane, with just the planes that it wants, and carrying to everybody.
    pub(crate) fn rest(&self, n: usize) -> Result<(), String> {
        let node = &self.nodes[n];
        let Some(daemon) = &node.daemon else { return Ok(()) };
        let words = || format!("{} at {:?}: {:?}", node.name, daemon.switch.state(), daemon.switch.waiting());
        let stands = if node.fallback { PlaneSet::BOTH } else { PlaneSet::only(node.wish) };
        let up: PlaneSet = Plane::BOTH.into_iter().filter(|plane| node.kernel.up[*plane as usize]).collect();
        if daemon.switch.state() != State::Steady(node.wish) || !daemon.switch.settled() {
            return Err(format!("not steady: {}", words()));
        }
        if up != stands || (!node.fallback && node.kernel.leftovers()[node.wish.other() as usize] > 0) {
            return Err(format!("{up} is up and {stands} wanted: {}", words()));
        }
        let live = (0..self.nodes.len()).filter(|other| *other != n && self.nodes[*other].daemon.is_some());
        for other in live {
            if node.kernel.routes.get(&other) != Some(&node.wish) {
                let on = node.kernel.routes.get(&other);
                return Err(format!("{} is carried by {on:?}: {}", self.nodes[other].name, words()));
            }
        }
        Ok(())
    }

    /// A node that was taken for gone is under the law again once it has seen what the others do.
    fn forgive(&mut self, n: usize) {
        let node = &self.nodes[n];
        let Some(daemon) = node.daemon.as_ref().filter(|_| node.excused) else { return };
        let Some(seen) = daemon.seen.and_then(|index| self.digests.get(index)) else { return };
        let listed = !seen.gone.contains(&node.name) && seen.reflects.get(&node.name) == Some(&daemon.switch.serial());
        let fine = node.kernel.routes.iter().all(|(to, plane)| {
            let other = &self.nodes[*to];
            other.kernel.up[*plane as usize] && seen.stands(*plane).has(&other.name)
        });
        let idle = daemon.writes.is_empty();
        // A later digest may have it gone again already.
        let later = daemon.seen.and_then(|index| self.digests.get(index..)).unwrap_or_default();
        if listed && fine && idle && later.iter().all(|digest| !digest.gone.contains(&node.name)) {
            self.nodes[n].excused = false;
        }
    }
}

impl Kernel {
    fn set(&mut self, to: usize, plane: Option<Plane>) {
        match plane {
            Some(plane) => self.routes.insert(to, plane),
            None => self.routes.remove(&to),
        };
    }

    fn carried(&self, plane: Plane) -> usize {
        self.routes.values().filter(|on| **on == plane).count()
    }

    /// What a restarted daemon can see: a link or routes of the overlay, routes of the native plane.
    fn shows(&self, plane: Plane) -> bool {
        self.carried(plane) > 0 || (plane == Plane::Overlay && self.up[plane as usize])
    }

    fn leftovers(&self) -> [usize; 2] {
        Plane::BOTH.map(|plane| self.carried(plane) + usize::from(self.up[plane as usize]))
    }

    fn ground(&self) -> [Readiness; 2] {
        Plane::BOTH.map(|plane| match self.up[plane as usize] {
            true => Readiness::Ready,
            false => Readiness::Waiting(format!("{plane} ground")),
        })
    }
}

fn usable(
    kernel: &Kernel,
    cut: &BTreeSet<usize>,
    seen: Option<&Digest>,
    to: usize,
    name: &NodeName,
    receives: [bool; 2],
) -> Usable {
    let stands = |plane: Plane| seen.is_some_and(|digest| digest.stands(plane).has(name));
    let path = receives[Plane::Native as usize] && !cut.contains(&to);
    let on = |plane: Plane| match plane {
        _ if !stands(plane) => Err(format!("{name} does not stand on {plane}")),
        _ if !kernel.up[plane as usize] => Err(format!("{plane} is not up here")),
        Plane::Native if !path => Err("no path".to_owned()),
        _ => Ok(()),
    };
    let gone = Plane::BOTH
        .into_iter()
        .filter(|plane| (seen.is_some() && !stands(*plane)) || (*plane == Plane::Native && !path));
    Usable { overlay: on(Plane::Overlay), native: on(Plane::Native), gone: gone.collect() }
}

fn counts(daemon: &Daemon, kernel: &Kernel, seen: Option<&Digest>, names: &[NodeName]) -> Counts {
    let live = |to: &&usize| seen.is_none_or(|digest| !digest.gone.contains(&names[**to]));
    let mut counts = Counts::default();
    for to in daemon.known.iter().filter(live) {
        let under_way = daemon.writes.iter().filter(|(other, _)| other == to).filter_map(|(_, plane)| *plane);
        let on: BTreeSet<Plane> = kernel.routes.get(to).copied().into_iter().chain(under_way).collect();
        counts.total += 1;
        counts.unreachable += usize::from(on.is_empty() && !daemon.ever.contains(to));
        on.into_iter().for_each(|plane| counts.carried[plane as usize] += 1);
    }
    counts
}
