//! The digests a client declares for a body, and whether they are right.

use crate::object::base64;
use hyper::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::{Checksum, ChecksumType};
use s3s::{S3Result, s3_error};

/// What a client says of a body.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub(crate) sums: Checksum,
    pub(crate) md5: Option<String>,
    /// `x-amz-sdk-checksum-algorithm`: a promise that one of the sums is there.
    pub(crate) is_promised: bool,
}

/// Collects the digests from an input of s3s, all of which name them alike.
macro_rules! sums {
    ($input:expr) => {
        s3s::dto::Checksum {
            checksum_crc32: $input.checksum_crc32.clone(),
            checksum_crc32c: $input.checksum_crc32c.clone(),
            checksum_crc64nvme: $input.checksum_crc64nvme.clone(),
            checksum_sha1: $input.checksum_sha1.clone(),
            checksum_sha256: $input.checksum_sha256.clone(),
            checksum_type: None,
        }
    };
}
pub(crate) use sums;

/// The names of the algorithms that have a value in `sums`.
pub(crate) fn algorithms(sums: &Checksum) -> Vec<&'static str> {
    let all = [
        ("CRC32", &sums.checksum_crc32),
        ("CRC32C", &sums.checksum_crc32c),
        ("CRC64NVME", &sums.checksum_crc64nvme),
        ("SHA1", &sums.checksum_sha1),
        ("SHA256", &sums.checksum_sha256),
    ];
    all.into_iter().filter(|(_, sum)| sum.is_some()).map(|(name, _)| name).collect()
}

/// The digests of `body` by the same algorithms as in `like`.
pub(crate) fn digest(like: &Checksum, body: &[u8]) -> Checksum {
    let mut hasher = ChecksumHasher {
        crc32: like.checksum_crc32.as_ref().map(|_| Crc32::new()),
        crc32c: like.checksum_crc32c.as_ref().map(|_| Crc32c::new()),
        sha1: like.checksum_sha1.as_ref().map(|_| Sha1::new()),
        sha256: like.checksum_sha256.as_ref().map(|_| Sha256::new()),
        crc64nvme: like.checksum_crc64nvme.as_ref().map(|_| Crc64Nvme::new()),
    };
    hasher.update(body);
    hasher.finalize()
}

/// Marks the digests as those of the whole object, which is what they are shown as.
pub(crate) fn of_whole_object(mut sums: Checksum) -> Checksum {
    sums.checksum_type = Some(ChecksumType::from_static(ChecksumType::FULL_OBJECT));
    sums
}

impl Declared {
    /// Adds the digests that came behind the body.
    pub(crate) fn add_trailers(&mut self, trailers: &HeaderMap) {
        let value = |name: &str| Some(trailers.get(name)?.to_str().ok()?.to_owned());
        let sums = &mut self.sums;
        for (sum, name) in [
            (&mut sums.checksum_crc32, "x-amz-checksum-crc32"),
            (&mut sums.checksum_crc32c, "x-amz-checksum-crc32c"),
            (&mut sums.checksum_crc64nvme, "x-amz-checksum-crc64nvme"),
            (&mut sums.checksum_sha1, "x-amz-checksum-sha1"),
            (&mut sums.checksum_sha256, "x-amz-checksum-sha256"),
        ] {
            if let Some(trailer) = value(name) {
                *sum = Some(trailer);
            }
        }
    }

    /// Takes the client at its word and compares.
    pub(crate) fn verify(&self, body: &[u8]) -> S3Result<()> {
        let algorithms = algorithms(&self.sums);
        if algorithms.len() > 1 {
            return Err(s3_error!(InvalidRequest, "Expecting a single x-amz-checksum- header"));
        }
        if self.is_promised && algorithms.is_empty() {
            return Err(s3_error!(
                InvalidRequest,
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* \
                 or x-amz-trailer headers were found."
            ));
        }
        if digest(&self.sums, body) != self.sums {
            return Err(s3_error!(
                BadDigest,
                "The {} you specified did not match the calculated checksum.",
                algorithms.join("")
            ));
        }
        if self.md5.as_ref().is_some_and(|md5| *md5 != base64(&Md5::checksum(body))) {
            return Err(s3_error!(
                BadDigest,
                "The Content-MD5 you specified did not match what we received."
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(crc32: &str) -> Declared {
        let sums = Checksum { checksum_crc32: Some(crc32.to_owned()), ..Checksum::default() };
        Declared { sums, ..Declared::default() }
    }

    #[test]
    fn a_right_digest_is_accepted_and_a_wrong_one_refused() {
        let right = base64(&Crc32::checksum(b"body"));
        assert!(declared(&right).verify(b"body").is_ok());
        assert!(declared(&right).verify(b"b0dy").is_err());
        assert!(declared("nonsense").verify(b"body").is_err());
        let md5 = Some(base64(&Md5::checksum(b"body")));
        let declared = Declared { md5, ..Declared::default() };
        assert!(declared.verify(b"body").is_ok() && declared.verify(b"b0dy").is_err());
    }

    #[test]
    fn two_digests_at_once_are_refused_as_s3_does() {
        let mut both = declared(&base64(&Crc32::checksum(b"body")));
        both.sums.checksum_sha1 = Some(base64(&Sha1::checksum(b"body")));
        assert!(both.verify(b"body").is_err());
    }
}
