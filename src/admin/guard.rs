//! Refuses browsers that another site has sent: a name of that site may lead to loopback (DNS
//! rebinding), and a form may post to any address.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

/// Refuses a request with two hosts: another server on the way may use the other one.
pub(super) async fn single_host(request: Request, next: Next) -> Response {
    if request.headers().get_all(header::HOST).iter().count() > 1 {
        return (StatusCode::BAD_REQUEST, "refused: there is more than one Host\n").into_response();
    }
    next.run(request).await
}

/// Passes requests that come from this machine, and from no page other than ours.
pub(super) async fn local_only(request: Request, next: Next) -> Response {
    match refusal(request.method(), request.headers()) {
        None => next.run(request).await,
        Some(why) => (StatusCode::FORBIDDEN, format!("refused: {why}\n")).into_response(),
    }
}

fn refusal(method: &Method, headers: &HeaderMap) -> Option<&'static str> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let Some(host) = text(header::HOST) else { return Some("there is no Host") };
    if !is_loopback(host) {
        return Some("Host is not this machine; use localhost or 127.0.0.1");
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    let own = format!("http://{host}");
    if text(header::ORIGIN).is_some_and(|origin| !origin.eq_ignore_ascii_case(&own)) {
        return Some("Origin is another site");
    }
    let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    let ours = matches!(site, None | Some(b"same-origin" | b"none"));
    (!ours).then_some("it was sent by another site")
}

/// Whether a `Host` is this machine, with or without a port.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(method: &Method, lines: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.insert(*name, value.parse().expect("a value"));
        }
        refusal(method, &headers).is_some()
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in ["localhost", "localhost:9188", "127.0.0.1:1", "[::1]:9188", "LOCALHOST"] {
            assert!(!refused(&Method::POST, &[("host", host)]), "{host}");
        }
        for host in ["evil.example", "evil.example:9188", "10.0.0.1", "127.0.0.1.evil.example", ""]
        {
            assert!(refused(&Method::GET, &[("host", host)]), "{host}");
        }
        assert!(refused(&Method::GET, &[]));
    }

    #[test]
    fn what_another_site_makes_a_browser_send_is_refused() {
        let host = ("host", "localhost:9188");
        assert!(refused(&Method::POST, &[host, ("origin", "http://evil.example")]));
        assert!(refused(&Method::POST, &[host, ("origin", "null")]));
        assert!(refused(&Method::POST, &[host, ("origin", "http://localhost:1234")]));
        assert!(refused(&Method::POST, &[host, ("sec-fetch-site", "cross-site")]));
        assert!(!refused(&Method::POST, &[host, ("origin", "http://localhost:9188")]));
        assert!(!refused(&Method::POST, &[host, ("sec-fetch-site", "same-origin")]));
    }
}
