//! The HTTP client of all services and of the sources of credentials.
//!
//! - The number of connections per host is bounded; further requests wait.
//! - `HTTPS_PROXY` and similar variables apply, and `AWS_CA_BUNDLE`, which the SDK does not read
//!   itself.

use super::AwsSettings;
use super::proxy::{ProxyBypass, RoutedClient};
use super::stale_connection::{AnsweredConnections, IDLE_MAX, StaleLimits};
use super::upload_progress::ProgressLimits;
use crate::safe_file::read_input;
use aws_smithy_http_client::pool::{BuildError, Client, ClientBuildError, ConnectionPool};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The time without data after which the kernel probes a connection, as while a store works on an answer.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Maximum size of a file of authorities; a usual one has a few hundred KiB.
const BUNDLE_BYTES_MAX: u64 = 16 << 20;

/// Why no client could be created.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The file of authorities.
    #[error("AWS_CA_BUNDLE names {path:?}, which cannot be used: {why}")]
    Bundle {
        /// The path of the file.
        path: PathBuf,
        /// The problem.
        why: String,
    },
    /// Any other reason.
    #[error("no HTTP client can be made: {0}")]
    Client(String),
}

impl From<BuildError> for HttpError {
    fn from(error: BuildError) -> Self {
        Self::Client(error.to_string())
    }
}

impl From<ClientBuildError> for HttpError {
    fn from(error: ClientBuildError) -> Self {
        Self::Client(error.to_string())
    }
}

/// Creates a client with this maximum of connections per host. It trusts the authorities of the
/// bundle, or those of the system, and uses the proxy of the environment.
pub(super) fn client(settings: &AwsSettings) -> Result<SharedHttpClient, HttpError> {
    let bypass = ProxyBypass::new(&settings.no_proxy, &settings.credential_endpoints);
    Ok(SharedHttpClient::new(RoutedClient {
        proxied: pool(settings, ProxyConfig::from_env())?,
        direct: pool(settings, ProxyConfig::disabled())?,
        bypass: Arc::new(bypass),
        answered_proxied: AnsweredConnections::default(),
        answered_direct: AnsweredConnections::default(),
        limits: StaleLimits::new(ProgressLimits::new(settings.timeouts)),
    }))
}

fn pool(settings: &AwsSettings, proxy: ProxyConfig) -> Result<Client, HttpError> {
    let trust_store = match &settings.ca_bundle {
        Some(path) => {
            let wrong = |why| HttpError::Bundle { path: path.to_owned(), why };
            TrustStore::empty().with_pem_certificate(authorities(path).map_err(wrong)?)
        }
        None => TrustStore::default(),
    };
    let context = TlsContext::builder().with_trust_store(trust_store).build();
    let context = context.map_err(|error| HttpError::Client(error.to_string()))?;
    let pool = ConnectionPool::builder()
        .max_connections_per_host(settings.connections)
        .idle_timeout(IDLE_MAX)
        .tcp_keepalive(KEEPALIVE)
        .proxy_config(proxy)
        .tls_provider(Provider::rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https()?;
    Ok(Client::new(&pool)?)
}

/// Reads and validates the file, because the client would panic on an invalid one.
fn authorities(path: &Path) -> Result<Vec<u8>, String> {
    let pem = read_input(path, BUNDLE_BYTES_MAX).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("there is no PEM certificate in it".to_owned());
    }
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_is_none_is_an_error_and_no_panic() {
        let directory = tempfile::tempdir().expect("a directory");
        let bundle = directory.path().join("bundle.pem");
        let settings = AwsSettings {
            ca_bundle: Some(bundle.clone()),
            connections: 1,
            ..AwsSettings::default()
        };
        let message = || client(&settings).expect_err("no bundle").to_string();
        assert!(message().contains("No such file"));
        for (content, why) in [
            ("", "there is no PEM certificate in it"),
            ("nonsense", "there is no PEM certificate in it"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be used"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "cannot be used"),
        ] {
            std::fs::write(&bundle, content).expect("written");
            assert!(message().contains(why), "{content}: {}", message());
        }
    }
}
