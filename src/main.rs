//! The entry point: command line, runtime, signals and exit codes.

use file_sync_service::app::{self, Observability, RestoreRequest, RunMode};
use file_sync_service::cli::{self, Cli, Command, Exit, ProgressHandle, ReportWriter, RestoreArgs};
use file_sync_service::config::{ConfigSources, LoadedConfig, LogFormat, Problems};
use file_sync_service::sandbox::Confinement;
use file_sync_service::shutdown::{EarlySignals, Shutdown};
use file_sync_service::telemetry::{self, LogFormatKind, LogSettings};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Uses mimalloc: with glibc, a fifth of the CPU of small uploads was spent on memory that one
/// thread allocates and another frees, and its arenas held twice the memory in use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Worker threads for code that does not block, unless `TOKIO_WORKER_THREADS` sets another number.
/// Other threads read and hash files. With a second worker, a sixth of the CPU was spent on waking
/// threads.
const WORKERS: usize = 1;

/// Upper bound for threads that may block. It is far above the need: a scan or two, name
/// resolution, metrics and flushes. Inspections and transfers have their own threads, so that a
/// disk that hangs does not use these up.
const BLOCKING_THREADS_MAX: usize = 128;

const NO_THREAD: &str = "the system refuses a thread; raise the limit on processes (pids.max, ulimit -u, \
    TasksMax), which counts threads";

/// The path where Kubernetes reads the reason of an end, if no settings could be read.
const TERMINATION: &str = "/dev/termination-log";

/// `1` permits debuggers of the same user, and core files.
const DEBUGGABLE: &str = "FILE_SYNC_DEBUGGABLE";

/// Time for threads that are still reading after everything else has ended.
const BLOCKED_PATIENCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // Disables huge pages. Each thread needs only a part of one: with watches for 100,000
    // directories, two thirds of the resident memory was unused. A kernel without this option
    // ignores the call.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    protect_memory();
    let exit = match cli::parse(std::env::args_os()) {
        Ok(cli) => serve(&cli),
        Err(instead) => cli::answer(&instead),
    };
    exit.into()
}

/// Forbids other processes of the same user to read the memory, and core files: it contains keys
/// and contents. If the system refuses, the process runs with the default protection.
#[expect(
    clippy::disallowed_methods,
    reason = "for a person with a debugger, and no setting of ours"
)]
fn protect_memory() {
    if std::env::var_os(DEBUGGABLE).is_some_and(|value| value == "1") {
        return;
    }
    set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).ok();
}

fn serve(cli: &Cli) -> Exit {
    // Signals are noted before anything that takes time: from here on, SIGTERM starts a shutdown.
    let command = cli.command();
    let early = match command.runs().then(EarlySignals::note).transpose() {
        Ok(early) => early,
        Err(error) => return unexpected(&error),
    };
    match command {
        Command::Completions { shell } => return cli::completions(shell),
        Command::Man => return cli::manual(),
        _ => {}
    }
    let working_directory = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => return unexpected(&error),
    };
    let sources = cli.sources(std::env::vars_os().collect(), working_directory);
    if command.is_client_command() {
        return cli::call(cli, &command, &sources);
    }
    let loaded = match cli::load_or_report(&sources) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse_configuration(&problems, command.runs()),
    };
    let mode = match command {
        Command::Once { reapply_rules, strict, .. } => RunMode::Once { reapply_rules, strict },
        _ => RunMode::Daemon,
    };
    match (command, early) {
        (Command::CheckConfig { online }, _) => {
            if let Some(why) = app::config_mount_warning(&sources) {
                ReportWriter::note(why);
            }
            match (cli::check_config(&loaded), online) {
                (Exit::Success, true) => look(app::doctor(
                    loaded.config,
                    &sources.environment,
                    ReportWriter::stdout(None),
                )),
                (exit, _) => exit,
            }
        }
        (Command::Doctor { json }, _) => {
            let report = ReportWriter::stdout(json.then_some("checks"));
            look(app::doctor(loaded.config, &sources.environment, report))
        }
        (Command::Plan { reapply_rules, json }, _) => {
            let report = ReportWriter::stdout(json.then_some("steps"));
            look(app::plan(loaded.config, reapply_rules, report))
        }
        (Command::Once { reapply_rules, dry_run: true, .. }, _) => {
            look(app::plan(loaded.config, reapply_rules, ReportWriter::stdout(None)))
        }
        (Command::Verify { checksum, json }, _) => {
            let report = ReportWriter::stdout(json.then_some("differences"));
            look(app::verify(loaded.config, checksum, report))
        }
        (Command::Restore(args), _) => {
            let report = ReportWriter::stdout(args.json.then_some("objects"));
            let RestoreArgs { missing, if_empty, include, at, allow_empty, dry_run, .. } = args;
            let request = RestoreRequest { missing, if_empty, include, at, allow_empty, dry_run };
            look(app::restore(loaded.config, request, report))
        }
        (Command::Relay, Some(early)) => relay(&early, loaded),
        (Command::Run | Command::Once { .. }, Some(early)) => {
            confine_and_run(&early, loaded, sources, mode)
        }
        (_, _) => Exit::Usage, // They ended above.
    }
}

