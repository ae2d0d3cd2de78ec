//! The daemon, as a child process.

use crate::interrupt::Interrupt;
use crate::workspace::Workspace;
use file_sync_dev_s3::{ACCESS_KEY, REGION, SECRET_KEY};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The daemon drains for 25 seconds at most; here there is hardly anything to drain.
const TIME_TO_STOP: Duration = Duration::from_secs(15);
const STEP: Duration = Duration::from_millis(20);

/// Stopped when dropped.
#[derive(Debug)]
pub(crate) struct Daemon<'a> {
    workspace: &'a Workspace,
    endpoint: String,
    interrupt: Interrupt,
    child: Option<Child>,
}

impl<'a> Daemon<'a> {
    /// A daemon that does not run yet.
    pub(crate) fn new(workspace: &'a Workspace, endpoint: &str, interrupt: Interrupt) -> Self {
        Self { workspace, endpoint: endpoint.to_owned(), interrupt, child: None }
    }

    /// Starts it. What it says goes to its log.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(self.workspace.log())?;
        let child = Command::new(&self.workspace.program)
            .arg("--config")
            .arg(self.workspace.config())
            .current_dir(self.workspace.root())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_REGION", REGION)
            .env("AWS_ENDPOINT_URL_S3", &self.endpoint)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("FILE_SYNC__S3_FORCE_PATH_STYLE", "true")
            .env("FILE_SYNC__LOG_FORMAT", "json")
            // What a person has set for the real S3 must neither reach nor break this one.
            .env_remove("AWS_SESSION_TOKEN")
            .env_remove("AWS_PROFILE")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C on the terminal is for the demo, which then stops the daemon in order.
            .process_group(0)
            .spawn();
        self.child = Some(child?);
        Ok(())
    }

    /// How it ended, if it did so by itself.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// Kills it without a warning.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(drop)
    }

    /// Asks it to end, and kills it if it does not or if somebody is in a hurry.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let Some(child) = &mut self.child else { return Ok(()) };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let deadline = file_sync_dev_s3::now() + TIME_TO_STOP;
        while child.try_wait()?.is_none() {
            if self.interrupt.is_urgent() || file_sync_dev_s3::now() >= deadline {
                return self.kill();
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("demo: the daemon may still run: {error}");
        }
    }
}
