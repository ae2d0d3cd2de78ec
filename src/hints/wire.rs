//! The form of hints in a request: one JSON object in each line.

use crate::model::{Depth, Hint, RelPath, WriteState};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Maximum size of a request.
pub const HINT_REQUEST_BYTES_MAX: usize = 1 << 20;
/// Maximum number of hints in a request.
pub const HINT_LINES_MAX: usize = 10_000;
/// Maximum length of a path: S3 takes no longer keys.
const PATH_BYTES_MAX: usize = 1_024;

/// What happened at a path, on the node of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemoteChange {
    /// A file was closed after writing.
    Closed,
    /// A file has this name now.
    Renamed,
    /// The name is gone.
    Deleted,
    /// A file was found, or written to and not closed.
    Written,
    /// Something has changed among the entries of this directory.
    Entries,
    /// Something has changed anywhere below this directory.
    Tree,
}

/// A hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteHint {
    /// The path.
    pub path: RelPath,
    /// What happened there.
    pub change: RemoteChange,
    /// The size and the modification time in nanoseconds, as the relay has seen them.
    pub seen: Option<(u64, i64)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HintLine<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mtime: Option<i64>,
    what: RemoteChange,
}

/// The hints of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParsedHints {
    /// Those that can be inspected.
    pub hints: Vec<RemoteHint>,
    /// The number of lines that are no hints.
    pub refused: u64,
}

/// Reads the lines of a request, or returns `None` if there are too many.
#[must_use]
pub fn parse_hints(body: &[u8]) -> Option<ParsedHints> {
    let mut parsed = ParsedHints::default();
    let lines = body.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    for (index, line) in lines.enumerate() {
        if index >= HINT_LINES_MAX {
            return None;
        }
        match RemoteHint::from_line(line) {
            Some(hint) => parsed.hints.push(hint),
            None => parsed.refused += 1,
        }
    }
    Some(parsed)
}

impl RemoteHint {
    fn from_line(line: &[u8]) -> Option<Self> {
        let HintLine { path, size, mtime, what } = serde_json::from_slice(line).ok()?;
        if path.len() > PATH_BYTES_MAX {
            return None;
        }
        let path = RelPath::new(path.as_bytes()).ok()?;
        let is_directory = matches!(what, RemoteChange::Entries | RemoteChange::Tree);
        if path.is_root() && !is_directory {
            return None;
        }
        Some(Self { path, change: what, seen: size.zip(mtime) })
    }

    /// The line of a request, if its path can be written as text.
    #[must_use]
    pub fn to_line(&self) -> Option<String> {
        let path = std::str::from_utf8(self.path.as_bytes()).ok()?;
        let line = HintLine {
            path: Cow::Borrowed(path),
            size: self.seen.map(|(size, _)| size),
            mtime: self.seen.map(|(_, mtime)| mtime),
            what: self.change,
        };
        (path.len() <= PATH_BYTES_MAX).then(|| serde_json::to_string(&line).ok())?
    }

    /// What has to be inspected.
    #[must_use]
    pub fn hint(&self) -> Hint {
        let path = self.path.clone();
        match self.change {
            RemoteChange::Closed | RemoteChange::Renamed => Hint::Path(path, WriteState::Done),
            RemoteChange::Deleted => Hint::Path(path, WriteState::Gone),
            RemoteChange::Written => Hint::Path(path, WriteState::Writing),
            RemoteChange::Entries => Hint::Tree(path, Depth::Entries),
            RemoteChange::Tree => Hint::Tree(path, Depth::Whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> RelPath {
        RelPath::new(name.as_bytes()).expect("a path")
    }

    #[test]
    fn a_hint_is_the_same_after_its_way_as_a_line() {
        for change in [RemoteChange::Closed, RemoteChange::Deleted, RemoteChange::Tree] {
            for seen in [None, Some((7, -3))] {
                let hint = RemoteHint { path: path("a/\"b\n\u{e9}"), change, seen };
                let line = hint.to_line().expect("text");
                assert!(!line.contains('\n'), "{line}");
                let parsed = parse_hints(line.as_bytes()).expect("one line");
                assert_eq!(parsed, ParsedHints { hints: vec![hint], refused: 0 });
            }
        }
    }

    #[test]
    fn what_leads_elsewhere_or_is_no_hint_is_refused_and_the_rest_is_taken() {
        let long = format!("{{\"path\":\"{}\",\"what\":\"closed\"}}", "x".repeat(4_096));
        let lines = [
            r#"{"path":"../etc/passwd","what":"closed"}"#,
            r#"{"path":"/etc/passwd","what":"closed"}"#,
            r#"{"path":"a/../../b","what":"deleted"}"#,
            r#"{"path":"a//b","what":"deleted"}"#,
            r#"{"path":"a\u0000b","what":"deleted"}"#,
            r#"{"path":"","what":"deleted"}"#,
            r#"{"path":"a","what":"executed"}"#,
            r#"{"path":"a","size":-1,"what":"closed"}"#,
            r#"{"path":7,"what":"closed"}"#,
            "[[[[[[",
            "\u{feff}",
            &long,
            r#"{"path":"good","what":"closed","more":1}"#,
        ];
        let parsed = parse_hints(lines.join("\n").as_bytes()).expect("few lines");
        assert_eq!(parsed.refused, 12);
        let [hint] = &parsed.hints[..] else { panic!("{parsed:?}") };
        assert_eq!(hint.hint(), Hint::Path(path("good"), WriteState::Done));
    }

    #[test]
    fn too_many_lines_are_refused_as_a_whole() {
        let line = "{\"path\":\"a\",\"what\":\"closed\"}\n";
        assert!(parse_hints(line.repeat(HINT_LINES_MAX).as_bytes()).is_some());
        assert!(parse_hints(line.repeat(HINT_LINES_MAX + 1).as_bytes()).is_none());
    }
}
