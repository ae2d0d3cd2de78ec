//! Validates texts. Each check knows the form of a value, not its key, and states what is expected.

use super::keys;
use super::problem::ValidationMessage;
use crate::endpoint_url;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use tracing_subscriber::filter::EnvFilter;

/// Accepts only `true` and `false`: `no` has been taken for both often enough.
pub(super) fn boolean(text: &str) -> Result<bool, ValidationMessage> {
    match text {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => Err("is neither true nor false; write one of them".to_owned()),
    }
}

/// An integer within bounds.
pub(super) fn whole(
    text: &str,
    unit: &str,
    min: u64,
    max: u64,
    example: &str,
) -> Result<u64, ValidationMessage> {
    let right = format!("write {unit} from {min} to {max}, such as {example}");
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("is not a whole number; {right}"));
    }
    match text.parse::<u64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("is out of range; {right}")),
    }
}

/// Units of a rate, in bytes.
const RATE_UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
/// The minimum in bytes per second: with less, a request of one part takes minutes.
const RATE_MIN: u64 = 16 << 10;
const RATE_MAX: u64 = 1 << 40;

/// Bytes per second, written as an integer and a unit.
pub(super) fn rate(text: &str) -> Result<u64, ValidationMessage> {
    const RIGHT: &str = "write a whole number and KiB, MiB or GiB, such as 500KiB";
    let read = RATE_UNITS.iter().find_map(|(name, unit)| {
        let digits = text.strip_suffix(name)?.trim_end();
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        Some((digits.parse::<u64>().ok().filter(|_| plain)?, *unit))
    });
    let Some((number, unit)) = read else {
        return Err(format!("is not a rate; {RIGHT}"));
    };
    match number.checked_mul(unit) {
        Some(rate) if (RATE_MIN..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err("is out of range; write 16KiB to 1024GiB".to_owned()),
    }
}

/// Formats a rate with the largest unit that is exact.
pub(super) fn shown_rate(rate: u64) -> String {
    let whole = RATE_UNITS.iter().find(|(_, unit)| rate.is_multiple_of(*unit));
    whole.map_or_else(|| rate.to_string(), |(name, unit)| format!("{}{name}", rate / unit))
}

/// A bucket name by the rules of S3, the alias of an access point, or its ARN. Other stores have
/// their own rules, and may accept capitals and underscores.
pub(super) fn bucket(text: &str, other_store: bool) -> Result<(), ValidationMessage> {
    if let Some(rest) = text.strip_prefix("s3://") {
        let name = rest.split('/').next().unwrap_or_default();
        return Err(format!(
            "is a URL; write the name alone, {name}, and what follows it as s3_prefix"
        ));
    }
    if text.starts_with("arn:") {
        return bucket_arn(text);
    }
    let letter = |byte: u8| byte.is_ascii_lowercase() || (other_store && byte.is_ascii_uppercase());
    let alphanumeric = |byte: u8| letter(byte) || byte.is_ascii_digit();
    let within = |byte: u8| {
        alphanumeric(byte) || matches!(byte, b'-' | b'.') || (other_store && byte == b'_')
    };
    let ends = [text.bytes().next(), text.bytes().next_back()];
    let why = if !(3..=63).contains(&text.len()) {
        "has to be 3 to 63 characters long"
    } else if !text.bytes().all(within) {
        "may hold small letters, digits, hyphens and dots only"
    } else if !ends.into_iter().flatten().all(alphanumeric) {
        "has to start and end with a letter or a digit"
    } else if text.contains("..") {
        "may not hold two dots in a row"
    } else if text.parse::<std::net::Ipv4Addr>().is_ok() {
        "may not look like an IP address"
    } else {
        return Ok(());
    };
    Err(format!("is not a valid bucket name: it {why}; write it as S3 shows it"))
}

fn bucket_arn(text: &str) -> Result<(), ValidationMessage> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts[..] {
        [_, _, "s3", "", _, resource] if resource.starts_with("accesspoint") => Err(
            "is a multi-Region access point, whose requests need a signature that this version does not \
             make; write an access point of one region, or the bucket's name"
                .to_owned(),
        ),
        [_, _, "s3" | "s3-outposts" | "s3-object-lambda", _, _, resource]
            if resource.contains("accesspoint") =>
        {
            Ok(())
        }
        [_, _, "s3", "", "", name] => {
            Err(format!("is a bucket's ARN; write the name alone, {name}"))
        }
        _ => Err("is not the ARN of an access point; write the bucket's name, or \
             arn:aws:s3:<region>:<account>:accesspoint/<name>"
            .to_owned()),
    }
}

