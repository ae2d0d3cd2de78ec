//! Fits the upper bound of concurrent requests to the memory for content, and to the files that the process
//! may open.

use super::build::CONTROL_CONNECTIONS;
use crate::config::Config;
use crate::queue::prepared;
use rustix::process::{Resource, getrlimit};

/// The memory of a request beside its content, as part of the memory for content: connection, TLS, buffers.
const REQUEST_BYTES: u64 = 256 << 10;
/// Open files besides connections and files that are sent: the state, directories, watches, endpoints.
const OTHER_FILES: usize = 64;

/// A reduction of the upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FittedRequests {
    wanted: usize,
    used: usize,
    /// How many files may be open.
    files: Option<u64>,
    /// The memory for content, bytes.
    memory: u64,
}

impl FittedRequests {
    /// Logs the reduction.
    pub(super) fn log(self) {
        tracing::info!(
            event = "requests.limit",
            max_concurrent_transfers = self.wanted,
            used_max_concurrent_transfers = self.used,
            transfer_memory_mib = self.memory >> 20,
            open_files = self.files,
            "fewer concurrent requests are possible than max_concurrent_transfers: each needs 256 KiB of \
             transfer_memory_mib, and two open files"
        );
    }
}

/// Reduces `max_concurrent_transfers` to what the memory and the limit on open files allow, if necessary.
pub(super) fn fit(config: &mut Config) -> Option<FittedRequests> {
    let files = getrlimit(Resource::Nofile).current;
    let wanted = config.max_concurrent_transfers;
    let used = possible(wanted, config.transfer_memory, files);
    config.max_concurrent_transfers = used;
    let memory = config.transfer_memory;
    (used < wanted).then_some(FittedRequests { wanted, used, files, memory })
}

/// How many of the wanted requests are possible: one at least.
fn possible(wanted: usize, memory: u64, files: Option<u64>) -> usize {
    let in_memory = usize::try_from(memory / REQUEST_BYTES).unwrap_or(usize::MAX);
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    let fits = |requests: &usize| {
        // A connection and a file for each, and files that are read ahead, or written by a restore.
        let sent = prepared(*requests).max(*requests * 2);
        requests + CONTROL_CONNECTIONS + sent + OTHER_FILES <= files
    };
    (1..=wanted.min(in_memory)).take_while(fits).last().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn memory_and_open_files_bound_the_requests() {
        for (wanted, memory, files, used) in [
            (256, 128 * MIB, None, 256),
            (256, 128 * MIB, Some(1_024), 256),
            (1_000, 128 * MIB, None, 512),
            (256, 64 * MIB, Some(65_536), 256),
            (256, 16 * MIB, Some(65_536), 64),
            (256, 8 * MIB, Some(65_536), 32),
            (256, 128 * MIB, Some(256), 37),
            (256, 128 * MIB, Some(10), 1),
            (1, 8 * MIB, Some(65_536), 1),
        ] {
            assert_eq!(possible(wanted, memory, files), used, "{wanted} {memory} {files:?}");
        }
    }
}
