//! Bodies on their way in and out: counted, slowed down, cut off.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// A request's body, counted while it is read.
pub(crate) struct Metered {
    inner: Incoming,
    read: Arc<AtomicU64>,
    bytes_per_second: Option<u32>,
    rest: Option<Pin<Box<Sleep>>>,
}

impl Metered {
    pub(crate) fn new(
        inner: Incoming,
        read: Arc<AtomicU64>,
        bytes_per_second: Option<u32>,
    ) -> Self {
        Self { inner, read, bytes_per_second, rest: None }
    }

    /// After so many bytes the next ones have to wait.
    fn take_a_rest(&mut self, bytes: usize) {
        let Some(pace) = self.bytes_per_second else { return };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let rest = Duration::from_secs_f64(f64::from(bytes) / f64::from(pace.max(1)));
        self.rest = Some(Box::pin(tokio::time::sleep(rest)));
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(context));
            self.rest = None;
        }
        let frame = ready!(pin!(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.read.fetch_add(crate::object::length(data.len()), Ordering::Relaxed);
            self.take_a_rest(data.len());
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

/// The start of an answer's body, and then an error, upon which hyper drops the connection.
pub(crate) enum CutOff {
    Start(Bytes),
    /// The start is on its way: hyper sends what it has before it asks again.
    Pause,
    End,
}

/// Why such a body ends.
#[derive(Debug)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body is cut off on purpose")
    }
}

impl std::error::Error for Cut {}

impl Body for CutOff {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match std::mem::replace(&mut *self, Self::End) {
            Self::Start(bytes) => {
                *self = Self::Pause;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Pause => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Self::End => Poll::Ready(Some(Err(Cut))),
        }
    }
}
