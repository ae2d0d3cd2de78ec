//! The buckets: the objects they hold, and every version they ever held.
//!
//! # Invariants
//!
//! - An object, its version in the history and the change of an upload appear under one lock.
//! - Conditions are judged under the lock that the change is made under.

use crate::activity::{Activity, lock, now, wall_clock};
use crate::multipart::{Upload, Whole};
use crate::object::{Content, Draft, Headers, Object};
use crate::options::Options;
use bytes::Bytes;
use s3s::dto::{Checksum, ETag, ETagCondition, Timestamp};
use s3s::{S3Result, s3_error};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// The buckets. Cheap to clone; all clones are the same buckets.
#[derive(Debug, Clone)]
pub struct Store {
    buckets: Arc<Mutex<BTreeMap<String, Bucket>>>,
    activity: Arc<Activity>,
    keep_bodies: bool,
    latest_only: bool,
    checksums: bool,
}

/// What happened to an object.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its number among all versions and requests.
    pub sequence: u64,
    /// When it could first be seen.
    pub at: Instant,
    /// The same by the clock on the wall.
    pub modified: SystemTime,
    /// The object.
    pub key: String,
    /// What happened to it.
    pub what: What,
}

/// A version, or the end of one.
#[derive(Debug, Clone)]
pub enum What {
    /// This version was stored.
    Stored(Arc<Object>),
    /// The object was deleted. Deleting what is not there leaves no trace.
    Deleted,
}

#[derive(Debug, Default)]
pub(crate) struct Bucket {
    pub(crate) objects: BTreeMap<String, Arc<Object>>,
    history: Vec<Change>,
    /// By key and upload id, in which order S3 lists them.
    pub(crate) uploads: BTreeMap<(String, String), Upload>,
}

/// `If-Match` and `If-None-Match` of a change.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
}

impl Condition {
    /// Judges it by the object that is there.
    pub(crate) fn check(&self, object: Option<&Object>) -> S3Result<()> {
        let fits = |condition: &ETagCondition, object: &Object| match condition {
            ETagCondition::Any => true,
            // Of a weak tag it is not certain that it means these bytes.
            ETagCondition::ETag(ETag::Strong(etag)) => *etag == object.etag,
            ETagCondition::ETag(ETag::Weak(_)) => false,
        };
        match (&self.if_match, object) {
            (Some(_), None) => return Err(s3_error!(NoSuchKey)),
            (Some(wanted), Some(object)) if !fits(wanted, object) => {
                return Err(s3_error!(PreconditionFailed));
            }
            _ => {}
        }
        match (&self.if_none_match, object) {
            (Some(unwanted), Some(object)) if fits(unwanted, object) => {
                Err(s3_error!(PreconditionFailed))
            }
            _ => Ok(()),
        }
    }
}

impl Store {
    pub(crate) fn new(options: &Options, activity: Arc<Activity>) -> Self {
        let buckets =
            options.buckets.iter().map(|name| (name.clone(), Bucket::default())).collect();
        Self {
            buckets: Arc::new(Mutex::new(buckets)),
            activity,
            keep_bodies: options.keep_bodies,
            latest_only: options.latest_only,
            checksums: options.shows_checksums(),
        }
    }

    /// The objects in `bucket`; none if there is no such bucket.
    #[must_use]
    pub fn objects(&self, bucket: &str) -> BTreeMap<String, Arc<Object>> {
        self.read(bucket, |bucket| bucket.objects.clone())
    }

    /// The object `key`, if it is there.
    #[must_use]
    pub fn object(&self, bucket: &str, key: &str) -> Option<Arc<Object>> {
        self.read(bucket, |bucket| bucket.objects.get(key).cloned())
    }

    /// All that ever happened in `bucket`, in order.
    #[must_use]
    pub fn history(&self, bucket: &str) -> Vec<Change> {
        self.read(bucket, |bucket| bucket.history.clone())
    }

    /// What happened in `bucket` after the change with the number `sequence`, in order.
    #[must_use]
    pub fn history_since(&self, bucket: &str, sequence: u64) -> Vec<Change> {
        self.read(bucket, |bucket| {
            let seen = bucket.history.partition_point(|change| change.sequence <= sequence);
            bucket.history.iter().skip(seen).cloned().collect()
        })
    }

