//! A storage that leaves flushes out: what an engine without a mode of its own for it is without them, and
//! what an engine is that forgets them.
//!
//! Not here: which engine asks for it (`llmdb_no_log`, `wrong`).

use llmdb_pager::storage::{File, Lock, LockError, Map, OpenMode, Storage};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A storage whose flushes do nothing. Above the one that counts it is as if the engine never asked.
#[derive(Debug)]
pub(super) struct NoFlush(pub(super) Arc<dyn Storage>);

impl Storage for NoFlush {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(NoFlushFile(self.0.open(path, mode)?)))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn Lock>, LockError> {
        self.0.lock(path, owner)
    }
}

#[derive(Debug)]
struct NoFlushFile(Arc<dyn File>);

impl File for NoFlushFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.allocate(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        self.0.map(len)
    }
}
