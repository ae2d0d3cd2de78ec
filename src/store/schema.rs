//! The file: its lock, its tables, its versions, and what happens to one that is damaged.

use super::{OpenError, Unusable, rows};
use crate::model::UnixMillis;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The version this program writes, in `user_version`.
pub(super) const VERSION: i64 = 1;

/// The file's name in the state directory.
const FILE: &str = "state.db";
/// Held for as long as the daemon lives.
const LOCK: &str = "lock";

/// Statements kept prepared: all there are, with room to spare.
const STATEMENTS_MAX: usize = 64;

/// Someone who looks on with `sqlite3` may hold a lock for a moment.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that have to be free: what an index of the journal takes, and a little more.
const ROOM_MIN: usize = 64 * 1024;

/// `path` is the path's bytes with NUL for the separator, so that the primary key's order is the
/// order of a walk; `key` is there for people. Times are milliseconds, `*_ns` nanoseconds since the
/// epoch.
const SCHEMA: &str = "
CREATE TABLE meta (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE mirrored (
  path BLOB PRIMARY KEY,
  size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  ctime_ns INTEGER NOT NULL,
  btime_ns INTEGER NOT NULL,
  device INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  mode INTEGER NOT NULL,
  crc64nvme INTEGER NOT NULL,
  etag TEXT,
  racy INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  head INTEGER
) STRICT, WITHOUT ROWID;

-- A renamed file is known by these.
CREATE INDEX mirrored_identity ON mirrored (inode, btime_ns);

CREATE TABLE pending (
  path BLOB PRIMARY KEY,
  name TEXT NOT NULL,
  operation TEXT NOT NULL,
  size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  since_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  next_try_ms INTEGER NOT NULL,
  error TEXT,
  parked TEXT,
  copy_from BLOB,
  moved INTEGER NOT NULL,
  sent_size INTEGER,
  sent_mtime_ns INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX pending_due ON pending (next_try_ms) WHERE parked IS NULL;

CREATE TABLE listed (
  path BLOB PRIMARY KEY,
  size INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE uploads (
  path BLOB PRIMARY KEY,
  upload_id TEXT,
  begun_ms INTEGER NOT NULL,
  size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  part_size INTEGER NOT NULL,
  head INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE parts (
  path BLOB NOT NULL,
  number INTEGER NOT NULL,
  etag TEXT NOT NULL,
  crc64nvme INTEGER,
  PRIMARY KEY (path, number)
) STRICT, WITHOUT ROWID;

-- What a CDN may hold an old copy of, and has not been told of.
CREATE TABLE invalidations (
  path BLOB NOT NULL,
  below INTEGER NOT NULL,
  name TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  PRIMARY KEY (path, below)
) STRICT, WITHOUT ROWID;

-- What it is being told: `paths` has one a line; without `accepted` it is sent again as it is.
CREATE TABLE invalidation_batches (
  id TEXT PRIMARY KEY,
  reference TEXT NOT NULL,
  distribution TEXT NOT NULL,
  paths TEXT NOT NULL,
  month INTEGER NOT NULL,
  created_ms INTEGER NOT NULL,
  accepted TEXT
) STRICT, WITHOUT ROWID;

-- Paths paid for, by month: months since the year 0.
CREATE TABLE invalidation_months (
  month INTEGER PRIMARY KEY,
  paths INTEGER NOT NULL
) STRICT;
";

/// What makes it cheap to tell how long the queue has waited, what of it the longest, and why rows
/// are parked. Made at every start, because records without them are as good.
const INDICES: &str = "
CREATE INDEX IF NOT EXISTS pending_since ON pending (since_ms) WHERE parked IS NULL;
CREATE INDEX IF NOT EXISTS pending_parked ON pending (parked) WHERE parked IS NOT NULL;
CREATE INDEX IF NOT EXISTS parked_since ON pending (since_ms) WHERE parked IS NOT NULL;
";

/// Columns that came later, for the same reason.
const COLUMNS: [(&str, &str, &str); 3] = [
    // Whether every copy carries its tags.
    ("invalidations", "tagged", "INTEGER NOT NULL DEFAULT 0"),
    // The trace of the change and when it was in S3, if it is exported; of a batch one a line.
    ("invalidations", "change", "TEXT"),
    ("invalidation_batches", "links", "TEXT NOT NULL DEFAULT ''"),
];

/// All that says what is in the bucket and what is to be done, as of one moment. None of these tables
/// has columns that came later.
const COPY: &str = "
BEGIN;
INSERT INTO meta SELECT * FROM record.meta;
INSERT INTO mirrored SELECT * FROM record.mirrored;
INSERT INTO pending SELECT * FROM record.pending;
INSERT INTO listed SELECT * FROM record.listed;
INSERT INTO uploads SELECT * FROM record.uploads;
INSERT INTO parts SELECT * FROM record.parts;
COMMIT;
DETACH record;
";

/// An open record.
pub(super) struct RecordFile {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) moved_aside: Option<(PathBuf, Unusable)>,
    /// Another process is kept out for as long as this is open; not of a record that is only looked at.
    #[expect(dead_code, reason = "it is held, and that is all")]
    pub(super) lock: Option<File>,
}

/// Why there is nothing to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// There is no record yet.
    Nothing,
    /// There is one that must not be acted on.
    Unusable(Unusable),
}

/// Opens the record of `target` in `directory`, or makes it.
pub(super) fn open(
    directory: &Path,
    target: &str,
    now: UnixMillis,
) -> Result<RecordFile, OpenError> {
    let create = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Create { path, source }
    };
    std::fs::create_dir_all(directory).map_err(create(directory))?;
    let lock = lock(&directory.join(LOCK))?;
    has_room(&lock).map_err(create(directory))?;
    let path = directory.join(FILE);
    let mut moved_aside = None;
    let connection = match connect_to(&path, target) {
        Ok(Ok(connection)) => connection,
        Ok(Err(why)) => {
            let aside = move_aside(&path, why, now).map_err(create(&path))?;
            moved_aside = Some((aside, why));
            connect(&path)?
        }
        Err(error) => return Err(error),
    };
    Ok(RecordFile { path, connection, moved_aside, lock: Some(lock) })
}

/// The record's file.
pub(super) fn file_in(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// A connection that cannot change the record, beside a daemon or without one.
pub(super) fn read_only(
    directory: &Path,
    target: &str,
) -> Result<Result<Connection, Unread>, OpenError> {
    let path = file_in(directory);
    let unreadable = |source| OpenError::Unreadable { path: path.clone(), source };
    if matches!(path.try_exists(), Ok(false)) {
        return Ok(Err(Unread::Nothing));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let looked = Connection::open_with_flags(&path, flags).and_then(|connection| {
        connection.busy_timeout(BUSY_PATIENCE)?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((connection, found))
    });
    let (connection, found) = match looked {
        Ok(looked) => looked,
        Err(source) if is_damage(&source) => return Ok(Err(Unread::Unusable(Unusable::Damaged))),
        Err(source) => return Err(unreadable(source)),
    };
    match found {
        VERSION => {}
        // A daemon is just making it.
        0 => return Ok(Err(Unread::Nothing)),
        found => return Err(OpenError::TooNew { path, found, known: VERSION }),
    }
    match rows::bound(&connection) {
        Ok(Some(bound)) if bound.target != target => {
            Ok(Err(Unread::Unusable(Unusable::OtherTarget)))
        }
        Ok(_) => Ok(Ok(connection)),
        Err(source) if is_damage(&source) => Ok(Err(Unread::Unusable(Unusable::Damaged))),
        Err(source) => Err(unreadable(source)),
    }
}

/// A database that is gone with its connection. `SQLite` keeps it in memory while it is small.
pub(super) fn temporary() -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags("", flags)
}

/// An empty record that is gone with its connection.
pub(super) fn scratch(directory: &Path) -> Result<Connection, OpenError> {
    let made = temporary().and_then(|mut connection| {
        create_tables(&mut connection)?;
        connection.execute_batch(INDICES)?;
        add_columns(&connection)?;
        Ok(connection)
    });
    made.map_err(|source| OpenError::Unreadable { path: file_in(directory), source })
}

/// A copy of a record that may be acted on, or why it may not.
pub(super) fn copy(directory: &Path) -> Result<Result<Connection, Unusable>, OpenError> {
    let connection = scratch(directory)?;
    let path = file_in(directory);
    let escaped = percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC).to_string();
    let copied = connection
        .execute("ATTACH ?1 AS record", [format!("file:{escaped}?mode=ro")])
        .and_then(|_| connection.execute_batch(COPY));
    match copied {
        Ok(()) => Ok(Ok(connection)),
        Err(source) if is_damage(&source) => Ok(Err(Unusable::Damaged)),
        Err(source) => Err(OpenError::Unreadable { path, source }),
    }
}

/// A connection to a record that may be acted on, or why this one may not.
fn connect_to(path: &Path, target: &str) -> Result<Result<Connection, Unusable>, OpenError> {
    let unusable = |source| match source {
        source if is_damage(&source) => Ok(Err(Unusable::Damaged)),
        source => Err(OpenError::Unreadable { path: path.into(), source }),
    };
    let connection = match connect(path) {
        Err(OpenError::Unreadable { source, .. }) => return unusable(source),
        result => result?,
    };
    match rows::bound(&connection) {
        Ok(Some(bound)) if bound.target != target => Ok(Err(Unusable::OtherTarget)),
        Ok(_) => Ok(Ok(connection)),
        Err(source) => unusable(source),
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let create = |source| OpenError::Create { path: path.into(), source };
    let file = File::options().create(true).append(true).open(path).map_err(create)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked { path: path.into() }),
        Err(error) => Err(create(error.into())),
    }
}

