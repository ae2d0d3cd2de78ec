//! Notices every open of a file outside of the tree, read or not.

use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 4096;

/// Watches over directories that no process may open.
#[derive(Debug)]
pub(crate) struct Canary(OwnedFd);

impl Canary {
    /// From now on no process may open anything in these directories.
    pub(crate) fn watch(directories: &[PathBuf]) -> io::Result<Self> {
        let canary = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        for directory in directories {
            let what = WatchFlags::OPEN | WatchFlags::ACCESS;
            inotify::add_watch(&canary, directory.as_path(), what)?;
        }
        Ok(Self(canary))
    }

    /// What was opened.
    pub(crate) fn sung(&self) -> io::Result<Vec<String>> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut sung = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
                    let events = event.events();
                    sung.push(format!("outside of the tree: {events:?} of {name:?}"));
                }
                Err(Errno::AGAIN) => return Ok(sung),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A directory and all below it.
pub(crate) fn directories(top: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![top.to_owned()];
    let mut at = 0;
    while let Some(directory) = found.get(at).cloned() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.push(entry.path());
            }
        }
        at += 1;
    }
    Ok(found)
}
