//! Sends hints over HTTP or HTTPS, one connection for each request.

use crate::endpoint_url::{host_and_port, is_plain_http};
use crate::safe_file::read_input;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_rustls::ConfigBuilderExt as _;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Maximum size of a token file.
const TOKEN_FILE_BYTES_MAX: u64 = 4 << 10;
/// Maximum size of a file of authorities.
const AUTHORITIES_BYTES_MAX: u64 = 16 << 20;
/// Maximum time of a request, with its connection.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);

/// Whether the relay goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayState {
    /// It runs.
    Running,
    /// It ends with this request.
    Ending,
}

/// An instance to send hints to.
pub struct HintTarget {
    /// Host and port.
    address: String,
    host: String,
    tls: Option<TlsConnector>,
    token_file: PathBuf,
    relay: String,
}

/// Why hints were not taken.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The token cannot be read.
    #[error("hint_token_file cannot be read: {0}")]
    Token(String),
    /// There is no connection, or no answer.
    #[error("{0}")]
    Connection(String),
    /// The instance has refused them.
    #[error("the answer is {0}")]
    Refused(StatusCode),
}

impl HintTarget {
    /// The target behind `url`, for the relay of this name.
    ///
    /// # Errors
    ///
    /// If the authorities cannot be used.
    pub fn new(
        url: &str,
        token_file: &Path,
        ca_file: Option<&Path>,
        relay: &str,
    ) -> Result<Self, String> {
        let address = host_and_port(url).ok_or("no host in hint_url")?;
        let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = if is_plain_http(url) { None } else { Some(connector(ca_file)?) };
        let token_file = token_file.to_owned();
        Ok(Self { address, host, tls, token_file, relay: relay.to_owned() })
    }

    /// The host and the port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends the lines of `body`.
    ///
    /// # Errors
    ///
    /// If they were not taken.
    pub async fn send(&self, body: String, state: RelayState) -> Result<(), TargetError> {
        let path = self.token_file.clone();
        let token = tokio::task::spawn_blocking(move || read_input(&path, TOKEN_FILE_BYTES_MAX));
        let token = match token.await {
            Ok(Ok(token)) => String::from_utf8_lossy(token.trim_ascii()).into_owned(),
            Ok(Err(error)) => return Err(TargetError::Token(error.to_string())),
            Err(panic) => return Err(TargetError::Token(panic.to_string())),
        };
        let answered = timeout(REQUEST_PATIENCE, self.exchange(token, body, state)).await;
        let status = answered
            .unwrap_or_else(|_| Err("no answer in time".to_owned()))
            .map_err(TargetError::Connection)?;
        if status == StatusCode::ACCEPTED { Ok(()) } else { Err(TargetError::Refused(status)) }
    }

    async fn exchange(
        &self,
        token: String,
        body: String,
        state: RelayState,
    ) -> Result<StatusCode, String> {
        let words = |error: &dyn fmt::Display| error.to_string();
        let state = if state == RelayState::Ending { "ending" } else { "running" };
        let request = Request::post("/-/hints")
            .header("host", &self.address)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/x-ndjson")
            .header("file-sync-relay", &self.relay)
            .header("file-sync-relay-state", state)
            .body(body)
            .map_err(|error| words(&error))?;
        let stream = TcpStream::connect(&self.address).await.map_err(|error| words(&error))?;
        match &self.tls {
            None => request_on(stream, request).await,
            Some(tls) => {
                let name =
                    ServerName::try_from(self.host.clone()).map_err(|error| words(&error))?;
                let stream = tls.connect(name, stream).await.map_err(|error| words(&error))?;
                request_on(stream, request).await
            }
        }
    }
}

impl fmt::Debug for HintTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HintTarget").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn request_on<S>(stream: S, request: Request<String>) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
    let request = sender.send_request(request);
    tokio::select! {
        // The connection ends early only with an error, which the request reports.
        answer = request => answer.map(|answer| answer.status()).map_err(|error| error.to_string()),
        ended = connection => Err(ended.err().map_or("no answer".to_owned(), |error| error.to_string())),
    }
}

fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match ca_file {
        Some(path) => builder.with_root_certificates(authorities(path)?),
        None => builder.with_native_roots().map_err(|error| error.to_string())?,
    };
    Ok(TlsConnector::from(Arc::new(builder.with_no_client_auth())))
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |error: &dyn fmt::Display| format!("hint_ca_file {path:?}: {error}");
    let pem = read_input(path, AUTHORITIES_BYTES_MAX).map_err(|error| wrong(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() { Err(wrong(&"there is no PEM certificate in it")) } else { Ok(roots) }
}
