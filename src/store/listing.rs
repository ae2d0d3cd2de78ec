//! A listing of the bucket in the order of a walk.
//!
//! S3 lists by the bytes of keys, and some stores in no order, while a walk sorts by names: in a
//! walk `a/b` comes before `a.txt`, in S3 after it. Therefore the listing is first sorted in a
//! table that is deleted with its handle; a temporary file holds what does not fit in memory.

use super::rows::{RANGE_ROWS_MAX, path_from};
use super::thread::to_store_error;
use super::{StoreError, scratch};
use crate::model::RelPath;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::path::Path;

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingObject {
    /// Bytes.
    pub size: u64,
    /// Its entity tag.
    pub etag: Option<String>,
}

/// A listing.
#[derive(Debug)]
pub struct Listing(Connection);

impl Listing {
    /// Creates an empty listing; its file lies in `directory`, that of the state.
    ///
    /// # Errors
    ///
    /// If there is no room for it.
    pub(super) fn new(directory: &Path) -> Result<Self, StoreError> {
        let table = "CREATE TABLE objects (path BLOB PRIMARY KEY, size INTEGER NOT NULL, etag TEXT) \
             STRICT, WITHOUT ROWID";
        let made = scratch::open(directory).and_then(|connection| {
            connection.execute(table, [])?;
            Ok(connection)
        });
        made.map(Self).map_err(|error| to_store_error(&error))
    }

    /// Adds objects.
    ///
    /// # Errors
    ///
    /// If there is no room for them.
    pub fn add(&mut self, objects: &[(RelPath, ListingObject)]) -> Result<(), StoreError> {
        let mut add = || -> rusqlite::Result<()> {
            let transaction = self.0.transaction()?;
            let sql = "INSERT OR REPLACE INTO objects (path, size, etag) VALUES (?1, ?2, ?3)";
            let mut statement = transaction.prepare_cached(sql)?;
            for (path, listed) in objects {
                let size = listed.size.cast_signed();
                statement.execute(params![path.to_sort_key(), size, listed.etag])?;
            }
            drop(statement);
            transaction.commit()
        };
        add().map_err(|error| to_store_error(&error))
    }

    /// The object of `path`, if it was listed.
    ///
    /// # Errors
    ///
    /// If the table cannot be read.
    pub fn object(&self, path: &RelPath) -> Result<Option<ListingObject>, StoreError> {
        let sql = "SELECT size, etag FROM objects WHERE path = ?1";
        let of = || {
            let mut statement = self.0.prepare_cached(sql)?;
            statement.query_row([path.to_sort_key()], |row| listed_from(row, 0)).optional()
        };
        of().map_err(|error| to_store_error(&error))
    }

    /// The objects after `after`, in their order, at most [`RANGE_ROWS_MAX`].
    ///
    /// # Errors
    ///
    /// If the table cannot be read.
    pub fn page(
        &self,
        after: Option<&RelPath>,
    ) -> Result<Vec<(RelPath, ListingObject)>, StoreError> {
        let sql = format!(
            "SELECT path, size, etag FROM objects WHERE path > ?1 ORDER BY path \
             LIMIT {RANGE_ROWS_MAX}"
        );
        let after = after.map(RelPath::to_sort_key).unwrap_or_default();
        let page = || -> rusqlite::Result<Vec<(RelPath, ListingObject)>> {
            let mut statement = self.0.prepare_cached(&sql)?;
            let rows = statement
                .query_map([after], |row| Ok((path_from(row, 0)?, listed_from(row, 1)?)))?;
            rows.collect()
        };
        page().map_err(|error| to_store_error(&error))
    }
}

fn listed_from(row: &Row<'_>, first: usize) -> rusqlite::Result<ListingObject> {
    let size = row.get::<_, i64>(first)?.cast_unsigned();
    Ok(ListingObject { size, etag: row.get(first + 1)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_s3_lists_by_bytes_comes_in_the_order_of_a_walk() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut listing = Listing::new(directory.path()).expect("room");
        let path = |name: &str| RelPath::new(name.as_bytes()).expect("a path");
        let object =
            |name| (path(name), ListingObject { size: 1, etag: Some(format!("of {name}")) });
        listing.add(&["a-b", "a.txt", "a/b", "ä"].map(object)).expect("room");
        let names = |page: Vec<(RelPath, ListingObject)>| -> Vec<String> {
            page.into_iter().map(|(path, _)| path.to_string()).collect()
        };
        assert_eq!(names(listing.page(None).expect("read")), ["a/b", "a-b", "a.txt", "ä"]);
        assert_eq!(names(listing.page(Some(&path("a-b"))).expect("read")), ["a.txt", "ä"]);
        let found = listing.object(&path("a/b")).expect("read").and_then(|listed| listed.etag);
        assert_eq!(found.as_deref(), Some("of a/b"));
        assert_eq!(listing.object(&path("a")), Ok(None));
    }
}
