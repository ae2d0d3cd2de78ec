//! Tortures the daemon: everything a file system allows, with faults in front of S3, kills at any
//! moment, and a state directory that is lost or turned back. At the end the bucket equals the tree.
//!
//! # Invariants
//!
//! - What is random comes from the seed. Threads and the kernel are not repeated by it.
//! - Every version S3 ever stored is judged, not only those that are left at the end.
//! - The working directory stays if and only if something is wrong.

mod conductor;
mod daemon;
mod equality;
mod faults;
mod links;
mod model;
mod operations;
mod record;
mod stage;
mod states;
mod swap;
mod versions;
mod writer;

use conductor::Conductor;
use stage::Stage;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
Usage: torture --daemon PATH [--seed N] [--seconds N] [--kills N]

Runs the daemon against an S3 in memory while everything goes wrong, and judges what came out.

  --daemon PATH  the file-sync-service to torture
  --seed N       other files, other faults, other moments (1)
  --seconds N    how long (60)
  --kills N      how often the daemon is killed or told to end (half of the seconds)";

/// What stands before every key.
const PREFIX: &str = "torture";

/// What is asked for.
#[derive(Debug)]
struct Arguments {
    daemon: PathBuf,
    seed: u64,
    seconds: u64,
    kills: u64,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("torture: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("torture: seed {}: {error}", arguments.seed);
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line; `None` if the usage was asked for.
fn arguments(mut args: impl Iterator<Item = String>) -> Result<Option<Arguments>, String> {
    let (mut daemon, mut seed, mut seconds, mut kills) = (None, 1, 60, None);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("not a number: {text}"));
        match arg.as_str() {
            "--daemon" => daemon = Some(value()?),
            "--seed" => seed = number(value()?)?,
            "--seconds" => seconds = number(value()?)?,
            "--kills" => kills = Some(number(value()?)?),
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("no such option: {arg}")),
        }
    }
    let daemon = daemon.ok_or("--daemon is missing")?.into();
    Ok(Some(Arguments { daemon, seed, seconds, kills: kills.unwrap_or(seconds / 2) }))
}

/// Whether all was well.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let program = arguments
        .daemon
        .canonicalize()
        .map_err(|error| format!("{:?}: {error}", arguments.daemon))?;
    let stage = Stage::create(program)?;
    let time = Duration::from_secs(arguments.seconds);
    let mut conductor = Conductor::new(&stage, arguments.seed, time, arguments.kills)?;
    let failures = conductor.perform()?;
    println!("{}", conductor.summary());
    if failures.is_empty() {
        println!("all is well: the bucket equals the tree, and no version was ever wrong");
        stage.remove()?;
        return Ok(true);
    }
    println!("FAILED with seed {}: {} findings", arguments.seed, failures.len());
    for failure in failures.iter().take(conductor::SHOWN_MAX) {
        println!("  {failure}");
    }
    println!("left for inspection: {:?}", stage.root());
    Ok(false)
}
