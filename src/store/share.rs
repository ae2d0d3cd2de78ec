//! Changes the shard of a state.
//!
//! Rows of paths that another process now owns are removed, with their queue entries: the state of
//! that process has them from now on. New paths are unknown; a listing finds their objects, which
//! are taken over.

use super::StateCounts;
use super::rows::path_from;
use super::sizes::take;
use crate::model::{DELETE_DELAYED, RelPath, Shard};
use rusqlite::{Connection, OptionalExtension, params};

/// Number of rows that are checked together.
const PAGE_ROWS: usize = 1000;
/// Tables whose rows belong to the owner of their path. Pending invalidations are about our own
/// changes, and started uploads have to be ended by the process that knows their ids.
const TABLES: [&str; 3] = ["mirrored", "pending", "listed"];

/// The result of a change of the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemappedShard {
    /// The previous shard.
    pub from: Shard,
    /// The number of shards that it has had.
    pub generation: u64,
    /// The number of removed object records.
    pub forgotten: u64,
}

/// Assigns the state to `share`: completely or, after a crash, not at all. While a shard did not
/// run, its paths may have belonged to another one, so that it has to list the bucket at every
/// start.
pub(super) fn retain_shard(
    connection: &mut Connection,
    share: Shard,
) -> rusqlite::Result<Option<RemappedShard>> {
    let transaction = connection.transaction()?;
    let from = read_shard(&transaction)?;
    let remapped = match from.filter(|from| *from != share) {
        Some(from) => Some(remap(&transaction, from, share)?),
        None => None,
    };
    note(&transaction, "share", &share.to_string())?;
    if remapped.is_some() || (share.is_part() && from.is_some()) {
        transaction.execute("DELETE FROM listed", [])?;
        // The first scan finds missing files again. Those whose deletes are delayed keep their time: whether
        // there is something to delete is decided when they are due.
        let sql = "DELETE FROM pending WHERE operation = 'delete' \
             AND (parked IS NOT ?1 OR sent_size IS NOT NULL)";
        transaction.execute(sql, [DELETE_DELAYED])?;
        note(&transaction, "listed", "false")?;
        note(&transaction, "takeover_pending", "true")?;
    }
    transaction.commit()?;
    Ok(remapped)
}

fn remap(connection: &Connection, from: Shard, share: Shard) -> rusqlite::Result<RemappedShard> {
    let generation: Option<u64> =
        value(connection, "generation")?.and_then(|text| text.parse().ok());
    let generation = generation.unwrap_or(1) + 1;
    let mut forgotten = 0;
    for table in TABLES {
        let rows = forget(connection, table, share)?;
        forgotten += if table == "mirrored" { rows } else { 0 };
    }
    note(connection, "generation", &generation.to_string())?;
    Ok(RemappedShard { from, generation, forgotten })
}

/// The bucket has this object. The record of another object is worthless.
pub(super) fn found(
    connection: &Connection,
    path: &RelPath,
    size: u64,
    etag: Option<&str>,
    counts: &mut StateCounts,
) -> rusqlite::Result<()> {
    let key = path.to_sort_key();
    // Some stores write entity tags with quotes in one place and without in another.
    let sql = "DELETE FROM mirrored WHERE path = ?1 AND trim(etag, '\"') != ?2";
    let etag = etag.map(|etag| etag.trim_matches('"'));
    let rows = connection.prepare_cached(sql)?.execute(params![key, etag])?;
    take(&mut counts.mirrored, rows as u64);
    let sql = "INSERT OR REPLACE INTO listed (path, size) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![key, size.cast_signed()]).map(drop)
}

/// Another writer has replaced or deleted the object with this entity tag.
pub(super) fn replaced(
    connection: &Connection,
    path: &RelPath,
    etag: &str,
    counts: &mut StateCounts,
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM mirrored WHERE path = ?1 AND etag = ?2";
    let rows = connection.prepare_cached(sql)?.execute(params![path.to_sort_key(), etag])?;
    take(&mut counts.mirrored, rows as u64);
    Ok(())
}

/// Some stores list keys with control characters, which XML cannot represent, incorrectly.
fn is_listed_as_it_is(path: &RelPath) -> bool {
    !path.as_bytes().iter().any(u8::is_ascii_control)
}

/// The listing is complete.
pub(super) fn reviewed(connection: &Connection, counts: &mut StateCounts) -> rusqlite::Result<()> {
    let absent = "SELECT path FROM mirrored WHERE path NOT IN (SELECT path FROM listed)";
    let mut absent = connection.prepare(absent)?;
    let absent: Vec<RelPath> =
        absent.query_map([], |row| path_from(row, 0))?.collect::<Result<_, _>>()?;
    let mut delete = connection.prepare("DELETE FROM mirrored WHERE path = ?1")?;
    for path in absent.iter().filter(|path| is_listed_as_it_is(path)) {
        take(&mut counts.mirrored, delete.execute([path.to_sort_key()])? as u64);
    }
    let known = "DELETE FROM listed WHERE path IN (SELECT path FROM mirrored)";
    connection.execute(known, []).map(drop)
}

/// The shard of the state; one that is older than shards has everything. `None` if it is new.
fn read_shard(connection: &Connection) -> rusqlite::Result<Option<Shard>> {
    if value(connection, "target")?.is_none() {
        return Ok(None);
    }
    let share = value(connection, "share")?;
    // A text that this program did not write is no reason to keep anything.
    Ok(Some(share.map_or(Shard::default(), |text| text.parse().unwrap_or_default())))
}

fn value(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT value FROM meta WHERE name = ?1";
    connection.query_row(sql, [name], |row| row.get(0)).optional()
}

fn note(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
    connection.execute(sql, [name, value]).map(drop)
}

/// Deletes the rows of `table` that belong to another shard, and counts them.
fn forget(connection: &Connection, table: &str, share: Shard) -> rusqlite::Result<u64> {
    let page = format!("SELECT path FROM {table} WHERE path > ?1 ORDER BY path LIMIT {PAGE_ROWS}");
    let mut page = connection.prepare(&page)?;
    let mut delete = connection.prepare(&format!("DELETE FROM {table} WHERE path = ?1"))?;
    let mut after = Vec::new();
    let mut forgotten = 0;
    loop {
        let rows: Vec<RelPath> =
            page.query_map([&after], |row| path_from(row, 0))?.collect::<Result<_, _>>()?;
        let Some(last) = rows.last() else { return Ok(forgotten) };
        after = last.to_sort_key();
        for path in rows.iter().filter(|path| !share.has_file(path)) {
            delete.execute([path.to_sort_key()])?;
            forgotten += 1;
        }
    }
}
