//! Standard variables for connections to AWS, which every program of this kind reads.

use super::ConfigSources;
use super::problem::{Problem, escaped};
use super::reader::SettingReader;
use crate::safe_file::LibraryFile;
use std::path::PathBuf;

/// Maximum size of a profile file; a usual one has a few KiB.
const PROFILE_FILE_BYTES_MAX: u64 = 4 << 20;
/// Maximum size of a token.
const TOKEN_FILE_BYTES_MAX: u64 = 64 << 10;
/// Maximum size of a file of authorities; a usual one has a few hundred KiB.
const TRUST_FILE_BYTES_MAX: u64 = 16 << 20;
/// Maximum number of files in a directory of authorities that are inspected.
const TRUST_FILES_MAX: usize = 10_000;

/// The standard variables for connections to AWS that the SDK does not read itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsEnvironment {
    /// `NO_PROXY`: hosts that are contacted without a proxy.
    pub no_proxy: String,
    /// URLs that provide credentials to a container or an instance, if variables name them.
    pub credential_endpoints: Vec<String>,
    /// The profile files, existing or not.
    pub profile_files: Vec<PathBuf>,
    /// The files with tokens of web identities and container agents.
    pub token_files: Vec<PathBuf>,
    /// The files and directories of trusted authorities.
    pub trust_files: Vec<PathBuf>,
}

impl AwsEnvironment {
    fn read(sources: &ConfigSources) -> Self {
        let text = |name: &str| {
            let value = sources.variable(name)?.to_string_lossy().trim().to_owned();
            Some(value).filter(|value| !value.is_empty())
        };
        let endpoints = ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_SERVICE_ENDPOINT"];
        let profile_file = |variable: &str, default: &str| match sources.variable(variable) {
            Some(named) => Some(sources.working_directory.join(named)),
            None => Some(PathBuf::from(sources.variable("HOME")?).join(default)),
        };
        let files = [
            profile_file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
            profile_file("AWS_CONFIG_FILE", ".aws/config"),
        ];
        let token_files = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];
        let paths = |variable: &&str| {
            let value = sources.variable(variable)?;
            let paths = std::env::split_paths(value);
            Some(paths.map(|path| sources.working_directory.join(path)).collect::<Vec<_>>())
        };
        Self {
            token_files: token_files.iter().filter_map(paths).flatten().collect(),
            trust_files: ["SSL_CERT_FILE", "SSL_CERT_DIR"]
                .iter()
                .filter_map(paths)
                .flatten()
                .collect(),
            // The spelling of curl has priority.
            no_proxy: text("no_proxy").or_else(|| text("NO_PROXY")).unwrap_or_default(),
            credential_endpoints: endpoints.into_iter().filter_map(text).collect(),
            profile_files: files.into_iter().flatten().collect(),
        }
    }
    /// The files with credentials that the SDK reads whole.
    #[must_use]
    pub fn credential_files(&self) -> Vec<LibraryFile> {
        let profiles = self.profile_files.iter().map(|path| (path, PROFILE_FILE_BYTES_MAX));
        let tokens = self.token_files.iter().map(|path| (path, TOKEN_FILE_BYTES_MAX));
        let files = profiles.chain(tokens);
        files.map(|(path, bytes_max)| LibraryFile { path: path.clone(), bytes_max }).collect()
    }

    /// The files of authorities that the TLS library reads whole.
    fn trust_files(&self) -> Vec<LibraryFile> {
        let mut files = Vec::new();
        for path in &self.trust_files {
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            // Of a directory, only regular files are read.
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            let paths = entries.take(TRUST_FILES_MAX).map(|entry| entry.path());
            files.extend(paths.filter(|path| path.is_file()));
        }
        let bytes_max = TRUST_FILE_BYTES_MAX;
        files.into_iter().map(|path| LibraryFile { path, bytes_max }).collect()
    }
}

/// Reads the variables, and refuses the files whose end may never come.
pub(super) fn aws_environment(reader: &mut SettingReader<'_>) -> AwsEnvironment {
    let environment = AwsEnvironment::read(reader.sources);
    let files = environment.credential_files().into_iter().chain(environment.trust_files());
    for file in files {
        let Err(error) = file.refuse_endless() else { continue };
        let origin = escaped(&file.path.to_string_lossy());
        let right = format!("name a regular file of at most {} KiB", file.bytes_max >> 10);
        reader.push(Problem::source(&origin, format!("cannot be used: {error}; {right}")));
    }
    environment
}
