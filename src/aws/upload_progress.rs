//! Ends requests whose body makes no progress, and no others.
//!
//! The total time of a request depends on the network.
//!
//! A slow uplink that many parts share moves each of them slowly. A limit on the total time would
//! end all of them repeatedly, and no upload would succeed.
//!
//! # Invariants
//!
//! - While the body is being sent, only the time since its last bytes counts.
//! - After all of it was sent, the buffered bytes and the work of the store have their own time,
//!   which grows with the time of the body.

use super::RequestTimeouts;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// Smaller bodies have a limit on the total time, which costs less.
pub(crate) const WATCHED_BYTES_MIN: usize = 64 << 10;
/// The size of the pieces in which a body is passed on.
const PIECE_BYTES: usize = 64 << 10;

/// The limits of a request without progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProgressLimits {
    /// Maximum time between two pieces.
    pub(super) idle: Duration,
    /// Minimum time from the last piece to the response.
    pub(super) answer: Duration,
    /// The bytes that may be buffered after the last piece, and the minimum rate per second at
    /// which they are sent.
    pub(super) buffered: u64,
    pub(super) rate: u64,
}

impl ProgressLimits {
    /// The limits that follow from the settings.
    pub(super) fn new(timeouts: RequestTimeouts) -> Self {
        let RequestTimeouts { response, idle, .. } = timeouts;
        Self { idle, answer: response, buffered: 1 << 20, rate: 16 << 10 }
    }
}

/// The progress of a body.
#[derive(Debug)]
struct UploadProgress {
    size: u64,
    started: Instant,
    taken_last: Instant,
    taken_whole: bool,
}

impl UploadProgress {
    /// The time at which the request is ended without further progress.
    fn deadline(&self, limits: ProgressLimits) -> Instant {
        if !self.taken_whole {
            return self.taken_last + limits.idle;
        }
        let took = self.taken_last.duration_since(self.started);
        let buffered = self.size.min(limits.buffered);
        let leaving = Duration::from_millis(buffered * 1000 / limits.rate.max(1));
        self.taken_last + limits.answer + leaving.max(took * 2)
    }
}

type SharedProgress = Arc<Mutex<UploadProgress>>;

fn lock(progress: &SharedProgress) -> MutexGuard<'_, UploadProgress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body that records its progress.
struct NotedBody {
    rest: Bytes,
    progress: SharedProgress,
}

impl Body for NotedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(length);
        let mut progress = lock(&self.progress);
        progress.taken_last = Instant::now();
        progress.taken_whole = self.rest.is_empty();
        drop(progress);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// Why a request was ended.
#[derive(Debug, thiserror::Error)]
enum StandsStill {
    #[error("no byte of the body was taken for {0:?}")]
    Body(Duration),
    #[error("no answer came for {0:?} after the body was sent")]
    Answer(Duration),
}

/// Sends the request with `inner`, and ends it if it makes no progress.
pub(super) fn call(
    inner: &SharedHttpConnector,
    request: HttpRequest,
    limits: ProgressLimits,
) -> HttpConnectorFuture {
    if request.body().bytes().is_none_or(|body| body.len() < WATCHED_BYTES_MIN) {
        return inner.call(request);
    }
    HttpConnectorFuture::new(watched(inner.clone(), request, limits))
}

