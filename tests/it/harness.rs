//! What the tests drive: a world of a tree, a bucket and the built daemon, and one way to wait.

pub(crate) mod apart;
pub(crate) mod churn;
pub(crate) mod daemon;
pub(crate) mod failing;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod memory;
pub(crate) mod record;
pub(crate) mod said;
pub(crate) mod service;
pub(crate) mod tree;
pub(crate) mod wait;
pub(crate) mod world;

pub(crate) use churn::Churn;
pub(crate) use daemon::{Daemon, Ended};
pub(crate) use failing::Failing;
pub(crate) use memory::MemoryBound;
pub(crate) use said::{Entries, Said, entries};
pub(crate) use wait::{AtLast, eventually_within, patience, rounds, seed, sleep_for, until};
pub(crate) use world::{PREFIX, World, key};
