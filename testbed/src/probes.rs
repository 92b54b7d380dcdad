//! A prober in every place of a lab, from the first greeting to the last packet on the way.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use probe::Report;
use probe::flow::{Rates, Spec, Target};
use probe::tally::{self, Tally};

use crate::lab::state::Place;
use crate::lab::{Interrupt, Lab};

/// UDP and TCP port of the probes.
const PORT: u16 = 17_800;
/// A prober that does not answer within this has died, or its machine has.
const ANSWER: Duration = Duration::from_secs(20);
/// After the senders have stopped, a packet that is not there by then is lost.
const DRAIN: Duration = Duration::from_secs(2);

/// Running probers.
pub struct Probes {
    probers: Vec<Prober>,
}

struct Prober {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Probes {
    /// Starts a prober per place, each probing all others; nothing is sent yet.
    pub fn start(lab: &Lab, places: &[Place], rates: Rates) -> Result<Probes> {
        if places.len() < 2 {
            bail!(
                "lab {:?} has {} places to probe from and to, two at least are needed: give nodes the label \
                 biplane.pods or biplane.probe",
                lab.name(),
                places.len()
            );
        }
        let run = run_number();
        let mut probes = Probes { probers: Vec::new() };
        for (index, place) in places.iter().enumerate() {
            let spec = spec(run, index, places, rates);
            probes.probers.push(Prober::start(lab, place, &spec)?);
        }
        // Each one's first answer says that its sockets are open.
        probes.collect()?;
        Ok(probes)
    }

    /// Greets until every place has answered every other one in every family and size, and every stream is up.
    pub fn warm(&mut self, limit: Duration, interrupt: &Interrupt) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut tally = self.ask("warm")?;
        loop {
            let unreached = tally.unreached();
            if unreached.is_empty() {
                return Ok(());
            }
            if interrupt.is_raised() {
                bail!("interrupted");
            }
            if Instant::now() > deadline {
                let shown: Vec<&str> = unreached.iter().take(6).map(String::as_str).collect();
                let more = unreached.len().saturating_sub(shown.len());
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                bail!("after {} s not reached: {}{more}", limit.as_secs(), shown.join("; "));
            }
            std::thread::sleep(Duration::from_millis(100));
            tally = self.snapshot()?;
        }
    }

    /// Counting begins.
    pub fn begin(&mut self) -> Result<()> {
        self.ask("start").map(drop)
    }

    /// What has been counted so far; packets on the way look lost in it, see [`tally::Path::missing`].
    pub fn snapshot(&mut self) -> Result<Tally> {
        self.ask("snapshot")
    }

    /// Stops the senders, waits for what is on the way, and gives the final count.
    pub fn finish(mut self) -> Result<Tally> {
        let mut tally = self.ask("stop")?;
        let deadline = Instant::now() + DRAIN;
        while !is_drained(&tally) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
            tally = self.snapshot()?;
        }
        Ok(tally)
    }

    fn ask(&mut self, command: &str) -> Result<Tally> {
        for prober in &mut self.probers {
            prober.tell(command)?;
        }
        self.collect()
    }

    fn collect(&mut self) -> Result<Tally> {
        let reports: Vec<Report> = self.probers.iter_mut().map(Prober::hear).collect::<Result<_>>()?;
        Ok(tally::join(&reports))
    }
}

fn is_drained(tally: &Tally) -> bool {
    tally.paths.iter().all(|p| p.lost == 0) && tally.streams.iter().all(|s| s.read + s.altered == s.written)
}

fn spec(run: u32, index: usize, places: &[Place], rates: Rates) -> Spec {
    let own = &places[index];
    let number = |index: usize| u16::try_from(index).unwrap_or(u16::MAX);
    let targets = places.iter().enumerate().filter(|(other, _)| *other != index).flat_map(|(other, place)| {
        let shared = place.addresses.iter().filter(|a| own.addresses.iter().any(|o| o.is_ipv4() == a.is_ipv4()));
        shared.map(move |address| Target {
            place: number(other),
            name: place.name.clone(),
            address: *address,
            rates,
            mtu: own.mtu.min(place.mtu),
        })
    });
    Spec {
        run,
        place: number(index),
        name: own.name.clone(),
        addresses: own.addresses.clone(),
        port: PORT,
        targets: targets.collect(),
    }
}

/// Differs from run to run, so that a late packet of another one is not counted.
fn run_number() -> u32 {
    let now = probe::prober::now().since_start();
    (now.as_micros() as u32) ^ std::process::id().rotate_left(16)
}

impl Prober {
    fn start(lab: &Lab, place: &Place, spec: &Spec) -> Result<Prober> {
        let mut command = command(lab, place)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the prober of {}", place.name))?;
        let output = child.stdout.take().context("the prober's output")?;
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        let mut prober = Prober { name: place.name.clone(), child, input, answers };
        prober.tell(&serde_json::to_string(spec)?)?;
        Ok(prober)
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let told = self.input.as_mut().map_or(Ok(()), |input| writeln!(input, "{line}"));
        told.with_context(|| format!("the prober of {} has ended", self.name))
    }

    fn hear(&mut self) -> Result<Report> {
        let line = self.answers.recv_timeout(ANSWER).with_context(|| match self.child.try_wait() {
            Ok(Some(status)) => format!("the prober of {} ended: {status}", self.name),
            _ => format!("the prober of {} does not answer", self.name),
        })?;
        serde_json::from_str(&line).with_context(|| format!("the prober of {} answered {line:?}", self.name))
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        // The end of its input ends it; the kill is for one that hangs.
        drop(self.input.take());
        let deadline = Instant::now() + Duration::from_secs(2);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn command(lab: &Lab, place: &Place) -> Result<Command> {
    let node = lab.node(&place.node)?;
    let program = lab.program();
    let Some((first, rest)) = program.split_first() else { bail!("no program for probers") };
    let mut command = match &place.pod {
        None => lab.command(node, first)?,
        Some(pod) => {
            let mut command = lab.command(node, "ip")?;
            command.args(["netns", "exec", pod]).arg(first);
            command
        }
    };
    command.args(rest).arg("prober");
    // Ctrl-C is for the one who asks, who then tells the probers.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    Ok(command)
}
