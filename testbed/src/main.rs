//! The lab alone: what `biplane lab` does, for the tests of this crate.

use std::process::ExitCode;

use clap::Parser;
use testbed::cli::LabArgs;

#[derive(Parser)]
#[command(name = "biplane-lab")]
struct Args {
    #[command(flatten)]
    lab: LabArgs,
}

fn main() -> ExitCode {
    match testbed::cli::run(Args::parse().lab) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
