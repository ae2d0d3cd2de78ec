//! How the client is made: one place for endpoint, checksums, time limits.

use super::S3;
use super::answer_slot::AnswerSlot;
use super::bucket_owner::BucketOwner;
use super::capabilities::{Feature, StoreCapabilities};
use super::content_md5::ContentMd5;
use super::customer_key::CustomerKeyHeaders;
use super::limits::RequestLimits;
use super::screen::{NameOperation, S3Answers};
use crate::aws::{Aws, ScreenedClient};
use crate::endpoint_url::is_plain_http;
use crate::rules::{Checksum, CustomerKey};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use std::sync::Arc;

/// Which of AWS's endpoints is used.
#[derive(Debug, Clone, Copy, Default)]
pub struct EndpointKind {
    /// Transfer acceleration.
    pub accelerate: bool,
    /// With addresses of IPv6 too.
    pub dual_stack: bool,
    /// With cryptography validated by FIPS 140.
    pub fips: bool,
}

/// Where the bucket is. What is not said here comes from AWS's default chain.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The bucket's name, or an access point's.
    pub bucket: String,
    /// Another store than AWS's, by our own key or by the standard variables.
    pub endpoint_url: Option<String>,
    /// The bucket in the path rather than in the host name.
    pub force_path_style: bool,
    /// Transfer acceleration, dual stack and FIPS.
    pub endpoint_kind: EndpointKind,
    /// What goes with every body.
    pub checksum: Checksum,
    /// Whether writes and deletes have conditions, where the store knows them.
    pub conditions: bool,
    /// What marks the objects of this record.
    pub owner: String,
    /// The account that has to own the bucket.
    pub expected_bucket_owner: Option<String>,
    /// Whether requests say that this account pays for them.
    pub requester_pays: bool,
    /// The canned ACL of what is no file's object.
    pub acl: Option<String>,
    /// The key of every object, if the store does not keep one.
    pub customer_key: Option<CustomerKey>,
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
            Some(url) if is_plain_http(url) => Payload::Signed,
            _ => Payload::Unsigned,
        };
        let mut unwanted = Vec::new();
        if settings.checksum == Checksum::None {
            // Such a store must not see any header of the newer checksum family.
            let checksums = [Feature::ChecksumMode, Feature::Checksums];
            unwanted.extend(
                checksums.into_iter().chain([Feature::DeleteChecksum, Feature::ObjectSize]),
            );
        }
        if !settings.conditions {
            let conditions = [Feature::WriteConditions, Feature::CopyConditions];
            unwanted.extend(conditions.into_iter().chain([Feature::DeleteConditions]));
        }
        let limits = RequestLimits(aws.timeouts());
        let mut config = aws_sdk_s3::config::Builder::from(aws.shared())
            .force_path_style(settings.force_path_style)
            .accelerate(settings.endpoint_kind.accelerate)
            .use_dual_stack(settings.endpoint_kind.dual_stack)
            .use_fips(settings.endpoint_kind.fips)
            .retry_config(RetryConfig::disabled())
            .http_client(ScreenedClient::new(aws.http(), S3Answers))
            .interceptor(NameOperation)
            .interceptor(ContentMd5)
            .interceptor(BucketOwner::new(settings.expected_bucket_owner, settings.requester_pays))
            .interceptor(aws.refusal_watch())
            .timeout_config(limits.common())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .stalled_stream_protection(limits.stalls().build());
        if let Some(key) = &settings.customer_key {
            config = config.interceptor(CustomerKeyHeaders::new(key));
        }
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
            limits,
            acl: settings.acl,
            capabilities: Arc::new(StoreCapabilities::without(unwanted)),
            answers: AnswerSlot::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings_for_tests;
    use super::*;
    use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
    use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
    use aws_sdk_s3::error::BoxError;
    use std::sync::Mutex;

    /// Notes where a request goes, and ends it.
    #[derive(Debug, Clone, Default)]
    struct Destination(Arc<Mutex<String>>);

    impl Intercept for Destination {
        fn name(&self) -> &'static str {
            "Destination"
        }

        fn read_before_transmit(
            &self,
            context: &BeforeTransmitInterceptorContextRef<'_>,
            _: &RuntimeComponents,
            _: &mut ConfigBag,
        ) -> Result<(), BoxError> {
            *self.0.lock().expect("sound") = context.request().uri().to_owned();
            Err("it goes nowhere".into())
        }
    }

    #[tokio::test]
    async fn requests_go_to_the_endpoint_of_the_settings() {
        let kind = |accelerate, dual_stack, fips| EndpointKind { accelerate, dual_stack, fips };
        for (endpoint_kind, host) in [
            (kind(false, false, false), "my-bucket.s3.eu-central-1.amazonaws.com"),
            (kind(true, false, false), "my-bucket.s3-accelerate.amazonaws.com"),
            (kind(true, true, false), "my-bucket.s3-accelerate.dualstack.amazonaws.com"),
            (kind(false, true, false), "my-bucket.s3.dualstack.eu-central-1.amazonaws.com"),
            (kind(false, false, true), "my-bucket.s3-fips.eu-central-1.amazonaws.com"),
            (kind(false, true, true), "my-bucket.s3-fips.dualstack.eu-central-1.amazonaws.com"),
        ] {
            let settings =
                S3Settings { bucket: "my-bucket".into(), endpoint_kind, ..settings_for_tests() };
            let s3 = S3::new(&crate::aws::for_tests(), settings);
            let destination = Destination::default();
            let request = s3.client.head_object().bucket(&s3.bucket).key("key").customize();
            request.interceptor(destination.clone()).send().await.expect_err("it is ended");
            let uri = destination.0.lock().expect("sound").clone();
            assert!(uri.starts_with(&format!("https://{host}/")), "{uri}");
        }
    }
}
