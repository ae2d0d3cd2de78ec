//! What a text has to be. Each check knows a value's shape, not its key, and says what is right.

use super::keys;
use super::problem::Wrong;
use std::net::SocketAddr;
use tracing_subscriber::filter::EnvFilter;

/// Accepts `true` and `false` alone: `no` has been taken for both often enough.
pub(super) fn boolean(text: &str) -> Result<bool, Wrong> {
    match text {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => Err("is neither true nor false; write one of them".to_owned()),
    }
}

/// A whole number within bounds.
pub(super) fn whole(
    text: &str,
    unit: &str,
    min: u64,
    max: u64,
    example: &str,
) -> Result<u64, Wrong> {
    let right = format!("write {unit} from {min} to {max}, such as {example}");
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("is no whole number; {right}"));
    }
    match text.parse::<u64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("is out of range; {right}")),
    }
}

/// A bucket's name by S3's rules, an access point's alias or its ARN. Other stores have rules of
/// their own, and may take capitals and underscores.
pub(super) fn bucket(text: &str, other_store: bool) -> Result<(), Wrong> {
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
    Err(format!("is no bucket name: it {why}; write it as S3 shows it"))
}

fn bucket_arn(text: &str) -> Result<(), Wrong> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts[..] {
        [_, _, "s3" | "s3-outposts" | "s3-object-lambda", _, _, resource]
            if resource.contains("accesspoint") =>
        {
            Ok(())
        }
        [_, _, "s3", "", "", name] => {
            Err(format!("is a bucket's ARN; write the name alone, {name}"))
        }
        _ => Err("is no access point's ARN; write the bucket's name, or \
             arn:aws:s3:<region>:<account>:accesspoint/<name>"
            .to_owned()),
    }
}

/// A region's name. Other stores name theirs as they like.
pub(super) fn region(text: &str) -> Result<(), Wrong> {
    let within = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text.len() <= 64 && text.bytes().all(within) {
        return Ok(());
    }
    Err("is no region; write its short name, such as us-east-1".to_owned())
}

/// What is written where nothing is to be listened on.
pub(super) const OFF: &str = "off";

/// An IP address and a port, or `off`.
pub(super) fn address(text: &str) -> Result<Option<SocketAddr>, Wrong> {
    if text == OFF {
        return Ok(None);
    }
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address = local.as_deref().unwrap_or(text).parse();
    address.map(Some).map_err(|_| {
        "is no IP address with a port; write one such as 0.0.0.0:9187 or [::]:9187, or off"
            .to_owned()
    })
}

/// The same, and nobody outside reaches it: what listens there takes orders.
pub(super) fn loopback(text: &str) -> Result<Option<SocketAddr>, Wrong> {
    match address(text)? {
        Some(address) if !address.ip().is_loopback() => Err(
            "can be reached from outside, and whoever reaches it may steer the daemon; write a loopback \
             address such as 127.0.0.1:9188, or off"
                .to_owned(),
        ),
        address => Ok(address),
    }
}

/// The URL of another store. Credentials in it would never be sent, only logged.
pub(super) fn endpoint(text: &str) -> Result<(), Wrong> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    if host.is_some_and(|host| host.contains('@')) {
        return Err("holds credentials, which no request would use; take them out and set \
             AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            .to_owned());
    }
    let proper = |host: &str| !host.is_empty() && !host.contains(|c: char| c.is_whitespace());
    if host.is_some_and(proper) {
        return Ok(());
    }
    Err("is no URL of a store; it has to start with http:// or https:// and a host, \
         such as http://minio:9000"
        .to_owned())
}

/// The id of a distribution, which is not its host name.
pub(super) fn distribution_id(text: &str) -> Result<(), Wrong> {
    if text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err("is no distribution id; write the one CloudFront shows, such as E1234567890ABC".to_owned())
}

/// What stands before the paths viewers ask for, as it is in S3: it is encoded later.
pub(super) fn path_prefix(text: &str) -> Result<(), Wrong> {
    let right = "write the names before it alone, such as site/v1";
    if text.contains("://") {
        return Err(format!("is a URL; {right}"));
    }
    if text.len() > 256 || text.contains(['*', '?', '#']) || text.chars().any(char::is_control) {
        return Err(format!("is no path of a viewer; {right}"));
    }
    if text.split('/').any(|name| matches!(name, "." | "..")) {
        return Err(format!("has a '.' or '..' component; {right}"));
    }
    Ok(())
}

/// What S3 stores objects as.
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

/// A storage class of S3. Other stores have some of their own.
pub(super) fn storage_class(text: &str, other_store: bool) -> Result<(), Wrong> {
    if STORAGE_CLASSES.contains(&text) {
        return Ok(());
    }
    let within = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if other_store && (1..=64).contains(&text.len()) && text.bytes().all(within) {
        return Ok(());
    }
    let nearest = keys::nearest_of(text, STORAGE_CLASSES.into_iter()).unwrap_or_default();
    Err(format!("is no storage class; the nearest is {nearest}"))
}

/// All headers of a request have to fit into 8 KiB.
const HEADER_BYTES_MAX: usize = 1024;

/// A text that can stand in a header.
pub(super) fn header(text: &str) -> Result<(), Wrong> {
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

/// A content type: two words around a slash, and parameters behind them.
pub(super) fn content_type(text: &str) -> Result<(), Wrong> {
    header(text)?;
    let essence = text.split(';').next().unwrap_or_default().trim_end();
    let token = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+*".contains(&byte);
        !text.is_empty() && text.bytes().all(plain)
    };
    match essence.split_once('/') {
        Some((kind, subkind)) if token(kind) && token(subkind) => Ok(()),
        _ => Err("is no content type; write one such as text/html; charset=utf-8".to_owned()),
    }
}

/// One pattern in gitignore syntax.
pub(super) fn pattern(text: &str) -> Result<(), Wrong> {
    match ignore::gitignore::GitignoreBuilder::new("").add_line(None, text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "is no pattern in gitignore syntax: {}; write one such as *.bak",
            kind(error)
        )),
    }
}

/// The message without the pattern, which is shown already.
fn kind(error: ignore::Error) -> String {
    match error {
        ignore::Error::Glob { err, .. } => err,
        ignore::Error::WithPath { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            kind(*err)
        }
        error => error.to_string(),
    }
}

/// A level, or directives as `RUST_LOG` takes them. A lone word that is no level would be taken for
/// the name of a module, and silence everything else: `bare_targets` says whether that is meant.
pub(super) fn log_level(text: &str, bare_targets: bool) -> Result<(), Wrong> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let right = "write off, error, warn, info, debug or trace, or directives such as \
                 info,file_sync_service=debug";
    let level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let doubtful = |directive: &str| !directive.contains(['=', '[']) && !level(directive);
    if !bare_targets
        && let Some(word) = text.split(',').map(str::trim).find(|directive| doubtful(directive))
    {
        return Err(match text == word {
            true => format!("is no log level; {right}"),
            false => format!("holds '{word}', which is no log level; {right}"),
        });
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("is no log level; {right}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap",
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
            ("arn:aws:iam::123456789012:role/x", "no access point's ARN"),
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
            let wrong = "is no whole number; write seconds from 1 to 10, such as 5";
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
            Err("is no pattern in gitignore syntax: invalid range; 'z' > 'a'; \
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
