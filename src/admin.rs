//! The HTTP endpoints: probes, metrics, status and control.
//!
//! Two addresses. `listen_address` is for the kubelet, Prometheus and people: it answers, and changes
//! nothing; no file name leaves by it unless `status_file_names` says so. `admin_address` is loopback:
//! it names files, and takes requests that change something.
//!
//! # Invariants
//!
//! - Whoever is slow hurts nobody: heads, bodies, answers and connections have named bounds of size,
//!   number and time, and a new connection takes the place of the oldest when there are too many.
//! - What a browser was made to send by another site is refused: the host must be loopback, and the
//!   origin, if there is one, the same.
//! - Nothing here waits for S3, and the engine never waits for anything here.

mod answers;
mod control;
mod guard;
mod health;
mod page;
mod routes;
mod server;
mod status;
mod status_file;

use crate::engine::control::Control;
use crate::engine::snapshot::Snapshot;
use crate::model::UnixMillis;
use crate::writer::OneWriter;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use status::SCHEMA;
pub use status_file::keep_status_file;

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addresses {
    /// For probes, metrics and people.
    pub listen: Option<SocketAddr>,
    /// For what names files or changes something. Loopback.
    pub admin: Option<SocketAddr>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "{key} {address} cannot be listened on: {source}; write another address, or off if it is not \
     needed"
)]
pub struct BindError {
    /// The setting.
    pub key: &'static str,
    /// Its value.
    pub address: SocketAddr,
    /// Why.
    pub source: std::io::Error,
}

/// Sets the log's level, or says what is wrong with it.
pub type SetLogLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;
/// All metrics in Prometheus' text format.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// How it stands with what CloudFront is told, once there is somebody who tells it.
pub type Invalidations = Arc<OnceLock<Box<dyn Fn() -> Invalidating + Send + Sync>>>;

/// What CloudFront is told. No file name is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invalidating {
    /// Paths that were not told yet.
    pub waiting: u64,
    /// Requests in progress.
    pub running: u64,
    /// Paths spent this month.
    pub spent: u64,
    /// How many may be; 0 for no limit.
    pub limit: u64,
    /// When CloudFront last took something.
    pub last_success: Option<UnixMillis>,
    /// When it last did not, and the short stable name of why.
    pub last_error: Option<(UnixMillis, String)>,
}

/// A setting: its key, its value and where that comes from.
pub type Setting = (String, String, String);

/// The settings, and what keeps the file from being taken up if it says something else.
#[derive(Debug, Clone, Default)]
pub struct Configured {
    /// Every setting.
    pub settings: Vec<Setting>,
    /// One word for all to see, and a message that may name what was written.
    pub problem: Option<(&'static str, String)>,
}

impl Configured {
    /// Settings that are what the file says.
    #[must_use]
    pub fn of(settings: Vec<Setting>) -> Self {
        Self { settings, problem: None }
    }
}

/// What there is to tell, and whom to ask.
#[derive(Clone)]
pub struct Sources {
    /// Whom to ask.
    pub control: Control,
    /// The latest of the engine.
    pub snapshot: watch::Receiver<Snapshot>,
    /// The settings.
    pub configured: watch::Receiver<Configured>,
    /// The directory that names are shown without.
    pub watch_path: PathBuf,
    /// Whether the public address may tell file names.
    pub file_names: bool,
    /// When the process started.
    pub started: UnixMillis,
    /// Changes the log's level.
    pub log_level: SetLogLevel,
    /// The metrics, where there are any.
    pub metrics: Option<Metrics>,
    /// What CloudFront is told.
    pub invalidations: Invalidations,
    /// Whether anything may be deleted.
    pub writer: Arc<OneWriter>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file_names", &self.file_names).finish_non_exhaustive()
    }
}

/// Addresses that are ours from now on.
#[derive(Debug)]
pub struct Bound {
    listen: Option<TcpListener>,
    admin: Option<TcpListener>,
}

/// Answers until it is stopped.
#[derive(Debug)]
pub struct Serving {
    stop: CancellationToken,
    servers: TaskTracker,
}

/// Takes the addresses, so that what is wrong with them is known before anything is done.
///
/// # Errors
///
/// If one cannot be had.
pub async fn bind(addresses: Addresses) -> Result<Bound, BindError> {
    Ok(Bound {
        listen: take("listen_address", addresses.listen).await?,
        admin: take("admin_address", addresses.admin).await?,
    })
}

async fn take(
    key: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<TcpListener>, BindError> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| BindError { key, address, source })?;
    if let Ok(address) = listener.local_addr() {
        // The port may have been left to the system.
        tracing::info!(event = "http.listening", setting = key, %address, "listening");
    }
    Ok(Some(listener))
}

impl Bound {
    /// Begins to answer.
    #[must_use]
    pub fn serve(self, sources: Sources) -> Serving {
        let (stop, servers) = (CancellationToken::new(), TaskTracker::new());
        let shared = routes::Shared::new(sources);
        if let Some(listener) = self.listen {
            let router = routes::public(Arc::clone(&shared));
            servers.spawn(server::serve(listener, router, server::PUBLIC, stop.clone()));
        }
        if let Some(listener) = self.admin {
            let router = routes::admin(shared);
            servers.spawn(server::serve(listener, router, server::ADMIN, stop.clone()));
        }
        servers.close();
        Serving { stop, servers }
    }
}

impl Serving {
    /// Ends what is under way, within a second or so.
    pub async fn stop(self) {
        self.stop.cancel();
        self.servers.wait().await;
    }
}

#[cfg(test)]
mod tests;
