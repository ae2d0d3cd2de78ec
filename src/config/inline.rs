//! Values of variables and flags: plain text on one line, or a list as YAML or JSON.
//!
//! # Invariants
//!
//! - White space around a value does not belong to it: `echo` and block scalars add a line break.
//! - A list is read as intended, or refused: text with the marks of a list, of quotes or of keys
//!   and values, which is not valid, never becomes an entry.

use super::keys::{self, ValueKind};
use super::problem::Problem;
use super::yaml::{Raw, parse_value};

/// Parses the value of `key` from `origin`.
pub(super) fn parse(key: &str, text: &str, origin: &str) -> Result<Raw, Problem> {
    let text = text.trim();
    let parsed = match keys::find(key).map(|key| &key.kind) {
        Some(ValueKind::List) => list(text),
        Some(ValueKind::Tables) => parse_value(text).map_err(|error| {
            let example =
                r#"write YAML or JSON such as [{match: "*.html", cache_control: no-cache}]"#;
            format!("{}; {example}", error.message)
        }),
        Some(_) => scalar(text),
        // The name is refused later, without its value.
        None => Ok(Raw::Text(String::new())),
    };
    parsed.map_err(|why| Problem::key(origin, key, why).showing(text))
}

/// A single value. Quotes and brackets around it belong to a shell, an `--env-file` or a template.
fn scalar(text: &str) -> Result<Raw, String> {
    let enclosed =
        |open: char, close: char| text.len() > 1 && text.starts_with(open) && text.ends_with(close);
    if enclosed('"', '"') || enclosed('\'', '\'') {
        return Err("has quotes around it, which would be part of the value; \
             write it without them"
            .to_owned());
    }
    if enclosed('[', ']') {
        return Err(
            "is a list, and the key takes one value; write it without brackets, or in the \
             configuration file in quotes"
                .to_owned(),
        );
    }
    if enclosed('{', '}') {
        return Err(
            "has braces around it, and the key takes one value; write it without them, or in \
             the configuration file in quotes"
                .to_owned(),
        );
    }
    Ok(Raw::Text(text.to_owned()))
}

/// The expected form of a list.
const LIST_EXAMPLE: &str = r#"write entries with commas between them, such as *.bak,/cache/, or a YAML or JSON list of quoted entries such as ["*.bak", "a,b"]"#;

/// A YAML or JSON list, or entries separated by commas or line breaks.
fn list(text: &str) -> Result<Raw, String> {
    if text.starts_with('[') || text.starts_with("- ") || text.starts_with("-\n") {
        return match parse_value(text) {
            Ok(Raw::List(entries)) if is_json(text) || !entries.iter().any(holds_fragment) => {
                Ok(Raw::List(entries))
            }
            Ok(Raw::List(_)) => Err(format!(
                "has an entry whose quotes or brackets are not complete; {LIST_EXAMPLE}"
            )),
            Ok(_) => Err(format!("starts like a list and is not one; {LIST_EXAMPLE}")),
            Err(error) => {
                Err(format!("starts like a list and is not one: {}; {LIST_EXAMPLE}", error.message))
            }
        };
    }
    let entries: Vec<&str> =
        text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty()).collect();
    if let Some(entry) = entries.iter().find(|entry| is_fragment(entry)) {
        return Err(format!(
            "has the entry {entry:?}, whose quotes or brackets are not complete; {LIST_EXAMPLE}"
        ));
    }
    Ok(Raw::List(entries.into_iter().map(|entry| Raw::Text(entry.to_owned())).collect()))
}

/// JSON has one meaning; in YAML, a misplaced quote is an ordinary character.
fn is_json(text: &str) -> bool {
    serde_json::from_str::<Vec<serde_json::Value>>(text).is_ok()
}

fn holds_fragment(entry: &Raw) -> bool {
    matches!(entry, Raw::Text(text) if is_fragment(text))
}

