//! Tests of default values.

use super::*;

#[test]
fn the_defaults_are_those_of_the_contract() {
    let desk = Desk::new(&with_required(""));
    let state_dir = desk.path(".file-sync-service");
    let expected = Config {
        watch_path: "/data".into(),
        watch_path_link: WatchPathLink::Bound,
        bucket: "my-bucket".to_owned(),
        region: None,
        prefix: KeyPrefix::default(),
        share: Shard::default(),
        retry_file: state_dir.join("retry_queue.json"),
        retry_interval: Duration::from_secs(300),
        cloudfront: None,
        state_dir: state_dir.clone(),
        state_dir_origin: ValueOrigin::Default,
        objects: rules::RuleSettings::default(),
        refresh_metadata: false,
        checksum: Checksum::Crc64Nvme,
        expected_bucket_owner: None,
        requester_pays: false,
        customer_key: None,
        watch_mode: WatchMode::Auto,
        poll: PollSettings {
            interval: Duration::from_secs(30),
            full_interval: Duration::from_secs(900),
            rescan_interval: Duration::from_secs(3600),
            operations_per_second: 0,
        },
        ignore: vec![],
        ignore_defaults: true,
        follow_links: false,
        file_limits: FileLimits::default(),
        settling: SettlingTimes {
            debounce: Duration::from_millis(250),
            open_file_quiet: Duration::from_secs(5),
            debounce_max: Duration::from_secs(60),
        },
        endpoint_url: None,
        ca_bundle: None,
        aws_environment: AwsEnvironment::default(),
        force_path_style: false,
        aws_endpoint: AwsEndpoint::default(),
        probe: false,
        conditional_writes: true,
        lease: None,
        max_concurrent_transfers: 256,
        multipart_threshold: 16 << 20,
        multipart_part_size: 8 << 20,
        transfer_memory: 128 << 20,
        bandwidth: BandwidthSchedule::default(),
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            response: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        },
        delete_policy: DeletePolicy::Propagate,
        delete_delay: Duration::ZERO,
        delete_limit_percent: 50,
        delete_limit_count: 1000,
        delete_limit_window: Duration::from_secs(600),
        listen_address: vec!["[::]:9187".parse().expect("an address")],
        admin_address: ["127.0.0.1:9188", "[::1]:9188"]
            .map(|text| text.parse().expect("an address"))
            .into(),
        admin_socket: Some(state_dir.join("admin.sock")),
        admin_token_file: None,
        heartbeat: None,
        hints: HintSettings::default(),
        state_survives: StateSurvives::Auto,
        lock_timeout: Duration::from_secs(600),
        status_file_names: false,
        status_file: None,
        termination_message: "/dev/termination-log".into(),
        shutdown_timeout: Duration::from_secs(25),
        shutdown_on_outage: ShutdownOnOutage::Wait,
        sandbox: SandboxSettings::default(),
        log_format: None,
        log_level: "info".to_owned(),
        log_transfers: crate::model::TransferLog::All,
    };
    assert_eq!(desk.loaded().config, expected);
}
