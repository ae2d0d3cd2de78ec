//! Converts the text of settings into types and units, and checks several keys together.

use super::aws_endpoint::Surroundings;
use super::heartbeat::heartbeat;
use super::keys::{self, Key};
use super::problem::{self, Problem};
use super::reader::{SettingReader, default_text};
use super::settling::settling;
use super::shown::{self, ValueOrigin};
use super::{
    AwsEndpoint, CloudFrontConfig, Config, DeletePolicy, FileLimits, HintSettings, LogFormat,
    ShutdownOnOutage, StateSurvives, WatchMode, WatchPathLink, aws_endpoint, bandwidth, checks,
    files, hints, objects, places, polling, requests, standard,
};
use crate::model::{KeyPrefix, Shard, TransferLog};
use crate::rules::{Checksum, CustomerKey, RuleSettings};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The state directory if none is configured and that of the image does not exist.
const FALLBACK_STATE_DIR: &str = ".file-sync-service";

/// The name of the control socket in the state directory.
const ADMIN_SOCKET: &str = "admin.sock";

pub(super) const WATCH_MODES: &[(&str, WatchMode)] =
    &[("auto", WatchMode::Auto), ("events", WatchMode::Events), ("poll", WatchMode::Poll)];
pub(super) const WATCH_PATH_LINKS: &[(&str, WatchPathLink)] =
    &[("bound", WatchPathLink::Bound), ("follow", WatchPathLink::Follow)];
pub(super) const DELETE_POLICIES: &[(&str, DeletePolicy)] =
    &[("propagate", DeletePolicy::Propagate), ("keep", DeletePolicy::Keep)];
/// The YAML of some programs turns `yes` and `no` into booleans.
pub(super) const STATE_SURVIVAL: &[(&str, StateSurvives)] = &[
    ("auto", StateSurvives::Auto),
    ("yes", StateSurvives::Yes),
    ("no", StateSurvives::No),
    ("true", StateSurvives::Yes),
    ("false", StateSurvives::No),
];
pub(super) const SHUTDOWN_ON_OUTAGES: &[(&str, ShutdownOnOutage)] =
    &[("wait", ShutdownOnOutage::Wait), ("leave", ShutdownOnOutage::Leave)];
pub(super) const FOLLOW_SYMLINKS: &[(&str, bool)] = &[("never", false), ("inside", true)];
pub(super) const CONDITIONAL_WRITES: &[(&str, bool)] = &[("auto", true), ("off", false)];
pub(super) const LOG_FORMATS: &[(&str, LogFormat)] =
    &[("json", LogFormat::Json), ("text", LogFormat::Text)];
pub(super) const LOG_TRANSFERS: &[(&str, TransferLog)] = &[
    ("all", TransferLog::All),
    ("failures", TransferLog::Failures),
    ("summary", TransferLog::Summary),
];

