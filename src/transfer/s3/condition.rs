//! Conditions of writes: `If-Match` and `If-None-Match`.

use super::S3;
use super::capabilities::Feature;
use super::error::{failure, is_no_such_key, is_precondition_failed, lacks_condition};
use crate::exclusivity::Condition;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder;
use aws_sdk_s3::operation::copy_object::builders::CopyObjectFluentBuilder;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;

/// A request that makes or replaces an object.
pub(super) trait ConditionalWrite: Sized {
    /// Adds the condition.
    fn condition(self, condition: Option<Condition>) -> Self;
}

/// The builders of the SDK have the same methods, and no trait in common.
macro_rules! conditional_write {
    ($($builder:ty),*) => {$(
        impl ConditionalWrite for $builder {
            fn condition(self, condition: Option<Condition>) -> Self {
                match condition {
                    None => self,
                    Some(Condition::Absent) => self.if_none_match("*"),
                    Some(Condition::Unchanged(etag)) => self.if_match(etag),
                }
            }
        }
    )*};
}
conditional_write!(
    PutObjectFluentBuilder,
    CopyObjectFluentBuilder,
    CompleteMultipartUploadFluentBuilder
);

impl S3 {
    /// Sends a write with its condition; without it if the store does not know conditions, which is found
    /// out once. Returns `None` if the condition does not hold.
    pub(super) async fn with_condition<T, E, F>(
        &self,
        feature: Feature,
        condition: Option<&Condition>,
        make: impl Fn(Option<Condition>) -> F,
    ) -> Result<Option<T>, SdkError<E, HttpResponse>>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let Some(condition) = condition.filter(|_| !self.capabilities.lacks(feature)) else {
            return Box::pin(make(None)).await.map(Some);
        };
        let refusal = match Box::pin(make(Some(condition.clone()))).await {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) if is_precondition_failed(&error) => return Ok(None),
            Err(error) if is_no_such_key(&error) && *condition != Condition::Absent => {
                return Ok(None);
            }
            Err(error) if lacks_condition(&error) => error,
            Err(error) => return Err(error),
        };
        let answer = Box::pin(make(None)).await?;
        self.capabilities.note_lack(feature, &failure(&refusal));
        Ok(Some(answer))
    }
}
