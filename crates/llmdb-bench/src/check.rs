//! Keys and values that can be checked: every byte of a value follows from the key's number and a version,
//! so a reader knows a wrong, torn or stale one.
//!
//! ```text
//! OFFSET  SIZE  DESCRIPTION of a value (little-endian)
//!      0     8  XXH3-64 of the rest
//!      8     8  number of the key
//!     16     8  version: how often the record had been written before
//!     24     n  filler
//! ```
//!
//! Invariants
//! 1. A value that is accepted has every byte as it was written, for that key.
//! 2. A [`Ledger`] accepts no version older than one that was acknowledged before the read began.
//!
//! Not here: when to check (`workload`).

use crate::error::{Error, Result};
use crate::rng::mix;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// The shortest value.
pub const VALUE_SIZE_MIN: usize = HEADER_SIZE;
/// The shortest key.
pub const KEY_SIZE_MIN: usize = 8;

/// Bytes of memory that a [`Ledger`] takes for each record.
pub const LEDGER_ENTRY_SIZE: u64 = 2 * size_of::<AtomicU64>() as u64;

const HEADER_SIZE: usize = 24;

/// In which order numbers become keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrder {
    /// The key of a higher number is higher.
    Sequential,
    /// Keys of neighbouring numbers lie anywhere.
    Random,
}

/// Writes the key of `number` into `key`: 8 bytes that tell it from all others, then filler.
pub fn fill_key(key: &mut [u8], number: u64, order: KeyOrder) {
    let id = match order {
        KeyOrder::Sequential => number,
        KeyOrder::Random => mix(number),
    };
    key[..KEY_SIZE_MIN].copy_from_slice(&id.to_be_bytes());
    fill(&mut key[KEY_SIZE_MIN..], id);
}

/// Writes the value of `number` at `version` into `value`.
pub fn fill_value(value: &mut [u8], number: u64, version: u64) {
    value[8..16].copy_from_slice(&number.to_le_bytes());
    value[16..24].copy_from_slice(&version.to_le_bytes());
    fill(&mut value[HEADER_SIZE..], number ^ mix(version.wrapping_add(1)));
    let hash = xxh3_64(&value[8..]);
    value[..8].copy_from_slice(&hash.to_le_bytes());
}

/// The version of `number`'s value, every byte of it checked; `None` if it is not one of its values.
pub fn version_of(value: &[u8], number: u64) -> Option<u64> {
    let (hash, rest) = value.split_first_chunk::<8>()?;
    let (owner, after) = rest.split_first_chunk::<8>()?;
    let (version, _) = after.split_first_chunk::<8>()?;
    let right = u64::from_le_bytes(*hash) == xxh3_64(rest) && u64::from_le_bytes(*owner) == number;
    right.then(|| u64::from_le_bytes(*version))
}

/// The number that a value says it belongs to, and its version, every byte of it checked.
pub fn identity_of(value: &[u8]) -> Option<(u64, u64)> {
    let number = u64::from_le_bytes(*value.get(8..16)?.first_chunk()?);
    Some((number, version_of(value, number)?))
}

fn fill(bytes: &mut [u8], seed: u64) {
    let mut word = mix(seed);
    for chunk in bytes.chunks_mut(8) {
        word = word.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) ^ seed;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
}

/// The versions of all records: what was written, what was acknowledged.
///
/// A writer takes the next version inside its transaction, where an engine with one writer at a time lets
/// nobody else in: so versions rise in the order of commits.
#[derive(Debug)]
pub struct Ledger {
    written: Vec<AtomicU64>,
    acknowledged: Vec<AtomicU64>,
}

impl Ledger {
    /// For numbers below `capacity`.
    pub fn new(capacity: usize) -> Self {
        let zeros = || (0..capacity).map(|_| AtomicU64::new(0)).collect();
        Self { written: zeros(), acknowledged: zeros() }
    }

    /// How many numbers it has room for.
    pub fn capacity(&self) -> usize {
        self.written.len()
    }

    /// The version for a write, which is being made now.
    pub fn next_version(&self, number: u64) -> u64 {
        self.written[number as usize].fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Says that the commit with that version returned.
    pub fn acknowledge(&self, number: u64, version: u64) {
        self.acknowledged[number as usize].fetch_max(version, Ordering::AcqRel);
    }

    /// The oldest version that a read which begins now may return.
    pub fn floor(&self, number: u64) -> u64 {
        self.acknowledged[number as usize].load(Ordering::Acquire)
    }

    /// The newest version that was ever written.
    pub fn newest(&self, number: u64) -> u64 {
        self.written[number as usize].load(Ordering::Acquire)
    }

    /// Checks the answer of a read that began when the floor was `floor`.
    ///
    /// # Errors
    /// [`Error::WrongAnswer`].
    pub fn check(&self, number: u64, floor: u64, value: Option<&[u8]>) -> Result<()> {
        let Some(value) = value else {
            return Err(Error::WrongAnswer(format!("record {number} is missing")));
        };
        let Some(version) = version_of(value, number) else {
            return Err(Error::WrongAnswer(format!(
                "record {number} has {} bytes that were never written",
                value.len()
            )));
        };
        if version < floor || version > self.newest(number) {
            let text =
                format!("record {number} is at version {version}, but {floor} was acknowledged before");
            return Err(Error::WrongAnswer(text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_any_size_is_known_again() {
        for size in [VALUE_SIZE_MIN, 25, 64, 100, 65_536] {
            let mut value = vec![0; size];
            fill_value(&mut value, 9, 3);
            assert_eq!(version_of(&value, 9), Some(3));
            assert_eq!(identity_of(&value), Some((9, 3)));
            assert_eq!(version_of(&value, 8), None, "another record's");
        }
        assert_eq!(identity_of(b"short"), None);
    }

    #[test]
    fn any_flipped_byte_is_seen() {
        let mut value = vec![0; 100];
        fill_value(&mut value, 9, 3);
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 1;
            assert_eq!(version_of(&damaged, 9), None, "byte {at}");
        }
    }

    #[test]
    fn keys_differ_and_keep_their_order() {
        let key = |number, order| {
            let mut key = vec![0; 20];
            fill_key(&mut key, number, order);
            key
        };
        let random: std::collections::BTreeSet<_> = (0..1000).map(|n| key(n, KeyOrder::Random)).collect();
        assert_eq!(random.len(), 1000);
        let sequential: Vec<_> = (0..1000).map(|n| key(n, KeyOrder::Sequential)).collect();
        assert!(sequential.is_sorted());
    }

    #[test]
    fn a_stale_missing_or_foreign_answer_is_an_error() {
        let ledger = Ledger::new(2);
        let mut value = [0; 40];
        assert_eq!(ledger.next_version(1), 1);
        assert_eq!(ledger.next_version(1), 2);
        ledger.acknowledge(1, 2);
        fill_value(&mut value, 1, 2);
        ledger.check(1, ledger.floor(1), Some(&value)).unwrap();
        fill_value(&mut value, 1, 1);
        assert!(ledger.check(1, ledger.floor(1), Some(&value)).is_err(), "stale");
        fill_value(&mut value, 1, 3);
        assert!(ledger.check(1, ledger.floor(1), Some(&value)).is_err(), "never written");
        assert!(ledger.check(1, 0, None).is_err(), "missing");
        assert!(ledger.check(0, 0, Some(&value)).is_err(), "another record's");
    }
}
