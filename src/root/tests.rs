//! Both implementations have the same guarantees.

use super::*;
use crate::model::Depth;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).expect("a proper path")
}

/// A directory that is opened in both ways; `openat2` works wherever the tests run.
fn both() -> (TempDir, [Root; 2]) {
    let dir = tempfile::tempdir().expect("a directory");
    let at_once = Root::open(dir.path()).expect("opens");
    assert_eq!(at_once.access, Access::Openat2);
    let stepwise = Root { access: Access::Stepwise, ..Root::open(dir.path()).expect("opens") };
    (dir, [at_once, stepwise])
}

/// Runs `test` without root privileges.
fn without_privileges(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                let nobody = rustix::process::Uid::from_raw(65534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root may");
            }
            test();
        });
    });
}

/// A walk as text.
fn walked(root: &Root, start: &str, depth: Depth) -> Vec<String> {
    let mut seen = Vec::new();
    walk(
        root,
        &path(start),
        depth,
        &|path, _| path.file_name() != b"ignored",
        None,
        &mut |visit| {
            seen.push(match visit {
                Visit::File { path, stat, .. } => format!("{path} {}", stat.fingerprint.size),
                Visit::Directory { path, .. } => format!("{path}/"),
                Visit::Skipped { path, kind } => format!("{path} {kind:?}"),
                Visit::Unreadable { path, error } => format!("{path} {:?}", error.kind()),
                Visit::Mount { path } => format!("{path} mount"),
                Visit::OwnState { path } => format!("{path} state"),
                Visit::Known { path, files, .. } => format!("{path} known, {files}"),
                Visit::Left { .. } => return ControlFlow::Continue(()),
            });
            ControlFlow::Continue(())
        },
    )
    .expect("the start is readable");
    seen
}

#[test]
fn what_is_no_readable_directory_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let inner = dir.path().join("inner");
    assert!(matches!(Root::open(&inner), Err(RootError::Missing(_))));
    fs::write(&inner, "").expect("writes");
    assert!(matches!(Root::open(&inner), Err(RootError::NotDirectory(_))));
    fs::remove_file(&inner).expect("removes");
    fs::create_dir(&inner).expect("creates");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("changes");
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o700)).expect("changes");
    if rustix::process::geteuid().is_root() {
        without_privileges(|| {
            assert!(matches!(Root::open(&inner), Err(RootError::NotReadable(_))))
        });
    }
}

#[test]
fn a_replaced_directory_is_noticed() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("creates");
    let root = Root::open(&data).expect("opens");
    root.confirm().expect("it is the same");
    fs::rename(&data, dir.path().join("old")).expect("renames");
    assert!(matches!(root.confirm(), Err(SourceGone::Missing)));
    fs::create_dir(&data).expect("creates");
    assert!(matches!(root.confirm(), Err(SourceGone::Replaced)));
}

#[test]
fn a_removed_directory_that_was_created_again_is_another_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("creates");
    let root = Root::open(&data).expect("opens");
    fs::remove_dir(&data).expect("removes");
    fs::create_dir(&data).expect("creates");
    assert!(matches!(root.confirm(), Err(SourceGone::Replaced)));
}

#[test]
fn a_file_is_opened_with_the_stat_of_what_was_opened() {
    let (dir, roots) = both();
    fs::create_dir_all(dir.path().join("a/b")).expect("creates");
    fs::write(dir.path().join("a/b/file"), "hello").expect("writes");
    for root in roots {
        let seen = root.look(&path("a/b/file")).expect("is there");
        let (mut file, stat) = root.open_file(&path("a/b/file")).expect("opens");
        assert_eq!(seen, stat);
        assert_eq!((stat.kind, stat.links, stat.fingerprint.size), (FileKind::File, 1, 5));
        let mut text = String::new();
        io::Read::read_to_string(&mut file, &mut text).expect("reads");
        assert_eq!(text, "hello");
        assert_eq!(root.look(&RelPath::root()).expect("is there").kind, FileKind::Directory);
    }
}

