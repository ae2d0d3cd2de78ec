//! Measures how long it takes from the close of a file to its object in S3, on a tree where nothing
//! else happens: with the default settings, and without any quiet time.
//!
//! # Invariants
//!
//! - A time ends when the version with the very bytes that were written is stored in the bucket.
//! - The daemon is idle when a file is written: the one before is in S3.
//! - A bare PUT of the same file follows each, so that both see the machine as it is at that moment.

mod bare;

use bare::Bare;
use file_sync_dev_drivers::{Daemon, Interrupt, Workspace, content};
use file_sync_dev_s3::command_line::{self, CommandLine};
use file_sync_dev_s3::{BUCKET, Options, Server, now};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
Usage: latency --daemon PATH [--files NUMBER]

Measures the time from the close of a file to its object in an S3 in memory, beside that of a bare PUT
of the same file by the same SDK.

  --daemon PATH   the file-sync-service to measure
  --files NUMBER  how many files to write one after another (default 200)";

const PREFIX: &str = "latency";
const BARE_PREFIX: &str = "bare";
/// What default settings promise.
const PROMISE: Duration = Duration::from_millis(500);
/// After this a file will never arrive.
const TIME_TO_ARRIVE: Duration = Duration::from_secs(60);
/// How often an interrupt is checked.
const STEP: Duration = Duration::from_millis(200);
/// Directories that are there before the daemon is.
const DIRECTORIES: usize = 10;
/// Files that are there, in the root and in the directories each.
const EXISTING: usize = 20;
const FILE_BYTES: usize = 4096;
const FILES: usize = 200;

struct Arguments {
    daemon: PathBuf,
    files: usize,
}

fn main() -> ExitCode {
    command_line::program("latency", USAGE, arguments, run)
}

fn arguments(options: &mut CommandLine) -> Result<Arguments, String> {
    let daemon = options.required("--daemon")?;
    let files = options.value("--files")?.unwrap_or(FILES);
    if files == 0 {
        return Err("--files: one at least".to_owned());
    }
    Ok(Arguments { daemon, files })
}

/// How long the files took.
struct Times {
    daemon: Vec<Duration>,
    bare: Vec<Duration>,
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let interrupt = Interrupt::install()?;
    println!("close to S3, {} files one after another, in milliseconds\n", arguments.files);
    println!("{:<36}{:>7}{:>7}{:>7}{:>7}{:>7}", "", "min", "p50", "p90", "p99", "max");
    let default = measure(arguments, &interrupt, &[])?;
    print_row("default settings", &default.daemon);
    let variable = "FILE_SYNC__DEBOUNCE_MILLISECONDS";
    let at_once = measure(arguments, &interrupt, &[(variable, "0")])?;
    print_row(&format!("{variable}=0"), &at_once.daemon);
    print_row("bare PUT of the same files", &at_once.bare);
    let kept = default.daemon.iter().filter(|time| **time < PROMISE).count();
    println!(
        "\nunder {} ms with default settings: {kept} of {}",
        PROMISE.as_millis(),
        arguments.files
    );
    let ratio = percentile(&at_once.daemon, 50).div_duration_f64(percentile(&at_once.bare, 50));
    println!("without quiet time to a bare PUT, median to median: {ratio:.2}");
    Ok(ExitCode::SUCCESS)
}

/// Starts a server and a daemon, and writes the files.
fn measure(
    arguments: &Arguments,
    interrupt: &Interrupt,
    settings: &[(&str, &str)],
) -> Result<Times, Box<dyn Error>> {
    let server = Server::start(&Options::default())?;
    let workspace = Workspace::create("latency", &arguments.daemon, PREFIX)?;
    prepare(&workspace)?;
    let mut daemon = Daemon::new(&workspace, &server.endpoint(), interrupt.clone());
    for (variable, value) in settings {
        daemon.set(variable, value);
    }
    daemon.start()?;
    wait_for(interrupt, &server, "the files that were there before", |server| {
        server.objects(BUCKET).len() == 2 * EXISTING && server.journal().in_flight() == 0
    })?;
    let bare = Bare::new(&server)?;
    let mut times = Times { daemon: Vec::new(), bare: Vec::new() };
    for number in 0..arguments.files {
        let time = time_of(number, &workspace, &server, interrupt).map_err(|error| {
            format!("{error}\nThe daemon's last words:\n{}", workspace.log_tail(15))
        })?;
        times.daemon.push(time);
        times.bare.push(bare_time_of(number, &workspace, &server, &bare)?);
    }
    times.daemon.sort_unstable();
    times.bare.sort_unstable();
    Ok(times)
}

