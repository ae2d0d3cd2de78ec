//! The composition root: builds every part from the configuration, connects them, and shuts them
//! down in order. `app` is the only module that knows every concrete type.
//!
//! # Order
//!
//! 1. `App::build` binds the endpoints: a health check may arrive at once.
//! 2. `App::run` opens the state, and starts the tasks that need it (`MirrorService::build`).
//! 3. A `session` mirrors one watched directory under one configuration. Where the directory is
//!    lost, or the configuration changes, another session follows. The daemon sends no request to S3
//!    before there is something to upload.
//! 4. The last session collects the last events and drains until `shutdown_timeout_seconds`.
//! 5. The `shutdown_steps` end what runs beside it, each within its time limit. Unfinished changes
//!    are on disk.

mod announce;
mod build;
mod commands;
mod confinement;
mod endpoints;
mod gauges;
mod instance;
mod invalidation;
mod lease;
mod memory_limit;
mod mirror;
mod new_config;
mod outcome;
mod progress;
mod relaying;
mod reload;
mod request_limit;
mod session;
mod shutdown_steps;
mod survival;
mod takeover;
pub mod termination;
mod watched_dir;

pub use commands::{RestoreRequest, doctor, plan, restore, verify};
pub use confinement::{ConfinementError, confine_process};
pub use relaying::relay;
pub use reload::config_mount_warning;

use crate::admin;
use crate::aws::HttpError;
use crate::cli::{Exit, ProgressHandle};
use crate::config::{Config, ConfigSources, LoadedConfig};
use crate::model::{OverlapSign, RootGeneration};
use crate::retry_file;
use crate::sandbox::Confinement;
use crate::shutdown::Shutdown;
use crate::store::{OpenedState, StateBinding, StoreError, StoreOpenError};
use crate::telemetry::{LogLevel, Recorder, Telemetry};
use crate::transfer::{Instrumented, S3};
use endpoints::{EndpointTasks, EngineHandles};
use mirror::MirrorService;
use outcome::RunSummary;
use shutdown_steps::RunningTasks;
use std::io;
use survival::StateSurvival;
use termination::Remaining;
use tokio_util::task::AbortOnDropHandle;

/// How long the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// Until a signal requests shutdown.
    Daemon,
    /// Until everything that exists now is in S3.
    Once {
        /// Whether existing objects are updated to the current rules.
        reapply_rules: bool,
        /// Whether a file that S3 cannot take counts as unfinished.
        strict: bool,
    },
}

impl RunMode {
    fn is_once(self) -> bool {
        matches!(self, Self::Once { .. })
    }
}

/// The parts that operators observe and control while the program runs.
#[derive(Debug)]
pub struct Observability {
    /// The sources of the settings.
    pub sources: ConfigSources,
    /// The log level.
    pub log_level: LogLevel,
    /// Metrics and traces.
    pub telemetry: Telemetry,
    /// Whether the process is confined to its files.
    pub confinement: Confinement,
    /// Receives the progress of a single run, if a terminal shows it.
    pub progress: Option<ProgressHandle>,
}

/// Runs until the work is done or a signal requests shutdown.
pub async fn run(
    loaded: LoadedConfig,
    mode: RunMode,
    shutdown: Shutdown,
    observability: Observability,
) -> Exit {
    let message = loaded.config.termination_message.clone();
    let ended = match App::build(loaded, mode, shutdown, observability) {
        // Boxed, because its type is too deep for the compiler to lay out at once.
        Ok(app) => Box::pin(app.run()).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok((Exit::Success, remaining)) if remaining.is_nothing() => Exit::Success,
        Ok((exit, remaining)) => {
            termination::write(&message, exit, remaining.reason(), Some(&remaining));
            exit
        }
        Err(error) => {
            tracing::error!(event = "service.failed", error.message = %error, "cannot go on");
            termination::write(&message, error.exit(), &error.to_string(), None);
            error.exit()
        }
    }
}

