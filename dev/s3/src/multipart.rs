//! Multipart uploads: parts are gathered, and become an object only if all of them fit together.

use crate::checksum::{algorithms, digest};
use crate::object::{Content, Draft, Headers, base64};
use s3s::dto::{Checksum, CompletedPart, ETag, Timestamp};
use s3s::{S3Result, s3_error};
use std::collections::BTreeMap;

/// S3 numbers parts from 1 to this.
pub(crate) const PART_NUMBER_MAX: i32 = 10_000;

/// An upload that is neither completed nor aborted.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) headers: Headers,
    /// As asked for when it was begun.
    pub(crate) algorithm: Option<String>,
    pub(crate) whole: Whole,
    pub(crate) initiated: Timestamp,
    pub(crate) parts: BTreeMap<i32, Part>,
}

/// What the checksum of the completed object is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whole {
    /// Its bytes: `FULL_OBJECT`.
    Bytes,
    /// The checksums of its parts: `COMPOSITE`. Checked part by part only, and not kept.
    Parts,
}

#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) content: Content,
    pub(crate) checksums: Checksum,
    pub(crate) modified: Timestamp,
}

/// What the client says of the whole when it completes an upload.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) parts: Vec<CompletedPart>,
    pub(crate) sums: Checksum,
    pub(crate) checksum_type: Option<String>,
    pub(crate) size: Option<i64>,
    pub(crate) part_bytes_min: u64,
    /// Whether all parts but the last have to have one size.
    pub(crate) has_equal_parts: bool,
}

impl Whole {
    /// As S3 chooses for an algorithm and a wish.
    pub(crate) fn choose(algorithm: Option<&str>, wish: Option<&str>) -> S3Result<Self> {
        match (algorithm, wish) {
            (Some("SHA1" | "SHA256"), Some("FULL_OBJECT")) => Err(s3_error!(
                InvalidRequest,
                "The FULL_OBJECT checksum type cannot be used with this checksum algorithm."
            )),
            (Some("CRC64NVME"), Some("COMPOSITE")) => Err(s3_error!(
                InvalidRequest,
                "The COMPOSITE checksum type cannot be used with the crc64nvme checksum algorithm."
            )),
            (_, Some("FULL_OBJECT")) | (None | Some("CRC64NVME"), _) => Ok(Self::Bytes),
            (Some(_), _) => Ok(Self::Parts),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bytes => "FULL_OBJECT",
            Self::Parts => "COMPOSITE",
        }
    }
}

impl Upload {
    /// Takes a part, in place of one with the same number.
    pub(crate) fn add(&mut self, number: i32, part: Part) -> S3Result<()> {
        if !(1..=PART_NUMBER_MAX).contains(&number) {
            return Err(s3_error!(
                InvalidArgument,
                "Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive"
            ));
        }
        let sent = algorithms(&part.checksums);
        if let (Some(expected), [actual]) = (&self.algorithm, &sent[..])
            && expected != actual
        {
            return Err(s3_error!(
                InvalidRequest,
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                expected.to_lowercase(),
                actual.to_lowercase()
            ));
        }
        self.parts.insert(number, part);
        Ok(())
    }

    /// Puts the listed parts together, if they are what the client says they are.
    pub(crate) fn complete(&self, completion: &Completion) -> S3Result<Draft> {
        let parts = self.listed(completion)?;
        let wrong_type =
            completion.checksum_type.as_deref().is_some_and(|wish| wish != self.whole.name());
        if wrong_type {
            return Err(s3_error!(
                InvalidRequest,
                "The upload was created using the {} checksum type.",
                self.whole.name()
            ));
        }
        let (content, etag) = Content::concat(&parts);
        if completion.size.is_some_and(|size| u64::try_from(size) != Ok(content.size)) {
            return Err(s3_error!(
                InvalidRequest,
                "The provided 'x-amz-mp-object-size' header does not match what was computed"
            ));
        }
        let checksums = self.verified(completion, &content)?;
        Ok(Draft { content, etag, checksums, headers: self.headers.clone() })
    }

    /// The parts in the client's list, each of them checked.
    fn listed(&self, completion: &Completion) -> S3Result<Vec<Content>> {
        if completion.parts.is_empty() {
            return Err(s3_error!(MalformedXML));
        }
        let mut contents = Vec::with_capacity(completion.parts.len());
        let mut last = 0;
        for (at, listed) in completion.parts.iter().enumerate() {
            let number = listed.part_number.unwrap_or(0);
            if number <= last {
                return Err(s3_error!(InvalidPartOrder));
            }
            last = number;
            let part = self.parts.get(&number).filter(|part| part.is_as_listed(listed));
            let part = part.ok_or_else(|| s3_error!(InvalidPart))?;
            let is_last = at + 1 == completion.parts.len();
            if !is_last && part.content.size < completion.part_bytes_min {
                return Err(s3_error!(EntityTooSmall));
            }
            contents.push(part.content.clone());
        }
        if completion.has_equal_parts && !are_equal_but_last(&contents) {
            return Err(s3_error!(
                InvalidPart,
                "All non-trailing parts must have the same length."
            ));
        }
        Ok(contents)
    }

    /// The checksum to keep, if that of the client is right.
    fn verified(&self, completion: &Completion, content: &Content) -> S3Result<Checksum> {
        let declared = &completion.sums;
        if self.whole == Whole::Parts || algorithms(declared).is_empty() {
            return Ok(content.own_checksum());
        }
        let actual = match &content.body {
            _ if declared.checksum_crc64nvme.is_some() => content.own_checksum(),
            Some(body) => digest(declared, body),
            // Without the bytes nothing can be said of the other algorithms.
            None => declared.clone(),
        };
        if actual != *declared {
            return Err(s3_error!(
                BadDigest,
                "The {} you specified did not match the calculated checksum.",
                algorithms(declared).join("")
            ));
        }
        Ok(actual)
    }
}

/// Whether all parts but the last have one size, and the last is not larger.
fn are_equal_but_last(parts: &[Content]) -> bool {
    let first = parts.first().map_or(0, |part| part.size);
    let (last, others) =
        parts.split_last().map_or((0, parts), |(last, others)| (last.size, others));
    last <= first && others.iter().all(|part| part.size == first)
}

impl Part {
    /// Whether the client's list means this part. The checksum is optional there.
    fn is_as_listed(&self, listed: &CompletedPart) -> bool {
        let same = |listed: &Option<String>, stored: &Option<String>| {
            listed.is_none() || stored.is_none() || listed == stored
        };
        let own = Some(base64(&self.content.crc64nvme.to_be_bytes()));
        listed.e_tag == Some(ETag::Strong(self.content.etag()))
            && same(&listed.checksum_crc64nvme, &own)
            && same(&listed.checksum_crc32, &self.checksums.checksum_crc32)
            && same(&listed.checksum_crc32c, &self.checksums.checksum_crc32c)
            && same(&listed.checksum_sha1, &self.checksums.checksum_sha1)
            && same(&listed.checksum_sha256, &self.checksums.checksum_sha256)
    }
}