/// A region name. Other stores use any name.
pub(super) fn region(text: &str) -> Result<(), ValidationMessage> {
    let within = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text.len() <= 64 && text.bytes().all(within) {
        return Ok(());
    }
    Err("is not a region; write its short name, such as us-east-1".to_owned())
}

/// The value that disables an address.
pub(super) const OFF: &str = "off";

/// An IP address and a port, `localhost` for both families of loopback, or `off`.
pub(super) fn address(text: &str) -> Result<Vec<SocketAddr>, ValidationMessage> {
    if text == OFF {
        return Ok(Vec::new());
    }
    if let Some(port) = text.strip_prefix("localhost:")
        && let Ok(port) = port.parse::<u16>()
    {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    text.parse().map(|address| vec![address]).map_err(|_| {
        "is not an IP address with a port; write one such as [::]:9187 or 0.0.0.0:9187, or off"
            .to_owned()
    })
}

/// An address that is not reachable from other machines, because its endpoint shows file names.
pub(super) fn loopback(text: &str) -> Result<Vec<SocketAddr>, ValidationMessage> {
    let addresses = address(text)?;
    if addresses.iter().all(|address| address.ip().to_canonical().is_loopback()) {
        return Ok(addresses);
    }
    Err("can be reached from outside, and shows file names; write a loopback address such as \
         localhost:9188, or off"
        .to_owned())
}

/// The URL of another store. Credentials in it would never be sent, only logged.
pub(super) fn endpoint(text: &str) -> Result<(), ValidationMessage> {
    if endpoint_url::holds_credentials(text) {
        return Err("holds credentials, which no request would use; take them out and set \
             AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            .to_owned());
    }
    if endpoint_url::is_url(text) {
        return Ok(());
    }
    Err("is not the URL of a store; it has to start with http:// or https:// and a host, \
         such as http://minio:9000"
        .to_owned())
}

/// The id of a distribution, which is not its host name.
pub(super) fn distribution_id(text: &str) -> Result<(), ValidationMessage> {
    if text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err("is not a distribution id; write the one CloudFront shows, such as E1234567890ABC"
        .to_owned())
}

/// The prefix of the paths of viewers, as in S3: it is encoded later.
pub(super) fn path_prefix(text: &str) -> Result<(), ValidationMessage> {
    let right = "write the names before it alone, such as site/v1";
    if text.contains("://") {
        return Err(format!("is a URL; {right}"));
    }
    if text.len() > 256 || text.contains(['*', '?', '#']) || text.chars().any(char::is_control) {
        return Err(format!("is not a path of a viewer; {right}"));
    }
    if text.split('/').any(|name| matches!(name, "." | "..")) {
        return Err(format!("has a '.' or '..' component; {right}"));
    }
    Ok(())
}

/// The storage classes of S3.
const STORAGE_CLASSES: [&str; 11] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
    "EXPRESS_ONEZONE",
    "OUTPOSTS",
    "SNOW",
];

/// A storage class of S3. Other stores have their own.
pub(super) fn storage_class(text: &str, other_store: bool) -> Result<(), ValidationMessage> {
    if STORAGE_CLASSES.contains(&text) {
        return Ok(());
    }
    let within = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if other_store && (1..=64).contains(&text.len()) && text.bytes().all(within) {
        return Ok(());
    }
    let nearest = keys::nearest_of(text, STORAGE_CLASSES.into_iter()).unwrap_or_default();
    Err(format!("is not a storage class; did you mean {nearest}?"))
}

/// The number of an AWS account.
pub(super) fn account(text: &str) -> Result<(), ValidationMessage> {
    if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    Err("is not an AWS account; write its 12 digits in quotes, such as \"111122223333\"".to_owned())
}

/// Maximum length of a header value: all headers of a request have to fit into 8 KiB.
const HEADER_BYTES_MAX: usize = 1024;

/// A text that is valid in a header.
pub(super) fn header(text: &str) -> Result<(), ValidationMessage> {
    let visible = |byte: u8| (b' '..=b'~').contains(&byte);
    if !text.bytes().all(visible) {
        return Err("holds characters that no header takes; write visible ASCII, and other \
             characters in the way the header has for them"
            .to_owned());
    }
    if text.len() > HEADER_BYTES_MAX {
        return Err(format!(
            "is longer than a header may be; write {HEADER_BYTES_MAX} bytes at most"
        ));
    }
    if text.trim() != text {
        return Err("starts or ends with a space, which no header keeps; remove it".to_owned());
    }
    Ok(())
}

/// A content type: two words with a slash between them, and parameters.
pub(super) fn content_type(text: &str) -> Result<(), ValidationMessage> {
    header(text)?;
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let token = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+*".contains(&byte);
        !text.is_empty() && text.bytes().all(plain)
    };
    match essence.split_once('/') {
        Some((kind, subkind)) if token(kind) && token(subkind) => Ok(()),
        _ => Err("is not a content type; write one such as text/html; charset=utf-8".to_owned()),
    }
}

