//! A layer between an engine and its storage: what it leaves out, counts or adds, over everything else passed
//! through.
//!
//! Invariants
//! 1. What a layer does not speak of reaches the storage below unchanged, hints included.

use llmdb_pager::storage::{File, Lock, LockError, Map, OpenMode, Storage, write_all_at};
use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// What a layer does. By default it passes everything on.
pub trait Layer: Debug + Send + Sync + 'static {
    /// What it knows of an open file.
    type Known: Debug + Send + Sync;

    /// A file was opened.
    fn opened(&self, path: &Path, file: &Arc<dyn File>) -> Self::Known;

    /// Whether files may be changed at all, asked before each change.
    ///
    /// # Errors
    /// Why not.
    fn allows(&self) -> io::Result<()> {
        Ok(())
    }

    /// [`File::write_at`].
    ///
    /// # Errors
    /// As there.
    fn write_at(&self, known: &Self::Known, file: &dyn File, buf: &[u8], offset: u64) -> io::Result<usize> {
        let _ = known;
        file.write_at(buf, offset)
    }

    /// [`File::sync_data`].
    ///
    /// # Errors
    /// As there.
    fn sync_data(&self, known: &Self::Known, file: &dyn File) -> io::Result<()> {
        let _ = known;
        file.sync_data()
    }

    /// [`File::write_durable_at`]; `None` where the layer sees it as a write and a flush.
    fn write_durable_at(
        &self,
        known: &Self::Known,
        file: &dyn File,
        buf: &[u8],
        offset: u64,
    ) -> Option<io::Result<()>> {
        let _ = (known, file, buf, offset);
        None
    }

    /// [`Storage::sync_dir`].
    ///
    /// # Errors
    /// As there.
    fn sync_dir(&self, storage: &dyn Storage, path: &Path) -> io::Result<()> {
        storage.sync_dir(path)
    }
}

/// A storage under a layer. Clones share the layer.
#[derive(Debug)]
pub struct Layered<L> {
    storage: Arc<dyn Storage>,
    layer: Arc<L>,
}

impl<L> Layered<L> {
    /// `layer` over `storage`.
    pub fn new(storage: Arc<dyn Storage>, layer: L) -> Self {
        Self { storage, layer: Arc::new(layer) }
    }

    /// The layer.
    pub fn layer(&self) -> &Arc<L> {
        &self.layer
    }
}

impl<L> Clone for Layered<L> {
    fn clone(&self) -> Self {
        Self { storage: self.storage.clone(), layer: self.layer.clone() }
    }
}

impl<L: Layer> Storage for Layered<L> {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = self.storage.open(path, mode)?;
        let known = self.layer.opened(path, &file);
        Ok(Arc::new(LayeredFile { file, known, layer: self.layer.clone() }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.storage.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.layer.allows()?;
        self.storage.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.layer.allows()?;
        self.storage.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.layer.allows()?;
        self.layer.sync_dir(&*self.storage, path)
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn Lock>, LockError> {
        self.storage.lock(path, owner)
    }
}

#[derive(Debug)]
struct LayeredFile<L: Layer> {
    file: Arc<dyn File>,
    known: L::Known,
    layer: Arc<L>,
}

impl<L: Layer> File for LayeredFile<L> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.layer.allows()?;
        self.layer.write_at(&self.known, &*self.file, buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.layer.allows()?;
        self.layer.sync_data(&self.known, &*self.file)
    }

    fn write_durable_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.layer.allows()?;
        match self.layer.write_durable_at(&self.known, &*self.file, buf, offset) {
            Some(done) => done,
            None => write_all_at(self, buf, offset).and_then(|()| self.sync_data()),
        }
    }

    fn write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        self.layer.allows()?;
        self.file.write_back(offset, len)
    }

    fn begin_write_back(&self, offset: u64, len: u64) {
        self.file.begin_write_back(offset, len);
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.layer.allows()?;
        self.file.allocate(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.layer.allows()?;
        self.file.set_len(len)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        self.file.map(len)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.layer.allows()?;
        self.file.punch(offset, len)
    }

    fn holes(&self, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        self.file.holes(range)
    }

    fn allocated(&self) -> io::Result<u64> {
        self.file.allocated()
    }

    fn will_need(&self, offset: u64, len: u64) {
        self.file.will_need(offset, len);
    }
}
