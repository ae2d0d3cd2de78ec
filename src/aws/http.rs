//! The one HTTP client: for every service, and for whoever gives the credentials.
//!
//! - There are never more connections to one host than were asked for; what is beyond waits.
//! - `HTTPS_PROXY` and its kin count, and `AWS_CA_BUNDLE`, which the SDK does not read by itself.

use aws_smithy_http_client::pool::{BuildError, Client, ClientBuildError, ConnectionPool};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A connection nobody uses is closed after this; S3 keeps them a little longer.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// What asks whether the other end is still there, below the idle limits of NAT gateways.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// A file of authorities is a few hundred KiB.
const BUNDLE_BYTES_MAX: u64 = 16 << 20;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The file of authorities.
    #[error("AWS_CA_BUNDLE names {path:?}, which cannot be used: {why}")]
    Bundle {
        /// Its name.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Anything else.
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

/// A client of at most `connections` to one host, that trusts the authorities of `bundle`, or those
/// of the system.
pub(super) fn client(connections: usize, bundle: Option<&Path>) -> Result<Client, HttpError> {
    let trust_store = match bundle {
        Some(path) => {
            let wrong = |why| HttpError::Bundle { path: path.to_owned(), why };
            TrustStore::empty().with_pem_certificate(authorities(path).map_err(wrong)?)
        }
        None => TrustStore::default(),
    };
    let context = TlsContext::builder().with_trust_store(trust_store).build();
    let context = context.map_err(|error| HttpError::Client(error.to_string()))?;
    let pool = ConnectionPool::builder()
        .max_connections_per_host(connections)
        .idle_timeout(IDLE_MAX)
        .tcp_keepalive(KEEPALIVE)
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(Provider::rustls(CryptoMode::AwsLc))
        .tls_context(context)
        .build_https()?;
    Ok(Client::new(&pool)?)
}

/// The file, if all in it is what it should be: the client would panic over anything else.
fn authorities(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > BUNDLE_BYTES_MAX {
        return Err(format!("it has {size} bytes, which no bundle of certificates has"));
    }
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
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
        let told = || client(1, Some(&bundle)).expect_err("no bundle").to_string();
        assert!(told().contains("No such file"));
        for (content, why) in [
            ("", "there is no PEM certificate in it"),
            ("nonsense", "there is no PEM certificate in it"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be used"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "cannot be used"),
        ] {
            std::fs::write(&bundle, content).expect("written");
            assert!(told().contains(why), "{content}: {}", told());
        }
    }
}
