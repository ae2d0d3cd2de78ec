//! A record of one part of the directory, when the parts are cut anew.
//!
//! Rows of paths that are another process's now are forgotten, with whatever waits: that record says
//! what is known of them from here on. Paths that come are unknown; what is in the bucket of them is
//! found by a listing, and taken over.

use super::rows::path_from;
use crate::model::{RelPath, Share};
use rusqlite::{Connection, OptionalExtension};

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

/// Makes the record one of `share`: all of it or, after a crash, nothing.
pub(super) fn keep_only(
    connection: &mut Connection,
    share: Share,
) -> rusqlite::Result<Option<Remapped>> {
    let Some(from) = of(connection)?.filter(|from| *from != share) else {
        note(connection, "share", &share.to_string())?;
        return Ok(None);
    };
    let transaction = connection.transaction()?;
    let generation: Option<u64> =
        value(&transaction, "generation")?.and_then(|text| text.parse().ok());
    let generation = generation.unwrap_or(1) + 1;
    let mut forgotten = 0;
    for table in TABLES {
        let rows = forget(&transaction, table, share)?;
        forgotten += if table == "mirrored" { rows } else { 0 };
    }
    note(&transaction, "share", &share.to_string())?;
    note(&transaction, "generation", &generation.to_string())?;
    if may_gain(from, share) {
        note(&transaction, "listed", "false")?;
    }
    transaction.commit()?;
    Ok(Some(Remapped { from, generation, forgotten }))
}

/// With one more index no other one gets anything.
fn may_gain(from: Share, to: Share) -> bool {
    let grown = from.index() == to.index() && from.depth() == to.depth();
    !(grown && from.count() <= to.count())
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
