//! The termination message: why the program has failed and what it left, where Kubernetes looks for it.

use crate::cli::Exit;
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// What Kubernetes keeps of it.
const BYTES_MAX: usize = 4096;
/// What of that the reason may take: escaped, a character is six bytes at most.
const REASON_CHARS_MAX: usize = 600;

/// What is not in S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Changes.
    pub pending: u64,
    /// Bytes of the files among them.
    pub bytes: u64,
    /// How long the oldest waits.
    pub oldest_age_seconds: Option<u64>,
}

/// Writes the reason as one JSON line, if the file is there: it is never made. That it could not be
/// written is no reason to fail in yet another way.
pub fn tell(path: &Path, exit: Exit, reason: &str, left: Option<Left>) {
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    let message = json!({
        "exit_code": exit as u8,
        "reason": reason,
        "pending": left.map(|left| left.pending),
        "pending_bytes": left.map(|left| left.bytes),
        "oldest_age_seconds": left.and_then(|left| left.oldest_age_seconds),
    });
    let line = format!("{message}\n");
    let file = std::fs::OpenOptions::new().write(true).truncate(true).open(path);
    if let Ok(mut file) = file {
        file.write_all(line.as_bytes().get(..BYTES_MAX).unwrap_or(line.as_bytes())).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_one_line_of_json_in_a_file_that_is_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let left = Left { pending: u64::MAX, bytes: u64::MAX, oldest_age_seconds: Some(u64::MAX) };
        tell(&path, Exit::StateUnavailable, "locked", Some(left));
        assert!(!path.try_exists().expect("known"), "it is never made");
        std::fs::write(&path, "older and longer than what comes").expect("written");
        tell(&path, Exit::StateUnavailable, &"\n".repeat(10_000), Some(left));
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(text.len() <= BYTES_MAX && text.lines().count() == 1, "{text}");
        let message: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&message["exit_code"], &message["pending"]), (&73.into(), &u64::MAX.into()));
        assert_eq!(message["oldest_age_seconds"], u64::MAX);
    }
}
