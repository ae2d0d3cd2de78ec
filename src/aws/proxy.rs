//! Decides which requests use the proxy of `HTTPS_PROXY`, `HTTP_PROXY` and `ALL_PROXY`.
//!
//! # Invariants
//!
//! - Sources of container and instance credentials are always contacted directly: on the machine
//!   of a proxy, the same address belongs to another service, which must not see credentials.
//! - `NO_PROXY` has the syntax of curl and boto3: `*`, names with everything below them, ports,
//!   addresses and networks of both families.

use super::stale_connection::{self, AnsweredConnections, StaleLimits};
use aws_smithy_http_client::pool::Client;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use hyper::Uri;
use std::net::IpAddr;
use std::sync::Arc;

/// The hosts that are contacted without a proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ProxyBypass {
    all: bool,
    rules: Vec<BypassRule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct BypassRule {
    hosts: Hosts,
    /// The port, or `None` for every port.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    /// The name and all names below it, in lower case.
    Domain(String),
    /// Addresses with the same first `bits`.
    Network { address: IpAddr, bits: u8 },
}

impl ProxyBypass {
    /// Parses the value of `no_proxy`, and adds `credential_endpoints`, which are URLs.
    pub(super) fn new(no_proxy: &str, credential_endpoints: &[String]) -> Self {
        let entries = no_proxy.split([',', ' ', '\t', '\n']).filter(|entry| !entry.is_empty());
        let mut bypass = Self::default();
        for entry in entries {
            if entry == "*" {
                bypass.all = true;
            } else {
                bypass.rules.extend(BypassRule::parse(entry));
            }
        }
        let endpoints = credential_endpoints.iter().filter_map(|url| url.trim().parse().ok());
        bypass.rules.extend(endpoints.filter_map(|url: Uri| {
            let hosts = Hosts::parse(url.host()?)?;
            Some(BypassRule { hosts, port: port(&url) })
        }));
        bypass
    }

    /// Whether a request to `uri` bypasses the proxy.
    pub(super) fn is_direct(&self, uri: &Uri) -> bool {
        let Some(host) = uri.host().map(without_brackets) else { return self.all };
        let address = address(host);
        self.all
            || address.is_some_and(is_link_local)
            || self.rules.iter().any(|rule| {
                rule.port.is_none_or(|wanted| port(uri) == Some(wanted))
                    && rule.hosts.contain(host, address)
            })
    }
}

impl BypassRule {
    fn parse(entry: &str) -> Option<Self> {
        if let Some(hosts) = Hosts::parse(entry) {
            return Some(Self { hosts, port: None });
        }
        let (host, port) = entry.rsplit_once(':')?;
        Some(Self { hosts: Hosts::parse(host)?, port: Some(port.parse().ok()?) })
    }
}

impl Hosts {
    /// A name, an address or a network; `None` for anything with a port.
    fn parse(text: &str) -> Option<Self> {
        let (host, bits) = match text.split_once('/') {
            Some((host, bits)) => (host, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        if let Some(address) = address(without_brackets(host)) {
            let all = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.unwrap_or(all);
            return (bits <= all).then_some(Self::Network { address, bits });
        }
        let name = host.strip_prefix('*').unwrap_or(host).trim_matches('.');
        let is_name = bits.is_none() && !name.is_empty() && !name.contains([':', '[', ']', '*']);
        is_name.then(|| Self::Domain(name.to_ascii_lowercase()))
    }

    fn contain(&self, host: &str, host_address: Option<IpAddr>) -> bool {
        match self {
            Self::Domain(domain) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                let above = host.strip_suffix(domain.as_str());
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
            Self::Network { address, bits } => {
                host_address.is_some_and(|host| in_network(host, *address, *bits))
            }
        }
    }
}

fn in_network(host: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |a: u128, b: u128, width: u8| {
        (a ^ b).checked_shr(u32::from(width - bits)).unwrap_or(0) == 0
    };
    match (host, network) {
        (IpAddr::V4(host), IpAddr::V4(network)) => {
            same(host.to_bits().into(), network.to_bits().into(), 32)
        }
        (IpAddr::V6(host), IpAddr::V6(network)) => same(host.to_bits(), network.to_bits(), 128),
        _ => false,
    }
}

/// Whether the address is link-local, or one of AWS's instance endpoints over IPv6.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => {
            let segments = address.segments();
            address.is_unicast_link_local() || segments.starts_with(&[0xfd00, 0x0ec2, 0, 0])
        }
    }
}

/// An address, without its zone; IPv4 in IPv6 is IPv4.
fn address(host: &str) -> Option<IpAddr> {
    let host = host.split('%').next().unwrap_or_default();
    host.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn port(uri: &Uri) -> Option<u16> {
    uri.port_u16().or_else(|| match uri.scheme_str()? {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    })
}

/// Two clients that share one network: one uses the proxy, the other does not.
#[derive(Debug)]
pub(super) struct RoutedClient {
    pub(super) proxied: Client,
    pub(super) direct: Client,
    pub(super) bypass: Arc<ProxyBypass>,
    /// The connections of each client.
    pub(super) answered_proxied: AnsweredConnections,
    pub(super) answered_direct: AnsweredConnections,
    pub(super) limits: StaleLimits,
}

impl HttpClient for RoutedClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(RoutedConnector {
            proxied: self.proxied.http_connector(settings, components),
            direct: self.direct.http_connector(settings, components),
            bypass: Arc::clone(&self.bypass),
            answered_proxied: self.answered_proxied.clone(),
            answered_direct: self.answered_direct.clone(),
            limits: self.limits,
        })
    }
}

