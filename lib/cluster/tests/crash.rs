//! Real processes on one directory, killed with SIGKILL at any instant, again and again: no pod CIDR is ever shared or
//! used before its quarantine is over, none is lost, every file is whole, and coordination goes over.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cluster::{Command, Event, Outcome};
use rustix::fs::{FlockOperation, flock};
use support::{DEADLINE, Told, file_of, phase, pool};

const CHILD: &str = "BIPLANE_TEST_CRASH_CHILD";
const NODES: usize = 6;
const QUARANTINE: Duration = Duration::from_millis(300);

/// Eight slots for six nodes: quarantine makes them scarce.
const POOL: (&str, u8) = ("10.244.0.0/24", 27);

fn start(dir: &Path, nth: usize, seed: u64) -> Child {
    let mut process = Process::new(std::env::current_exe().unwrap());
    process.args(["--exact", "killed_at_any_instant", "--nocapture"]);
    process.env(CHILD, format!("{}:{nth}:{seed}", dir.display()));
    process.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// xorshift: good enough to die at different places.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Takes and frees slots until it is killed, and bears witness of what it holds: the witness's lock goes with the
/// process, what is written in it stays.
fn child(dir: &Path, nth: usize, seed: u64) {
    let mut chance = Chance(seed | 1);
    let name = format!("n{nth}");
    let store = Told::start_with(&dir.join("store"), &name, QUARANTINE);
    let mut serial = 0;
    loop {
        let slot = store.acquire(&pool(POOL.0, POOL.1));
        let path = dir.join("witness").join(file_of(&slot.to_string()));
        let witness = fs::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).unwrap();
        let accuse = |what: String| fs::write(dir.join(format!("crime-{name}-{}", millis())), what).unwrap();
        if flock(&witness, FlockOperation::NonBlockingLockExclusive).is_err() {
            accuse(format!("{slot} is held by two live processes"));
        }
        let said = fs::read_to_string(&path).unwrap();
        let mut said = said.split(' ');
        match (said.next().unwrap_or(""), said.next(), said.next()) {
            ("held", Some(by), _) if by != name => accuse(format!("{slot} of {by} was given to {name}")),
            ("freed", Some(by), Some(at)) => {
                let since = millis().saturating_sub(at.parse().unwrap());
                if by != name && since + 20 < QUARANTINE.as_millis() as u64 {
                    accuse(format!("{slot} was given to {name} {since} ms after {by} began to free it"));
                }
            }
            _ => {}
        }
        fs::write(&path, format!("held {name}")).unwrap();
        serial += 1;
        store.send(Command::Phase(phase(&name, serial)));
        std::thread::sleep(Duration::from_millis(chance.below(12)));
        if dir.join("settle").exists() {
            fs::write(dir.join(format!("settled-{nth}")), "").unwrap();
            loop {
                std::thread::park();
            }
        }
        if chance.below(3) > 0 {
            fs::write(&path, format!("freed {name} {}", millis())).unwrap();
            drop(witness);
            assert_eq!(store.ask(Command::Release(slot)), Ok(Outcome::Done));
        }
    }
}

#[test]
fn killed_at_any_instant() {
    if let Ok(child_of) = std::env::var(CHILD) {
        let mut parts = child_of.split(':');
        let dir = PathBuf::from(parts.next().unwrap());
        child(&dir, parts.next().unwrap().parse().unwrap(), parts.next().unwrap().parse().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("witness")).unwrap();
    let seed = millis();
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let mut kills = 0;
    let mut children: Vec<Child> = (0..NODES).map(|nth| start(dir.path(), nth, chance.below(1 << 40))).collect();
    let end = Instant::now() + Duration::from_secs(8);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5 + chance.below(40)));
        let nth = chance.below(NODES as u64) as usize;
        // Not before it has begun, or nothing but starts would be tried.
        if !dir.path().join("store/live").join(format!("n{nth}.lock")).exists() {
            continue;
        }
        assert!(
            children[nth].try_wait().unwrap().is_none(),
            "n{nth} ended by itself: {}",
            complaint(&mut children[nth])
        );
        children[nth].kill().unwrap();
        children[nth].wait().unwrap();
        children[nth] = start(dir.path(), nth, chance.below(1 << 40));
        kills += 1;
    }
    fs::write(dir.path().join("settle"), "").unwrap();
    let deadline = Instant::now() + DEADLINE;
    while (0..NODES).any(|nth| !dir.path().join(format!("settled-{nth}")).exists()) {
        for (nth, child) in children.iter_mut().enumerate() {
            assert!(child.try_wait().unwrap().is_none(), "n{nth} ended by itself: {}", complaint(child));
        }
        assert!(Instant::now() < deadline, "somebody gets no slot: {:?}", names(&dir.path().join("store/claims")));
        std::thread::sleep(Duration::from_millis(20));
    }
    let onlooker = Told::start_with(&dir.path().join("store"), "onlooker", QUARANTINE);
    onlooker.wait_state("the end of every quarantine", |state| state.quarantined.is_empty());
    let state = onlooker.state();
    println!("{kills} kills; claims in the end: {}", state.claims.len());
    let holders: BTreeMap<_, usize> = state.claims.values().fold(BTreeMap::new(), |mut holders, claim| {
        *holders.entry(claim.node.clone()).or_default() += 1;
        holders
    });
    assert!(holders.len() == NODES && holders.values().all(|slots| *slots == 1), "{holders:?}");
    assert_eq!(state.phases.len(), NODES);
    let bad: Vec<_> = onlooker.ear.all().into_iter().filter(|e| matches!(e, Event::Warn(_) | Event::Down(_))).collect();
    assert!(bad.is_empty(), "{bad:?}");
    let crimes: Vec<String> = names(dir.path()).into_iter().filter(|name| name.starts_with("crime")).collect();
    let crimes: Vec<String> = crimes.iter().map(|name| fs::read_to_string(dir.path().join(name)).unwrap()).collect();
    assert!(crimes.is_empty(), "{crimes:#?}");
    assert!(kills > 40, "only {kills} kills");

    let left = names(&dir.path().join("store/tmp"));
    assert!(left.is_empty(), "left behind by the dead: {left:?}");

    // The coordinator dies, without a word.
    let text = fs::read_to_string(dir.path().join("store/coordinator.lock")).unwrap();
    let nth: usize = text.trim().rsplit('n').next().unwrap().parse().expect("the coordinator is one of the children");
    let died = Instant::now();
    children[nth].kill().unwrap();
    let after = loop {
        let text = fs::read_to_string(dir.path().join("store/coordinator.lock")).unwrap();
        if !text.trim().is_empty() && !text.trim().ends_with(&format!("node n{nth}")) {
            break died.elapsed();
        }
        assert!(died.elapsed() < DEADLINE, "nobody took over from {text}");
        std::thread::sleep(Duration::from_millis(5));
    };
    println!("coordination went over {after:?} after kill -9");
    for child in &mut children {
        let _ = child.kill();
        let _ = child.wait();
    }
    let live: BTreeSet<_> = BTreeSet::from(["onlooker".parse().unwrap()]);
    onlooker.wait("that nobody else lives", |event| *event == Event::Live(live.clone()));
    assert_eq!(onlooker.state().claims.len(), NODES, "the dead keep their claims");
}

fn complaint(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(stderr) = &mut child.stderr {
        let _ = std::io::Read::read_to_string(stderr, &mut text);
    }
    text
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
