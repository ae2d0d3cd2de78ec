//! Parses the configuration file as YAML: keys and values, each with its line.
//!
//! # Invariants
//!
//! - A scalar is the written text. YAML's types do not apply: a bucket named `0123456` keeps its
//!   zero, `no` is a word, and `300` and `"300"` are equal. The key determines the form of a text.
//! - A duplicate key is passed on twice, so that it can be reported.

use super::problem::escaped;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Options, Spanned};
use std::fmt;

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    /// Nothing, or `null`.
    Nothing,
    Text(String),
    List(Vec<Raw>),
    /// Keys and values.
    Table(Vec<YamlEntry>),
}

/// A key with its value and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct YamlEntry {
    pub(super) line: u64,
    pub(super) key: String,
    pub(super) value: Raw,
}

/// Where and why a file is not YAML, or not a table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) message: String,
}

/// Parses keys and values. An empty file has none.
pub(super) fn parse(source: &str) -> Result<Vec<YamlEntry>, SyntaxError> {
    let document: Document = serde_saphyr::from_str_with_options(source, options())
        .map_err(|error| syntax_error(source, &error))?;
    let entry = |(key, value): (Spanned<String>, Spanned<Node>)| YamlEntry {
        line: key.referenced.line(),
        key: key.value,
        value: raw(source, value),
    };
    Ok(document.0.into_iter().map(entry).collect())
}

/// Parses one value, such as a variable with a list of tables. JSON is YAML too.
pub(super) fn parse_value(source: &str) -> Result<Raw, SyntaxError> {
    let value: Spanned<Node> = serde_saphyr::from_str_with_options(source, options())
        .map_err(|error| syntax_error(source, &error))?;
    Ok(raw(source, value))
}

fn options() -> Options {
    serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        // A tag would change a value silently: `[!keep.tmp]` is a tag on nothing.
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
    }
}

/// A value from the parser. `Guessed` is what it takes for a number or a boolean.
enum Node {
    Nothing,
    Guessed,
    Text(String),
    List(Vec<Spanned<Node>>),
    Table(Vec<(Spanned<Node>, Spanned<Node>)>),
}

struct Document(Vec<(Spanned<String>, Spanned<Node>)>);

fn raw(source: &str, node: Spanned<Node>) -> Raw {
    match node.value {
        Node::Nothing => Raw::Nothing,
        Node::Text(text) => Raw::Text(text),
        Node::Table(entries) => {
            Raw::Table(entries.into_iter().map(|entry| field(source, entry)).collect())
        }
        Node::List(nodes) => Raw::List(nodes.into_iter().map(|node| raw(source, node)).collect()),
        Node::Guessed => {
            let span = node.defined.span();
            let written = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
                let start = usize::try_from(start).ok()?;
                source.get(start..start.checked_add(usize::try_from(length).ok()?)?)
            });
            // A quoted scalar is guessed only after an explicit tag, such as `!!int "5"`.
            Raw::Text(written.unwrap_or_default().trim_matches(['"', '\'']).to_owned())
        }
    }
}

/// The key of a table is always a text; a key that is not a text becomes the empty text, which
/// names nothing.
fn field(source: &str, (key, value): (Spanned<Node>, Spanned<Node>)) -> YamlEntry {
    let line = key.referenced.line();
    let key = match raw(source, key) {
        Raw::Text(key) => key,
        Raw::Nothing | Raw::List(_) | Raw::Table(_) => String::new(),
    };
    YamlEntry { line, key, value: raw(source, value) }
}

/// The message of the parser, and the most likely fix.
fn syntax_error(source: &str, error: &Error) -> SyntaxError {
    let location = error.location().unwrap_or(serde_saphyr::Location::UNKNOWN);
    let line = location.line();
    let column = location.column();
    if let Some(line) = tab_before(source, line + 1) {
        let message = "the line is indented with a tab; YAML takes spaces only".to_owned();
        return SyntaxError { line, column: 1, message };
    }
    let text = error.to_string();
    let said = text.split(" at line ").next().unwrap_or_default();
    let message = match error {
        Error::Unexpected { expected: "mapping start", .. } => {
            "this is no list of keys and values; write one 'key: value' on each line".to_owned()
        }
        Error::MultipleDocuments { .. } => {
            "a second document starts here; one file holds one configuration".to_owned()
        }
        Error::UnknownAnchor { .. } | Error::UnsupportedTag { .. } => {
            format!("{said}; put a value that starts with * or ! in quotes")
        }
        Error::NullIntoString { .. } => {
            "a value without a key stands here; write 'key: value'".to_owned()
        }
        _ => format!("no valid YAML: {}", escaped(said)),
    };
    SyntaxError { line, column, message }
}

