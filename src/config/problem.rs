//! What is wrong with a configuration, in the words of the person who wrote it.
//!
//! # Invariants
//!
//! - Every problem is one line: what was written is escaped, and passwords in URLs are masked.
//! - A problem never only says no: it says what would be right.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

/// How much of a written value is shown; the rest would hide the message.
const SHOWN_CHARS_MAX: usize = 120;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File and line, variable or flag; `None` where nothing was written at all.
    pub origin: Option<String>,
    /// The key, where it is about one.
    pub key: Option<String>,
    /// What was written, ready to be shown. Left out for unknown keys: they may hold a secret.
    pub value: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Everything that is wrong: never empty where it is returned as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    all: Vec<Problem>,
    /// Where the end of the program is told, if that much could be read.
    termination_message: Option<PathBuf>,
}

/// What is wrong with a value, found by a check that knows neither its key nor its origin.
pub(super) type Wrong = String;

impl Problems {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.all.iter()
    }

    /// Where the end of the program is told, if that much could be read.
    #[must_use]
    pub fn termination_message(&self) -> Option<&Path> {
        self.termination_message.as_deref()
    }

    pub(super) fn with_termination_message(self, path: PathBuf) -> Self {
        Self { termination_message: Some(path), ..self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn about(&self, key: &str) -> bool {
        self.all.iter().any(|problem| problem.key.as_deref().map(whole_key) == Some(key))
    }

    /// Orders them by where `place` puts their keys.
    pub(super) fn sort_by_key(&mut self, place: impl Fn(&str) -> Option<usize>) {
        self.all.sort_by_key(|problem| problem.key.as_deref().map(whole_key).and_then(&place));
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.all.push(problem);
    }
}

impl Problem {
    /// Something about a key.
    pub(super) fn key(origin: &str, key: &str, message: impl Into<String>) -> Self {
        Self {
            origin: Some(origin.to_owned()),
            key: Some(escaped(&shortened(key))),
            value: None,
            message: message.into(),
        }
    }

    /// Something about the source as a whole.
    pub(super) fn source(origin: &str, message: impl Into<String>) -> Self {
        Self { origin: Some(origin.to_owned()), key: None, value: None, message: message.into() }
    }

    /// The same, showing what was written.
    #[must_use]
    pub(super) fn showing(mut self, written: &str) -> Self {
        self.value = Some(shown(written));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.origin, &self.key].into_iter().flatten() {
            write!(f, "{part}: ")?;
        }
        if let Some(value) = &self.value {
            write!(f, "{value} ")?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.all.len() == 1 { "" } else { "s" };
        write!(f, "{} problem{plural} in the configuration:", self.all.len())?;
        for problem in &self.all {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The key itself, where a problem is about a part of its value: `object_rules, rule 2, match`.
fn whole_key(key: &str) -> &str {
    key.split(',').next().unwrap_or_default()
}

/// What was written, in quotes.
fn shown(written: &str) -> String {
    quoted(&shortened(&masked(written)))
}

/// No longer than a line takes.
fn shortened(written: &str) -> Cow<'_, str> {
    match written.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", written.split_at(end).0).into(),
        None => written.into(),
    }
}

/// As a double-quoted YAML scalar on one line, which a terminal survives.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(&text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Control characters and those that change what a person reads, as YAML escapes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        let invisible = matches!(char, '\u{feff}' | '\u{200b}'..='\u{200f}')
            || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match char {
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            '\r' => escaped.push_str("\\r"),
            char if char.is_control() || invisible => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            char => escaped.push(char),
        }
    }
    escaped
}

/// Without the `user:password@` a URL may hold.
pub(super) fn masked(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{path}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_masked() {
        assert_eq!(masked("https://me:secret@host:9000/a"), "https://***@host:9000/a");
        assert_eq!(masked("https://me:p@ss@host"), "https://***@host");
        assert_eq!(masked("https://host/a@b"), "https://host/a@b");
        assert_eq!(masked("plain"), "plain");
    }

    #[test]
    fn a_problem_is_one_line_whatever_was_written() {
        let hostile = "a\n\x1b[31m\"\\\u{202e}";
        let problem = Problem::key("config.yml:1", "k\ney", "is wrong").showing(hostile);
        assert_eq!(
            problem.to_string(),
            r#"config.yml:1: k\ney: "a\n\u001b[31m\"\\\u202e" is wrong"#
        );
        let endless = "x".repeat(5000);
        assert!(Problem::key("f", &endless, "").showing(&endless).to_string().len() < 300);
    }
}
