//! Storms: many changes at once, and not one may be missed.
//!
//! A model of the tree is kept by nothing but hints: whatever a hint names is looked at, as the
//! engine does. In the end the model has to be the tree, and every directory's watch alive.

#![expect(clippy::disallowed_methods, reason = "the pace of a storm is measured, never waited for")]

use super::*;
use crate::model::Fingerprint;
use crate::root::{FileKind, Visit, walk};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;

/// What the hints made us see.
struct Model {
    root: Root,
    files: BTreeMap<RelPath, Fingerprint>,
    /// What could not be seen completely, because it was renamed while it was walked.
    again: Vec<Hint>,
    hints: usize,
}

impl Model {
    fn new(watched: &Watched) -> Self {
        let root = Root::open(watched.dir.path()).expect("opens");
        Self { root, files: BTreeMap::new(), again: Vec::new(), hints: 0 }
    }

    fn apply(&mut self, hints: Vec<Hint>) {
        self.hints += hints.len();
        for hint in std::mem::take(&mut self.again).into_iter().chain(hints) {
            match &hint {
                Hint::Path(path, activity) => {
                    self.files.remove(path);
                    let kind = match self.root.look(path) {
                        Ok(stat) => {
                            if stat.kind == FileKind::File {
                                self.files.insert(path.clone(), stat.fingerprint);
                            }
                            Some(stat.kind)
                        }
                        Err(_) => None,
                    };
                    // What was known below a directory that is gone, or that came, is looked at as well:
                    // there is no event of what happened below it before it was watched.
                    let below = |known: &RelPath| known != path && known.is_within(path);
                    if *activity == WriteState::Found || !self.files.keys().any(below) {
                        continue;
                    }
                    if kind == Some(FileKind::Directory) {
                        let tree = Hint::Tree(path.clone(), Depth::Whole);
                        self.compare(path, Depth::Whole, &tree);
                    } else {
                        self.files.retain(|known, _| !below(known));
                    }
                }
                Hint::Tree(directory, depth) => self.compare(directory, *depth, &hint),
            }
        }
    }

    fn compare(&mut self, directory: &RelPath, depth: Depth, hint: &Hint) {
        let mut seen = BTreeMap::new();
        let mut complete = true;
        let walked = walk(&self.root, directory, depth, &|_, _| true, None, &mut |visit| {
            match visit {
                Visit::File { path, stat, .. } => {
                    seen.insert(path.clone(), stat.fingerprint);
                }
                Visit::Unreadable { .. } => complete = false,
                Visit::Directory { .. } | Visit::Skipped { .. } => {}
                Visit::Mount { .. } | Visit::OwnState { .. } => {}
                Visit::Known { .. } | Visit::Left { .. } => {}
            }
            ControlFlow::Continue(())
        });
        if walked.is_err() || !complete {
            self.again.push(hint.clone());
            return;
        }
        self.files.retain(|path, _| !covers(hint, path));
        self.files.extend(seen);
    }

    /// Paths that the model lacks, has wrongly, or should not have.
    fn errors(&self) -> Vec<String> {
        let mut real = Self {
            files: BTreeMap::new(),
            again: Vec::new(),
            root: Root::open(self.root.path()).expect("opens"),
            hints: 0,
        };
        real.compare(&RelPath::root(), Depth::Whole, &whole(""));
        let mut errors = Vec::new();
        for (path, fingerprint) in &real.files {
            match self.files.get(path) {
                None => errors.push(format!("missing {path}")),
                Some(known) if !known.same_content(fingerprint) => {
                    errors.push(format!("stale {path}"));
                }
                Some(_) => {}
            }
        }
        let ghosts = self.files.keys().filter(|path| !real.files.contains_key(path));
        errors.extend(ghosts.map(|path| format!("ghost {path}")));
        errors
    }
}

