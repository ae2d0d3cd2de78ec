//! Logs the relevant settings and the content of the state at the start.

use super::takeover;
use crate::config::Config;
use crate::endpoint_url;
use crate::store::OpenedState;

/// Logs the settings of the run that starts.
pub(super) fn started(config: &Config) {
    tracing::info!(
        event = "service.started",
        version = env!("CARGO_PKG_VERSION"),
        watch_path = %config.watch_path.to_string_lossy().escape_debug(),
        aws.s3.bucket = config.bucket,
        s3_prefix = config.prefix.as_str(),
        shard = %config.share,
        endpoint = config.endpoint_url.as_deref().unwrap_or("aws"),
        state_dir = %config.state_dir.to_string_lossy().escape_debug(),
        "started"
    );
    warn_of_plain_http(config);
}

/// Warns of plain HTTP, which can be read and changed in transit.
fn warn_of_plain_http(config: &Config) {
    let url = config.endpoint_url.as_deref().unwrap_or_default();
    if endpoint_url::is_plain_http(url) && !endpoint_url::is_loopback(url) {
        tracing::warn!(
            event = "endpoint.plaintext",
            endpoint = url,
            "requests to the store are not encrypted; use https, or a network that nothing else can reach"
        );
    }
}

/// Logs the content of the state.
pub(super) fn opened(opened: &OpenedState) {
    if let Some((path, why)) = &opened.moved_aside {
        tracing::error!(
            event = "state.moved_aside",
            path = %path.to_string_lossy().escape_debug(),
            why = why.as_str(),
            "the record cannot be used and was moved aside; nothing it names is deleted"
        );
    }
    if opened.restoring.is_some() {
        tracing::error!(
            event = "restore.incomplete",
            "a restore into watch_path has not ended; nothing is deleted until it has: stop the service, run \
             `file-sync-service restore` again, and start the service"
        );
    }
    if let Some(remapped) = opened.remapped {
        takeover::log_remapped(remapped);
    }
    tracing::info!(
        event = "state.opened",
        mirrored = opened.counts.mirrored,
        pending = opened.counts.pending,
        parked = opened.counts.parked,
        delayed = opened.counts.delayed,
        "record opened"
    );
}
