//! Files of one room that import each other: the rooms of the crate, the S3 for development, and the torture.

use super::all_keep;
use super::source::{Source, all, names};
use std::collections::{BTreeMap, BTreeSet};

/// Circles that exist, each by its files. They may become fewer.
const KNOWN: [(&str, &[&str]); 6] = [
    // Credentials are refused by the watch of answers, and renewed by their source.
    ("src/aws", &["credentials", "refusal"]),
    ("src/admin", &["listener", "server"]),
    ("src/queue", &["lane", "window"]),
    // The tables of the state, and what they have in common.
    (
        "src/store",
        &["binding", "delayed", "invalidations", "repair", "rows", "schema", "share", "uploads"],
    ),
    ("src/telemetry", &["json", "record", "text"]),
    ("src/transfer/s3", &["answer", "error"]),
];

/// The files of a folder that each of its files imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// The folders with files of Rust in them, below `top`.
fn rooms(top: &str) -> BTreeSet<String> {
    let sources = all(top);
    let folder =
        |source: &Source| source.path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    sources.iter().filter(|source| !source.is_test).filter_map(folder).collect()
}

/// The name of a file within `room`; `None` for one in another folder.
fn file_in<'a>(room: &str, path: &'a str) -> Option<&'a str> {
    let name = path.strip_prefix(room)?.strip_prefix('/')?.strip_suffix(".rs")?;
    (!name.contains('/')).then_some(name)
}

fn imports(room: &str, start: &str) -> Imports {
    let sources = all(room);
    let files = sources.iter().filter(|source| !source.is_test);
    let files: BTreeMap<_, _> =
        files.filter_map(|source| Some((file_in(room, &source.path)?, source))).collect();
    let named = |source: &Source| {
        let code: Vec<_> = source.code().map(|(_, line)| line.trim()).collect();
        names(&code.join(" "), start)
            .into_iter()
            .filter(|name| files.contains_key(&**name))
            .collect()
    };
    files.iter().map(|(name, source)| ((*name).to_owned(), named(source))).collect()
}

/// All files that lead back to themselves.
fn circles(imports: &Imports) -> BTreeSet<String> {
    let reached = |from: &String| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<_> = imports[from].iter().filter(|to| *to != from).collect();
        while let Some(file) = next.pop() {
            if reached.insert(file.clone()) {
                next.extend(&imports[file]);
            }
        }
        reached
    };
    imports.keys().filter(|from| reached(from).contains(*from)).cloned().collect()
}

#[test]
fn no_file_imports_one_that_imports_it() {
    let mut breaches = Vec::new();
    let rooms = rooms("src").into_iter().filter(|room| room != "src").map(|room| (room, "super::"));
    let torture = "dev/drivers/src/bin/torture";
    let crates = ["dev/s3/src", torture].map(|room| (room.to_owned(), "crate::"));
    for (room, start) in rooms.chain(crates) {
        let known =
            KNOWN.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, files)| files);
        let found = circles(&imports(&room, start));
        if found.iter().ne(known) {
            breaches.push(format!("{room}: circles of {found:?}, and {known:?} are known"));
        }
    }
    all_keep("files of a room import each other in one direction", &breaches);
}

#[test]
fn circles_are_seen_however_they_are_imported() {
    let named = |code| names(code, "super::").into_iter().collect::<Vec<_>>();
    assert_eq!(named("use super::a::B; let c = super::d::e();"), ["a", "d"]);
    assert_eq!(named("use super::{ a::{B, C}, d, self::E, };"), ["a", "d", "self"]);
    assert_eq!(named("use super::super::a::B; use crate::b;"), ["super"]);
    let of = |name: &str, imported: &[&str]| {
        (name.to_owned(), imported.iter().map(|file| (*file).to_owned()).collect())
    };
    let imports = Imports::from([of("a", &["b"]), of("b", &["c"]), of("c", &["b", "c"])]);
    assert_eq!(circles(&imports).into_iter().collect::<Vec<_>>(), ["b", "c"]);
}
