//! The sweep: finds changed directories by one look at each, where events do not report every change.
//!
//! A scan lists directories and inspects files; on a network file system each of these is a request. The
//! sweep inspects directories only: a name that appears, disappears or changes its file changes the times
//! of its directory. A directory with other times is scanned, and so is a directory in which something has
//! changed lately. The full scan finds the rest.
//!
//! # Invariants
//!
//! - A directory is remembered with the attributes that it had **before** it was listed: a change after
//!   the listing differs from what is remembered, and is found by the next sweep.
//! - What is remembered changes only when a scan has listed the directory, so that a scan that fails is
//!   requested again.
//! - A sweep gives hints. It decides nothing, and proves no absence.
//! - Remembered directories, hot directories and open files have a maximum number each.
//! - The pure part, `RememberedDirectories`, takes time as an argument.

mod hot;
mod memory;
mod pace;
mod remembered;
mod task;

#[cfg(test)]
mod tests;

pub use memory::DirectoryMemory;
pub use task::{SweepSettings, Sweeper};
