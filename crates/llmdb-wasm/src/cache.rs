//! Cache: compiled modules by the hash of their bytes, least recently used out first.
//!
//! Invariants
//! 1. At most `capacity` entries are held; what callers hold lives on by itself.
//! 2. The hash is cryptographic, so no module can be made to answer for another.
//! 3. One hash is compiled by one thread at a time; the others wait for it, not for other modules.
//!
//! Not here: artifacts on disk (`artifacts`).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::compiled::{Compiled, ModuleHash};

#[derive(Debug)]
pub(crate) struct Cache {
    capacity: usize,
    entries: Mutex<Entries>,
    turn_ended: Condvar,
}

#[derive(Debug, Default)]
struct Entries {
    clock: u64,
    by_hash: HashMap<ModuleHash, (u64, Arc<Compiled>)>,
    in_turn: HashSet<ModuleHash>,
}

/// The right to compile one hash, until dropped.
pub(crate) struct Turn<'a> {
    cache: &'a Cache,
    hash: ModuleHash,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.cache.lock().in_turn.remove(&self.hash);
        self.cache.turn_ended.notify_all();
    }
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::default(), turn_ended: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody compiles `hash`, and is then the one who does. Look into the cache again after this.
    pub(crate) fn turn(&self, hash: ModuleHash) -> Turn<'_> {
        let mut entries = self.lock();
        while !entries.in_turn.insert(hash) {
            entries = self.turn_ended.wait(entries).unwrap_or_else(PoisonError::into_inner);
        }
        Turn { cache: self, hash }
    }

    pub(crate) fn get(&self, hash: &ModuleHash) -> Option<Arc<Compiled>> {
        let mut entries = self.lock();
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
        let mut entries = self.lock();
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
        self.lock().by_hash.len()
    }
}