/// Reads every key. The reader reports errors; placeholders go no further.
pub(super) fn config(reader: &mut SettingReader<'_>) -> Config {
    let (watch_path, state_dir, retry_file) = directories(reader);
    let location = location(reader);
    let (multipart_threshold, multipart_part_size, transfer_memory) = memory(reader);
    let cloudfront = cloudfront(reader);
    let objects = object_settings(reader, &location, cloudfront.is_some());
    Config {
        status_file: unmirrored(reader, &keys::STATUS_FILE, &watch_path),
        termination_message: termination_message(reader, &watch_path),
        admin_socket: admin_socket(reader, &state_dir),
        customer_key: customer_key(reader, &location, &objects),
        watch_path,
        watch_path_link: watch_path_link(reader),
        bucket: location.bucket,
        region: location.region,
        prefix: location.prefix,
        share: share(reader),
        retry_file,
        retry_interval: retry_interval(reader),
        state_dir,
        state_dir_origin: reader.origin(&keys::STATE_DIR),
        objects,
        cloudfront,
        refresh_metadata: reader.boolean(&keys::REFRESH_METADATA),
        checksum: checksum(reader),
        expected_bucket_owner: reader.text(&keys::S3_EXPECTED_BUCKET_OWNER, checks::account),
        requester_pays: reader.boolean(&keys::S3_REQUESTER_PAYS),
        watch_mode: reader.choice(&keys::WATCH_MODE, WATCH_MODES).unwrap_or(WatchMode::Auto),
        poll: polling::settings(reader),
        ignore: reader.list(&keys::IGNORE, checks::pattern),
        ignore_defaults: reader.boolean(&keys::IGNORE_DEFAULTS),
        follow_links: reader.choice(&keys::FOLLOW_SYMLINKS, FOLLOW_SYMLINKS).unwrap_or(false),
        file_limits: file_limits(reader),
        settling: settling(reader),
        endpoint_url: location.endpoint_url,
        ca_bundle: ca_bundle(reader),
        aws_environment: standard::aws_environment(reader),
        force_path_style: location.force_path_style,
        aws_endpoint: location.aws_endpoint,
        probe: reader.boolean(&keys::S3_PROBE),
        conditional_writes: conditional_writes(reader),
        lease: lease(reader),
        max_concurrent_transfers: small(reader, &keys::MAX_CONCURRENT_TRANSFERS),
        multipart_threshold,
        multipart_part_size,
        transfer_memory,
        bandwidth: bandwidth::schedule(reader),
        timeouts: requests::timeouts(reader),
        delete_policy: delete_policy(reader),
        delete_delay: Duration::from_secs(reader.whole(&keys::DELETE_DELAY)),
        delete_limit_percent: small(reader, &keys::DELETE_LIMIT_PERCENT),
        delete_limit_count: reader.whole(&keys::DELETE_LIMIT_COUNT),
        delete_limit_window: Duration::from_secs(reader.whole(&keys::DELETE_LIMIT_WINDOW)),
        listen_address: address(reader, &keys::LISTEN_ADDRESS, checks::address),
        admin_address: address(reader, &keys::ADMIN_ADDRESS, checks::loopback),
        hints: hint_settings(reader),
        admin_token_file: reader.path(&keys::ADMIN_TOKEN_FILE, &reader.sources.working_directory),
        heartbeat: heartbeat(reader),
        state_survives: state_survives(reader),
        lock_timeout: Duration::from_secs(reader.whole(&keys::LOCK_TIMEOUT)),
        status_file_names: reader.boolean(&keys::STATUS_FILE_NAMES),
        shutdown_timeout: Duration::from_secs(reader.whole(&keys::SHUTDOWN_TIMEOUT)),
        shutdown_on_outage: shutdown_on_outage(reader),
        sandbox: files::sandbox(reader),
        log_format: reader.choice(&keys::LOG_FORMAT, LOG_FORMATS),
        log_level: log_level(reader),
        log_transfers: reader.choice(&keys::LOG_TRANSFERS, LOG_TRANSFERS).unwrap_or_default(),
    }
}

fn file_limits(reader: &mut SettingReader<'_>) -> FileLimits {
    FileLimits {
        max_size: Some(reader.whole(&keys::MAX_FILE_SIZE) << 20).filter(|size| *size > 0),
        max_files: Some(reader.whole(&keys::MAX_FILES)).filter(|files| *files > 0),
        min_age: Duration::from_secs(reader.whole(&keys::MIN_AGE)),
    }
}

/// Where the bucket is.
struct Location {
    bucket: String,
    prefix: KeyPrefix,
    region: Option<String>,
    endpoint_url: Option<String>,
    force_path_style: bool,
    aws_endpoint: AwsEndpoint,
}

fn location(reader: &mut SettingReader<'_>) -> Location {
    let endpoint_url = endpoint_url(reader);
    let bucket = bucket(reader, endpoint_url.is_some());
    let region = reader.text(&keys::S3_REGION, checks::region);
    let force_path_style = reader.boolean(&keys::S3_FORCE_PATH_STYLE);
    let around = Surroundings {
        bucket: &bucket,
        region: region.as_deref(),
        own_endpoint: endpoint_url.is_some(),
        path_style: force_path_style,
    };
    let aws_endpoint = aws_endpoint::endpoint(reader, &around);
    let prefix = prefix(reader);
    Location { bucket, prefix, region, endpoint_url, force_path_style, aws_endpoint }
}

