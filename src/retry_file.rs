//! `retry_file`: a report of pending changes and their reasons, as JSON for operators and scripts.
//!
//! It is created from the state, at most once a second, and replaces the previous one atomically.
//! The original service kept its queue in a file of this name. The entries of such a file are
//! logged, and the first scan of the directory processes them.

use crate::clock::rfc3339;
use crate::escape::escaped_json;
use crate::model::{KeyPrefix, QueueRow};
use crate::safe_file::{FilePublisher, FileReaders, OwnFile, read_own};
use crate::store::Store;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Maximum number of entries in the file; it has the number of the rest.
const ENTRIES_MAX: usize = 10_000;
/// Minimum time between two writes.
const INTERVAL: Duration = Duration::from_secs(1);
/// A slow write, because the queue is long, is followed by a pause of this many times its duration.
const PAUSE_FACTOR: u32 = 50;
/// The longest such pause.
const INTERVAL_MAX: Duration = Duration::from_secs(30);
/// Longer queues of the original service are not counted. Other users may write where the file is, so
/// that this is part of the bound on memory.
const READ_BYTES_MAX: u64 = 16 << 20;
/// Maximum time that the start waits for its content.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// The settings that determine the names of files and objects.
#[derive(Debug, Clone)]
pub struct ReportNames {
    /// The path of the file.
    pub path: PathBuf,
    /// Who may read it: it contains file names.
    pub readers: FileReaders,
    /// The watched directory.
    pub watch_path: PathBuf,
    /// The prefix of every key.
    pub prefix: KeyPrefix,
}

#[derive(Debug, Serialize)]
struct RetryReport {
    waiting: u64,
    shown: usize,
    not_shown: u64,
    entries: Vec<ReportEntry>,
}

/// An entry. The first four keys are those of the original service.
#[derive(Debug, Serialize)]
struct ReportEntry {
    r#type: &'static str,
    file_path: String,
    s3_key: String,
    timestamp: String,
    attempts: u32,
    next_try: Option<String>,
    error: Option<String>,
    parked: Option<String>,
}

/// An entry of the original service.
#[derive(Debug, Deserialize)]
struct OriginalEntry<'a> {
    /// `upload`, `delete` or `invalidate`.
    #[serde(borrow)]
    r#type: Cow<'a, str>,
}

/// The number of entries of the original service: a file of others may have millions.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct OriginalQueue {
    entries: usize,
    deletes: usize,
}

impl<'de> Deserialize<'de> for OriginalQueue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EntryCounter)
    }
}

struct EntryCounter;

impl<'de> Visitor<'de> for EntryCounter {
    type Value = OriginalQueue;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<OriginalQueue, A::Error> {
        let mut queue = OriginalQueue::default();
        while let Some(entry) = entries.next_element::<OriginalEntry<'de>>()? {
            queue.entries += 1;
            queue.deletes += usize::from(entry.r#type == "delete");
        }
        Ok(queue)
    }
}

/// Reads the queue of the original service, if the file is one. Our own report is not.
///
/// # Errors
///
/// If the file exists and cannot be read, or has other content.
fn inherited(path: &Path) -> io::Result<OriginalQueue> {
    let bytes = match read_own(path, READ_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(OriginalQueue::default());
        }
        read => read?,
    };
    if bytes.trim_ascii_start().first() != Some(&b'[') {
        return Ok(OriginalQueue::default());
    }
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

/// Logs the queue of the original service. The first scan finds its uploads; its deletes cannot be
/// distinguished from foreign objects.
pub async fn log_previous_report(path: &Path) {
    let file = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || inherited(&file));
    let found = match timeout(READ_PATIENCE, reading).await {
        Ok(found) => found.unwrap_or_else(|panic| Err(io::Error::other(panic))),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match found {
        Ok(queue) if queue.entries == 0 => {}
        Ok(queue) => {
            tracing::info!(
                event = "retry_file.inherited",
                entries = queue.entries,
                deletes = queue.deletes,
                "found a queue of the original service: its uploads are done by the first \
                 comparison; what it wanted deleted was never recorded here and stays"
            );
        }
        Err(error) => tracing::warn!(
            event = "retry_file.unreadable",
            path = %path.to_string_lossy().escape_debug(),
            error.message = %error,
            "retry_file holds something that is no queue; it is replaced by the view of ours"
        ),
    }
}

/// Keeps the file up to date after each change of `news`, until its sender is dropped; then writes
/// it a last time.
pub async fn keep_report<T>(settings: ReportNames, store: Store, mut news: watch::Receiver<T>) {
    let mut file = FilePublisher::new(OwnFile::new(settings.path.clone(), settings.readers));
    loop {
        let changed = news.changed().await;
        let began = Instant::now();
        if let Err(error) = write(&settings, &store, &mut file).await {
            tracing::warn!(
                event = "retry_file.write_failed",
                path = %settings.path.to_string_lossy().escape_debug(),
                error.message = %error,
                "the view of the queue could not be written; the queue itself is in the record"
            );
        }
        if changed.is_err() {
            return;
        }
        // The end does not wait for it.
        tokio::select! {
            () = tokio::time::sleep(pause(began.elapsed())) => {}
            () = ended(news.clone()) => {}
        }
    }
}

