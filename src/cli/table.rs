//! Formats responses of the daemon as text. Names are hostile: only their printable characters
//! reach the terminal.

use super::terminal::{Terminal, WordStyle, head, tail};
use crate::escape::Printable;
use serde_json::Value;
use std::fmt::Write;
use unicode_width::UnicodeWidthStr;

/// Columns of the names of facts.
const NAMES: usize = 13;

/// Formats `status`.
pub(super) fn status(status: &Value, terminal: Terminal) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let mut name = name;
        for part in wrapped(&value, terminal.left(NAMES)) {
            let part = if name == "state" { terminal.paint(of_state(&part), &part) } else { part };
            writeln!(text, "{name:<12} {part}").unwrap_or_default();
            name = "";
        }
    };
    let said = |value: &Value| escaped(value.as_str().unwrap_or_default());
    line("state", said(&status["state"]));
    if let Some(count) = status["shard"]["count"].as_u64().filter(|count| *count > 1) {
        line("shard", format!("{} of {count}", status["shard"]["index"]));
    }
    match status["cause"].as_str() {
        Some(cause) => line("", escaped(cause)),
        // An older daemon.
        None => {
            for reason in status["not_ready_because"].as_array().into_iter().flatten() {
                line("", said(reason));
            }
        }
    }
    for entry in status["unread"].as_array().into_iter().flatten() {
        line("unread", format!("{}: {}", said(&entry["path"]), said(&entry["reason"])));
    }
    line("waiting", backlog(&status["pending"]));
    line("in S3", format!("{} files", status["mirrored_files"]));
    for reason in status["parked"]["reasons"].as_array().into_iter().flatten() {
        line("parked", format!("{} {}", reason["files"], said(&reason["reason"])));
    }
    if status["deletes"]["approval_needed"] == true {
        let held = &status["deletes"]["held"];
        line(
            "held",
            format!(
                "{held} deletes; do them by: file-sync-service deletes approve --expect {held}"
            ),
        );
    } else if let Some(delayed) = delayed(&status["deletes"]) {
        line("delayed", delayed);
    }
    if status["state"] == "source-empty" {
        let held = &status["deletes"]["held"];
        line("held", format!("{held} deletes, until the directory is not empty"));
    }
    let watch = &status["watch"];
    let unwatched = &watch["unwatched_directories"];
    let mode = said(&watch["mode"]);
    let watched = &watch["watched_directories"];
    line("watching", format!("by {mode}: {watched} directories, {unwatched} without a watch"));
    let last = &status["comparison"]["last"];
    if last.is_object() {
        let drift = ["new", "changed", "gone"].map(|kind| format!("{} {kind}", last[kind]));
        line("compared", format!("{}: {}", said(&last["ended"]), drift.join(", ")));
    }
    if status["invalidations"].is_object() {
        cloudfront(&status["invalidations"])
            .into_iter()
            .for_each(|(name, value)| line(name, value));
    }
    let totals = sums(&status["totals"]);
    line("since start", if totals.is_empty() { "nothing".to_owned() } else { totals });
    if let Some(last) = status["last_success"].as_str() {
        line("last success", escaped(last));
    }
    text
}

/// The delayed deletes in a sentence, if there are any.
fn delayed(deletes: &Value) -> Option<String> {
    let count = deletes["delayed"].as_u64().filter(|count| *count > 0)?;
    let due = age(&deletes["first_due_seconds"]);
    let keep = format!("keep the objects by: file-sync-service deletes cancel --expect {count}");
    Some(match count {
        1 => format!("1 delete due in {due}; {keep}"),
        _ if deletes["first_due_seconds"] == deletes["last_due_seconds"] => {
            format!("{count} deletes due in {due}; {keep}")
        }
        _ => {
            let last = age(&deletes["last_due_seconds"]);
            format!("{count} deletes due in {due} to {last}; {keep}")
        }
    })
}

