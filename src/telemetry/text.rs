//! Formats a record as a short line for a terminal.

use super::record::Record;
use crate::escape::is_hostile;
use serde_json::Value;
use std::fmt::Write as _;
use tracing::Level;

/// Prefixes that are omitted on a terminal.
const PREFIXES: [&str; 2] = ["aws.s3.", "file."];

const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

pub(super) fn line(record: &Record<'_>, colour: bool) -> String {
    let mut line = String::with_capacity(128);
    let (dim, level, reset) = if colour { (DIM, paint(record.level), RESET) } else { ("", "", "") };
    let at = record.timestamp;
    let hour = at.hour();
    let minute = at.minute();
    let second = at.second();
    let milli = at.millisecond();
    push(&mut line, format_args!("{dim}{hour:02}:{minute:02}:{second:02}.{milli:03}{reset} "));
    push(&mut line, format_args!("{level}{:<5}{reset} ", record.level.as_str()));
    if record.fields.event.is_none() {
        // A record of a library, or without an event: the module names its source.
        push(&mut line, format_args!("{dim}{}:{reset} ", record.target));
    }
    push_escaped(&mut line, record.fields.message.as_deref().unwrap_or_default());
    let mut gap = "  ";
    for (name, value) in &record.fields.attributes {
        let short = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        push(&mut line, format_args!("{gap}{dim}{short}={reset}"));
        push_value(&mut line, value);
        gap = " ";
    }
    line
}

fn paint(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[1;31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

fn push_value(line: &mut String, value: &Value) {
    let Value::String(text) = value else {
        push(line, format_args!("{value}"));
        return;
    };
    let plain =
        |char: char| !(char.is_whitespace() || matches!(char, '"' | '=') || is_hostile(char));
    if !text.is_empty() && text.chars().all(plain) {
        line.push_str(text);
        return;
    }
    line.push('"');
    push_escaped(line, text);
    line.push('"');
}

fn push_escaped(line: &mut String, text: &str) {
    for char in text.chars() {
        // Backslashes stay: an escaped path would be escaped twice.
        if char == '"' || is_hostile(char) {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
}

/// Appending to a `String` cannot fail.
fn push(line: &mut String, arguments: std::fmt::Arguments<'_>) {
    line.write_fmt(arguments).unwrap_or_default();
}
