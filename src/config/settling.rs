//! The settings of the wait until a file is ready.

use super::keys;
use super::reader::SettingReader;
use std::time::Duration;

/// When a file is ready to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettlingTimes {
    /// The quiet time of a closed file.
    pub debounce: Duration,
    /// The quiet time of a file that is still open for writing.
    pub open_file_quiet: Duration,
    /// The longest wait for a file that is never quiet.
    pub debounce_max: Duration,
}

/// Reads the keys.
pub(super) fn settling(reader: &mut SettingReader<'_>) -> SettlingTimes {
    SettlingTimes {
        debounce: Duration::from_millis(reader.whole(&keys::DEBOUNCE)),
        open_file_quiet: Duration::from_secs(reader.whole(&keys::OPEN_FILE_QUIET)),
        debounce_max: Duration::from_secs(reader.whole(&keys::DEBOUNCE_MAX)),
    }
}
