//! `biplane lab demo`: a cluster moves from VXLAN to BGP and back while every packet is counted.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use model::Plane;
use probe::flow::Rates;
use probe::tally::{Tally, Totals};

use crate::cli::table;
use crate::cluster::{Cluster, Stand};
use crate::lab::deploy::Options;
use crate::lab::{Interrupt, Lab};
use crate::probes::Probes;
use crate::report::{REPORT, Report, Switch};
use crate::{places, pods};

/// Daemons that have not come up, or pods that do not reach each other, by then never will.
const READY: Duration = Duration::from_secs(90);
/// One switch, all of its states with the linger time.
const SWITCH: Duration = Duration::from_secs(120);
/// Probing before the first switch, between two, and after the last.
const CALM: Duration = Duration::from_secs(2);
/// Between two looks at the cluster.
const GLANCE: Duration = Duration::from_millis(500);

/// How the demo runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What every place sends to every other one.
    pub rates: Rates,
    /// Planes to switch to, one after the other.
    pub switches: Vec<Plane>,
    /// Leave the lab behind.
    pub keep: bool,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan { rates: Rates::default(), switches: vec![Plane::Native, Plane::Overlay], keep: false }
    }
}

/// Deploys, probes, switches, proves, destroys. True if nothing was lost or doubled and nothing is left of a plane that
/// went.
pub fn run(lab: &Lab, plan: &Plan, interrupt: &Interrupt) -> Result<bool> {
    let screen = Screen::new();
    screen.step(&format!("deploying lab {} ({})", lab.name(), lab.topology.file.display()));
    lab.destroy()?;
    let outcome = play(lab, plan, interrupt, &screen);
    if let Err(error) = &outcome {
        // The logs go with the lab: what they end with is told before.
        screen.step(&format!("failed: {error:#}"));
        for node in Cluster::of(lab).nodes() {
            if let Ok(log) = lab.shell(node, "tail -n 15 /var/log/biplaned.log 2>/dev/null") {
                screen.step(&format!("{node}, end of its daemon's log:\n{}", log.trim_end()));
            }
        }
    }
    if plan.keep {
        screen.step(&format!(
            "the lab stays: `biplane lab exec -t {0} …`, `biplane lab destroy -t {0}`",
            lab.topology.file.display()
        ));
    } else {
        pods::stop(lab).iter().for_each(|complaint| screen.step(complaint));
        lab.destroy()?;
        screen.step(&format!("lab {} is gone", lab.name()));
    }
    let proof = outcome?;
    // The last line of the demo is the proof.
    screen.step(&proof.line);
    Ok(proof.good)
}

struct Proof {
    good: bool,
    line: String,
}

fn play(lab: &Lab, plan: &Plan, interrupt: &Interrupt, screen: &Screen) -> Result<Proof> {
    lab.deploy(Options { strict: true }, interrupt, &|line| screen.step(line))?;
    let cluster = Cluster::of(lab);
    let Some(&first) = plan.switches.first() else { bail!("no switches to make") };
    let mut plane = first.other();
    cluster.await_steady(plane, READY, interrupt).context("waiting for the daemons")?;
    for stand in cluster.stands() {
        screen.step(&format!("{}, pod CIDRs {}", stand.words(), stand.pod_cidrs));
    }
    let all = pods::start(lab, READY, interrupt)?;
    let all = if all.is_empty() { places::all(lab)? } else { all };
    screen.step(&format!("{} pods are up", all.len()));

    let mut probes = Probes::start(lab, &all, plan.rates)?;
    probes.warm(READY, interrupt).context("before the first switch")?;
    probes.begin()?;
    let began = Instant::now();
    screen.step(&format!(
        "probing every pair both ways: {} small and {} full-size packets/s, and a TCP stream, per pair and family",
        plan.rates.small, plan.rates.full
    ));
    let mut watch = Watch { cluster: &cluster, probes: &mut probes, screen, interrupt };
    watch.rest(CALM)?;
    let mut clean = true;
    let mut switches = Vec::new();
    for &to in &plan.switches {
        let switch = watch.switch(plane, to)?;
        screen.step(&switch.line());
        switches.push(switch);
        watch.rest(CALM)?;
        let fallback = cluster.stands().iter().any(|stand| stand.fallback);
        let left = if fallback { Vec::new() } else { cluster.leftovers(plane)? };
        if fallback {
            screen.step(&format!("{} stays beside {}: `fallback: true`", plane.mode(), to.mode()));
        } else if left.is_empty() {
            screen
                .step(&format!("nothing is left of {}: no link, FDB entry, neighbour, nexthop or route", plane.mode()));
        } else {
            clean = false;
            screen.step(&format!("left of {}: {}", plane.mode(), left.join("; ")));
        }
        plane = to;
    }
    let seconds = began.elapsed().as_secs_f64();
    let tally = probes.finish()?;
    let way = std::iter::once(first.other()).chain(plan.switches.iter().copied()).map(Plane::mode);
    let way = way.collect::<Vec<_>>().join("→");
    let report = Report::new(lab.name(), &all, seconds, &tally, switches);
    lab.save(REPORT, &report)?;
    Ok(proof(&tally, &way, seconds, clean))
}