/// What waits and what is under way.
fn backlog(pending: &Value) -> String {
    let age = match pending["oldest_age_seconds"].as_u64() {
        Some(age) => format!(", the oldest for {age} s"),
        None => String::new(),
    };
    let files = &pending["files"];
    let size = bytes(&pending["bytes"]);
    let running = &pending["running"];
    let settling = &pending["settling"];
    let prepared = match pending["prepared"].as_u64().unwrap_or(0) {
        0 => String::new(),
        prepared => format!(", {prepared} prepared"),
    };
    let busy = format!("{running} under way{prepared}, {settling} settling");
    format!("{files} ({size}){age}; {busy}")
}

/// The status of CloudFront invalidation.
fn cloudfront(invalidations: &Value) -> Vec<(&'static str, String)> {
    let waiting = &invalidations["waiting_paths"];
    let running = &invalidations["running_requests"];
    let month = &invalidations["month"]["paths"];
    let limit = &invalidations["month"]["limit"];
    let limit = if limit.is_null() { String::new() } else { format!(" of {limit}") };
    let paths = format!("{waiting} waiting; {month}{limit} paths this month; {running} under way");
    let mut lines = vec![("CloudFront", paths)];
    if invalidations["month"]["exhausted"] == true {
        lines.push(("", "cloudfront_monthly_path_limit is reached".to_owned()));
    }
    if invalidations["failing"] == true {
        let [at, code] = ["at", "code"].map(|name| invalidations["last_error"][name].as_str());
        let at = at.unwrap_or_default();
        let code = code.unwrap_or_default();
        lines.push(("", escaped(&format!("{code} at {at}"))));
    }
    lines
}

/// Formats `queue list`.
pub(super) fn queue(queue: &Value, terminal: Terminal) -> String {
    let entries: Vec<&Value> = queue["entries"].as_array().into_iter().flatten().collect();
    let mut text = String::new();
    if !entries.is_empty() {
        writeln!(text, "{:<9} {:>7} {:>9}  PATH  REASON", "OPERATION", "AGE", "SIZE")
            .unwrap_or_default();
    }
    for entry in &entries {
        let said = |name: &str| escaped(entry[name].as_str().unwrap_or_default());
        let parked = entry["parked"].is_string();
        let why = match entry["due_seconds"].as_u64() {
            Some(_) => format!("delayed, due in {}", age(&entry["due_seconds"])),
            None if parked => said("parked"),
            None => said("error"),
        };
        let size = if entry["bytes"] == 0 { String::new() } else { bytes(&entry["bytes"]) };
        let before =
            format!("{:<9} {:>7} {size:>9}  ", said("operation"), age(&entry["age_seconds"]));
        let left = terminal.left(before.len() + 2);
        // Without a terminal, nothing is cut.
        let why = if terminal.width.is_some() { head(&why, left / 2) } else { why };
        let path = tail(&said("path"), left.saturating_sub(why.width()));
        let style = if parked || !why.is_empty() { WordStyle::Bad } else { WordStyle::Busy };
        let before = terminal.paint(style, before.trim_end());
        let line = format!("{before}  {path}  {}", terminal.paint(WordStyle::Faint, &why));
        writeln!(text, "{line}").unwrap_or_default();
    }
    let rest = queue["waiting"].as_u64().unwrap_or(0).saturating_sub(entries.len() as u64);
    if entries.is_empty() && rest == 0 {
        text.push_str("nothing waits\n");
    } else if rest > 0 {
        writeln!(text, "and {rest} more").unwrap_or_default();
    }
    text
}

/// Formats the response to `flush`.
pub(super) fn flushed(flushed: &Value) -> String {
    let seconds = flushed["seconds"].as_f64().unwrap_or(0.0);
    let done = match sums(&flushed["done"]) {
        done if done.is_empty() => "nothing had to be done".to_owned(),
        done => done,
    };
    let skipped = match flushed["skipped"].as_u64().unwrap_or(0) {
        0 => String::new(),
        1 => ", except 1 skipped file".to_owned(),
        skipped => format!(", except {skipped} skipped files"),
    };
    format!("everything is in S3{skipped}: {done}, in {seconds:.1} s\n")
}

