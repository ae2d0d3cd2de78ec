//! What the built daemon promises, tried on a real directory and against an S3 that fails on demand.
//!
//! Each test has a world of its own. Nothing sleeps but the one way to wait, and what is random has
//! a seed.

mod collector;
mod complete;
mod deletes;
mod endpoints;
mod faults;
mod files;
mod gates;
mod harness;
mod identity;
mod idle;
mod invalidation;
mod kill;
mod large;
mod monitoring;
mod mounts;
mod objects;
mod once;
mod outage;
mod parked;
mod plan;
mod probe;
mod reload;
mod restart;
mod shards;
mod shutdown;
mod source;
mod startup;
mod state;
mod termination;
mod tidy;
mod verify;
mod writer;
