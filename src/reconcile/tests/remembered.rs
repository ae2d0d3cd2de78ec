//! Directories that agreed before: nothing may be missed because of them.

use super::*;
use std::collections::BTreeMap;

impl Fixture {
    fn forget(&self, path: &str) {
        let path = RelPath::new(path.as_bytes()).expect("a proper path");
        self.runtime.block_on(self.store.write(vec![Change::Forgotten(path)])).expect("written");
    }

    fn remembers(&self, directory: &str) -> bool {
        let directory = RelPath::new(directory.as_bytes()).expect("a proper path");
        self.store.agreed().digest(&directory).is_some()
    }
}

#[test]
fn what_agreed_is_not_asked_for_again_until_it_changes_or_its_record_does() {
    let fixture = Fixture::new();
    for path in ["a/b/1", "a/b/2", "a/c/3", "d/4"] {
        fixture.write(path);
        fixture.record(path);
    }
    assert!(!fixture.remembers("a/b"));
    let (found, before) = fixture.differing("", Depth::Whole);
    assert_eq!(found, [""; 0]);
    assert!(["", "a", "a/b", "a/c", "d"].iter().all(|path| fixture.remembers(path)));
    let (found, again) = fixture.differing("", Depth::Whole);
    assert_eq!(
        (found, again),
        (vec![], before),
        "the scan reports the same with remembered directories"
    );

    fixture.record("a/c/3");
    let kept = ["", "a", "a/b", "a/c", "d"].map(|path| fixture.remembers(path));
    assert_eq!(kept, [false, false, true, false, true], "all above it, and nothing beside it");
    fixture.write("a/b/5");
    assert_eq!(fixture.differing("", Depth::Whole).0, ["a/b/5"]);
    let kept = ["", "a", "a/b", "a/c", "d"].map(|path| fixture.remembers(path));
    assert_eq!(kept, [true, true, true, true, true], "of a/b what it was, which it is not");
    assert_eq!(fixture.differing("", Depth::Whole).0, ["a/b/5"], "until it is recorded");
}

#[test]
fn what_holds_more_than_wanted_files_is_never_remembered() {
    let fixture = Fixture::new();
    for path in ["a/1", "b/2", "c/3"] {
        fixture.write(path);
        fixture.record(path);
    }
    fixture.write("a/ignored");
    std::os::unix::fs::symlink("2", fixture.tree.path().join("b/link")).expect("linked");
    fixture.write("c/new");
    assert_eq!(fixture.differing("", Depth::Whole).0, ["c/new"]);
    assert_eq!(
        ["", "a", "b", "c"].map(|path| fixture.remembers(path)),
        [true, false, false, false]
    );
    assert_eq!(fixture.differing("", Depth::Whole).1.special, 1, "each comparison counts it");
}

#[test]
fn another_epoch_and_other_patterns_forget_everything() {
    let mut fixture = Fixture::new();
    fixture.write("a/1");
    fixture.record("a/1");
    assert_eq!(fixture.differing("", Depth::Whole).0, [""; 0]);
    let filter = Filter::new(&FilterSettings {
        defaults: false,
        patterns: vec!["1".into()],
        share: crate::model::Shard::default(),
    });
    fixture.filter = filter.expect("patterns");
    assert_eq!(fixture.differing("", Depth::Whole).1.files, 0);
    assert!(!fixture.remembers("a"));
}

/// What is done between two comparisons.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write,
    Remove,
    RemoveAll,
    Record,
    Forget,
    Compare(&'static str),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Write),
        2 => Just(Step::Remove),
        1 => Just(Step::RemoveAll),
        5 => Just(Step::Record),
        1 => Just(Step::Forget),
        4 => Just(Step::Compare("")),
        1 => Just(Step::Compare("a")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// However tree and record change between comparisons, each finds what two sets would.
    #[test]
    fn nothing_is_missed_because_it_agreed_once(
        steps in prop::collection::vec((step(), "[ab]/[ab]/[1-3]|[ab]/[45]|[67]"), 1..60),
    ) {
        let fixture = Fixture::new();
        let mut disk = BTreeMap::new();
        let mut recorded = BTreeMap::new();
        for (number, (step, path)) in steps.into_iter().enumerate() {
            let whole = fixture.tree.path().join(&path);
            match step {
                Step::Write => {
                    fs::create_dir_all(whole.parent().expect("a parent")).expect("made");
                    // Every time of another size: no clock tick makes two of them equal.
                    fs::write(&whole, vec![b'x'; 10 + number]).expect("written");
                    disk.insert(path, number);
                }
                Step::Remove => {
                    fs::remove_file(whole).ok();
                    disk.remove(&path);
                }
                Step::RemoveAll => {
                    let top = path.split('/').next().expect("a name").to_owned();
                    fs::remove_dir_all(fixture.tree.path().join(&top)).ok();
                    disk.retain(|path, _| !path.starts_with(&format!("{top}/")));
                }
                Step::Record => {
                    fixture.record(&path);
                    recorded.insert(path.clone(), disk.get(&path).copied());
                }
                Step::Forget => {
                    if recorded.remove(&path).is_some() {
                        fixture.forget(&path);
                    }
                }
                Step::Compare(start) => {
                    if !fixture.tree.path().join(start).is_dir() {
                        continue;
                    }
                    let differs = |path: &&String| {
                        let known = recorded.get(*path).copied().flatten();
                        known.is_none() || known != disk.get(*path).copied()
                    };
                    let within = |path: &&String| start.is_empty() || path.starts_with("a/");
                    let all: BTreeSet<_> = disk.keys().chain(recorded.keys()).collect();
                    let expected: Vec<_> =
                        all.into_iter().filter(differs).filter(within).cloned().collect();
                    prop_assert_eq!(fixture.differing(start, Depth::Whole).0, expected);
                }
            }
        }
    }
}
