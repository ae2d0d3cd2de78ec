//! Another server behind this one: requests go to it and answers come back as they are.
//!
//! # Invariants
//!
//! - Method, address, headers and body are not changed, `Host` included, so a signature stays right.
//! - A server that cannot be reached is not answered for: the client's connection is reset.

use crate::answer::{Answer, HungUp, Untouched};
use crate::body::Metered;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    address: SocketAddr,
    /// Made with the first request, in the runtime that serves it.
    client: Arc<OnceLock<Client<HttpConnector, Forwarded>>>,
}

impl Upstream {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, client: Arc::default() }
    }

    /// Has the server answer `request`.
    pub(crate) async fn call(&self, request: Request<Metered>) -> Result<Answer, HungUp> {
        let request = request.map(|inner| Forwarded { inner, left: None });
        self.forward(request).await
    }

    /// Sends so many bytes of the body and resets the connection to the server, so that it does not
    /// carry out what it was asked for.
    pub(crate) async fn call_in_part(&self, request: Request<Metered>, bytes: u64) -> HungUp {
        let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let length: u64 = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        if length > 0 {
            let left = Some(bytes.min(length - 1));
            let request = request.map(|inner| Forwarded { inner, left });
            drop(self.forward(request).await);
        }
        HungUp
    }

    async fn forward(&self, mut request: Request<Forwarded>) -> Result<Answer, HungUp> {
        let host = request.headers().get(HOST).cloned();
        *request.uri_mut() = self.address_of(request.uri()).ok_or(HungUp)?;
        // The client adds one where there is none.
        let host = host.unwrap_or(HeaderValue::from_static(""));
        request.headers_mut().insert(HOST, host);
        let client = self.client.get_or_init(|| Client::builder(TokioExecutor::new()).build_http());
        let answer = client.request(request).await.map_err(|_| HungUp)?;
        let mut answer = answer.map(s3s::Body::http_body_unsync);
        answer.extensions_mut().insert(Untouched);
        Ok(answer)
    }

    /// The address of the request at the other server.
    fn address_of(&self, uri: &Uri) -> Option<Uri> {
        let mut parts = uri.clone().into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.address.to_string().parse::<Authority>().ok()?);
        Uri::from_parts(parts).ok()
    }
}

/// A request's body on its way to the other server.
struct Forwarded {
    inner: Metered,
    /// How many bytes may pass before the connection is reset.
    left: Option<u64>,
}

impl Body for Forwarded {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == Some(0) {
            return Poll::Ready(Some(Err(Box::new(HungUp))));
        }
        let Some(frame) = ready!(pin!(&mut self.inner).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let frame = frame?;
        let (Some(left), Some(data)) = (self.left, frame.data_ref()) else {
            return Poll::Ready(Some(Ok(frame)));
        };
        let data = crate::object::slice(data, 0..left);
        self.left = Some(left - crate::object::length(data.len()));
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_none() && self.inner.is_end_stream()
    }
}
