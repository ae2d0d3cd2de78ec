//! Connections, and their bounds.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// What one address allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections at once; one more, and the oldest is closed.
    connections: usize,
    /// A connection is asked to end after this time.
    lifetime: Duration,
}

/// For everybody.
pub(super) const PUBLIC: Limits = Limits { connections: 64, lifetime: Duration::from_secs(60) };
/// For those who may wait for a flush.
pub(super) const ADMIN: Limits = Limits { connections: 64, lifetime: Duration::from_secs(3_700) };

/// A request's head has to arrive within this time, and another one on an idle connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Lines of a request's head.
const HEAD_LINES_MAX: usize = 64;
/// A connection that was asked to end does so within this time.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// Pause after a connection could not be taken: there are no descriptors, for example.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Answers connections until it is told to stop.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                tell_panic(ended);
                oldest.retain(|connection| !connection.is_finished());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if oldest.len() >= limits.connections
                    && let Some(connection) = oldest.pop_front()
                {
                    connection.abort();
                }
                let answered = answer(stream, router.clone(), limits.lifetime, stop.clone());
                oldest.push_back(connections.spawn(answered));
            }
            Err(error) => {
                tracing::debug!(event = "http.accept_failed", error.message = %error, "not accepted");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        tell_panic(ended);
    }
}

/// Answers the requests of one connection.
async fn answer(stream: TcpStream, router: Router, lifetime: Duration, stop: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEAD_LINES_MAX);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => end(connection).await,
        () = sleep(lifetime) => end(connection).await,
    };
    if let Err(error) = ended {
        tracing::debug!(event = "http.connection_failed", error.message = %error, "connection ended");
    }
}

/// The answer under way is finished if that is soon.
async fn end<S>(
    mut connection: std::pin::Pin<&mut http1::Connection<TokioIo<TcpStream>, S>>,
) -> hyper::Result<()>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = axum::body::Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    connection.as_mut().graceful_shutdown();
    timeout(END_PATIENCE, connection).await.unwrap_or(Ok(()))
}

/// A panic here is a bug, and costs one connection.
fn tell_panic(ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!(event = "http.panicked", "answering a request has panicked");
    }
}
