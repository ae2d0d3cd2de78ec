//! Which transfers are logged one by one.

/// Which transfers have a line each in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransferLog {
    /// Every upload, copy, delete and failure.
    #[default]
    All,
    /// Failures.
    Failures,
    /// Failures; everything else is summed up every ten seconds.
    Summary,
}
