//! Object keys, and the mapping of paths to them: `{s3_prefix}/sub/file.txt`.

use super::RelPath;
use std::fmt;

/// S3's limit in bytes of UTF-8.
const KEY_BYTES_MAX: usize = 1024;

/// The key of an object in the bucket.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Box<str>);

/// Why a path has no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// S3 requires UTF-8 keys.
    #[error("file name is not valid UTF-8; S3 requires UTF-8 keys")]
    NotUtf8,
    /// S3 accepts keys of at most 1,024 bytes.
    #[error("the key would be {0} bytes long, and S3 takes {KEY_BYTES_MAX} at most")]
    TooLong(usize),
}

/// The prefix of every key: empty, or the configured prefix with one final `/`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPrefix(Box<str>);

/// Why a configured prefix cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// It contains `..`.
    #[error("the prefix has a '..' component")]
    ParentComponent,
    /// No key would fit after it.
    #[error(
        "the prefix is {0} bytes long, which leaves no room for names (S3 keys hold {KEY_BYTES_MAX} bytes)"
    )]
    TooLong(usize),
}

impl KeyPrefix {
    /// Creates a prefix from its configured form. As in the original service, a final or doubled
    /// `/` makes no difference, and one at the start stays part of the key.
    ///
    /// # Errors
    ///
    /// If no key is possible with it.
    pub fn new(written: &str) -> Result<Self, PrefixError> {
        let mut names = Vec::new();
        for name in written.split('/') {
            match name {
                "" | "." => {}
                ".." => return Err(PrefixError::ParentComponent),
                name => names.push(name),
            }
        }
        let leading = if written.starts_with('/') { "/" } else { "" };
        let trailing = if names.is_empty() { "" } else { "/" };
        let prefix = format!("{leading}{}{trailing}", names.join("/"));
        if prefix.len() >= KEY_BYTES_MAX {
            return Err(PrefixError::TooLong(prefix.len()));
        }
        Ok(Self(prefix.into()))
    }

    /// The prefix as in keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Maximum length of a path with a valid key, in bytes.
    #[must_use]
    pub fn room(&self) -> usize {
        KEY_BYTES_MAX.saturating_sub(self.0.len())
    }

    /// The key of `path`.
    ///
    /// # Errors
    ///
    /// If S3 has no such key.
    pub fn key(&self, path: &RelPath) -> Result<ObjectKey, KeyError> {
        let name = std::str::from_utf8(path.as_bytes()).map_err(|_| KeyError::NotUtf8)?;
        let length = self.0.len() + name.len();
        if length > KEY_BYTES_MAX {
            return Err(KeyError::TooLong(length));
        }
        Ok(ObjectKey(format!("{}{name}", self.0).into()))
    }
}

impl ObjectKey {
    /// The key as in S3.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Keys contain file names, which are hostile output: control characters are escaped.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::path::write_escaped(f, self.0.as_bytes())
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(prefix: &str, path: &[u8]) -> Result<String, KeyError> {
        let path = RelPath::new(path).expect("a proper path");
        let key = KeyPrefix::new(prefix).expect("a proper prefix").key(&path)?;
        Ok(key.as_str().to_owned())
    }

    #[test]
    fn paths_map_below_the_prefix() {
        assert_eq!(key("uploads", b"sub/file.txt").as_deref(), Ok("uploads/sub/file.txt"));
        assert_eq!(key("", b"sub/file.txt").as_deref(), Ok("sub/file.txt"));
        assert_eq!(key("a//b/", b"f").as_deref(), Ok("a/b/f"));
        assert_eq!(key("/a", b"f").as_deref(), Ok("/a/f"));
        assert_eq!(key("/", b"f").as_deref(), Ok("/f"));
        assert_eq!(key("./a/.", b"f").as_deref(), Ok("a/f"));
    }

    #[test]
    fn every_legal_name_survives_or_is_refused_with_a_reason() {
        let odd = "\u{1f600} %41+&?#\n\\\"'*.ä";
        assert_eq!(key("p", odd.as_bytes()), Ok(format!("p/{odd}")));
        assert_eq!(key("p", b"\xff"), Err(KeyError::NotUtf8));
        let longest = [b'a'; 255];
        let path = [&longest[..]; 4].join(&b'/');
        assert_eq!(key("", &path).map(|key| key.len()), Ok(1023));
        assert_eq!(key("p", &path), Err(KeyError::TooLong(1025)));
    }

    #[test]
    fn a_prefix_that_leads_out_or_leaves_no_room_is_refused() {
        assert_eq!(KeyPrefix::new("a/../b"), Err(PrefixError::ParentComponent));
        assert_eq!(KeyPrefix::new(&"a".repeat(1023)), Err(PrefixError::TooLong(1024)));
    }
}
