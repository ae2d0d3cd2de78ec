//! Delayed deletes: queue entries that are due at their `next_try`, and until then neither wait nor are
//! skipped.

use super::rows::{PENDING, RANGE_ROWS_MAX, path_from, pending_from};
use super::{StateCounts, rows};
use crate::model::{DELETE_DELAYED, QueueRow, RelPath, UnixMillis};
use rusqlite::{Connection, params};

/// Maximum number of rows in one page.
pub const DELAYED_ROWS_MAX: usize = 1000;

/// A position in the order in which delayed deletes are due.
pub type DelayedPosition = (UnixMillis, RelPath);

/// The delayed deletes that are due, and when the next one is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DelayedPage {
    /// In the order in which they are due, at most [`DELAYED_ROWS_MAX`].
    pub rows: Vec<QueueRow>,
    /// When the first of the others is due, of those that are due later than asked for.
    pub next: Option<UnixMillis>,
}

/// All delayed deletes, and those of files that are recorded under another name.
pub(super) fn counts(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let sql = "SELECT count(*), coalesce(sum(moved), 0) FROM pending WHERE parked = ?1";
    connection.query_row(sql, [DELETE_DELAYED], |row| {
        let count = |index| row.get::<_, i64>(index).map(i64::cast_unsigned);
        Ok((count(0)?, count(1)?))
    })
}

/// The number of deletes that count for the limit, of objects without a record.
pub(super) fn unrecorded(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM pending WHERE operation = 'delete' AND NOT moved \
         AND (parked IS NULL OR parked = ?1) \
         AND NOT EXISTS (SELECT 1 FROM mirrored WHERE mirrored.path = pending.path)";
    connection.query_row(sql, [DELETE_DELAYED], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// When the first and the last are due.
pub(super) fn due_times(
    connection: &Connection,
) -> rusqlite::Result<Option<(UnixMillis, UnixMillis)>> {
    let end = |order: &str| {
        let sql =
            format!("SELECT {order}(next_try_ms) FROM pending WHERE parked = '{DELETE_DELAYED}'");
        let mut statement = connection.prepare_cached(&sql)?;
        statement.query_row([], |row| row.get::<_, Option<i64>>(0))
    };
    Ok(end("min")?.zip(end("max")?).map(|(min, max)| (min.cast_unsigned(), max.cast_unsigned())))
}

/// A page of those that are due until then.
pub(super) fn until(
    connection: &Connection,
    until: UnixMillis,
    after: Option<&DelayedPosition>,
) -> rusqlite::Result<DelayedPage> {
    let sql = format!(
        "SELECT {PENDING} FROM pending WHERE parked = '{DELETE_DELAYED}' AND next_try_ms <= ?1 \
         AND (next_try_ms, path) > (?2, ?3) ORDER BY next_try_ms, path LIMIT {DELAYED_ROWS_MAX}"
    );
    let (due, path) = match after {
        Some((due, path)) => (due.cast_signed(), path.to_sort_key()),
        None => (-1, Vec::new()),
    };
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![until.cast_signed(), due, path], pending_from)?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let sql = format!(
        "SELECT min(next_try_ms) FROM pending WHERE parked = '{DELETE_DELAYED}' AND next_try_ms > ?1"
    );
    let next: Option<i64> =
        connection.prepare_cached(&sql)?.query_row([until.cast_signed()], |row| row.get(0))?;
    Ok(DelayedPage { rows, next: next.map(i64::cast_unsigned) })
}

/// Those that are due first.
pub(super) fn first(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<QueueRow>> {
    let sql = format!(
        "SELECT {PENDING} FROM pending WHERE parked = '{DELETE_DELAYED}' \
         ORDER BY next_try_ms LIMIT ?1"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.prepare_cached(&sql)?.query_map([limit], pending_from)?.collect()
}

/// The deletes, oldest first.
pub(super) fn all(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<QueueRow>> {
    let sql = format!(
        "SELECT {PENDING} FROM pending WHERE operation = 'delete' ORDER BY since_ms LIMIT ?1"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.prepare_cached(&sql)?.query_map([limit], pending_from)?.collect()
}

/// A page of the paths.
pub(super) fn paths(
    connection: &Connection,
    after: Option<&RelPath>,
) -> rusqlite::Result<Vec<RelPath>> {
    let sql = format!(
        "SELECT path FROM pending WHERE parked = '{DELETE_DELAYED}' AND path > ?1 \
         ORDER BY path LIMIT {RANGE_ROWS_MAX}"
    );
    let after = after.map(RelPath::to_sort_key).unwrap_or_default();
    connection.prepare_cached(&sql)?.query_map([after], |row| path_from(row, 0))?.collect()
}

/// Those that are due later are due then.
pub(super) fn set_due_by(connection: &Connection, time: UnixMillis) -> rusqlite::Result<()> {
    let sql = format!(
        "UPDATE pending SET next_try_ms = ?1 WHERE parked = '{DELETE_DELAYED}' AND next_try_ms > ?1"
    );
    connection.prepare_cached(&sql)?.execute([time.cast_signed()]).map(drop)
}

/// Removes all deletes but those of `except`, whose attempts are under way. The records get the generation
/// of no directory; those in doubt because of an attempt without a response go.
pub(super) fn cancel(
    connection: &Connection,
    except: &[RelPath],
    sizes: &mut StateCounts,
) -> rusqlite::Result<()> {
    connection.execute_batch("CREATE TEMP TABLE IF NOT EXISTS running (path BLOB PRIMARY KEY)")?;
    connection.execute("DELETE FROM temp.running", [])?;
    let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO temp.running VALUES (?1)")?;
    for path in except {
        insert.execute([path.to_sort_key()])?;
    }
    let cancelled = "operation = 'delete' AND path NOT IN (SELECT path FROM temp.running)";
    let doubtful = format!(
        "DELETE FROM mirrored WHERE path IN \
         (SELECT path FROM pending WHERE {cancelled} AND sent_size IS NOT NULL)"
    );
    connection.execute(&doubtful, [])?;
    let records = format!(
        "UPDATE mirrored SET epoch = 0 WHERE path IN (SELECT path FROM pending WHERE {cancelled})"
    );
    connection.execute(&records, [])?;
    connection.execute(&format!("DELETE FROM pending WHERE {cancelled}"), [])?;
    *sizes = rows::counts(connection)?;
    Ok(())
}
