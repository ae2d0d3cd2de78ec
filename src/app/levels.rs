//! How things stand, for whoever measures: asked for, never pushed.

use crate::aws::Aws;
use crate::clock::unix_millis;
use crate::config::Config;
use crate::engine::snapshot::{Phase, Snapshot};
use crate::invalidate::Totals;
use crate::store::Backlog;
use crate::telemetry::Levels;
use crate::writer::OneWriter;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Where the kernel says how many watches a user may have.
const WATCH_LIMIT: &str = "/proc/sys/fs/inotify/max_user_watches";

/// Tells how things stand, each time it is called. Waits for nothing but the disk of `state_dir`.
pub(super) fn of(
    snapshot: watch::Receiver<Snapshot>,
    told: Option<(watch::Receiver<Backlog>, Arc<Totals>)>,
    aws: Aws,
    config: &Config,
    writer: Arc<OneWriter>,
) -> impl Fn() -> Levels + Send + Sync + 'static {
    let (state_dir, share) = (config.state_dir.clone(), config.share);
    move || {
        let levels = of_snapshot(&snapshot.borrow());
        let credentials = aws.standing();
        let volume = rustix::fs::statvfs(&state_dir);
        let volume = volume.as_ref().ok();
        let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
        Levels {
            other_writer: Some(writer.refusal(now()).is_some()),
            shard: Some((share.index(), share.count())),
            state_bytes: bytes_in(&state_dir),
            state_available: volume.map(|volume| bytes(volume.f_bavail, volume.f_frsize)),
            state_capacity: volume.map(|volume| bytes(volume.f_blocks, volume.f_frsize)),
            watch_limit: watch_limit(),
            invalidation_waiting: told.as_ref().map(|(backlog, _)| backlog.borrow().untold()),
            invalidation_paths: told.as_ref().map(|(_, totals)| totals.by_result()),
            credentials_expiry: credentials.expiry,
            credentials_renewed: credentials.renewed,
            credentials_renewals: Some(credentials.renewals),
            ..levels
        }
    }
}

fn of_snapshot(snapshot: &Snapshot) -> Levels {
    let Snapshot { counts, survey, watch, outage, .. } = snapshot;
    let waits_ms = survey.oldest.map_or(0, |oldest| unix_millis().saturating_sub(oldest));
    Levels {
        pending_files: Some(counts.pending),
        pending_bytes: Some(counts.bytes),
        oldest_pending: Some(waits_ms / 1000),
        parked: Some(survey.parked.clone()),
        deletes_held: Some(if snapshot.deletes_held { counts.deletes } else { 0 }),
        mirrored_files: Some(counts.mirrored),
        outage: Some(outage.map_or("", |outage| outage.class.as_str())),
        source_available: Some(snapshot.phase != Phase::WaitingForSource),
        watch_mode: Some(watch.mode.as_str()),
        watched: Some(watch.coverage.watched),
        unwatched: Some(watch.coverage.unwatched + watch.coverage.unreadable),
        overflows: Some(watch.coverage.overflows),
        ..Levels::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "measured now: a lease ends by the clock")]
fn now() -> Instant {
    Instant::now()
}

fn watch_limit() -> Option<u64> {
    fs::read_to_string(WATCH_LIMIT).ok()?.trim().parse().ok()
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
