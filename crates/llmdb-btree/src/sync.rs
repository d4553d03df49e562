//! Commits that are visible before they are durable, and what makes them durable at last.
//!
//! Invariants
//! 1. When the last handle of a database and its last transaction are gone, every commit is durable, unless
//!    the flush failed.
//!
//! Not here: how pages get to the file (`llmdb_pager`).

use crate::error::Error;
use llmdb_pager::Pager;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a database says of itself in the meta: nothing.
pub(crate) const NO_OWNER_AREA: [u8; 64] = [0; 64];

/// The open file; makes its commits durable when it is closed.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) pager: Pager,
    /// Whether there were commits that only a sync makes durable.
    has_unsynced: AtomicBool,
}

impl Open {
    pub(crate) fn new(pager: Pager) -> Self {
        Self { pager, has_unsynced: AtomicBool::new(false) }
    }

    /// Remembers that a commit waits for a sync.
    pub(crate) fn note_unsynced(&self) {
        self.has_unsynced.store(true, Ordering::Relaxed);
    }

    /// Makes every commit durable. Answers the newest one's number.
    pub(crate) fn sync(&self) -> Result<u64, Error> {
        if self.pager.is_read_only() {
            return Ok(self.pager.snapshot().commit());
        }
        let txn = self.pager.begin_write()?;
        let commit = txn.base_commit();
        if !txn.is_base_durable() {
            txn.checkpoint(NO_OWNER_AREA)?;
        }
        Ok(commit)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.has_unsynced.load(Ordering::Relaxed) {
            // Nobody is left to tell; whatever fails here, the file shows the last durable state.
            let _ = self.sync();
            // What the last growth reserved ahead, nobody needs now. The file stays whole without this too.
            let _ = self.pager.trim_end();
        }
    }
}