/// The last line up to `end` whose indentation contains a tab. The parser fails on the text before
/// it, and names that.
fn tab_before(source: &str, end: u64) -> Option<u64> {
    let tabbed = |line: &str| {
        let content = line.trim_start();
        !content.is_empty() && line.strip_suffix(content).is_some_and(|space| space.contains('\t'))
    };
    (1..=end).zip(source.lines()).filter(|(_, line)| tabbed(line)).map(|(number, _)| number).last()
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Document;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys and values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Document(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Guessed)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Guessed)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Guessed)
    }
    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Guessed)
    }
    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Guessed)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Guessed)
    }
    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Table(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::quoted;
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    fn one(source: &str) -> Raw {
        let mut entries = parse(source).expect(source);
        assert_eq!(entries.len(), 1, "{source}");
        entries.remove(0).value
    }

    fn refused(source: &str) -> String {
        let error = parse(source).expect_err(source);
        format!("{}:{}: {}", error.line, error.column, error.message)
    }

    #[test]
    fn a_scalar_is_the_text_that_was_written() {
        for written in [
            "300",
            "0123456",
            "1e5",
            "no",
            "True",
            "-5",
            "1_000",
            "0x10",
            ".inf",
            "3.10",
            "99999999999999999999999999999999999999999999",
            "C:\\x",
            "a#b",
        ] {
            assert_eq!(one(&format!("key: {written}  # said so")), text(written));
            assert_eq!(one(&format!("key: '{written}'")), text(written));
            assert_eq!(one(&format!("key: [{written}]")), Raw::List(vec![text(written)]));
        }
        assert_eq!(one("{key: 1e5}"), text("1e5"));
        assert_eq!(one("key: !!int \"5\""), text("5"));
        assert_eq!(one("key: \"a\\tb\""), text("a\tb"));
        assert_eq!(one("key: 'it''s'"), text("it's"));
        assert_eq!(one("key: &a 1e5\n"), text("1e5"));
        assert_eq!(one("key:"), Raw::Nothing);
        assert_eq!(one("key: ~"), Raw::Nothing);
        assert!(matches!(one("key: {{ value }}"), Raw::Table(_)));
    }

    #[test]
    fn every_key_has_its_line() {
        let source = "\u{feff}# first\r\na: 1\r\n\r\nb:\r\n  - 2\r\na: *x\r\n".replace("*x", "3");
        let lines: Vec<_> = parse(&source)
            .expect("YAML")
            .into_iter()
            .map(|entry| (entry.line, entry.key))
            .collect();
        assert_eq!(lines, [(2, "a".to_owned()), (4, "b".to_owned()), (6, "a".to_owned())]);
        assert_eq!(parse("# nothing yet\n"), Ok(vec![]));
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn what_is_no_yaml_is_said_with_its_place() {
        for (source, message) in [
            ("a: 1\n\tb: 2\n", "2:1: the line is indented with a tab; YAML takes spaces only"),
            ("a:\n\t- 2\n", "2:1: the line is indented with a tab; YAML takes spaces only"),
            ("a: \"x\nb: 2\n", "1:4: no valid YAML: unclosed quote"),
            ("a: b: c\n", "1:5: no valid YAML: mapping values are not allowed in this context"),
            (
                "a: 1\n  b: 2\n",
                "2:4: no valid YAML: mapping values are not allowed in this context",
            ),
            ("a: 1\nb\nc: 2\n", "2:1: no valid YAML: simple key expected ':'"),
            (
                "- a\n",
                "1:1: this is no list of keys and values; write one 'key: value' on each line",
            ),
            (
                "a=1\n",
                "1:1: this is no list of keys and values; write one 'key: value' on each line",
            ),
            (
                "a: [*.tmp]\n",
                "1:5: alias references unknown anchor; put a value that starts with * or ! in quotes",
            ),
            (
                "a: [!keep]\n",
                "1:10: unsupported tag `!keep`; put a value that starts with * or ! in quotes",
            ),
            ("~: 1\n", "1:1: a value without a key stands here; write 'key: value'"),
            (
                "a: 1\n---\nb: 2\n",
                "3:1: a second document starts here; one file holds one configuration",
            ),
        ] {
            assert_eq!(refused(source), message);
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            let list = [before.as_str(); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        assert!(parse(&bomb).is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_it_was(written in any::<String>()) {
            let source = format!("key: {}  # said so\n", quoted(&written));
            prop_assert_eq!(source.lines().count(), 1);
            prop_assert_eq!(one(&source), Raw::Text(written));
        }

        #[test]
        fn no_file_makes_it_panic(source in "[-a:\\[\\]{}\"'#*&!|>~ \t\n\u{e4}]{0,40}") {
            let lines = source.lines().count() as u64 + 1;
            match parse(&source) {
                Ok(entries) => prop_assert!(entries.iter().all(|entry| entry.line <= lines)),
                Err(error) => prop_assert!(!error.message.is_empty() && error.line <= lines),
            }
        }
    }
}
