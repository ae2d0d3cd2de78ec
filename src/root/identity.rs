//! The identity of the watched directory, across restarts and remounts.
//!
//! # The fields
//!
//! Device and mount id change with every remount. The inode number remains, but file systems reuse
//! it, and the top of every volume has the same. The birth time makes it unique. Where the birth
//! time is missing or meaningless, another attribute has to distinguish volumes:
//!
//! | file system | instead |
//! | --- | --- |
//! | overlay | its number and its upper layer: a copy-up changes the birth time |
//! | btrfs, zfs | the number of the subvolume beside the birth time, which a snapshot shares |
//! | old ext4 without birth times | the number of the file system |
//! | any other without birth times (NFS, FUSE, old xfs) | the device, or the server and its path |
//! | old tmpfs | device and boot, because neither survives |
//!
//! In doubt, one directory counts as two. Then nothing is deleted that was mirrored before.

use super::stat::stat_fd;
use crc_fast::CrcAlgorithm;
use rustix::fd::AsFd;
use rustix::fs::{major, minor};
use std::io;

/// The identity of the watched directory at the time when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Device. Differs after a remount or a restart of the machine.
    pub device: u64,
    /// Inode number. File systems reuse it: ext4 does so at once.
    pub inode: u64,
    /// Birth time in nanoseconds since the epoch; 0 if the file system has none.
    pub btime_ns: i64,
    /// Kind of file system, as in `f_type` of `statfs`.
    pub fs_magic: u64,
    /// Mount id, if the kernel provides it: unique since 6.8, reused since 5.8, 0 before. Differs
    /// after a remount or a restart of the machine.
    pub mount_id: u64,
    /// Additional attributes that distinguish volumes.
    volume: Volume,
}

/// Distinguishes volumes where birth times do not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Volume {
    /// The id of the file system, if the kernel provides one.
    fsid: u64,
    /// The mounted source, from the mount table.
    mounted: String,
    /// The id of the machine's boot.
    boot: String,
}

const EXT: u64 = 0xef53;
const OVERLAY: u64 = 0x794c_7630;
const TMPFS: u64 = 0x0102_1994;
const XFS: u64 = 0x5846_5342;
const BTRFS: u64 = 0x9123_683e;
const ZFS: u64 = 0x2fc1_2fc1;
const F2FS: u64 = 0xf2f5_2010;
const BCACHEFS: u64 = 0xca45_1a4e;
/// File systems that only this machine writes to.
const LOCAL: [u64; 8] = [EXT, XFS, BTRFS, TMPFS, OVERLAY, ZFS, F2FS, BCACHEFS];
/// Snapshots share everything of the directory except the number of their subvolume.
const SNAPSHOTS: [u64; 2] = [BTRFS, ZFS];
/// All mount points of the process, with their devices.
const MOUNTS: &str = "/proc/self/mountinfo";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

impl Identity {
    /// Reads the identity of the open directory `dir`.
    pub(super) fn from_fd(dir: impl AsFd) -> io::Result<Self> {
        let stat = stat_fd(&dir)?;
        let device = stat.fingerprint.device;
        let fs_magic = rustix::fs::fstatfs(&dir)?.f_type;
        let mounts = std::fs::read_to_string(MOUNTS).unwrap_or_default();
        let boot = std::fs::read_to_string(BOOT).unwrap_or_default();
        let volume = Volume {
            fsid: rustix::fs::fstatvfs(&dir)?.f_fsid,
            mounted: mounted_as(&mounts, device).unwrap_or_default(),
            boot: boot.trim().to_owned(),
        };
        Ok(Self {
            device,
            inode: stat.fingerprint.inode,
            btime_ns: stat.fingerprint.btime_ns,
            // A magic number of 32 bits in a signed word, which has 32 bits on some machines.
            #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
            fs_magic: (fs_magic as u64) & 0xffff_ffff,
            mount_id: stat.mount_id,
            volume,
        })
    }

    /// Whether only this machine writes to the file system, so that its kernel knows every writer.
    #[must_use]
    pub fn is_local(&self) -> bool {
        LOCAL.contains(&self.fs_magic)
    }

    /// Whether the file system reports holes of files reliably. On others, files are read: some
    /// have reported holes where there was data.
    pub(super) fn reports_holes(&self) -> bool {
        [EXT, XFS, BTRFS, TMPFS].contains(&self.fs_magic)
    }