/// An error that ends the program.
#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error(transparent)]
    State(#[from] StoreOpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the patterns are not valid: {0}")]
    Patterns(String),
    #[error(transparent)]
    Address(#[from] admin::BindError),
    #[error("{0}")]
    HintTls(String),
    #[error("no threads to read with: {0}")]
    Threads(#[source] io::Error),
}

impl AppError {
    fn exit(&self) -> Exit {
        match self {
            Self::State(
                StoreOpenError::Create { .. }
                | StoreOpenError::Special { .. }
                | StoreOpenError::Locked { .. },
            ) => Exit::StateUnavailable,
            Self::State(StoreOpenError::TooNew { .. } | StoreOpenError::Unreadable { .. })
            | Self::Store(_) => Exit::StateUnreadable,
            Self::Patterns(_) | Self::Http(_) | Self::Address(_) | Self::HintTls(_) => {
                Exit::ConfigInvalid
            }
            Self::Threads(_) => Exit::Unexpected,
        }
    }
}

/// What stays the same from the start of a run to its end.
#[derive(Debug, Clone)]
struct RunContext {
    config: Config,
    mode: RunMode,
    shutdown: Shutdown,
    telemetry: Telemetry,
}

/// The program with its endpoints, before it opens the state.
struct App {
    context: RunContext,
    handles: EngineHandles,
    endpoints: EndpointTasks,
    progress: Option<AbortOnDropHandle<()>>,
}

impl App {
    /// Fits the configuration to the limits of the machine, and starts the endpoints.
    fn build(
        mut loaded: LoadedConfig,
        mode: RunMode,
        shutdown: Shutdown,
        observability: Observability,
    ) -> Result<Self, AppError> {
        announce::started(&loaded.config);
        confinement::log(&observability.confinement);
        if let Some(fitted) = memory_limit::fit(&mut loaded.config) {
            fitted.log();
        }
        if let Some(fitted) = request_limit::fit(&mut loaded.config) {
            fitted.log();
        }
        let config = loaded.config.clone();
        let telemetry = observability.telemetry.clone();
        let terminal = observability.progress.clone();
        let (endpoints, handles) = EndpointTasks::start(loaded, mode, observability, &shutdown)?;
        let progress =
            terminal.map(|terminal| progress::show(handles.snapshots.subscribe(), terminal));
        let context = RunContext { config, mode, shutdown, telemetry };
        Ok(Self { context, handles, endpoints, progress })
    }

    /// Opens the state, mirrors until the work is done or shutdown is requested, and shuts down.
    async fn run(self) -> Result<(Exit, Remaining), AppError> {
        let Self { context, mut handles, endpoints, progress } = self;
        let opened = instance::open_state(&context, &mut handles).await;
        // The state directory exists now.
        let config = &context.config;
        let survival = StateSurvival::new(config, handles.control.clone());
        let shutdown = context.shutdown.clone();
        let mut tasks =
            RunningTasks::new(context.mode, shutdown, config.shutdown_timeout, survival);
        tasks.endpoints = Some(endpoints);
        tasks.progress = progress;
        let ended = match opened {
            Ok(Some(opened)) => mirror_with_state(context, opened, handles, &mut tasks).await,
            Ok(None) => {
                drop(handles);
                Ok(RunSummary::before_state())
            }
            Err(error) => {
                drop(handles);
                Err(error)
            }
        };
        let ended = tasks.shut_down(ended).await;
        tracing::info!(event = "service.stopped", "stopped");
        ended
    }
}

/// Mirrors with an open state. What still runs afterwards is in `tasks`.
async fn mirror_with_state(
    context: RunContext,
    opened: OpenedState,
    handles: EngineHandles,
    tasks: &mut RunningTasks,
) -> Result<RunSummary, AppError> {
    announce::opened(&opened);
    tasks.state = Some(opened.store.clone());
    if opened.restoring.is_some() {
        handles.writer.note_incomplete_restore();
    }
    tasks.survival.log(&context.config.state_dir);
    retry_file::log_previous_report(&context.config.retry_file).await;
    let (service, start, mut requests) =
        MirrorService::build(context, opened, handles, tasks).await?;
    Box::pin(service.run(start, &mut requests)).await
}

/// The bucket, with metrics and traces.
type AppBucket = Instrumented<S3, Recorder>;

/// The mark of the objects of a state; a new one for a new state.
fn owner_of(bound: Option<&StateBinding>) -> String {
    bound.map_or_else(|| format!("{:016x}", fastrand::u64(..)), |bound| bound.owner.clone())
}

/// The binding of a new state, without the directory.
fn first_binding(config: &Config, owner: &str) -> StateBinding {
    StateBinding {
        target: target(config),
        source: String::new(),
        origin: None,
        epoch: RootGeneration(1),
        owner: owner.to_owned(),
        listed: false,
        takeover_pending: config.share.is_part(),
        probed: None,
        overlap: OverlapSign::Nothing,
    }
}

/// The bucket and prefix that the keys of the state belong to.
fn target(config: &Config) -> String {
    let endpoint = config.endpoint_url.as_deref().unwrap_or("aws");
    format!("{endpoint} {} {}", config.bucket, config.prefix.as_str())
}
