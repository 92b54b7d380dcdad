//! The command line: asks the daemon, and prints what it says. stdout is data, stderr is talk.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod arguments;
mod drain;
mod failure;
mod look;
mod output;
mod policy;
mod switch;
mod view;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use model::Plane;
use node::settings::Settings;
use status::client::Client;
use status::doc::{Doc, RouteDirection};
use status::{EventKind, MonitorLine, Operation, Query};

use crate::arguments::{
    Arguments, BgpCommand, Command, ConfigCommand, DownArgs, IpamCommand, ModeCommand, MonitorArgs, MonitorFormat,
    NodeCommand, PeerAction, PeerArgs, PolicyCommand, RouteCommand, RoutesArgs, VxlanCommand,
};
use crate::failure::Failure;
use crate::look::Look;
use crate::output::{Body, Format, OutputArgs, Page, Sheet, cell, colour, maybe, print};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Lab(lab) => return lab_ends(testbed::cli::run(lab)),
        Command::Completion { shell } => completion(shell),
        Command::Config(ConfigCommand::Validate { file }) => validate(&file),
        Command::Config(ConfigCommand::Schema) => schema(),
        Command::Bgp(BgpCommand::Policy(PolicyCommand::Test(args))) => policy::test(*args),
        command => ask(&arguments.socket.unwrap_or_else(socket), command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                eprintln!("biplane: {line}");
            }
            failure.exit_code()
        }
    }
}

/// What the configuration of this machine says; the built-in path where it says nothing or cannot be read.
fn socket() -> PathBuf {
    let loaded = Settings::of(Settings::FILE).load();
    match loaded {
        Ok(loaded) => loaded.config.api.socket,
        _ => model::config::Config::minimal(Plane::Overlay, Vec::new()).api.socket,
    }
}

fn ask(socket: &Path, command: Command) -> Result<(), Failure> {
    let client = Client::new(socket);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Monitor(args) => monitor(&client, &args).await,
            Command::Version(args) => version(&client, &args).await,
            Command::Mode(ModeCommand::Switch(args)) => switch::run(&client, &args).await,
            Command::Bgp(BgpCommand::Reset { peer, all: _, soft, hard }) => {
                operate(&client, &Operation::BgpReset { peer, soft, hard }).await
            }
            Command::Bgp(
                BgpCommand::Up { peer } | BgpCommand::Peer(PeerArgs { action: Some(PeerAction::Up { peer }), .. }),
            ) => operate(&client, &Operation::BgpPeer { peer, up: true, text: String::new() }).await,
            Command::Bgp(
                BgpCommand::Down(DownArgs { peer, text })
                | BgpCommand::Peer(PeerArgs { action: Some(PeerAction::Down(DownArgs { peer, text })), .. }),
            ) => operate(&client, &Operation::BgpPeer { peer, up: false, text }).await,
            Command::Bgp(BgpCommand::Advertise { prefix }) => {
                operate(&client, &Operation::Advertise { prefix, on: true }).await
            }
            Command::Bgp(BgpCommand::Suppress { prefix }) => {
                operate(&client, &Operation::Advertise { prefix, on: false }).await
            }
            Command::Node(NodeCommand::Drain(args)) => drain::run(&client, &args).await,
            Command::Node(NodeCommand::Undrain) => operate(&client, &Operation::Undrain).await,
            Command::Config(ConfigCommand::Reload) => operate(&client, &Operation::Reload).await,
            Command::Status(args) => {
                if args.wait {
                    look::wait_ready(&client, args.timeout).await?;
                }
                look::run(&client, &Look::Status { brief: args.brief }, &args.output).await
            }
            command => match read(command) {
                Some((look, output)) => look::run(&client, &look, &output).await,
                None => Ok(()),
            },
        }
    })
}

/// Commands that show one document.
fn read(command: Command) -> Option<(Look, OutputArgs)> {
    Some(match command {
        Command::Node(NodeCommand::List(output)) => (Look::Nodes, output),
        Command::Node(NodeCommand::Show { name, output }) => (Look::Node(name), output),
        Command::Mode(ModeCommand::Show(output)) => (Look::Mode, output),
        Command::Ipam(IpamCommand::Show { blocks, node, ip, output }) if blocks || node.is_some() || ip.is_some() => {
            (Look::Blocks { node, ip }, output)
        }
        Command::Ipam(IpamCommand::Show { output, .. }) => (Look::Pools, output),
        Command::Ipam(IpamCommand::Check(output)) => (Look::IpamCheck, output),
        Command::Bgp(BgpCommand::Peers(output)) => (Look::Peers, output),
        Command::Bgp(BgpCommand::Bfd(output)) => (Look::Bfd, output),
        Command::Bgp(BgpCommand::Peer(PeerArgs { address: Some(address), output, .. })) => {
            (Look::Peer(address), output)
        }
        Command::Bgp(BgpCommand::Routes(args)) => routes(args),
        Command::Vxlan(VxlanCommand::Show(output)) => (Look::Vxlan, output),
        Command::Vxlan(VxlanCommand::Fdb(output)) => (Look::Fdb, output),
        Command::Vxlan(VxlanCommand::Neigh(output)) => (Look::Neigh, output),
        Command::Route(RouteCommand::List { node, diff, output }) => (Look::RouteList { node, diff }, output),
        Command::Route(RouteCommand::Explain { address, output }) => (Look::Explain(address), output),
        Command::Config(ConfigCommand::Show { origin, output }) => (Look::Config { origin }, output),
        _ => return None,
    })
}

