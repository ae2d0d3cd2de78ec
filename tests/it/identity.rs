//! Who the daemon is to AWS, and the way there: one set of credentials and one HTTP client for all of it.

use crate::harness::http::{Endpoints, get};
use crate::harness::service::{Answer, Request, Service};
use crate::harness::{World, until};
use file_sync_dev_s3::{ACCESS_KEY, SECRET_KEY};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const HOUR: Duration = Duration::from_secs(3600);

/// What the token file says.
const TOKEN: &str = "the-token-of-the-pod";

/// A world whose daemons have a role and a token for it, and the STS they show it to.
fn with_role(sts: &Service) -> World {
    let mut world = World::new();
    let token = world.sibling_path("token");
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

/// What STS says to a token it knows: the keys of the bucket, for so long.
fn session(request: &Request, life: Duration) -> Answer {
    assert!(request.body.contains(&format!("WebIdentityToken={TOKEN}")), "{request:?}");
    let end = in_time(life);
    let answer = format!(
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{ACCESS_KEY}</AccessKeyId>\
         <SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken>the-session</SessionToken>\
         <Expiration>{end}</Expiration></Credentials>\
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    );
    (200, answer)
}

/// What the agent of EKS Pod Identity says.
fn agent(request: &Request, life: Duration) -> Answer {
    assert_eq!(request.header("authorization"), TOKEN);
    let end = in_time(life);
    let answer = format!(
        "{{\"AccessKeyId\":\"{ACCESS_KEY}\",\"SecretAccessKey\":\"{SECRET_KEY}\",\
         \"Token\":\"the-session\",\"Expiration\":\"{end}\"}}"
    );
    (200, answer)
}

#[expect(clippy::disallowed_methods, reason = "a session ends at a time of day")]
fn in_time(life: Duration) -> String {
    OffsetDateTime::from(SystemTime::now() + life).format(&Rfc3339).expect("a date")
}

#[test]
fn one_session_serves_s3_and_cloudfront() {
    let sts = Service::start(|request| session(request, HOUR));
    let (world, cloudfront) = with_role(&sts).behind_cloudfront();
    let daemon = world.start().ready();
    world.tree.write("file", "old");
    world.wait_for_object("file", "old");
    world.tree.write("file", "new");
    until("an invalidation is requested", || !cloudfront.invalidations().is_empty());
    assert_eq!(sts.asked().len(), 1);
    daemon.stop();
}

#[test]
fn a_session_is_renewed_before_it_is_needed() {
    let sts = Service::start(|request| session(request, Duration::from_secs(8)));
    let world = with_role(&sts);
    let daemon = world.start().ready();
    until("STS is asked again with nothing to send", || sts.asked().len() > 1);
    daemon.wait_for("credentials.renewed");
    assert_eq!(world.server.journal().total(), 0);
    daemon.stop();
}

/// A switch, and what an answer is while it is off.
fn switched(
    answer: impl Fn(&Request, Duration) -> Answer + Send + 'static,
) -> (Service, Arc<AtomicBool>) {
    let on = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&on);
    let service = Service::start(move |request| match on.load(Ordering::SeqCst) {
        true => answer(request, HOUR),
        false => (400, "<ErrorResponse><Error><Code>Refused</Code></Error></ErrorResponse>".into()),
    });
    (service, switch)
}

