//! Links of every kind, harmless and hostile.

use super::*;
use crate::root::{FileOpenError, OwnState};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const CANARY: &str = "content outside of the directory";

/// A directory with `file`, `a/file` and `a/b`, in another one with a canary.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().expect("a directory"));
        fs::create_dir_all(tree.path("a/b")).expect("made");
        fs::write(tree.path("file"), "at the top").expect("written");
        fs::write(tree.path("a/file"), "below a").expect("written");
        fs::write(tree.0.path().join("canary"), CANARY).expect("written");
        tree
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join("root").join(name)
    }

    fn link(&self, target: impl AsRef<Path>, name: &str) {
        symlink(target, self.path(name)).expect("linked");
    }

    fn root(&self) -> Root {
        Root::open(&self.path("")).expect("opened").following_links(true)
    }
}

fn path(name: &str) -> RelPath {
    RelPath::new(name.as_bytes()).expect("a proper path")
}

/// The content of the file behind a link, read as an upload reads it.
fn content(root: &Root, name: &str) -> Option<String> {
    let (mut file, _) = root.open_file(&path(name)).ok()?;
    let mut content = String::new();
    file.read_to_string(&mut content).expect("read");
    Some(content)
}

fn kind(root: &Root, name: &str) -> FileKind {
    root.follow(&path(name)).found.expect("something is there").kind
}

#[test]
fn a_link_to_a_file_beneath_the_directory_is_that_file() {
    let tree = Tree::new();
    tree.link("file", "direct");
    tree.link("../file", "a/up");
    tree.link("./a//b/../file", "a way round");
    tree.link("direct", "link to a link");
    tree.link("a", "directory");
    tree.link("directory/file", "through a link");
    tree.link("../directory/up", "a/chain");
    let root = tree.root();
    for (name, expected) in [
        ("direct", "at the top"),
        ("a/up", "at the top"),
        ("a way round", "below a"),
        ("link to a link", "at the top"),
        ("through a link", "below a"),
        ("a/chain", "at the top"),
    ] {
        assert_eq!(kind(&root, name), FileKind::File, "{name}");
        assert_eq!(content(&root, name).as_deref(), Some(expected), "{name}");
    }
    let leads = root.follow(&path("a/chain")).leads;
    assert_eq!(leads, [path("directory"), path("a/up"), path("file")], "all that it depends on");
    assert!(root.follow(&path("file")).leads.is_empty());
}

#[test]
fn no_link_is_followed_unless_that_is_asked_for() {
    let tree = Tree::new();
    tree.link("file", "link");
    let root = Root::open(&tree.path("")).expect("opened");
    assert_eq!(kind(&root, "link"), FileKind::Symlink);
    let refused = root.open_file(&path("link"));
    assert!(matches!(refused, Err(FileOpenError::NotRegular(FileKind::Symlink))), "{refused:?}");
}

