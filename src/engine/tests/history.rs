//! What is remembered of what was done.

use super::super::snapshot::History;
use super::super::*;
use super::world::path;
use crate::model::QueueRow;
use crate::model::{Failure, Operation, Version};

fn lease(name: &str, operation: Operation, size: u64) -> Attempt {
    let version = Version { size, mtime_ns: 1 };
    Attempt {
        pending: QueueRow::new(path(name), operation, version, 0),
        sent_before: None,
        queued: 0,
        lane: Lane::Fresh,
    }
}

#[test]
fn the_history_is_bounded_and_has_the_newest_first() {
    let mut history = History::default();
    for now in 0..50 {
        history.ended(&lease("a", Operation::Delete, 0), &Outcome::Deleted, now);
    }
    let failure = Failure {
        class: FailureClass::Object,
        code: "AccessDenied".into(),
        message: "a".into(),
        answer_lost: false,
        retry_after_ms: None,
    };
    history.ended(&lease("b", Operation::Put, 7), &Outcome::Failed(failure), 50);
    assert_eq!((history.totals.deletes, history.totals.failures), (50, 1));
    assert_eq!(history.last_success, Some(49), "a failure is none");
    assert_eq!(history.recent.len(), 20);
    let newest = &history.recent[0];
    assert_eq!((newest.what, newest.failure.as_deref()), ("upload", Some("AccessDenied")));
}
