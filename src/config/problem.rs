//! Configuration errors, in the terms of the person who wrote the configuration.
//!
//! # Invariants
//!
//! - Every error is one line: values are escaped, and passwords in URLs are masked.
//! - Every error states what is expected.

use crate::endpoint_url::masked;
use crate::escape::is_hostile;
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

/// Maximum number of characters of a value that are shown; more would hide the message.
const SHOWN_CHARS_MAX: usize = 120;

/// One error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File and line, variable or flag; `None` if nothing was written.
    pub origin: Option<String>,
    /// The key, if the error is about one.
    pub key: Option<String>,
    /// The written value, ready to be shown. Omitted for unknown keys, because it may be a secret.
    pub value: Option<String>,
    /// What is wrong, and what is expected.
    pub message: String,
}

/// All errors: never empty if returned as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    all: Vec<Problem>,
    /// The file for the termination message, if that could be read.
    termination_message: Option<PathBuf>,
}

/// What is wrong with a value, from a check that knows neither its key nor its origin.
pub(super) type ValidationMessage = String;

impl Problems {
    /// Iterates over all of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.all.iter()
    }

    /// The file for the termination message, if that could be read.
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

    /// Orders them by the `place` of their keys.
    pub(super) fn sort_by_key(&mut self, place: impl Fn(&str) -> Option<usize>) {
        self.all.sort_by_key(|problem| problem.key.as_deref().map(whole_key).and_then(&place));
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.all.push(problem);
    }
}

impl Problem {
    /// An error about a key.
    pub(super) fn key(origin: &str, key: &str, message: impl Into<String>) -> Self {
        Self {
            origin: Some(origin.to_owned()),
            key: Some(escaped(&shortened(key))),
            value: None,
            message: message.into(),
        }
    }

    /// An error about the whole source.
    pub(super) fn source(origin: &str, message: impl Into<String>) -> Self {
        Self { origin: Some(origin.to_owned()), key: None, value: None, message: message.into() }
    }

    /// Adds the written value.
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

/// The key itself, if an error is about a part of its value: `object_rules, rule 2, match`.
fn whole_key(key: &str) -> &str {
    key.split(',').next().unwrap_or_default()
}

/// The written value, in quotes.
fn shown(written: &str) -> String {
    quoted(&shortened(&masked(written)))
}

/// The beginning that fits on a line.
fn shortened(written: &str) -> Cow<'_, str> {
    match written.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", written.split_at(end).0).into(),
        None => written.into(),
    }
}

/// A double-quoted YAML scalar on one line, safe for terminals.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(&text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Control characters, and those that change how text is displayed, as YAML escapes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            '\r' => escaped.push_str("\\r"),
            char if is_hostile(char) && u32::from(char) > 0xffff => {
                escaped.push_str(&format!("\\U{:08x}", u32::from(char)));
            }
            char if is_hostile(char) => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

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