#[test]
fn what_leads_out_and_what_is_no_file_is_not_followed() {
    let tree = Tree::new();
    mknodat(CWD, tree.path("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("made");
    let _socket = UnixListener::bind(tree.path("socket")).expect("bound");
    fs::write(tree.path("a/plain"), "x").expect("written");
    let absolute = tree.path("file");
    let targets = [
        ("/etc/passwd", "absolute"),
        ("../canary", "above"),
        ("../root/file", "out and in again"),
        ("a/../../canary", "above by a detour"),
        ("a/b/../../../../../../../../../etc/passwd", "far above"),
        ("../../../../../../../../proc/self/root/etc/passwd", "magic"),
        ("/proc/self/fd/0", "magic and absolute"),
        ("/dev/zero", "device"),
        ("a", "directory"),
        ("a/", "directory with a slash"),
        (".", "itself"),
        ("fifo", "to a fifo"),
        ("socket", "to a socket"),
        ("a/plain/x", "through a file"),
        ("self", "self"),
        ("ping", "pong"),
        ("pong", "ping"),
        ("leaves/canary", "through a link that leaves"),
        ("..", "leaves"),
    ];
    for (target, name) in targets {
        tree.link(target, name);
    }
    tree.link(&absolute, "absolute although inside");
    let root = tree.root();
    let names = targets.into_iter().map(|(_, name)| name).chain(["absolute although inside"]);
    for name in names {
        assert_eq!(kind(&root, name), FileKind::Symlink, "{name}");
        let opened = root.open_file(&path(name));
        let refused = matches!(opened, Err(FileOpenError::NotRegular(FileKind::Symlink)));
        assert!(refused, "{name}: {opened:?}");
    }
}

#[test]
fn a_chain_of_links_ends() {
    let tree = Tree::new();
    tree.link("file", "link0");
    for number in 1..=LINKS_MAX {
        tree.link(format!("link{}", number - 1), &format!("link{number}"));
    }
    let root = tree.root();
    assert_eq!(kind(&root, &format!("link{}", LINKS_MAX - 1)), FileKind::File);
    assert_eq!(kind(&root, &format!("link{LINKS_MAX}")), FileKind::Symlink);
    // So does one with many names.
    for (times, expected) in [(100, FileKind::File), (NAMES_MAX / 2, FileKind::Symlink)] {
        let name = format!("{times} times");
        tree.link(format!("{}file", "a/../".repeat(times)), &name);
        assert_eq!(kind(&root, &name), expected, "{name}");
    }
}

#[test]
fn a_missing_target_is_named_and_one_that_cannot_be_known_is_an_error() {
    let tree = Tree::new();
    tree.link("a/gone/file", "broken");
    let root = tree.root();
    let followed = root.follow(&path("broken"));
    assert!(matches!(followed.found, Err(InspectError::Gone)), "{followed:?}");
    assert_eq!(followed.leads, [path("a/gone")], "this is what has to be absent");
}

#[test]
fn no_link_leads_to_the_state() {
    let tree = Tree::new();
    let state = tree.0.path().join("state");
    fs::create_dir(&state).expect("made");
    fs::write(state.join("state.db"), "records").expect("written");
    let own_state = Arc::new(OwnState::open(&state).expect("opened"));
    // A neighbour moves it to where links may lead.
    fs::rename(&state, tree.path("stolen")).expect("moved");
    tree.link("stolen/state.db", "link");
    let root = tree.root().without(own_state).expect("another directory");
    assert_eq!(kind(&root, "link"), FileKind::Symlink);
    assert_eq!(content(&root, "link"), None);
}

/// A link and a directory on its way are exchanged for ones that lead out, again and again.
#[test]
fn nothing_outside_is_read_whatever_is_exchanged_while_a_link_is_followed() {
    let tree = Tree::new();
    fs::write(tree.0.path().join("file"), CANARY).expect("written");
    tree.link("a/b/file", "link");
    fs::write(tree.path("a/b/file"), "inside").expect("written");
    let root = tree.root();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let replace = |target: &Path, name: &str| {
                symlink(target, tree.path("new")).expect("linked");
                fs::rename(tree.path("new"), tree.path(name)).expect("moved");
            };
            while !ended.load(Ordering::Relaxed) {
                replace(&tree.0.path().join("canary"), "link");
                replace(Path::new("a/b/file"), "link");
                replace(Path::new("../canary"), "link");
                replace(Path::new("a/b/file"), "link");
                fs::rename(tree.path("a/b"), tree.path("a/aside")).expect("moved");
                replace(tree.0.path(), "a/b");
                fs::remove_file(tree.path("a/b")).expect("removed");
                fs::rename(tree.path("a/aside"), tree.path("a/b")).expect("moved back");
            }
        });
        let outside = |content: &String| content != "inside";
        let leaked = (0..20_000).find_map(|_| content(&root, "link").filter(outside));
        ended.store(true, Ordering::Relaxed);
        assert_eq!(leaked, None);
    });
    assert_eq!(content(&root, "link").as_deref(), Some("inside"));
}
