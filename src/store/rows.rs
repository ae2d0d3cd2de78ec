//! What stands in the tables, read and written. SQL is here, in the schema, and for multipart uploads
//! and what a CDN is told beside it.

use super::{
    Bound, Change, Counts, From, Known, Question, Survey, invalidations, operation_from, queue,
    share, uploads,
};
use crate::model::{Epoch, Fingerprint, Mirrored, Pending, RelPath, Version};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Rows in one page; whoever wants more asks again.
pub const RANGE_ROWS_MAX: usize = 1000;
/// Reasons for parking that are told apart.
pub const REASONS_MAX: usize = 100;

const MIRRORED: &str =
    "size, mtime_ns, ctime_ns, btime_ns, device, inode, mode, crc64nvme, etag, racy, epoch, head";
const PENDING: &str = "path, operation, size, mtime_ns, since_ms, attempts, next_try_ms, error, \
     parked, copy_from, moved, sent_size, sent_mtime_ns";

/// Whether tables that are empty nearly always may hold anything, so that they need not be asked for
/// every file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rare {
    listed: bool,
    uploads: bool,
}

impl Rare {
    /// As of now.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let any = |sql| connection.query_row(sql, [], |row| row.get(0));
        Ok(Self {
            listed: any("SELECT EXISTS (SELECT 1 FROM listed)")?,
            uploads: any("SELECT EXISTS (SELECT 1 FROM uploads)")?,
        })
    }

    /// A change may put something there, whatever becomes of its commit.
    pub(super) fn heed(&mut self, change: &Change) {
        self.listed |= matches!(change, Change::Listed(..) | Change::Found(..));
        self.uploads |= matches!(change, Change::UploadNoted(_));
    }
}

/// Makes one change, and keeps the counts in step.
pub(super) fn apply(
    connection: &Connection,
    change: &Change,
    rare: Rare,
    counts: &mut Counts,
) -> rusqlite::Result<()> {
    match change {
        Change::Queue(pending) => queue::put(connection, pending, counts),
        Change::Mirrored(path, mirrored) => {
            record(connection, path, mirrored, counts)?;
            if rare.listed {
                let sql = "DELETE FROM listed WHERE path = ?1";
                connection.prepare_cached(sql)?.execute([path.to_sort_key()])?;
            }
            queue::remove(connection, path, counts)
        }
        Change::Forgotten(path) => {
            let sql = "DELETE FROM mirrored WHERE path = ?1";
            let rows = connection.prepare_cached(sql)?.execute([path.to_sort_key()])?;
            counts.mirrored -= rows as u64;
            queue::remove(connection, path, counts)
        }
        Change::Settled(path) => queue::remove(connection, path, counts),
        Change::UploadNoted(note) => uploads::note(connection, note),
        Change::PartStored(path, part) => uploads::add_part(connection, path, part),
        Change::UploadEnded(path, id) => uploads::end(connection, path, id.as_deref()),
        Change::Listed(path, size) => {
            let sql = "INSERT OR REPLACE INTO listed (path, size) VALUES (?1, ?2)";
            let row = params![path.to_sort_key(), size.cast_signed()];
            connection.prepare_cached(sql)?.execute(row).map(drop)
        }
        Change::Found(path, size, etag) => {
            share::found(connection, path, *size, etag.as_deref(), counts)
        }
        Change::Reviewed => share::reviewed(connection, counts),
        Change::Inherited(path, mirrored) => {
            // What waits for the path was decided by less than is known now.
            let recorded = "SELECT EXISTS (SELECT 1 FROM mirrored WHERE path = ?1)";
            let recorded: bool = connection
                .prepare_cached(recorded)?
                .query_row([path.to_sort_key()], |row| row.get(0))?;
            if recorded { Ok(()) } else { record(connection, path, mirrored, counts) }
        }
        Change::Bound(bound) => bind(connection, bound, counts),
        Change::Stale(changed) => invalidations::stale(connection, changed),
        Change::Invalidation(change) => invalidations::apply(connection, change),
    }
}

