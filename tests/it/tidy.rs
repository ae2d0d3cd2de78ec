//! The rules of the code that no compiler and no lint checks: which module may name which, how long
//! files and functions are, and how they are documented.
//!
//! The source is read as text. That it is formatted by `rustfmt` is what makes it so easy.

mod circles;
mod language;
mod source;

use source::{Source, all, crate_imports, functions, module_of};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What each module may name of the others. A new module gets a line here, and thereby a place.
const MAY_NAME: [(&str, &[&str]); 42] = [
    // The vocabulary, and the pure stages.
    ("escape", &[]),
    ("model", &["escape"]),
    ("clock", &["model"]),
    ("docs_test", &[]),
    ("error_causes", &[]),
    ("path_cover", &[]),
    ("blocking_pool", &[]),
    ("safe_file", &[]),
    ("sandbox", &[]),
    ("endpoint_url", &[]),
    ("unix_socket", &[]),
    ("endpoints_file", &["safe_file"]),
    ("filter", &["model"]),
    ("rules", &["model"]),
    ("settle", &["model"]),
    ("plan", &["model"]),
    ("exclusivity", &["model"]),
    // Its changes are the record's.
    ("queue", &["model", "store"]),
    // The adapters.
    ("root", &["model"]),
    ("store", &["path_cover", "model", "safe_file"]),
    ("detect", &["model", "root"]),
    ("aws", &["error_causes", "safe_file"]),
    // What it is permitted to try is the queue's; what the bucket may hold is in the state.
    (
        "transfer",
        &[
            "aws",
            "clock",
            "endpoint_url",
            "error_causes",
            "escape",
            "model",
            "queue",
            "root",
            "rules",
            "store",
            "blocking_pool",
            "exclusivity",
        ],
    ),
    // Its back-off is the queue's.
    ("invalidate", &["aws", "path_cover", "error_causes", "model", "queue", "store"]),
    ("retry_file", &["clock", "escape", "model", "safe_file", "store"]),
    ("look", &["model", "plan", "root", "settle"]),
    ("sweep", &["model", "root", "blocking_pool"]),
    ("hints", &["model"]),
    ("relay", &["endpoint_url", "hints", "model", "safe_file"]),
    ("reconcile", &["filter", "model", "root", "rules", "store", "sweep"]),
    (
        "engine",
        &[
            "detect",
            "filter",
            "hints",
            "look",
            "model",
            "plan",
            "queue",
            "reconcile",
            "root",
            "rules",
            "settle",
            "store",
            "sweep",
            "blocking_pool",
            "transfer",
        ],
    ),
    // Compares, and changes nothing.
    (
        "verify",
        &[
            "filter",
            "look",
            "model",
            "plan",
            "reconcile",
            "root",
            "settle",
            "store",
            "transfer",
            "exclusivity",
        ],
    ),
    // Other services that are informed.
    ("https", &[]),
    ("heartbeat", &["https"]),
    // Tries everything once.
    ("doctor", &["model", "root", "transfer", "exclusivity"]),
    // The way back.
    (
        "restore",
        &["escape", "filter", "model", "root", "store", "blocking_pool", "transfer", "exclusivity"],
    ),
    // Observes the work; only the composition root knows it.
    (
        "telemetry",
        &[
            "docs_test",
            "endpoint_url",
            "engine",
            "error_causes",
            "escape",
            "https",
            "hints",
            "invalidate",
            "model",
            "queue",
            "reconcile",
            "transfer",
        ],
    ),
    (
        "admin",
        &[
            "clock",
            "endpoints_file",
            "engine",
            "escape",
            "heartbeat",
            "hints",
            "model",
            "safe_file",
            "unix_socket",
            "exclusivity",
        ],
    ),
    // The doorway.
    ("config", &["docs_test", "endpoint_url", "escape", "model", "rules", "safe_file"]),
    ("cli", &["config", "endpoints_file", "escape", "safe_file", "unix_socket"]),
    ("shutdown", &[]),
    (
        "app",
        &[
            "admin",
            "aws",
            "cli",
            "clock",
            "config",
            "detect",
            "doctor",
            "endpoint_url",
            "endpoints_file",
            "engine",
            "escape",
            "filter",
            "heartbeat",
            "https",
            "hints",
            "invalidate",
            "model",
            "plan",
            "queue",
            "reconcile",
            "relay",
            "restore",
            "retry_file",
            "root",
            "rules",
            "safe_file",
            "sandbox",
            "settle",
            "shutdown",
            "store",
            "sweep",
            "telemetry",
            "transfer",
            "verify",
            "exclusivity",
        ],
    ),
];

