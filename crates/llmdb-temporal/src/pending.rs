//! Operations of a transaction that are not applied yet, as they go to the log, and the order in which they are applied.
//!
//! Many operations are cheaper together: those of the log are one run at its end, and those of neighbouring keys change
//! the same pages.
//!
//! Invariants
//! 1. Operations of one key keep their order.
//!
//! Not here: applying them (`apply`).

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::ops::{KEY_OFFSET, Recorded};
use crate::trees::CollectionTrees;
use crate::types::{Operation, Period};

/// Bytes from which on pending operations are applied.
const SIZE_MAX: usize = 4 << 20;
/// Bytes of an operation that does not wait: large values are written by the operation itself.
const LONG: usize = 64 << 10;

/// Bytes of each list that are kept for the next transaction.
const ROOM_MAX: usize = 1 << 20;

/// The operations, in the order in which they came.
#[derive(Default)]
pub(crate) struct Pending {
    /// Their records, one behind the other.
    bytes: Vec<u8>,
    operations: Vec<Held>,
    /// Hashes of collection and key of all of them, once that was asked for.
    keys: Option<HashSet<u64>>,
}

/// Lists that a transaction leaves to the next one.
#[derive(Clone, Default)]
pub(crate) struct Room(Arc<Mutex<Pending>>);

impl Room {
    /// Takes the lists, which are empty.
    pub(crate) fn take(&self) -> Pending {
        self.0.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default()
    }

    /// Keeps the lists of a transaction that is over, unless they are large.
    pub(crate) fn keep(&self, mut pending: Pending) {
        pending.clear();
        pending.keys = None;
        let is_small = pending.bytes.capacity() <= ROOM_MAX
            && pending.operations.capacity() * size_of::<Held>() <= ROOM_MAX;
        if is_small && let Ok(mut kept) = self.0.lock() {
            *kept = pending;
        }
    }
}

/// An operation.
#[derive(Clone)]
pub(crate) struct Held {
    /// Its place in the transaction.
    pub(crate) index: u32,
    pub(crate) op: Operation,
    pub(crate) period: Period,
    pub(crate) trees: CollectionTrees,
    record: Range<usize>,
    key_size: usize,
}

impl Pending {
    pub(crate) fn push(&mut self, index: u32, trees: CollectionTrees, recorded: &Recorded<'_>) {
        let start = self.bytes.len();
        recorded.encode(&mut self.bytes);
        if let Some(keys) = &mut self.keys {
            keys.insert(hash(trees.number, recorded.key));
        }
        self.operations.push(Held {
            index,
            op: recorded.op,
            period: recorded.valid,
            trees,
            record: start..self.bytes.len(),
            key_size: recorded.key.len(),
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= SIZE_MAX || self.operations.last().is_some_and(|last| last.record.len() >= LONG)
    }

    /// Whether there may be an operation on a key.
    pub(crate) fn has(&mut self, collection: u32, key: &[u8]) -> bool {
        let (bytes, operations) = (&self.bytes, &self.operations);
        let keys = self.keys.get_or_insert_with(|| {
            operations.iter().map(|held| hash(held.trees.number, held.key(bytes))).collect()
        });
        keys.contains(&hash(collection, key))
    }

    /// The operations in the order of the log, each with its record.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.operations.iter().map(|held| (held.index, &self.bytes[held.record.clone()]))
    }

    /// The operations by collection, then by key, then as they came.
    pub(crate) fn ordered(&self) -> Vec<&Held> {
        // Most keys differ in their first bytes: these stand in one number with the collection before and the place behind.
        let head = |(place, held): (usize, &Held)| {
            let mut head = [0; size_of::<u64>()];
            let key = self.key(held);
            match key.first_chunk() {
                Some(first) => head = *first,
                None => head[..key.len()].copy_from_slice(key),
            }
            u128::from(held.trees.number) << 96 | u128::from(u64::from_be_bytes(head)) << 32 | place as u128
        };
        let mut ordered: Vec<u128> = self.operations.iter().enumerate().map(head).collect();
        ordered.sort_unstable();
        let held = |number: &u128| &self.operations[*number as u32 as usize];
        for alike in ordered.chunk_by_mut(|one, other| one >> 32 == other >> 32).filter(|run| run.len() > 1) {
            alike.sort_by(|one, other| self.key(held(one)).cmp(self.key(held(other))));
        }
        ordered.iter().map(held).collect()
    }

    /// Whether two operations are of the same key.
    pub(crate) fn is_same_key(&self, one: &Held, other: &Held) -> bool {
        one.trees.number == other.trees.number && self.key(one) == self.key(other)
    }

    pub(crate) fn key(&self, held: &Held) -> &[u8] {
        held.key(&self.bytes)
    }

    /// The value; empty for a delete.
    pub(crate) fn value(&self, held: &Held) -> &[u8] {
        &self.bytes[held.record.start + KEY_OFFSET + held.key_size..held.record.end]
    }

    /// Forgets the operations, and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(SIZE_MAX);
        self.operations.clear();
        if let Some(keys) = &mut self.keys {
            keys.clear();
        }
    }
}

impl Held {
    fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.record.start + KEY_OFFSET;
        &bytes[start..start + self.key_size]
    }
}

fn hash(collection: u32, key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (collection, key).hash(&mut hasher);
    hasher.finish()
}
