//! Variables and flags: text without YAML around it.
//!
//! # Invariants
//!
//! - Every variable that starts with `FILE_SYNC__` is a key, or a problem. So is one that was
//!   plainly meant for us and misses an underscore or the capitals, because it would be lost
//!   without a word.
//! - A key that takes several values has commas between them. An entry with a comma in it belongs in
//!   the file. Tables are YAML or JSON here as well.

use super::Sources;
use super::keys::{self, Kind};
use super::problem::{Problem, Problems, escaped};
use super::written::Layer;
use super::yaml::{Raw, parse_value};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What every variable of ours starts with. With one underscore alone Kubernetes would put the
/// addresses of a service named `file-sync` among the settings.
const VARIABLE_PREFIX: &str = "FILE_SYNC__";

/// What the variables say.
pub(super) fn read(sources: &Sources, problems: &mut Problems) -> Layer {
    let mut layer = Layer::new("environment");
    for (name, value) in &sources.environment {
        let taken = match settings_name(name) {
            _ if value.is_empty() => continue,
            Named::Key(key) => match value.to_str() {
                Some(text) => {
                    let origin = escaped(&name.to_string_lossy());
                    split(&key, text, &origin)
                        .and_then(|raw| layer.take(&key, raw, &origin, variable))
                }
                None => Err(not_utf8(name, &key)),
            },
            Named::Almost(key) => Err(Problem::key(
                &escaped(&name.to_string_lossy()),
                key,
                format!("is not read from this variable; write {}", variable(key)),
            )),
            Named::Other => continue,
        };
        if let Err(problem) = taken {
            problems.push(problem);
        }
    }
    // The Rust world's own name for this. It stands above our variable, and below a flag.
    match sources.variable("RUST_LOG").map(|value| value.to_str()) {
        Some(Some(text)) => layer.put(&keys::LOG_LEVEL, text, "RUST_LOG"),
        Some(None) => problems.push(not_utf8(OsStr::new("RUST_LOG"), keys::LOG_LEVEL.name)),
        None => {}
    }
    layer
}

/// Whose setting a variable is, by its name.
enum Named {
    /// Ours: the key, as far as it could be read.
    Key(String),
    /// Meant for us and lost: one underscore, or small letters.
    Almost(&'static str),
    Other,
}

fn settings_name(name: &OsStr) -> Named {
    if let Some(key) = name.as_bytes().strip_prefix(VARIABLE_PREFIX.as_bytes()) {
        let key = String::from_utf8_lossy(key);
        return match keys::find(&key.to_lowercase()) {
            Some(known) if key.chars().any(char::is_lowercase) => Named::Almost(known.name),
            _ => Named::Key(key.to_lowercase()),
        };
    }
    let name = name.to_string_lossy().to_uppercase();
    let almost =
        name.strip_prefix("FILE_SYNC_").map(|key| key.trim_start_matches('_').to_lowercase());
    match almost.and_then(|key| keys::find(&key)) {
        Some(key) => Named::Almost(key.name),
        None => Named::Other,
    }
}

/// The variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.to_uppercase())
}

fn not_utf8(variable: &OsStr, key: &str) -> Problem {
    Problem::key(&escaped(&variable.to_string_lossy()), key, "is not UTF-8; write it as UTF-8")
}

/// What the flags say.
pub(super) fn read_flags(sources: &Sources, problems: &mut Problems) -> Layer {
    let mut layer = Layer::new("flags");
    for (key, text) in &sources.flags {
        let origin = format!("--set {}", escaped(key));
        let taken =
            split(key, text, &origin).and_then(|raw| layer.take(key, raw, &origin, str::to_owned));
        if let Err(problem) = taken {
            problems.push(problem);
        }
    }
    layer
}

/// Text without YAML's brackets: a key that takes several has commas between them. Tables are too
/// much for that, and are written as they would be in the file, on one line or as JSON.
fn split(key: &str, text: &str, origin: &str) -> Result<Raw, Problem> {
    match keys::find(key).map(|key| &key.kind) {
        Some(Kind::List) => {
            let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
            Ok(Raw::List(entries.map(|entry| Raw::Text(entry.to_owned())).collect()))
        }
        Some(Kind::Tables) => parse_value(text).map_err(|error| {
            let example =
                r#"write YAML or JSON such as [{match: "*.html", cache_control: no-cache}]"#;
            Problem::key(origin, key, format!("{}; {example}", error.message))
        }),
        _ => Ok(Raw::Text(text.to_owned())),
    }
}
