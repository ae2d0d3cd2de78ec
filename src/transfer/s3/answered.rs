//! What S3's answers say of themselves: noted by the SDK's own hook, for whoever looks on at requests.

use crate::transfer::metered::{Answer, note};
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

/// Notes the status and the ids of every answer.
#[derive(Debug)]
pub(super) struct Answered;

impl Intercept for Answered {
    fn name(&self) -> &'static str {
        "Answered"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let header = |name| response.headers().get(name).map(str::to_owned);
        note(Answer {
            status: Some(response.status().as_u16()),
            request_id: header("x-amz-request-id"),
            extended_request_id: header("x-amz-id-2"),
        });
        Ok(())
    }
}
