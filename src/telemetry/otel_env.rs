//! Reads the standard variables that determine what is exported, and how.
//!
//! The exporters read `OTEL_EXPORTER_OTLP_*` themselves. This module reads the rest: whether
//! anything is exported, the protocol, and the sampling. Unsupported values are logged once and
//! stop nothing.

use crate::model::Sampling;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

/// The settings of the export.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OtelSwitches {
    /// The protocol of traces, if they are exported.
    pub(super) traces: Option<Protocol>,
    /// The protocol of metrics, if they are exported.
    pub(super) metrics: Option<Protocol>,
    /// The sampling of traces.
    pub(super) sampling: Sampling,
    /// The time for which spans are collected.
    pub(super) delay: Duration,
    /// Maximum number of waiting spans.
    pub(super) queue: usize,
    /// Spans per batch.
    pub(super) batch: usize,
    /// The endpoints of traces and metrics over HTTP, if the general endpoint has more than a path.
    pub(super) endpoints: (Option<String>, Option<String>),
    /// Unsupported settings: the variable, and the reason.
    pub(super) ignored: Vec<(String, &'static str)>,
}

/// The protocol of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf in the body of HTTP requests.
    Http,
}

/// Variables that some SDKs support and this program does not.
const UNKNOWN: [(&str, &str); 6] = [
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", TRUST),
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", TRUST),
    ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", TRUST),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "client certificates are not supported"),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "client certificates are not supported"),
    ("OTEL_CONFIG_FILE", "there is no configuration by file"),
];
const TRUST: &str = "name the certificates to trust in SSL_CERT_FILE or SSL_CERT_DIR";

/// The signals that are exported, each with the endpoint that it is sent to.
pub(super) fn endpoints(environment: &BTreeMap<OsString, OsString>) -> Vec<(&'static str, String)> {
    let switches = OtelSwitches::read(environment);
    let reader = VariableReader { environment, ignored: Vec::new() };
    let signals = [("traces", "TRACES", switches.traces), ("metrics", "METRICS", switches.metrics)];
    let exported = signals
        .into_iter()
        .filter_map(|(name, signal, protocol)| Some((name, reader.connects_to(signal, protocol?))));
    exported.collect()
}

/// Reads the variables.
pub(super) struct VariableReader<'a> {
    environment: &'a BTreeMap<OsString, OsString>,
    ignored: Vec<(String, &'static str)>,
}

impl OtelSwitches {
    /// Reads all variables.
    pub(super) fn read(environment: &BTreeMap<OsString, OsString>) -> Self {
        let mut reader = VariableReader { environment, ignored: Vec::new() };
        for (name, why) in UNKNOWN {
            if reader.get(name).is_some() {
                reader.ignore(name, why);
            }
        }
        if reader.get("OTEL_LOGS_EXPORTER").is_some_and(|exporter| exporter != "none") {
            reader.ignore("OTEL_LOGS_EXPORTER", "logs are lines on standard output");
        }
        let off =
            reader.get("OTEL_SDK_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true"));
        let traces = if off { None } else { reader.exporter("TRACES") };
        let metrics = if off { None } else { reader.exporter("METRICS") };
        let sampling = reader.sampling();
        if traces.is_some() || metrics.is_some() {
            reader.check_values();
        }
        let endpoints =
            (reader.endpoint("TRACES", "v1/traces"), reader.endpoint("METRICS", "v1/metrics"));
        let queue = reader.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048).clamp(1, 1 << 20);
        Self {
            traces: traces.filter(|_| sampling != Sampling::Nothing),
            metrics,
            sampling: if traces.is_some() { sampling } else { Sampling::Nothing },
            delay: Duration::from_millis(reader.number("OTEL_BSP_SCHEDULE_DELAY", 5_000) as u64),
            queue,
            batch: reader.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512).clamp(1, queue),
            endpoints,
            ignored: reader.ignored,
        }
    }
}

