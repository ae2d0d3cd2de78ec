//! The doorway.

use file_sync_service::app::{self, Mode};
use file_sync_service::cli::{self, Cli, Command, Exit};
use file_sync_service::config::{Config, LogFormat};
use file_sync_service::shutdown::Shutdown;
use file_sync_service::telemetry::{self, Format, Settings};
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Runtime;

/// A fifth of the CPU of small uploads was memory that one thread takes and another one gives back,
/// and glibc's arenas held twice the memory that was in use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time for threads that are still reading when everything else has ended.
const BLOCKED_PATIENCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let exit = match cli::parse(std::env::args_os()) {
        Ok(cli) => serve(&cli),
        Err(instead) => cli::answer(&instead),
    };
    exit.into()
}

fn serve(cli: &Cli) -> Exit {
    // Before anything that takes time: from here on SIGTERM is a request, and no end of its own.
    let listening = match cli.command() {
        Command::CheckConfig => None,
        Command::Run | Command::Once { .. } => Some(match listen() {
            Ok(listening) => listening,
            Err(error) => return unexpected(&error),
        }),
    };
    let working_directory = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => return unexpected(&error),
    };
    let loaded = match cli.load(std::env::vars_os().collect(), working_directory) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let mode = match cli.command() {
        Command::Once { reapply_rules } => Mode::Once { reapply_rules },
        Command::Run | Command::CheckConfig => Mode::Daemon,
    };
    match listening {
        None => cli::check_config(&loaded),
        Some((runtime, shutdown)) => run(runtime, &shutdown, loaded.config, mode),
    }
}

fn listen() -> io::Result<(Runtime, Shutdown)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let shutdown = {
        let _inside = runtime.enter();
        Shutdown::on_signals()?
    };
    Ok((runtime, shutdown))
}

fn run(runtime: Runtime, shutdown: &Shutdown, config: Config, mode: Mode) -> Exit {
    let terminal = std::io::stdout().is_terminal();
    let format = match config.log_format {
        Some(LogFormat::Json) => Format::Json,
        Some(LogFormat::Text) => Format::Text,
        None if terminal => Format::Text,
        None => Format::Json,
    };
    let settings = Settings { format, filter: config.log_level.clone(), colour: terminal };
    let _logs = match telemetry::init(&settings, std::io::stdout()) {
        Ok(guard) => guard,
        Err(error) => return unexpected(&error),
    };
    let shutdown = shutdown.clone();
    // On a worker like all other tasks: from this thread each event would cost a switch of threads.
    let work = runtime.spawn(async move {
        let telemetry = telemetry::start(&std::env::vars_os().collect());
        let running = app::run(config, mode, shutdown.clone(), telemetry.clone());
        // Boxed, because its type is too deep for the compiler to lay out at once.
        let exit = Box::pin(running).await;
        telemetry.end(shutdown.forced()).await;
        exit
    });
    let exit = match runtime.block_on(work) {
        Ok(exit) => exit,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    // A read that hangs on a dead disk must not keep the process from ending.
    runtime.shutdown_timeout(BLOCKED_PATIENCE);
    exit
}

fn unexpected(error: &dyn std::error::Error) -> Exit {
    eprintln!("file-sync-service: {error}");
    Exit::Unexpected
}
