//! Reads and writes the tables. SQL is only here, in the schema, and in the modules for multipart
//! uploads and invalidations.

use super::sizes::{add, take};
use super::{
    Change, QueueStats, RecordedState, StartBound, StateCounts, StateLookup, binding, delayed,
    invalidations, operation_from, queue, restoring, share, uploads,
};
use crate::model::{
    DELETE_DELAYED, Fingerprint, GapReason, ObjectRecord, QueueRow, RecentDeletes, RelPath,
    RootGeneration, Version,
};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Maximum number of rows in one page.
pub const RANGE_ROWS_MAX: usize = 1000;
/// Maximum number of distinct reasons of skipped entries.
pub const REASONS_MAX: usize = 100;

pub(super) const MIRRORED: &str =
    "size, mtime_ns, ctime_ns, btime_ns, device, inode, mode, crc64nvme, etag, racy, epoch, head";
/// The location of the watched directory.
pub(super) const ORIGIN: [&str; 3] = ["watch_path", "watch_path_resolved", "watch_path_parent"];
const RECENT_DELETES: &str = "recent_deletes";
pub(super) const PENDING: &str = "path, operation, size, mtime_ns, since_ms, attempts, next_try_ms, error, \
     parked, copy_from, moved, sent_size, sent_mtime_ns";

/// Whether tables that are nearly always empty may have rows, so that they need not be read for
/// every file.
#[derive(Debug, Clone, Copy)]
pub(super) struct NonEmptyHints {
    listed: bool,
    uploads: bool,
}

impl NonEmptyHints {
    /// Reads the present state.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let any = |sql| connection.query_row(sql, [], |row| row.get(0));
        Ok(Self {
            listed: any("SELECT EXISTS (SELECT 1 FROM listed)")?,
            uploads: any("SELECT EXISTS (SELECT 1 FROM uploads)")?,
        })
    }

    /// Notes a change that may add rows, whatever the result of its commit.
    pub(super) fn note_change(&mut self, change: &Change) {
        self.listed |= matches!(change, Change::Listed(..) | Change::Found(..));
        self.uploads |= matches!(change, Change::UploadNoted(_));
    }
}

/// Applies one change, and updates the counts.
pub(super) fn apply(
    connection: &Connection,
    change: &Change,
    rare: NonEmptyHints,
    counts: &mut StateCounts,
) -> rusqlite::Result<()> {
    match change {
        Change::Queue(pending) => queue::put(connection, pending, counts),
        // The queue entry goes first: its count depends on the record.
        Change::Mirrored(path, mirrored) => {
            queue::remove(connection, path, counts)?;
            record(connection, path, mirrored, counts)?;
            if rare.listed {
                let sql = "DELETE FROM listed WHERE path = ?1";
                connection.prepare_cached(sql)?.execute([path.to_sort_key()])?;
            }
            Ok(())
        }
        Change::Forgotten(path) => {
            queue::remove(connection, path, counts)?;
            let sql = "DELETE FROM mirrored WHERE path = ?1";
            let rows = connection.prepare_cached(sql)?.execute([path.to_sort_key()])?;
            take(&mut counts.mirrored, rows as u64);
            Ok(())
        }
        Change::Settled(path) => queue::remove(connection, path, counts),
        Change::DeletesDueBy(time) => delayed::set_due_by(connection, *time),
        Change::DeletesCancelled(except) => delayed::cancel(connection, except, counts),
        Change::UploadNoted(note) => uploads::note(connection, note),
        Change::PartStored(path, part) => uploads::add_part(connection, path, part),
        Change::UploadEnded(path, id) => uploads::end(connection, path, id.as_deref()),
        Change::Listed(path, size) => {
            let sql = "INSERT OR REPLACE INTO listed (path, size) VALUES (?1, ?2)";
            let row = params![path.to_sort_key(), size.cast_signed()];
            connection.prepare_cached(sql)?.execute(row).map(drop)
        }
        Change::Found(path, size, etag) => {
            queue::counted_anew(connection, path, counts, |counts| {
                share::found(connection, path, *size, etag.as_deref(), counts)
            })
        }
        Change::Reviewed => {
            share::reviewed(connection, counts)?;
            counts.unrecorded = unrecorded(connection)?;
            counts.unrecorded_deletes = delayed::unrecorded(connection)?;
            Ok(())
        }
        Change::Inherited(path, mirrored) => inherit(connection, path, mirrored, counts),
        Change::Replaced(path, etag) => queue::counted_anew(connection, path, counts, |counts| {
            share::replaced(connection, path, etag, counts)
        }),
        Change::RecentDeletes(recent) => {
            let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
            let row = [RECENT_DELETES, &recent.to_text()];
            connection.prepare_cached(sql)?.execute(row).map(drop)
        }
        Change::Restoring(scope) => restoring::set(connection, scope.as_deref()),
        Change::Bound(bound) => binding::bind(connection, bound, counts),
        Change::Stale(changed) => invalidations::stale(connection, changed),
        Change::Invalidation(change) => invalidations::apply(connection, change),
    }
}

