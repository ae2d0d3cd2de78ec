//! One log record, collected from an event and the spans around it.

use super::{json, text};
use serde_json::Value;
use std::error::Error;
use std::fmt::{self, Write as _};
use time::OffsetDateTime;
use tracing::Level;
use tracing::field::{Field, Visit};

/// Longer values are cut: container runtimes split lines of more than 16 KiB.
const VALUE_BYTES_MAX: usize = 4096;

/// Names at the top level of a record that no attribute can take.
const RESERVED: [&str; 3] = ["timestamp", "severity", "target"];

/// The names of the W3C trace context, and how many hexadecimal digits each has.
pub(super) const TRACE: [(&str, usize); 3] =
    [("trace_id", 32), ("span_id", 16), ("trace_flags", 2)];

/// How records are written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    Json,
    Text { colour: bool },
}

/// What one line tells.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) timestamp: OffsetDateTime,
    pub(super) level: Level,
    pub(super) target: &'a str,
    pub(super) fields: Fields,
}

/// Names and values in the order of their first appearance.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    pub(super) message: Option<String>,
    pub(super) event: Option<String>,
    /// The trace it belongs to, in the order of [`TRACE`].
    pub(super) trace: [Option<String>; TRACE.len()],
    pub(super) attributes: Vec<(&'static str, Value)>,
}

impl Record<'_> {
    /// The line, with its end.
    pub(super) fn to_line(&self, style: Style) -> String {
        let mut line = match style {
            Style::Json => json::line(self),
            Style::Text { colour } => text::line(self, colour),
        };
        line.push('\n');
        line
    }
}

impl Fields {
    /// Takes over attributes from further inside; they win over what is here.
    pub(super) fn extend(&mut self, inner: &Self) {
        for (name, value) in &inner.attributes {
            self.set(name, value.clone());
        }
        for (outer, inner) in self.trace.iter_mut().zip(&inner.trace) {
            if inner.is_some() {
                outer.clone_from(inner);
            }
        }
    }

    fn set(&mut self, name: &'static str, value: Value) {
        match self.attributes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name, value)),
        }
    }

    /// Takes a part of the trace context, if it has its form.
    fn set_trace(&mut self, index: usize, text: String) {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == TRACE[index].1 && text.bytes().all(digit) {
            self.trace[index] = Some(text);
        }
    }

    fn record(&mut self, field: &Field, value: Value) {
        let name = field.name();
        match name.strip_prefix("r#").unwrap_or(name) {
            "message" => self.message = Some(into_text(value)),
            "event" => self.event = Some(into_text(value)),
            // A slip in our own code, or a library's habit. Two of a name in one object would cost
            // the reader the whole record.
            name if RESERVED.contains(&name) => {}
            name => match TRACE.iter().position(|(known, _)| *known == name) {
                Some(index) => self.set_trace(index, into_text(value)),
                None => self.set(name, value),
            },
        }
    }

    fn record_text(&mut self, field: &Field, value: String) {
        self.record(field, Value::String(cut(value)));
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.record(field, value.into());
        } else {
            // JSON has no number for it.
            self.record_text(field, value.to_string());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_text(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_text(field, chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        if write!(text, "{value:?}").is_err() {
            // `format!` would panic here, and a log line must not.
            text.push_str("(cannot be shown)");
        }
        self.record_text(field, text);
    }
}

/// An error with its causes, outermost first.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let separator = if text.is_empty() { "" } else { ": " };
        if write!(text, "{separator}{error}").is_err() {
            text.push_str("(cannot be shown)");
        }
        next = error.source();
    }
    text
}

fn into_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > VALUE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
        text.push('…');
    }
    text
}

/// Characters that a line of text must not hold: they end it, move the cursor, or reorder what a
/// person reads.
pub(super) fn is_hostile(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
