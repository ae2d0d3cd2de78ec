//! Deletes: many in one request, each on condition of its entity tag.
//!
//! A store that does not know such a request, or such a condition, is asked once and gets the next
//! simpler one from then on.

use super::error::{failure, is_status, lacks_condition, of_one};
use super::{S3, patient};
use crate::model::Failure;
use crate::transfer::{Condemned, Deleted};
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::delete_object::DeleteObjectError;
use aws_sdk_s3::operation::delete_objects::{DeleteObjectsError, DeleteObjectsOutput};
use aws_sdk_s3::types::{Delete, Error, ObjectIdentifier};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a store turned out not to know.
#[derive(Debug, Default)]
pub(super) struct Lacks {
    /// Conditions on deletes. The record is the guard then.
    conditions: AtomicBool,
    /// Deletes of many objects in one request.
    batches: AtomicBool,
}

impl S3 {
    /// Answers for each object, in their order.
    pub(super) async fn delete_all(&self, objects: &[Condemned]) -> Vec<Result<Deleted, Failure>> {
        let together: Vec<&Condemned> =
            objects.iter().filter(|object| fits_xml(object.key.as_str())).collect();
        let batched = together.len() > 1 && !self.lacks.batches.load(Ordering::Relaxed);
        let answers = if batched { self.delete_together(&together).await } else { None };
        let mut results = Vec::with_capacity(objects.len());
        for object in objects {
            results.push(match &answers {
                Some(answers) if fits_xml(object.key.as_str()) => answers.of(object),
                _ => self.delete_one(object).await,
            });
        }
        results
    }

    /// One request for all. `None` if the store does not know such a request.
    async fn delete_together(&self, objects: &[&Condemned]) -> Option<Answers> {
        let error = match self.send_deletes(objects).await {
            Ok(answer) => return Some(Answers::each(answer.errors.unwrap_or_default())),
            Err(error) => error,
        };
        let unknown = is_status(&error, &[400, 405, 411, 501]);
        if unknown {
            self.lacks.batches.store(true, Ordering::Relaxed);
            tracing::info!(
                event = "store.lacks",
                error.message = failure(&error).message,
                "the store does not delete many objects in one request; each gets its own"
            );
        }
        (!unknown).then(|| Answers::All(failure(&error)))
    }

    async fn send_deletes(
        &self,
        objects: &[&Condemned],
    ) -> Result<DeleteObjectsOutput, SdkError<DeleteObjectsError, HttpResponse>> {
        let conditional = !self.lacks.conditions.load(Ordering::Relaxed);
        let mut delete = Delete::builder().quiet(true);
        for object in objects {
            let etag = object.etag.clone().filter(|_| conditional);
            delete = delete.objects(
                ObjectIdentifier::builder().key(object.key.as_str()).set_e_tag(etag).build()?,
            );
        }
        let request = self.client.delete_objects().bucket(&self.bucket).delete(delete.build()?);
        // A store takes its time for a thousand objects, as it would for so many bytes.
        patient(request.customize(), objects.len() as u64 * 1024).send().await
    }

    async fn delete_one(&self, object: &Condemned) -> Result<Deleted, Failure> {
        let conditional = !self.lacks.conditions.load(Ordering::Relaxed);
        if let Some(etag) = object.etag.as_deref().filter(|_| conditional) {
            match self.send_delete(object, Some(etag)).await {
                Ok(()) => return Ok(Deleted::Gone),
                Err(error) if is_status(&error, &[404]) => return Ok(Deleted::Gone),
                Err(error) if is_status(&error, &[412]) => return Ok(Deleted::Replaced),
                Err(error) if lacks_condition(&error) => {
                    self.lacks.conditions.store(true, Ordering::Relaxed);
                }
                Err(error) => return Err(failure(&error)),
            }
        }
        let deleted = self.send_delete(object, None).await;
        deleted.map(|()| Deleted::Gone).map_err(|error| failure(&error))
    }

    async fn send_delete(
        &self,
        object: &Condemned,
        etag: Option<&str>,
    ) -> Result<(), SdkError<DeleteObjectError, HttpResponse>> {
        let request = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(object.key.as_str())
            .set_if_match(etag.map(str::to_owned));
        request.send().await.map(drop)
    }
}

/// What the store said.
enum Answers {
    /// The same of all: it did not do it.
    All(Failure),
    /// Of some that it did not do them; the others are gone.
    Each(HashMap<String, Result<Deleted, Failure>>),
}

impl Answers {
    fn each(errors: Vec<Error>) -> Self {
        let answer = |error: Error| {
            let answer = match error.code() {
                Some("NoSuchKey") => Ok(Deleted::Gone),
                Some("PreconditionFailed") => Ok(Deleted::Replaced),
                code => Err(of_one(code, error.message())),
            };
            Some((error.key?, answer))
        };
        Self::Each(errors.into_iter().filter_map(answer).collect())
    }

    fn of(&self, object: &Condemned) -> Result<Deleted, Failure> {
        match self {
            Self::All(failure) => Err(failure.clone()),
            Self::Each(answers) => {
                answers.get(object.key.as_str()).cloned().unwrap_or(Ok(Deleted::Gone))
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
