//! What was written, as it is meant: types, units, and what several keys say together.

use super::keys::{self, Key};
use super::reader::{Reader, default_text};
use super::shown::{self, Origin};
use super::{CloudFront, Config, DeletePolicy, LogFormat, WatchMode, checks, objects, places};
use crate::model::{KeyPrefix, Share};
use crate::rules::{Checksum, Settings};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where state lives if nobody says so and the image's directory does not exist.
const FALLBACK_STATE_DIR: &str = ".file-sync-service";

pub(super) const WATCH_MODES: &[(&str, WatchMode)] =
    &[("auto", WatchMode::Auto), ("events", WatchMode::Events), ("poll", WatchMode::Poll)];
pub(super) const DELETE_POLICIES: &[(&str, DeletePolicy)] =
    &[("propagate", DeletePolicy::Propagate), ("keep", DeletePolicy::Keep)];
pub(super) const LOG_FORMATS: &[(&str, LogFormat)] =
    &[("json", LogFormat::Json), ("text", LogFormat::Text)];

/// Takes every key. What is wrong is the reader's to tell; the placeholders go no further.
pub(super) fn config(reader: &mut Reader<'_>) -> Config {
    let (watch_path, state_dir, retry_file) = directories(reader);
    let endpoint_url = reader.text(&keys::S3_ENDPOINT_URL, checks::endpoint);
    let (multipart_threshold, multipart_part_size, transfer_memory) = memory(reader);
    let other_store = endpoint_url.is_some() || standard_endpoint(reader).is_some();
    let status_file = status_file(reader, &watch_path);
    let (prefix, cloudfront) = (prefix(reader), cloudfront(reader));
    let objects = objects::settings(reader, other_store);
    let cache_tags = objects::cache_tags(reader, &objects.rules, &prefix);
    Config {
        watch_path,
        bucket: bucket(reader, other_store),
        region: reader.text(&keys::S3_REGION, checks::region),
        prefix,
        share: share(reader),
        retry_file,
        retry_interval: retry_interval(reader),
        state_dir,
        state_dir_origin: reader.origin(&keys::STATE_DIR),
        objects: Settings { cache_tags: cache_tags.filter(|_| cloudfront.is_some()), ..objects },
        cloudfront,
        checksum: reader
            .choice(&keys::S3_CHECKSUM_ALGORITHM, objects::CHECKSUMS)
            .unwrap_or(Checksum::Crc64Nvme),
        watch_mode: reader.choice(&keys::WATCH_MODE, WATCH_MODES).unwrap_or(WatchMode::Auto),
        poll_interval: Duration::from_secs(reader.whole(&keys::POLL_INTERVAL)),
        rescan_interval: Duration::from_secs(reader.whole(&keys::RESCAN_INTERVAL)),
        ignore: reader.list(&keys::IGNORE, checks::pattern),
        ignore_defaults: reader.boolean(&keys::IGNORE_DEFAULTS),
        debounce: Duration::from_millis(reader.whole(&keys::DEBOUNCE)),
        open_file_quiet: Duration::from_secs(reader.whole(&keys::OPEN_FILE_QUIET)),
        debounce_max: Duration::from_secs(reader.whole(&keys::DEBOUNCE_MAX)),
        endpoint_url: endpoint_url.or_else(|| standard_endpoint(reader)),
        ca_bundle: ca_bundle(reader),
        force_path_style: reader.boolean(&keys::S3_FORCE_PATH_STYLE),
        probe: reader.boolean(&keys::S3_PROBE),
        lease: lease(reader),
        max_concurrent_transfers: small(reader, &keys::MAX_CONCURRENT_TRANSFERS),
        multipart_threshold,
        multipart_part_size,
        transfer_memory,
        bandwidth_limit: bandwidth_limit(reader),
        delete_policy: reader
            .choice(&keys::DELETE_POLICY, DELETE_POLICIES)
            .unwrap_or(DeletePolicy::Keep),
        delete_limit_percent: small(reader, &keys::DELETE_LIMIT_PERCENT),
        delete_limit_count: reader.whole(&keys::DELETE_LIMIT_COUNT),
        listen_address: address(reader, &keys::LISTEN_ADDRESS, checks::address),
        admin_address: address(reader, &keys::ADMIN_ADDRESS, checks::loopback),
        status_file_names: reader.boolean(&keys::STATUS_FILE_NAMES),
        status_file,
        termination_message: reader
            .path(&keys::TERMINATION_MESSAGE, &reader.sources.working_directory)
            .unwrap_or_default(),
        shutdown_timeout: Duration::from_secs(reader.whole(&keys::SHUTDOWN_TIMEOUT)),
        log_format: reader.choice(&keys::LOG_FORMAT, LOG_FORMATS),
        log_level: log_level(reader),
    }
}

/// An address to listen on, or none.
fn address(
    reader: &mut Reader<'_>,
    key: &'static Key,
    check: fn(&str) -> Result<Option<SocketAddr>, String>,
) -> Option<SocketAddr> {
    let show = |address: &Option<SocketAddr>| match address {
        Some(address) => shown::text(&address.to_string()),
        None => shown::text(checks::OFF),
    };
    reader.checked(key, |text, _| check(text), show).flatten()
}

/// Inside the watched directory it would be mirrored, once a second.
fn status_file(reader: &mut Reader<'_>, watch_path: &Path) -> Option<PathBuf> {
    let base = &reader.sources.working_directory;
    let file = reader.path(&keys::STATUS_FILE, base)?;
    if reader.sound(&[&keys::WATCH_PATH]) && places::lies_in(&file, watch_path) {
        let wrong = "lies inside watch_path, so it would be mirrored; write a path outside";
        refuse_path(reader, &keys::STATUS_FILE, &file, wrong.to_owned());
    }
    Some(file)
}

