//! Tortures the daemon: everything a file system allows, with faults in front of S3, kills at any
//! moment, and a state directory that is lost or turned back. At the end the bucket equals the tree.
//!
//! # Invariants
//!
//! - What is random comes from the seed. Threads and the kernel are not repeated by it.
//! - Every version S3 ever stored is judged, not only those that are left at the end.
//! - The working directory stays if and only if something is wrong.
//! - Whatever ends it but SIGKILL, its daemon and its mounts are gone.

mod canary;
mod conductor;
mod equality;
mod faults;
mod links;
mod maps;
mod model;
mod operations;
mod private;
mod record;
mod stage;
mod states;
mod swap;
mod verdict;
mod versions;
mod writer;

use conductor::Conductor;
use file_sync_dev_s3::rig::{self, Interrupt};
use stage::Stage;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
Usage: torture --daemon PATH [--seed N] [--seconds N] [--kills N] [--work DIR]

Runs the daemon against an S3 in memory while everything goes wrong, and judges what came out.

  --daemon PATH  the file-sync-service to torture
  --seed N       other files, other faults, other moments (1)
  --seconds N    how long (60)
  --kills N      how often the daemon is killed or told to end (half of the seconds)
  --work DIR     where the tree, the state and the log are made (the system's temporary directory)";

/// What stands before every key.
const PREFIX: &str = "torture";

/// What is asked for.
#[derive(Debug)]
struct Arguments {
    daemon: PathBuf,
    seed: u64,
    seconds: u64,
    kills: u64,
    work: PathBuf,
    /// Whether mounts and limits are our own already.
    inside: bool,
}

fn main() -> ExitCode {
    rig::program("torture", USAGE, arguments, run)
}

fn arguments(options: &mut rig::Options) -> Result<Arguments, String> {
    let seconds = options.value("--seconds")?.unwrap_or(60);
    Ok(Arguments {
        daemon: options.required("--daemon")?,
        seed: options.value("--seed")?.unwrap_or(1),
        seconds,
        kills: options.value("--kills")?.unwrap_or(seconds / 2),
        work: options.value("--work")?.unwrap_or_else(std::env::temp_dir),
        inside: options.flag(private::INSIDE),
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    if !arguments.inside {
        let reason = private::enter();
        println!("skipped: unmounting the tree, tiny limits for watches: {reason}");
    }
    let interrupt = Interrupt::install()?;
    let stage = Stage::create(&arguments.work, &arguments.daemon, arguments.inside)?;
    let time = Duration::from_secs(arguments.seconds);
    let mut conductor = Conductor::new(&stage, &interrupt, arguments.seed, time, arguments.kills)?;
    let failures = conductor.perform().inspect_err(|_| stage.workspace.keep())?;
    println!("{}", conductor.summary());
    if !failures.is_empty() {
        stage.workspace.keep();
        println!("FAILED with seed {}: {} findings", arguments.seed, failures.len());
        for failure in failures.iter().take(conductor::SHOWN_MAX) {
            println!("  {failure}");
        }
        println!("left for inspection: {:?}", stage.root());
        return Ok(ExitCode::FAILURE);
    }
    if interrupt.is_set() {
        println!("interrupted: nothing was wrong until then, and there is no verdict");
        return Ok(ExitCode::from(rig::INTERRUPTED));
    }
    println!("all is well: the bucket equals the tree, and no version was ever wrong");
    Ok(ExitCode::SUCCESS)
}
