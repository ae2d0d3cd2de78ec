//! The process gives up all files but its own, where the kernel has Landlock.

use crate::harness::{Daemon, World, until};
use std::fs;
use std::process::Command;

/// A confined daemon. `None` if the kernel has no Landlock, which skips the test, with the reason.
fn require_landlock(world: &mut World) -> Option<Daemon> {
    world.set("sandbox", "auto");
    let daemon = world.start();
    let started = daemon.wait_for_line("whether it is confined", |line| {
        matches!(line.event(), "sandbox.confined" | "sandbox.off")
    });
    if started.event() == "sandbox.off" {
        println!("skipped: {}", started.text("why"));
        return None;
    }
    Some(daemon)
}

/// Which threads of the daemon cannot gain privileges: the kernel asks that of a confined one.
fn confined_threads(daemon: &Daemon) -> (usize, usize) {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.id())).expect("it runs");
    let statuses =
        tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let statuses: Vec<_> = statuses.collect();
    let confined = statuses.iter().filter(|status| status.contains("NoNewPrivs:\t1")).count();
    (confined, statuses.len())
}

#[test]
fn a_confined_daemon_does_all_its_work() {
    let mut world = World::new();
    let status = world.sibling_path("status");
    let config = world.sibling_path("config");
    for directory in [&status, &config] {
        fs::create_dir(directory).expect("made");
    }
    world.set("status_file", &status.join("status.json").to_string_lossy());
    let message = world.sibling_path("message");
    fs::write(&message, "").expect("written");
    world.set("termination_message_path", &message.to_string_lossy());
    let Some(probe) = require_landlock(&mut world) else { return };
    probe.stop();
    world.without_variable("FILE_SYNC__DEBOUNCE_MILLISECONDS");
    world.without_variable("FILE_SYNC__SANDBOX");
    let file = config.join("config.yml");
    fs::write(&file, "sandbox: require\ndebounce_milliseconds: 20\n").expect("written");
    world.tree.fill("folder", 50);
    let arguments = ["run", "--config", &file.to_string_lossy()];
    let daemon = Daemon::spawn(world.command(&arguments)).ready();
    daemon.wait_for("sandbox.confined");
    world.wait_until_done();
    let (confined, all) = confined_threads(&daemon);
    assert_eq!(confined, all, "threads that are not confined");

    // Another version of the configuration, by a rename.
    fs::write(config.join("new"), "sandbox: require\ndebounce_milliseconds: 30\n")
        .expect("written");
    fs::rename(config.join("new"), &file).expect("renamed");
    daemon.wait_for("config.reloaded");
    // A directory that takes the place of the watched one, and the first one again.
    let aside = world.sibling_path("aside");
    fs::rename(world.tree.root(), &aside).expect("renamed");
    daemon.wait_for("source.unavailable");
    fs::create_dir(world.tree.root()).expect("made");
    world.tree.write("other", "of another directory");
    world.wait_for_object("other", "of another directory");
    fs::rename(world.tree.root(), world.sibling_path("second")).expect("renamed");
    fs::rename(&aside, world.tree.root()).expect("renamed");
    world.tree.write("folder/more", "content");
    world.wait_for_object("folder/more", "content");
    until("the status is written", || {
        fs::read_to_string(status.join("status.json"))
            .is_ok_and(|status| status.contains("in-sync"))
    });
    daemon.stop();
}

/// Starts daemons whose kernel seems to have no Landlock, or says why it cannot.
fn without_landlock(world: &mut World) -> bool {
    let inject = "inject=landlock_create_ruleset:error=ENOSYS";
    let trace = "trace=landlock_create_ruleset";
    let probe =
        Command::new("strace").args(["-f", "-qq", "-e", trace, "-e", inject, "true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("skipped: no strace here that knows Landlock");
        return false;
    }
    world.wrap(&["strace", "-D", "-f", "-qqq", "-o", "/dev/null", "-e", trace, "-e", inject]);
    true
}

#[test]
fn without_landlock_it_goes_on_unless_that_is_required() {
    let mut world = World::new();
    if !without_landlock(&mut world) {
        return;
    }
    world.tree.write("file", "content");
    world.set("sandbox", "auto");
    let daemon = world.start().ready();
    let off = daemon.wait_for("sandbox.off");
    assert!(off.text("why").contains("no Landlock"), "{}", off.shown());
    world.wait_until_done();
    daemon.stop();
    world.set("sandbox", "require");
    let ended = world.spawn().wait();
    assert_eq!(ended.code(), Some(78), "{}", ended.errors);
    assert!(ended.errors.contains("no Landlock"), "{}", ended.errors);
}

#[test]
fn it_is_confined_before_any_other_thread_exists() {
    let mut world = World::new();
    let Some(probe) = require_landlock(&mut world) else { return };
    probe.stop();
    let output = Command::new("strace").arg("-V").output();
    if !output.is_ok_and(|output| output.status.success()) {
        println!("skipped: no strace");
        return;
    }
    let trace = world.sibling_path("trace");
    let calls = "trace=landlock_restrict_self,clone,clone3";
    let path = trace.to_string_lossy().into_owned();
    world.wrap(&["strace", "-D", "-f", "-qqq", "-o", &path, "-e", calls]);
    world.tree.write("file", "content");
    let daemon = world.start().ready();
    world.wait_until_done();
    daemon.stop();
    let calls = fs::read_to_string(&trace).expect("traced");
    let confined = calls.lines().position(|call| call.contains("landlock_restrict_self("));
    let thread = calls.lines().position(|call| call.contains("clone"));
    let (Some(confined), Some(thread)) = (confined, thread) else { panic!("{calls}") };
    assert!(confined < thread, "{calls}");
}
