//! New directories with a file in the deepest one, as fast as they can be made: what a recursive
//! watch misses if it is not careful, through the whole daemon.
//!
//! # Invariants
//!
//! - Nothing but the events can bring a file up: the next comparison by the clock is an hour away.
//!   How many comparisons the daemon made because of the storm is printed.
//! - A file counts only if its own bytes are in the bucket.

use file_sync_dev_drivers::{Daemon, Interrupt, Workspace};
use file_sync_dev_s3::command_line::{self, CommandLine};
use file_sync_dev_s3::{BUCKET, Options, Server, now};
use std::error::Error;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
Usage: storm --daemon PATH [--files NUMBER]

Makes files in new directories faster than a daemon can watch them, and counts what it misses.

  --daemon PATH   the file-sync-service to test
  --files NUMBER  how many files, over all paces (default 10000)";

const PREFIX: &str = "storm";
const FILES: usize = 10_000;
/// Between one step and the next: some races need a watcher that had time to begin.
/// Beside each, how many per cent of the files are made at that pace.
const PACES: [(Duration, usize); 3] =
    [(Duration::ZERO, 60), (Duration::from_micros(200), 30), (Duration::from_millis(2), 10)];
/// After this long without a change in the bucket, what is missing is missed.
const TIME_TO_MISS: Duration = Duration::from_secs(30);
/// How often an interrupt is checked.
const STEP: Duration = Duration::from_millis(200);
/// How many missed files are named.
const NAMED_MAX: usize = 10;

struct Arguments {
    daemon: PathBuf,
    files: usize,
}

fn main() -> ExitCode {
    command_line::program("storm", USAGE, arguments, |arguments| {
        let missed = run(arguments)?;
        Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn arguments(options: &mut CommandLine) -> Result<Arguments, String> {
    let daemon = options.required("--daemon")?;
    Ok(Arguments { daemon, files: options.value("--files")?.unwrap_or(FILES) })
}

/// All storms, one after another; how many files were missed.
fn run(arguments: &Arguments) -> Result<usize, Box<dyn Error>> {
    let interrupt = Interrupt::install()?;
    let server = Server::start(&Options::default())?;
    let workspace = Workspace::create("storm", &arguments.daemon, PREFIX)?;
    fs::write(workspace.file("ready"), "ready")?;
    let mut daemon = Daemon::new(&workspace, &server.endpoint(), interrupt.clone());
    daemon.start()?;
    // Found by the first comparison, which comes after the watch.
    wait_for_all(&server, &interrupt, &["ready".to_owned()])?;
    let before = comparisons(&workspace)?;

    println!("pause     files  missed  made in  all in S3 after");
    let mut missed = Vec::new();
    let mut done = 0;
    for (index, (pause, percent)) in PACES.into_iter().enumerate() {
        let files = arguments.files * percent / 100;
        done += files;
        let began = now();
        let names = blow(&workspace, index, files, pause)?;
        let made = now();
        let late = wait_for_all(&server, &interrupt, &names)?;
        let last = last_stored(&server, &names).map_or(Duration::ZERO, |last| last - made);
        println!(
            "{:>6} ms{files:>7}{:>8}{:>7.1} s{:>15.1} s",
            pause.as_secs_f64() * 1000.0,
            late.len(),
            (made - began).as_secs_f64(),
            last.as_secs_f64()
        );
        missed.extend(late);
    }
    let compared = comparisons(&workspace)? - before;
    println!("missed: {} of {done}; comparisons of the whole tree: {compared}", missed.len());
    for name in missed.iter().take(NAMED_MAX) {
        println!("  {name}");
    }
    if let Some(status) = daemon.ended()? {
        return Err(format!(
            "the daemon ended by itself: {status}\nIts last words:\n{}",
            workspace.log_tail(15)
        )
        .into());
    }
    Ok(missed.len())
}

/// `mkdir -p a/b/c && echo > a/b/c/f`, again and again. The names of the files, which are their bytes.
fn blow(
    workspace: &Workspace,
    index: usize,
    files: usize,
    pause: Duration,
) -> io::Result<Vec<String>> {
    let mut names = Vec::with_capacity(files);
    for number in 0..files {
        let mut name = format!("storm-{index}-{number}");
        for directory in ["a", "b", "c"] {
            name = format!("{name}/{directory}");
            fs::create_dir_all(workspace.file(&name))?;
            rest(pause);
        }
        name += "/f";
        fs::write(workspace.file(&name), &name)?;
        rest(pause);
        names.push(name);
    }
    Ok(names)
}

/// A pause that is part of the storm, to the microsecond.
fn rest(pause: Duration) {
    let until = now() + pause;
    while now() < until {
        std::thread::yield_now();
    }
}

/// Those of `names` that are not in the bucket, once all are or nothing happens any more.
fn wait_for_all(
    server: &Server,
    interrupt: &Interrupt,
    names: &[String],
) -> Result<Vec<String>, Box<dyn Error>> {
    let mut seen = 0;
    let mut since = now();
    loop {
        let late: Vec<_> = names.iter().filter(|name| !is_stored(server, name)).cloned().collect();
        let requests = server.journal().total();
        if requests != seen {
            (seen, since) = (requests, now());
        }
        if late.is_empty() || now() - since > TIME_TO_MISS {
            return Ok(late);
        }
        if !interrupt.sleep(STEP) {
            return Err("interrupted".into());
        }
    }
}

fn is_stored(server: &Server, name: &str) -> bool {
    let object = server.store().object(BUCKET, &format!("{PREFIX}/{name}"));
    let body = object.as_ref().and_then(|object| object.body.as_deref());
    body == Some(name.as_bytes())
}

/// When the last of `names` came.
fn last_stored(server: &Server, names: &[String]) -> Option<std::time::Instant> {
    let objects = server.objects(BUCKET);
    names
        .iter()
        .filter_map(|name| objects.get(&format!("{PREFIX}/{name}")))
        .map(|object| object.stored)
        .max()
}

/// Comparisons of the whole tree that the daemon has made.
fn comparisons(workspace: &Workspace) -> io::Result<usize> {
    let log = fs::read(workspace.log())?;
    Ok(String::from_utf8_lossy(&log).matches("\"scan.completed\"").count())
}
