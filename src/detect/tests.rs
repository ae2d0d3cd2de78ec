//! Changes are made on a real file system; what is waited for has a deadline, nothing sleeps.

mod storm;

use super::*;
use crate::model::{Depth, WriteState};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

/// How long anything may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A watched directory.
struct Watched {
    dir: TempDir,
    state: TempDir,
    detector: Detector,
    hints: Hints,
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).expect("a proper path")
}

fn done(text: &str) -> Hint {
    Hint::Path(path(text), WriteState::Done)
}

fn whole(text: &str) -> Hint {
    Hint::Tree(path(text), Depth::Whole)
}

/// Whether a hint causes an inspection of the path.
fn covers(hint: &Hint, path: &RelPath) -> bool {
    match hint {
        Hint::Path(name, _) => name == path,
        Hint::Tree(directory, Depth::Entries) => path.parent().as_ref() == Some(directory),
        Hint::Tree(directory, Depth::Whole) => path.is_within(directory),
    }
}

impl Watched {
    /// Watches a directory that `prepare` filled, everything but names with `ignored` in them.
    fn new(prepare: impl FnOnce(&Path)) -> Self {
        Self::with(prepare, |_| {})
    }

    fn with(prepare: impl FnOnce(&Path), adjust: impl FnOnce(&mut DetectSettings)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let state = tempfile::tempdir().expect("a directory");
        for open in [&dir, &state] {
            let all = fs::Permissions::from_mode(0o777);
            fs::set_permissions(open.path(), all).expect("changes");
        }
        prepare(dir.path());
        let mut settings = DetectSettings::new(state.path().join("cookies"));
        adjust(&mut settings);
        let root = Arc::new(Root::open(dir.path()).expect("opens"));
        let wanted: PathPredicate = Arc::new(|path, _| {
            let name = path.file_name();
            assert_ne!(name, b"poison", "an event thread is to die");
            !name.windows(7).any(|part| part == b"ignored")
        });
        let (detector, hints) = Detector::start(root, wanted, settings).expect("watches");
        Self { dir, state, detector, hints }
    }

    /// All is watched, and all hints were taken.
    async fn settled(mut self) -> Self {
        let hints = self.hints().await;
        assert!(hints.contains(&whole("")), "{hints:?}");
        self
    }

    /// The hints for all changes until now.
    async fn hints(&mut self) -> Vec<Hint> {
        self.detector.barrier(PATIENCE).await.expect("all is delivered");
        let mut all = Vec::new();
        loop {
            let some = self.hints.now();
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str) {
        fs::write(self.at(name), name).expect("writes");
    }

    /// Every directory is watched and none of the watches is dead: a new file in each gives a hint.
    async fn probe(&mut self) {
        let mut directories = Vec::new();
        let root = Root::open(self.dir.path()).expect("opens");
        crate::root::walk(
            &root,
            &RelPath::root(),
            Depth::Whole,
            &|_, _| true,
            None,
            &mut |visit| {
                if let crate::root::Visit::Directory { path, .. } = visit {
                    directories.push(path.clone());
                }
                std::ops::ControlFlow::Continue(())
            },
        )
        .expect("walks");
        self.hints().await;
        let probes: Vec<_> =
            directories.iter().map(|dir| dir.join(b"probe").expect("ok")).collect();
        for probe in &probes {
            fs::write(self.dir.path().join(probe.as_path()), "").expect("writes");
        }
        let hints = self.hints().await;
        let dead: Vec<_> =
            probes.iter().filter(|probe| !hints.iter().any(|hint| covers(hint, probe))).collect();
        assert!(dead.is_empty(), "no event in {dead:?} of {}", probes.len());
        assert_eq!(self.detector.coverage().watched, probes.len() as u64);
    }
}

/// Runs `test` without the powers of root.
fn without_privileges(test: impl AsyncFnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                let nobody = rustix::process::Uid::from_raw(65534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root may");
            }
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.expect("starts").block_on(test());
        });
    });
}

/// It would be by chance, too: hence many times.
#[tokio::test]
async fn after_the_first_hint_everything_is_watched() {
    for _ in 0..50 {
        let mut watched = Watched::new(|dir| fs::create_dir_all(dir.join("a/b")).expect("made"));
        let hints = watched.hints.next().await.expect("it runs");
        assert_eq!(hints, [whole("")]);
        let coverage = watched.detector.coverage();
        assert!(coverage.armed && coverage.watched == 3, "{coverage:?}");
    }
}