#[test]
fn nothing_but_a_regular_file_is_opened() {
    let (dir, roots) = both();
    fs::create_dir(dir.path().join("dir")).expect("creates");
    symlink("dir", dir.path().join("link")).expect("links");
    let _socket = UnixListener::bind(dir.path().join("socket")).expect("binds");
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0)
        .expect("creates");
    for root in roots {
        for (name, kind) in [
            ("dir", FileKind::Directory),
            ("link", FileKind::Symlink),
            ("socket", FileKind::Socket),
            ("fifo", FileKind::Fifo),
        ] {
            assert_eq!(root.look(&path(name)).expect("is there").kind, kind);
            let opened = root.open_file(&path(name));
            assert!(
                matches!(opened, Err(FileOpenError::NotRegular(found)) if found == kind),
                "{name}"
            );
        }
        assert!(matches!(root.open_file(&path("none")), Err(FileOpenError::Gone)));
        assert!(matches!(root.open_file(&path("fifo/below")), Err(FileOpenError::Gone)));
        // After the check, as after a swap: the open itself does not wait for a writer.
        root.beneath().open(b"fifo", READING).expect("opens at once");
    }
}

#[test]
fn no_link_on_the_way_is_followed() {
    let (dir, roots) = both();
    fs::create_dir(dir.path().join("real")).expect("creates");
    fs::write(dir.path().join("real/file"), "x").expect("writes");
    symlink("real", dir.path().join("link")).expect("links");
    let below = path("link/file");
    for root in roots {
        let looked = root.look(&below);
        assert!(matches!(looked, Err(InspectError::NotBelow(Obstacle::Link))), "{looked:?}");
        let opened = root.open_file(&below);
        assert!(matches!(opened, Err(FileOpenError::LeadsOutside(Obstacle::Link))), "{opened:?}");
        let listed = root.list(&path("link"), &mut |_, _| ControlFlow::Continue(()));
        assert!(matches!(listed, Err(InspectError::NotBelow(Obstacle::Link))), "{listed:?}");
        let listed = root.list(&path("real/file"), &mut |_, _| ControlFlow::Continue(()));
        assert!(matches!(listed, Err(InspectError::Gone)), "{listed:?}");
    }
}

#[test]
fn no_mount_point_is_crossed() {
    for access in [Access::Openat2, Access::Stepwise] {
        let root = Root { access, ..Root::open(Path::new("/")).expect("opens") };
        for name in ["proc", "proc/self", "proc/self/status"] {
            let looked = root.look(&path(name));
            assert!(matches!(looked, Err(InspectError::NotBelow(Obstacle::Mount))), "{looked:?}");
        }
        let opened = root.open_file(&path("proc/version"));
        assert!(matches!(opened, Err(FileOpenError::LeadsOutside(Obstacle::Mount))), "{opened:?}");
        let listed = root.list(&path("proc"), &mut |_, _| ControlFlow::Continue(()));
        assert!(matches!(listed, Err(InspectError::NotBelow(Obstacle::Mount))), "{listed:?}");
        assert!(walked(&root, "", Depth::Entries).contains(&"proc mount".to_owned()));
    }
}

#[test]
fn what_may_not_be_read_is_denied_and_never_gone() {
    let (dir, roots) = both();
    fs::create_dir_all(dir.path().join("closed/inner")).expect("creates");
    fs::create_dir(dir.path().join("names")).expect("creates");
    for name in ["closed/file", "names/file", "secret"] {
        fs::write(dir.path().join(name), "x").expect("writes");
    }
    let allow = |name: &str, mode| {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode))
            .expect("changes");
    };
    allow("", 0o755);
    allow("secret", 0o000);
    allow("closed", 0o000);
    // Its names may be listed, but nothing may be inspected.
    allow("names", 0o444);
    without_privileges(|| {
        for root in &roots {
            assert!(matches!(root.look(&path("closed/file")), Err(InspectError::Denied)));
            assert!(matches!(root.open_file(&path("secret")), Err(FileOpenError::Denied)));
            let seen = walked(root, "", Depth::Whole);
            // The stepwise implementation does not even enter such a directory, which is
            // equivalent.
            let names = match root.access {
                Access::Openat2 => &["names/", "names/file PermissionDenied"][..],
                Access::Stepwise => &["names PermissionDenied"],
            };
            assert_eq!(seen[..2], ["/", "closed PermissionDenied"]);
            assert_eq!(&seen[2..seen.len() - 1], names);
            assert_eq!(seen.last().map(String::as_str), Some("secret 1"));
        }
    });
    allow("closed", 0o755);
    allow("names", 0o755);
}

