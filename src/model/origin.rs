//! The location of the watched directory, to detect a link that leads to another one.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Bytes that are escaped in the path of a state.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// The path to a watched directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOrigin {
    /// `watch_path` as it was configured, made absolute.
    pub configured: PathBuf,
    /// The directory that it led to, with links resolved.
    pub resolved: PathBuf,
    /// The directory that contains the last name of `configured`, with links resolved.
    pub parent: PathBuf,
}

impl SourceOrigin {
    /// Formats a path as text for the state.
    #[must_use]
    pub fn to_text(path: &Path) -> String {
        percent_encode(path.as_os_str().as_bytes(), ESCAPED).to_string()
    }

    /// Parses the path from such a text.
    #[must_use]
    pub fn from_text(text: &str) -> PathBuf {
        PathBuf::from(OsString::from_vec(percent_decode_str(text).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_comes_back_from_its_text() {
        for bytes in [&b"/srv/a b"[..], b"/\xff\n%41", "/ä".as_bytes(), b""] {
            let path = Path::new(std::ffi::OsStr::from_bytes(bytes));
            let text = SourceOrigin::to_text(path);
            assert!(text.is_ascii() && !text.contains('\n'));
            assert_eq!(SourceOrigin::from_text(&text), path);
        }
    }
}
