//! What a neighbour can plant beside the files of the service, and that none of it stops, blinds or
//! misleads the daemon.

use crate::harness::http::{Endpoints, get};
use crate::harness::{World, patience, until};
use file_sync_dev_s3::{Action, Rule};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What an end takes where there is nothing to send.
const END_PATIENCE: Duration = Duration::from_secs(8);

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).expect("made");
}

/// A world whose files beside the state are in a directory that others may write in.
fn world() -> World {
    let mut world = World::new();
    let shared = world.sibling_path("shared");
    fs::create_dir(&shared).expect("made");
    fs::write(shared.join("victim"), "precious").expect("written");
    for (key, name) in [
        ("status_file", "status.json"),
        ("retry_file", "queue.json"),
        ("termination_message_path", "termination"),
    ] {
        world.set(key, &shared.join(name).to_string_lossy());
    }
    world.tree.write("file", "content");
    world
}

#[test]
fn a_fifo_beside_the_state_blocks_neither_the_start_nor_the_end() {
    let mut world = world();
    let shared = world.sibling_path("shared");
    for name in ["status.json", "status.json.new", "queue.json", "queue.json.new", "termination"] {
        fifo(&shared.join(name));
    }
    let daemon = world.start().ready();
    world.wait_until_done();
    until("both are replaced", || {
        ["status.json", "queue.json"]
            .iter()
            .all(|name| fs::symlink_metadata(shared.join(name)).is_ok_and(|found| found.is_file()))
    });
    // Ends with something to say.
    world.server.stop();
    world.tree.write("other", "content");
    let ended = daemon.stop();
    assert!(ended.took < patience(END_PATIENCE), "{:?}", ended.took);
    let reported = ended.events("retry_file.unreadable");
    assert!(reported[0].text("error.message").contains("a FIFO"), "{}", reported[0].shown());
}

#[test]
fn a_planted_link_makes_no_file_of_others_be_written_or_read() {
    let world = world();
    let shared = world.sibling_path("shared");
    for name in ["status.json.new", "queue.json.new", "termination"] {
        symlink("victim", shared.join(name)).expect("a link");
    }
    symlink("victim", shared.join("status.json")).expect("a link");
    symlink("/dev/zero", shared.join("queue.json")).expect("a link");
    let daemon = world.start().ready();
    world.wait_until_done();
    until("both are files", || {
        ["status.json", "queue.json"]
            .iter()
            .all(|name| fs::symlink_metadata(shared.join(name)).is_ok_and(|found| found.is_file()))
    });
    daemon.stop();
    assert_eq!(world.once().code(), Some(0));
    assert_eq!(fs::read_to_string(shared.join("victim")).expect("read"), "precious");
    let left: Vec<_> = fs::read_dir(&shared).expect("listed").flatten().collect();
    assert_eq!(left.len(), 6, "no temporary file is left: {left:?}");
}

#[test]
fn a_state_of_links_and_fifos_is_refused_by_name() {
    for name in ["lock", "state.db", "state.db-wal", "state.db-journal"] {
        for plant in [fifo as fn(&Path), |path| symlink("../victim", path).expect("a link")] {
            let world = World::new();
            let victim = world.sibling_path("victim");
            fs::write(&victim, "precious").expect("written");
            fs::create_dir_all(world.state_dir()).expect("made");
            plant(&world.state_dir().join(name));
            let ended = world.start().wait();
            assert_eq!(ended.code(), Some(73), "{name}: {}", ended.errors);
            let reported = ended.events("service.failed")[0].text("error.message").to_owned();
            assert!(
                reported.contains(name) && reported.contains("not a regular file"),
                "{reported}"
            );
            assert_eq!(fs::read_to_string(&victim).expect("read"), "precious", "{name}");
        }
    }
}

#[test]
fn a_configuration_that_never_ends_or_never_comes_is_refused() {
    let world = World::new();
    let pipe = world.sibling_path("pipe.yml");
    fifo(&pipe);
    for (path, why) in [("/dev/zero", "a device"), (&*pipe.to_string_lossy(), "a pipe that no")] {
        let ended = world.run(&["run", "--config", path]);
        assert_eq!(ended.code, Some(78), "{}", ended.errors);
        assert!(ended.errors.contains(why), "{}", ended.errors);
    }
}

/// What no person may be shown as it is.
const HOSTILE: [char; 8] =
    ['\u{9b}', '\u{1b}', '\u{61c}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{ad}'];

#[test]
fn a_hostile_name_is_escaped_in_every_file_table_and_answer() {
    let mut world = world();
    let shared = world.sibling_path("shared");
    world.set("listen_address", "127.0.0.1:0");
    world.set("admin_address", "127.0.0.1:0");
    fs::write(shared.join("termination"), "").expect("made");
    let name: String = HOSTILE.iter().collect();
    let name = format!("a{name}z");
    world.server.fail(Rule::new(Action::access_denied()).on("PutObject"));
    let daemon = world.start();
    let endpoints = Endpoints::of(&daemon);
    let daemon = daemon.ready();
    world.tree.write(&name, "content");
    let queue = || fs::read_to_string(shared.join("queue.json")).unwrap_or_default();
    until("it waits, and why", || queue().contains("AccessDenied") && queue().contains("\\u202e"));
    let said = world.run(&["queue", "list"]);
    assert!(said.output.contains("\\u{202e}"), "{}", said.output);
    let texts = [
        queue(),
        said.output,
        get(endpoints.admin, "/queue").1,
        get(endpoints.admin, "/status").1,
        fs::read_to_string(shared.join("status.json")).expect("read"),
    ];
    for text in texts {
        assert!(!text.contains(HOSTILE), "{}", text.escape_debug());
    }
    daemon.terminate();
}

#[test]
fn credentials_in_the_url_of_an_endpoint_are_refused_and_never_shown() {
    for (variable, url) in [
        ("AWS_ENDPOINT_URL_S3", "http://me:secret@127.0.0.1:1"),
        ("AWS_ENDPOINT_URL", "HTTP://me:secret@h"),
        ("AWS_ENDPOINT_URL_STS", "me:secret@h:1"),
        ("FILE_SYNC__S3_ENDPOINT_URL", "me:secret@h:1"),
    ] {
        let mut world = World::new();
        world.variable(variable, url);
        for command in ["check-config", "run", "once"] {
            let said = world.run(&[command]);
            let all = format!("{}{}", said.output, said.errors);
            assert_eq!(said.code, Some(78), "{variable}: {all}");
            assert!(!all.contains("secret") && all.contains("***@"), "{variable}: {all}");
        }
    }
}

#[test]
fn no_other_process_of_its_user_may_read_its_memory_and_no_core_holds_it() {
    let mut world = World::new().without_rights();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can run it as another user");
        return;
    }
    world.variable("FILE_SYNC_DEBUGGABLE", "");
    let daemon = world.start().ready();
    let about = PathBuf::from(format!("/proc/{}", daemon.id()));
    // The kernel gives what is behind these names to root alone then.
    for name in ["mem", "environ", "fd"] {
        assert_eq!(fs::metadata(about.join(name)).expect("there").uid(), 0, "{name}");
    }
    let limits = fs::read_to_string(about.join("limits")).expect("there");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("there");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // It can still work: it looks into its own /proc for mounts and descriptors.
    world.tree.write("file", "x");
    world.wait_for_object("file", "x");
    assert_eq!(daemon.terminate().code(), Some(0));
}
