//! Which path answers what, on which address.

use super::status;
use super::{Sources, answers, control, guard, health, page};
use crate::clock::unix_millis;
use crate::engine::control::{Refusal, Request as Ask};
use crate::model::{Pending, UnixMillis};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// The loop has this long for a sign of life, so that a probe is answered within its second …
const PING_PATIENCE: Duration = Duration::from_millis(500);
/// … and is held to be stuck when there was none for so long.
const LIVE_PATIENCE_MS: UnixMillis = 30_000;
/// Rows of the queue in a status, and where nobody says how many.
const ROWS: usize = 20;
/// Rows of the queue that may be asked for.
const ROWS_MAX: usize = 10_000;

/// What the handlers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) sources: Sources,
    /// When the loop was first asked for a sign of life that has not come.
    silent_since: Mutex<Option<UnixMillis>>,
}

impl Shared {
    pub(super) fn new(sources: Sources) -> Arc<Self> {
        Arc::new(Self { sources, silent_since: Mutex::new(None) })
    }

    /// Asks the loop for a sign of life. Answers for how long there has been none.
    async fn silence(&self) -> UnixMillis {
        let asked = unix_millis();
        let sign = timeout(PING_PATIENCE, self.sources.control.ask(Ask::Ping)).await;
        let mut since = self.silent_since.lock().unwrap_or_else(PoisonError::into_inner);
        // A full channel is no sign of life; a loop that has ended was told to.
        if matches!(sign, Ok(Ok(()) | Err(Refusal::Stopping))) {
            *since = None;
            return 0;
        }
        unix_millis().saturating_sub(*since.get_or_insert(asked))
    }

    async fn rows(&self, limit: usize) -> Vec<Pending> {
        // What cannot be read is shown as nothing.
        let rows = self.sources.control.ask(|answer| Ask::Queued(limit, answer)).await;
        rows.unwrap_or_default()
    }
}

type Handle = State<Arc<Shared>>;

/// What everybody may see.
pub(super) fn public(shared: Arc<Shared>) -> Router {
    let status = if shared.sources.file_names { get(status_named) } else { get(status) };
    let names = shared.sources.file_names;
    seen(names)
        .route("/status", status)
        .layer(from_fn(answers::in_time))
        .with_state(shared)
        .layer(from_fn(answers::headers))
}

/// The same with names, and what changes something.
pub(super) fn admin(shared: Arc<Shared>) -> Router {
    seen(true)
        .route("/status", get(status_named))
        .route("/-/rescan", post(control::rescan))
        .route("/-/prestop", post(control::prestop))
        .route("/-/approve-deletes", post(control::approve_deletes))
        .route("/-/retry", post(control::retry))
        .route("/-/log-level", post(control::log_level))
        .layer(from_fn(answers::in_time))
        // It bounds its time by itself.
        .route("/-/flush", post(control::flush))
        .with_state(shared)
        .layer(from_fn(guard::local_only))
        .layer(from_fn(answers::headers))
}

fn seen(names: bool) -> Router<Arc<Shared>> {
    let routes = Router::new()
        .route("/livez", get(live))
        .route("/startupz", get(started))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/", get(page::html))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::js));
    if names { routes.route("/queue", get(queue)) } else { routes }
}

async fn live(State(shared): Handle, headers: HeaderMap) -> Response {
    let silence = shared.silence().await;
    let reason = (silence > LIVE_PATIENCE_MS)
        .then(|| format!("the event loop has not answered for {} s", silence / 1000));
    probe(&headers, "live", reason.as_slice())
}

async fn started(State(shared): Handle, headers: HeaderMap) -> Response {
    let started = health::is_started(&shared.sources.snapshot.borrow());
    let reasons = if started { Vec::new() } else { vec!["the daemon is starting".to_owned()] };
    probe(&headers, "started", &reasons)
}

async fn ready(State(shared): Handle, headers: HeaderMap) -> Response {
    let reasons = health::unready(&shared.sources.snapshot.borrow(), unix_millis());
    probe(&headers, "ready", &reasons)
}

/// 200, or 503 with the reasons: as JSON for those who want it, as text for everybody else.
fn probe(headers: &HeaderMap, what: &str, reasons: &[String]) -> Response {
    let fine = reasons.is_empty();
    let status = if fine { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("application/json")) {
        return answers::json(status, &json!({ what: fine, "reasons": reasons }));
    }
    let text = match reasons {
        [] => "ok\n".to_owned(),
        reasons => reasons.iter().map(|reason| format!("{reason}\n")).collect(),
    };
    (status, text).into_response()
}

async fn metrics(State(shared): Handle) -> Response {
    let Some(metrics) = shared.sources.metrics.clone() else {
        return (StatusCode::NOT_FOUND, "there are no metrics\n").into_response();
    };
    // It looks at the disk of the record.
    let Ok(text) = tokio::task::spawn_blocking(move || metrics()).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn status(State(shared): Handle) -> Response {
    let snapshot = shared.sources.snapshot.borrow().clone();
    let status = status::anonymous(&snapshot, &shared.sources, unix_millis());
    answers::json(StatusCode::OK, &status)
}

async fn status_named(State(shared): Handle) -> Response {
    let snapshot = shared.sources.snapshot.borrow().clone();
    let rows = if snapshot.counts.pending > 0 { shared.rows(ROWS).await } else { Vec::new() };
    let status = status::named(&snapshot, &shared.sources, &rows, unix_millis());
    answers::json(StatusCode::OK, &status)
}

#[derive(Debug, Deserialize)]
struct Rows {
    limit: Option<usize>,
}

/// What waits, the oldest first.
async fn queue(State(shared): Handle, Query(rows): Query<Rows>) -> Response {
    let limit = rows.limit.unwrap_or(ROWS).min(ROWS_MAX);
    let waiting = shared.sources.snapshot.borrow().counts.pending;
    let (rows, now) = (shared.rows(limit).await, unix_millis());
    let entries: Vec<_> = rows.iter().map(|row| status::waiting(row, now)).collect();
    answers::json(StatusCode::OK, &json!({ "waiting": waiting, "entries": entries }))
}
