//! How many attempts may be under way: a number that follows the requests that the store takes at once.

use super::Queue;

/// Small files that are prepared per request that may be under way.
const PREPARED: usize = 3;
/// However many requests that are: one commit is short, and after a kill each prepared file costs a request.
const PREPARED_MAX: usize = 192;

/// How many attempts may be under way with so many requests at once. Small puts beyond the requests wait for
/// a permit of the transfer, their files read and their rows on disk, many by one commit.
#[must_use]
pub fn prepared(concurrency: usize) -> usize {
    concurrency + PREPARED_MAX.min(concurrency * PREPARED)
}

impl Queue {
    /// Requests that may be under way at once, from now on.
    pub fn set_concurrency(&mut self, concurrency: usize) {
        self.settings.concurrency = concurrency;
        self.settings.prepared = prepared(concurrency);
    }

    /// Requests that may be under way at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.settings.concurrency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_requests_have_four_times_as_many_attempts_and_many_have_a_bounded_number_more() {
        assert_eq!([1, 16, 64, 256, 1_000].map(prepared), [4, 64, 256, 448, 1_192]);
    }
}