/// The file for the reason of a failure.
fn termination_message(reader: &mut SettingReader<'_>, watch_path: &Path) -> PathBuf {
    unmirrored(reader, &keys::TERMINATION_MESSAGE, watch_path).unwrap_or_default()
}

/// The key of every object.
fn customer_key(
    reader: &mut SettingReader<'_>,
    location: &Location,
    objects: &RuleSettings,
) -> Option<CustomerKey> {
    let endpoint = location.endpoint_url.as_deref();
    requests::customer_key(reader, endpoint, objects.encryption.is_some())
}

/// The URL of another store: our key, otherwise the standard variables.
fn endpoint_url(reader: &mut SettingReader<'_>) -> Option<String> {
    let written = reader.text(&keys::S3_ENDPOINT_URL, checks::endpoint);
    check_standard_endpoints(reader);
    written.or_else(|| standard_endpoint(reader)).map(with_slash)
}

/// The attributes of objects. Cache tags have a use with CloudFront only.
fn object_settings(
    reader: &mut SettingReader<'_>,
    location: &Location,
    has_cloudfront: bool,
) -> RuleSettings {
    let objects = objects::settings(reader, location.endpoint_url.is_some());
    let cache_tags = objects::cache_tags(reader, &objects, &location.prefix);
    RuleSettings { cache_tags: cache_tags.filter(|_| has_cloudfront), ..objects }
}

/// Whether writes and deletes have conditions.
fn conditional_writes(reader: &mut SettingReader<'_>) -> bool {
    reader.choice(&keys::S3_CONDITIONAL_WRITES, CONDITIONAL_WRITES).unwrap_or(true)
}

/// How links in the path are treated.
fn watch_path_link(reader: &mut SettingReader<'_>) -> WatchPathLink {
    reader.choice(&keys::WATCH_PATH_LINK, WATCH_PATH_LINKS).unwrap_or(WatchPathLink::Bound)
}

/// The checksum of every body.
fn checksum(reader: &mut SettingReader<'_>) -> Checksum {
    reader.choice(&keys::S3_CHECKSUM_ALGORITHM, objects::CHECKSUMS).unwrap_or(Checksum::Crc64Nvme)
}

/// The effect of a deletion.
fn delete_policy(reader: &mut SettingReader<'_>) -> DeletePolicy {
    reader.choice(&keys::DELETE_POLICY, DELETE_POLICIES).unwrap_or(DeletePolicy::Keep)
}

/// Whether the state exists at the next start.
fn state_survives(reader: &mut SettingReader<'_>) -> StateSurvives {
    reader.choice(&keys::STATE_SURVIVES, STATE_SURVIVAL).unwrap_or(StateSurvives::Auto)
}

/// The behaviour of the drain during an outage.
fn shutdown_on_outage(reader: &mut SettingReader<'_>) -> ShutdownOnOutage {
    reader.choice(&keys::SHUTDOWN_ON_OUTAGE, SHUTDOWN_ON_OUTAGES).unwrap_or(ShutdownOnOutage::Wait)
}

fn hint_settings(reader: &mut SettingReader<'_>) -> HintSettings {
    let listen = address(reader, &keys::HINT_LISTEN_ADDRESS, checks::address);
    hints::settings(reader, listen)
}

/// Addresses to listen on, if any.
pub(super) fn address(
    reader: &mut SettingReader<'_>,
    key: &'static Key,
    check: fn(&str) -> Result<Vec<SocketAddr>, String>,
) -> Vec<SocketAddr> {
    let show = |addresses: &Vec<SocketAddr>| match addresses[..] {
        [] => shown::text(checks::OFF),
        [address] => shown::text(&address.to_string()),
        [address, ..] => shown::text(&format!("localhost:{}", address.port())),
    };
    reader.checked(key, |text, _| check(text), show).unwrap_or_default()
}

