//! `biplane lab`: arguments and what they start. stdout is data, stderr is talk.

mod print;

pub(crate) use crate::demo::grouped;
pub(crate) use print::table;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};

use crate::lab::deploy::Options;
use crate::lab::{Interrupt, Lab, Settings, keeper, poll};
use crate::probes::Probes;
use crate::report::{REPORT, Report};
use crate::topology::{Kind, Node};
use crate::{bench, demo, places, pods, replay};
use probe::flow::Rates;

/// Labs from containerlab topology files, in network namespaces of this machine.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// Where labs keep their state, one folder per lab
    #[arg(long, global = true, env = "BIPLANE_LAB_STATE", default_value = Settings::LABS, hide = true)]
    labs: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a topology file without doing anything
    Validate(File),
    /// Make the lab of a topology file
    Deploy {
        #[command(flatten)]
        file: File,
        /// A command of `exec` that fails makes the deploy fail (containerlab only logs it)
        #[arg(long)]
        strict: bool,
        /// Destroy the lab first if it is there
        #[arg(long)]
        reconfigure: bool,
    },
    /// Remove a lab: its processes, links and folder, and nothing else
    Destroy(File),
    /// List the nodes of a lab
    Inspect {
        #[command(flatten)]
        file: File,
        /// Form of the list
        #[arg(short = 'o', long = "format", visible_alias = "output", value_enum, default_value_t = Form::Table)]
        format: Form,
    },
    /// Run a command in nodes of a lab
    Exec {
        #[command(flatten)]
        file: File,
        /// Only nodes with this label; `clab-node-name=NAME` is the node of that name
        #[arg(long, value_name = "KEY=VALUE")]
        label: Vec<String>,
        /// In this pod of each node instead of in the node
        #[arg(long, value_name = "NAME")]
        pod: Option<String>,
        /// The command; words are split at spaces, quotes are obeyed, no shell
        #[arg(long, required = true)]
        cmd: Vec<String>,
        /// Form of the answer
        #[arg(short = 'o', long = "format", value_enum, default_value_t = ExecForm::Plain)]
        format: ExecForm,
    },
    /// Print the graph of a lab's links
    Graph {
        #[command(flatten)]
        file: File,
        /// In mermaid's language (the only one)
        #[arg(long, default_value_t = true)]
        mermaid: bool,
    },
    /// Probe every pair of pods for a while and say what was counted
    Report {
        #[command(flatten)]
        file: File,
        /// How long to send; 0 shows the last report of this lab
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Form of the report
        #[arg(short = 'o', long = "format", visible_alias = "output", value_enum, default_value_t = Form::Table)]
        format: Form,
        #[command(flatten)]
        rates: RateArgs,
    },
    /// Three nodes move from VXLAN to BGP and back while every packet is counted
    Demo {
        /// Topology file; the demo's own if absent
        #[arg(short = 't', long = "topo", value_name = "FILE.clab.yml")]
        topology: Option<PathBuf>,
        /// Leave the lab behind
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        rates: RateArgs,
    },
    /// What large tables cost: 100,000 and 1,000,000 routes of a BGP peer beside BIRD, 10,000 claims of other nodes
    Bench {
        /// Sizes of the tables that a BGP peer announces; 0 for none
        #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
        routes: Vec<u32>,
        /// Nodes in the store; 0 for none
        #[arg(long, default_value_t = 10_000)]
        claims: u32,
        /// Runs of each, the median is shown
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Single UPDATEs that are timed, beside BIRD and FRR; 0 for none
        #[arg(long, default_value_t = 500)]
        updates: u32,
        /// iBGP peers at once, beside BIRD and FRR; 0 for none
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(0..=250))]
        peers: u16,
        /// Silent link failures under BFD, 3 times 50 ms, beside BIRD and FRR; 0 for none
        #[arg(long, default_value_t = 15)]
        bfd: u32,
    },
    /// A full table into a daemon over BGP, changed, and withdrawn; the kernel must hold what was said each time
    Replay {
        /// MRT file (TABLE_DUMP_V2 or BGP4MP, plain, .gz or .bz2); a generated table if absent
        file: Option<PathBuf>,
        /// Prefixes of the generated table, one IPv6 among eleven
        #[arg(long, default_value_t = 550_000, conflicts_with = "file", value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
        prefixes: u32,
        /// Changes that follow
        #[arg(long, default_value_t = 100_000)]
        churn: u32,
    },
    /// A node's first process
    #[command(hide = true)]
    Keeper {
        /// The node's folder
        #[arg(long)]
        at: PathBuf,
    },
    /// Probes of one place, driven by lines on the input
    #[command(hide = true)]
    Prober,
}

