//! Ctrl-C and SIGTERM.

use file_sync_dev_s3::now;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often a sleeper looks whether it was interrupted.
const STEP: Duration = Duration::from_millis(20);

/// Whether the user wants this to end, and how urgently.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// From now on the signals no longer end the process by themselves.
    ///
    /// # Errors
    ///
    /// If the process may not.
    pub fn install() -> io::Result<Self> {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        drop(entered);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        })?;
        Ok(Self(count))
    }

    /// Whether this is to end.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Whether this is to end at once, without waiting for anybody.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }

    /// Sleeps; false if that was interrupted.
    #[must_use]
    pub fn sleep(&self, time: Duration) -> bool {
        let until = now() + time;
        while !self.is_set() {
            let left = until.saturating_duration_since(now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(STEP));
        }
        false
    }
}
