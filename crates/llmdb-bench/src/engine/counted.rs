//! A storage that counts: every flush and every byte that an engine of ours hands to the system.
//!
//! Invariants
//! 1. An operation is counted only when it succeeded.

use llmdb_pager::storage::{DiskStorage, File, Lock, LockError, Map, OpenMode, Storage};
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
}

/// Counts what passes through to another storage.
#[derive(Clone, Debug)]
pub struct CountedStorage {
    inner: Arc<dyn Storage>,
    counters: Arc<Counters>,
}

impl Default for CountedStorage {
    fn default() -> Self {
        Self::over(Arc::new(DiskStorage))
    }
}

impl CountedStorage {
    /// Counts what passes to `inner`.
    pub fn over(inner: Arc<dyn Storage>) -> Self {
        Self { inner, counters: Arc::default() }
    }

    /// The counts, which go on while it is in use.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }
}

impl Storage for CountedStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(CountedFile { inner, counters: self.counters.clone() }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)?;
        self.counters.folder_flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn Lock>, LockError> {
        self.inner.lock(path, owner)
    }
}

#[derive(Debug)]
struct CountedFile {
    inner: Arc<dyn File>,
    counters: Arc<Counters>,
}

impl File for CountedFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.inner.write_at(buf, offset)?;
        self.counters.writes.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes_written.fetch_add(written as u64, Ordering::Relaxed);
        let end = offset + written as u64;
        let blocks = end.div_ceil(BLOCK_SIZE) - offset / BLOCK_SIZE;
        self.counters.blocks_written.fetch_add(blocks, Ordering::Relaxed);
        Ok(written)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()?;
        self.counters.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        self.inner.map(len)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.punch(offset, len)
    }

    fn holes(&self, range: std::ops::Range<u64>) -> io::Result<Vec<std::ops::Range<u64>>> {
        self.inner.holes(range)
    }

    fn allocated(&self) -> io::Result<u64> {
        self.inner.allocated()
    }

    fn will_need(&self, offset: u64, len: u64) {
        self.inner.will_need(offset, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
