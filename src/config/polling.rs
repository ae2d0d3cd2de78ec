//! The settings of sweeps and scans.

use super::keys;
use super::reader::SettingReader;
use std::time::Duration;

/// How changes are found that no event reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollSettings {
    /// The interval of sweeps while events do not report every change.
    pub interval: Duration,
    /// The interval of full scans while sweeps find changes.
    pub full_interval: Duration,
    /// The interval of full scans while events report every change.
    pub rescan_interval: Duration,
    /// Operations of sweeps and scans on the file system in a second; 0 without a limit.
    pub operations_per_second: u64,
}

pub(super) fn settings(reader: &mut SettingReader<'_>) -> PollSettings {
    PollSettings {
        interval: Duration::from_secs(reader.whole(&keys::POLL_INTERVAL)),
        full_interval: Duration::from_secs(reader.whole(&keys::POLL_FULL_INTERVAL)),
        rescan_interval: Duration::from_secs(reader.whole(&keys::RESCAN_INTERVAL)),
        operations_per_second: reader.whole(&keys::POLL_OPERATIONS),
    }
}