#[test]
fn paths_longer_than_the_kernel_takes_are_reached() {
    let (dir, roots) = both();
    let name = "n".repeat(250);
    let mut at =
        rustix::fs::openat(rustix::fs::CWD, dir.path(), LISTING, Mode::empty()).expect("opens");
    let depth = 40;
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, &*name, Mode::RWXU).expect("creates");
        at = rustix::fs::openat(&at, &*name, LISTING, Mode::empty()).expect("opens");
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    rustix::fs::openat(&at, "file", flags, Mode::RUSR).expect("creates");
    let deep = path(&format!("{}/file", vec![name; depth].join("/")));
    for root in roots {
        let (_, stat) = root.open_file(&deep).expect("opens");
        assert_eq!(stat.kind, FileKind::File);
        let seen = walked(&root, "", Depth::Whole);
        assert_eq!(seen.len(), depth + 2);
        assert_eq!(seen.last(), Some(&format!("{deep} 0")));
    }
}

/// Deeper than directories are kept open, with entries left to visit on the way back.
#[test]
fn a_walk_visits_in_the_order_of_paths() {
    let (dir, roots) = both();
    let mut at = dir.path().to_owned();
    for _ in 0..50 {
        for name in ["a", "a b", "m.txt", "z"] {
            fs::write(at.join(name), "x").expect("writes");
        }
        fs::create_dir_all(at.join("b/x")).expect("creates");
        fs::write(at.join("b.txt"), "x").expect("writes");
        fs::write(at.join("b/x/y"), "x").expect("writes");
        at.push("b");
    }
    for root in roots {
        let mut seen = Vec::new();
        walk(&root, &RelPath::root(), Depth::Whole, &|_, _| true, None, &mut |visit| {
            match visit {
                Visit::File { path, .. } | Visit::Directory { path, .. } => seen.push(path.clone()),
                Visit::Left { .. } => {}
                other => panic!("{other:?}"),
            }
            ControlFlow::Continue(())
        })
        .expect("walks");
        assert!(seen.is_sorted());
        assert_eq!(seen.len(), 1 + 50 * 8);
    }
}

#[test]
fn a_walk_reports_what_it_visits_and_skips_what_is_ignored() {
    let (dir, roots) = both();
    fs::create_dir_all(dir.path().join("sub/ignored/x")).expect("creates");
    fs::create_dir_all(dir.path().join("sub/deeper")).expect("creates");
    fs::write(dir.path().join("sub/deeper/file"), "abc").expect("writes");
    fs::write(dir.path().join("sub/file"), "ab").expect("writes");
    symlink("file", dir.path().join("sub/link")).expect("links");
    for root in roots {
        let whole = ["sub/", "sub/deeper/", "sub/deeper/file 3", "sub/file 2", "sub/link Symlink"];
        assert_eq!(walked(&root, "sub", Depth::Whole), whole);
        let entries = ["sub/", "sub/deeper/", "sub/file 2", "sub/link Symlink"];
        assert_eq!(walked(&root, "sub", Depth::Entries), entries);
        assert_eq!(walked(&root, "sub/file", Depth::Whole), ["sub/file 2"]);
        assert_eq!(walked(&root, "none", Depth::Whole), [""; 0]);
        let refused =
            walk(&root, &path("sub/link/x"), Depth::Whole, &|_, _| true, None, &mut |_| panic!());
        assert!(matches!(refused, Err(InspectError::NotBelow(Obstacle::Link))));
    }
}

#[test]
fn a_removed_root_is_unreadable_and_not_an_empty_tree() {
    let (dir, roots) = both();
    dir.close().expect("removes");
    for root in roots {
        assert_eq!(walked(&root, "", Depth::Whole), [" NotFound"]);
    }
}

