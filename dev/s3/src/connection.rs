//! One connection: a socket that can be reset instead of closed.

use crate::answer::{Answer, HungUp};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Whether a connection may be closed. Without a farewell it is reset (RST), which is what faults
/// want, and what leaves nothing behind that would keep the port of a stopped server busy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Farewell(Arc<AtomicBool>);

impl Farewell {
    pub(crate) fn say(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Socket {
    stream: TcpStream,
    farewell: Farewell,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.farewell.0.load(Ordering::Relaxed) {
            // Nothing is lost if this fails: the connection is then closed instead of reset.
            drop(self.stream.set_zero_linger());
        }
    }
}

/// Serves requests until either side ends the connection.
pub(crate) async fn serve<C, F>(stream: TcpStream, call: C)
where
    C: Fn(Request<Incoming>, Farewell) -> F,
    F: Future<Output = Result<Answer, HungUp>>,
{
    // Answers are small; nothing is lost if this fails.
    drop(stream.set_nodelay(true));
    let farewell = Farewell::default();
    let socket = Socket { stream, farewell: farewell.clone() };
    // Only faults end a connection, so there is no timeout.
    let connection = http1::Builder::new().header_read_timeout(None).serve_connection(
        TokioIo::new(socket),
        hyper::service::service_fn(|request| call(request, farewell.clone())),
    );
    if connection.await.is_ok() {
        farewell.say();
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
