//! Ways in which stores that speak S3 differ from it, each reported of a real one.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A way in which a store differs from S3. Switched on by [`Options::modes`](crate::Options::modes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreMode {
    /// No answer carries a checksum, as with SeaweedFS. Those of requests are verified anyway.
    NoChecksums,
    /// The header `ETag` is a weak one, `W/"…"`, as behind a proxy that compresses; as a condition and
    /// in the list of parts a weak one fits nothing, as with Ceph.
    WeakEtags,
    /// Conditions of writes and deletes are ignored, as with older MinIO and Ceph.
    IgnoresConditions,
    /// Writes and deletes with a condition are refused with 501 `NotImplemented`.
    RejectsConditions,
    /// `ListObjectsV2` is refused with 501 `NotImplemented`; there is `ListObjects` only.
    ListV1Only,
    /// `DeleteObjects` is refused with 400 `InvalidArgument`, as with Google Cloud Storage.
    NoBatchDelete,
    /// `x-amz-checksum-mode` is refused with 400 `InvalidArgument`, as with Backblaze B2.
    RejectsChecksumMode,
    /// Every header of the newer checksums is refused with 400 `InvalidArgument`.
    RejectsChecksums,
    /// All parts of an upload but the last have one size, as with Cloudflare R2.
    EqualParts,
    /// What makes an object without the ACL `bucket-owner-full-control` gets 403, as by the usual policy of
    /// a bucket that another account writes.
    DemandsAcl,
    /// Every request that does not expect [`BUCKET_OWNER`](crate::BUCKET_OWNER) gets 403.
    DemandsOwner,
    /// What makes or reads an object without a key of the customer (SSE-C) gets 403, as by a policy that
    /// demands one.
    DemandsCustomerKey,
    /// Every request without `x-amz-request-payer` gets 403, as of a bucket with requester pays.
    RequesterPays,
}

impl StoreMode {
    /// All there are.
    pub const ALL: [Self; 13] = [
        Self::NoChecksums,
        Self::WeakEtags,
        Self::IgnoresConditions,
        Self::RejectsConditions,
        Self::ListV1Only,
        Self::NoBatchDelete,
        Self::RejectsChecksumMode,
        Self::RejectsChecksums,
        Self::EqualParts,
        Self::DemandsAcl,
        Self::DemandsOwner,
        Self::DemandsCustomerKey,
        Self::RequesterPays,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoChecksums => "no-checksums",
            Self::WeakEtags => "weak-etags",
            Self::IgnoresConditions => "ignores-conditions",
            Self::RejectsConditions => "rejects-conditions",
            Self::ListV1Only => "list-v1-only",
            Self::NoBatchDelete => "no-batch-delete",
            Self::RejectsChecksumMode => "rejects-checksum-mode",
            Self::RejectsChecksums => "rejects-checksums",
            Self::EqualParts => "equal-parts",
            Self::DemandsAcl => "demands-acl",
            Self::DemandsOwner => "demands-owner",
            Self::DemandsCustomerKey => "demands-customer-key",
            Self::RequesterPays => "requester-pays",
        }
    }
}

impl fmt::Display for StoreMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for StoreMode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no such mode; the modes are {names}")
        })
    }
}

/// The modes that are on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreModes(BTreeSet<StoreMode>);

impl StoreModes {
    /// Whether `mode` is on.
    #[must_use]
    pub fn has(&self, mode: StoreMode) -> bool {
        self.0.contains(&mode)
    }
}

impl FromIterator<StoreMode> for StoreModes {
    fn from_iter<I: IntoIterator<Item = StoreMode>>(modes: I) -> Self {
        Self(modes.into_iter().collect())
    }
}

impl<const N: usize> From<[StoreMode; N]> for StoreModes {
    fn from(modes: [StoreMode; N]) -> Self {
        modes.into_iter().collect()
    }
}

impl fmt::Display for StoreModes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|mode| mode.name()).collect();
        f.write_str(&names.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_found_by_its_name() {
        for mode in StoreMode::ALL {
            assert_eq!(mode.name().parse(), Ok(mode));
        }
        let error = "no-etags".parse::<StoreMode>().expect_err("there is none of this name");
        assert!(error.contains("weak-etags"), "{error}");
    }
}
