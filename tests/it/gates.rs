//! The gates: each way in which a program of this kind is known to have destroyed data, leaked it or
//! stormed the store, tried on the built daemon.
//!
//! A test is named after the danger it is the gate of, d1 to d14. What a machine does not permit is
//! skipped with a word, never silently.

mod events;
mod kills;
mod outage;
mod record;
mod rename;
mod source;
mod states;
mod unreadable;