fn record(
    connection: &Connection,
    path: &RelPath,
    mirrored: &Mirrored,
    counts: &mut Counts,
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
    counts.mirrored += new as u64;
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

fn bind(connection: &Connection, bound: &Bound, counts: &mut Counts) -> rusqlite::Result<()> {
    let before = "SELECT value FROM meta WHERE name = 'epoch'";
    let before: Option<String> =
        connection.prepare_cached(before)?.query_row([], |row| row.get(0)).optional()?;
    if before.is_some_and(|before| before != bound.epoch.0.to_string()) {
        disown(connection, counts)?;
    }
    let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
    let mut statement = connection.prepare_cached(sql)?;
    let epoch = bound.epoch.0.to_string();
    let Bound { target, source, owner, .. } = bound;
    let (listed, heir) = (bound.listed.to_string(), bound.heir.to_string());
    for (name, value) in [
        ("target", target),
        ("source", source),
        ("epoch", &epoch),
        ("owner", owner),
        ("listed", &listed),
        ("heir", &heir),
    ] {
        statement.execute([name, value])?;
    }
    if let Some(probed) = &bound.probed {
        statement.execute(["probed", probed])?;
    }
    Ok(())
}

/// What waits was decided about another directory, whose files this one cannot speak for. A delete
/// becomes a put, which looks at the path once more. A try without an answer makes no object ours any
/// more, unless there is another record of it: whatever is there is found by a comparison.
fn disown(connection: &Connection, counts: &mut Counts) -> rusqlite::Result<()> {
    let unrecorded = "DELETE FROM pending WHERE path NOT IN (SELECT path FROM mirrored)";
    connection.prepare_cached(unrecorded)?.execute([])?;
    let deletes = "UPDATE pending SET operation = 'put', moved = 0 WHERE operation = 'delete'";
    connection.prepare_cached(deletes)?.execute([])?;
    *counts = self::counts(connection)?;
    Ok(())
}

/// What the record is bound to; `None` if it is new. A record in which a part of it is missing was
/// not written by this program.
pub(super) fn bound(connection: &Connection) -> rusqlite::Result<Option<Bound>> {
    let sql = "SELECT value FROM meta WHERE name = ?1";
    let value = |name: &str| connection.query_row(sql, [name], |row| row.get::<_, String>(0));
    let Some(target) = value("target").optional()? else { return Ok(None) };
    let epoch: String = value("epoch")?;
    let epoch = epoch.parse().map_err(|_| bad(0, format!("epoch {epoch:?}")))?;
    Ok(Some(Bound {
        target,
        source: value("source")?,
        epoch: Epoch(epoch),
        owner: value("owner")?,
        listed: value("listed")? == "true",
        // Older records know nothing of shards.
        heir: value("heir").optional()?.is_some_and(|heir| heir == "true"),
        probed: value("probed").optional()?,
    }))
}

pub(super) fn counts(connection: &Connection) -> rusqlite::Result<Counts> {
    let count = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    Ok(Counts {
        mirrored: count("SELECT count(*) FROM mirrored")?.cast_unsigned(),
        pending: count("SELECT count(*) FROM pending")?.cast_unsigned(),
        deletes: count("SELECT count(*) FROM pending WHERE operation = 'delete' AND NOT moved")?
            .cast_unsigned(),
        parked: count("SELECT count(*) FROM pending WHERE parked IS NOT NULL")?.cast_unsigned(),
        bytes: count(
            "SELECT coalesce(sum(size), 0) FROM pending \
             WHERE operation = 'put' AND parked IS NULL",
        )?
        .cast_unsigned(),
    })
}

/// How long the queue has waited, and why what is parked is.
pub(super) fn survey(connection: &Connection) -> rusqlite::Result<Survey> {
    let sql = "SELECT min(since_ms) FROM pending WHERE parked IS NULL";
    let oldest: Option<i64> =
        connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, Option<i64>>(0))?;
    let sql = format!(
        "SELECT parked, count(*) FROM pending WHERE parked IS NOT NULL GROUP BY parked \
         LIMIT {REASONS_MAX}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let reason =
        |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?.cast_unsigned()));
    let parked = statement.query_map([], reason)?.collect::<rusqlite::Result<_>>()?;
    Ok(Survey { oldest: oldest.map(i64::cast_unsigned), parked })
}

pub(super) fn known(
    connection: &Connection,
    question: &Question,
    rare: Rare,
) -> rusqlite::Result<Known> {
    let key = question.path.to_sort_key();
    let sql = format!("SELECT {MIRRORED} FROM mirrored WHERE path = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mirrored = statement.query_row([&key], |row| mirrored_from(row, 0)).optional()?;
    let upload = if rare.uploads { uploads::of_path(connection, &key)? } else { None };
    let listed = if rare.listed { listed(connection, &key)? } else { None };
    let known = Known { mirrored, listed, upload, pending: None, below: false, twin: None };
    if question.bucket_only { Ok(known) } else { around(connection, question, &key, known) }
}

fn listed(connection: &Connection, key: &[u8]) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT size FROM listed WHERE path = ?1";
    let size: Option<i64> =
        connection.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?;
    Ok(size.map(i64::cast_unsigned))
}

