//! Reads a state while a daemon may use it: nothing is written to the file, no lock is taken that a
//! daemon needs, and reads are short.

use super::schema::{self, RecordFile, SchemaError};
use super::{
    StateBinding, StateCounts, Store, StoreOpenError, UnusableState, binding, restoring, rows,
    share,
};
use crate::model::Shard;
use rusqlite::Connection;
use std::path::Path;

/// A read-only state.
#[derive(Debug)]
pub struct ReadOnlyState {
    /// Its handle, or that of an empty one if there is none that can be used.
    pub store: Store,
    /// Its binding; `None` if there is no usable state.
    pub bound: Option<StateBinding>,
    /// The scope of a restore that has not ended.
    pub restoring: Option<String>,
    /// Its sizes.
    pub counts: StateCounts,
    /// Why the existing state must not be used, if that is so: a daemon would rename it.
    pub unusable: Option<UnusableState>,
}

impl Store {
    /// Opens the state of `target` in `directory` read-only; each read sees its present content.
    /// Blocks.
    ///
    /// # Errors
    ///
    /// If it exists and cannot be read.
    pub fn open_read_only(directory: &Path, target: &str) -> Result<ReadOnlyState, StoreOpenError> {
        match schema::read_only(directory, target)? {
            Ok(connection) => view(directory, connection, None),
            Err(why) => view(directory, schema::scratch(directory)?, why.unusable()),
        }
    }

    /// Copies the state of `target` in `directory`; the copy may be changed and is deleted with its
    /// handle. It is assigned to `share`, as if a daemon had opened it. A temporary file holds what
    /// does not fit in memory. Blocks.
    ///
    /// # Errors
    ///
    /// If the state exists and cannot be read, or no copy can be made.
    pub fn open_copy(
        directory: &Path,
        target: &str,
        share: Shard,
    ) -> Result<ReadOnlyState, StoreOpenError> {
        let why = match schema::read_only(directory, target)? {
            Ok(_) => match schema::copy(directory)? {
                Ok(mut connection) => {
                    let kept = share::retain_shard(&mut connection, share);
                    let path = schema::file_in(directory);
                    kept.map_err(|source| StoreOpenError::Unreadable { path, source })?;
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
    unusable: Option<UnusableState>,
) -> Result<ReadOnlyState, StoreOpenError> {
    let path = schema::file_in(directory);
    let unreadable = |source| StoreOpenError::Unreadable { path: path.clone(), source };
    let bound = binding::bound(&connection).map_err(unreadable)?;
    let restoring = restoring::scope(&connection).map_err(unreadable)?;
    let counts = rows::counts(&connection).map_err(unreadable)?;
    let file = RecordFile { path: path.clone(), connection, moved_aside: None, lock: None };
    let store = Store::run(file, counts, directory)?;
    Ok(ReadOnlyState { store, bound, restoring, counts, unusable })
}

impl SchemaError {
    fn unusable(self) -> Option<UnusableState> {
        match self {
            Self::Nothing => None,
            Self::Unusable(why) => Some(why),
        }
    }
}
