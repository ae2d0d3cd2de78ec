//! Builds the parts from the configuration.

use super::{RunMode, watched_dir};
use crate::aws::{AwsSettings, RequestTimeouts};
use crate::config::{Config, DeletePolicy};
use crate::endpoint_url::host_and_port;
use crate::engine;
use crate::exclusivity;
use crate::filter::{self, Filter};
use crate::model::{DeleteLimit, RootGeneration, TraceSettings, millis};
use crate::plan::Policy;
use crate::queue::{self, Backoff, Patience};
use crate::retry_file;
use crate::root::STAGING;
use crate::rules::{Checksum, Rules};
use crate::safe_file::FileReaders;
use crate::settle;
use crate::store::StateBinding;
use crate::transfer::{
    self, CONCURRENCY_AT_START, CapabilityProbe, ConditionSupport, EndpointKind, PaceSettings,
    S3Settings, last_probe,
};
use std::sync::Arc;
use std::time::Duration;

/// Maximum number of paths in debounce; about 200 bytes each.
const SETTLE_PATHS_MAX: usize = 65_536;
/// Maximum number of directories that wait for a scan.
const SETTLE_TREES_MAX: usize = 4_096;
/// Maximum number of queue rows in memory; about 500 bytes each.
const QUEUE_WINDOW_MAX: usize = 20_000;
/// The pause after the first failure of a path.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Connections besides those for content: inspections, deletes, listings.
pub(super) const CONTROL_CONNECTIONS: usize = 4;
/// The maximum size that S3 copies in one request.
const COPY_BYTES_MAX: u64 = 5 << 30;
/// The part size of larger copies; S3 copies several parts at once.
const COPY_PART_BYTES: u64 = 1 << 30;