/// Sums of operations in words; empty if nothing was done.
fn sums(totals: &Value) -> String {
    let counted = |name: &str, one: &str, more: &str| match totals[name].as_u64().unwrap_or(0) {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {more}")),
    };
    let uploads = counted("uploads", "upload", "uploads")
        .map(|uploads| format!("{uploads} ({})", bytes(&totals["upload_bytes"])));
    let others = [
        counted("copies", "copy", "copies"),
        counted("deletes", "delete", "deletes"),
        counted("failures", "failure", "failures"),
    ];
    let sums: Vec<_> = uploads.into_iter().chain(others.into_iter().flatten()).collect();
    sums.join(", ")
}

/// Formats the response to `queue retry`.
pub(super) fn retried(retried: &Value) -> String {
    let scheduled = retried["scheduled"].as_u64().unwrap_or(0);
    let mut text = match retried["outage"].as_str() {
        Some(cause) if scheduled > 0 => format!(
            "{}: one of {scheduled} is tried now, the others when it has succeeded\n",
            escaped(cause)
        ),
        _ => format!("{scheduled} scheduled for retry\n"),
    };
    for path in retried["not_queued"].as_array().into_iter().flatten() {
        let path = escaped(path.as_str().unwrap_or_default());
        writeln!(text, "{path}: nothing waits for this path").unwrap_or_default();
    }
    text
}

/// The style of a state.
fn of_state(state: &str) -> WordStyle {
    match state {
        "in-sync" => WordStyle::Good,
        "syncing" | "starting" | "stopping" | "waiting-for-instance" => WordStyle::Busy,
        _ => WordStyle::Bad,
    }
}

/// A text in lines of this width, broken between words if possible.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let word = tail(word, width);
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines
}

/// `name 1, other 2`, without zeros.
pub(super) fn pairs(value: &Value) -> String {
    let pairs = value.as_object().into_iter().flatten();
    let shown = pairs.filter(|(_, value)| !value.is_null() && **value != 0);
    let shown: Vec<_> = shown
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            escaped(&format!("{} {value}", name.replace('_', " ")))
        })
        .collect();
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}

/// The printable characters of a text, on one line.
pub(super) fn escaped(text: &str) -> String {
    Printable(text).to_string()
}

