//! Writes the rows of the queue. Every attempt rewrites its row, so that its indices are updated
//! only if their columns change.

use super::StateCounts;
use super::sizes::{add, take};
use crate::model::{DELETE_DELAYED, GapReason, Operation, QueueRow, RelPath};
use rusqlite::{Connection, OptionalExtension, params};

const INSERT: &str = "INSERT INTO pending (path, name, operation, size, mtime_ns, since_ms, \
     attempts, next_try_ms, error, parked, copy_from, moved, sent_size, sent_mtime_ns) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
/// Updates the columns without an index.
const REWRITE: &str = "UPDATE pending SET operation = ?3, size = ?4, mtime_ns = ?5, attempts = ?7, \
     error = ?9, copy_from = ?11, moved = ?12, sent_size = ?13, sent_mtime_ns = ?14 \
     WHERE path = ?1";

/// A row as the indices and the counts see it.
struct QueuedRow {
    since: u64,
    next_try: u64,
    parked: Option<String>,
    /// A delete of a file without another name.
    delete: bool,
    /// Bytes to upload, unless it is skipped.
    bytes: u64,
    /// An upload, not skipped.
    put: bool,
    /// There is no object record.
    unrecorded: bool,
}

impl QueuedRow {
    fn read(connection: &Connection, key: &[u8], pending: &QueueRow) -> rusqlite::Result<Self> {
        let put = pending.operation == Operation::Put && pending.parked.is_none();
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM mirrored WHERE path = ?1)";
        let mut unrecorded = connection.prepare_cached(sql)?;
        Ok(Self {
            since: pending.since,
            next_try: pending.next_try,
            parked: pending.parked.as_deref().map(String::from),
            delete: pending.operation == Operation::Delete && !pending.moved,
            bytes: if put { pending.version.size } else { 0 },
            put,
            unrecorded: unrecorded.query_row([key], |row| row.get(0))?,
        })
    }

    fn at(connection: &Connection, key: &[u8]) -> rusqlite::Result<Option<Self>> {
        let sql = "SELECT since_ms, next_try_ms, parked, operation = 'delete' AND NOT moved, \
             iif(operation = 'put' AND parked IS NULL, size, 0), \
             operation = 'put' AND parked IS NULL, \
             NOT EXISTS (SELECT 1 FROM mirrored WHERE path = ?1) \
             FROM pending WHERE path = ?1";
        let row = connection.prepare_cached(sql)?.query_row([key], |row| {
            Ok(Self {
                since: row.get::<_, i64>(0)?.cast_unsigned(),
                next_try: row.get::<_, i64>(1)?.cast_unsigned(),
                parked: row.get(2)?,
                delete: row.get(3)?,
                bytes: row.get::<_, i64>(4)?.cast_unsigned(),
                put: row.get(5)?,
                unrecorded: row.get(6)?,
            })
        });
        row.optional()
    }

    fn join(&self, counts: &mut StateCounts) {
        add(&mut counts.unrecorded_deletes, u64::from(self.is_unrecorded_delete()));
        if self.is_delayed() {
            add(&mut counts.delayed, 1);
            add(&mut counts.delayed_moved, u64::from(!self.delete));
            return;
        }
        add(&mut counts.pending, 1);
        add(&mut counts.deletes, u64::from(self.delete && self.parked.is_none()));
        add(&mut counts.parked, u64::from(self.parked.is_some()));
        add(&mut counts.skipped, u64::from(self.is_for(GapReason::Skipped)));
        add(&mut counts.over_limit, u64::from(self.is_for(GapReason::OverLimit)));
        add(&mut counts.bytes, self.bytes);
        add(&mut counts.unrecorded, u64::from(self.put && self.unrecorded));
    }

    fn leave(&self, counts: &mut StateCounts) {
        take(&mut counts.unrecorded_deletes, u64::from(self.is_unrecorded_delete()));
        if self.is_delayed() {
            take(&mut counts.delayed, 1);
            take(&mut counts.delayed_moved, u64::from(!self.delete));
            return;
        }
        take(&mut counts.pending, 1);
        take(&mut counts.deletes, u64::from(self.delete && self.parked.is_none()));
        take(&mut counts.parked, u64::from(self.parked.is_some()));
        take(&mut counts.skipped, u64::from(self.is_for(GapReason::Skipped)));
        take(&mut counts.over_limit, u64::from(self.is_for(GapReason::OverLimit)));
        take(&mut counts.bytes, self.bytes);
        take(&mut counts.unrecorded, u64::from(self.put && self.unrecorded));
    }

    /// Whether it is a delete that is not due yet.
    fn is_delayed(&self) -> bool {
        self.parked.as_deref() == Some(DELETE_DELAYED)
    }

    /// Whether it is a delete of an object without a record that counts for the limit.
    fn is_unrecorded_delete(&self) -> bool {
        self.delete && self.unrecorded && (self.parked.is_none() || self.is_delayed())
    }

    /// Whether it is skipped for this reason.
    fn is_for(&self, reason: GapReason) -> bool {
        self.parked.as_deref().map(GapReason::from_skip_reason) == Some(reason)
    }

    /// Whether no index is affected.
    fn waits_as(&self, other: &Self) -> bool {
        (self.since, self.next_try, &self.parked) == (other.since, other.next_try, &other.parked)
    }
}

