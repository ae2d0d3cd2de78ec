//! Directories: locates them, and checks that they do not overlap.
//!
//! Nothing is created here, and nothing has to exist: a missing source is a state that the daemon
//! handles, not an error. Existing paths are inspected, because a link can lead anywhere.

use super::problem::ValidationMessage;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Maximum number of links in a path, as in the kernel.
const LINKS_MAX: usize = 40;

/// Makes a path absolute, starting at `base`.
pub(super) fn absolute(base: &Path, text: &str) -> Result<PathBuf, ValidationMessage> {
    if text.contains('\0') {
        return Err("holds a NUL character, which no path can; remove it".to_owned());
    }
    if text == "~" || text.starts_with("~/") {
        return Err(
            "starts with ~, which only a shell understands; write the whole path".to_owned()
        );
    }
    // Removes `.` and doubled `/`. `..` stays: after a link it does not lead to the parent in the
    // text.
    Ok(base.join(text).components().collect())
}

/// Refuses a path that contains something other than a directory.
pub(super) fn directory_or_nothing(path: &Path) -> Result<(), ValidationMessage> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => {
            Err("is a file; write the path of a directory".to_owned())
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err("leads through a file; write the path of a directory".to_owned())
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The first directory of `$STATE_DIRECTORY`: systemd separates several with colons.
pub(super) fn systemd(variable: &OsString) -> Option<PathBuf> {
    let first = variable.as_bytes().split(|&byte| byte == b':').next()?;
    (!first.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(first)))
}

/// Whether `inner` is `outer` or inside it, with links resolved.
pub(super) fn lies_in(inner: &Path, outer: &Path) -> bool {
    resolved(inner).starts_with(resolved(outer))
}

/// The path without links and `..`, as far as it exists; the rest is used as written.
fn resolved(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    let mut links = 0;
    let mut rest: Vec<OsString> = reversed(path);
    while let Some(name) = rest.pop() {
        if name == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&name);
        match std::fs::read_link(&next) {
            Ok(target) if links < LINKS_MAX => {
                links += 1;
                rest.extend(reversed(&target));
            }
            Ok(_) | Err(_) => resolved = next,
        }
    }
    resolved
}

/// The components in reverse order, to be taken from the end.
fn reversed(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter(|name| *name != Component::CurDir);
    names.map(|name| name.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths_become_absolute() {
        let base = Path::new("/srv");
        assert_eq!(absolute(base, "a//b/./c/"), Ok(PathBuf::from("/srv/a/b/c")));
        assert_eq!(absolute(base, "/a/../b"), Ok(PathBuf::from("/a/../b")));
        assert_eq!(absolute(base, "."), Ok(PathBuf::from("/srv")));
        assert!(absolute(base, "~/uploads").is_err());
        assert!(absolute(base, "a\0b").is_err());
    }

    #[test]
    fn within_is_seen_through_links_and_missing_ends() {
        let root = tempfile::tempdir().expect("a directory");
        let root = root.path();
        std::fs::create_dir_all(root.join("watched/deep")).expect("directories");
        symlink("watched/deep", root.join("relative")).expect("a link");
        symlink(root.join("watched"), root.join("absolute")).expect("a link");
        symlink("loop", root.join("loop")).expect("a link");
        let watched = root.join("watched");
        for inner in [
            "watched",
            "watched/new/dir",
            "relative/new",
            "absolute",
            "relative/../x",
            "y/../watched",
        ] {
            assert!(lies_in(&root.join(inner), &watched), "{inner}");
        }
        for outer in ["watched2", "relative/../../state", "other", "loop/x", ""] {
            assert!(!lies_in(&root.join(outer), &watched), "{outer}");
        }
        assert!(lies_in(Path::new("/any"), Path::new("/")));
    }

    #[test]
    fn systemd_may_name_several_state_directories() {
        assert_eq!(systemd(&"/a:/b".into()), Some(PathBuf::from("/a")));
        assert_eq!(systemd(&"/a".into()), Some(PathBuf::from("/a")));
        assert_eq!(systemd(&"".into()), None);
    }
}