fn proof(tally: &Tally, way: &str, seconds: f64, clean: bool) -> Proof {
    let totals = tally.totals();
    let unread = tally.streams.iter().map(|s| s.written.saturating_sub(s.read)).sum::<u64>();
    let good = totals.lost == 0
        && totals.duplicated == 0
        && totals.stream_faults == 0
        && unread == 0
        && clean
        && totals.sent > 0;
    let mut line = String::new();
    if tally.host.socket_buffer + tally.host.backlog > 0 {
        let _ = writeln!(
            line,
            "this machine itself dropped {} packets at full socket buffers and {} at full backlogs: it is too slow for this rate",
            tally.host.socket_buffer, tally.host.backlog
        );
    }
    for path in tally.paths.iter().filter(|p| p.lost + p.duplicated > 0).take(12) {
        let _ = writeln!(
            line,
            "{} → {} {} {:?}: {} lost, {} duplicated, longest silence {:.0} ms",
            path.from,
            path.to,
            path.family,
            path.size,
            path.lost,
            path.duplicated,
            path.longest_gap_seconds * 1000.0
        );
    }
    let read: u64 = tally.streams.iter().map(|s| s.read).sum();
    let stalls: u64 = tally.streams.iter().map(|s| s.stalls).sum();
    let _ = write!(
        line,
        "{way} in {seconds:.0} s: {}; {} TCP streams, {} octets, {} stalls, {} faults; {}",
        totals_line(&totals),
        tally.streams.len(),
        grouped(read),
        stalls,
        totals.stream_faults + unread,
        if good { "nothing lost" } else { "NOT WELL" }
    );
    Proof { good, line }
}

/// `12,640 probes sent, 0 lost, 0 duplicated, 0 reordered`.
pub(crate) fn totals_line(totals: &Totals) -> String {
    format!(
        "{} probes sent, {} lost, {} duplicated, {} reordered",
        grouped(totals.sent),
        grouped(totals.lost),
        grouped(totals.duplicated),
        grouped(totals.reordered)
    )
}

/// Thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

struct Watch<'a> {
    cluster: &'a Cluster<'a>,
    probes: &'a mut Probes,
    screen: &'a Screen,
    interrupt: &'a Interrupt,
}

