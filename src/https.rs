//! Requests to services that are not AWS: one POST, bounded in time, over TLS with the certificates that the
//! system trusts.
//!
//! A redirect is an error, like every status but 2xx. No proxy is used. The body of the response is not
//! read.

use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use std::io;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;
use tower_service::Service as _;

/// Maximum time of a request, from the connection to the head of the response.
const POST_PATIENCE: Duration = Duration::from_secs(10);

/// The reason why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// There is no connection, or it broke.
    #[error("no connection: {0}")]
    Connection(String),
    /// The service did not answer in time.
    #[error("no answer within {} s", POST_PATIENCE.as_secs())]
    Silent,
    /// The service refused the request, or redirected it.
    #[error("answered {0}")]
    Status(StatusCode),
}

/// Makes connections to services whose certificates the system trusts.
///
/// # Errors
///
/// If the system has no certificates.
pub fn connector() -> io::Result<HttpsConnector<HttpConnector>> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let trusting = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?;
    Ok(trusting.https_or_http().enable_http1().build())
}

/// Sends requests, each on a connection of its own.
#[derive(Debug, Clone)]
pub struct HttpsClient {
    connector: HttpsConnector<HttpConnector>,
}

impl HttpsClient {
    /// A client that trusts the certificates of the system.
    ///
    /// # Errors
    ///
    /// If the system has none.
    pub fn new() -> io::Result<Self> {
        Ok(Self { connector: connector()? })
    }

    /// Posts a text.
    ///
    /// # Errors
    ///
    /// If it was not answered in time with a status of 2xx.
    pub async fn post_text(&self, url: &Uri, text: String) -> Result<(), PostError> {
        let exchange = tokio::time::timeout(POST_PATIENCE, self.exchange(url, text));
        match exchange.await {
            Err(_) => Err(PostError::Silent),
            Ok(Err(error)) => Err(PostError::Connection(error.to_string())),
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => Err(PostError::Status(status)),
        }
    }

    async fn exchange(
        &self,
        url: &Uri,
        text: String,
    ) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
        let stream = self.connector.clone().call(url.clone()).await?;
        let (mut sender, connection) = http1::handshake(stream).await?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::post(path)
            .header(HOST, url.authority().map_or("", |authority| authority.as_str()))
            .header(USER_AGENT, concat!("file-sync-service/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(text)?;
        // It moves the bytes. The sender has its errors, and the response also if it ends first.
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        Ok(sender.send_request(request).await?.status())
    }
}
