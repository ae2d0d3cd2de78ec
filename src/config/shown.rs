//! The output of `check-config` for each key.

use super::problem::quoted;
use crate::model::KeyPrefix;
use std::fmt;
use std::path::Path;

/// The effective value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// The key as written in the file.
    pub key: &'static str,
    /// The value as it would be written in the file; empty if there is none. No key holds a secret.
    pub value: String,
    /// The origin of the value.
    pub origin: ValueOrigin,
}

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueOrigin {
    /// The default.
    Default,
    /// Not set, and without a default; this describes the effect.
    Unset(&'static str),
    /// Set here: `config.yml:3`, a variable or a flag.
    Given(String),
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Unset(then) => write!(f, "not set: {}", then.replace('`', "")),
            Self::Given(place) => f.write_str(place),
        }
    }
}

/// A text as YAML.
pub(super) fn text(text: &str) -> String {
    quoted(text)
}

/// A prefix without the `/` that separates it from the rest of a key.
pub(super) fn prefix(prefix: &KeyPrefix) -> String {
    match prefix.as_str().strip_suffix('/') {
        None | Some("") => quoted(prefix.as_str()),
        Some(written) => quoted(written),
    }
}

/// A path as YAML. Bytes that are not UTF-8 cannot be written there, and show as U+FFFD.
pub(super) fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// Several texts as YAML.
pub(super) fn list(texts: &[String]) -> String {
    let entries: Vec<String> = texts.iter().map(|entry| text(entry)).collect();
    format!("[{}]", entries.join(", "))
}
