//! How the client is made: one place for region, endpoint, credentials, time limits.

use super::{HttpError, REQUEST_PATIENCE, S3, http};
use crate::rules::Checksum;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    IdentityCache, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Time to reach the endpoint.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// A body of which nothing moves for so long is given up.
const STALL_PATIENCE: Duration = Duration::from_secs(20);

/// Connections beside those for content: looks, deletes, listings.
const CONTROL_CONNECTIONS: usize = 4;
/// Credentials are renewed by the first request this long before their end.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

/// Where the bucket is. What is not said here comes from AWS's default chain.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The bucket's name, or an access point's.
    pub bucket: String,
    /// Its region.
    pub region: Option<String>,
    /// Another store than AWS's, by our own key or by the standard variables.
    pub endpoint_url: Option<String>,
    /// The bucket in the path rather than in the host name.
    pub force_path_style: bool,
    /// Requests with content at one time.
    pub connections: usize,
    /// Authorities to trust instead of the system's, PEM.
    pub ca_bundle: Option<PathBuf>,
    /// What goes with every body.
    pub checksum: Checksum,
    /// What marks the objects of this record.
    pub owner: String,
}

/// Whether the signature covers the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// It does: nothing else protects it on the way.
    Signed,
    /// It does not: TLS and the checksum do, at half the CPU.
    Unsigned,
}

impl S3 {
    /// A client for the bucket. Makes no request.
    ///
    /// # Errors
    ///
    /// If the settings of TLS cannot be used.
    pub async fn new(settings: S3Settings) -> Result<Self, HttpError> {
        // Pinned: a newer behaviour is taken up on purpose, not by an update of the SDK.
        let behavior = BehaviorVersion::v2026_01_12();
        let connections = settings.connections + CONTROL_CONNECTIONS;
        let mut loader = aws_config::defaults(behavior)
            .http_client(http::client(connections, settings.ca_bundle.as_deref())?)
            .identity_cache(IdentityCache::lazy().buffer_time(RENEWED_BEFORE).build());
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        Ok(Self::with(&loader.load().await, settings))
    }

    /// A client with the credentials and the region of `shared`.
    pub(crate) fn with(shared: &SdkConfig, settings: S3Settings) -> Self {
        let endpoint = settings.endpoint_url;
        let payload = match &endpoint {
            Some(url) if url.starts_with("http://") => Payload::Signed,
            _ => Payload::Unsigned,
        };
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_PATIENCE)
            .operation_attempt_timeout(REQUEST_PATIENCE)
            .build();
        let mut config = aws_sdk_s3::config::Builder::from(shared)
            .force_path_style(settings.force_path_style)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled().grace_period(STALL_PATIENCE).build(),
            );
        if endpoint.is_some() {
            config.set_endpoint_url(endpoint);
        }
        let client = aws_sdk_s3::Client::from_conf(config.build());
        Self {
            client,
            bucket: settings.bucket,
            payload,
            checksum: settings.checksum,
            owner: settings.owner,
            lacks: Arc::default(),
        }
    }
}
