//! The built program, running: its log, its signals, its end.
//!
//! Every process is ended by its own id, also when a test fails.

use super::log::Line;
use super::memory::peak_mib;
use super::wait::{eventually, eventually_within, patience};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A stopped daemon ends within this time.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// One that has little to do needs no longer than this; its deadline is at 25 s.
const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// The unit in which the kernel reports processor time, on every architecture of today.
const TICK_MS: u64 = 10;
/// Lines shown of a daemon whose test fails.
const TAIL_LINES: usize = 30;

/// What a daemon has said so far.
#[derive(Debug, Default)]
struct Said {
    lines: Vec<Line>,
    /// What was no record, and so must not be there.
    noise: Vec<String>,
    errors: String,
}

/// A running daemon. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    said: Arc<Mutex<Said>>,
    readers: Vec<JoinHandle<()>>,
    ended: bool,
}

/// How a daemon ended.
#[derive(Debug)]
pub(crate) struct Ended {
    status: ExitStatus,
    /// From the wait for the end to the end.
    pub(crate) took: Duration,
    /// All it had logged.
    pub(crate) lines: Vec<Line>,
    /// All it had written to stderr.
    pub(crate) errors: String,
}

impl Ended {
    /// The exit code; nothing if a signal ended it, which a shell calls 128 and the signal.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// The records of `event`.
    pub(crate) fn events(&self, event: &str) -> Vec<&Line> {
        self.lines.iter().filter(|line| line.event() == event).collect()
    }
}

impl Daemon {
    /// Starts it.
    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A copy of the program may be held open by what another test is just starting.
        let mut child = eventually("the program starts", || match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => Err(error.to_string()),
            child => Ok(child.expect("the program starts")),
        });
        let said = Arc::new(Mutex::new(Said::default()));
        let output = child.stdout.take().expect("a pipe");
        let mut errors = child.stderr.take().expect("a pipe");
        let log = Arc::clone(&said);
        let stderr = Arc::clone(&said);
        let readers = vec![
            std::thread::spawn(move || read_log(BufReader::new(output), &log)),
            std::thread::spawn(move || {
                let mut text = Vec::new();
                // What was read before an error is kept.
                drop(errors.read_to_end(&mut text));
                lock(&stderr).errors = String::from_utf8_lossy(&text).into_owned();
            }),
        ];
        Self { child, said, readers, ended: false }
    }

    /// Waits for a record for which `wanted` holds.
    pub(crate) fn wait_for_line(&self, what: &str, wanted: impl Fn(&Line) -> bool) -> Line {
        eventually(what, || {
            let said = lock(&self.said);
            said.lines
                .iter()
                .find(|line| wanted(line))
                .cloned()
                .ok_or_else(|| "no such line".into())
        })
    }

    /// Whether there is a record for which `wanted` holds.
    pub(crate) fn has(&self, wanted: impl Fn(&Line) -> bool) -> bool {
        lock(&self.said).lines.iter().any(wanted)
    }

    /// The most memory it ever had, MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        peak_mib(self.child.id()).expect("it runs")
    }

    /// The names of its threads, as far as the kernel keeps them.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        // A thread may end meanwhile.
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
        tasks.flatten().filter_map(name).map(|name| name.trim().to_owned()).collect()
    }

    /// How many directories the kernel watches for it.
    pub(crate) fn watches(&self) -> usize {
        let directory = format!("/proc/{}/fdinfo", self.child.id());
        let infos = fs::read_dir(directory).expect("it runs").flatten();
        let text = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
        text.map(|text| text.lines().filter(|line| line.starts_with("inotify ")).count()).sum()
    }

    /// Waits for a record of `event`.
    pub(crate) fn wait_for(&self, event: &str) -> Line {
        self.wait_for_line(event, |line| line.event() == event)
    }

    /// Waits for a record of `event` about the file `path`.
    pub(crate) fn wait_for_file(&self, event: &str, path: &str) -> Line {
        self.wait_for_line(&format!("{event} of {path:?}"), |line| line.is(event, path))
    }

    /// Waits until everything is watched and the whole tree was compared once.
    pub(crate) fn ready(self) -> Self {
        self.wait_for_line("the first comparison", is_whole_comparison);
        self
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the daemon runs");
    }

    /// SIGSTOP; answers when it stands still, until SIGCONT.
    pub(crate) fn stand_still(&self) {
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.child.id());
        eventually("the daemon stands still", || {
            let stat = fs::read_to_string(&stat).map_err(|error| error.to_string())?;
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            if state == Some('T') { Ok(()) } else { Err(format!("{state:?}")) }
        });
    }

    /// Whether it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The processor time it has used.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        // Behind the name, which is in parentheses and may hold anything: user and system time.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>());
        let ticks: u64 = ticks.map(|ticks| ticks.expect("a number")).sum();
        Duration::from_millis(ticks * TICK_MS)
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(mut self) -> Ended {
        let began = file_sync_dev_s3::now();
        let status = self.await_end();
        let took = began.elapsed();
        self.ended = true;
        for reader in self.readers.drain(..) {
            reader.join().expect("the log is readable");
        }
        let said = lock(&self.said);
        assert!(said.noise.is_empty(), "not records: {:?}", said.noise);
        Ended { status, took, lines: said.lines.clone(), errors: said.errors.clone() }
    }

    fn await_end(&mut self) -> ExitStatus {
        eventually_within(END_PATIENCE, "the daemon ends", || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// SIGTERM, and the end.
    pub(crate) fn terminate(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// SIGTERM, upon which it has to end with 0, and before its deadline: there is little to do.
    pub(crate) fn stop(self) -> Ended {
        let ended = self.terminate();
        assert_eq!((ended.code(), ended.signal()), (Some(0), None), "{}", ended.errors);
        assert!(ended.took < patience(STOP_PATIENCE), "{:?} until it ended", ended.took);
        ended
    }

    /// SIGKILL, and the end.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            // It may have ended by itself.
            drop(self.child.kill());
            self.child.wait().expect("it is a child of ours");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            for reader in self.readers.drain(..) {
                // A reader that panicked has said so.
                drop(reader.join());
            }
            let said = lock(&self.said);
            println!("--- the daemon's last lines");
            for line in said.lines.iter().rev().take(TAIL_LINES).rev() {
                println!("{}", line.shown());
            }
            println!("{}{}", said.noise.join("\n"), said.errors);
        }
    }
}

/// Whether a comparison of the whole tree has ended.
pub(crate) fn is_whole_comparison(line: &Line) -> bool {
    line.event() == "scan.completed" && line.text("file.path").is_empty()
}

fn read_log(output: impl BufRead, said: &Mutex<Said>) {
    for text in output.split(b'\n').map_while(Result::ok) {
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut said = lock(said);
        match Line::parse(&text) {
            Some(line) => said.lines.push(line),
            None => said.noise.push(text),
        }
    }
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}