/// Crates of adapters, and the only files that may name them.
const AT_HOME: [(&str, &[&str]); 11] = [
    ("aws_config", &["src/aws"]),
    ("aws_sdk_cloudfront", &["src/invalidate/cloudfront"]),
    ("aws_sdk_s3", &["src/transfer/s3"]),
    ("aws_types", &["src/aws"]),
    ("aws_smithy", &["src/transfer/s3", "src/aws"]),
    ("libc", &["src/root/writers.rs"]),
    ("rusqlite", &["src/store"]),
    ("notify", &["src/detect"]),
    ("landlock", &["src/sandbox"]),
    ("opentelemetry", &["src/telemetry"]),
    ("prometheus", &["src/telemetry"]),
];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 110;

/// Fails with everything that breaks a rule, so that one run shows all of them.
fn all_keep(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}, but:\n  {}", breaches.join("\n  "));
}

#[test]
fn modules_name_only_those_before_them() {
    let mut breaches = Vec::new();
    for source in all("src").iter().filter(|source| !source.is_test) {
        let module = module_of(&source.path);
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some((_, may)) = MAY_NAME.iter().find(|(name, _)| *name == module) else {
            breaches
                .push(format!("{}: {module} has no place in the list of this test", source.path));
            continue;
        };
        for (line, named) in crate_imports(source) {
            if named != module && !may.contains(&named.as_str()) {
                breaches.push(format!("{}:{line}: {module} may not name {named}", source.path));
            }
        }
    }
    all_keep("a module names only those it may", &breaches);
}

#[test]
fn the_list_of_modules_has_no_circles_but_the_one_of_queue_and_store() {
    let mut before = BTreeSet::new();
    for (module, may) in MAY_NAME {
        before.insert(module);
        let ahead: Vec<_> = may.iter().filter(|named| !before.contains(*named)).collect();
        let expected: &[&&str] = if module == "queue" { &[&"store"] } else { &[] };
        assert_eq!(ahead, expected, "{module} names what comes after it");
    }
}

#[test]
fn the_queue_takes_types_of_the_record_and_nothing_else() {
    let mut breaches = Vec::new();
    for source in
        all("src/queue").iter().chain(&all("src/queue.rs")).filter(|source| !source.is_test)
    {
        for (number, line) in source.code() {
            let types = line.trim() == "use crate::store::{Change, StateCounts};";
            if line.contains("crate::store") && !(types && source.path == "src/queue.rs") {
                breaches.push(format!("{}:{number}: {line}", source.path));
            }
        }
    }
    all_keep("only the types of changes and counts are the record's", &breaches);
}

#[test]
fn the_crates_of_adapters_stay_in_their_adapters() {
    let mut breaches = Vec::new();
    for source in all("src") {
        for (number, line) in source.code() {
            for (name, homes) in AT_HOME {
                let at_home = homes.iter().any(|home| source.path.starts_with(home));
                if names_crate(line, name) && !at_home {
                    let homes = homes.join(" and ");
                    breaches
                        .push(format!("{}:{number}: {name} is at home in {homes}", source.path));
                }
            }
        }
    }
    all_keep("only an adapter names its crate", &breaches);
}

/// Whether the line has `name` as the start of a path.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line.get(..at).unwrap_or_default().chars().next_back();
        let rest = line.get(at + name.len()..).unwrap_or_default();
        let rest = rest.trim_start_matches(|char: char| char.is_alphanumeric() || char == '_');
        !before.is_some_and(|char| char.is_alphanumeric() || matches!(char, '_' | ':' | '"' | '.'))
            && rest.starts_with("::")
    })
}

#[test]
fn one_file_alone_has_unsafe_code() {
    let mut breaches = Vec::new();
    for source in everything().iter().filter(|source| source.path != "src/root/writers.rs") {
        let code = source.text.lines().enumerate().filter(|(_, line)| {
            let words = line.split(|char: char| !char.is_alphanumeric() && char != '_');
            let code = !line.trim_start().starts_with("//") && !line.contains('"');
            code && words.into_iter().any(|word| matches!(word, "unsafe" | "unsafe_code"))
        });
        breaches
            .extend(code.map(|(number, line)| format!("{}:{}: {line}", source.path, number + 1)));
    }
    all_keep("what the program needs from the kernel is in rustix", &breaches);
}

