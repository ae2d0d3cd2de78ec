//! Deletes, as many in one request as there are.
//!
//! That the files are gone was found out with all care when the deletes were queued; now, maybe much
//! later, it is enough that nothing speaks against it.

use super::{
    Condemned, Deleted, Journal, Known, ObjectStore, Purpose, StoredObject, Transfer, unnameable,
};
use crate::model::{Failure, FailureClass, ObjectKey, Outcome, RelPath};
use crate::queue::Lease;
use crate::root::{Kind, LookError, Obstacle, Root};
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Looks, a few seconds apart in all, before an object whose upload was never answered is held to be
/// absent for good.
const UNANSWERED_LOOKS: u32 = 4;
/// Objects in doubt that are asked about at once.
const QUESTIONS_MAX: usize = 8;

impl<S: ObjectStore, J: Journal> Transfer<S, J> {
    /// Tries once to delete what the leases permit. Answers in their order.
    pub async fn delete(&self, tries: &[(Lease, Known)]) -> Vec<Outcome> {
        let paths = tries.iter().map(|(lease, _)| lease.pending.path.clone()).collect();
        let absent = match self.still_absent(paths).await {
            Ok(absent) => absent,
            Err(outcome) => return vec![outcome; tries.len()],
        };
        if let Some(refused) = self.refused() {
            return vec![Outcome::Failed(refused); tries.len()];
        }
        let mut questions = Vec::with_capacity(tries.len());
        for ((lease, known), absent) in tries.iter().zip(absent) {
            questions.push(self.condemn(lease, known, absent));
        }
        let verdicts: Vec<_> = stream::iter(questions).buffered(QUESTIONS_MAX).collect().await;
        let condemned: Vec<_> =
            verdicts.iter().filter_map(|it| it.as_ref().ok().cloned()).collect();
        let mut answers = match condemned.is_empty() {
            true => Vec::new(),
            false => self.store.delete(&condemned).await,
        }
        .into_iter();
        let mut replaced = None;
        let outcome = |verdict: Result<Condemned, Outcome>| match verdict {
            Ok(condemned) => {
                let answer = answers.next();
                if matches!(answer, Some(Ok(Deleted::Replaced))) {
                    replaced.get_or_insert_with(|| condemned.key.clone());
                }
                deleted(&condemned.key, answer)
            }
            Err(outcome) => outcome,
        };
        let outcomes = verdicts.into_iter().map(outcome).collect();
        if let Some(key) = replaced {
            self.look_for_another(&key).await;
        }
        outcomes
    }

    /// A person wants deletes done although another daemon was noticed.
    pub fn approve_deletes(&self) {
        self.settings.writer.approve();
    }

    /// Why nothing may be deleted now, as every path is told.
    #[expect(clippy::disallowed_methods, reason = "an adapter: a lease ends by the clock")]
    fn refused(&self) -> Option<Failure> {
        let refusal = self.settings.writer.refusal(Instant::now())?;
        Some(Failure {
            class: FailureClass::Object,
            code: refusal.code.into(),
            message: refusal.message,
            answer_lost: false,
        })
    }

    /// Somebody has replaced an object that the record knows: another daemon, with another directory,
    /// believes in it then. One with this very directory wants what we want.
    async fn look_for_another(&self, key: &ObjectKey) {
        // What cannot be asked now is noticed at the next.
        if let Ok(Some(object)) = self.store.head(key).await {
            self.note_another(key, &object);
        }
    }

    fn note_another(&self, key: &ObjectKey, object: &StoredObject) {
        let Some(source) = object.source.as_ref().filter(|_| !object.ours) else { return };
        if **source != *self.settings.source && self.settings.writer.replaced(key.as_str()) {
            tracing::error!(
                event = "writer.other",
                aws.s3.key = %key,
                "another daemon writes to this prefix, from another directory; nothing is deleted until a \
                 person has stopped one of the two and approved the deletes"
            );
        }
    }

    async fn still_absent(&self, paths: Vec<RelPath>) -> Result<Vec<Result<(), Outcome>>, Outcome> {
        let root = Arc::clone(&self.root);
        let look = move || {
            if root.confirm().is_err() {
                return Err(Outcome::LookAgain("the watched directory is not what it was"));
            }
            Ok(paths.iter().map(|path| still_absent(&root, path)).collect())
        };
        self.readers.run(Purpose::File, look).await
    }

    /// The object to delete: the one that was recorded, or one that a put of ours made and that was
    /// never answered. One that somebody else put in its place is left alone.
    async fn condemn(
        &self,
        lease: &Lease,
        known: &Known,
        absent: Result<(), Outcome>,
    ) -> Result<Condemned, Outcome> {
        absent?;
        let key = self.settings.prefix.key(&lease.pending.path);
        let key = key.map_err(|error| unnameable(&error.to_string()))?;
        if let Some(note) = &known.upload {
            self.abandon(note).await.map_err(Outcome::Failed)?;
        }
        let conditional = !self.looks_before_delete.load(Ordering::Relaxed);
        if let (true, Some(mirrored), None) = (conditional, &known.mirrored, lease.sent_before) {
            return Ok(Condemned { key, etag: mirrored.etag.clone() });
        }
        let found = self.store.head(&key).await.map_err(Outcome::Failed)?;
        let etag = known.mirrored.as_ref().and_then(|mirrored| mirrored.etag.as_ref());
        let ours =
            |object: &StoredObject| object.ours || (etag.is_some() && object.etag.as_ref() == etag);
        match (found, lease.sent_before) {
            (Some(object), _) if ours(&object) => Ok(Condemned { key, etag: object.etag }),
            (Some(object), None) => {
                self.note_another(&key, &object);
                Err(deleted(&key, Some(Ok(Deleted::Replaced))))
            }
            (None, Some(_)) if lease.pending.attempts < UNANSWERED_LOOKS => Err(unconfirmed()),
            _ => Err(Outcome::Deleted),
        }
    }
}

pub(super) fn still_absent(root: &Root, path: &RelPath) -> Result<(), Outcome> {
    match root.look(path) {
        Ok(stat) if stat.kind == Kind::File => Err(Outcome::LookAgain("the file is there")),
        Ok(_) | Err(LookError::Gone | LookError::NotBelow(Obstacle::Link)) => Ok(()),
        Err(_) => Err(Outcome::LookAgain("nobody can tell whether it is there")),
    }
}

fn deleted(key: &ObjectKey, answer: Option<Result<Deleted, Failure>>) -> Outcome {
    match answer {
        Some(Ok(Deleted::Gone)) => Outcome::Deleted,
        Some(Ok(Deleted::Replaced)) => {
            tracing::warn!(
                event = "delete.declined",
                aws.s3.key = %key,
                "somebody else has replaced the object; it is left alone and forgotten"
            );
            Outcome::Deleted
        }
        Some(Err(failure)) => Outcome::Failed(failure),
        None => Outcome::Failed(Failure {
            class: FailureClass::Object,
            code: "incomplete-answer".into(),
            message: "the store did not say what became of the object".into(),
            answer_lost: true,
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
    })
}
