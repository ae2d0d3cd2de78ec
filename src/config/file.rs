//! The configuration file: found, read whole, and taken key by key.
//!
//! A file that cannot be read or understood says so once; nothing is guessed from the rest of it.

use super::Sources;
use super::problem::{Problem, Problems, escaped};
use super::written::Layer;
use super::yaml;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// No configuration is this long; a device or somebody's backup is.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What the file says; `None` if it could not be read.
pub(super) fn read(sources: &Sources, problems: &mut Problems) -> Option<Layer> {
    let name = escaped(&sources.file.to_string_lossy());
    let mut layer = Layer::new("file");
    let path = sources.working_directory.join(&sources.file);
    let source = match contents(&path) {
        Ok(source) => source,
        Err(Unread::Missing) if !sources.file_required => return Some(layer),
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

/// Why there is nothing of a file.
enum Unread {
    Missing,
    Failed(std::io::Error),
    TooLong,
    NotUtf8 { line: usize },
}

impl Unread {
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

fn contents(path: &Path) -> Result<String, Unread> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Unread::Missing,
            _ => Unread::Failed(error),
        })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Unread::TooLong);
    }
    String::from_utf8(bytes).map_err(|error| {
        let (before, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
        Unread::NotUtf8 { line: 1 + before.iter().filter(|&&byte| byte == b'\n').count() }
    })
}
