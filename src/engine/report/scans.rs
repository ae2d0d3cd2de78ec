//! What is logged of comparisons, listings and the state.

use crate::model::{Failure, UploadRecord};
use crate::reconcile::{ReconcileError, ScanScope, Summary};

/// A comparison of the tree with the record has ended.
pub(in crate::engine) fn compared(range: &ScanScope, summary: &Summary) {
    let Summary { files, new, changed, gone, unreadable, special, mounts, .. } = summary;
    if range.start.is_root() {
        tracing::info!(
            event = "scan.completed",
            files,
            new,
            changed,
            gone,
            unreadable,
            special,
            mounts,
            "compared the directory with the record"
        );
    } else {
        tracing::debug!(
            event = "scan.completed",
            file.path = %range.start,
            files,
            new,
            changed,
            gone,
            unreadable,
            "compared a part of the directory with the record"
        );
    }
}

/// A comparison could not be done, and will be tried again.
pub(in crate::engine) fn compare_failed(range: &ScanScope, error: &ReconcileError) {
    tracing::warn!(
        event = "scan.failed",
        file.path = %range.start,
        error.message = %error,
        "could not compare the directory with the record; tried again"
    );
}

/// The record could not be read.
pub(in crate::engine) fn store_failed(reason: &str) {
    tracing::error!(
        event = "state.read_failed",
        error.message = reason,
        "the record cannot be read"
    );
}

/// A background listing of the bucket failed.
pub(in crate::engine) fn not_listed(failure: &Failure) {
    tracing::warn!(
        event = "bucket.listing_failed",
        error.type = failure.code,
        error.message = failure.message,
        "what another shard has left cannot be looked for yet; asked again"
    );
}

/// The bucket could not be compared with the records.
pub(in crate::engine) fn not_reviewed(failure: &Failure) {
    tracing::warn!(
        event = "bucket.listing_failed",
        error.type = failure.code,
        error.message = failure.message,
        "the bucket cannot be compared with the state; will retry"
    );
}

/// A multipart upload could not be aborted; it stays noted, and the next start tries again.
pub fn not_abandoned(note: &UploadRecord, failure: &Failure) {
    tracing::warn!(
        event = "upload.abort_failed",
        file.path = %note.path,
        error.type = failure.code,
        error.message = failure.message,
        "multipart upload of an earlier try not aborted; it stays noted"
    );
}
