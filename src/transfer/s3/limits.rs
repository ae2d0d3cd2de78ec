//! The time limits of requests, by their size.

use super::{Payload, S3};
use crate::aws::{RequestTimeouts, WATCHED_BYTES_MIN};
use aws_sdk_s3::client::customize::CustomizableOperation;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::operation::upload_part::UploadPartOutput;
use std::time::Duration;

/// The rate at which the store works on an object at least, in bytes per second.
const WORK_RATE_MIN: u64 = 64 << 10;
/// The rate below which a body counts as lost, in bytes per second. The connection ends a body
/// without any progress earlier.
const BODY_RATE_MIN: u64 = 512;

/// The time limits of requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestLimits(pub(super) RequestTimeouts);

impl RequestLimits {
    /// The limits of every request whose size needs no others.
    pub(super) fn common(self) -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(self.0.connect)
            .operation_attempt_timeout(self.0.response)
            .build()
    }

    /// The limit of a body without progress.
    pub(super) fn stalls(
        self,
    ) -> aws_smithy_runtime_api::client::stalled_stream_protection::Builder {
        StalledStreamProtectionConfig::enabled().grace_period(self.0.idle)
    }

    /// The limits for work of the store on so many bytes, if they differ from the common ones: an
    /// override costs as much CPU as a signature.
    pub(super) fn for_work(self, bytes: u64) -> Option<Builder> {
        let time = bytes / WORK_RATE_MIN;
        (time > self.0.response.as_secs() / 2).then(|| self.with_total(bytes, WORK_RATE_MIN))
    }

    /// The limits for a body of so many bytes on the slowest connection, if they differ from the
    /// common ones.
    fn for_body(self, bytes: u64) -> Option<Builder> {
        (bytes >= WATCHED_BYTES_MIN as u64).then(|| self.with_total(bytes, BODY_RATE_MIN))
    }

    /// The time in which the store sends so many bytes on the slowest connection.
    pub(super) fn for_reading(self, bytes: u64) -> Duration {
        self.0.response + Duration::from_secs(bytes / BODY_RATE_MIN)
    }

    fn with_total(self, bytes: u64, rate: u64) -> Builder {
        let patience = self.0.response + Duration::from_secs(bytes / rate);
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(patience).build();
        // The SDK sees when it passes the body on, but not how the network takes it.
        let stalls = self.stalls().upload_enabled(false).build();
        Builder::default().timeout_config(timeouts).stalled_stream_protection(stalls)
    }
}

/// A request with a body. The SDK has the same method for each such operation, but no trait.
pub(super) trait CarriesBody {
    /// Excludes the body from the signature.
    fn without_payload_signature(self) -> Self;
}

impl<E, B> CarriesBody for CustomizableOperation<PutObjectOutput, E, B> {
    fn without_payload_signature(self) -> Self {
        self.disable_payload_signing()
    }
}

impl<E, B> CarriesBody for CustomizableOperation<UploadPartOutput, E, B> {
    fn without_payload_signature(self) -> Self {
        self.disable_payload_signing()
    }
}

impl S3 {
    /// Gives a request the time that the store needs for work on so many bytes.
    pub(super) fn patient<T, E, B>(
        &self,
        request: CustomizableOperation<T, E, B>,
        bytes: u64,
    ) -> CustomizableOperation<T, E, B> {
        let request = self.noted(request);
        match self.limits.for_work(bytes) {
            Some(limits) => request.config_override(limits),
            None => request,
        }
    }

    /// Prepares a request with a body of so many bytes: its time, and whether the signature covers
    /// the body.
    pub(super) fn with_body<T, E, B>(
        &self,
        request: CustomizableOperation<T, E, B>,
        bytes: u64,
    ) -> CustomizableOperation<T, E, B>
    where
        CustomizableOperation<T, E, B>: CarriesBody,
    {
        let request = self.noted(request);
        let request = match self.limits.for_body(bytes) {
            Some(limits) => request.config_override(limits),
            None => request,
        };
        match self.payload {
            Payload::Signed => request,
            Payload::Unsigned => request.without_payload_signature(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_requests_have_limits_of_their_own() {
        let limits = RequestLimits(RequestTimeouts::default());
        let seconds = |timeouts: &TimeoutConfig| {
            timeouts.operation_attempt_timeout().expect("a limit").as_secs()
        };
        let timeout =
            |builder: Builder| builder.build().timeout_config().map(seconds).expect("limits");
        assert_eq!(seconds(&limits.common()), 30);
        assert!(limits.for_work(15 * WORK_RATE_MIN).is_none());
        assert_eq!(limits.for_work(60 * WORK_RATE_MIN).map(timeout), Some(30 + 60));
        assert!(limits.for_body(1000).is_none());
        assert_eq!(limits.for_body(1 << 20).map(timeout), Some(30 + 2048));
        assert_eq!(limits.for_reading(1 << 20), Duration::from_secs(30 + 2048));
    }
}
