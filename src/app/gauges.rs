//! Gauges that are read at each scrape or export.

use crate::aws::Aws;
use crate::clock::unix_millis;
use crate::config::Config;
use crate::engine::snapshot::{Phase, Snapshot};
use crate::exclusivity::{DeleteGuard, RESTORE_INCOMPLETE};
use crate::invalidate::InvalidationTotals;
use crate::store::InvalidationBacklog;
use crate::telemetry::GaugeValues;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// The kernel's limit of watches per user.
const WATCH_LIMIT: &str = "/proc/sys/fs/inotify/max_user_watches";

/// Returns a function that reads the present values. It waits only for the disk of `state_dir`.
pub(super) fn reader(
    snapshot: watch::Receiver<Snapshot>,
    invalidation: Option<(watch::Receiver<InvalidationBacklog>, Arc<InvalidationTotals>)>,
    aws: Aws,
    config: &Config,
    writer: &Arc<DeleteGuard>,
) -> impl Fn() -> GaugeValues + Send + Sync + 'static {
    let state_dir = config.state_dir.clone();
    let share = config.share;
    let writer = Arc::clone(writer);
    move || {
        let gauges = from_snapshot(&snapshot.borrow());
        let credentials = aws.standing();
        let volume = rustix::fs::statvfs(&state_dir);
        let volume = volume.as_ref().ok();
        let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
        GaugeValues {
            other_writer: Some(is_held_by_other(&writer)),
            shard: Some((share.index(), share.count())),
            state_bytes: bytes_in(&state_dir),
            state_available: volume.map(|volume| bytes(volume.f_bavail, volume.f_frsize)),
            state_capacity: volume.map(|volume| bytes(volume.f_blocks, volume.f_frsize)),
            watch_limit: watch_limit(),
            invalidation_waiting: invalidation
                .as_ref()
                .map(|(backlog, _)| backlog.borrow().unsent()),
            invalidation_paths: invalidation.as_ref().map(|(_, totals)| totals.by_result()),
            credentials_expiry: credentials.expiry,
            credentials_renewed: credentials.renewed,
            credentials_renewals: Some(credentials.renewals),
            ..gauges
        }
    }
}

fn from_snapshot(snapshot: &Snapshot) -> GaugeValues {
    let Snapshot { counts, survey, watch, outage, .. } = snapshot;
    let waits_ms = survey.oldest.map_or(0, |oldest| unix_millis().saturating_sub(oldest));
    GaugeValues {
        pending_files: Some(counts.pending),
        pending_bytes: Some(counts.bytes),
        oldest_pending: Some(waits_ms / 1000),
        parked: Some(survey.parked.clone()),
        gaps: Some(snapshot.gaps),
        deletes_held: Some(if snapshot.deletes_held { counts.deletes + counts.delayed } else { 0 }),
        deletes_delayed: Some(counts.delayed),
        mirrored_files: Some(counts.mirrored),
        concurrency: u64::try_from(snapshot.concurrency).ok().filter(|limit| *limit > 0),
        outage: Some(outage.as_ref().map_or("", |outage| outage.class.as_str())),
        source_available: Some(snapshot.phase != Phase::WaitingForSource && !snapshot.source_empty),
        watch_mode: Some(watch.mode.as_str()),
        watched: Some(watch.coverage.watched),
        unwatched: Some(watch.coverage.unwatched + watch.coverage.unreadable),
        overflows: Some(watch.coverage.overflows),
        ..GaugeValues::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "measured now: a lease ends by the clock")]
fn now() -> Instant {
    Instant::now()
}

fn watch_limit() -> Option<u64> {
    fs::read_to_string(WATCH_LIMIT).ok()?.trim().parse().ok()
}

/// Bytes of the files in `directory`. Subdirectories do not count, because they contain only marks.
fn bytes_in(directory: &Path) -> Option<u64> {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(directory).ok()? {
        let metadata = entry.and_then(|entry| entry.metadata());
        let file = metadata.ok().filter(fs::Metadata::is_file);
        bytes = bytes.saturating_add(file.map_or(0, |file| file.len()));
    }
    Some(bytes)
}

/// Whether another writer, or the doubt whether there is one, holds deletes back.
fn is_held_by_other(writer: &DeleteGuard) -> bool {
    writer.refusal(now()).is_some_and(|refusal| refusal.code != RESTORE_INCOMPLETE)
}
