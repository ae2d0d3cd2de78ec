//! Reads objects for a restore, under the bounds of transfers: bytes in memory, requests at once, bytes a
//! second. What fails for the moment is tried again, for a bounded time.

use super::entity_tag::TagSum;
use super::memory::{Buffer, MemoryPurpose, TransferMemory};
use super::pace::RateLimited;
use super::s3::{FetchRange, Fetched};
use super::{ObjectFacts, ObjectStore, PaceSettings, Page, S3, VersionPage, VersionPosition};
use crate::model::{Failure, FailureClass, ObjectKey};
use crate::queue::Backoff;
use bytes::Bytes;
use std::future::Future;
use std::ops::Range;
use std::time::Duration;

/// Between two tries of a request.
const BACKOFF: Backoff = Backoff { first_ms: 200, max_ms: 20_000 };
/// Tries of a request before it has failed: about a minute.
const TRIES_MAX: u32 = 9;
/// Tries of the first request, which finds out whether the store is there: about four seconds.
const FIRST_TRIES_MAX: u32 = 5;
/// Tries of a request that is refused: credentials may just be renewed.
const REFUSED_TRIES_MAX: u32 = 2;

/// Reads objects. One for a whole restore.
#[derive(Debug)]
pub struct Fetcher {
    store: RateLimited<S3>,
    memory: TransferMemory,
    part_size: u64,
}

/// An object, or an older version of one.
#[derive(Debug, Clone)]
pub struct ObjectRef {
    /// Its key.
    pub key: ObjectKey,
    /// Its version, unless it is the present one.
    pub version_id: Option<String>,
}

/// Bytes of an object. They count as memory of transfers until they are dropped.
#[derive(Debug)]
pub struct ObjectBytes {
    /// The bytes.
    pub bytes: Bytes,
    /// What the store says of the object.
    pub facts: ObjectFacts,
}

/// Why there are no bytes.
#[derive(Debug)]
pub enum FetchError {
    /// There is no such object.
    Gone,
    /// It is not as it was when it was listed.
    Changed,
    /// The request failed, also when it was tried again.
    Failed(Failure),
}

impl From<Failure> for FetchError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Fetcher {
    /// Reads from `store` within `memory` bytes, and large objects in ranges of `part_size`.
    #[must_use]
    pub fn new(store: S3, pace: PaceSettings, memory: u64, part_size: u64) -> Self {
        let part_size = part_size.min(memory).max(1);
        Self {
            store: RateLimited::new(store, pace),
            memory: TransferMemory::new(memory, part_size),
            part_size,
        }
    }

    /// Bytes of a range.
    #[must_use]
    pub fn part_size(&self) -> u64 {
        self.part_size
    }

    /// A page of the objects below `prefix`; the first one finds out whether the store is there.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
    pub async fn list(&self, prefix: &str, from: Option<String>) -> Result<Page, Failure> {
        let tries = if from.is_none() { FIRST_TRIES_MAX } else { TRIES_MAX };
        retried(tries, || self.store.list(prefix, from.clone())).await
    }

    /// A page of all versions below `prefix`; the first one finds out whether the store is there.
    ///
    /// # Errors
    ///
    /// If it cannot be had.
    pub async fn list_versions(
        &self,
        prefix: &str,
        from: Option<VersionPosition>,
    ) -> Result<VersionPage, Failure> {
        let tries = if from.is_none() { FIRST_TRIES_MAX } else { TRIES_MAX };
        let page = || self.store.request(0, |s3| s3.list_versions(prefix, from.as_ref()));
        retried(tries, page).await
    }

    /// What the store says of an object; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If it does not say.
    pub async fn facts(&self, object: &ObjectRef) -> Result<Option<ObjectFacts>, Failure> {
        let facts =
            || self.store.request(0, |s3| s3.facts(&object.key, object.version_id.as_deref()));
        retried(TRIES_MAX, facts).await
    }