/// The control socket: as configured, otherwise in the state directory.
pub(super) fn admin_socket(reader: &mut SettingReader<'_>, state_dir: &Path) -> Option<PathBuf> {
    let base = &reader.sources.working_directory;
    let check = |text: &str, _: &ValueOrigin| match text {
        checks::OFF => Ok(None),
        text => places::absolute(base, text).map(Some),
    };
    let show = |path: &Option<PathBuf>| match path {
        Some(path) => shown::path(path),
        None => shown::text(checks::OFF),
    };
    match reader.checked(&keys::ADMIN_SOCKET, check, show) {
        Some(written) => written,
        None => reader.sound(&[&keys::ADMIN_SOCKET]).then(|| state_dir.join(ADMIN_SOCKET)),
    }
}

/// A file of ours. Inside the watched directory it would be mirrored, or could belong to a user.
fn unmirrored(
    reader: &mut SettingReader<'_>,
    key: &'static Key,
    watch_path: &Path,
) -> Option<PathBuf> {
    let base = &reader.sources.working_directory;
    let file = reader.path(key, base)?;
    if reader.sound(&[&keys::WATCH_PATH]) && places::lies_in(&file, watch_path) {
        let wrong = "lies inside watch_path, so it would be mirrored; write a path outside";
        refuse_path(reader, key, &file, wrong.to_owned());
    }
    Some(file)
}

/// A number whose bounds fit its type.
fn small<T: TryFrom<u64> + Default>(reader: &mut SettingReader<'_>, key: &'static Key) -> T {
    T::try_from(reader.whole(key)).unwrap_or_default()
}

/// The SDK reads these too; here they determine which store the state belongs to, and whether
/// connections are encrypted.
fn standard_endpoint(reader: &SettingReader<'_>) -> Option<String> {
    let variable = |name| {
        let value = reader.sources.variable(name)?.to_string_lossy().trim().to_owned();
        Some(value).filter(|value| !value.is_empty())
    };
    if variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|value| value == "true") {
        return None;
    }
    variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"))
}

/// The SDK replaces the last name of a path with the bucket, unless a slash follows it.
fn with_slash(mut url: String) -> String {
    let has_path = url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    if has_path && !url.contains(['?', '#']) && !url.ends_with('/') {
        url.push('/');
    }
    url
}

/// Applies the rules of our key to the variables that the SDK reads.
fn check_standard_endpoints(reader: &mut SettingReader<'_>) {
    let named = reader.sources.environment.iter().filter(|(name, value)| {
        name.as_encoded_bytes().starts_with(b"AWS_ENDPOINT_URL") && !value.is_empty()
    });
    for (name, value) in named {
        let value = value.to_string_lossy();
        if let Err(wrong) = checks::endpoint(value.trim()) {
            let name = problem::escaped(&name.to_string_lossy());
            reader.push(Problem::source(&name, wrong).showing(&value));
        }
    }
}

/// The SDKs of other languages read this; the Rust SDK does not.
fn ca_bundle(reader: &SettingReader<'_>) -> Option<PathBuf> {
    let bundle = reader.sources.variable("AWS_CA_BUNDLE")?;
    Some(reader.sources.working_directory.join(bundle))
}

fn bucket(reader: &mut SettingReader<'_>, other_store: bool) -> String {
    reader.text(&keys::S3_BUCKET, |text| checks::bucket(text, other_store)).unwrap_or_default()
}

fn prefix(reader: &mut SettingReader<'_>) -> KeyPrefix {
    let check = |text: &str, _: &ValueOrigin| {
        KeyPrefix::new(text)
            .map_err(|wrong| format!("cannot be used: {wrong}; write one such as uploads"))
    };
    reader.checked(&keys::S3_PREFIX, check, shown::prefix).unwrap_or_default()
}

/// The shard. An index that starts at 1 is the expected mistake.
fn share(reader: &mut SettingReader<'_>) -> Shard {
    let count: u16 = small(reader, &keys::SHARD_COUNT);
    let index: u16 = small(reader, &keys::SHARD_INDEX);
    let depth: u8 = small(reader, &keys::SHARD_DEPTH);
    let sound = reader.sound(&[&keys::SHARD_COUNT, &keys::SHARD_INDEX, &keys::SHARD_DEPTH]);
    if sound && index >= count {
        let wrong = format!(
            "is none of shard_count ({count}), which are counted from 0; write one from 0 to {}",
            count - 1
        );
        let own = reader.origin(&keys::SHARD_INDEX);
        reader.refuse(&keys::SHARD_INDEX, &own, &index.to_string(), wrong);
    }
    Shard::new(index, count, depth).unwrap_or_default()
}