/// A refused renewal is logged and counted, the next one as well, and no secret is logged at all.
fn assert_told(mut world: World, granted: &AtomicBool) {
    world.set("listen_address", "127.0.0.1:0");
    world.set("admin_address", "127.0.0.1:0");
    // All that the SDK says as well.
    world.set("log_level", "trace");
    let daemon = world.start();
    let metrics = || get(Endpoints::of(&daemon).public, "/metrics").1;
    let counted = |result: &str| {
        let text = metrics();
        let name = format!("file_sync_credentials_renewals_total{{result=\"{result}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u32>().ok());
        count.unwrap_or_else(|| panic!("{name} is not in {text}"))
    };
    world.tree.write("file", "x");
    assert_eq!(daemon.wait_for("credentials.renewal_failed").number("valid_seconds"), Some(0));
    until("it is counted", || counted("failure") > 0);
    assert!(!metrics().contains("file_sync_credentials_expiry_timestamp_seconds "));
    granted.store(true, Ordering::SeqCst);
    world.wait_for_object("file", "x");
    let left = daemon.wait_for("credentials.renewed").number("valid_seconds").expect("an end");
    assert!((3500..=3600).contains(&left), "{left}");
    assert_eq!(counted("success"), 1);
    assert!(metrics().contains("file_sync_credentials_expiry_timestamp_seconds "));
    for secret in [TOKEN, SECRET_KEY, "the-session"] {
        assert!(!daemon.has(|line| line.shown().contains(secret)), "{secret} is in the log");
    }
    let ended = daemon.stop();
    assert!(!ended.errors.contains(SECRET_KEY) && !ended.errors.contains(TOKEN));
}

#[test]
fn a_role_that_is_refused_is_told_and_counted_and_no_secret_is() {
    let (sts, granted) = switched(session);
    assert_told(with_role(&sts), &granted);
}

#[test]
fn an_agent_that_refuses_is_told_and_counted_and_no_secret_is() {
    let (service, granted) = switched(agent);
    let mut world = with_role(&service);
    world.without_variable("AWS_ROLE_ARN");
    world.without_variable("AWS_WEB_IDENTITY_TOKEN_FILE");
    let token = world.sibling_path("token");
    world.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/v1/x", service.url()));
    world.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token.to_string_lossy());
    assert_told(world, &granted);
}

#[test]
fn a_token_file_that_is_missing_is_named_with_its_path() {
    let sts = Service::start(|request| session(request, HOUR));
    let world = with_role(&sts);
    let token = world.sibling_path("token");
    fs::remove_file(&token).expect("removed");
    world.tree.write("file", "x");
    let daemon = world.start();
    let reported = daemon.wait_for("credentials.renewal_failed").text("error.message").to_owned();
    assert!(reported.contains(&*token.to_string_lossy()), "{reported}");
    assert!(reported.contains("No such file"), "{reported}");
    let reported = daemon.wait_for("s3.unavailable").text("error.message").to_owned();
    assert!(reported.contains(&*token.to_string_lossy()), "{reported}");
    fs::write(&token, TOKEN).expect("written");
    world.wait_for_object("file", "x");
    daemon.stop();
}

#[test]
fn a_refused_role_is_told_by_its_reason_and_not_by_the_whole_answer() {
    const REASON: &str = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
    let sts = Service::start(|_| {
        let error = format!("<Code>AccessDenied</Code><Message>{REASON}</Message>");
        let filler = "filler".repeat(200);
        let answer = format!(
            "<ErrorResponse><Error><Type>Sender</Type>{error}</Error>\
             <RequestId>{filler}</RequestId></ErrorResponse>"
        );
        (403, answer)
    });
    let world = with_role(&sts).setting("log_level", "info");
    world.tree.write("file", "x");
    let daemon = world.start();
    for event in ["credentials.renewal_failed", "s3.unavailable"] {
        let line = daemon.wait_for(event);
        let told = line.text("error.message");
        assert!(told.contains(REASON), "{event}: {}", line.shown());
        assert!(told.len() < 400, "{event}: {}", line.shown());
    }
    let ended = daemon.stop();
    for whole in ["filler", "Response {", "content-length", "StatusCode"] {
        let line = ended.lines.iter().find(|line| line.shown().contains(whole));
        assert!(line.is_none(), "{whole}: {}", line.expect("one").shown());
        assert!(!ended.errors.contains(whole), "{whole}: {}", ended.errors);
    }
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
        // An empty variable is none.
        world.variable("AWS_ENDPOINT_URL_S3", "");
        world.variable("AWS_ENDPOINT_URL", "");
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
    world.variable("AWS_ENDPOINT_URL_CLOUDFRONT", "");
    let proxy = behind_proxy(&mut world);
    let daemon = world.start().ready();
    world.tree.write("file", "old");
    world.wait_for_object("file", "old");
    world.tree.write("file", "new");
    wait_for_connect(&proxy, "cloudfront.amazonaws.com");
    daemon.kill();
}
