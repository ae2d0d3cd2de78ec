//! What holds where nothing is written.

use super::*;

#[test]
fn the_defaults_are_those_of_the_contract() {
    let desk = Desk::new(&with_required(""));
    let state_dir = desk.path(".file-sync-service");
    let expected = Config {
        watch_path: "/data".into(),
        bucket: "my-bucket".to_owned(),
        region: None,
        prefix: KeyPrefix::default(),
        share: Share::default(),
        retry_file: state_dir.join("retry_queue.json"),
        retry_interval: Duration::from_secs(300),
        cloudfront: None,
        state_dir,
        state_dir_origin: Origin::Default,
        objects: rules::Settings::default(),
        checksum: Checksum::Crc64Nvme,
        watch_mode: WatchMode::Auto,
        poll_interval: Duration::from_secs(30),
        rescan_interval: Duration::from_secs(3600),
        ignore: vec![],
        ignore_defaults: true,
        debounce: Duration::from_millis(250),
        open_file_quiet: Duration::from_secs(5),
        debounce_max: Duration::from_secs(60),
        endpoint_url: None,
        ca_bundle: None,
        force_path_style: false,
        probe: false,
        lease: None,
        max_concurrent_transfers: 16,
        multipart_threshold: 16 << 20,
        multipart_part_size: 8 << 20,
        transfer_memory: 128 << 20,
        bandwidth_limit: None,
        delete_policy: DeletePolicy::Propagate,
        delete_limit_percent: 50,
        delete_limit_count: 1000,
        listen_address: Some(([0, 0, 0, 0], 9187).into()),
        admin_address: Some(([127, 0, 0, 1], 9188).into()),
        status_file_names: false,
        status_file: None,
        termination_message: "/dev/termination-log".into(),
        shutdown_timeout: Duration::from_secs(25),
        log_format: None,
        log_level: "info".to_owned(),
    };
    assert_eq!(desk.loaded().config, expected);
}
