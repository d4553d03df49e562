//! The keys that are asked for, and what the answers' bytes must add up to.
//!
//! Invariants
//! 1. Entries stand in a random order, so going through them one by one is as good as drawing.

use super::SHAPE;
use crate::check::{fill_key, fill_value};
use crate::rng::Rng;
use crate::workload::load::in_key_order;

/// Bytes of a key.
pub(super) const KEY_SIZE: usize = 16;
/// Bytes of memory that [`Keys`] takes for a record.
pub(super) const ENTRY_SIZE: u64 = (size_of::<Entry>() + 2 * size_of::<u64>()) as u64;

/// A record that can be asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: [u8; KEY_SIZE],
    /// What its value's bytes add up to.
    pub(super) sum: u64,
    /// Its place in the order of keys.
    pub(super) rank: u32,
}

/// All records of a database.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) entries: Vec<Entry>,
    /// What the values of the first n records in the order of keys add up to.
    sums: Vec<u64>,
}

impl Keys {
    /// Of the first `records` numbers at version 0, in an order drawn from `seed`.
    pub(super) fn new(records: u64, seed: u64) -> Self {
        let mut entries = Vec::with_capacity(records as usize);
        let (mut sums, mut total, mut value) = (vec![0], 0_u64, SHAPE.value());
        for (rank, number) in in_key_order(SHAPE, 0..records).into_iter().enumerate() {
            let mut key = [0; KEY_SIZE];
            fill_key(&mut key, number, SHAPE.order);
            fill_value(&mut value, number, 0);
            let sum = sum_of(&value);
            entries.push(Entry { key, sum, rank: rank as u32 });
            total = total.wrapping_add(sum);
            sums.push(total);
        }
        shuffle(&mut entries, &mut Rng::new(seed));
        Self { entries, sums }
    }

    /// How many records a scan of at most `limit` from a record on gives, and what they add up to.
    pub(super) fn range_from(&self, entry: &Entry, limit: usize) -> (usize, u64) {
        let from = entry.rank as usize;
        let to = from.saturating_add(limit).min(self.entries.len());
        (to - from, self.sums[to].wrapping_sub(self.sums[from]))
    }

    /// What all values add up to.
    pub(super) fn total(&self) -> u64 {
        self.sums[self.entries.len()]
    }
}

fn shuffle(entries: &mut [Entry], rng: &mut Rng) {
    for at in (1..entries.len()).rev() {
        entries.swap(at, rng.below(at as u64 + 1) as usize);
    }
}

/// All bytes, eight at a time.
#[inline]
pub(in crate::workload) fn sum_of(value: &[u8]) -> u64 {
    let (words, rest) = value.as_chunks::<8>();
    let sum = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, &byte| sum.wrapping_add(u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_add_up_to_what_their_records_do() {
        let keys = Keys::new(300, 7);
        let mut in_order = keys.entries.clone();
        in_order.sort_by_key(|entry| entry.key);
        assert!(in_order.iter().enumerate().all(|(at, entry)| entry.rank as usize == at));
        assert!(keys.entries.iter().zip(&in_order).any(|(drawn, sorted)| drawn.key != sorted.key));
        for (limit, from) in [(100, 0_usize), (100, 250), (1, 299), (usize::MAX, 10)] {
            let part = &in_order[from..in_order.len().min(from.saturating_add(limit))];
            let sum = part.iter().fold(0_u64, |sum, entry| sum.wrapping_add(entry.sum));
            assert_eq!(keys.range_from(&in_order[from], limit), (part.len(), sum));
        }
        assert_eq!(keys.range_from(&in_order[0], 300).1, keys.total());
    }

    #[test]
    fn any_byte_of_a_value_changes_its_sum() {
        let value: Vec<u8> = (0..=255).chain([7, 9]).collect();
        for at in 0..value.len() {
            let mut damaged = value.clone();
            damaged[at] ^= 1;
            assert_ne!(sum_of(&damaged), sum_of(&value), "byte {at}");
        }
    }
}
