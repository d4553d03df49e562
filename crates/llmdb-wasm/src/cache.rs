//! Cache: compiled modules by the hash of their bytes, least recently used out first.
//!
//! Invariants
//! 1. At most `capacity` entries are held; what callers hold lives on by itself.
//! 2. The hash is cryptographic, so no module can be made to answer for another.
//!
//! Not here: artifacts on disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::compiled::{Compiled, ModuleHash};

#[derive(Debug)]
pub(crate) struct Cache {
    capacity: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    clock: u64,
    by_hash: HashMap<ModuleHash, (u64, Arc<Compiled>)>,
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::default() }
    }

    pub(crate) fn get(&self, hash: &ModuleHash) -> Option<Arc<Compiled>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clock += 1;
        let now = entries.clock;
        let (used, compiled) = entries.by_hash.get_mut(hash)?;
        *used = now;
        Some(Arc::clone(compiled))
    }

    pub(crate) fn insert(&self, compiled: Arc<Compiled>) {
        if self.capacity == 0 {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.clock += 1;
        let now = entries.clock;
        entries.by_hash.insert(compiled.hash, (now, compiled));
        while entries.by_hash.len() > self.capacity {
            let oldest = entries.by_hash.iter().min_by_key(|(_, (used, _))| *used).map(|(hash, _)| *hash);
            let Some(oldest) = oldest else { return };
            entries.by_hash.remove(&oldest);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).by_hash.len()
    }
}
