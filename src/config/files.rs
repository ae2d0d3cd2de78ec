//! The files that a configuration names, for the sandbox.

use super::reader::SettingReader;
use super::{Config, SandboxMode, SandboxSettings, keys};
use std::path::{Path, PathBuf};

/// The words of `sandbox`.
const SANDBOX_MODES: &[(&str, SandboxMode)] = &[
    ("auto", SandboxMode::Auto),
    ("off", SandboxMode::Off),
    ("false", SandboxMode::Off),
    ("require", SandboxMode::Require),
];

/// How the process confines itself, and the files whose content is a setting: a change of the
/// configuration reads them again.
pub(super) fn sandbox(reader: &mut SettingReader<'_>) -> SandboxSettings {
    let mode = reader.choice(&keys::SANDBOX, SANDBOX_MODES).unwrap_or_default();
    let base = &reader.sources.working_directory;
    let key_file = reader.path(&keys::S3_SSE_CUSTOMER_KEY_FILE, base);
    SandboxSettings { mode, content_files: key_file.into_iter().collect() }
}

impl Config {
    /// The files that are read, each of which may be replaced by another version.
    #[must_use]
    pub fn files_to_read(&self) -> Vec<&Path> {
        let hints = &self.hints;
        let own = [&self.ca_bundle, &self.admin_token_file, &hints.token_file, &hints.ca_file];
        let tls = hints.tls.iter().flat_map(|(certificate, key)| [certificate, key]);
        let standard = &self.aws_environment;
        let standard = [&standard.profile_files, &standard.token_files, &standard.trust_files];
        let standard = standard.into_iter().flatten();
        let content = &self.sandbox.content_files;
        let own = own.into_iter().flatten().chain(tls).chain(content);
        own.chain(standard).map(PathBuf::as_path).collect()
    }

    /// The files that are created and replaced, outside the state directory or in it.
    #[must_use]
    pub fn files_to_replace(&self) -> Vec<&Path> {
        let optional = [&self.status_file, &self.admin_socket];
        let optional = optional.into_iter().flatten();
        std::iter::once(&self.retry_file).chain(optional).map(PathBuf::as_path).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::keys::{self, ValueKind};

    /// A new key with a path gets a place here and in the functions above: otherwise the sandbox would
    /// refuse its file.
    #[test]
    fn every_documented_path_is_known_to_the_sandbox() {
        let paths =
            keys::all().filter(|key| matches!(key.kind, ValueKind::Path)).map(|key| key.name);
        let known = [
            "watch_path",
            "retry_file",
            "state_dir",
            "s3_sse_customer_key_file",
            "admin_socket",
            "admin_token_file",
            "status_file",
            "termination_message_path",
            "hint_token_file",
            "hint_tls_cert_file",
            "hint_tls_key_file",
            "hint_ca_file",
        ];
        assert_eq!(paths.collect::<Vec<_>>(), known);
    }
}
