//! When the bucket is compared with the records after another writer was noticed: soon, because most
//! rollouts take less than a minute, and later again, because some do not.

use super::EffectRunner;
use crate::engine::{Event, report};
use crate::model::{Depth, Hint, RelPath, WriteState};
use crate::transfer::{Journal, ObjectStore, OverlapReview};
use std::sync::Arc;
use std::time::Duration;

/// The pauses before the first comparisons. The last one, and any later one, comes after the scan interval.
const FIRST_PAUSES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(300)];

impl<S: ObjectStore, J: Journal> EffectRunner<S, J> {
    /// Compares the records with the bucket whenever another writer was noticed: three times, and at most
    /// once in each scan interval while it is noticed again.
    pub(super) fn review_overlaps(&mut self) {
        let transfer = Arc::clone(&self.parts.transfer);
        let longest = self.parts.rescan.review;
        let events = self.comparison.clone();
        self.tasks.spawn(async move {
            let mut first = FIRST_PAUSES.iter();
            loop {
                transfer.overlap_noticed().await;
                let pause = first.next();
                tokio::time::sleep(pause.map_or(longest, |pause| longest.min(*pause))).await;
                let review = match pause {
                    Some(_) => transfer.review_overlap().await,
                    // What is noticed from now on counts anew.
                    None => transfer.last_review().await,
                };
                match review {
                    // An error means that the loop has ended.
                    Ok(review) => drop(events.send(Event::Hinted(hints(review))).await),
                    Err(failure) => {
                        report::not_reviewed(&failure);
                        transfer.note_overlap().await;
                    }
                }
            }
        });
    }
}

fn hints(review: OverlapReview) -> Vec<Hint> {
    let all = review.taken_over > 0 || review.replaced_more > 0;
    let all = all.then(|| Hint::Tree(RelPath::root(), Depth::Whole));
    let replaced = review.replaced.into_iter().map(|path| Hint::Path(path, WriteState::Found));
    replaced.chain(all).collect()
}