/// Makes directories, and files to be rewritten later.
fn prepare(workspace: &Workspace) -> io::Result<()> {
    for number in 0..DIRECTORIES {
        fs::create_dir(workspace.file(&format!("directory-{number}")))?;
    }
    for number in 0..EXISTING {
        for path in [old_in_root(number), old_in_directory(number)] {
            fs::write(workspace.file(&path), "as it was before")?;
        }
    }
    Ok(())
}

fn old_in_root(number: usize) -> String {
    format!("old-{}.dat", number % EXISTING)
}

fn old_in_directory(number: usize) -> String {
    format!("directory-{}/{}", number % DIRECTORIES, old_in_root(number))
}

/// Half of the files are in the root; one in five is there already, and is written anew.
fn path_of(number: usize) -> String {
    let round = number / 2;
    let is_old = number / 2 % 5 == 4;
    match (number.is_multiple_of(2), is_old) {
        (true, true) => old_in_root(round / 5),
        (false, true) => old_in_directory(round / 5),
        (true, false) => format!("new-{number}.dat"),
        (false, false) => format!("directory-{}/new-{number}.dat", number / 2 % DIRECTORIES),
    }
}

/// Writes one file, and waits for it.
fn time_of(
    number: usize,
    workspace: &Workspace,
    server: &Server,
    interrupt: &Interrupt,
) -> Result<Duration, Box<dyn Error>> {
    let path = path_of(number);
    let key = format!("{PREFIX}/{path}");
    let bytes = content(u64::try_from(number)?, FILE_BYTES);
    let mut file = File::create(workspace.file(&path))?;
    file.write_all(&bytes)?;
    let closed = now();
    drop(file);
    let stored = |server: &Server| {
        let object = server.store().object(BUCKET, &key)?;
        (object.body.as_deref() == Some(&bytes)).then_some(object.stored)
    };
    wait_for(interrupt, server, &path, |server| stored(server).is_some())?;
    let stored = stored(server).ok_or("the object is gone again")?;
    Ok(stored.saturating_duration_since(closed))
}

/// Puts the same file once more, elsewhere in the bucket.
fn bare_time_of(
    number: usize,
    workspace: &Workspace,
    server: &Server,
    bare: &Bare,
) -> Result<Duration, Box<dyn Error>> {
    let path = path_of(number);
    let key = format!("{BARE_PREFIX}/{path}");
    let began = bare.put(&workspace.file(&path), &key)?;
    let object = server.store().object(BUCKET, &key).ok_or("the object is gone again")?;
    Ok(object.stored.saturating_duration_since(began))
}

fn wait_for(
    interrupt: &Interrupt,
    server: &Server,
    what: &str,
    holds: impl Fn(&Server) -> bool,
) -> Result<(), String> {
    let deadline = now() + TIME_TO_ARRIVE;
    while !server.wait_until(STEP, &holds) {
        if interrupt.is_set() {
            return Err("interrupted".to_owned());
        }
        if now() >= deadline {
            return Err(format!("never arrived in {} s: {what}", TIME_TO_ARRIVE.as_secs()));
        }
    }
    Ok(())
}

fn print_row(title: &str, sorted: &[Duration]) {
    let shown: String = [0, 50, 90, 99, 100]
        .map(|percent| format!("{:>7.1}", percentile(sorted, percent).as_secs_f64() * 1000.0))
        .concat();
    println!("{title:<36}{shown}");
}

/// The smallest time that so many per cent do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}
