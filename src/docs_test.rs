//! For tests: keeps the generated part of a page equal to the code.
//!
//! `UPDATE_DOCS=1 cargo test --lib documented` rewrites it.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the project.
pub(crate) fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Fails if the text between the marks differs from `generated`.
pub(crate) fn assert_generated(page: &str, [begin, end]: [&str; 2], generated: &str) {
    let path = project(page);
    let page = fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once(begin).expect("the begin mark");
    let (_, after) = rest.split_once(end).expect("the end mark");
    let current = format!("{before}{begin}{generated}{end}{after}");
    // Not a setting of the program: a developer requests the update of the page.
    #[expect(clippy::disallowed_methods, reason = "a request of the person who runs the tests")]
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &current).expect("the page is written");
        return;
    }
    assert!(page == current, "run: UPDATE_DOCS=1 cargo test --lib documented");
}
