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
//!    in the commit in which it came, and of history that was let go.
//! 2. Every entry is of a key that has a record.
//!
//! Cost: one more tree write for each break point with a value, in the order of valid time.
//!
//! Not here: asking it (`read::began`).

use std::ops::Bound::Unbounded;

use llmdb_wal::Tree;

use crate::catalog;
use crate::encoding::{ordered, unordered};
use crate::error::Error;
use crate::read::Keys;
use crate::types::ValidTime;
use crate::write::TemporalWrite;

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

impl TemporalWrite {
    /// From now on keeps an index of where facts of a collection begin, of those recorded before too, so that
    /// [`Collection::began`](crate::Collection::began) reads no more than what it answers. Whether there was none. A
    /// collection without operations is made.
    ///
    /// Building it reads all keys, and holds 8 bytes and the key for each break point with a value in memory. Kept, it costs
    /// a put about one more tree write.
    ///
    /// ```
    /// use llmdb_temporal::{Known, Period, Temporal, ValidTime};
    /// # use llmdb_wal::StoreOptions;
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Temporal::open(StoreOptions::new().open(folder.path().join("people.llmdb"))?)?;
    /// let day = |n: i64| ValidTime::from_micros(n * 86_400_000_000);
    /// let mut tx = db.begin_write()?;
    /// tx.index_starts("jobs")?;
    /// tx.put("jobs", b"ada", Period::since(day(10)?), b"clerk")?;
    /// tx.put("jobs", b"bob", Period::since(day(12)?), b"baker")?;
    /// tx.put("jobs", b"ada", Period::since(day(20)?), b"chief")?;
    /// tx.commit()?;
    /// let read = db.begin_read()?;
    /// let began = read.began("jobs", Period::new(day(11)?, day(21)?)?, Known::Latest)?;
    /// let keys: Vec<&[u8]> = began.iter().map(|fact| &fact.key[..]).collect();
    /// assert_eq!(keys, [b"bob", b"ada"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::CollectionName`]; [`Error::TransactionFailed`]; the store's errors, after which the transaction can only
    /// be dropped.
    pub fn index_starts(&mut self, collection: &str) -> Result<bool, Error> {
        self.change_starts(collection, Self::build_starts)
    }

    /// Keeps the index of [`Self::index_starts`] no longer. Whether there was one.
    ///
    /// # Errors
    /// As [`Self::index_starts`].
    pub fn drop_starts(&mut self, collection: &str) -> Result<bool, Error> {
        self.change_starts(collection, |tx, collection| {
            let Some(trees) = tx.open(collection)? else { return Ok(false) };
            tx.collections.remove(collection);
            Ok(tx.txn.drop_tree(&catalog::starts_tree(trees.number))?)
        })
    }

    fn change_starts(
        &mut self,
        collection: &str,
        change: impl FnOnce(&mut Self, &str) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        if self.failed {
            return Err(Error::TransactionFailed);
        }
        catalog::check_name(collection)?;
        let result = self.apply_pending().and_then(|()| change(self, collection));
        self.failed = result.is_err();
        result
    }

    fn build_starts(&mut self, collection: &str) -> Result<bool, Error> {
        let trees = self.open_or_create(collection)?;
        if trees.starts.is_some() {
            return Ok(false);
        }
        let points = self.points(trees, None)?;
        let mut entries = Vec::new();
        let mut keys = Keys::all(&points);
        while let Some((prefix, _)) = keys.next()? {
            let begins = points.all(prefix)?.into_iter().filter(|point| point.belief.is_some());
            entries.extend(begins.map(|point| entry(point.at, prefix)));
        }
        entries.sort_unstable();
        let starts = self.txn.create_tree(&catalog::starts_tree(trees.number))?;
        for entry in entries {
            self.txn.insert(starts, &entry, &[])?;
        }
        self.collections.remove(collection);
        Ok(true)
    }
}
