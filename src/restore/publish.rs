//! Puts staged files in their places, and records them in the state.
//!
//! # Order
//!
//! The content of a batch is durable before its files get their names, and the names are durable before the
//! state records them: a record of a file that a power failure took away would delete the object.

use super::download::StagedFile;
use super::{RestoreError, RestoreEvent};
use crate::model::{Fingerprint, ObjectRecord, RootGeneration};
use crate::root::{PlaceError, Staging, Stat, now_ns};
use crate::store::{Change, Store};
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Maximum number of staged files that wait for their places.
pub(super) const STAGED_MAX: usize = 2_048;
/// Maximum number of files that are put in their places, and recorded, at once.
const BATCH_MAX: usize = 1_024;

/// Puts files in their places.
#[derive(Debug)]
pub(super) struct RestorePublisher {
    pub(super) staging: Arc<Staging>,
    pub(super) store: Store,
    pub(super) epoch: RootGeneration,
}

type Placed = (StagedFile, Result<Stat, PlaceError>);

impl RestorePublisher {
    /// Takes everything that comes.
    pub(super) async fn run(
        self,
        mut staged: mpsc::Receiver<StagedFile>,
        events: mpsc::Sender<RestoreEvent>,
    ) -> Result<(), RestoreError> {
        loop {
            let mut batch = Vec::new();
            if staged.recv_many(&mut batch, BATCH_MAX).await == 0 {
                return Ok(());
            }
            let staging = Arc::clone(&self.staging);
            let placed = match tokio::task::spawn_blocking(move || place_all(&staging, batch)).await
            {
                Ok(placed) => placed.map_err(RestoreError::Disk)?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            };
            let mut changes = Vec::with_capacity(placed.len());
            let mut published = Vec::with_capacity(placed.len());
            for (file, result) in placed {
                match result {
                    Ok(stat) => {
                        if file.is_recorded {
                            let etag = file.etag.clone();
                            let row = record(file.crc64nvme, etag, stat.fingerprint, self.epoch);
                            changes.push(Change::Mirrored(file.path.clone(), row));
                        }
                        published.push(RestoreEvent::Restored { bytes: file.size });
                    }
                    Err(error) => {
                        let reason = error.to_string();
                        // What it says of a file that is not there would delete the object.
                        changes.push(Change::Forgotten(file.path.clone()));
                        published
                            .push(RestoreEvent::Skipped { name: file.path.to_string(), reason });
                    }
                }
            }
            self.store.write(changes).await?;
            for event in published {
                // Without a receiver the events are not needed.
                events.send(event).await.ok();
            }
        }
    }
}

/// What the state says of a file that was just restored.
///
/// A write in the same clock tick would not change `ctime`, but it would change `mtime`, which was set to a
/// time in the past. So a record is racy only if that time is not past.
pub(super) fn record(
    crc64nvme: u64,
    etag: Option<String>,
    fingerprint: Fingerprint,
    epoch: RootGeneration,
) -> ObjectRecord {
    let racy = Fingerprint { ctime_ns: fingerprint.mtime_ns, ..fingerprint }.is_racy(now_ns());
    ObjectRecord { fingerprint, crc64nvme, etag, racy, epoch, head: None }
}

/// Puts the files of a batch in their places, directory by directory. Blocks.
fn place_all(staging: &Staging, mut batch: Vec<StagedFile>) -> io::Result<Vec<Placed>> {
    batch.sort_unstable_by(|left, right| left.path.cmp(&right.path));
    staging.sync()?;
    let mut placed = Vec::with_capacity(batch.len());
    let mut files = batch.into_iter().peekable();
    while let Some(first) = files.next() {
        // Only the watched directory itself has none.
        let Some(parent) = first.path.parent() else { continue };
        let mut together = vec![first];
        while let Some(file) = files.next_if(|file| file.path.parent().as_ref() == Some(&parent)) {
            together.push(file);
        }
        match staging.directory(&parent) {
            Ok(directory) => {
                for file in together {
                    let result = fatal_or(staging.place(&file.name, &directory, &file.path))?;
                    placed.push((file, result));
                }
                staging.sync_directory(&directory)?;
            }
            Err(error) => {
                let error = match fatal_or::<()>(Err(error))? {
                    Err(error) => error.to_string(),
                    Ok(()) => String::new(),
                };
                for file in together {
                    placed.push((file, Err(PlaceError::Directory(error.clone()))));
                }
            }
        }
    }
    staging.sync()?;
    Ok(placed)
}

/// Separates what is about one name from what is about the disk.
fn fatal_or<T>(result: Result<T, PlaceError>) -> io::Result<Result<T, PlaceError>> {
    match result {
        Err(PlaceError::Io(error)) => Err(error),
        result => Ok(result),
    }
}
