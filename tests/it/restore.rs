//! `restore`: brings the files back, and the next start of the daemon has nothing to do.

mod interrupted;
mod left_out;

use crate::harness::memory::peak_mib;
use crate::harness::{Said, World, key, sleep_for, wait::size};
use file_sync_dev_s3::{Action, BUCKET, Rule};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Everything about a file that has to come back: its content, its time, its permissions.
type Snapshot = BTreeMap<String, (Vec<u8>, i64, i64, u32)>;

/// What changes an object.
const WRITES: [&str; 7] = [
    "PutObject",
    "CopyObject",
    "DeleteObject",
    "DeleteObjects",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
];

fn snapshot(world: &World) -> Snapshot {
    let files = world.tree.wanted().into_iter();
    files
        .map(|(name, content)| {
            let there = fs::metadata(world.tree.path(&name)).expect("there");
            (name, (content, there.mtime(), there.mtime_nsec(), there.mode()))
        })
        .collect()
}

fn wipe(world: &World) {
    fs::remove_dir_all(world.tree.root()).expect("removed");
    if world.state_dir().try_exists().expect("known") {
        fs::remove_dir_all(world.state_dir()).expect("removed");
    }
}

fn is_absent(path: &Path) -> bool {
    !path.try_exists().expect("known")
}

fn writes(world: &World) -> u64 {
    WRITES.into_iter().map(|operation| world.server.count(operation)).sum()
}

/// Starts the daemon on what is there: it must not change the bucket.
fn assert_nothing_to_do(world: &World) {
    world.server.clear_requests();
    let daemon = world.start().ready();
    world.wait_until_done();
    daemon.stop();
    assert_eq!(writes(world), 0, "{:?}", world.server.journal().counts());
}

