//! The documented bound on memory, and the memory of a process as the kernel counts it.

use super::daemon::Daemon;
use super::said::Said;
use super::wait::{patience, sleep_for, until};
use super::world::World;
use std::fs::{self, File};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// The limit on content in these tests, MiB: the least with parts of the default size.
const CONTENT_MIB: u64 = 16;
/// The documented part of the memory that is not content, MiB.
const BESIDES_CONTENT_MIB: u64 = 64;
/// A command that runs longer reads without an end.
const COMMAND_PATIENCE: Duration = Duration::from_secs(60);

/// The most memory that a process may have, MiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryBound {
    mib: u64,
}

impl MemoryBound {
    /// The documented bound, above what a daemon of this build has that has nothing to do: a program
    /// that is not optimised has more code than the documentation counts.
    pub(crate) fn for_world(world: &mut World) -> Self {
        static AT_REST: OnceLock<u64> = OnceLock::new();
        let content = CONTENT_MIB.to_string();
        world.set("transfer_memory_mib", &content);
        let at_rest = *AT_REST.get_or_init(|| {
            let idle = World::new().setting("transfer_memory_mib", &content);
            let daemon = idle.start().ready();
            idle.pass_a_marker("marker");
            let peak = daemon.peak_mib();
            daemon.stop();
            peak
        });
        Self { mib: at_rest + CONTENT_MIB + BESIDES_CONTENT_MIB }
    }

    /// Fails if the daemon ever had more.
    pub(crate) fn assert_kept(self, daemon: &Daemon) {
        let peak = daemon.peak_mib();
        assert!(peak <= self.mib, "{peak} MiB resident, {} MiB documented", self.mib);
    }

    /// Waits until `holds`, and fails as soon as the daemon has more: what never ends fills a machine.
    pub(crate) fn until(self, daemon: &Daemon, what: &str, mut holds: impl FnMut() -> bool) {
        until(what, || {
            self.assert_kept(daemon);
            holds()
        });
        self.assert_kept(daemon);
    }

    /// Runs a command to its end, which is within the bound.
    pub(crate) fn run(self, world: &World, arguments: &[&str]) -> Said {
        let output = world.sibling_path("output");
        let errors = world.sibling_path("errors");
        let written = |path| Stdio::from(File::create(path).expect("made"));
        let mut command = world.command(arguments);
        command.stdin(Stdio::null()).stdout(written(&output)).stderr(written(&errors));
        let mut child = Killed(command.spawn().expect("it starts"));
        let began = file_sync_dev_s3::now();
        let ended = loop {
            // A process that has just ended has no memory.
            if let Some(peak) = peak_mib(child.0.id()) {
                assert!(peak <= self.mib, "{peak} MiB resident, {} MiB documented", self.mib);
            }
            if let Some(ended) = child.0.try_wait().expect("a child of ours") {
                break ended;
            }
            assert!(began.elapsed() < patience(COMMAND_PATIENCE), "{arguments:?} does not end");
            sleep_for(Duration::from_millis(5));
        };
        let text = |path| fs::read_to_string(path).expect("text");
        Said { code: ended.code(), output: text(&output), errors: text(&errors) }
    }
}

/// Ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The most memory that a process ever had, MiB; nothing if it has ended.
pub(crate) fn peak_mib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}
