//! Standard variables for connections to AWS, which every program of this kind reads.

use super::ConfigSources;
use std::path::PathBuf;

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
    pub(super) fn read(sources: &ConfigSources) -> Self {
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
}