/// A full disk is told by its name: `SQLite` only knows an error of the disk when it opens a file.
fn has_room(mut lock: &File) -> std::io::Result<()> {
    let written = lock.write_all(&[0; ROOM_MIN]);
    lock.set_len(0)?;
    written
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    let unreadable = |source| OpenError::Unreadable { path: path.into(), source };
    let mut connection =
        Connection::open(path).map_err(|source| match source.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                OpenError::Create { path: path.into(), source: std::io::Error::other(source) }
            }
            _ => unreadable(source),
        })?;
    configure(&connection).map_err(unreadable)?;
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(unreadable)?;
    match found {
        VERSION => {}
        0 => create_tables(&mut connection).map_err(unreadable)?,
        found => return Err(OpenError::TooNew { path: path.into(), found, known: VERSION }),
    }
    // Damage is found now rather than in the middle of the work.
    let verdict: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(unreadable)?;
    if verdict != "ok" {
        let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(unreadable(rusqlite::Error::SqliteFailure(corrupt, Some(verdict))));
    }
    connection.execute_batch(INDICES).map_err(unreadable)?;
    add_columns(&connection).map_err(unreadable)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Where the file system has no shared memory (NFS), SQLite answers "delete" and goes on safely.
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cache_size", -8192)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)
}

fn create_tables(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn add_columns(connection: &Connection) -> rusqlite::Result<()> {
    for (table, column, definition) in COLUMNS {
        let sql = "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2)";
        if !connection.query_row(sql, [table, column], |row| row.get(0))? {
            let sql = format!("ALTER TABLE {table} ADD COLUMN {column} {definition}");
            connection.execute_batch(&sql)?;
        }
    }
    Ok(())
}

/// Whether the file itself is at fault, rather than what it lies on.
fn is_damage(error: &rusqlite::Error) -> bool {
    // Tables that are not ours, or lack a column, are damage as well.
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
    )
}

/// Renames the record and its journal, so that nothing of it is read again and nothing is lost.
fn move_aside(path: &Path, why: Unusable, now: UnixMillis) -> std::io::Result<PathBuf> {
    let aside = path.with_file_name(format!("{FILE}.{}-{now}", why.as_str()));
    for suffix in ["", "-wal", "-shm"] {
        let with_suffix = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        match std::fs::rename(with_suffix(path), with_suffix(&aside)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(aside)
}
