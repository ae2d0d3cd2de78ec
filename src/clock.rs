//! The wall clock, for timestamps, and their text form. No decision depends on it.

use crate::model::{UnixMillis, millis};
use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The present time.
#[expect(clippy::disallowed_methods, reason = "the one place that dates anything")]
pub(crate) fn unix_millis() -> UnixMillis {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A time in RFC 3339, with milliseconds.
pub(crate) fn rfc3339(at: UnixMillis) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000);
    at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
