//! Loading a database with numbered records, and checking all of it.
//!
//! Invariants
//! 1. [`check_all`] reads every record there is, and knows a missing, foreign, torn or stale one.

use super::{Bench, Counted};
use crate::check::{KEY_SIZE_MIN, KeyOrder, Ledger, fill_key, fill_value, identity_of};
use crate::engine::{Engine, Reader, ScanBody};
use crate::error::{Error, Result};
use std::ops::Range;

/// Records of one transaction while loading.
const LOAD_BATCH: u64 = 10_000;
/// Bytes of memory for each record that [`load`] sorts.
pub const SORT_ENTRY_SIZE: u64 = 32;
/// Bytes of one transaction while loading.
const LOAD_BATCH_BYTES: u64 = 16 << 20;
/// Records read in one snapshot while checking.
const CHECK_BATCH: usize = 10_000;

/// What records look like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes of a key.
    pub key_size: usize,
    /// Bytes of a value.
    pub value_size: usize,
    /// Where keys lie.
    pub order: KeyOrder,
}

impl Shape {
    /// Bytes of one record.
    pub fn record_size(&self) -> u64 {
        (self.key_size + self.value_size) as u64
    }

    /// How many records make up so many bytes.
    pub fn records_in(&self, bytes: u64) -> u64 {
        (bytes / self.record_size()).max(1)
    }

    /// Room for one key.
    pub fn key(&self) -> Vec<u8> {
        vec![0; self.key_size]
    }

    /// Room for one value.
    pub fn value(&self) -> Vec<u8> {
        vec![0; self.value_size]
    }

    /// Records of a loading transaction.
    fn batch(&self) -> u64 {
        (LOAD_BATCH_BYTES / self.record_size()).clamp(1, LOAD_BATCH)
    }
}

/// Puts the records of `numbers` at version 0, in large transactions and in the order of their keys: in any
/// other, a copy-on-write tree would write most of its pages anew in each transaction.
///
/// # Errors
/// The engine's own.
pub fn load(bench: &Bench<'_>, engine: &dyn Engine, shape: Shape, numbers: Range<u64>) -> Result<()> {
    let all = in_key_order(shape, numbers);
    let mut done = 0;
    for batch in all.chunks(shape.batch() as usize) {
        bench.stop.check()?;
        let megabytes = |records: usize| (records as u64 * shape.record_size()) >> 20;
        bench.news.tell(|| {
            format!("{} loads: {} of {} MB", bench.kind.name(), megabytes(done), megabytes(all.len()))
        });
        put(engine, shape, batch)?;
        done += batch.len();
    }
    engine.settle()
}

/// Puts records at version 0 in one transaction, in the order given.
///
/// # Errors
/// The engine's own.
pub fn put(engine: &dyn Engine, shape: Shape, numbers: &[u64]) -> Result<()> {
    let (mut key, mut value) = (shape.key(), shape.value());
    engine.write(&mut |txn| {
        for &number in numbers {
            fill_key(&mut key, number, shape.order);
            fill_value(&mut value, number, 0);
            txn.put(&key, &value)?;
        }
        Ok(())
    })
}

/// The numbers, sorted by their keys.
pub fn in_key_order(shape: Shape, numbers: Range<u64>) -> Vec<u64> {
    let mut sorted: Vec<u64> = numbers.collect();
    if shape.order == KeyOrder::Random {
        // The first bytes tell keys apart.
        let mut id = [0; KEY_SIZE_MIN];
        sorted.sort_by_cached_key(|&number| {
            fill_key(&mut id, number, shape.order);
            id
        });
    }
    sorted
}

/// Reads the whole database: each record must be one of `ledger`'s numbers at its newest version.
///
/// # Errors
/// [`Error::WrongAnswer`], or the engine's own.
pub fn check_all(engine: &dyn Engine, shape: Shape, ledger: &Ledger, expected: u64) -> Result<Counted> {
    let newest = |number| (number < ledger.capacity() as u64).then(|| ledger.newest(number));
    check_versions(engine, shape, newest, expected)
}

/// Reads the whole database: it must hold the first `expected` numbers at version 0.
///
/// # Errors
/// [`Error::WrongAnswer`], or the engine's own.
pub fn check_new(engine: &dyn Engine, shape: Shape, expected: u64) -> Result<Counted> {
    check_versions(engine, shape, |number| (number < expected).then_some(0), expected)
}

/// Each record must be at the version that `newest` knows of its number.
fn check_versions(
    engine: &dyn Engine,
    shape: Shape,
    newest: impl Fn(u64) -> Option<u64>,
    expected: u64,
) -> Result<Counted> {
    let mut right = shape.key();
    let found = walk(engine, &mut |key, value| {
        let Some((number, version)) = identity_of(value) else {
            return Err(Error::WrongAnswer(format!("a record of {} bytes was never written", value.len())));
        };
        fill_key(&mut right, number, shape.order);
        let Some(newest) = newest(number).filter(|_| key == right) else {
            return Err(Error::WrongAnswer(format!("record {number} lies under another key")));
        };
        if version != newest || value.len() != shape.value_size {
            return Err(Error::WrongAnswer(format!(
                "record {number} is at version {version} instead of {newest}"
            )));
        }
        Ok(())
    })?;
    Ok(Counted { expected, found })
}

/// Gives every record to `each`, in order, and returns how many there are.
///
/// # Errors
/// [`Error::WrongAnswer`] if keys do not rise, the engine's own, or that of `each`.
pub fn walk(engine: &dyn Engine, each: ScanBody<'_>) -> Result<u64> {
    let (mut from, mut total) = (Vec::new(), 0);
    from.push(0);
    loop {
        let mut count = 0;
        engine.read(&mut |txn: &mut dyn Reader| {
            let begin = from.clone();
            let mut last: Vec<u8> = Vec::new();
            count = txn.scan(&begin, CHECK_BATCH, &mut |key, value| {
                if !last.is_empty() && key <= last.as_slice() {
                    return Err(Error::WrongAnswer("a scan's keys do not rise".to_owned()));
                }
                last.clear();
                last.extend_from_slice(key);
                each(key, value)
            })?;
            if count > 0 {
                // The next key that can be: the last one and a zero behind it.
                from = last;
                from.push(0);
            }
            Ok(())
        })?;
        total += count as u64;
        if count < CHECK_BATCH {
            return Ok(total);
        }
    }
}
