//! Tries: what they have to know, and how they are carried out.

use crate::model::{Epoch, Operation, Outcome};
use crate::queue::Lease;
use crate::store::{self, Question, Store, StoreError};
use crate::transfer::{self, Journal, ObjectStore, ReadAhead, Transfer};

/// That the rows of tries are on disk, with what the record said right after to each; `None` where it was
/// not asked.
pub(in crate::engine) type Permit = Option<Result<Vec<transfer::Known>, StoreError>>;

/// Carries out a put, or deletes.
pub(in crate::engine) async fn perform_tries<S: ObjectStore, J: Journal>(
    transfer: &Transfer<S, J>,
    store: &Store,
    epoch: Epoch,
    leases: Vec<Lease>,
    permit: Permit,
    read: Option<ReadAhead>,
) -> Vec<(Lease, Outcome)> {
    if let Err(failure) = transfer.prepare().await {
        let failed = |lease| (lease, Outcome::Failed(failure.clone()));
        return leases.into_iter().map(failed).collect();
    }
    let known = match permit {
        Some(known) => known,
        None => {
            let answers = store.known(questions(&leases)).await;
            answers.map(|answers| known_of(&leases, epoch, &mut answers.into_iter()))
        }
    };
    let Ok(known) = known else {
        let again = |lease| (lease, Outcome::LookAgain("the record cannot be read"));
        return leases.into_iter().map(again).collect();
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

/// What tries have to know of their own paths, and of those their files had before.
pub(super) fn questions<'a>(leases: impl IntoIterator<Item = &'a Lease>) -> Vec<Question> {
    let paths = leases.into_iter().flat_map(|Lease { pending, .. }| {
        std::iter::once(&pending.path).chain(&pending.copy_from).cloned()
    });
    paths.map(Question::of_bucket).collect()
}

/// The `answers` to the [`questions`] of `leases`.
pub(super) fn known_of(
    leases: &[Lease],
    epoch: Epoch,
    answers: &mut impl Iterator<Item = store::Known>,
) -> Vec<transfer::Known> {
    let known = |lease: &Lease| {
        let own = answers.next();
        let twin = lease.pending.copy_from.as_ref().and_then(|_| answers.next());
        transfer::Known {
            upload: own.as_ref().and_then(|own| own.upload.clone()),
            listed: own.as_ref().and_then(|own| own.listed),
            mirrored: own.and_then(|own| own.mirrored),
            twin: twin.and_then(|twin| twin.mirrored),
            epoch,
        }
    };
    leases.iter().map(known).collect()
}
