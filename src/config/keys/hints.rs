//! The keys of hints between nodes.

use super::{DefaultValue, Key, ValueKind, key};

pub(super) const SECTION: &[&Key] = &[
    &HINT_LISTEN_ADDRESS,
    &HINT_TOKEN_FILE,
    &HINT_TLS_CERT_FILE,
    &HINT_TLS_KEY_FILE,
    &HINT_URL,
    &HINT_CA_FILE,
];

pub(in crate::config) const HINT_LISTEN_ADDRESS: Key = key(
    "hint_listen_address",
    ValueKind::Text,
    DefaultValue::Value("off"),
    "where relays of other nodes send the paths of changes (`POST /-/hints`), such as `[::]:9189`; needs \
     `hint_token_file`; see [SCALING.md](SCALING.md#hints-of-other-nodes)",
);
pub(in crate::config) const HINT_TOKEN_FILE: Key = key(
    "hint_token_file",
    ValueKind::Path,
    DefaultValue::Then("no hints are sent or taken"),
    "a file with the token, of 16 bytes at least, that hints carry; read again for each request",
);
pub(in crate::config) const HINT_TLS_CERT_FILE: Key = key(
    "hint_tls_cert_file",
    ValueKind::Path,
    DefaultValue::Then("without TLS"),
    "the certificate of `hint_listen_address` and those above it, in PEM; read at the start",
);
pub(in crate::config) const HINT_TLS_KEY_FILE: Key = key(
    "hint_tls_key_file",
    ValueKind::Path,
    DefaultValue::Then("without TLS"),
    "the key of that certificate, in PEM",
);
pub(in crate::config) const HINT_URL: Key = key(
    "hint_url",
    ValueKind::List,
    DefaultValue::Value(""),
    "where `relay` sends hints, such as `https://file-sync:9189`: every instance that mirrors the directory",
);
pub(in crate::config) const HINT_CA_FILE: Key = key(
    "hint_ca_file",
    ValueKind::Path,
    DefaultValue::Then("the authorities of the system"),
    "the authorities that `relay` trusts for `https` URLs, in PEM",
);
