//! Credentials that are replaced while the daemon runs, come from a program, or lie behind a proxy.

use crate::harness::World;
use crate::harness::service::Service;
use file_sync_dev_s3::{ACCESS_KEY, SECRET_KEY};
use std::fs;
use std::path::{Path, PathBuf};

/// A world whose daemons have the profiles of one file, and no keys in the environment.
fn with_profiles(profiles: &str) -> (World, PathBuf) {
    let mut world = World::new();
    let file = world.sibling_path("profiles");
    replace(&file, profiles);
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_SHARED_CREDENTIALS_FILE", &*world.sibling_path("none").to_string_lossy()),
        ("AWS_CONFIG_FILE", &file.to_string_lossy()),
    ] {
        world.variable(name, value);
    }
    (world, file)
}

/// As agents do it: a new file takes the place of the old one.
fn replace(file: &Path, content: &str) {
    let new = file.with_extension("new");
    fs::write(&new, content).expect("written");
    fs::rename(new, file).expect("renamed");
}

fn keys(secret: &str) -> String {
    format!("[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {secret}\n")
}

#[test]
fn keys_that_were_replaced_in_the_profile_are_read_again() {
    let (world, file) = with_profiles(&keys("rotated-away"));
    let daemon = world.start().ready();
    world.tree.write("file", "x");
    daemon.wait_for_line("a refusal", |line| line.shown().contains("SignatureDoesNotMatch"));
    replace(&file, &keys(SECRET_KEY));
    world.wait_for_object("file", "x");
    let ended = daemon.stop();
    let reported = format!("{:?}", ended.lines) + &ended.errors;
    assert!(!reported.contains("rotated-away") && !reported.contains(SECRET_KEY));
}

#[test]
fn profiles_that_appear_after_the_start_are_read() {
    let (world, file) = with_profiles("");
    fs::remove_file(&file).expect("removed");
    let daemon = world.start();
    world.tree.write("file", "x");
    daemon.wait_for("credentials.renewal_failed");
    replace(&file, &keys(SECRET_KEY));
    world.wait_for_object("file", "x");
    daemon.stop();
}

fn printed(secret: &str) -> String {
    format!(r#"{{"Version":1,"AccessKeyId":"{ACCESS_KEY}","SecretAccessKey":"{secret}"}}"#)
}

#[test]
fn a_program_that_gives_credentials_is_asked_again_when_they_are_refused() {
    let (world, file) = with_profiles("");
    let answer = world.sibling_path("answer");
    replace(&answer, &printed("rotated-away"));
    replace(
        &file,
        &format!("[default]\ncredential_process = cat \"{}\"\n", answer.to_string_lossy()),
    );
    let daemon = world.start().ready();
    world.tree.write("file", "x");
    daemon.wait_for_line("a refusal", |line| line.shown().contains("SignatureDoesNotMatch"));
    replace(&answer, &printed(SECRET_KEY));
    world.wait_for_object("file", "x");
    daemon.stop();
}

#[test]
fn a_profile_of_a_sign_in_is_refused_with_what_to_write_instead() {
    let profile = "[default]\nsso_start_url = https://example.awsapps.com/start\nsso_region = eu-central-1\n\
                   sso_account_id = 123456789012\nsso_role_name = uploads\n";
    let (world, _file) = with_profiles(profile);
    let daemon = world.start();
    world.tree.write("file", "x");
    let failed = daemon.wait_for("credentials.renewal_failed");
    let reported = failed.shown();
    assert!(
        reported.contains("sso_start_url") && reported.contains("credential_process"),
        "{reported}"
    );
    assert!(!reported.contains("cargo"), "{reported}");
    daemon.stop();
}

#[test]
fn what_gives_credentials_to_the_container_is_asked_past_the_proxy() {
    let agent = Service::start(|_| {
        let keys = format!(r#""AccessKeyId":"{ACCESS_KEY}","SecretAccessKey":"{SECRET_KEY}""#);
        (200, format!(r#"{{{keys},"Token":"t","Expiration":"2100-01-01T00:00:00Z"}}"#))
    });
    let proxy = Service::start(|_| (502, String::new()));
    let (mut world, _file) = with_profiles("");
    let endpoint = world.server.endpoint();
    let store = endpoint.trim_start_matches("http://").trim_end_matches('/');
    world.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/creds", agent.url()));
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        world.variable(name, &proxy.url());
    }
    world.variable("NO_PROXY", &format!("example.com, {store}"));
    let daemon = world.start();
    world.tree.write("file", "x");
    world.wait_for_object("file", "x");
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
    daemon.stop();
    world.variable("NO_PROXY", "*");
    let daemon = world.start();
    world.tree.write("file", "y");
    world.wait_for_object("file", "y");
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
    daemon.stop();
}
