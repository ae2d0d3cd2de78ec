//! How long to wait after a failure: twice as long each time, up to a bound, with jitter.

use crate::model::UnixMillis;

/// The bounds of a wait, milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// After the first failure.
    pub first_ms: UnixMillis,
    /// The longest.
    pub max_ms: UnixMillis,
}

impl Backoff {
    /// The wait after the `attempts`th failed try. `jitter`, between 0 and 1, spreads it over its
    /// upper half, so that what failed together does not come back together.
    #[must_use]
    pub fn wait_ms(&self, attempts: u32, jitter: f64) -> UnixMillis {
        let doublings = attempts.saturating_sub(1).min(30);
        let whole = self.first_ms.saturating_mul(1 << doublings).min(self.max_ms);
        let half = whole / 2;
        // A wait of days has far fewer milliseconds than a float has exact integers.
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let spread = (half as f64 * jitter.clamp(0.0, 1.0)) as u64;
        whole - half + spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff { first_ms: 1_000, max_ms: 300_000 };

    proptest! {
        #[test]
        fn waits_grow_and_are_bounded(attempts in 1u32..100, jitter in 0.0f64..=1.0) {
            let wait = BACKOFF.wait_ms(attempts, jitter);
            prop_assert!((500..=300_000).contains(&wait));
            // Even the shortest wait of the next try is not below half of the longest of this one.
            prop_assert!(BACKOFF.wait_ms(attempts + 1, 0.0) >= wait / 2);
        }
    }

    #[test]
    fn the_first_waits_double() {
        let waits: Vec<_> = (1..=10).map(|attempts| BACKOFF.wait_ms(attempts, 1.0)).collect();
        assert_eq!(waits[..4], [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(waits[9], 300_000);
    }
}