#[tokio::test]
async fn the_tree_is_hinted_once_after_all_is_watched() {
    let mut watched = Watched::new(|dir| fs::create_dir_all(dir.join("a/b/c")).expect("creates"));
    assert_eq!(watched.hints().await, [whole("")]);
    assert_eq!(watched.hints().await, []);
    watched.write("a/b/c/file");
    assert_eq!(watched.hints().await, [done("a/b/c/file")]);
    let coverage = watched.detector.coverage();
    assert!(coverage.armed && !coverage.is_poor());
    assert_eq!((coverage.watched, coverage.instances), (4, 1));
}

#[tokio::test]
async fn the_last_event_decides_how_a_file_is_treated() {
    let mut watched = Watched::new(|dir| fs::write(dir.join("old"), "x").expect("writes"));
    watched = watched.settled().await;
    let mut file = fs::File::create(watched.at("open")).expect("creates");
    io::Write::write_all(&mut file, b"x").expect("writes");
    assert_eq!(watched.hints().await, [Hint::Path(path("open"), WriteState::Writing)]);
    drop(file);
    assert_eq!(watched.hints().await, [done("open")]);
    fs::rename(watched.at("open"), watched.at("new")).expect("renames");
    let gone = |name| Hint::Path(path(name), WriteState::Gone);
    assert_eq!(watched.hints().await, [done("new"), gone("open")]);
    fs::remove_file(watched.at("new")).expect("removes");
    assert_eq!(watched.hints().await, [gone("new")]);
    fs::hard_link(watched.at("old"), watched.at("linked")).expect("links");
    let linked = Hint::Path(path("linked"), WriteState::Found);
    assert!(watched.hints().await.contains(&linked));
}

#[tokio::test]
async fn directories_that_are_not_wanted_are_not_watched() {
    let mut watched = Watched::new(|dir| fs::create_dir_all(dir.join("ignored/a")).expect("makes"))
        .settled()
        .await;
    fs::create_dir_all(watched.at("b/ignored/c")).expect("creates");
    watched.write("ignored/file");
    watched.write("ignored.file");
    watched.write("b/ignored/c/file");
    let arrived = Hint::Path(path("b"), WriteState::Gone);
    assert_eq!(watched.hints().await, [arrived]);
    assert_eq!(watched.detector.coverage().watched, 2);
}

/// Before it was watched, a comparison may have seen files in it that went without an event.
#[tokio::test]
async fn a_new_directory_is_named_once_it_is_watched() {
    let mut watched = Watched::new(|_| {}).settled().await;
    fs::create_dir_all(watched.at("new/below")).expect("creates");
    let hints = watched.hints().await;
    assert!(hints.contains(&Hint::Path(path("new"), WriteState::Gone)), "{hints:?}");
    watched.probe().await;
}

#[tokio::test]
async fn a_renamed_directory_arrives_and_is_missed() {
    let mut watched = Watched::new(|dir| fs::create_dir_all(dir.join("a/sub")).expect("creates"));
    watched = watched.settled().await;
    watched.write("a/sub/file");
    watched.hints().await;
    fs::rename(watched.at("a"), watched.at("b")).expect("renames");
    let hints = watched.hints().await;
    assert!(hints.contains(&whole("a")), "{hints:?}");
    assert!(hints.iter().any(|hint| covers(hint, &path("b/sub/file"))), "{hints:?}");
    let outside = tempfile::tempdir_in(watched.state.path()).expect("a directory");
    fs::rename(watched.at("b"), outside.path().join("b")).expect("renames");
    assert!(watched.hints().await.contains(&whole("b")));
    assert_eq!(watched.detector.coverage().watched, 1);
    fs::write(outside.path().join("b/file"), "x").expect("writes");
    assert_eq!(watched.hints().await, []);
    fs::rename(outside.path().join("b"), watched.at("b")).expect("renames");
    let hints = watched.hints().await;
    for name in ["b/file", "b/sub/file"] {
        assert!(hints.iter().any(|hint| covers(hint, &path(name))), "{hints:?}");
    }
    watched.probe().await;
}

#[tokio::test]
async fn a_directory_exchanged_for_another_is_compared_with_all_below() {
    let mut watched = Watched::new(|dir| {
        fs::create_dir_all(dir.join("a/sub")).expect("creates");
        fs::create_dir_all(dir.join("b/sub")).expect("creates");
    })
    .settled()
    .await;
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    let cwd = rustix::fs::CWD;
    rustix::fs::renameat_with(cwd, watched.at("a"), cwd, watched.at("b"), flags).expect("swaps");
    let hints = watched.hints().await;
    assert!(hints.contains(&whole("a")) && hints.contains(&whole("b")), "{hints:?}");
    watched.probe().await;
}

