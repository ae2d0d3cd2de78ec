//! Proof that every event until now was delivered.
//!
//! Every instance also watches a private directory outside the tree. The kernel keeps one queue for
//! each instance, so a reader that has seen a change there has seen everything before it. The change
//! is the renaming of one empty file, which needs no space on a full disk.

use super::inbox::Inbox;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A directory inherits this from one that hands its group on.
const SETGID: u32 = 0o2000;
/// The mode of one that its group uses as well.
const SHARED: u32 = 0o2770;

/// The private directory with its one file.
#[derive(Debug)]
pub(super) struct SyncCookies {
    directory: PathBuf,
    /// The name the file has now.
    current: Mutex<u64>,
}

impl SyncCookies {
    /// Makes the directory, and removes what an earlier run left in it.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let cookies = Self { directory: std::path::absolute(directory)?, current: Mutex::new(0) };
        cookies.prepare()?;
        for entry in fs::read_dir(&cookies.directory)? {
            let entry = entry?;
            if number(entry.file_name().as_encoded_bytes()).is_some() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(cookies)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes sure that there is something to watch.
    pub(super) fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let metadata = fs::symlink_metadata(&self.directory)?;
        // Files in it are renamed and removed: a link would have that done elsewhere.
        if !metadata.is_dir() {
            let message = format!("{:?} is not a directory; remove it", self.directory);
            return Err(io::Error::new(io::ErrorKind::NotADirectory, message));
        }
        self.share_with_group(&metadata);
        Ok(())
    }

    /// On a volume that is given to a group, the service may run as another user of it the next time.
    fn share_with_group(&self, metadata: &Metadata) {
        let ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if ours && metadata.mode() & SETGID != 0 && metadata.mode() & 0o7777 != SHARED {
            // Where modes cannot be set, as on some network volumes, they say nothing either.
            fs::set_permissions(&self.directory, Permissions::from_mode(SHARED)).ok();
        }
    }

    /// Places the next cookie and returns its number.
    pub(super) fn place(&self, inbox: &Inbox) -> io::Result<u64> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let next = {
            let mut state = inbox.lock();
            state.placed += 1;
            state.placed
        };
        let path = |number: u64| self.directory.join(number.to_string());
        match fs::rename(path(*current), path(next)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                File::create_new(path(next))?;
            }
            renamed => renamed?,
        }
        *current = next;
        Ok(next)
    }
}

/// The number of the cookie of this name.
pub(super) fn number(name: &[u8]) -> Option<u64> {
    std::str::from_utf8(name).ok()?.parse().ok()
}
