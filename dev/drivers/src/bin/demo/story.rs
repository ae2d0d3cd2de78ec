//! The story: what happens to the directory, to S3 and to the daemon.

use crate::PREFIX;
use crate::compare::{Comparison, files};
use crate::follow::Follower;
use crate::screen::{Screen, human};
use file_sync_dev_drivers::{Daemon, Interrupt, Workspace, content};
use file_sync_dev_s3::{BUCKET, Server};
use std::fs::{self, File};
use std::io::{self, Write};
use std::time::Duration;

/// How long the bucket may take to become equal to the directory.
const TIME_TO_SETTLE: Duration = Duration::from_secs(60);
/// How often that is looked at.
const STEP: Duration = Duration::from_millis(50);
/// Between chapters, for the eye.
const BREATH: Duration = Duration::from_millis(1200);
/// Between steps of a slow writer; shorter than the quiet time of an open file.
const WRITER_STEP: Duration = Duration::from_millis(350);
const OUTAGE: Duration = Duration::from_secs(4);

/// Files that are there before the daemon starts. The last one is large enough for a multipart upload.
const SAMPLE: [(&str, usize); 8] = [
    ("readme.txt", 812),
    ("invoices/2025/january.pdf", 48_230),
    ("invoices/2025/february.pdf", 51_007),
    ("reports/summary.csv", 9_120),
    ("reports/figures/north.svg", 23_400),
    ("reports/figures/south.svg", 22_150),
    ("pictures/caf\u{e9} #1 + terrace.jpg", 180_300),
    ("videos/welcome.mp4", 20 * 1024 * 1024),
];

/// What the story needs.
pub(crate) struct Stage<'a, 'w> {
    pub(crate) server: &'a mut Server,
    pub(crate) workspace: &'w Workspace,
    pub(crate) screen: &'a Screen,
    pub(crate) follower: &'a Follower,
    pub(crate) daemon: &'a mut Daemon<'w>,
    pub(crate) interrupt: &'a Interrupt,
}

