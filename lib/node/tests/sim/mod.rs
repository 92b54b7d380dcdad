//! Whole cores joined by an in-memory store, in-memory kernels and in-memory TCP, on a simulated clock.

#[path = "kernel.rs"]
mod memory;
mod tape;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::config::Config;
use model::kernel::{Device, Key, LinkInfo, Value, Via, Write};
use model::{ClusterPool, Digest, Moment, NodeName, NodePhase, Owner, Plane, PodCidr, Uid, Wish};
use node::record::{Head, Recorder};
use node::{Core, Effect, Event, Identity};

use memory::write_one;
pub(crate) use tape::Tape;

/// A small generator of numbers that look random; the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Something on its way to a node.
struct Mail {
    at: Moment,
    number: u64,
    to: usize,
    /// A mail to a daemon that has been killed since is lost.
    life: u64,
    event: Event,
}

pub(crate) struct SimNode {
    pub(crate) name: NodeName,
    pub(crate) config: Config,
    pub(crate) core: Option<Core>,
    /// Where its daemons' runs are written, one after the other.
    pub(crate) tapes: Vec<Tape>,
    recorder: Option<Recorder<Tape>>,
    pub(crate) kernel: BTreeMap<Key, Value>,
    /// Left alone for good: what it still sends is lost when the others have moved on.
    pub(crate) abandoned: bool,
    /// Its daemon was started on another store, and may end by itself for that.
    misled: bool,
    /// Why it did.
    pub(crate) ended: Option<String>,
    life: u64,
    listening: bool,
    holds_writes: bool,
    held_writes: Vec<Vec<Write>>,
    /// BFD sessions that its daemon wants.
    pub(crate) bfd: BTreeMap<bfd::SessionKey, bfd::SessionConfig>,
    links: Vec<LinkInfo>,
    /// Devices on which routers are listened for.
    pub(crate) discovering: BTreeMap<Device, u32>,
    /// Deliveries to one node keep their order per source.
    last: BTreeMap<&'static str, Moment>,
}

#[derive(Default)]
struct Store {
    claims: BTreeMap<PodCidr, alloc::Claim>,
    phases: BTreeMap<NodeName, NodePhase>,
    digest: Option<Digest>,
    wish: Option<Wish>,
    coordinator: Option<usize>,
}

/// One TCP connection: both ends, by node and by the number each gave it.
struct Wire {
    ends: [(usize, u64); 2],
}

pub(crate) struct World {
    pub(crate) now: Moment,
    pub(crate) nodes: Vec<SimNode>,
    pub(crate) dice: Dice,
    store: Shared,
    mails: Vec<Mail>,
    sent: u64,
    wires: Vec<Wire>,
    accepted: u64,
    /// Every line said, for failures.
    pub(crate) log: VecDeque<String>,
    recording: bool,
    pub(crate) phase_writes: u64,
    pub(crate) digest_writes: u64,
    /// Objects that daemons had kernels write, and read-backs that they asked for. Sysctls do not count: they are files, and
    /// what is in them is not known before they are wanted.
    pub(crate) kernel_writes: usize,
    pub(crate) read_backs: usize,
}

/// The store, kept private in its details.
struct Shared(Store);

impl World {
    /// `nodes` nodes on one IPv4 and IPv6 network, started at once.
    pub(crate) fn new(seed: u64, nodes: usize, settings: impl Fn(&mut Config)) -> World {
        World::build(seed, nodes, false, settings)
    }

    /// The same, and every daemon's run is recorded.
    pub(crate) fn recorded(seed: u64, nodes: usize) -> World {
        World::recorded_with(seed, nodes, |_| {})
    }

    /// The same, with other settings.
    pub(crate) fn recorded_with(seed: u64, nodes: usize, settings: impl Fn(&mut Config)) -> World {
        World::build(seed, nodes, true, settings)
    }

