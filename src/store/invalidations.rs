//! The tables of invalidations: paths with outdated copies, and batches.
//!
//! Pending paths are bounded: above [`WAITING_MAX`], whole directories replace them.

use super::rows::{bad, path_from};
use super::{InvalidationChange, StoredInvalidations};
use crate::model::{
    ChangedObject, MonthCount, PathBatch, PendingInvalidation, RelPath, SpanReference, Staleness,
    TraceLink, UnixMillis,
};
use crate::path_cover::{CoverLimits, Covered, cover};
use rusqlite::{Connection, Row, params};

/// Maximum number of pending paths; more are covered by fewer.
pub const WAITING_MAX: usize = 10_000;

/// The number of invalidations in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InvalidationBacklog {
    /// Pending paths, at most [`WAITING_MAX`].
    pub waiting: u64,
    /// Paths in batches that were not accepted yet.
    pub made: u64,
    /// Requests in progress.
    pub running: u64,
}

impl InvalidationBacklog {
    /// Paths that were not sent yet.
    #[must_use]
    pub fn unsent(self) -> u64 {
        self.waiting + self.made
    }
}

/// The limits after a reduction, so that the next one is not soon.
const COVER: CoverLimits =
    CoverLimits { entries: 1_000, items: WAITING_MAX / 2, wholes: WAITING_MAX / 2 };

/// Number of months that are kept: the present one, and earlier ones that a clock set back could
/// select.
const MONTHS_MAX: u32 = 12;

/// Records that an object has changed.
pub(super) fn stale(connection: &Connection, changed: &ChangedObject) -> rusqlite::Result<()> {
    let ChangedObject { path, staleness, at, tagged, context } = changed;
    if *staleness == Staleness::IfReplaced && !was_there(connection, path)? {
        return Ok(());
    }
    if is_covered(connection, path)? {
        return Ok(());
    }
    let tagged = match tagged {
        Some(head) => was_tagged(connection, path, *head)?,
        None => false,
    };
    let change = context.map(|context| TraceLink { context, since: *at });
    insert(
        connection,
        &PendingInvalidation { path: path.clone(), below: false, tagged, change },
        *at,
    )
}

/// Whether an object with these attributes is recorded.
fn was_tagged(connection: &Connection, path: &RelPath, head: u64) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM mirrored WHERE path = ?1 AND head = ?2)";
    let row = params![path.to_sort_key(), head.cast_signed()];
    connection.prepare_cached(sql)?.query_row(row, |row| row.get(0))
}

/// Whether an object is recorded, or was in the initial listing.
fn was_there(connection: &Connection, path: &RelPath) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM mirrored WHERE path = ?1) \
         OR EXISTS (SELECT 1 FROM listed WHERE path = ?1)";
    connection.prepare_cached(sql)?.query_row([path.to_sort_key()], |row| row.get(0))
}

/// Whether a directory above it is pending as a whole.
fn is_covered(connection: &Connection, path: &RelPath) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM invalidations WHERE path = ?1 AND below = 1)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut above = path.parent();
    while let Some(directory) = above {
        if statement.query_row([directory.to_sort_key()], |row| row.get(0))? {
            return Ok(true);
        }
        above = directory.parent();
    }
    Ok(false)
}

