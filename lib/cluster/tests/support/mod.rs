//! A store and everything it has said, with deadlines.
#![allow(dead_code, unreachable_pub, reason = "each test file uses what it needs")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use alloc::{Choice, Claim, Taken};
use cluster::{Command, Event, Outcome, Snapshot, Store};
use model::config::StoreConfig;
use model::node::BgpReach;
use model::{
    Asn, ClusterPool, MacAddr, NodeName, NodePhase, Plane, PlaneSet, PodCidr, Reach, StateName, Uid, Vtep, Wish,
};

/// Generous: a loaded machine must not fail a test, only a wrong store.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A running store with its ear.
pub struct Told {
    pub node: NodeName,
    pub store: Option<Store>,
    pub ear: Arc<Ear>,
}

#[derive(Default)]
pub struct Ear {
    events: Mutex<Vec<Event>>,
    more: Condvar,
}

impl Ear {
    pub fn hear(&self, event: Event) {
        self.events.lock().unwrap().push(event);
        self.more.notify_all();
    }

    pub fn all(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Waits until what was heard from `since` on satisfies `found`.
    pub fn wait<T>(&self, what: &str, since: usize, mut found: impl FnMut(&[Event]) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut events = self.events.lock().unwrap();
        loop {
            if let Some(value) = found(&events[since..]) {
                return value;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}; heard since: {:#?}", &events[since..]);
            events = self.more.wait_timeout(events, left).unwrap().0;
        }
    }
}

impl Told {
    pub fn start(path: &Path, node: &str) -> Told {
        Told::start_with(path, node, Duration::from_secs(3600))
    }

    pub fn start_with(path: &Path, node: &str, quarantine: Duration) -> Told {
        let told = Told::spawn(path, node, quarantine);
        told.wait("the list", |event| matches!(event, Event::Listed(_)));
        told
    }

    /// Without waiting for anything.
    pub fn spawn(path: &Path, node: &str, quarantine: Duration) -> Told {
        let ear = Arc::new(Ear::default());
        let to = ear.clone();
        let config = StoreConfig::Files { path: path.to_owned(), quarantine };
        let node: NodeName = node.parse().unwrap();
        let uid = Uid(format!("uid-{node}").into());
        let store = cluster::spawn(&config, node.clone(), uid, move |event| to.hear(event)).unwrap();
        Told { node, store: Some(store), ear }
    }

    pub fn mark(&self) -> usize {
        self.ear.all().len()
    }

    pub fn send(&self, command: Command) {
        self.store.as_ref().unwrap().send(command);
    }

    /// Sends and waits for the answer.
    pub fn ask(&self, command: Command) -> Result<Outcome, String> {
        let mark = self.mark();
        self.send(command.clone());
        self.answer(mark, &command)
    }

    pub fn answer(&self, since: usize, command: &Command) -> Result<Outcome, String> {
        self.ear.wait(&format!("the answer to {command:?}"), since, |events| {
            events.iter().find_map(|event| match event {
                Event::Done(done, answer) if done == command => Some(answer.clone()),
                _ => None,
            })
        })
    }

    pub fn wait(&self, what: &str, found: impl Fn(&Event) -> bool) -> Event {
        self.wait_since(0, what, found)
    }

    pub fn wait_since(&self, since: usize, what: &str, found: impl Fn(&Event) -> bool) -> Event {
        self.ear.wait(what, since, |events| events.iter().find(|event| found(event)).cloned())
    }

    /// What a caller knows that does as it is told.
    pub fn state(&self) -> Snapshot {
        replay(&self.ear.all())
    }

    pub fn wait_state(&self, what: &str, found: impl Fn(&Snapshot) -> bool) {
        self.ear.wait(what, 0, |events| found(&replay(events)).then_some(()));
    }

    pub fn claim(&self, cidr: &str) -> Claim {
        claim(cidr, self.node.as_str())
    }

    pub fn stop(&mut self) {
        self.store = None;
    }

    /// Takes a slot as the daemon does: choose from what was told, try, and again.
    pub fn acquire(&self, pool: &ClusterPool) -> PodCidr {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            match alloc::choose(pool, &taken(&self.state()), &self.node) {
                Choice::Keep(cidr) => return cidr,
                Choice::Try(cidr) => {
                    if self.ask(Command::Create(self.claim(&cidr.to_string()))).unwrap() == Outcome::Done {
                        return cidr;
                    }
                    let state = taken(&self.state());
                    assert!(state.contains_key(&cidr), "answered `taken` before telling by what: {cidr}");
                }
                Choice::Full { .. } => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        panic!("{} got no slot of {pool} in time", self.node);
    }
}

pub fn taken(state: &Snapshot) -> BTreeMap<PodCidr, Taken> {
    let quarantined = state.quarantined.iter().map(|cidr| (*cidr, Taken::Quarantined));
    let claims = state.claims.iter().map(|(cidr, claim)| (*cidr, Taken::Claimed(claim.node.clone())));
    quarantined.chain(claims).collect()
}

/// Follows the events, and holds them to their promises on the way.
pub fn replay(events: &[Event]) -> Snapshot {
    let mut state = Snapshot::default();
    let (mut listed, mut down, mut coordinates) = (false, false, false);
    for event in events {
        match event {
            Event::Listed(snapshot) => (state, listed) = (snapshot.clone(), true),
            Event::Down(_) => down = true,
            Event::Up => {
                assert!(std::mem::replace(&mut down, false), "up without down");
            }
            Event::Warn(_) | Event::Fatal(_) => {}
            _ => assert!(listed, "{event:?} before the list"),
        }
        match event {
            Event::Claim(cidr, claim) => {
                assert_ne!(state.claims.get(cidr), claim.as_ref(), "told twice: {event:?}");
                match claim {
                    Some(claim) => drop(state.claims.insert(*cidr, claim.clone())),
                    None => drop(state.claims.remove(cidr)),
                }
            }
            Event::Quarantined(cidr, inside) => {
                assert_ne!(state.quarantined.contains(cidr), *inside, "told twice: {event:?}");
                if *inside {
                    state.quarantined.insert(*cidr)
                } else {
                    state.quarantined.remove(cidr)
                };
            }
            Event::Phase(node, phase) => {
                assert_ne!(state.phases.get(node), phase.as_ref(), "told twice: {event:?}");
                match phase {
                    Some(phase) => drop(state.phases.insert(node.clone(), phase.clone())),
                    None => drop(state.phases.remove(node)),
                }
            }
            Event::Digest(digest) => {
                assert_ne!(state.digest, *digest, "told twice: {event:?}");
                state.digest = digest.clone();
            }
            Event::Wish(wish) => {
                assert_ne!(state.wish, *wish, "told twice: {event:?}");
                state.wish = wish.clone();
            }
            Event::Coordinator(on) => {
                assert_ne!(std::mem::replace(&mut coordinates, *on), *on, "told twice: {event:?}");
            }
            Event::Live(_) => assert!(coordinates, "who lives is for the coordinator"),
            _ => {}
        }
    }
    state
}

pub fn claim(cidr: &str, node: &str) -> Claim {
    let underlay = "192.0.2.1".parse().unwrap();
    Claim {
        pod_cidr: cidr.parse().unwrap(),
        node: node.parse().unwrap(),
        uid: Uid(format!("uid-{node}").into()),
        reach: Reach {
            underlay: vec![underlay],
            vtep: Vtep { underlay, mac: MacAddr([2, 0, 0, 0, 0, 1]), gateway: "fe80::1".parse().unwrap() },
            bgp: BgpReach { asn: Asn(64512), port: 179, mesh: true, reflection: None },
            planes: PlaneSet::BOTH,
        },
    }
}

pub fn phase(node: &str, serial: u64) -> NodePhase {
    NodePhase {
        node: node.parse().unwrap(),
        uid: Uid(format!("uid-{node}").into()),
        wish: Plane::Overlay,
        state: StateName::Steady,
        stands: PlaneSet::only(Plane::Overlay),
        sends: PlaneSet::only(Plane::Overlay),
        waiting: None,
        serial,
        settled: false,
        config_beats: 0,
        topology: None,
        version: "test".to_owned(),
    }
}

pub fn wish(generation: u64, by: &str) -> Wish {
    Wish { plane: Plane::Native, generation, by: by.parse().unwrap() }
}

pub fn pool(cidr: &str, node_len: u8) -> ClusterPool {
    ClusterPool::new(cidr.parse().unwrap(), node_len).unwrap()
}

pub fn file_of(cidr: &str) -> String {
    cidr.replace('/', "_")
}
