//! The common parts of all responses.

use crate::escape::escaped_json;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// Maximum time of a response that does not wait.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// The content security policy: the page loads everything from here, and nothing else is loaded,
/// run or framed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Adds the headers of every response.
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

/// Ends a response that takes too long.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    let answered = timeout(ANSWER_PATIENCE, next.run(request)).await;
    answered.unwrap_or_else(|_| StatusCode::GATEWAY_TIMEOUT.into_response())
}

/// JSON with a final line break for terminals.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (status, content_type, escaped_json(&format!("{value}\n"))).into_response()
}