#[test]
fn every_module_says_what_it_is_for() {
    let sources = everything();
    let silent =
        sources.iter().filter(|source| !source.is_test && !source.text.starts_with("//! "));
    let silent: Vec<_> = silent.map(|source| source.path.clone()).collect();
    all_keep("every file starts with //! and a sentence", &silent);
}

#[test]
fn no_file_is_longer_than_a_person_reads_at_once() {
    let mut breaches = Vec::new();
    for source in everything() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            breaches.push(format!("{} has {lines} lines", source.path));
        }
        for (number, line) in source.text.lines().enumerate() {
            let chars = line.chars().count();
            // What a literal says is not broken for its length.
            if chars > LINE_CHARS_MAX && !line.contains('"') {
                breaches.push(format!("{}:{} has {chars} characters", source.path, number + 1));
            }
        }
        if source.path.ends_with("/mod.rs") {
            breaches.push(format!("{}: a module is a file and a folder of its name", source.path));
        }
    }
    all_keep(&format!("files of {FILE_LINES_MAX} lines of {LINE_CHARS_MAX} at most"), &breaches);
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut breaches = Vec::new();
    for source in everything().iter().filter(|source| !source.is_test) {
        for (name, number, lines) in functions(source) {
            if lines > FUNCTION_LINES_MAX {
                breaches.push(format!("{}:{number}: {name} has {lines} lines", source.path));
            }
        }
    }
    all_keep(&format!("functions of {FUNCTION_LINES_MAX} lines at most"), &breaches);
}

#[test]
fn every_promise_in_the_documentation_names_tests_that_exist() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/SEMANTICS.md");
    let page = fs::read_to_string(page).expect("text");
    let sources = everything();
    let mut promises = 0;
    let mut breaches = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ") && line.contains("_")) {
        let Some([number, _, named]) = cells(line) else { continue };
        // Exit codes have a table as well, without names of tests.
        if number.parse::<u8>().is_err() || !named.starts_with('`') {
            continue;
        }
        promises += 1;
        let names: Vec<_> = named.split(", ").map(|name| name.trim_matches('`')).collect();
        let missing = names.iter().filter(|name| !sources.iter().any(|source| tests(source, name)));
        breaches.extend(missing.map(|name| format!("{number}: there is no test {name}")));
    }
    assert_eq!(promises, 21, "the table has a row for each promise");
    all_keep("a promise names the tests that pin it", &breaches);
}

/// The three cells of a row of a table.
fn cells(line: &str) -> Option<[&str; 3]> {
    let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    cells.try_into().ok()
}

/// Whether the file has a test of this name.
fn tests(source: &Source, name: &str) -> bool {
    let lines: Vec<_> = source.text.lines().map(str::trim).collect();
    lines.windows(2).any(|pair| {
        let is_test = pair[0] == "#[test]" || pair[0].starts_with("#[tokio::test");
        let function = pair[1].trim_start_matches("async ").strip_prefix("fn ");
        is_test
            && function
                .and_then(|rest| rest.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with('('))
    })
}

fn everything() -> Vec<Source> {
    ["src", "dev", "tests"].iter().flat_map(|folder| all(folder)).collect()
}

#[test]
fn the_rules_themselves_see_what_they_are_for() {
    let source = Source::new(
        "src/plan.rs".to_owned(),
        "//! Plans.\nuse crate::{engine, store::Store};\n// use crate::comment;\nuse super::app;\n\
         fn long() {\n    crate::look::look();\n}\n#[cfg(test)]\nmod tests {\n    use crate::root;\n}\n"
            .to_owned(),
    );
    let named: Vec<_> = crate_imports(&source).into_iter().map(|(_, name)| name).collect();
    assert_eq!(named, ["engine", "store", "app", "look"]);
    assert_eq!(functions(&source), [("long".to_owned(), 5, 3)]);
    assert!(names_crate("use rusqlite::Row;", "rusqlite"));
    assert!(names_crate("    aws_smithy_types::base64::encode()", "aws_smithy"));
    assert!(!names_crate("self.notify::<u8>()", "notify") && !names_crate("notify(x)", "notify"));
    assert!(all("src").len() > 50 && module_of("src/queue/window.rs") == "queue");
}
