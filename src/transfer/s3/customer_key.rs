//! Adds the key of a customer (SSE-C) to every request that needs it. One place, because an object that
//! was written without the key cannot be read with it, and the other way round.

use crate::endpoint_url::{is_loopback, is_plain_http};
use crate::rules::CustomerKey;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::base64;
use md5::{Digest, Md5};

/// The headers of the object of a request, by their names without the prefix.
const OBJECT: &str = "x-amz-server-side-encryption-customer-";
/// The headers of the source of a copy.
const SOURCE: &str = "x-amz-copy-source-server-side-encryption-customer-";
/// The only algorithm of S3.
const ALGORITHM: &str = "AES256";

/// Adds the headers.
pub(super) struct CustomerKeyHeaders {
    key: String,
    digest: String,
}

impl CustomerKeyHeaders {
    pub(super) fn new(key: &CustomerKey) -> Self {
        let digest = base64::encode(Md5::digest(key.bytes()));
        Self { key: base64::encode(key.bytes()), digest }
    }
}

impl std::fmt::Debug for CustomerKeyHeaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CustomerKeyHeaders")
    }
}

/// The headers that an operation takes.
fn prefixes(operation: &str) -> &'static [&'static str] {
    match operation {
        "PutObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "CompleteMultipartUpload"
        | "HeadObject"
        | "GetObject" => &[OBJECT],
        // Copies are made within one prefix, whose objects have the same key.
        "CopyObject" | "UploadPartCopy" => &[OBJECT, SOURCE],
        _ => &[],
    }
}

impl Intercept for CustomerKeyHeaders {
    fn name(&self) -> &'static str {
        "CustomerKeyHeaders"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let url = context.request().uri();
        if is_plain_http(url) && !is_loopback(url) {
            // An endpoint that the AWS profile names.
            return Err("the key of the customer would travel over plain HTTP".into());
        }
        let operation = config.load::<Metadata>().map_or("", Metadata::name);
        let headers = context.request_mut().headers_mut();
        for prefix in prefixes(operation) {
            headers.insert(format!("{prefix}algorithm"), ALGORITHM);
            headers.insert(format!("{prefix}key"), self.key.clone());
            headers.insert(format!("{prefix}key-md5"), self.digest.clone());
        }
        Ok(())
    }
}
