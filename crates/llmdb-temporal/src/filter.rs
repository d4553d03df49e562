//! Filters that answer "never existed" and "has no history" from memory, without a look at any tree.
//!
//! ```text
//! key:    4  the number of the collection, u32 big-endian
//!         1  0 = keys that ever had a break point, 1 = those that ever had two
//! OFFSET  SIZE  DESCRIPTION (little-endian)
//!      0     8  the first commit whose keys are not all in it, u64
//!      8     8  for how many keys it was made, u64
//!     16     8  how many keys are in it, u64
//!     24   64b  b blocks of 512 bits
//! ```
//!
//! A key is hashed to 64 bits (XXH3 of the user key). With ten bits a key, block `hash * b / 2^64` has seven bits of it: those
//! at `(hash * 0x9e3779b97f4a7c15 / 2^9i) mod 512`, i from 0 to 6.
//!
//! Invariants
//! 1. No false "never": every key of the commits before that one is in it.
//! 2. A stored filter that is older than the snapshot is completed by the recorded operations since; where history is let
//!    go, and with it operations, it is made anew.
//!
//! Not here: keys themselves (`read::keys`).

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::catalog;
use crate::encoding;
use crate::error::Error;
use crate::ops::Log;
use crate::points::Points;
use crate::read::{Keys, TemporalRead};
use crate::write::TemporalWrite;

const BITS_EACH: u64 = 10;
const BIT_COUNT: u32 = 7;
/// As many keys a tree is believed to have where it says so, 40 MB of bits; where it has more they are counted.
const COUNT_TRUSTED: u64 = 1 << 24;
/// Words of a block.
const BLOCK: usize = 8;
const HEAD_SIZE: usize = 3 * size_of::<u64>();
const EXISTED: u8 = 0;
const CHANGED: u8 = 1;

/// Which keys of a collection may exist, and which may have history, as of a snapshot. What it denies is so; of what it does not
/// deny, one in a hundred is not so. It takes 20 bits a key, and asks no tree.
#[derive(Clone)]
pub struct KeyFilter {
    existed: Bloom,
    changed: Bloom,
}

impl KeyFilter {
    /// Whether anything may ever have been believed about a key. `false` is certain.
    #[must_use]
    pub fn may_exist(&self, key: &[u8]) -> bool {
        self.existed.has(xxh3_64(key))
    }

    /// Whether the belief about a key may ever have changed. `false` is certain.
    #[must_use]
    pub fn may_have_history(&self, key: &[u8]) -> bool {
        self.changed.has(xxh3_64(key))
    }

    /// A filter of all keys that are there; `next` is the first commit whose operations are not all in them.
    fn of(points: &Points<'_>, next: u64) -> Result<Self, Error> {
        let mut room = COUNT_TRUSTED;
        loop {
            if let Some(filter) = Self::of_at_most(points, next, room)? {
                return Ok(filter);
            }
            room = room.saturating_mul(4);
        }
    }

    /// As [`Self::of`]; `None` where there are more keys than that. Whatever a damaged page says of their number, no more bits
    /// are asked for than so many keys take.
    fn of_at_most(points: &Points<'_>, next: u64, count_max: u64) -> Result<Option<Self>, Error> {
        let count = points.now.len().min(count_max);
        let mut filter = Self { existed: Bloom::of(count, next), changed: Bloom::of(count, next) };
        let mut keys = Keys::all(points);
        while let Some((prefix, tail)) = keys.next()? {
            if filter.existed.count >= count_max {
                return Ok(None);
            }
            let has_history = tail.has_history();
            let key = encoding::user_key(prefix).map_err(|what| points.damaged_tail(prefix, &what.into()))?;
            filter.existed.add(xxh3_64(&key));
            if has_history {
                filter.changed.add(xxh3_64(&key));
            }
        }
        Ok(Some(filter))
    }
}

