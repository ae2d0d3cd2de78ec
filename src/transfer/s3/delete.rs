//! Deletes: many in one request, each on condition of its entity tag.
//!
//! A store that does not know such a request, or such a condition, is asked once and gets the next
//! simpler one from then on.

use super::S3;
use super::capabilities::Feature;
use super::content_md5::CONTENT_MD5;
use super::error::{
    failure, from_code, is_no_such_key, is_precondition_failed, is_status, lacks_condition,
    lacks_operation, refuses_feature,
};
use crate::model::Failure;
use crate::transfer::{DeleteRequest, DeleteResult};
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::delete_object::DeleteObjectError;
use aws_sdk_s3::operation::delete_objects::{DeleteObjectsError, DeleteObjectsOutput};
use aws_sdk_s3::types::{Delete, Error, ObjectIdentifier};
use std::collections::{HashMap, HashSet};

impl S3 {
    /// Answers for each object, in their order.
    pub(super) async fn delete_all(
        &self,
        objects: &[DeleteRequest],
    ) -> Vec<Result<DeleteResult, Failure>> {
        let together: Vec<&DeleteRequest> =
            objects.iter().filter(|object| fits_xml(object.key.as_str())).collect();
        let batched = together.len() > 1 && !self.capabilities.lacks(Feature::DeleteMany);
        let answers = if batched { self.delete_together(&together).await } else { None };
        let mut results = Vec::with_capacity(objects.len());
        for object in objects {
            let answer = answers.as_ref().filter(|_| fits_xml(object.key.as_str()));
            results.push(match answer.and_then(|answers| answers.result_for(object)) {
                Some(answer) => answer,
                None => self.delete_one(object).await,
            });
        }
        results
    }

    /// One request for all. `None` if the store does not know such a request.
    async fn delete_together(&self, objects: &[&DeleteRequest]) -> Option<DeleteAnswer> {
        let checksum = !self.capabilities.lacks(Feature::DeleteChecksum);
        let mut answer = self.send_deletes(objects, checksum).await;
        // Status 501 says that the store does not know the operation.
        if let Err(refusal) = &answer
            && checksum
            && is_status(refusal, &[400])
            && refuses_feature(refusal)
        {
            let again = self.send_deletes(objects, false).await;
            if again.is_ok() {
                self.capabilities.note_lack(Feature::DeleteChecksum, &failure(refusal));
            }
            answer = again;
        }
        match answer {
            Ok(answer) => Some(DeleteAnswer::each(answer.errors.unwrap_or_default(), objects)),
            Err(error) if lacks_operation(&error) => {
                self.capabilities.note_lack(Feature::DeleteMany, &failure(&error));
                None
            }
            Err(error) => Some(DeleteAnswer::All(failure(&error))),
        }
    }

    async fn send_deletes(
        &self,
        objects: &[&DeleteRequest],
        checksum: bool,
    ) -> Result<DeleteObjectsOutput, SdkError<DeleteObjectsError, HttpResponse>> {
        let conditional = !self.capabilities.lacks(Feature::DeleteConditions);
        let mut delete = Delete::builder().quiet(true);
        for object in objects {
            let etag = object.etag.clone().filter(|_| conditional);
            delete = delete.objects(
                ObjectIdentifier::builder().key(object.key.as_str()).set_e_tag(etag).build()?,
            );
        }
        let request = self
            .client
            .delete_objects()
            .bucket(&self.bucket)
            .set_checksum_algorithm((!checksum).then_some(CONTENT_MD5))
            .delete(delete.build()?);
        // A store takes its time for a thousand objects, as it would for so many bytes.
        self.patient(request.customize(), objects.len() as u64 * 1024).send().await
    }

    async fn delete_one(&self, object: &DeleteRequest) -> Result<DeleteResult, Failure> {
        let conditional = !self.capabilities.lacks(Feature::DeleteConditions);
        if let Some(etag) = object.etag.as_deref().filter(|_| conditional) {
            match self.send_delete(object, Some(etag)).await {
                Ok(()) => return Ok(DeleteResult::Gone),
                Err(error) if is_no_such_key(&error) => return Ok(DeleteResult::Gone),
                Err(error) if is_precondition_failed(&error) => return Ok(DeleteResult::Replaced),
                Err(error) if lacks_condition(&error) => {
                    let refusal = failure(&error);
                    self.capabilities.note_lack(Feature::DeleteConditions, &refusal);
                }
                Err(error) => return Err(failure(&error)),
            }
        }
        match self.send_delete(object, None).await {
            Ok(()) => Ok(DeleteResult::Gone),
            Err(error) if is_no_such_key(&error) => Ok(DeleteResult::Gone),
            Err(error) => Err(failure(&error)),
        }
    }

    async fn send_delete(
        &self,
        object: &DeleteRequest,
        etag: Option<&str>,
    ) -> Result<(), SdkError<DeleteObjectError, HttpResponse>> {
        let request = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(object.key.as_str())
            .set_if_match(etag.map(str::to_owned));
        self.noted(request.customize()).send().await.map(drop)
    }
}

/// What the store said.
enum DeleteAnswer {
    /// The same of all: it did not do it.
    All(Failure),
    /// Of some that it did not do them.
    Each {
        of: HashMap<String, Result<DeleteResult, Failure>>,
        /// Whether the others are gone. They need not be if an error does not say which object it is
        /// about.
        others_gone: bool,
    },
}

impl DeleteAnswer {
    fn each(errors: Vec<Error>, objects: &[&DeleteRequest]) -> Self {
        let keys: HashSet<&str> = objects.iter().map(|object| object.key.as_str()).collect();
        let mut of = HashMap::with_capacity(errors.len());
        let mut others_gone = true;
        for error in errors {
            let answer = match error.code() {
                Some("NoSuchKey") => Ok(DeleteResult::Gone),
                Some("PreconditionFailed") => Ok(DeleteResult::Replaced),
                code => Err(from_code(code, error.message())),
            };
            match error.key.filter(|key| keys.contains(key.as_str())) {
                Some(key) => drop(of.insert(key, answer)),
                None => others_gone = false,
            }
        }
        Self::Each { of, others_gone }
    }

    /// `None` if the store did not say what became of the object.
    fn result_for(&self, object: &DeleteRequest) -> Option<Result<DeleteResult, Failure>> {
        match self {
            Self::All(failure) => Some(Err(failure.clone())),
            Self::Each { of, others_gone } => {
                let gone = others_gone.then_some(Ok(DeleteResult::Gone));
                of.get(object.key.as_str()).cloned().or(gone)
            }
        }
    }
}

/// Whether XML 1.0, in which many keys are sent, has all characters of this one. S3 takes others,
/// but only in a URL; and an XML reader turns a carriage return into a line feed.
fn fits_xml(key: &str) -> bool {
    !key.chars().any(
        |character| matches!(character, '\0'..='\x08' | '\x0b'..='\x1f' | '\u{fffe}' | '\u{ffff}'),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_xml_cannot_carry_is_known() {
        for key in ["a\u{1}", "a\r", "\u{b}", "\u{ffff}x"] {
            assert!(!fits_xml(key), "{key:?}");
        }
        for key in ["a b\t\n", "<&>\"'", "\u{7f}ü😀", "a/../b"] {
            assert!(fits_xml(key), "{key:?}");
        }
    }
}