/// A world that was mirrored: odd names, times, permissions, an empty file, and one in parts.
fn mirrored() -> World {
    let mut world = World::new();
    world.set("multipart_threshold_mib", "5");
    world.set("multipart_part_size_mib", "5");
    world.tree.fill("folder/sub", 40);
    for name in
        ["empty", "bell\u{7}\u{1b}[31m\nline", "\u{202e}gpj.exe", " ", "a b+c%20&?#", "-rf", "..."]
    {
        world.tree.write(format!("odd/{name}x"), if name == "empty" { "" } else { name });
    }
    world.tree.write("deep/er/and/deeper/file", "deep");
    let large: Vec<u8> =
        (0..17_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    world.tree.write("large", large);
    for (name, mode, seconds) in [
        ("folder/sub/0000", 0o600, 1_000_000_000),
        ("folder/sub/0001", 0o755, 1),
        ("large", 0o440, 1_700_000_000),
    ] {
        let path = world.tree.path(name);
        let file = File::options().write(true).open(&path).expect("opened");
        file.set_modified(UNIX_EPOCH + Duration::new(seconds, 123_456_789)).expect("set");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
    }
    let ended = world.once();
    assert_eq!(ended.code(), Some(0), "{}", ended.errors);
    assert_eq!(world.difference(), Ok(()));
    world
}

fn restored(world: &World, arguments: &[&str]) -> Said {
    world.run(&[&["restore", "--json"], arguments].concat())
}

fn assert_whole(said: &Said) {
    assert_eq!(said.code, Some(0), "{} {}", said.output, said.errors);
}

#[test]
fn after_a_restore_the_next_start_uploads_and_deletes_nothing() {
    let world = mirrored();
    let before = snapshot(&world);
    wipe(&world);
    world.server.clear_requests();
    let said = restored(&world, &[]);
    assert_whole(&said);
    assert_eq!(said.json()["totals"]["restored"]["files"], before.len());
    assert_eq!(snapshot(&world), before);
    assert_eq!(writes(&world), 0);
    assert!(is_absent(&world.tree.path(".file-sync-service.restore")));
    assert_nothing_to_do(&world);
    // And it goes on as ever.
    let daemon = world.start().ready();
    world.tree.remove("folder/sub/0000");
    world.tree.write("folder/sub/0001", "changed");
    world.wait_until_done();
    daemon.stop();
}

#[test]
fn a_volume_that_was_emptied_is_restored_although_the_state_is_still_there() {
    let world = mirrored();
    let before = snapshot(&world);
    for entry in fs::read_dir(world.tree.root()).expect("listed") {
        let path = entry.expect("listed").path();
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
            .expect("removed");
    }
    assert_whole(&world.run(&["hydrate"]));
    assert_eq!(snapshot(&world), before);
    assert_nothing_to_do(&world);
    // Another volume, which the state does not know.
    fs::rename(world.tree.root(), world.sibling_path("old volume")).expect("renamed");
    fs::create_dir(world.tree.root()).expect("made");
    assert_whole(&restored(&world, &[]));
    assert_eq!(snapshot(&world), before);
    assert_nothing_to_do(&world);
}

#[test]
fn an_unreachable_bucket_ends_with_69_and_makes_nothing() {
    let mut world = mirrored();
    wipe(&world);
    world.server.stop();
    let said = restored(&world, &["--allow-empty"]);
    assert_eq!(said.code, Some(69), "{}", said.errors);
    world.server.resume().expect("the address is ours");
    world.server.fail(Rule::new(Action::access_denied()));
    assert_eq!(restored(&world, &["--allow-empty"]).code, Some(69));
    assert!(is_absent(world.tree.root()) && is_absent(&world.state_dir()));
}

#[test]
fn an_empty_prefix_is_an_error_unless_it_is_allowed() {
    let mut world = World::new();
    wipe(&world);
    world.put_foreign(".file-sync-service.lease", "{}");
    world.server.store().put(BUCKET, "m/", "");
    let said = restored(&world, &[]);
    assert_eq!(said.code, Some(75), "{}", said.errors);
    assert!(said.errors.contains("--allow-empty"), "{}", said.errors);
    assert_whole(&restored(&world, &["--allow-empty"]));
    assert!(is_absent(world.tree.root()) && is_absent(&world.state_dir()));
}

#[test]
fn a_directory_that_is_not_empty_is_left_alone() {
    let world = mirrored();
    let before = snapshot(&world);
    fs::remove_dir_all(world.state_dir()).expect("removed");
    world.tree.write("mine", "mine");
    let said = restored(&world, &[]);
    assert_eq!(said.code, Some(73), "{}", said.errors);
    assert!(said.errors.contains("--missing"), "{}", said.errors);
    world.server.clear_requests();
    assert_whole(&restored(&world, &["--if-empty"]));
    assert_eq!(world.server.journal().total(), 0);
    assert!(is_absent(&world.state_dir()));
    world.tree.remove("mine");
    assert_eq!(snapshot(&world), before);
    // What the mirror ignores does not count.
    world.tree.remove_folders();
    fs::remove_file(world.tree.path("large")).expect("removed");
    fs::create_dir(world.tree.path("lost+found")).expect("made");
    fs::write(world.tree.path(".hidden"), "").expect("written");
    assert_whole(&restored(&world, &[]));
    assert_eq!(snapshot(&world), before);
}

#[test]
fn a_running_daemon_is_not_disturbed() {
    let world = World::new();
    let daemon = world.start().ready();
    world.put_object("a", "a");
    let said = restored(&world, &[]);
    assert_eq!(said.code, Some(73), "{}", said.errors);
    assert!(said.errors.contains("in use by another process"), "{}", said.errors);
    daemon.stop();
}

#[test]
fn keys_that_try_to_leave_the_directory_are_named_and_skipped() {
    let world = World::new();
    let hostile = [
        "..",
        "../out",
        "a/../../out",
        "/abs",
        "//abs",
        "b//c",
        "./d",
        "e/.",
        "f/..",
        "\u{2e}\u{2e}/g",
    ];
    for name in hostile {
        world.server.store().put(BUCKET, &key(name), "hostile");
    }
    let long = "n".repeat(256);
    world.server.store().put(BUCKET, &key(&long), "long");
    world.server.store().put(BUCKET, &key("folder/"), "");
    for (name, content) in [("fine", "fine"), ("bell\u{7}\n\u{202e}", "odd"), ("a\\..\\b", "odd")] {
        world.put_object(name, content);
    }
    let outside: BTreeSet<_> = names_of(world.tree.root().parent().expect("a parent"));
    let said = restored(&world, &[]);
    assert_eq!(said.code, Some(75), "{} {}", said.output, said.errors);
    let skipped = said.entries("objects");
    assert_eq!(skipped.len(), hostile.len() + 1, "{skipped:?}");
    assert!(skipped.iter().all(|(kind, _)| kind == "skipped"));
    assert!(skipped.contains(&("skipped".to_owned(), "m/../out".to_owned())), "{skipped:?}");
    let names: Vec<_> = snapshot(&world).into_keys().collect();
    assert_eq!(names, ["a\\..\\b", "bell\u{7}\n\u{202e}", "fine"]);
    let now = names_of(world.tree.root().parent().expect("a parent"));
    let new: Vec<_> = now.difference(&outside).collect();
    assert_eq!(new, ["state"]);
    // What cannot be a file does not keep the restore from having ended.
    let daemon = world.start().ready();
    assert!(!daemon.has(|line| line.event() == "restore.incomplete"));
    daemon.stop();
}

fn names_of(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("listed");
    entries.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn of_a_file_and_a_folder_with_one_name_one_is_brought_and_the_other_named() {
    let world = World::new();
    for name in ["a", "a/b", "c"] {
        world.put_object(name, name);
    }
    let said = restored(&world, &[]);
    assert_eq!(said.code, Some(75), "{} {}", said.output, said.errors);
    assert_eq!(said.entries("objects").len(), 1, "{}", said.output);
    assert_eq!(snapshot(&world).len(), 2);
}

#[test]
fn planted_links_are_not_followed() {
    let world = mirrored();
    wipe(&world);
    fs::create_dir(world.tree.root()).expect("made");
    let outside = world.sibling_path("outside");
    fs::create_dir(&outside).expect("made");
    symlink(&outside, world.tree.path("folder")).expect("made");
    symlink(outside.join("large"), world.tree.path("large")).expect("made");
    let said = restored(&world, &["--missing"]);
    assert_eq!(said.code, Some(75), "{} {}", said.output, said.errors);
    assert_eq!(said.json()["totals"]["skipped"], 41);
    assert_eq!(names_of(&outside), BTreeSet::new());
}

#[test]
fn missing_brings_what_is_not_there_and_touches_nothing_else() {
    let world = mirrored();
    let before = snapshot(&world);
    world.tree.remove("large");
    world.tree.remove_folder("odd");
    world.tree.write("folder/sub/0003", "newer");
    world.tree.write("mine", "mine");
    let said = restored(&world, &["--missing"]);
    assert_whole(&said);
    let mut after = snapshot(&world);
    assert_eq!(after.remove("mine").map(|file| file.0), Some(b"mine".to_vec()));
    assert_eq!(after["folder/sub/0003"].0, b"newer");
    for name in before.keys().filter(|name| *name != "folder/sub/0003") {
        assert_eq!(after[name], before[name], "{name:?}");
    }
    world.server.clear_requests();
    let daemon = world.start().ready();
    world.wait_until_done();
    daemon.stop();
    let requests = world.server.requests().into_iter();
    let changed = requests.filter(|request| WRITES.contains(&request.call.operation));
    let changed: BTreeSet<_> = changed.map(|request| request.call.key).collect();
    assert_eq!(changed, BTreeSet::from([key("folder/sub/0003"), key("mine")]));
}

#[test]
fn a_part_is_restored_by_its_pattern() {
    let world = mirrored();
    let before = snapshot(&world);
    wipe(&world);
    assert_whole(&restored(&world, &["--include", "folder/**", "--include", "large"]));
    let wanted = before
        .clone()
        .into_iter()
        .filter(|(name, _)| name.starts_with("folder/") || name == "large");
    assert_eq!(snapshot(&world), wanted.collect());
    assert_nothing_is_deleted(&world);
    assert_eq!(restored(&world, &["--include", "["]).code, Some(2));
}

fn assert_nothing_is_deleted(world: &World) {
    world.server.clear_requests();
    world.start().ready().stop();
    assert_eq!(writes(world), 0);
}

#[test]
fn a_dry_run_says_what_would_be_brought_and_makes_nothing() {
    let world = mirrored();
    let before = snapshot(&world);
    wipe(&world);
    world.server.clear_requests();
    let said = restored(&world, &["--dry-run"]);
    assert_whole(&said);
    assert_eq!(said.entries("objects").len(), before.len());
    assert_eq!(world.server.count("GetObject"), 0);
    assert!(is_absent(world.tree.root()) && is_absent(&world.state_dir()));
    let text = world.run(&["restore", "--dry-run", "--include", "deep"]).output;
    assert!(text.contains("restore") && text.contains("deep/er/and/deeper/file"), "{text}");
}

#[test]
fn objects_of_others_come_with_their_own_times_and_permissions() {
    let world = World::new();
    let object = |name: &str, metadata: &[(&str, &str)]| {
        world.server.store().put_with(BUCKET, &key(name), "content", metadata);
    };
    object("rclone", &[("mtime", "1354040105.1234"), ("mode", "100640")]);
    object("s3-files", &[("file-mtime", "1595002920000000001ns"), ("file-permissions", "0600")]);
    object("setuid", &[("mtime", "1"), ("mode", "104755")]);
    object("plain", &[]);
    assert_whole(&restored(&world, &[]));
    let there = snapshot(&world);
    let times = |name: &str| (there[name].1, there[name].2, there[name].3 & 0o7777);
    assert_eq!(times("rclone"), (1_354_040_105, 123_400_000, 0o640));
    assert_eq!(times("s3-files"), (1_595_002_920, 1, 0o600));
    assert_eq!(times("setuid"), (1, 0, 0o755));
    assert_eq!(times("plain").2, 0o644);
    assert_nothing_to_do(&world);
}

/// A moment that lies between what was before and what comes after.
fn moment() -> String {
    // Versions have times in milliseconds here, and in seconds in S3.
    const BETWEEN: Duration = Duration::from_millis(1_100);
    sleep_for(BETWEEN);
    let now = time::OffsetDateTime::from(wall_clock());
    sleep_for(BETWEEN);
    now.format(&time::format_description::well_known::Rfc3339).expect("a time")
}

#[expect(clippy::disallowed_methods, reason = "the store compares with its own clock")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[test]
fn the_files_of_a_moment_are_restored_from_their_versions() {
    let world = mirrored();
    let before = snapshot(&world);
    let at = moment();
    world.tree.write("folder/sub/0001", "overwritten");
    world.tree.write("large", "small now");
    world.tree.remove("deep/er/and/deeper/file");
    world.tree.write("new", "new");
    assert_eq!(world.once().code(), Some(0));
    let after = snapshot(&world);
    wipe(&world);
    world.server.clear_requests();
    let said = restored(&world, &["--at", &at]);
    assert_whole(&said);
    assert_eq!(snapshot(&world), before);
    assert_eq!(writes(&world), 0);
    // Of an older version the state knows nothing: the daemon makes the bucket equal the directory again.
    let daemon = world.start().ready();
    daemon.stop();
    let deleted_later: Vec<_> = world.deleted().into_iter().skip(1).collect();
    assert_eq!(deleted_later, [""; 0]);
    for name in ["folder/sub/0001", "large", "deep/er/and/deeper/file"] {
        assert_eq!(
            world.object(name).map(|body| body.to_vec()),
            Some(before[name].0.clone()),
            "{name}"
        );
    }
    // And the present is restored as ever, without what was not there then.
    wipe(&world);
    assert_whole(&restored(&world, &["--include", "new"]));
    assert_eq!(snapshot(&world)["new"], after["new"]);
    assert_eq!(restored(&world, &["--at", "1970-01-01T00:00:01Z", "--missing"]).code, Some(75));
}

#[test]
fn an_object_that_the_mirror_ignores_comes_back_and_never_counts_as_ours() {
    let mut world = World::new();
    world.put_object("file", "file");
    world.put_foreign(".hidden", "of others");
    assert_whole(&restored(&world, &[]));
    assert_eq!(fs::read(world.tree.path(".hidden")).expect("there"), b"of others");
    assert_nothing_to_do(&world);
    world.tree.remove(".hidden");
    world.set("ignore_defaults", "false");
    assert_nothing_to_do(&world);
    assert_eq!(world.deleted(), [""; 0]);
}

#[test]
fn what_root_restores_belongs_to_the_owners_of_the_directories() {
    const OWNER: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    let world = mirrored();
    wipe(&world);
    for directory in [world.tree.root(), &world.state_dir()] {
        fs::create_dir(directory).expect("made");
        chown(directory, Some(OWNER), Some(OWNER)).expect("given away");
    }
    assert_whole(&restored(&world, &[]));
    let tree = world.tree.root();
    let state = world.state_dir();
    for path in [tree.join("large"), tree.join("deep"), tree.join("deep/er/and/deeper/file")] {
        assert_eq!(fs::metadata(&path).expect("there").uid(), OWNER, "{path:?}");
    }
    for name in names_of(&state) {
        assert_eq!(fs::metadata(state.join(&name)).expect("there").uid(), OWNER, "{name}");
    }
}

/// Restores so many objects, and answers the most memory that took, MiB.
fn peak_of(objects: usize) -> u64 {
    let world = World::new();
    for number in 0..objects {
        let name =
            format!("folder {}/a name as long as some names are {number:08}", number / 1_000);
        world.put_object(&name, &number.to_string());
    }
    let mut command = world.command(&["restore"]);
    let mut child = command.stdout(Stdio::null()).spawn().expect("it starts");
    let mut peak = 0;
    let began = file_sync_dev_s3::now();
    let ended = loop {
        // It may have ended; then what was seen last counts.
        if let Some(now) = peak_mib(child.id()) {
            peak = now;
        }
        if let Some(ended) = child.try_wait().expect("it is a child of ours") {
            break ended;
        }
        sleep_for(Duration::from_millis(5));
    };
    println!("{objects} objects: {:?}, {peak} MiB", began.elapsed());
    assert_eq!(ended.code(), Some(0));
    assert_eq!(world.tree.wanted().len(), objects);
    assert_nothing_to_do(&world);
    peak
}

#[test]
fn memory_does_not_grow_with_the_number_of_objects() {
    const MORE_MIB: u64 = 24;
    let many = size("IT_RESTORED", 8_000);
    let few = peak_of(many / 8);
    let all = peak_of(many);
    assert!(all <= few + MORE_MIB, "{few} MiB for an eighth, {all} MiB for all");
}
