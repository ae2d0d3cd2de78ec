//! Rollouts of pods with volumes of their own: each new pod has another tree, an empty state and an
//! application that changes its files, and both pods write below one prefix for some seconds.
//!
//! # Invariant
//!
//! - In the end, every file of the pod that lives is in the bucket, and every object without a file has the
//!   mark of another pod: its volume never proved that the file is gone.

use crate::conductor::{SHOWN_MAX, STEP, TIME_TO_STOP};
use crate::faults::Faults;
use crate::stage::Stage;
use crate::states::Content;
use crate::target::Target;
use crate::{PREFIX, equality};
use file_sync_dev_drivers::{Daemon, Interrupt, Workspace};
use file_sync_dev_s3::{FaultKind, Object, now};
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Names that all pods use.
const NAMES: u32 = 40;
/// Contents of a name that all pods write, so that objects are taken over.
const COMMON_CONTENTS: u32 = 3;
/// A file that goes in parts.
const LARGE_BYTES: usize = 6 << 20;
const FAULTS_CHANGE: Duration = Duration::from_secs(1);
/// The longest time between two events, and for which two pods run.
const CALM_MAX: Duration = Duration::from_secs(5);
const OVERLAP_MAX: Duration = Duration::from_secs(4);
/// The longest pause of an application.
const PAUSE_MAX_MS: u64 = 40;
/// How often the bucket is compared with the records, seconds: each comparison follows a scan interval.
const RESCAN_SECONDS: &str = "3";
/// Until the bucket has to have every file.
const CONVERGENCE: Duration = Duration::from_secs(120);
/// The mark of the state in the metadata of an object.
const OWNER: &str = "file-sync-owner";

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    pub(crate) faults: Vec<FaultKind>,
    pub(crate) daemon: PathBuf,
    pub(crate) place: PathBuf,
}

/// The application of a pod.
#[derive(Debug)]
struct Application {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<u64>>,
}

impl Application {
    fn start(volume: PathBuf, number: u64, seed: u64) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut dice = fastrand::Rng::with_seed(seed);
            let mut operations = 0;
            while !until.load(Ordering::Relaxed) {
                change(&volume, number, &mut dice)?;
                operations += 1;
                std::thread::sleep(Duration::from_millis(dice.u64(..PAUSE_MAX_MS)));
            }
            Ok(operations)
        });
        Self { ended, thread }
    }

    /// The number of its operations.
    fn end(self) -> io::Result<u64> {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the application panicked")))
    }
}

/// Changes one file of a volume.
fn change(volume: &Path, number: u64, dice: &mut fastrand::Rng) -> io::Result<()> {
    let path = volume.join(name(dice));
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    };
    match dice.u32(..20) {
        0 => fs::write(path, vec![dice.u8(..); LARGE_BYTES]),
        1..5 => gone(fs::remove_file(path)),
        5..8 => gone(fs::rename(path, volume.join(name(dice)))),
        8..14 => fs::write(&path, common_content(dice)),
        _ => fs::write(path, format!("of pod {number}: {}", dice.u32(..))),
    }
}

fn name(dice: &mut fastrand::Rng) -> String {
    format!("f{}", dice.u32(..NAMES))
}

fn common_content(dice: &mut fastrand::Rng) -> String {
    format!("of any pod: {}", dice.u32(..COMMON_CONTENTS))
}

/// A file that no other pod has: its object has the mark of the pod.
fn anchor(number: u64) -> String {
    format!("anchor-{number}")
}

#[derive(Debug)]
struct Pod<'a> {
    number: u64,
    daemon: Daemon<'a>,
    volume: PathBuf,
    /// None while it is quiet.
    application: Option<Application>,
}

#[derive(Debug)]
struct Pods<'a> {
    workspace: &'a Workspace,
    interrupt: Interrupt,
    target: Target,
    faults: Faults,
    faults_at: Instant,
    dice: fastrand::Rng,
    pods: u64,
    restarts: u64,
    kills: u64,
    operations: u64,
    comparisons: u64,
    failures: Vec<String>,
}

