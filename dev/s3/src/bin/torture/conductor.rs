//! Everything at once, and in the end the judgement.

use crate::daemon::Daemon;
use crate::faults::Faults;
use crate::record::Record;
use crate::stage::Stage;
use crate::swap::Swap;
use crate::versions::Versions;
use crate::writer::{Shared, Writer};
use crate::{PREFIX, equality};
use file_sync_dev_s3::{BUCKET, Options, Server, now};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How many findings are shown.
pub(crate) const SHOWN_MAX: usize = 20;
const WRITERS: u64 = 10;
const STEP: Duration = Duration::from_millis(20);
const FAULTS_CHANGE: Duration = Duration::from_secs(1);
const TOLD: Duration = Duration::from_secs(5);
/// Until the bucket has to equal the tree.
const CONVERGENCE: Duration = Duration::from_secs(180);
/// What is known of contents fills memory at some time.
const CONTENTS_MAX: usize = 4_000_000;
/// Somebody else's, within the prefix.
const FOREIGN: [&str; 3] = ["foreign.txt", "w0/foreign/object", "w1/a/foreign"];

#[derive(Debug)]
pub(crate) struct Conductor<'a> {
    stage: &'a Stage,
    server: Server,
    faults: Faults,
    daemon: Daemon<'a>,
    dice: fastrand::Rng,
    seed: u64,
    time: Duration,
    between_signals: Duration,
    started: Instant,
    shared: Shared,
    record: Record,
    swap: Swap,
    versions: Versions,
    foreign: BTreeMap<String, u64>,
    foreign_upload: (String, String),
    kills: u64,
    terms: u64,
    failures: Vec<String>,
}

impl<'a> Conductor<'a> {
    pub(crate) fn new(
        stage: &'a Stage,
        seed: u64,
        time: Duration,
        kills: u64,
    ) -> Result<Self, Box<dyn Error>> {
        let server = Server::start(&Options { keep_bodies: false, seed, ..Options::default() })?;
        let mut versions = Versions::new();
        let mut foreign = BTreeMap::new();
        for name in FOREIGN {
            let key = format!("{PREFIX}/{name}");
            let object = server.store().put(BUCKET, &key, "somebody else's");
            versions.skip(object.sequence);
            foreign.insert(key, object.sequence);
        }
        let key = format!("{PREFIX}/w0/f0");
        let foreign_upload = (key.clone(), server.store().begin_upload(BUCKET, &key));
        let daemon = Daemon::new(stage, server.endpoint());
        let kills = u32::try_from(kills.max(1)).unwrap_or(u32::MAX);
        Ok(Self {
            stage,
            server,
            faults: Faults::new(seed),
            daemon,
            dice: fastrand::Rng::with_seed(seed),
            seed,
            time,
            between_signals: time / kills,
            started: now(),
            shared: Shared::default(),
            record: Record::default(),
            swap: Swap::default(),
            versions,
            foreign,
            foreign_upload,
            kills: 0,
            terms: 0,
            failures: Vec::new(),
        })
    }

