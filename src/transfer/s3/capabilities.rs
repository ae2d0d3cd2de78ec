//! What a store turned out not to know: found out once for each feature, by a request that was
//! refused with it and taken without it, and remembered until the end of the process. A store that has
//! taken a request with a feature knows it: what it refuses later it refuses for another reason, such as
//! content that does not fit its checksum.

use super::S3;
use super::error::{failure, refuses_feature};
use crate::model::Failure;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use std::sync::atomic::{AtomicU16, Ordering};

/// A part of S3 that not every store knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feature {
    /// Checksums in answers about an object.
    ChecksumMode,
    /// The size of an object that is made of parts.
    ObjectSize,
    /// Checksums with the bytes of an object.
    Checksums,
    /// A checksum other than MD5 with the names of many objects to delete.
    DeleteChecksum,
    /// Conditions on deletes. The record is the guard then.
    DeleteConditions,
    /// Deletes of many objects in one request.
    DeleteMany,
    /// The second version of listings.
    ListV2,
    /// Conditions on writes.
    WriteConditions,
    /// Conditions on what a copy replaces.
    CopyConditions,
}

impl Feature {
    fn bit(self) -> u16 {
        1 << self as u16
    }

    /// As logs name it.
    fn name(self) -> &'static str {
        match self {
            Self::ChecksumMode => "x-amz-checksum-mode",
            Self::ObjectSize => "x-amz-mp-object-size",
            Self::Checksums => "x-amz-checksum",
            Self::DeleteChecksum => "x-amz-checksum of DeleteObjects",
            Self::DeleteConditions => "If-Match of DeleteObject",
            Self::DeleteMany => "DeleteObjects",
            Self::ListV2 => "ListObjectsV2",
            Self::WriteConditions => "If-Match of PutObject",
            Self::CopyConditions => "If-Match of CopyObject",
        }
    }
}

/// The features that a store is known to have, or to lack.
#[derive(Debug, Default)]
pub(super) struct StoreCapabilities {
    known: AtomicU16,
    lacking: AtomicU16,
}

impl StoreCapabilities {
    /// Those of a store that must not see these.
    pub(super) fn without(features: impl IntoIterator<Item = Feature>) -> Self {
        let lacking = features.into_iter().fold(0, |lacking, feature| lacking | feature.bit());
        Self { known: AtomicU16::new(0), lacking: AtomicU16::new(lacking) }
    }

    /// Whether the store lacks this.
    pub(super) fn lacks(&self, feature: Feature) -> bool {
        self.lacking.load(Ordering::Relaxed) & feature.bit() != 0
    }

    /// Whether the store has taken a request with this.
    pub(super) fn has(&self, feature: Feature) -> bool {
        self.known.load(Ordering::Relaxed) & feature.bit() != 0
    }

    /// Remembers that the store has this.
    pub(super) fn note_success(&self, feature: Feature) {
        if !self.has(feature) {
            self.known.fetch_or(feature.bit(), Ordering::Relaxed);
        }
    }

    /// Remembers that the store lacks this, and logs it the first time.
    pub(super) fn note_lack(&self, feature: Feature, refusal: &Failure) {
        let before = self.lacking.fetch_or(feature.bit(), Ordering::Relaxed);
        if before & feature.bit() == 0 {
            tracing::info!(
                event = "store.lacks",
                feature = feature.name(),
                error.type = refusal.code,
                error.message = refusal.message,
                "the store does not know a feature of S3; requests are made without it"
            );
        }
    }
}

impl S3 {
    /// Makes a request with a feature, unless the store is known to lack it; and once more without it if
    /// the store refuses it. `make` is called with whether to use the feature.
    pub(super) async fn with_feature<T, E, F>(
        &self,
        feature: Feature,
        make: impl Fn(bool) -> F,
    ) -> Result<T, SdkError<E, HttpResponse>>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        if self.capabilities.lacks(feature) {
            return Box::pin(make(false)).await;
        }
        let refusal = match Box::pin(make(true)).await {
            Ok(answer) => {
                self.capabilities.note_success(feature);
                return Ok(answer);
            }
            Err(error) if !self.capabilities.has(feature) && refuses_feature(&error) => error,
            Err(error) => return Err(error),
        };
        let answer = Box::pin(make(false)).await;
        let taken = answer.as_ref().err().is_none_or(|error| {
            error.raw_response().is_some_and(|response| response.status().as_u16() == 404)
        });
        if taken {
            self.capabilities.note_lack(feature, &failure(&refusal));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_is_remembered_by_itself() {
        use Feature::{
            ChecksumMode, Checksums, CopyConditions, DeleteChecksum, DeleteConditions, DeleteMany,
            ListV2, ObjectSize, WriteConditions,
        };
        let all = [
            ChecksumMode,
            Checksums,
            DeleteChecksum,
            DeleteConditions,
            DeleteMany,
            ListV2,
            ObjectSize,
            WriteConditions,
            CopyConditions,
        ];
        let refusal = super::super::error::from_code(Some("NotImplemented"), None);
        for feature in all {
            let store = StoreCapabilities::default();
            store.note_lack(feature, &refusal);
            let lacking: Vec<_> = all.into_iter().filter(|feature| store.lacks(*feature)).collect();
            assert_eq!(lacking, [feature]);
        }
    }
}
