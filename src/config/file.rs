//! The configuration file: located, read as a whole, and taken key by key.
//!
//! A file that cannot be read or parsed causes one error; nothing is guessed from the rest of it.

use super::ConfigSources;
use super::layer::Layer;
use super::problem::{Problem, Problems, escaped};
use super::yaml;
use crate::safe_file::read_input_or_pipe;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

/// Maximum size. No configuration is this long, but a device or a backup may be.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Maximum time for a process that writes the settings into a pipe.
const PIPE_PATIENCE: Duration = Duration::from_secs(10);

/// Reads the file. Returns `None` if that fails.
pub(super) fn read(sources: &ConfigSources, problems: &mut Problems) -> Option<Layer> {
    let name = escaped(&sources.file.to_string_lossy());
    let mut layer = Layer::new("file");
    let path = sources.working_directory.join(&sources.file);
    let source = match contents(&path) {
        Ok(source) => source,
        Err(FileUnread::Missing) if !sources.file_required => return Some(layer),
        Err(why) => {
            problems.push(Problem::source(&name, why.message()));
            return None;
        }
    };
    let entries = match yaml::parse(&source) {
        Ok(entries) => entries,
        Err(error) => {
            let place = format!("{name}:{}:{}", error.line, error.column);
            problems.push(Problem::source(&place, error.message));
            return None;
        }
    };
    for entry in entries {
        let origin = format!("{name}:{}", entry.line);
        if let Err(problem) = layer.take(&entry.key, entry.value, &origin, str::to_owned) {
            problems.push(problem);
        }
    }
    Some(layer)
}

/// Why a file has no content.
enum FileUnread {
    Missing,
    Failed(std::io::Error),
    TooLong,
    NotUtf8 { line: usize },
}

impl FileUnread {
    fn message(&self) -> String {
        match self {
            Self::Missing => {
                "there is no such file; name one that exists, or leave --config out and \
                 set every key by its variable"
                    .to_owned()
            }
            Self::Failed(error) => {
                format!("cannot be read: {error}; name a file that this user may read")
            }
            Self::TooLong => {
                format!("is longer than {FILE_BYTES_MAX} bytes, so it is no configuration")
            }
            Self::NotUtf8 { line } => format!("line {line} is not UTF-8; save the file as UTF-8"),
        }
    }
}

fn contents(path: &Path) -> Result<String, FileUnread> {
    let bytes =
        read_input_or_pipe(path, FILE_BYTES_MAX, PIPE_PATIENCE).map_err(|error| {
            match error.kind() {
                ErrorKind::NotFound => FileUnread::Missing,
                ErrorKind::FileTooLarge => FileUnread::TooLong,
                _ => FileUnread::Failed(error),
            }
        })?;
    String::from_utf8(bytes).map_err(|error| {
        let (before, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        FileUnread::NotUtf8 { line: 1 + before.iter().filter(|&&byte| byte == b'\n').count() }
    })
}
