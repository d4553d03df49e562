//! The real file system with a meter: how many bytes are handed to it, and how often it must flush.
//!
//! Invariants
//! 1. It passes everything on unchanged; a flush counts when it is asked for, a write by the bytes it took.
//!
//! Not here: what the operating system does with it later.

use llmdb_pager::storage::{DiskStorage, File, Lock, LockError, Map, OpenMode, Storage};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What reached the files so far.
#[derive(Debug, Default)]
pub struct Meter {
    bytes_written: AtomicU64,
    flushes: AtomicU64,
}

impl Meter {
    /// Bytes handed to the file system.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Ordering::Relaxed)
    }

    /// Flushes of files and of folders.
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }
}

/// [`DiskStorage`] with a [`Meter`].
#[derive(Debug, Clone, Default)]
pub struct MeteredStorage {
    disk: DiskStorage,
    meter: Arc<Meter>,
}

impl MeteredStorage {
    /// The meter, shared by all clones.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }
}

impl Storage for MeteredStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.disk.open(path, mode)?;
        Ok(Arc::new(MeteredFile { file, meter: self.meter.clone() }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.meter.flushes.fetch_add(1, Ordering::Relaxed);
        self.disk.sync_dir(path)
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn Lock>, LockError> {
        self.disk.lock(path, owner)
    }
}

#[derive(Debug)]
struct MeteredFile {
    file: Arc<dyn File>,
    meter: Arc<Meter>,
}

impl File for MeteredFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let written = self.file.write_at(buf, offset)?;
        self.meter.bytes_written.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.meter.flushes.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.allocate(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        self.file.map(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llmdb_pager::storage::write_all_at;

    #[test]
    fn bytes_and_flushes_of_all_files_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let storage = MeteredStorage::default();
        let path = folder.path().join("a");
        let file = storage.open(&path, OpenMode::CreateNew).unwrap();
        write_all_at(&*file, &[7; 5000], 10).unwrap();
        file.sync_data().unwrap();
        storage.clone().sync_dir(&path).unwrap();
        assert_eq!((storage.meter().bytes_written(), storage.meter().flushes()), (5000, 2));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 5010);
    }
}
