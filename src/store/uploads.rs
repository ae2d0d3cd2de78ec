//! Running multipart uploads: their plans, and their parts in the bucket.

use super::rows::path_from;
use crate::model::{RelPath, StoredPart, UploadPlan, UploadRecord, Version};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// The columns that [`note_from`] reads.
pub(super) const UPLOAD: &str = "path, upload_id, begun_ms, size, mtime_ns, part_size, head";

/// Records an upload. An earlier unfinished one of the path is removed with this one.
pub(super) fn note(connection: &Connection, note: &UploadRecord) -> rusqlite::Result<()> {
    let path = note.path.to_sort_key();
    if note.upload_id.is_none() {
        remove_parts(connection, &path)?;
    }
    let sql = "INSERT INTO uploads (path, upload_id, begun_ms, size, mtime_ns, part_size, head) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (path) DO UPDATE SET upload_id = excluded.upload_id, \
         begun_ms = min(begun_ms, excluded.begun_ms), size = excluded.size, \
         mtime_ns = excluded.mtime_ns, part_size = excluded.part_size, head = excluded.head";
    let row = params![
        path,
        note.upload_id,
        note.begun.cast_signed(),
        note.plan.version.size.cast_signed(),
        note.plan.version.mtime_ns,
        note.plan.part_size.cast_signed(),
        note.plan.head.cast_signed(),
    ];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

/// Records a part that the store has accepted.
pub(super) fn add_part(
    connection: &Connection,
    path: &RelPath,
    part: &StoredPart,
) -> rusqlite::Result<()> {
    let sql =
        "INSERT OR REPLACE INTO parts (path, number, etag, crc64nvme) VALUES (?1, ?2, ?3, ?4)";
    let crc64nvme = part.crc64nvme.map(u64::cast_signed);
    let row = params![path.to_sort_key(), part.number, part.etag, crc64nvme];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

/// Removes the upload with this id and its parts. Another upload of the path stays.
pub(super) fn end(
    connection: &Connection,
    path: &RelPath,
    upload_id: Option<&str>,
) -> rusqlite::Result<()> {
    let path = path.to_sort_key();
    let sql = "DELETE FROM uploads WHERE path = ?1 AND upload_id IS ?2";
    if connection.prepare_cached(sql)?.execute(params![path, upload_id])? > 0 {
        remove_parts(connection, &path)?;
    }
    Ok(())
}

fn remove_parts(connection: &Connection, path: &[u8]) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM parts WHERE path = ?1")?.execute([path]).map(drop)
}

/// Reads the upload of a path, with its parts.
pub(super) fn read_path(
    connection: &Connection,
    path: &[u8],
) -> rusqlite::Result<Option<UploadRecord>> {
    let sql = format!("SELECT {UPLOAD} FROM uploads WHERE path = ?1");
    let note = connection.prepare_cached(&sql)?.query_row([path], note_from).optional()?;
    let Some(mut note) = note else { return Ok(None) };
    let sql = "SELECT number, etag, crc64nvme FROM parts WHERE path = ?1 ORDER BY number";
    let mut statement = connection.prepare_cached(sql)?;
    let parts = statement.query_map([path], |row| part_from(row, 0))?;
    note.parts = parts.collect::<Result<_, _>>()?;
    Ok(Some(note))
}

/// Reads a part from three columns, beginning with `first`.
pub(super) fn part_from(row: &Row<'_>, first: usize) -> rusqlite::Result<StoredPart> {
    let crc64nvme = row.get::<_, Option<i64>>(first + 2)?.map(i64::cast_unsigned);
    Ok(StoredPart { number: row.get(first)?, etag: row.get(first + 1)?, crc64nvme })
}

/// Reads the uploads that no queue entry will resume.
pub(super) fn left_over(connection: &Connection) -> rusqlite::Result<Vec<UploadRecord>> {
    let sql = format!(
        "SELECT {UPLOAD} FROM uploads WHERE upload_id IS NULL OR path NOT IN \
         (SELECT path FROM pending WHERE operation = 'put' AND parked IS NULL)"
    );
    connection.prepare(&sql)?.query_map([], note_from)?.collect()
}

/// Reads an upload without its parts.
pub(super) fn note_from(row: &Row<'_>) -> rusqlite::Result<UploadRecord> {
    let unsigned = |index: usize| row.get::<_, i64>(index).map(i64::cast_unsigned);
    let version = Version { size: unsigned(3)?, mtime_ns: row.get(4)? };
    Ok(UploadRecord {
        path: path_from(row, 0)?,
        upload_id: row.get(1)?,
        begun: unsigned(2)?,
        plan: UploadPlan { version, part_size: unsigned(5)?, head: unsigned(6)? },
        parts: Vec::new(),
    })
}