/// Each directory has an instance of its own, so that none learns from its neighbour that a path
/// leads elsewhere now; asked to watch it again, it would say yes and do nothing.
#[tokio::test]
async fn a_watch_follows_the_path_and_not_the_directory() {
    let mut watched = Watched::with(
        |dir| ["a", "b"].iter().for_each(|name| fs::create_dir(dir.join(name)).expect("creates")),
        |settings| settings.directories_per_instance = 1,
    )
    .settled()
    .await;
    for round in 0..20 {
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        let cwd = rustix::fs::CWD;
        let a = watched.at("a");
        let b = watched.at("b");
        rustix::fs::renameat_with(cwd, a, cwd, b, flags).expect("swaps");
        watched.hints().await;
        let name = format!("a/{round}");
        watched.write(&name);
        assert_eq!(watched.hints().await, [done(&name)]);
    }
}

#[tokio::test]
async fn a_removed_directory_is_missed_and_a_file_in_its_place_seen() {
    let mut watched = Watched::new(|dir| fs::create_dir_all(dir.join("a/b")).expect("creates"));
    watched = watched.settled().await;
    fs::remove_dir_all(watched.at("a")).expect("removes");
    watched.write("a");
    let hints = watched.hints().await;
    assert!(hints.contains(&whole("a")) && hints.contains(&done("a")), "{hints:?}");
    assert_eq!(watched.detector.coverage().watched, 1);
}

#[tokio::test]
async fn many_names_become_their_directory() {
    let mut watched = Watched::new(|_| {}).settled().await;
    let outside = tempfile::tempdir_in(watched.state.path()).expect("a directory");
    for number in 0..1_000 {
        fs::write(outside.path().join(number.to_string()), "").expect("writes");
    }
    fs::rename(outside.path(), watched.at("many")).expect("renames");
    let hints = watched.hints().await;
    assert!(hints.contains(&Hint::Tree(path("many"), Depth::Entries)), "{hints:?}");
}

/// The kernel reports writes to a file that was made without a name under a name it never had.
#[tokio::test]
async fn a_file_made_without_a_name_is_found_by_listing() {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags};
    let mut watched = Watched::new(|dir| fs::create_dir(dir.join("sub")).expect("creates"));
    watched = watched.settled().await;
    let flags = OFlags::TMPFILE | OFlags::WRONLY;
    let Ok(file) = rustix::fs::openat(CWD, watched.at("sub"), flags, Mode::RUSR | Mode::WUSR)
    else {
        return; // Not on this file system.
    };
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let name = watched.at("sub/named");
    rustix::fs::linkat(CWD, link, CWD, name, AtFlags::SYMLINK_FOLLOW).expect("links");
    watched.hints().await;
    rustix::io::write(&file, b"more").expect("writes");
    drop(file);
    let hints = watched.hints().await;
    assert!(hints.contains(&Hint::Tree(path("sub"), Depth::Entries)), "{hints:?}");
}

#[tokio::test]
async fn a_moved_root_has_everything_compared() {
    let mut watched = Watched::new(|dir| fs::create_dir(dir.join("a")).expect("creates"));
    watched = watched.settled().await;
    let away = watched.state.path().join("away");
    fs::rename(watched.dir.path(), &away).expect("renames");
    assert!(watched.hints().await.contains(&whole("")));
    fs::rename(&away, watched.dir.path()).expect("renames");
    watched.hints().await;
    watched.probe().await;
}

#[tokio::test]
async fn a_dead_event_thread_is_replaced() {
    let mut watched = Watched::new(|dir| fs::create_dir_all(dir.join("a/b")).expect("creates"));
    watched = watched.settled().await;
    watched.write("a/poison");
    fs::remove_file(watched.at("a/poison")).expect("removes");
    watched.write("a/b/while-unwatched");
    assert!(watched.hints().await.contains(&whole("")));
    assert!(watched.detector.coverage().rebuilds > 0);
    watched.probe().await;
}

