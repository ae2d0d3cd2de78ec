//! The settings of requests to S3.

use super::reader::SettingReader;
use super::shown::ValueOrigin;
use super::{Timeouts, keys};
use crate::endpoint_url::{is_loopback, is_plain_http};
use crate::rules::{CustomerKey, KEY_FILE_BYTES_MAX};
use crate::safe_file::read_input;
use std::path::Path;
use std::time::Duration;

/// The time limits. A connection is part of a request, so that a longer limit for it would have no
/// effect.
pub(super) fn timeouts(reader: &mut SettingReader<'_>) -> Timeouts {
    let connect = reader.whole(&keys::S3_CONNECT_TIMEOUT);
    let response = reader.whole(&keys::S3_RESPONSE_TIMEOUT);
    let idle = reader.whole(&keys::S3_IDLE_TIMEOUT);
    let both = [&keys::S3_CONNECT_TIMEOUT, &keys::S3_RESPONSE_TIMEOUT];
    if reader.sound(&both) && connect >= response {
        let [first, second] = both.map(|key| key.name);
        if reader.origin(&keys::S3_CONNECT_TIMEOUT) == ValueOrigin::Default {
            let wrong = format!("has to be more than {first} ({connect}); raise it, or lower that");
            refuse(reader, both[1], response, wrong);
        } else {
            let wrong =
                format!("has to be less than {second} ({response}); lower it, or raise that");
            refuse(reader, both[0], connect, wrong);
        }
    }
    let seconds = Duration::from_secs;
    Timeouts { connect: seconds(connect), response: seconds(response), idle: seconds(idle) }
}

/// The key of every object. It travels with each request, so the connection has to be encrypted.
pub(super) fn customer_key(
    reader: &mut SettingReader<'_>,
    endpoint: Option<&str>,
    other_encryption: bool,
) -> Option<CustomerKey> {
    let key = &keys::S3_SSE_CUSTOMER_KEY_FILE;
    let path = reader.path(key, &reader.sources.working_directory)?;
    let wrong = match read_key(&path) {
        _ if endpoint.is_some_and(|url| is_plain_http(url) && !is_loopback(url)) => {
            "is a key that would travel over plain HTTP; use an https:// endpoint, or remove it"
                .to_owned()
        }
        _ if other_encryption => {
            "is set beside s3_server_side_encryption, and S3 accepts one of them; remove one"
                .to_owned()
        }
        Ok(key) => return Some(key),
        Err(wrong) => wrong,
    };
    let origin = reader.origin(key);
    reader.refuse(key, &origin, &path.to_string_lossy(), wrong);
    None
}

fn read_key(path: &Path) -> Result<CustomerKey, String> {
    let right = "write 32 bytes, or the same in base64 or in 64 hexadecimal digits";
    let content = read_input(path, KEY_FILE_BYTES_MAX)
        .map_err(|error| format!("cannot be read: {error}; {right}"))?;
    CustomerKey::parse(&content).ok_or_else(|| format!("holds no key of 256 bits; {right}"))
}

fn refuse(reader: &mut SettingReader<'_>, key: &'static keys::Key, value: u64, wrong: String) {
    let origin = reader.origin(key);
    reader.refuse(key, &origin, &value.to_string(), wrong);
}
