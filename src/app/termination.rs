//! The termination message: why the program has failed, where Kubernetes looks for it.

use crate::cli::Exit;
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// What Kubernetes keeps of it.
const BYTES_MAX: usize = 4096;
/// What of that the reason may take: escaped, a character is six bytes at most.
const REASON_CHARS_MAX: usize = 600;

/// Writes the reason as one JSON line, if the file is there: it is never made. That it could not be
/// written is no reason to fail in yet another way.
pub fn tell(path: &Path, exit: Exit, reason: &str, pending: Option<u64>) {
    let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
    let message = json!({ "exit_code": exit as u8, "reason": reason, "pending": pending });
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
        tell(&path, Exit::StateUnavailable, "locked", Some(3));
        assert!(!path.try_exists().expect("known"), "it is never made");
        std::fs::write(&path, "older and longer than what comes").expect("written");
        tell(&path, Exit::StateUnavailable, &"\n".repeat(10_000), Some(3));
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(text.len() <= BYTES_MAX && text.lines().count() == 1, "{text}");
        let message: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&message["exit_code"], &message["pending"]), (&73.into(), &3.into()));
    }
}
