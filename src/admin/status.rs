//! `/status`: a snapshot as JSON, with present ages. Key names are stable.
//!
//! The anonymous form has no path, no key, no message that could contain one, and no setting.

use super::{InvalidationStatus, ResponseSources, health};
use crate::clock::rfc3339;
use crate::engine::snapshot::{FinishedOperation, HistoryTotals, ScanResult, Snapshot, Watch};
use crate::engine::{Lane, SLOT_MS};
use crate::exclusivity::RESTORE_INCOMPLETE;
use crate::hints::RelayCounts;
use crate::model::{Operation, QueueRow, UnixMillis};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The version of the format of `/status`: within a version, keys may be added, but not changed.
pub const SCHEMA: u32 = 1;

#[expect(clippy::disallowed_methods, reason = "the status of now: a lease ends by the clock")]
pub(super) fn refusal(sources: &ResponseSources) -> Option<&'static str> {
    sources.writer.refusal(Instant::now()).map(|refusal| refusal.code)
}

/// The whole status, without names.
pub(super) fn anonymous(snapshot: &Snapshot, sources: &ResponseSources, now: UnixMillis) -> Value {
    let counts = &snapshot.counts;
    let oldest = snapshot.survey.oldest.filter(|_| health::waiting(snapshot) > 0);
    let age = |since: UnixMillis| now.saturating_sub(since) / 1000;
    let parked = snapshot.survey.parked.iter();
    let parked: Vec<_> =
        parked.map(|(reason, files)| json!({ "reason": reason, "files": files })).collect();
    let outage = snapshot.outage.as_ref().map(|outage| {
        json!({
            "class": outage.class.as_str(),
            "error_type": outage.code,
            "cause": outage.cause,
            "since": rfc3339(outage.since),
            "seconds": age(outage.since),
        })
    });
    let refusal = refusal(sources);
    let state = health::state(snapshot, refusal);
    let problem = sources.configured.borrow().problem.as_ref().map(|(kind, _)| *kind);
    json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "now": rfc3339(now),
        "started": rfc3339(sources.started),
        "state": state,
        "in_sync": state == "in-sync",
        "cause": health::cause(snapshot, refusal, now),
        "phase": snapshot.phase.as_str(),
        "ready": health::unready(snapshot, now).is_empty(),
        "not_ready_because": health::unready(snapshot, now),
        "shard": { "index": sources.shard.index(), "count": sources.shard.count() },
        "config": { "current": problem.is_none(), "problem": problem },
        "source": source(snapshot),
        "relays": relays(sources, now),
        "s3": { "available": snapshot.outage.is_none(), "outage": outage },
        "pending": {
            "files": health::waiting(snapshot),
            "bytes": counts.bytes,
            "deletes": counts.deletes,
            "running": snapshot.running,
            "prepared": snapshot.prepared,
            "settling": snapshot.settling,
            "oldest": oldest.map(rfc3339),
            "oldest_age_seconds": oldest.map(age),
        },
        "mirrored_files": counts.mirrored,
        "parked": { "files": counts.parked, "reasons": parked },
        "uncovered": uncovered(snapshot),
        "deletes": delete_counts(snapshot, refusal, now),
        "watch": watching(&snapshot.watch),
        "comparison": {
            "running": snapshot.comparing,
            "last": snapshot.history.last_comparison.as_ref().map(comparison),
        },
        "invalidations": sources.invalidations.get().map(|now| invalidations(&now())),
        "totals": totals(&snapshot.history.totals),
        "throughput": throughput(snapshot, now),
        "bandwidth": bandwidth(sources, now),
        "concurrency": { "limit": snapshot.concurrency },
        "lag": lag(snapshot),
        "last_success": snapshot.history.last_success.map(rfc3339),
        "recent": recent(snapshot, None),
    })
}

/// The deletes that wait for approval or for a file in an empty directory.
fn held_deletes(snapshot: &Snapshot) -> u64 {
    health::held_by_limit(snapshot) + health::held_by_emptiness(snapshot)
}

