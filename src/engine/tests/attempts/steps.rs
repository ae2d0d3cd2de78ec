//! What happens to a tree, an instance, its state and the bucket.

use super::store::{Abilities, Fate};
use super::{NAMES, SIZES};
use proptest::prelude::*;

/// What happens.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A file is written, and has this size.
    Write(usize, usize),
    /// It goes away.
    Remove(usize),
    /// It gets another name.
    Rename(usize, usize),
    /// What may start is tried, and its requests are answered like this, then all well.
    Attempt(Vec<Fate>),
    /// Another writer puts an object under its name: one of this very directory, or of another one.
    Other(usize, bool),
    /// The instance begins to end: it inspects what it replaces, and yields.
    End,
    /// Another instance goes on with the state.
    Succeed,
    /// The state is lost, and a new one begins with a listing.
    Lose,
    /// Another directory is watched, which has the same files.
    Move,
    /// The records are compared with the bucket, with these answers.
    Compare(Vec<Fate>),
}

fn name() -> impl Strategy<Value = usize> {
    0..NAMES.len()
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Answered),
        2 => any::<bool>().prop_map(|done| Fate::Lost { done }),
        2 => any::<bool>().prop_map(|done| Fate::Nonsense { done }),
        1 => any::<bool>().prop_map(|done| Fate::Internal { done }),
        3 => Just(Fate::Refused),
        1 => Just(Fate::Declined),
        1 => Just(Fate::Each),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (name(), prop::sample::select(&SIZES[..])).prop_map(|(name, size)| Step::Write(name, size)),
        2 => name().prop_map(Step::Remove),
        2 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        6 => prop::collection::vec(fate(), 0..6).prop_map(Step::Attempt),
        1 => (name(), any::<bool>()).prop_map(|(name, same)| Step::Other(name, same)),
        1 => Just(Step::End),
        1 => Just(Step::Succeed),
        1 => Just(Step::Lose),
        1 => Just(Step::Move),
        1 => prop::collection::vec(fate(), 0..6).prop_map(Step::Compare),
    ]
}

/// A file that is in the bucket gets another name, which makes most requests in one attempt: by chance
/// alone it would be rare.
fn renamed() -> impl Strategy<Value = Vec<Step>> {
    let size = prop::sample::select(&SIZES[..]);
    let fates = prop::collection::vec(fate(), 1..4);
    (name(), name(), size, fates).prop_map(|(from, to, size, fates)| {
        vec![
            Step::Write(from, size),
            Step::Attempt(Vec::new()),
            Step::Rename(from, to),
            Step::Attempt(fates),
        ]
    })
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let phrase = prop_oneof![7 => step().prop_map(|step| vec![step]), 1 => renamed()];
    prop::collection::vec(phrase, 1..20).prop_map(|phrases| phrases.concat())
}

pub(super) fn abilities() -> impl Strategy<Value = Abilities> {
    let abilities = |(checksums, conditions)| Abilities { checksums, conditions };
    any::<(bool, bool)>().prop_map(abilities)
}
