//! A path below the watched directory, as bytes.
//!
//! # Invariants
//!
//! - Components are separated by one `/`; none is empty, `.` or `..`, and none contains a NUL
//!   byte. The empty path is the watched directory itself.
//! - Paths sort **in the order of a walk**: everything in `a/` is between `a` and `a.txt`. That
//!   is the order of the names with the separator as the lowest byte, and the order of rows in the
//!   state, so that a walk and the state can be merged as two streams.

use crate::escape::is_hostile;
use std::cmp::Ordering;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// A path below the watched directory. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Arc<[u8]>);

/// Maximum length of a path that is joined without an allocated buffer.
const JOINED_SHORT: usize = 256;

/// Why bytes are not a path below the watched directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It starts with `/`.
    #[error("the path is absolute")]
    Absolute,
    /// It has an empty, `.` or `..` component.
    #[error("the path has an empty, '.' or '..' component")]
    Component,
    /// It contains a NUL byte.
    #[error("the path holds a NUL byte")]
    Nul,
}

impl RelPath {
    /// The watched directory itself.
    #[must_use]
    pub fn root() -> Self {
        Self(Arc::from(&[][..]))
    }

    /// Creates a path below the watched directory from `bytes`.
    ///
    /// # Errors
    ///
    /// If they could lead anywhere else.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.first() == Some(&b'/') {
            return Err(PathError::Absolute);
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul);
        }
        let proper = |name: &[u8]| !matches!(name, b"" | b"." | b"..");
        if !bytes.is_empty() && !bytes.split(|&byte| byte == b'/').all(proper) {
            return Err(PathError::Component);
        }
        Ok(Self(Arc::from(bytes)))
    }

    /// The entry `name` of this directory.
    ///
    /// # Errors
    ///
    /// If `name` is not a single name, as the kernel returns it.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
            return Err(PathError::Component);
        }
        if name.contains(&0) {
            return Err(PathError::Nul);
        }
        if self.is_root() {
            return Ok(Self(Arc::from(name)));
        }
        let directory = self.0.len();
        let length = self.0.len() + 1 + name.len();
        // Most are short: one allocation instead of two, a million times in a walk.
        let mut short = [0; JOINED_SHORT];
        let mut long = Vec::new();
        let bytes = match short.get_mut(..length) {
            Some(bytes) => bytes,
            None => {
                long.resize(length, 0);
                &mut long[..]
            }
        };
        bytes[..directory].copy_from_slice(&self.0);
        bytes[directory] = b'/';
        bytes[directory + 1..].copy_from_slice(name);
        Ok(Self(Arc::from(&*bytes)))
    }

    /// Whether this is the watched directory itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path's bytes, components separated by `/`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path for the system calls, relative to the watched directory; empty for the directory itself.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(std::ffi::OsStr::from_bytes(&self.0))
    }

    /// The components from the top down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
    }

    /// The last name; empty for the watched directory itself.
    #[must_use]
    pub fn file_name(&self) -> &[u8] {
        self.components().next_back().unwrap_or_default()
    }

    /// The parent directory, or `None` for the watched directory itself.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(Arc::from(&self.0[..end])))
    }

    /// Whether this is `ancestor`, or is below it.
    #[must_use]
    pub fn is_within(&self, ancestor: &Self) -> bool {
        match self.0.strip_prefix(&*ancestor.0) {
            Some(rest) => ancestor.is_root() || rest.is_empty() || rest[0] == b'/',
            None => false,
        }
    }

    /// The form in the state: the byte order of these is the order of the paths.
    #[must_use]
    pub fn to_sort_key(&self) -> Vec<u8> {
        self.0.iter().map(|&byte| sort_byte(byte)).collect()
    }

    /// Parses the form of [`to_sort_key`](Self::to_sort_key).
    ///
    /// # Errors
    ///
    /// If the bytes do not have that form, for example in a damaged state.
    pub fn from_sort_key(key: &[u8]) -> Result<Self, PathError> {
        if key.contains(&b'/') {
            return Err(PathError::Component);
        }
        let bytes: Vec<u8> = key.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect();
        Self::new(&bytes)
    }
}

/// The separator sorts below every byte of a name.
fn sort_byte(byte: u8) -> u8 {
    if byte == b'/' { 0 } else { byte }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        // Bytes are compared one by one only where they differ.
        match self.0.iter().zip(other.0.iter()).find(|(left, right)| left != right) {
            Some((&left, &right)) => sort_byte(left).cmp(&sort_byte(right)),
            None => self.0.len().cmp(&other.0.len()),
        }
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// File names are hostile output: characters that are not printable, or would break a line, are
/// escaped.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(f, &self.0)
    }
}

/// Writes `bytes` on one line, as readable text that is safe for a terminal.
pub(super) fn write_escaped(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if is_hostile(char) {
                write!(f, "{}", char.escape_default())?;
            } else {
                write!(f, "{char}")?;
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).expect("a proper path")
    }

    #[test]
    fn paths_that_could_lead_elsewhere_are_refused() {
        for (bytes, error) in [
            (&b"/etc/passwd"[..], PathError::Absolute),
            (b"..", PathError::Component),
            (b"a/../b", PathError::Component),
            (b"a//b", PathError::Component),
            (b"a/", PathError::Component),
            (b"./a", PathError::Component),
            (b"a\0b", PathError::Nul),
        ] {
            assert_eq!(RelPath::new(bytes), Err(error), "{}", bytes.escape_ascii());
        }
        for name in [&b""[..], b".", b"..", b"a/b"] {
            assert_eq!(RelPath::root().join(name), Err(PathError::Component));
        }
    }

    #[test]
    fn paths_sort_as_a_walk_meets_them() {
        let sorted = ["", "a", "a/b", "a/b/c", "a/z", "a b", "a.txt", "b", "ä"].map(path);
        assert!(sorted.is_sorted(), "{sorted:?}");
    }

    #[test]
    fn within_means_whole_components() {
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(path("a").is_within(&RelPath::root()));
        assert!(!path("ab").is_within(&path("a")));
        assert!(!path("a").is_within(&path("a/b")));
    }

    #[test]
    fn parents_lead_up_to_the_root() {
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(RelPath::root()));
        assert_eq!(RelPath::root().parent(), None);
    }

    #[test]
    fn hostile_names_are_shown_escaped_on_one_line() {
        let hostile = RelPath::new(b"a\n\x1b[31m/\xff\xe2\x80\xae.txt").expect("legal on disk");
        assert_eq!(hostile.to_string(), "a\\n\\u{1b}[31m/\\xff\\u{202e}.txt");
    }

    proptest! {
        #[test]
        fn sort_keys_keep_the_order_and_lead_back(
            a in "[a-c./ ~]{0,12}", b in "[a-c./ ~]{0,12}",
        ) {
            if let (Ok(a), Ok(b)) = (RelPath::new(a.as_bytes()), RelPath::new(b.as_bytes())) {
                prop_assert_eq!(a.cmp(&b), a.to_sort_key().cmp(&b.to_sort_key()));
                prop_assert_eq!(RelPath::from_sort_key(&a.to_sort_key()), Ok(a));
            }
        }
    }
}
