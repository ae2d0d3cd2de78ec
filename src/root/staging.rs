//! Writes files beneath the watched directory: each appears whole, under a name that was free.
//!
//! A file is written in the staging directory, which the mirror ignores, and renamed into its place.
//!
//! # Invariants
//!
//! - Nothing that exists is overwritten or removed, except in the staging directory.
//! - No link is followed, and nothing is made outside the root or on another mount.

use super::beneath::LISTING;
use super::error::InspectError;
use super::stat::{FileKind, Stat, stat_at};
use super::{Root, list_fd};
use crate::model::RelPath;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// The name of the staging directory, at the top of the watched directory.
pub const STAGING: &str = ".file-sync-service.restore";

/// Permissions of directories, before the umask.
const DIRECTORY: Mode = Mode::RWXU.union(Mode::RWXG).union(Mode::RWXO);
const NANOS: i64 = 1_000_000_000;

/// Why a file was not put in its place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The name is taken.
    #[error("something else has this name")]
    Taken,
    /// A file is where a directory of the path has to be.
    #[error("a file is where its directory has to be")]
    FileInTheWay,
    /// The file system cannot have such a name.
    #[error("the file system cannot have this name: {0}")]
    Name(#[source] io::Error),
    /// Its directory cannot be had, for this reason.
    #[error("{0}")]
    Directory(String),
    /// The path leads through a link, or to another file system.
    #[error(transparent)]
    Look(InspectError),
    /// Any other error.
    #[error("{}", super::in_words(.0))]
    Io(#[source] io::Error),
}

impl PlaceError {
    /// Whether it is about this path, so that others can be put in their places.
    #[must_use]
    pub fn is_about_the_name(&self) -> bool {
        match self {
            Self::Taken | Self::FileInTheWay | Self::Name(_) | Self::Directory(_) => true,
            Self::Look(error) => !matches!(error, InspectError::Io(_)),
            Self::Io(_) => false,
        }
    }
}

impl From<InspectError> for PlaceError {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::Gone => Self::FileInTheWay,
            InspectError::Io(error) => Self::from(errno_of(&error)),
            error => Self::Look(error),
        }
    }
}

impl From<Errno> for PlaceError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR => Self::Taken,
            Errno::NOTDIR => Self::FileInTheWay,
            Errno::NAMETOOLONG | Errno::ILSEQ | Errno::INVAL => Self::Name(errno.into()),
            Errno::LOOP | Errno::XDEV => Self::Look(InspectError::from(errno)),
            errno => Self::Io(errno.into()),
        }
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The staging directory of a watched directory.
#[derive(Debug)]
pub struct Staging {
    root: Arc<Root>,
    dir: OwnedFd,
    /// Whether one call makes everything on the file system durable.
    syncs_at_once: bool,
    /// Who gets the files: the owner of the watched directory, if root writes them.
    owner: Option<(Uid, Gid)>,
}

impl Staging {
    /// Opens the staging directory of `root`, or makes it.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or something else has its name.
    pub fn open(root: &Arc<Root>) -> io::Result<Self> {
        match rustix::fs::mkdirat(&root.dir, STAGING, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let dir = root.beneath().open(STAGING.as_bytes(), LISTING)?;
        let syncs_at_once = root.identity.is_local();
        let owner = owner_for_root(root)?;
        Ok(Self { root: Arc::clone(root), dir, syncs_at_once, owner })
    }

    /// Opens the staged file `name` for writing, or makes it. One that cannot be ours, or that has its
    /// permissions already and may not be written, is replaced.
    ///
    /// # Errors
    ///
    /// As the kernel reports.
    pub fn create(&self, name: &str) -> io::Result<File> {
        if let Some(file) = self.open_file(name, OFlags::RDWR)? {
            return Ok(file);
        }
        self.remove(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(file))
    }

    /// Opens the staged file `name` for reading; `None` if there is none that can be ours and may be read.
    ///
    /// # Errors
    ///
    /// As the kernel reports.
    pub fn reopen(&self, name: &str) -> io::Result<Option<File>> {
        self.open_file(name, OFlags::RDONLY)
    }

    /// Opens a regular file without another name.
    fn open_file(&self, name: &str, access: OFlags) -> io::Result<Option<File>> {
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.dir, name, flags, Mode::empty()) {
            Ok(file) => file,
            // A file that may not be opened, a link, a directory, or a device without a driver.
            Err(Errno::NOENT | Errno::ACCESS | Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
                return Ok(None);
            }
            Err(errno) => return Err(errno.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        let is_ours = FileType::from_raw_mode(stat.st_mode).is_file() && stat.st_nlink == 1;
        Ok(is_ours.then(|| File::from(file)))
    }

    /// Gives the open staged file its permissions and its time, and its final name in the staging
    /// directory. Where the file system is not synced at once, its content is durable afterwards.
    ///
    /// # Errors
    ///
    /// As the kernel reports.
    pub fn finish(
        &self,
        (file, name): (&File, &str),
        finished: &str,
        mode: u32,
        mtime_ns: i64,
    ) -> io::Result<()> {
        if let Some((user, group)) = self.owner {
            rustix::fs::fchown(file, Some(user), Some(group))?;
        }
        // Behind the owner, because a change of that takes permissions away.
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?;
        let time =
            Timespec { tv_sec: mtime_ns.div_euclid(NANOS), tv_nsec: mtime_ns.rem_euclid(NANOS) };
        rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })?;
        if !self.syncs_at_once {
            rustix::fs::fsync(file)?;
        }
        Ok(rustix::fs::renameat(&self.dir, name, &self.dir, finished)?)
    }

