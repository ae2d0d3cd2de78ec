//! A command that says something and ends.

use super::world::World;
use serde_json::Value;
use std::collections::BTreeSet;

/// Kinds and paths of what was reported.
pub(crate) type Entries = BTreeSet<(String, String)>;

/// The expected report.
pub(crate) fn entries(expected: &[(&str, &str)]) -> Entries {
    expected.iter().map(|(kind, path)| ((*kind).to_owned(), (*path).to_owned())).collect()
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Said {
    /// Its output, which has to be one JSON document.
    pub(crate) fn json(&self) -> Value {
        let value = serde_json::from_str(&self.output);
        value.unwrap_or_else(|error| panic!("{error}: {} {}", self.output, self.errors))
    }

    /// The steps of a plan.
    pub(crate) fn steps(&self) -> Entries {
        self.entries("steps")
    }

    /// What a comparison found.
    pub(crate) fn differences(&self) -> Entries {
        self.entries("differences")
    }

    /// The entries of the list `name`.
    pub(crate) fn entries(&self, name: &str) -> Entries {
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let entries = self.json()[name].as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| (text(entry, "kind"), text(entry, "path"))).collect()
    }
}

impl World {
    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().expect("it starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let code = output.status.code();
        let errors = text(output.stderr);
        let output = text(output.stdout);
        Said { code, output, errors }
    }
}
