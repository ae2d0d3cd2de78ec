//! Who it is that tells: the attributes that all metrics and traces share.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

const SERVICE: &str = "service.name";
const INSTANCE: &str = "service.instance.id";

/// What `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say, and what they leave open.
pub(super) fn of(environment: &BTreeMap<OsString, OsString>) -> Resource {
    let says = |name: &str, what: &str| {
        let value = environment.get(OsStr::new(name)).and_then(|value| value.to_str());
        value.is_some_and(|value| value.contains(what))
    };
    let named = |attribute: &str| says("OTEL_RESOURCE_ATTRIBUTES", &format!("{attribute}="));
    let mut open = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    let service = environment.get(OsStr::new("OTEL_SERVICE_NAME"));
    if !named(SERVICE) && service.is_none_or(|name| name.is_empty()) {
        open.push(KeyValue::new(SERVICE, env!("CARGO_PKG_NAME")));
    }
    if !named(INSTANCE) {
        // Two of a name would mix their counters. Of version 4: random.
        let (high, low) = (fastrand::u64(..), fastrand::u64(..));
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
    Resource::builder().with_attributes(open).build()
}