/// Runs it all. Answers what was wrong, and what was done.
pub(crate) fn perform(
    plan: &Plan,
    interrupt: &Interrupt,
    target: Target,
) -> Result<(Vec<String>, String), Box<dyn Error>> {
    let workspace = Workspace::create_in(&plan.place, "pods", &plan.daemon, PREFIX)?;
    let mut pods = Pods {
        workspace: &workspace,
        interrupt: interrupt.clone(),
        target,
        faults: Faults::new(plan.seed, &plan.faults),
        faults_at: now(),
        dice: fastrand::Rng::with_seed(plan.seed),
        pods: 0,
        restarts: 0,
        kills: 0,
        operations: 0,
        comparisons: 0,
        failures: Vec::new(),
    };
    let performed = pods.perform(plan.time);
    if performed.is_err() || !pods.failures.is_empty() {
        workspace.keep();
        println!("left for inspection: {:?}", workspace.root());
    }
    performed?;
    let summary = pods.summary(plan.seed);
    pods.failures.truncate(SHOWN_MAX);
    Ok((pods.failures, summary))
}

impl<'a> Pods<'a> {
    fn perform(&mut self, time: Duration) -> io::Result<()> {
        let mut pod = self.start()?;
        self.begin(&mut pod);
        let end = now() + time;
        while now() < end && !self.interrupt.is_set() && self.failures.is_empty() {
            self.pass(CALM_MAX)?;
            if self.dice.u32(..3) == 0 {
                // The container restarts; its volumes stay.
                pod.daemon.kill()?;
                self.restarts += 1;
                pod.daemon.start()?;
            } else {
                self.roll_out(&mut pod)?;
            }
            self.expect_running(&mut pod)?;
        }
        let Pod { number, mut daemon, volume, application } = pod;
        self.end_application(application)?;
        let mut wrong = self.converge(number, &volume)?;
        daemon.terminate()?;
        if !daemon.wait(TIME_TO_STOP)?.is_some_and(|status| status.success()) {
            wrong.push("the last SIGTERM did not end with 0".to_owned());
        }
        if wrong.is_empty() {
            wrong = self.differences(number, &volume)?;
        }
        if !self.interrupt.is_set() {
            self.failures.extend(wrong);
        }
        Ok(())
    }

    /// Puts a new pod in the place of the one that runs. Now and then its application is quiet until the old
    /// pod has ended: only its daemon repairs what the old one has done.
    fn roll_out(&mut self, pod: &mut Pod<'a>) -> io::Result<()> {
        let mut next = self.start()?;
        let is_quiet = self.dice.u32(..2) == 0;
        if !is_quiet {
            self.begin(&mut next);
        }
        self.pass(OVERLAP_MAX)?;
        self.end(std::mem::replace(pod, next))?;
        if is_quiet && self.failures.is_empty() {
            let wrong = self.converge(pod.number, &pod.volume)?;
            if !self.interrupt.is_set() {
                self.failures.extend(wrong);
            }
            self.begin(pod);
        }
        Ok(())
    }

    /// Starts the application of a pod.
    fn begin(&mut self, pod: &mut Pod<'a>) {
        let application = Application::start(pod.volume.clone(), pod.number, self.dice.u64(..));
        pod.application = Some(application);
    }

    fn end_application(&mut self, application: Option<Application>) -> io::Result<()> {
        self.operations += application.map_or(Ok(0), Application::end)?;
        Ok(())
    }

