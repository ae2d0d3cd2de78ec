//! Brings the content of one object into the staging directory, verified, with the time and the permissions
//! of its file.
//!
//! # Resuming
//!
//! The name of a staged file names its object, and, once it is whole, its checksum. A later run
//! reads such a file again instead of fetching it, and takes it if it still has that checksum. Of a large
//! object the parts that have arrived are noted beside it, each with its checksum, likewise.

mod parts;

use crate::blocking_pool::{BlockingPool, WorkError};
use crate::model::RelPath;
use crate::model::{Failure, FailureClass};
use crate::root::Staging;
use crate::transfer::{ContentCheck, FetchError, Fetcher, ObjectFacts, ObjectRef};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use md5::{Digest, Md5};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Threads that write files.
const WRITERS: usize = 8;
/// Objects in a row that fail because the store is unreachable or refuses; then the restore ends.
const FAILURES_IN_A_ROW_MAX: u32 = 8;
/// Rounds of an object that changes while it is read, or whose content is not what the store says.
const ROUNDS_MAX: u32 = 3;
/// Bytes that are read at once to compute a checksum.
const READ_BYTES: usize = 1 << 18;
/// Permissions of a file whose object has none.
const MODE: u32 = 0o644;

/// An object that is wanted.
#[derive(Debug, Clone)]
pub(super) struct DownloadItem {
    pub(super) object: ObjectRef,
    pub(super) path: RelPath,
    pub(super) size: u64,
    pub(super) etag: Option<String>,
    pub(super) modified_ns: Option<i64>,
    /// Whether the state records it: it is the present version, and the mirror does not ignore its name.
    pub(super) is_recorded: bool,
}

/// A whole file in the staging directory.
#[derive(Debug)]
pub(super) struct StagedFile {
    pub(super) path: RelPath,
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) crc64nvme: u64,
    pub(super) etag: Option<String>,
    pub(super) is_recorded: bool,
}

/// What has become of one object.
#[derive(Debug)]
pub(super) enum Brought {
    Staged(StagedFile),
    /// It was deleted after it was listed.
    Gone,
    /// The store does not give it, for this reason.
    Skipped(String),
    /// It could not be read now, for this reason.
    Failed(String),
}

/// Why the restore ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Abort {
    #[error("{}: {}", .0.code, .0.message)]
    Store(Failure),
    #[error("a file cannot be written: {}", crate::root::in_words(.0))]
    Disk(#[source] io::Error),
}

/// Brings objects into the staging directory.
#[derive(Debug)]
pub(super) struct Downloader {
    pub(super) fetcher: Arc<Fetcher>,
    staging: Arc<Staging>,
    threads: BlockingPool,
    /// The names of whole files of an earlier run, by the part that names their object.
    whole: HashMap<String, String>,
    failures: AtomicU32,
    fetched: AtomicU64,
}

impl Downloader {
    pub(super) fn new(fetcher: Arc<Fetcher>, staging: Arc<Staging>) -> io::Result<Self> {
        let names = staging.names()?.into_iter();
        let whole = names.filter_map(|name| Some((name.split_once('-')?.0.to_owned(), name)));
        Ok(Self {
            whole: whole.collect(),
            fetcher,
            staging,
            threads: BlockingPool::new("write files", WRITERS)?,
            failures: AtomicU32::new(0),
            fetched: AtomicU64::new(0),
        })
    }

    /// The bytes that were fetched so far.
    pub(super) fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Brings an object, or finds out why that is not possible.
    pub(super) async fn bring(&self, mut item: DownloadItem) -> Result<Brought, Abort> {
        let mut mismatch = None;
        for _ in 0..ROUNDS_MAX {
            let brought = match self.staged_before(&item).await? {
                Some(staged) => Ok(staged),
                None if item.size > self.fetcher.part_size() => self.in_parts(&item).await,
                None => self.whole(&item).await,
            };
            match brought {
                Ok(staged) => {
                    self.failures.store(0, Ordering::Relaxed);
                    return Ok(Brought::Staged(staged));
                }
                Err(DownloadTrouble::Disk(error)) => return Err(Abort::Disk(error)),
                Err(DownloadTrouble::Mismatch) => {
                    mismatch = Some("its content is not what the store says: the checksum differs");
                }
                Err(DownloadTrouble::Fetch(FetchError::Gone)) => return Ok(Brought::Gone),
                Err(DownloadTrouble::Fetch(FetchError::Failed(failure))) => {
                    return self.failed(failure);
                }
                Err(DownloadTrouble::Fetch(FetchError::Changed)) => {
                    match self.fetcher.facts(&item.object).await {
                        Ok(Some(facts)) => {
                            (item.size, item.etag) = (facts.size, facts.etag);
                            mismatch = None;
                        }
                        Ok(None) => return Ok(Brought::Gone),
                        Err(failure) => return self.failed(failure),
                    }
                }
            }
        }
        Ok(match mismatch {
            Some(mismatch) => Brought::Skipped(mismatch.to_owned()),
            None => Brought::Failed("it changes all the time".to_owned()),
        })
    }