/// Builds the filter, or returns the first invalid pattern.
pub(super) fn filter(config: &Config) -> Result<Arc<Filter>, String> {
    let defaults = config.ignore_defaults;
    let mut patterns = config.ignore.clone();
    let share = config.share;
    if config.lease.is_some() {
        // A file of this name would replace the lease.
        patterns.push(format!("/{}", exclusivity::lease_name(share)));
    }
    if !(defaults && patterns.is_empty()) {
        // The defaults ignore it already. It is never mirrored, whatever the patterns say.
        patterns.push(format!("/{STAGING}/"));
    }
    let filter = Filter::new(&filter::FilterSettings { defaults, patterns, share });
    filter
        .map(|filter| Arc::new(filter.within(config.prefix.room())))
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// Builds the rules for objects, or returns the first invalid pattern.
pub(super) fn rules(config: &Config) -> Result<Arc<Rules>, String> {
    Rules::new(&config.objects).map(Arc::new).map_err(|error| error.to_string())
}

/// The report of the queue. It contains file names: in the state directory, only the owner can read
/// it.
pub(super) fn retry_file(config: &Config) -> retry_file::ReportNames {
    let private = config.retry_file.starts_with(&config.state_dir);
    retry_file::ReportNames {
        path: config.retry_file.clone(),
        readers: if private { FileReaders::Owner } else { FileReaders::Everyone },
        watch_path: config.watch_path.clone(),
        prefix: config.prefix.clone(),
    }
}

pub(super) fn aws(config: &Config) -> AwsSettings {
    AwsSettings {
        region: config.region.clone(),
        ca_bundle: config.ca_bundle.clone(),
        connections: config.max_concurrent_transfers + CONTROL_CONNECTIONS,
        no_proxy: config.aws_environment.no_proxy.clone(),
        credential_endpoints: config.aws_environment.credential_endpoints.clone(),
        profile_files: config.aws_environment.profile_files.clone(),
        credential_files: config.aws_environment.credential_files(),
        timeouts: RequestTimeouts {
            connect: config.timeouts.connect,
            response: config.timeouts.response,
            idle: config.timeouts.idle,
        },
    }
}

pub(super) fn s3(config: &Config, owner: &str) -> S3Settings {
    S3Settings {
        bucket: config.bucket.clone(),
        endpoint_url: config.endpoint_url.clone(),
        force_path_style: config.force_path_style,
        endpoint_kind: EndpointKind {
            accelerate: config.aws_endpoint.accelerate,
            dual_stack: config.aws_endpoint.dual_stack,
            fips: config.aws_endpoint.fips,
        },
        checksum: config.checksum,
        conditions: config.conditional_writes,
        owner: owner.to_owned(),
        expected_bucket_owner: config.expected_bucket_owner.clone(),
        requester_pays: config.requester_pays,
        acl: config.objects.acl.clone(),
        customer_key: config.customer_key.clone(),
    }
}

/// How objects are created.
pub(super) fn transfer_settings(
    config: &Config,
    bound: &StateBinding,
    rules: Arc<Rules>,
    reapply_rules: bool,
) -> transfer::TransferSettings {
    transfer::TransferSettings {
        prefix: config.prefix.clone(),
        multipart_threshold: config.multipart_threshold,
        multipart_part_size: config.multipart_part_size,
        memory: config.transfer_memory,
        copy_threshold: COPY_BYTES_MAX,
        copy_part_size: COPY_PART_BYTES,
        pace: PaceSettings {
            requests: config.max_concurrent_transfers,
            bandwidth: config.bandwidth.clone(),
        },
        listed: bound.listed,
        share: config.share,
        source: watched_dir::mark(bound).into(),
        takeover_pending: bound.takeover_pending,
        epoch: bound.epoch,
        overlap: bound.overlap,
        probe: probe(config, bound),
        conditions: config.conditional_writes.then(|| condition_support(config, bound)),
        rules,
        writer: Arc::default(),
        reapply_rules,
        refresh_metadata: config.refresh_metadata,
        rest: config.settling.open_file_quiet,
    }
}

/// What is known of the store's conditions: S3 itself honours them, and others are probed.
fn condition_support(config: &Config, bound: &StateBinding) -> ConditionSupport {
    match last_probe(bound) {
        _ if !config.is_other_store() => ConditionSupport::Honoured,
        Some((_, support)) => support,
        None => ConditionSupport::Unknown,
    }
}

/// How to probe the store, if it is not AWS and this version has not probed it yet.
fn probe(config: &Config, bound: &StateBinding) -> Option<CapabilityProbe> {
    let checksum = config.checksum;
    // Without conditions, nothing is found out about them.
    let without = if config.conditional_writes { "" } else { " without conditions" };
    let note = format!("{} {checksum:?}{without}", env!("CARGO_PKG_VERSION"));
    let asked = last_probe(bound).is_some_and(|(asked, _)| asked == note);
    (config.probe && config.is_other_store() && !asked).then(|| CapabilityProbe {
        name: format!(".file-sync-service.probe-{}", bound.owner),
        note,
        own_checksum: checksum == Checksum::Crc64Nvme,
    })
}

/// The address of the store as the cause of an outage names it.
fn endpoint(config: &Config) -> String {
    let own = config.endpoint_url.as_deref().and_then(host_and_port);
    let region = config.region.as_deref().map(|region| format!("s3.{region}.amazonaws.com"));
    own.or(region).unwrap_or_else(|| "Amazon S3".to_owned())
}

pub(super) fn engine_settings(
    config: &Config,
    mode: RunMode,
    epoch: RootGeneration,
    rescan_interval: Duration,
    reapply: Option<Arc<Rules>>,
) -> engine::EngineSettings {
    let propagate_deletes = config.delete_policy == DeletePolicy::Propagate;
    let concurrency = config.max_concurrent_transfers.min(CONCURRENCY_AT_START);
    engine::EngineSettings {
        prefix: config.prefix.clone(),
        bucket: config.bucket.clone(),
        endpoint: endpoint(config),
        policy: Policy { propagate_deletes, epoch },
        settle: settle::DebounceSettings {
            done: config.settling.debounce,
            writing: config.settling.open_file_quiet,
            longest: config.settling.debounce_max,
            paths_max: SETTLE_PATHS_MAX,
            trees_max: SETTLE_TREES_MAX,
        },
        queue: queue::QueueSettings {
            concurrency,
            prepared: queue::prepared(concurrency),
            large_bytes: config.multipart_threshold,
            window_max: QUEUE_WINDOW_MAX,
            backoff: Backoff {
                first_ms: millis(RETRY_FIRST),
                max_ms: millis(config.retry_interval),
            },
            delete_limit: DeleteLimit {
                percent: config.delete_limit_percent,
                count: config.delete_limit_count,
                window_ms: millis(config.delete_limit_window),
            },
            delete_delay_ms: millis(config.delete_delay),
            patience: mode.is_once().then_some(Patience::ONCE),
        },
        largest: engine::Largest {
            possible: transfer::largest_file(config.multipart_part_size, config.transfer_memory),
            wanted: config.file_limits.max_size.unwrap_or(u64::MAX),
        },
        max_files: config.file_limits.max_files,
        min_age: config.file_limits.min_age,
        rescan_interval,
        once: mode.is_once(),
        reapply,
        log_transfers: config.log_transfers,
        tracing: TraceSettings::default(),
        invalidate: None,
    }
}
