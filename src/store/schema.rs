//! The database file: its lock, its tables, its versions, and the handling of damage.

use super::repair::{self, RepairCounts};
use super::{StoreOpenError, UnusableState, binding, permissions, scratch};
use crate::model::UnixMillis;
use crate::safe_file::{open_own, refuse_special};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The version that this program writes, in `user_version`.
pub(super) const VERSION: i64 = 1;

/// The name of the file in the state directory.
const FILE: &str = "state.db";
/// The suffixes of the database files: the file itself, and its journals.
const SUFFIXES: [&str; 4] = ["", "-wal", "-shm", "-journal"];
/// The lock file, which is held while the daemon lives.
const LOCK: &str = "lock";

/// Maximum number of prepared statements: all that exist, and a few more.
const STATEMENTS_MAX: usize = 64;

/// The time to wait for a lock that a reader with `sqlite3` may hold.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);
/// Minimum free space: the index of the journal, and a little more.
const ROOM_MIN: usize = 64 * 1024;

/// `path` has the bytes of the path with NUL as the separator, so that the order of the primary key
/// is the order of a walk; `key` is for readers. Times are milliseconds, `*_ns` nanoseconds since
/// the epoch.
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

-- Objects of which a CDN may hold an old copy, without a requested invalidation.
CREATE TABLE invalidations (
  path BLOB NOT NULL,
  below INTEGER NOT NULL,
  name TEXT NOT NULL,
  since_ms INTEGER NOT NULL,
  PRIMARY KEY (path, below)
) STRICT, WITHOUT ROWID;

-- Requested invalidations: `paths` has one a line; without `accepted` it is sent again as it is.
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

/// Indices for the age of the queue, its oldest rows, delayed deletes, and the reasons of skipped entries.
/// Created at every start, because a state without them is as good.
pub(super) const INDICES: &str = "
CREATE INDEX IF NOT EXISTS pending_since ON pending (since_ms) WHERE parked IS NULL;
CREATE INDEX IF NOT EXISTS pending_parked ON pending (parked) WHERE parked IS NOT NULL;
CREATE INDEX IF NOT EXISTS parked_since ON pending (since_ms) WHERE parked IS NOT NULL;
CREATE INDEX IF NOT EXISTS pending_delayed ON pending (next_try_ms) WHERE parked = 'delete-delayed';
";

/// The indices of the first version, for rebuilt tables.
pub(super) const FIRST_INDICES: &str = "
CREATE INDEX IF NOT EXISTS mirrored_identity ON mirrored (inode, btime_ns);
CREATE INDEX IF NOT EXISTS pending_due ON pending (next_try_ms) WHERE parked IS NULL;
";

/// Columns that were added later, for the same reason.
const COLUMNS: [(&str, &str, &str); 3] = [
    // Whether every copy carries its tags.
    ("invalidations", "tagged", "INTEGER NOT NULL DEFAULT 0"),
    // The trace of the change and the time when it was in S3, if it is exported; for a batch, one
    // per line.
    ("invalidations", "change", "TEXT"),
    ("invalidation_batches", "links", "TEXT NOT NULL DEFAULT ''"),
];

/// Everything about the bucket and the queue, at one moment. None of these tables has later
/// columns.
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

/// An open state.
pub(super) struct RecordFile {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) moved_aside: Option<(PathBuf, UnusableState)>,
    /// Excludes another process while it is open; absent for a read-only state.
    #[expect(dead_code, reason = "it is held, and that is all")]
    pub(super) lock: Option<File>,
}

/// Why there is nothing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SchemaError {
    /// There is no state yet.
    Nothing,
    /// The state must not be used.
    Unusable(UnusableState),
}

/// Opens the state of `target` in `directory`, or creates it.
pub(super) fn open(
    directory: &Path,
    target: &str,
    now: UnixMillis,
) -> Result<RecordFile, StoreOpenError> {
    let create = |path: &Path| {
        let path = path.to_owned();
        move |source| StoreOpenError::Create { path, source }
    };
    std::fs::create_dir_all(directory).map_err(create(directory))?;
    let files = permissions::keep_private(directory).map_err(create(directory))?;
    let lock = lock(&directory.join(LOCK), files)?;
    has_room(&lock).map_err(create(directory))?;
    let path = directory.join(FILE);
    refuse_special_files(&path)?;
    permissions::keep_file_private(&path, files).map_err(create(&path))?;
    let mut moved_aside = None;
    let connection = match connect_to(&path, target) {
        Ok(Ok(connection)) => connection,
        Ok(Err(why)) => {
            let aside = move_aside(&path, why, now).map_err(create(&path))?;
            permissions::keep_file_private(&path, files).map_err(create(&path))?;
            moved_aside = Some((aside, why));
            connect(&path)?
        }
        Err(error) => return Err(error),
    };
    Ok(RecordFile { path, connection, moved_aside, lock: Some(lock) })
}