    /// Runs it all. Answers what was wrong.
    pub(crate) fn perform(&mut self) -> Result<Vec<String>, Box<dyn Error>> {
        // Writers hold the directory, wherever it is renamed to.
        let watched = File::open(self.stage.watched())?;
        let root = PathBuf::from(format!("/proc/self/fd/{}", watched.as_raw_fd()));
        fs::write(self.stage.watched().join("anchor"), "the tree is never empty")?;
        let anchor = crate::states::Content::of(b"the tree is never empty");
        self.shared.states.complete("anchor", anchor);
        let shared = std::mem::take(&mut self.shared);
        let outcome = std::thread::scope(|scope| -> Result<Vec<String>, Box<dyn Error>> {
            let writers: Vec<_> = (0..WRITERS)
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
        Ok(std::mem::take(&mut self.failures))
    }

    fn conduct(&mut self, shared: &Shared) -> io::Result<()> {
        self.daemon.start()?;
        let end = now() + self.time;
        let (mut faults, mut signal, mut told) = (now(), now() + self.between_signals, now());
        while now() < end && self.failures.is_empty() && self.versions.failures.len() < SHOWN_MAX {
            std::thread::sleep(STEP);
            self.expect_running()?;
            if now() >= faults {
                self.faults.change(&mut self.server)?;
                faults = now() + FAULTS_CHANGE;
            }
            if now() >= signal {
                self.signal(shared)?;
                signal = now() + self.next_signal();
            }
            let wrong = self.swap.go_on(self.stage, &self.server, &mut self.record, false)?;
            self.failures.extend(wrong);
            if now() >= told {
                self.versions.follow(&self.server, &shared.states, &mut self.record);
                println!("{}", self.line(shared));
                told = now() + TOLD;
            }
            if shared.states.len() > CONTENTS_MAX {
                break;
            }
        }
        let wrong = self.swap.go_on(self.stage, &self.server, &mut self.record, true)?;
        self.failures.extend(wrong);
        self.faults.clear(&mut self.server)
    }

    /// Mostly soon, now and then after a while in which the daemon gets something done.
    fn next_signal(&mut self) -> Duration {
        let longest = if self.dice.u32(..20) == 0 { 6.0 } else { 1.5 };
        self.between_signals.mul_f64(self.dice.f64() * longest)
    }

    fn signal(&mut self, shared: &Shared) -> io::Result<()> {
        if self.dice.u32(..6) == 0 {
            self.terminate(shared)?;
        } else {
            self.daemon.kill()?;
            self.kills += 1;
        }
        match self.dice.u32(..60) {
            0 => self.record.wipe(self.stage, &self.server)?,
            1..4 => self.record.copy_or_roll_back(self.stage, &self.server)?,
            4..6 => {
                let time = Duration::from_millis(self.dice.u64(500..4000));
                self.swap.begin(self.stage, &self.server, time, self.dice.bool())?;
            }
            _ => {}
        }
        self.daemon.start()?;
        // Half of the swaps happen while the daemon is watching.
        if self.dice.u32(..60) == 0 {
            std::thread::sleep(Duration::from_millis(self.dice.u64(..800)));
            let time = Duration::from_millis(self.dice.u64(500..4000));
            self.swap.begin(self.stage, &self.server, time, self.dice.bool())?;
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
        match self.daemon.wait()? {
            Some(status) if status.success() => {}
            Some(status) => self.failures.push(format!("SIGTERM ended the daemon with {status}")),
            None => self.failures.push("SIGTERM did not end the daemon".to_owned()),
        }
        shared.states.term();
        Ok(())
    }

    fn expect_running(&mut self) -> io::Result<()> {
        if let Some(status) = self.daemon.ended()? {
            self.failures.push(format!("the daemon ended by itself with {status}"));
        }
        Ok(())
    }

    /// Waits until the bucket equals the tree, and judges all that ever happened.
    fn judge(&mut self) -> Result<(), Box<dyn Error>> {
        let tree = equality::contents(&equality::files(&self.stage.watched())?)?;
        println!("writers ended: {} files; waiting for the bucket", tree.len());
        let deadline = now() + CONVERGENCE;
        let mut differences;
        loop {
            self.versions.follow(&self.server, &self.shared.states, &mut self.record);
            self.swap.go_on(self.stage, &self.server, &mut self.record, true)?;
            differences = equality::differences(&tree, &self.server, &self.foreign, &self.record);
            differences.extend(self.lingering());
            let enough = !self.failures.is_empty() || now() >= deadline;
            if differences.is_empty() || enough {
                break;
            }
            self.expect_running()?;
            std::thread::sleep(STEP * 10);
        }
        println!("converged or not after {:.1} s", (now() + CONVERGENCE - deadline).as_secs_f64());
        self.terminate_at_last()?;
        let after = equality::differences(&tree, &self.server, &self.foreign, &self.record);
        self.versions.follow(&self.server, &self.shared.states, &mut self.record);
        self.versions.judge(&self.shared.states, Duration::ZERO);
        self.failures.append(&mut self.versions.failures);
        self.failures.extend(differences);
        self.failures.extend(after.into_iter().map(|what| format!("after SIGTERM: {what}")));
        self.failures.dedup();
        Ok(())
    }

    /// Uploads of ours that are neither completed nor aborted.
    fn lingering(&self) -> Vec<String> {
        let uploads = self.server.store().uploads(BUCKET);
        let mut lingering = Vec::new();
        if !uploads.contains(&self.foreign_upload) {
            lingering.push("the foreign upload is gone".to_owned());
        }
        let ours = uploads.iter().filter(|upload| **upload != self.foreign_upload);
        let wrong = ours.filter(|upload| !self.record.may_linger(upload));
        lingering.extend(wrong.map(|(key, id)| format!("upload {id} of {key:?} is left")));
        lingering
    }

    fn terminate_at_last(&mut self) -> io::Result<()> {
        self.daemon.terminate()?;
        match self.daemon.wait()? {
            Some(status) if status.success() => {}
            ended => self.failures.push(format!("the last SIGTERM ended with {ended:?}")),
        }
        Ok(())
    }

    fn line(&self, shared: &Shared) -> String {
        format!(
            "{:6.1} s  {} operations ({} refused), {} contents, {} kills, {} terms, {} wipes, {} rollbacks, \
             {} swaps, {} stored, {} deleted, {} excused, {} at SIGTERM, {} requests, {} findings",
            now().saturating_duration_since(self.started).as_secs_f64(),
            shared.operations.load(Ordering::Relaxed),
            shared.refused.load(Ordering::Relaxed),
            shared.states.len(),
            self.kills,
            self.terms,
            self.record.wipes,
            self.record.rollbacks,
            self.swap.count,
            self.versions.stored,
            self.versions.deleted,
            self.versions.excused,
            self.versions.at_term,
            self.server.journal().total(),
            self.versions.failures.len(),
        )
    }

    /// What was done.
    pub(crate) fn summary(&self) -> String {
        format!("seed {}: {}\nfaults:{}", self.seed, self.line(&self.shared), self.faults.told())
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
    let model = crate::model::Model::default();
    Writer { root, name, outside, dice, model, shared }.work()
}
