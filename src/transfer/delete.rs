//! Deletes, as many in one request as there are.
//!
//! That the files are gone was found out with all care when the deletes were queued; now, maybe much
//! later, it is enough that nothing speaks against it.

use super::bucket::AttemptWrites;
use super::{
    AttemptRecord, DeleteRequest, DeleteResult, MemoryPurpose, ObjectStore, StoredObject, Transfer,
    unnameable,
};
use crate::model::{AttemptOutcome, Failure, FailureClass, ObjectKey, Outcome, RelPath};
use crate::queue::Attempt;
use crate::root::{FileKind, InspectError, Obstacle, Root};
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use std::time::Instant;

/// Looks, a few seconds apart in all, before an object whose upload was never answered is held to be
/// absent for good.
const UNANSWERED_LOOKS: u32 = 4;
/// Objects in doubt that are asked about at once.
const QUESTIONS_MAX: usize = 8;

impl<S: ObjectStore> Transfer<S> {
    /// Tries once to delete what the leases permit. Answers in their order.
    pub async fn delete(&self, tries: &[(Attempt, AttemptRecord)]) -> Vec<AttemptOutcome> {
        let all = |outcome| vec![AttemptOutcome::without_a_write(outcome); tries.len()];
        let paths = tries.iter().map(|(lease, _)| lease.pending.path.clone()).collect();
        let absent = match self.still_absent(paths).await {
            Ok(absent) => absent,
            Err(outcome) => return all(outcome),
        };
        if let Some(refused) = self.refused() {
            return all(Outcome::Failed(refused));
        }
        let mut questions = Vec::with_capacity(tries.len());
        for ((lease, known), absent) in tries.iter().zip(absent) {
            questions.push(self.prepare_delete(lease, known, absent));
        }
        let verdicts: Vec<_> = stream::iter(questions).buffered(QUESTIONS_MAX).collect().await;
        let writes: Vec<_> = tries.iter().map(|_| AttemptWrites::default()).collect();
        let condemned = |(verdict, writes)| {
            let verdict: &Result<DeleteVerdict, Outcome> = verdict;
            Some((writes, verdict.as_ref().ok()?.object.clone()))
        };
        let condemned: Vec<_> = verdicts.iter().zip(&writes).filter_map(condemned).collect();
        let mut answers = match condemned.is_empty() {
            true => Vec::new(),
            false => self.store.delete(&condemned).await,
        }
        .into_iter();
        let mut replaced = None;
        let mut outcome = |verdict: Result<DeleteVerdict, Outcome>| match verdict {
            Ok(verdict) => {
                let answer = answers.next();
                if matches!(answer, Some(Ok(DeleteResult::Replaced))) {
                    replaced.get_or_insert_with(|| verdict.object.key.clone());
                }
                match deleted(&verdict.object.key, answer) {
                    Outcome::Deleted if verdict.is_older => unconfirmed(),
                    outcome => outcome,
                }
            }
            Err(outcome) => outcome,
        };
        let attempted = |(verdict, writes): (_, AttemptWrites)| {
            let outcome = outcome(verdict);
            AttemptOutcome { outcome, written: writes.written() }
        };
        let attempted = verdicts.into_iter().zip(writes).map(attempted).collect();
        if let Some(key) = replaced {
            self.inspect_replacement(&key).await;
        }
        attempted
    }

    /// Why nothing may be deleted now, the reason for every path.
    #[expect(clippy::disallowed_methods, reason = "an adapter: a lease ends by the clock")]
    fn refused(&self) -> Option<Failure> {
        let refusal = self.settings.writer.refusal(Instant::now())?;
        Some(Failure {
            class: FailureClass::Object,
            code: refusal.code.into(),
            message: refusal.message,
            answer_lost: false,
            retry_after_ms: None,
        })
    }

    /// Looks who has replaced an object of ours.
    async fn inspect_replacement(&self, key: &ObjectKey) {
        // What cannot be inspected now is noticed with the next one.
        if let Ok(Some(object)) = self.store.head(key).await {
            self.note_replacement(key, &object).await;
        }
    }

    /// Logs another writer, once. A daemon with this very directory wants what we want.
    async fn note_replacement(&self, key: &ObjectKey, object: &StoredObject) {
        let same_directory = object.source.as_deref() == Some(&*self.settings.source);
        if !object.ours && (self.is_ending() || (object.source.is_some() && !same_directory)) {
            self.report_other_writer(key);
        }
        self.note_other_mark(object).await;
    }

