//! A record of one part of the directory, when the parts are cut anew.
//!
//! Rows of paths that are another process's now are forgotten, with whatever waits: that record says
//! what is known of them from here on. Paths that come are unknown; what is in the bucket of them is
//! found by a listing, and taken over.

use super::Counts;
use super::rows::path_from;
use crate::model::{RelPath, Share};
use rusqlite::{Connection, OptionalExtension, params};

/// Rows that are looked at together.
const PAGE_ROWS: usize = 1000;
/// Tables whose rows belong to the process that has their path. What a CDN has to be told was changed
/// by us, and uploads that were begun have to be ended by whoever knows their ids.
const TABLES: [&str; 3] = ["mirrored", "pending", "listed"];

/// What became of a record whose part is another one now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remapped {
    /// The part that it was of.
    pub from: Share,
    /// How many parts it has been of.
    pub generation: u64,
    /// Files that were recorded, and are no longer.
    pub forgotten: u64,
}

/// Makes the record one of `share`: all of it or, after a crash, nothing. While a shard did not run its
/// paths may have been another one's, so that it has to look into the bucket at every start.
pub(super) fn keep_only(
    connection: &mut Connection,
    share: Share,
) -> rusqlite::Result<Option<Remapped>> {
    let transaction = connection.transaction()?;
    let from = of(&transaction)?;
    let remapped = match from.filter(|from| *from != share) {
        Some(from) => Some(remap(&transaction, from, share)?),
        None => None,
    };
    note(&transaction, "share", &share.to_string())?;
    if remapped.is_some() || (share.is_part() && from.is_some()) {
        transaction.execute("DELETE FROM listed", [])?;
        // The first comparison finds again what is gone.
        transaction.execute("DELETE FROM pending WHERE operation = 'delete'", [])?;
        note(&transaction, "listed", "false")?;
        note(&transaction, "heir", "true")?;
    }
    transaction.commit()?;
    Ok(remapped)
}

fn remap(connection: &Connection, from: Share, share: Share) -> rusqlite::Result<Remapped> {
    let generation: Option<u64> =
        value(connection, "generation")?.and_then(|text| text.parse().ok());
    let generation = generation.unwrap_or(1) + 1;
    let mut forgotten = 0;
    for table in TABLES {
        let rows = forget(connection, table, share)?;
        forgotten += if table == "mirrored" { rows } else { 0 };
    }
    note(connection, "generation", &generation.to_string())?;
    Ok(Remapped { from, generation, forgotten })
}

/// The bucket has this object. A row that tells of another one is worth nothing.
pub(super) fn found(
    connection: &Connection,
    path: &RelPath,
    size: u64,
    etag: Option<&str>,
    counts: &mut Counts,
) -> rusqlite::Result<()> {
    let key = path.to_sort_key();
    // Some stores write them in quotes in one place and without in another.
    let sql = "DELETE FROM mirrored WHERE path = ?1 AND trim(etag, '\"') != ?2";
    let etag = etag.map(|etag| etag.trim_matches('"'));
    let rows = connection.prepare_cached(sql)?.execute(params![key, etag])?;
    counts.mirrored -= rows as u64;
    let sql = "INSERT OR REPLACE INTO listed (path, size) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute(params![key, size.cast_signed()]).map(drop)
}

/// Some stores list keys with control characters, which XML cannot write, as other ones.
fn is_listed_as_it_is(path: &RelPath) -> bool {
    !path.as_bytes().iter().any(u8::is_ascii_control)
}

/// All that there is was found.
pub(super) fn reviewed(connection: &Connection, counts: &mut Counts) -> rusqlite::Result<()> {
    let absent = "SELECT path FROM mirrored WHERE path NOT IN (SELECT path FROM listed)";
    let mut absent = connection.prepare(absent)?;
    let absent: Vec<RelPath> =
        absent.query_map([], |row| path_from(row, 0))?.collect::<Result<_, _>>()?;
    let mut delete = connection.prepare("DELETE FROM mirrored WHERE path = ?1")?;
    for path in absent.iter().filter(|path| is_listed_as_it_is(path)) {
        counts.mirrored -= delete.execute([path.to_sort_key()])? as u64;
    }
    let known = "DELETE FROM listed WHERE path IN (SELECT path FROM mirrored)";
    connection.execute(known, []).map(drop)
}

/// Whose the record is; one that is older than shards has everything. `None` if it is new.
fn of(connection: &Connection) -> rusqlite::Result<Option<Share>> {
    if value(connection, "target")?.is_none() {
        return Ok(None);
    }
    let share = value(connection, "share")?;
    // A text that this program never wrote is no reason to keep anything.
    Ok(Some(share.map_or(Share::default(), |text| text.parse().unwrap_or_default())))
}

fn value(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT value FROM meta WHERE name = ?1";
    connection.query_row(sql, [name], |row| row.get(0)).optional()
}

fn note(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
    connection.execute(sql, [name, value]).map(drop)
}

/// Deletes the rows of `table` that are of another part, and counts them.
fn forget(connection: &Connection, table: &str, share: Share) -> rusqlite::Result<u64> {
    let page = format!("SELECT path FROM {table} WHERE path > ?1 ORDER BY path LIMIT {PAGE_ROWS}");
    let mut page = connection.prepare(&page)?;
    let mut delete = connection.prepare(&format!("DELETE FROM {table} WHERE path = ?1"))?;
    let (mut after, mut forgotten) = (Vec::new(), 0);
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
