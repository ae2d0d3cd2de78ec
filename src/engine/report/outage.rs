//! What is logged of an outage: its begin, its causes, a few of the files, and its end.

use super::EventLog;
use crate::model::{Outcome, RelPath};
use crate::queue::BreakerTransition;
use std::collections::HashSet;

/// Files that are named during one outage: each of them would have the same cause.
const FILES_MAX: usize = 10;
/// Causes that are logged during one outage: a store may alternate between several.
const CAUSES_MAX: usize = 8;

/// What was logged of the present outage.
#[derive(Debug, Default)]
pub(super) struct OutageLog {
    files: HashSet<RelPath>,
    causes: HashSet<String>,
}

impl OutageLog {
    /// Whether one more file is named. Each is named once.
    pub(super) fn names(&mut self, path: &RelPath) -> bool {
        self.files.len() < FILES_MAX && self.files.insert(path.clone())
    }

    fn is_new_cause(&mut self, cause: &str) -> bool {
        self.causes.len() < CAUSES_MAX && self.causes.insert(cause.to_owned())
    }
}

impl EventLog {
    /// An attempt has ended with `outcome` and may have begun or ended an outage. `cause` is that of the
    /// present outage.
    pub(in crate::engine) fn turned(
        &mut self,
        turn: Option<BreakerTransition>,
        outcome: &Outcome,
        cause: Option<&str>,
    ) {
        let failure = match outcome {
            Outcome::Failed(failure) => Some(failure),
            _ => None,
        };
        match turn {
            Some(BreakerTransition::Opened) => {
                self.outage = OutageLog::default();
                self.outage.is_new_cause(cause.unwrap_or_default());
                tracing::error!(
                    event = "s3.unavailable",
                    cause,
                    class = failure.map(|failure| failure.class.as_str()),
                    error.type = failure.map(|failure| &*failure.code),
                    error.message = failure.map(|failure| &*failure.message),
                    "S3 unavailable; changes are queued on disk, probing until it recovers"
                );
            }
            Some(BreakerTransition::Closed(after_ms)) => {
                self.outage = OutageLog::default();
                tracing::info!(event = "s3.available", after_ms, "S3 takes changes again");
            }
            None => {
                let Some(cause) = cause.filter(|cause| self.outage.is_new_cause(cause)) else {
                    return;
                };
                tracing::warn!(
                    event = "s3.unavailable_cause",
                    cause,
                    class = failure.map(|failure| failure.class.as_str()),
                    error.type = failure.map(|failure| &*failure.code),
                    error.message = failure.map(|failure| &*failure.message),
                    "S3 still unavailable, for another reason"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_names_few_files_and_causes_each_once() {
        let mut log = OutageLog::default();
        let path = |index: usize| RelPath::new(format!("f{index}").as_bytes()).expect("a path");
        assert!(log.names(&path(0)) && !log.names(&path(0)));
        let named = (0..100).filter(|index| log.names(&path(*index))).count();
        assert_eq!(named, FILES_MAX - 1);
        let causes = (0..100).filter(|index| log.is_new_cause(&index.to_string())).count();
        assert_eq!(causes, CAUSES_MAX);
    }
}