#[derive(Debug, Args)]
struct File {
    /// Topology file
    #[arg(short = 't', long = "topo", value_name = "FILE.clab.yml")]
    topology: PathBuf,
}

#[derive(Clone, Copy, Debug, Args)]
struct RateArgs {
    /// Small packets per second, per direction, pair and family
    #[arg(long, default_value_t = Rates::default().small, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    small: u32,
    /// Full-size packets per second, per direction, pair and family
    #[arg(long, default_value_t = Rates::default().full, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    full: u32,
    /// Octets per second of the TCP stream, per direction, pair and family; 0 for none
    #[arg(long, default_value_t = Rates::default().stream)]
    stream: u32,
}

impl RateArgs {
    fn rates(self) -> Rates {
        Rates { small: self.small, full: self.full, stream: self.stream }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Table,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExecForm {
    Plain,
    Json,
}

/// Does what the arguments say.
pub fn run(args: LabArgs) -> Result<ExitCode> {
    let outcome = start(args);
    // `biplane lab inspect | head -1`: whoever reads has read enough.
    let is_pipe =
        |e: &anyhow::Error| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe);
    match outcome {
        Err(error) if is_pipe(&error) => Ok(ExitCode::SUCCESS),
        outcome => outcome,
    }
}

fn start(args: LabArgs) -> Result<ExitCode> {
    let settings = Settings::of_this_program(args.labs).context("own program")?;
    match args.command {
        Command::Validate(file) => validate(&settings, &file),
        Command::Deploy { file, strict, reconfigure } => deploy(&settings, &file, strict, reconfigure),
        Command::Destroy(file) => destroy(&settings, &file),
        Command::Inspect { file, format } => {
            let lab = Lab::running(&settings, &file.topology)?;
            match format {
                Form::Json => print::json(&lab.inspect())?,
                Form::Table => print::nodes(&lab.inspect())?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Exec { file, label, pod, cmd, format } => {
            exec(&Lab::running(&settings, &file.topology)?, &label, pod.as_deref(), &cmd, format)
        }
        Command::Graph { file, mermaid: _ } => {
            io::stdout().write_all(Lab::of(&settings, &file.topology)?.mermaid().as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Report { file, seconds, format, rates } => {
            report(&Lab::running(&settings, &file.topology)?, seconds, format, rates.rates())
        }
        Command::Demo { topology, keep, rates } => {
            let lab = Lab::of(&settings, &topology.map_or_else(demo_topology, Ok)?)?;
            warn(&lab);
            let plan = demo::Plan { rates: rates.rates(), keep, ..demo::Plan::default() };
            let interrupt = interrupt()?;
            let good = demo::run(&lab, &plan, &interrupt)?;
            Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Bench { mut routes, claims, rounds, updates, peers, bfd } => {
            routes.retain(|count| *count > 0);
            let interrupt = interrupt()?;
            bench::run(&settings, &bench::Plan { routes, claims, rounds, updates, peers, bfd }, &interrupt)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Replay { file, prefixes, churn } => {
            let interrupt = interrupt()?;
            let parts = replay::run(&settings, &replay::Plan { file, prefixes, churn }, &interrupt)?;
            io::stdout().write_all(replay::words(&parts).as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Keeper { at } => keeper::run(&at).map(|()| ExitCode::SUCCESS),
        Command::Prober => {
            probe::prober::run(io::stdin().lock(), io::stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn validate(settings: &Settings, file: &File) -> Result<ExitCode> {
    let lab = Lab::of(settings, &file.topology)?;
    warn(&lab);
    eprintln!(
        "{}: lab {:?}, {} nodes, {} links",
        file.topology.display(),
        lab.name(),
        lab.topology.nodes.len(),
        lab.topology.links.len()
    );
    Ok(ExitCode::SUCCESS)
}

fn deploy(settings: &Settings, file: &File, strict: bool, reconfigure: bool) -> Result<ExitCode> {
    let lab = Lab::of(settings, &file.topology)?;
    warn(&lab);
    if reconfigure {
        lab.destroy()?;
    }
    let interrupt = interrupt()?;
    lab.deploy(Options { strict }, &interrupt, &|line| eprintln!("{line}"))?;
    let pods = pods::start(&lab, std::time::Duration::from_secs(60), &interrupt);
    match pods {
        Ok(pods) => pods.iter().for_each(|pod| eprintln!("pod {} has {:?}", pod.name, pod.addresses)),
        Err(error) if strict => {
            lab.destroy()?;
            return Err(error);
        }
        Err(error) => eprintln!("warning: {error:#}"),
    }
    print::nodes(&lab.inspect())?;
    Ok(ExitCode::SUCCESS)
}

fn report(lab: &Lab, seconds: u64, format: Form, rates: Rates) -> Result<ExitCode> {
    let report = if seconds == 0 {
        lab.load(REPORT).with_context(|| format!("lab {:?} has no report yet: say --seconds 5", lab.name()))?
    } else {
        measure(lab, seconds, rates)?
    };
    match format {
        Form::Json => print::json(&report)?,
        Form::Table => io::stdout().write_all(table(&report.rows()).as_bytes())?,
    }
    eprintln!("{}", crate::demo::totals_line(&report.totals));
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(lab: &Lab, seconds: u64, rates: Rates) -> Result<Report> {
    let interrupt = interrupt()?;
    let places = places::all(lab)?;
    let mut probes = Probes::start(lab, &places, rates)?;
    probes.warm(std::time::Duration::from_secs(20), &interrupt)?;
    probes.begin()?;
    let began = std::time::Instant::now();
    let _: Option<()> = poll(std::time::Duration::from_secs(seconds), &interrupt, || None);
    let took = began.elapsed().as_secs_f64();
    let report = Report::new(lab.name(), &places, took, &probes.finish()?, Vec::new());
    lab.save(REPORT, &report)?;
    Ok(report)
}

/// The one in the sources that this program was built from.
fn demo_topology() -> Result<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/demo.clab.yml"));
    if path.exists() {
        return Ok(path);
    }
    anyhow::bail!("the demo's topology {} is not here: name one with -t FILE.clab.yml", path.display())
}

/// Raised by Ctrl-C, SIGTERM and a hang-up: whoever waits stops waiting, cleans up and says so.
fn interrupt() -> Result<std::sync::Arc<Interrupt>> {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = std::sync::Arc::new(Interrupt::default());
    let raised = std::sync::Arc::clone(&interrupt);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _guard = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
            .into_iter()
            .map(signal)
            .collect::<io::Result<Vec<_>>>()?
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            let [a, b, c] = signals.as_mut_slice() else { return };
            tokio::select! { _ = a.recv() => {} _ = b.recv() => {} _ = c.recv() => {} }
        });
        raised.raise();
    });
    Ok(interrupt)
}

fn destroy(settings: &Settings, file: &File) -> Result<ExitCode> {
    let lab = Lab::of(settings, &file.topology)?;
    pods::stop(&lab).iter().for_each(|complaint| eprintln!("warning: {complaint}"));
    if lab.destroy()? {
        eprintln!("lab {:?} is gone", lab.name());
    } else {
        eprintln!("lab {:?} was not there", lab.name());
    }
    Ok(ExitCode::SUCCESS)
}

fn exec(lab: &Lab, labels: &[String], pod: Option<&str>, commands: &[String], format: ExecForm) -> Result<ExitCode> {
    let mut all = std::collections::BTreeMap::new();
    let mut well = true;
    for node in lab.topology.nodes.iter().filter(|n| n.kind == Kind::Linux && labels.iter().all(|l| has_label(n, l))) {
        for command in commands {
            let words = crate::topology::words::split(command).map_err(anyhow::Error::msg)?;
            let output = lab.exec(node, pod, &words)?;
            well &= output.is_success();
            if format == ExecForm::Plain {
                print::output(&node.name, &output)?;
            }
            all.entry(format!("clab-{}-{}", lab.name(), node.name)).or_insert_with(Vec::new).push(output);
        }
    }
    if all.is_empty() {
        anyhow::bail!("no node of lab {:?} has {}", lab.name(), labels.join(" and "));
    }
    if format == ExecForm::Json {
        print::json(&all)?;
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn has_label(node: &Node, label: &str) -> bool {
    let (key, value) = label.split_once('=').unwrap_or((label, ""));
    match key {
        "clab-node-name" => node.name == value,
        "clab-node-group" => node.group.as_deref() == Some(value),
        key => node.labels.get(key).is_some_and(|v| v == value),
    }
}

fn warn(lab: &Lab) {
    for warning in &lab.topology.warnings {
        eprintln!("warning: {warning}");
    }
}
