//! The fingerprint of a file: detects changes of its content without reading it.

use std::time::Duration;

/// The attributes of a regular file. Two equal fingerprints of one path mean equal content, except
/// within the clock tick in which the file was last written (see [`is_racy`](Self::is_racy)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint {
    /// Bytes.
    pub size: u64,
    /// Time of the last content change, in nanoseconds since the epoch. Programs can set it.
    pub mtime_ns: i64,
    /// Time of the last content or metadata change, in nanoseconds since the epoch. Programs cannot
    /// set it.
    pub ctime_ns: i64,
    /// Inode number. File systems reuse it: ext4 does so at once.
    pub inode: u64,
    /// Birth time in nanoseconds since the epoch; 0 if the file system has none.
    pub btime_ns: i64,
    /// Device. It differs after a remount, and distinguishes files only within one run.
    pub device: u64,
    /// Permission bits and kind, as in `st_mode`.
    pub mode: u32,
}

/// A clock tick is at most 10 ms long (`CONFIG_HZ=100`); the rest is for the inspection itself.
const TICK_NS: i64 = 50_000_000;
/// FAT and some network file systems store whole seconds, or every second one.
const COARSE_TICK_NS: i64 = 2_000_000_000;

impl Fingerprint {
    /// Whether nothing shows that the content differs. The device is ignored: it changes with every
    /// remount, and a restart must not upload everything again.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.size == other.size
            && self.mtime_ns == other.mtime_ns
            && self.ctime_ns == other.ctime_ns
            && self.inode == other.inode
    }

    /// Whether both belong to the same file, whatever its name or content.
    #[must_use]
    pub fn same_file(&self, other: &Self) -> bool {
        self.device == other.device && self.inode == other.inode && self.btime_ns == other.btime_ns
    }

    /// The time since content or metadata changed. A time stamp in the future, from a server's
    /// clock, counts as just changed.
    #[must_use]
    pub fn age(&self, now_ns: i64) -> Duration {
        let nanos = now_ns.saturating_sub(self.ctime_ns);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// The time until the content is as old as `min_age`, or `None` if it is. A modification time in
    /// the future, which programs can set, counts as the time of the last change of metadata.
    #[must_use]
    pub fn is_younger_by(&self, min_age: Duration, now_ns: i64) -> Option<Duration> {
        let modified = if self.mtime_ns > now_ns { self.ctime_ns } else { self.mtime_ns };
        let age = Duration::from_nanos(u64::try_from(now_ns.saturating_sub(modified)).unwrap_or(0));
        min_age.checked_sub(age).filter(|left| !left.is_zero())
    }

    /// Whether a write within the clock tick of this inspection would not change the fingerprint,
    /// so that the content has to be compared again later.
    #[must_use]
    pub fn is_racy(&self, looked_at_ns: i64) -> bool {
        let changed = self.mtime_ns.max(self.ctime_ns);
        let coarse = changed % 1_000_000_000 == 0;
        let tick = if coarse { COARSE_TICK_NS } else { TICK_NS };
        looked_at_ns.saturating_sub(changed) < tick
    }
}

#[cfg(test)]
impl Fingerprint {
    /// A fingerprint for tests.
    pub(crate) fn with_size(size: u64) -> Self {
        Self { size, mtime_ns: 1, ctime_ns: 1, inode: 1, btime_ns: 1, device: 1, mode: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn file() -> Fingerprint {
        Fingerprint {
            size: 3,
            mtime_ns: 10 * SECOND + 7,
            ctime_ns: 10 * SECOND + 9,
            inode: 12,
            btime_ns: 9 * SECOND,
            device: 1,
            mode: 0o100_644,
        }
    }

    #[test]
    fn a_remount_changes_no_content() {
        assert!(file().same_content(&Fingerprint { device: 2, ..file() }));
    }

    #[test]
    fn an_mtime_set_back_is_seen_by_the_ctime() {
        assert!(!file().same_content(&Fingerprint { ctime_ns: 11 * SECOND, ..file() }));
    }

    #[test]
    fn a_file_is_old_enough_by_the_time_of_its_content() {
        let minute = Duration::from_secs(60);
        let file = Fingerprint { mtime_ns: 100 * SECOND, ctime_ns: 150 * SECOND, ..file() };
        assert_eq!(file.is_younger_by(minute, 159 * SECOND), Some(Duration::from_secs(1)));
        assert_eq!(file.is_younger_by(minute, 160 * SECOND), None, "a new name does not count");
        assert_eq!(file.is_younger_by(Duration::ZERO, 100 * SECOND), None);
        let future = Fingerprint { mtime_ns: 9_000 * SECOND, ..file };
        assert_eq!(future.is_younger_by(minute, 200 * SECOND), Some(Duration::from_secs(10)));
        assert_eq!(future.is_younger_by(minute, 210 * SECOND), None);
    }

    #[test]
    fn an_inode_used_again_is_another_file() {
        assert!(!file().same_file(&Fingerprint { btime_ns: 11 * SECOND, ..file() }));
    }

    #[test]
    fn a_look_in_the_tick_of_the_last_write_is_racy() {
        assert!(file().is_racy(10 * SECOND + 9));
        assert!(!file().is_racy(11 * SECOND));
    }

    #[test]
    fn whole_second_time_stamps_are_racy_for_longer() {
        let coarse = Fingerprint { mtime_ns: 10 * SECOND, ctime_ns: 10 * SECOND, ..file() };
        assert!(coarse.is_racy(11 * SECOND));
        assert!(!coarse.is_racy(12 * SECOND));
    }

    #[test]
    fn a_time_stamp_from_the_future_stays_racy() {
        assert!(file().is_racy(SECOND));
    }
}
