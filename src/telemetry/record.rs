//! A log record, collected from an event and its spans.

use super::{json, text};
use crate::error_causes::causes;
use serde_json::Value;
use std::error::Error;
use std::fmt::{self, Write as _};
use time::OffsetDateTime;
use tracing::Level;
use tracing::field::{Field, Visit};

/// Maximum size of a value; container runtimes split lines of more than 16 KiB.
const VALUE_BYTES_MAX: usize = 4096;

/// Top-level names of a record that no attribute may use.
const RESERVED: [&str; 3] = ["timestamp", "severity", "target"];

/// The names of the W3C trace context, with their numbers of hexadecimal digits.
pub(super) const TRACE: [(&str, usize); 3] =
    [("trace_id", 32), ("span_id", 16), ("trace_flags", 2)];

/// The style of records.
#[derive(Debug, Clone, Copy)]
pub(super) enum RecordStyle {
    Json,
    Text { colour: bool },
}

/// The content of one line.
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
    /// The trace of the record, in the order of [`TRACE`].
    pub(super) trace: [Option<String>; TRACE.len()],
    pub(super) attributes: Vec<(&'static str, Value)>,
}

impl Record<'_> {
    /// Formats the line, with its line break.
    pub(super) fn to_line(&self, style: RecordStyle) -> String {
        let mut line = match style {
            RecordStyle::Json => json::line(self),
            RecordStyle::Text { colour } => text::line(self, colour),
        };
        line.push('\n');
        line
    }
}

impl Fields {
    /// Adds attributes of an inner span or event; they override those that exist.
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

    /// Sets a part of the trace context, if its form is valid.
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
            // A mistake in our code, or a habit of a library. A duplicate name in one object could
            // make the reader drop the whole record.
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
            // JSON has no such number.
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
    for error in causes(error) {
        let separator = if text.is_empty() { "" } else { ": " };
        if write!(text, "{separator}{error}").is_err() {
            text.push_str("(cannot be shown)");
        }
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
