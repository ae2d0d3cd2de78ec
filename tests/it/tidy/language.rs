//! The rules of the language that a program can check: no idioms, no packed lets, and no type name
//! that is declared twice. `contrib/language-measures` counts the same, in more kinds of files.

use super::{Source, all, all_keep, everything};
use regex_lite::Regex;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Folders whose idioms are not replaced yet. Remove a line once its files have none.
const IDIOMS_HELD: [&str; 0] = [];

/// The expressions that the style guide replaces: one list for this test and for the program.
fn idioms() -> Regex {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/language-measures");
    let program = fs::read_to_string(program).expect("text");
    let list = program.split("IDIOMS = {\n").nth(1).and_then(|rest| rest.split("\n}").next());
    let patterns: Vec<_> = list
        .expect("a list of idioms")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("r\"")?.split('"').next())
        .map(|pattern| format!("(?:{})", pattern.replace(' ', r"\s+(?:(?://[/!]?|#)\s*)?")))
        .collect();
    assert!(patterns.len() > 10, "the list of idioms was read: {patterns:?}");
    Regex::new(&format!(r"(?i)\b(?:{})\b", patterns.join("|"))).expect("an expression")
}

/// Comments and string literals without code spans; everything else is blank. Lines keep their numbers.
fn prose(text: &str) -> String {
    let parts = Regex::new(
        r##"(?s)(//[^\n]*|/\*.*?\*/|b?r#".*?"#|b?r".*?"|[bc]?"(?:\\.|[^"\\])*")|'(?:\\[^\n]|[^'\\\n])'"##,
    )
    .expect("an expression");
    let mut prose = String::new();
    let mut last = 0;
    for part in parts.captures_iter(text) {
        let (Some(whole), literal) = (part.get(0), part.get(1)) else { continue };
        let code = text.get(last..whole.start()).unwrap_or_default();
        prose.extend(std::iter::repeat_n('\n', code.matches('\n').count()));
        prose.push_str(literal.map_or(" ", |literal| literal.as_str()));
        last = whole.end();
    }
    Regex::new(r"`[^`\n]*`").expect("an expression").replace_all(&prose, " ").into_owned()
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or_default().matches('\n').count() + 1
}

#[test]
fn comments_and_messages_have_no_idioms() {
    let idioms = idioms();
    let mut breaches = Vec::new();
    let mut sources = everything();
    sources.extend(all("bench"));
    sources.retain(|source| !IDIOMS_HELD.iter().any(|held| source.path.starts_with(held)));
    for source in &sources {
        let prose = prose(&source.text);
        breaches.extend(idioms.find_iter(&prose).map(|found| {
            format!("{}:{}: {}", source.path, line_of(&prose, found.start()), found.as_str())
        }));
    }
    all_keep("contrib/language-measures --list has a better expression for each idiom", &breaches);
}

/// A `let` of a tuple of names that a tuple of values follows: the lines where each begins.
fn packed_lets(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("let (") {
        let Some((pattern, rest)) = group(text.get(at + 4..).unwrap_or_default()) else { continue };
        let Some(value) = rest.trim_start().strip_prefix('=').map(str::trim_start) else {
            continue;
        };
        let packed = group(value).is_some_and(|(values, rest)| {
            rest.starts_with(';') && has_top_level_comma(pattern) && has_top_level_comma(values)
        });
        if packed {
            found.push(line_of(text, at));
        }
    }
    found
}

/// The content of the parenthesis that the text starts with, and what follows it.
fn group(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0;
    for (at, char) in text.char_indices() {
        match char {
            '(' => depth += 1,
            ')' if depth == 1 => return Some((text.get(1..at)?, text.get(at + 1..)?)),
            ')' => depth -= 1,
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn has_top_level_comma(text: &str) -> bool {
    let mut depth = 0;
    text.trim_end_matches(',').chars().any(|char| {
        match char {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        char == ',' && depth == 0
    })
}

#[test]
fn a_let_has_one_value() {
    let mut sources = everything();
    sources.extend(all("bench"));
    let breaches: Vec<_> = sources
        .iter()
        .flat_map(|source| {
            packed_lets(&source.text).into_iter().map(|line| format!("{}:{line}", source.path))
        })
        .collect();
    all_keep("a let of two values is two statements: write one let for each", &breaches);
}

/// The types that the file declares outside tests.
fn declared_types(source: &Source) -> Vec<String> {
    let declaration = Regex::new(
        r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:unsafe\s+)?(?:struct|enum|union|trait)\s+([A-Z]\w*)|^(?:pub(?:\([^)]*\))?\s+)?type\s+([A-Z]\w*)",
    )
    .expect("an expression");
    let code: Vec<_> = source.code().map(|(_, line)| line).collect();
    code.iter()
        .filter_map(|line| {
            let found = declaration.captures(line)?;
            found.get(1).or_else(|| found.get(2)).map(|name| name.as_str().to_owned())
        })
        .collect()
}

/// Names of the prelude and of well-known types of `std`.
const STD_NAMES: [&str; 16] = [
    "Arc", "Box", "Duration", "From", "Instant", "Into", "Iterator", "Mutex", "Option", "Range",
    "Result", "String", "Thread", "ToString", "TryFrom", "Vec",
];

#[test]
fn a_type_name_is_declared_once() {
    let mut declared: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in all("src").iter().filter(|source| !source.is_test) {
        for name in declared_types(source) {
            declared.entry(name).or_default().push(source.path.clone());
        }
    }
    assert!(declared.len() > 300, "the declarations were read: {}", declared.len());
    let mut breaches: Vec<_> = declared
        .iter()
        .filter(|(_, places)| places.len() > 1)
        .map(|(name, places)| format!("{name}: {}", places.join(", ")))
        .collect();
    breaches.extend(STD_NAMES.iter().filter_map(|name| {
        declared.get(*name).map(|places| format!("{name}, a name of std: {}", places.join(", ")))
    }));
    all_keep("a type has a name of its own: add what it belongs to", &breaches);
}

#[test]
fn the_rules_of_the_language_see_what_they_are_for() {
    let idioms = idioms();
    let count = |text: &str| idioms.find_iter(&prose(text)).count();
    // The words are written in two parts, so that this file has none of them.
    let text = |text: &str| text.replace('+', "");
    assert_eq!(count(&text("/// No+body is\n/// to+ld.\nlet no+body = 1; // `to+ld`\n")), 2);
    let literals = "let a = \"it te+lls\"; let quote = '\"'; let to+ld = r#\"to+ld \"x\"#;";
    assert_eq!(count(&text(literals)), 2);
    let packed = |values: &str| format!("let (a, b) = {values};");
    let two = format!("{}\n{}", packed("(1, f(2))"), packed("\n    (3,\n    4)"));
    assert_eq!(packed_lets(&two), [1, 2]);
    assert_eq!(packed_lets(&packed("f(1, 2)")), [0; 0]);
    assert_eq!(
        packed_lets(&format!("{} else {{}};", packed("(x, y)").trim_end_matches(';'))),
        [0; 0]
    );
    let source = Source::new(
        "src/a.rs".to_owned(),
        "pub(crate) struct One;\n// struct Two;\ntype Three = u8;\n    type Item = u8;\n"
            .to_owned(),
    );
    assert_eq!(declared_types(&source), ["One", "Three"]);
}
