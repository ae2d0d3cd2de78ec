//! A file that is replaced repeatedly while the service runs, on threads that may block.

use super::OwnFile;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Maximum time of a write. A slower one continues on its thread, and the caller goes on, the end
/// of the program included.
const WRITE_PATIENCE: Duration = Duration::from_secs(3);

/// Publishes versions of one file, never two at a time.
#[derive(Debug)]
pub struct FilePublisher {
    path: PathBuf,
    file: Arc<Mutex<OwnFile>>,
    /// A write that took longer than [`WRITE_PATIENCE`].
    under_way: Option<JoinHandle<io::Result<()>>>,
}

impl FilePublisher {
    /// Creates a publisher of this file.
    #[must_use]
    pub fn new(file: OwnFile) -> Self {
        let path = file.path.clone();
        Self { path, file: Arc::new(Mutex::new(file)), under_way: None }
    }

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file with the result of `content`, which may block.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or is not within three seconds.
    pub async fn publish<T: AsRef<[u8]>>(
        &mut self,
        content: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<()> {
        let earlier = match self.under_way.take() {
            Some(earlier) => self.finished(earlier).await.is_none(),
            None => false,
        };
        if earlier {
            return Err(late());
        }
        let file = Arc::clone(&self.file);
        let write = tokio::task::spawn_blocking(move || {
            let content = content()?;
            file.lock().unwrap_or_else(PoisonError::into_inner).replace(content.as_ref())
        });
        self.finished(write).await.unwrap_or_else(|| Err(late()))
    }

    /// The result of a write, if it has ended in time. Otherwise it is kept.
    async fn finished(&mut self, mut write: JoinHandle<io::Result<()>>) -> Option<io::Result<()>> {
        if let Ok(written) = timeout(WRITE_PATIENCE, &mut write).await {
            return Some(written.unwrap_or_else(|panic| Err(io::Error::other(panic))));
        }
        self.under_way = Some(write);
        None
    }
}

fn late() -> io::Error {
    let message = format!("the file system has not written it within {WRITE_PATIENCE:?}");
    io::Error::new(io::ErrorKind::TimedOut, message)
}
