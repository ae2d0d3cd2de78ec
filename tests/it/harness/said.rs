//! A command that says something and ends.

use super::world::World;
use serde_json::Value;

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
}

impl World {
    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().expect("it starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let (output, errors, code) =
            (text(output.stdout), text(output.stderr), output.status.code());
        Said { code, output, errors }
    }
}
