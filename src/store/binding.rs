//! The binding of the state: to a bucket, a prefix and a watched directory.

use super::rows::{ORIGIN, bad};
use super::{StateBinding, StateCounts};
use crate::model::{OverlapSign, RootGeneration, SourceOrigin};
use rusqlite::{Connection, OptionalExtension};

/// Writes the binding. Another directory invalidates the queue.
pub(super) fn bind(
    connection: &Connection,
    bound: &StateBinding,
    counts: &mut StateCounts,
) -> rusqlite::Result<()> {
    let before = "SELECT value FROM meta WHERE name = 'epoch'";
    let before: Option<String> =
        connection.prepare_cached(before)?.query_row([], |row| row.get(0)).optional()?;
    if before.is_some_and(|before| before != bound.epoch.0.to_string()) {
        invalidate_queue(connection, counts)?;
    }
    let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
    let mut statement = connection.prepare_cached(sql)?;
    let epoch = bound.epoch.0.to_string();
    let StateBinding { target, source, owner, .. } = bound;
    let listed = bound.listed.to_string();
    let takeover_pending = bound.takeover_pending.to_string();
    let overlap = bound.overlap.as_str().to_owned();
    for (name, value) in [
        ("target", target),
        ("source", source),
        ("epoch", &epoch),
        ("owner", owner),
        ("listed", &listed),
        ("takeover_pending", &takeover_pending),
        ("overlap", &overlap),
    ] {
        statement.execute([name, value])?;
    }
    if let Some(SourceOrigin { configured, resolved, parent }) = &bound.origin {
        for (name, path) in ORIGIN.into_iter().zip([configured, resolved, parent]) {
            statement.execute([name, &SourceOrigin::to_text(path)])?;
        }
    }
    if let Some(probed) = &bound.probed {
        statement.execute(["probed", probed])?;
    }
    Ok(())
}

/// Removes the queue of another directory: its entries were decided about files that the present
/// directory knows nothing about, and a scan decides anew. An attempt without a response puts the
/// object in doubt, so that its record goes as well: the object stays, and an upload of a file of
/// the present directory compares it first.
fn invalidate_queue(connection: &Connection, counts: &mut StateCounts) -> rusqlite::Result<()> {
    let doubtful = "DELETE FROM mirrored \
         WHERE path IN (SELECT path FROM pending WHERE sent_size IS NOT NULL)";
    connection.prepare_cached(doubtful)?.execute([])?;
    connection.prepare_cached("DELETE FROM pending")?.execute([])?;
    *counts = super::rows::counts(connection)?;
    Ok(())
}

/// The binding of the state; `None` if it is new. A state with an incomplete binding was not
/// written by this program.
pub(super) fn bound(connection: &Connection) -> rusqlite::Result<Option<StateBinding>> {
    let sql = "SELECT value FROM meta WHERE name = ?1";
    let value = |name: &str| connection.query_row(sql, [name], |row| row.get::<_, String>(0));
    let Some(target) = value("target").optional()? else { return Ok(None) };
    let epoch: String = value("epoch")?;
    let epoch = epoch.parse().map_err(|_| bad(0, format!("epoch {epoch:?}")))?;
    let place =
        |name| value(name).optional().map(|text| text.map(|text| SourceOrigin::from_text(&text)));
    let [configured, resolved, parent] = ORIGIN.map(place);
    let origin = match (configured?, resolved?, parent?) {
        (Some(configured), Some(resolved), Some(parent)) => {
            Some(SourceOrigin { configured, resolved, parent })
        }
        _ => None,
    };
    Ok(Some(StateBinding {
        target,
        origin,
        source: value("source")?,
        epoch: RootGeneration(epoch),
        owner: value("owner")?,
        listed: value("listed")? == "true",
        // Older states know no shards.
        takeover_pending: value("takeover_pending")
            .optional()?
            .is_some_and(|pending| pending == "true"),
        probed: value("probed").optional()?,
        overlap: value("overlap")
            .optional()?
            .map_or_else(OverlapSign::default, |text| OverlapSign::from_text(&text)),
    }))
}
