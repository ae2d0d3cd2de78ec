//! The daemon's log, line by line.

use serde_json::Value;

/// One record.
#[derive(Debug, Clone)]
pub(crate) struct Line(Value);

impl Line {
    /// The record in a line of the log; nothing if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(Value::is_object).map(Self)
    }

    /// The stable name of what happened.
    pub(crate) fn event(&self) -> &str {
        self.text("event")
    }

    /// An attribute that is a text; empty if there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// An attribute that is a number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64)
    }

    /// Whether an attribute is there and true.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The record as it was written.
    pub(crate) fn shown(&self) -> String {
        self.0.to_string()
    }

    /// Whether it has `event` for the file `path`.
    pub(crate) fn is(&self, event: &str, path: &str) -> bool {
        self.event() == event && self.text("file.path") == path
    }
}
