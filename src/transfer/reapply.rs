//! A change of the rules, applied to an object that is there: a copy onto itself.
//!
//! Only on request, because it is a request for every object, and in some storage classes not a
//! cheap one. What comes of it is recorded with the new head, so that it can end anywhere and be
//! asked for again: what was done is not done twice.

use super::copy::{From, may_still_send};
use super::{Journal, ObjectHead, ObjectStore, Put, Transfer, check};
use crate::model::{Effort, Outcome};

impl<S: ObjectStore, J: Journal> Transfer<S, J> {
    /// The object that has these bytes already, as it is to look now: its entity tag, and what that
    /// took. `None` where it can only be sent again.
    ///
    /// An object that somebody else has put in the place of ours is left as it is.
    pub(super) async fn reapplied(
        &self,
        put: &Put<'_>,
        object: &ObjectHead,
        crc64nvme: u64,
        found: (Option<String>, Effort),
    ) -> Result<Option<(Option<String>, Effort)>, Outcome> {
        let recorded = put.known.mirrored.as_ref().and_then(|mirrored| mirrored.head);
        let known = recorded.filter(|_| found.1 == Effort::Unchanged);
        if !self.settings.reapply_rules || known == Some(object.head.digest()) {
            return Ok(Some(found));
        }
        let Some(etag) = found.0.as_deref() else { return Ok(None) };
        let from = From { key: put.key.clone(), etag };
        match self.copy_of(put, &from, object, crc64nvme).await {
            Ok(Some(stored)) => {
                check(&stored, crc64nvme)?;
                Ok(Some((stored.etag, Effort::Copied)))
            }
            Ok(None) => Ok(Some(found)),
            // It may not be copied, or cannot be, as out of an archive.
            Err(outcome) if may_still_send(&outcome) => Ok(None),
            Err(outcome) => Err(outcome),
        }
    }
}