#[derive(Debug)]
struct RoutedConnector {
    proxied: SharedHttpConnector,
    direct: SharedHttpConnector,
    bypass: Arc<ProxyBypass>,
    answered_proxied: AnsweredConnections,
    answered_direct: AnsweredConnections,
    limits: StaleLimits,
}

impl HttpConnector for RoutedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri = request.uri().parse::<Uri>();
        let direct = uri.is_ok_and(|uri| self.bypass.is_direct(&uri));
        let (connector, answered) = match direct {
            true => (&self.direct, &self.answered_direct),
            false => (&self.proxied, &self.answered_proxied),
        };
        let connector = connector.clone();
        let answered = answered.clone();
        let limits = self.limits;
        HttpConnectorFuture::new(async move {
            stale_connection::call(connector, request, answered, limits).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_direct(no_proxy: &str, url: &str) -> bool {
        ProxyBypass::new(no_proxy, &[]).is_direct(&url.parse().expect(url))
    }

    #[test]
    fn no_proxy_is_read_as_curl_and_boto3_read_it() {
        for (no_proxy, direct, proxied) in [
            ("*", "https://s3.amazonaws.com", ""),
            ("a, *", "https://s3.amazonaws.com", ""),
            ("example.com", "https://example.com", "https://badexample.com"),
            ("example.com", "https://a.b.example.com", "https://example.com.org"),
            (".example.com", "https://a.example.com", "https://example.org"),
            (".example.com", "https://example.com", "https://notexample.com"),
            ("*.example.com", "https://a.example.com", "https://a.example.org"),
            ("EXAMPLE.com", "https://A.Example.COM./x", "https://example.co"),
            ("minio:9000", "http://minio:9000/b", "http://minio:9001/b"),
            ("minio:443", "https://minio/b", "http://minio/b"),
            ("a b\tminio", "http://minio:1", "http://c"),
            ("10.0.0.0/8", "http://10.1.2.3:9000", "http://11.1.2.3"),
            ("10.0.0.0/8,", "http://10.255.255.255", "http://10.example.com"),
            ("0.0.0.0/0", "http://8.8.8.8", "http://[::2]"),
            ("192.168.1.7", "http://192.168.1.7", "http://192.168.1.70"),
            ("192.168.1.7:9000", "http://192.168.1.7:9000", "http://192.168.1.7"),
            ("::1", "http://[::1]:9000", "http://[::2]"),
            ("[::1]", "http://[::1]:9000", "http://[::2]"),
            ("[::1]:9000", "http://[::1]:9000", "http://[::1]:9001"),
            ("fd00::/8", "http://[fd12::3]", "http://[fe00::3]"),
            ("[fd00::]/8", "http://[fd12::3]", "http://[fe00::3]"),
            ("::/0", "http://[2001:db8::1]", "http://127.0.0.1"),
            ("127.0.0.1", "http://[::ffff:127.0.0.1]", "http://localhost"),
            ("localhost", "http://localhost:9000", "http://127.0.0.1:9000"),
        ] {
            assert!(is_direct(no_proxy, direct), "{no_proxy}: {direct}");
            assert!(proxied.is_empty() || !is_direct(no_proxy, proxied), "{no_proxy}: {proxied}");
        }
    }

    #[test]
    fn nonsense_in_no_proxy_is_about_no_host() {
        for no_proxy in
            ["", ",", ".", "*.", "10.0.0.0/33", "::/129", "a:b", "a:70000", "[", "/8", "a/b"]
        {
            for url in ["https://s3.amazonaws.com", "http://10.0.0.1", "http://[::1]:9000"] {
                assert!(!is_direct(no_proxy, url), "{no_proxy}: {url}");
            }
        }
    }

    #[test]
    fn what_gives_credentials_is_asked_past_the_proxy() {
        for url in [
            "http://169.254.169.254/latest/api/token",
            "http://169.254.170.2/v2/credentials/x",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::254]/latest",
            "http://[fd00:ec2::23]/v1/credentials",
            "http://[fe80::1]/x",
        ] {
            assert!(is_direct("", url), "{url}");
        }
        let endpoint = ["http://localhost:8080/creds?a=b".to_owned(), "no URL".to_owned()];
        let bypass = ProxyBypass::new("", &endpoint);
        let asks = |url: &str| bypass.is_direct(&url.parse().expect(url));
        assert!(asks("http://localhost:8080/creds"));
        assert!(!asks("http://localhost:9000/bucket") && !asks("http://127.0.0.1:8080/"));
    }
}
