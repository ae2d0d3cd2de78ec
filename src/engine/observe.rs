//! Observers of attempts and scans beside the log: metrics and traces.

use crate::model::{Outcome, Trace};
use crate::queue::Attempt;
use crate::reconcile::{ScanScope, Summary};
use std::fmt;
use std::time::Duration;

/// Receives attempts and scans. The tasks of the loop call it: it must neither block nor fail.
pub trait EngineObserver: fmt::Debug + Send + Sync + 'static {
    /// A try begins. One that is dropped with the loop never ends.
    fn begun(&self, lease: &Attempt);
    /// It has ended.
    fn ended(&self, lease: &Attempt, outcome: &Outcome, trace: Trace);
    /// A comparison has ended after so long, with what it found if it was done to its end.
    fn compared(&self, range: &ScanScope, took: Duration, found: Option<&Summary>);
}
