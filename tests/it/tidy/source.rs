//! Rust source as text: its code without comments and tests, what it imports, its functions.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A file.
#[derive(Debug)]
pub(super) struct Source {
    /// From the top of the repository.
    pub(super) path: String,
    pub(super) text: String,
    /// Whether all of it is a test.
    pub(super) is_test: bool,
}

impl Source {
    pub(super) fn new(path: String, text: String) -> Self {
        let is_test =
            path.contains("/tests/") || path.ends_with("/tests.rs") || path.starts_with("tests/");
        Self { path, text, is_test }
    }

    /// The lines of code with their numbers: no comments, and no tests at the end of a file.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().take_while(|(_, line)| *line != "#[cfg(test)]");
        let code = lines.filter(|(_, line)| !line.trim_start().starts_with("//"));
        code.map(|(index, line)| (index + 1, line))
    }
}

/// Every file of Rust at or below `path`, which starts at the top of the repository.
pub(super) fn all(path: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    collect(path, &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn collect(path: &str, sources: &mut Vec<Source>) {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if place.is_dir() {
        for entry in fs::read_dir(&place).expect("listed") {
            let name = entry.expect("listed").file_name();
            collect(&format!("{path}/{}", name.to_str().expect("text")), sources);
        }
    } else if Path::new(path).extension().is_some_and(|extension| extension == "rs") {
        let text = fs::read_to_string(&place).expect("text");
        sources.push(Source::new(path.to_owned(), text));
    }
}

/// The module of the crate that a file belongs to.
pub(super) fn module_of(path: &str) -> &str {
    let below = path.strip_prefix("src/").expect("a file of the crate");
    let name = below.split('/').next().unwrap_or_default();
    name.strip_suffix(".rs").unwrap_or(name)
}

/// The modules of the crate that the code names, each with the number of its line.
pub(super) fn crate_imports(source: &Source) -> Vec<(usize, String)> {
    // From a file right below `src`, `super` is the crate as well; from deeper ones it takes more.
    let depth = source.path.matches('/').count();
    let up = "super::".repeat(depth);
    let mut named = Vec::new();
    for (number, line) in source.code() {
        for start in ["crate::", &up] {
            for (at, _) in line.match_indices(start) {
                let before = line.get(..at).unwrap_or_default().chars().next_back();
                if before
                    .is_some_and(|char| char.is_alphanumeric() || matches!(char, '_' | ':' | '$'))
                {
                    continue;
                }
                let rest = line.get(at + start.len()..).unwrap_or_default();
                named.extend(first_names(rest).into_iter().map(|name| (number, name)));
            }
        }
    }
    named
}

/// The first names after each `start` in code without line breaks, also of nested groups.
pub(super) fn names(code: &str, start: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(start) {
        let before = code.get(..at).unwrap_or_default().chars().next_back();
        if before.is_some_and(|char| char.is_alphanumeric() || matches!(char, '_' | ':' | '$')) {
            continue;
        }
        let rest = code.get(at + start.len()..).unwrap_or_default();
        let name = |text: &str| -> String {
            let text = text.trim_start();
            text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
        };
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(name(rest));
            continue;
        };
        let mut depth = 1;
        let mut entry = String::new();
        for char in group.chars() {
            match char {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (depth == 1 && char == ',') {
                found.insert(name(&entry));
                entry.clear();
            } else {
                entry.push(char);
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.remove("");
    found
}

/// `a` of `a::b::c`, `a` and `b` of `{a::x, b}`.
fn first_names(path: &str) -> Vec<String> {
    let name = |path: &str| -> String {
        path.trim().chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
    };
    match path.strip_prefix('{') {
        Some(group) => group.trim_end_matches([';', '}']).split(',').map(name).collect(),
        None => vec![name(path)],
    }
}

/// The functions outside tests: name, number of the first line, lines.
pub(super) fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let lines: Vec<_> = source.code().collect();
    let mut found = Vec::new();
    for (index, (number, line)) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", " ".repeat(indent));
        let rest = lines.get(index..).unwrap_or_default();
        // One without a body, or with all of it on its line, has no such end of its own.
        let short = rest
            .iter()
            .take_while(|(_, line)| !line.ends_with('{'))
            .any(|(_, line)| line.ends_with(';') || line.ends_with('}'));
        if let (false, Some((last, _))) = (short, rest.iter().find(|(_, line)| **line == end)) {
            found.push((name, *number, last - number + 1));
        }
    }
    found
}

/// The name, if the line begins a function.
fn function_name(line: &str) -> Option<String> {
    let (before, rest) = line.split_once("fn ")?;
    let is_start = before.split_whitespace().all(|word| {
        matches!(
            word,
            "async" | "const" | "pub" | "pub(crate)" | "pub(super)" | "unsafe" | "extern"
        )
    });
    let name: String =
        rest.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
    (is_start && !name.is_empty()).then_some(name)
}
