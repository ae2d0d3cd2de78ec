//! Hints of other nodes: paths at which something has changed, never content.
//!
//! A relay on another node sends what its kernel reported, and the service that mirrors inspects these
//! paths. A hint has the same meaning as an event: "inspect this path".
//!
//! # Invariants
//!
//! - A line of a request can name nothing outside of the watched directory, and no path longer than a key.
//! - Lost, repeated, reordered and forged hints cost inspections of bounded number, and decide nothing.
//! - A hint that names a size and a time is inspected again until a file has them, with growing pauses and
//!   for a limited time: another node may still see the older file.

mod awaited;
mod ledger;
mod wire;

pub use awaited::RemoteHints;
pub use ledger::{HintLedger, RelayCounts};
pub use wire::{
    HINT_LINES_MAX, HINT_REQUEST_BYTES_MAX, ParsedHints, RemoteChange, RemoteHint, parse_hints,
};
