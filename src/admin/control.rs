//! Control requests, which use `POST` only. [`authority`](super::authority) decides who may send
//! them.

use super::handler_state::HandlerState;
use super::{answers, health, status};
use crate::clock::unix_millis;
use crate::engine::FlushResult;
use crate::engine::control::{ControlError, ControlRequest as Ask};
use crate::model::{GapReason, RelPath};
use axum::body::{Body, to_bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The default timeout of a flush.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest timeout of a flush.
const FLUSH_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// Maximum size of a request body.
const BODY_BYTES_MAX: usize = 256 << 10;

type ControlState = State<Arc<HandlerState>>;

#[derive(Debug, Deserialize)]
pub(super) struct FlushQuery {
    timeout: Option<String>,
}

/// Responds when every change made before the call is in S3.
pub(super) async fn flush(
    State(shared): ControlState,
    Query(flush): Query<FlushQuery>,
) -> Response {
    let patience = match flush.timeout.as_deref().map(duration) {
        None => FLUSH_TIMEOUT,
        Some(Some(patience)) if patience <= FLUSH_TIMEOUT_MAX => patience,
        Some(_) => return bad("timeout: write seconds up to an hour, such as 60s"),
    };
    let began = unix_millis();
    let flushed = match timeout(patience, flushed(&shared, patience)).await {
        Ok(Ok(flushed)) if flushed.is_complete() => {
            let took = Duration::from_millis(unix_millis().saturating_sub(began));
            let answer = json!({
                "flushed": true,
                "skipped": flushed.gaps.count(GapReason::Skipped),
                "seconds": took.as_secs_f64(),
                "done": status::totals(&flushed.done),
            });
            return answers::json(StatusCode::OK, &answer);
        }
        Ok(Ok(flushed)) => Some(flushed),
        Ok(Err(refusal)) => return refused(refusal),
        Err(_) => None,
    };
    let snapshot = shared.sources.snapshot.borrow();
    let gaps = flushed.map_or(snapshot.gaps, |flushed| flushed.gaps);
    let refusal = status::refusal(&shared.sources);
    let cause = gaps.cause().or_else(|| health::cause(&snapshot, refusal, unix_millis()));
    let left = json!({
        "flushed": false,
        "cause": cause,
        "timed_out": flushed.is_none(),
        "left": {
            "pending": snapshot.counts.pending.saturating_sub(snapshot.counts.parked),
            "settling": snapshot.settling,
            "parked": snapshot.counts.parked,
            "unreadable": gaps.count(GapReason::Unreadable),
            "unlisted": gaps.count(GapReason::Unlisted),
            "unwatched": gaps.count(GapReason::Unwatched),
            "restless": gaps.count(GapReason::Restless),
            "held": gaps.count(GapReason::Held),
            "over_limit": gaps.count(GapReason::OverLimit),
            "skipped": gaps.count(GapReason::Skipped),
            "deletes_held": if snapshot.deletes_held { snapshot.counts.deletes } else { 0 },
            "deletes_delayed": snapshot.counts.delayed,
            "outage": snapshot.outage.as_ref().map(|outage| outage.class.as_str()),
        },
    });
    answers::json(StatusCode::GATEWAY_TIMEOUT, &left)
}

/// Waits for a flush, and begins another one if the configuration was exchanged meanwhile.
async fn flushed(shared: &HandlerState, patience: Duration) -> Result<FlushResult, ControlError> {
    loop {
        let asked = shared.sources.control.ask(|answer| Ask::Flush { patience, answer }).await;
        if !matches!(asked, Err(ControlError::Reconfigured)) {
            return asked;
        }
    }
}

/// Starts a scan of the whole tree.
pub(super) async fn rescan(State(shared): ControlState) -> Response {
    to_response(shared.sources.control.ask(Ask::Rescan).await.map(|()| json!({ "rescan": true })))
}

/// Announces the end of the pod.
pub(super) async fn prestop(State(shared): ControlState) -> Response {
    to_response(shared.sources.control.announce_end().await.map(|()| json!({ "prestop": true })))
}

#[derive(Debug, Deserialize)]
pub(super) struct ApprovalQuery {
    expect: Option<u64>,
}

/// Approves the held and delayed deletes, if their number is the expected one.
pub(super) async fn approve_deletes(
    State(shared): ControlState,
    Query(ApprovalQuery { expect }): Query<ApprovalQuery>,
) -> Response {
    let asked = shared.sources.control.ask(|answer| Ask::ApproveDeletes { expect, answer }).await;
    about_deletes(asked, expect, "approved")
}

/// Cancels them, so that their objects stay.
pub(super) async fn cancel_deletes(
    State(shared): ControlState,
    Query(ApprovalQuery { expect }): Query<ApprovalQuery>,
) -> Response {
    let asked = shared.sources.control.ask(|answer| Ask::CancelDeletes { expect, answer }).await;
    about_deletes(asked, expect, "cancelled")
}

fn about_deletes(
    asked: Result<u64, ControlError>,
    expect: Option<u64>,
    done: &'static str,
) -> Response {
    match (asked, expect) {
        (Ok(deletes), Some(expected)) if deletes != expected => {
            let error = format!(
                "{deletes} deletes are held or delayed, not {expected}; nothing was {done}"
            );
            answers::json(StatusCode::CONFLICT, &json!({ "error": error, "deletes": deletes }))
        }
        (asked, _) => to_response(asked.map(|deletes| json!({ done: deletes }))),
    }
}

#[derive(Debug, Deserialize)]
struct RetryBody {
    paths: Vec<String>,
}

/// Retries everything that is pending, or the paths in the body: `{"paths": ["a/b.txt"]}`.
pub(super) async fn retry(State(shared): ControlState, body: Body) -> Response {
    let body = match read(body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let paths = if body.is_empty() {
        None
    } else {
        let Ok(RetryBody { paths }) = serde_json::from_str(&body) else {
            return bad("the body: write {\"paths\": [\"a/b.txt\"]}, or nothing for everything");
        };
        let watch_path = &shared.sources.watch_path;
        match paths.iter().map(|path| rel_path(watch_path, path)).collect::<Result<_, _>>() {
            Ok(paths) => Some(paths),
            Err(wrong) => return bad(&wrong),
        }
    };
    let retried = shared.sources.control.ask(|answer| Ask::Retry(paths, answer)).await;
    // During an outage, one attempt probes the store.
    let outage =
        shared.sources.snapshot.borrow().outage.as_ref().map(|outage| outage.cause.clone());
    to_response(retried.map(|retried| {
        json!({
            "scheduled": retried.scheduled,
            "tried": if outage.is_some() { retried.scheduled.min(1) } else { retried.scheduled },
            "outage": outage,
            "not_queued": retried.not_queued.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }))
}

/// Sets the log level: `info`, or directives like those of `RUST_LOG`.
pub(super) async fn log_level(State(shared): ControlState, body: Body) -> Response {
    let body = match read(body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    match (shared.sources.log_level)(body.trim()) {
        Ok(()) => {
            tracing::info!(event = "log.level_changed", level = body.trim(), "log level changed");
            answers::json(StatusCode::OK, &json!({ "log_level": body.trim() }))
        }
        Err(wrong) => bad(&wrong),
    }
}

/// Parses a path below the watched directory, or one that starts with it.
fn rel_path(watch_path: &Path, path: &str) -> Result<RelPath, String> {
    let path = Path::new(path);
    let inside = path.strip_prefix(watch_path).unwrap_or(path);
    RelPath::new(inside.as_os_str().as_encoded_bytes())
        .map_err(|error| format!("{path:?}: {error}"))
}

async fn read(body: Body) -> Result<String, Response> {
    let too_large = |_| {
        let text = format!("a body has {BODY_BYTES_MAX} bytes at most\n");
        (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
    };
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.map_err(too_large)?;
    String::from_utf8(bytes.into()).map_err(|_| bad("the body is not UTF-8"))
}

fn to_response(answer: Result<serde_json::Value, ControlError>) -> Response {
    match answer {
        Ok(value) => answers::json(StatusCode::OK, &value),
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: ControlError) -> Response {
    let error = json!({ "error": refusal.to_string() });
    answers::json(StatusCode::SERVICE_UNAVAILABLE, &error)
}

fn bad(wrong: &str) -> Response {
    answers::json(StatusCode::BAD_REQUEST, &json!({ "error": wrong }))
}

/// `60s`, `500ms`, `2m`, or seconds without a unit.
fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(3_600)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_write_them() {
        let seconds = |text| duration(text).map(|time| time.as_millis());
        assert_eq!(seconds("60s"), Some(60_000));
        assert_eq!(seconds("90"), Some(90_000));
        assert_eq!(seconds("500ms"), Some(500));
        assert_eq!(seconds("2m"), Some(120_000));
        for wrong in ["", "s", "-1s", "1.5s", "1 s", "99999999999999999999", "1d"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn paths_may_be_written_whole_or_from_the_watched_directory() {
        let watch_path = Path::new("/data");
        let shown = |path| rel_path(watch_path, path).map(|path| path.to_string());
        assert_eq!(shown("a/b").as_deref(), Ok("a/b"));
        assert_eq!(shown("/data/a/b").as_deref(), Ok("a/b"));
        assert!(shown("/etc/passwd").is_err() && shown("../a").is_err());
    }
}