/// Adds the record of an object of another shard, unless there is one.
fn inherit(
    connection: &Connection,
    path: &RelPath,
    mirrored: &ObjectRecord,
    counts: &mut StateCounts,
) -> rusqlite::Result<()> {
    // The queue entry of the path was decided with less information.
    let recorded = "SELECT EXISTS (SELECT 1 FROM mirrored WHERE path = ?1)";
    let mut recorded = connection.prepare_cached(recorded)?;
    if recorded.query_row([path.to_sort_key()], |row| row.get(0))? {
        return Ok(());
    }
    queue::counted_anew(connection, path, counts, |counts| {
        record(connection, path, mirrored, counts)
    })
}

fn record(
    connection: &Connection,
    path: &RelPath,
    mirrored: &ObjectRecord,
    counts: &mut StateCounts,
) -> rusqlite::Result<()> {
    let fingerprint = &mirrored.fingerprint;
    let row = params![
        path.to_sort_key(),
        fingerprint.size.cast_signed(),
        fingerprint.mtime_ns,
        fingerprint.ctime_ns,
        fingerprint.btime_ns,
        fingerprint.device.cast_signed(),
        fingerprint.inode.cast_signed(),
        fingerprint.mode,
        mirrored.crc64nvme.cast_signed(),
        mirrored.etag,
        mirrored.racy,
        mirrored.epoch.0.cast_signed(),
        mirrored.head.map(u64::cast_signed),
    ];
    // Most are new, and need one statement.
    let new = connection.prepare_cached(&insert_mirrored("IGNORE"))?.execute(row)?;
    add(&mut counts.mirrored, new as u64);
    if new == 0 {
        connection.prepare_cached(&insert_mirrored("REPLACE"))?.execute(row)?;
    }
    Ok(())
}

fn insert_mirrored(or: &str) -> String {
    format!(
        "INSERT OR {or} INTO mirrored (path, {MIRRORED}) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
    )
}

/// The recent deletes.
pub(super) fn recent_deletes(connection: &Connection) -> rusqlite::Result<RecentDeletes> {
    let sql = "SELECT value FROM meta WHERE name = ?1";
    let text: Option<String> =
        connection.query_row(sql, [RECENT_DELETES], |row| row.get(0)).optional()?;
    Ok(text.map(|text| RecentDeletes::from_text(&text)).unwrap_or_default())
}

pub(super) fn counts(connection: &Connection) -> rusqlite::Result<StateCounts> {
    let count = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let (delayed, delayed_moved) = delayed::counts(connection)?;
    let parked = count("SELECT count(*) FROM pending WHERE parked IS NOT NULL")?.cast_unsigned();
    Ok(StateCounts {
        delayed,
        delayed_moved,
        unrecorded_deletes: delayed::unrecorded(connection)?,
        mirrored: count("SELECT count(*) FROM mirrored")?.cast_unsigned(),
        pending: count("SELECT count(*) FROM pending")?.cast_unsigned().saturating_sub(delayed),
        deletes: count(
            "SELECT count(*) FROM pending \
             WHERE operation = 'delete' AND NOT moved AND parked IS NULL",
        )?
        .cast_unsigned(),
        parked: parked.saturating_sub(delayed),
        skipped: parked_for(connection, GapReason::Skipped)?,
        over_limit: parked_for(connection, GapReason::OverLimit)?,
        unrecorded: unrecorded(connection)?,
        bytes: count(
            "SELECT coalesce(sum(size), 0) FROM pending \
             WHERE operation = 'put' AND parked IS NULL",
        )?
        .cast_unsigned(),
    })
}

/// The number of pending uploads, not skipped, of files without an object record.
fn unrecorded(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM pending WHERE operation = 'put' AND parked IS NULL \
         AND NOT EXISTS (SELECT 1 FROM mirrored WHERE mirrored.path = pending.path)";
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
}

/// The number of entries that are skipped for this reason.
fn parked_for(connection: &Connection, wanted: GapReason) -> rusqlite::Result<u64> {
    let sql = "SELECT parked, count(*) FROM pending WHERE parked IS NOT NULL GROUP BY parked";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        if GapReason::from_skip_reason(&row.get::<_, String>(0)?) == wanted {
            count += row.get::<_, i64>(1)?.cast_unsigned();
        }
    }
    Ok(count)
}