    fn build(seed: u64, nodes: usize, recording: bool, settings: impl Fn(&mut Config)) -> World {
        let pools = [("10.244.0.0/16", 24), ("fd44::/48", 64)];
        let pools = pools.map(|(cidr, len)| ClusterPool::new(cidr.parse().unwrap(), len).unwrap()).to_vec();
        let mut world = World {
            now: Moment::new(Duration::from_secs(1)),
            nodes: Vec::new(),
            dice: Dice::new(seed),
            store: Shared(Store::default()),
            mails: Vec::new(),
            sent: 0,
            wires: Vec::new(),
            accepted: 1 << 63,
            log: VecDeque::new(),
            recording,
            phase_writes: 0,
            digest_writes: 0,
            kernel_writes: 0,
            read_backs: 0,
        };
        for index in 0..nodes {
            let mut config = Config::minimal(Plane::Overlay, pools.clone());
            config.node.addresses = vec![address(index), format!("fd00::{}", index + 1).parse().unwrap()];
            settings(&mut config);
            let links =
                vec![link("lo", 1, &[]), link("eth0", 2, &[(address(index), 24), (config.node.addresses[1], 64)])];
            world.nodes.push(SimNode {
                name: format!("n{index}").parse().unwrap(),
                config,
                core: None,
                tapes: Vec::new(),
                recorder: None,
                kernel: BTreeMap::new(),
                abandoned: false,
                misled: false,
                ended: None,
                life: 0,
                listening: false,
                holds_writes: false,
                held_writes: Vec::new(),
                bfd: BTreeMap::new(),
                links,
                discovering: BTreeMap::new(),
                last: BTreeMap::new(),
            });
        }
        for index in 0..nodes {
            world.start(index);
        }
        world
    }

    /// Starts a node's daemon, which remembers nothing.
    pub(crate) fn start(&mut self, index: usize) {
        let store = self.snapshot();
        self.nodes[index].misled = false;
        self.start_on(index, store);
    }

    /// Starts a node's daemon where the store's file system is not mounted: an empty one lies there.
    pub(crate) fn start_on_an_empty_store(&mut self, index: usize) {
        let store = cluster::Snapshot {
            claims: BTreeMap::new(),
            quarantined: BTreeSet::new(),
            phases: BTreeMap::new(),
            digest: None,
            wish: None,
            revision: 1,
        };
        self.nodes[index].misled = true;
        self.start_on(index, store);
    }

    fn start_on(&mut self, index: usize, store: cluster::Snapshot) {
        let node = &mut self.nodes[index];
        let uid = Uid(Arc::from(format!("machine-{index}")));
        let identity = Identity { node: node.name.clone(), uid, version: "test".to_owned(), seed: index as u64 + 7 };
        let head =
            Head { form: Head::FORM, at: self.now, identity, config: node.config.clone(), keys: BTreeMap::new() };
        node.core = Some(head.core());
        if self.recording {
            let tape = Tape::default();
            node.recorder = Some(Recorder::new(tape.clone(), &head).unwrap());
            node.tapes.push(tape);
        }
        self.mail(index, "store", Event::Store(cluster::Event::Listed(store)));
        if self.store.0.coordinator.is_none() {
            self.elect();
        } else {
            self.live();
        }
        self.tell(index, Event::Timeout);
    }

    /// Kills a node's daemon: its kernel stays, its TCP connections break, its lock on the store goes.
    pub(crate) fn kill(&mut self, index: usize) {
        self.nodes[index].core = None;
        self.nodes[index].life += 1;
        self.nodes[index].listening = false;
        self.nodes[index].bfd.clear();
        let (gone, kept): (Vec<Wire>, Vec<Wire>) =
            std::mem::take(&mut self.wires).into_iter().partition(|wire| wire.ends.iter().any(|(n, _)| *n == index));
        self.wires = kept;
        for (node, conn) in gone.iter().flat_map(|wire| wire.ends).filter(|(n, _)| *n != index) {
            self.mail(node, "tcp", Event::Peering(peering::Event::Closed { conn, error: Some("reset".to_owned()) }));
        }
        if self.store.0.coordinator == Some(index) {
            self.store.0.coordinator = None;
            self.elect();
        } else {
            self.live();
        }
    }

