//! How files map to what viewers ask CloudFront for.
//!
//! `{cloudfront_path_prefix}/a/b.txt` is asked for as `/a/b.txt`: what S3 has before it is the origin's
//! path. CloudFront compares invalidation paths with the addresses as viewers send them, so they are
//! encoded the way its documentation says: what is not ASCII and what RFC 1738 calls unsafe, and
//! nothing else.

use crate::cover::Covered;
use crate::model::Stale;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What a directory's address shows.
const INDEX: &[u8] = b"index.html";

/// RFC 1738's unsafe characters, and `?`, behind which the query would begin. A `~` or `[` as it is
/// makes CloudFront refuse the whole request.
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

/// How files map to addresses.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Before every path; no `/` at either end.
    prefix: String,
    /// Whether `/dir/` and `/dir` show `/dir/index.html`.
    index: bool,
}

impl Addresses {
    /// Addresses below `prefix`, written with or without `/` at its ends.
    #[must_use]
    pub fn new(prefix: &str, index: bool) -> Self {
        let names: Vec<_> = prefix.split('/').filter(|name| !name.is_empty()).collect();
        Self { prefix: names.join("/"), index }
    }

    /// What viewers may have asked for to see this, not encoded and without the first `/`.
    #[must_use]
    pub fn of(&self, stale: &Stale) -> Vec<Covered> {
        let path = self.prefixed(stale.path.as_bytes());
        if let Some(star) = path.iter().position(|&byte| byte == b'*') {
            // A `*` stands for anything, and only the last one may: the directory of the name it is in
            // covers it.
            let directory = path[..star].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            return vec![Covered { path: path[..directory].to_vec(), below: true }];
        }
        let mut covered = vec![Covered { path: path.clone(), below: stale.below }];
        let directory = match (stale.below, path.strip_suffix(INDEX)) {
            _ if !self.index => None,
            // Which file it was is not known any more.
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

    fn prefixed(&self, path: &[u8]) -> Vec<u8> {
        let separator = if self.prefix.is_empty() || path.is_empty() { "" } else { "/" };
        [self.prefix.as_bytes(), separator.as_bytes(), path].concat()
    }
}

/// A path as CloudFront wants it.
#[must_use]
pub(super) fn written(covered: &Covered) -> String {
    // Objects have names of UTF-8 only.
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

    fn stale(path: &str, below: bool) -> Stale {
        Stale { path: RelPath::new(path.as_bytes()).expect("a proper path"), below }
    }

    fn addresses(prefix: &str, path: &str, below: bool) -> Vec<String> {
        let addresses = Addresses::new(prefix, true);
        addresses.of(&stale(path, below)).iter().map(written).collect()
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
        let literal = Addresses::new("", false).of(&stale("a/index.html", false));
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
