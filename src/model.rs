//! The vocabulary every other module speaks: paths, keys, fingerprints, hints.
//!
//! Nothing here does I/O, reads a clock, or knows a crate of an adapter.

mod fingerprint;
mod hint;
mod key;
mod path;

pub use fingerprint::Fingerprint;
pub use hint::{Activity, Depth, Hint};
pub use key::{KeyError, KeyPrefix, ObjectKey, PrefixError};
pub use path::{PathError, RelPath};