    /// The names of all staged files.
    ///
    /// # Errors
    ///
    /// If they cannot be listed completely.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let dir = self.root.beneath().open(STAGING.as_bytes(), LISTING)?;
        let mut names = Vec::new();
        list_fd(&dir, &mut |name, _| {
            names.extend(std::str::from_utf8(name).map(str::to_owned));
            ControlFlow::Continue(())
        })?;
        Ok(names)
    }

    /// Removes the staged file `name`, if there is one.
    ///
    /// # Errors
    ///
    /// As the kernel reports.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes the content of all finished files durable.
    ///
    /// # Errors
    ///
    /// If it is not.
    pub fn sync(&self) -> io::Result<()> {
        if self.syncs_at_once { Ok(rustix::fs::syncfs(&self.root.dir)?) } else { Ok(()) }
    }

    /// Makes the directory `path` and those above it, and opens it.
    ///
    /// # Errors
    ///
    /// If something is in the way.
    pub fn directory(&self, path: &RelPath) -> Result<PlaceDirectory, PlaceError> {
        let mut made = Vec::new();
        let dir = self.open_or_make(path, &mut made)?;
        Ok(PlaceDirectory { dir, made })
    }

    fn open_or_make(&self, path: &RelPath, made: &mut Vec<OwnedFd>) -> Result<OwnedFd, PlaceError> {
        match self.root.open_dir(path) {
            Err(InspectError::Gone) => {}
            opened => return Ok(opened?),
        }
        let Some(parent) = path.parent() else { return Err(InspectError::Gone.into()) };
        let above = self.open_or_make(&parent, made)?;
        let is_new = match rustix::fs::mkdirat(&above, path.file_name(), DIRECTORY) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno.into()),
        };
        let opened = self.root.open_dir(path)?;
        if let Some((user, group)) = self.owner.filter(|_| is_new) {
            rustix::fs::fchown(&opened, Some(user), Some(group))?;
        }
        if is_new && !self.syncs_at_once {
            made.push(above);
        }
        Ok(opened)
    }

    /// Renames the staged file `name` to `path` in its open `directory`, if that is free, and returns
    /// its attributes there.
    ///
    /// # Errors
    ///
    /// If it is not free, or cannot be.
    pub fn place(
        &self,
        name: &str,
        directory: &PlaceDirectory,
        path: &RelPath,
    ) -> Result<Stat, PlaceError> {
        let to = path.file_name();
        rename_to_free(self.dir.as_fd(), name, directory.dir.as_fd(), to)?;
        let stat = stat_at(&directory.dir, to)?;
        if stat.kind == FileKind::File { Ok(stat) } else { Err(PlaceError::Taken) }
    }

    /// Makes the names in `directory` durable, and the names of the directories that were made for it.
    ///
    /// # Errors
    ///
    /// If they are not.
    pub fn sync_directory(&self, directory: &PlaceDirectory) -> io::Result<()> {
        if self.syncs_at_once {
            return Ok(());
        }
        for dir in directory.made.iter().chain([&directory.dir]) {
            rustix::fs::fsync(dir)?;
        }
        Ok(())
    }

    /// Removes all staged files.
    ///
    /// # Errors
    ///
    /// As the kernel reports.
    pub fn clear(&self) -> io::Result<()> {
        for name in self.names()? {
            self.remove(&name)?;
        }
        Ok(())
    }

    /// Removes the staging directory and everything in it.
    ///
    /// # Errors
    ///
    /// As the kernel reports.
    pub fn end(&self) -> io::Result<()> {
        self.clear()?;
        match rustix::fs::unlinkat(&self.root.dir, STAGING, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => self.sync(),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The owner of the watched directory, if this process is root and the directory is not root's.
fn owner_for_root(root: &Root) -> io::Result<Option<(Uid, Gid)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let stat = rustix::fs::fstat(&root.dir)?;
    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    Ok(Some(owner).filter(|owner| *owner != (Uid::ROOT, Gid::ROOT)))
}

/// A directory that files are put in.
#[derive(Debug)]
pub struct PlaceDirectory {
    dir: OwnedFd,
    /// The directories that got a new one, where each has to be synced.
    made: Vec<OwnedFd>,
}

/// Renames a file to a name that is free. Some file systems have no such call, but know links.
fn rename_to_free(
    from_dir: BorrowedFd<'_>,
    from: &str,
    to_dir: BorrowedFd<'_>,
    to: &[u8],
) -> Result<(), Errno> {
    match rustix::fs::renameat_with(from_dir, from, to_dir, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(from_dir, from, to_dir, to, AtFlags::empty())?;
            rustix::fs::unlinkat(from_dir, from, AtFlags::empty())
        }
        renamed => renamed,
    }
}

