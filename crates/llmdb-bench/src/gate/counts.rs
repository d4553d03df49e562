//! What the gate knows about one build: the counts of each operation, by name, as JSON.
//!
//! Invariants
//! 1. Every count is per operation and better the lower it is.
//! 2. Names are the contract between builds: one that only one side has is shown and compared with nothing.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of this form and of the commands that builds ask each other.
pub const PROTOCOL: u32 = 1;

/// Machine instructions of the process, counted by valgrind; the kernel's are not in it.
pub const INSTRUCTIONS: &str = "instructions";
/// Pages that are read and checked when the operation is the first thing done after an open; of commits, by
/// the trees and the pager, without the log.
pub const PAGES: &str = "pages";
/// Blocks of 4 KiB that writes touch, in the data file and the log.
pub const PAGES_WRITTEN: &str = "pages_written";
/// Bytes handed to the file system, in the data file and the log.
pub const BYTES_WRITTEN: &str = "bytes_written";
/// Flushes of files and folders.
pub const FLUSHES: &str = "flushes";
/// Calls to the allocator: new and grown blocks.
pub const ALLOCATIONS: &str = "allocations";
/// Bytes asked of the allocator.
pub const BYTES_ALLOCATED: &str = "bytes_allocated";

/// The counts of one operation, by name.
pub type Counts = BTreeMap<String, f64>;

/// The counts of one build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GateCounts {
    /// [`PROTOCOL`] of the program that counted.
    pub protocol: u32,
    /// Operation to its counts.
    pub operations: BTreeMap<String, Counts>,
}

impl GateCounts {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self { protocol: PROTOCOL, operations: BTreeMap::new() }
    }
}

/// Wall clock of one run: operation to nanoseconds of one, the median of its blocks.
pub type Times = BTreeMap<String, f64>;
