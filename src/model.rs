//! The vocabulary of all modules: paths, keys, fingerprints, hints, object records.
//!
//! Nothing here does I/O, reads a clock, or uses a crate of an adapter.

mod bandwidth;
mod cache_tags;
mod coverage;
mod delete_limit;
mod fingerprint;
mod hint;
mod invalidation;
mod key;
mod origin;
mod outage;
mod outcome;
mod overlap;
mod path;
mod record;
mod share;
mod trace;
mod transfer_log;

pub use bandwidth::{BandwidthSchedule, BandwidthWindow, CurrentBandwidth, DAY_MINUTES};
pub use cache_tags::{CACHE_TAGS_BYTES_MAX, CacheTags};
pub use coverage::{ABOVE_MAX_FILES, CoverageGaps, GapReason, WATCHED_DIRECTORY_EMPTY};
pub use delete_limit::{DeleteLimit, RecentDeletes};
pub use fingerprint::Fingerprint;
pub use hint::{Depth, Hint, WriteState};
pub use invalidation::{
    ChangedObject, MonthCount, PathBatch, PendingInvalidation, Staleness, TraceLink,
};
pub use key::{KeyError, KeyPrefix, ObjectKey, PrefixError};
pub use origin::SourceOrigin;
pub use outage::NO_REGION;
pub use outcome::{AttemptOutcome, Failure, FailureClass, Outcome, UploadDisposition, WriteEffect};
pub use overlap::OverlapSign;
pub use path::{PathError, RelPath};
pub use record::{
    DELETE_DELAYED, ObjectRecord, Operation, QueueRow, RootGeneration, StoredPart, UnixMillis,
    UploadPlan, UploadRecord, Version, millis,
};
pub use share::Shard;
pub use trace::{HexDigits, Sampling, SpanReference, Trace, TraceSettings};
pub use transfer_log::TransferLog;
