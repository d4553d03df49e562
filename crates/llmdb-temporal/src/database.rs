//! The front door: a database of bitemporal collections over a store.
//!
//! Not here: opening files (`llmdb_wal::StoreOptions`).

use std::fmt;

use llmdb_wal::Store;

use crate::catalog;
use crate::error::Error;
use crate::pending::Room;
use crate::read::TemporalRead;
use crate::write::TemporalWrite;

/// Bitemporal collections in a store. Clones share the store; it closes with the last of them.
#[derive(Clone)]
pub struct Temporal {
    store: Store,
    /// Bytes of the largest block that is written.
    block_size_max: usize,
    room: Room,
}

impl Temporal {
    /// Over a store, which may be empty and may hold other trees. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Format`] where the store's collections were written by a newer version; the store's errors.
    pub fn open(store: Store) -> Result<Self, Error> {
        for name in store.begin_read()?.tree_names()? {
            if name.starts_with(catalog::FAMILY) && !name.starts_with(catalog::VERSION) {
                return Err(Error::Format { found: name });
            }
        }
        Ok(Self { store, block_size_max: usize::MAX, room: Room::default() })
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Writes smaller blocks than pages would hold, so that tests reach by few operations what else takes thousands.
    #[doc(hidden)]
    #[must_use]
    pub fn with_block_size_max(self, block_size_max: usize) -> Self {
        Self { block_size_max, ..self }
    }

    /// A snapshot of what is known now.
    ///
    /// # Errors
    /// The store's errors.
    pub fn begin_read(&self) -> Result<TemporalRead, Error> {
        TemporalRead::begin(&self.store)
    }

    /// A transaction; waits for the writer before it.
    ///
    /// # Errors
    /// The store's errors.
    pub fn begin_write(&self) -> Result<TemporalWrite, Error> {
        TemporalWrite::begin(&self.store, self.block_size_max, self.room.clone())
    }
}

impl fmt::Debug for Temporal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Temporal").finish_non_exhaustive()
    }
}
