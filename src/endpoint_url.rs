//! URLs of services, wherever they are configured: one check, and one mask for secrets.

use std::borrow::Cow;
use std::net::IpAddr;

/// The part of a URL between its scheme and its path.
struct UrlParts<'a> {
    scheme: &'a str,
    authority: &'a str,
}

fn parts(url: &str) -> Option<UrlParts<'_>> {
    let (scheme, rest) = url.trim().split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(UrlParts { scheme, authority })
}

/// Whether requests to it are not encrypted. The scheme may be in capitals.
#[must_use]
pub fn is_plain_http(url: &str) -> bool {
    parts(url).is_some_and(|parts| parts.scheme.eq_ignore_ascii_case("http"))
}

/// Whether it contains a user or a password.
#[must_use]
pub fn holds_credentials(url: &str) -> bool {
    masked(url) != url
}

/// Whether it is an `http` or `https` URL with a host.
#[must_use]
pub fn is_url(url: &str) -> bool {
    parts(url).is_some_and(|parts| {
        let scheme = ["http", "https"].iter().any(|known| parts.scheme.eq_ignore_ascii_case(known));
        let host = parts.authority;
        scheme && !host.is_empty() && !host.contains(|char: char| char.is_whitespace())
    })
}

/// Whether its host is this machine.
#[must_use]
pub fn is_loopback(url: &str) -> bool {
    let Some(parts) = parts(url) else { return false };
    let host = parts.authority.rsplit('@').next().unwrap_or_default();
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The host and port of an `http` or `https` URL, as a connection needs them.
#[must_use]
pub fn host_and_port(url: &str) -> Option<String> {
    let host = is_url(url).then(|| parts(url)).flatten()?.authority.rsplit('@').next()?;
    let port = if is_plain_http(url) { 80 } else { 443 };
    let named = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if named { host.to_owned() } else { format!("{host}:{port}") })
}

/// The text without the `user:password@` of a URL, with or without a scheme.
#[must_use]
pub fn masked(text: &str) -> Cow<'_, str> {
    if text.contains("://") {
        return masked_urls(text).into();
    }
    match text.rsplit_once('@') {
        // Without a scheme, an e-mail address looks the same, but has no password.
        Some((user, host)) if user.contains(':') && !user.contains(char::is_whitespace) => {
            format!("***@{host}").into()
        }
        _ => text.into(),
    }
}

/// The text without what its URLs contain between `//` and `@`.
#[must_use]
pub fn masked_urls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let ends = |char: char| matches!(char, '/' | '?' | '#') || char.is_whitespace();
        let (authority, tail) = after.split_at(after.find(ends).unwrap_or(after.len()));
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                shown.push_str("***@");
                shown.push_str(host);
            }
            None => shown.push_str(authority),
        }
        rest = tail;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_with_and_without_a_scheme() {
        for (text, shown) in [
            ("https://me:secret@host:9000/a", "https://***@host:9000/a"),
            ("HTTPS://me@host", "HTTPS://***@host"),
            ("https://me:p@ss@host", "https://***@host"),
            ("me:secret@h:1", "***@h:1"),
            ("https://host/a@b", "https://host/a@b"),
            ("me@example.com", "me@example.com"),
            ("plain", "plain"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }

    #[test]
    fn passwords_in_messages_are_masked() {
        for (text, shown) in [
            ("no http://user:pass@host:4317/x here", "no http://***@host:4317/x here"),
            ("https://a:b@c", "https://***@c"),
            ("https://c/a@b and http://d", "https://c/a@b and http://d"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(masked_urls(text), shown);
        }
    }

    #[test]
    fn a_scheme_in_capitals_is_the_same_scheme() {
        for text in ["http://minio:9000", "HTTP://minio", " http://minio"] {
            assert!(is_plain_http(text) && is_url(text), "{text}");
        }
        assert!(!is_plain_http("https://minio") && !is_plain_http("minio:9000"));
        for text in ["minio:9000", "https://", "ftp://host", "http:///path", "http://a b"] {
            assert!(!is_url(text), "{text}");
        }
    }

    #[test]
    fn loopback_is_known_by_name_and_by_address() {
        for text in
            ["http://localhost:1", "http://127.0.0.2", "http://[::1]:9000/x", "HTTP://u@LOCALHOST"]
        {
            assert!(is_loopback(text), "{text}");
        }
        for text in
            ["http://minio:9000", "http://10.0.0.1", "localhost", "http://localhost.example"]
        {
            assert!(!is_loopback(text), "{text}");
        }
    }
}
