//! The routes of each address.

use super::handler_state::HandlerState;
use super::status;
use super::{answers, authority, control, guard, health, hints, page};
use crate::clock::unix_millis;
use crate::model::UnixMillis;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// The time without an answer after which the loop counts as stuck.
const LIVE_PATIENCE_MS: UnixMillis = 30_000;
/// The number of queue rows in a status, and the default of the queue endpoint.
const ROWS: usize = 20;
/// Maximum number of queue rows in a response.
const ROWS_MAX: usize = 10_000;

type RouteState = State<Arc<HandlerState>>;

/// The public routes.
pub(super) fn public(shared: Arc<HandlerState>) -> Router {
    let status = if shared.sources.file_names { get(status_named) } else { get(status) };
    let names = shared.sources.file_names;
    seen(names)
        .route("/status", status)
        .layer(from_fn(answers::in_time))
        .with_state(shared)
        .layer(from_fn(guard::single_host))
        .layer(from_fn(answers::headers))
}

/// The public routes with names. Control requests need the token.
pub(super) fn admin(shared: Arc<HandlerState>) -> Router {
    everything()
        .layer(from_fn_with_state(Arc::clone(&shared), authority::required))
        .with_state(shared)
        .layer(from_fn(authority::logged))
        .layer(from_fn(guard::local_only))
        .layer(from_fn(guard::single_host))
        .layer(from_fn(answers::headers))
}

/// The same routes for processes that may do everything.
pub(super) fn control(shared: Arc<HandlerState>) -> Router {
    everything()
        .with_state(shared)
        .layer(from_fn(authority::logged))
        .layer(from_fn(answers::headers))
}

/// The route of hints, which checks the token itself.
pub(super) fn hints(shared: Arc<HandlerState>) -> Router {
    Router::new()
        .route("/-/hints", post(hints::take))
        .layer(from_fn(answers::in_time))
        .with_state(shared)
        .layer(from_fn(guard::single_host))
        .layer(from_fn(answers::headers))
}

fn everything() -> Router<Arc<HandlerState>> {
    seen(true)
        .route("/status", get(status_named))
        .route("/-/rescan", post(control::rescan))
        .route("/-/prestop", post(control::prestop))
        .route("/-/approve-deletes", post(control::approve_deletes))
        .route("/-/cancel-deletes", post(control::cancel_deletes))
        .route("/-/retry", post(control::retry))
        .route("/-/log-level", post(control::log_level))
        .layer(from_fn(answers::in_time))
        // It limits its own time.
        .route("/-/flush", post(control::flush))
}

fn seen(names: bool) -> Router<Arc<HandlerState>> {
    let routes = Router::new()
        .route("/livez", get(live))
        .route("/startupz", get(started))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/", get(page::html))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::js));
    if names { routes.route("/queue", get(queue)).route("/deletes", get(deletes)) } else { routes }
}

async fn live(State(shared): RouteState, headers: HeaderMap) -> Response {
    let silence = shared.silence().await;
    let reason = (silence > LIVE_PATIENCE_MS)
        .then(|| format!("the event loop has not answered for {} s", silence / 1000));
    probe(&headers, "live", reason.as_slice())
}

async fn started(State(shared): RouteState, headers: HeaderMap) -> Response {
    let started = health::is_started(&shared.sources.snapshot.borrow());
    let reasons = if started { Vec::new() } else { vec!["the daemon is starting".to_owned()] };
    probe(&headers, "started", &reasons)
}

async fn ready(State(shared): RouteState, headers: HeaderMap) -> Response {
    let reasons = health::unready(&shared.sources.snapshot.borrow(), unix_millis());
    probe(&headers, "ready", &reasons)
}

/// 200, or 503 with the reasons, as JSON if requested, otherwise as text.
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

async fn metrics(State(shared): RouteState) -> Response {
    let Some(metrics) = shared.sources.metrics.clone() else {
        return (StatusCode::NOT_FOUND, "there are no metrics\n").into_response();
    };
    // It reads the disk of the state.
    let Ok(text) = tokio::task::spawn_blocking(move || metrics()).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn status(State(shared): RouteState) -> Response {
    let snapshot = shared.sources.snapshot.borrow().clone();
    let status = status::anonymous(&snapshot, &shared.sources, unix_millis());
    answers::json(StatusCode::OK, &status)
}

async fn status_named(State(shared): RouteState) -> Response {
    let snapshot = shared.sources.snapshot.borrow().clone();
    let waits = snapshot.counts.pending + snapshot.counts.delayed > 0;
    let rows = if waits { shared.rows(ROWS).await } else { Vec::new() };
    let status = status::named(&snapshot, &shared.sources, &rows, unix_millis());
    answers::json(StatusCode::OK, &status)
}

#[derive(Debug, Deserialize)]
struct RowLimit {
    limit: Option<usize>,
}

/// The pending changes, oldest first.
async fn queue(State(shared): RouteState, Query(rows): Query<RowLimit>) -> Response {
    let limit = rows.limit.unwrap_or(ROWS).min(ROWS_MAX);
    let counts = shared.sources.snapshot.borrow().counts;
    let waiting = counts.pending + counts.delayed;
    let rows = shared.rows(limit).await;
    let now = unix_millis();
    let entries: Vec<_> = rows.iter().map(|row| status::waiting(row, now)).collect();
    answers::json(StatusCode::OK, &json!({ "waiting": waiting, "entries": entries }))
}

/// The held and delayed deletes, oldest first.
async fn deletes(State(shared): RouteState, Query(rows): Query<RowLimit>) -> Response {
    let limit = rows.limit.unwrap_or(ROWS).min(ROWS_MAX);
    let rows = shared.deletes(limit).await;
    let snapshot = shared.sources.snapshot.borrow().clone();
    answers::json(StatusCode::OK, &status::deletes(&snapshot, &rows, unix_millis()))
}
