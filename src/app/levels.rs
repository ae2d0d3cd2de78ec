//! How things stand, for whoever measures: asked for, never pushed.

use crate::engine::snapshot::Snapshot;
use crate::invalidate::Totals;
use crate::store::{Backlog, Counts};
use crate::telemetry::Levels;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

/// Tells how things stand, each time it is called. Waits for nothing but the disk of `state_dir`.
pub(super) fn of(
    snapshot: watch::Receiver<Snapshot>,
    told: Option<(watch::Receiver<Backlog>, Arc<Totals>)>,
    state_dir: PathBuf,
) -> impl Fn() -> Levels + Send + Sync + 'static {
    move || {
        let Counts { mirrored, pending, parked, .. } = snapshot.borrow().counts;
        let volume = rustix::fs::statvfs(&state_dir);
        let volume = volume.as_ref().ok();
        let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
        Levels {
            pending_files: Some(pending),
            // Of why the record is not asked here.
            parked: Some(vec![(String::new(), parked)]),
            mirrored_files: Some(mirrored),
            invalidation_waiting: told.as_ref().map(|(backlog, _)| backlog.borrow().untold()),
            invalidation_paths: told.as_ref().map(|(_, totals)| totals.by_result()),
            state_bytes: bytes_in(&state_dir),
            state_available: volume.map(|volume| bytes(volume.f_bavail, volume.f_frsize)),
            state_capacity: volume.map(|volume| bytes(volume.f_blocks, volume.f_frsize)),
            ..Levels::default()
        }
    }
}

/// Bytes of the files in `directory`. What is below does not count: there is nothing but marks.
fn bytes_in(directory: &Path) -> Option<u64> {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(directory).ok()? {
        let metadata = entry.and_then(|entry| entry.metadata());
        let file = metadata.ok().filter(fs::Metadata::is_file);
        bytes = bytes.saturating_add(file.map_or(0, |file| file.len()));
    }
    Some(bytes)
}