/// Follows the hints while the writers work, and then until all have arrived.
async fn follow(watched: &mut Watched, model: &mut Model, mut writers: JoinSet<()>) {
    loop {
        tokio::select! {
            hints = watched.hints.next() => model.apply(hints.expect("it runs")),
            writer = writers.join_next() => match writer {
                Some(written) => written.expect("writes"),
                None => break,
            },
        }
    }
    let hints = watched.hints().await;
    model.apply(hints);
    model.apply(Vec::new());
    assert!(model.again.is_empty(), "{:?}", model.again);
}

/// Makes chains of directories with a file in each, the pattern that recursive watches miss.
fn make_chains(dir: &Path, groups: usize, pause: Duration) {
    for group in 0..groups {
        let mut at = dir.join(format!("s{group}"));
        fs::create_dir_all(at.join("a/b/c")).expect("creates");
        for name in ["a", "b", "c", ""] {
            fs::write(at.join("file"), "x").expect("writes");
            at.push(name);
        }
        // Pauses belong to the storm: some races need a watcher that had time to begin.
        let until = Instant::now() + pause;
        while Instant::now() < until {
            std::thread::yield_now();
        }
    }
}

async fn chain_storm(groups: usize, pause: Duration) {
    let mut watched = Watched::new(|_| {}).settled().await;
    let mut model = Model::new(&watched);
    let mut writers = JoinSet::new();
    let dir = watched.dir.path().to_owned();
    writers.spawn_blocking(move || make_chains(&dir, groups, pause));
    follow(&mut watched, &mut model, writers).await;
    let errors = model.errors();
    assert!(errors.is_empty(), "{} of {}: {errors:?}", errors.len(), groups * 4);
    assert_eq!(model.files.len(), groups * 4);
    let coverage = watched.detector.coverage();
    assert_eq!(coverage.watched, groups as u64 * 4 + 1);
    println!("pause {pause:?}: {} files, {} hints, {coverage:?}", groups * 4, model.hints);
}

#[tokio::test]
async fn no_file_in_new_directories_is_missed() {
    chain_storm(2_500, Duration::ZERO).await;
}

#[tokio::test]
async fn no_file_in_new_directories_is_missed_at_a_brisk_pace() {
    chain_storm(2_500, Duration::from_micros(200)).await;
}

#[tokio::test]
async fn no_file_in_new_directories_is_missed_at_a_slow_pace() {
    chain_storm(300, Duration::from_millis(2)).await;
}

/// A path of one to four short names, so that the writers meet often.
fn any_path(random: &mut fastrand::Rng, dir: &Path) -> PathBuf {
    let mut path = dir.to_owned();
    for _ in 0..random.usize(1..5) {
        path.push(random.choice(["a", "b", "c", "d", "e"]).expect("some"));
    }
    path
}

/// Does one thing to the tree. Most fail now and then, because another writer was quicker.
fn any_change(random: &mut fastrand::Rng, dir: &Path) -> io::Result<()> {
    let path = any_path(random, dir);
    let file = path.join(random.choice(["f", "g", "h"]).expect("some"));
    match random.u8(0..100) {
        0..20 => fs::create_dir_all(&path),
        20..45 => fs::write(&file, "new"),
        45..60 => {
            let mut file = fs::OpenOptions::new().append(true).open(&file)?;
            io::Write::write_all(&mut file, b"more")
        }
        60..65 => fs::File::options().write(true).truncate(true).open(&file).map(drop),
        65..75 => {
            let temporary = file.with_extension(random.u16(..).to_string());
            fs::write(&temporary, "temporary")?;
            fs::rename(&temporary, &file).or_else(|_| fs::remove_file(&temporary))
        }
        75..80 => fs::rename(&file, any_path(random, dir).join("f")),
        80..88 => fs::rename(&path, any_path(random, dir)),
        88..93 => fs::remove_file(&file),
        93..97 => fs::remove_dir_all(&path),
        _ => {
            fs::remove_dir_all(&path)?;
            fs::create_dir_all(path.join("b"))?;
            fs::write(path.join("b/f"), "again")
        }
    }
}

const WRITERS: usize = 4;

