//! What the kernel tells about a name or an open file, in our words.

use crate::model::Fingerprint;
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, makedev};
use std::io;
use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

/// Which directory, on which mount. Two looks at the watched directory that differ in any of these
/// did not see the same directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Device. Differs after a remount or a restart of the machine.
    pub device: u64,
    /// Inode number. File systems use it again: ext4 does so at once.
    pub inode: u64,
    /// Birth time, nanoseconds since the epoch; 0 where the file system keeps none.
    pub btime_ns: i64,
    /// Kind of file system, as in `f_type` of `statfs`.
    pub fs_magic: u64,
    /// Mount, where the kernel tells: a number never used again since 6.8, one used again since
    /// 5.8, 0 before. Differs after a remount or a restart of the machine.
    pub mount_id: u64,
}

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file; the only kind that is mirrored.
    File,
    /// A directory.
    Directory,
    /// A symbolic link. Never followed.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device for characters.
    CharDevice,
    /// A device for blocks.
    BlockDevice,
    /// None of these.
    Other,
}

/// What a look tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What stands there.
    pub kind: Kind,
    /// Its content without reading it.
    pub fingerprint: Fingerprint,
    /// Names it has. A file written under one of them gives no event under the others.
    pub links: u64,
    /// As in [`Identity::mount_id`].
    pub mount_id: u64,
}

/// Now, for a comparison with time stamps of files.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "an adapter: whoever asks has just looked")]
pub fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

impl Kind {
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

    /// What a listing says; `None` where the file system does not put it there.
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

/// `STATX_MNT_ID_UNIQUE`: a mount number that is never used again (Linux 6.8). Older kernels
/// ignore it and answer [`StatxFlags::MNT_ID`].
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// What is asked for, and no more: other fields cost a round trip on network file systems.
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

/// Looks at `name` in `dir`, at a link itself; never triggers an automount.
pub(super) fn stat_at(dir: impl AsFd, name: &[u8]) -> rustix::io::Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(dir, name, flags, WANTED).map(|statx| read(&statx))
}

/// Looks at an open file or directory.
pub(super) fn stat_fd(file: impl AsFd) -> rustix::io::Result<Stat> {
    rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, WANTED).map(|statx| read(&statx))
}

/// Looks at where `path` leads, links followed.
pub(super) fn stat_path(path: &std::path::Path) -> rustix::io::Result<Stat> {
    rustix::fs::statx(rustix::fs::CWD, path, AtFlags::empty(), WANTED).map(|statx| read(&statx))
}

/// Whether a file is a mount of its own, as `subPath` and bind mounts of one file make it: what takes its
/// place outside is not seen here. No where the kernel does not number mounts.
#[must_use]
pub fn is_mounted_alone(file: &std::path::Path) -> bool {
    let mount = |path: &std::path::Path| stat_path(path).ok().map(|stat| stat.mount_id);
    let Ok(file) = file.canonicalize() else { return false };
    let directory = file.parent().and_then(mount);
    mount(&file).zip(directory).is_some_and(|(own, above)| own != above && own != 0)
}

/// The identity of the open directory `dir`.
pub(super) fn identity(dir: impl AsFd) -> io::Result<Identity> {
    let stat = stat_fd(&dir)?;
    let fs_magic = rustix::fs::fstatfs(&dir)?.f_type;
    Ok(Identity {
        device: stat.fingerprint.device,
        inode: stat.fingerprint.inode,
        btime_ns: stat.fingerprint.btime_ns,
        // A magic number of 32 bits in a signed word, which on some machines is 32 bits itself.
        #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
        fs_magic: (fs_magic as u64) & 0xffff_ffff,
        mount_id: stat.mount_id,
    })
}

fn read(statx: &Statx) -> Stat {
    let has = |flag: StatxFlags| statx.stx_mask & flag.bits() != 0;
    let nanoseconds = |time: rustix::fs::StatxTimestamp| {
        time.tv_sec.saturating_mul(1_000_000_000).saturating_add(i64::from(time.tv_nsec))
    };
    let kind = FileType::from_raw_mode(u32::from(statx.stx_mode));
    let numbered = has(StatxFlags::MNT_ID) || has(MNT_ID_UNIQUE);
    Stat {
        kind: Kind::listed(kind).unwrap_or(Kind::Other),
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
