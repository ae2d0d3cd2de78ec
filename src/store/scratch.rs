//! Databases that are deleted with their connection.
//!
//! Their file has no name and lies in the state directory: an image may have no directory for
//! temporary files, and the sandbox permits none. If the state directory cannot be written to, as for a
//! command of another user, `SQLite` chooses the place itself, and keeps small databases in memory.

use rusqlite::{Connection, OpenFlags};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Creates an empty database for `directory`.
pub(super) fn open(directory: &Path) -> rusqlite::Result<Connection> {
    match in_directory(directory) {
        Some(connection) => Ok(connection),
        None => Connection::open_with_flags("", flags() | OpenFlags::SQLITE_OPEN_CREATE),
    }
}

fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Opens a file and removes its name at once. Nothing if that is impossible.
fn in_directory(directory: &Path) -> Option<Connection> {
    let path = directory.join(format!("scratch-{:016x}", fastrand::u64(..)));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).ok()?;
    let opened = Connection::open_with_flags(&path, flags()).and_then(|connection| {
        // Without a second file, and without waiting for the disk. The pragma of the version opens the file.
        connection.execute_batch(
            "PRAGMA journal_mode=memory; PRAGMA synchronous=off; PRAGMA temp_store=memory; \
             PRAGMA user_version=0;",
        )?;
        Ok(connection)
    });
    fs::remove_file(&path).ok()?;
    opened.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than `SQLite` keeps in memory.
    const ROWS: i64 = 60_000;

    fn fill(connection: &Connection) -> i64 {
        connection.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)").unwrap();
        let rows = "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?1) \
             SELECT i, printf('%0100d', i) FROM n";
        connection.execute(rows, [ROWS]).unwrap();
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_large_one_lies_in_the_state_directory_without_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open(directory.path()).unwrap();
        assert_eq!(fill(&connection), ROWS);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        let held = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let place = directory.path().join("scratch-");
        let place = place.to_str().unwrap();
        let of_it = held.filter(|entry| {
            fs::read_link(entry.path())
                .is_ok_and(|target| target.to_string_lossy().starts_with(place))
        });
        assert_eq!(of_it.count(), 1);
    }

    #[test]
    fn without_the_directory_it_lies_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open(&directory.path().join("absent")).unwrap();
        assert_eq!(fill(&connection), ROWS);
    }
}