    fn elect(&mut self) {
        let Some(next) = self.nodes.iter().position(|node| node.core.is_some()) else { return };
        self.store.0.coordinator = Some(next);
        self.mail(next, "store", Event::Store(cluster::Event::Coordinator(true)));
        self.live();
    }

    fn live(&mut self) {
        let Some(coordinator) = self.store.0.coordinator else { return };
        let live: BTreeSet<NodeName> =
            self.nodes.iter().filter(|node| node.core.is_some()).map(|node| node.name.clone()).collect();
        self.mail(coordinator, "store", Event::Store(cluster::Event::Live(live)));
    }

    fn snapshot(&self) -> cluster::Snapshot {
        let store = &self.store.0;
        cluster::Snapshot {
            claims: store.claims.clone(),
            quarantined: BTreeSet::new(),
            phases: store.phases.clone(),
            digest: store.digest.clone(),
            wish: store.wish.clone(),
            revision: 1,
        }
    }

    /// The operator's `mode switch` on a node.
    pub(crate) fn switch(&mut self, index: usize, plane: Plane) {
        self.sent += 1;
        let number = self.sent;
        self.tell(index, Event::Operator(number, status::Operation::Switch(Some(plane))));
    }

    /// A changed file on a node.
    pub(crate) fn configure(&mut self, index: usize, change: impl Fn(&mut Config)) {
        change(&mut self.nodes[index].config);
        let config = Box::new(self.nodes[index].config.clone());
        self.tell(index, Event::Config { config, keys: BTreeMap::new() });
    }

    /// Somebody takes an object of a node's kernel away or alters it.
    pub(crate) fn tamper(&mut self, index: usize, key: Key, value: Option<Value>) {
        match &value {
            Some(value) => self.nodes[index].kernel.insert(key.clone(), value.clone()),
            None => self.nodes[index].kernel.remove(&key),
        };
        self.mail(index, "kernel", Event::Kernel(kernel::Event::Changed(key, value)));
    }

    /// Tells a node something out of turn.
    pub(crate) fn say(&mut self, index: usize, event: Event) {
        self.tell(index, event);
    }

    /// A node's kernel takes what it is told to write, but does not get to it.
    pub(crate) fn hold_writes(&mut self, index: usize, held: bool) {
        let node = &mut self.nodes[index];
        node.holds_writes = held;
        for writes in std::mem::take(&mut node.held_writes) {
            self.perform(index, Effect::Kernel(kernel::Command::Write(writes)));
        }
    }

    /// An interface without addresses of the fabric comes, goes (`up` is none), or changes; the nodes' interfaces of one
    /// name are on one link.
    pub(crate) fn uplink(&mut self, index: usize, device: &str, up: Option<bool>) {
        let device = Device::new(device).unwrap();
        let node = &mut self.nodes[index];
        node.links.retain(|link| link.device != device);
        if let Some(up) = up {
            self.sent += 1;
            let number = 10 + self.sent as u32;
            node.links.push(LinkInfo { up, ..link(device.as_str(), number, &[(link_local(index, &device), 64)]) });
        }
        let links = node.links.clone();
        self.mail(index, "kernel", Event::Kernel(kernel::Event::Links(links)));
    }

    /// A router on an interface of a node advertises itself, if anybody listens.
    pub(crate) fn advertise(&mut self, index: usize, device: &str, router: IpAddr) {
        let device = Device::new(device).unwrap();
        let IpAddr::V6(address) = router else { panic!("{router} advertises nothing") };
        if self.nodes[index].discovering.contains_key(&device) {
            self.mail(index, "tcp", Event::Peering(peering::Event::Neighbour { device, address }));
        }
    }

    /// The nodes advertise themselves on an interface, each to the next one.
    pub(crate) fn meet_on(&mut self, device: &str) {
        for index in 0..self.nodes.len() {
            let other = (index + 1) % self.nodes.len();
            self.advertise(index, device, link_local(other, &Device::new(device).unwrap()));
        }
    }

