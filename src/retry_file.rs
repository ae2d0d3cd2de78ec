//! `retry_file`: what waits and why, as JSON for people and scripts.
//!
//! A view of the queue, never its truth: it is made from the record, at most once a second, and put
//! in the place of the one before in one step. The original service kept its queue in a file of this
//! name; what is found in one is told, and the first comparison of the directory does it.

use crate::model::{KeyPrefix, Pending, UnixMillis};
use crate::store::Store;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::time::Instant;

/// Entries in the file; of the rest it gives the number.
const ENTRIES_MAX: usize = 10_000;
/// Least time between two writes.
const INTERVAL: Duration = Duration::from_secs(1);
/// One that takes long, because the queue is, is followed by so many times as much without one …
const PAUSE_FACTOR: u32 = 50;
/// … but not more.
const INTERVAL_MAX: Duration = Duration::from_secs(30);
/// Larger files than this were not written by the original service, nor by us.
const READ_BYTES_MAX: u64 = 64 << 20;

/// What the view needs to name files and objects.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// The watched directory.
    pub watch_path: PathBuf,
    /// What stands before every key.
    pub prefix: KeyPrefix,
}

#[derive(Debug, Serialize)]
struct View {
    waiting: u64,
    shown: usize,
    not_shown: u64,
    entries: Vec<Entry>,
}

/// The first four keys are those of the original service.
#[derive(Debug, Serialize)]
struct Entry {
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
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Inherited {
    /// `upload`, `delete` or `invalidate`.
    r#type: String,
}

/// The queue the original service left, if the file is one. A view of ours is none.
///
/// # Errors
///
/// If the file is there and cannot be read, or holds something else.
fn inherited(path: &Path) -> io::Result<Vec<Inherited>> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    if file.metadata()?.len() > READ_BYTES_MAX {
        return Err(io::Error::other("it is larger than any queue"));
    }
    let text = io::read_to_string(file)?;
    if !text.trim_start().starts_with('[') {
        return Ok(Vec::new());
    }
    serde_json::from_str(&text).map_err(io::Error::other)
}

/// Tells of a queue the original service left. Its uploads are found by the first comparison; its
/// deletes cannot be told from objects that somebody else made.
pub fn tell_inherited(path: &Path) {
    match inherited(path) {
        Ok(entries) if entries.is_empty() => {}
        Ok(entries) => {
            let deletes = entries.iter().filter(|entry| entry.r#type == "delete").count();
            tracing::info!(
                event = "retry_file.inherited",
                entries = entries.len(),
                deletes,
                "found a queue of the original service: its uploads are done by the first \
                 comparison; what it wanted deleted was never recorded here and stays"
            );
        }
        Err(error) => tracing::warn!(
            event = "retry_file.unreadable",
            error.message = %error,
            "retry_file holds something that is no queue; it is replaced by the view of ours"
        ),
    }
}

/// Keeps the file up to date whenever `news` come, until nobody tells any more; then writes it a last
/// time.
pub async fn keep<T>(settings: Settings, store: Store, mut news: watch::Receiver<T>) {
    loop {
        let told = news.changed().await;
        let began = Instant::now();
        if let Err(error) = write(&settings, &store).await {
            tracing::warn!(
                event = "retry_file.write_failed",
                path = %settings.path.to_string_lossy().escape_debug(),
                error.message = %error,
                "the view of the queue could not be written; the queue itself is in the record"
            );
        }
        if told.is_err() {
            return;
        }
        // The end is not kept waiting.
        tokio::select! {
            () = tokio::time::sleep(pause(began.elapsed())) => {}
            () = ended(news.clone()) => {}
        }
    }
}

/// How long a view is left as it is that took so long to write.
fn pause(took: Duration) -> Duration {
    (took * PAUSE_FACTOR).clamp(INTERVAL, INTERVAL_MAX)
}

async fn ended<T>(mut news: watch::Receiver<T>) {
    while news.changed().await.is_ok() {}
}

async fn write(settings: &Settings, store: &Store) -> io::Result<()> {
    let (rows, counts) = store.queued(ENTRIES_MAX).await.map_err(io::Error::other)?;
    let shown = rows.len();
    let view = View {
        waiting: counts.pending,
        shown,
        not_shown: counts.pending.saturating_sub(shown as u64),
        entries: rows.iter().map(|row| entry(settings, row)).collect(),
    };
    let path = settings.path.clone();
    let written = tokio::task::spawn_blocking(move || replace(&path, &view)).await;
    written.map_err(io::Error::other)?
}

fn entry(settings: &Settings, row: &Pending) -> Entry {
    let file_path = settings.watch_path.join(row.path.as_path());
    let key = settings.prefix.key(&row.path);
    Entry {
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

fn rfc3339(millis: UnixMillis) -> String {
    let nanos = i128::from(millis) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// A reader sees the old view or the new one, never a part.
fn replace(path: &Path, view: &View) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = io::BufWriter::new(std::fs::File::create(&new)?);
    serde_json::to_writer_pretty(&mut file, view)?;
    file.write_all(b"\n")?;
    file.into_inner()?.sync_data()?;
    std::fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Operation, RelPath, Version};
    use crate::store::Change;

    fn pending(number: u64) -> Pending {
        let path = RelPath::new(format!("a/{number:05}").as_bytes()).expect("a proper path");
        Pending {
            attempts: 2,
            next_try: 9_500,
            error: Some("SlowDown: please".into()),
            ..Pending::new(path, Operation::Put, Version::default(), 1_000 * number)
        }
    }

    async fn view_of(rows: u64) -> serde_json::Value {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path(), "b", crate::model::Share::default(), 0)
            .expect("opened")
            .store;
        let changes = (0..rows).map(|number| Change::Queue(pending(number))).collect();
        store.write(changes).await.expect("written");
        let settings = Settings {
            path: directory.path().join("retry_queue.json"),
            watch_path: "/data".into(),
            prefix: KeyPrefix::new("p").expect("a prefix"),
        };
        write(&settings, &store).await.expect("written");
        assert!(inherited(&settings.path).expect("readable").is_empty(), "ours is no heritage");
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
    async fn it_is_bounded_and_tells_of_the_rest() {
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
        assert!(inherited(&path).expect("no file, no queue").is_empty());
        let left = r#"[{"type":"upload","file_path":"/data/a","s3_key":"p/a",
            "timestamp":"2024-08-07T16:44:00.123Z"}]"#;
        std::fs::write(&path, left).expect("written");
        let found = inherited(&path).expect("readable");
        assert_eq!((found.len(), &*found[0].r#type), (1, "upload"));
        std::fs::write(&path, "[{").expect("written");
        assert!(inherited(&path).is_err());
    }
}
