//! What every answer has in common.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// Answers that wait for nothing are there within this time, or not at all.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Everything the page needs comes from here; nothing else is loaded, run or framed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every answer.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    const SAME_FOR_ALL: [(HeaderName, HeaderValue); 4] = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    let mut response = next.run(request).await;
    response.headers_mut().extend(SAME_FOR_ALL);
    response
}

/// Gives up on an answer that does not come.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    let answered = timeout(ANSWER_PATIENCE, next.run(request)).await;
    answered.unwrap_or_else(|_| StatusCode::GATEWAY_TIMEOUT.into_response())
}

/// JSON, with a line break at its end for those who look at it in a terminal.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (status, content_type, format!("{value}\n")).into_response()
}