    fn mail(&mut self, to: usize, source: &'static str, event: Event) {
        let delay = Duration::from_micros(50 + self.dice.roll(3_000));
        let node = &mut self.nodes[to];
        let at = (self.now + delay).max(node.last.get(source).copied().unwrap_or_default());
        node.last.insert(source, at);
        self.sent += 1;
        self.mails.push(Mail { at, number: self.sent, to, life: node.life, event });
    }

    pub(crate) fn tell(&mut self, index: usize, event: Event) {
        self.tell_for(index, event);
    }

    /// Tells a node's daemon, does what it wants, and says what that was.
    pub(crate) fn tell_for(&mut self, index: usize, event: Event) -> Vec<Effect> {
        let now = self.now;
        let node = &mut self.nodes[index];
        let Some(core) = node.core.as_mut() else { return Vec::new() };
        let effects = match &mut node.recorder {
            // As the loop does it.
            None => {
                let mut effects = core.begin(now, event);
                effects.extend(core.finish(now));
                effects
            }
            Some(recorder) => {
                let (effects, written) = recorder.handle(core, now, event);
                written.unwrap();
                effects
            }
        };
        for effect in &effects {
            self.perform(index, effect.clone());
        }
        if self.nodes[index].ended.is_some() && self.nodes[index].core.is_some() {
            self.kill(index);
        }
        effects
    }