/// The age of the queue, and the reasons of skipped entries.
pub(super) fn survey(connection: &Connection) -> rusqlite::Result<QueueStats> {
    let sql = "SELECT min(since_ms) FROM pending WHERE parked IS NULL";
    let oldest: Option<i64> =
        connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, Option<i64>>(0))?;
    let sql = format!(
        "SELECT parked, count(*) FROM pending \
         WHERE parked IS NOT NULL AND parked != '{DELETE_DELAYED}' GROUP BY parked \
         LIMIT {REASONS_MAX}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let reason =
        |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.cast_unsigned()));
    let parked = statement.query_map([], reason)?.collect::<rusqlite::Result<_>>()?;
    let delayed = delayed::due_times(connection)?;
    Ok(QueueStats { oldest: oldest.map(i64::cast_unsigned), parked, delayed })
}

pub(super) fn known(
    connection: &Connection,
    question: &StateLookup,
    rare: NonEmptyHints,
) -> rusqlite::Result<RecordedState> {
    let key = question.path.to_sort_key();
    let sql = format!("SELECT {MIRRORED} FROM mirrored WHERE path = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mirrored = statement.query_row([&key], |row| mirrored_from(row, 0)).optional()?;
    let upload = if rare.uploads { uploads::read_path(connection, &key)? } else { None };
    let listed = if rare.listed { listed(connection, &key)? } else { None };
    let known = RecordedState { mirrored, listed, upload, ..RecordedState::default() };
    if question.bucket_only { Ok(known) } else { around(connection, question, &key, known) }
}

fn listed(connection: &Connection, key: &[u8]) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT size FROM listed WHERE path = ?1";
    let size: Option<i64> =
        connection.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?;
    Ok(size.map(i64::cast_unsigned))
}

