//! The attributes of a name or an open file, from the kernel.

use crate::model::Fingerprint;
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, makedev};
use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file; the only kind that is mirrored.
    File,
    /// A directory.
    Directory,
    /// A symbolic link that is not followed.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// Any other kind.
    Other,
}

/// The result of an inspection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The kind of the file.
    pub kind: FileKind,
    /// The fingerprint of its content.
    pub fingerprint: Fingerprint,
    /// The number of its names. A write through one of them causes no event for the others.
    pub links: u64,
    /// As in [`Identity::mount_id`](super::Identity::mount_id).
    pub mount_id: u64,
}

/// The present time, for a comparison with time stamps of files.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "an adapter: the caller has just inspected the file")]
pub fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

impl FileKind {
    /// The word in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "link",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::CharDevice | Self::BlockDevice => "device",
            Self::Other => "other",
        }
    }

    /// The kind in a listing; `None` if the file system does not store it there.
    pub(super) fn listed(kind: FileType) -> Option<Self> {
        Some(match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Unknown => return None,
        })
    }
}

/// `STATX_MNT_ID_UNIQUE`: a unique mount id (Linux 6.8). Older kernels ignore it and return
/// [`StatxFlags::MNT_ID`].
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// The requested fields, and no others: further ones cost a round trip on network file systems.
const WANTED: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::MODE)
    .union(StatxFlags::NLINK)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::CTIME)
    .union(StatxFlags::INO)
    .union(StatxFlags::SIZE)
    .union(StatxFlags::BTIME)
    .union(StatxFlags::MNT_ID)
    .union(MNT_ID_UNIQUE);

/// Inspects `name` in `dir`, without following a link; never triggers an automount.
pub(super) fn stat_at(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(dir, name, flags, WANTED).map(|statx| read(&statx))
}

/// Inspects `name` in `dir` as the server has it now, whatever the attribute cache contains.
pub(super) fn stat_at_now(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_FORCE_SYNC;
    rustix::fs::statx(dir, name, flags, WANTED).map(|statx| read(&statx))
}

/// Inspects an open directory as the server has it now, whatever the attribute cache contains.
pub(super) fn stat_fd_now(dir: impl AsFd) -> rustix::io::Result<Stat> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    rustix::fs::statx(dir, c"", flags, WANTED).map(|statx| read(&statx))
}

/// Inspects an open file or directory.
pub(super) fn stat_fd(file: impl AsFd) -> rustix::io::Result<Stat> {
    rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, WANTED).map(|statx| read(&statx))
}

/// Inspects the target of `path`, following links.
pub(super) fn stat_path(path: &std::path::Path) -> rustix::io::Result<Stat> {
    rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), WANTED).map(|statx| read(&statx))
}

/// Whether a file is a separate mount, as with `subPath` and bind mounts of one file: a replacement
/// outside is not visible here. False if the kernel has no mount ids.
#[must_use]
pub fn is_mounted_alone(file: &std::path::Path) -> bool {
    let mount = |path: &std::path::Path| stat_path(path).ok().map(|stat| stat.mount_id);
    let Ok(file) = file.canonicalize() else { return false };
    let directory = file.parent().and_then(mount);
    mount(&file).zip(directory).is_some_and(|(own, above)| own != above && own != 0)
}

fn read(statx: &Statx) -> Stat {
    let has = |flag: StatxFlags| statx.stx_mask & flag.bits() != 0;
    let nanoseconds = |time: rustix::fs::StatxTimestamp| {
        time.tv_sec.saturating_mul(1_000_000_000).saturating_add(i64::from(time.tv_nsec))
    };
    let kind = FileType::from_raw_mode(u32::from(statx.stx_mode));
    let numbered = has(StatxFlags::MNT_ID) || has(MNT_ID_UNIQUE);
    Stat {
        kind: FileKind::listed(kind).unwrap_or(FileKind::Other),
        fingerprint: Fingerprint {
            size: statx.stx_size,
            mtime_ns: nanoseconds(statx.stx_mtime),
            ctime_ns: nanoseconds(statx.stx_ctime),
            inode: statx.stx_ino,
            btime_ns: if has(StatxFlags::BTIME) { nanoseconds(statx.stx_btime) } else { 0 },
            device: makedev(statx.stx_dev_major, statx.stx_dev_minor),
            mode: u32::from(statx.stx_mode),
        },
        links: u64::from(statx.stx_nlink),
        mount_id: if numbered { statx.stx_mnt_id } else { 0 },
    }
}
