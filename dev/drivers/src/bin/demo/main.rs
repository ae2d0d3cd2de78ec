//! Shows the daemon at work: an S3 in memory, a directory that changes, an outage, a kill, and at
//! the end a comparison of the two.
//!
//! # Invariants
//!
//! - Whatever way it ends, the daemon it started is stopped and its temporary directory is gone.
//! - What it prints on the right is what the bucket held, in the order in which it did.

mod compare;
mod follow;
mod screen;
mod story;
mod visitor;

use compare::Comparison;
use file_sync_dev_drivers::{Daemon, Interrupt, Workspace};
use file_sync_dev_s3::command_line::{self, CommandLine};
use file_sync_dev_s3::{BUCKET, Options, Server};
use follow::Follower;
use screen::Screen;
use std::error::Error;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use story::End;

const USAGE: &str = "\
Usage: demo --daemon PATH [--once]

Runs the daemon against an S3 in memory, changes files, and shows what arrives.

  --daemon PATH  the file-sync-service to show
  --once         end after the story; so it does where there is no terminal";

/// What stands before every key.
const PREFIX: &str = "demo";
/// How much of the daemon's log is shown if something went wrong.
const LOG_LINES: usize = 15;

/// How the story ended.
enum Outcome {
    /// The bucket equals the directory.
    Equal,
    /// It does not, or the daemon left.
    Different,
    /// The user interrupted it.
    Interrupted,
}

struct Arguments {
    daemon: PathBuf,
    once: bool,
}

fn main() -> ExitCode {
    command_line::program("demo", USAGE, arguments, |arguments| {
        Ok(match run(arguments)? {
            Outcome::Equal => ExitCode::SUCCESS,
            Outcome::Different => ExitCode::FAILURE,
            Outcome::Interrupted => ExitCode::from(command_line::INTERRUPTED),
        })
    })
}

fn arguments(options: &mut CommandLine) -> Result<Arguments, String> {
    let daemon = options.required("--daemon")?;
    Ok(Arguments { daemon, once: options.flag("--once") })
}

/// Plays the story, and lets the user continue with it.
fn run(arguments: &Arguments) -> Result<Outcome, Box<dyn Error>> {
    let is_terminal = std::io::stdout().is_terminal();
    let interrupt = Interrupt::install()?;
    // Dropped in the reverse order: the daemon is stopped before its directory and its S3 are gone.
    let mut server = Server::start(&Options::default())?;
    let workspace = Workspace::create("demo", &arguments.daemon, PREFIX)?;
    story::prepare(&workspace)?;
    let screen = Arc::new(Screen::new(is_terminal));
    let follower = Follower::start(server.store().clone(), Arc::clone(&screen))?;
    let mut daemon = Daemon::new(&workspace, &server.endpoint(), interrupt.clone());

    let told = story::tell(&mut story::Stage {
        server: &mut server,
        workspace: &workspace,
        screen: &screen,
        follower: &follower,
        daemon: &mut daemon,
        interrupt: &interrupt,
    });
    match told {
        Ok(()) => {}
        Err(End::Interrupted) => return Ok(Outcome::Interrupted),
        Err(End::Io(error)) => return Err(error.into()),
        Err(End::Failed(why)) => {
            screen.conclusion(false, &why);
            eprintln!("The daemon's last words:\n{}", workspace.log_tail(LOG_LINES));
            return Ok(Outcome::Different);
        }
    }
    let is_equal = conclude(&server, &workspace, &screen)?;
    if is_terminal && !arguments.once {
        visitor::invite(&screen, &workspace);
        visitor::watch(&workspace, &screen, &mut daemon, &interrupt)?;
        screen.remark("the daemon is asked to finish its work and end");
        daemon.stop()?;
        conclude(&server, &workspace, &screen)?;
    }
    Ok(if is_equal { Outcome::Equal } else { Outcome::Different })
}

/// Compares and says what came out.
fn conclude(server: &Server, workspace: &Workspace, screen: &Screen) -> io::Result<bool> {
    let comparison = Comparison::of(&workspace.watched(), &server.objects(BUCKET))?;
    let total = server.journal().total();
    screen.conclusion(comparison.is_equal(), &format!("{comparison}, {total} requests"));
    Ok(comparison.is_equal())
}
