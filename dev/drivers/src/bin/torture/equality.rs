//! Whether the bucket equals the tree.

use crate::PREFIX;
use crate::record::Record;
use crate::states::Content;
use crate::target::Target;
use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Which file, in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u64, i64, i64);

/// A file of the tree.
#[derive(Debug)]
pub(crate) struct Found {
    path: PathBuf,
    pub(crate) stamp: Stamp,
}

/// Whether the default patterns leave this path alone.
pub(crate) fn is_wanted(path: &str) -> bool {
    path.split('/').all(|name| {
        let left_out = name.starts_with('.')
            || name.ends_with(".tmp")
            || name.ends_with(".swp")
            || name.ends_with(".part")
            || name.ends_with('~')
            || name.contains(".tmp.")
            || name == "lost+found";
        !left_out
    })
}

/// The regular files below `top` that must be mirrored, by the key they should have. No link is
/// followed, also where a writer has just put one in the place of a directory.
pub(crate) fn files(top: &Path) -> io::Result<BTreeMap<String, Found>> {
    let root = fs::File::open(top)?;
    let mut files = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(directory) = open.pop() {
        let Some(entries) = list(&root, &directory)? else { continue };
        for name in entries {
            let Some(name) = name.to_str().ok().filter(|name| is_wanted(name)) else { continue };
            let below = directory.join(name);
            let Some(key) = below.to_str().map(|below| format!("{PREFIX}/{below}")) else {
                continue;
            };
            let path = top.join(&below);
            let Ok(there) = fs::symlink_metadata(&path) else { continue };
            if there.is_dir() {
                open.push(below);
            } else if there.is_file() {
                let stamp = Stamp(there.ino(), there.ctime(), there.ctime_nsec());
                files.insert(key, Found { path, stamp });
            }
        }
    }
    Ok(files)
}

/// The names in a directory beneath `root`, if it is still one: writers may be at work.
fn list(root: &fs::File, directory: &Path) -> io::Result<Option<Vec<CString>>> {
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let opened = match openat2(root, directory, how, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::AGAIN) => return Ok(None),
        opened => opened?,
    };
    let names = Dir::new(opened)?.map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    let names: Vec<_> = names.collect::<Result<_, _>>()?;
    Ok(Some(names.into_iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")).collect()))
}

/// What every file holds.
pub(crate) fn contents(files: &BTreeMap<String, Found>) -> io::Result<BTreeMap<String, Content>> {
    let content =
        |(key, found): (&String, &Found)| Ok((key.clone(), Content::of(&fs::read(&found.path)?)));
    files.iter().map(content).collect()
}

/// The time of day, as in the daemon's log.
pub(crate) fn clock(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() % 86_400.0;
    let minutes = (seconds / 60.0).floor();
    format!("{:02}:{:02}:{:06.3}Z", (minutes / 60.0).floor(), minutes % 60.0, seconds % 60.0)
}

/// Where the bucket differs from the tree.
pub(crate) fn differences(
    tree: &BTreeMap<String, Content>,
    target: &Target,
    foreign: &BTreeMap<String, u64>,
    record: &Record,
) -> Vec<String> {
    let mut differences = Vec::new();
    let objects = target.objects();
    for (key, object) in &objects {
        let there = Content::from(&**object);
        match tree.get(key) {
            Some(content) if *content == there => {}
            Some(content) => differences.push(format!(
                "{key:?} has {} bytes in the bucket and {} in the tree, or others",
                there.size, content.size
            )),
            None if foreign.contains_key(key) || record.may_remain(key) => {}
            None => differences.push(format!(
                "{key:?} is in the bucket and not in the tree: {} bytes, version {} of {}",
                object.size,
                object.sequence,
                clock(object.modified)
            )),
        }
    }
    let missing = tree.keys().filter(|key| !objects.contains_key(*key));
    differences.extend(missing.map(|key| format!("{key:?} is in the tree and not in the bucket")));
    for (key, sequence) in foreign {
        if objects.get(key).map(|object| object.sequence) != Some(*sequence) {
            differences.push(format!("the foreign object {key:?} was touched"));
        }
    }
    differences
}
