//! Decides which keys can be files beneath the watched directory: pure.
//!
//! Keys come from a bucket, where anybody may have put them. Only what is a proper relative path with names
//! that Linux can have becomes a path; nothing is cleaned up or rewritten.

use crate::exclusivity;
use crate::model::{PathError, RelPath};
use crate::root::STAGING;

/// The longest name of a file or directory, bytes.
const NAME_BYTES_MAX: usize = 255;
/// How our own objects beside the files are called.
const OWN_OBJECTS: &[u8] = b".file-sync-service.";

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// A file.
    File(RelPath),
    /// A folder, as consoles and mounts create it: an empty object whose key ends with `/`.
    Folder,
    /// An object of the service itself, such as the lease.
    Own,
    /// Nothing that can exist beneath the watched directory, for this reason.
    Unnameable(&'static str),
}

/// What the object `key` of `size` bytes below `prefix` stands for.
#[must_use]
pub(super) fn classify(prefix: &str, key: &str, size: u64) -> KeyKind {
    let Some(name) = key.strip_prefix(prefix) else {
        return KeyKind::Unnameable("the key is not below s3_prefix");
    };
    if size == 0 && (name.is_empty() || name.ends_with('/')) {
        return KeyKind::Folder;
    }
    let path = match RelPath::new(name.as_bytes()) {
        Ok(path) if path.is_root() => return KeyKind::Unnameable("the key has no name"),
        Ok(path) => path,
        Err(PathError::Absolute) => return KeyKind::Unnameable("the path is absolute"),
        Err(PathError::Component) => {
            return KeyKind::Unnameable("the path has an empty, '.' or '..' component");
        }
        Err(PathError::Nul) => return KeyKind::Unnameable("the path has a NUL byte"),
    };
    if path.components().any(|name| name.len() > NAME_BYTES_MAX) {
        return KeyKind::Unnameable("a name in the path is longer than 255 bytes");
    }
    let first = path.components().next().unwrap_or_default();
    let is_own = first == STAGING.as_bytes()
        || (path.as_bytes().starts_with(OWN_OBJECTS)
            && path.parent().is_some_and(|up| up.is_root()));
    if is_own || exclusivity::is_lease(&path) { KeyKind::Own } else { KeyKind::File(path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(key: &str) -> Option<String> {
        match classify("m/", key, 1) {
            KeyKind::File(path) => Some(String::from_utf8_lossy(path.as_bytes()).into_owned()),
            _ => None,
        }
    }

    #[test]
    fn names_that_linux_can_have_are_files_whatever_they_look_like() {
        for name in [
            "a",
            "a/b.txt",
            "...",
            "..a",
            "a\\b",
            "bell\u{7}\n",
            "\u{202e}",
            "-rf",
            "~",
            " ",
            "%2e%2e",
        ] {
            assert_eq!(file(&format!("m/{name}")).as_deref(), Some(name));
        }
        let longest = "n".repeat(255);
        assert_eq!(file(&format!("m/{longest}")), Some(longest));
    }

    #[test]
    fn keys_that_try_to_leave_the_directory_are_no_files() {
        for name in
            ["..", "../a", "a/../../b", "a/..", "/etc/passwd", "//a", "a//b", "./a", "a/.", "a\0b"]
        {
            assert_eq!(file(&format!("m/{name}")), None, "{name:?}");
        }
        assert_eq!(file("other/a"), None);
        assert_eq!(file(&format!("m/{}", "n".repeat(256))), None);
    }

    #[test]
    fn folders_and_our_own_objects_are_nothing_that_is_missing() {
        for key in ["m/", "m/folder/", "m/folder//"] {
            assert_eq!(classify("m/", key, 0), KeyKind::Folder, "{key}");
        }
        assert!(matches!(classify("m/", "m/folder/", 1), KeyKind::Unnameable(_)));
        for name in [
            ".file-sync-service.lease",
            ".file-sync-service.probe-1",
            ".file-sync-service.restore/a",
        ] {
            assert_eq!(classify("m/", &format!("m/{name}"), 1), KeyKind::Own, "{name}");
        }
        assert!(file("m/folder/.file-sync-service.probe-1").is_some(), "only at the top");
    }

    proptest! {
        #[test]
        fn a_path_is_always_the_key_without_its_prefix_and_never_leads_out(key in "(m/)?[./ab\\\\\0-]{0,20}") {
            if let KeyKind::File(path) = classify("m/", &key, 1) {
                prop_assert_eq!(key.strip_prefix("m/").map(str::as_bytes), Some(path.as_bytes()));
                prop_assert!(path.components().all(|name| name != b".." && name != b"."));
                prop_assert!(!path.as_bytes().starts_with(b"/"));
            }
        }
    }
}
