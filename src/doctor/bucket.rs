//! The requests of the mirror, each tried once on objects of a few bytes.

use super::address::BucketAddress;
use super::remedy::{failure_remedy, is_forbidden};
use super::{Diagnosis, DiagnosisReporter};
use crate::exclusivity::Condition;
use crate::model::{Failure, FailureClass};
use crate::transfer::{
    DeleteRequest, DeleteResult, ObjectMetadata, ObjectStore, StoredObject, UploadRef, WriteResult,
};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};
use std::time::Duration;

/// The name of the objects, below the prefix. It is always the same, so that the next run replaces what a
/// killed one has left.
pub const PROBED_NAME: &str = ".file-sync-service.doctor";
/// The content of the objects.
const BODY: &[u8] = b"file-sync-service doctor tries requests with this, and deletes it.\n";
/// A difference of the clocks that signatures do not notice, and that is worth a look.
const SKEW_MAX: Duration = Duration::from_secs(10);
const SECOND_NS: i64 = 1_000_000_000;

/// A store, and what to try on it.
#[derive(Debug)]
pub struct BucketCheck<S> {
    /// The store.
    pub store: S,
    /// Where the objects are.
    pub address: BucketAddress,
    /// The object that is put.
    pub object: ObjectMetadata,
    /// The object that is made by a copy and by parts.
    pub copy: ObjectMetadata,
    /// Whether objects are never deleted.
    pub keeps: bool,
    /// Whether writes have conditions, if the store knows them.
    pub conditional_writes: bool,
    /// The present time of this machine, nanoseconds since the epoch.
    pub now_ns: fn() -> i64,
}

impl<S: ObjectStore> BucketCheck<S> {
    /// The length of the content in bytes.
    pub const BYTES: u64 = BODY.len() as u64;

    /// Tries every request, until one fails that the others depend on.
    pub async fn run(&self, report: DiagnosisReporter<'_>) {
        if !self.list(report).await {
            report(Diagnosis::skipped("objects", "not tried: the bucket cannot be reached"));
            return;
        }
        let Some(stored) = self.put(report).await else {
            report(Diagnosis::skipped("objects", "not tried: nothing can be put"));
            return;
        };
        self.head(&stored, report).await;
        self.clock(report).await;
        self.conditions(report).await;
        self.make_copy(&stored, report).await;
        self.parts(report).await;
        self.delete(report).await;
    }

    fn problem(&self, check: &'static str, action: &str, failure: &Failure) -> Diagnosis {
        let remedy = failure_remedy(failure, action, &self.address);
        Diagnosis::problem(check, in_words(failure), remedy)
    }

    /// Returns whether other requests are worth a try.
    async fn list(&self, report: DiagnosisReporter<'_>) -> bool {
        let BucketAddress { bucket, prefix } = &self.address;
        match self.store.list(prefix, None).await {
            Ok(page) => {
                let count = page.objects.len();
                let more = if page.next.is_some() { " or more" } else { "" };
                let message = format!("s3://{bucket}/{prefix} has {count}{more} objects");
                report(Diagnosis::good("list", message));
                true
            }
            Err(failure) if is_forbidden(&failure) => {
                let without = "with a new state everything is sent again, and verify, plan and restore do not work";
                let message = format!("{}: {without}", in_words(&failure));
                let remedy = failure_remedy(&failure, "s3:ListBucket", &self.address);
                report(Diagnosis::warning("list", message, remedy));
                true
            }
            Err(failure) => {
                report(self.problem("list", "s3:ListBucket", &failure));
                failure.class == FailureClass::Object
            }
        }
    }

    async fn put(&self, report: DiagnosisReporter<'_>) -> Option<StoredObject> {
        match self.put_object(None).await {
            Ok(WriteResult::Stored(stored)) => {
                report(Diagnosis::good("put", format!("{} is stored", self.object.key.as_str())));
                Some(stored)
            }
            Ok(WriteResult::Conflict) => {
                let message = "the store refuses a condition that was not set";
                report(Diagnosis::problem("put", message, "use another store"));
                None
            }
            Err(failure) => {
                report(self.problem("put", "s3:PutObject", &failure));
                None
            }
        }
    }

    async fn put_object(&self, condition: Option<&Condition>) -> Result<WriteResult, Failure> {
        let body = Bytes::from_static(BODY);
        self.store.put(&self.object, body, crc64nvme(), condition).await
    }

    async fn head(&self, stored: &StoredObject, report: DiagnosisReporter<'_>) {
        match self.store.head(&self.object.key).await {
            Ok(Some(found)) => {
                report(Diagnosis::good(
                    "head",
                    "the object has the size and the marks it was put with",
                ));
                report(match found.crc64nvme.or(stored.crc64nvme) {
                    Some(_) => Diagnosis::good("checksum", "the store keeps a CRC64NVME checksum"),
                    None => Diagnosis::good(
                        "checksum",
                        "the store returns no CRC64NVME checksum: objects are compared by entity tag and time",
                    ),
                });
            }
            Ok(None) => {
                let message = "an object that was just put is not there";
                report(Diagnosis::problem(
                    "head",
                    message,
                    "use a store with read-after-write consistency",
                ));
            }
            Err(failure) => report(self.problem("head", "s3:GetObject", &failure)),
        }
    }

