//! `deletes`: the arguments, and the responses as text.

use super::table::{age, escaped};
use super::terminal::{Terminal, WordStyle, tail};
use clap::Subcommand;
use serde_json::Value;
use std::fmt::Write;

/// What about held and delayed deletes.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum DeletesCommand {
    /// The deletes that are held or delayed, the oldest first
    List {
        /// Rows at most
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Do the deletes that are held or delayed now
    Approve {
        /// Do nothing, and end with 1, if there are not exactly so many
        #[arg(long, value_name = "N")]
        expect: Option<u64>,
    },
    /// Drop the deletes that are held or delayed now: their objects stay
    Cancel {
        /// Do nothing, and end with 1, if there are not exactly so many
        #[arg(long, value_name = "N")]
        expect: Option<u64>,
    },
}

/// Formats `deletes list`.
pub(super) fn list(deletes: &Value, terminal: Terminal) -> String {
    let entries: Vec<&Value> = deletes["entries"].as_array().into_iter().flatten().collect();
    let mut text = String::new();
    if !entries.is_empty() {
        writeln!(text, "{:<8} {:>7} {:>7}  PATH", "STATE", "AGE", "DUE IN").unwrap_or_default();
    }
    for entry in &entries {
        let said = |name: &str| escaped(entry[name].as_str().unwrap_or_default());
        let due =
            if entry["due_seconds"].is_u64() { age(&entry["due_seconds"]) } else { String::new() };
        let before = format!("{:<8} {:>7} {due:>7}  ", said("state"), age(&entry["age_seconds"]));
        let path = tail(&said("path"), terminal.left(before.len()));
        let style = if entry["state"] == "held" { WordStyle::Bad } else { WordStyle::Busy };
        let line = format!("{}  {path}", terminal.paint(style, before.trim_end()));
        writeln!(text, "{line}").unwrap_or_default();
    }
    let all = deletes["deletes"].as_u64().unwrap_or(0);
    let rest = all.saturating_sub(entries.len() as u64);
    if entries.is_empty() && all == 0 {
        text.push_str("no delete is held or delayed\n");
    } else if rest > 0 {
        writeln!(text, "and {rest} more").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_has_the_state_and_the_time_of_each_and_escapes_names() {
        let entries = json!([
            { "path": "a\u{1b}[31m", "state": "held", "age_seconds": 7, "due_seconds": null },
            { "path": "b", "state": "delayed", "age_seconds": 7, "due_seconds": 3 },
        ]);
        let terminal = Terminal::default();
        let text = list(&json!({ "deletes": 5, "entries": entries }), terminal);
        let expected = "STATE        AGE  DUE IN  PATH\nheld         7 s  a\\u{1b}[31m\n\
                        delayed      7 s     3 s  b\nand 3 more\n";
        assert_eq!(text, expected);
        assert_eq!(list(&json!({ "deletes": 0 }), terminal), "no delete is held or delayed\n");
    }
}