/// Holds up every event thread until the kernel's queue overflows.
fn overflow(inbox: &Inbox, dir: &Path) {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("reads");
    let limit: usize = limit.trim().parse().expect("is a number");
    // Equal events in a row become one, so two files take turns.
    let mut files = ["flood1", "flood2"].map(|name| fs::File::create(dir.join(name)).expect("ok"));
    let _stalled = inbox.lock();
    for turn in 0..limit + 1_000 {
        io::Write::write_all(&mut files[turn % 2], b"x").expect("writes");
    }
}

/// Writers change the same small tree at random; the kernel's queues overflow `stalls` times.
async fn random_storm(seed: u64, changes: usize, per_instance: usize, stalls: usize) {
    let mut watched =
        Watched::with(|_| {}, |settings| settings.directories_per_instance = per_instance)
            .settled()
            .await;
    let mut model = Model::new(&watched);
    let mut writers = JoinSet::new();
    let made = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    for writer in 0..WRITERS {
        let dir = watched.dir.path().to_owned();
        let made = made.clone();
        writers.spawn_blocking(move || {
            let mut random = fastrand::Rng::with_seed(seed * 1_000 + writer as u64);
            for _ in 0..changes / WRITERS {
                if any_change(&mut random, &dir).is_ok() {
                    made.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    let inbox = watched.detector.inbox.clone();
    let dir = watched.dir.path().to_owned();
    writers.spawn_blocking(move || {
        for _ in 0..stalls {
            overflow(&inbox, &dir);
        }
    });
    follow(&mut watched, &mut model, writers).await;
    let took = began.elapsed();
    let errors = model.errors();
    let coverage = watched.detector.coverage();
    assert!(errors.is_empty(), "seed {seed}: {errors:?}, {coverage:?}");
    if stalls > 0 {
        assert!(coverage.overflows > 0 && coverage.rebuilds > 0, "{coverage:?}");
    }
    println!(
        "seed {seed}: {} changes in {took:?}, {} files, {} hints, {coverage:?}",
        made.load(Ordering::Relaxed),
        model.files.len(),
        model.hints
    );
    watched.probe().await;
}

#[tokio::test]
async fn a_random_storm_leaves_nothing_missing_stale_or_dead() {
    random_storm(1, 20_000, 4_096, 0).await;
}

#[tokio::test]
async fn so_does_one_across_many_instances() {
    random_storm(2, 20_000, 8, 0).await;
}

#[tokio::test]
async fn so_does_one_with_queues_that_overflow() {
    random_storm(3, 30_000, 4_096, 2).await;
}

/// For hours: `cargo test --release --lib storm_after_storm -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "takes minutes"]
async fn storm_after_storm() {
    for seed in 0..20 {
        random_storm(seed, 60_000, [4_096, 64, 8, 1][seed as usize % 4], 0).await;
        random_storm(seed, 60_000, [4_096, 8][seed as usize % 2], 2).await;
    }
    for pause in [0, 200, 2_000] {
        chain_storm(2_500, Duration::from_micros(pause)).await;
    }
}

#[tokio::test]
async fn a_barrier_is_never_overtaken_by_a_change() {
    let mut watched = Watched::with(
        |dir| fs::create_dir_all(dir.join("x/y/z")).expect("creates"),
        |settings| settings.directories_per_instance = 3,
    )
    .settled()
    .await;
    let mut random = fastrand::Rng::with_seed(4);
    for round in 0..200 {
        let mut written = Vec::new();
        for number in 0..random.usize(1..40) {
            let directory = any_path(&mut random, watched.dir.path());
            fs::create_dir_all(&directory).expect("creates");
            let file = directory.join(format!("r{round}-{number}"));
            fs::write(&file, "").expect("writes");
            let below = file.strip_prefix(watched.dir.path()).expect("is below");
            written.push(path(below.to_str().expect("is text")));
        }
        let hints = watched.hints().await;
        for file in written {
            assert!(hints.iter().any(|hint| covers(hint, &file)), "round {round}: {file}");
        }
    }
}