    /// A text that is equal for the same directory whenever it is opened, and differs for any
    /// other.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { fs_magic, inode, btime_ns, device, volume, .. } = self;
        let Volume { fsid, mounted, boot } = volume;
        match (*fs_magic, *btime_ns) {
            (OVERLAY, _) => format!("{OVERLAY:x}:{inode}:0:{fsid:x}:{}", digest(mounted)),
            (magic, _) if SNAPSHOTS.contains(&magic) => {
                format!("{magic:x}:{inode}:{btime_ns}:{fsid:x}")
            }
            (EXT, 0) => format!("{EXT:x}:{inode}:0:{fsid:x}"),
            (TMPFS, 0) => format!("{TMPFS:x}:{inode}:0:{device:x}:{}", digest(boot)),
            (magic, 0) => format!("{magic:x}:{inode}:0:{}", digest(mounted)),
            (magic, btime_ns) => format!("{magic:x}:{inode}:{btime_ns}"),
        }
    }
}

/// A short digest of a long foreign text.
fn digest(text: &str) -> String {
    format!("{:016x}", crc_fast::checksum(CrcAlgorithm::Crc64Nvme, text.as_bytes()))
}

/// The mount with this device: its source and, for an overlay, its upper layer.
fn mounted_as(mounts: &str, device: u64) -> Option<String> {
    let wanted = format!("{}:{}", major(device), minor(device));
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&wanted))?;
    let mut described = line.split_once(" - ")?.1.split(' ');
    let _kind = described.next()?;
    let source = described.next()?;
    let options = described.next()?;
    let upper = options.split(',').find(|option| option.starts_with("upperdir="));
    Some(upper.unwrap_or(source).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(fs_magic: u64, btime_ns: i64) -> Identity {
        let volume = Volume { fsid: 7, mounted: "server:/a".into(), boot: "b".into() };
        Identity { device: 1, inode: 2, btime_ns, fs_magic, mount_id: 3, volume }
    }

    fn with(identity: &Identity, change: impl FnOnce(&mut Identity)) -> String {
        let mut changed = identity.clone();
        change(&mut changed);
        changed.name()
    }

    #[test]
    fn a_remount_of_a_volume_with_birth_times_is_the_same_directory() {
        for magic in [EXT, 0x5846_5342, TMPFS] {
            let before = identity(magic, 9);
            let remounted = with(&before, |now| {
                now.device = 8;
                now.mount_id = 9;
                now.volume.mounted = "/dev/other".into();
            });
            assert_eq!(remounted, before.name(), "{magic:x}");
            assert_ne!(with(&before, |now| now.btime_ns = 10), before.name());
            assert_ne!(with(&before, |now| now.inode = 3), before.name());
        }
    }

    #[test]
    fn a_copy_up_within_an_overlay_leaves_the_directory_what_it_is() {
        let before = identity(OVERLAY, 9);
        assert_eq!(with(&before, |now| now.btime_ns = 10), before.name());
        assert_ne!(with(&before, |now| now.volume.mounted = "upperdir=/b".into()), before.name());
        assert_ne!(with(&before, |now| now.volume.fsid = 8), before.name());
    }

    #[test]
    fn a_snapshot_is_another_directory() {
        for magic in SNAPSHOTS {
            let before = identity(magic, 9);
            assert_ne!(with(&before, |now| now.volume.fsid = 8), before.name());
        }
    }

    #[test]
    fn without_birth_times_another_volume_is_another_directory() {
        let nfs = identity(0x6969, 0);
        assert_ne!(with(&nfs, |now| now.volume.mounted = "server:/b".into()), nfs.name());
        assert_eq!(with(&nfs, |now| now.device = 8), nfs.name(), "a remount");
        let ext = identity(EXT, 0);
        assert_ne!(with(&ext, |now| now.volume.fsid = 8), ext.name());
        let memory = identity(TMPFS, 0);
        assert_ne!(with(&memory, |now| now.volume.boot = "c".into()), memory.name());
        assert_ne!(with(&memory, |now| now.device = 8), memory.name());
    }

    #[test]
    fn the_table_of_mounts_shows_what_is_mounted() {
        let table = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            41 22 0:52 / /data rw,relatime shared:1 - overlay overlay \
            rw,lowerdir=/l1:/l2,upperdir=/up/7,workdir=/w\n\
            42 22 0:53 /a /nfs rw master:3 - nfs4 server:/export rw,vers=4.2\n";
        let device = |major, minor| rustix::fs::makedev(major, minor);
        assert_eq!(mounted_as(table, device(0, 52)).as_deref(), Some("upperdir=/up/7"));
        assert_eq!(mounted_as(table, device(0, 53)).as_deref(), Some("server:/export"));
        assert_eq!(mounted_as(table, device(9, 9)), None);
    }
}
