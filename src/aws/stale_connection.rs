//! Recovers from connections that a network has forgotten while they were idle.
//!
//! NAT gateways and firewalls drop the state of a connection without a word: after their idle limit, after
//! a failover, or if their table is full. A request on such a connection gets no answer, and the kernel
//! repeats its packets for minutes. The next connection works.
//!
//! # Invariants
//!
//! - Only a small request whose repetition changes nothing is repeated, once, and with the same bytes:
//!   reads, writes of one object that have a condition, and writes of a part. The first request may still
//!   arrive later. Without a condition it would then replace a newer object.
//! - A request that begins or completes an upload, deletes many objects, or copies one is not repeated.
//! - The first write may have been carried out. So a repetition of a write that is refused is an answer
//!   that was lost: the refusal says nothing about the first one.
//! - A connection that was opened for the request itself is not suspected.
//! - The repetition does not use another connection that was idle at the same time: the pool has closed
//!   it meanwhile.

use super::upload_progress::{self, ProgressLimits, WATCHED_BYTES_MIN};
use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionId};
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The time after which an idle connection is closed: below the idle limits of stores, load balancers and
/// NAT gateways, which may forget a connection without a word.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(5);
/// The number of remembered connections above which those of long ago are forgotten.
const REMEMBERED_MAX: usize = 1_024;
/// The header that makes a PUT a copy, which may take minutes.
const COPY_SOURCE: &str = "x-amz-copy-source";
/// The headers that make a write a conditional one.
const CONDITIONS: [&str; 2] = ["if-match", "if-none-match"];
/// The parameter of a request about a part, or about an upload.
const UPLOAD_ID: &str = "uploadId=";

/// When a connection is suspected.
#[derive(Debug, Clone, Copy)]
pub(super) struct StaleLimits {
    /// The minimum idle time before the request.
    pub(super) idle: Duration,
    /// The time without an answer. AWS recommends to repeat small requests after 2 to 5 s.
    pub(super) silence: Duration,
    /// The limits of all requests.
    pub(super) progress: ProgressLimits,
}

impl StaleLimits {
    pub(super) fn new(progress: ProgressLimits) -> Self {
        // The pool closes connections that were idle with this one before the repetition.
        Self { idle: Duration::from_secs(1), silence: IDLE_MAX, progress }
    }
}

/// The time of the last answer on each connection of one pool.
#[derive(Debug, Clone, Default)]
pub(super) struct AnsweredConnections(Arc<Mutex<HashMap<ConnectionId, Instant>>>);

impl AnsweredConnections {
    fn note(&self, connection: Option<ConnectionId>) {
        let Some(connection) = connection else { return };
        let now = Instant::now();
        let mut answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.len() >= REMEMBERED_MAX {
            answered.retain(|_, last| now.duration_since(*last) <= IDLE_MAX);
        }
        if answered.len() < REMEMBERED_MAX {
            answered.insert(connection, now);
        }
    }

    fn last_answer(&self, connection: ConnectionId) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&connection).copied()
    }
}

/// Sends the request with `inner`. If it used a connection that was idle before, and gets no answer, sends
/// it again on another one.
pub(super) async fn call(
    inner: SharedHttpConnector,
    mut request: HttpRequest,
    answered: AnsweredConnections,
    limits: StaleLimits,
) -> Result<HttpResponse, ConnectorError> {
    let used = captured_connection(&mut request);
    let again = if is_repeatable(&request) { request.try_clone() } else { None };
    let began = Instant::now();
    let mut first = Box::pin(upload_progress::call(&inner, request, limits.progress));
    let answer = match again {
        None => first.await,
        Some(again) => match tokio::time::timeout(limits.silence, &mut first).await {
            Ok(answer) => answer,
            Err(_) if !was_idle(&used, &answered, began, limits) => first.await,
            Err(_) => {
                if let Some(connection) = used.get() {
                    connection.poison();
                }
                drop(first);
                tracing::debug!(
                    "a connection that was idle does not answer; the request is sent again on another one"
                );
                return repeat(&inner, again, &used, &answered).await;
            }
        },
    };
    note_answer(&answer, &used, &answered);
    answer
}