/// Adds the queue entry of a path, replacing the previous one.
pub(super) fn put(
    connection: &Connection,
    pending: &QueueRow,
    counts: &mut StateCounts,
) -> rusqlite::Result<()> {
    let key = pending.path.to_sort_key();
    let before = QueuedRow::at(connection, &key)?;
    let now = QueuedRow::read(connection, &key, pending)?;
    now.join(counts);
    if let Some(before) = before {
        before.leave(counts);
        if before.waits_as(&now) {
            return write(connection, REWRITE, &key, pending);
        }
        delete(connection, &key)?;
    }
    write(connection, INSERT, &key, pending)
}

/// Removes the queue entry of a path.
pub(super) fn remove(
    connection: &Connection,
    path: &RelPath,
    counts: &mut StateCounts,
) -> rusqlite::Result<()> {
    let key = path.to_sort_key();
    if let Some(queued) = QueuedRow::at(connection, &key)? {
        queued.leave(counts);
        delete(connection, &key)?;
    }
    Ok(())
}

/// Runs `change`, which adds or removes the object record of `path`, so that its queue entry counts
/// as what it is afterwards.
pub(super) fn counted_anew(
    connection: &Connection,
    path: &RelPath,
    counts: &mut StateCounts,
    change: impl FnOnce(&mut StateCounts) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let key = path.to_sort_key();
    if let Some(before) = QueuedRow::at(connection, &key)? {
        before.leave(counts);
    }
    change(counts)?;
    if let Some(now) = QueuedRow::at(connection, &key)? {
        now.join(counts);
    }
    Ok(())
}

/// Runs one of the two statements above, which number their values equally.
fn write(
    connection: &Connection,
    sql: &str,
    key: &[u8],
    pending: &QueueRow,
) -> rusqlite::Result<()> {
    let row = params![
        key,
        pending.path.to_string(),
        pending.operation.as_str(),
        pending.version.size.cast_signed(),
        pending.version.mtime_ns,
        pending.since.cast_signed(),
        pending.attempts,
        pending.next_try.cast_signed(),
        pending.error,
        pending.parked,
        pending.copy_from.as_ref().map(RelPath::to_sort_key),
        pending.moved,
        pending.sent.map(|sent| sent.size.cast_signed()),
        pending.sent.map(|sent| sent.mtime_ns),
    ];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

fn delete(connection: &Connection, key: &[u8]) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM pending WHERE path = ?1")?.execute([key]).map(drop)
}
