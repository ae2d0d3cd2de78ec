//! Removes rows that cannot be read because of a flipped bit. `SQLite` detects damage of its own
//! structures, but not of their content.
//!
//! # Invariants
//!
//! - A row that cannot be read is removed, and so is one out of the order of its key: it could
//!   neither be found nor deleted by its key.
//! - If the path of such a row can still be read, it is not lost: the path is queued, and its
//!   object counts as one that may exist.
//! - All or nothing: the sound rows are copied, and replace the table, in one transaction.

use super::{invalidations, queue, rows, schema, uploads};
use crate::model::{Operation, QueueRow, RelPath, Version};
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, Row, params_from_iter};

type RowCheck = fn(&Row<'_>) -> rusqlite::Result<()>;

/// A table with all its columns, the key first, and the function that reads a row.
struct TableRepair {
    name: &'static str,
    columns: String,
    /// The number of key columns.
    key: usize,
    check: RowCheck,
}

/// The number of removed rows, and of those with a readable path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct RepairCounts {
    pub(super) rows: u64,
    pub(super) queued: u64,
}

/// Whether a row is damaged, or the table.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error,
    };
    matches!(
        error,
        FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | InvalidColumnType(..)
            | Utf8Error(..)
    )
}

/// Whether the tables can be rebuilt from their rows: an index that contradicts its table is only
/// detected by the statement that uses it.
pub(super) fn is_repairable(error: &rusqlite::Error) -> bool {
    is_damage(error) || error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
}

/// Reads every row, and removes those that cannot be read. Returns `None` if there are none.
pub(super) fn check_all(connection: &mut Connection) -> rusqlite::Result<Option<RepairCounts>> {
    for table in tables() {
        if !is_sound(connection, &table)? {
            return repair(connection).map(Some);
        }
    }
    Ok(None)
}

/// Removes the rows that cannot be read.
pub(super) fn repair(connection: &mut Connection) -> rusqlite::Result<RepairCounts> {
    let transaction = connection.transaction()?;
    let mut repaired = RepairCounts::default();
    let mut doubtful = Vec::new();
    for table in tables() {
        repaired.rows += rebuild(&transaction, &table, &mut doubtful)?;
    }
    transaction.execute_batch(schema::FIRST_INDICES)?;
    transaction.execute_batch(schema::INDICES)?;
    let mut counts = rows::counts(&transaction)?;
    for path in doubtful {
        let sent = Some(Version::default());
        let row = QueueRow { sent, ..QueueRow::new(path, Operation::Put, Version::default(), 0) };
        queue::put(&transaction, &row, &mut counts)?;
        repaired.queued += 1;
    }
    transaction.commit()?;
    Ok(repaired)
}

fn tables() -> [TableRepair; 9] {
    let table =
        |name, columns: &str, key, check| TableRepair { name, columns: columns.into(), key, check };
    [
        table("meta", "name, value", 1, |row| {
            let (_, _): (String, String) = (row.get(0)?, row.get(1)?);
            Ok(())
        }),
        table("mirrored", &format!("path, {}", rows::MIRRORED), 1, |row| {
            rows::path_from(row, 0)?;
            rows::mirrored_from(row, 1).map(drop)
        }),
        table("pending", &format!("{}, name", rows::PENDING), 1, |row| {
            rows::pending_from(row)?;
            row.get::<_, String>(13).map(drop)
        }),
        table("listed", "path, size", 1, |row| {
            rows::path_from(row, 0)?;
            row.get::<_, i64>(1).map(drop)
        }),
        table("uploads", uploads::UPLOAD, 1, |row| uploads::note_from(row).map(drop)),
        table("parts", "path, number, etag, crc64nvme", 2, |row| {
            rows::path_from(row, 0)?;
            uploads::part_from(row, 1).map(drop)
        }),
        table("invalidations", "path, below, tagged, change, name, since_ms", 2, |row| {
            invalidations::stale_from(row)?;
            let (_, _): (String, i64) = (row.get(4)?, row.get(5)?);
            Ok(())
        }),
        table("invalidation_batches", invalidations::BATCH, 1, |row| {
            invalidations::batch_from(row).map(drop)
        }),
        table("invalidation_months", "month, paths", 1, |row| {
            let (_, _): (u32, i64) = (row.get(0)?, row.get(1)?);
            Ok(())
        }),
    ]
}

fn is_sound(connection: &Connection, table: &TableRepair) -> rusqlite::Result<bool> {
    let TableRepair { name, columns, .. } = table;
    let mut statement = connection.prepare(&format!("SELECT {columns} FROM {name} NOT INDEXED"))?;
    let mut found = statement.query([])?;
    let mut before: Option<Vec<Value>> = None;
    while let Some(row) = found.next()? {
        match read(row, table) {
            Ok(values) if is_behind(before.as_deref(), &values, table.key) => {
                before = Some(values.into_iter().take(table.key).collect());
            }
            Ok(_) => return Ok(false),
            Err(error) if is_damage(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The values of a row, if they can be parsed.
fn read(row: &Row<'_>, table: &TableRepair) -> rusqlite::Result<Vec<Value>> {
    (table.check)(row)?;
    (0..table.columns.split(',').count()).map(|index| row.get(index)).collect()
}

/// Copies the sound rows, and returns the number of others. For tables about the bucket, the paths
/// of the others are added to `doubtful`.
fn rebuild(
    connection: &Connection,
    table: &TableRepair,
    doubtful: &mut Vec<RelPath>,
) -> rusqlite::Result<u64> {
    let TableRepair { name, columns, .. } = table;
    let sql = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?1";
    let made: String = connection.query_row(sql, [name], |row| row.get(0))?;
    let body = made.find('(').and_then(|at| made.get(at..)).unwrap_or_default();
    connection.execute_batch(&format!("CREATE TABLE {name}_sound {body}"))?;
    let places = vec!["?"; columns.split(',').count()].join(", ");
    let insert = format!("INSERT OR IGNORE INTO {name}_sound ({columns}) VALUES ({places})");
    let mut insert = connection.prepare(&insert)?;
    let mut select = connection.prepare(&format!("SELECT {columns} FROM {name} NOT INDEXED"))?;
    let mut found = select.query([])?;
    let mut lost = 0;
    while let Some(row) = found.next()? {
        match read(row, table) {
            Ok(values) => lost += 1 - insert.execute(params_from_iter(values))? as u64,
            Err(error) if is_damage(&error) => {
                lost += 1;
                if matches!(*name, "mirrored" | "pending") {
                    doubtful.extend(rows::path_from(row, 0));
                }
            }
            Err(error) => return Err(error),
        }
    }
    drop(found);
    drop((select, insert));
    connection
        .execute_batch(&format!("DROP TABLE {name}; ALTER TABLE {name}_sound RENAME TO {name}"))?;
    Ok(lost)
}

/// Whether a key follows the previous one.
fn is_behind(before: Option<&[Value]>, values: &[Value], key: usize) -> bool {
    let Some(before) = before else { return true };
    for (before, now) in before.iter().zip(values.iter().take(key)) {
        let order = match (before, now) {
            (Value::Blob(before), Value::Blob(now)) => before.cmp(now),
            (Value::Text(before), Value::Text(now)) => before.as_bytes().cmp(now.as_bytes()),
            (Value::Integer(before), Value::Integer(now)) => before.cmp(now),
            _ => return false,
        };
        if order.is_ne() {
            return order.is_lt();
        }
    }
    false
}