async fn repeat(
    inner: &SharedHttpConnector,
    mut request: HttpRequest,
    used: &CaptureSmithyConnection,
    answered: &AnsweredConnections,
) -> Result<HttpResponse, ConnectorError> {
    request.add_extension(used.clone());
    let is_write = is_write(&request);
    let answer = inner.call(request).await;
    note_answer(&answer, used, answered);
    match answer {
        Ok(refusal) if is_write && !refusal.status().is_success() => {
            Err(ConnectorError::timeout("the first request may have been carried out".into()))
        }
        answer => answer,
    }
}

/// The capture of the SDK, or one of ours if it has none.
fn captured_connection(request: &mut HttpRequest) -> CaptureSmithyConnection {
    if let Some(capture) = request.extension::<CaptureSmithyConnection>() {
        return capture.clone();
    }
    let capture = CaptureSmithyConnection::new();
    request.add_extension(capture.clone());
    capture
}

fn is_repeatable(request: &HttpRequest) -> bool {
    let is_small = request.body().bytes().is_some_and(|body| body.len() < WATCHED_BYTES_MIN);
    let is_read = matches!(request.method(), "GET" | "HEAD");
    let is_idempotent = is_read || is_write(request) && arrives_late_without_harm(request);
    is_small && is_idempotent && request.headers().get(COPY_SOURCE).is_none()
}

fn is_write(request: &HttpRequest) -> bool {
    matches!(request.method(), "PUT" | "DELETE")
}

/// Whether a write that arrives after a later one of the same object leaves that one as it is.
fn arrives_late_without_harm(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let is_conditional = CONDITIONS.iter().any(|name| headers.get(*name).is_some());
    let query = request.uri().split_once('?').map_or("", |(_, query)| query);
    let is_of_upload = query.split('&').any(|parameter| parameter.starts_with(UPLOAD_ID));
    is_conditional || is_of_upload
}

/// Whether the request was sent on a connection that had answered before, and not just now.
fn was_idle(
    used: &CaptureSmithyConnection,
    answered: &AnsweredConnections,
    began: Instant,
    limits: StaleLimits,
) -> bool {
    let connection = used.get().and_then(|connection| connection.connection_id());
    let last = connection.and_then(|connection| answered.last_answer(connection));
    last.is_some_and(|last| last + limits.idle <= began)
}

