//! `POST /-/hints`: paths at which other nodes have seen changes.
//!
//! It is the only route of `hint_listen_address`, and needs the token of `hint_token_file`.

use super::handler_state::HandlerState;
use super::peer::Peer;
use super::{answers, authority};
use crate::clock::unix_millis;
use crate::engine::control::{ControlError, ControlRequest as Ask};
use crate::hints::{HINT_LINES_MAX, HINT_REQUEST_BYTES_MAX, ParsedHints, parse_hints};
use axum::body::to_bytes;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The name of the relay, and whether it ends.
const RELAY_HEADER: &str = "file-sync-relay";
const RELAY_STATE_HEADER: &str = "file-sync-relay-state";
/// The time between two looks for relays that have fallen silent.
const SILENCE_INTERVAL: Duration = Duration::from_secs(10);

/// Takes hints.
pub(super) async fn take(
    State(shared): State<Arc<HandlerState>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let ledger = Arc::clone(&shared.sources.hints.ledger);
    if let Some(refusal) = authority::hint_refusal(&shared, peer, request.headers()).await {
        return refusal;
    }
    let relay = header_text(request.headers(), RELAY_HEADER);
    let ends = header_text(request.headers(), RELAY_STATE_HEADER) == "ending";
    ledger.note_relay(&relay, ends, unix_millis());
    let body = to_bytes(request.into_body(), HINT_REQUEST_BYTES_MAX).await;
    let Some(ParsedHints { hints, refused }) = body.ok().and_then(|body| parse_hints(&body)) else {
        let limits = format!("at most {HINT_LINES_MAX} lines and {HINT_REQUEST_BYTES_MAX} bytes");
        let error = json!({ "error": limits });
        return answers::json(StatusCode::PAYLOAD_TOO_LARGE, &error);
    };
    let taken = hints.len() as u64;
    if !ledger.admit(taken, unix_millis()) {
        return later(StatusCode::TOO_MANY_REQUESTS, "1");
    }
    let passed = match hints.is_empty() {
        true => Ok(()),
        false => shared.sources.control.ask(|answer| Ask::Hints(hints, answer)).await,
    };
    match passed {
        Ok(()) => {
            ledger.count_taken(taken, refused);
            let answer = json!({ "taken": taken, "refused": refused });
            answers::json(StatusCode::ACCEPTED, &answer)
        }
        Err(why) => {
            ledger.count_dropped(taken);
            match why {
                ControlError::Busy => later(StatusCode::TOO_MANY_REQUESTS, "1"),
                _ => later(StatusCode::SERVICE_UNAVAILABLE, "5"),
            }
        }
    }
}

/// Logs the relays that have fallen silent, for ever.
pub(super) async fn watch_relays(shared: Arc<HandlerState>) {
    loop {
        tokio::time::sleep(SILENCE_INTERVAL).await;
        for relay in shared.sources.hints.ledger.take_silent(unix_millis()) {
            tracing::warn!(
                event = "relay.silent",
                relay = %crate::escape::Printable(&relay),
                "no request of this relay for a minute; changes of its node are found by sweeps"
            );
        }
    }
}

fn header_text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn later(status: StatusCode, seconds: &'static str) -> Response {
    (status, [(header::RETRY_AFTER, seconds)], "try again later\n").into_response()
}
