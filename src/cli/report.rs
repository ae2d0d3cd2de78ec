//! A report of many lines, printed while it is created: as text, or as one JSON document.

use super::Exit;
use super::table::{bytes, escaped};
use super::terminal::{Terminal, TerminalProgress, WordStyle, head, tail};
use serde_json::Value;
use std::io::{BufWriter, Stdout, Write};
use unicode_width::UnicodeWidthStr;

/// Columns of the longest kind.
const KIND: usize = 10;
/// Columns of a size.
const SIZE: usize = 9;
/// Columns of the longest name of a check.
const CHECK: usize = 13;
/// Minimum columns of a name.
const NAME_MIN: usize = 16;

/// A report.
#[derive(Debug)]
pub struct ReportWriter<W: Write = BufWriter<Stdout>> {
    out: W,
    terminal: Terminal,
    progress: TerminalProgress,
    /// The name of the list, for JSON.
    json: Option<&'static str>,
    entries: u64,
    failed: bool,
}

impl ReportWriter {
    /// Creates a report on stdout, with the progress on stderr; as JSON with its list under this
    /// name.
    #[must_use]
    pub fn stdout(json: Option<&'static str>) -> Self {
        let out = BufWriter::new(std::io::stdout());
        Self::new(out, Terminal::stdout(), TerminalProgress::stderr(), json)
    }
}

impl ReportWriter {
    /// Prints a note beside the report.
    pub fn note(text: &str) {
        super::daemon::say(text);
    }
}

impl<W: Write> ReportWriter<W> {
    fn new(
        out: W,
        terminal: Terminal,
        progress: TerminalProgress,
        json: Option<&'static str>,
    ) -> Self {
        Self { out, terminal, progress, json, entries: 0, failed: false }
    }

    /// Prints a line: a `kind`, `bytes` if there are any, a `path`, a `reason`.
    pub fn entry(&mut self, entry: &Value) {
        let text = match self.json {
            Some(name) if self.entries == 0 => format!("{{\n\"{name}\": [\n{entry}"),
            Some(_) => format!(",\n{entry}"),
            None => row(self.terminal, entry),
        };
        self.entries += 1;
        self.progress.clear();
        self.write(&text);
        if self.progress.is_shown() {
            self.failed |= self.out.flush().is_err();
        }
    }

    /// Prints the result of a check: a `check`, a `result`, a `message`, and a `remedy` if there is one.
    pub fn check(&mut self, check: &Value) {
        match self.json {
            Some(_) => self.entry(check),
            None => {
                self.entries += 1;
                self.write(&check_lines(self.terminal, check));
                // A person waits for the next one.
                self.failed |= self.out.flush().is_err();
            }
        }
    }

    /// Shows the progress.
    pub fn progress(&mut self, what: &str, done: u64, of: Option<u64>) {
        self.progress.show(what, done, of);
    }

    /// Prints the totals and their meaning. Returns `exit`, if everything could be printed.
    #[must_use]
    pub fn end(mut self, totals: &Value, summary: &str, exit: Exit) -> Exit {
        self.progress.clear();
        let text = match self.json {
            Some(name) if self.entries == 0 => {
                format!("{{\n\"{name}\": [],\n\"totals\": {totals}\n}}\n")
            }
            Some(_) => format!("\n],\n\"totals\": {totals}\n}}\n"),
            None => format!("{}\n", escaped(summary)),
        };
        self.write(&text);
        let written = !self.failed && self.out.flush().is_ok();
        if written { exit } else { Exit::Unexpected }
    }

    /// Ends an incomplete report with this reason.
    pub fn fail(mut self, reason: &str) {
        self.progress.clear();
        // The lines before are valid.
        self.out.flush().ok();
        super::daemon::say(&escaped(reason));
    }

    fn write(&mut self, text: &str) {
        self.failed |= self.out.write_all(text.as_bytes()).is_err();
    }
}

