//! Tests of the settings of requests.

use super::*;

#[test]
fn a_request_lasts_longer_than_its_connection() {
    let timeouts = |more: &str| Desk::new(&with_required(more)).loaded().config.timeouts;
    let seconds = timeouts("s3_connect_timeout_seconds: 29\ns3_idle_timeout_seconds: 1\n");
    let seconds = [seconds.connect, seconds.response, seconds.idle].map(|time| time.as_secs());
    assert_eq!(seconds, [29, 30, 1]);
    for (more, reported) in [
        (
            "s3_connect_timeout_seconds: 30\n",
            "config.yml:3: s3_connect_timeout_seconds: \"30\" has to be less than \
             s3_response_timeout_seconds (30); lower it, or raise that",
        ),
        (
            "s3_response_timeout_seconds: 5\n",
            "config.yml:3: s3_response_timeout_seconds: \"5\" has to be more than \
             s3_connect_timeout_seconds (5); raise it, or lower that",
        ),
    ] {
        let problems = Desk::new(&with_required(more)).reported();
        assert!(problems.contains(reported), "{problems}");
    }
}

#[test]
fn a_customer_key_is_a_key_and_travels_encrypted() {
    let key = "s3_sse_customer_key_file: key\n";
    let desk = |more: &str| {
        let desk = Desk::new(&with_required(&format!("{key}{more}")));
        fs::write(desk.path("key"), [7; 32]).expect("a file");
        desk
    };
    for more in ["", "s3_endpoint_url: https://minio\n", "s3_endpoint_url: http://[::1]:9000\n"] {
        assert!(desk(more).loaded().config.customer_key.is_some(), "{more}");
    }
    let plain = desk("s3_endpoint_url: http://minio:9000\n").reported();
    assert!(plain.contains("plain HTTP; use an https:// endpoint"), "{plain}");
    let variable = desk("").with("AWS_ENDPOINT_URL_S3", "HTTP://minio:9000").reported();
    assert!(variable.contains("plain HTTP"), "{variable}");
    let both = desk("s3_server_side_encryption: AES256\n").reported();
    assert!(both.contains("beside s3_server_side_encryption"), "{both}");
    for (content, why) in [("", "holds no key"), ("too short", "holds no key")] {
        let desk = desk("");
        fs::write(desk.path("key"), content).expect("a file");
        let reported = desk.reported();
        assert!(reported.contains(why) && reported.contains("64 hexadecimal digits"), "{reported}");
    }
    let missing = Desk::new(&with_required(key)).reported();
    assert!(missing.contains("cannot be read"), "{missing}");
}

#[test]
fn another_content_of_the_key_file_needs_a_restart() {
    let desk = Desk::new(&with_required("s3_sse_customer_key_file: key\n"));
    fs::write(desk.path("key"), [7; 32]).expect("a file");
    let old = desk.loaded();
    fs::write(desk.path("key"), [8; 32]).expect("a file");
    assert_eq!(changes(&old, &desk.loaded()).fixed, ["s3_sse_customer_key_file"]);
    assert!(!format!("{:?}", old.config).contains("7, 7"));
}
