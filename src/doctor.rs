//! `doctor`: tries everything that the daemon needs, before the daemon needs it.
//!
//! # Invariants
//!
//! - It changes nothing but two objects of its own name, which it deletes again, and one file in the
//!   state directory that lives for a moment.
//! - A check that depends on a failed one is skipped, and says so.
//! - Every problem has a remedy, and every request is sent once.

mod address;
mod bucket;
mod local;
mod remedy;

pub use address::BucketAddress;
pub use bucket::{BucketCheck, PROBED_NAME};
pub use local::{DirectoryCheck, StateCheck};
pub use remedy::failure_remedy;

/// The verdict on one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckVerdict {
    /// It works.
    Good,
    /// The daemon works, but not as well as it could.
    Warning,
    /// The daemon cannot do its work.
    Problem,
    /// It was not tried.
    Skipped,
}

impl CheckVerdict {
    /// Its name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
            Self::Skipped => "skipped",
        }
    }
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The name of the check.
    pub check: &'static str,
    /// The verdict.
    pub verdict: CheckVerdict,
    /// What was found.
    pub message: String,
    /// What to do; empty if there is nothing to do.
    pub remedy: String,
}

/// Receives each result as it comes.
pub type DiagnosisReporter<'a> = &'a mut (dyn FnMut(Diagnosis) + Send);

impl Diagnosis {
    /// Something that works.
    pub fn good(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, CheckVerdict::Good, message, String::new())
    }

    /// Something that could be better.
    pub fn warning(
        check: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, CheckVerdict::Warning, message, remedy)
    }

    /// Something that does not work.
    pub fn problem(
        check: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(check, CheckVerdict::Problem, message, remedy)
    }

    /// Something that was not tried, and why.
    pub fn skipped(check: &'static str, message: impl Into<String>) -> Self {
        Self::new(check, CheckVerdict::Skipped, message, String::new())
    }

    fn new(
        check: &'static str,
        verdict: CheckVerdict,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { check, verdict, message: message.into(), remedy: remedy.into() }
    }
}
