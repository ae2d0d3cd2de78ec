//! The daemon's record, looked at while it runs, as an operator would with `sqlite3`.

use rusqlite::{Connection, OpenFlags, Row};
use std::path::Path;
use std::time::Duration;

/// The daemon may be in the middle of a commit.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// A row of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The path, as it is shown to people.
    pub(crate) name: String,
    /// `put` or `delete`.
    pub(crate) operation: String,
    /// Why it waits for a change, if it does.
    pub(crate) parked: Option<String>,
}

/// The rows of the queue in `state_dir`.
pub(crate) fn waiting(state_dir: &Path) -> Result<Vec<Waiting>, String> {
    read(state_dir, |connection| {
        let sql = "SELECT name, operation, parked FROM pending ORDER BY path";
        let row = |row: &Row<'_>| {
            Ok(Waiting { name: row.get(0)?, operation: row.get(1)?, parked: row.get(2)? })
        };
        connection.prepare(sql)?.query_map([], row)?.collect()
    })
}

/// How many files were read so shortly after a change that they are compared once more.
pub(crate) fn racy(state_dir: &Path) -> Result<u32, String> {
    read(state_dir, |connection| {
        connection.query_row("SELECT count(*) FROM mirrored WHERE racy", [], |row| row.get(0))
    })
}

/// How many parts of multipart uploads the store has confirmed.
pub(crate) fn parts(state_dir: &Path) -> Result<u32, String> {
    read(state_dir, |connection| {
        connection.query_row("SELECT count(*) FROM parts", [], |row| row.get(0))
    })
}

/// Requested and pending invalidations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Invalidations {
    /// Names of files that wait.
    pub(crate) waiting: Vec<String>,
    /// References of requests that were made and not accepted.
    pub(crate) made: Vec<String>,
    /// Requests in progress.
    pub(crate) running: u32,
    /// Paths paid for in all.
    pub(crate) spent: u32,
}

/// What the record says of invalidations.
pub(crate) fn invalidations(state_dir: &Path) -> Result<Invalidations, String> {
    read(state_dir, |connection| {
        let texts = |sql| -> rusqlite::Result<Vec<String>> {
            connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        };
        let number = |sql| connection.query_row(sql, [], |row| row.get(0));
        Ok(Invalidations {
            waiting: texts("SELECT name FROM invalidations ORDER BY path")?,
            made: texts("SELECT reference FROM invalidation_batches WHERE accepted IS NULL")?,
            running: number(
                "SELECT count(*) FROM invalidation_batches WHERE accepted IS NOT NULL",
            )?,
            spent: number("SELECT coalesce(sum(paths), 0) FROM invalidation_months")?,
        })
    })
}

fn read<T>(
    state_dir: &Path,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(state_dir.join("state.db"), flags);
    let result = opened.and_then(|connection| {
        connection.busy_timeout(BUSY_PATIENCE)?;
        read(&connection)
    });
    result.map_err(|error| error.to_string())
}
