//! Answers that are not those of an S3: given byte by byte, of any length, also without an end.

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What an endless body repeats at once, at least.
const CHUNK_BYTES_MIN: usize = 64 << 10;

/// An answer as it goes out: the server adds no header of S3 to it.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    tail: Option<Bytes>,
    applied: bool,
}

impl RawAnswer {
    /// An answer without headers and body. The operation is not carried out.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), tail: None, applied: false }
    }

    /// A page of HTML, as a captive portal or a maintenance page answers.
    #[must_use]
    pub fn html(status: u16) -> Self {
        Self::new(status)
            .header("content-type", "text/html")
            .body("<!DOCTYPE html><html><body><h1>Back soon</h1></body></html>")
    }

    /// The error document of an S3, with its request id.
    #[must_use]
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
        Self::xml(
            status,
            format!(
                "{declaration}\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            ),
        )
    }

    /// A document of an S3, with its request id.
    #[must_use]
    pub fn xml(status: u16, document: impl Into<Bytes>) -> Self {
        Self::new(status)
            .header("content-type", "application/xml")
            .header("x-amz-request-id", "0000000000000RAW")
            .body(document)
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// With a body that repeats `tail` after what it has, for ever.
    #[must_use]
    pub fn endless(mut self, tail: &str) -> Self {
        let times = CHUNK_BYTES_MIN.div_ceil(tail.len().max(1));
        self.tail = Some(tail.repeat(times).into());
        self
    }

    /// Carries the operation out before it answers.
    #[must_use]
    pub fn applied(mut self) -> Self {
        self.applied = true;
        self
    }

    pub(crate) fn is_applied(&self) -> bool {
        self.applied
    }

    /// `None` if it has a status or a header that HTTP does not know.
    pub(crate) fn response(&self) -> Option<Response<s3s::Body>> {
        let body = match &self.tail {
            None => s3s::Body::from(self.body.clone()),
            Some(tail) => {
                s3s::Body::http_body(Endless { head: Some(self.body.clone()), tail: tail.clone() })
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).ok()?;
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            response.headers_mut().append(name, HeaderValue::from_str(value).ok()?);
        }
        Some(response)
    }
}

/// A body that goes on until its reader leaves.
struct Endless {
    head: Option<Bytes>,
    tail: Bytes,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.head.take().filter(|head| !head.is_empty());
        let chunk = chunk.unwrap_or_else(|| self.tail.clone());
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }
}