/// Why the story ended early.
#[derive(Debug)]
pub(crate) enum End {
    /// The user requested it.
    Interrupted,
    /// The daemon left, or the bucket did not become equal in time.
    Failed(String),
    /// The directory could not be changed.
    Io(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Makes the files that are there before the daemon starts.
pub(crate) fn prepare(workspace: &Workspace) -> io::Result<()> {
    for (seed, (path, size)) in (0..).zip(SAMPLE) {
        let path = workspace.file(path);
        fs::create_dir_all(path.parent().unwrap_or(workspace.root()))?;
        fs::write(path, content(seed, size))?;
    }
    Ok(())
}

/// Plays all of it.
pub(crate) fn tell(stage: &mut Stage<'_, '_>) -> Result<(), End> {
    stage.screen.columns();
    for chapter in [start, create, edit, write_slowly, rename, delete, outage, kill] {
        chapter(stage)?;
        stage.pause(BREATH)?;
    }
    Ok(())
}

fn start(stage: &mut Stage<'_, '_>) -> Result<(), End> {
    stage.screen.chapter("1  The daemon starts, and finds files that were there before it");
    let paths: Vec<_> = files(&stage.workspace.watched())?.into_keys().collect();
    let began = file_sync_dev_s3::now();
    stage.screen.on_disk(&format!("{} files; start the daemon", paths.len()));
    for key in paths {
        stage.screen.touch(key, began);
    }
    stage.daemon.start()?;
    stage.settle()
}

fn create(stage: &mut Stage<'_, '_>) -> Result<(), End> {
    stage.screen.chapter("2  New files, also in a new directory");
    fs::create_dir_all(stage.workspace.file("contracts/signed"))?;
    for (seed, path) in
        (100..).zip(["hello.txt", "contracts/draft.docx", "contracts/signed/lease.pdf"])
    {
        stage.write("create", path, &content(seed, 30_000))?;
    }
    stage.settle()
}

fn edit(stage: &mut Stage<'_, '_>) -> Result<(), End> {
    stage.screen.chapter("3  An edit, and an editor that saves by renaming over the file");
    stage.write("rewrite", "readme.txt", &content(200, 1_024))?;
    let aside = stage.workspace.file(".hello.txt.new");
    let path = "hello.txt";
    stage.announce(&format!("replace  {path}"), &[path]);
    fs::write(&aside, content(201, 31_000))?;
    fs::rename(&aside, stage.workspace.file(path))?;
    stage.settle()
}

fn write_slowly(stage: &mut Stage<'_, '_>) -> Result<(), End> {
    stage.screen.chapter("4  A slow writer: nothing is to arrive before the file is complete");
    let path = "reports/export.csv";
    let mut file = File::create(stage.workspace.file(path))?;
    for step in 1..=8 {
        file.write_all(&content(300 + step, 25_000))?;
        stage.screen.on_disk(&format!("write    {path}: {}", human(step * 25_000)));
        stage.pause(WRITER_STEP)?;
    }
    stage.announce(&format!("close    {path}"), &[path]);
    drop(file);
    stage.settle()?;
    let versions = stage.server.store().versions(BUCKET, &key(path));
    let sizes: Vec<_> = versions.iter().map(|version| human(version.size)).collect();
    stage
        .screen
        .remark(&format!("versions of it that were ever in the bucket: {}", sizes.join(", ")));
    if versions.iter().any(|version| version.size != 200_000) {
        return Err(End::Failed("a half-written file was published".to_owned()));
    }
    Ok(())
}

fn rename(stage: &mut Stage<'_, '_>) -> Result<(), End> {
    stage.screen.chapter("5  A directory is renamed");
    let journal = stage.server.journal().clone();
    let received = journal.body_bytes();
    let copies = journal.count("CopyObject");
    let from = "reports";
    let to = "archive";
    let began = file_sync_dev_s3::now();
    for old in files(&stage.workspace.file(from))?.into_keys() {
        let rest = old.strip_prefix(PREFIX).unwrap_or(&old);
        stage.screen.touch(key(&format!("{from}{rest}")), began);
        stage.screen.touch(key(&format!("{to}{rest}")), began);
    }
    stage.screen.on_disk(&format!("rename   {from}/ to {to}/"));
    fs::rename(stage.workspace.file(from), stage.workspace.file(to))?;
    stage.settle()?;
    let sent = human(journal.body_bytes() - received);
    let copied = journal.count("CopyObject") - copies;
    stage.screen.remark(&format!("{copied} objects were copied within S3, {sent} sent to it"));
    Ok(())
}

fn delete(stage: &mut Stage<'_, '_>) -> Result<(), End> {
    stage.screen.chapter("6  Files are deleted");
    for path in ["hello.txt", "invoices/2025/january.pdf"] {
        stage.announce(&format!("delete   {path}"), &[path]);
        fs::remove_file(stage.workspace.file(path))?;
    }
    stage.settle()
}

fn outage(stage: &mut Stage<'_, '_>) -> Result<(), End> {
    stage.screen.chapter("7  S3 cannot be reached for some seconds, while files change");
    stage.server.stop();
    stage.screen.remark("S3 is down");
    stage.write("create", "during-outage.txt", &content(400, 12_000))?;
    stage.write("rewrite", "readme.txt", &content(401, 2_048))?;
    let gone = "contracts/draft.docx";
    stage.announce(&format!("delete   {gone}"), &[gone]);
    fs::remove_file(stage.workspace.file(gone))?;
    stage.pause(OUTAGE)?;
    stage.server.resume()?;
    stage.screen.remark("S3 is back");
    stage.settle()
}

fn kill(stage: &mut Stage<'_, '_>) -> Result<(), End> {
    stage.screen.chapter(
        "8  The daemon is killed in the midst of its work, and files change behind its back",
    );
    stage.write("create", "videos/large.mp4", &content(500, 24 * 1024 * 1024))?;
    stage.pause(Duration::from_millis(350))?;
    stage.daemon.kill()?;
    stage.screen.remark("SIGKILL: the daemon is gone");
    stage.write("create", "while-it-was-dead.txt", &content(501, 7_000))?;
    stage.write("rewrite", "readme.txt", &content(502, 512))?;
    let gone = "during-outage.txt";
    stage.announce(&format!("delete   {gone}"), &[gone]);
    fs::remove_file(stage.workspace.file(gone))?;
    stage.pause(BREATH)?;
    stage.screen.remark("the daemon is started again");
    stage.daemon.start()?;
    stage.settle()
}

/// The key of a file.
fn key(path: &str) -> String {
    format!("{PREFIX}/{path}")
}

impl Stage<'_, '_> {
    /// Says what is about to happen to `paths`. The lag counts from here.
    fn announce(&self, what: &str, paths: &[&str]) {
        self.screen.on_disk(what);
        for path in paths {
            self.screen.touch(key(path), file_sync_dev_s3::now());
        }
    }

    fn write(&self, verb: &str, path: &str, bytes: &[u8]) -> Result<(), End> {
        self.announce(&format!("{verb:<8} {path}"), &[path]);
        Ok(fs::write(self.workspace.file(path), bytes)?)
    }

    fn pause(&self, time: Duration) -> Result<(), End> {
        if self.interrupt.sleep(time) { Ok(()) } else { Err(End::Interrupted) }
    }

    /// Waits until the bucket equals the directory.
    fn settle(&mut self) -> Result<(), End> {
        let deadline = file_sync_dev_s3::now() + TIME_TO_SETTLE;
        loop {
            if let Some(status) = self.daemon.ended()? {
                return Err(End::Failed(format!("the daemon ended by itself: {status}")));
            }
            let comparison =
                Comparison::of(&self.workspace.watched(), &self.server.objects(BUCKET))?;
            if comparison.is_equal() && self.follower.has_caught_up() {
                return Ok(());
            }
            if file_sync_dev_s3::now() >= deadline {
                let seconds = TIME_TO_SETTLE.as_secs();
                return Err(End::Failed(format!("after {seconds} s still: {comparison}")));
            }
            self.pause(STEP)?;
        }
    }
}