async fn watched(
    inner: SharedHttpConnector,
    mut request: HttpRequest,
    limits: ProgressLimits,
) -> Result<HttpResponse, ConnectorError> {
    let body = ByteStream::new(request.take_body()).collect().await;
    let rest = body.map_err(|error| ConnectorError::io(error.into()))?.into_bytes();
    let now = Instant::now();
    let progress = Arc::new(Mutex::new(UploadProgress {
        size: rest.len() as u64,
        started: now,
        taken_last: now,
        taken_whole: false,
    }));
    let noted = NotedBody { rest, progress: Arc::clone(&progress) };
    *request.body_mut() = SdkBody::from_body_1_x(noted);
    let mut answer = std::pin::pin!(inner.call(request));
    loop {
        let deadline = lock(&progress).deadline(limits);
        tokio::select! {
            answer = &mut answer => return answer,
            // When the body has been taken, another deadline applies, which may be earlier.
            () = tokio::time::sleep_until(deadline.min(Instant::now() + limits.answer)) => {}
        }
        let progress = lock(&progress);
        let now = Instant::now();
        if progress.deadline(limits) <= now {
            let waited = now.duration_since(progress.taken_last);
            let why = match progress.taken_whole {
                true => StandsStill::Answer(waited),
                false => StandsStill::Body(waited),
            };
            return Err(ConnectorError::timeout(why.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A hundredth of the real limits.
    const LIMITS: ProgressLimits = ProgressLimits {
        idle: Duration::from_millis(600),
        answer: Duration::from_millis(300),
        buffered: 1 << 20,
        rate: 1600 << 10,
    };

    #[test]
    fn only_a_body_that_stands_still_has_a_deadline() {
        let limits = ProgressLimits::new(RequestTimeouts::default());
        let started = Instant::now();
        let seconds = |seconds| started + Duration::from_secs(seconds);
        let mut progress =
            UploadProgress { size: 8 << 20, started, taken_last: started, taken_whole: false };
        assert_eq!(progress.deadline(limits), seconds(60));
        // 1 Mbit/s, shared by eight parts of 8 MiB: nine minutes for each.
        progress.taken_last = seconds(540);
        assert_eq!(progress.deadline(limits), seconds(600), "it moves");
        progress.taken_whole = true;
        assert_eq!(progress.deadline(limits), seconds(540 + 30 + 1080), "buffers empty as slowly");
        progress.taken_last = started;
        assert_eq!(progress.deadline(limits), seconds(30 + 64), "all of it went into buffers");
        progress.size = 160 << 10;
        assert_eq!(progress.deadline(limits), seconds(30 + 10));
    }

    /// Reads one piece of the body at a time, with a pause before each; then answers after the last
    /// pause, or never.
    #[derive(Debug)]
    struct Uplink {
        pause: Duration,
        pieces: usize,
        answer: Option<Duration>,
    }

    impl HttpConnector for Uplink {
        fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
            let pause = self.pause;
            let pieces = self.pieces;
            let last = self.answer;
            HttpConnectorFuture::new(async move {
                let mut body = ByteStream::new(request.take_body());
                let mut taken = VecDeque::new();
                while taken.len() < pieces {
                    tokio::time::sleep(pause).await;
                    match body.next().await {
                        Some(piece) => taken.push_back(piece.expect("a piece")),
                        None => break,
                    }
                }
                match last {
                    Some(last) => tokio::time::sleep(last).await,
                    None => std::future::pending().await,
                }
                let bytes: usize = taken.iter().map(Bytes::len).sum();
                let status = 200.try_into().expect("a status");
                Ok(HttpResponse::new(status, SdkBody::from(bytes.to_string())))
            })
        }
    }

    /// The result of a body of `size` bytes, and its time.
    async fn sent(size: usize, uplink: Uplink) -> (Result<String, String>, Duration) {
        let started = Instant::now();
        let request = HttpRequest::new(SdkBody::from(vec![7; size]));
        let answer = call(&SharedHttpConnector::new(uplink), request, LIMITS).await;
        let text = |answer: HttpResponse| {
            String::from_utf8_lossy(answer.body().bytes().expect("in memory")).into_owned()
        };
        (answer.map(text).map_err(|error| crate::error_causes::messages(&error)), started.elapsed())
    }

    #[tokio::test]
    async fn a_body_may_take_as_long_as_it_likes_while_it_moves() {
        let pause = Duration::from_millis(50);
        let slow = Uplink { pause, pieces: usize::MAX, answer: Some(Duration::from_millis(400)) };
        let (answer, took) = sent(2 << 20, slow).await;
        assert_eq!(answer, Ok((2 << 20).to_string()));
        assert!(took > LIMITS.idle * 2, "{took:?}");
    }

    #[tokio::test]
    async fn a_body_that_makes_no_progress_is_given_up() {
        for pieces in [0, 1, 30] {
            let stuck = Uplink { pause: Duration::from_millis(5), pieces, answer: None };
            let (answer, took) = sent(8 << 20, stuck).await;
            let reported = answer.expect_err("nothing moves");
            assert!(reported.contains("no byte of the body was taken for"), "{reported}");
            assert!(took >= LIMITS.idle, "{took:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_was_taken_is_given_up_without_an_answer() {
        let silent = Uplink { pause: Duration::ZERO, pieces: usize::MAX, answer: None };
        let (answer, took) = sent(512 << 10, silent).await;
        let reported = answer.expect_err("no answer");
        assert!(reported.contains("no answer came for"), "{reported}");
        assert!(took >= LIMITS.answer + Duration::from_millis(320), "{took:?}");
    }

    #[tokio::test]
    async fn a_small_body_goes_as_it_is() {
        let pause = Duration::ZERO;
        let slow = Uplink { pause, pieces: usize::MAX, answer: Some(LIMITS.idle * 2) };
        let (answer, _) = sent(WATCHED_BYTES_MIN - 1, slow).await;
        assert_eq!(answer, Ok((WATCHED_BYTES_MIN - 1).to_string()));
    }
}
