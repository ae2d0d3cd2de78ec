//! What every request says of the bucket's owner: who it has to be, and who pays. One place, because no
//! operation may be without it.

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

const COPY_SOURCE: &str = "x-amz-copy-source";
const EXPECTED_OWNER: &str = "x-amz-expected-bucket-owner";
/// Copies are made within one bucket.
const EXPECTED_SOURCE_OWNER: &str = "x-amz-source-expected-bucket-owner";
const REQUEST_PAYER: &str = "x-amz-request-payer";

/// Adds the headers.
#[derive(Debug)]
pub(super) struct BucketOwner {
    expected: Option<String>,
    requester_pays: bool,
}

impl BucketOwner {
    pub(super) fn new(expected: Option<String>, requester_pays: bool) -> Self {
        Self { expected, requester_pays }
    }
}

impl Intercept for BucketOwner {
    fn name(&self) -> &'static str {
        "BucketOwner"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        if let Some(owner) = &self.expected {
            if headers.contains_key(COPY_SOURCE) {
                headers.insert(EXPECTED_SOURCE_OWNER, owner.clone());
            }
            headers.insert(EXPECTED_OWNER, owner.clone());
        }
        if self.requester_pays {
            headers.insert(REQUEST_PAYER, "requester");
        }
        Ok(())
    }
}