impl TemporalRead {
    /// A filter of the keys of a collection, as of this snapshot: the kept one ([`TemporalWrite::keep_filter`]), completed by
    /// the operations since, or else one that is made of all keys. Of a collection that is not there it denies everything.
    ///
    /// ```
    /// use llmdb_temporal::{Period, Temporal};
    /// # use llmdb_wal::StoreOptions;
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Temporal::open(StoreOptions::new().open(folder.path().join("people.llmdb"))?)?;
    /// let mut tx = db.begin_write()?;
    /// tx.put("people", b"ada", Period::ALL, b"Paris")?;
    /// tx.commit()?;
    /// let mut tx = db.begin_write()?;
    /// tx.keep_filter("people")?;
    /// tx.commit()?;
    /// let filter = db.begin_read()?.filter("people")?;
    /// assert!(filter.may_exist(b"ada") && !filter.may_have_history(b"ada"));
    /// assert!(!filter.may_exist(b"bob"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::CollectionName`]; the store's errors, and [`Error::Damaged`].
    pub fn filter(&self, collection: &str) -> Result<KeyFilter, Error> {
        let none = || KeyFilter { existed: Bloom::of(0, 0), changed: Bloom::of(0, 0) };
        let newest = self.newest().map(|newest| newest.commit.get());
        let (Some(number), Some(newest)) =
            (catalog::number(self.txn().tree(catalog::CATALOG)?, collection)?, newest)
        else {
            return Ok(none());
        };
        let collection = self.numbered(number)?;
        let Some(mut filter) = self.kept_filter(number)? else {
            return KeyFilter::of(&collection.points(), newest.saturating_add(1));
        };
        let next = filter.existed.next.min(filter.changed.next);
        if next <= newest {
            for row in Log::between(self.txn().tree(catalog::OPS)?, next.checked_sub(1), newest) {
                let (_, _, recorded) = row?;
                if recorded.collection == number {
                    let hash = xxh3_64(recorded.key);
                    filter.existed.add(hash);
                    filter.changed.add(hash);
                }
            }
            if filter.existed.is_crowded() {
                return KeyFilter::of(&collection.points(), newest.saturating_add(1));
            }
        }
        Ok(filter)
    }

    /// The filter of a collection as it is kept, if it is.
    pub(crate) fn kept_filter(&self, number: u32) -> Result<Option<KeyFilter>, Error> {
        let Some(tree) = self.txn().tree(catalog::FILTERS)? else { return Ok(None) };
        let bloom = |kind| {
            let key = stored_key(number, kind);
            let record = tree.get(&key)?;
            record.map(|record| Bloom::decode(record).ok_or_else(|| damaged(&key))).transpose()
        };
        match (bloom(EXISTED)?, bloom(CHANGED)?) {
            (Some(existed), Some(changed)) => Ok(Some(KeyFilter { existed, changed })),
            (None, None) => Ok(None),
            _ => Err(damaged(&stored_key(number, EXISTED))),
        }
    }
}

impl TemporalWrite {
    /// Keeps a filter of the keys of a collection, with the operations of this transaction so far, in the place of one that
    /// was kept. It stays as it is: who opens it completes it by the operations since and those of this transaction, whose keys
    /// it takes for changed, so it is best kept in a transaction of its own, and to be kept anew from time to time. Erasing a key
    /// of the collection drops it; letting history go makes it anew. Cost: all keys are read.
    ///
    /// # Errors
    /// [`Error::CollectionName`]; [`Error::TransactionFailed`]; the store's errors, after which the transaction can only
    /// be dropped.
    pub fn keep_filter(&mut self, collection: &str) -> Result<(), Error> {
        if self.failed {
            return Err(Error::TransactionFailed);
        }
        catalog::check_name(collection)?;
        let result = self.apply_pending().and_then(|()| self.store_filter(collection));
        self.failed = result.is_err();
        result
    }

    fn store_filter(&mut self, collection: &str) -> Result<(), Error> {
        let Some(trees) = self.open(collection)? else { return Ok(()) };
        // What this transaction records after this is not in it.
        let filter = KeyFilter::of(&self.points(trees, None)?, self.number().get())?;
        let tree = self.txn.create_tree(catalog::FILTERS)?;
        for (kind, bloom) in [(EXISTED, filter.existed), (CHANGED, filter.changed)] {
            self.txn.insert(tree, &stored_key(trees.number, kind), &bloom.encode())?;
        }
        Ok(())
    }

    /// Makes the filter of a collection anew, if one is kept: operations will go that would complete it.
    pub(crate) fn renew_filter(&mut self, collection: &str, number: u32) -> Result<(), Error> {
        let Some(tree) = self.txn.open_tree(catalog::FILTERS)? else { return Ok(()) };
        match self.txn.get(tree, &stored_key(number, EXISTED))? {
            Some(_) => self.store_filter(collection),
            None => Ok(()),
        }
    }

    /// Drops the filter of a collection, if one is kept.
    pub(crate) fn drop_filter(&mut self, number: u32) -> Result<(), Error> {
        if let Some(tree) = self.txn.open_tree(catalog::FILTERS)? {
            for kind in [EXISTED, CHANGED] {
                self.txn.remove(tree, &stored_key(number, kind))?;
            }
        }
        Ok(())
    }
}

fn stored_key(number: u32, kind: u8) -> [u8; 5] {
    let [a, b, c, d] = number.to_be_bytes();
    [a, b, c, d, kind]
}

