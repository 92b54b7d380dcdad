//! The per-node daemon: arguments, logging, exit codes. What it does is `node`'s business.

use std::fs::File;
use std::io::{BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use node::settings::Settings;
use tracing_subscriber::EnvFilter;

/// Carries this node's pods over VXLAN or over routes learned by BGP, and moves between the two without losing a packet.
///
/// Settings come from the file, `conf.d/*.yaml` beside it, BIPLANE_… variables and --set flags, the later the
/// stronger. SIGHUP and changed files are taken live. SIGTERM ends the daemon and leaves everything in the kernel as it
/// is: pods keep forwarding.
///
/// Exit status: 0 ended on request, or the configuration is good (-n); 1 it is not, or the daemon cannot run; 2 usage.
#[derive(Debug, Parser)]
#[command(name = "biplaned", version)]
struct Arguments {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = Settings::FILE)]
    config: PathBuf,
    /// Check the configuration, print what is wrong, and end; nothing else is touched
    #[arg(short = 'n', long)]
    check: bool,
    /// Set a configuration key over everything else, as in `bgp.localAsn=65001`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Form of the log on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What is logged: a level, or `target=level,…` as in `info,biplane_bgp=debug`
    #[arg(long, env = "BIPLANED_LOG", default_value = "info")]
    log_level: String,
    /// Write every event and what came of it to this new file, for --replay. It holds no keys, but addresses, names and
    /// the configuration
    #[arg(long, env = "BIPLANED_RECORD", value_name = "FILE", conflicts_with_all = ["check", "replay"])]
    record: Option<PathBuf>,
    /// Feed a recording to a core of this version, without network or clock; end with 1 where it does something else
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    replay: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, for example mode=bgp".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = Settings { flags: arguments.set.clone(), ..Settings::of(&arguments.config) };
    if arguments.check {
        return check(&settings);
    }
    if let Some(recording) = &arguments.replay {
        return replay(recording);
    }
    if let Err(why) = start_log(&arguments) {
        eprintln!("biplaned: --log-level: {why}");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("biplaned: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(node::run(settings, env!("CARGO_PKG_VERSION").to_owned(), arguments.record)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("biplaned: {why}");
            ExitCode::FAILURE
        }
    }
}

fn replay(recording: &Path) -> ExitCode {
    let replayed = File::open(recording)
        .map_err(|error| error.to_string())
        .and_then(|file| node::record::replay(BufReader::new(file)));
    match replayed {
        Ok((steps, None)) => {
            println!("{}: {steps} events, the same effects", recording.display());
            ExitCode::SUCCESS
        }
        Ok((_, Some(other))) => {
            println!("{}: event {} has other effects", recording.display(), other.step);
            other.missing.iter().for_each(|effect| println!("- {effect}"));
            other.new.iter().for_each(|effect| println!("+ {effect}"));
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("biplaned: {}: {why}", recording.display());
            ExitCode::FAILURE
        }
    }
}

fn check(settings: &Settings) -> ExitCode {
    match settings.load() {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("warning: {warning}");
            }
            println!("{}: the configuration is good", settings.file.display());
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn start_log(arguments: &Arguments) -> Result<(), String> {
    let filter = EnvFilter::try_new(&arguments.log_level).map_err(|error| error.to_string())?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match arguments.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