impl Watch<'_> {
    /// Looks on for a while.
    fn rest(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.glance("")?;
            std::thread::sleep(GLANCE.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    fn switch(&mut self, from: Plane, to: Plane) -> Result<Switch> {
        let before = self.probes.snapshot()?.totals();
        self.screen.step(&format!("biplane mode switch {} --wait", to.mode()));
        let mut switching = self.cluster.switch(to)?;
        let mut told = String::new();
        let took = loop {
            if let Some(took) = switching.poll()? {
                break took;
            }
            if switching.elapsed() > SWITCH {
                bail!("the switch to {} is not done after {} s", to.mode(), SWITCH.as_secs());
            }
            let stands = self.glance(&format!("switching to {}", to.mode()))?;
            let states: Vec<String> = stands.iter().map(|s| format!("{} {}", s.node, s.state)).collect();
            let states = states.join(", ");
            if states != told {
                self.screen.quiet_step(&format!("{:5.1} s  {states}", switching.elapsed().as_secs_f64()));
                told = states;
            }
            std::thread::sleep(GLANCE / 5);
        };
        // The command has seen one daemon's view; the switch is over when every daemon is steady.
        self.cluster.await_steady(to, SWITCH, self.interrupt)?;
        let seconds = took.as_secs_f64().max(switching.elapsed().as_secs_f64());
        let sent = self.probes.snapshot()?.totals().since(&before).sent;
        // What was sent in the last moment is still on its way: it is counted a moment later.
        std::thread::sleep(Duration::from_millis(300));
        let after = self.probes.snapshot()?.totals().since(&before);
        Ok(Switch {
            from: from.mode().into(),
            to: to.mode().into(),
            seconds,
            sent,
            lost: after.missing,
            duplicated: after.duplicated,
            reordered: after.reordered,
        })
    }

    fn glance(&mut self, event: &str) -> Result<Vec<Stand>> {
        if self.interrupt.is_raised() {
            bail!("interrupted");
        }
        let tally = self.probes.snapshot()?;
        let stands = self.cluster.stands();
        self.screen.draw(&stands, &tally, event);
        Ok(stands)
    }
}

/// A live table on a terminal, a line a step elsewhere.
struct Screen {
    is_terminal: bool,
    drawn: std::cell::Cell<usize>,
    began: Instant,
}

impl Screen {
    fn new() -> Screen {
        Screen { is_terminal: std::io::stdout().is_terminal(), drawn: std::cell::Cell::new(0), began: Instant::now() }
    }

    fn step(&self, line: &str) {
        self.erase();
        let mut out = std::io::stdout().lock();
        let _ = if line.contains('→') && !line.contains("TCP stream,") {
            writeln!(out, "{line}")
        } else {
            writeln!(out, "{:6.1} s  {line}", self.began.elapsed().as_secs_f64())
        };
        let _ = out.flush();
    }

    /// A step that the live table shows anyway.
    fn quiet_step(&self, line: &str) {
        if !self.is_terminal {
            self.step(line);
        }
    }

    fn draw(&self, stands: &[Stand], tally: &Tally, event: &str) {
        if !self.is_terminal {
            return;
        }
        self.erase();
        let text = live_table(stands, tally, event);
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
        self.drawn.set(text.lines().count());
    }

    fn erase(&self) {
        let lines = self.drawn.take();
        if lines > 0 {
            print!("\x1b[{lines}A\x1b[J");
        }
    }
}

fn live_table(stands: &[Stand], tally: &Tally, event: &str) -> String {
    let header = ["NODE", "POD CIDRS", "PLANE", "PEERS", "ROUTES", "P50", "P99", "SENT", "LOST", "LAST EVENT"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for stand in stands {
        let of_node = |name: &str| name.split('/').next() == Some(stand.node.as_str());
        let own: Vec<_> = tally.paths.iter().filter(|p| of_node(&p.from)).collect();
        let worst = |pick: fn(&probe::spread::Summary) -> f64| own.iter().map(|p| pick(&p.rtt)).fold(0.0, f64::max);
        let last = stand.waiting.first().map_or_else(|| stand.state.clone(), |w| format!("{}: {w}", stand.state));
        rows.push(vec![
            stand.node.clone(),
            stand.pod_cidrs.clone(),
            stand.carry.clone(),
            stand.peers.clone(),
            stand.routes.to_string(),
            format!("{:.2} ms", worst(|r| r.p50_seconds) * 1000.0),
            format!("{:.2} ms", worst(|r| r.p99_seconds) * 1000.0),
            grouped(own.iter().map(|p| p.sent).sum()),
            grouped(own.iter().map(|p| p.missing).sum()),
            if event.is_empty() { last } else { format!("{event}, {last}") },
        ]);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_like_figures() {
        assert_eq!(
            ["0", "999", "1,000", "12,640", "1,234,567"].map(String::from),
            [0, 999, 1000, 12640, 1_234_567].map(grouped)
        );
    }

    #[test]
    fn nothing_sent_is_no_proof() {
        assert!(!proof(&Tally::default(), "vxlan→bgp", 1.0, true).good);
    }
}
