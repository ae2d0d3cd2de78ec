//! When the bucket is compared with the records because another writer was noticed, or may have started
//! together with this instance: soon, because most rollouts take less than a minute, and later again,
//! because some do not.

use super::EffectRunner;
use crate::engine::{Event, report};
use crate::model::{Depth, Hint, OverlapSign, RelPath, WriteState};
use crate::transfer::{ObjectStore, OverlapReview};
use std::sync::Arc;
use std::time::Duration;

/// The pauses before the first comparisons after another writer was noticed. The last one, and any later
/// one, comes after the scan interval.
const NOTICED_PAUSES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(300)];
/// The same for a new state that found an empty prefix: most such instances are alone, and pay for each
/// listing.
const NEW_STATE_PAUSES: [Duration; 1] = [Duration::from_secs(300)];

impl<S: ObjectStore> EffectRunner<S> {
    /// Compares the records with the bucket whenever something suggests another writer: two or three times,
    /// and at most once in each scan interval while one is noticed again.
    pub(super) fn review_overlaps(&mut self) {
        let transfer = Arc::clone(&self.parts.transfer);
        let longest = self.parts.rescan.review;
        let events = self.comparison.clone();
        self.tasks.spawn(async move {
            let mut done = 0;
            loop {
                let sign = transfer.overlap_beyond(OverlapSign::Nothing).await;
                let pause = pause_before(sign, done);
                tokio::select! {
                    () = tokio::time::sleep(pause.map_or(longest, |pause| longest.min(pause))) => {}
                    // What is sure is compared sooner.
                    _ = transfer.overlap_beyond(sign) => {
                        done = 0;
                        continue;
                    }
                }
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
                        transfer.note_overlap(sign).await;
                    }
                }
                // A new state that met no other writer begins anew when one is noticed.
                let met = sign == OverlapSign::Noticed || pause.is_some();
                done = if met { done + 1 } else { 0 };
            }
        });
    }
}

/// The pause before the next comparison; `None` before the last one, and any later one.
fn pause_before(sign: OverlapSign, done: usize) -> Option<Duration> {
    let pauses: &[Duration] = match sign {
        OverlapSign::Noticed => &NOTICED_PAUSES,
        OverlapSign::NewState | OverlapSign::Nothing => &NEW_STATE_PAUSES,
    };
    pauses.get(done).copied()
}

fn hints(review: OverlapReview) -> Vec<Hint> {
    let all = review.taken_over > 0 || review.replaced_more > 0;
    let all = all.then(|| Hint::Tree(RelPath::root(), Depth::Whole));
    let replaced = review.replaced.into_iter().map(|path| Hint::Path(path, WriteState::Found));
    replaced.chain(all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(sign: OverlapSign) -> Vec<u64> {
        (0..).map_while(|done| pause_before(sign, done)).map(|pause| pause.as_secs()).collect()
    }

    #[test]
    fn a_new_state_pays_for_one_comparison_before_the_last_one() {
        assert_eq!(seconds(OverlapSign::NewState), [300]);
    }

    #[test]
    fn a_writer_that_was_noticed_is_compared_soon_and_again_before_the_last_time() {
        assert_eq!(seconds(OverlapSign::Noticed), [60, 300]);
    }
}
