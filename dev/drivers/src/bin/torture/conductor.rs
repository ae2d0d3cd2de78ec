//! Everything at once: writers, faults, kills, lost state, swapped trees.

use crate::canary::Canary;
use crate::faults::Faults;
use crate::foreign::Foreign;
use crate::maps::Maps;
use crate::model::Model;
use crate::outgoing::Rollouts;
use crate::private;
use crate::record::Record;
use crate::stage::Stage;
use crate::states::Content;
use crate::swap::Swap;
use crate::target::Target;
use crate::versions::Versions;
use crate::writer::{Shared, Writer};
use file_sync_dev_drivers::{Daemon, Interrupt};
use file_sync_dev_s3::{FaultKind, now};
use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How many findings are shown.
pub(crate) const SHOWN_MAX: usize = 20;
pub(crate) const STEP: Duration = Duration::from_millis(20);
const FAULTS_CHANGE: Duration = Duration::from_secs(1);
const TOLD: Duration = Duration::from_secs(5);
/// What is known of contents fills memory at some time.
const CONTENTS_MAX: usize = 4_000_000;
/// The daemon's own deadline is 3 seconds; the rest is for a machine under load.
pub(crate) const TIME_TO_STOP: Duration = Duration::from_secs(30);
/// In the tree, so that it is never empty.
const ANCHOR: (&str, &[u8]) = ("anchor", b"the tree is never empty");

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    pub(crate) kills: u64,
    pub(crate) writers: u64,
    pub(crate) restores_times: bool,
    pub(crate) faults: Vec<FaultKind>,
    /// Whether new instances take the place of old ones, in place of all that happens to the state and
    /// the tree.
    pub(crate) rolls_out: bool,
}

#[derive(Debug)]
pub(crate) struct Conductor<'a> {
    // Dropped in this order: the daemon is stopped before its S3 is gone.
    pub(crate) daemon: Daemon<'a>,
    pub(crate) target: Target,
    pub(crate) stage: &'a Stage,
    pub(crate) interrupt: Interrupt,
    faults: Faults,
    canary: Canary,
    pub(crate) dice: fastrand::Rng,
    seed: u64,
    writers: u64,
    rolls_out: bool,
    pub(crate) rollouts: Rollouts<'a>,
    time: Duration,
    between_signals: Duration,
    started: Instant,
    pub(crate) shared: Shared,
    pub(crate) record: Record,
    pub(crate) swap: Swap,
    pub(crate) versions: Versions,
    pub(crate) foreign: Foreign,
    kills: u64,
    terms: u64,
    limited: u64,
    /// Objects without a file that no state knows any more.
    pub(crate) left_over: usize,
    pub(crate) failures: Vec<String>,
}

impl<'a> Conductor<'a> {
    pub(crate) fn new(
        stage: &'a Stage,
        interrupt: &Interrupt,
        target: Target,
        plan: &Plan,
    ) -> Result<Self, Box<dyn Error>> {
        let Plan { seed, time, .. } = *plan;
        let mut versions = Versions::new();
        let foreign = Foreign::create(&target, &mut versions)?;
        let mut daemon =
            Daemon::new(&stage.workspace, &target.server.endpoint(), interrupt.clone());
        Stage::set(&mut daemon, &target);
        let kills = u32::try_from(plan.kills.max(1)).unwrap_or(u32::MAX);
        Ok(Self {
            daemon,
            target,
            stage,
            interrupt: interrupt.clone(),
            faults: Faults::new(seed, &plan.faults),
            canary: Canary::watch(&stage.outsides()?)?,
            dice: fastrand::Rng::with_seed(seed),
            seed,
            writers: plan.writers,
            rolls_out: plan.rolls_out,
            rollouts: Rollouts::default(),
            time,
            between_signals: time / kills,
            started: now(),
            shared: Shared { restores_times: plan.restores_times, ..Shared::default() },
            record: Record::default(),
            swap: Swap::default(),
            versions,
            foreign,
            kills: 0,
            terms: 0,
            limited: 0,
            left_over: 0,
            failures: Vec::new(),
        })
    }

