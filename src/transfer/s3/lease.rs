//! The lease's object: read whole, written and deleted only as it was last seen. No part of the mirror, so
//! that it is made without head, rules and checksum of a file.

use super::S3;
use super::answer::S3Operation;
use super::error::{
    content_failure, failure, incomplete, is_no_such_key, is_precondition_failed, is_status,
};
use crate::exclusivity::{Condition, LeaseClaim, LeaseObject, LeaseWrite};
use crate::model::{Failure, ObjectKey};
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ObjectCannedAcl;

/// A claim has some 300 bytes.
const CLAIM_BYTES_MAX: i64 = 4096;
const CONTENT_TYPE: &str = "application/json";

impl S3 {
    /// The object as it is; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the store does not say.
    pub async fn lease(&self, key: &ObjectKey) -> Result<Option<LeaseObject>, Failure> {
        let request = self.client.get_object().bucket(&self.bucket).key(key.as_str());
        let answer = match self.noted(request.customize()).send().await {
            Ok(answer) => answer,
            Err(error) if is_no_such_key(&error) => {
                return Ok(None);
            }
            Err(error) => return Err(failure(&error)),
        };
        let etag = answer
            .e_tag
            .ok_or_else(|| incomplete(S3Operation::GetObject, "without an entity tag"))?;
        if answer.content_length.is_none_or(|length| length > CLAIM_BYTES_MAX) {
            return Ok(Some(LeaseObject { etag, claim: None }));
        }
        let body = answer.body.collect().await;
        let body = body.map_err(|_| content_failure("the object of the lease ended early"))?;
        Ok(Some(LeaseObject { etag, claim: LeaseClaim::parse(&body.into_bytes()) }))
    }

    /// Writes it, and answers its entity tag; `None` if it is not as it was seen.
    ///
    /// # Errors
    ///
    /// If the store does not say whether it did, or cannot.
    pub async fn write_lease(
        &self,
        key: &ObjectKey,
        write: &LeaseWrite,
    ) -> Result<Option<String>, Failure> {
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .content_type(CONTENT_TYPE)
            .set_acl(self.acl.as_deref().map(ObjectCannedAcl::from))
            .body(ByteStream::from(write.claim.to_bytes()));
        let request = match &write.condition {
            Condition::Absent => request.if_none_match("*"),
            Condition::Unchanged(etag) => request.if_match(etag),
        };
        match self.noted(request.customize()).send().await {
            Ok(answer) => {
                let etag = answer
                    .e_tag
                    .ok_or_else(|| incomplete(S3Operation::PutObject, "without an entity tag"))?;
                Ok(Some(etag))
            }
            // Gone, conflicting with another request under way, or another one.
            Err(error) if is_another(&error) => Ok(None),
            Err(error) => Err(failure(&error)),
        }
    }

    /// Deletes it, if it is as it was seen.
    ///
    /// # Errors
    ///
    /// If the store does not do it.
    pub async fn give_up_lease(&self, key: &ObjectKey, etag: &str) -> Result<(), Failure> {
        let request = self.client.delete_object().bucket(&self.bucket).key(key.as_str());
        match self.noted(request.if_match(etag).customize()).send().await {
            Ok(_) => Ok(()),
            Err(error) if is_another(&error) => Ok(()),
            Err(error) => Err(failure(&error)),
        }
    }
}

/// Whether the store says that the object is gone, another one, or just being written.
fn is_another<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    is_no_such_key(error) || is_precondition_failed(error) || is_status(error, &[409])
}
