//! Connections and their limits.

use super::listener::{AcceptedStream, ByteStream, Listener};
use super::peer::Peer;
use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The limits of one address.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerLimits {
    /// Maximum number of connections; above it, the oldest is closed.
    connections: usize,
    /// The time after which a connection is asked to end.
    lifetime: Duration,
}

/// The limits of the public address.
pub(super) const PUBLIC: ServerLimits =
    ServerLimits { connections: 64, lifetime: Duration::from_secs(60) };
/// The limits of the address for hints: there may be a relay on each node.
pub(super) const HINTS: ServerLimits =
    ServerLimits { connections: 256, lifetime: Duration::from_secs(60) };
/// The limits for clients that may wait for a flush.
pub(super) const ADMIN: ServerLimits =
    ServerLimits { connections: 64, lifetime: Duration::from_secs(3_700) };

/// Maximum time for a request head to arrive, and for another one on an idle connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Maximum size of a request head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Maximum number of lines of a request head.
const HEAD_LINES_MAX: usize = 64;
/// Maximum time for a connection to end after it was asked to.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// The pause after a failed accept, for example because there are no descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves connections until it is stopped.
pub(super) async fn serve(
    listener: Listener,
    router: Router,
    limits: ServerLimits,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                log_panic(ended);
                oldest.retain(|connection| !connection.is_finished());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(AcceptedStream { stream, tls, peer }) => {
                if oldest.len() >= limits.connections
                    && let Some(connection) = oldest.pop_front()
                {
                    connection.abort();
                }
                let router = router.clone().layer(Extension::<Peer>(peer));
                let lifetime = limits.lifetime;
                let stop = stop.clone();
                oldest.push_back(connections.spawn(async move {
                    if let Some(stream) = secured(stream, tls).await {
                        answer(stream, router, lifetime, stop).await;
                    }
                }));
            }
            // It was logged, and the next client may be another user.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            Err(error) => {
                tracing::debug!(event = "http.accept_failed", error.message = %error, "not accepted");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
    if let Listener::Control(socket) = &listener {
        socket.remove();
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        log_panic(ended);
    }
}

/// The stream after the handshake, if there is TLS.
async fn secured(
    stream: Box<dyn ByteStream>,
    tls: Option<TlsAcceptor>,
) -> Option<Box<dyn ByteStream>> {
    let Some(tls) = tls else { return Some(stream) };
    match timeout(HEAD_PATIENCE, tls.accept(stream)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::debug!(event = "http.tls_failed", error.message = %error, "no TLS connection");
            None
        }
        Err(_) => None,
    }
}

/// Serves the requests of one connection.
async fn answer(
    stream: Box<dyn ByteStream>,
    router: Router,
    lifetime: Duration,
    stop: CancellationToken,
) {
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

/// Finishes a running response if that is soon.
async fn end<S>(
    mut connection: std::pin::Pin<&mut http1::Connection<TokioIo<Box<dyn ByteStream>>, S>>,
) -> hyper::Result<()>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = axum::body::Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    connection.as_mut().graceful_shutdown();
    timeout(END_PATIENCE, connection).await.unwrap_or(Ok(()))
}

/// Reports a panic, which is a bug and costs one connection.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!(event = "http.panicked", "answering a request has panicked");
    }
}
