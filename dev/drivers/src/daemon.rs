//! The daemon, as a child process.

use crate::{Interrupt, Workspace};
use file_sync_dev_s3::{ACCESS_KEY, REGION, SECRET_KEY, now};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The daemon drains for 25 seconds at most; here there is hardly anything to drain.
const TIME_TO_STOP: Duration = Duration::from_secs(15);
const STEP: Duration = Duration::from_millis(10);

/// Stopped when dropped.
#[derive(Debug)]
pub struct Daemon<'a> {
    workspace: &'a Workspace,
    endpoint: String,
    interrupt: Interrupt,
    settings: Vec<(String, String)>,
    child: Option<Child>,
    /// It was asked to end before it caught the signal.
    asked_early: bool,
}

impl<'a> Daemon<'a> {
    /// A daemon that does not run yet.
    #[must_use]
    pub fn new(workspace: &'a Workspace, endpoint: &str, interrupt: Interrupt) -> Self {
        let endpoint = endpoint.to_owned();
        Self {
            workspace,
            endpoint,
            interrupt,
            settings: Vec::new(),
            child: None,
            asked_early: false,
        }
    }

    /// Gives it another setting than the default, by the name of its variable.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.settings.push((variable.to_owned(), value.to_owned()));
    }

    /// Starts it. What it says goes to its log.
    ///
    /// # Errors
    ///
    /// If the program or the log cannot be opened.
    pub fn start(&mut self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(self.workspace.log())?;
        let mut command = Command::new(self.workspace.program());
        // What a person has set for a daemon or for the real S3 must neither reach nor break this one.
        let own = |name: &str| name.starts_with("FILE_SYNC__") || name.starts_with("AWS_");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(own)) {
            command.env_remove(name);
        }
        let child = command
            .arg("--config")
            .arg(self.workspace.config())
            .current_dir(self.workspace.root())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_REGION", REGION)
            .env("AWS_ENDPOINT_URL_S3", &self.endpoint)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("FILE_SYNC__S3_FORCE_PATH_STYLE", "true")
            // Every version ever stored must be one of a file.
            .env("FILE_SYNC__LISTEN_ADDRESS", "off")
            .env("FILE_SYNC__ADMIN_ADDRESS", "off")
            .env("FILE_SYNC__LOG_FORMAT", "json")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C on the terminal is for the parent, which then stops the daemon in order.
            .process_group(0)
            .spawn();
        self.child = Some(child?);
        self.asked_early = false;
        Ok(())
    }

    /// How it ended, if it did so by itself.
    ///
    /// # Errors
    ///
    /// If it cannot be asked.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// Kills it without a warning.
    ///
    /// # Errors
    ///
    /// If it cannot be killed.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(drop)
    }

    /// Asks it to end.
    ///
    /// # Errors
    ///
    /// If it cannot be signalled.
    pub fn terminate(&mut self) -> io::Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let pid = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            self.asked_early |= !catches(pid, Signal::TERM)?;
            kill_process(pid, Signal::TERM)?;
        }
        Ok(())
    }

    /// Whether it ended as it has to when it was asked to: with 0, or by the signal if it did not catch that
    /// yet, and so had not done anything.
    #[must_use]
    pub fn has_ended_well(&self, status: ExitStatus) -> bool {
        let by_signal = status.signal() == Some(Signal::TERM.as_raw());
        status.success() || (self.asked_early && by_signal)
    }

    /// How it ended after it was asked to. `None` if it had to be killed, after `patience` or because of
    /// a second interrupt, and if it was not running.
    ///
    /// # Errors
    ///
    /// If it cannot be asked or killed.
    pub fn wait(&mut self, patience: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = now() + patience;
        while self.child.is_some() {
            if let Some(status) = self.ended()? {
                self.child = None;
                return Ok(Some(status));
            }
            if self.interrupt.is_urgent() || now() >= deadline {
                self.kill()?;
                break;
            }
            std::thread::sleep(STEP);
        }
        Ok(None)
    }

    /// Asks it to end, and kills it if it does not or at a second interrupt.
    ///
    /// # Errors
    ///
    /// If it cannot be signalled or waited for.
    pub fn stop(&mut self) -> io::Result<()> {
        self.terminate()?;
        self.wait(TIME_TO_STOP).map(drop)
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("the daemon may still run: {error}");
        }
    }
}

/// Whether a process has a handler for this signal.
fn catches(pid: Pid, signal: Signal) -> io::Result<bool> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    Ok(mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1))
}
