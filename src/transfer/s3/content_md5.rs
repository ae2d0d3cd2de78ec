//! `Content-MD5` for the one request that S3 wants a digest of whatever is set: the names of many objects
//! to delete. The SDK knows only the newer checksums for it, which not every store knows.

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::types::ChecksumAlgorithm;
use md5::{Digest, Md5};

/// What a request is made with to be sent with `Content-MD5` instead of a checksum.
pub(super) const CONTENT_MD5: ChecksumAlgorithm = ChecksumAlgorithm::Md5;

/// The SDK's header that names the checksum of a request.
const ALGORITHM: &str = "x-amz-sdk-checksum-algorithm";
/// Keeps the SDK from adding a checksum of its own. It is taken off before the request is signed.
const PLACEHOLDER: &str = "x-amz-checksum-md5";

/// Replaces the checksum of requests that were made with [`CONTENT_MD5`].
#[derive(Debug)]
pub(super) struct ContentMd5;

impl Intercept for ContentMd5 {
    fn name(&self) -> &'static str {
        "ContentMd5"
    }

    fn modify_before_retry_loop(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        if headers.get(ALGORITHM) == Some(CONTENT_MD5.as_str()) {
            headers.remove(ALGORITHM);
            headers.insert(PLACEHOLDER, "");
        }
        Ok(())
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        if request.headers_mut().remove(PLACEHOLDER).is_none() {
            return Ok(());
        }
        let digest = Md5::digest(request.body().bytes().unwrap_or_default());
        let digest = aws_smithy_types::base64::encode(digest);
        request.headers_mut().remove(ALGORITHM);
        request.headers_mut().insert("content-md5", digest);
        Ok(())
    }
}
