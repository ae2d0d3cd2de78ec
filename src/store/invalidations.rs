//! What a CDN may hold an old copy of, and what it is told: the tables of it.
//!
//! What waits is bounded: beyond [`WAITING_MAX`] paths whole directories stand for them.

use super::rows::{bad, path_from};
use super::{Invalidation, Invalidations};
use crate::cover::{Covered, Limits, cover};
use crate::model::{Batch, Changed, Context, Link, Month, RelPath, Stale, Staleness, UnixMillis};
use rusqlite::{Connection, Row, params};

/// Paths that may wait; more are covered by fewer.
pub const WAITING_MAX: usize = 10_000;

/// How much of invalidations the record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Paths that wait, [`WAITING_MAX`] at most.
    pub waiting: u64,
    /// Paths made into requests that were not accepted yet.
    pub made: u64,
    /// Requests in progress.
    pub running: u64,
}

impl Backlog {
    /// Paths that were not told yet.
    #[must_use]
    pub fn untold(self) -> u64 {
        self.waiting + self.made
    }
}

/// What is left of too many, so that it is not done again soon.
const COVER: Limits = Limits { entries: 1_000, items: WAITING_MAX / 2, wholes: WAITING_MAX / 2 };

/// Months that are kept: this one, and the ones before that a clock set back could mean.
const MONTHS_MAX: u32 = 12;

/// Notes that an object has changed.
pub(super) fn stale(connection: &Connection, changed: &Changed) -> rusqlite::Result<()> {
    let Changed { path, staleness, at, tagged, context } = changed;
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
    let change = context.map(|context| Link { context, since: *at });
    insert(connection, &Stale { path: path.clone(), below: false, tagged, change }, *at)
}

/// Whether an object with this head is recorded.
fn was_tagged(connection: &Connection, path: &RelPath, head: u64) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM mirrored WHERE path = ?1 AND head = ?2)";
    let row = params![path.to_sort_key(), head.cast_signed()];
    connection.prepare_cached(sql)?.query_row(row, |row| row.get(0))
}

/// Whether an object is recorded, or was found in the bucket when the record was new.
fn was_there(connection: &Connection, path: &RelPath) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM mirrored WHERE path = ?1) \
         OR EXISTS (SELECT 1 FROM listed WHERE path = ?1)";
    connection.prepare_cached(sql)?.query_row([path.to_sort_key()], |row| row.get(0))
}

/// Whether a directory above it waits as a whole.
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

fn insert(connection: &Connection, stale: &Stale, since: UnixMillis) -> rusqlite::Result<()> {
    // One copy without tags is enough, and the latest change is the one that viewers will see.
    let sql = "INSERT INTO invalidations (path, below, name, since_ms, tagged, change) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET \
         since_ms = min(since_ms, excluded.since_ms), tagged = min(tagged, excluded.tagged), \
         change = coalesce(excluded.change, change)";
    let (name, since) = (stale.path.to_string(), since.cast_signed());
    let change = stale.change.as_ref().map(written);
    let row = params![stale.path.to_sort_key(), stale.below, name, since, stale.tagged, change];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

/// A link as a line.
fn written(link: &Link) -> String {
    format!("{} {}", link.context, link.since)
}

fn link_from(line: &str) -> Option<Link> {
    let (context, since) = line.split_once(' ')?;
    Some(Link { context: Context::parse(context)?, since: since.parse().ok()? })
}

/// Has whole directories stand for what is too much. That all copies below have tags is not known.
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
        let stale = Stale { path, below, tagged: false, change: None };
        insert(connection, &stale, since.cast_unsigned())?;
    }
    Ok(())
}

pub(super) fn apply(connection: &Connection, change: &Invalidation) -> rusqlite::Result<()> {
    match change {
        Invalidation::Made { batches, of, instead_of, spent } => {
            // What was taken for tagged and is not any more goes on waiting.
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
        Invalidation::Accepted(id, accepted) => {
            let sql = "UPDATE invalidation_batches SET accepted = ?2 WHERE id = ?1";
            connection.prepare_cached(sql)?.execute([id, accepted]).map(drop)
        }
        Invalidation::Ended(id) => end(connection, id),
    }
}

fn end(connection: &Connection, id: &str) -> rusqlite::Result<()> {
    let sql = "DELETE FROM invalidation_batches WHERE id = ?1";
    connection.prepare_cached(sql)?.execute([id]).map(drop)
}

fn keep(connection: &Connection, batch: &Batch) -> rusqlite::Result<()> {
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

fn spend(connection: &Connection, (month, paths): (Month, u64)) -> rusqlite::Result<()> {
    let sql = "INSERT INTO invalidation_months (month, paths) VALUES (?1, ?2) \
         ON CONFLICT DO UPDATE SET paths = paths + excluded.paths";
    connection.prepare_cached(sql)?.execute(params![month.0, paths.cast_signed()])?;
    let sql = "DELETE FROM invalidation_months WHERE month + ?2 < ?1";
    connection.prepare_cached(sql)?.execute([month.0, MONTHS_MAX]).map(drop)
}

/// All there is.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Invalidations> {
    let sql = "SELECT id, reference, distribution, paths, month, created_ms, accepted, links \
         FROM invalidation_batches ORDER BY created_ms, id";
    let batches =
        connection.prepare_cached(sql)?.query_map([], batch_from)?.collect::<Result<_, _>>();
    let sql = "SELECT month, paths FROM invalidation_months ORDER BY month";
    let month = |row: &Row<'_>| Ok((Month(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned()));
    let spent = connection.prepare_cached(sql)?.query_map([], month)?.collect::<Result<_, _>>();
    Ok(Invalidations { stale: waiting(connection)?, batches: batches?, spent: spent? })
}

/// How much there is.
pub(super) fn backlog(connection: &Connection) -> rusqlite::Result<Backlog> {
    let sql = "SELECT (SELECT count(*) FROM invalidations), \
         (SELECT coalesce(sum(1 + length(paths) - length(replace(paths, char(10), ''))), 0) \
          FROM invalidation_batches WHERE accepted IS NULL), \
         (SELECT count(*) FROM invalidation_batches WHERE accepted IS NOT NULL)";
    connection.prepare_cached(sql)?.query_row([], |row| {
        let number = |index| row.get::<_, i64>(index).map(i64::cast_unsigned);
        Ok(Backlog { waiting: number(0)?, made: number(1)?, running: number(2)? })
    })
}

fn waiting(connection: &Connection) -> rusqlite::Result<Vec<Stale>> {
    let sql = "SELECT path, below, tagged, change FROM invalidations ORDER BY path, below";
    let mut statement = connection.prepare_cached(sql)?;
    let stale = |row: &Row<'_>| {
        let (path, below, tagged) = (path_from(row, 0)?, row.get(1)?, row.get(2)?);
        let change: Option<String> = row.get(3)?;
        Ok(Stale { path, below, tagged, change: change.as_deref().and_then(link_from) })
    };
    statement.query_map([], stale)?.collect()
}

fn batch_from(row: &Row<'_>) -> rusqlite::Result<Batch> {
    let (paths, links): (String, String) = (row.get(3)?, row.get(7)?);
    Ok(Batch {
        id: row.get(0)?,
        reference: row.get(1)?,
        distribution: row.get(2)?,
        paths: paths.split('\n').map(str::to_owned).collect(),
        month: Month(row.get(4)?),
        created: row.get::<_, i64>(5)?.cast_unsigned(),
        accepted: row.get(6)?,
        links: links.lines().filter_map(link_from).collect(),
    })
}
