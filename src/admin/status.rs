//! `/status`: a snapshot as JSON, with ages as of now. Names of keys are promises.
//!
//! Without names: no path, no key, no message that could hold one, and no setting.

use super::{Invalidating, Sources, health};
use crate::engine::SLOT_MS;
use crate::engine::snapshot::{Comparison, Done, Snapshot};
use crate::model::{Operation, Pending, UnixMillis};
use serde_json::{Value, json};
use std::time::Instant;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The version of what `/status` answers: a key may be added within one, never changed.
pub const SCHEMA: u32 = 1;

#[expect(clippy::disallowed_methods, reason = "told as of now: a lease ends by the clock")]
fn is_other_writer(sources: &Sources) -> bool {
    sources.writer.refusal(Instant::now()).is_some()
}

/// Everything, without names.
pub(super) fn anonymous(snapshot: &Snapshot, sources: &Sources, now: UnixMillis) -> Value {
    let counts = &snapshot.counts;
    let oldest = snapshot.survey.oldest.filter(|_| health::waiting(snapshot) > 0);
    let age = |since: UnixMillis| now.saturating_sub(since) / 1000;
    let parked = snapshot.survey.parked.iter();
    let parked: Vec<_> =
        parked.map(|(reason, files)| json!({ "reason": reason, "files": files })).collect();
    let outage = snapshot.outage.map(|outage| {
        json!({
            "class": outage.class.as_str(),
            "since": rfc3339(outage.since),
            "seconds": age(outage.since),
        })
    });
    let watch = &snapshot.watch;
    let state = health::state(snapshot);
    let problem = sources.configured.borrow().problem.as_ref().map(|(kind, _)| *kind);
    json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "now": rfc3339(now),
        "started": rfc3339(sources.started),
        "state": state,
        "in_sync": state == "in-sync",
        "phase": snapshot.phase.as_str(),
        "ready": health::unready(snapshot, now).is_empty(),
        "not_ready_because": health::unready(snapshot, now),
        "config": { "current": problem.is_none(), "problem": problem },
        "source": {
            "available": snapshot.source_problem.is_none(),
            "problem": snapshot.source_problem,
        },
        "s3": { "available": snapshot.outage.is_none(), "outage": outage },
        "pending": {
            "files": health::waiting(snapshot),
            "bytes": counts.bytes,
            "deletes": counts.deletes,
            "running": snapshot.running,
            "settling": snapshot.settling,
            "oldest": oldest.map(rfc3339),
            "oldest_age_seconds": oldest.map(age),
        },
        "mirrored_files": counts.mirrored,
        "parked": { "files": counts.parked, "reasons": parked },
        "deletes": {
            "held": if snapshot.deletes_held { counts.deletes } else { 0 },
            "approval_needed": snapshot.deletes_held,
            "other_writer": is_other_writer(sources),
        },
        "watch": {
            "mode": watch.mode.as_str(),
            "complete": watch.coverage.armed && !watch.coverage.is_poor(),
            "watched_directories": watch.coverage.watched,
            "unwatched_directories": watch.coverage.unwatched,
            "unreadable_directories": watch.coverage.unreadable,
            "overflows": watch.coverage.overflows,
            "compared_every_seconds": watch.interval.as_secs(),
        },
        "comparison": {
            "running": snapshot.comparing,
            "last": snapshot.history.last_comparison.as_ref().map(comparison),
        },
        "invalidations": sources.invalidations.get().map(|now| invalidations(&now())),
        "totals": totals(snapshot),
        "throughput": throughput(snapshot, now),
        "last_success": snapshot.history.last_success.map(rfc3339),
        "recent": recent(snapshot, None),
    })
}

/// What was sent in the last minutes, in slots of some seconds, the oldest first.
fn throughput(snapshot: &Snapshot, now: UnixMillis) -> Value {
    json!({ "seconds": SLOT_MS / 1000, "bytes": snapshot.history.sent.until(now) })
}

/// The same with names, settings and what waits.
pub(super) fn named(
    snapshot: &Snapshot,
    sources: &Sources,
    queue: &[Pending],
    now: UnixMillis,
) -> Value {
    let mut status = anonymous(snapshot, sources, now);
    let configured = sources.configured.borrow();
    let settings = configured.settings.iter();
    let settings: Vec<_> = settings
        .map(|(key, value, origin)| json!({ "key": key, "value": value, "origin": origin }))
        .collect();
    status["recent"] = recent(snapshot, Some(()));
    status["queue"] = queue.iter().map(|row| waiting(row, now)).collect();
    status["settings"] = settings.into();
    status["config"]["message"] = configured.problem.as_ref().map(|(_, why)| &**why).into();
    status
}

/// A row of the queue.
pub(super) fn waiting(row: &Pending, now: UnixMillis) -> Value {
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
        "error": row.error,
        "parked": row.parked,
    })
}

fn comparison(last: &Comparison) -> Value {
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

fn invalidations(told: &Invalidating) -> Value {
    let error = |(at, code): &(UnixMillis, String)| json!({ "at": rfc3339(*at), "code": code });
    json!({
        "waiting_paths": told.waiting,
        "running_requests": told.running,
        "month": {
            "paths": told.spent,
            "limit": (told.limit > 0).then_some(told.limit),
            "exhausted": told.limit > 0 && told.spent >= told.limit,
        },
        "last_success": told.last_success.map(rfc3339),
        "last_error": told.last_error.as_ref().map(error),
        "failing": told.last_error.as_ref().map(|(at, _)| *at) > told.last_success,
    })
}

fn totals(snapshot: &Snapshot) -> Value {
    let totals = &snapshot.history.totals;
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
    let entry = |done: &Done| {
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

/// A moment as people and programs write it, to the second and more.
pub(super) fn rfc3339(at: UnixMillis) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000);
    at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
