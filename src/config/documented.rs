//! Keeps `docs/CONFIGURATION.md` and `config.example.yml` equal to the table of keys.
//!
//! `UPDATE_DOCS=1 cargo test --lib documented` rewrites the generated part.

use super::changes::is_live;
use super::environment::variable;
use super::keys::{DefaultValue, Key, SECTIONS, ValueKind};
use super::{ConfigSources, load};
use crate::docs_test::{assert_generated, project};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

const BEGIN: &str = "<!-- keys: begin, generated from the table in src/config/keys.rs -->\n";
const END: &str = "<!-- keys: end -->\n";

#[test]
fn the_documentation_has_every_key_as_it_is() {
    assert_generated("docs/CONFIGURATION.md", [BEGIN, END], &tables());
}

fn tables() -> String {
    let mut text = String::new();
    for (heading, keys) in SECTIONS {
        write!(
            text,
            "\n### {heading}\n\n| key | value | default | live | meaning |\n| --- | --- | --- | --- | --- |\n"
        )
        .expect("a string takes everything");
        for key in *keys {
            let Key { name, meaning, .. } = key;
            let live = if is_live(name) { "yes" } else { "" };
            let value = value(key);
            let default = default(key);
            writeln!(text, "| `{name}` | {value} | {default} | {live} | {meaning} |")
                .expect("a string takes everything");
        }
    }
    text
}

fn value(key: &Key) -> String {
    match key.kind {
        ValueKind::Path => "path".to_owned(),
        ValueKind::Text => "text".to_owned(),
        ValueKind::Boolean => "`true` or `false`".to_owned(),
        ValueKind::Whole { unit, min, max } => format!("{unit}, {min} to {max}"),
        ValueKind::Choice(words) => format!("`{}`", words.join("`, `")),
        ValueKind::List => "list of texts".to_owned(),
        ValueKind::Tables => "list of rules".to_owned(),
    }
}

fn default(key: &Key) -> String {
    match (&key.absent, &key.kind) {
        (DefaultValue::Refused, _) => "**required**".to_owned(),
        (DefaultValue::Value(""), ValueKind::List | ValueKind::Tables) => "`[]`".to_owned(),
        (DefaultValue::Value(""), _) => "empty".to_owned(),
        (DefaultValue::Value(text), _) => format!("`{text}`"),
        (DefaultValue::Then(then), _) => format!("unset: {then}"),
    }
}

#[test]
fn the_spelling_of_variables_is_as_documented() {
    let page = fs::read_to_string(project("docs/CONFIGURATION.md")).expect("the page");
    assert!(page.contains(&variable("retry_interval_seconds")));
}

#[test]
fn the_example_loads_as_it_is_and_with_all_its_suggestions() {
    let example = fs::read_to_string(project("config.example.yml")).expect("the example");
    // A suggestion is a commented key; prose has a space behind its `#`.
    let suggested = |line: &str| {
        line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).map(str::to_owned)
    };
    let all: Vec<String> =
        example.lines().map(|line| suggested(line).unwrap_or_else(|| line.to_owned())).collect();
    assert!(all.len() > 20 && all.join("\n") != example.trim_end());
    for content in [example, all.join("\n")] {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("config.yml"), &content).expect("a file");
        let sources = ConfigSources::new(BTreeMap::new(), directory.path().to_owned());
        if let Err(problems) = load(&sources) {
            panic!("{problems}\n{content}");
        }
    }
}

#[test]
fn the_error_on_the_page_is_the_error_that_is_printed() {
    let page = fs::read_to_string(project("docs/CONFIGURATION.md")).expect("the page");
    let shown = |fence: &str| {
        let (_, rest) = page.split_once(fence).expect(fence);
        rest.split_once("```\n").expect("the fence's end").0.to_owned()
    };
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("config.yml"), shown("```yaml wrong\n")).expect("a file");
    let mut sources = ConfigSources::new(BTreeMap::new(), directory.path().to_owned());
    sources.environment.insert("FILE_SYNC__CLOUDFRONT_ENABLED".into(), "yes".into());
    let problems = load(&sources).expect_err("wrong on purpose");
    assert_eq!(format!("file-sync-service: {problems}\n"), shown("```text error\n"));
}
