//! What `check-config` shows of each key.

use super::problem::quoted;
use crate::model::KeyPrefix;
use std::fmt;
use std::path::Path;

/// A key's value in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The key as it stands in the file.
    pub key: &'static str,
    /// The value as it would stand in the file; empty where there is none. No key holds a secret.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// Nobody set it, and there is no value; this is what holds then.
    Unset(&'static str),
    /// Somebody set it here: `config.yml:3`, a variable or a flag.
    Given(String),
}

impl fmt::Display for Origin {
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

/// A prefix as a person writes it, without the `/` that separates it from what follows.
pub(super) fn prefix(prefix: &KeyPrefix) -> String {
    match prefix.as_str().strip_suffix('/') {
        None | Some("") => quoted(prefix.as_str()),
        Some(written) => quoted(written),
    }
}

/// A path as YAML. What is not UTF-8 in it cannot be written there, and shows as U+FFFD.
pub(super) fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// Several texts as YAML.
pub(super) fn list(texts: &[String]) -> String {
    let entries: Vec<String> = texts.iter().map(|entry| text(entry)).collect();
    format!("[{}]", entries.join(", "))
}