/// What else is recorded and queued that has to do with the path.
fn around(
    connection: &Connection,
    question: &Question,
    key: &[u8],
    known: Known,
) -> rusqlite::Result<Known> {
    let sql = format!("SELECT {PENDING} FROM pending WHERE path = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let pending = statement.query_row([key], pending_from).optional()?;
    let (from, to) = below(key);
    let sql = "SELECT EXISTS (SELECT 1 FROM mirrored WHERE path >= ?1 AND path < ?2) \
         OR EXISTS (SELECT 1 FROM pending WHERE path >= ?1 AND path < ?2)";
    let below = connection.prepare_cached(sql)?.query_row([from, to], |row| row.get(0))?;
    let recorded = known.mirrored.as_ref().map(|mirrored| &mirrored.fingerprint);
    let twin = match question.file.as_ref().xor(recorded) {
        Some(file) => twin(connection, key, file)?,
        None => None,
    };
    Ok(Known { pending, below, twin, ..known })
}

/// Another path under which this file is recorded. A file system without birth times leaves
/// doubt, because it uses inode numbers again, and so does a record that is racy.
fn twin(
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

/// The range of keys below a directory: everything that goes on with the separator.
fn below(key: &[u8]) -> (Vec<u8>, Vec<u8>) {
    if key.is_empty() {
        // No path has a component that begins with this byte and goes on.
        return (vec![1], vec![0xff; 4097]);
    }
    let bound = |last: u8| [key, &[last]].concat();
    (bound(0), bound(1))
}

/// A page of the recorded files; `within` itself counts as one.
pub(super) fn range(
    connection: &Connection,
    within: &RelPath,
    from: &From,
    limit: usize,
) -> rusqlite::Result<Vec<(RelPath, Mirrored)>> {
    let key = within.to_sort_key();
    let (_, to) = below(&key);
    let (from, compare) = match from {
        From::Start => (key, ">="),
        From::At(path) => (path.to_sort_key(), ">="),
        From::After(path) => (path.to_sort_key(), ">"),
        From::Past(path) => (below(&path.to_sort_key()).1, ">="),
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

/// A page of the parked paths.
pub(super) fn parked(
    connection: &Connection,
    after: Option<&RelPath>,
) -> rusqlite::Result<Vec<RelPath>> {
    let sql = format!(
        "SELECT path FROM pending WHERE parked IS NOT NULL AND path > ?1 \
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
) -> rusqlite::Result<Vec<Pending>> {
    let sql = format!(
        "SELECT {PENDING} FROM pending WHERE path > ?1 ORDER BY path LIMIT {RANGE_ROWS_MAX}"
    );
    let after = after.map(RelPath::to_sort_key).unwrap_or_default();
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map([after], pending_from)?.collect()
}

/// What is queued, in one of two orders.
pub(super) fn pending(
    connection: &Connection,
    order: Order,
    limit: usize,
) -> rusqlite::Result<Vec<Pending>> {
    let sql = pending_in(order);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([limit], pending_from)?;
    rows.collect()
}

pub(super) fn pending_in(order: Order) -> String {
    let select = format!("SELECT {PENDING} FROM pending WHERE parked");
    match order {
        Order::NextDue => format!("{select} IS NULL ORDER BY next_try_ms LIMIT ?1"),
        // Two indices, merged: without them all rows would be sorted for the first few.
        Order::Oldest => {
            format!("{select} IS NULL UNION ALL {select} IS NOT NULL ORDER BY since_ms LIMIT ?1")
        }
    }
}

/// Which of the queued come first.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    /// The next due, parked ones left out.
    NextDue,
    /// The longest waiting.
    Oldest,
}

fn mirrored_from(row: &Row<'_>, first: usize) -> rusqlite::Result<Mirrored> {
    let unsigned = |index: usize| row.get::<_, i64>(first + index).map(i64::cast_unsigned);
    Ok(Mirrored {
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
        epoch: Epoch(unsigned(10)?),
        head: row.get::<_, Option<i64>>(first + 11)?.map(i64::cast_unsigned),
    })
}

fn pending_from(row: &Row<'_>) -> rusqlite::Result<Pending> {
    let unsigned = |index: usize| row.get::<_, i64>(index).map(i64::cast_unsigned);
    let operation: String = row.get(1)?;
    let operation =
        operation_from(&operation).ok_or_else(|| bad(1, format!("operation {operation:?}")))?;
    let sent: Option<(i64, i64)> =
        row.get::<_, Option<i64>>(11)?.zip(row.get::<_, Option<i64>>(12)?);
    let version = |(size, mtime_ns): (i64, i64)| Version { size: size.cast_unsigned(), mtime_ns };
    Ok(Pending {
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

/// A row that this program never wrote.
pub(super) fn bad(index: usize, what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Blob, what.into())
}