/// How many deletes wait for something else than their turn.
fn delete_counts(snapshot: &Snapshot, refusal: Option<&str>, now: UnixMillis) -> Value {
    let due = snapshot.survey.delayed;
    json!({
        "held": held_deletes(snapshot),
        "delayed": snapshot.counts.delayed,
        "first_due": due.map(|(first, _)| rfc3339(first)),
        "first_due_seconds": due.map(|(first, _)| until(first, now)),
        "last_due_seconds": due.map(|(_, last)| until(last, now)),
        "approval_needed": snapshot.deletes_held,
        "in_window": snapshot.deleted_lately,
        "other_writer": refusal.is_some_and(|code| code != RESTORE_INCOMPLETE),
    })
}

/// The deletes that are held or delayed.
pub(super) fn deletes(snapshot: &Snapshot, rows: &[QueueRow], now: UnixMillis) -> Value {
    let entry = |row: &QueueRow| {
        let state = match &row.parked {
            _ if row.is_delayed() => "delayed",
            Some(_) => "held",
            None if snapshot.deletes_held => "held",
            None => "due",
        };
        json!({
            "path": row.path.to_string(),
            "state": state,
            "since": rfc3339(row.since),
            "age_seconds": now.saturating_sub(row.since) / 1000,
            "due": row.is_delayed().then(|| rfc3339(row.next_try)),
            "due_seconds": row.is_delayed().then(|| until(row.next_try, now)),
            "reason": row.parked.as_ref().filter(|_| !row.is_delayed()).or(row.error.as_ref()),
        })
    };
    json!({
        "held": held_deletes(snapshot),
        "delayed": snapshot.counts.delayed,
        "deletes": snapshot.counts.deletes + snapshot.counts.delayed,
        "entries": rows.iter().map(entry).collect::<Vec<_>>(),
    })
}

/// Seconds until then.
fn until(then: UnixMillis, now: UnixMillis) -> u64 {
    then.saturating_sub(now).div_ceil(1000)
}

fn source(snapshot: &Snapshot) -> Value {
    let problem = &snapshot.source_problem;
    json!({ "available": problem.is_none(), "problem": problem })
}

/// The relays of other nodes.
fn relays(sources: &ResponseSources, now: UnixMillis) -> Value {
    let RelayCounts { fresh, silent } = sources.hints.ledger.relays(now);
    json!({ "fresh": fresh, "silent": silent })
}

fn watching(watch: &Watch) -> Value {
    json!({
        "mode": watch.mode.as_str(),
        "complete": watch.coverage.armed && !watch.coverage.is_poor() && !watch.coverage.lost,
        "watched_directories": watch.coverage.watched,
        "unwatched_directories": watch.coverage.unwatched,
        "unreadable_directories": watch.coverage.unreadable,
        "overflows": watch.coverage.overflows,
        "compared_every_seconds": watch.interval.as_secs(),
        "swept_every_seconds": watch.sweep.map(|interval| interval.as_secs()),
    })
}

/// The coverage gaps by reason.
fn uncovered(snapshot: &Snapshot) -> Value {
    let reasons = snapshot.gaps.iter();
    reasons.map(|(reason, count)| (reason.as_str().to_owned(), json!(count))).collect()
}

/// The uploads of the last minutes, in slots of some seconds, oldest first.
fn throughput(snapshot: &Snapshot, now: UnixMillis) -> Value {
    json!({ "seconds": SLOT_MS / 1000, "bytes": snapshot.history.sent.until(now) })
}

/// The limit on bandwidth at this time, and when a part of the day with another one begins.
fn bandwidth(sources: &ResponseSources, now: UnixMillis) -> Value {
    let current = sources.configured.borrow().bandwidth.at(now);
    json!({ "bytes_per_second": current.rate, "until": current.until.map(rfc3339) })
}

