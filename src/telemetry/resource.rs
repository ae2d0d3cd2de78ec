//! The resource: attributes that all metrics and traces share.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{ResourceDetector, TelemetryResourceDetector};
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

const SERVICE: &str = "service.name";
const INSTANCE: &str = "service.instance.id";

/// Reads `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, and adds what they lack.
pub(super) fn from_environment(environment: &BTreeMap<OsString, OsString>) -> Resource {
    let text = |name: &str| environment.get(OsStr::new(name)).and_then(|value| value.to_str());
    let written = text("OTEL_RESOURCE_ATTRIBUTES").and_then(attributes).unwrap_or_default();
    let named = |attribute: &str| written.iter().any(|(name, _)| name == attribute);
    let mut open = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    let service = text("OTEL_SERVICE_NAME").filter(|name| !name.is_empty());
    if let Some(service) = service {
        open.push(KeyValue::new(SERVICE, service.to_owned()));
    } else if !named(SERVICE) {
        open.push(KeyValue::new(SERVICE, env!("CARGO_PKG_NAME")));
    }
    if !named(INSTANCE) {
        // Two instances with one id would mix their counters. Version 4: random.
        let high = fastrand::u64(..);
        let low = fastrand::u64(..);
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            (low >> 48) & 0x3fff | 0x8000,
            low & 0xffff_ffff_ffff
        );
        open.push(KeyValue::new(INSTANCE, id));
    }
    let is_service = |name: &str| name == SERVICE;
    let written = written.into_iter().filter(|(name, _)| service.is_none() || !is_service(name));
    open.extend(written.map(|(name, value)| KeyValue::new(name, value)));
    // The reader of the SDK does not decode the variable.
    let detectors: [Box<dyn ResourceDetector>; 1] = [Box::new(TelemetryResourceDetector)];
    Resource::builder_empty().with_detectors(&detectors).with_attributes(open).build()
}

/// The decoded attributes of the variable. `None` if any of it is invalid: the specification then
/// requires to ignore all of it.
pub(super) fn attributes(text: &str) -> Option<Vec<(String, String)>> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let attribute = |entry: &str| {
        let (name, value) = entry.split_once('=')?;
        let name = decoded(name.trim())?;
        (!name.is_empty()).then_some((name, decoded(value.trim())?))
    };
    entries.map(attribute).collect()
}

fn decoded(text: &str) -> Option<String> {
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return None;
    }
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::Key;

    fn resource(variables: &[(&str, &str)]) -> Resource {
        let pairs = variables.iter().map(|(name, value)| (name.into(), value.into()));
        from_environment(&pairs.collect())
    }

    fn value(resource: &Resource, name: &'static str) -> Option<String> {
        resource.get(&Key::from_static_str(name)).map(|value| value.to_string())
    }

    #[test]
    fn attributes_are_decoded() {
        let written = "team=a%2Cb%3Dc, caf%C3%A9 = x%20y ,empty=,";
        let resource = resource(&[("OTEL_RESOURCE_ATTRIBUTES", written)]);
        assert_eq!(value(&resource, "team").as_deref(), Some("a,b=c"));
        assert_eq!(value(&resource, "café").as_deref(), Some("x y"));
        assert_eq!(value(&resource, "empty").as_deref(), Some(""));
        assert_eq!(value(&resource, SERVICE).as_deref(), Some("file-sync-service"));
        assert_eq!(value(&resource, "telemetry.sdk.language").as_deref(), Some("rust"));
    }

    #[test]
    fn one_wrong_attribute_leaves_all_of_them_out() {
        for written in ["a=1,b=%zz", "a=1,b=%", "a=1,b=%ff", "a=1,b", "a=1,=2"] {
            let resource = resource(&[("OTEL_RESOURCE_ATTRIBUTES", written)]);
            assert_eq!(value(&resource, "a"), None, "{written}");
            assert!(value(&resource, INSTANCE).is_some());
        }
    }

    #[test]
    fn the_name_of_the_service_has_a_variable_of_its_own() {
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=b%20c,service.instance.id=i");
        let named = resource(&[attributes]);
        assert_eq!(value(&named, SERVICE).as_deref(), Some("b c"));
        assert_eq!(value(&named, INSTANCE).as_deref(), Some("i"));
        let named = resource(&[attributes, ("OTEL_SERVICE_NAME", "a")]);
        assert_eq!(value(&named, SERVICE).as_deref(), Some("a"));
    }
}
