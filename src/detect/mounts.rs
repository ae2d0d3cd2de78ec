//! Mounts at and below the watched directory. They give no event: neither that something was mounted
//! or unmounted, nor what happens in it. But the kernel wakes a thread that polls its mount table.
//!
//! # Invariants
//!
//! - Every change of the table is followed by a look: a change between two readings that is undone
//!   again still has another mount's number.
//! - What is said is only where to look. Whether something is mounted there is asked of the directory
//!   itself.

use super::event::Recheck;
use super::handler::HandlerContext;
use crate::model::{Depth, Hint, RelPath};
use crate::root::Root;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// The kernel's table of what is mounted where, as this process sees it.
const TABLE: &str = "/proc/self/mountinfo";
/// Between two readings at least: on some nodes something is mounted all the time.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Neither an event nor the table shows that a link on the way leads elsewhere, or that a directory
/// above was exchanged. The target of the path is inspected at this interval.
const WAY_INTERVAL: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Mount points below the watched directory, and the number of the mount on top.
type MountPoints = BTreeMap<RelPath, u64>;

/// Follows the table until the returned end of a pipe is dropped.
pub(super) fn follow(root: Arc<Root>, shared: HandlerContext) -> io::Result<PipeWriter> {
    // Opened first: what changes from here on wakes us.
    let table = File::open(TABLE)?;
    let (end, ended) = io::pipe()?;
    let mut follower = MountFollower { mounted: read(&root)?, root, shared };
    let work = move || {
        if let Err(error) = follower.run(&table, &end) {
            tracing::warn!(
                event = "detect.mounts_lost",
                error.message = %error,
                "what is mounted below the watched directory is only noticed by comparisons from now on"
            );
        }
    };
    std::thread::Builder::new().name("mounts".into()).spawn(work)?;
    Ok(ended)
}

struct MountFollower {
    root: Arc<Root>,
    shared: HandlerContext,
    mounted: MountPoints,
}

impl MountFollower {
    fn run(&mut self, table: &File, end: &PipeReader) -> io::Result<()> {
        loop {
            // PRI: the table is not what it was when it was last asked.
            let mut waited = [PollFd::new(table, PollFlags::PRI), PollFd::new(end, PollFlags::IN)];
            match poll(&mut waited, Some(&WAY_INTERVAL)) {
                Err(Errno::INTR) => continue,
                Ok(0) => {
                    self.confirm();
                    continue;
                }
                polled => polled?,
            };
            if !waited[1].revents().is_empty() {
                return Ok(());
            }
            self.changed()?;
            match poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&PAUSE)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn confirm(&self) {
        if self.root.confirm().is_err() {
            // The engine asks the same before it believes anything.
            self.shared.inbox.add(Hint::Tree(RelPath::root(), Depth::Whole));
        }
    }

    fn changed(&mut self) -> io::Result<()> {
        self.confirm();
        let inbox = &self.shared.inbox;
        let now = read(&self.root)?;
        for path in differing(&self.mounted, &now) {
            if (self.shared.wanted)(path, true) {
                tracing::debug!(event = "detect.mount", file.path = %path, "mounted or unmounted");
                inbox.doubt(path.clone(), Recheck::Mounted);
            }
        }
        self.mounted = now;
        Ok(())
    }
}

fn differing<'a>(
    before: &'a MountPoints,
    now: &'a MountPoints,
) -> impl Iterator<Item = &'a RelPath> {
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    let other = now.iter().filter(|(path, number)| before.get(*path) != Some(*number));
    gone.chain(other.map(|(path, _)| path))
}

fn read(root: &Root) -> io::Result<MountPoints> {
    let table = fs::read(TABLE)?;
    // Links on the way to it are followed, and the table knows of none. One that is away for the
    // moment has nothing below it.
    let top = fs::canonicalize(root.path()).ok();
    Ok(top.map_or_else(MountPoints::new, |top| below(&table, &top)))
}

/// The mount points below `top`. A later line lies on top of an earlier one.
fn below(table: &[u8], top: &Path) -> MountPoints {
    let top = top.as_os_str().as_bytes();
    let top = top.strip_suffix(b"/").unwrap_or(top);
    table.split(|&byte| byte == b'\n').filter_map(|line| mount_below(line, top)).collect()
}

/// `36 35 98:0 /root /where/it/is rw …`: the number is the first field, the place the fifth.
fn mount_below(line: &[u8], top: &[u8]) -> Option<(RelPath, u64)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let number = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let place = unescaped(fields.nth(3)?);
    let below = place.strip_prefix(top)?.strip_prefix(b"/")?;
    let path = RelPath::new(below).ok().filter(|path| !path.is_root())?;
    Some((path, number))
}

/// Space, tab, line break and backslash are written as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| byte == b'\\');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                bytes.push(code);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).expect("a proper path")
    }

    #[test]
    fn mounts_below_are_read_by_whole_components_and_the_last_is_on_top() {
        let table = b"1 0 8:1 / / rw - ext4 a rw\n\
            20 1 8:2 / /data rw - ext4 b rw\n\
            30 20 8:3 / /data/a rw - ext4 c rw\n\
            31 20 8:3 / /database rw - ext4 c rw\n\
            40 20 8:4 /x /data/with\\040space/and\\134 rw - ext4 c rw\n\
            50 30 8:5 / /data/a rw - tmpfs d rw\n\
            what is this\n";
        let expected = |numbers: &[(&str, u64)]| -> MountPoints {
            numbers.iter().map(|(text, number)| (path(text), *number)).collect()
        };
        let found = below(table, Path::new("/data"));
        assert_eq!(found, expected(&[("a", 50), ("with space/and\\", 40)]));
        assert_eq!(below(table, Path::new("/")).len(), 4);
    }

    #[test]
    fn a_mount_in_the_place_of_another_is_a_change() {
        let before = MountPoints::from([(path("a"), 1), (path("b"), 2), (path("c"), 3)]);
        let now = MountPoints::from([(path("b"), 2), (path("c"), 4), (path("d"), 5)]);
        let changed: Vec<_> = differing(&before, &now).cloned().collect();
        assert_eq!(changed, ["a", "c", "d"].map(path));
    }
}
