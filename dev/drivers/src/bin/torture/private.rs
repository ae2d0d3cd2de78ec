//! Mounts and limits of our own: a namespace in which they can be changed without any effect outside.
//!
//! There is no safe call for it, so this program begins once more beneath `unshare`.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// Says that the program has begun once more already.
pub(crate) const INSIDE: &str = "--inside";

/// What the kernel allows without a limit of ours.
const PLENTY: u64 = 100_000;

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--propagation", "private", "--"]);
    command
}

/// Begins once more in a namespace of our own. Comes back only if that is not possible, and then
/// answers why.
pub(crate) fn enter() -> String {
    let probe = unshare().arg("true").stdin(Stdio::null()).output();
    match probe {
        Ok(probe) if probe.status.success() => {}
        Ok(probe) => return String::from_utf8_lossy(&probe.stderr).trim().to_owned(),
        Err(error) => return format!("unshare: {error}"),
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error.to_string(),
    };
    unshare().arg(program).args(std::env::args_os().skip(1)).arg(INSIDE).exec().to_string()
}

/// Sets how many directories may be watched, with how many instances; `None` is as many as wanted.
/// Only for the namespace that [`enter`] has made.
pub(crate) fn limit(watches: Option<u64>, instances: Option<u64>) -> io::Result<()> {
    let set = |name: &str, limit: Option<u64>| {
        fs::write(format!("/proc/sys/user/{name}"), limit.unwrap_or(PLENTY).to_string())
    };
    set("max_inotify_watches", watches)?;
    set("max_inotify_instances", instances)
}