    /// Starts a pod with a volume of its own, on which the image has put some files.
    fn start(&mut self) -> io::Result<Pod<'a>> {
        let number = self.pods;
        self.pods += 1;
        let volume = self.workspace.root().join(format!("volume-{number}"));
        let state = self.workspace.root().join(format!("state-{number}"));
        fs::create_dir(&volume)?;
        fs::create_dir(&state)?;
        fs::write(volume.join(anchor(number)), format!("of pod {number}"))?;
        for file in 0..NAMES {
            if self.dice.u32(..5) < 3 {
                fs::write(volume.join(format!("f{file}")), common_content(&mut self.dice))?;
            }
        }
        let endpoint = self.target.server.endpoint();
        let mut daemon = Daemon::new(self.workspace, &endpoint, self.interrupt.clone());
        Stage::set(&mut daemon, &self.target);
        daemon.set("FILE_SYNC__RESCAN_INTERVAL_SECONDS", RESCAN_SECONDS);
        daemon.set("FILE_SYNC__WATCH_PATH", &volume.to_string_lossy());
        daemon.set("FILE_SYNC__STATE_DIR", &state.to_string_lossy());
        daemon.start()?;
        Ok(Pod { number, daemon, volume, application: None })
    }

    /// Ends a pod: mostly in order, the application first or last, and sometimes at once.
    fn end(&mut self, pod: Pod<'_>) -> io::Result<()> {
        let Pod { number, mut daemon, application, .. } = pod;
        if self.dice.u32(..4) == 0 {
            daemon.kill()?;
            self.kills += 1;
            return self.end_application(application);
        }
        let application = if self.dice.bool() {
            self.end_application(application)?;
            None
        } else {
            application
        };
        daemon.terminate()?;
        let ended = daemon.wait(TIME_TO_STOP)?;
        // What is left is on a state that survives.
        let in_order = ended.is_some_and(|status| daemon.has_ended_well(status));
        if !in_order && !self.interrupt.is_urgent() {
            self.failures.push(format!("SIGTERM ended pod {number} with {ended:?}"));
        }
        self.end_application(application)
    }

    /// Lets up to this time pass, in which the faults change.
    fn pass(&mut self, at_most: Duration) -> io::Result<()> {
        let until = now() + at_most.mul_f64(self.dice.f64());
        while now() < until && !self.interrupt.is_set() {
            if now() >= self.faults_at {
                self.faults.change(&mut self.target.server)?;
                self.faults_at = now() + FAULTS_CHANGE;
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    fn expect_running(&mut self, pod: &mut Pod<'_>) -> io::Result<()> {
        if let Some(status) = pod.daemon.ended()? {
            self.failures.push(format!("pod {} ended by itself with {status}", pod.number));
        }
        Ok(())
    }

    /// Waits without faults until the bucket is as the volume of the pod. Answers where it is not.
    fn converge(&mut self, number: u64, volume: &Path) -> io::Result<Vec<String>> {
        self.faults.clear(&mut self.target.server)?;
        self.comparisons += 1;
        let started = now();
        loop {
            let differences = self.differences(number, volume)?;
            let enough = now() >= started + CONVERGENCE || self.interrupt.is_set();
            if differences.is_empty() || enough {
                let verdict = if differences.is_empty() { "has" } else { "lacks" };
                let seconds = (now() - started).as_secs_f64();
                println!("the bucket {verdict} what the last pod has, after {seconds:.1} s");
                return Ok(differences);
            }
            std::thread::sleep(STEP * 10);
        }
    }

    /// Where the bucket is not as the volume of the pod.
    fn differences(&self, number: u64, volume: &Path) -> io::Result<Vec<String>> {
        self.target.refresh()?;
        let tree = equality::contents(&equality::files(volume)?)?;
        let objects = self.target.objects();
        let mark = |object: &Arc<Object>| object.headers.metadata.get(OWNER).cloned();
        let Some(own) = objects.get(&format!("{PREFIX}/{}", anchor(number))) else {
            return Ok(vec!["the last pod has sent nothing".to_owned()]);
        };
        let mut differences = Vec::new();
        for (key, content) in &tree {
            match objects.get(key) {
                None => differences.push(format!("{key:?} is missing")),
                Some(object) if Content::from(&**object) != *content => {
                    differences.push(format!("{key:?} is another one: {:?}", mark(object)));
                }
                Some(_) => {}
            }
        }
        let left = objects.iter().filter(|(key, object)| {
            !tree.contains_key(*key) && mark(object).is_none_or(|it| Some(it) == mark(own))
        });
        differences.extend(left.map(|(key, _)| format!("{key:?} has no file, and is its own")));
        Ok(differences)
    }

    fn summary(&self, seed: u64) -> String {
        format!(
            "seed {seed}: {} pods, {} of them killed, {} restarts, {} comparisons, {} operations, {} requests\n\
             faults:{}",
            self.pods,
            self.kills,
            self.restarts,
            self.comparisons,
            self.operations,
            self.target.server.journal().total(),
            self.faults.told(),
        )
    }
}
