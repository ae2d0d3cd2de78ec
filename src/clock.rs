//! The wall clock, for what is dated. Nothing is decided by it.

use crate::model::{UnixMillis, millis};
use std::time::{SystemTime, UNIX_EPOCH};

/// This moment.
#[expect(clippy::disallowed_methods, reason = "the one place that dates anything")]
pub(crate) fn unix_millis() -> UnixMillis {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
