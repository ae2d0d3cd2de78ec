//! The log level, which can be changed while the program runs.

use super::{InitError, filter};
use std::fmt;
use std::sync::Arc;
use tracing::Subscriber;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::reload;

/// Sets the level. Cheap to clone.
#[derive(Clone)]
pub struct LogLevel(Arc<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl LogLevel {
    pub(super) fn new<S: Subscriber + 'static>(handle: reload::Handle<EnvFilter, S>) -> Self {
        Self(Arc::new(move |filter| handle.reload(filter)))
    }

    /// Sets the level to a value of `log_level`.
    ///
    /// # Errors
    ///
    /// If it is neither a level nor directives; then nothing changes.
    pub fn set(&self, written: &str) -> Result<(), InitError> {
        let filter = filter(written)?;
        // The subscriber lives as long as the process.
        drop((self.0)(filter));
        Ok(())
    }
}

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLevel").finish_non_exhaustive()
    }
}