fn damaged(key: &[u8]) -> Error {
    Error::Damaged {
        place: format!("tree {}", catalog::FILTERS),
        key: key.to_vec(),
        commit: None,
        what: "the record is no filter of keys".to_owned(),
    }
}

/// A bloom filter in blocks of a cache line.
#[derive(Clone)]
struct Bloom {
    words: Vec<u64>,
    /// The first commit whose keys are not all in it.
    next: u64,
    made_for: u64,
    count: u64,
}

impl Bloom {
    /// A filter that has room for `count` keys.
    fn of(count: u64, next: u64) -> Self {
        let made_for = count.max(100);
        let blocks = (made_for * BITS_EACH).div_ceil(512) as usize;
        Self { words: vec![0; blocks * BLOCK], next, made_for, count: 0 }
    }

    /// Whether there are so many more keys in it than it was made for that it says "maybe" too often.
    fn is_crowded(&self) -> bool {
        self.count > self.made_for.saturating_mul(2)
    }

    fn block(&self, hash: u64) -> usize {
        let blocks = (self.words.len() / BLOCK) as u128;
        ((u128::from(hash) * blocks) >> 64) as usize * BLOCK
    }

    fn bits(hash: u64) -> impl Iterator<Item = (usize, u64)> {
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..BIT_COUNT).map(move |index| {
            let bit = (mixed >> (9 * index)) as usize & 511;
            (bit / 64, 1 << (bit % 64))
        })
    }

    fn add(&mut self, hash: u64) {
        let start = self.block(hash);
        for (word, bit) in Self::bits(hash) {
            self.words[start + word] |= bit;
        }
        self.count = self.count.saturating_add(1);
    }

    fn has(&self, hash: u64) -> bool {
        let start = self.block(hash);
        Self::bits(hash).all(|(word, bit)| self.words[start + word] & bit != 0)
    }

    fn encode(&self) -> Vec<u8> {
        let head = [self.next, self.made_for, self.count];
        head.iter().chain(&self.words).flat_map(|word| word.to_le_bytes()).collect()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let (head, words) = words.split_at_checked(HEAD_SIZE / 8)?;
        let is_whole = rest.is_empty() && !words.is_empty() && words.len().is_multiple_of(BLOCK);
        is_whole.then(|| Self { words: words.to_vec(), next: head[0], made_for: head[1], count: head[2] })
    }
}

impl fmt::Debug for KeyFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFilter").field("keys", &self.existed.count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_absent_keys_is_not_denied_and_no_present_one_is() {
        for count in [1_000u64, 30_000] {
            let mut bloom = Bloom::of(count, 0);
            let hash = |number: u64| xxh3_64(&number.to_be_bytes());
            (0..count).for_each(|number| bloom.add(hash(number)));
            assert!((0..count).all(|number| bloom.has(hash(number))));
            let again = Bloom::decode(&bloom.encode()).unwrap();
            let wrong = (count..count + 200_000).filter(|number| again.has(hash(*number))).count();
            let rate = wrong as f64 / 200_000.0;
            println!("{count} keys, 10 bits each: {:.2} % of absent keys are not denied", rate * 100.0);
            assert!((0.004..0.02).contains(&rate), "{rate}");
        }
        assert!(!Bloom::of(0, 0).has(7));
    }

    #[test]
    fn more_keys_than_a_filter_has_room_for_are_told_of_and_a_stored_count_at_its_end_goes_no_further() {
        let disk = std::sync::Arc::new(llmdb_pager::sim::SimDisk::new(1));
        let store = llmdb_wal::StoreOptions::new().storage(disk).open("filter.llmdb").unwrap();
        let db = crate::Temporal::open(store).unwrap();
        let mut tx = db.begin_write().unwrap();
        for key in 0..10u8 {
            tx.put("c", &[key], crate::Period::ALL, b"").unwrap();
        }
        tx.commit().unwrap();
        let read = db.begin_read().unwrap();
        let points = read.collection("c").unwrap().unwrap().points();
        let made = |count| KeyFilter::of_at_most(&points, 1, count).unwrap();
        assert!(made(9).is_none());
        assert!((0..10u8).all(|key| made(10).unwrap().may_exist(&[key])));
        let mut full = Bloom { count: u64::MAX, ..Bloom::of(1, 0) };
        full.add(7);
        assert!(full.has(7) && full.is_crowded());
    }

    #[test]
    fn bytes_that_are_no_filter_are_refused() {
        let bytes = Bloom::of(100, 3).encode();
        assert!(Bloom::decode(&bytes).is_some());
        assert!(
            [0, 7, 24, 25, 32, bytes.len() - 1].iter().all(|size| Bloom::decode(&bytes[..*size]).is_none())
        );
    }
}