#[tokio::test]
async fn without_enough_watches_the_rest_is_counted_and_tried_again() {
    let mut watched = Watched::with(
        |dir| {
            for number in 10..30 {
                fs::create_dir(dir.join(number.to_string())).expect("creates");
            }
        },
        |settings| {
            settings.directories_max = 11;
            settings.retry_interval = Duration::from_millis(20);
        },
    )
    .settled()
    .await;
    let coverage = watched.detector.coverage();
    assert_eq!((coverage.watched, coverage.unwatched), (11, 10));
    assert!(coverage.is_poor());
    for number in 10..20 {
        fs::remove_dir(watched.at(&number.to_string())).expect("removes");
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while watched.detector.coverage().is_poor() {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", watched.detector);
        watched.hints().await;
    }
    watched.probe().await;
}

#[tokio::test]
async fn directories_fill_one_instance_after_the_other() {
    let mut watched = Watched::with(
        |dir| {
            for number in 0..9 {
                fs::create_dir(dir.join(number.to_string())).expect("creates");
            }
        },
        |settings| settings.directories_per_instance = 4,
    )
    .settled()
    .await;
    assert_eq!(watched.detector.coverage().instances, 3);
    watched.probe().await;
}

#[test]
fn a_directory_that_becomes_readable_is_watched_at_once() {
    without_privileges(async || {
        let allow = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changes");
        };
        let mut watched = Watched::new(|dir| {
            fs::create_dir_all(dir.join("closed/sub")).expect("creates");
            fs::write(dir.join("closed/file"), "").expect("writes");
            allow(&dir.join("closed"), 0o000);
        })
        .settled()
        .await;
        assert_eq!(watched.detector.coverage().unreadable, 1);
        allow(&watched.at("closed"), 0o755);
        assert!(watched.hints().await.contains(&whole("closed")));
        assert_eq!(watched.detector.coverage().unreadable, 0);
        watched.probe().await;
    });
}

/// It is the operator's path, so links are followed there and only there.
#[tokio::test]
async fn a_root_reached_through_a_link_is_watched() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(dir.path().join("data/a")).expect("creates");
    std::os::unix::fs::symlink("data", dir.path().join("link")).expect("links");
    for name in ["link", "link/", "data/", "./link/."] {
        let root = Arc::new(Root::open(&dir.path().join(name)).expect("opens"));
        let settings = DetectSettings::new(dir.path().join("cookies"));
        let (detector, mut hints) =
            Detector::start(root, Arc::new(|_, _| true), settings).expect("watches");
        detector.barrier(PATIENCE).await.expect("all is delivered");
        assert_eq!(hints.now(), [whole("")]);
        fs::write(dir.path().join("data/file"), "").expect("writes");
        fs::write(dir.path().join("data/a/file"), "").expect("writes");
        detector.barrier(PATIENCE).await.expect("all is delivered");
        assert_eq!(hints.now(), [done("file"), done("a/file")], "{name}");
        detector.stop();
    }
}

#[tokio::test]
async fn hints_end_with_the_detector() {
    let watched = Watched::new(|_| {}).settled().await;
    let Watched { detector, mut hints, .. } = watched;
    detector.stop();
    // That nothing is watched any more is news, which comes without a hint.
    while let Some(batch) = hints.next().await {
        assert_eq!(batch, []);
    }
}

#[tokio::test]
async fn a_wrong_root_or_cookie_directory_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("creates");
    let root = Arc::new(Root::open(&data).expect("opens"));
    let wanted: PathPredicate = Arc::new(|_, _| true);
    fs::write(dir.path().join("file"), "").expect("writes");
    let settings = DetectSettings::new(dir.path().join("file"));
    let started = Detector::start(root.clone(), wanted.clone(), settings);
    assert!(matches!(started, Err(DetectError::Cookies(_))), "{started:?}");
    fs::rename(&data, dir.path().join("away")).expect("renames");
    let settings = DetectSettings::new(dir.path().join("cookies"));
    let started = Detector::start(root, wanted, settings);
    assert!(matches!(started, Err(DetectError::Source(_))), "{started:?}");
}

#[test]
fn where_the_state_is_for_a_group_the_cookies_are_as_well() {
    let state = tempfile::tempdir().expect("a directory");
    let data = tempfile::tempdir().expect("a directory");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    let start = |name: &str| {
        let root = Arc::new(Root::open(data.path()).expect("opens"));
        let settings = DetectSettings::new(state.path().join(name));
        let (detector, _hints) =
            Detector::start(root, Arc::new(|_, _| true), settings).expect("watches");
        detector.stop();
    };
    start("own");
    assert_eq!(mode(&state.path().join("own")) & 0o7000, 0);
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o2770)).expect("changes");
    start("shared");
    assert_eq!(mode(&state.path().join("shared")), 0o2770);
}
