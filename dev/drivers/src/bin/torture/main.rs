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
mod foreign;
mod links;
mod mapped_writes;
mod maps;
mod model;
mod operations;
mod outgoing;
mod pods;
mod private;
mod record;
mod remote;
mod rollout;
mod stage;
mod states;
mod swap;
mod target;
mod verdict;
mod versions;
mod writer;

use conductor::{Conductor, Plan};
use file_sync_dev_drivers::Interrupt;
use file_sync_dev_s3::command_line::{self, CommandLine};
use file_sync_dev_s3::{FaultKind, StoreMode, StoreModes};
use stage::Stage;
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use target::Target;

const USAGE: &str = "\
Usage: torture --daemon PATH [--seed N] [--seconds N] [--kills N] [--writers N] [--work DIR]
               [--mode NAME]... [--endpoint URL] [--fault KIND]... [--rollouts | --pods]

Runs the daemon against an S3 in memory, or another one, while everything goes wrong, and judges what
came out.

  --daemon PATH  the file-sync-service to torture
  --seed N       other files, other faults, other moments (1)
  --seconds N    how long (60)
  --kills N      how often the daemon is killed or stopped (half of the seconds)
  --writers N    how many change files at once (12); less for a slow machine or store
  --no-restored-times
                 no file that is rewritten where it is gets its old time again: where a store has no
                 checksum, size and time are all that an object can be compared by
  --work DIR     where the tree, the state and the log are made (the system's temporary directory)
  --mode NAME    how the S3 in memory differs from S3, as in `dev-s3 --help`
  --endpoint URL another S3 over HTTP, behind a proxy that lets requests fail; the credentials are in
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and its bucket `mirror` is emptied
  --fault KIND   only faults of these kinds, as in `fault-proxy --help` (all of them)
  --rollouts     new instances with empty states take the place of the one that runs, at random
  --pods         the same with another tree for each of them; all else stays as it is";

/// As many as keep the daemon at work without leaving it behind.
const WRITERS: u64 = 12;
/// What stands before every key.
const PREFIX: &str = "torture";

/// What is asked for.
#[derive(Debug)]
struct Arguments {
    daemon: PathBuf,
    seed: u64,
    seconds: u64,
    kills: u64,
    writers: u64,
    restores_times: bool,
    work: PathBuf,
    modes: StoreModes,
    endpoint: Option<String>,
    faults: Vec<FaultKind>,
    rolls_out: bool,
    has_pods: bool,
    /// Whether mounts and limits are our own already.
    inside: bool,
}

fn main() -> ExitCode {
    command_line::program("torture", USAGE, arguments, run)
}

fn arguments(options: &mut CommandLine) -> Result<Arguments, String> {
    let seconds = options.value("--seconds")?.unwrap_or(60);
    Ok(Arguments {
        daemon: options.required("--daemon")?,
        seed: options.value("--seed")?.unwrap_or(1),
        seconds,
        kills: options.value("--kills")?.unwrap_or(seconds / 2),
        writers: options.value("--writers")?.unwrap_or(WRITERS).max(1),
        restores_times: !options.flag("--no-restored-times"),
        modes: modes(options)?,
        endpoint: options.value("--endpoint")?,
        faults: faults(options)?,
        rolls_out: options.flag("--rollouts"),
        has_pods: options.flag("--pods"),
        work: options.value("--work")?.unwrap_or_else(std::env::temp_dir),
        inside: options.flag(private::INSIDE),
    })
}

fn modes(options: &mut CommandLine) -> Result<StoreModes, String> {
    let mut modes = Vec::new();
    while let Some(mode) = options.value::<StoreMode>("--mode")? {
        modes.push(mode);
    }
    Ok(modes.into_iter().collect())
}

fn faults(options: &mut CommandLine) -> Result<Vec<FaultKind>, String> {
    let mut kinds = Vec::new();
    while let Some(kind) = options.value("--fault")? {
        kinds.push(kind);
    }
    Ok(if kinds.is_empty() { FaultKind::ALL.to_vec() } else { kinds })
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    if arguments.has_pods {
        return run_pods(arguments);
    }
    if !arguments.inside {
        let reason = private::enter();
        println!("skipped: unmounting the tree, tiny limits for watches: {reason}");
    }
    let interrupt = Interrupt::install()?;
    let stage = Stage::create(&arguments.work, &arguments.daemon, arguments.inside)?;
    let target = target(arguments)?;
    let plan = Plan {
        seed: arguments.seed,
        time: Duration::from_secs(arguments.seconds),
        kills: arguments.kills,
        writers: arguments.writers,
        restores_times: arguments.restores_times,
        faults: arguments.faults.clone(),
        rolls_out: arguments.rolls_out,
    };
    let mut conductor = Conductor::new(&stage, &interrupt, target, &plan)?;
    let failures = conductor.perform().inspect_err(|_| stage.workspace.keep())?;
    println!("{}", conductor.summary());
    if !failures.is_empty() {
        stage.workspace.keep();
        println!("left for inspection: {:?}", stage.root());
    }
    let well = "the bucket equals the tree, and no version was ever wrong";
    Ok(verdict(arguments.seed, &failures, &interrupt, well))
}

fn run_pods(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let interrupt = Interrupt::install()?;
    let plan = pods::Plan {
        seed: arguments.seed,
        time: Duration::from_secs(arguments.seconds),
        faults: arguments.faults.clone(),
        daemon: arguments.daemon.clone(),
        place: arguments.work.clone(),
    };
    let (failures, summary) = pods::perform(&plan, &interrupt, target(arguments)?)?;
    println!("{summary}");
    let well = "the bucket has what the last pod has, and nothing else of its own";
    Ok(verdict(arguments.seed, &failures, &interrupt, well))
}

fn target(arguments: &Arguments) -> io::Result<Target> {
    match &arguments.endpoint {
        Some(endpoint) => Target::behind_proxy(endpoint, arguments.seed),
        None => Target::in_memory(arguments.modes.clone(), arguments.seed),
    }
}

/// Prints the verdict.
fn verdict(seed: u64, failures: &[String], interrupt: &Interrupt, well: &str) -> ExitCode {
    if !failures.is_empty() {
        println!("FAILED with seed {seed}: {} findings", failures.len());
        for failure in failures.iter().take(conductor::SHOWN_MAX) {
            println!("  {failure}");
        }
        return ExitCode::FAILURE;
    }
    if interrupt.is_set() {
        println!("interrupted: nothing was wrong until then, and there is no verdict");
        return ExitCode::from(command_line::INTERRUPTED);
    }
    println!("all is well: {well}");
    ExitCode::SUCCESS
}