impl Root {
    /// Whether the directory has an entry that `counts`.
    ///
    /// # Errors
    ///
    /// If it cannot be listed completely.
    pub fn has_entry(&self, counts: impl Fn(&RelPath, bool) -> bool) -> Result<bool, InspectError> {
        let mut found = false;
        let root = RelPath::root();
        self.list(&root, &mut |name, kind| {
            let is_directory = kind == Some(FileKind::Directory);
            found |= root.join(name).is_ok_and(|path| counts(&path, is_directory));
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).expect("a path")
    }

    fn staging(directory: &std::path::Path) -> Staging {
        Staging::open(&Arc::new(Root::open(directory).expect("opened"))).expect("made")
    }

    fn place(staging: &Staging, to: &str) -> Result<Stat, PlaceError> {
        let mut file = staging.create("a").expect("made");
        file.write_all(b"content").expect("written");
        staging.finish((&file, "a"), "b", 0o640, 1_500_000_000).expect("finished");
        let to = path(to);
        let directory = staging.directory(&to.parent().expect("a parent"))?;
        let placed = staging.place("b", &directory, &to);
        staging.sync_directory(&directory).expect("synced");
        placed
    }

    #[test]
    fn a_file_appears_whole_with_its_time_and_its_permissions() {
        let directory = tempfile::tempdir().expect("a directory");
        let staging = staging(directory.path());
        let stat = place(&staging, "a/b/file").expect("placed");
        let there = fs::metadata(directory.path().join("a/b/file")).expect("there");
        assert_eq!(
            (there.mtime(), there.mtime_nsec(), there.mode() & 0o7777),
            (1, 500_000_000, 0o640)
        );
        assert_eq!((stat.fingerprint.inode, stat.fingerprint.size), (there.ino(), 7));
        staging.end().expect("removed");
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1);
    }

    #[test]
    fn nothing_that_is_there_is_overwritten() {
        let directory = tempfile::tempdir().expect("a directory");
        let staging = staging(directory.path());
        fs::write(directory.path().join("file"), "mine").expect("written");
        fs::create_dir(directory.path().join("folder")).expect("made");
        for (to, in_the_way) in [("file", false), ("folder", false), ("file/below", true)] {
            let refused = place(&staging, to).expect_err("refused");
            assert!(refused.is_about_the_name(), "{refused}");
            assert_eq!(
                matches!(refused, PlaceError::FileInTheWay),
                in_the_way,
                "{to}: {refused:?}"
            );
        }
        assert_eq!(fs::read(directory.path().join("file")).expect("read"), b"mine");
    }

    #[test]
    fn nothing_is_made_behind_a_planted_link() {
        let directory = tempfile::tempdir().expect("a directory");
        let outside = tempfile::tempdir().expect("a directory");
        let staging = staging(directory.path());
        symlink(outside.path(), directory.path().join("link")).expect("made");
        symlink(outside.path().join("file"), directory.path().join("dangling")).expect("made");
        for to in ["link/file", "link/a/b", "dangling", "link"] {
            let refused = place(&staging, to).expect_err("refused");
            assert!(refused.is_about_the_name(), "{to}: {refused}");
        }
        assert_eq!(fs::read_dir(outside.path()).expect("listed").count(), 0);
    }

    #[test]
    fn a_name_that_the_file_system_cannot_have_is_about_the_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let staging = staging(directory.path());
        for to in ["n".repeat(256), format!("{}/file", "n".repeat(256))] {
            let refused = place(&staging, &to).expect_err("refused");
            assert!(matches!(refused, PlaceError::Name(_)), "{refused:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_staged_file_is_neither_believed_nor_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let staging = staging(directory.path());
        let other = directory.path().join("other");
        fs::write(&other, "mine").expect("written");
        let staged = |name: &str| directory.path().join(STAGING).join(name);
        fs::hard_link(&other, staged("hard")).expect("made");
        symlink(&other, staged("soft")).expect("made");
        for name in ["hard", "soft"] {
            assert!(staging.reopen(name).expect("looked at").is_none(), "{name}");
            staging.create(name).expect("made").write_all(b"new").expect("written");
            assert!(staging.reopen(name).expect("looked at").is_some(), "{name}");
        }
        assert_eq!(fs::read(other).expect("read"), b"mine");
    }

    #[test]
    fn a_link_in_place_of_the_staging_directory_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let outside = tempfile::tempdir().expect("a directory");
        symlink(outside.path(), directory.path().join(STAGING)).expect("made");
        let root = Arc::new(Root::open(directory.path()).expect("opened"));
        Staging::open(&root).expect_err("refused");
    }
}