/// A number whose bounds fit its type.
fn small<T: TryFrom<u64> + Default>(reader: &mut Reader<'_>, key: &'static Key) -> T {
    T::try_from(reader.whole(key)).unwrap_or_default()
}

/// The SDK reads these as well; here they tell which store the record is about, and whether the way
/// there is encrypted.
fn standard_endpoint(reader: &Reader<'_>) -> Option<String> {
    let variable = |name| Some(reader.sources.variable(name)?.to_string_lossy().into_owned());
    if variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|value| value == "true") {
        return None;
    }
    variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"))
}

/// The SDKs of other languages read this; AWS's for Rust does not.
fn ca_bundle(reader: &Reader<'_>) -> Option<PathBuf> {
    let bundle = reader.sources.variable("AWS_CA_BUNDLE")?;
    Some(reader.sources.working_directory.join(bundle))
}

fn bucket(reader: &mut Reader<'_>, other_store: bool) -> String {
    reader.text(&keys::S3_BUCKET, |text| checks::bucket(text, other_store)).unwrap_or_default()
}

fn prefix(reader: &mut Reader<'_>) -> KeyPrefix {
    let check = |text: &str, _: &Origin| {
        KeyPrefix::new(text)
            .map_err(|wrong| format!("cannot be used: {wrong}; write one such as uploads"))
    };
    reader.checked(&keys::S3_PREFIX, check, shown::prefix).unwrap_or_default()
}

/// Which of how many. An index from 1 is the mistake to expect.
fn share(reader: &mut Reader<'_>) -> Share {
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
    Share::new(index, count, depth).unwrap_or_default()
}

/// How long the holder of the lease may be silent; `None` where there is no lease.
fn lease(reader: &mut Reader<'_>) -> Option<Duration> {
    Some(Duration::from_secs(reader.whole(&keys::S3_LEASE))).filter(|patience| !patience.is_zero())
}

/// In the original service 0 stood for the default.
fn retry_interval(reader: &mut Reader<'_>) -> Duration {
    let default = default_text(&keys::RETRY_INTERVAL);
    let keys::Kind::Whole { unit, min, max } = keys::RETRY_INTERVAL.kind else {
        return Duration::ZERO;
    };
    let check = |text: &str, _: &Origin| {
        let text = if text == "0" { default } else { text };
        checks::whole(text, unit, min, max, default)
    };
    Duration::from_secs(
        reader.checked(&keys::RETRY_INTERVAL, check, u64::to_string).unwrap_or_default(),
    )
}

/// An id is checked only where it is used: the switch is there to turn everything else off.
fn cloudfront(reader: &mut Reader<'_>) -> Option<CloudFront> {
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
    Some(CloudFront {
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

/// `RUST_LOG` may name modules alone, as everywhere.
fn log_level(reader: &mut Reader<'_>) -> String {
    let check = |text: &str, origin: &Origin| {
        let standard = matches!(origin, Origin::Given(place) if place == "RUST_LOG");
        checks::log_level(text, standard).map(|()| text.to_owned())
    };
    reader.checked(&keys::LOG_LEVEL, check, |text| shown::text(text)).unwrap_or_default()
}

/// Threshold, part size and memory in bytes. One part is held whole while it is sent, and so is a
/// file below the threshold: with less memory than either, that request could never start.
fn memory(reader: &mut Reader<'_>) -> (u64, u64, u64) {
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
            let origin = if own == Origin::Default { reader.origin(key) } else { own };
            reader.refuse(&keys::TRANSFER_MEMORY, &origin, &memory.to_string(), wrong);
        }
    }
    (threshold * MIB, part_size * MIB, memory * MIB)
}

/// Bytes a second; 0 stands for no limit.
fn bandwidth_limit(reader: &mut Reader<'_>) -> Option<u64> {
    let limit = reader.whole(&keys::BANDWIDTH_LIMIT);
    (limit > 0).then_some(limit << 20)
}

/// Watched directory, state directory and retry file, none in another's way.
fn directories(reader: &mut Reader<'_>) -> (PathBuf, PathBuf, PathBuf) {
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

/// What was written, else systemd's directory, else the image's, else one beside the process.
fn state_dir(reader: &mut Reader<'_>) -> Option<PathBuf> {
    let sources = reader.sources;
    let base = &sources.working_directory;
    let written = reader.path(&keys::STATE_DIR, base);
    if written.is_some() || !reader.sound(&[&keys::STATE_DIR]) {
        return written;
    }
    let systemd = sources.variable("STATE_DIRECTORY").and_then(places::systemd);
    let (path, origin) = match systemd {
        Some(path) => (base.join(path), Origin::Given("STATE_DIRECTORY".to_owned())),
        None if sources.packaged_state_dir.is_dir() => {
            (sources.packaged_state_dir.clone(), Origin::Default)
        }
        None => (base.join(FALLBACK_STATE_DIR), Origin::Default),
    };
    reader.note(&keys::STATE_DIR, shown::path(&path), origin);
    Some(path)
}

/// Inside the watched directory our own files would be mirrored, and each upload would write there
/// again. Around it, the owner of the volume would find our files among theirs.
fn refuse_overlap(reader: &mut Reader<'_>, watch_path: &Path, state_dir: &Path, retry_file: &Path) {
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

fn refuse_path(reader: &mut Reader<'_>, key: &Key, path: &Path, wrong: String) {
    let origin = reader.origin(key);
    reader.refuse(key, &origin, &path.to_string_lossy(), wrong);
}