    /// Compares the clocks by the time that the store gives the new object.
    async fn clock(&self, report: DiagnosisReporter<'_>) {
        let now = (self.now_ns)();
        let key = self.object.key.as_str();
        let Ok(page) = self.store.list(key, None).await else {
            report(Diagnosis::skipped("clock", "not tried: the bucket cannot be listed"));
            return;
        };
        let own = page.objects.iter().find(|object| object.key == key);
        let Some(made) = own.and_then(|object| object.modified_ns) else {
            report(Diagnosis::skipped(
                "clock",
                "the listing does not show when the object was made",
            ));
            return;
        };
        let skew = made.abs_diff(now);
        let seconds = skew / SECOND_NS.unsigned_abs();
        let message = format!("the clocks of this machine and of the store differ by {seconds} s");
        report(match u128::from(skew) > SKEW_MAX.as_nanos() {
            true => Diagnosis::warning(
                "clock",
                message,
                "set the clock: beyond 15 minutes S3 refuses every request",
            ),
            false => Diagnosis::good("clock", message),
        });
    }

    async fn conditions(&self, report: DiagnosisReporter<'_>) {
        if !self.conditional_writes {
            report(Diagnosis::skipped("conditions", "s3_conditional_writes is off"));
            return;
        }
        report(match self.put_object(Some(&Condition::Absent)).await {
            Ok(WriteResult::Conflict) => {
                Diagnosis::good("conditions", "the store honours conditions on writes")
            }
            Ok(WriteResult::Stored(_)) => Diagnosis::warning(
                "conditions",
                "the store ignores conditions: of two instances on one prefix, the last one to write wins",
                "run one instance on a prefix (strategy: Recreate)",
            ),
            Err(failure) => Diagnosis::warning(
                "conditions",
                in_words(&failure),
                "set s3_conditional_writes: off if files are refused too",
            ),
        });
    }

    async fn make_copy(&self, stored: &StoredObject, report: DiagnosisReporter<'_>) {
        let Some(etag) = &stored.etag else {
            report(Diagnosis::skipped(
                "copy",
                "the store returns no entity tag: renames are uploads",
            ));
            return;
        };
        // The conditions may have replaced it by an equal one.
        report(match self.store.copy(&self.object.key, etag, &self.copy, None).await {
            Ok(Some(_)) => Diagnosis::good("copy", "renames and changed rules need no upload"),
            Ok(None) => Diagnosis::warning(
                "copy",
                "the store does not find the object to copy",
                "expect an upload for each rename",
            ),
            Err(failure) => {
                let remedy =
                    failure_remedy(&failure, "s3:GetObject and s3:PutObject", &self.address);
                let message = format!("{}: a rename is an upload", in_words(&failure));
                Diagnosis::warning("copy", message, remedy)
            }
        });
    }

    async fn parts(&self, report: DiagnosisReporter<'_>) {
        let key = &self.copy.key;
        let id = match self.store.begin_upload(&self.copy).await {
            Ok(id) => id,
            Err(failure) => return report(self.problem("multipart", "s3:PutObject", &failure)),
        };
        let upload = UploadRef { key, id: &id };
        let body = Bytes::from_static(BODY);
        let made = match self.store.put_part(upload, 1, body, crc64nvme()).await {
            Ok(part) => {
                self.store.complete_upload(upload, &[part], Self::BYTES, crc64nvme(), None).await
            }
            Err(failure) => Err(failure),
        };
        let Err(failure) = made else {
            report(Diagnosis::good("multipart", "large files can be sent in parts"));
            return;
        };
        report(self.problem("multipart", "s3:PutObject", &failure));
        if let Err(failure) = self.store.abort_upload(upload).await {
            report(self.problem("abort", "s3:AbortMultipartUpload", &failure));
        }
    }

    async fn delete(&self, report: DiagnosisReporter<'_>) {
        let keys = [&self.object.key, &self.copy.key];
        let requests = keys.map(|key| DeleteRequest { key: key.clone(), etag: None });
        let deleted = self.store.delete(&requests).await;
        let failure = deleted.into_iter().find_map(Result::<DeleteResult, Failure>::err);
        report(match failure {
            None => Diagnosis::good("delete", "the objects of this check are deleted again"),
            Some(failure) if self.keeps && is_forbidden(&failure) => Diagnosis::good(
                "delete",
                format!("not permitted, as delete_policy: keep needs it; {PROBED_NAME} stays"),
            ),
            Some(failure) => self.problem("delete", "s3:DeleteObject", &failure),
        });
    }
}

fn crc64nvme() -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, BODY)
}

fn in_words(failure: &Failure) -> String {
    match failure.message.is_empty() {
        true => failure.code.clone(),
        false => format!("{}: {}", failure.code, failure.message),
    }
}
