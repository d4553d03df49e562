//! A storage that leaves flushes out: what an engine without a mode of its own for it is without them, and
//! what an engine is that forgets them.
//!
//! Not here: which engine asks for it (`llmdb_no_log`, `wrong`).

use super::layer::{Layer, Layered};
use llmdb_pager::storage::{File, Storage};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The layer of [`without_flushes`].
#[derive(Debug)]
pub(super) struct NoFlush;

/// `storage` without flushes. Above a layer that counts it is as if the engine never asked for one.
pub(super) fn without_flushes(storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
    Arc::new(Layered::new(storage, NoFlush))
}

impl Layer for NoFlush {
    type Known = ();

    fn opened(&self, _path: &Path, _file: &Arc<dyn File>) {}

    fn sync_data(&self, (): &(), _file: &dyn File) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _storage: &dyn Storage, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}