/// The lease time, or `None` without a lease.
fn lease(reader: &mut SettingReader<'_>) -> Option<Duration> {
    Some(Duration::from_secs(reader.whole(&keys::S3_LEASE))).filter(|patience| !patience.is_zero())
}

/// In the original service, 0 selected the default.
fn retry_interval(reader: &mut SettingReader<'_>) -> Duration {
    let default = default_text(&keys::RETRY_INTERVAL);
    let keys::ValueKind::Whole { unit, min, max } = keys::RETRY_INTERVAL.kind else {
        return Duration::ZERO;
    };
    let check = |text: &str, _: &ValueOrigin| {
        let text = if text == "0" { default } else { text };
        checks::whole(text, unit, min, max, default)
    };
    Duration::from_secs(
        reader.checked(&keys::RETRY_INTERVAL, check, u64::to_string).unwrap_or_default(),
    )
}

/// The id is checked only if CloudFront is enabled: the switch disables everything else.
fn cloudfront(reader: &mut SettingReader<'_>) -> Option<CloudFrontConfig> {
    let enabled = reader.boolean(&keys::CLOUDFRONT_ENABLED);
    let check = |text: &str| if enabled { checks::distribution_id(text) } else { Ok(()) };
    let distribution_id = reader.text(&keys::CLOUDFRONT_DISTRIBUTION_ID, check);
    let path_prefix = reader.text(&keys::CLOUDFRONT_PATH_PREFIX, checks::path_prefix);
    let batch = Duration::from_secs(reader.whole(&keys::CLOUDFRONT_BATCH));
    let wildcard_threshold = small(reader, &keys::CLOUDFRONT_WILDCARD_THRESHOLD);
    let batch_path_limit = small(reader, &keys::CLOUDFRONT_BATCH_PATH_LIMIT);
    let monthly_path_limit = reader.whole(&keys::CLOUDFRONT_MONTHLY_PATH_LIMIT);
    let invalidate_new = reader.boolean(&keys::CLOUDFRONT_INVALIDATE_NEW);
    let index_paths = reader.boolean(&keys::CLOUDFRONT_INDEX_PATHS);
    if !enabled {
        return None;
    }
    if distribution_id.is_none() && reader.sound(&[&keys::CLOUDFRONT_DISTRIBUTION_ID]) {
        let why = "is required while cloudfront_enabled is true";
        reader.missing_because(&keys::CLOUDFRONT_DISTRIBUTION_ID, why);
    }
    Some(CloudFrontConfig {
        distribution_id: distribution_id?,
        path_prefix: path_prefix.unwrap_or_default(),
        batch,
        wildcard_threshold,
        batch_path_limit,
        monthly_path_limit,
        invalidate_new,
        index_paths,
    })
}

/// `RUST_LOG` may name only modules.
fn log_level(reader: &mut SettingReader<'_>) -> String {
    let check = |text: &str, origin: &ValueOrigin| {
        let standard = matches!(origin, ValueOrigin::Given(place) if place == "RUST_LOG");
        checks::log_level(text, standard).map(|()| text.to_owned())
    };
    reader.checked(&keys::LOG_LEVEL, check, |text| shown::text(text)).unwrap_or_default()
}

/// Threshold, part size and memory in bytes. A part is held as a whole while it is sent, and so is
/// a file below the threshold: with less memory than either, that request could never start.
fn memory(reader: &mut SettingReader<'_>) -> (u64, u64, u64) {
    const MIB: u64 = 1024 * 1024;
    let threshold = reader.whole(&keys::MULTIPART_THRESHOLD);
    let part_size = reader.whole(&keys::MULTIPART_PART_SIZE);
    let memory = reader.whole(&keys::TRANSFER_MEMORY);
    for (key, needed) in
        [(&keys::MULTIPART_THRESHOLD, threshold), (&keys::MULTIPART_PART_SIZE, part_size)]
    {
        if memory < needed && reader.sound(&[key, &keys::TRANSFER_MEMORY]) {
            let wrong = format!(
                "MiB are less than {} ({needed}), which one request holds in memory; \
                 write at least {needed}, or lower that",
                key.name
            );
            let own = reader.origin(&keys::TRANSFER_MEMORY);
            let origin = if own == ValueOrigin::Default { reader.origin(key) } else { own };
            reader.refuse(&keys::TRANSFER_MEMORY, &origin, &memory.to_string(), wrong);
        }
    }
    (threshold * MIB, part_size * MIB, memory * MIB)
}

