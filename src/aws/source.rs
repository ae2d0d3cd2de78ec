//! The source of credentials: AWS's default chain, reloaded when it could return other credentials.
//!
//! The SDK reads the profile files once. Agents, `aws sso login` and operators replace them while
//! the daemon runs.

use super::{behavior, credential_process, token_file};
use crate::error_causes::messages;
use crate::safe_file::LibraryFile;
use aws_config::Region;
use aws_config::identity::IdentityCache;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{
    ProvideCredentials, Result as Answer, SharedCredentialsProvider, future,
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use std::fmt::Debug;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Provides credentials, and detects when they may have changed.
pub(super) trait CredentialSource: ProvideCredentials + Debug {
    /// Whether its files have changed since it provided credentials.
    fn has_changed(&self) -> bool {
        false
    }

    /// Drops what it has read.
    fn forget(&self) {}
}

/// The default chain.
#[derive(Debug)]
pub(super) struct DefaultChain {
    http: SharedHttpClient,
    region: Option<Region>,
    profile_files: Vec<PathBuf>,
    /// Files that the SDK reads as a whole. Each is checked before every load, because one without an
    /// end would use all memory.
    credential_files: Vec<LibraryFile>,
    loaded: Mutex<LoadedCredentials>,
}

#[derive(Debug, Clone)]
struct LoadedCredentials {
    /// The loaded chain, or `None` if it has to be loaded.
    provider: Option<SharedCredentialsProvider>,
    files: Vec<Option<FileVersion>>,
}

/// Identifies one version of a file without reading it.
type FileVersion = (u64, u64, u64, i64, i64, i64);

/// The present version of a file, or `None` if it cannot be found.
fn version(path: &Path) -> Option<FileVersion> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec(), file.ctime()))
}

impl DefaultChain {
    pub(super) fn new(
        provider: SharedCredentialsProvider,
        http: SharedHttpClient,
        region: Option<Region>,
        profile_files: Vec<PathBuf>,
        credential_files: Vec<LibraryFile>,
    ) -> Self {
        let files = profile_files.iter().map(|file| version(file)).collect();
        let loaded = Mutex::new(LoadedCredentials { provider: Some(provider), files });
        Self { http, region, profile_files, credential_files, loaded }
    }

    async fn credentials(&self) -> Answer {
        for file in &self.credential_files {
            let endless =
                file.refuse_endless().map_err(|error| format!("{:?}: {error}", file.path));
            endless.map_err(CredentialsError::provider_error)?;
        }
        token_file::refuse_endless().await.map_err(CredentialsError::provider_error)?;
        // Taken before the files are read: a later change is detected the next time.
        let files = self.versions();
        let loaded = self.loaded().clone();
        let provider = match loaded.provider.filter(|_| loaded.files == files) {
            Some(provider) => provider,
            None => self.load(files).await?,
        };
        let error = match provider.provide_credentials().await {
            Ok(credentials) => return Ok(credentials),
            Err(error) => error,
        };
        match missing_feature(&messages(&error)) {
            None => {
                Err(token_file::unreadable().await.map_or(error, CredentialsError::provider_error))
            }
            Some("credentials-process") => {
                credential_process::credentials(self.http.clone(), self.region.clone()).await
            }
            Some(feature) => Err(CredentialsError::invalid_configuration(unsupported(feature))),
        }
    }

    async fn load(
        &self,
        files: Vec<Option<FileVersion>>,
    ) -> Result<SharedCredentialsProvider, CredentialsError> {
        let mut loader = aws_config::defaults(behavior())
            .http_client(self.http.clone())
            .identity_cache(IdentityCache::no_cache());
        if let Some(region) = self.region.clone() {
            loader = loader.region(region);
        }
        let provider = loader.load().await.credentials_provider();
        let provider = provider.ok_or_else(|| CredentialsError::not_loaded("no provider"))?;
        *self.loaded() = LoadedCredentials { provider: Some(provider.clone()), files };
        Ok(provider)
    }

    fn versions(&self) -> Vec<Option<FileVersion>> {
        self.profile_files.iter().map(|file| version(file)).collect()
    }

    fn loaded(&self) -> MutexGuard<'_, LoadedCredentials> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProvideCredentials for DefaultChain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.credentials())
    }
}

impl CredentialSource for DefaultChain {
    fn has_changed(&self) -> bool {
        self.versions() != self.loaded().files
    }

    fn forget(&self) {
        self.loaded().provider = None;
    }
}

/// The feature that the profile needs and the SDK was compiled without.
fn missing_feature(message: &str) -> Option<&str> {
    let (_, features) = message.split_once("cargo feature(s) enabled: ")?;
    Some(features.split(['.', ' ', ',']).next().unwrap_or_default())
}

/// The error message, which names an alternative.
fn unsupported(feature: &str) -> String {
    let keys = match feature {
        "credentials-login" => "login_session",
        _ => "sso_session or sso_start_url",
    };
    format!(
        "the profile has {keys}: a person's sign-in, which a daemon cannot renew; use a role or keys, or write \
         credential_process = aws configure export-credentials --profile NAME --format process"
    )
}
