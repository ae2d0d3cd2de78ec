//! Escapes foreign text before it is shown: one list of the characters that no line, table, page or
//! JSON document contains unescaped, and one notation.
//!
//! These characters end a line, move the cursor, reorder text, or are invisible, so that one name
//! looks like another.

use std::fmt::{self, Write};

/// The characters, as sorted ranges of code points.
pub const HOSTILE_RANGES: [(u32, u32); 17] = [
    // Controls: C0, DEL and C1.
    (0x0000, 0x001f),
    (0x007f, 0x009f),
    // Soft hyphen, combining grapheme joiner, Arabic letter mark.
    (0x00ad, 0x00ad),
    (0x034f, 0x034f),
    (0x061c, 0x061c),
    // Invisible fillers: Hangul, Khmer, Mongolian.
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    // Zero width, directional marks; line and paragraph separator, embeddings and overrides.
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    // Word joiner, invisible operators, isolates, deprecated formats.
    (0x2060, 0x206f),
    (0x3164, 0x3164),
    // Byte order mark, halfwidth filler, interlinear annotation.
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff9, 0xfffb),
    // Musical formats, tags.
    (0x1d173, 0x1d17a),
    (0xe0000, 0xe007f),
];

/// Whether the character must be escaped.
#[must_use]
pub fn is_hostile(char: char) -> bool {
    // The most frequent characters.
    if (' '..='~').contains(&char) {
        return false;
    }
    let point = u32::from(char);
    HOSTILE_RANGES.iter().any(|(first, last)| (*first..=*last).contains(&point))
}

/// A text that can be shown on one line.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match is_hostile(char) {
            true => write!(f, "{}", char.escape_default()),
            false => f.write_char(char),
        })
    }
}

/// A JSON document with these characters as JSON escapes. Line breaks between values stay.
#[must_use]
pub fn escaped_json(document: &str) -> String {
    let mut escaped = String::with_capacity(document.len());
    for char in document.chars() {
        if is_hostile(char) && char != '\n' {
            push_json_escape(&mut escaped, char);
        } else {
            escaped.push(char);
        }
    }
    escaped
}

/// Appends the character as one or two JSON escapes.
pub fn push_json_escape(text: &mut String, char: char) {
    for unit in char.encode_utf16(&mut [0; 2]) {
        // Appending to a `String` cannot fail.
        write!(text, "\\u{unit:04x}").unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: [char; 12] = [
        '\n',
        '\u{7f}',
        '\u{9b}',
        '\u{ad}',
        '\u{61c}',
        '\u{200b}',
        '\u{200e}',
        '\u{202e}',
        '\u{2066}',
        '\u{feff}',
        '\u{2060}',
        '\u{e0041}',
    ];

    #[test]
    fn what_moves_hides_or_reorders_is_hostile_and_letters_are_not() {
        for char in SAMPLES {
            assert!(is_hostile(char), "{char:?}");
        }
        for char in "aZ~ ä漢字عربى🦀\u{fe0f}".chars() {
            assert!(!is_hostile(char), "{char:?}");
        }
        assert!(HOSTILE_RANGES.is_sorted_by(|left, right| left.1 < right.0));
        assert!(('\0'..=char::MAX).filter(|char| char.is_control()).all(is_hostile));
    }

    #[test]
    fn json_means_the_same_and_holds_none_of_them() {
        let text: String = SAMPLES.iter().collect();
        let value = serde_json::json!({ text.clone(): [text] });
        for document in [value.to_string(), format!("{value:#}")] {
            let escaped = escaped_json(&document);
            assert!(!escaped.chars().any(|char| char != '\n' && is_hostile(char)), "{escaped}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).expect("JSON"), value);
        }
    }

    #[test]
    fn a_printable_text_is_one_line() {
        assert_eq!(Printable("a\n\u{1b}[31m\u{202e}ä").to_string(), "a\\n\\u{1b}[31m\\u{202e}ä");
    }
}
