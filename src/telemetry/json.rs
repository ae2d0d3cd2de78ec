//! Formats a record as one JSON object: the fixed names first, then the attributes, flat.

use super::record::{Record, TRACE};
use crate::escape::is_hostile;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::ser::Formatter;
use std::io;

pub(super) fn line(record: &Record<'_>) -> String {
    let mut bytes = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Escaping);
    // Strings, numbers and a `Vec` cannot fail.
    match record.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(bytes).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &timestamp(self))?;
        map.serialize_entry("severity", self.level.as_str())?;
        if let Some(message) = &self.fields.message {
            map.serialize_entry("message", message)?;
        }
        if let Some(event) = &self.fields.event {
            map.serialize_entry("event", event)?;
        }
        map.serialize_entry("target", self.target)?;
        for ((name, _), value) in TRACE.iter().zip(&self.fields.trace) {
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        for (name, value) in &self.fields.attributes {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// RFC 3339 in UTC, with microseconds.
fn timestamp(record: &Record<'_>) -> String {
    let at = record.timestamp;
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.microsecond()
    )
}

/// JSON permits some characters unescaped that break or reverse a line on a terminal.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, char)) = rest.char_indices().find(|&(_, char)| is_hostile(char)) {
            let (plain, tail) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            for unit in char.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = tail.split_at(char.len_utf8()).1;
        }
        writer.write_all(rest.as_bytes())
    }
}
