//! Connects the HTTP endpoints and the status file to the engine.

use super::reload::ConfigUpdate;
use super::{AppError, Observability, RunMode};
use crate::admin::{
    self, AdminServer, HintIntake, InvalidationSource, ListenAddresses, ResponseSources,
};
use crate::clock::unix_millis;
use crate::config::{self, Config, HeartbeatConfig, LoadedConfig};
use crate::endpoints_file;
use crate::engine::control::{self, Control, ControlRequests};
use crate::engine::snapshot::Snapshot;
use crate::exclusivity::DeleteGuard;
use crate::heartbeat;
use crate::hints::HintLedger;
use crate::https::HttpsClient;
use crate::safe_file::{FilePublisher, FileReaders, OwnFile};
use crate::shutdown::Shutdown;
use std::ffi::OsStr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// Connects the work with the tasks beside it.
pub(super) struct EngineHandles {
    /// Publishes snapshots. Its receivers end when it is dropped.
    pub(super) snapshots: watch::Sender<Snapshot>,
    /// Requests to the engine.
    pub(super) requests: ControlRequests,
    /// Receives the status of the CloudFront worker.
    pub(super) invalidations: InvalidationSource,
    /// Sends requests to the engine.
    pub(super) control: Control,
    /// Decides whether this process may delete.
    pub(super) writer: Arc<DeleteGuard>,
    /// Counts hints and relays.
    pub(super) hints: Arc<HintLedger>,
    /// The configuration and its changes.
    pub(super) reload: ConfigUpdate,
    /// The endpoints of this process.
    pub(super) serving: AdminServer,
}

impl EngineHandles {
    /// Opens the socket for commands. The state has to belong to this instance.
    pub(super) fn open_control_socket(&self, config: &Config, mode: RunMode) {
        if mode.is_once() {
            return;
        }
        if let Some(socket) = &config.admin_socket {
            self.serving.open_control_socket(socket.clone());
        }
        tokio::spawn(keep_endpoints_file(config.clone(), self.serving.reachable()));
    }
}

/// Keeps the file with the addresses of the daemon up to date while it answers.
async fn keep_endpoints_file(
    config: Config,
    mut reachable: watch::Receiver<endpoints_file::ReachableAt>,
) {
    let path = endpoints_file::path_in(&config.state_dir);
    let mut file = FilePublisher::new(OwnFile::new(path, FileReaders::Owner).without_sync());
    reachable.mark_changed();
    while reachable.changed().await.is_ok() {
        let latest = reachable.borrow_and_update().clone();
        if let Err(error) = file.publish(move || endpoints_file::content(&latest)).await {
            tracing::warn!(
                event = "endpoints_file.write_failed",
                path = %file.path().to_string_lossy().escape_debug(),
                error.message = %error,
                "the file with the addresses could not be written; commands use those of the configuration"
            );
        }
    }
}

/// Whether a service manager waits for messages of this process.
fn is_notified(mode: RunMode, sources: &config::ConfigSources) -> bool {
    mode == RunMode::Daemon && sources.environment.contains_key(OsStr::new("NOTIFY_SOCKET"))
}

/// Informs a monitor, until the engine has ended.
fn start_heartbeat(config: HeartbeatConfig, sources: ResponseSources) {
    let client = match HttpsClient::new() {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(
                event = "heartbeat.failed",
                error.message = %error,
                "no heartbeat is sent: the system has no certificates to trust"
            );
            return;
        }
    };
    let HeartbeatConfig { url, interval } = config;
    let changes = sources.snapshot.clone();
    let pulse = move || admin::pulse(&sources);
    tokio::spawn(heartbeat::keep(client, url, interval, pulse, changes));
}

/// The tasks that run beside the work.
pub(super) struct EndpointTasks {
    serving: AdminServer,
    status_file: Option<AbortOnDropHandle<()>>,
}

impl EndpointTasks {
    /// Starts to listen before anything else, because a health check may arrive at once. A single
    /// run has no endpoints.
    pub(super) fn start(
        loaded: LoadedConfig,
        mode: RunMode,
        observability: Observability,
        shutdown: &Shutdown,
    ) -> Result<(Self, EngineHandles), AppError> {
        let addresses = match mode {
            RunMode::Once { .. } => ListenAddresses::default(),
            RunMode::Daemon => ListenAddresses {
                listen: loaded.config.listen_address.clone(),
                admin: loaded.config.admin_address.clone(),
                hints: loaded.config.hints.listen.clone(),
            },
        };
        let tls = loaded.config.hints.tls.as_ref().filter(|_| mode == RunMode::Daemon);
        let tls = tls.map(|(certificate, key)| admin::load_tls(certificate, key)).transpose();
        let tls = tls.map_err(AppError::HintTls)?;
        let bound = admin::bind(&addresses)?.with_hint_tls(tls);
        let notified = is_notified(mode, &observability.sources).then(|| shutdown.clone());
        let heartbeat = loaded.config.heartbeat.clone().filter(|_| mode == RunMode::Daemon);
        let (endpoints, handles, sources) = Self::join(loaded, mode, bound, observability);
        if let Some(heartbeat) = heartbeat {
            start_heartbeat(heartbeat, sources.clone());
        }
        if let Some(shutdown) = notified {
            let watchdog = sd_notify::watchdog_enabled();
            let stopping = async move { shutdown.requested().await };
            tokio::spawn(admin::notify_service_manager(sources, stopping, watchdog));
        }
        Ok((endpoints, handles))
    }

    fn join(
        loaded: LoadedConfig,
        mode: RunMode,
        bound: admin::BoundListeners,
        observability: Observability,
    ) -> (Self, EngineHandles, ResponseSources) {
        let config = loaded.config.clone();
        let Observability { sources, log_level: level, telemetry, .. } = observability;
        let reload = ConfigUpdate::start(loaded, sources, level.clone(), mode == RunMode::Daemon);
        let (snapshots, snapshot) = watch::channel(Snapshot::default());
        let (control, requests) = control::channel();
        let exposition = telemetry.exposition;
        let sources = ResponseSources {
            control,
            snapshot,
            configured: reload.configured.clone(),
            shard: config.share,
            watch_path: config.watch_path,
            file_names: config.status_file_names,
            token_file: config.admin_token_file,
            started: unix_millis(),
            log_level: Arc::new(move |text| level.set(text).map_err(|error| error.to_string())),
            metrics: Some(Arc::new(move || exposition.render())),
            invalidations: InvalidationSource::default(),
            writer: Arc::default(),
            hints: HintIntake {
                token_file: config.hints.token_file.clone(),
                ledger: Arc::default(),
            },
        };
        let invalidations = Arc::clone(&sources.invalidations);
        let control = sources.control.clone();
        let writer = Arc::clone(&sources.writer);
        let hints = Arc::clone(&sources.hints.ledger);
        let status_file = config
            .status_file
            .map(|path| admin::keep_status_file(path, sources.clone()))
            .map(|task| AbortOnDropHandle::new(tokio::spawn(task)));
        let serving = bound.serve(sources.clone());
        let handles = EngineHandles {
            snapshots,
            requests,
            invalidations,
            control,
            writer,
            hints,
            reload,
            serving: serving.clone(),
        };
        (Self { serving, status_file }, handles, sources)
    }

    /// Stops the endpoints after the work has ended.
    pub(super) async fn stop(self) {
        self.serving.stop().await;
        if let Some(status_file) = self.status_file {
            // The panic hook has reported a panic.
            drop(status_file.await);
        }
    }
}
