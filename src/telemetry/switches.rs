//! Which of the standard variables say what is exported, and how.
//!
//! The exporters read `OTEL_EXPORTER_OTLP_*` themselves; here is read what they do not: whether
//! there is anything to export at all, by which protocol, and which traces. What cannot be done is
//! told once, and stops nothing.

use crate::model::Sampling;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

/// What is exported.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Switches {
    /// How traces go, if they do.
    pub(super) traces: Option<Protocol>,
    /// How metrics go, if they do.
    pub(super) metrics: Option<Protocol>,
    /// Which traces.
    pub(super) sampling: Sampling,
    /// How long spans are collected before they are sent.
    pub(super) delay: Duration,
    /// Spans that may wait.
    pub(super) queue: usize,
    /// Spans sent at once.
    pub(super) batch: usize,
    /// What was asked for and is not done: the variable, and why.
    pub(super) ignored: Vec<(String, &'static str)>,
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf in the body of HTTP requests.
    Http,
}

/// Variables that some SDKs know and this program does not.
const UNKNOWN: [(&str, &str); 6] = [
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", TRUST),
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", TRUST),
    ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", TRUST),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "client certificates are not supported"),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "client certificates are not supported"),
    ("OTEL_CONFIG_FILE", "there is no configuration by file"),
];
const TRUST: &str = "name the certificates to trust in SSL_CERT_FILE or SSL_CERT_DIR";

/// Reads the variables.
pub(super) struct Reader<'a> {
    environment: &'a BTreeMap<OsString, OsString>,
    ignored: Vec<(String, &'static str)>,
}

impl Switches {
    /// What the variables say.
    pub(super) fn read(environment: &BTreeMap<OsString, OsString>) -> Self {
        let mut reader = Reader { environment, ignored: Vec::new() };
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
        let queue = reader.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048).clamp(1, 1 << 20);
        Self {
            traces: traces.filter(|_| sampling != Sampling::Nothing),
            metrics,
            sampling: if traces.is_some() { sampling } else { Sampling::Nothing },
            delay: Duration::from_millis(reader.number("OTEL_BSP_SCHEDULE_DELAY", 5_000) as u64),
            queue,
            batch: reader.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512).clamp(1, queue),
            ignored: reader.ignored,
        }
    }
}

impl Reader<'_> {
    /// A variable that is set; an empty one is not.
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.environment.get(OsStr::new(name))?.to_str()?.trim();
        Some(value).filter(|value| !value.is_empty())
    }

    fn ignore(&mut self, name: &str, why: &'static str) {
        self.ignored.push((name.to_owned(), why));
    }

    /// The setting of one signal, or the one of all.
    fn of_signal(&self, signal: &str, what: &str) -> Option<(String, &str)> {
        let names =
            [format!("OTEL_EXPORTER_OTLP_{signal}_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name.clone(), value)))
    }

    /// How a signal is exported. Naming a collector is enough; so is naming the exporter.
    fn exporter(&mut self, signal: &str) -> Option<Protocol> {
        let name = format!("OTEL_{signal}_EXPORTER");
        let named = self.get(&name).map(str::to_owned);
        let wanted = match &named {
            None => self.of_signal(signal, "ENDPOINT").is_some(),
            Some(named) => {
                let mut wanted = false;
                for exporter in named.split(',').map(str::trim) {
                    match exporter {
                        "otlp" => wanted = true,
                        "none" => {}
                        // It is there in any case.
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
        match self.of_signal(signal, "PROTOCOL").map(|(name, value)| (name, value.to_owned())) {
            None => Some(Protocol::Grpc),
            Some((_, protocol)) if protocol == "grpc" => Some(Protocol::Grpc),
            Some((_, protocol)) if protocol == "http/protobuf" => Some(Protocol::Http),
            Some((name, _)) => {
                // Another protocol speaks to another port: guessing one would reach nobody.
                self.ignore(
                    &name,
                    "the protocols there are: grpc, http/protobuf; nothing is exported",
                );
                None
            }
        }
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

    fn read(variables: &[(&str, &str)]) -> Switches {
        let pairs =
            variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Switches::read(&pairs.collect())
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
    fn what_is_not_done_is_told() {
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
