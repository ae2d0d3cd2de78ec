//! The one way to AWS: region, credentials, connections. S3 and CloudFront have them from here, so that
//! there is one set of credentials, and what is set for one of them holds for both.
//!
//! The SDK's standard variables count: `AWS_PROFILE`, `AWS_ENDPOINT_URL`, `AWS_USE_FIPS_ENDPOINT` and
//! their kin. What the SDK does not read by itself is given to it here.

mod http;

pub use http::HttpError;

use aws_config::identity::IdentityCache;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use std::path::PathBuf;
use std::time::Duration;

/// Credentials are renewed by the first request this long before their end.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

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
}

impl Aws {
    /// Makes no request.
    ///
    /// # Errors
    ///
    /// If the settings of TLS cannot be used.
    pub async fn load(settings: AwsSettings) -> Result<Self, HttpError> {
        let mut loader = aws_config::defaults(behavior())
            .http_client(http::client(settings.connections, settings.ca_bundle.as_deref())?)
            .identity_cache(IdentityCache::lazy().buffer_time(RENEWED_BEFORE).build());
        if let Some(region) = settings.region {
            loader = loader.region(Region::new(region));
        }
        Ok(Self { shared: loader.load().await })
    }

    /// As the SDK wants it.
    pub(crate) fn shared(&self) -> &SdkConfig {
        &self.shared
    }
}

/// Pinned: a newer behaviour is taken up on purpose, not by an update of the SDK.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The keys of an S3 in memory.
#[cfg(test)]
pub(crate) fn for_tests() -> Aws {
    use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
    use file_sync_dev_s3::{ACCESS_KEY, REGION, SECRET_KEY};
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests");
    let shared = SdkConfig::builder()
        .behavior_version(behavior())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    Aws { shared }
}
