//! Decides who may send control requests: processes behind the socket, and clients with the token.
//!
//! # Invariants
//!
//! - On `admin_address`, a control request needs the token of `admin_token_file`. Without a token
//!   file, control requests are refused.
//! - A flush is the exception: it is bounded and changes nothing.
//! - Every control request is logged with its client, and so is every refusal, up to a rate.

use super::answers;
use super::handler_state::HandlerState;
use super::peer::Peer;
use crate::safe_file::read_input;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Maximum size of a token file.
const TOKEN_FILE_BYTES_MAX: u64 = 4 << 10;
/// Minimum length of a token; a shorter one could be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// The request that needs no token.
const FLUSH: &str = "/-/flush";

/// Passes a permitted control request on, or returns the refusal.
pub(super) async fn required(
    State(shared): State<Arc<HandlerState>>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) || request.uri().path() == FLUSH {
        return next.run(request).await;
    }
    let refusal = match &shared.sources.token_file {
        None => Some(AuthorityError::NoToken),
        Some(path) => check_token(path.clone(), request.headers()).await,
    };
    match refusal {
        None => next.run(request).await,
        Some(refusal) => {
            shared.refusals.log(request.uri().path(), peer, &refusal.message());
            refusal.into_response()
        }
    }
}

/// The refusal of hints without the token of `hint_token_file`, if they have another one or none.
pub(super) async fn hint_refusal(
    shared: &HandlerState,
    peer: Peer,
    headers: &HeaderMap,
) -> Option<Response> {
    let refusal = match &shared.sources.hints.token_file {
        None => Some(AuthorityError::NoToken),
        Some(path) => check_token(path.clone(), headers).await,
    };
    let refusal = refusal?;
    shared.refusals.log("/-/hints", peer, "hints need the token of hint_token_file");
    Some(refusal.status().into_response())
}

/// Logs a control request with its client and result.
pub(super) async fn logged(
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    // Refusals are logged up to a rate, and an unknown path changes nothing.
    if !matches!(status, 401 | 403 | 404 | 405) {
        tracing::info!(
            event = "control.request",
            url.path = %crate::escape::Printable(&path),
            http.response.status_code = status,
            client = %peer,
            "control request"
        );
    }
    response
}

/// Why a control request is refused.
#[derive(Debug, PartialEq, Eq)]
enum AuthorityError {
    /// No token is configured.
    NoToken,
    /// The token file cannot be used.
    Unusable(String),
    /// The request has no token, or another one.
    WrongToken,
}

impl AuthorityError {
    fn message(&self) -> String {
        match self {
            Self::NoToken => {
                "control requests are answered on the socket admin_socket: use the commands of \
                 file-sync-service or curl --unix-socket; or set admin_token_file"
                    .to_owned()
            }
            Self::Unusable(why) => format!("admin_token_file cannot be used: {why}"),
            Self::WrongToken => {
                "send the token of admin_token_file: Authorization: Bearer <token>".to_owned()
            }
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NoToken => StatusCode::FORBIDDEN,
            Self::Unusable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::WrongToken => StatusCode::UNAUTHORIZED,
        }
    }
}

impl IntoResponse for AuthorityError {
    fn into_response(self) -> Response {
        // The error of the file is only logged.
        let message = match &self {
            Self::Unusable(_) => "admin_token_file cannot be used; the log says why".to_owned(),
            Self::NoToken | Self::WrongToken => self.message(),
        };
        let mut response = answers::json(self.status(), &json!({ "error": message }));
        if self == Self::WrongToken {
            let scheme = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// Compares the token of the request with that of the file, which is read each time: a replaced
/// token applies at once.
async fn check_token(path: PathBuf, headers: &HeaderMap) -> Option<AuthorityError> {
    let Some(sent) = bearer(headers) else { return Some(AuthorityError::WrongToken) };
    let sent = sent.to_vec();
    let read = tokio::task::spawn_blocking(move || token(&path)).await;
    match read.unwrap_or_else(|panic| Err(panic.to_string())) {
        Ok(token) => (!bool::from(token.ct_eq(&sent))).then_some(AuthorityError::WrongToken),
        Err(why) => Some(AuthorityError::Unusable(why)),
    }
}

/// The bearer token of the request, if it has one.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Reads the token from the file, without white space around it. Blocks.
pub(super) fn token(path: &Path) -> Result<Vec<u8>, String> {
    let bytes =
        read_input(path, TOKEN_FILE_BYTES_MAX).map_err(|error| format!("{path:?}: {error}"))?;
    let token = bytes.trim_ascii();
    if token.len() < TOKEN_BYTES_MIN {
        return Err(format!("{path:?}: a token has {TOKEN_BYTES_MIN} bytes at least"));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn a_bearer_token_is_one_header_of_that_scheme() {
        assert_eq!(bearer(&headers(&["Bearer abc"])), Some(&b"abc"[..]));
        assert_eq!(bearer(&headers(&["bearer  abc "])), Some(&b"abc"[..]));
        for wrong in [&[][..], &["Basic abc"], &["Bearer"], &["Bearer a", "Bearer b"], &["abc"]] {
            assert_eq!(bearer(&headers(wrong)), None, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn the_token_of_the_file_counts_as_it_is_now() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let check = async |sent: &str| check_token(path.clone(), &headers(&[sent])).await;
        assert!(
            matches!(check("Bearer x").await, Some(AuthorityError::Unusable(_))),
            "there is no file"
        );
        std::fs::write(&path, "0123456789abcdef\n").expect("written");
        assert_eq!(check("Bearer 0123456789abcdef").await, None);
        assert_eq!(check("Bearer 0123456789abcdeg").await, Some(AuthorityError::WrongToken));
        std::fs::write(&path, "another token of its own").expect("written");
        assert_eq!(check("Bearer 0123456789abcdef").await, Some(AuthorityError::WrongToken));
        assert_eq!(check("Bearer another token of its own").await, None);
        std::fs::write(&path, "\n").expect("written");
        assert!(
            matches!(check("Bearer ").await, Some(AuthorityError::Unusable(_))),
            "no token is none"
        );
    }
}
