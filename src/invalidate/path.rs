//! Maps files to the paths that viewers request from CloudFront.
//!
//! `{cloudfront_path_prefix}/a/b.txt` is requested as `/a/b.txt`: the rest of the key in S3 is the
//! path of the origin. CloudFront compares invalidation paths with addresses as viewers send them.
//! Therefore they are encoded as its documentation says: characters that are not ASCII, and those
//! that RFC 1738 calls unsafe, and no others. A whole directory is `/dir/*`, or its tag if every
//! copy carries it.

use crate::model::{CacheTags, PendingInvalidation};
use crate::path_cover::Covered;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// The file that the address of a directory shows.
const INDEX: &[u8] = b"index.html";

/// The unsafe characters of RFC 1738, and `?`, which starts the query. CloudFront refuses a request
/// with an unencoded `~` or `[`.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'~');

/// The mapping of files to addresses.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The prefix of every path, without `/` at either end.
    prefix: String,
    /// Whether `/dir/` and `/dir` show `/dir/index.html`.
    index: bool,
    tags: Option<CacheTags>,
}

impl Addresses {
    /// Addresses below `prefix`, with or without `/` at its ends.
    #[must_use]
    pub fn new(prefix: &str, index: bool) -> Self {
        let names: Vec<_> = prefix.split('/').filter(|name| !name.is_empty()).collect();
        Self { prefix: names.join("/"), index, tags: None }
    }

    /// The same mapping, for objects that carry `tags`.
    #[must_use]
    pub fn with_tags(self, tags: Option<CacheTags>) -> Self {
        Self { tags, ..self }
    }

    /// The paths by which viewers may have requested this, not encoded and without the first `/`.
    #[must_use]
    pub fn covering(&self, stale: &PendingInvalidation) -> Vec<Covered> {
        let path = self.prefixed(stale.path.as_bytes());
        if let Some(star) = path.iter().position(|&byte| byte == b'*') {
            // A `*` matches anything, and only the last character may be one: the directory of the
            // name that contains it covers it.
            let directory = path[..star].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            return vec![Covered { path: path[..directory].to_vec(), below: true }];
        }
        let mut covered = vec![Covered { path: path.clone(), below: stale.below }];
        let directory = match (stale.below, path.strip_suffix(INDEX)) {
            _ if !self.index => None,
            // The exact file is no longer known.
            (true, _) => Some(&*path),
            (false, Some(directory)) if directory.is_empty() || directory.ends_with(b"/") => {
                covered.push(Covered { path: directory.to_vec(), below: false });
                directory.strip_suffix(b"/")
            }
            (false, _) => None,
        };
        let bare = directory.filter(|directory| !directory.is_empty());
        covered.extend(bare.map(|path| Covered { path: path.to_vec(), below: false }));
        covered
    }

    /// The one path that covers every address.
    #[must_use]
    pub fn everything(&self) -> String {
        written(&Covered { path: self.prefix.clone().into_bytes(), below: true })
    }

    /// A part of a cover in the form of CloudFront. `untagged` has the sorted addresses with copies
    /// without tags.
    pub(super) fn written(&self, covered: &Covered, untagged: &[Covered]) -> String {
        let tag = self.tag(covered).filter(|_| !is_among(untagged, covered));
        tag.map_or_else(|| written(covered), |tag| format!("#{tag}"))
    }

    /// The tag of everything below a directory.
    fn tag(&self, covered: &Covered) -> Option<String> {
        let tags = self.tags.as_ref().filter(|_| covered.below)?;
        let prefix = self.prefix.as_bytes();
        let path = &covered.path[..];
        let inside = |rest: &[u8]| rest.is_empty() || rest.starts_with(b"/");
        let directory = match path.strip_prefix(prefix) {
            Some(rest) if prefix.is_empty() || inside(rest) => rest,
            // Above the prefix there are no other objects of ours.
            _ if path.is_empty() || prefix.strip_prefix(path).is_some_and(inside) => b"",
            _ => return None,
        };
        tags.directory_tag(directory)
    }

    fn prefixed(&self, path: &[u8]) -> Vec<u8> {
        let separator = if self.prefix.is_empty() || path.is_empty() { "" } else { "/" };
        [self.prefix.as_bytes(), separator.as_bytes(), path].concat()
    }
}

/// Whether one of `sorted` is the directory `whole` or below it.
fn is_among(sorted: &[Covered], whole: &Covered) -> bool {
    let directory = &whole.path[..];
    let below = |path: &[u8]| match path.strip_prefix(directory) {
        Some(rest) => directory.is_empty() || rest.is_empty() || rest.starts_with(b"/"),
        None => false,
    };
    // Names that continue the name of the directory sort between it and its content.
    let from = sorted.partition_point(|covered| covered.path[..] < *directory);
    let mut candidates = sorted[from..].iter().take_while(|one| one.path.starts_with(directory));
    candidates.any(|covered| below(&covered.path))
}