/// A directory above the walk is exchanged while its names are in memory and it is closed.
#[test]
fn a_directory_exchanged_underway_is_unreadable_from_there_on() {
    let (dir, roots) = both();
    for root in roots {
        let top = dir.path().join("top");
        let deep = "d/".repeat(40);
        fs::create_dir_all(top.join(&deep)).expect("creates");
        fs::write(top.join("z"), "x").expect("writes");
        let mut unreadable = Vec::new();
        let mut depth = 0;
        walk(&root, &RelPath::root(), Depth::Whole, &|_, _| true, None, &mut |visit| {
            match visit {
                Visit::Directory { .. } => depth += 1,
                Visit::File { path, .. } => panic!("{path} is of the directory that is gone"),
                Visit::Unreadable { path, .. } => unreadable.push(path.clone()),
                Visit::Left { .. } => {}
                other => panic!("{other:?}"),
            }
            if depth == 40 {
                fs::rename(&top, dir.path().join("away")).expect("renames");
                fs::create_dir(&top).expect("creates");
                depth += 1;
            }
            ControlFlow::Continue(())
        })
        .expect("walks");
        assert_eq!(unreadable.last(), Some(&path("top")));
        fs::remove_dir_all(dir.path().join("away")).expect("removes");
        fs::remove_dir(&top).expect("removes");
    }
}

/// Another thread exchanges a file with a link to a secret, and a directory with a link to one that
/// holds it, as fast as possible.
#[test]
fn no_swap_leaks_what_lies_outside() {
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("file"), "canary").expect("writes");
    let (dir, roots) = both();
    fs::create_dir(dir.path().join("dir")).expect("creates");
    fs::write(dir.path().join("dir/file"), "public").expect("writes");
    fs::write(dir.path().join("file"), "public").expect("writes");
    symlink(outside.path(), dir.path().join("dir2")).expect("links");
    symlink(outside.path().join("file"), dir.path().join("file2")).expect("links");
    let stop = AtomicBool::new(false);
    let exchange = |a: &str, b: &str| {
        let a = dir.path().join(a);
        let b = dir.path().join(b);
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, flags).expect("swaps");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                exchange("dir", "dir2");
                exchange("file", "file2");
            }
        });
        for root in &roots {
            let mut read = 0;
            let mut refused = 0;
            for turn in 0..40_000 {
                let name = ["file", "dir/file", "file2", "dir2/file"][turn % 4];
                let Ok((mut file, _)) = root.open_file(&path(name)) else {
                    refused += 1;
                    continue;
                };
                let mut text = String::new();
                io::Read::read_to_string(&mut file, &mut text).expect("reads");
                assert_eq!(text, "public");
                read += 1;
            }
            assert!(read > 0 && refused > 0, "{read} {refused}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_own_state_is_neither_entered_nor_read_wherever_it_is_met() {
    let (dir, roots) = both();
    let state = dir.path().join("state");
    fs::create_dir_all(state.join("cookies")).expect("creates");
    fs::write(state.join("state.db"), "own").expect("writes");
    fs::write(dir.path().join("file"), "wanted").expect("writes");
    fs::hard_link(state.join("state.db"), dir.path().join("link")).expect("links");
    fs::hard_link(dir.path().join("file"), dir.path().join("with-two-names")).expect("links");
    let own = Arc::new(OwnState::open(&state).expect("opens"));
    for root in roots {
        let root = root.without(Arc::clone(&own)).expect("another directory");
        assert_eq!(
            walked(&root, "", Depth::Whole),
            ["/", "file 6", "link 3", "state state", "with-two-names 6"]
        );
        for name in ["state/state.db", "state/new", "link"] {
            let refused = root.open_file(&path(name));
            let own = matches!(refused, Err(FileOpenError::LeadsOutside(Obstacle::OwnState)));
            assert!(own, "{name}: {refused:?}");
        }
        assert!(
            root.open_file(&path("file")).is_ok()
                && root.open_file(&path("with-two-names")).is_ok()
        );
        let listed = root.list(&path("state"), &mut |_, _| ControlFlow::Continue(()));
        assert!(matches!(listed, Err(InspectError::NotBelow(Obstacle::OwnState))));
    }
    let itself = Root::open(&state).expect("opens").without(own);
    assert!(matches!(itself, Err(RootError::OwnState(_))));
}
