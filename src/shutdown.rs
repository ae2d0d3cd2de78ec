//! The signals that stop the daemon: SIGTERM (Kubernetes, systemd) and SIGINT (a person at a terminal)
//! mean the same. The first asks for an orderly end, the second for an immediate one.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The two stages of an end. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    requested: CancellationToken,
    forced: CancellationToken,
    /// When the end was asked for.
    at: Arc<OnceLock<Instant>>,
}

/// Notes signals before the runtime exists.
#[derive(Debug)]
pub struct EarlySignals(Arc<AtomicBool>);

impl EarlySignals {
    /// Notes the signals of the process from now on.
    ///
    /// # Errors
    ///
    /// If the process may not.
    pub fn note() -> std::io::Result<Self> {
        let noted = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&noted))?;
        }
        Ok(Self(noted))
    }
}

impl Shutdown {
    /// Listens to the signals of the process from now on. A signal that was noted before counts as the
    /// request for an orderly end.
    ///
    /// # Errors
    ///
    /// If the process may not.
    pub fn on_signals(early: &EarlySignals) -> std::io::Result<Self> {
        let shutdown = Self::default();
        let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn(listen(signals, shutdown.clone()));
        // A signal that comes now is both noted and heard; it counts once.
        if early.0.load(Ordering::SeqCst) {
            shutdown.request();
        }
        Ok(shutdown)
    }

    /// Asks for an orderly end.
    pub fn request(&self) {
        self.at.get_or_init(Instant::now);
        self.requested.cancel();
    }

    /// Resolves when an end was asked for.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Whether an end was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// The moment `patience` after the end was asked for, whatever is begun since; that long from now
    /// if it was not.
    #[must_use]
    pub fn deadline(&self, patience: Duration) -> Instant {
        self.at.get().copied().unwrap_or_else(Instant::now) + patience
    }

    /// Resolves when it has to be at once.
    pub async fn forced(&self) {
        self.forced.cancelled().await;
    }
}

async fn listen((mut terminate, mut interrupt): (Signal, Signal), shutdown: Shutdown) {
    for is_first in [true, false] {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(event = "shutdown.signal", signal = name, "shutting down");
        if is_first {
            shutdown.request();
        } else {
            shutdown.forced.cancel();
        }
    }
}
