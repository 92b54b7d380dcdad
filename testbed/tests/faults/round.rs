//! One switch in which daemons are killed.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::time::{Duration, Instant};

use model::Plane;
use rustix::process::Signal;
use testbed::lab::process::Process;

use crate::bench::Bench;

/// The states between two steady ones, as the log names them.
pub(crate) const PHASES: [&str; 4] = ["raising", "flipping", "lingering", "lowering"];

/// A phase that does not come is over already, or the switch hangs, which is found out later.
const COMES: Duration = Duration::from_secs(15);
/// A switch of the demo takes 2 to 3 s.
const SWITCH: Duration = Duration::from_millis(3500);

/// When the kill comes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// In this phase of the victim.
    In(&'static str),
    /// At any moment of the switch.
    AnyTime,
}

/// A switch with its kills.
#[derive(Debug)]
pub(crate) struct Round {
    number: usize,
    from: Plane,
    when: When,
    victims: Vec<String>,
    /// After the ask, or after the phase was entered.
    delay: Duration,
    /// From the kill to the new start.
    rest: Duration,
    /// The new life ends by a kill too, after this.
    again: Option<Duration>,
    /// The operator changes her mind, this long after the last start.
    back: Option<Duration>,
}

/// A phase of a switch away from `from`.
pub(crate) fn way(phase: &str, from: Plane) -> String {
    format!("{phase} {}→{}", from.mode(), from.other().mode())
}

impl Round {
    /// A round by chance: whom, when, how long; every second time the coordinator, every fifth time all at once. `misses`
    /// is how often the kill came too late for the phase: some last a few milliseconds only.
    pub(crate) fn choose(
        bench: &Bench,
        chance: &mut Chance,
        number: usize,
        from: Plane,
        when: When,
        misses: u32,
    ) -> Round {
        let nodes = bench.nodes();
        let victims = match number {
            n if n % 5 == 4 => nodes,
            n if n % 2 == 1 => coordinator(bench).map_or_else(|| vec![chance.pick(&nodes).clone()], |node| vec![node]),
            _ => vec![chance.pick(&nodes).clone()],
        };
        let longest = match when {
            When::AnyTime => SWITCH,
            When::In("lingering") => Duration::from_millis(2000),
            When::In(_) => Duration::from_millis(8) / 2_u32.pow(misses.min(6)),
        };
        let mut some =
            |one_in: usize, longest| (number % one_in == one_in - 1).then(|| chance.duration(Duration::ZERO..longest));
        let (again, back) = (some(4, Duration::from_millis(400)), some(7, Duration::from_millis(1500)));
        Round {
            number,
            from,
            when,
            victims,
            delay: chance.duration(Duration::ZERO..longest),
            rest: chance.duration(Duration::ZERO..Duration::from_millis(1500)),
            again,
            back,
        }
    }

    /// Where it ends.
    pub(crate) fn target(&self) -> Plane {
        if self.back.is_some() { self.from } else { self.from.other() }
    }

    pub(crate) fn words(&self) -> String {
        let to = self.from.other();
        let when = match self.when {
            When::In(phase) => format!("{:.1} ms into {phase}", self.delay.as_secs_f64() * 1000.0),
            When::AnyTime => format!("{:.3} s after the ask", self.delay.as_secs_f64()),
        };
        let after = |what: &str, time: Option<Duration>| {
            time.map(|time| format!(", {what} after {} ms", time.as_millis())).unwrap_or_default()
        };
        format!(
            "round {}, {}→{}: kill -9 of {} {when}, started again after {} ms{}{}",
            self.number,
            self.from.mode(),
            to.mode(),
            self.victims.join(", "),
            self.rest.as_millis(),
            after("killed again", self.again),
            after("wished back", self.back)
        )
    }

    /// Asks for the switch, kills, starts again. Gives the phases in which the victims died.
    pub(crate) fn play(&self, bench: &Bench, chance: &mut Chance) -> Vec<String> {
        let daemons: Vec<Process> = self.victims.iter().map(|node| bench.running(node)).collect();
        let mut log = File::open(bench.log(&self.victims[0])).unwrap();
        log.seek(SeekFrom::End(0)).unwrap();
        let asked = chance.pick::<String>(&bench.nodes()).clone();
        let (answered, _) = std::thread::scope(|scope| {
            // Some phases are over before the asking command has ended.
            let words = ["mode", "switch", self.from.other().mode()];
            let asking = scope.spawn({
                let asked = &asked;
                move || bench.biplane(asked, &words)
            });
            if let When::In(phase) = self.when {
                await_words(&mut log, &format!("→ {}", way(phase, self.from)));
            }
            std::thread::sleep(self.delay);
            for daemon in &daemons {
                bench.signal(*daemon, Signal::KILL);
            }
            asking.join().unwrap()
        });
        for daemon in &daemons {
            bench.end_of(*daemon);
        }
        let phases: Vec<String> = self.victims.iter().map(|node| last_state(bench, node)).collect();
        println!("{}: it was {}", self.words(), phases.join(", "));
        std::thread::sleep(self.rest);
        for node in &self.victims {
            bench.start(node);
        }
        if answered != 0 {
            // It was killed before it could answer; whether it took the wish is not known.
            bench.ask(&asked, self.from.other());
        }
        if let Some(life) = self.again {
            std::thread::sleep(life);
            for node in &self.victims {
                bench.end(bench.running(node), Signal::KILL);
                bench.start(node);
            }
        }
        if let Some(wait) = self.back {
            std::thread::sleep(wait);
            bench.ask(chance.pick::<String>(&bench.nodes()), self.from);
        }
        phases
    }
}

/// Reads on until the log says `words`, or it takes too long.
fn await_words(log: &mut File, words: &str) {
    let deadline = Instant::now() + COMES;
    let mut text = Vec::new();
    while Instant::now() < deadline {
        if log.read_to_end(&mut text).unwrap() == 0 {
            std::thread::sleep(Duration::from_micros(100));
        } else if String::from_utf8_lossy(&text).contains(words) {
            return;
        }
    }
}

/// The state that the daemon's log names last: the one it died in.
fn last_state(bench: &Bench, node: &str) -> String {
    let text = fs::read_to_string(bench.log(node)).unwrap();
    let transitions = text.lines().rev().filter_map(|line| line.split_once(" → ")?.1.split_once(": "));
    transitions.map(|(state, _)| state.to_string()).next().unwrap_or_else(|| "without any transition".into())
}

fn coordinator(bench: &Bench) -> Option<String> {
    bench.nodes().into_iter().find(|node| {
        let (_, said) = bench.biplane(node, &["status", "-o", "json"]);
        serde_json::from_str::<serde_json::Value>(&said).is_ok_and(|json| json["store"]["coordinator"] == true)
    })
}

/// Numbers by chance, the same for the same seed.
pub(crate) struct Chance(model::Chance);

impl Chance {
    pub(crate) fn of(seed: u64) -> Chance {
        Chance(model::Chance::new(seed))
    }

    pub(crate) fn duration(&mut self, range: Range<Duration>) -> Duration {
        let span = u64::try_from((range.end - range.start).as_micros()).unwrap();
        range.start + Duration::from_micros(self.0.draw() % span.max(1))
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.0.draw() as usize % from.len()]
    }
}
