//! Whether the bucket equals the directory.

use crate::PREFIX;
use file_sync_dev_s3::Object;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many keys a difference names.
const NAMED_MAX: usize = 5;

/// What came out of a comparison.
#[derive(Debug)]
pub(crate) struct Comparison {
    differences: Vec<String>,
    objects: usize,
    bytes: u64,
}

impl Comparison {
    /// Compares every byte.
    pub(crate) fn of(
        directory: &Path,
        objects: &BTreeMap<String, Arc<Object>>,
    ) -> io::Result<Self> {
        let mut files = files(directory)?;
        let mut differences = Vec::new();
        for (key, object) in objects {
            match files.remove(key) {
                None => differences.push(format!("{key} is not on disk")),
                Some(path) if fs::read(&path)? != *object.body.as_deref().unwrap_or_default() => {
                    differences.push(format!("{key} has other content"));
                }
                Some(_) => {}
            }
        }
        differences.extend(files.into_keys().map(|key| format!("{key} is not in the bucket")));
        let bytes = objects.values().map(|object| object.size).sum();
        Ok(Self { differences, objects: objects.len(), bytes })
    }

    pub(crate) fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_equal() {
            return write!(
                f,
                "bucket equals directory: {} objects, {} bytes",
                self.objects, self.bytes
            );
        }
        let named = self.differences.iter().take(NAMED_MAX);
        let named: Vec<_> = named.map(|difference| difference.escape_debug().to_string()).collect();
        let more = self.differences.len().saturating_sub(NAMED_MAX);
        write!(f, "bucket DIFFERS from directory: {} and {more} more", named.join("; "))
    }
}

/// The regular files below `directory`, by the key they should have. Hidden ones are not mirrored.
pub(crate) fn files(directory: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    let mut open = vec![(directory.to_owned(), PREFIX.to_owned())];
    while let Some((directory, key)) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            let path = entry.path();
            let key = format!("{key}/{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push((path, key));
            } else if kind.is_file() {
                files.insert(key, path);
            }
        }
    }
    Ok(files)
}
