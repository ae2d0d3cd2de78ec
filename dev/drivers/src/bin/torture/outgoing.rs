//! What a run knows of its rollouts: how many there were, and the instance that is being replaced.

use file_sync_dev_drivers::Daemon;
use std::time::Instant;

/// The instance that is being replaced.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) daemon: Daemon<'a>,
    pub(crate) is_killed: bool,
    pub(crate) signal_at: Instant,
    /// When it was asked to end.
    pub(crate) asked: Option<Instant>,
}

/// The rollouts of one run.
#[derive(Debug, Default)]
pub(crate) struct Rollouts<'a> {
    pub(crate) outgoing: Option<Outgoing<'a>>,
    pub(crate) begun: u64,
}