    /// What a failure means for the object and for the restore.
    fn failed(&self, failure: Failure) -> Result<Brought, Abort> {
        let reason = match failure.code.as_str() {
            "InvalidObjectState" => {
                let reason = "it is in an archive: restore it there first, with RestoreObject";
                return Ok(Brought::Skipped(reason.to_owned()));
            }
            code => format!("{code}: {}", failure.message),
        };
        if failure.class == FailureClass::Object {
            return Ok(Brought::Skipped(reason));
        }
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_IN_A_ROW_MAX {
            return Err(Abort::Store(failure));
        }
        // Rights and credentials can be had later, so a refusal is no end either.
        Ok(Brought::Failed(reason))
    }

    /// The whole file that an earlier run has left, if it still has its checksum.
    async fn staged_before(&self, item: &DownloadItem) -> Result<Option<StagedFile>, Abort> {
        let Some(name) = self.whole.get(&staging_name(item, self.fetcher.part_size())) else {
            return Ok(None);
        };
        let crc64nvme = name.split_once('-').and_then(|(_, crc)| u64::from_str_radix(crc, 16).ok());
        let Some(crc64nvme) = crc64nvme else { return Ok(None) };
        let staging = Arc::clone(&self.staging);
        let size = item.size;
        let file = name.clone();
        let is_whole = self.threads.run(move || {
            let Some(file) = staging.reopen(&file)? else { return Ok(false) };
            Ok(file.metadata()?.len() == size && checksum(&file, &mut |_| ())? == crc64nvme)
        });
        let is_whole = flat(is_whole.await).map_err(Abort::Disk)?;
        Ok(is_whole.then(|| staged(item, name.clone(), crc64nvme, item.etag.clone())))
    }

    async fn whole(&self, item: &DownloadItem) -> Result<StagedFile, DownloadTrouble> {
        let read = self.fetcher.whole(&item.object, item.size).await?;
        self.fetched.fetch_add(item.size, Ordering::Relaxed);
        let bytes = read.bytes;
        let facts = read.facts;
        let name = staging_name(item, self.fetcher.part_size());
        let etag = facts.etag.clone().or_else(|| item.etag.clone());
        let staging = Arc::clone(&self.staging);
        let item = item.clone();
        let part_size = self.fetcher.part_size();
        let write = move || -> Result<StagedFile, DownloadTrouble> {
            let crc64nvme = checked(&bytes, &facts, part_size)?;
            let file = staging.create(&name)?;
            file.set_len(0)?;
            file.write_all_at(&bytes, 0)?;
            drop(bytes);
            let finished = finish(&staging, (&file, &name), &facts, &item, crc64nvme)?;
            Ok(staged(&item, finished, crc64nvme, etag))
        };
        self.threads.run(write).await.map_err(panicked)?
    }
}

/// Why a file could not be staged.
#[derive(Debug)]
enum DownloadTrouble {
    Fetch(FetchError),
    Disk(io::Error),
    Mismatch,
}

impl From<FetchError> for DownloadTrouble {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

impl From<io::Error> for DownloadTrouble {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn panicked(error: WorkError) -> io::Error {
    io::Error::other(error.to_string())
}

fn flat<T>(result: Result<io::Result<T>, WorkError>) -> io::Result<T> {
    result.map_err(panicked)?
}

fn staged(item: &DownloadItem, name: String, crc64nvme: u64, etag: Option<String>) -> StagedFile {
    StagedFile {
        path: item.path.clone(),
        name,
        size: item.size,
        crc64nvme,
        etag,
        is_recorded: item.is_recorded,
    }
}

/// The checksum of `bytes`, if they are those of the object.
fn checked(bytes: &Bytes, facts: &ObjectFacts, part_size: u64) -> Result<u64, DownloadTrouble> {
    let crc64nvme = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes);
    let mut check = ContentCheck::new(facts, part_size);
    if check.wants_bytes() {
        check.update(bytes);
    }
    if check.is_content(crc64nvme) { Ok(crc64nvme) } else { Err(DownloadTrouble::Mismatch) }
}

/// Gives the staged file its time and permissions, and returns its name as a whole file.
fn finish(
    staging: &Staging,
    (file, name): (&File, &str),
    facts: &ObjectFacts,
    item: &DownloadItem,
    crc64nvme: u64,
) -> io::Result<String> {
    let finished = format!("{name}-{crc64nvme:016x}");
    let mtime_ns = facts.mtime_ns.or(facts.modified_ns).or(item.modified_ns).unwrap_or_default();
    staging.finish((file, name), &finished, facts.mode.unwrap_or(MODE), mtime_ns)?;
    Ok(finished)
}

/// The name of the staged file of an object: another one for another path, content or part size.
fn staging_name(item: &DownloadItem, part_size: u64) -> String {
    let mut sum = Md5::new();
    for field in [
        item.path.as_bytes(),
        item.etag.as_deref().unwrap_or_default().as_bytes(),
        item.object.version_id.as_deref().unwrap_or_default().as_bytes(),
        &item.size.to_be_bytes(),
        &part_size.to_be_bytes(),
    ] {
        sum.update((field.len() as u64).to_be_bytes());
        sum.update(field);
    }
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// CRC-64/NVME of a whole file, whose bytes are passed to `each` in their order.
fn checksum(mut file: &File, each: &mut dyn FnMut(&[u8])) -> io::Result<u64> {
    let mut crc = Crc::new(CrcAlgorithm::Crc64Nvme);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(crc.finalize()),
            read => {
                crc.update(&buffer[..read]);
                each(&buffer[..read]);
            }
        }
    }
}
