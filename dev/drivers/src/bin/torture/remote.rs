//! A bucket of another store, watched by listing and reading it.
//!
//! # Invariants
//!
//! - Every object that a listing shows with another tag or time than before is read, and counts as a
//!   version. What is replaced between two listings is not seen.
//! - The requests go to the store itself, not through the proxy, and are tried again when they fail.

use crate::PREFIX;
use crate::states::Content;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::DisplayErrorContext;
use file_sync_dev_s3::{
    ACCESS_KEY, BUCKET, Change, Checksum, Object, REGION, SECRET_KEY, What, now,
};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::runtime::Runtime;

/// How often a request is tried.
const TRIES: u32 = 6;

/// The names of the variables that say how to get in, and what holds without them.
const CREDENTIALS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
    ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
    ("AWS_REGION", REGION),
];

#[derive(Debug)]
pub(crate) struct RemoteBucket {
    runtime: Runtime,
    client: Client,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    objects: BTreeMap<String, Arc<Object>>,
    history: Vec<Change>,
    uploads: Vec<(String, String)>,
    sequence: u64,
}

/// An entry of a listing.
#[derive(Debug)]
struct Listed {
    key: String,
    etag: String,
    modified: SystemTime,
}

impl RemoteBucket {
    /// The bucket of this program's name at `endpoint`; it has to be there, and is emptied.
    pub(crate) fn open(endpoint: &str) -> io::Result<Self> {
        let [key, secret, region] = CREDENTIALS.map(|(name, default)| variable(name, default));
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::new(key, secret, None, None, "environment"))
            .retry_config(RetryConfig::standard().with_max_attempts(TRIES))
            .force_path_style(true)
            .build();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("remote-bucket")
            .enable_all()
            .build()?;
        let bucket = Self { runtime, client: Client::from_conf(config), seen: Mutex::default() };
        bucket.empty()?;
        Ok(bucket)
    }

    /// What a daemon has to be set to in order to get in.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let set = |(name, default): (&str, &str)| (name.to_owned(), variable(name, default));
        CREDENTIALS.map(set).to_vec()
    }

    /// Removes what a run before has left.
    fn empty(&self) -> io::Result<()> {
        self.runtime.block_on(async {
            for listed in self.list().await? {
                let delete = self.client.delete_object().bucket(BUCKET).key(listed.key);
                delete.send().await.map_err(failed)?;
            }
            for (key, id) in self.list_uploads().await? {
                let abort = self.client.abort_multipart_upload().bucket(BUCKET).key(key);
                abort.upload_id(id).send().await.map_err(failed)?;
            }
            Ok(())
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The objects that were seen last.
    pub(crate) fn objects(&self) -> BTreeMap<String, Arc<Object>> {
        self.seen().objects.clone()
    }

    /// What was seen after this.
    pub(crate) fn history_since(&self, sequence: u64) -> Vec<Change> {
        let seen = self.seen();
        let before = seen.history.partition_point(|change| change.sequence <= sequence);
        seen.history[before..].to_vec()
    }

    /// The number of what was seen last.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.seen().sequence
    }

    /// The uploads that were seen last.
    pub(crate) fn uploads(&self) -> Vec<(String, String)> {
        self.seen().uploads.clone()
    }

    /// Lists the bucket, and reads what is not as it was.
    pub(crate) fn refresh(&self) -> io::Result<()> {
        self.runtime.block_on(async {
            let listing = self.list().await?;
            let uploads = self.list_uploads().await?;
            let mut gone = self.objects();
            for listed in listing {
                let before = gone.remove(&listed.key);
                let is_same = |object: &Arc<Object>| {
                    object.etag == listed.etag && object.modified == listed.modified
                };
                if before.as_ref().is_some_and(is_same) {
                    continue;
                }
                if let Some(object) = self.read(&listed).await? {
                    self.seen().add(&listed.key, object);
                } else if before.is_some() {
                    self.seen().remove(&listed.key);
                }
            }
            let mut seen = self.seen();
            gone.keys().for_each(|key| seen.remove(key));
            seen.uploads = uploads;
            Ok(())
        })
    }

    async fn list(&self) -> io::Result<Vec<Listed>> {
        let list = self.client.list_objects_v2().bucket(BUCKET).prefix(format!("{PREFIX}/"));
        let mut pages = list.into_paginator().send();
        let mut listing = Vec::new();
        while let Some(page) = pages.next().await {
            for object in page.map_err(failed)?.contents.unwrap_or_default() {
                let modified = object.last_modified.and_then(|at| SystemTime::try_from(at).ok());
                listing.push(Listed {
                    key: object.key.unwrap_or_default(),
                    etag: object.e_tag.unwrap_or_default(),
                    modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
                });
            }
        }
        Ok(listing)
    }

    /// Of one page: there are never as many as fit on it.
    async fn list_uploads(&self) -> io::Result<Vec<(String, String)>> {
        let list = self.client.list_multipart_uploads().bucket(BUCKET);
        let page = list.prefix(format!("{PREFIX}/")).send().await.map_err(failed)?;
        let uploads = page.uploads.unwrap_or_default().into_iter();
        let name = |upload: aws_sdk_s3::types::MultipartUpload| upload.key.zip(upload.upload_id);
        Ok(uploads.filter_map(name).collect())
    }

    /// What an object holds; nothing if it is gone.
    async fn read(&self, listed: &Listed) -> io::Result<Option<Object>> {
        let get = self.client.get_object().bucket(BUCKET).key(&listed.key).send().await;
        let answer = match get {
            Ok(answer) => answer,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let bytes = answer.body.collect().await.map_err(io::Error::other)?.into_bytes();
        let Content { size, crc64nvme } = Content::of(&bytes);
        Ok(Some(Object {
            size,
            crc64nvme,
            body: None,
            etag: listed.etag.clone(),
            checksums: Checksum::default(),
            headers: file_sync_dev_s3::Headers::default(),
            modified: listed.modified,
            stored: now(),
            sequence: 0,
        }))
    }

    /// Stores an object.
    pub(crate) fn put(&self, key: &str, body: &'static str) -> io::Result<Arc<Object>> {
        let put =
            self.client.put_object().bucket(BUCKET).key(key).body(body.as_bytes().to_vec().into());
        self.runtime.block_on(async { put.send().await.map_err(failed) })?;
        self.refresh()?;
        self.seen().objects.get(key).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Begins a multipart upload.
    pub(crate) fn begin_upload(&self, key: &str) -> io::Result<String> {
        let create = self.client.create_multipart_upload().bucket(BUCKET).key(key);
        let begun = self.runtime.block_on(async { create.send().await.map_err(failed) })?;
        self.refresh()?;
        begun.upload_id.ok_or_else(|| io::Error::other("the upload has no id"))
    }
}

impl Seen {
    fn add(&mut self, key: &str, object: Object) {
        self.sequence += 1;
        let object = Arc::new(Object { sequence: self.sequence, ..object });
        self.note(key, What::Stored(Arc::clone(&object)));
        self.objects.insert(key.to_owned(), object);
    }

    fn remove(&mut self, key: &str) {
        self.sequence += 1;
        self.note(key, What::Deleted);
        self.objects.remove(key);
    }

    fn note(&mut self, key: &str, what: What) {
        // Nothing here looks at the clock on the wall.
        let modified = std::time::UNIX_EPOCH;
        let change =
            Change { sequence: self.sequence, at: now(), modified, key: key.to_owned(), what };
        self.history.push(change);
    }
}

#[expect(clippy::disallowed_methods, reason = "secrets do not belong on a command line")]
fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn failed<E: std::error::Error + Debug>(error: E) -> io::Error {
    io::Error::other(DisplayErrorContext(error).to_string())
}