/// One pattern in gitignore syntax.
pub(super) fn pattern(text: &str) -> Result<(), ValidationMessage> {
    if text.contains(['\n', '\r']) {
        return Err(
            "holds a line break, which no pattern matches; write each pattern as an entry of \
             its own, such as *.bak"
                .to_owned(),
        );
    }
    match ignore::gitignore::GitignoreBuilder::new("").add_line(None, text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "is not a pattern in gitignore syntax: {}; write one such as *.bak",
            kind(error)
        )),
    }
}

/// The message without the pattern, which is already shown.
fn kind(error: ignore::Error) -> String {
    match error {
        ignore::Error::Glob { err, .. } => err,
        ignore::Error::WithPath { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            kind(*err)
        }
        error => error.to_string(),
    }
}

/// A level, or directives like those of `RUST_LOG`. A single word that is not a level would be a
/// module name, and disable everything else: `bare_targets` permits that.
pub(super) fn log_level(text: &str, bare_targets: bool) -> Result<(), ValidationMessage> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let right = "write off, error, warn, info, debug or trace, or directives such as \
                 info,file_sync_service=debug";
    let level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let doubtful = |directive: &str| !directive.contains(['=', '[']) && !level(directive);
    if !bare_targets
        && let Some(word) = text.split(',').map(str::trim).find(|directive| doubtful(directive))
    {
        return Err(match text == word {
            true => format!("is not a log level; {right}"),
            false => format!("holds '{word}', which is not a log level; {right}"),
        });
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("is not a log level; {right}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_whole_number_and_a_unit() {
        for (text, rate) in
            [("16KiB", 16 << 10), ("500 KiB", 500 << 10), ("10MiB", 10 << 20), ("1GiB", 1 << 30)]
        {
            assert_eq!(super::rate(text), Ok(rate), "{text}");
        }
        for text in ["", "10", "MiB", "1.5MiB", "10MB", "-1MiB", "+1MiB", "10 mib", "1 0MiB"] {
            assert!(super::rate(text).is_err_and(|wrong| wrong.contains("500KiB")), "{text}");
        }
        for text in
            ["15KiB", "0MiB", "1025GiB", "99999999999999999999GiB", "18446744073709551615GiB"]
        {
            assert!(super::rate(text).is_err(), "{text}");
        }
        assert_eq!(shown_rate(1536 << 10), "1536KiB");
        assert_eq!(shown_rate(1 << 30), "1GiB");
    }

    #[test]
    fn bucket_names_follow_s3s_rules() {
        for name in [
            "your-s3-bucket-name",
            "abc",
            "123456789012",
            "a.b.c",
            &"a".repeat(63),
            "my-ap-hrzrlukc5m36ft7okagglf3gmwluquse1b-s3alias",
            "doc-example-bucket--usw2-az1--x-s3",
            "arn:aws:s3:us-west-2:123456789012:accesspoint/test",
            "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint:test",
        ] {
            assert_eq!(bucket(name, false), Ok(()), "{name}");
        }
        for (name, why) in [
            ("ab", "3 to 63"),
            (&*"a".repeat(64), "3 to 63"),
            ("My-Bucket", "small letters"),
            ("my_bucket", "small letters"),
            ("my-bucket/uploads", "small letters"),
            ("-bucket", "start and end"),
            ("bucket.", "start and end"),
            ("a..b", "two dots"),
            ("192.168.5.4", "IP address"),
            ("s3://my-bucket/uploads", "write the name alone, my-bucket,"),
            ("arn:aws:s3:::my-bucket", "write the name alone, my-bucket"),
            ("arn:aws:iam::123456789012:role/x", "not the ARN of an access point"),
            ("arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap", "multi-Region"),
            ("arn:aws-cn:s3::123456789012:accesspoint:x.mrap", "multi-Region"),
        ] {
            let wrong = bucket(name, false).expect_err(name);
            assert!(wrong.contains(why), "{name}: {wrong}");
        }
        assert_eq!(bucket("My_Bucket", true), Ok(()));
        assert!(bucket("my bucket", true).is_err());
    }

    #[test]
    fn numbers_are_whole_and_within_bounds() {
        let seconds = |text| whole(text, "seconds", 1, 10, "5");
        assert_eq!(seconds("1"), Ok(1));
        assert_eq!(seconds("010"), Ok(10));
        for text in ["0", "11", "-1", "99999999999999999999999"] {
            let wrong = "is out of range; write seconds from 1 to 10, such as 5";
            assert_eq!(seconds(text), Err(wrong.to_owned()), "{text}");
        }
        for text in ["5m", "1.5", "", "-", "+5", "0x5", "1_0", "five", "٣"] {
            let wrong = "is not a whole number; write seconds from 1 to 10, such as 5";
            assert_eq!(seconds(text), Err(wrong.to_owned()), "{text}");
        }
    }

    #[test]
    fn only_true_and_false_are_truth_values() {
        assert_eq!(boolean("true"), Ok(true));
        assert_eq!(boolean("False"), Ok(false));
        for text in ["yes", "no", "on", "off", "1", "0", "y", "tRuE"] {
            assert!(boolean(text).is_err(), "{text}");
        }
    }

    #[test]
    fn endpoints_are_urls_with_a_host() {
        for text in ["http://minio:9000", "https://s3.example.com/", "http://[::1]:9000"] {
            assert_eq!(endpoint(text), Ok(()), "{text}");
        }
        for text in [
            "minio:9000",
            "https://",
            "ftp://host",
            "http:///path",
            "http://a b",
            "http://u:p@host",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn regions_and_distributions_are_ids() {
        assert!(
            region("us-east-1").is_ok() && region("RegionOne").is_ok() && region("auto").is_ok()
        );
        assert!(region("US East (N. Virginia)").is_err());
        assert!(distribution_id("E1234567890ABC").is_ok() && distribution_id("123").is_ok());
        assert!(distribution_id("d111111abcdef8.cloudfront.net").is_err());
    }

    #[test]
    fn path_prefixes_are_names_without_wildcards() {
        for text in ["", "site/v1", "/site/", "größe/a b"] {
            assert_eq!(path_prefix(text), Ok(()), "{text}");
        }
        for text in ["https://example.com/site", "a*", "a?b", "a/../b", "a\nb"] {
            assert!(path_prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_have_to_compile() {
        for text in ["*.bak", "/build/", "!keep.tmp", "# a comment", "", "**/cache/**", "a,b"] {
            assert_eq!(pattern(text), Ok(()), "{text}");
        }
        assert_eq!(
            pattern("[z-a]"),
            Err("is not a pattern in gitignore syntax: invalid range; 'z' > 'a'; \
                 write one such as *.bak"
                .to_owned())
        );
    }

    #[test]
    fn a_word_that_is_no_level_is_not_taken_for_a_module() {
        for text in ["info", "INFO", "off", "info,file_sync_service=debug", "warn,hyper=error"] {
            assert_eq!(log_level(text, false), Ok(()), "{text}");
        }
        for text in ["verbose", "warning", "info,loud", "hyper=loud", "info,,a=b=c"] {
            assert!(log_level(text, false).is_err(), "{text}");
        }
        assert_eq!(log_level("file_sync_service", true), Ok(()));
        assert!(log_level("hyper=loud", true).is_err());
    }
}
