//! The shard of a process, if several share the watched directory.
//!
//! # Invariants
//!
//! - Every path belongs to exactly one of `count` indexes, whatever else is in the directory:
//!   only the first `depth` names of a path determine it.
//! - Everything below a directory of `depth` names belongs to one index, so that no other process
//!   has to enter it. All processes list the directories above, but their files belong to one each.
//! - **The index of a path never changes** between versions of the program: states and buckets
//!   depend on it. Tests pin fixed values.
//! - With one more index, a path keeps its index or gets the new one.

use super::RelPath;
use crc_fast::{CrcAlgorithm, checksum};
use std::fmt;

/// One of `count` shards of the watched directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    index: u16,
    count: u16,
    depth: u8,
}

impl Default for Shard {
    /// The whole directory.
    fn default() -> Self {
        Self { index: 0, count: 1, depth: 1 }
    }
}

impl Shard {
    /// The shard `index` of `count`, by the first `depth` names of a path. `None` if it does not
    /// exist.
    #[must_use]
    pub fn new(index: u16, count: u16, depth: u8) -> Option<Self> {
        (index < count && depth > 0).then_some(Self { index, count, depth })
    }

    /// The index, from 0.
    #[must_use]
    pub fn index(self) -> u16 {
        self.index
    }

    /// The number of shards.
    #[must_use]
    pub fn count(self) -> u16 {
        self.count
    }

    /// The number of names that determine the index.
    #[must_use]
    pub fn depth(self) -> u8 {
        self.depth
    }

    /// Whether there are other shards.
    #[must_use]
    pub fn is_part(self) -> bool {
        self.count > 1
    }

    /// Whether the file `path` belongs to this shard.
    #[must_use]
    pub fn has_file(self, path: &RelPath) -> bool {
        !self.is_part() || self.has_route(route(path, self.depth))
    }

    /// Whether files of this shard may be in or below the directory `path`.
    #[must_use]
    pub fn has_directory(self, path: &RelPath) -> bool {
        !self.is_part()
            || path.components().count() < usize::from(self.depth)
            || self.has_route(route(path, self.depth))
    }

    fn has_route(self, route: &[u8]) -> bool {
        jump(hash(route), self.count) == self.index
    }
}

/// The form in the state: `index/count/depth`.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.index, self.count, self.depth)
    }
}

impl std::str::FromStr for Shard {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '/');
        let mut next = || parts.next().ok_or(());
        let index = next()?.parse().map_err(drop)?;
        let count = next()?.parse().map_err(drop)?;
        let depth = next()?.parse().map_err(drop)?;
        Self::new(index, count, depth).ok_or(())
    }
}

/// The first `depth` names of a path, or all of it if it has fewer.
fn route(path: &RelPath, depth: u8) -> &[u8] {
    let bytes = path.as_bytes();
    let mut separators = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    match separators.nth(usize::from(depth) - 1) {
        Some((end, _)) => bytes.get(..end).unwrap_or(bytes),
        None => bytes,
    }
}

/// A checksum of names that differ in one letter has similar values; the mixing, the last step of
/// splitmix64, separates them.
fn hash(route: &[u8]) -> u64 {
    let mut hash = checksum(CrcAlgorithm::Crc64Nvme, route);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Jump consistent hash, by Lamping and Veach (2014): the bucket of `key` among `count`.
fn jump(mut key: u64, count: u16) -> u16 {
    // 2 to the 31st, as in the paper: all numbers here are exact in 53 bits.
    const SCALE: f64 = 2_147_483_648.0;
    let mut bucket = 0;
    let mut next = 0;
    while next < u64::from(count) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let divisor = u32::try_from(key >> 33).unwrap_or(u32::MAX);
        let jump = (bucket + 1) as f64 * (SCALE / (f64::from(divisor) + 1.0));
        next = jump as u64;
    }
    u16::try_from(bucket).unwrap_or_default()
}

#[cfg(test)]
mod tests;