/// Other records and queue entries that concern the path.
fn around(
    connection: &Connection,
    question: &StateLookup,
    key: &[u8],
    known: RecordedState,
) -> rusqlite::Result<RecordedState> {
    let sql = format!("SELECT {PENDING} FROM pending WHERE path = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let pending = statement.query_row([key], pending_from).optional()?;
    let (from, to) = below(key);
    let sql = "SELECT EXISTS (SELECT 1 FROM mirrored WHERE path >= ?1 AND path < ?2) \
         OR EXISTS (SELECT 1 FROM pending WHERE path >= ?1 AND path < ?2)";
    let below = connection.prepare_cached(sql)?.query_row([from, to], |row| row.get(0))?;
    let recorded = known.mirrored.as_ref().map(|mirrored| &mirrored.fingerprint);
    let other_path = match question.file.as_ref().xor(recorded) {
        Some(file) => other_path(connection, key, file)?,
        None => None,
    };
    Ok(RecordedState { pending, below, other_path, ..known })
}

/// Another path under which this file is recorded. Without birth times there is doubt, because file
/// systems reuse inode numbers; the same applies to a racy record.
fn other_path(
    connection: &Connection,
    key: &[u8],
    file: &Fingerprint,
) -> rusqlite::Result<Option<RelPath>> {
    if file.btime_ns == 0 {
        return Ok(None);
    }
    let sql = "SELECT path FROM mirrored WHERE inode = ?1 AND btime_ns = ?2 AND size = ?3 \
         AND mtime_ns = ?4 AND NOT racy AND path != ?5 LIMIT 1";
    let values = params![
        file.inode.cast_signed(),
        file.btime_ns,
        file.size.cast_signed(),
        file.mtime_ns,
        key
    ];
    connection.prepare_cached(sql)?.query_row(values, |row| path_from(row, 0)).optional()
}

/// The range of keys below a directory: all that continue with the separator.
fn below(key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    if key.is_empty() {
        // No path has a component that starts with this byte and continues.
        return (vec![1], vec![0xff; 4097]);
    }
    let bound = |last: u8| [key, &[last]].concat();
    (bound(0), bound(1))
}

/// A page of the object records, `within` itself included.
pub(super) fn range(
    connection: &Connection,
    within: &RelPath,
    from: &StartBound,
    limit: usize,
) -> rusqlite::Result<Vec<(RelPath, ObjectRecord)>> {
    let key = within.to_sort_key();
    let (_, to) = below(&key);
    let (from, compare) = match from {
        StartBound::Start => (key, ">="),
        StartBound::At(path) => (path.to_sort_key(), ">="),
        StartBound::After(path) => (path.to_sort_key(), ">"),
        StartBound::Past(path) => (below(&path.to_sort_key()).1, ">="),
    };
    let sql = format!(
        "SELECT path, {MIRRORED} FROM mirrored WHERE path {compare} ?1 AND path < ?2 \
         ORDER BY path LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let limit = i64::try_from(limit.min(RANGE_ROWS_MAX)).unwrap_or(i64::MAX);
    let row = |row: &Row<'_>| Ok((path_from(row, 0)?, mirrored_from(row, 1)?));
    let rows = statement.query_map(params![from, to, limit], row)?;
    rows.collect()
}

/// A page of the skipped paths.
pub(super) fn parked(
    connection: &Connection,
    after: Option<&RelPath>,
) -> rusqlite::Result<Vec<RelPath>> {
    let sql = format!(
        "SELECT path FROM pending WHERE parked IS NOT NULL AND parked != '{DELETE_DELAYED}' \
         AND path > ?1 \
         ORDER BY path LIMIT {RANGE_ROWS_MAX}"
    );
    let after = after.map(RelPath::to_sort_key).unwrap_or_default();
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([after], |row| path_from(row, 0))?;
    rows.collect()
}

/// A page of the queue.
pub(super) fn queued_after(
    connection: &Connection,
    after: Option<&RelPath>,
) -> rusqlite::Result<Vec<QueueRow>> {
    let sql = format!(
        "SELECT {PENDING} FROM pending WHERE path > ?1 ORDER BY path LIMIT {RANGE_ROWS_MAX}"
    );
    let after = after.map(RelPath::to_sort_key).unwrap_or_default();
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map([after], pending_from)?.collect()
}

/// Queue entries in one of two orders.
pub(super) fn pending(
    connection: &Connection,
    order: QueueOrder,
    limit: usize,
) -> rusqlite::Result<Vec<QueueRow>> {
    let sql = pending_in(order);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([limit], pending_from)?;
    rows.collect()
}

pub(super) fn pending_in(order: QueueOrder) -> String {
    let select = format!("SELECT {PENDING} FROM pending WHERE parked");
    match order {
        QueueOrder::NextDue => format!("{select} IS NULL ORDER BY next_try_ms LIMIT ?1"),
        // Two indices, merged: without them, all rows would be sorted for the first few.
        QueueOrder::Oldest => {
            format!(
                "{select} IS NULL UNION ALL {select} IS NOT NULL AND parked != '{DELETE_DELAYED}' \
                 ORDER BY since_ms LIMIT ?1"
            )
        }
    }
}

/// The order of queue entries.
#[derive(Debug, Clone, Copy)]
pub(super) enum QueueOrder {
    /// Next due first, without skipped entries.
    NextDue,
    /// Oldest first, without delayed deletes.
    Oldest,
}

pub(super) fn mirrored_from(row: &Row<'_>, first: usize) -> rusqlite::Result<ObjectRecord> {
    let unsigned = |index: usize| row.get::<_, i64>(first + index).map(i64::cast_unsigned);
    Ok(ObjectRecord {
        fingerprint: Fingerprint {
            size: unsigned(0)?,
            mtime_ns: row.get(first + 1)?,
            ctime_ns: row.get(first + 2)?,
            btime_ns: row.get(first + 3)?,
            device: unsigned(4)?,
            inode: unsigned(5)?,
            mode: row.get(first + 6)?,
        },
        crc64nvme: unsigned(7)?,
        etag: row.get(first + 8)?,
        racy: row.get(first + 9)?,
        epoch: RootGeneration(unsigned(10)?),
        head: row.get::<_, Option<i64>>(first + 11)?.map(i64::cast_unsigned),
    })
}

pub(super) fn pending_from(row: &Row<'_>) -> rusqlite::Result<QueueRow> {
    let unsigned = |index: usize| row.get::<_, i64>(index).map(i64::cast_unsigned);
    let operation: String = row.get(1)?;
    let operation =
        operation_from(&operation).ok_or_else(|| bad(1, format!("operation {operation:?}")))?;
    let sent: Option<(i64, i64)> =
        row.get::<_, Option<i64>>(11)?.zip(row.get::<_, Option<i64>>(12)?);
    let version = |(size, mtime_ns): (i64, i64)| Version { size: size.cast_unsigned(), mtime_ns };
    Ok(QueueRow {
        path: path_from(row, 0)?,
        operation,
        version: version((row.get(2)?, row.get(3)?)),
        since: unsigned(4)?,
        attempts: row.get(5)?,
        next_try: unsigned(6)?,
        error: row.get(7)?,
        parked: row.get(8)?,
        copy_from: row.get::<_, Option<Vec<u8>>>(9)?.map(|key| path_of(&key, 9)).transpose()?,
        moved: row.get(10)?,
        sent: sent.map(version),
    })
}

pub(super) fn path_from(row: &Row<'_>, index: usize) -> rusqlite::Result<RelPath> {
    path_of(&row.get::<_, Vec<u8>>(index)?, index)
}

fn path_of(key: &[u8], index: usize) -> rusqlite::Result<RelPath> {
    RelPath::from_sort_key(key).map_err(|error| bad(index, error.to_string()))
}

/// The error for a row that this program did not write.
pub(super) fn bad(index: usize, what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Blob, what.into())
}
