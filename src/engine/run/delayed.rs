//! Reads delayed deletes that are due.

use super::{EffectRunner, WRITE_RETRY};
use crate::engine::{DueDeletes, Event};
use crate::model::UnixMillis;
use crate::store::{DelayedPage, DelayedPosition};
use crate::transfer::ObjectStore;
use std::sync::Arc;

impl<S: ObjectStore> EffectRunner<S> {
    /// Reads a page of those that are due until then. Names that are not mirrored any more are set apart:
    /// their objects stay.
    pub(super) fn read_delayed(&mut self, until: UnixMillis, after: Option<DelayedPosition>) {
        let store = self.parts.store.clone();
        let filter = Arc::clone(&self.parts.filter);
        self.tasks.spawn(async move {
            let mut page = store.delayed_until(until, after.clone()).await;
            while let Err(error) = page {
                crate::engine::report::store_failed(&error.to_string());
                tokio::time::sleep(WRITE_RETRY).await;
                page = store.delayed_until(until, after.clone()).await;
            }
            let DelayedPage { rows, next } = page.unwrap_or_default();
            let (rows, ignored) = rows.into_iter().partition(|row| filter.wants_file(&row.path));
            Some(Event::DeletesDue(DueDeletes { rows, ignored, next }))
        });
    }
}