    fn perform(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Kernel(kernel::Command::ReadBack(_)) => {
                self.read_backs += 1;
                let ours = self.nodes[index].kernel.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                let links = self.nodes[index].links.clone();
                self.mail(index, "kernel", Event::Kernel(kernel::Event::ReadBack { ours, foreign: Vec::new(), links }));
            }
            Effect::Kernel(kernel::Command::Write(writes)) if self.nodes[index].holds_writes => {
                self.nodes[index].held_writes.push(writes);
            }
            Effect::Kernel(kernel::Command::Write(writes)) => {
                self.kernel_writes += writes.iter().filter(|write| !matches!(write.key(), Key::Sysctl(_))).count();
                let kernel = &mut self.nodes[index].kernel;
                let results = writes.into_iter().map(|write| (write.clone(), write_one(kernel, &write))).collect();
                self.mail(index, "kernel", Event::Kernel(kernel::Event::Wrote(results)));
            }
            Effect::Kernel(kernel::Command::Resolve(hops)) => {
                let answers = hops.into_iter().map(|hop| (hop, true)).collect();
                self.mail(index, "kernel", Event::Kernel(kernel::Event::Resolved(answers)));
            }
            Effect::Store(command) => self.perform_store(index, command),
            Effect::Peering(command) => self.perform_tcp(index, command),
            Effect::Bfd(peering::BfdCommand::Set { session, config }) => {
                self.nodes[index].bfd.insert(session, config);
            }
            Effect::Bfd(peering::BfdCommand::Remove(session)) => drop(self.nodes[index].bfd.remove(&session)),
            Effect::InstallPods { .. } => self.mail(index, "pods", Event::PodsInstalled(Ok(true))),
            Effect::Say(notice) => {
                let at = self.now.since_start().as_millis();
                self.log.push_back(format!("{at} {}: {}", self.nodes[index].name, notice.text));
                if self.log.len() > 200 {
                    self.log.pop_front();
                }
            }
            Effect::Answer(..) => {}
            Effect::Exit(why) => {
                assert!(self.nodes[index].misled, "{} ended: {why}", self.nodes[index].name);
                self.nodes[index].ended.get_or_insert(why);
            }
        }
    }

    fn perform_store(&mut self, index: usize, command: cluster::Command) {
        use cluster::{Command, Event as Told, Outcome};
        let store = &mut self.store.0;
        let mut news = Vec::new();
        let outcome = match &command {
            Command::Create(claim) => match store.claims.get(&claim.pod_cidr) {
                Some(held) if held.node != claim.node => Outcome::Taken,
                _ => {
                    store.claims.insert(claim.pod_cidr, claim.clone());
                    news.push(Told::Claim(claim.pod_cidr, Some(claim.clone())));
                    Outcome::Done
                }
            },
            Command::Update(claim) => {
                store.claims.insert(claim.pod_cidr, claim.clone());
                news.push(Told::Claim(claim.pod_cidr, Some(claim.clone())));
                Outcome::Done
            }
            Command::Release(cidr) => {
                store.claims.remove(cidr);
                news.push(Told::Claim(*cidr, None));
                Outcome::Done
            }
            Command::Phase(phase) => {
                self.phase_writes += 1;
                store.phases.insert(phase.node.clone(), phase.clone());
                news.push(Told::Phase(phase.node.clone(), Some(phase.clone())));
                Outcome::Done
            }
            Command::Digest(digest) => {
                if store.coordinator == Some(index) {
                    self.digest_writes += 1;
                    assert!(
                        store.digest.as_ref().is_none_or(|old| old.sequence < digest.sequence),
                        "digests go forward"
                    );
                    store.digest = Some(digest.clone());
                    news.push(Told::Digest(Some(digest.clone())));
                }
                Outcome::Done
            }
            Command::Wish(wish) => {
                store.wish = wish.clone();
                news.push(Told::Wish(wish.clone()));
                Outcome::Done
            }
        };
        for told in news {
            for to in 0..self.nodes.len() {
                self.mail(to, "store", Event::Store(told.clone()));
            }
        }
        self.mail(index, "store", Event::Store(Told::Done(command, Ok(outcome))));
    }

    fn perform_tcp(&mut self, index: usize, command: peering::Command) {
        use peering::{Command, Event as Told};
        match command {
            Command::Listen(_) => {
                self.nodes[index].listening = true;
                self.mail(index, "tcp", Event::Peering(Told::Listening));
            }
            Command::StopListening => self.nodes[index].listening = false,
            // On this network all are neighbours.
            Command::Travel(_) => {}
            Command::Dial { conn, remote, transport, .. } => {
                let behind = transport.device.clone();
                let to = match &behind {
                    None => self.nodes.iter().position(|node| node.config.node.addresses.contains(&remote.ip())),
                    Some(device) => self.nodes.iter().position(|node| node.holds(device, remote.ip())),
                };
                let Some(to) = to.filter(|to| self.nodes[*to].listening) else {
                    let error = "connection refused".to_owned();
                    self.mail(index, "tcp", Event::Peering(Told::DialFailed { conn, error }));
                    return;
                };
                self.accepted += 1;
                let theirs = self.accepted;
                self.wires.push(Wire { ends: [(index, conn), (to, theirs)] });
                let own = behind.as_ref().map_or(address(index), |device| link_local(index, device));
                let local = SocketAddr::new(own, 40_000);
                self.mail(index, "tcp", Event::Peering(Told::Dialed { conn, local }));
                let accepted = Told::Accepted { conn: theirs, local: remote, remote: local, device: behind };
                self.mail(to, "tcp", Event::Peering(accepted));
            }
            Command::Discover(devices) => self.nodes[index].discovering = devices,
            Command::Send { conn, bytes } => {
                if let Some((to, theirs)) = self.other_end(index, conn) {
                    self.mail(to, "tcp", Event::Peering(Told::Bytes { conn: theirs, bytes }));
                    self.mail(index, "tcp", Event::Peering(Told::Drained(conn)));
                }
            }
            Command::Close { conn, .. } => {
                if let Some((to, theirs)) = self.other_end(index, conn) {
                    self.wires.retain(|wire| !wire.ends.contains(&(index, conn)));
                    self.mail(to, "tcp", Event::Peering(Told::Closed { conn: theirs, error: None }));
                }
            }
        }
    }

    fn other_end(&self, index: usize, conn: u64) -> Option<(usize, u64)> {
        let wire = self.wires.iter().find(|wire| wire.ends.contains(&(index, conn)))?;
        wire.ends.into_iter().find(|end| *end != (index, conn))
    }

    /// Goes on until `done`, checking after every event that no packet would be lost.
    pub(crate) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&World) -> bool) {
        let end = self.now + limit;
        let mut steps = 0_u64;
        while !done(self) {
            steps += 1;
            assert!(steps < 1_000_000, "no end after {steps} events:\n{}", self.tail());
            assert!(self.step(end), "not done after {limit:?}:\n{}", self.tail());
        }
    }

    /// Lets time pass, checking.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0_u64;
        while self.step(end) {
            steps += 1;
            assert!(steps < 1_000_000, "no end after {steps} events:\n{}", self.tail());
        }
        self.now = end;
    }

    /// The next event, if it is due by `end`.
    fn step(&mut self, end: Moment) -> bool {
        let mail = self.mails.iter().enumerate().min_by_key(|(_, mail)| (mail.at, mail.number)).map(|(i, m)| (m.at, i));
        let timer = self
            .nodes
            .iter()
            .enumerate()
            .filter_map(|(i, node)| Some((node.core.as_ref()?.poll_timeout()?.max(self.now), i)))
            .min();
        let (at, is_mail, which) = match (mail, timer) {
            (Some((m, i)), Some((t, _))) if m <= t => (m, true, i),
            (Some((m, i)), None) => (m, true, i),
            (_, Some((t, n))) => (t, false, n),
            (None, None) => return false,
        };
        if at > end {
            return false;
        }
        self.now = self.now.max(at);
        if is_mail {
            let mail = self.mails.swap_remove(which);
            if mail.life == self.nodes[mail.to].life {
                self.tell(mail.to, mail.event);
            }
        } else {
            self.tell(which, Event::Timeout);
        }
        self.check();
        true
    }

    /// Whatever a kernel would do with a packet to another node's pods now, it would arrive.
    pub(crate) fn check(&self) {
        for sender in self.nodes.iter().filter(|node| !node.abandoned) {
            for (key, value) in &sender.kernel {
                let (Key::Route(prefix), Value::Route { via: Via::Hops(hops), .. }) = (key, value) else { continue };
                let Some(claim) = self.store.0.claims.get(&PodCidr(*prefix)) else { continue };
                let Some(receiver) = self.nodes.iter().find(|node| node.name == claim.node) else { continue };
                let hop = &hops[0];
                assert!(
                    sender.kernel.contains_key(&Key::Nexthop(hop.clone())),
                    "{}: {prefix} without nexthop",
                    sender.name
                );
                let own = receiver.kernel.contains_key(&Key::Route(*prefix));
                assert!(
                    own,
                    "{} sends {prefix} to {}, which does not hold it\n{}",
                    sender.name,
                    receiver.name,
                    self.tail()
                );
                if hop.device.as_str() == Owner::VXLAN_DEVICE {
                    let mac = claim.reach.vtep.mac;
                    let fdb = sender.kernel.get(&Key::Fdb(hop.device.clone(), mac));
                    assert_eq!(fdb, Some(&Value::Fdb(claim.reach.vtep.underlay)), "{}: no FDB entry", sender.name);
                    let gateway = hop.gateway.unwrap();
                    assert!(sender.kernel.contains_key(&Key::Neighbour(hop.device.clone(), gateway)), "no neighbour");
                    let link = Key::Link(Device::new(Owner::VXLAN_DEVICE).unwrap());
                    assert!(
                        receiver.kernel.contains_key(&link),
                        "{} sends to the overlay of {}, which has no link\n{}",
                        sender.name,
                        receiver.name,
                        self.tail()
                    );
                    let from = sender.config.node.addresses[0];
                    let let_in = receiver.kernel.contains_key(&Key::Vtep(from));
                    assert!(
                        let_in || !receiver.kernel.contains_key(&Key::VtepFilter),
                        "{} sends to the overlay of {}, which drops frames of {from}\n{}",
                        sender.name,
                        receiver.name,
                        self.tail()
                    );
                } else {
                    let gateway = hop.gateway.unwrap();
                    match gateway {
                        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                            assert!(receiver.holds(&hop.device, gateway), "{hop} is not {}", receiver.name);
                        }
                        _ => {
                            let of_family = usize::from(prefix.address().is_ipv6());
                            assert_eq!(gateway, receiver.config.node.addresses[of_family]);
                        }
                    }
                    let forward = Key::Sysctl("net/ipv4/ip_forward".into());
                    assert!(receiver.kernel.contains_key(&forward), "{} does not forward", receiver.name);
                }
            }
        }
    }

    /// Does `sender` reach every pod CIDR of every other node, over `plane`?
    pub(crate) fn all_on(&self, plane: Plane) -> bool {
        self.nodes.iter().all(|sender| {
            self.store.0.claims.values().filter(|claim| claim.node != sender.name).all(|claim| {
                let Some(Value::Route { via: Via::Hops(hops), .. }) = sender.kernel.get(&Key::Route(claim.pod_cidr.0))
                else {
                    return false;
                };
                (hops[0].device.as_str() == Owner::VXLAN_DEVICE) == (plane == Plane::Overlay)
            })
        })
    }

    /// Are all nodes steady on `plane`, with everything carried by it, and nothing left of the other plane?
    pub(crate) fn settled_on(&self, plane: Plane) -> bool {
        let claims = self.store.0.claims.len() == 2 * self.nodes.len();
        claims
            && self.all_on(plane)
            && self.nodes.iter().all(|node| {
                let steady = self.store.0.phases.get(&node.name).is_some_and(|phase| {
                    phase.state == model::StateName::Steady && phase.wish == plane && phase.settled
                });
                let left = node.kernel.keys().any(|key| match (key, plane.other()) {
                    (Key::Link(_) | Key::Fdb(..) | Key::Neighbour(..), Plane::Overlay) => true,
                    (Key::VtepTable | Key::Vtep(_) | Key::VtepFilter, Plane::Overlay) => true,
                    (Key::Nexthop(hop), other) => {
                        (hop.device.as_str() == Owner::VXLAN_DEVICE) == (other == Plane::Overlay)
                    }
                    _ => false,
                });
                steady && !left
            })
    }

    /// Routes of every kernel, to see that none is taken away.
    pub(crate) fn routes(&self) -> Vec<(NodeName, Key)> {
        let routes = |node: &SimNode| {
            let name = node.name.clone();
            let keys: Vec<Key> = node.kernel.keys().filter(|key| matches!(key, Key::Route(_))).cloned().collect();
            keys.into_iter().map(move |key| (name.clone(), key))
        };
        self.nodes.iter().flat_map(routes).collect()
    }

    pub(crate) fn tail(&self) -> String {
        let phases: Vec<String> = self.store.0.phases.values().map(|phase| format!("{phase:?}")).collect();
        let log: Vec<&str> = self.log.iter().map(String::as_str).collect();
        format!("{}\n{}\ndigest {:?}", log.join("\n"), phases.join("\n"), self.store.0.digest)
    }
}

