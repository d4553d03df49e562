//! What happened on a disk: the operations in order, and counts of them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// Opening an existing file.
    Open,
    /// Creating a file.
    Create,
    /// Renaming a file; the path is the new name.
    Rename,
    /// Removing a file.
    Remove,
    /// Making names durable.
    SyncDir,
    /// Taking a lock.
    Lock,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Making a file's data durable.
    Sync,
    /// Reserving space.
    Allocate,
    /// Giving a range's room back.
    Punch,
    /// Cutting or extending a file.
    SetLen,
    /// Mapping.
    Map,
}

/// One operation of a [`trace`](super::SimDisk::trace); its place there is its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// What was asked.
    pub op: Op,
    /// Of which file, by the name that it was opened with.
    pub path: Arc<Path>,
    /// Where, if the operation has a place.
    pub offset: u64,
    /// How much was asked.
    pub len: u64,
    /// XXH3 of the bytes to write.
    pub data: u64,
    /// How many bytes were read or written (0 where nothing is counted), or why it failed.
    pub outcome: Result<u64, io::ErrorKind>,
}

/// Counts of what was asked of a disk, failures included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimStats {
    /// Calls of `read_at`.
    pub reads: u64,
    /// Bytes that these gave.
    pub bytes_read: u64,
    /// Calls of `write_at`.
    pub writes: u64,
    /// Bytes that these took.
    pub bytes_written: u64,
    /// Calls of `sync_data`, by the name that the file was opened with.
    pub syncs: BTreeMap<PathBuf, u64>,
    /// Calls of `sync_dir`.
    pub dir_syncs: u64,
    /// Calls of `allocate`.
    pub allocations: u64,
    /// Faults that struck.
    pub faults: u64,
}

impl SimStats {
    /// Counts an operation that is over.
    pub(super) fn count(&mut self, entry: &TraceEntry) {
        let bytes = entry.outcome.unwrap_or(0);
        match entry.op {
            Op::Read => {
                self.reads += 1;
                self.bytes_read += bytes;
            }
            Op::Write => {
                self.writes += 1;
                self.bytes_written += bytes;
            }
            Op::Sync => match self.syncs.get_mut(&*entry.path) {
                Some(count) => *count += 1,
                None => {
                    self.syncs.insert(entry.path.to_path_buf(), 1);
                }
            },
            Op::SyncDir => self.dir_syncs += 1,
            Op::Allocate => self.allocations += 1,
            Op::Open | Op::Create | Op::Rename | Op::Remove | Op::Lock | Op::Punch | Op::SetLen | Op::Map => {
            }
        }
    }
}
