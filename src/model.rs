//! The vocabulary every other module speaks: paths, keys, fingerprints, hints, records.
//!
//! Nothing here does I/O, reads a clock, or knows a crate of an adapter.

mod cache_tags;
mod fingerprint;
mod hint;
mod invalidation;
mod key;
mod outcome;
mod path;
mod record;
mod share;
mod trace;

pub use cache_tags::{CACHE_TAGS_BYTES_MAX, CacheTags};
pub use fingerprint::Fingerprint;
pub use hint::{Activity, Depth, Hint};
pub use invalidation::{Batch, Changed, Link, Month, Stale, Staleness};
pub use key::{KeyError, KeyPrefix, ObjectKey, PrefixError};
pub use outcome::{Effort, Failure, FailureClass, Outcome};
pub use path::{PathError, RelPath};
pub use record::{
    Epoch, Mirrored, Operation, Pending, StoredPart, UnixMillis, UploadNote, UploadPlan, Version,
    millis,
};
pub use share::Share;
pub use trace::{Context, Hex, Sampling, Trace, Tracing};
