//! The doorway.

use file_sync_service::app::{self, Console, Mode};
use file_sync_service::cli::{self, Cli, Command, Exit, Report, SharedProgress};
use file_sync_service::config::{Config, Loaded, LogFormat, Sources};
use file_sync_service::shutdown::Shutdown;
use file_sync_service::telemetry::{self, Format, Settings};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Runtime;

/// A fifth of the CPU of small uploads was memory that one thread takes and another one gives back,
/// and glibc's arenas held twice the memory that was in use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads for what does not block, if `TOKIO_WORKER_THREADS` does not say otherwise. Files are read and
/// summed up on others; with a second one, a sixth of the CPU went into waking each other up.
const WORKERS: usize = 1;

/// Threads for what may block, far above what is wanted at once: a comparison or two, and what asks for a
/// name, a metric or a flush. Looks and transfers have threads of their own, so a disk that no longer
/// answers does not take these as well.
const BLOCKING_THREADS_MAX: usize = 128;

/// Where Kubernetes looks for the reason of an end, if the settings cannot say otherwise.
const TERMINATION: &str = "/dev/termination-log";

/// Time for threads that are still reading when everything else has ended.
const BLOCKED_PATIENCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // Of a huge page each thread needs a part: with a watch for 100,000 directories two thirds of what was
    // resident held nothing. A kernel that does not know this has no harm from it.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    let exit = match cli::parse(std::env::args_os()) {
        Ok(cli) => serve(&cli),
        Err(instead) => cli::answer(&instead),
    };
    exit.into()
}

fn serve(cli: &Cli) -> Exit {
    // Before anything that takes time: from here on SIGTERM is a request, and no end of its own.
    let command = cli.command();
    let listening = if matches!(command, Command::Run | Command::Once { .. }) {
        match listen() {
            Ok(listening) => Some(listening),
            Err(error) => return unexpected(&error),
        }
    } else {
        None
    };
    let working_directory = match std::env::current_dir() {
        Ok(directory) => directory,
        Err(error) => return unexpected(&error),
    };
    if let (true, Some(address)) = (command.asks(), cli.address) {
        return cli::call(&command, address);
    }
    let sources = cli.sources(std::env::vars_os().collect(), working_directory);
    let loaded = match cli::load_or_tell(&sources) {
        Ok(loaded) => loaded,
        Err(problems) => {
            if matches!(command, Command::Run | Command::Once { .. }) {
                let told_to = problems.termination_message().unwrap_or(Path::new(TERMINATION));
                let reason = problems.to_string();
                app::termination::tell(told_to, Exit::ConfigInvalid, &reason, None);
            }
            return Exit::ConfigInvalid;
        }
    };
    let mode = match command {
        Command::Once { reapply_rules } => Mode::Once { reapply_rules },
        _ => Mode::Daemon,
    };
    match (command, listening) {
        (Command::CheckConfig, _) => {
            if let Some(why) = app::unseen(&sources) {
                Report::note(why);
            }
            cli::check_config(&loaded)
        }
        (Command::Plan { reapply_rules, json }, _) => {
            let report = Report::stdout(json.then_some("steps"));
            look(app::plan(loaded.config, reapply_rules, report))
        }
        (Command::Verify { checksum, json }, _) => {
            let report = Report::stdout(json.then_some("differences"));
            look(app::verify(loaded.config, checksum, report))
        }
        (Command::Run | Command::Once { .. }, Some((runtime, shutdown))) => {
            run(runtime, &shutdown, loaded, sources, mode)
        }
        (command, _) => ask(&command, &loaded.config),
    }
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
    builder.max_blocking_threads(BLOCKING_THREADS_MAX).enable_all().build()
}

fn listen() -> io::Result<(Runtime, Shutdown)> {
    let runtime = runtime()?;
    let shutdown = {
        let _inside = runtime.enter();
        Shutdown::on_signals()?
    };
    Ok((runtime, shutdown))
}

/// Runs a command that changes nothing, so that a signal may end it as it ends anything.
fn look(looking: impl Future<Output = Exit>) -> Exit {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return unexpected(&error),
    };
    let exit = runtime.block_on(looking);
    runtime.shutdown_timeout(BLOCKED_PATIENCE);
    exit
}

/// The probes are on either address; everything else is on the one.
fn ask(command: &Command, config: &Config) -> Exit {
    let probe = matches!(command, Command::Health(_));
    let listen = config.listen_address.filter(|_| probe).map(cli::near);
    match config.admin_address.or(listen) {
        Some(address) => cli::call(command, address),
        None => {
            eprintln!("file-sync-service: admin_address is off, so nobody can be asked");
            if probe { Exit::Unexpected } else { Exit::Unreachable }
        }
    }
}

fn run(
    runtime: Runtime,
    shutdown: &Shutdown,
    loaded: Loaded,
    sources: Sources,
    mode: Mode,
) -> Exit {
    let config = &loaded.config;
    let terminal = std::io::stdout().is_terminal();
    let format = match config.log_format {
        Some(LogFormat::Json) => Format::Json,
        Some(LogFormat::Text) => Format::Text,
        None if terminal => Format::Text,
        None => Format::Json,
    };
    let settings = Settings { format, filter: config.log_level.clone(), colour: terminal };
    let once = matches!(mode, Mode::Once { .. });
    let progress = SharedProgress::stderr().filter(|_| once);
    let output: Box<dyn io::Write + Send> = match &progress {
        Some(progress) => Box::new(progress.beside(std::io::stdout())),
        None => Box::new(std::io::stdout()),
    };
    let (_logs, log_level) = match telemetry::init(&settings, output) {
        Ok(logs) => logs,
        Err(error) => return unexpected(&error),
    };
    let shutdown = shutdown.clone();
    // On a worker like all other tasks: from this thread each event would cost a switch of threads.
    let work = runtime.spawn(async move {
        let telemetry = telemetry::start(&std::env::vars_os().collect());
        let telemetry_too = telemetry.clone();
        let console = Console { sources, log_level, telemetry: telemetry_too, progress };
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
