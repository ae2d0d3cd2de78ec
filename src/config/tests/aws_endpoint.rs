//! Tests of AWS's endpoints.

use super::*;

fn value(loaded: &LoadedConfig, key: &str) -> (String, String) {
    let (value, origin) = shown(loaded, key);
    let file = origin.rsplit('/').next().unwrap_or_default().to_owned();
    (value, file)
}

#[test]
fn what_is_in_force_is_shown_with_its_origin() {
    let profile =
        "[profile fast]\ns3 =\n  use_accelerate_endpoint = TRUE\nuse_dualstack_endpoint = false\n";
    let desk = Desk::new(&with_required("s3_use_fips_endpoint: false\n"))
        .with("AWS_USE_FIPS_ENDPOINT", "true")
        .with("AWS_USE_DUALSTACK_ENDPOINT", "true")
        .with("AWS_CONFIG_FILE", "aws.ini")
        .with("AWS_PROFILE", "fast");
    fs::write(desk.path("aws.ini"), profile).expect("a file");
    let loaded = desk.loaded();
    let expected = AwsEndpoint { accelerate: true, dual_stack: true, fips: false };
    assert_eq!(loaded.config.aws_endpoint, expected);
    let reported = |key: &str| value(&loaded, key);
    let of = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(
        reported("s3_use_accelerate_endpoint"),
        of("true", "aws.ini [fast]: use_accelerate_endpoint")
    );
    assert_eq!(reported("s3_use_dualstack_endpoint"), of("true", "AWS_USE_DUALSTACK_ENDPOINT"));
    assert_eq!(reported("s3_use_fips_endpoint"), of("false", "config.yml:3"));
}

#[test]
fn a_combination_that_cannot_work_is_refused_with_the_reason() {
    let accelerate = "s3_use_accelerate_endpoint: true\n";
    let fips = "s3_use_fips_endpoint: true\n";
    let own = "s3_endpoint_url: https://minio\n";
    let dual = "s3_use_dualstack_endpoint: true\n";
    for (more, why) in [
        (format!("{accelerate}{own}"), "endpoint of your own"),
        (
            format!("{accelerate}s3_force_path_style: true\n"),
            "does not work with s3_force_path_style",
        ),
        (format!("{accelerate}{fips}"), "does not work with FIPS"),
        (format!("{accelerate}s3_region: cn-north-1\n"), "no acceleration"),
        (format!("{fips}{own}"), "write a FIPS endpoint"),
        (format!("{fips}s3_region: cn-north-1\n"), "no FIPS endpoints"),
        (format!("{dual}{own}"), "endpoint of your own"),
    ] {
        let reported = Desk::new(&with_required(&more)).reported();
        assert!(reported.contains(why) && reported.starts_with("1 problem"), "{more}: {reported}");
    }
    for (bucket, why) in [
        ("my.bucket", "name has dots"),
        ("arn:aws:s3:us-west-2:123456789012:accesspoint/test", "ARN of an access point"),
        ("doc--usw2-az1--x-s3", "directory bucket"),
    ] {
        let file = format!("watch_path: /data\ns3_bucket: {bucket}\n{accelerate}");
        let reported = Desk::new(&file).reported();
        assert!(reported.contains(why), "{bucket}: {reported}");
    }
    let variable = Desk::new(&with_required(own)).with("AWS_USE_FIPS_ENDPOINT", "true").reported();
    assert!(variable.contains("AWS_USE_FIPS_ENDPOINT: s3_use_fips_endpoint"), "{variable}");
    let wrong = Desk::new(&with_required("")).with("AWS_USE_FIPS_ENDPOINT", "yes").reported();
    assert!(wrong.contains("AWS_USE_FIPS_ENDPOINT: \"yes\" is neither true nor false"), "{wrong}");
    let both = format!("{dual}{fips}");
    Desk::new(&with_required(&both)).loaded();
}