fn routes(args: RoutesArgs) -> (Look, OutputArgs) {
    let RoutesArgs { r#in, out, why, limit, output } = args;
    let look = match (r#in, out, why) {
        (_, Some(peer), Some(prefix)) => Look::Why { prefix, direction: RouteDirection::Out, peer: Some(peer) },
        (Some(peer), _, Some(prefix)) => Look::Why { prefix, direction: RouteDirection::In, peer: Some(peer) },
        (_, _, Some(prefix)) => Look::Why { prefix, direction: RouteDirection::Local, peer: None },
        (Some(peer), ..) => Look::Routes { direction: RouteDirection::In, peer: Some(peer), limit },
        (_, Some(peer), _) => Look::Routes { direction: RouteDirection::Out, peer: Some(peer), limit },
        _ => Look::Routes { direction: RouteDirection::Local, peer: None, limit },
    };
    (look, output)
}

async fn operate(client: &Client, operation: &Operation) -> Result<(), Failure> {
    let said = client.operate(operation).await?;
    eprintln!("biplane: {said}");
    Ok(())
}

/// Follows events over restarts of the daemon, until interrupted.
async fn monitor(client: &Client, args: &MonitorArgs) -> Result<(), Failure> {
    let kinds: Vec<EventKind> = args.kinds.iter().filter_map(|word| word.parse().ok()).collect();
    let mut stream = client.monitor(&kinds).await?;
    loop {
        match stream.next().await {
            Ok(Some(line)) => print(&event(&line, args.output)?)?,
            Ok(None) | Err(_) => {
                eprintln!("biplane: the daemon has gone; waiting for it");
                stream = loop {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    if let Ok(stream) = client.monitor(&kinds).await {
                        break stream;
                    }
                };
                eprintln!("biplane: it is back");
            }
        }
    }
}

fn event(line: &MonitorLine, format: MonitorFormat) -> Result<String, Failure> {
    if format == MonitorFormat::Jsonl {
        return Ok(serde_json::to_string(line).map_err(io::Error::from)? + "\n");
    }
    Ok(match line {
        MonitorLine::Event(it) => {
            format!("{}   {:<5}   {:<6}   {}\n", it.time, it.level.to_string(), it.kind.to_string(), it.text)
        }
        MonitorLine::Missed { missed } => {
            eprintln!("biplane: {missed} events were not shown, as they came faster than they were read");
            String::new()
        }
    })
}

/// The daemon's version is told if it answers; that it does not is no failure of this program.
async fn version(client: &Client, args: &OutputArgs) -> Result<(), Failure> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Versions {
        client: &'static str,
        daemon: Option<String>,
    }
    let daemon = match client.query(&Query::Status).await.map(|document| document.body) {
        Ok(Doc::Status(status)) => Some(status.version.clone()),
        Ok(_) => None,
        Err(error) => {
            if args.output != Format::Name {
                eprintln!("biplane: {error}");
            }
            None
        }
    };
    let versions = output::Single::new("Versions", Versions { client: env!("CARGO_PKG_VERSION"), daemon });
    let mut sheet = Sheet::default();
    sheet.line("biplane", cell(versions.item.client));
    sheet.line("biplaned", maybe(versions.item.daemon.as_ref()));
    let names = vec![versions.item.client.to_owned()];
    let page = Page { whole: Box::new(&versions), items: vec![Box::new(&versions)], names, body: Body::Sheet(sheet) };
    Ok(print(&page.render(args, colour())?)?)
}

fn validate(file: &Path) -> Result<(), Failure> {
    let sources = Settings::of(file).sources().map_err(Failure::Unwell)?;
    match config::load(&sources) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("biplane: warning: {warning}");
            }
            print(&format!(
                "{}: valid\n",
                if file == Path::new("-") { "standard input".into() } else { file.display().to_string() }
            ))?;
            Ok(())
        }
        Err(errors) => {
            // The places stand first in their lines, so that editors find them.
            eprintln!("{errors}");
            let number = errors.0.len();
            Err(Failure::Unwell(format!("not valid: {}", output::count(number, "mistake"))))
        }
    }
}

fn schema() -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&config::schema()).map_err(io::Error::from)?;
    Ok(print(&(text + "\n"))?)
}

fn completion(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "biplane", &mut script);
    Ok(print(&String::from_utf8_lossy(&script))?)
}

fn lab_ends(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("biplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}