fn insert(
    connection: &Connection,
    stale: &PendingInvalidation,
    since: UnixMillis,
) -> rusqlite::Result<()> {
    // One copy without tags is enough, and the latest change is the one that viewers will see.
    let sql = "INSERT INTO invalidations (path, below, name, since_ms, tagged, change) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET \
         since_ms = min(since_ms, excluded.since_ms), tagged = min(tagged, excluded.tagged), \
         change = coalesce(excluded.change, change)";
    let name = stale.path.to_string();
    let since = since.cast_signed();
    let change = stale.change.as_ref().map(written);
    let row = params![stale.path.to_sort_key(), stale.below, name, since, stale.tagged, change];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

/// Formats a link as a line.
fn written(link: &TraceLink) -> String {
    format!("{} {}", link.context, link.since)
}

fn link_from(line: &str) -> Option<TraceLink> {
    let (context, since) = line.split_once(' ')?;
    Some(TraceLink { context: SpanReference::parse(context)?, since: since.parse().ok()? })
}

/// Replaces too many paths with whole directories. It is then unknown whether all copies below have
/// tags.
pub(super) fn keep_bounded(connection: &Connection) -> rusqlite::Result<()> {
    if backlog(connection)?.waiting <= WAITING_MAX as u64 {
        return Ok(());
    }
    let since = "SELECT min(since_ms) FROM invalidations";
    let since: i64 = connection.query_row(since, [], |row| row.get(0))?;
    let covered = waiting(connection)?
        .into_iter()
        .map(|stale| Covered { path: stale.path.as_bytes().to_vec(), below: stale.below });
    let cover = cover(covered, COVER);
    connection.execute("DELETE FROM invalidations", [])?;
    for Covered { path, below } in cover {
        let path = RelPath::new(&path).map_err(|error| bad(0, error.to_string()))?;
        let stale = PendingInvalidation { path, below, tagged: false, change: None };
        insert(connection, &stale, since.cast_unsigned())?;
    }
    Ok(())
}

pub(super) fn apply(connection: &Connection, change: &InvalidationChange) -> rusqlite::Result<()> {
    match change {
        InvalidationChange::Made { batches, of, instead_of, spent } => {
            // A path that was considered tagged and no longer is stays pending.
            let sql = "DELETE FROM invalidations WHERE path = ?1 AND below = ?2 AND tagged >= ?3";
            for stale in of {
                let row = params![stale.path.to_sort_key(), stale.below, stale.tagged];
                connection.prepare_cached(sql)?.execute(row)?;
            }
            if let Some(id) = instead_of {
                end(connection, id)?;
            }
            batches.iter().try_for_each(|batch| keep(connection, batch))?;
            spend(connection, *spent)
        }
        InvalidationChange::Accepted(id, accepted) => {
            let sql = "UPDATE invalidation_batches SET accepted = ?2 WHERE id = ?1";
            connection.prepare_cached(sql)?.execute([id, accepted]).map(drop)
        }
        InvalidationChange::Ended(id) => end(connection, id),
    }
}

fn end(connection: &Connection, id: &str) -> rusqlite::Result<()> {
    let sql = "DELETE FROM invalidation_batches WHERE id = ?1";
    connection.prepare_cached(sql)?.execute([id]).map(drop)
}

fn keep(connection: &Connection, batch: &PathBatch) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO invalidation_batches \
         (id, reference, distribution, paths, month, created_ms, accepted, links) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let links: Vec<_> = batch.links.iter().map(written).collect();
    let row = params![
        batch.id,
        batch.reference,
        batch.distribution,
        batch.paths.join("\n"),
        batch.month.0,
        batch.created.cast_signed(),
        batch.accepted,
        links.join("\n"),
    ];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

fn spend(connection: &Connection, (month, paths): (MonthCount, u64)) -> rusqlite::Result<()> {
    let sql = "INSERT INTO invalidation_months (month, paths) VALUES (?1, ?2) \
         ON CONFLICT DO UPDATE SET paths = paths + excluded.paths";
    connection.prepare_cached(sql)?.execute(params![month.0, paths.cast_signed()])?;
    let sql = "DELETE FROM invalidation_months WHERE month + ?2 < ?1";
    connection.prepare_cached(sql)?.execute([month.0, MONTHS_MAX]).map(drop)
}

/// Reads everything.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<StoredInvalidations> {
    let sql = format!("SELECT {BATCH} FROM invalidation_batches ORDER BY created_ms, id");
    let batches =
        connection.prepare_cached(&sql)?.query_map([], batch_from)?.collect::<Result<_, _>>();
    let sql = "SELECT month, paths FROM invalidation_months ORDER BY month";
    let month =
        |row: &Row<'_>| Ok((MonthCount(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned()));
    let spent = connection.prepare_cached(sql)?.query_map([], month)?.collect::<Result<_, _>>();
    Ok(StoredInvalidations { stale: waiting(connection)?, batches: batches?, spent: spent? })
}

/// The columns of a batch.
pub(super) const BATCH: &str =
    "id, reference, distribution, paths, month, created_ms, accepted, links";

/// Counts everything.
pub(super) fn backlog(connection: &Connection) -> rusqlite::Result<InvalidationBacklog> {
    let sql = "SELECT (SELECT count(*) FROM invalidations), \
         (SELECT coalesce(sum(1 + length(paths) - length(replace(paths, char(10), ''))), 0) \
          FROM invalidation_batches WHERE accepted IS NULL), \
         (SELECT count(*) FROM invalidation_batches WHERE accepted IS NOT NULL)";
    connection.prepare_cached(sql)?.query_row([], |row| {
        let number = |index| row.get::<_, i64>(index).map(i64::cast_unsigned);
        Ok(InvalidationBacklog { waiting: number(0)?, made: number(1)?, running: number(2)? })
    })
}

fn waiting(connection: &Connection) -> rusqlite::Result<Vec<PendingInvalidation>> {
    let sql = "SELECT path, below, tagged, change FROM invalidations ORDER BY path, below";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map([], stale_from)?.collect()
}

pub(super) fn stale_from(row: &Row<'_>) -> rusqlite::Result<PendingInvalidation> {
    let path = path_from(row, 0)?;
    let below = row.get(1)?;
    let tagged = row.get(2)?;
    let change: Option<String> = row.get(3)?;
    Ok(PendingInvalidation { path, below, tagged, change: change.as_deref().and_then(link_from) })
}

pub(super) fn batch_from(row: &Row<'_>) -> rusqlite::Result<PathBatch> {
    let (paths, links): (String, String) = (row.get(3)?, row.get(7)?);
    Ok(PathBatch {
        id: row.get(0)?,
        reference: row.get(1)?,
        distribution: row.get(2)?,
        paths: paths.split('\n').map(str::to_owned).collect(),
        month: MonthCount(row.get(4)?),
        created: row.get::<_, i64>(5)?.cast_unsigned(),
        accepted: row.get(6)?,
        links: links.lines().filter_map(link_from).collect(),
    })
}
