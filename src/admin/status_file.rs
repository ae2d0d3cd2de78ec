//! The status as a file, for other containers of the pod that have no HTTP client. Without names.

use super::{Sources, status};
use crate::clock::unix_millis;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::sleep;

/// Time between two writes.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keeps the file up to date until nobody tells anything new, and then writes it a last time.
pub async fn keep_status_file(path: PathBuf, mut sources: Sources) {
    loop {
        let told = sources.snapshot.changed().await;
        let snapshot = sources.snapshot.borrow_and_update().clone();
        let text = status::anonymous(&snapshot, &sources, unix_millis()).to_string();
        let target = path.clone();
        let written = tokio::task::spawn_blocking(move || replace(&target, &text)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(
                event = "status_file.write_failed",
                path = %path.to_string_lossy().escape_debug(),
                error.message = %error,
                "the status file could not be written"
            );
        }
        if told.is_err() {
            return;
        }
        sleep(INTERVAL).await;
    }
}

/// Whoever reads it sees the old or the new one, never a part.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = std::fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    drop(file);
    std::fs::rename(&new, path)
}