/// The path of the database file.
pub(super) fn file_in(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// A connection that cannot change the state, with or without a running daemon.
pub(super) fn read_only(
    directory: &Path,
    target: &str,
) -> Result<Result<Connection, SchemaError>, StoreOpenError> {
    let path = file_in(directory);
    let unreadable = |source| StoreOpenError::Unreadable { path: path.clone(), source };
    if matches!(path.try_exists(), Ok(false)) {
        return Ok(Err(SchemaError::Nothing));
    }
    refuse_special_files(&path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let looked = Connection::open_with_flags(&path, flags).and_then(|connection| {
        connection.busy_timeout(BUSY_PATIENCE)?;
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((connection, found))
    });
    let (connection, found) = match looked {
        Ok(looked) => looked,
        Err(source) if is_damage(&source) => {
            return Ok(Err(SchemaError::Unusable(UnusableState::Damaged)));
        }
        Err(source) => return Err(unreadable(source)),
    };
    match found {
        VERSION => {}
        // A daemon is creating it.
        0 => return Ok(Err(SchemaError::Nothing)),
        found => return Err(StoreOpenError::TooNew { path, found, known: VERSION }),
    }
    match binding::bound(&connection) {
        Ok(Some(bound)) if bound.target != target => {
            Ok(Err(SchemaError::Unusable(UnusableState::OtherTarget)))
        }
        Ok(_) => Ok(Ok(connection)),
        Err(source) if is_damage(&source) => Ok(Err(SchemaError::Unusable(UnusableState::Damaged))),
        Err(source) => Err(unreadable(source)),
    }
}

/// An empty state that is deleted with its connection.
pub(super) fn scratch(directory: &Path) -> Result<Connection, StoreOpenError> {
    let made = scratch::open(directory).and_then(|mut connection| {
        create_tables(&mut connection)?;
        connection.execute_batch(INDICES)?;
        add_columns(&connection)?;
        Ok(connection)
    });
    made.map_err(|source| StoreOpenError::Unreadable { path: file_in(directory), source })
}

/// A copy of a usable state, or the reason why it is not usable.
pub(super) fn copy(directory: &Path) -> Result<Result<Connection, UnusableState>, StoreOpenError> {
    let connection = scratch(directory)?;
    let path = file_in(directory);
    let escaped = percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC).to_string();
    let copied = connection
        .execute("ATTACH ?1 AS record", [format!("file:{escaped}?mode=ro")])
        .and_then(|_| connection.execute_batch(COPY));
    match copied {
        Ok(()) => Ok(Ok(connection)),
        Err(source) if is_damage(&source) => Ok(Err(UnusableState::Damaged)),
        Err(source) => Err(StoreOpenError::Unreadable { path, source }),
    }
}

/// A connection to a usable state, or the reason why it is not usable.
fn connect_to(
    path: &Path,
    target: &str,
) -> Result<Result<Connection, UnusableState>, StoreOpenError> {
    let unusable = |source| match source {
        source if is_damage(&source) => Ok(Err(UnusableState::Damaged)),
        source => Err(StoreOpenError::Unreadable { path: path.into(), source }),
    };
    let mut connection = match connect(path) {
        Err(StoreOpenError::Unreadable { source, .. }) => return unusable(source),
        result => result?,
    };
    match binding::bound(&connection) {
        Ok(Some(bound)) if bound.target != target => return Ok(Err(UnusableState::OtherTarget)),
        Ok(_) => {}
        Err(source) => return unusable(source),
    }
    match repair::check_all(&mut connection) {
        Ok(repaired) => {
            if let Some(repaired) = repaired {
                log_repaired(repaired);
            }
            Ok(Ok(connection))
        }
        Err(source) => unusable(source),
    }
}

/// Logs that rows were removed.
pub(super) fn log_repaired(repaired: RepairCounts) {
    tracing::error!(
        event = "state.repaired",
        rows = repaired.rows,
        queued = repaired.queued,
        "rows of the state were damaged and were taken out: their files are compared anew, and objects of \
         files that are gone may stay; check the volume of state_dir"
    );
}

fn lock(path: &Path, mode: u32) -> Result<File, StoreOpenError> {
    let create = |source| StoreOpenError::Create { path: path.into(), source };
    refuse_special(path).map_err(|source| StoreOpenError::Special { path: path.into(), source })?;
    permissions::keep_file_private(path, mode).map_err(create)?;
    let file = open_own(path).map_err(create)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreOpenError::Locked { path: path.into() }),
        Err(error) => Err(create(error.into())),
    }
}

/// Detects a full disk by its name: `SQLite` only reports an I/O error when it opens a file.
fn has_room(mut lock: &File) -> std::io::Result<()> {
    let written = lock.write_all(&[0; ROOM_MIN]);
    lock.set_len(0)?;
    written
}

fn connect(path: &Path) -> Result<Connection, StoreOpenError> {
    let unreadable = |source| StoreOpenError::Unreadable { path: path.into(), source };
    let mut connection =
        Connection::open(path).map_err(|source| match source.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                StoreOpenError::Create { path: path.into(), source: std::io::Error::other(source) }
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
        found => return Err(StoreOpenError::TooNew { path: path.into(), found, known: VERSION }),
    }
    // Damage is detected now rather than during the work.
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
    // On file systems without shared memory (NFS), SQLite answers "delete" and continues safely.
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

/// Whether the file itself is damaged, rather than its disk.
fn is_damage(error: &rusqlite::Error) -> bool {
    // Foreign tables, or missing columns, are damage too.
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
    ) || matches!(
        error,
        rusqlite::Error::QueryReturnedNoRows | rusqlite::Error::SqlInputError { .. }
    ) || repair::is_damage(error)
}

/// `SQLite` opens its files by name: it would follow a link, and wait forever at a FIFO.
fn refuse_special_files(path: &Path) -> Result<(), StoreOpenError> {
    for suffix in SUFFIXES {
        let path = with_suffix(path, suffix);
        refuse_special(&path).map_err(|source| StoreOpenError::Special { path, source })?;
    }
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Renames the state and its journal, so that none of it is read again and nothing is lost.
fn move_aside(path: &Path, why: UnusableState, now: UnixMillis) -> std::io::Result<PathBuf> {
    let aside = path.with_file_name(format!("{FILE}.{}-{now}", why.as_str()));
    for suffix in SUFFIXES {
        match std::fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(aside)
}
