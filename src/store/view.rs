//! Looking at a record without being its daemon, which may be at work on it: nothing is written to
//! the file, no lock is taken that a daemon needs, and no read lasts longer than it must.

use super::schema::{self, RecordFile, Unread};
use super::{Bound, Counts, OpenError, Store, Unusable, rows, share};
use crate::model::Share;
use rusqlite::Connection;
use std::path::Path;

/// A record that is looked at.
#[derive(Debug)]
pub struct Viewed {
    /// Its handle, or that of an empty one where there is none to believe.
    pub store: Store,
    /// What it is bound to; `None` where there is none to believe.
    pub bound: Option<Bound>,
    /// How much it holds.
    pub counts: Counts,
    /// Why the record that is there must not be acted on, if that is so: a daemon would move it aside.
    pub unusable: Option<Unusable>,
}

impl Store {
    /// The record of `target` in `directory` as it is at each moment, to be read only. Blocks.
    ///
    /// # Errors
    ///
    /// If there is one that cannot be read.
    pub fn look_on(directory: &Path, target: &str) -> Result<Viewed, OpenError> {
        match schema::read_only(directory, target)? {
            Ok(connection) => view(directory, connection, None),
            Err(why) => view(directory, schema::scratch(directory)?, why.unusable()),
        }
    }

    /// A copy of the record of `target` in `directory`, to be changed at will: it goes with its handle.
    /// What it says is of `share`, as if a daemon had opened it.
    /// What does not fit in memory is in a temporary file. Blocks.
    ///
    /// # Errors
    ///
    /// If there is one that cannot be read, or no copy can be made.
    pub fn copy_of(directory: &Path, target: &str, share: Share) -> Result<Viewed, OpenError> {
        let why = match schema::read_only(directory, target)? {
            Ok(_) => match schema::copy(directory)? {
                Ok(mut connection) => {
                    let kept = share::keep_only(&mut connection, share);
                    let path = schema::file_in(directory);
                    kept.map_err(|source| OpenError::Unreadable { path, source })?;
                    return view(directory, connection, None);
                }
                Err(why) => Some(why),
            },
            Err(why) => why.unusable(),
        };
        view(directory, schema::scratch(directory)?, why)
    }
}

fn view(
    directory: &Path,
    connection: Connection,
    unusable: Option<Unusable>,
) -> Result<Viewed, OpenError> {
    let path = schema::file_in(directory);
    let unreadable = |source| OpenError::Unreadable { path: path.clone(), source };
    let bound = rows::bound(&connection).map_err(unreadable)?;
    let counts = rows::counts(&connection).map_err(unreadable)?;
    let file = RecordFile { path: path.clone(), connection, moved_aside: None, lock: None };
    let store = Store::run(file, counts, directory)?;
    Ok(Viewed { store, bound, counts, unusable })
}

impl Unread {
    fn unusable(self) -> Option<Unusable> {
        match self {
            Self::Nothing => None,
            Self::Unusable(why) => Some(why),
        }
    }
}
