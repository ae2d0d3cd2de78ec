//! How the daemon is told to stop: SIGTERM (Kubernetes, systemd) and SIGINT (a person at a terminal)
//! mean the same. The first asks for an orderly end, the second for an immediate one.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two stages of an end. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    requested: CancellationToken,
    forced: CancellationToken,
}

impl Shutdown {
    /// Listens to the process's signals from now on.
    ///
    /// # Errors
    ///
    /// If the process may not.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::default();
        let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn(listen(signals, shutdown.clone()));
        Ok(shutdown)
    }

    /// Asks for an orderly end.
    pub fn request(&self) {
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

    /// Resolves when it has to be at once.
    pub async fn forced(&self) {
        self.forced.cancelled().await;
    }
}

async fn listen((mut terminate, mut interrupt): (Signal, Signal), shutdown: Shutdown) {
    for stage in [&shutdown.requested, &shutdown.forced] {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(event = "shutdown.signal", signal = name, "told to stop");
        stage.cancel();
    }
}
