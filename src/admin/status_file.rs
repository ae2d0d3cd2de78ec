//! The status as a file, for other containers of the pod without an HTTP client. Without names.

use super::{ResponseSources, status};
use crate::clock::unix_millis;
use crate::escape::escaped_json;
use crate::safe_file::{FilePublisher, FileReaders, OwnFile};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::sleep;

/// Time between two writes.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the file up to date until the last snapshot, and then writes it a last time.
pub async fn keep_status_file(path: PathBuf, mut sources: ResponseSources) {
    let mut file = FilePublisher::new(OwnFile::new(path, FileReaders::Everyone).without_sync());
    loop {
        let changed = sources.snapshot.changed().await;
        let snapshot = sources.snapshot.borrow_and_update().clone();
        let text = status::anonymous(&snapshot, &sources, unix_millis()).to_string();
        if let Err(error) = file.publish(move || Ok(escaped_json(&format!("{text}\n")))).await {
            tracing::warn!(
                event = "status_file.write_failed",
                path = %file.path().to_string_lossy().escape_debug(),
                error.message = %error,
                "the status file could not be written"
            );
        }
        if changed.is_err() {
            return;
        }
        sleep(INTERVAL).await;
    }
}
