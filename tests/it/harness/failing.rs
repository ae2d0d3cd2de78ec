//! System calls of a running daemon that fail for a while.

use super::daemon::Daemon;
use super::wait::until;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Until this is dropped, calls of one name fail.
#[derive(Debug)]
pub(crate) struct Failing {
    tracer: Child,
}

impl Failing {
    /// Has every `call` of the daemon fail with `error`, of those with `path` alone if there is one.
    /// Nothing, and a word why, where that cannot be: the test must be skipped.
    pub(crate) fn start(
        daemon: &Daemon,
        call: &str,
        error: &str,
        path: Option<&Path>,
    ) -> Option<Self> {
        let mut probe = Command::new("strace");
        probe.args(["-f", "-qq", "-e", "inject=getpid:error=EIO", "true"]);
        if !probe.output().is_ok_and(|output| output.status.success()) {
            println!("skipped: no strace here that may make system calls fail");
            return None;
        }
        let mut command = Command::new("strace");
        let inject = format!("inject={call}:error={error}");
        command.args(["-f", "-qqq", "-o", "/dev/null", "-e", &inject]);
        command.args(["-p", &daemon.id().to_string()]);
        if let Some(path) = path {
            command.arg("-P").arg(path);
        }
        let tracer = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let failing = Self { tracer: tracer.expect("it starts") };
        let tracer = failing.tracer.id();
        until("every thread of the daemon is traced", || are_traced(daemon.id(), tracer));
        Some(failing)
    }
}

/// Whether calls of every thread of `process` fail. The tracer first seizes all threads and asks each to
/// stop; one that has not stopped yet goes on as before. So the tracer has to wait, after which each thread
/// that sleeps has stopped once.
fn are_traced(process: u32, tracer: u32) -> bool {
    let all = |holds: &dyn Fn(&str) -> bool| {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
        tasks.flatten().all(|task| {
            // A thread may end meanwhile.
            fs::read_to_string(task.path().join("status")).is_ok_and(|status| holds(&status))
        })
    };
    let sleeps = |status: &str| status.contains("State:\tS");
    let traced = format!("TracerPid:\t{tracer}\n");
    all(&|status| status.contains(&traced))
        && fs::read_to_string(format!("/proc/{tracer}/status")).is_ok_and(|status| sleeps(&status))
        && all(&|status| status.contains(&traced) && sleeps(status))
}

impl Drop for Failing {
    fn drop(&mut self) {
        // It lets the daemon go on by itself, and ends.
        kill_process(Pid::from_child(&self.tracer), Signal::INT).ok();
        self.tracer.wait().expect("it is a child of ours");
    }
}
