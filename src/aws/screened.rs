//! An HTTP client that screens responses before an SDK reads them, and bounds their bodies.
//!
//! An SDK reads the whole body of a response into memory, whatever its length. A server that
//! answers in place of AWS must not determine how much memory that takes.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::{
    RuntimeComponents, RuntimeComponentsBuilder,
};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::time::Duration;

/// Maximum body size of services with small responses: STS, SSO, instance metadata, CloudFront.
pub(super) const SMALL_ANSWER_BYTES_MAX: usize = 1 << 20;
/// Maximum time without progress of a body.
const BODY_IDLE_MAX: Duration = Duration::from_secs(30);

/// Decides which responses an SDK receives, and in which form.
pub(crate) trait Screen: Clone + fmt::Debug + Send + Sync + 'static {
    /// The facts about a request that are needed to screen its response.
    type Request: Send + 'static;

    /// Extracts the facts from the request.
    fn request(&self, request: &HttpRequest) -> Self::Request;

    /// Passes a response on, changes it, or refuses it.
    fn answer(
        self,
        request: Self::Request,
        answer: Result<HttpResponse, ConnectorError>,
    ) -> impl Future<Output = Result<HttpResponse, ConnectorError>> + Send;
}

/// An HTTP client with a screen in front of its answers.
#[derive(Debug)]
pub(crate) struct ScreenedClient<S> {
    inner: SharedHttpClient,
    screen: S,
}

impl<S: Screen> ScreenedClient<S> {
    /// Screens the responses of `inner` with `screen`.
    pub(crate) fn new(inner: SharedHttpClient, screen: S) -> Self {
        Self { inner, screen }
    }
}

impl<S: Screen> HttpClient for ScreenedClient<S> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(ScreenedConnector { inner, screen: self.screen.clone() })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.inner.validate_base_client_config(components, config)
    }

    fn validate_final_config(
        &self,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.inner.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

#[derive(Debug)]
struct ScreenedConnector<S> {
    inner: SharedHttpConnector,
    screen: S,
}

impl<S: Screen> HttpConnector for ScreenedConnector<S> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let screen = self.screen.clone();
        let about = screen.request(&request);
        let call = self.inner.call(request);
        HttpConnectorFuture::new(async move { screen.answer(about, call.await).await })
    }
}

/// The start of a body.
#[derive(Debug)]
pub(crate) struct BodyStart {
    /// Its first bytes.
    pub(crate) bytes: Bytes,
    /// Whether the body has no further bytes.
    pub(crate) is_whole: bool,
}

/// Reads at most `max` bytes of a body. The connection of a longer one is closed.
///
/// # Errors
///
/// If the body ends early, or stalls.
pub(crate) async fn read_start(body: SdkBody, max: usize) -> Result<BodyStart, ConnectorError> {
    let mut stream = ByteStream::new(body);
    let mut bytes = BytesMut::new();
    loop {
        let piece = match tokio::time::timeout(BODY_IDLE_MAX, stream.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => return Err(ConnectorError::io(error.into())),
            Ok(None) => return Ok(BodyStart { bytes: bytes.freeze(), is_whole: true }),
            Err(elapsed) => return Err(ConnectorError::timeout(elapsed.into())),
        };
        let room = max - bytes.len();
        if piece.len() > room {
            bytes.extend_from_slice(&piece[..room]);
            return Ok(BodyStart { bytes: bytes.freeze(), is_whole: false });
        }
        bytes.extend_from_slice(&piece);
    }
}

/// Refuses responses that are longer than those of a service with small responses.
#[derive(Debug, Clone, Copy)]
pub(super) struct SmallAnswers;

/// The error for a response that is longer than any of its service.
#[derive(Debug, thiserror::Error)]
#[error("the answer is longer than {max} bytes, so it is not from AWS")]
struct AnswerTooLong {
    max: usize,
}

impl Screen for SmallAnswers {
    type Request = ();

    fn request(&self, _: &HttpRequest) {}

    async fn answer(
        self,
        (): (),
        answer: Result<HttpResponse, ConnectorError>,
    ) -> Result<HttpResponse, ConnectorError> {
        let mut response = answer?;
        let max = SMALL_ANSWER_BYTES_MAX;
        let start = read_start(response.take_body(), max).await?;
        if !start.is_whole {
            return Err(ConnectorError::other(AnswerTooLong { max }.into(), None));
        }
        *response.body_mut() = SdkBody::from(start.bytes);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endless() -> SdkBody {
        SdkBody::from(vec![b'x'; SMALL_ANSWER_BYTES_MAX + 1])
    }

    fn answered(body: SdkBody) -> Result<HttpResponse, ConnectorError> {
        Ok(HttpResponse::new(200.try_into().expect("a status"), body))
    }

    #[tokio::test]
    async fn no_more_of_an_answer_is_read_than_any_small_one_has() {
        let error = SmallAnswers.answer((), answered(endless())).await.expect_err("too long");
        let error = crate::error_causes::messages(&error);
        assert!(error.contains("longer than 1048576 bytes"), "{error}");
        let small = SmallAnswers.answer((), answered(SdkBody::from("ok"))).await;
        assert_eq!(small.expect("an answer").body().bytes(), Some(&b"ok"[..]));
    }
}
