//! Pins the complete error messages, because the text is the product.

mod aws_endpoint;
mod bandwidth;
mod defaults;
mod directories;
mod requests;
mod white_space;

use super::*;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// The `config.yml` of the original service.
const ORIGINAL: &str = r#"# Directory to watch
watch_path: "/efs/src_cg_v2/uploads"

# S3 configuration
s3_bucket: "your-s3-bucket-name"
s3_region: "us-east-1"
s3_prefix: "uploads"  # Optional prefix for S3 keys

# Retry configuration
retry_file: "retry_queue.json"
retry_interval_seconds: 300

# CloudFront configuration
cloudfront_enabled: true
cloudfront_distribution_id: "E1234567890ABC"
"#;

/// A working directory with a `config.yml`.
struct Desk {
    directory: tempfile::TempDir,
    sources: ConfigSources,
}

impl Desk {
    fn new(file: &str) -> Self {
        let desk = Self::empty();
        fs::write(desk.path("config.yml"), file).expect("a file");
        desk
    }

    fn empty() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut sources = ConfigSources::new(BTreeMap::new(), directory.path().to_owned());
        sources.packaged_state_dir = directory.path().join("not packaged");
        Self { directory, sources }
    }

    fn with(mut self, variable: &str, value: &str) -> Self {
        self.sources.environment.insert(variable.into(), value.into());
        self
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.sources.flags.push((key.to_owned(), value.to_owned()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn loaded(&self) -> LoadedConfig {
        load(&self.sources).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// The message, with the working directory written as `/desk`.
    fn reported(&self) -> String {
        let problems = load(&self.sources).expect_err("something is wrong").to_string();
        problems.replace(self.directory.path().to_str().expect("UTF-8"), "/desk")
    }
}

fn with_required(more: &str) -> String {
    format!("watch_path: /data\ns3_bucket: my-bucket\n{more}")
}

fn shown(loaded: &LoadedConfig, key: &str) -> (String, String) {
    let effective = loaded.effective.iter().find(|effective| effective.key == key).expect("a key");
    (effective.value.clone(), effective.origin.to_string())
}

#[test]
fn the_original_services_file_works_unchanged() {
    let desk = Desk::new(ORIGINAL);
    let config = desk.loaded().config;
    assert_eq!(config.watch_path, Path::new("/efs/src_cg_v2/uploads"));
    assert_eq!(config.bucket, "your-s3-bucket-name");
    assert_eq!(config.region.as_deref(), Some("us-east-1"));
    assert_eq!(config.prefix.as_str(), "uploads/");
    assert_eq!(config.retry_file, desk.path(".file-sync-service/retry_queue.json"));
    assert_eq!(config.retry_interval, Duration::from_secs(300));
    let reported = config.cloudfront.expect("it is enabled");
    let numbers =
        (reported.wildcard_threshold, reported.batch_path_limit, reported.monthly_path_limit);
    assert_eq!((&*reported.distribution_id, &*reported.path_prefix), ("E1234567890ABC", ""));
    assert_eq!((reported.batch, numbers), (Duration::from_secs(10), (50, 100, 0)));
    assert!(reported.index_paths && !reported.invalidate_new);
}

#[test]
fn zero_and_empty_stood_for_the_default_in_the_original() {
    let more = "retry_interval_seconds: 0\nretry_file: \"\"\ns3_region: \"\"\ns3_prefix:\n";
    let desk = Desk::new(&with_required(more));
    let config = desk.loaded().config;
    assert_eq!(config.retry_interval, Duration::from_secs(300));
    assert_eq!(config.retry_file, desk.path(".file-sync-service/retry_queue.json"));
    assert_eq!((config.region, config.prefix), (None, KeyPrefix::default()));
}

#[test]
fn variables_win_over_the_file_and_flags_over_both() {
    let desk = Desk::new(&with_required(
        "s3_prefix: file\npoll_interval_seconds: 1\ndelete_policy: keep\n",
    ))
    .with("FILE_SYNC__S3_PREFIX", "variable")
    .with("FILE_SYNC__POLL_INTERVAL_SECONDS", "2")
    .with("FILE_SYNC__DELETE_POLICY", "")
    .with("FILE_SYNC__IGNORE", "*.bak, /cache/,")
    .with("FILE_SYNC_SERVICE_HOST", "10.0.0.1")
    .with("FILE_SYNC_PORT", "tcp://10.0.0.1:80")
    .set("s3_prefix", "flag");
    let loaded = desk.loaded();
    assert_eq!(shown(&loaded, "s3_prefix"), ("\"flag\"".into(), "--set s3_prefix".into()));
    assert_eq!(
        shown(&loaded, "poll_interval_seconds"),
        ("2".into(), "FILE_SYNC__POLL_INTERVAL_SECONDS".into())
    );
    assert_eq!(shown(&loaded, "delete_policy"), ("keep".into(), "config.yml:5".into()));
    assert_eq!(shown(&loaded, "s3_region"), (String::new(), "not set: from the AWS chain".into()));
    assert_eq!(loaded.config.ignore, ["*.bak", "/cache/"]);
}

#[test]
fn the_environment_alone_is_enough() {
    let desk = Desk::empty()
        .with("FILE_SYNC__WATCH_PATH", "uploads")
        .with("FILE_SYNC__S3_BUCKET", "123456789012")
        .with("FILE_SYNC__CLOUDFRONT_ENABLED", "true")
        .with("FILE_SYNC__CLOUDFRONT_DISTRIBUTION_ID", "1234567890");
    let config = desk.loaded().config;
    assert_eq!(config.watch_path, desk.path("uploads"));
    assert_eq!(config.bucket, "123456789012");
    assert_eq!(
        config.cloudfront.map(|cloudfront| cloudfront.distribution_id),
        Some("1234567890".into())
    );
}

#[test]
fn names_that_look_like_numbers_stay_names() {
    let file = "watch_path: 2024\ns3_bucket: 0123456\ns3_prefix: 1e5\ns3_region: no\n";
    let desk = Desk::new(file);
    let config = desk.loaded().config;
    assert_eq!(config.bucket, "0123456");
    assert_eq!(config.prefix.as_str(), "1e5/");
    assert_eq!(config.watch_path, desk.path("2024"));
    assert_eq!(config.region.as_deref(), Some("no"));
}

#[test]
fn rust_log_wins_over_file_and_variable() {
    let desk = Desk::new(&with_required("log_level: warn\n")).with("FILE_SYNC__LOG_LEVEL", "error");
    assert_eq!(desk.loaded().config.log_level, "error");
    let desk = desk.with("RUST_LOG", "file_sync_service");
    assert_eq!(
        shown(&desk.loaded(), "log_level"),
        ("\"file_sync_service\"".into(), "RUST_LOG".into())
    );
    assert_eq!(desk.set("log_level", "debug").loaded().config.log_level, "debug");
}

#[test]
fn the_state_directory_is_chosen_in_the_order_of_the_contract() {
    let mut desk = Desk::new(&with_required(""));
    let packaged = desk.path("packaged");
    fs::create_dir(&packaged).expect("a directory");
    desk.sources.packaged_state_dir = packaged.clone();
    assert_eq!(desk.loaded().config.state_dir, packaged);
    let desk = desk.with("STATE_DIRECTORY", "/var/lib/a:/var/lib/b");
    let config = desk.loaded().config;
    assert_eq!(config.state_dir, Path::new("/var/lib/a"));
    assert_eq!(config.state_dir_origin, ValueOrigin::Given("STATE_DIRECTORY".to_owned()));
    assert_eq!(config.retry_file, Path::new("/var/lib/a/retry_queue.json"));
    let desk = desk.with("FILE_SYNC__STATE_DIR", "state");
    assert_eq!(desk.loaded().config.state_dir, desk.path("state"));
}

#[test]
fn a_missing_source_is_no_mistake_and_a_link_to_a_directory_neither() {
    let desk = Desk::new("watch_path: link\ns3_bucket: my-bucket\n");
    std::os::unix::fs::symlink("real", desk.path("link")).expect("a link");
    desk.loaded();
    fs::create_dir(desk.path("real")).expect("a directory");
    desk.loaded();
}

#[test]
fn other_stores_have_bucket_names_of_their_own() {
    let file = "watch_path: /data\ns3_bucket: My_Bucket\n";
    assert!(load(&Desk::new(file).sources).is_err());
    Desk::new(&format!("{file}s3_endpoint_url: http://minio:9000\n")).loaded();
    Desk::new(file).with("AWS_ENDPOINT_URL_S3", "http://minio:9000").loaded();
}

#[test]
fn an_endpoint_with_a_path_needs_no_slash_behind_it() {
    for (written, meant) in [
        ("http://minio:9000", "http://minio:9000"),
        ("http://host/s3", "http://host/s3/"),
        ("https://host/a/b/", "https://host/a/b/"),
    ] {
        let file = with_required(&format!("s3_endpoint_url: {written}\n"));
        assert_eq!(Desk::new(&file).loaded().config.endpoint_url.as_deref(), Some(meant));
        let desk = Desk::new(&with_required("")).with("AWS_ENDPOINT_URL_S3", written);
        assert_eq!(desk.loaded().config.endpoint_url.as_deref(), Some(meant));
    }
}

#[test]
fn endpoints_of_aws_are_no_other_store() {
    for (url, other) in [
        ("http://minio:9000", true),
        ("https://s3.example.com/amazonaws.com", true),
        ("https://s3.us-east-1.amazonaws.com", false),
        ("https://bucket.vpce-1.s3.cn-north-1.vpce.amazonaws.com.cn:443/", false),
    ] {
        let file = format!("watch_path: /srv\ns3_bucket: bucket\ns3_endpoint_url: {url}\n");
        assert_eq!(Desk::new(&file).loaded().config.is_other_store(), other, "{url}");
    }
}

#[test]
fn every_key_of_the_table_is_shown_in_its_order() {
    let effective = Desk::new(&with_required("")).loaded().effective;
    let shown: Vec<&str> = effective.iter().map(|effective| effective.key).collect();
    let table: Vec<&str> = keys::all().map(|key| key.name).collect();
    assert_eq!(shown, table);
}

#[test]
fn every_word_of_the_table_has_a_meaning() {
    fn words<T>(meanings: &[(&'static str, T)]) -> Vec<&'static str> {
        meanings.iter().map(|(word, _)| *word).collect()
    }
    for (key, meanings) in [
        (&keys::WATCH_MODE, words(meant::WATCH_MODES)),
        (&keys::DELETE_POLICY, words(meant::DELETE_POLICIES)),
        (&keys::LOG_FORMAT, words(meant::LOG_FORMATS)),
        (&keys::S3_CHECKSUM_ALGORITHM, words(objects::CHECKSUMS)),
        (&keys::S3_SERVER_SIDE_ENCRYPTION, words(objects::ENCRYPTIONS)),
    ] {
        assert!(
            matches!(key.kind, keys::ValueKind::Choice(words) if words == meanings),
            "{}",
            key.name
        );
    }
}

#[test]
fn reports_what_is_missing() {
    assert_eq!(
        Desk::empty().reported(),
        "2 problems in the configuration:\n  \
         watch_path: is required and not set: the directory to mirror, which may appear later; \
         write it into config.yml, which does not exist, or set FILE_SYNC__WATCH_PATH\n  \
         s3_bucket: is required and not set: the bucket's name, or the alias or ARN of an access \
         point; write it into config.yml, which does not exist, or set FILE_SYNC__S3_BUCKET"
    );
    assert_eq!(
        Desk::new(&with_required("cloudfront_enabled: true\n")).reported(),
        "1 problem in the configuration:\n  \
         cloudfront_distribution_id: is required while cloudfront_enabled is true: the distribution \
         in front of the bucket, such as E1234567890ABC; write it into config.yml or set \
         FILE_SYNC__CLOUDFRONT_DISTRIBUTION_ID"
    );
}

#[test]
fn suggests_the_nearest_key_without_showing_the_value() {
    assert_eq!(
        Desk::new("watch_path: /data\ns3_bukcet: secret\n").reported(),
        "2 problems in the configuration:\n  \
         config.yml:2: s3_bukcet: there is no such key; did you mean s3_bucket?\n  \
         s3_bucket: is required and not set: the bucket's name, or the alias or ARN of an access \
         point; write it into config.yml or set FILE_SYNC__S3_BUCKET"
    );
}

#[test]
fn suggests_the_nearest_variable() {
    let desk = Desk::new(&with_required(""))
        .with("FILE_SYNC__S3_BUKCET", "my-bucket")
        .with("FILE_SYNC_S3_PREFIX", "one-underscore")
        .with("FILE_SYNC__s3_region", "small-letters")
        .with("FILE_SYNC__POLL_INTERVAL_SECONDS", "soon");
    assert_eq!(
        desk.reported(),
        "4 problems in the configuration:\n  \
         FILE_SYNC__S3_BUKCET: s3_bukcet: there is no such key; did you mean FILE_SYNC__S3_BUCKET?\n  \
         FILE_SYNC__s3_region: s3_region: is not read from this variable; write FILE_SYNC__S3_REGION\n  \
         FILE_SYNC_S3_PREFIX: s3_prefix: is not read from this variable; write FILE_SYNC__S3_PREFIX\n  \
         FILE_SYNC__POLL_INTERVAL_SECONDS: poll_interval_seconds: \"soon\" is not a whole number; \
         write seconds from 1 to 86400, such as 30"
    );
}

#[test]
fn reports_a_wrong_type() {
    assert_eq!(
        Desk::new(&with_required("retry_interval_seconds: \"5m\"\n")).reported(),
        "1 problem in the configuration:\n  \
         config.yml:3: retry_interval_seconds: \"5m\" is not a whole number; \
         write seconds from 1 to 86400, such as 300"
    );
    assert_eq!(
        Desk::new("watch_path: [/a, /b]\ns3_bucket: {{ bucket }}\nignore: tmp\n").reported(),
        "3 problems in the configuration:\n  \
         config.yml:1: watch_path: takes one value, and here is a list of them\n  \
         config.yml:2: s3_bucket: takes one value, and here are keys and values; \
         put a value that starts with { in quotes\n  \
         config.yml:3: ignore: takes a list; write [\"first\", \"second\"], or one '- entry' on each line"
    );
}

#[test]
fn reports_that_no_is_not_a_boolean() {
    assert_eq!(
        Desk::new(&with_required("cloudfront_enabled: no\n")).reported(),
        "1 problem in the configuration:\n  \
         config.yml:3: cloudfront_enabled: \"no\" is neither true nor false; write one of them"
    );
}

#[test]
fn reports_that_shards_are_counted_from_0() {
    let desk = Desk::new(&with_required("shard_count: 3\nshard_index: 3\n"));
    let reported = desk.reported();
    let expected = "shard_index: \"3\" is none of shard_count (3), which are counted from 0; write one from 0 to 2";
    assert!(reported.contains(expected), "{reported}");
    let desk = Desk::new(&with_required("shard_count: 3\nshard_index: 2\nshard_depth: 2\n"));
    assert_eq!(Some(desk.loaded().config.share), Shard::new(2, 3, 2));
}

#[test]
fn reports_every_problem_at_once() {
    let file = "watch_path: /data\n\
                s3_bucket: s3://my-bucket/uploads\n\
                s3_region: US East\n\
                s3_prefix: a/../b\n\
                watch_mode: inotify\n\
                ignore: [\"*.bak\", \"[z-a]\"]\n\
                s3_endpoint_url: ftp://me:secret@host\n\
                max_concurrent_transfers: 0\n\
                multipart_threshold_mib: 200\n\
                log_level: verbose\n\
                shard_idx: 0\n\
                max_retry_attempts: 5\n\
                wildcard_threshold: 30\n";
    assert_eq!(
        Desk::new(file).reported(),
        "12 problems in the configuration:\n  \
         config.yml:11: shard_idx: there is no such key; did you mean shard_index?\n  \
         config.yml:12: max_retry_attempts: belongs to an earlier build; \
         remove it: nothing is ever given up, so there is no maximum\n  \
         config.yml:13: wildcard_threshold: belongs to an earlier build; \
         cloudfront_wildcard_threshold replaces it\n  \
         config.yml:2: s3_bucket: \"s3://my-bucket/uploads\" is a URL; \
         write the name alone, my-bucket, and what follows it as s3_prefix\n  \
         config.yml:3: s3_region: \"US East\" is not a region; write its short name, such as us-east-1\n  \
         config.yml:4: s3_prefix: \"a/../b\" cannot be used: the prefix has a '..' component; \
         write one such as uploads\n  \
         config.yml:5: watch_mode: \"inotify\" is none of the choices; write auto or events or poll\n  \
         config.yml:6: ignore: \"[z-a]\" is not a pattern in gitignore syntax: invalid range; 'z' > 'a'; \
         write one such as *.bak\n  \
         config.yml:7: s3_endpoint_url: \"ftp://***@host\" holds credentials, which no request \
         would use; take them out and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY\n  \
         config.yml:8: max_concurrent_transfers: \"0\" is out of range; \
         write requests from 1 to 1000, such as 256\n  \
         config.yml:9: transfer_memory_mib: \"128\" MiB are less than multipart_threshold_mib (200), \
         which one request holds in memory; write at least 200, or lower that\n  \
         config.yml:10: log_level: \"verbose\" is not a log level; write off, error, warn, info, debug or \
         trace, or directives such as info,file_sync_service=debug"
    );
}

#[test]
fn reports_the_place_of_a_syntax_error() {
    assert_eq!(
        Desk::new("watch_path: \"/data\ns3_bucket: my-bucket\n").reported(),
        "1 problem in the configuration:\n  \
         config.yml:1:13: no valid YAML: unclosed quote"
    );
    assert_eq!(
        Desk::new("watch_path: /data\n\ts3_bucket: my-bucket\n").reported(),
        "1 problem in the configuration:\n  \
         config.yml:2:1: the line is indented with a tab; YAML takes spaces only"
    );
    assert_eq!(
        Desk::new("watch_path = /data\n").with("FILE_SYNC__FOO", "1").reported(),
        "2 problems in the configuration:\n  \
         config.yml:1:1: this is no list of keys and values; write one 'key: value' on each line\n  \
         FILE_SYNC__FOO: foo: there is no such key; did you mean FILE_SYNC__IGNORE?"
    );
}

#[test]
fn reports_a_key_that_is_set_twice() {
    assert_eq!(
        Desk::new(&with_required("s3_prefix: a\ns3_prefix: b\n")).reported(),
        "1 problem in the configuration:\n  \
         config.yml:4: s3_prefix: stands there twice, first at config.yml:3; remove one of them"
    );
}

#[test]
fn reports_paths_that_lead_nowhere() {
    let desk = Desk::new("watch_path: config.yml\ns3_bucket: my-bucket\nstate_dir: ~/state\n");
    assert_eq!(
        desk.reported(),
        "2 problems in the configuration:\n  \
         config.yml:1: watch_path: \"/desk/config.yml\" is a file; write the path of a directory\n  \
         config.yml:3: state_dir: \"~/state\" starts with ~, which only a shell understands; \
         write the whole path"
    );
}

#[test]
fn reports_why_the_file_cannot_be_read() {
    let mut desk = Desk::empty();
    desk.sources.file = "other.yml".into();
    desk.sources.file_required = true;
    assert_eq!(
        desk.reported(),
        "1 problem in the configuration:\n  \
         other.yml: there is no such file; name one that exists, or leave --config out and set every \
         key by its variable"
    );
    fs::create_dir(desk.path("other.yml")).expect("a directory");
    assert_eq!(
        desk.reported(),
        "1 problem in the configuration:\n  \
         other.yml: cannot be read: it is a directory, not a regular file; name a file that this user may read"
    );
    desk.sources.file = "/dev/zero".into();
    assert_eq!(
        desk.reported(),
        "1 problem in the configuration:\n  \
         /dev/zero: cannot be read: it is a device, not a regular file; name a file that this user may read"
    );
    fs::write(desk.path("latin1.yml"), b"a: 1\ns3_prefix: \xe4\n").expect("a file");
    desk.sources.file = "latin1.yml".into();
    assert_eq!(
        desk.reported(),
        "1 problem in the configuration:\n  \
         latin1.yml: line 2 is not UTF-8; save the file as UTF-8"
    );
}

#[test]
fn reports_a_variable_that_is_not_utf8() {
    let mut desk = Desk::new(&with_required(""));
    let value = OsString::from_vec(b"/data/\xff".to_vec());
    desk.sources.environment.insert("FILE_SYNC__WATCH_PATH".into(), value);
    let reported = "FILE_SYNC__WATCH_PATH: watch_path: is not UTF-8; write it as UTF-8";
    assert_eq!(desk.reported(), format!("1 problem in the configuration:\n  {reported}"));
}
