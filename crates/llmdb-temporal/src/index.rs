//! Making and dropping the index of where facts begin.
//!
//! Invariants
//! 1. A transaction that made or dropped one opens the collection anew: what it records later keeps the index, or does not.
//!
//! Not here: its entries (`starts`).

use crate::catalog;
use crate::error::Error;
use crate::read::Keys;
use crate::starts;
use crate::write::TemporalWrite;

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
            tx.forget(collection);
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
            entries.extend(begins.map(|point| starts::entry(point.at, prefix)));
        }
        entries.sort_unstable();
        let starts = self.txn.create_tree(&catalog::starts_tree(trees.number))?;
        for entry in entries {
            self.txn.insert(starts, &entry, &[])?;
        }
        self.forget(collection);
        Ok(true)
    }
}
