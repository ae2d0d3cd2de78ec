//! Tries: what they have to know, and how they are carried out.

use crate::model::{AttemptOutcome, Operation, Outcome, RootGeneration};
use crate::queue::Attempt;
use crate::store::{self, StateLookup, Store, StoreError};
use crate::transfer::{self, ObjectStore, ReadAhead, Transfer};

/// That the rows of tries are on disk, with what the record said right after to each; `None` where it was
/// not asked.
pub(in crate::engine) type AttemptPermit = Option<Result<Vec<transfer::AttemptRecord>, StoreError>>;

/// Carries out a put, or deletes.
pub(in crate::engine) async fn perform_tries<S: ObjectStore>(
    transfer: &Transfer<S>,
    store: &Store,
    epoch: RootGeneration,
    leases: Vec<Attempt>,
    permit: AttemptPermit,
    read: Option<ReadAhead>,
) -> Vec<(Attempt, AttemptOutcome)> {
    if let Err(failure) = transfer.prepare().await {
        return nothing_sent(leases, &Outcome::Failed(failure));
    }
    let known = match permit {
        Some(known) => known,
        None => {
            let answers = store.known(questions(&leases)).await;
            answers.map(|answers| known_of(&leases, epoch, &mut answers.into_iter()))
        }
    };
    let Ok(known) = known else {
        return nothing_sent(leases, &Outcome::LookAgain("the record cannot be read"));
    };
    let tries: Vec<_> = leases.into_iter().zip(known).collect();
    let outcomes = match &tries[..] {
        [(lease, known)] if lease.pending.operation == Operation::Put => {
            vec![transfer.send(lease, known, read).await]
        }
        deletes => transfer.delete(deletes).await,
    };
    tries.into_iter().zip(outcomes).map(|((lease, _), outcome)| (lease, outcome)).collect()
}

/// Attempts that have ended before their first request.
fn nothing_sent(leases: Vec<Attempt>, outcome: &Outcome) -> Vec<(Attempt, AttemptOutcome)> {
    let ended = |lease| (lease, AttemptOutcome::without_a_write(outcome.clone()));
    leases.into_iter().map(ended).collect()
}

/// What tries have to know of their own paths, and of those their files had before.
pub(super) fn questions<'a>(leases: impl IntoIterator<Item = &'a Attempt>) -> Vec<StateLookup> {
    let paths = leases.into_iter().flat_map(|Attempt { pending, .. }| {
        std::iter::once(&pending.path).chain(&pending.copy_from).cloned()
    });
    paths.map(StateLookup::with_bucket).collect()
}

/// The `answers` to the [`questions`] of `leases`.
pub(super) fn known_of(
    leases: &[Attempt],
    epoch: RootGeneration,
    answers: &mut impl Iterator<Item = store::RecordedState>,
) -> Vec<transfer::AttemptRecord> {
    let known = |lease: &Attempt| {
        let own = answers.next();
        let source = lease.pending.copy_from.as_ref().and_then(|_| answers.next());
        transfer::AttemptRecord {
            upload: own.as_ref().and_then(|own| own.upload.clone()),
            listed: own.as_ref().and_then(|own| own.listed),
            mirrored: own.and_then(|own| own.mirrored),
            rename_source: source.and_then(|source| source.mirrored),
            epoch,
        }
    };
    leases.iter().map(known).collect()
}
