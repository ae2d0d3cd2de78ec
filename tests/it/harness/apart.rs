//! A mount namespace of a test's own: the daemons of a world run in it, and no other process sees
//! what is mounted there.
//!
//! It is a user namespace as well, so that no rights are needed where anybody may make one, and its
//! limits on inotify are its own.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A namespace. It ends when this is dropped, or with the process of the tests.
#[derive(Debug)]
pub(crate) struct Apart {
    /// Keeps it, and ends when its input does.
    keeper: Child,
}

impl Apart {
    /// A new one. Where there may be none, the reason is printed: the test must be skipped.
    pub(crate) fn new() -> Option<Self> {
        let new = "unshare --user --map-root-user --mount --propagation private";
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {new} sh -c 'echo ready && exec cat'")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut keeper = command.spawn().expect("a shell");
        let mut said = String::new();
        let output = keeper.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut said).expect("read");
        let apart = Self { keeper };
        if said == "ready\n" {
            return Some(apart);
        }
        println!("skipped: this user may make no mount namespace (`{new}` failed)");
        None
    }

    /// A run of `program` inside.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.keeper.id().to_string());
        command.args(["--user", "--preserve-credentials", "--mount", "--"]).arg(program);
        command
    }

    /// Where a path inside is seen from outside.
    pub(crate) fn seen(&self, inside: &Path) -> PathBuf {
        let root = format!("/proc/{}/root", self.keeper.id());
        Path::new(&root).join(inside.strip_prefix("/").expect("absolute"))
    }

    /// Mounts an empty file system in memory.
    pub(crate) fn mount_memory(&self, options: &str, at: &Path) {
        self.run(
            "mount",
            &[
                "-t".as_ref(),
                "tmpfs".as_ref(),
                "-o".as_ref(),
                options.as_ref(),
                "none".as_ref(),
                at.as_ref(),
            ],
        );
    }

    /// Mounts `volume` at a second place.
    pub(crate) fn mount(&self, volume: &Path, at: &Path) {
        self.run("mount", &["--bind".as_ref(), volume.as_ref(), at.as_ref()]);
    }

    /// Mounts an overlay of the directories `lower`, `upper` and `work` in `layers`.
    pub(crate) fn mount_overlay(&self, layers: &Path, at: &Path) {
        let layers = layers.to_string_lossy();
        let options =
            format!("lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work");
        self.run(
            "mount",
            &[
                "-t".as_ref(),
                "overlay".as_ref(),
                "-o".as_ref(),
                options.as_ref(),
                "none".as_ref(),
                at.as_ref(),
            ],
        );
    }

    /// Unmounts, even while it is in use.
    pub(crate) fn unmount(&self, at: &Path) {
        self.run("umount", &["--lazy".as_ref(), at.as_ref()]);
    }

    /// Sets a limit on inotify for all in here.
    pub(crate) fn limit(&self, name: &str, value: usize) {
        let set = format!("echo {value} > /proc/sys/user/{name}");
        self.run("sh", &["-c".as_ref(), set.as_ref()]);
    }

    fn run(&self, program: &str, arguments: &[&OsStr]) {
        let output = self.command(program).args(arguments).output().expect("it starts");
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.keeper.kill());
        self.keeper.wait().expect("it is a child of ours");
    }
}
