//! The mark of a restore into the watched directory that has not ended.

use rusqlite::{Connection, OptionalExtension};

/// The row of the table `meta`.
const RESTORING: &str = "restoring";

/// Sets the mark to this scope, or removes it.
pub(super) fn set(connection: &Connection, scope: Option<&str>) -> rusqlite::Result<()> {
    let changed = match scope {
        Some(scope) => connection
            .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)")?
            .execute([RESTORING, scope]),
        None => connection.prepare_cached("DELETE FROM meta WHERE name = ?1")?.execute([RESTORING]),
    };
    changed.map(drop)
}

/// The scope of a restore that has not ended.
pub(super) fn scope(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT value FROM meta WHERE name = ?1";
    connection.query_row(sql, [RESTORING], |row| row.get(0)).optional()
}