    /// Every version ever stored under `key`, oldest first.
    #[must_use]
    pub fn versions(&self, bucket: &str, key: &str) -> Vec<Arc<Object>> {
        self.read(bucket, |bucket| {
            let stored = bucket.history.iter().filter(|change| change.key == key);
            stored.filter_map(|change| change.what.stored().cloned()).collect()
        })
    }

    /// Every body ever stored under `key`, oldest first.
    #[must_use]
    pub fn bodies(&self, bucket: &str, key: &str) -> Vec<Bytes> {
        self.versions(bucket, key).into_iter().filter_map(|version| version.body.clone()).collect()
    }

    /// Key and id of the multipart uploads that are neither completed nor aborted.
    #[must_use]
    pub fn uploads(&self, bucket: &str) -> Vec<(String, String)> {
        self.read(bucket, |bucket| bucket.uploads.keys().cloned().collect())
    }

    /// Stores an object without a request, as another client might.
    ///
    /// # Panics
    ///
    /// If there is no such bucket.
    pub fn put(&self, bucket: &str, key: &str, body: impl Into<Bytes>) -> Arc<Object> {
        self.put_with(bucket, key, body, &[])
    }

    /// Stores an object with this metadata without a request, as another client might.
    ///
    /// # Panics
    ///
    /// If there is no such bucket.
    pub fn put_with(
        &self,
        bucket: &str,
        key: &str,
        body: impl Into<Bytes>,
        metadata: &[(&str, &str)],
    ) -> Arc<Object> {
        let content = self.content(body.into());
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let metadata = metadata.iter().map(pair).collect();
        let draft = Draft {
            etag: content.etag(),
            checksums: content.own_checksum(),
            headers: Headers { metadata, ..Headers::default() },
            content,
        };
        let stored =
            self.write(bucket, |bucket| self.commit(bucket, key, draft, &Condition::default()));
        stored.expect("the bucket is one of those the server was started with")
    }

    /// Turns a bit of an object's first byte around, as a disk might. Its tag stays what it was, and
    /// its checksums are gone.
    ///
    /// # Panics
    ///
    /// If there is no such object, or nothing in it.
    pub fn damage(&self, bucket: &str, key: &str) {
        let damaged = self.write(bucket, |bucket| {
            let object = bucket.object(key)?;
            let mut body = object.body.as_deref().expect("bodies are kept").to_vec();
            *body.first_mut().expect("it has a byte") ^= 1;
            let damaged = Object {
                crc64nvme: crate::object::crc64nvme(&body),
                body: Some(body.into()),
                checksums: Checksum::default(),
                ..Object::clone(object)
            };
            bucket.objects.insert(key.to_owned(), Arc::new(damaged));
            Ok(())
        });
        damaged.expect("it is there");
    }

    /// Deletes an object without a request, as another client might.
    pub fn remove(&self, bucket: &str, key: &str) {
        let removed = self.write(bucket, |bucket| self.delete(bucket, key, &Condition::default()));
        removed.expect("the bucket is one of those the server was started with");
    }

    /// Begins a multipart upload without a request, as another client might, and returns its id.
    ///
    /// # Panics
    ///
    /// If there is no such bucket.
    pub fn begin_upload(&self, bucket: &str, key: &str) -> String {
        let id = format!("upload-{:016x}", self.number());
        let upload = Upload {
            headers: Headers::default(),
            algorithm: None,
            whole: Whole::Bytes,
            initiated: Timestamp::from(wall_clock()),
            parts: BTreeMap::new(),
        };
        let begun = self.write(bucket, |bucket| {
            bucket.uploads.insert((key.to_owned(), id.clone()), upload);
            Ok(())
        });
        begun.expect("the bucket is one of those the server was started with");
        id
    }

    /// Waits until `holds`, as [`Server::wait_until`](crate::Server::wait_until) does.
    #[must_use]
    pub fn wait_until(&self, timeout: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        self.activity.wait_until(timeout, || holds(self))
    }

    /// Takes stock of a body as these buckets keep it.
    pub(crate) fn content(&self, body: Bytes) -> Content {
        Content::new(body, self.keep_bodies)
    }

    /// What of these is kept and shown.
    pub(crate) fn shown(&self, checksums: Checksum) -> Checksum {
        if self.checksums { checksums } else { Checksum::default() }
    }

    /// The next number among all versions and requests.
    pub(crate) fn number(&self) -> u64 {
        self.activity.number()
    }