impl VariableReader<'_> {
    /// The value of a variable; an empty one counts as not set.
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.environment.get(OsStr::new(name))?.to_str()?.trim();
        Some(value).filter(|value| !value.is_empty())
    }

    fn ignore(&mut self, name: &str, why: &'static str) {
        self.ignored.push((name.to_owned(), why));
    }

    /// The variable of one signal, or the general one.
    fn for_signal(&self, signal: &str, what: &str) -> Option<(String, &str)> {
        let names =
            [format!("OTEL_EXPORTER_OTLP_{signal}_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name.clone(), value)))
    }

    /// The protocol of a signal, if it is exported. It is enough to name a collector, or the
    /// exporter.
    fn exporter(&mut self, signal: &str) -> Option<Protocol> {
        let name = format!("OTEL_{signal}_EXPORTER");
        let named = self.get(&name).map(str::to_owned);
        let wanted = match &named {
            None => self.for_signal(signal, "ENDPOINT").is_some(),
            Some(named) => {
                let mut wanted = false;
                for exporter in named.split(',').map(str::trim) {
                    match exporter {
                        "otlp" => wanted = true,
                        "none" => {}
                        // It is always available.
                        "prometheus" if signal == "METRICS" => {}
                        _ => self.ignore(&name, "the exporters there are: otlp, none"),
                    }
                }
                wanted
            }
        };
        if !wanted {
            return None;
        }
        match self.for_signal(signal, "PROTOCOL").map(|(name, value)| (name, value.to_owned())) {
            None => Some(Protocol::Grpc),
            Some((_, protocol)) if protocol == "grpc" => Some(Protocol::Grpc),
            Some((_, protocol)) if protocol == "http/protobuf" => Some(Protocol::Http),
            Some((name, _)) => {
                // Another protocol uses another port: a guess would not reach the collector.
                self.ignore(
                    &name,
                    "the protocols there are: grpc, http/protobuf; nothing is exported",
                );
                None
            }
        }
    }

    /// Reports invalid values, for which the exporters silently use their defaults.
    fn check_values(&mut self) {
        const MILLISECONDS: &str = "no whole number of milliseconds; the default is used";
        const COMPRESSION: &str = "the compressions there are: gzip, none; none is used";
        for name in [
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
            "OTEL_METRIC_EXPORT_INTERVAL",
        ] {
            let raw = self.environment.get(OsStr::new(name)).filter(|raw| !raw.is_empty());
            let number = raw.map(|raw| raw.to_str().is_some_and(|raw| raw.parse::<u64>().is_ok()));
            if number == Some(false) {
                self.ignore(name, MILLISECONDS);
            }
        }
        for name in [
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
            "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
        ] {
            if self.get(name).is_some_and(|value| !matches!(value, "gzip" | "none")) {
                self.ignore(name, COMPRESSION);
            }
        }
        let attributes = self.get("OTEL_RESOURCE_ATTRIBUTES");
        if attributes.is_some_and(|text| super::resource::attributes(text).is_none()) {
            let why = "no list of name=value with percent-encoding; all of it is left out";
            self.ignore("OTEL_RESOURCE_ATTRIBUTES", why);
        }
    }

    /// The general endpoint for one signal, if the exporter would append the path of the signal to
    /// a query.
    fn endpoint(&self, signal: &str, path: &str) -> Option<String> {
        if self.get(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")).is_some() {
            return None;
        }
        let endpoint = self.get("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let (base, rest) = endpoint.split_at(endpoint.find(['?', '#'])?);
        let query = rest.split('#').next().unwrap_or_default();
        Some(format!("{}/{path}{query}", base.trim_end_matches('/')))
    }

    /// The endpoint that the exporter of a signal connects to.
    fn connects_to(&self, signal: &str, protocol: Protocol) -> String {
        let own = self.get(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
        let named = own.or_else(|| self.get("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let usual = match protocol {
            Protocol::Grpc => "http://localhost:4317",
            Protocol::Http => "http://localhost:4318",
        };
        named.unwrap_or(usual).to_owned()
    }

    fn sampling(&mut self) -> Sampling {
        let name = "OTEL_TRACES_SAMPLER";
        match self.get(name) {
            None | Some("always_on" | "parentbased_always_on") => Sampling::Everything,
            Some("always_off" | "parentbased_always_off") => Sampling::Nothing,
            Some("traceidratio" | "parentbased_traceidratio") => self.ratio(),
            Some(_) => {
                self.ignore(name, "no sampler that is known here; every trace is exported");
                Sampling::Everything
            }
        }
    }

    fn ratio(&mut self) -> Sampling {
        let name = "OTEL_TRACES_SAMPLER_ARG";
        let ratio = self.get(name).map_or(Some(1.0), |text| text.parse().ok());
        match ratio.filter(|ratio| (0.0..=1.0).contains(ratio)) {
            Some(ratio) => Sampling::ratio(ratio),
            None => {
                self.ignore(name, "no number from 0 to 1; every trace is exported");
                Sampling::Everything
            }
        }
    }

    fn number(&mut self, name: &str, default: usize) -> usize {
        let Some(text) = self.get(name) else { return default };
        match text.parse() {
            Ok(number) => number,
            Err(_) => {
                self.ignore(name, "no whole number; the default is used");
                default
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> OtelSwitches {
        let pairs =
            variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        OtelSwitches::read(&pairs.collect())
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");

    #[test]
    fn without_a_collector_nothing_is_exported() {
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
            &[("OTEL_METRICS_EXPORTER", "prometheus"), ("OTEL_SERVICE_NAME", "x")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none")],
        ] {
            let switches = read(variables);
            assert_eq!((switches.traces, switches.metrics), (None, None), "{variables:?}");
            assert_eq!(switches.sampling, Sampling::Nothing, "{variables:?}");
            assert!(switches.ignored.is_empty(), "{:?}", switches.ignored);
        }
    }

    #[test]
    fn a_collector_is_all_it_takes() {
        let switches = read(&[ENDPOINT]);
        assert_eq!(switches.traces, Some(Protocol::Grpc));
        assert_eq!(switches.metrics, Some(Protocol::Grpc));
        assert_eq!(switches.sampling, Sampling::Everything);
        let switches = read(&[("OTEL_TRACES_EXPORTER", "otlp")]);
        assert_eq!((switches.traces, switches.metrics), (Some(Protocol::Grpc), None));
    }

    #[test]
    fn each_signal_may_have_settings_of_its_own() {
        let switches = read(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ]);
        assert_eq!(switches.traces, Some(Protocol::Grpc));
        assert_eq!(switches.metrics, Some(Protocol::Http));
        let endpoint = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://collector:4317");
        let switches = read(&[endpoint]);
        assert_eq!((switches.traces, switches.metrics), (None, Some(Protocol::Grpc)));
    }

    #[test]
    fn samplers_are_known_by_their_standard_names() {
        let sampler = |name, argument| {
            let name = ("OTEL_TRACES_SAMPLER", name);
            read(&[ENDPOINT, name, ("OTEL_TRACES_SAMPLER_ARG", argument)])
        };
        assert_eq!(sampler("always_on", "").sampling, Sampling::Everything);
        assert_eq!(sampler("parentbased_traceidratio", "0.5").sampling, Sampling::ratio(0.5));
        assert_eq!(sampler("traceidratio", "").sampling, Sampling::Everything);
        let off = sampler("parentbased_always_off", "");
        assert_eq!((off.sampling, off.traces), (Sampling::Nothing, None));
        for (name, argument) in [("traceidratio", "1.5"), ("traceidratio", "half"), ("xray", "")] {
            let switches = sampler(name, argument);
            assert_eq!(switches.sampling, Sampling::Everything);
            assert_eq!(switches.ignored.len(), 1, "{:?}", switches.ignored);
        }
    }

    #[test]
    fn the_path_of_a_signal_comes_before_the_query_of_the_endpoint() {
        let endpoints = |variables: &[(&str, &str)]| read(variables).endpoints;
        let general = |url| endpoints(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]);
        assert_eq!(general("http://c:4318/otlp"), (None, None));
        for url in ["http://c:4318/otlp?key=1", "http://c:4318/otlp/?key=1#x"] {
            let traces = "http://c:4318/otlp/v1/traces?key=1".to_owned();
            let metrics = "http://c:4318/otlp/v1/metrics?key=1".to_owned();
            assert_eq!(general(url), (Some(traces), Some(metrics)));
        }
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/t?a=b");
        let both = endpoints(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c?a"), own]);
        assert_eq!(both, (None, Some("http://c/v1/metrics?a".to_owned())));
    }

    #[test]
    fn an_invalid_value_is_reported() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "-1"),
            ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "1.5"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1m"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=%zz"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ] {
            let ignored = read(&[ENDPOINT, (name, value)]).ignored;
            assert_eq!(ignored.len(), 1, "{name}: {ignored:?}");
            assert_eq!(ignored.first().map(|(name, _)| name.as_str()), Some(name));
        }
        let fine = [
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10000"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=a%2Cb,x=,"),
        ];
        assert!(read(&fine).ignored.is_empty());
    }

    #[test]
    fn what_is_not_supported_is_reported() {
        let switches = read(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
            ("OTEL_LOGS_EXPORTER", "otlp"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ]);
        assert_eq!((switches.traces, switches.metrics), (None, None));
        let names: Vec<_> = switches.ignored.iter().map(|(name, _)| name.as_str()).collect();
        let protocol = "OTEL_EXPORTER_OTLP_PROTOCOL";
        let expected = ["OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_LOGS_EXPORTER", protocol, protocol];
        assert_eq!(names[..4], expected);
        assert_eq!((names[4], switches.queue), ("OTEL_BSP_MAX_QUEUE_SIZE", 2048));
    }
}