    /// Runs it all. Answers what was wrong.
    pub(crate) fn perform(&mut self) -> Result<Vec<String>, Box<dyn Error>> {
        // Writers hold the directory, wherever it is renamed to.
        let tree = File::open(self.stage.tree()?)?;
        let root = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), tree.as_raw_fd()));
        self.shared.states.complete(ANCHOR.0, Content::of(ANCHOR.1));
        fs::write(root.join(ANCHOR.0), ANCHOR.1)?;
        match Maps::start() {
            Ok(maps) => self.shared.maps = Some(maps),
            Err(error) => println!("skipped: memory maps: python3: {error}"),
        }
        let shared = std::mem::take(&mut self.shared);
        let outcome = std::thread::scope(|scope| -> Result<Vec<String>, Box<dyn Error>> {
            let writers: Vec<_> = (0..self.writers)
                .map(|number| {
                    let writer = (root.clone(), self.stage.outside(), self.seed, number);
                    let shared = &shared;
                    scope.spawn(move || write(writer, shared))
                })
                .collect();
            let conducted = self.conduct(&shared);
            shared.ended.store(true, Ordering::Relaxed);
            let wrong = writers.into_iter().flat_map(|writer| {
                writer.join().unwrap_or_else(|_| vec!["a writer panicked".to_owned()])
            });
            let wrong = wrong.collect();
            conducted?;
            Ok(wrong)
        });
        self.shared = shared;
        self.failures.extend(outcome?);
        self.judge()?;
        self.failures.extend(self.canary.sung()?);
        self.failures.dedup();
        Ok(std::mem::take(&mut self.failures))
    }

    fn conduct(&mut self, shared: &Shared) -> io::Result<()> {
        self.start()?;
        let end = now() + self.time;
        let mut faults = now();
        let mut signal = now() + self.between_signals;
        let mut told = now();
        while now() < end
            && !self.interrupt.is_set()
            && self.failures.is_empty()
            && self.versions.failures.len() < SHOWN_MAX
            && shared.states.len() <= CONTENTS_MAX
        {
            std::thread::sleep(STEP);
            self.expect_running()?;
            if now() >= faults {
                self.faults.change(&mut self.target.server)?;
                faults = now() + FAULTS_CHANGE;
            }
            if now() >= signal {
                self.signal(shared)?;
                signal = now() + self.next_signal();
            }
            self.bring_back(shared, false)?;
            self.go_on_rolling(shared, false)?;
            if now() >= told {
                self.target.refresh()?;
                self.versions.follow(&self.target, &shared.states, &mut self.record);
                println!("{}", self.line(shared));
                told = now() + TOLD;
            }
        }
        self.bring_back(shared, true)?;
        self.go_on_rolling(shared, true)?;
        self.faults.clear(&mut self.target.server)
    }

    fn bring_back(&mut self, shared: &Shared, at_once: bool) -> io::Result<()> {
        let states = &shared.states;
        let record = &mut self.record;
        let wrong = self.swap.go_on(self.stage, &self.target, states, record, at_once)?;
        self.failures.extend(wrong);
        Ok(())
    }

    /// Mostly soon, now and then after a while in which the daemon gets something done.
    fn next_signal(&mut self) -> Duration {
        let (least, more) = if self.dice.u32(..8) == 0 { (2.5, 3.0) } else { (0.0, 0.8) };
        self.between_signals.mul_f64(least + more * self.dice.f64())
    }

    /// Starts the daemon; where that is possible, now and then with hardly anything to watch with.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        if self.stage.is_private {
            let few = |dice: &mut fastrand::Rng| {
                (dice.u32(..4) == 0).then(|| [2, 10, 60][dice.usize(..3)])
            };
            let watches = few(&mut self.dice);
            let instances = few(&mut self.dice);
            self.limited += u64::from(watches.or(instances).is_some());
            private::limit(watches, instances)?;
        }
        self.daemon.start()
    }

    fn signal(&mut self, shared: &Shared) -> io::Result<()> {
        if self.rolls_out && self.dice.u32(..3) == 0 {
            return self.roll_out();
        }
        if self.dice.u32(..6) == 0 {
            self.terminate(shared)?;
        } else {
            self.daemon.kill()?;
            self.kills += 1;
        }
        match self.dice.u32(..60) {
            _ if self.rolls_out => {}
            0 => self.record.wipe(self.stage, &self.target)?,
            1..4 => self.record.copy_or_roll_back(self.stage, &self.target)?,
            4..6 => self.swap.begin(self.stage, &self.target, &shared.states, &mut self.dice)?,
            _ => {}
        }
        self.start()?;
        // Half of the swaps happen while the daemon is watching.
        if !self.rolls_out && self.dice.u32(..30) == 0 {
            std::thread::sleep(Duration::from_millis(self.dice.u64(..800)));
            self.swap.begin(self.stage, &self.target, &shared.states, &mut self.dice)?;
        }
        Ok(())
    }

    fn terminate(&mut self, shared: &Shared) -> io::Result<()> {
        shared.states.term();
        self.daemon.terminate()?;
        self.terms += 1;
        if self.dice.u32(..3) == 0 {
            std::thread::sleep(Duration::from_millis(self.dice.u64(..1500)));
            if self.daemon.ended()?.is_none() {
                self.kills += 1;
                return self.daemon.kill();
            }
        }
        let ended = self.daemon.wait(TIME_TO_STOP)?;
        let in_order = ended.is_some_and(|status| self.daemon.has_ended_well(status));
        if !in_order && !self.interrupt.is_urgent() {
            self.failures.push(format!("SIGTERM ended the daemon with {ended:?}"));
        }
        shared.states.term();
        Ok(())
    }

    pub(crate) fn expect_running(&mut self) -> io::Result<()> {
        if let Some(status) = self.daemon.ended()? {
            self.failures.push(format!("the daemon ended by itself with {status}"));
        }
        Ok(())
    }

    /// Whether the run was interrupted before there was a verdict.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.is_set()
    }

    fn line(&self, shared: &Shared) -> String {
        format!(
            "{:6.1} s  {} operations ({} refused), {} contents, {} kills, {} terms, {} limited, \
             {} wipes, {} rollbacks, {} rollouts, {} swaps, {} stored, {} deleted, {} excused, \
             {} at SIGTERM, {} requests, {} findings",
            now().saturating_duration_since(self.started).as_secs_f64(),
            shared.operations.load(Ordering::Relaxed),
            shared.refused.load(Ordering::Relaxed),
            shared.states.len(),
            self.kills,
            self.terms,
            self.limited,
            self.record.wipes,
            self.record.rollbacks,
            self.rollouts.begun,
            self.swap.counts.values().sum::<u64>(),
            self.versions.stored,
            self.versions.deleted,
            self.versions.excused,
            self.versions.at_term,
            self.target.server.journal().total(),
            self.versions.failures.len(),
        )
    }

    /// What was done.
    pub(crate) fn summary(&self) -> String {
        let mut swaps = String::new();
        for (way, count) in &self.swap.counts {
            write!(swaps, " {way}={count}").expect("a String takes everything");
        }
        format!(
            "seed {}: {}\nfaults:{}\nthe tree was:{swaps}\nobjects left over because a record was lost: {}",
            self.seed,
            self.line(&self.shared),
            self.faults.told(),
            self.left_over,
        )
    }
}

fn write(
    (root, outside, seed, number): (PathBuf, PathBuf, u64, u64),
    shared: &Shared,
) -> Vec<String> {
    let name = format!("w{number}");
    if let Err(error) = fs::create_dir(root.join(&name)) {
        return vec![format!("{name} cannot be made: {error}")];
    }
    let dice = fastrand::Rng::with_seed(seed.wrapping_mul(1000).wrapping_add(number));
    Writer { root, name, outside, dice, model: Model::default(), mapped: None, shared }.work()
}
