//! Who the daemon is to AWS, and the way there: one set of credentials and one HTTP client for all of it.

use crate::harness::service::{Request, Service};
use crate::harness::{World, until};
use file_sync_dev_s3::{ACCESS_KEY, SECRET_KEY};
use std::fs;

/// What the token file says.
const TOKEN: &str = "the-token-of-the-pod";

/// A world whose daemons have a role and a token for it, and the STS they show it to.
fn with_role(sts: &Service) -> World {
    let mut world = World::new();
    let token = world.beside("token");
    fs::write(&token, TOKEN).expect("written");
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/uploads"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token.to_string_lossy()),
        ("AWS_ENDPOINT_URL_STS", &sts.url()),
    ] {
        world.variable(name, value);
    }
    world
}

/// What STS says to a token it knows: the keys of the bucket, for a while.
fn session(request: &Request) -> (u16, String) {
    assert!(request.body.contains(&format!("WebIdentityToken={TOKEN}")), "{request:?}");
    let answer = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{ACCESS_KEY}</AccessKeyId>\
         <SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken>session</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    (200, answer)
}

#[test]
fn one_session_serves_s3_and_cloudfront() {
    let sts = Service::start(session);
    let (world, cloudfront) = with_role(&sts).behind_cloudfront();
    let daemon = world.start().ready();
    world.tree.write("file", "old");
    world.wait_for_object("file", "old");
    world.tree.write("file", "new");
    until("CloudFront is told", || !cloudfront.invalidations().is_empty());
    assert_eq!(sts.asked().len(), 1);
    daemon.stop();
}

/// A proxy that lets nothing through, and a world whose daemons go by it to all that is behind TLS.
fn behind_proxy(world: &mut World) -> Service {
    let proxy = Service::start(|_| (502, String::new()));
    world.variable("HTTPS_PROXY", &proxy.url());
    proxy
}

fn wait_for_connect(proxy: &Service, host: &str) {
    let wanted = format!("CONNECT {host}:443 HTTP/1.1");
    until("the proxy is asked", || !proxy.asked().is_empty());
    for asked in proxy.asked() {
        assert_eq!(asked.line, wanted);
    }
}

#[test]
fn endpoints_follow_the_variables_of_the_sdk() {
    for (variables, host) in [
        (&[][..], "s3.eu-central-1"),
        (&["AWS_USE_FIPS_ENDPOINT"], "s3-fips.eu-central-1"),
        (&["AWS_USE_DUALSTACK_ENDPOINT"], "s3.dualstack.eu-central-1"),
        (
            &["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"],
            "s3-fips.dualstack.eu-central-1",
        ),
    ] {
        let mut world = World::new().setting("s3_region", "eu-central-1");
        world.set("s3_force_path_style", "false");
        world.without_variable("AWS_ENDPOINT_URL_S3");
        for name in variables {
            world.variable(name, "true");
        }
        let proxy = behind_proxy(&mut world);
        let daemon = world.start();
        world.tree.write("file", "x");
        wait_for_connect(&proxy, &format!("{}.{host}.amazonaws.com", file_sync_dev_s3::BUCKET));
        daemon.kill();
    }
}

#[test]
fn cloudfront_goes_the_same_way_as_s3() {
    let (mut world, _none) = World::new().behind_cloudfront();
    world.without_variable("AWS_ENDPOINT_URL_CLOUDFRONT");
    let proxy = behind_proxy(&mut world);
    let daemon = world.start().ready();
    world.tree.write("file", "old");
    world.wait_for_object("file", "old");
    world.tree.write("file", "new");
    wait_for_connect(&proxy, "cloudfront.amazonaws.com");
    daemon.kill();
}
