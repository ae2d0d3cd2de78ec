//! TLS for hints.

use crate::safe_file::read_input;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Maximum size of a file with certificates or a key.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Reads the certificate chain and its key, both in PEM. Blocks.
///
/// # Errors
///
/// If they cannot be used, with the name of the setting.
pub fn load_tls(certificates: &Path, key: &Path) -> Result<TlsAcceptor, String> {
    let read = |name: &str, path: &Path| {
        let read = read_input(path, PEM_BYTES_MAX);
        read.map_err(|error| format!("{name} {path:?} cannot be read: {error}"))
    };
    let chain = read("hint_tls_cert_file", certificates)?;
    let secret = read("hint_tls_key_file", key)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
    let chain = chain.map_err(|error| format!("hint_tls_cert_file {certificates:?}: {error}"))?;
    if chain.is_empty() {
        return Err(format!("hint_tls_cert_file {certificates:?} has no PEM certificate"));
    }
    let secret = PrivateKeyDer::from_pem_slice(&secret);
    let secret = secret.map_err(|error| format!("hint_tls_key_file {key:?}: {error}"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| format!("hint_tls_cert_file and hint_tls_key_file: {error}"))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