fn row(terminal: Terminal, entry: &Value) -> String {
    let said = |name: &str| escaped(entry[name].as_str().unwrap_or_default());
    let kind = said("kind");
    let name = said("path");
    let mut reason = said("reason");
    if let Some(from) = entry["from"].as_str() {
        reason = format!("from {}; {reason}", escaped(from));
    }
    if entry["waiting"] == true {
        reason.push_str("; the daemon knows");
    }
    let size = match entry.get("bytes") {
        Some(size) if !size.is_null() => bytes(size),
        _ => String::new(),
    };
    let before = format!("{kind:<KIND$} ");
    let sized =
        if entry.get("bytes").is_some() { format!("{size:>SIZE$}  ") } else { String::new() };
    let left = terminal.left(before.len() + sized.len() + 2);
    // The name gets what the reason leaves, and at least half of it.
    let for_name = left.saturating_sub(reason.width()).max(left / 2).max(NAME_MIN);
    let name = tail(&name, for_name);
    let reason = head(&reason, left.saturating_sub(name.width()));
    let kind = terminal.paint(style(&kind), before.trim_end());
    let gap = " ".repeat(before.len() - before.trim_end().len());
    format!("{kind}{gap}{sized}{name}  {}\n", terminal.paint(WordStyle::Faint, &reason))
}

/// A result with its remedy below. Neither is cut: a person acts on it.
fn check_lines(terminal: Terminal, check: &Value) -> String {
    let said = |name: &str| escaped(check[name].as_str().unwrap_or_default());
    let (mark, style) = match check["result"].as_str() {
        Some("ok") => ("\u{2713}", WordStyle::Good),
        Some("warning") => ("!", WordStyle::Busy),
        Some("problem") => ("\u{2717}", WordStyle::Bad),
        _ => ("-", WordStyle::Faint),
    };
    let name = said("check");
    let mut lines =
        format!("{} {name:<CHECK$}  {}\n", terminal.paint(style, mark), said("message"));
    let remedy = said("remedy");
    if !remedy.is_empty() {
        lines.push_str(&format!("{:1$}-> {remedy}\n", "", CHECK + 4));
    }
    lines
}

fn style(kind: &str) -> WordStyle {
    match kind {
        "upload" | "copy" | "restore" => WordStyle::Good,
        "delete" | "record" | "extra" | "foreign" => WordStyle::Busy,
        "kept" => WordStyle::Faint,
        _ => WordStyle::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry() -> Value {
        json!({
            "kind": "upload", "bytes": 2048, "reason": "new",
            "path": "a/long/way/down/to/the/file\u{1b}[31m\nname\u{202e}",
        })
    }

    fn printed(json: Option<&'static str>, entries: &[Value]) -> String {
        let mut out = Vec::new();
        let mut report =
            ReportWriter::new(&mut out, Terminal::default(), TerminalProgress::stderr(), json);
        entries.iter().for_each(|entry| report.entry(entry));
        assert_eq!(report.end(&json!({ "files": 1 }), "1 to upload", Exit::Success), Exit::Success);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn text_has_a_line_for_each_and_hostile_names_are_harmless() {
        let text = printed(None, &[entry()]);
        let expected = "upload        2048 B  a/long/way/down/to/the/file\\u{1b}[31m\\nname\\u{202e}  new\n\
                        1 to upload\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn json_is_one_document_however_many_there_are() {
        for entries in [&[][..], &[entry()], &[entry(), entry()]] {
            let value: Value =
                serde_json::from_str(&printed(Some("steps"), entries)).expect("JSON");
            assert_eq!(value["steps"].as_array().map(Vec::len), Some(entries.len()));
            assert_eq!(value["totals"]["files"], 1);
        }
    }

    #[test]
    fn on_a_terminal_a_line_is_a_line() {
        for width in [20, 40, 60, 80, 200] {
            let terminal = Terminal { width: Some(width), colour: false };
            let row = row(terminal, &entry());
            assert!(row.trim_end().width() <= width.max(40), "{width}: {row}");
            assert!(row.starts_with("upload") && row.contains("name"), "{row}");
        }
        let colour = Terminal { width: Some(80), colour: true };
        assert!(row(colour, &entry()).starts_with("\u{1b}[32mupload\u{1b}[0m "));
    }
}
