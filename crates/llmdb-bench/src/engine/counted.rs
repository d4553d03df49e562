//! A storage that counts: every flush and every byte that an engine of ours hands to the system.
//!
//! Invariants
//! 1. An operation is counted only when it succeeded.

use super::layer::{Layer, Layered};
use llmdb_pager::storage::{DiskStorage, File, Storage};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of a [`CountedStorage`].
#[derive(Debug, Default)]
pub struct Counters {
    flushes: AtomicU64,
    folder_flushes: AtomicU64,
    writes: AtomicU64,
    bytes_written: AtomicU64,
    blocks_written: AtomicU64,
}

/// Bytes of a block: what [`Counters::blocks_written`] counts in, whatever the page size of a file.
const BLOCK_SIZE: u64 = 4 << 10;

impl Counters {
    /// Flushes of files.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    /// Flushes of folders.
    pub fn folder_flushes(&self) -> u64 {
        self.folder_flushes.load(Ordering::Relaxed)
    }

    /// Calls that wrote.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Blocks of 4 KiB that they touched, each counted once a call.
    pub fn blocks_written(&self) -> u64 {
        self.blocks_written.load(Ordering::Relaxed)
    }

    /// Bytes that they wrote.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    fn count_write(&self, written: usize, offset: u64) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.bytes_written.fetch_add(written as u64, Ordering::Relaxed);
        let end = offset + written as u64;
        let blocks = end.div_ceil(BLOCK_SIZE) - offset / BLOCK_SIZE;
        self.blocks_written.fetch_add(blocks, Ordering::Relaxed);
    }
}

/// Counts what passes through to another storage.
pub type CountedStorage = Layered<Counters>;

impl Default for CountedStorage {
    fn default() -> Self {
        Self::over(Arc::new(DiskStorage))
    }
}

impl CountedStorage {
    /// Counts what passes to `storage`.
    pub fn over(storage: Arc<dyn Storage>) -> Self {
        Self::new(storage, Counters::default())
    }

    /// The counts, which go on while it is in use.
    pub fn counters(&self) -> Arc<Counters> {
        self.layer().clone()
    }
}

impl Layer for Counters {
    type Known = ();

    fn opened(&self, _path: &Path, _file: &Arc<dyn File>) {}

    fn write_at(&self, (): &(), file: &dyn File, buf: &[u8], offset: u64) -> io::Result<usize> {
        let written = file.write_at(buf, offset)?;
        self.count_write(written, offset);
        Ok(written)
    }

    fn write_durable_at(&self, (): &(), file: &dyn File, buf: &[u8], offset: u64) -> Option<io::Result<()>> {
        let done = file.write_durable_at(buf, offset);
        if done.is_ok() {
            self.count_write(buf.len(), offset);
            self.flushes.fetch_add(1, Ordering::Relaxed);
        }
        Some(done)
    }

    fn sync_data(&self, (): &(), file: &dyn File) -> io::Result<()> {
        file.sync_data()?;
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn sync_dir(&self, storage: &dyn Storage, path: &Path) -> io::Result<()> {
        storage.sync_dir(path)?;
        self.folder_flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llmdb_pager::storage::OpenMode;

    #[test]
    fn blocks_that_a_write_touches_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let storage = CountedStorage::default();
        let counters = storage.counters();
        let file = storage.open(&folder.path().join("file"), OpenMode::CreateNew).unwrap();
        for (offset, len, blocks) in [(0, 4096, 1), (4095, 2, 2), (8192, 1, 1), (100, 8192, 3)] {
            let before = counters.blocks_written();
            assert_eq!(file.write_at(&vec![1; len], offset).unwrap(), len);
            assert_eq!(counters.blocks_written() - before, blocks, "{len} bytes at {offset}");
        }
        assert_eq!((counters.writes(), counters.bytes_written()), (4, 4096 + 2 + 1 + 8192));
    }
}