fn note_answer(
    answer: &Result<HttpResponse, ConnectorError>,
    used: &CaptureSmithyConnection,
    answered: &AnsweredConnections,
) {
    if answer.is_ok() {
        answered.note(used.get().and_then(|connection| connection.connection_id()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_runtime_api::client::connection::ConnectionMetadata;
    use aws_smithy_runtime_api::client::http::HttpConnectorFuture;
    use aws_smithy_types::body::SdkBody;
    use std::collections::VecDeque;

    /// A tenth of the real limits, or less.
    const LIMITS: StaleLimits = StaleLimits {
        idle: Duration::from_millis(100),
        silence: Duration::from_millis(400),
        progress: ProgressLimits {
            idle: Duration::from_secs(60),
            answer: Duration::from_secs(30),
            buffered: 1 << 20,
            rate: 16 << 10,
        },
    };
    /// Longer than any limit above.
    const SLOW: Duration = Duration::from_millis(1_200);

    /// What a connection does with a request.
    #[derive(Debug, Clone, Copy)]
    enum Line {
        Answers,
        AnswersWith(u16),
        AnswersAfter(Duration),
        Swallows,
    }

    /// A connection, and the body that it was given.
    type Received = (u64, Vec<u8>);

    /// Uses one connection after another, each for what is scripted.
    #[derive(Debug, Clone, Default)]
    struct Network {
        script: Arc<Mutex<VecDeque<(u64, Line)>>>,
        received: Arc<Mutex<Vec<Received>>>,
        poisoned: Arc<Mutex<Vec<u64>>>,
    }

    impl Network {
        fn received(&self) -> Vec<u64> {
            let received = self.received.lock().expect("sound");
            received.iter().map(|(connection, _)| *connection).collect()
        }
    }

    impl HttpConnector for Network {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let (id, line) = self.script.lock().expect("sound").pop_front().expect("scripted");
            let poisoned = Arc::clone(&self.poisoned);
            let connection = ConnectionMetadata::builder()
                .proxied(false)
                .connection_id(ConnectionId::new(id))
                .poison_fn(move || poisoned.lock().expect("sound").push(id))
                .build();
            let capture = request.extension::<CaptureSmithyConnection>().expect("a capture");
            capture.set_connection_retriever(move || Some(connection.clone()));
            let body = request.body().bytes().unwrap_or_default().to_vec();
            self.received.lock().expect("sound").push((id, body));
            HttpConnectorFuture::new(async move {
                let mut status = 200;
                match line {
                    Line::Answers => {}
                    Line::AnswersWith(other) => status = other,
                    Line::AnswersAfter(pause) => tokio::time::sleep(pause).await,
                    Line::Swallows => std::future::pending().await,
                }
                let status = status.try_into().expect("a status");
                Ok(HttpResponse::new(status, SdkBody::from(id.to_string())))
            })
        }
    }

    fn request(method: &str, body: &[u8]) -> HttpRequest {
        let mut request = HttpRequest::new(SdkBody::from(body.to_vec()));
        request.set_method(method).expect("a method");
        request.set_uri("https://bucket.example/key?x-id=Any").expect("an address");
        request
    }

    fn conditional(method: &str, header: &'static str) -> HttpRequest {
        let mut request = request(method, b"content");
        request.headers_mut().insert(header, "\"1\"");
        request
    }

    fn of_an_upload(method: &str) -> HttpRequest {
        let mut request = request(method, b"content");
        let part = "https://bucket.example/key?x-id=UploadPart&partNumber=1&uploadId=id";
        request.set_uri(part).expect("an address");
        request
    }

    /// Sends the requests, each after a pause, and returns the connection that has answered the last one
    /// in time, and its time.
    async fn sent(
        network: &Network,
        script: &[(u64, Line)],
        requests: Vec<(Duration, HttpRequest)>,
        limits: StaleLimits,
    ) -> (Option<String>, Duration) {
        *network.script.lock().expect("sound") = script.iter().copied().collect();
        let answered = AnsweredConnections::default();
        let mut last = (None, Duration::ZERO);
        for (pause, request) in requests {
            tokio::time::sleep(pause).await;
            let inner = SharedHttpConnector::new(network.clone());
            let began = Instant::now();
            let call = call(inner, request, answered.clone(), limits);
            let answer = tokio::time::timeout(SLOW * 2, call).await;
            let text = |answer: HttpResponse| {
                String::from_utf8_lossy(answer.body().bytes().expect("in memory")).into_owned()
            };
            last = (answer.ok().and_then(Result::ok).map(text), began.elapsed());
        }
        last
    }

    const AT_ONCE: Duration = Duration::ZERO;
    const LATER: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn a_request_on_a_connection_that_was_forgotten_is_sent_again_on_another_one() {
        let repeatable = [
            request("GET", b"content"),
            request("HEAD", b"content"),
            conditional("PUT", "if-match"),
            conditional("PUT", "if-none-match"),
            conditional("DELETE", "if-match"),
            of_an_upload("PUT"),
        ];
        for repeated in repeatable {
            let shown = format!("{repeated:?}");
            let network = Network::default();
            let script = [(1, Line::Answers), (1, Line::Swallows), (2, Line::Answers)];
            let requests = vec![(AT_ONCE, request("GET", b"")), (LATER, repeated)];
            let (answer, took) = sent(&network, &script, requests, LIMITS).await;
            assert_eq!(answer.as_deref(), Some("2"), "{shown}");
            assert!(took >= LIMITS.silence, "{shown}: {took:?}");
            assert_eq!(network.received(), [1, 1, 2], "{shown}");
            assert_eq!(*network.poisoned.lock().expect("sound"), [1], "{shown}");
            let received = network.received.lock().expect("sound");
            assert_eq!(received[1].1, received[2].1, "{shown}");
        }
    }

    #[tokio::test]
    async fn a_refused_repetition_does_not_hide_that_the_first_write_may_have_been_carried_out() {
        for status in [403, 404, 412, 429, 503] {
            for (write, is_write) in [
                (conditional("PUT", "if-none-match"), true),
                (conditional("DELETE", "if-match"), true),
                (of_an_upload("PUT"), true),
                (request("GET", b""), false),
            ] {
                let network = Network::default();
                let refusal = Line::AnswersWith(status);
                let script = [(1, Line::Answers), (1, Line::Swallows), (2, refusal)];
                *network.script.lock().expect("sound") = script.into_iter().collect();
                let answered = AnsweredConnections::default();
                let inner = SharedHttpConnector::new(network.clone());
                let read = request("GET", b"");
                call(inner.clone(), read, answered.clone(), LIMITS).await.expect("an answer");
                tokio::time::sleep(LATER).await;
                let answer = call(inner, write, answered, LIMITS).await;
                assert_eq!(network.received(), [1, 1, 2]);
                match answer {
                    Err(error) => assert!(is_write && error.is_timeout(), "{status}: {error:?}"),
                    Ok(answer) => assert!(!is_write, "{status}: {answer:?}"),
                }
            }
        }
    }

    #[tokio::test]
    async fn a_slow_store_on_a_new_or_busy_connection_gets_its_time() {
        let slow = Line::AnswersAfter(SLOW);
        let never_idle = StaleLimits { idle: Duration::from_secs(600), ..LIMITS };
        for (script, limits) in [
            ([(1, Line::Answers), (2, slow)], LIMITS),
            ([(1, Line::Answers), (1, slow)], never_idle),
        ] {
            let network = Network::default();
            let put = conditional("PUT", "if-match");
            let requests = vec![(AT_ONCE, request("GET", b"")), (LATER, put)];
            let (answer, took) = sent(&network, &script, requests, limits).await;
            assert_eq!(answer, Some(script[1].0.to_string()));
            assert!(took >= SLOW, "{took:?}");
            assert_eq!(network.received().len(), 2);
        }
    }

    #[tokio::test]
    async fn what_must_not_be_repeated_is_sent_once() {
        let mut copy = conditional("PUT", "if-match");
        copy.headers_mut().insert(COPY_SOURCE, "bucket/key");
        let mut large = request("PUT", &vec![0; WATCHED_BYTES_MIN]);
        large.headers_mut().insert("if-match", "\"1\"");
        let mut post = conditional("POST", "if-match");
        post.set_uri("https://bucket.example/key?uploadId=id").expect("an address");
        let put = request("PUT", b"content");
        let delete = request("DELETE", b"");
        for once in [copy, large, post, put, delete] {
            let network = Network::default();
            let script = [(1, Line::Answers), (1, Line::Swallows)];
            let requests = vec![(AT_ONCE, request("GET", b"")), (LATER, once)];
            let (answer, _) = sent(&network, &script, requests, LIMITS).await;
            assert_eq!(answer, None, "the limits of the request decide");
            assert_eq!(network.received(), [1, 1]);
        }
    }

    #[tokio::test]
    async fn the_table_of_connections_is_bounded() {
        let answered = AnsweredConnections::default();
        let long_ago = Instant::now().checked_sub(IDLE_MAX * 2).expect("a time");
        for id in 0..500 {
            answered.0.lock().expect("sound").insert(ConnectionId::new(id), long_ago);
        }
        for id in 500..10_000 {
            answered.note(Some(ConnectionId::new(id)));
        }
        assert_eq!(answered.0.lock().expect("sound").len(), REMEMBERED_MAX);
        assert!(answered.last_answer(ConnectionId::new(0)).is_none());
        assert!(answered.last_answer(ConnectionId::new(1_023)).is_some());
    }
}