impl SimNode {
    /// Is the address one of the node's on this interface?
    fn holds(&self, device: &Device, address: IpAddr) -> bool {
        let mut on = self.links.iter().filter(|link| link.device == *device);
        on.any(|link| link.addresses.iter().any(|(own, _)| *own == address))
    }

    /// By which interfaces packets leave, for each route that leads out.
    pub(crate) fn ways(&self) -> Vec<Vec<String>> {
        let out = self.kernel.iter().filter_map(|(key, value)| match (key, value) {
            (Key::Route(_), Value::Route { via: Via::Hops(hops), .. }) => Some(hops),
            _ => None,
        });
        out.map(|hops| hops.iter().map(|hop| hop.device.to_string()).collect()).collect()
    }
}

/// The address of a node on an interface.
pub(crate) fn link_local(index: usize, device: &Device) -> IpAddr {
    let place = device.as_str().bytes().last().unwrap_or_default();
    format!("fe80::{place:x}:{}", index + 1).parse().unwrap()
}

fn address(index: usize) -> IpAddr {
    format!("10.0.0.{}", index + 1).parse().unwrap()
}

fn link(device: &str, index: u32, addresses: &[(IpAddr, u8)]) -> LinkInfo {
    LinkInfo {
        device: Device::new(device).unwrap(),
        index,
        up: true,
        mtu: 1500,
        kind: String::new(),
        addresses: addresses.to_vec(),
    }
}