    /// The bytes of an object of `size`.
    ///
    /// # Errors
    ///
    /// If it cannot be had, or its checksum is another one.
    pub async fn whole(&self, object: &ObjectRef, size: u64) -> Result<ObjectBytes, FetchError> {
        let mut buffer = self.memory.buffer(size, MemoryPurpose::File).await;
        let facts = self.read(object, None, size, &mut buffer).await?;
        let bytes = buffer.freeze();
        Ok(ObjectBytes { bytes, facts })
    }

    /// The bytes `range` of the object with this entity tag.
    ///
    /// # Errors
    ///
    /// If they cannot be had.
    pub async fn range(
        &self,
        object: &ObjectRef,
        etag: &str,
        range: Range<u64>,
    ) -> Result<Bytes, FetchError> {
        let size = range.end - range.start;
        let mut buffer = self.memory.buffer(size, MemoryPurpose::Part).await;
        self.read(object, Some((range, etag)), size, &mut buffer).await?;
        Ok(buffer.freeze())
    }

    async fn read(
        &self,
        object: &ObjectRef,
        part: Option<(Range<u64>, &str)>,
        size: u64,
        buffer: &mut Buffer,
    ) -> Result<ObjectFacts, FetchError> {
        let version_id = object.version_id.as_deref();
        let wanted = FetchRange { key: &object.key, version_id, part };
        let mut tries = 0;
        loop {
            tries += 1;
            let bytes = buffer.bytes_mut();
            let fetched = self.store.request(size, |s3| s3.fetch(&wanted, bytes)).await;
            match fetched {
                Ok(Fetched::Read(facts)) => return Ok(facts),
                Ok(Fetched::Gone) => return Err(FetchError::Gone),
                Ok(Fetched::Changed) => return Err(FetchError::Changed),
                Err(failure) => wait_to_retry(failure, tries, TRIES_MAX).await?,
            }
        }
    }
}

/// Whether bytes are those of an object, by the checksum or else the entity tag that the store says;
/// `None` if it says neither.
#[derive(Debug)]
pub struct ContentCheck {
    tag: Option<TagSum>,
    crc64nvme: Option<u64>,
}

impl ContentCheck {
    /// Of an object of which `facts` are known, which may have been sent in parts of `part_size`.
    #[must_use]
    pub fn new(facts: &ObjectFacts, part_size: u64) -> Self {
        let by_tag = facts.crc64nvme.is_none() && facts.md5_etag;
        let tag = facts.etag.as_deref().filter(|_| by_tag);
        let tag = tag.and_then(|tag| TagSum::new(tag, facts.size, part_size));
        Self { tag, crc64nvme: facts.crc64nvme }
    }

    /// Whether the bytes have to be passed in their order.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        self.tag.is_some()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(tag) = &mut self.tag {
            tag.update(bytes);
        }
    }

    /// Whether the bytes are the object's; `crc64nvme` is their checksum.
    #[must_use]
    pub fn is_content(self, crc64nvme: u64) -> bool {
        match (self.crc64nvme, self.tag) {
            (Some(wanted), _) => wanted == crc64nvme,
            (None, Some(tag)) => tag.verdict() != Some(false),
            (None, None) => true,
        }
    }
}

async fn retried<T, F>(tries_max: u32, mut request: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        match request().await {
            Ok(answer) => return Ok(answer),
            Err(failure) => wait_to_retry(failure, tries, tries_max).await?,
        }
    }
}

/// Waits before the next try, or returns the failure of the last one.
async fn wait_to_retry(failure: Failure, tries: u32, tries_max: u32) -> Result<(), Failure> {
    let tries_max = match failure.class {
        FailureClass::Unavailable | FailureClass::Throttled => tries_max,
        FailureClass::Refused => REFUSED_TRIES_MAX,
        FailureClass::Object | FailureClass::File | FailureClass::Read => 1,
    };
    if tries >= tries_max {
        return Err(failure);
    }
    let wait = BACKOFF.wait_ms(tries, fastrand::f64());
    let wait = wait.max(failure.retry_after_ms.unwrap_or(0).min(BACKOFF.max_ms));
    tokio::time::sleep(Duration::from_millis(wait)).await;
    Ok(())
}