/// Whether an entry is a fragment of a list that was split at its commas: it has a quote at one
/// end, or an unbalanced bracket or brace.
fn is_fragment(entry: &str) -> bool {
    if entry.starts_with(['"', '\'']) || entry.ends_with(['"', '\'']) || entry.starts_with("{\"") {
        return true;
    }
    let mut open = Vec::new();
    let mut characters = entry.chars();
    while let Some(character) = characters.next() {
        match (character, open.last()) {
            ('\\', _) => drop(characters.next()),
            // In a class, every character except its end is literal.
            (']', Some('[')) => drop(open.pop()),
            (_, Some('[')) => {}
            ('}', Some('{')) => drop(open.pop()),
            ('[' | '{', _) => open.push(character),
            (']' | '}', _) => return true,
            _ => {}
        }
    }
    !open.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(texts: &[&str]) -> Raw {
        Raw::List(texts.iter().map(|&text| Raw::Text(text.to_owned())).collect())
    }

    fn ignore(text: &str) -> Result<Raw, String> {
        parse("ignore", text, "FILE_SYNC__IGNORE").map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_list_in_a_variable_is_read_as_yaml_json_or_with_commas() {
        for written in [
            r#"["*.bak","a,b"]"#,
            "  ['*.bak', \"a,b\",]\n",
            "- '*.bak'\n- a,b\n",
            "[\"*.bak\",\n \"a,b\"\n]\n",
        ] {
            assert_eq!(ignore(written), Ok(texts(&["*.bak", "a,b"])), "{written}");
        }
        for written in
            ["*.bak,/cache/", " *.bak , /cache/ ,\n", "*.bak\n/cache/\n", ",*.bak,,/cache/"]
        {
            assert_eq!(ignore(written), Ok(texts(&["*.bak", "/cache/"])), "{written}");
        }
        assert_eq!(ignore("[]"), Ok(texts(&[])));
        assert_eq!(ignore("*.tmp[0-9],x{a}"), Ok(texts(&["*.tmp[0-9]", "x{a}"])));
        assert_eq!(ignore(r"\[draft\]*,a\{"), Ok(texts(&[r"\[draft\]*", r"a\{"])));
    }

    #[test]
    fn half_a_list_is_refused_with_what_would_be_right() {
        for written in [
            r#"["*.bak","a,b""#,
            r#"["*.bak",a,b"]"#,
            r#""*.bak","a,b"]"#,
            r#""*.bak","a""#,
            "'*.bak'",
            "*.bak]",
            "*.bak, secret\"",
            "[*.bak, a]",
            "[ab]*.tmp",
            "x[a,b]",
            "*.{jpg,png}",
            r#"{"ignore": ["*.bak"]}"#,
            r#"{"a": "b"}"#,
            "- *.bak",
        ] {
            let reported = ignore(written).expect_err(written);
            assert!(reported.starts_with("FILE_SYNC__IGNORE: ignore: "), "{reported}");
            assert!(reported.contains(r#"such as ["*.bak", "a,b"]"#), "{reported}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_as_json_is_what_is_read(
            entries in prop::collection::vec(any::<String>(), 0..5),
            before in "[ \t\n]{0,2}",
            after in "[ \t\r\n]{0,2}",
        ) {
            let written = serde_json::to_string(&entries).expect("JSON");
            let expected = entries.into_iter().map(Raw::Text).collect();
            prop_assert_eq!(ignore(&format!("{before}{written}{after}")), Ok(Raw::List(expected)));
        }

        #[test]
        fn no_piece_of_a_list_becomes_an_entry(
            entries in prop::collection::vec("[a-z*.,\\[\\]{} ]{1,6}", 1..4),
            cut_before in 0_usize..4,
            cut_after in 0_usize..4,
        ) {
            let whole = serde_json::to_string(&entries).expect("JSON");
            let end = whole.len() - cut_after.min(whole.len());
            let piece = whole.get(cut_before.min(end)..end).unwrap_or_default();
            if let Ok(Raw::List(read)) = ignore(piece)
                && !is_json(piece)
            {
                for entry in read {
                    let Raw::Text(entry) = entry else { panic!("{entry:?}") };
                    prop_assert!(!is_fragment(&entry), "{} became {}", piece, entry);
                }
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-a,*\\[\\]{}\"'#&!|>~: \t\n\u{e4}\\\\]{0,20}") {
            for key in ["ignore", "object_rules", "s3_prefix"] {
                drop(parse(key, &text, "FILE_SYNC__IGNORE"));
            }
        }
    }
}
