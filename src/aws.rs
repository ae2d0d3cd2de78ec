//! Region, credentials and connections for every AWS client. S3 and CloudFront share them, so that
//! there is one set of credentials and one set of settings.
//!
//! The standard variables of the SDK apply: `AWS_PROFILE`, `AWS_ENDPOINT_URL`,
//! `AWS_USE_FIPS_ENDPOINT` and others. This module passes those that the SDK does not read itself.

mod credential_process;
mod credentials;
mod http;
mod proxy;
mod refusal;
mod screened;
mod source;
mod stale_connection;
mod token_file;
mod upload_progress;

pub use credentials::CredentialStatus;
pub use http::HttpError;
pub(crate) use screened::{Screen, ScreenedClient, read_start};

use crate::error_causes::messages;
use crate::safe_file::LibraryFile;
use aws_config::identity::IdentityCache;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use credentials::CachedCredentials;
pub(crate) use refusal::RefusalWatch;
use screened::SmallAnswers;
use source::DefaultChain;
use std::path::PathBuf;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;
pub(crate) use upload_progress::WATCHED_BYTES_MIN;

/// The time limits of requests to S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestTimeouts {
    /// Maximum time to establish a connection.
    pub connect: Duration,
    /// Maximum time of a small request, and from the end of a body to the response. Work on large
    /// objects has more.
    pub response: Duration,
    /// Maximum time without progress of a body.
    pub idle: Duration,
}

impl Default for RequestTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            response: Duration::from_secs(30),
            idle: Duration::from_mins(1),
        }
    }
}

/// The settings. Everything else comes from AWS's default chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsSettings {
    /// The region.
    pub region: Option<String>,
    /// Authorities to trust instead of those of the system, as PEM.
    pub ca_bundle: Option<PathBuf>,
    /// Maximum concurrent connections per host.
    pub connections: usize,
    /// `NO_PROXY`: hosts that are contacted without a proxy.
    pub no_proxy: String,
    /// URLs that provide credentials to a container or an instance.
    pub credential_endpoints: Vec<String>,
    /// The profile files, existing or not.
    pub profile_files: Vec<PathBuf>,
    /// These and the token files, each with its limit.
    pub credential_files: Vec<LibraryFile>,
    /// The time limits of requests to S3.
    pub timeouts: RequestTimeouts,
}

/// The common parts of all AWS clients.
#[derive(Debug, Clone)]
pub struct Aws {
    shared: SdkConfig,
    /// The client for S3, whose responses may have any length; `shared` has one for small
    /// responses.
    http: SharedHttpClient,
    timeouts: RequestTimeouts,
    /// `None` if requests are not signed.
    credentials: Option<CachedCredentials>,
}

impl Aws {
    /// Loads credentials, and renews them in the background from now on.
    ///
    /// # Errors
    ///
    /// If the TLS settings cannot be used.
    pub async fn load(settings: AwsSettings) -> Result<Self, HttpError> {
        let http = http::client(&settings)?;
        let timeouts = settings.timeouts;
        let mut loader = aws_config::defaults(behavior())
            .http_client(small_answers(&http))
            // This module caches them.
            .identity_cache(IdentityCache::no_cache());
        if let Some(region) = settings.region {
            loader = loader.region(Region::new(region));
        }
        let shared = loader.load().await;
        let answers = small_answers(&http);
        let credentials = shared.credentials_provider().map(|provider| {
            let region = shared.region().cloned();
            CachedCredentials::start(DefaultChain::new(
                provider,
                answers,
                region,
                settings.profile_files,
                settings.credential_files,
            ))
        });
        let provider = credentials.clone().map(SharedCredentialsProvider::new);
        let mut builder = shared.clone().into_builder();
        builder.set_credentials_provider(provider);
        builder.set_endpoint_url(
            shared.endpoint_url().map(str::trim).filter(|url| !url.is_empty()).map(Into::into),
        );
        builder.set_service_config(Some(WithoutEmpty(shared)));
        Ok(Self { shared: builder.build(), http, timeouts, credentials })
    }

    /// Returns the same credentials with other connections and time limits.
    ///
    /// # Errors
    ///
    /// If the TLS settings cannot be used.
    pub fn with_connections(&self, settings: &AwsSettings) -> Result<Self, HttpError> {
        let http = http::client(settings)?;
        let shared = self.shared.clone().into_builder().http_client(small_answers(&http)).build();
        let timeouts = settings.timeouts;
        Ok(Self { shared, http, timeouts, credentials: self.credentials.clone() })
    }

    /// Loads the credentials, and describes them without a secret.
    ///
    /// # Errors
    ///
    /// The innermost cause, if there are none.
    pub async fn credentials(&self) -> Result<String, String> {
        let Some(credentials) = &self.credentials else {
            return Ok("requests are not signed".to_owned());
        };
        let found = credentials.provide_credentials().await.map_err(|error| messages(&error))?;
        let id = found.access_key_id();
        let end = id.char_indices().nth_back(3).and_then(|(at, _)| id.get(at..)).unwrap_or(id);
        let expiry = found.expiry().map(time::OffsetDateTime::from);
        let until = match expiry.and_then(|expiry| expiry.format(&Rfc3339).ok()) {
            Some(expiry) => format!(", valid until {expiry}"),
            None => ", without an expiry".to_owned(),
        };
        let region = self.shared.region().map_or("no region is set", Region::as_ref);
        Ok(format!("access key \u{2026}{end}{until}; region: {region}"))
    }

    /// The status of the credentials.
    #[must_use]
    pub fn standing(&self) -> CredentialStatus {
        self.credentials.as_ref().map(CachedCredentials::standing).unwrap_or_default()
    }

    /// The interceptor that every client needs, so that refused credentials are renewed.
    pub(crate) fn refusal_watch(&self) -> RefusalWatch {
        RefusalWatch(self.credentials.clone())
    }

    /// The connections, without a limit on responses.
    pub(crate) fn http(&self) -> SharedHttpClient {
        self.http.clone()
    }

    /// The time limits of requests to S3.
    pub(crate) fn timeouts(&self) -> RequestTimeouts {
        self.timeouts
    }

    /// The configuration in the form of the SDK.
    pub(crate) fn shared(&self) -> &SdkConfig {
        &self.shared
    }
}

/// The same connections, for services with small responses.
fn small_answers(http: &SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(ScreenedClient::new(http.clone(), SmallAnswers))
}

/// The variables that an SDK client reads itself. Templates produce `AWS_ENDPOINT_URL_S3=` for a
/// missing value, which is not an endpoint; some clients panic on it.
#[derive(Debug)]
struct WithoutEmpty(SdkConfig);

impl LoadServiceConfig for WithoutEmpty {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let value = self.0.service_config()?.load_config(key)?.trim().to_owned();
        Some(value).filter(|value| !value.is_empty())
    }
}

/// Pinned: a newer behaviour needs a deliberate change, not an update of the SDK.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The keys of the in-memory S3.
#[cfg(test)]
pub(crate) fn for_tests() -> Aws {
    use aws_credential_types::Credentials;
    use file_sync_dev_s3::{ACCESS_KEY, REGION, SECRET_KEY};
    const CONNECTIONS: usize = 64;
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests");
    let shared = SdkConfig::builder()
        .behavior_version(behavior())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let settings = AwsSettings { connections: CONNECTIONS, ..AwsSettings::default() };
    let http = http::client(&settings).expect("a client");
    Aws { shared, http, timeouts: settings.timeouts, credentials: None }
}
