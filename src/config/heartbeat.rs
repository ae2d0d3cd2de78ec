//! The settings of the heartbeat.

use super::keys;
use super::reader::SettingReader;
use super::shown::{self, ValueOrigin};
use crate::endpoint_url;
use hyper::Uri;
use std::time::Duration;

/// The monitor that is informed, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatConfig {
    /// Where to. Its path is a secret of the monitor.
    pub url: Uri,
    /// The time between two heartbeats.
    pub interval: Duration,
}

/// Reads both keys.
pub(super) fn heartbeat(reader: &mut SettingReader<'_>) -> Option<HeartbeatConfig> {
    let interval = Duration::from_secs(reader.whole(&keys::HEARTBEAT_INTERVAL));
    let check = |text: &str, _: &ValueOrigin| parsed(text);
    let url = reader.checked(&keys::HEARTBEAT_URL, check, without_path)?;
    Some(HeartbeatConfig { url, interval })
}

fn parsed(text: &str) -> Result<Uri, String> {
    if endpoint_url::holds_credentials(text) {
        return Err("holds a user or a password, which is not sent; use the URL of the check, whose path is its \
             secret"
            .to_owned());
    }
    let url =
        text.parse::<Uri>().ok().filter(|url| endpoint_url::is_url(text) && url.host().is_some());
    url.ok_or_else(|| {
        "is not a URL; it has to start with https:// or http:// and a host, such as \
         https://hc-ping.com/5ab1…"
            .to_owned()
    })
}

/// The URL as it is shown: the path is what permits to send heartbeats.
fn without_path(url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or("https");
    shown::text(&format!("{scheme}://{}/***", url.host().unwrap_or_default()))
}
