//! Variables and flags: text without YAML around it.
//!
//! # Invariants
//!
//! - Every variable that starts with `FILE_SYNC__` is a key, or an error. So is a variable that
//!   evidently was meant as a key and lacks an underscore or the capitals, because it would be lost
//!   silently.
//! - The value of a key with several values is separated by commas, or is a YAML or JSON list.
//!   Tables are YAML or JSON here too.

use super::ConfigSources;
use super::inline;
use super::keys;
use super::layer::Layer;
use super::problem::{Problem, Problems, escaped};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The prefix of our variables. With one underscore, Kubernetes would add the addresses of a
/// service named `file-sync` to the settings.
const VARIABLE_PREFIX: &str = "FILE_SYNC__";

/// Reads the variables.
pub(super) fn read(sources: &ConfigSources, problems: &mut Problems) -> Layer {
    let mut layer = Layer::new("environment");
    for (name, value) in &sources.environment {
        let taken = match settings_name(name) {
            _ if value.is_empty() => continue,
            Named::Key(key) => match value.to_str() {
                Some(text) => {
                    let origin = escaped(&name.to_string_lossy());
                    inline::parse(&key, text, &origin)
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
    // The standard name in the Rust world. It overrides our variable, and a flag overrides it.
    match sources.variable("RUST_LOG").map(|value| value.to_str()) {
        Some(Some(text)) if text.trim().is_empty() => {}
        Some(Some(text)) => layer.put(&keys::LOG_LEVEL, text.trim(), "RUST_LOG"),
        Some(None) => problems.push(not_utf8(OsStr::new("RUST_LOG"), keys::LOG_LEVEL.name)),
        None => {}
    }
    layer
}

/// The setting that a variable names.
enum Named {
    /// A key, as far as it could be read.
    Key(String),
    /// Meant as a key, but lost: one underscore, or lower case.
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

/// Reads the flags.
pub(super) fn read_flags(sources: &ConfigSources, problems: &mut Problems) -> Layer {
    let mut layer = Layer::new("flags");
    for (key, text) in &sources.flags {
        let origin = format!("--set {}", escaped(key));
        let taken = inline::parse(key, text, &origin)
            .and_then(|raw| layer.take(key, raw, &origin, str::to_owned));
        if let Err(problem) = taken {
            problems.push(problem);
        }
    }
    layer
}
