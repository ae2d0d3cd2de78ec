//! Objects, read into memory that the caller has: whole ones, and ranges of large ones.

use super::S3;
use super::capabilities::Feature;
use super::checksum::decode;
use super::error::{content_failure, failure, is_no_such_key, is_precondition_failed, is_status};
use super::head::{file_mode, file_time};
use super::inspect::is_kms;
use crate::model::{Failure, ObjectKey};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::ChecksumMode;
use std::ops::Range;

/// The part of an object to read.
#[derive(Debug, Clone)]
pub(in crate::transfer) struct FetchRange<'a> {
    pub(in crate::transfer) key: &'a ObjectKey,
    /// Its version, unless it is the present one.
    pub(in crate::transfer) version_id: Option<&'a str>,
    /// The range of an object with this entity tag; all of it if there is none.
    pub(in crate::transfer) part: Option<(Range<u64>, &'a str)>,
}

/// What the store says of an object beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Bytes of the whole object.
    pub size: u64,
    /// Its entity tag.
    pub etag: Option<String>,
    /// Whether the tag may be made of MD5 sums of its bytes.
    pub md5_etag: bool,
    /// The checksum of the whole object, if the store keeps it.
    pub crc64nvme: Option<u64>,
    /// The file time in its metadata.
    pub mtime_ns: Option<i64>,
    /// The permissions in its metadata.
    pub mode: Option<u32>,
    /// When the object was made, by the store's clock.
    pub modified_ns: Option<i64>,
}

/// How a read went.
#[derive(Debug)]
pub(in crate::transfer) enum Fetched {
    /// The buffer has the bytes.
    Read(ObjectFacts),
    /// There is no such object.
    Gone,
    /// It has another size than the buffer, or another entity tag than was said.
    Changed,
}

/// Nanoseconds since the epoch.
pub(super) fn nanos(time: &DateTime) -> Option<i64> {
    i64::try_from(time.as_nanos()).ok()
}

/// `GetObjectOutput` and `HeadObjectOutput` have the same methods, and no trait in common.
macro_rules! facts {
    ($answer:expr, $size:expr) => {{
        let answer = $answer;
        let md5_etag = answer.sse_customer_algorithm().is_none()
            && !answer.server_side_encryption().is_some_and(is_kms);
        ObjectFacts {
            size: $size,
            etag: answer.e_tag().map(str::to_owned),
            md5_etag,
            crc64nvme: answer.checksum_crc64_nvme().and_then(decode),
            mtime_ns: answer.metadata().and_then(file_time),
            mode: answer.metadata().and_then(file_mode),
            modified_ns: answer.last_modified().and_then(nanos),
        }
    }};
}

impl S3 {
    /// What there is under `key`; `None` if nothing.
    pub(in crate::transfer) async fn facts(
        &self,
        key: &ObjectKey,
        version_id: Option<&str>,
    ) -> Result<Option<ObjectFacts>, Failure> {
        let send = |checksum: bool| {
            let request = self.client.head_object().bucket(&self.bucket).key(key.as_str());
            let request = request.set_version_id(version_id.map(str::to_owned));
            request.set_checksum_mode(checksum.then_some(ChecksumMode::Enabled)).send()
        };
        match self.with_feature(Feature::ChecksumMode, send).await {
            Ok(answer) => {
                let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
                let size = size.ok_or_else(|| content_failure("HeadObject says no size"))?;
                Ok(Some(facts!(answer, size)))
            }
            Err(error) if is_status(&error, &[400, 404]) => {
                self.explain_refusal(key).await.map(|_| None)
            }
            Err(error) => Err(failure(&error)),
        }
    }

    /// Reads what is wanted into `buffer`, which has exactly as many bytes.
    pub(in crate::transfer) async fn fetch(
        &self,
        wanted: &FetchRange<'_>,
        buffer: &mut [u8],
    ) -> Result<Fetched, Failure> {
        let whole = wanted.part.is_none();
        let send = |checksum: bool| {
            let request = self.client.get_object().bucket(&self.bucket).key(wanted.key.as_str());
            let request = request.set_version_id(wanted.version_id.map(str::to_owned));
            let request = match &wanted.part {
                Some((range, etag)) => {
                    let range = format!("bytes={}-{}", range.start, range.end - 1);
                    request.range(range).if_match(*etag)
                }
                None => request,
            };
            request.set_checksum_mode(checksum.then_some(ChecksumMode::Enabled)).send()
        };
        // A range has no checksum, and shows nothing about the store.
        let answer = match whole {
            true => self.with_feature(Feature::ChecksumMode, send).await,
            false => send(false).await,
        };
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) if is_no_such_key(&error) => return Ok(Fetched::Gone),
            Err(error) if is_precondition_failed(&error) || is_status(&error, &[416]) => {
                return Ok(Fetched::Changed);
            }
            Err(error) => return Err(failure(&error)),
        };
        let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
        if length.is_some_and(|length| length != buffer.len() as u64) || !has_range(wanted, &answer)
        {
            return Ok(Fetched::Changed);
        }
        let body = std::mem::take(&mut answer.body);
        read_into(body, buffer).await?;
        Ok(Fetched::Read(facts!(answer, buffer.len() as u64)))
    }
}

/// Whether the answer has the range that was wanted. Without one, it is the whole object.
fn has_range(wanted: &FetchRange<'_>, answer: &GetObjectOutput) -> bool {
    match (&wanted.part, answer.content_range()) {
        (None, _) => true,
        (Some((range, _)), Some(content_range)) => {
            content_range.starts_with(&format!("bytes {}-{}/", range.start, range.end - 1))
        }
        (Some((range, _)), None) => range.start == 0,
    }
}

async fn read_into(mut body: ByteStream, buffer: &mut [u8]) -> Result<(), Failure> {
    let mut filled = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| content_failure(&error.to_string()))?;
        let Some(room) = buffer.get_mut(filled..filled + piece.len()) else {
            return Err(content_failure("the content is longer than the object"));
        };
        room.copy_from_slice(&piece);
        filled += piece.len();
    }
    if filled == buffer.len() { Ok(()) } else { Err(content_failure("the content ended early")) }
}
