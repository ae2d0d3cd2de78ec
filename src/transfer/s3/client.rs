//! How the client is made: one place for endpoint, checksums, time limits.

use super::{REQUEST_PATIENCE, S3};
use crate::aws::Aws;
use crate::rules::Checksum;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};
use std::sync::Arc;
use std::time::Duration;

/// Time to reach the endpoint.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// A body of which nothing moves for so long is given up.
const STALL_PATIENCE: Duration = Duration::from_secs(20);

/// Where the bucket is. What is not said here comes from AWS's default chain.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The bucket's name, or an access point's.
    pub bucket: String,
    /// Another store than AWS's, by our own key or by the standard variables.
    pub endpoint_url: Option<String>,
    /// The bucket in the path rather than in the host name.
    pub force_path_style: bool,
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
    pub fn new(aws: &Aws, settings: S3Settings) -> Self {
        let endpoint = settings.endpoint_url;
        let payload = match &endpoint {
            Some(url) if url.starts_with("http://") => Payload::Signed,
            _ => Payload::Unsigned,
        };
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_PATIENCE)
            .operation_attempt_timeout(REQUEST_PATIENCE)
            .build();
        let mut config = aws_sdk_s3::config::Builder::from(aws.shared())
            .force_path_style(settings.force_path_style)
            .retry_config(RetryConfig::disabled())
            .interceptor(super::answered::Answered)
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