    fn read<T: Default>(&self, bucket: &str, read: impl FnOnce(&Bucket) -> T) -> T {
        lock(&self.buckets).get(bucket).map(read).unwrap_or_default()
    }

    /// Reads a bucket as a request does.
    pub(crate) fn view<T>(
        &self,
        bucket: &str,
        view: impl FnOnce(&Bucket) -> S3Result<T>,
    ) -> S3Result<T> {
        lock(&self.buckets).get(bucket).map_or_else(|| Err(s3_error!(NoSuchBucket)), view)
    }

    /// Changes a bucket as a request does.
    pub(crate) fn write<T>(
        &self,
        bucket: &str,
        write: impl FnOnce(&mut Bucket) -> S3Result<T>,
    ) -> S3Result<T> {
        let mut buckets = lock(&self.buckets);
        let result = write(buckets.get_mut(bucket).ok_or_else(|| s3_error!(NoSuchBucket))?);
        drop(buckets);
        self.activity.wake();
        result
    }

    /// Makes `draft` the object `key`.
    pub(crate) fn commit(
        &self,
        bucket: &mut Bucket,
        key: &str,
        draft: Draft,
        condition: &Condition,
    ) -> S3Result<Arc<Object>> {
        condition.check(bucket.objects.get(key).map(AsRef::as_ref))?;
        let object = Arc::new(Object {
            size: draft.content.size,
            crc64nvme: draft.content.crc64nvme,
            body: draft.content.body,
            etag: match draft.headers.customer_key_md5 {
                // No MD5 of the content.
                Some(_) => reversed(&draft.etag),
                None => draft.etag,
            },
            checksums: self.shown(crate::checksum::of_whole_object(draft.checksums)),
            headers: draft.headers,
            modified: wall_clock(),
            stored: now(),
            sequence: self.number(),
        });
        if !self.latest_only {
            bucket.note(object.sequence, key, What::Stored(Arc::clone(&object)));
        }
        bucket.objects.insert(key.to_owned(), Arc::clone(&object));
        Ok(object)
    }

    /// Deletes the object `key`. As in S3 it need not be there, unless a condition says so.
    pub(crate) fn delete(
        &self,
        bucket: &mut Bucket,
        key: &str,
        condition: &Condition,
    ) -> S3Result<()> {
        condition.check(bucket.objects.get(key).map(AsRef::as_ref))?;
        if bucket.objects.remove(key).is_some() && !self.latest_only {
            bucket.note(self.number(), key, What::Deleted);
        }
        Ok(())
    }
}

impl Bucket {
    /// The object `key`.
    pub(crate) fn object(&self, key: &str) -> S3Result<&Arc<Object>> {
        self.objects.get(key).ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// The version of `key` with this id.
    pub(crate) fn version(&self, key: &str, id: &str) -> S3Result<&Arc<Object>> {
        let wanted = |change: &&Change| change.key == key && change.sequence.to_string() == id;
        let change = self.history.iter().find(wanted);
        let object = change.and_then(|change| change.what.stored());
        object.ok_or_else(|| s3_error!(NoSuchVersion))
    }

    /// All that happened to objects whose keys begin with `prefix`, by key and newest first.
    pub(crate) fn versions_below(&self, prefix: &str) -> Vec<&Change> {
        let mut changes: Vec<_> =
            self.history.iter().filter(|change| change.key.starts_with(prefix)).collect();
        changes.sort_by(|left, right| {
            left.key.cmp(&right.key).then(right.sequence.cmp(&left.sequence))
        });
        changes
    }

    fn note(&mut self, sequence: u64, key: &str, what: What) {
        self.history.push(Change {
            sequence,
            at: now(),
            modified: wall_clock(),
            key: key.to_owned(),
            what,
        });
    }
}

impl What {
    /// The version, if one was stored.
    #[must_use]
    pub fn stored(&self) -> Option<&Arc<Object>> {
        match self {
            Self::Stored(object) => Some(object),
            Self::Deleted => None,
        }
    }
}

impl Object {
    pub(crate) fn dto_etag(&self) -> ETag {
        ETag::Strong(self.etag.clone())
    }
}

/// An entity tag of the same form that is no MD5.
fn reversed(etag: &str) -> String {
    let (sum, parts) = etag.split_once('-').map_or((etag, None), |(sum, parts)| (sum, Some(parts)));
    let sum: String = sum.chars().rev().collect();
    parts.map_or_else(|| sum.clone(), |parts| format!("{sum}-{parts}"))
}