/// A time in words.
pub(super) fn age(seconds: &Value) -> String {
    match seconds.as_u64().unwrap_or(0) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

pub(super) fn bytes(value: &Value) -> String {
    size_in_words(value.as_u64().unwrap_or(0))
}

/// A size in the largest unit that leaves two digits at least.
#[must_use]
pub fn size_in_words(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        10_485_760..10_737_418_240 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn held() -> Value {
        json!({
            "state": "deletes-held",
            "not_ready_because": ["S3 refuses requests: AccessDenied, for 3 s"],
            "pending": {
                "files": 3, "bytes": 2048, "oldest_age_seconds": 9, "running": 1, "settling": 2,
            },
            "mirrored_files": 7,
            "parked": { "reasons": [{ "reason": "denied", "files": 2 }] },
            "deletes": { "approval_needed": true, "held": 3 },
            "watch": { "mode": "events", "watched_directories": 4, "unwatched_directories": 0 },
            "comparison": { "last": null },
            "totals": { "uploads": 5, "upload_bytes": 117_317_672, "failures": 0 },
            "last_success": null,
        })
    }

    #[test]
    fn delayed_deletes_are_a_sentence_with_the_whole_command() {
        let deletes = |count: u64, first: u64, last: u64| json!({ "delayed": count, "first_due_seconds": first, "last_due_seconds": last });
        assert_eq!(delayed(&deletes(0, 0, 0)), None);
        let said = delayed(&deletes(12, 2_460, 2_460)).expect("some");
        let keep = "keep the objects by: file-sync-service deletes cancel --expect 12";
        assert_eq!(said, format!("12 deletes due in 41 min; {keep}"));
        let said = delayed(&deletes(12, 60, 2_460)).expect("some");
        assert_eq!(said, format!("12 deletes due in 60 s to 41 min; {keep}"));
    }

    #[test]
    fn the_status_says_the_state_first_and_why() {
        let status_json = held();
        let text = status(&status_json, Terminal::default());
        let expected = "\
state        deletes-held
             S3 refuses requests: AccessDenied, for 3 s
waiting      3 (2048 B), the oldest for 9 s; 1 under way, 2 settling
in S3        7 files
parked       2 denied
held         3 deletes; do them by: file-sync-service deletes approve --expect 3
watching     by events: 4 directories, 0 without a watch
since start  5 uploads (111 MiB)
";
        assert_eq!(text, expected);
    }

    #[test]
    fn on_a_terminal_everything_fits_and_the_state_has_a_colour() {
        let terminal = Terminal { width: Some(44), colour: true };
        let text = status(&held(), terminal);
        assert!(text.starts_with("state        \u{1b}[1;31mdeletes-held\u{1b}[0m\n"), "{text}");
        assert!(
            text.contains(
                "\nwaiting      3 (2048 B), the oldest for 9 s;\n             1 under way"
            )
        );
        assert!(text.lines().skip(1).all(|line| line.width() <= 44), "{text}");
        let path = "a/long/way/down/to/the/file";
        let error = "SlowDown: please reduce your rate";
        let entry =
            json!({ "operation": "upload", "age_seconds": 1, "path": path, "error": error });
        let terminal = Terminal { width: Some(60), colour: false };
        let text = queue(&json!({ "waiting": 1, "entries": [entry] }), terminal);
        assert!(text.contains("e/file") && text.contains("SlowDown"), "{text}");
        assert!(text.lines().all(|line| line.width() <= 60), "{text}");
    }

    #[test]
    fn the_status_shows_invalidations_and_why_they_fail() {
        let lines_for = |limit: Value, failing: bool| {
            cloudfront(&json!({
                "waiting_paths": 3, "running_requests": 1, "failing": failing,
                "month": { "paths": 40, "limit": limit, "exhausted": failing },
                "last_error": { "at": "2026-11-02T19:03:11Z", "code": "AccessDenied" },
            }))
        };
        let lines = lines_for(Value::Null, false);
        let text = "3 waiting; 40 paths this month; 1 under way";
        assert_eq!(lines, [("CloudFront", text.to_owned())]);
        let texts: Vec<_> = lines_for(json!(40), true).into_iter().map(|(_, text)| text).collect();
        let text = "3 waiting; 40 of 40 paths this month; 1 under way";
        let why = "cloudfront_monthly_path_limit is reached";
        assert_eq!(texts, [text, why, "AccessDenied at 2026-11-02T19:03:11Z"]);
        let waiting = json!({ "invalidations": { "waiting_paths": 3 } });
        let shown = status(&waiting, Terminal::default());
        assert!(shown.contains("CloudFront   3 waiting"), "{shown}");
    }

    #[test]
    fn hostile_names_are_harmless_in_a_terminal() {
        let entry = json!({
            "operation": "upload", "age_seconds": 1, "path": "a\u{1b}[31m\nb\u{202e}", "error": null,
        });
        let shown = queue(&json!({ "waiting": 2, "entries": [entry] }), Terminal::default());
        assert_eq!(shown.lines().count(), 3);
        assert!(
            shown.starts_with("OPERATION     AGE      SIZE  PATH  REASON\nupload        1 s"),
            "{shown}"
        );
        assert!(shown.contains(r"a\u{1b}[31m\nb\u{202e}") && shown.ends_with("and 1 more\n"));
        let nothing = json!({ "waiting": 0, "entries": [] });
        assert_eq!(queue(&nothing, Terminal::default()), "nothing waits\n");
    }
}
