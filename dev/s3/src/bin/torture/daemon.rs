//! The daemon, as a child process that is killed a lot.

use crate::stage::Stage;
use file_sync_dev_s3::{ACCESS_KEY, REGION, SECRET_KEY, now};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Its own deadline is 3 seconds; the rest is for a machine under load.
const TIME_TO_STOP: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(10);

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon<'a> {
    stage: &'a Stage,
    endpoint: String,
    child: Option<Child>,
}

impl<'a> Daemon<'a> {
    /// A daemon that does not run yet.
    pub(crate) fn new(stage: &'a Stage, endpoint: String) -> Self {
        Self { stage, endpoint, child: None }
    }

    /// Starts it. What it says goes to its log.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(self.stage.log())?;
        let child = Command::new(&self.stage.program)
            .arg("--config")
            .arg(self.stage.config())
            .current_dir(self.stage.root())
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

    /// Asks it to end.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        let pid = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        Ok(())
    }

    /// How it ended after it was asked to; `None` if it did not.
    pub(crate) fn wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let deadline = now() + TIME_TO_STOP;
        while now() < deadline {
            if let Some(status) = self.ended()? {
                self.child = None;
                return Ok(Some(status));
            }
            std::thread::sleep(STEP);
        }
        self.kill()?;
        Ok(None)
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("torture: the daemon may still run: {error}");
        }
    }
}
