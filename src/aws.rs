//! The one way to AWS: region, credentials, connections. S3 and CloudFront have them from here, so that
//! there is one set of credentials, and what is set for one of them holds for both.
//!
//! The SDK's standard variables count: `AWS_PROFILE`, `AWS_ENDPOINT_URL`, `AWS_USE_FIPS_ENDPOINT` and
//! their kin. What the SDK does not read by itself is given to it here.

mod credentials;
mod http;

pub use credentials::Standing;
pub use http::HttpError;

use aws_config::identity::IdentityCache;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use credentials::Renewing;
use std::error::Error;
use std::path::PathBuf;

/// What is not said here comes from AWS's default chain.
#[derive(Debug, Clone, Default)]
pub struct AwsSettings {
    /// The region.
    pub region: Option<String>,
    /// Authorities to trust instead of the system's, PEM.
    pub ca_bundle: Option<PathBuf>,
    /// Connections to one host at one time.
    pub connections: usize,
}

/// What every client of an AWS service is made of.
#[derive(Debug, Clone)]
pub struct Aws {
    shared: SdkConfig,
    /// `None` where nothing is to be signed.
    credentials: Option<Renewing>,
}

impl Aws {
    /// Asks for credentials in the background, from now on.
    ///
    /// # Errors
    ///
    /// If the settings of TLS cannot be used.
    pub async fn load(settings: AwsSettings) -> Result<Self, HttpError> {
        let mut loader = aws_config::defaults(behavior())
            .http_client(http::client(settings.connections, settings.ca_bundle.as_deref())?)
            // They are kept here.
            .identity_cache(IdentityCache::no_cache());
        if let Some(region) = settings.region {
            loader = loader.region(Region::new(region));
        }
        let shared = loader.load().await;
        let credentials = shared.credentials_provider().map(Renewing::start);
        let provider = credentials.clone().map(SharedCredentialsProvider::new);
        let mut builder = shared.clone().into_builder();
        builder.set_credentials_provider(provider);
        builder
            .set_endpoint_url(shared.endpoint_url().filter(|url| !url.is_empty()).map(Into::into));
        builder.set_service_config(Some(WithoutEmpty(shared)));
        Ok(Self { shared: builder.build(), credentials })
    }

    /// The same credentials with other connections.
    ///
    /// # Errors
    ///
    /// If the settings of TLS cannot be used.
    pub fn with_connections(&self, settings: &AwsSettings) -> Result<Self, HttpError> {
        let http = http::client(settings.connections, settings.ca_bundle.as_deref())?;
        let shared = self.shared.clone().into_builder().http_client(http).build();
        Ok(Self { shared, credentials: self.credentials.clone() })
    }

    /// How it stands with the credentials.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.credentials.as_ref().map(Renewing::standing).unwrap_or_default()
    }

    /// As the SDK wants it.
    pub(crate) fn shared(&self) -> &SdkConfig {
        &self.shared
    }
}

/// What an SDK's client reads of the environment by itself. `AWS_ENDPOINT_URL_S3=` is what a template makes
/// of no value, and not an endpoint; some clients panic over it.
#[derive(Debug)]
struct WithoutEmpty(SdkConfig);

impl LoadServiceConfig for WithoutEmpty {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        self.0.service_config()?.load_config(key).filter(|value| !value.is_empty())
    }
}

/// Pinned: a newer behaviour is taken up on purpose, not by an update of the SDK.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// An error and what caused it, each said once: the SDK's own form fills a screen.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// The keys of an S3 in memory.
#[cfg(test)]
pub(crate) fn for_tests() -> Aws {
    use aws_credential_types::Credentials;
    use file_sync_dev_s3::{ACCESS_KEY, REGION, SECRET_KEY};
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests");
    let shared = SdkConfig::builder()
        .behavior_version(behavior())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    Aws { shared, credentials: None }
}
