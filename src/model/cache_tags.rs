//! The tags by which a CDN identifies the copies of a directory's files.
//!
//! An object carries the tag of every directory that contains it, from the watched one down, in one
//! entry of its metadata. A copy has the tags of its object at the time of the fetch, so that a tag
//! matches only copies of objects that carried it.
//!
//! A tag is the directory as in keys, between slashes: `/{s3_prefix}/a/b/`. CloudFront accepts
//! visible ASCII without commas, case-insensitive. Characters other than letters, digits, `-`, `.`
//! and `_` are written as `=` and two hexadecimal digits.

use super::{KeyPrefix, RelPath};
use std::fmt::Write as _;

/// CloudFront's limit for one tag.
const TAG_BYTES_MAX: usize = 256;
/// CloudFront's limit for one object.
const TAGS_MAX: usize = 50;
/// Maximum size of all tags of an object, including commas: S3 accepts 2 KiB of metadata.
pub const CACHE_TAGS_BYTES_MAX: usize = 1024;

/// The tags of an object, and the name of their metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheTags {
    name: String,
    /// The tag of the watched directory.
    top: String,
}

impl CacheTags {
    /// Creates the tags in the metadata `name` for objects below `prefix`.
    #[must_use]
    pub fn new(name: &str, prefix: &KeyPrefix) -> Self {
        let mut top = "/".to_owned();
        let names = prefix.as_str().split('/').filter(|name| !name.is_empty());
        names.for_each(|name| descend(&mut top, name.as_bytes()));
        Self { name: name.to_owned(), top }
    }

    /// The name of the metadata.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tags of the object of the file `path`; none below a prefix that is too long.
    #[must_use]
    pub fn tag_for(&self, path: &RelPath) -> Option<String> {
        let tags = self.along(path.parent()?.as_bytes()).0;
        Some(tags.join(",")).filter(|tags| !tags.is_empty())
    }

    /// The tag of every file below `directory`, unless it is too deep for one.
    #[must_use]
    pub fn directory_tag(&self, directory: &[u8]) -> Option<String> {
        let (mut tags, complete) = self.along(directory);
        if complete { tags.pop() } else { None }
    }

    /// The tags from the top to `directory`, as far as there is room, and whether there was enough.
    /// The tags of a directory are the first ones of everything below it, so that all objects
    /// agree.
    fn along(&self, directory: &[u8]) -> (Vec<String>, bool) {
        let mut tags = Vec::new();
        let mut bytes = 0;
        let mut tag = self.top.clone();
        let mut names = directory.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        loop {
            bytes += tag.len() + usize::from(!tags.is_empty());
            if tag.len() > TAG_BYTES_MAX || bytes > CACHE_TAGS_BYTES_MAX || tags.len() >= TAGS_MAX {
                return (tags, false);
            }
            tags.push(tag.clone());
            let Some(name) = names.next() else { return (tags, true) };
            descend(&mut tag, name);
        }
    }
}

fn descend(tag: &mut String, name: &[u8]) {
    for &byte in name {
        match byte {
            b'-' | b'.' | b'_' => tag.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => tag.push(byte.into()),
            // Writing to a string cannot fail.
            byte => write!(tag, "={byte:02X}").unwrap_or_default(),
        }
    }
    tag.push('/');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(prefix: &str) -> CacheTags {
        CacheTags::new("cache-tag", &KeyPrefix::new(prefix).expect("a proper prefix"))
    }

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).expect("a proper path")
    }

    #[test]
    fn a_file_carries_the_tags_of_the_directories_it_is_in() {
        let tags = tags("site/v1");
        assert_eq!(tags.tag_for(&path("a")).as_deref(), Some("/site/v1/"));
        let deep = tags.tag_for(&path("a/b c/d.txt"));
        assert_eq!(deep.as_deref(), Some("/site/v1/,/site/v1/a/,/site/v1/a/b=20c/"));
        assert_eq!(tags.directory_tag(b"a/b c").as_deref(), Some("/site/v1/a/b=20c/"));
        assert_eq!(tags.directory_tag(b"").as_deref(), Some("/site/v1/"));
        assert_eq!(
            super::CacheTags::new("t", &KeyPrefix::default()).tag_for(&path("a")),
            Some("/".into())
        );
    }

    #[test]
    fn a_tag_is_what_cloudfront_takes_whatever_the_name() {
        for name in
            ["comma,name", "gr\u{f6}\u{df}e", "\u{1f600}", "100%", "a+b", "#*\"<>&", "a=b", "\n"]
        {
            let tag = tags("").directory_tag(name.as_bytes()).expect("a tag");
            assert!(tag.bytes().all(|byte| byte.is_ascii_graphic() && byte != b','), "{tag}");
            assert!(!tag.contains('*') && !tag.contains('#'), "{tag}");
        }
        assert_ne!(tags("").directory_tag(b"a=20b"), tags("").directory_tag(b"a b"));
    }

    #[test]
    fn no_file_has_more_than_s3_and_cloudfront_take_and_a_directory_has_a_tag_or_none() {
        for name in ["a", "directory", &"n".repeat(100), &"\u{1f600}".repeat(30)] {
            let mut directory = String::new();
            let mut tagged = true;
            for _ in 0..60 {
                directory = format!("{directory}{name}/");
                let carried =
                    tags("p").tag_for(&path(&format!("{directory}file"))).unwrap_or_default();
                assert!(
                    carried.len() <= CACHE_TAGS_BYTES_MAX && carried.split(',').count() <= TAGS_MAX
                );
                let own = tags("p").directory_tag(directory.trim_end_matches('/').as_bytes());
                assert!(tagged || own.is_none(), "none is deeper than one without");
                tagged = own.is_some();
                let found = own.is_none_or(|own| carried.split(',').any(|tag| tag == own));
                assert!(found, "{directory}: {carried}");
            }
            assert!(!tagged);
        }
    }

    #[test]
    fn a_prefix_that_is_too_long_leaves_no_room() {
        let tags = tags(&"p".repeat(300));
        assert_eq!((tags.tag_for(&path("a")), tags.directory_tag(b"")), (None, None));
    }
}