/// The time from detection to upload of the latest changes of each lane.
fn lag(snapshot: &Snapshot) -> Value {
    let seconds = |ms: UnixMillis| Duration::from_millis(ms).as_secs_f64();
    let lane = |lane: Lane| {
        let summary = snapshot.history.lags.summary(lane).map(|lag| {
            json!({
                "changes": lag.changes,
                "median_seconds": seconds(lag.median_ms),
                "p95_seconds": seconds(lag.p95_ms),
                "worst_seconds": seconds(lag.worst_ms),
            })
        });
        (lane.as_str().to_owned(), json!(summary))
    };
    Lane::ALL.into_iter().map(lane).collect()
}

/// The status with names, settings and pending changes.
pub(super) fn named(
    snapshot: &Snapshot,
    sources: &ResponseSources,
    queue: &[QueueRow],
    now: UnixMillis,
) -> Value {
    let mut status = anonymous(snapshot, sources, now);
    let configured = sources.configured.borrow();
    let settings = configured.settings.iter();
    let settings: Vec<_> = settings
        .map(|(key, value, origin)| json!({ "key": key, "value": value, "origin": origin }))
        .collect();
    status["recent"] = recent(snapshot, Some(()));
    let unread = snapshot.unread.iter();
    let unread = unread.map(|(path, why)| json!({ "path": path.to_string(), "reason": why }));
    status["unread"] = unread.collect();
    status["queue"] = queue.iter().map(|row| waiting(row, now)).collect();
    status["settings"] = settings.into();
    status["config"]["message"] = configured.problem.as_ref().map(|(_, why)| &**why).into();
    status
}

/// A row of the queue.
pub(super) fn waiting(row: &QueueRow, now: UnixMillis) -> Value {
    let operation = match row.operation {
        Operation::Put => "upload",
        Operation::Delete => "delete",
    };
    json!({
        "path": row.path.to_string(),
        "operation": operation,
        "bytes": row.version.size,
        "since": rfc3339(row.since),
        "age_seconds": now.saturating_sub(row.since) / 1000,
        "attempts": row.attempts,
        "next_try": row.parked.is_none().then(|| rfc3339(row.next_try)),
        "due_seconds": row.is_delayed().then(|| until(row.next_try, now)),
        "error": row.error,
        "parked": row.parked.as_ref().filter(|_| !row.is_delayed()),
    })
}

fn comparison(last: &ScanResult) -> Value {
    let summary = &last.summary;
    json!({
        "ended": rfc3339(last.ended),
        "seconds": last.took.as_secs_f64(),
        "files": summary.files,
        "new": summary.new,
        "changed": summary.changed,
        "gone": summary.gone,
        "unreadable": summary.unreadable,
        "special": summary.special,
        "mounts": summary.mounts,
    })
}

fn invalidations(status: &InvalidationStatus) -> Value {
    let error = |(at, code): &(UnixMillis, String)| json!({ "at": rfc3339(*at), "code": code });
    json!({
        "waiting_paths": status.waiting,
        "running_requests": status.running,
        "month": {
            "paths": status.spent,
            "limit": (status.limit > 0).then_some(status.limit),
            "exhausted": status.limit > 0 && status.spent >= status.limit,
        },
        "last_success": status.last_success.map(rfc3339),
        "last_error": status.last_error.as_ref().map(error),
        "failing": status.last_error.as_ref().map(|(at, _)| *at) > status.last_success,
    })
}

/// Sums of operations.
pub(super) fn totals(totals: &HistoryTotals) -> Value {
    json!({
        "uploads": totals.uploads,
        "upload_bytes": totals.upload_bytes,
        "copies": totals.copies,
        "unneeded": totals.unneeded,
        "deletes": totals.deletes,
        "failures": totals.failures,
    })
}

fn recent(snapshot: &Snapshot, names: Option<()>) -> Value {
    let entry = |done: &FinishedOperation| {
        let mut entry = json!({
            "at": rfc3339(done.at),
            "operation": done.what,
            "bytes": done.bytes,
            "failure": done.failure,
        });
        if names.is_some() {
            entry["path"] = done.path.to_string().into();
        }
        entry
    };
    snapshot.history.recent.iter().map(entry).collect()
}
