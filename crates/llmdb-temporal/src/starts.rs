//! The index of where facts begin, across the keys of a collection: kept where it was asked for.
//!
//! ```text
//! SIZE   DESCRIPTION (big-endian)
//! 8      where a value begins, i64 with its sign bit flipped
//! n      the encoded user key, terminator included (see `encoding`)
//! ```
//!
//! Invariants
//! 1. Every break point with a value that is stored has an entry. There may be entries of others: of a break point that went
//!    in the commit in which it came, of a key with blocks, and of history that was let go.
//! 2. Every entry is of a key that has a record.
//!
//! Cost: one more tree write for each break point with a value, in the order of valid time.
//!
//! Not here: making it (`index`), asking it (`read::began`).

use std::ops::Bound::Unbounded;

use llmdb_wal::Tree;

use crate::encoding::{ordered, unordered};
use crate::error::Error;
use crate::types::ValidTime;

const TIME_SIZE: usize = size_of::<i64>();

/// An entry.
pub(crate) fn entry(at: ValidTime, prefix: &[u8]) -> Vec<u8> {
    [&ordered(at.micros())[..], prefix].concat()
}

/// An entry, taken apart; `None` where it is none.
pub(crate) fn parse(entry: &[u8]) -> Option<(ValidTime, &[u8])> {
    let (at, prefix) = entry.split_first_chunk::<TIME_SIZE>()?;
    (!prefix.is_empty()).then(|| (ValidTime::from_raw(unordered(*at)), prefix))
}

/// The entries of a key.
pub(crate) fn entries_of(starts: Tree<'_>, prefix: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let mut entries = Vec::new();
    for row in starts.range(Unbounded, Unbounded) {
        let (entry, _) = row?;
        if entry.get(TIME_SIZE..) == Some(prefix) {
            entries.push(entry);
        }
    }
    Ok(entries)
}