/// The pause after a write that took this long.
fn pause(took: Duration) -> Duration {
    (took * PAUSE_FACTOR).clamp(INTERVAL, INTERVAL_MAX)
}

async fn ended<T>(mut news: watch::Receiver<T>) {
    while news.changed().await.is_ok() {}
}

async fn write(settings: &ReportNames, store: &Store, file: &mut FilePublisher) -> io::Result<()> {
    let (rows, counts) = store.queued(ENTRIES_MAX).await.map_err(io::Error::other)?;
    let shown = rows.len();
    let view = RetryReport {
        waiting: counts.pending,
        shown,
        not_shown: counts.pending.saturating_sub(shown as u64),
        entries: rows.iter().map(|row| entry(settings, row)).collect(),
    };
    file.publish(move || {
        let mut text = serde_json::to_string_pretty(&view)?;
        text.push('\n');
        Ok(escaped_json(&text))
    })
    .await
}

fn entry(settings: &ReportNames, row: &QueueRow) -> ReportEntry {
    let file_path = settings.watch_path.join(row.path.as_path());
    let key = settings.prefix.key(&row.path);
    ReportEntry {
        r#type: match row.operation {
            crate::model::Operation::Put => "upload",
            crate::model::Operation::Delete => "delete",
        },
        file_path: file_path.to_string_lossy().into_owned(),
        s3_key: key.map(|key| key.as_str().to_owned()).unwrap_or_default(),
        timestamp: rfc3339(row.since),
        attempts: row.attempts,
        next_try: row.parked.is_none().then(|| rfc3339(row.next_try)),
        error: row.error.clone(),
        parked: row.parked.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Operation, RelPath, Version};
    use crate::store::Change;

    fn pending(number: u64) -> QueueRow {
        let path = RelPath::new(format!("a/{number:05}").as_bytes()).expect("a proper path");
        QueueRow {
            attempts: 2,
            next_try: 9_500,
            error: Some("SlowDown: please".into()),
            ..QueueRow::new(path, Operation::Put, Version::default(), 1_000 * number)
        }
    }

    async fn view_of(rows: u64) -> serde_json::Value {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path(), "b", crate::model::Shard::default(), 0)
            .expect("opened")
            .store;
        let changes = (0..rows).map(|number| Change::Queue(pending(number))).collect();
        store.write(changes).await.expect("written");
        let settings = ReportNames {
            path: directory.path().join("retry_queue.json"),
            readers: FileReaders::Owner,
            watch_path: "/data".into(),
            prefix: KeyPrefix::new("p").expect("a prefix"),
        };
        let mut file = FilePublisher::new(OwnFile::new(settings.path.clone(), settings.readers));
        write(&settings, &store, &mut file).await.expect("written");
        let found = inherited(&settings.path).expect("readable");
        assert_eq!(found, OriginalQueue::default(), "ours is no heritage");
        let text = std::fs::read(&settings.path).expect("there");
        serde_json::from_slice(&text).expect("JSON")
    }

    #[tokio::test]
    async fn it_shows_what_waits_and_why() {
        let expected = serde_json::json!({
            "waiting": 1,
            "shown": 1,
            "not_shown": 0,
            "entries": [{
                "type": "upload",
                "file_path": "/data/a/00000",
                "s3_key": "p/a/00000",
                "timestamp": "1970-01-01T00:00:00Z",
                "attempts": 2,
                "next_try": "1970-01-01T00:00:09.5Z",
                "error": "SlowDown: please",
                "parked": null,
            }],
        });
        assert_eq!(view_of(1).await, expected);
    }

    #[tokio::test]
    async fn the_report_is_bounded_and_has_the_number_of_the_rest() {
        let view = view_of(10_003).await;
        assert_eq!((&view["shown"], &view["not_shown"]), (&10_000.into(), &3.into()));
    }

    #[test]
    fn a_long_view_is_written_less_often() {
        let pauses = [1, 100, 5_000].map(|millis| pause(Duration::from_millis(millis)));
        assert_eq!(pauses.map(|pause| pause.as_secs()), [1, 5, 30]);
    }

    #[test]
    fn the_original_services_queue_is_recognised() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("retry_queue.json");
        assert_eq!(inherited(&path).expect("no file, no queue"), OriginalQueue::default());
        let left = r#"[{"type":"upload","file_path":"/data/a","s3_key":"p/a",
            "timestamp":"2024-08-07T16:44:00.123Z"},{"type":"d\u0065lete","file_path":"/data/b"}]"#;
        std::fs::write(&path, left).expect("written");
        let found = inherited(&path).expect("readable");
        assert_eq!(found, OriginalQueue { entries: 2, deletes: 1 });
        std::fs::write(&path, "[{").expect("written");
        assert!(inherited(&path).is_err());
    }
}
