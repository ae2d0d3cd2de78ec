//! Who is told of tries and comparisons beside the log: metrics and traces.

use crate::model::{Outcome, Trace};
use crate::queue::Lease;
use crate::reconcile::{Range, Summary};
use std::fmt;
use std::time::Duration;

/// Looks on. It is called from the tasks of the loop, and must neither block nor fail.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A try begins. One that is dropped with the loop never ends.
    fn begun(&self, lease: &Lease);
    /// It has ended.
    fn ended(&self, lease: &Lease, outcome: &Outcome, trace: Trace);
    /// A comparison has ended after so long, with what it found if it was done to its end.
    fn compared(&self, range: &Range, took: Duration, found: Option<&Summary>);
}
