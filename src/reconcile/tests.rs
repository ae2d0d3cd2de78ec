use super::*;
use crate::filter::FilterSettings;
use crate::model::{Fingerprint, Operation, QueueRow, Version};
use crate::store::Change;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

struct Fixture {
    runtime: tokio::runtime::Runtime,
    tree: tempfile::TempDir,
    _state: tempfile::TempDir,
    store: Store,
    filter: Filter,
}

impl Fixture {
    fn new() -> Self {
        let tree = tempfile::tempdir().expect("a directory");
        let state = tempfile::tempdir().expect("a directory");
        let store = Store::open(state.path(), "b", crate::model::Shard::default(), 0)
            .expect("opened")
            .store;
        let filter = Filter::new(&FilterSettings {
            defaults: true,
            patterns: vec!["ignored".into()],
            share: crate::model::Shard::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { runtime, tree, _state: state, store, filter: filter.expect("patterns") }
    }

    fn write(&self, path: &str) {
        let path = self.tree.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, b"x").expect("written");
    }

    /// Records the file as it is, or one that never existed.
    fn record(&self, path: &str) {
        let root = Root::open(self.tree.path()).expect("opened");
        let path = RelPath::new(path.as_bytes()).expect("a proper path");
        let looked = root.look(&path).map(|stat| stat.fingerprint);
        let fingerprint = looked.unwrap_or(Fingerprint::with_size(9));
        let mirrored = ObjectRecord::from_file(fingerprint, RootGeneration(1));
        let change = Change::Mirrored(path, mirrored);
        self.runtime.block_on(self.store.write(vec![change])).expect("written");
    }

    fn differing(&self, start: &str, depth: Depth) -> (Vec<String>, Summary) {
        let root = Root::open(self.tree.path()).expect("opened");
        let start = RelPath::new(start.as_bytes()).expect("a proper path");
        let mut found = Vec::new();
        let range = ScanScope { start, depth };
        let expected = Expected::new(RootGeneration(1), None);
        let summary =
            reconcile(&root, &self.store, &self.filter, &expected, &range, &mut |batch| {
                found.extend(batch.iter().map(ToString::to_string));
                ControlFlow::Continue(())
            });
        (found, summary.expect("compared"))
    }
}

#[test]
fn what_is_new_changed_and_gone_is_found_and_nothing_else() {
    let fixture = Fixture::new();
    for path in ["a/same", "a/changed", "b", "d/same"] {
        fixture.write(path);
        fixture.record(path);
    }
    fixture.record("a/gone");
    fixture.record("c/whole/directory");
    fixture.write("a/new");
    fs::write(fixture.tree.path().join("a/changed"), b"longer").expect("written");
    let (found, summary) = fixture.differing("", Depth::Whole);
    assert_eq!(found, ["a/changed", "a/gone", "a/new", "c/whole/directory"]);
    assert_eq!((summary.files, summary.new, summary.changed, summary.gone), (5, 1, 1, 2));
}

#[test]
fn a_comparison_of_entries_leaves_what_lies_deeper_alone() {
    let fixture = Fixture::new();
    fixture.write("a/deep/new");
    fixture.write("a/new");
    fixture.record("a/deep/gone");
    fixture.record("a/deeper/gone");
    fixture.record("a/gone");
    let (found, _) = fixture.differing("a", Depth::Entries);
    assert_eq!(found, ["a/deeper/gone", "a/gone", "a/new"]);
}

#[test]
fn a_directory_that_is_gone_brings_up_all_that_was_below() {
    let fixture = Fixture::new();
    fixture.write("stays");
    fixture.record("a/1");
    fixture.record("a/b/2");
    fixture.record("ab");
    let (found, _) = fixture.differing("a", Depth::Whole);
    assert_eq!(found, ["a/1", "a/b/2"]);
}

#[test]
fn what_is_ignored_now_is_neither_sent_nor_called_gone() {
    let fixture = Fixture::new();
    fixture.write("ignored/new");
    fixture.record("ignored/recorded");
    fixture.record("a/ignored");
    fixture.record("a/x.tmp");
    assert_eq!(fixture.differing("", Depth::Whole).0, [""; 0]);
}

#[test]
fn links_are_counted_and_their_old_files_are_gone() {
    let fixture = Fixture::new();
    fixture.write("a/file");
    fixture.record("b/file");
    std::os::unix::fs::symlink("a", fixture.tree.path().join("b")).expect("made");
    let (found, summary) = fixture.differing("", Depth::Whole);
    assert_eq!((found, summary.special), (vec!["a/file".into(), "b/file".into()], 1));
}

#[test]
fn however_many_links_there_are_only_so_many_are_named_and_all_are_counted() {
    let fixture = Fixture::new();
    fixture.write("file");
    let links = 3 * SKIPPED_MAX;
    for number in 0..links {
        let link = fixture.tree.path().join(format!("link{number}"));
        std::os::unix::fs::symlink("file", link).expect("linked");
    }
    let (_, summary) = fixture.differing("", Depth::Whole);
    assert_eq!(summary.skipped.len(), SKIPPED_MAX);
    assert_eq!(summary.special, links as u64);
}

#[test]
fn what_is_parked_comes_up_with_every_comparison_of_the_whole_tree() {
    let fixture = Fixture::new();
    fixture.write("same");
    fixture.record("same");
    let path = RelPath::new(b"same").expect("a proper path");
    let wanted = QueueRow::new(path, Operation::Put, Version::default(), 0);
    let parked = QueueRow { parked: Some("read-error".into()), ..wanted };
    let change = vec![Change::Queue(parked)];
    fixture.runtime.block_on(fixture.store.write(change)).expect("written");
    assert_eq!(fixture.differing("", Depth::Whole).0, ["same"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Compares with the obvious implementation: two sets.
    #[test]
    fn the_merge_finds_what_two_sets_would(
        on_disk in prop::collection::btree_set("[a-c]{1,2}(/[a-c -]{1,2}){0,2}", 0..25),
        recorded in prop::collection::btree_set("[a-c]{1,2}(/[a-c -]{1,2}){0,2}", 0..25),
    ) {
        let fixture = Fixture::new();
        let mut files = BTreeSet::new();
        for path in &on_disk {
            // A name is a file or a directory, whichever comes first.
            let whole = fixture.tree.path().join(path);
            let made = whole.parent().map(fs::create_dir_all).is_some_and(|made| made.is_ok());
            if made && !whole.is_dir() && fs::write(whole, b"x").is_ok() {
                files.insert(path.clone());
            }
        }
        recorded.iter().for_each(|path| fixture.record(path));
        let exists = |path: &String| Path::new(&fixture.tree.path().join(path)).is_file();
        files.retain(exists);
        let expected: BTreeSet<_> = files.symmetric_difference(&recorded).cloned().collect();
        let (found, _) = fixture.differing("", Depth::Whole);
        prop_assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), expected);
        prop_assert_eq!(found.len(), found.iter().collect::<BTreeSet<_>>().len(), "each once");
    }
}

mod remembered;
