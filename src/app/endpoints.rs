//! The HTTP endpoints and the status file, joined to what they tell of.

use super::reload::Reload;
use super::{AppError, Console, Mode};
use crate::admin::{self, Addresses, Bound, Invalidations, Serving, Sources};
use crate::clock::unix_millis;
use crate::config::{Config, Loaded};
use crate::engine::control::{self, Control, Requests};
use crate::engine::snapshot::Snapshot;
use crate::writer::OneWriter;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the work speaks with what runs beside it.
pub(super) struct Link {
    /// Where it tells what there is to tell. Those who listen end with it.
    pub(super) told: watch::Sender<Snapshot>,
    /// What it is asked for.
    pub(super) requests: Requests,
    /// Where whoever tells CloudFront says how it stands.
    pub(super) invalidations: Invalidations,
    /// Whom it can ask itself.
    pub(super) control: Control,
    /// Whether it may delete.
    pub(super) writer: Arc<OneWriter>,
    /// What it is to go by.
    pub(super) reload: Reload,
}

/// What runs beside the work.
pub(super) struct Endpoints {
    serving: Serving,
    status_file: Option<JoinHandle<()>>,
}

impl Endpoints {
    /// Listens, before anything else is done: a probe may ask from the first moment on. A single run
    /// has nobody to ask it.
    pub(super) async fn start(
        loaded: Loaded,
        mode: Mode,
        console: Console,
    ) -> Result<(Self, Link), AppError> {
        let bound = match mode {
            Mode::Once { .. } => admin::bind(Addresses::default()).await?,
            Mode::Daemon => {
                let Config { listen_address: listen, admin_address: admin, .. } = loaded.config;
                admin::bind(Addresses { listen, admin }).await?
            }
        };
        Ok(Self::join(loaded, mode, bound, console))
    }

    fn join(loaded: Loaded, mode: Mode, bound: Bound, console: Console) -> (Self, Link) {
        let config = loaded.config.clone();
        let Console { sources, log_level: level, telemetry, .. } = console;
        let reload = Reload::start(loaded, sources, level.clone(), mode == Mode::Daemon);
        let (told, snapshot) = watch::channel(Snapshot::default());
        let (control, requests) = control::channel();
        let exposition = telemetry.exposition;
        let sources = Sources {
            control,
            snapshot,
            configured: reload.configured.clone(),
            watch_path: config.watch_path,
            file_names: config.status_file_names,
            started: unix_millis(),
            log_level: Arc::new(move |text| level.set(text).map_err(|error| error.to_string())),
            metrics: Some(Arc::new(move || exposition.render())),
            invalidations: Invalidations::default(),
            writer: Arc::default(),
        };
        let invalidations = Arc::clone(&sources.invalidations);
        let (control, writer) = (sources.control.clone(), Arc::clone(&sources.writer));
        let status_file = config
            .status_file
            .map(|path| tokio::spawn(admin::keep_status_file(path, sources.clone())));
        (
            Self { serving: bound.serve(sources), status_file },
            Link { told, requests, invalidations, control, writer, reload },
        )
    }

    /// The work has ended.
    pub(super) async fn stop(self) {
        self.serving.stop().await;
        if let Some(status_file) = self.status_file {
            // A panic has been told.
            drop(status_file.await);
        }
    }
}
