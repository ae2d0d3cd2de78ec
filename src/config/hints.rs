//! The settings of hints between nodes.

use super::keys;
use super::reader::SettingReader;
use crate::endpoint_url::host_and_port;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where hints are taken and sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HintSettings {
    /// Addresses that take hints.
    pub listen: Vec<SocketAddr>,
    /// The file with the token.
    pub token_file: Option<PathBuf>,
    /// The files with the certificate and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Where a relay sends hints.
    pub urls: Vec<String>,
    /// The authorities that a relay trusts.
    pub ca_file: Option<PathBuf>,
}

/// The settings; `listen` was read before.
pub(super) fn settings(reader: &mut SettingReader<'_>, listen: Vec<SocketAddr>) -> HintSettings {
    let base = &reader.sources.working_directory;
    let token_file = reader.path(&keys::HINT_TOKEN_FILE, base);
    let certificate = reader.path(&keys::HINT_TLS_CERT_FILE, base);
    let key = reader.path(&keys::HINT_TLS_KEY_FILE, base);
    let urls = reader.list(&keys::HINT_URL, url);
    let ca_file = reader.path(&keys::HINT_CA_FILE, base);
    if !listen.is_empty() && token_file.is_none() && reader.sound(&[&keys::HINT_TOKEN_FILE]) {
        let why = "is required where hint_listen_address is set: the token that hints carry";
        reader.missing_because(&keys::HINT_TOKEN_FILE, why);
    }
    for (here, there, missing, present) in [
        (&certificate, &key, &keys::HINT_TLS_KEY_FILE, "hint_tls_cert_file"),
        (&key, &certificate, &keys::HINT_TLS_CERT_FILE, "hint_tls_key_file"),
    ] {
        if here.is_some() && there.is_none() && reader.sound(&[missing]) {
            reader.missing_because(missing, &format!("is required where {present} is set"));
        }
    }
    HintSettings { listen, token_file, tls: certificate.zip(key), urls, ca_file }
}

/// Checks a URL to send hints to: a host, and nothing behind it.
fn url(text: &str) -> Result<(), String> {
    let wrong = "is not the URL of an instance; write one such as https://file-sync:9189";
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else { return Err(wrong.to_owned()) };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let plain = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
    if plain && host_and_port(text).is_some() { Ok(()) } else { Err(wrong.to_owned()) }
}
