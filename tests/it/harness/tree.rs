//! The watched directory: written to by tests, and read as the bucket should show it.
//!
//! The rules of what is wanted are written down here once more, on purpose: a test that asked the
//! daemon's own filter would agree with any mistake in it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The watched directory.
#[derive(Debug, Clone)]
pub(crate) struct Tree(PathBuf);

impl Tree {
    pub(crate) fn new(path: PathBuf) -> Self {
        fs::create_dir_all(&path).expect("made");
        Self(path)
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// Where a name in it is.
    pub(crate) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.0.join(Path::new(name.as_ref()))
    }

    /// Writes a file in place, and makes the folders above it.
    pub(crate) fn write(&self, name: impl AsRef<OsStr>, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("made");
        fs::write(path, content).expect("written");
    }

    /// Writes `count` small files of different content into `folder`.
    pub(crate) fn fill(&self, folder: &str, count: usize) {
        for number in 0..count {
            self.write(format!("{folder}/{number:04}"), format!("{folder} {number}"));
        }
    }

    /// Renames a file or a folder.
    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("renamed");
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).expect("removed");
    }

    /// Removes every folder at the top, with all that is in them.
    pub(crate) fn remove_folders(&self) {
        for entry in fs::read_dir(self.root()).expect("listed") {
            let entry = entry.expect("listed");
            if entry.file_type().expect("known").is_dir() {
                fs::remove_dir_all(entry.path()).expect("removed");
            }
        }
    }

    /// Removes a folder and all in it.
    pub(crate) fn remove_folder(&self, name: &str) {
        fs::remove_dir_all(self.path(name)).expect("removed");
    }

    /// Moves a folder out of the tree: all in it is gone at once, however slow the machine is.
    pub(crate) fn move_out(&self, name: &str) {
        let away = self.root().with_extension("moved-out");
        fs::rename(self.path(name), away).expect("moved");
    }

    /// The files that belong into the bucket, by their name below the prefix.
    pub(crate) fn wanted(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.0, &mut Vec::new(), &mut files);
        files
    }
}

fn collect(directory: &Path, above: &mut Vec<u8>, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(directory).expect("listed") {
        let entry = entry.expect("listed");
        let name = entry.file_name();
        if is_ignored(name.as_bytes()) {
            continue;
        }
        let length = above.len();
        above.extend_from_slice(name.as_bytes());
        let kind = entry.file_type().expect("known");
        if kind.is_dir() {
            above.push(b'/');
            collect(&entry.path(), above, files);
        } else if kind.is_file()
            && let Ok(name) = std::str::from_utf8(above)
        {
            files.insert(name.to_owned(), fs::read(entry.path()).expect("read"));
        }
        above.truncate(length);
    }
}

/// The default rules of the documentation: `.*`, `*.tmp`, `*.swp`, `*~`, `*.tmp.*`, `lost+found`.
fn is_ignored(name: &[u8]) -> bool {
    name.starts_with(b".")
        || [&b".tmp"[..], b".swp", b"~"].iter().any(|end| name.ends_with(end))
        || name.windows(5).any(|part| part == b".tmp.")
        || name == b"lost+found"
}
