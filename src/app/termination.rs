//! The termination message: the reason of a failure and what is left, in the file that Kubernetes reads.

use crate::cli::Exit;
use crate::escape::escaped_json;
use crate::model::RelPath;
use crate::safe_file::overwrite;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Kubernetes keeps this much of the message.
const BYTES_MAX: usize = 4096;
/// Maximum length of the reason. An escaped character has at most six bytes.
const REASON_CHARS_MAX: usize = 600;
/// Maximum length of the cause, whose reason is always short.
const CAUSE_CHARS_MAX: usize = 400;

/// Maximum number of files in the message.
pub const NAMES_MAX: usize = 20;
/// Maximum length of a file name. The beginning of a longer one is removed.
const NAME_CHARS_MAX: usize = 200;

/// Maximum time that the end of the program waits for the write.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);

/// What is not in S3 at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remaining {
    /// Number of pending changes.
    pub pending: u64,
    /// Bytes of the pending files.
    pub bytes: u64,
    /// Age of the oldest pending change.
    pub oldest_age_seconds: Option<u64>,
    /// Number of paths that are not in S3 as they are, including those without a queue entry.
    pub missing: u64,
    /// Whether the directory was not compared, so that there may be more.
    pub uncompared: bool,
    /// Deletes that are not due. They are lost with the state, and their objects stay.
    pub delayed: u64,
    /// Number of paths whose invalidation CloudFront has not accepted.
    pub invalidations: u64,
    /// The cause as a sentence without file names, if it is known.
    pub cause: Option<String>,
    /// Some of the paths that are not in S3.
    pub files: Vec<RelPath>,
    /// Whether the state survives, so that the next start continues.
    pub state_survives: bool,
}

impl Remaining {
    /// Whether everything is in S3, except skipped files.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let forgotten = !self.state_survives && self.delayed > 0;
        self.pending == 0 && self.missing == 0 && !self.uncompared && !forgotten
    }

    /// What happens to the rest, as a sentence.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        if self.missing == 0 && !self.uncompared && self.delayed > 0 && !self.state_survives {
            return "stopped with deletes that are not due, and the state does not survive: their objects stay";
        }
        if self.missing == 0 && !self.uncompared {
            return match self.invalidations {
                0 => "everything is in S3, but for files that S3 cannot take",
                _ => "everything is in S3, but not every invalidation was sent",
            };
        }
        if self.missing == 0 {
            return match self.state_survives {
                true => "stopped before the directory was compared; the next start compares it",
                false => {
                    "stopped before the directory was compared, and the state does not survive: only a new \
                     scan can find what is missing"
                }
            };
        }
        if self.state_survives {
            "stopped with changes pending; they resume at the next start"
        } else {
            "stopped with changes pending, and the state does not survive: only a new scan can find them"
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "pending": self.pending,
            "pending_bytes": self.bytes,
            "oldest_age_seconds": self.oldest_age_seconds,
            "missing": self.missing,
            "delayed_deletes": self.delayed,
            "cause": self.cause.as_deref().map(|cause| without_end(cause, CAUSE_CHARS_MAX)),
            "state_survives": self.state_survives,
            "files": [],
        })
    }
}

/// Removes the end of a text that is too long.
fn without_end(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

/// Removes the beginning of a name that is too long.
fn without_beginning(path: &RelPath) -> String {
    let name = path.to_string();
    match name.chars().count().checked_sub(NAME_CHARS_MAX) {
        Some(more) if more > 0 => {
            name.chars().skip(more).fold("…".to_owned(), |mut end, char| {
                end.push(char);
                end
            })
        }
        _ => name,
    }
}

/// Formats the message as one line, with as many names as fit.
fn line(exit: Exit, reason: &str, left: Option<&Remaining>) -> String {
    let reason = without_end(reason, REASON_CHARS_MAX);
    let mut message = left.map_or_else(|| json!({ "pending": null }), Remaining::to_json);
    message["exit_code"] = (exit as u8).into();
    message["reason"] = reason.into();
    let written = |message: &Value| format!("{}\n", escaped_json(&message.to_string()));
    let mut line = written(&message);
    for file in left.iter().flat_map(|left| &left.files) {
        if let Some(files) = message["files"].as_array_mut() {
            files.push(without_beginning(file).into());
        }
        let longer = written(&message);
        if longer.len() > BYTES_MAX {
            break;
        }
        line = longer;
    }
    line
}

/// Writes the message into the file, if that exists: Kubernetes creates it. An error is ignored,
/// because the program ends for another reason.
pub fn write(path: &Path, exit: Exit, reason: &str, left: Option<&Remaining>) {
    let line = line(exit, reason, left);
    let path = path.to_owned();
    let (written, end) = sync_channel(1);
    let write = move || {
        let content = line.as_bytes().get(..BYTES_MAX).unwrap_or(line.as_bytes());
        overwrite(&path, content).ok();
        written.send(()).ok();
    };
    // A file system that hangs keeps the thread, and not the program.
    if std::thread::Builder::new().name("termination".into()).spawn(write).is_ok() {
        end.recv_timeout(WRITE_PATIENCE).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_or_a_link_in_its_place_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("victim"), "precious").expect("written");
        std::os::unix::fs::symlink("victim", at("link")).expect("a link");
        let kind = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), kind, mode, 0).expect("made");
        for name in ["link", "fifo"] {
            write(&at(name), Exit::WorkLeft, "left", None);
        }
        assert_eq!(std::fs::read_to_string(at("victim")).expect("read"), "precious");
    }

    #[test]
    fn the_reason_is_one_line_of_json_in_a_file_that_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let left = Remaining {
            pending: u64::MAX,
            bytes: u64::MAX,
            oldest_age_seconds: Some(u64::MAX),
            missing: u64::MAX,
            ..Remaining::default()
        };
        write(&path, Exit::StateUnavailable, "locked", Some(&left));
        assert!(!path.try_exists().expect("known"), "it is never made");
        std::fs::write(&path, "older and longer than what comes").expect("written");
        write(&path, Exit::StateUnavailable, &"\n".repeat(10_000), Some(&left));
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(text.len() <= BYTES_MAX && text.lines().count() == 1, "{text}");
        let message: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&message["exit_code"], &message["pending"]), (&73.into(), &u64::MAX.into()));
        assert_eq!(message["oldest_age_seconds"], u64::MAX);
    }

    #[test]
    fn names_are_escaped_and_as_many_as_there_is_room_for() {
        let named = |name: &[u8], reason: &str| {
            let name = RelPath::new(name).expect("a path");
            let left =
                Remaining { missing: 500, files: vec![name; NAMES_MAX], ..Remaining::default() };
            let line = line(Exit::WorkLeft, reason, Some(&left));
            assert!(line.len() <= BYTES_MAX && line.lines().count() == 1, "{line}");
            assert!(!line.trim_end().chars().any(crate::escape::is_hostile), "{line}");
            let message: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(message["missing"], 500);
            message["files"].as_array().expect("a list").clone()
        };
        assert_eq!(named(b"a\n\xe2\x80\xae\xff\"", "left"), ["a\\n\\u{202e}\\xff\""; NAMES_MAX]);
        let long = named(&[b'"'; 1_000], "left");
        assert!((5..NAMES_MAX).contains(&long.len()), "{long:?}");
        let end = long[0].as_str().expect("a text");
        assert!(end.starts_with('…') && end.chars().count() == NAME_CHARS_MAX + 1, "{end}");
        assert_eq!(named(&[b'"'; 1_000], &"\u{1b}".repeat(10_000)).len(), 0);
    }
}