/// Watched directory, state directory and retry file, without overlap.
fn directories(reader: &mut SettingReader<'_>) -> (PathBuf, PathBuf, PathBuf) {
    let sources = reader.sources;
    let watch_path = reader.path(&keys::WATCH_PATH, &sources.working_directory);
    let state_dir = state_dir(reader);
    let base = state_dir.as_deref().unwrap_or(Path::new("/"));
    let retry_file = reader.path(&keys::RETRY_FILE, base).unwrap_or_default();
    for (key, path) in [(&keys::WATCH_PATH, &watch_path), (&keys::STATE_DIR, &state_dir)] {
        if let Some(Err(wrong)) = path.as_deref().map(places::directory_or_nothing) {
            refuse_path(reader, key, path.as_deref().unwrap_or(base), wrong);
        }
    }
    let (Some(watch_path), Some(state_dir)) = (watch_path, state_dir) else {
        return Default::default();
    };
    if reader.sound(&[&keys::WATCH_PATH, &keys::STATE_DIR, &keys::RETRY_FILE]) {
        refuse_overlap(reader, &watch_path, &state_dir, &retry_file);
    }
    (watch_path, state_dir, retry_file)
}

/// The configured directory, otherwise that of systemd, that of the image, or one in the working
/// directory.
pub(super) fn state_dir(reader: &mut SettingReader<'_>) -> Option<PathBuf> {
    let sources = reader.sources;
    let base = &sources.working_directory;
    let written = reader.path(&keys::STATE_DIR, base);
    if written.is_some() || !reader.sound(&[&keys::STATE_DIR]) {
        return written;
    }
    let systemd = sources.variable("STATE_DIRECTORY").and_then(places::systemd);
    let (path, origin) = match systemd {
        Some(path) => (base.join(path), ValueOrigin::Given("STATE_DIRECTORY".to_owned())),
        None if sources.packaged_state_dir.is_dir() => {
            (sources.packaged_state_dir.clone(), ValueOrigin::Default)
        }
        None => (base.join(FALLBACK_STATE_DIR), ValueOrigin::Default),
    };
    reader.note(&keys::STATE_DIR, shown::path(&path), origin);
    Some(path)
}

/// Inside the watched directory, our own files would be mirrored, and each upload would write there
/// again. Above it, our files would be among those of the volume's owner.
fn refuse_overlap(
    reader: &mut SettingReader<'_>,
    watch_path: &Path,
    state_dir: &Path,
    retry_file: &Path,
) {
    let watched = shown::path(watch_path);
    if places::lies_in(state_dir, watch_path) {
        let wrong = format!("lies inside watch_path {watched}, so it would be mirrored");
        let right = "write a directory outside, on a volume that survives";
        refuse_path(reader, &keys::STATE_DIR, state_dir, format!("{wrong}; {right}"));
    } else if places::lies_in(watch_path, state_dir) {
        let wrong = format!("holds watch_path {watched}; write a directory of its own");
        refuse_path(reader, &keys::STATE_DIR, state_dir, wrong);
    } else if places::lies_in(retry_file, watch_path) {
        let wrong = format!("lies inside watch_path {watched}, so it would be mirrored");
        let right = "write a path outside, or leave it out";
        refuse_path(reader, &keys::RETRY_FILE, retry_file, format!("{wrong}; {right}"));
    }
}

fn refuse_path(reader: &mut SettingReader<'_>, key: &Key, path: &Path, wrong: String) {
    let origin = reader.origin(key);
    reader.refuse(key, &origin, &path.to_string_lossy(), wrong);
}
