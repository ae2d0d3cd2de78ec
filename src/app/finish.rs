//! How the work ended, and what that means for whoever started the program.

use super::Mode;
use super::termination::Left;
use crate::cli::Exit;
use crate::model::{FailureClass, UnixMillis};

/// How the work ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish {
    pub(super) pending: u64,
    /// Bytes of the files among that.
    pub(super) bytes: u64,
    /// Paths CloudFront was not told of.
    pub(super) untold: u64,
    pub(super) expired: bool,
    pub(super) outage: Option<FailureClass>,
}

impl Finish {
    pub(super) fn exit(self, mode: Mode, state_survives: bool) -> Exit {
        let left = self.pending + self.untold;
        if left == 0 && !(self.expired && mode.is_once()) {
            return Exit::Success;
        }
        tracing::warn!(
            event = "shutdown.left_over",
            pending = self.pending,
            invalidations = self.untold,
            expired = self.expired,
            state_survives,
            "not everything is done; the rest is in the record and goes on at the next start"
        );
        match mode {
            Mode::Daemon if state_survives => Exit::Success,
            Mode::Once { .. } if self.outage == Some(FailureClass::Unavailable) => {
                Exit::Unreachable
            }
            Mode::Daemon | Mode::Once { .. } => Exit::WorkLeft,
        }
    }

    /// What is left, the `oldest` of it wanted then.
    pub(super) fn left(self, oldest: Option<UnixMillis>, now: UnixMillis) -> Left {
        let oldest = oldest.filter(|_| self.pending > 0);
        Left {
            pending: self.pending,
            bytes: self.bytes,
            oldest_age_seconds: oldest.map(|oldest| now.saturating_sub(oldest) / 1000),
        }
    }
}
