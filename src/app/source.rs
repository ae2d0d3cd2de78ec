//! Waiting for the watched directory: a volume may be mounted late, or go and come back.
//!
//! Nothing is decided about what is absent while it is away. A directory that is empty where the
//! record tells of files in another one is a mount point whose volume is missing, until shown
//! otherwise.

use crate::engine::End;
use crate::model::RelPath;
use crate::root::{Root, RootError};
use crate::store::Bound;
use crc_fast::CrcAlgorithm;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// Time between two looks for the directory.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// File systems whose events tell of every change: nobody else can write to them.
const LOCAL_FILE_SYSTEMS: [u64; 8] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0x794c_7630, // overlay
    0x2fc1_2fc1, // zfs
    0xf2f5_2010, // f2fs
    0xca45_1a4e, // bcachefs
];

/// File systems whose files are gone with the container or the machine.
const PASSING_FILE_SYSTEMS: [u64; 3] = [
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlay: a container's own layer
];

/// Whether what is written to `directory` survives a restart of the container. Where nobody can
/// tell it is taken for granted.
pub(super) fn survives(directory: &Path) -> bool {
    let Ok(statfs) = rustix::fs::statfs(directory) else { return true };
    // The type of the field differs by architecture.
    let magic = u64::try_from(statfs.f_type).unwrap_or_default();
    !PASSING_FILE_SYSTEMS.contains(&magic)
}

/// Whether the kernel's events tell of every change below `root`.
pub(super) fn tells_everything(root: &Root) -> bool {
    LOCAL_FILE_SYSTEMS.contains(&root.identity().fs_magic)
}

/// What tells this directory from another one, over restarts and remounts.
pub(super) fn name(root: &Root) -> String {
    let identity = root.identity();
    format!("{:x}:{}:{}", identity.fs_magic, identity.inode, identity.btime_ns)
}

/// The same for others to see, who need not know more.
pub(super) fn mark(bound: &Bound) -> String {
    let sum = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bound.source.as_bytes());
    format!("{sum:016x}")
}

/// Waits until `path` is a directory that may be mirrored into what `bound` tells of, and has `tell`
/// say why it is not. That it was `lost` has been logged already.
pub(super) async fn wait(
    path: &Path,
    bound: Option<&Bound>,
    lost: bool,
    tell: impl Fn(&str),
) -> Root {
    let mut told: Option<String> = lost.then(String::new);
    loop {
        match open(path, bound) {
            Ok(root) => {
                if told.is_some() {
                    tracing::info!(event = "source.available", "the watched directory is there");
                }
                return root;
            }
            Err(reason) => {
                if told.as_ref() != Some(&reason) {
                    tell(&reason);
                    tracing::error!(
                        event = "source.unavailable",
                        reason,
                        "the watched directory cannot be used; nothing is sent or deleted until it can"
                    );
                    told = Some(reason);
                }
            }
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

/// The directory `path`, if it may be mirrored into what `bound` tells of, or why not.
pub(super) fn open(path: &Path, bound: Option<&Bound>) -> Result<Root, String> {
    let root = Root::open(path).map_err(|error| describe(&error))?;
    let another = bound.is_some_and(|bound| bound.source != name(&root));
    if another && is_empty(&root) {
        return Err("it is empty, and another directory than the record tells of: \
                    is its volume mounted?"
            .to_owned());
    }
    Ok(root)
}

fn is_empty(root: &Root) -> bool {
    let mut empty = true;
    let listed = root.list(&RelPath::root(), &mut |_, _| {
        empty = false;
        ControlFlow::Break(())
    });
    // One that cannot be listed is no more to be trusted than an empty one.
    empty || listed.is_err()
}

fn describe(error: &RootError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Tells why the directory is not followed for a moment.
pub(super) fn tell_interrupted(end: &End) {
    match end {
        End::SourceLost(reason) => tracing::error!(
            event = "source.unavailable",
            reason,
            "the watched directory is not what it was; nothing is sent or deleted until it is back"
        ),
        End::DetectorLost => tracing::error!(
            event = "watch.lost",
            "the watcher has ended; starting it again and comparing everything"
        ),
        End::Drained | End::Expired | End::Replaced => {}
    }
}