/// Ends a daemon with the problems in its termination message. They were printed already.
fn refuse_configuration(problems: &Problems, runs: bool) -> Exit {
    if runs {
        let path = problems.termination_message().unwrap_or(Path::new(TERMINATION));
        app::termination::write(path, Exit::ConfigInvalid, &problems.to_string(), None);
    }
    Exit::ConfigInvalid
}

fn runtime() -> io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    #[expect(
        clippy::disallowed_methods,
        reason = "it is the runtime's variable, and no setting of ours"
    )]
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        builder.worker_threads(WORKERS);
    }
    builder.max_blocking_threads(BLOCKING_THREADS_MAX).enable_all();
    // The runtime panics if it cannot create a thread.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let built = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.build()));
    std::panic::set_hook(hook);
    built.unwrap_or_else(|_| Err(io::Error::other(NO_THREAD)))
}

fn listen(early: &EarlySignals) -> io::Result<(Runtime, Shutdown)> {
    let runtime = runtime()?;
    let shutdown = {
        let _inside = runtime.enter();
        Shutdown::on_signals(early)?
    };
    Ok((runtime, shutdown))
}

/// Confines the process while it has no other thread: a sandbox applies to the calling thread and those
/// that it creates. Then creates the runtime.
fn confine_and_run(
    early: &EarlySignals,
    loaded: LoadedConfig,
    sources: ConfigSources,
    mode: RunMode,
) -> Exit {
    let confinement = match app::confine_process(&loaded, &sources) {
        Ok(confinement) => confinement,
        Err(error) => {
            eprintln!("file-sync-service: {error}");
            let message = &loaded.config.termination_message;
            app::termination::write(message, Exit::ConfigInvalid, &error.to_string(), None);
            return Exit::ConfigInvalid;
        }
    };
    match listen(early) {
        Ok((runtime, shutdown)) => run(runtime, &shutdown, loaded, (sources, confinement), mode),
        Err(error) => unexpected(&error),
    }
}

/// Runs a command that a signal can end at any time: it changes nothing, or goes on when it is run again.
fn look(looking: impl Future<Output = Exit>) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return unexpected(&error),
    };
    let exit = runtime.block_on(looking);
    runtime.shutdown_timeout(BLOCKED_PATIENCE);
    exit
}

fn log_settings(loaded: &LoadedConfig) -> LogSettings {
    let config = &loaded.config;
    let terminal = std::io::stdout().is_terminal();
    let format = match config.log_format {
        Some(LogFormat::Json) => LogFormatKind::Json,
        Some(LogFormat::Text) => LogFormatKind::Text,
        None if terminal => LogFormatKind::Text,
        None => LogFormatKind::Json,
    };
    LogSettings { format, filter: config.log_level.clone(), colour: terminal }
}

/// Runs a relay, which has no state and nothing to drain.
fn relay(early: &EarlySignals, loaded: LoadedConfig) -> Exit {
    let (runtime, shutdown) = match listen(early) {
        Ok(listening) => listening,
        Err(error) => return unexpected(&error),
    };
    let (_logs, _) = match telemetry::init(&log_settings(&loaded), Box::new(std::io::stdout())) {
        Ok(logs) => logs,
        Err(error) => return unexpected(&error),
    };
    let exit = runtime.block_on(app::relay(loaded.config, shutdown));
    runtime.shutdown_timeout(BLOCKED_PATIENCE);
    exit
}

fn run(
    runtime: Runtime,
    shutdown: &Shutdown,
    loaded: LoadedConfig,
    (sources, confinement): (ConfigSources, Confinement),
    mode: RunMode,
) -> Exit {
    let settings = log_settings(&loaded);
    let once = matches!(mode, RunMode::Once { .. });
    let progress = ProgressHandle::stderr().filter(|_| once);
    let output: Box<dyn io::Write + Send> = match &progress {
        Some(progress) => Box::new(progress.beside(std::io::stdout())),
        None => Box::new(std::io::stdout()),
    };
    let (_logs, log_level) = match telemetry::init(&settings, output) {
        Ok(logs) => logs,
        Err(error) => return unexpected(&error),
    };
    let shutdown = shutdown.clone();
    // The work runs on a worker: on this thread, each event would cost a thread switch.
    let work = runtime.spawn(async move {
        let telemetry = telemetry::start(&std::env::vars_os().collect());
        let telemetry_too = telemetry.clone();
        let console =
            Observability { sources, log_level, telemetry: telemetry_too, confinement, progress };
        let running = app::run(loaded, mode, shutdown.clone(), console);
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
