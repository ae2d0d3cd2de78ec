//! Which of AWS's endpoints for S3 is used, wherever that is configured, and which combinations cannot work.

use super::AwsEndpoint;
use super::checks;
use super::keys::{self, Key};
use super::problem::Problem;
use super::profile::AwsProfile;
use super::reader::SettingReader;
use super::shown::ValueOrigin;

/// The partitions without transfer acceleration, by the start of their regions.
const WITHOUT_ACCELERATION: [&str; 5] = ["cn-", "us-gov-", "us-iso", "eu-iso", "eusc-"];

/// What an endpoint is combined with.
pub(super) struct Surroundings<'a> {
    pub(super) bucket: &'a str,
    pub(super) region: Option<&'a str>,
    pub(super) own_endpoint: bool,
    pub(super) path_style: bool,
}

/// Reads the three settings: our key, otherwise the variable, otherwise the profile.
pub(super) fn endpoint(reader: &mut SettingReader<'_>, around: &Surroundings<'_>) -> AwsEndpoint {
    let profile = AwsProfile::read(reader.sources);
    let accelerate = (None, Some("s3"), "use_accelerate_endpoint");
    let dual_stack = (Some("AWS_USE_DUALSTACK_ENDPOINT"), None, "use_dualstack_endpoint");
    let fips = (Some("AWS_USE_FIPS_ENDPOINT"), None, "use_fips_endpoint");
    let endpoint = AwsEndpoint {
        accelerate: switch(reader, &keys::S3_USE_ACCELERATE, &profile, accelerate),
        dual_stack: switch(reader, &keys::S3_USE_DUALSTACK, &profile, dual_stack),
        fips: switch(reader, &keys::S3_USE_FIPS, &profile, fips),
    };
    if reader.sound(&[&keys::S3_BUCKET, &keys::S3_REGION, &keys::S3_ENDPOINT_URL]) {
        for (key, why) in conflicts(endpoint, around) {
            let origin = reader.origin(key);
            reader.refuse(key, &origin, "true", why.to_owned());
        }
    }
    endpoint
}

/// One setting. The SDK ignores what is neither true nor false; here it is an error.
fn switch(
    reader: &mut SettingReader<'_>,
    key: &'static Key,
    profile: &AwsProfile,
    (variable, below, name): (Option<&'static str>, Option<&str>, &str),
) -> bool {
    let written = reader.checked(key, |text, _| checks::boolean(text), bool::to_string);
    if written.is_some() || !reader.sound(&[key]) {
        return written.unwrap_or_default();
    }
    let named = variable.and_then(|name| {
        let value = reader.sources.variable(name)?.to_string_lossy().trim().to_owned();
        Some((value, name.to_owned())).filter(|(value, _)| !value.is_empty())
    });
    let from_profile = || {
        let value = profile.value(below, name)?.to_owned();
        Some((value, format!("{}: {name}", profile.place)))
    };
    let Some((value, place)) = named.or_else(from_profile) else { return false };
    match checks::boolean(&value.to_lowercase()) {
        Ok(value) => {
            reader.note(key, value.to_string(), ValueOrigin::Given(place));
            value
        }
        Err(wrong) => {
            reader.push(Problem::source(&super::problem::escaped(&place), wrong).showing(&value));
            false
        }
    }
}

/// The settings that cannot work, each with the reason.
fn conflicts(
    endpoint: AwsEndpoint,
    around: &Surroundings<'_>,
) -> Vec<(&'static Key, &'static str)> {
    let in_partition = |starts: &[&str]| {
        around.region.is_some_and(|region| starts.iter().any(|start| region.starts_with(start)))
    };
    let accelerate: [(bool, &str); 7] = [
        (
            around.own_endpoint,
            "is no use with an endpoint of your own (s3_endpoint_url, AWS_ENDPOINT_URL): transfer acceleration \
             has its own; remove one",
        ),
        (
            around.path_style,
            "does not work with s3_force_path_style: acceleration needs the bucket in the host name; remove one",
        ),
        (
            endpoint.fips,
            "does not work with FIPS endpoints, which have no acceleration; remove one",
        ),
        (
            around.bucket.starts_with("arn:"),
            "does not work with the ARN of an access point; write the bucket's name, or remove it",
        ),
        (
            around.bucket.ends_with("--x-s3"),
            "does not work with a directory bucket, which has no acceleration; remove it",
        ),
        (
            around.bucket.contains('.') && !around.bucket.starts_with("arn:"),
            "does not work with a bucket whose name has dots, because no certificate fits its host name; remove it",
        ),
        (
            in_partition(&WITHOUT_ACCELERATION),
            "does not work in this region, whose partition has no acceleration; remove it",
        ),
    ];
    let fips = [
        (
            around.own_endpoint,
            "is no use with an endpoint of your own (s3_endpoint_url, AWS_ENDPOINT_URL): write a FIPS endpoint \
             there, or remove one",
        ),
        (in_partition(&["cn-"]), "does not work in China, which has no FIPS endpoints; remove it"),
    ];
    let dual_stack = [(
        around.own_endpoint,
        "is no use with an endpoint of your own (s3_endpoint_url, AWS_ENDPOINT_URL), whose addresses its name \
         has; remove one",
    )];
    let first = |wanted: bool, reasons: &[(bool, &'static str)]| {
        let met = reasons.iter().find(|(met, _)| wanted && *met);
        met.map(|(_, why)| *why)
    };
    let found = [
        (&keys::S3_USE_ACCELERATE, first(endpoint.accelerate, &accelerate)),
        (&keys::S3_USE_DUALSTACK, first(endpoint.dual_stack, &dual_stack)),
        (&keys::S3_USE_FIPS, first(endpoint.fips, &fips)),
    ];
    found.into_iter().filter_map(|(key, why)| Some((key, why?))).collect()
}