    async fn still_absent(&self, paths: Vec<RelPath>) -> Result<Vec<Result<(), Outcome>>, Outcome> {
        let root = Arc::clone(&self.root);
        let look = move || {
            if root.confirm().is_err() {
                return Err(Outcome::LookAgain("the watched directory is not what it was"));
            }
            Ok(paths.iter().map(|path| still_absent(&root, path)).collect())
        };
        self.readers.run(MemoryPurpose::File, look).await
    }

    /// The object to delete: the recorded one, or one that an unanswered put of ours made. A foreign
    /// object in its place is left alone.
    async fn prepare_delete(
        &self,
        lease: &Attempt,
        known: &AttemptRecord,
        absent: Result<(), Outcome>,
    ) -> Result<DeleteVerdict, Outcome> {
        absent?;
        let key = self.settings.prefix.key(&lease.pending.path);
        let key = key.map_err(|error| unnameable(&error.to_string()))?;
        if let Some(note) = &known.upload {
            self.abandon(note).await.map_err(Outcome::Failed)?;
        }
        let ending = self.is_ending();
        let conditional = !ending && !self.conditions.inspect_before_delete();
        if let (true, Some(mirrored), None) = (conditional, &known.mirrored, lease.sent_before) {
            let object = DeleteRequest { key, etag: mirrored.etag.clone() };
            return Ok(DeleteVerdict { object, is_older: false });
        }
        let found = self.store.head(&key).await.map_err(Outcome::Failed)?;
        let etag = known.mirrored.as_ref().and_then(|mirrored| mirrored.etag.as_ref());
        let yields = |object: &StoredObject| ending && self.is_of_another_writer(object, known);
        let ours = |object: &StoredObject| {
            let recorded = etag.is_some() && object.etag.as_ref() == etag;
            object.ours || (recorded && !yields(object))
        };
        let may_still_arrive =
            lease.sent_before.is_some() && lease.pending.attempts < UNANSWERED_LOOKS;
        match found {
            Some(object) if ours(&object) => {
                let is_older = may_still_arrive && object.version != lease.sent_before;
                Ok(DeleteVerdict { object: DeleteRequest { key, etag: object.etag }, is_older })
            }
            _ if may_still_arrive => Err(unconfirmed()),
            Some(object) if lease.sent_before.is_none() => {
                self.note_replacement(&key, &object).await;
                Err(deleted(&key, Some(Ok(DeleteResult::Replaced))))
            }
            _ => Err(Outcome::Deleted),
        }
    }
}

/// The decision about a delete.
struct DeleteVerdict {
    object: DeleteRequest,
    /// Whether it is not what was sent last and never answered, which may still arrive after it.
    is_older: bool,
}

pub(super) fn still_absent(root: &Root, path: &RelPath) -> Result<(), Outcome> {
    match root.follow(path).found {
        Ok(stat) if stat.kind == FileKind::File => Err(Outcome::LookAgain("the file is there")),
        Ok(_) | Err(InspectError::Gone | InspectError::NotBelow(Obstacle::Link)) => Ok(()),
        Err(_) => Err(Outcome::LookAgain("whether it exists cannot be read")),
    }
}

fn deleted(key: &ObjectKey, answer: Option<Result<DeleteResult, Failure>>) -> Outcome {
    match answer {
        Some(Ok(DeleteResult::Gone)) => Outcome::Deleted,
        Some(Ok(DeleteResult::Replaced)) => {
            tracing::warn!(
                event = "delete.declined",
                aws.s3.key = %key,
                "another writer has replaced the object; it is kept, and its record removed"
            );
            Outcome::Deleted
        }
        Some(Err(failure)) => Outcome::Failed(failure),
        None => Outcome::Failed(Failure {
            class: FailureClass::Object,
            code: "incomplete-answer".into(),
            message: "the store did not say what became of the object".into(),
            answer_lost: true,
            retry_after_ms: None,
        }),
    }
}

/// A request that was never answered can still be on its way, held up by a network that was silent,
/// and make the object after we saw that there is none.
fn unconfirmed() -> Outcome {
    Outcome::Failed(Failure {
        class: FailureClass::Object,
        code: "unconfirmed".into(),
        message: "an upload that was never answered may still arrive; asked again".into(),
        answer_lost: true,
        retry_after_ms: None,
    })
}
