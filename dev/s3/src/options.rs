//! What a server is started with.

use crate::mode::{StoreMode, StoreModes};
use std::net::{Ipv4Addr, SocketAddr};

/// The only access key the server knows.
pub const ACCESS_KEY: &str = "AKIDEVELOPMENT";
/// The secret that belongs to it, unless [`Options::secret_key`] says otherwise.
pub const SECRET_KEY: &str = "development-only-secret";
/// The bucket that exists, unless [`Options::buckets`] says otherwise.
pub const BUCKET: &str = "mirror";
/// The account that has all buckets.
pub const BUCKET_OWNER: &str = "111122223333";
/// The region the buckets are in, unless [`Options::region`] says otherwise.
pub const REGION: &str = "eu-central-1";

/// S3's own limit for all parts but the last.
const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;

/// What a server is started with. The defaults are S3 as it is.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen. Port 0 takes a free one and keeps it for [`Server::resume`](crate::Server::resume).
    pub address: SocketAddr,
    /// The buckets that exist; there is no other way to make one.
    pub buckets: Vec<String>,
    /// The secret of [`ACCESS_KEY`].
    pub secret_key: String,
    /// Shown by `HeadBucket` and `GetBucketLocation`.
    pub region: String,
    /// Keep the bytes of every version. Without it only size and CRC64NVME are kept, and reading an
    /// object back is not possible.
    pub keep_bodies: bool,
    /// Keep only the latest version of every object, and no history.
    pub latest_only: bool,
    /// Answer at once, look at nothing and keep nothing, for benchmarks of clients: what they are
    /// measured with then is their own cost.
    pub discard: bool,
    /// The smallest part that need not be the last one.
    pub part_bytes_min: u64,
    /// Look at the conditions of deletes. Not every store does.
    pub conditional_deletes: bool,
    /// Look at the conditions of writes. Not every store does.
    pub conditional_writes: bool,
    /// Keep and show checksums. Not every store does: without it what is sent is verified, and forgotten.
    pub checksums: bool,
    /// How the store differs from S3 besides.
    pub modes: StoreModes,
    /// Seed of faults with a probability.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            buckets: vec![BUCKET.to_owned()],
            secret_key: SECRET_KEY.to_owned(),
            region: REGION.to_owned(),
            keep_bodies: true,
            latest_only: false,
            discard: false,
            part_bytes_min: PART_BYTES_MIN,
            conditional_deletes: true,
            conditional_writes: true,
            checksums: true,
            modes: StoreModes::default(),
            seed: 0,
        }
    }
}

impl Options {
    pub(crate) fn shows_checksums(&self) -> bool {
        self.checksums && !self.modes.has(StoreMode::NoChecksums)
    }

    pub(crate) fn heeds_write_conditions(&self) -> bool {
        self.conditional_writes && !self.modes.has(StoreMode::IgnoresConditions)
    }

    pub(crate) fn heeds_delete_conditions(&self) -> bool {
        self.conditional_deletes && !self.modes.has(StoreMode::IgnoresConditions)
    }
}