/// A path in the form of CloudFront.
#[must_use]
pub(super) fn written(covered: &Covered) -> String {
    // Names of objects are valid UTF-8.
    let path = String::from_utf8_lossy(&covered.path);
    let path = utf8_percent_encode(&path, ESCAPED);
    match (covered.below, covered.path.is_empty()) {
        (false, _) => format!("/{path}"),
        (true, true) => "/*".to_owned(),
        (true, false) => format!("/{path}/*"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RelPath;

    fn stale(path: &str, below: bool) -> PendingInvalidation {
        let path = RelPath::new(path.as_bytes()).expect("a proper path");
        PendingInvalidation { path, below, tagged: false, change: None }
    }

    fn addresses(prefix: &str, path: &str, below: bool) -> Vec<String> {
        let addresses = Addresses::new(prefix, true);
        addresses.covering(&stale(path, below)).iter().map(written).collect()
    }

    #[test]
    fn names_are_encoded_as_cloudfront_wants_them_and_nothing_else_is() {
        for (path, written) in [
            ("a/b.txt", "/a/b.txt"),
            ("with space", "/with%20space"),
            ("a+b", "/a+b"),
            ("100%", "/100%25"),
            ("100%25", "/100%2525"),
            ("Übergröße.html", "/%C3%9Cbergr%C3%B6%C3%9Fe.html"),
            ("\u{1f600}.png", "/%F0%9F%98%80.png"),
            ("~user/a", "/%7Euser/a"),
            ("test[1].html", "/test%5B1%5D.html"),
            ("what?", "/what%3F"),
            ("a#b", "/a%23b"),
            ("{a}|b^c`\\", "/%7Ba%7D%7Cb%5Ec%60%5C"),
            ("\"<>\"", "/%22%3C%3E%22"),
            ("line\nbreak\u{7f}", "/line%0Abreak%7F"),
            ("a&b=c;d,e:f@g!h$i'j(k)", "/a&b=c;d,e:f@g!h$i'j(k)"),
            ("a-b_c.d", "/a-b_c.d"),
            ("e\u{301}", "/e%CC%81"),
        ] {
            assert_eq!(addresses("", path, false), [written], "{path}");
        }
    }

    #[test]
    fn a_directory_is_asked_for_with_and_without_the_index() {
        assert_eq!(addresses("", "a/b/index.html", false), ["/a/b/index.html", "/a/b/", "/a/b"]);
        assert_eq!(addresses("", "index.html", false), ["/index.html", "/"]);
        assert_eq!(addresses("s", "index.html", false), ["/s/index.html", "/s/", "/s"]);
        assert_eq!(addresses("", "a/my-index.html", false), ["/a/my-index.html"]);
        assert_eq!(addresses("", "a b/index.html", false)[2], "/a%20b");
        let literal = Addresses::new("", false).covering(&stale("a/index.html", false));
        assert_eq!(literal.iter().map(written).collect::<Vec<_>>(), ["/a/index.html"]);
    }

    #[test]
    fn a_whole_directory_is_a_wildcard_and_its_own_address() {
        assert_eq!(addresses("", "a/b", true), ["/a/b/*", "/a/b"]);
        assert_eq!(addresses("", "", true), ["/*"]);
        assert_eq!(addresses("s/t", "", true), ["/s/t/*", "/s/t"]);
        assert_eq!(Addresses::new("", true).everything(), "/*");
        assert_eq!(Addresses::new("/s t/", true).everything(), "/s%20t/*");
    }

    #[test]
    fn a_whole_directory_is_its_tag_where_every_copy_carries_it() {
        let tags = CacheTags::new("t", &crate::model::KeyPrefix::new("p").expect("a prefix"));
        let whole = |path: &str| Covered { path: path.into(), below: true };
        let file = |path: &str| Covered { path: path.into(), below: false };
        let tagging = |prefix| Addresses::new(prefix, true).with_tags(Some(tags.clone()));
        for (prefix, covered, untagged, expected) in [
            ("", whole("a/b c"), &[][..], "#/p/a/b=20c/"),
            ("", whole(""), &[], "#/p/"),
            ("", file("a/b"), &[], "/a/b"),
            ("", whole("a"), &[file("a-b"), file("b/c")], "#/p/a/"),
            ("", whole("a"), &[file("a-b"), file("a/c")], "/a/*"),
            ("", whole("a"), &[whole("a/c/d")], "/a/*"),
            ("", whole(""), &[file("c")], "/*"),
            ("s/t", whole("s/t/a"), &[], "#/p/a/"),
            ("s/t", whole("s/t"), &[], "#/p/"),
            // Above the prefix there are no other objects of ours.
            ("s/t", whole("s"), &[], "#/p/"),
            ("s/t", whole(""), &[], "#/p/"),
            ("s/t", whole("s/tt"), &[], "/s/tt/*"),
        ] {
            assert_eq!(tagging(prefix).written(&covered, untagged), expected, "{covered:?}");
        }
        let deep = whole(&"long-name/".repeat(100));
        assert!(tagging("").written(&deep, &[]).ends_with("/*"));
        assert_eq!(Addresses::new("", true).written(&whole("a"), &[]), "/a/*");
    }

    #[test]
    fn the_prefix_stands_before_every_path_however_it_is_written() {
        for prefix in ["site/v1", "/site/v1", "site/v1/", "//site//v1//"] {
            assert_eq!(addresses(prefix, "a", false), ["/site/v1/a"], "{prefix}");
        }
    }

    #[test]
    fn a_star_in_a_name_is_no_wildcard_of_ours_so_its_directory_is_one() {
        assert_eq!(addresses("", "a/b*c.txt", false), ["/a/*"]);
        assert_eq!(addresses("", "a/b*/c/d", false), ["/a/*"]);
        assert_eq!(addresses("", "*", false), ["/*"]);
        assert_eq!(addresses("s", "*x", false), ["/s/*"]);
    }

    #[test]
    fn the_longest_name_fits() {
        let longest = "ü".repeat(500);
        assert!(addresses("", &longest, false)[0].len() <= 4000);
    }
}
